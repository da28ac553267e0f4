//! Which hubs a hub links to by itself, over the links that it was told to keep:
//! the next one in the order of all hubs, the nearest few, and a few of each
//! other region. Pure, and beside [`Mesh`](crate::Mesh), which it asks nothing:
//! who drives it says what is there ([`Pickable`], [`Linked`]) at each look.
//!
//! **The ring.** All hubs that can be dialled, by region and id, each linked to
//! the next: so the graph is connected whatever the distances are, with one link
//! more per hub, of which few cross regions (as in Stoica et al., "Chord", 2001).
//! Nearest hubs alone make islands wherever more than that many are close.
//!
//! **Distances** are round trips: of links by their probes, of others by a dial
//! that says hello, is answered, and ends. One at a time, rarely, with jitter. Of
//! each hub the least of the last few counts, because what disturbs adds.
//!
//! **No flapping.** A hub that is linked counts as a quarter and a millisecond
//! nearer than measured. A link that is not wanted any more goes once it has not
//! been for a while, when all links that are wanted stand, when its hub can be
//! reached without it, and one at a time; before that it is made dear, so that
//! events leave it. Only who dialled a link ends it.
//!
//! **Apart.** Hubs that are known and out of reach are tried now and then, so
//! that a mesh that has come apart grows together again.

mod choose;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Mono, Random};

use self::choose::Samples;
use crate::LinkId;

/// What the cost of a link is raised by before it is ended, in microseconds:
/// about two minutes, less than [`DRAINING`](crate::DRAINING).
pub const EASED: u32 = 1 << 27;

/// Dials and links of which nothing is known yet, at a time.
const AT_ONCE: usize = 4;
/// Between two looks when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// The first time that a hub is left alone after a failure; it doubles up to the longest.
const ASIDE_FIRST: Duration = Duration::from_secs(2);
const ASIDE_MOST: Duration = Duration::from_secs(15 * 60);
/// How much more rarely hubs are probed that were before.
const AGAIN: u32 = 8;
/// Of so many probes one is of a hub out of reach, if there is any.
const APART_EVERY: u64 = 4;

/// How links are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickOptions {
    /// Hubs, those with the shortest round trips. Default 3.
    pub nearest: usize,
    /// Hubs of each other region, the nearest of it. Default 1.
    pub per_region: usize,
    /// Links that are wanted, at most: the ring's, then the nearest, then those of
    /// the nearest regions. Default 16.
    pub most: usize,
    /// Between two probes of hubs, give or take a half; eight times as long once
    /// all were probed. Default 2 s.
    pub probe: Duration,
    /// How long a link stays that is not wanted any more. Default 30 s.
    pub settle: Duration,
}

impl Default for PickOptions {
    fn default() -> Self {
        Self { nearest: 3, per_region: 1, most: 16, probe: Duration::from_secs(2), settle: Duration::from_secs(30) }
    }
}

/// Why a link is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Why {
    /// It leads to the next hub in the order of all.
    Next = 1,
    /// It leads to one of the nearest.
    Near = 2,
    /// It leads to one of the nearest of another region.
    Region = 3,
    /// Its hub was out of reach.
    Apart = 4,
    /// By it the hub came into the mesh; or it is not wanted any more.
    Spare = 5,
}

impl Why {
    /// What people read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Near => "near",
            Self::Region => "region",
            Self::Apart => "apart",
            Self::Spare => "spare",
        }
    }

    /// By its number; `None` of a later version's.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Next, Self::Near, Self::Region, Self::Apart, Self::Spare].into_iter().find(|why| *why as u8 == number)
    }

    /// Whether the hub that is dialled may refuse it for having enough of them:
    /// there are others as good.
    #[must_use]
    pub fn may_be_refused(self) -> bool {
        matches!(self, Self::Near | Self::Region)
    }
}

/// A hub that could be linked to: one that is known and says where it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pickable {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Its region; empty while that is not known.
    pub region: String,
    /// Whether a path leads there.
    pub is_reachable: bool,
    /// Whether it is about to stop.
    pub is_draining: bool,
}

