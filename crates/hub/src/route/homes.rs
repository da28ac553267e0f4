//! To which home of a stream a block goes: one for each stream, the nearest.
//!
//! This hub's own if it is a home, else the nearest that can be reached (of
//! equally near ones the one with the least id). The choice stays for as long
//! as that home can be reached, so that what a publisher sends stays in order
//! at one home. A hub that is chosen for one stream, and is a home of another
//! that some other hub was chosen for, is told which to leave out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Residency};
use weft_mesh::ledger::DropReason;
use weft_mesh::{INITIAL_TTL, Routes, StreamHub, split};
use weft_topic::Topic;
use weft_wire::block::Block;
use weft_wire::frame::{ErrorCode, FlowEntry, FlowKind};

use super::RouteStage;
use super::flows::Held;
use super::table::{Remote, Route, RouteCache, RouteTable};
use crate::messages::{Completion, FlowTo, Request, StreamSlot, ToAppend, ToNet};
use crate::see::account::Waits;
use crate::spool::Known;

/// Choices that are remembered; at the bound all are made anew.
const MOST: usize = 65_536;

/// After how long a hub that keeps none of a block's streams is asked again,
/// where it is known as their home: what tells of homes is under way.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The homes that were chosen, by stream.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    homes: HashMap<(u64, Residency), HubId>,
    /// Streams that are spooled for while none of their homes can be reached.
    pub(super) known: Known,
    /// Those of them for which something waits, which nothing may overtake.
    pub(super) spooling: BTreeSet<u64>,
}

/// Where the streams of a topic are kept that this hub does not keep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes {
    /// The hubs that are chosen.
    pub(crate) chosen: BTreeMap<HubId, Share>,
    /// Streams of which no home can be reached.
    pub(crate) absent: Vec<Absent>,
    /// Streams whose publishes wait on disk here.
    pub(crate) spooled: Vec<u64>,
    /// Homes that get what waits there, and serve their live subscribers from that.
    pub(crate) later: Vec<HubId>,
}

/// What a chosen hub does with a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its streams that take it.
    pub(crate) meant: Vec<u64>,
    /// Its streams that are not to, because another home of theirs does.
    pub(crate) except: Vec<u64>,
}

/// A stream that no home of can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absent {
    /// The home that is waited for.
    pub(crate) waits_for: HubId,
    /// All of them.
    pub(crate) homes: Box<[HubId]>,
}

impl Chosen {
    /// Chooses for a topic and residency. `own`: the numbers of the streams that
    /// this hub is a home of; barred ones take nothing.
    pub(crate) fn choose(
        &mut self,
        (routes, residency): (&Routes, Residency),
        topic: Topic<'_>,
        own: &[u64],
        is_barred: impl Fn(u64) -> bool,
    ) -> Homes {
        let mut found: BTreeMap<u64, Vec<StreamHub>> = BTreeMap::new();
        routes.streams(topic, |at| found.entry(at.id).or_default().push(at));
        let mut homes = Homes::default();
        let mut taken: Vec<(u64, HubId)> = Vec::new();
        for (id, hubs) in &found {
            if own.contains(id) || is_barred(*id) {
                continue;
            }
            let hub = self.one((*id, residency), hubs);
            if self.spools(*id, hubs) {
                homes.spooled.push(*id);
                homes.later.extend(hub);
                continue;
            }
            taken.extend(hub.map(|hub| (*id, hub)));
            if let Some(hub) = hub
                && hubs.iter().all(|at| at.cost.is_none())
            {
                let mut all: Vec<HubId> = hubs.iter().map(|at| at.hub).collect();
                all.sort_unstable();
                all.dedup();
                homes.absent.push(Absent { waits_for: hub, homes: all.into() });
            }
        }
        // Of those that nobody tells of any more.
        let (known, spooled) = (&self.known, &mut homes.spooled);
        known.matching(topic, |id| {
            if !found.contains_key(&id) && !own.contains(&id) && !spooled.contains(&id) {
                spooled.push(id);
            }
        });
        for (id, hub) in &taken {
            let Share { meant, except } = homes.chosen.entry(*hub).or_default();
            meant.push(*id);
            if !except.is_empty() {
                continue;
            }
            let keeps = found.iter().filter(|(_, hubs)| hubs.iter().any(|at| at.hub == *hub));
            except.extend(keeps.map(|(id, _)| *id).filter(|id| !taken.contains(&(*id, *hub))));
        }
        homes
    }

