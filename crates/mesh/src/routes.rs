//! Routes: an immutable snapshot of who wants what and which link leads there,
//! and the split of a block's destinations by the links they leave on.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Residency, UnixNanos, Way};
use weft_topic::{Filter, Topic};
use weft_wire::frame::FlowEntry;

use crate::apart::Ground;
use crate::filters::Wants;
use crate::ledger::DropReason;
use crate::options::MAX_HUBS;
use crate::{GroupHub, GroupKey, Kind, LinkId, StreamHome, StreamHub};

/// Links that a block may cross from its origin: [`split`] at the origin is
/// given this, and a transit hub what the frame carries.
pub const INITIAL_TTL: u8 = 64;

/// How many links a block has crossed, by the ttl its frame came with.
#[must_use]
pub const fn hops(ttl: u8) -> u8 {
    INITIAL_TTL.saturating_sub(ttl).saturating_add(1)
}

/// The way to one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The link to send on.
    pub link: LinkId,
    /// The neighbour at its other end.
    pub via: HubId,
    /// Links to cross.
    pub hops: u8,
    /// What the path costs, in microseconds: the costs of its links added up ([`Weights`](crate::Weights)).
    pub cost: u64,
    /// The measured round trips of its links, added up.
    pub rtt: Duration,
}

/// A hub, as a snapshot knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownHub {
    pub(crate) hub: HubId,
    pub(crate) epoch: Epoch,
    /// The key of its values in the interest set.
    pub(crate) slot: u16,
    /// None when it is out of reach.
    pub(crate) path: Option<Path>,
    pub(crate) is_draining: bool,
    /// The labels that it has in common with this hub.
    pub(crate) shared: Residency,
    /// Of ways for bound events: it does not carry the labels.
    pub(crate) outside: bool,
    /// Of these: other events can reach it.
    pub(crate) elsewhere: bool,
}

/// What a hub that has started knows of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learned {
    /// No neighbour has told it anything yet.
    #[default]
    Nothing,
    /// A neighbour is telling.
    Some,
    /// All that one neighbour knew when it began to tell.
    All,
}

/// Who wants what, and how to get there, at one moment. Never changes: the
/// decider makes another. Making and holding one is cheap: the filters are
/// shared with the decider.
#[derive(Clone, Debug)]
pub struct Routes {
    pub(crate) me: HubId,
    pub(crate) interest: Wants,
    /// By hub id.
    pub(crate) hubs: Arc<[KnownHub]>,
    /// Index into `hubs` by slot.
    pub(crate) by_slot: Arc<[u16]>,
    /// This hub is about to stop.
    pub(crate) drains: bool,
    pub(crate) learned: Learned,
    /// For events that are bound to labels.
    pub(crate) bound: Arc<[(Residency, Routes)]>,
    /// These are such ways.
    pub(crate) is_view: bool,
    /// How many ways blocks are spread over.
    pub(crate) ways: u8,
    /// Those besides the main one, for each of `hubs`; none where they are the same.
    pub(crate) spread: Arc<[Option<Path>]>,
    /// What two paths are found by.
    pub(crate) ground: Arc<Ground>,
}

impl Routes {
    /// The snapshot of a mesh of this hub alone.
    #[must_use]
    pub fn alone(me: HubId) -> Self {
        Self {
            me,
            interest: Wants::default(),
            hubs: Arc::default(),
            by_slot: Arc::default(),
            bound: Arc::default(),
            is_view: false,
            drains: false,
            learned: Learned::Nothing,
            ways: 1,
            spread: Arc::default(),
            ground: Arc::default(),
        }
    }

    pub(crate) fn new(me: HubId, interest: Wants, mut hubs: Vec<KnownHub>) -> Self {
        hubs.sort_unstable_by_key(|known| known.hub);
        let slots = hubs.iter().map(|known| usize::from(known.slot) + 1).max().unwrap_or(0);
        let mut by_slot = vec![u16::MAX; slots];
        for (index, known) in hubs.iter().enumerate() {
            if let (Some(place), Ok(index)) = (by_slot.get_mut(usize::from(known.slot)), u16::try_from(index)) {
                *place = index;
            }
        }
        Self {
            me,
            interest,
            hubs: hubs.into(),
            by_slot: by_slot.into(),
            bound: Arc::default(),
            is_view: false,
            drains: false,
            learned: Learned::Nothing,
            ways: 1,
            spread: Arc::default(),
            ground: Arc::default(),
        }
    }