/// A link that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The link.
    pub link: LinkId,
    /// The hub at its other end.
    pub hub: HubId,
    /// Its round trip; none until both directions were seen to work.
    pub rtt: Option<Duration>,
    /// Whether this hub was told to keep it.
    pub is_configured: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Dial it and keep the link. What comes of it is told by [`Picker::up`] or [`Picker::failed`].
    Open(HubId, Why),
    /// Dial it, measure and hang up. What comes of it is told by [`Picker::probed`].
    Probe(HubId),
    /// Make the link dear, by [`EASED`], or not any more.
    Ease(LinkId, bool),
    /// End the link.
    Close(LinkId),
}

/// What is known of a hub.
#[derive(Debug, Default)]
struct Known {
    rtt: Samples,
    /// When it was measured or tried last.
    tried: Option<Mono>,
    /// It is left alone until then.
    aside: Option<Mono>,
    failures: u32,
    /// It was out of reach, and answered.
    is_apart: bool,
}

/// A link that this picker had dialled.
#[derive(Debug)]
struct Mine {
    hub: HubId,
    why: Why,
    up: Mono,
    /// Since when it is not wanted.
    spare: Option<Mono>,
    /// Since when it is dear.
    eased: Option<Mono>,
}

/// The decider.
#[derive(Debug)]
pub struct Picker {
    options: PickOptions,
    me: HubId,
    region: String,
    random: Random,
    known: BTreeMap<HubId, Known>,
    dialling: BTreeMap<HubId, Why>,
    mine: BTreeMap<LinkId, Mine>,
    probing: Option<HubId>,
    probes: u64,
    next: Mono,
    next_probe: Mono,
    next_end: Mono,
}

impl Picker {
    /// One for the hub `me` in `region`, with nothing known yet.
    #[must_use]
    pub fn new(options: PickOptions, me: HubId, region: &str, random: Random) -> Self {
        Self {
            options,
            me,
            region: region.to_owned(),
            random,
            known: BTreeMap::new(),
            dialling: BTreeMap::new(),
            mine: BTreeMap::new(),
            probing: None,
            probes: 0,
            next: Mono(0),
            next_probe: Mono(0),
            next_end: Mono(0),
        }
    }

    /// When [`look`](Self::look) is due.
    #[must_use]
    pub fn next(&self) -> Mono {
        self.next
    }

    /// Why a link is there that this picker had dialled.
    #[must_use]
    pub fn why(&self, link: LinkId) -> Option<Why> {
        self.mine.get(&link).map(|mine| mine.why)
    }

    /// A link stands that was dialled for the picker: by [`Pick::Open`], or as the
    /// way into the mesh.
    pub fn up(&mut self, link: LinkId, hub: HubId, now: Mono) {
        let why = self.dialling.remove(&hub).unwrap_or(Why::Spare);
        self.mine.insert(link, Mine { hub, why, up: now, spare: None, eased: None });
        self.next = now;
    }

    /// Any link has ended.
    pub fn down(&mut self, link: LinkId, now: Mono) {
        self.next = now;
        let Some(Mine { hub, up, eased, .. }) = self.mine.remove(&link) else { return };
        // One that was ended on purpose is not a failure, nor one that had lasted.
        if eased.is_none() {
            self.put_aside(hub, now.since(up) >= self.options.settle, now);
        }
    }

    /// A dial for [`Pick::Open`] came to nothing.
    pub fn failed(&mut self, hub: HubId, now: Mono) {
        self.dialling.remove(&hub);
        self.put_aside(hub, false, now);
        self.next = now;
    }

    /// What a probe found: the round trip, or nothing.
    pub fn probed(&mut self, hub: HubId, rtt: Option<Duration>, now: Mono) {
        self.probing.take_if(|probing| *probing == hub);
        match (rtt, self.known.get_mut(&hub)) {
            (Some(rtt), Some(known)) => {
                known.rtt.add(rtt);
                (known.aside, known.failures, known.is_apart) = (None, 0, true);
                self.next = now;
            }
            (None, _) => self.put_aside(hub, false, now),
            _ => {}
        }
    }

    /// Leaves a hub alone for a while, the longer the more often it failed in a row.
    fn put_aside(&mut self, hub: HubId, had_lasted: bool, now: Mono) {
        let Some(known) = self.known.get_mut(&hub) else { return };
        if had_lasted {
            known.failures = 0;
        }
        let bound = ASIDE_FIRST.saturating_mul(1 << known.failures.min(20)).min(ASIDE_MOST);
        known.failures = known.failures.saturating_add(1);
        known.aside = Some(now + jittered(bound, &mut self.random));
    }