    /// Whether publishes for a stream with these homes wait on disk here.
    pub(super) fn spools(&self, id: u64, hubs: &[StreamHub]) -> bool {
        let none_near = hubs.iter().all(|at| at.cost.is_none());
        self.spooling.contains(&id) || (none_near && self.known.contains(id))
    }

    /// The home of a stream: the one chosen before if it can be reached, else
    /// the nearest; the one chosen before, or the least, when none can be.
    pub(super) fn one(&mut self, of: (u64, Residency), hubs: &[StreamHub]) -> Option<HubId> {
        let before = self.homes.get(&of).copied().filter(|hub| hubs.iter().any(|at| at.hub == *hub));
        let is_near = |hub: &HubId| hubs.iter().any(|at| at.hub == *hub && at.cost.is_some());
        if let Some(hub) = before.filter(is_near) {
            return Some(hub);
        }
        let near = hubs.iter().filter_map(|at| at.cost.map(|cost| (cost, at.hub))).min().map(|(_, hub)| hub);
        let hub = near.or(before).or_else(|| hubs.iter().map(|at| at.hub).min())?;
        if self.homes.len() >= MOST {
            self.homes.clear();
        }
        self.homes.insert(of, hub);
        Some(hub)
    }
}

/// The entries that go beside a guaranteed one for a hub with these exceptions,
/// of a block that waited on disk for a stream, or did not.
pub(super) fn beside(entry: FlowEntry, except: &[u64], spooled: Option<u64>) -> impl Iterator<Item = FlowEntry> {
    let of = move |kind, id| FlowEntry { kind, sequence: 0, base: id, ..entry };
    let spooled = spooled.into_iter().map(move |id| of(FlowKind::Spooled, id));
    except.iter().map(move |id| of(FlowKind::Except, *id)).chain(spooled)
}

/// The route without these streams of this hub.
pub(super) fn without(route: &Arc<Route>, except: impl Iterator<Item = u64>) -> Arc<Route> {
    let except: Vec<u64> = except.collect();
    if except.is_empty() {
        return route.clone();
    }
    let kept = route.streams.iter().zip(&route.stream_ids).filter(|(_, id)| !except.contains(id));
    let (streams, stream_ids): (Vec<_>, Vec<_>) = kept.map(|(slot, id)| (*slot, *id)).unzip();
    // Of an arrived block nothing else of its route is looked at.
    let (local, gates) = (route.local.clone(), route.gates.clone());
    let local_gates = route.local_gates;
    let (streams, stream_ids) = (streams.into(), stream_ids.into());
    Arc::new(Route { local, streams, stream_ids, gates, local_gates, ..Route::default() })
}

impl RouteStage {
    /// A stream of the route whose homes are all out of reach, for longer than
    /// publishes are kept for them: why, and when to try again.
    pub(super) fn absent(&self, route: &Route, residency: Residency) -> Option<(ErrorCode, String)> {
        let is_over = |hub: &HubId| {
            let since = self.flows.down_since(*hub);
            since.is_none_or(|since| self.now.mono.since(since) >= self.patience)
        };
        let absent = route.absent.iter().find(|absent| absent.homes.iter().all(is_over))?;
        let names: Vec<String> = absent.homes.iter().map(|hub| self.flows.name_of(*hub)).collect();
        let names = names.join(", ");
        if residency.is_bound() && absent.homes.iter().any(|hub| self.is_reachable(*hub)) {
            let label = self.table.rules.name(residency);
            let detail = format!("no way over hubs with the label `{label}` leads to a home of the stream ({names})");
            return Some((ErrorCode::RESIDENCY, detail));
        }
        let detail = format!("no home of the stream can be reached ({names}): publish again later");
        Some((ErrorCode::UNREACHABLE, detail))
    }