    /// The same ways, and other interest.
    pub(crate) fn wanting(&self, interest: Wants) -> Self {
        let bound = self.bound.iter().map(|(of, routes)| (*of, routes.wanting(interest.clone()))).collect();
        Self { interest, bound, ..self.clone() }
    }

    /// Calls `f` once for each other hub and kind of interest that wants the
    /// topic, in an order that depends on the hubs alone. Hubs out of reach are
    /// among them for as long as their interest is kept. Allocates nothing.
    pub fn destinations(&self, topic: Topic<'_>, mut f: impl FnMut(HubId, Kind, bool)) {
        let mut wanted = [0u64; MAX_HUBS * 2 / 64];
        let mut want = |slot: u16, kind: Kind| {
            let key = usize::from(slot) * 2 + kind as usize;
            if let Some(word) = wanted.get_mut(key / 64) {
                *word |= 1 << (key % 64);
            }
        };
        self.interest.plain.for_each_match(topic, |slot| want(*slot, Kind::Live));
        self.interest.streams.for_each_match(topic, |at| {
            if at.is_home {
                want(at.slot, Kind::Stream);
            }
        });
        for (index, mut word) in wanted.into_iter().enumerate() {
            while word != 0 {
                let key = index * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                let kind = if key % 2 == Kind::Live as usize { Kind::Live } else { Kind::Stream };
                let known = self.by_slot.get(key / 2).and_then(|index| self.hubs.get(usize::from(*index)));
                if let Some(known) = known {
                    f(known.hub, kind, known.path.is_some());
                }
            }
        }
    }

    /// Calls `f` for each stream of another hub that takes this topic in, with
    /// one of the hubs that are its homes: once for each of its filters that match.
    pub fn streams(&self, topic: Topic<'_>, mut f: impl FnMut(StreamHub)) {
        self.interest.streams.for_each_match(topic, |at| {
            if at.is_home
                && let Some(known) = self.at_slot(at.slot)
            {
                let cost = known.path.as_ref().map(|path| path.cost);
                f(StreamHub { id: at.id, hub: known.hub, cost, spools: at.spools, strong: at.strong });
            }
        });
    }

    /// Calls `f` for each filter of each stream of another hub that is its home.
    /// Builds the filters anew: not for the path of a block.
    pub fn stream_filters(&self, mut f: impl FnMut(&Filter, StreamHub)) {
        for (filter, at) in self.interest.streams.iter() {
            if at.is_home
                && let Some(known) = self.at_slot(at.slot)
            {
                let cost = known.path.as_ref().map(|path| path.cost);
                f(&filter, StreamHub { id: at.id, hub: known.hub, cost, spools: at.spools, strong: at.strong });
            }
        }
    }

    /// Whether both know the same streams of the same hubs, because nothing was
    /// heard of any since; ways may differ.
    #[must_use]
    pub fn has_streams_of(&self, other: &Self) -> bool {
        self.interest.directory.is_same(&other.interest.directory)
    }