    /// Decides what is to be done now. `hubs` are all that could be linked to,
    /// without this one; `is_spare` answers whether a hub is still reached when
    /// all links to it end.
    pub fn look(
        &mut self,
        hubs: &[Pickable],
        links: &[Linked],
        is_spare: impl Fn(HubId) -> bool,
        now: Mono,
    ) -> Vec<Pick> {
        self.next = now + jittered(LOOK, &mut self.random);
        self.note(hubs, links, now);
        let wanted = self.wanted(hubs, links, now);
        let mut picks = Vec::new();
        let is_linked = |hub: HubId| links.iter().any(|link| link.hub == hub);
        for (hub, why) in &wanted {
            if !is_linked(*hub) && !self.dialling.contains_key(hub) && self.dialling.len() < AT_ONCE {
                self.dialling.insert(*hub, *why);
                picks.push(Pick::Open(*hub, *why));
            }
        }
        let is_whole = wanted.keys().all(|hub| links.iter().any(|link| link.hub == *hub && link.rtt.is_some()));
        self.tend_links(&wanted, links, is_whole, is_spare, now, &mut picks);
        self.probe(hubs, &is_linked, now, &mut picks);
        if self.probing.is_none() {
            self.next = self.next.min(self.next_probe);
        }
        picks
    }

    /// Takes in what is there.
    fn note(&mut self, hubs: &[Pickable], links: &[Linked], now: Mono) {
        let mut known = std::mem::take(&mut self.known);
        for hub in hubs.iter().filter(|hub| hub.hub != self.me) {
            let mut of = known.remove(&hub.hub).unwrap_or_default();
            of.is_apart &= !hub.is_reachable;
            let linked = links.iter().filter(|link| link.hub == hub.hub).find_map(|link| link.rtt);
            let is_due = of.tried.is_none_or(|tried| now.since(tried) >= self.options.probe);
            if let Some(rtt) = linked.filter(|_| is_due) {
                of.rtt.add(rtt);
                of.tried = Some(now);
            }
            self.known.insert(hub.hub, of);
        }
        // A hub that is not known any more is not dialled either: its answer is of no use.
        self.dialling.retain(|hub, _| self.known.contains_key(hub));
        self.probing.take_if(|hub| !self.known.contains_key(hub));
    }

    /// What becomes of the links that this picker had dialled.
    fn tend_links(
        &mut self,
        wanted: &BTreeMap<HubId, Why>,
        links: &[Linked],
        is_whole: bool,
        is_spare: impl Fn(HubId) -> bool,
        now: Mono,
        picks: &mut Vec<Pick>,
    ) {
        let settle = self.options.settle;
        for (link, mine) in &mut self.mine {
            // Of two links to one hub one goes: this side's, if it was told to keep
            // the other, or if its hub is the second of both and the other works.
            let other = |of: &Linked| {
                of.hub == mine.hub && of.link != *link && of.rtt.is_some() && (of.is_configured || self.me > mine.hub)
            };
            let is_double = links.iter().any(other);
            let why = wanted.get(&mine.hub).copied().filter(|_| !is_double);
            mine.why = why.unwrap_or(Why::Spare);
            mine.spare = if why.is_some() { None } else { mine.spare.or(Some(now)) };
            if why.is_some() && mine.eased.take().is_some() {
                picks.push(Pick::Ease(*link, false));
            }
            if is_double {
                // Nothing needs another way: its neighbour stays one.
                mine.eased = Some(now);
                picks.push(Pick::Close(*link));
                continue;
            }
            let has_waited = mine.spare.is_some_and(|since| now.since(since) >= settle);
            let is_due = mine.eased.map_or(now >= self.next_end, |eased| now.since(eased) >= settle / 8);
            // The last is the dearest to ask.
            if !has_waited || !is_due || !is_whole || !is_spare(mine.hub) {
                continue;
            }
            if mine.eased.is_some() {
                picks.push(Pick::Close(*link));
                continue;
            }
            mine.eased = Some(now);
            self.next_end = now + jittered(settle, &mut self.random);
            picks.push(Pick::Ease(*link, true));
        }
    }
}

/// From a half to all of it, and a half more.
fn jittered(time: Duration, random: &mut Random) -> Duration {
    time / 2 + random.up_to(time)
}