    /// Ways or homes have changed: what is held for a home that is out of reach,
    /// or is none any more, goes to the present home of the same streams, if
    /// there is one, in order. It may be at both then: homes tell it by the
    /// producer's sequence.
    pub(super) fn move_held(&mut self) {
        for to in self.flows.holding() {
            // What is under way to a home that stores it is not sent twice.
            if self.reaches(to) && !self.moves_all(to) {
                continue;
            }
            for held in self.flows.take_held(to) {
                // What waits on disk comes from there once a home can be reached.
                if held.spooled.is_some() {
                    continue;
                }
                match next_home(&self.table, &mut self.cache, &held, to.hub) {
                    Next::Hub(hub, except) if self.reaches(FlowTo { hub, ..to }) => {
                        self.hold_for((FlowTo { hub, ..to }, except), held);
                    }
                    Next::Here(slots) => self.store_held(&slots, held),
                    _ => {
                        if let Some(held) = self.spool_held(held) {
                            self.hold_for((to, held.except.clone()), held);
                        }
                    }
                }
            }
        }
    }

    /// Whether nothing that a flow holds is for its hub any more.
    fn moves_all(&mut self, to: FlowTo) -> bool {
        let Self { flows, table, cache, .. } = self;
        flows.held(to).all(|held| match next_home(table, cache, held, to.hub) {
            _ if held.spooled.is_some() => false,
            Next::Hub(next, _) => table.ways(to.residency).next_hop(next).is_some(),
            Next::Here(_) => true,
            Next::Same | Next::Nowhere | Next::Several => false,
        })
    }

    /// A hub that was sent these blocks keeps none of the streams of one of
    /// them: they go to the present homes, in order. While this hub knows of no
    /// other, the same is asked again, for as long as publishes wait for homes.
    pub(super) fn send_elsewhere(&mut self, to: FlowTo, given_back: Vec<Held>) {
        let (now, hub) = (self.now.mono, to.hub);
        for mut held in given_back {
            let next = next_home(&self.table, &mut self.cache, &held, hub);
            if matches!(next, Next::Nowhere) {
                match self.spool_held(held) {
                    Some(back) => held = back,
                    None => continue,
                }
            }
            let (code, detail) = match next {
                Next::Hub(next, except) => {
                    held.in_vain = None;
                    self.hold_for((FlowTo { hub: next, ..to }, except), held);
                    continue;
                }
                Next::Here(slots) => {
                    self.store_held(&slots, held);
                    continue;
                }
                Next::Same if now.since(*held.in_vain.get_or_insert(now)) < self.patience => {
                    self.flows.hold_off(to, now + ASK_AGAIN);
                    self.hold_for((to, held.except.clone()), held);
                    continue;
                }
                Next::Same => {
                    let name = self.flows.name_of(hub);
                    (ErrorCode::NO_STREAM, format!("hub {name} was taken for a home of the stream and is none"))
                }
                Next::Nowhere => (ErrorCode::NO_STREAM, "no hub keeps the stream any more".to_owned()),
                Next::Several => {
                    let detail = "the streams that it is for have gone to several hubs: publish it again".to_owned();
                    (ErrorCode::UNREACHABLE, detail)
                }
            };
            self.give_up(held, DropReason::StreamRefused, code, detail);
        }
    }

    /// A block that was held for another hub is for streams of this one.
    fn store_held(&mut self, slots: &[StreamSlot], held: Held) {
        let copies = held.events * slots.len() as u64;
        let account = self.counters.account(&held.block);
        account.enter(Waits::Append, copies);
        // One of them was counted when it was taken into the flow.
        account.copies(copies.saturating_sub(held.events));
        account.leave(Waits::Flows, held.events);
        let completion = held.request.map_or(Completion::None, Completion::Client);
        let (streams, block) = (slots.into(), held.block);
        self.append.push(ToAppend::Append { streams, block, completion, spooled: false });
    }

    /// A block that was held is dropped, and who waits for it is told.
    pub(super) fn give_up(&mut self, held: Held, reason: DropReason, code: ErrorCode, detail: String) {
        let account = self.counters.account(&held.block);
        account.drop(reason, held.events);
        account.leave(Waits::Flows, held.events);
        if let Some(Request { session, id, .. }) = held.request {
            self.note_given_up(&held.block, code);
            self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
        }
    }