    /// The other hubs that keep a stream of this name, homes and mirrors.
    pub fn homes_of(&self, name: &str) -> impl Iterator<Item = StreamHome<'_>> {
        self.interest.directory.of_name(name).filter_map(|(def, slot)| self.home(def, slot))
    }

    /// All streams of other hubs, by name: once for each hub.
    pub fn all_streams(&self) -> impl Iterator<Item = StreamHome<'_>> {
        self.interest.directory.iter().filter_map(|(def, slot)| self.home(def, slot))
    }

    fn home<'a>(&'a self, def: &'a crate::StreamDef, slot: u16) -> Option<StreamHome<'a>> {
        let known = self.at_slot(slot)?;
        Some(StreamHome { hub: known.hub, def, cost: known.path.as_ref().map(|path| path.cost) })
    }

    fn at_slot(&self, slot: u16) -> Option<&KnownHub> {
        self.by_slot.get(usize::from(slot)).and_then(|index| self.hubs.get(usize::from(*index)))
    }

    /// Calls `f` for each group that another hub has members of for this topic.
    /// A hub whose members have several matching filters is given once for each.
    pub fn groups(&self, topic: Topic<'_>, mut f: impl FnMut(GroupKey, GroupHub)) {
        self.interest.groups.for_each_match(topic, |at| {
            if let Some(known) = self.at_slot(at.slot) {
                let (cost, hops) = known.path.as_ref().map_or((None, 0), |path| (Some(path.cost), path.hops));
                f(at.group, GroupHub { hub: known.hub, weight: at.weight, cost, hops });
            }
        });
    }

    /// The link to send on for this hub; none when it is unknown or out of reach.
    #[must_use]
    pub fn next_hop(&self, hub: HubId) -> Option<LinkId> {
        self.path(hub).map(|path| path.link)
    }

    /// Links to cross to this hub; 0 for this hub itself and when there is no path.
    #[must_use]
    pub fn hops(&self, hub: HubId) -> u8 {
        self.path(hub).map_or(0, |path| path.hops)
    }

    /// The way to this hub; none when it is unknown or out of reach.
    #[must_use]
    pub fn path(&self, hub: HubId) -> Option<&Path> {
        self.known(hub)?.path.as_ref()
    }

    /// Whether a block with this deadline (0: none), sent at `now`, can reach
    /// the hub in time by what is known of the path: half the round trips of
    /// its links. Where no path is known nothing speaks against it.
    #[must_use]
    pub fn can_arrive(&self, hub: HubId, deadline: UnixNanos, now: UnixNanos) -> bool {
        if deadline.0 == 0 {
            return true;
        }
        let way = self.path(hub).map_or(0, |path| u64::try_from(path.rtt.as_nanos() / 2).unwrap_or(u64::MAX));
        now.0.saturating_add(way) <= deadline.0
    }

    /// Whether a path of links leads to this hub.
    #[must_use]
    pub fn is_reachable(&self, hub: HubId) -> bool {
        hub == self.me || self.path(hub).is_some()
    }

    /// Whether this hub is about to stop: what can be served elsewhere is.
    #[must_use]
    pub fn is_draining(&self, hub: HubId) -> bool {
        if hub == self.me { self.drains } else { self.known(hub).is_some_and(|known| known.is_draining) }
    }

    /// What this hub knows of the mesh since it started.
    #[must_use]
    pub fn learned(&self) -> Learned {
        self.learned
    }

    /// The longest of the ways to hubs within reach: half their round trips.
    #[must_use]
    pub fn longest_way(&self) -> Duration {
        self.hubs.iter().filter_map(|known| known.path).map(|path| path.rtt / 2).max().unwrap_or_default()
    }

    /// The newest life of this hub that was heard of.
    #[must_use]
    pub fn epoch(&self, hub: HubId) -> Option<Epoch> {
        self.known(hub).map(|known| known.epoch)
    }

    /// All other hubs that are known, by id.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> {
        self.hubs.iter().map(|known| known.hub)
    }

    /// The hub whose routes these are.
    #[must_use]
    pub fn me(&self) -> HubId {
        self.me
    }

    pub(crate) fn known(&self, hub: HubId) -> Option<&KnownHub> {
        self.hubs.binary_search_by_key(&hub, |known| known.hub).ok().and_then(|index| self.hubs.get(index))
    }
}

/// Where the destinations of one block go from here. Kept by the caller between
/// blocks, so that nothing is allocated once it has grown.
#[derive(Debug, Default)]
pub struct Split {
    groups: Vec<(LinkId, Vec<FlowEntry>)>,
    used: usize,
    here: Vec<FlowEntry>,
    dropped: Vec<(FlowEntry, DropReason)>,
    ttl: u8,
}

impl Split {
    /// An empty split.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For each link that the block leaves on, once: the entries that go with it.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &[FlowEntry])> {
        self.groups.iter().take(self.used).map(|(link, entries)| (*link, entries.as_slice()))
    }

    /// Entries for this hub itself: at most one of each kind in sound frames.
    #[must_use]
    pub fn here(&self) -> &[FlowEntry] {
        &self.here
    }

    /// Entries that go no further, and why. A live one is a drop to count; a
    /// guaranteed one stays with its origin, which sends it again.
    #[must_use]
    pub fn dropped(&self) -> &[(FlowEntry, DropReason)] {
        &self.dropped
    }

    /// The ttl for the frames that leave.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }
}

