//! To which home of a stream a block goes: one for each stream, the nearest.
//!
//! This hub's own if it is a home, else the nearest that can be reached (of
//! equally near ones the one with the least id). The choice stays for as long
//! as that home can be reached, so that what a publisher sends stays in order
//! at one home. A hub that is chosen for one stream, and is a home of another
//! that some other hub was chosen for, is told which to leave out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weft_base::{HubId, Lane};
use weft_mesh::ledger::DropReason;
use weft_mesh::{INITIAL_TTL, Routes, StreamHub, split};
use weft_topic::Topic;
use weft_wire::block::Block;
use weft_wire::frame::{ErrorCode, FlowEntry, FlowKind};

use super::RouteStage;
use super::flows::Held;
use super::table::Route;
use crate::counters::sub;
use crate::messages::{Request, ToNet};
use crate::spool::Known;

/// Choices that are remembered; at the bound all are made anew.
const MOST: usize = 65_536;

/// The homes that were chosen, by stream.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    homes: HashMap<u64, HubId>,
    /// Streams that are spooled for while none of their homes can be reached.
    pub(super) known: Known,
    /// Those of them for which something waits, which nothing may overtake.
    pub(super) spooling: BTreeSet<u64>,
}

/// Where the streams of a topic are kept that this hub does not keep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes {
    /// The hubs that are chosen, and for each which of its streams are not to
    /// take the block.
    pub(crate) chosen: BTreeMap<HubId, Vec<u64>>,
    /// Streams of which no home can be reached.
    pub(crate) absent: Vec<Absent>,
    /// Streams whose publishes wait on disk here.
    pub(crate) spooled: Vec<u64>,
    /// Homes that get what waits there, and serve their live subscribers from that.
    pub(crate) later: Vec<HubId>,
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
    /// Chooses for a topic. `own`: the numbers of the streams that this hub is a home of.
    pub(crate) fn choose(&mut self, routes: &Routes, topic: Topic<'_>, own: &[u64]) -> Homes {
        let mut found: BTreeMap<u64, Vec<StreamHub>> = BTreeMap::new();
        routes.streams(topic, |at| found.entry(at.id).or_default().push(at));
        let mut homes = Homes::default();
        let mut taken: Vec<(u64, HubId)> = Vec::new();
        for (id, hubs) in &found {
            if own.contains(id) {
                continue;
            }
            let hub = self.one(*id, hubs);
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
        for (_, hub) in &taken {
            let except = homes.chosen.entry(*hub).or_default();
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
    pub(super) fn one(&mut self, id: u64, hubs: &[StreamHub]) -> Option<HubId> {
        let before = self.homes.get(&id).copied().filter(|hub| hubs.iter().any(|at| at.hub == *hub));
        let is_near = |hub: &HubId| hubs.iter().any(|at| at.hub == *hub && at.cost.is_some());
        if let Some(hub) = before.filter(is_near) {
            return Some(hub);
        }
        let near = hubs.iter().filter_map(|at| at.cost.map(|cost| (cost, at.hub))).min().map(|(_, hub)| hub);
        let hub = near.or(before).or_else(|| hubs.iter().map(|at| at.hub).min())?;
        if self.homes.len() >= MOST {
            self.homes.clear();
        }
        self.homes.insert(id, hub);
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
    pub(super) fn absent(&self, route: &Route) -> Option<String> {
        let is_over = |hub: &HubId| {
            let since = self.flows.down_since(*hub);
            since.is_none_or(|since| self.now.mono.since(since) >= self.patience)
        };
        let absent = route.absent.iter().find(|absent| absent.homes.iter().all(is_over))?;
        let names: Vec<String> = absent.homes.iter().map(|hub| self.flows.name_of(*hub)).collect();
        let detail = format!("no home of the stream can be reached ({}): publish again later", names.join(", "));
        Some(detail)
    }

    /// Ways have changed: what is held for a home that is out of reach goes to
    /// the next home of the same streams, if there is one, in order. It may be
    /// at both then: homes tell it by the producer's sequence.
    pub(super) fn move_held(&mut self) {
        for hub in self.flows.holds_for() {
            if self.is_reachable(hub) {
                continue;
            }
            for lane in Lane::all() {
                for held in self.flows.take_held((hub, lane)) {
                    // What waits on disk comes from there once a home can be reached.
                    if held.spooled.is_some() {
                        continue;
                    }
                    if let Some(next) = self.next_home(&held, hub) {
                        self.hold_for(next, lane, held);
                    } else if let Some(held) = self.spool_held(held, hub) {
                        let except = held.except.clone();
                        self.hold_for((hub, except), lane, held);
                    }
                }
            }
        }
    }

    /// The streams of a hub that a held block is for.
    pub(super) fn meant(&self, held: &Held, hub: HubId) -> Vec<u64> {
        let mut meant: Vec<u64> = Vec::new();
        let Ok(topic) = Topic::parse(Block::trusted(&held.block).topic()) else { return meant };
        self.table.routes.streams(topic, |at| {
            if at.hub == hub && !held.except.contains(&at.id) && !meant.contains(&at.id) {
                meant.push(at.id);
            }
        });
        meant
    }

    /// The one home that all streams of a held block have next.
    fn next_home(&mut self, held: &Held, gone: HubId) -> Option<(HubId, Arc<[u64]>)> {
        let topic = Topic::parse(Block::trusted(&held.block).topic()).ok()?;
        let meant = self.meant(held, gone);
        let route = self.cache.route(&self.table, topic);
        // At a stream of this hub's own it would be another publish.
        if meant.is_empty() || meant.iter().any(|id| route.stream_ids.contains(id)) {
            return None;
        }
        let mut keeps: Vec<(HubId, u64)> = Vec::new();
        self.table.routes.streams(topic, |at| keeps.push((at.hub, at.id)));
        let next = route.remote.iter().find(|remote| {
            remote.stream && self.is_reachable(remote.hub) && meant.iter().all(|id| keeps.contains(&(remote.hub, *id)))
        })?;
        let mut except: Vec<u64> = keeps.iter().filter(|(hub, _)| *hub == next.hub).map(|(_, id)| *id).collect();
        except.retain(|id| !meant.contains(id));
        except.sort_unstable();
        except.dedup();
        Some((next.hub, except.into()))
    }

    fn hold_for(&mut self, (hub, except): (HubId, Arc<[u64]>), lane: Lane, held: Held) {
        let (block, events, request) = (held.block.clone(), held.events, held.request);
        let held = Held { except: except.clone(), ..held };
        match self.flows.send_guaranteed((hub, lane), held, self.now.mono) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                // Hubs on the way may have seen the block.
                let entry = FlowEntry { retransmit: true, ..entry };
                let entries = std::iter::once(entry).chain(beside(entry, &except, None));
                split(&self.table.routes, entries, None, INITIAL_TTL, &mut self.split);
                self.send_split(&block, 0);
            }
            Err(_) => {
                sub(&self.counters.waiting_flows, events);
                self.counters.drop_copies(DropReason::FlowFull, events);
                if let Some(Request { session, id, .. }) = request {
                    let detail = "the next home of the stream is behind: publish again in a while".to_owned();
                    let code = ErrorCode::OVERLOADED;
                    self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
                }
            }
        }
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
        assert_eq!(chosen.one(7, &[at(7, 2, Some(30)), at(7, 3, Some(10))]), Some(HubId(3)));
        assert_eq!(chosen.one(7, &[at(7, 2, Some(1)), at(7, 3, Some(10))]), Some(HubId(3)), "it stays");
        assert_eq!(chosen.one(7, &[at(7, 2, Some(30)), at(7, 3, None)]), Some(HubId(2)));
        assert_eq!(chosen.one(7, &[at(7, 2, Some(30)), at(7, 3, Some(10))]), Some(HubId(2)), "and does not go back");
        assert_eq!(chosen.one(7, &[at(7, 2, None), at(7, 3, None)]), Some(HubId(2)), "it is waited for");
        assert_eq!(chosen.one(8, &[at(8, 5, None), at(8, 4, None)]), Some(HubId(4)));
        assert_eq!(chosen.one(9, &[at(9, 5, Some(2)), at(9, 4, Some(2))]), Some(HubId(4)), "ties go by id");
        assert_eq!(chosen.one(9, &[]), None);
    }
}