    pub(super) fn hold_for(&mut self, (to, except): (FlowTo, Arc<[u64]>), held: Held) {
        let block = held.block.clone();
        let held = Held { except: except.clone(), ..held };
        match self.flows.send_guaranteed(to, held, &self.table.routes, self.now.mono) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                // Hubs on the way may have seen the block.
                let entry = FlowEntry { retransmit: true, ..entry };
                let entries = std::iter::once(entry).chain(beside(entry, &except, None));
                split((self.table.ways(to.residency), to.way), entries, None, INITIAL_TTL, &mut self.split);
                self.send_split(&block, 0);
            }
            Err(unsent) => {
                let detail = "the next home of the stream is behind: publish again in a while".to_owned();
                self.give_up(*unsent, DropReason::FlowFull, ErrorCode::OVERLOADED, detail);
            }
        }
    }
}

/// Where a held block belongs now.
enum Next {
    /// Where it is held for.
    Same,
    /// Another hub, whose streams of these numbers are not to take it.
    Hub(HubId, Arc<[u64]>),
    /// Streams of this hub.
    Here(Vec<StreamSlot>),
    /// Its streams are gone.
    Nowhere,
    /// Its streams are not at one hub any more.
    Several,
}

/// Where a block belongs that is held for `hub`.
fn next_home(table: &RouteTable, cache: &mut RouteCache, held: &Held, hub: HubId) -> Next {
    let block = Block::trusted(&held.block);
    let Ok(topic) = Topic::parse(block.topic()) else { return Next::Nowhere };
    let route = cache.route(table, topic, block.residency());
    let own = route.streams.iter().zip(&route.stream_ids).filter(|(_, id)| held.meant.contains(id));
    let here: Vec<StreamSlot> = own.map(|(slot, _)| *slot).collect();
    let takes = |remote: &&Remote| remote.stream && remote.meant.iter().any(|id| held.meant.contains(id));
    let mut hubs = route.remote.iter().filter(takes).map(|remote| remote.hub);
    match (here.is_empty(), hubs.next(), hubs.next()) {
        (true, None, _) => Next::Nowhere,
        (false, None, _) => Next::Here(here),
        (true, Some(next), None) if next == hub => Next::Same,
        (true, Some(next), None) => {
            let mut except: Vec<u64> = Vec::new();
            table.routes.streams(topic, |at| {
                if at.hub == next && !held.meant.contains(&at.id) && !except.contains(&at.id) {
                    except.push(at.id);
                }
            });
            except.sort_unstable();
            Next::Hub(next, except.into())
        }
        _ => Next::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(id: u64, hub: u64, cost: Option<u64>) -> StreamHub {
        StreamHub { id, hub: HubId(hub), cost, spools: false, strong: false }
    }

    #[test]
    fn the_nearest_home_is_chosen_and_kept_while_it_can_be_reached() {
        let mut chosen = Chosen::default();
        assert_eq!(chosen.one((7, Residency::ANYWHERE), &[at(7, 2, Some(30)), at(7, 3, Some(10))]), Some(HubId(3)));
        assert_eq!(
            chosen.one((7, Residency::ANYWHERE), &[at(7, 2, Some(1)), at(7, 3, Some(10))]),
            Some(HubId(3)),
            "it stays"
        );
        assert_eq!(chosen.one((7, Residency::ANYWHERE), &[at(7, 2, Some(30)), at(7, 3, None)]), Some(HubId(2)));
        assert_eq!(
            chosen.one((7, Residency::ANYWHERE), &[at(7, 2, Some(30)), at(7, 3, Some(10))]),
            Some(HubId(2)),
            "and does not go back"
        );
        assert_eq!(
            chosen.one((7, Residency::ANYWHERE), &[at(7, 2, None), at(7, 3, None)]),
            Some(HubId(2)),
            "it is waited for"
        );
        assert_eq!(chosen.one((8, Residency::ANYWHERE), &[at(8, 5, None), at(8, 4, None)]), Some(HubId(4)));
        assert_eq!(
            chosen.one((9, Residency::ANYWHERE), &[at(9, 5, Some(2)), at(9, 4, Some(2))]),
            Some(HubId(4)),
            "ties go by id"
        );
        assert_eq!(chosen.one((9, Residency::ANYWHERE), &[]), None);
    }
}