/// Sorts the entries of a block by the link on which each leaves this hub.
///
/// At the origin `arrived_on` is none and `ttl` is [`INITIAL_TTL`]; at a transit
/// hub they are the frame's. The way is the block's. Every hub decides by its own
/// shortest paths of that way; since those agree on ties, the ways of a block from
/// its origin form a tree and no link carries the block twice, as long as all hubs
/// have the same link state.
/// While they have not, an entry never goes back over the link that it came by
/// ([`DropReason::Loop`]), the ttl ends longer loops ([`DropReason::Ttl`]), and
/// [`Seen`](crate::flow::Seen) cuts second copies.
pub fn split(
    (routes, way): (&Routes, Way),
    entries: impl IntoIterator<Item = FlowEntry>,
    arrived_on: Option<LinkId>,
    ttl: u8,
    out: &mut Split,
) {
    for (_, entries) in out.groups.iter_mut().take(out.used) {
        entries.clear();
    }
    out.used = 0;
    out.here.clear();
    out.dropped.clear();
    out.ttl = if arrived_on.is_some() { ttl.saturating_sub(1) } else { ttl };
    for entry in entries {
        if entry.hub == routes.me {
            out.here.push(entry);
            continue;
        }
        match routes.next_hop_on(entry.hub, way) {
            None => out.dropped.push((entry, routes.why_not(entry.hub))),
            Some(link) if arrived_on == Some(link) => out.dropped.push((entry, DropReason::Loop)),
            Some(_) if out.ttl == 0 => out.dropped.push((entry, DropReason::Ttl)),
            Some(link) => out.add(link, entry),
        }
    }
}

impl Split {
    fn add(&mut self, link: LinkId, entry: FlowEntry) {
        if let Some((_, entries)) = self.groups.iter_mut().take(self.used).find(|(known, _)| *known == link) {
            entries.push(entry);
            return;
        }
        match self.groups.get_mut(self.used) {
            Some((free, entries)) => {
                *free = link;
                entries.push(entry);
            }
            None => self.groups.push((link, vec![entry])),
        }
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use weft_topic::Filter;
    use weft_wire::frame::FlowKind;

    use super::*;
    use crate::StreamDef;
    use crate::filters::Item;

    fn path(link: u64) -> Option<Path> {
        Some(Path { link: LinkId(link), via: HubId(link), hops: 2, cost: 7, rtt: Duration::from_micros(5) })
    }

    fn known(hub: u64, slot: u16, path: Option<Path>) -> KnownHub {
        let shared = Residency::ANYWHERE;
        KnownHub {
            hub: HubId(hub),
            epoch: Epoch(1),
            slot,
            path,
            is_draining: false,
            shared,
            outside: false,
            elsewhere: false,
        }
    }

    fn def(name: &str, role: u8) -> Arc<StreamDef> {
        Arc::new(StreamDef { name: name.into(), id: 7, role, unreachable: 1, consistency: 0 })
    }

    /// Hub 1, with links 1 and 2; hub 40 is out of reach.
    fn routes() -> Routes {
        let mut interest = Wants::default();
        let filter = |text| Filter::parse(text).expect("a filter");
        for text in ["a/*", "**"] {
            interest.insert(0, &Item::plain(filter(text)));
        }
        for (text, slot, name, role) in [("a/b", 3, "s", 0), ("a/*", 3, "s", 0), ("a/*", 9, "s", 0), ("a/*", 1, "s", 1)]
        {
            interest.insert(slot, &Item::of_stream(filter(text), def(name, role)));
        }
        for (text, slot, group, weight) in [("a/*", 1, "g", 2), ("**", 3, "g", 5), ("b", 1, "h", 1)] {
            interest.insert(slot, &Item::of_group(filter(text), group.into(), weight));
        }
        let hubs = [known(40, 3, None), known(10, 0, path(1)), known(30, 9, path(2)), known(20, 1, path(1))];
        Routes::new(HubId(1), interest, hubs.to_vec())
    }

    fn entry(hub: u64) -> FlowEntry {
        let kind = FlowKind::Live;
        FlowEntry { hub: HubId(hub), incarnation: 0, kind, retransmit: false, sequence: 0, base: 0 }
    }

    fn groups(out: &Split) -> Vec<(u64, Vec<u64>)> {
        out.links().map(|(link, entries)| (link.0, entries.iter().map(|entry| entry.hub.0).collect())).collect()
    }

    #[test]
    fn destinations_are_each_hub_once_by_kind_and_say_who_is_out_of_reach() {
        let mut found = Vec::new();
        let routes = routes();
        routes.destinations(Topic::parse("a/b").expect("a topic"), |hub, kind, near| found.push((hub.0, kind, near)));
        assert_eq!(found, [(10, Kind::Live, true), (40, Kind::Stream, false), (30, Kind::Stream, true)]);
        assert_eq!((routes.hops(HubId(20)), routes.hops(HubId(40)), routes.hops(HubId(99))), (2, 0, 0));
        assert!(routes.is_reachable(HubId(1)) && !routes.is_reachable(HubId(40)));
    }

    #[test]
    fn groups_are_found_by_topic_with_the_way_to_their_hubs() {
        let mut found = Vec::new();
        routes().groups(Topic::parse("a/b").expect("a topic"), |group, at| {
            found.push((group, at.hub.0, at.weight, at.cost))
        });
        found.sort_unstable();
        let g = GroupKey::of_name("g");
        assert_eq!(found, [(g, 20, 2, Some(7)), (g, 40, 5, None)]);
    }

    #[test]
    fn streams_are_found_by_topic_and_by_name_with_the_way_to_their_homes() {
        let routes = routes();
        let mut found = Vec::new();
        routes.streams(Topic::parse("a/b").expect("a topic"), |at| found.push((at.id, at.hub.0, at.cost, at.spools)));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [(7, 30, Some(7), true), (7, 40, None, true)], "a mirror takes no publishes");
        let mut homes: Vec<_> = routes.homes_of("s").map(|home| (home.hub.0, home.def.role)).collect();
        homes.sort_unstable();
        assert_eq!(homes, [(20, 1), (30, 0), (40, 0)]);
        assert_eq!(
            (routes.homes_of("r").count(), routes.homes_of("t").count(), routes.all_streams().count()),
            (0, 0, 3)
        );
        let mut wants = routes.interest.clone();
        wants.remove(3, &Item::of_stream(Filter::parse("a/b").expect("a filter"), def("s", 0)));
        assert_eq!(wants.directory.iter().count(), 3, "another filter of it is left");
        wants.remove(3, &Item::of_stream(Filter::parse("a/*").expect("a filter"), def("s", 0)));
        assert_eq!(wants.directory.iter().count(), 2);
        assert_eq!(routes.homes_of("s").count(), 3, "a snapshot never changes");
    }

    #[test]
    fn a_deadline_nearer_than_the_way_is_long_cannot_be_kept() {
        // The path to hub 10 has a round trip of 5 µs.
        let (routes, now) = (routes(), UnixNanos(1_000_000));
        assert!(!routes.can_arrive(HubId(10), UnixNanos(1_002_499), now));
        assert!(routes.can_arrive(HubId(10), UnixNanos(1_002_500), now));
        assert!(routes.can_arrive(HubId(10), UnixNanos(0), now), "no deadline");
        assert!(routes.can_arrive(HubId(99), UnixNanos(1_000_001), now), "nothing is known of the path");
        assert!(!routes.can_arrive(HubId(99), UnixNanos(999_999), now), "it has passed");
    }

    #[test]
    fn a_block_leaves_once_on_each_link_that_it_needs() {
        let mut out = Split::new();
        split((&routes(), Way::MAIN), [10, 30, 20, 1, 40].map(entry), None, INITIAL_TTL, &mut out);
        assert_eq!(groups(&out), [(1, vec![10, 20]), (2, vec![30])]);
        assert_eq!(out.here(), [entry(1)]);
        assert_eq!(out.dropped(), [(entry(40), DropReason::NoPath)]);
        assert_eq!(hops(out.ttl()), 1);
        // What the last block left behind is gone.
        split((&routes(), Way::MAIN), [entry(30)], Some(LinkId(1)), out.ttl(), &mut out);
        assert_eq!(groups(&out), [(2, vec![30])]);
        assert_eq!((out.here().len(), out.dropped().len(), hops(out.ttl())), (0, 0, 2));
    }

    #[test]
    fn nothing_goes_back_or_on_for_ever() {
        let mut out = Split::new();
        split((&routes(), Way::MAIN), [10, 30].map(entry), Some(LinkId(2)), 2, &mut out);
        assert_eq!(groups(&out), [(1, vec![10])]);
        assert_eq!(out.dropped(), [(entry(30), DropReason::Loop)]);
        split((&routes(), Way::MAIN), [10, 1].map(entry), Some(LinkId(2)), 1, &mut out);
        assert_eq!(out.dropped(), [(entry(10), DropReason::Ttl)]);
        assert_eq!(out.here(), [entry(1)], "the last hop is not one too many");
    }

    #[test]
    fn a_mesh_of_one_has_nowhere_to_go() {
        let mut out = Split::new();
        split((&Routes::alone(HubId(1)), Way::MAIN), [entry(2)], None, INITIAL_TTL, &mut out);
        assert_eq!(out.dropped(), [(entry(2), DropReason::NoPath)]);
    }
}
