//! Who waits for what to reach the disk.
//!
//! Clients wait per stream, in the order of their blocks. Flows from other
//! hubs wait each in the order of the flow, because their answer is cumulative:
//! "all before this one". What a flow is owed is kept as a position, not as a
//! queue of messages: when the conductor is busy, positions just grow.

use std::collections::{BTreeMap, HashMap, VecDeque};

use weft_base::Mono;
use weft_wire::frame::{AckLevel, ErrorCode, FlowPlace, MAX_FLOW_PLACES};

use crate::messages::{Completion, FlowKey, Named, Request, StreamSlot, ToNet};
use crate::meters::Meter;
use crate::outbox::Outbox;

/// Where a block stands: per stream, the sequence that must be synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    first: Option<(StreamSlot, u64)>,
    rest: Vec<(StreamSlot, u64)>,
    /// Its name, while it stands in one stream alone.
    named: Option<Named>,
}

impl Places {
    /// It stands in this stream too, whose home calls it `named`.
    pub(super) fn push(&mut self, slot: StreamSlot, upto: u64, named: Option<Named>) {
        if self.first.is_none() {
            self.first = Some((slot, upto));
            self.named = named;
        } else {
            self.rest.push((slot, upto));
            self.named = None;
        }
    }

    /// The first stream it stands in, and what must be synced there.
    pub(super) fn first(&self) -> Option<(StreamSlot, u64)> {
        self.first
    }

    /// Its name, while it stands in one stream alone.
    pub(super) fn named(&self) -> Option<Named> {
        self.named
    }

    /// Nothing is waited for in a stream that is gone.
    fn gone(&mut self, slot: StreamSlot) {
        self.first.iter_mut().chain(&mut self.rest).filter(|(of, _)| *of == slot).for_each(|(_, upto)| *upto = 0);
    }

    fn iter(&self) -> impl Iterator<Item = (StreamSlot, u64)> + '_ {
        self.first.iter().chain(&self.rest).copied()
    }
}

/// How far a flow from another hub is stored here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) incarnation: u32,
    /// The next number: all before it are appended.
    pub(super) written: u64,
    /// The next number: all before it are on disk.
    pub(super) synced: u64,
    /// Why the flow stopped at `synced`, if it did.
    pub(super) refused: ErrorCode,
}

#[derive(Default)]
struct Flow {
    position: Option<Position>,
    waiting: VecDeque<(Places, u64)>,
    /// Where the newest blocks stand, until it is said; the oldest go first.
    places: VecDeque<FlowPlace>,
    unsaid: bool,
}

/// All that waits.
#[derive(Default)]
pub(super) struct Commits {
    clients: HashMap<StreamSlot, VecDeque<(Places, Request, Mono)>>,
    /// How long they wait.
    waits: Meter,
    now: Mono,
    flows: BTreeMap<FlowKey, Flow>,
    /// Flows with something to say.
    unsaid: VecDeque<FlowKey>,
    synced: HashMap<StreamSlot, u64>,
    /// Something was synced since the last `settle`.
    moved: bool,
}

impl Commits {
    /// With a histogram of how long clients wait.
    pub(super) fn new(waits: Meter) -> Self {
        Self { waits, ..Self::default() }
    }

    /// A turn begins.
    pub(super) fn turn(&mut self, now: Mono) {
        self.now = now;
    }

    /// Whether a flow's block comes after one that was refused: it is not to
    /// be stored, its origin has been told that it is not.
    pub(super) fn is_refused(&self, completion: Completion) -> bool {
        let Completion::Flow { key, incarnation, .. } = completion else { return false };
        self.flows
            .get(&key)
            .and_then(|flow| flow.position)
            .is_some_and(|p| p.incarnation == incarnation && p.refused != ErrorCode::NONE)
    }

    /// A block is appended: answers who asked for no more, queues the others.
    pub(super) fn written(&mut self, places: Places, completion: Completion, net: &mut Outbox<ToNet>) {
        let completion = match completion {
            Completion::Client(request) => Completion::Client(Request { place: places.named, ..request }),
            other => other,
        };
        match completion {
            Completion::None => {}
            Completion::Client(request) if request.level < AckLevel::Synced || self.is_synced(&places) => {
                net.push(ToNet::Acked(request));
            }
            Completion::Client(request) => {
                if let Some((slot, _)) = places.first {
                    self.clients.entry(slot).or_default().push_back((places, request, self.now));
                } else {
                    net.push(ToNet::Acked(request));
                }
            }
            Completion::Flow { key, incarnation, number } => {
                if !self.flows.contains_key(&key) {
                    // An origin in a new life: nobody waits for what its earlier one sent.
                    self.flows.retain(|known, _| known.origin != key.origin || known.epoch >= key.epoch);
                }
                let flow = self.flows.entry(key).or_default();
                if flow.position.is_none_or(|p| p.incarnation != incarnation) {
                    flow.waiting.clear();
                    flow.position =
                        Some(Position { incarnation, written: number, synced: number, refused: ErrorCode::NONE });
                }
                if let Some(position) = &mut flow.position {
                    position.written = number + 1;
                }
                if let Some(named) = places.named {
                    if flow.places.len() >= MAX_FLOW_PLACES {
                        flow.places.pop_front();
                    }
                    flow.places.push_back(FlowPlace { number, home: named.home.tag(), home_sequence: named.sequence });
                }
                flow.waiting.push_back((places, number));
                self.moved = true;
                self.say(key);
            }
        }
    }

    fn is_synced(&self, places: &Places) -> bool {
        places.iter().all(|(slot, upto)| self.synced.get(&slot).is_some_and(|synced| *synced >= upto))
    }

    /// A stream is on disk up to here.
    pub(super) fn synced(&mut self, slot: StreamSlot, upto: u64) {
        self.synced.insert(slot, upto);
        self.moved = true;
    }

    /// A stream is gone: whoever waits for it is answered by what else it waits
    /// for, and never by what comes to have its slot.
    pub(super) fn gone(&mut self, slot: StreamSlot) {
        let clients = self.clients.values_mut().flatten().map(|(places, ..)| places);
        let flows = self.flows.values_mut().flat_map(|flow| &mut flow.waiting).map(|(places, _)| places);
        clients.chain(flows).for_each(|places| places.gone(slot));
        self.synced(slot, u64::MAX);
    }

    /// A slot has a new stream, which is on disk up to here.
    pub(super) fn fresh(&mut self, slot: StreamSlot, upto: u64) {
        self.synced.insert(slot, upto);
    }

    /// Answers all whose blocks have reached the disk.
    pub(super) fn settle(&mut self, net: &mut Outbox<ToNet>) -> usize {
        if !std::mem::take(&mut self.moved) {
            return 0;
        }
        let synced = &self.synced;
        let reached =
            |places: &Places| places.iter().all(|(slot, upto)| synced.get(&slot).is_some_and(|synced| *synced >= upto));
        let mut settled = 0;
        for queue in self.clients.values_mut() {
            while let Some((_, request, since)) = queue.pop_front_if(|(places, ..)| reached(places)) {
                self.waits.record(self.now.since(since), 1);
                net.push(ToNet::Acked(request));
                settled += 1;
            }
        }
        for (key, flow) in &mut self.flows {
            let mut upto = None;
            while let Some((_, number)) = flow.waiting.pop_front_if(|(places, _)| reached(places)) {
                upto = Some(number + 1);
            }
            if let (Some(upto), Some(position)) = (upto, &mut flow.position) {
                position.synced = upto;
                if !std::mem::replace(&mut flow.unsaid, true) {
                    self.unsaid.push_back(*key);
                }
                settled += 1;
            }
        }
        settled
    }

    /// What waits for this stream can never be synced.
    pub(super) fn failed(&mut self, slot: StreamSlot, reason: &str, net: &mut Outbox<ToNet>) {
        for queue in self.clients.values_mut() {
            // A block may stand in other streams too, and wait in the queue of one of them.
            let (stuck, others): (VecDeque<_>, _) = std::mem::take(queue)
                .into_iter()
                .partition(|(places, ..): &(Places, Request, Mono)| places.iter().any(|(at, _)| at == slot));
            *queue = others;
            for (_, request, _) in stuck {
                net.push(ToNet::Refused {
                    session: request.session,
                    id: request.id,
                    code: ErrorCode::STORAGE,
                    retry_after_ms: 1_000,
                    detail: format!("the disk failed before the event was safe: {reason}"),
                });
            }
        }
        let stuck: Vec<(FlowKey, u32)> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.waiting.iter().any(|(places, _)| places.iter().any(|(s, _)| s == slot)))
            .filter_map(|(key, flow)| Some((*key, flow.position?.incarnation)))
            .collect();
        for (key, incarnation) in stuck {
            self.refuse(key, incarnation, ErrorCode::STORAGE);
        }
    }

    /// A flow's block cannot be stored: nothing behind it will be, in this incarnation.
    pub(super) fn refuse(&mut self, key: FlowKey, incarnation: u32, code: ErrorCode) {
        let flow = self.flows.entry(key).or_default();
        if flow.position.is_none_or(|p| p.incarnation != incarnation) {
            flow.position = Some(Position { incarnation, written: 0, synced: 0, refused: code });
        } else if let Some(position) = &mut flow.position {
            position.refused = code;
        }
        flow.waiting.clear();
        self.say(key);
    }

    /// The origin has not heard: say again.
    pub(super) fn say_again(&mut self, key: FlowKey, incarnation: u32) {
        if self.flows.get(&key).and_then(|flow| flow.position).is_some_and(|p| p.incarnation == incarnation) {
            self.say(key);
        }
    }

    fn say(&mut self, key: FlowKey) {
        if let Some(flow) = self.flows.get_mut(&key)
            && !std::mem::replace(&mut flow.unsaid, true)
        {
            self.unsaid.push_back(key);
        }
    }

    /// The next flow with something to say, and what.
    pub(super) fn next_flow(&mut self) -> Option<(FlowKey, Position, Vec<FlowPlace>)> {
        let key = self.unsaid.pop_front()?;
        let flow = self.flows.get_mut(&key)?;
        flow.unsaid = false;
        Some((key, flow.position?, flow.places.drain(..).collect()))
    }
}

#[cfg(test)]
mod tests {
    use weft_ring::mpsc;
    use weft_ring::stage::StageWaker;

    use super::*;
    use crate::messages::SessionId;

    #[test]
    fn a_stream_whose_disk_failed_holds_up_nobody_of_another() {
        let (to_net, mut net) = mpsc::ring(16);
        let mut outbox = Outbox::new(&to_net, &StageWaker::parking());
        let (well, failing) = (StreamSlot(0), StreamSlot(1));
        let mut commits = Commits::default();
        let publish = |commits: &mut Commits, outbox: &mut Outbox<ToNet>, id: u64, slots: &[StreamSlot]| {
            let (session, level, place) = (SessionId::new(1, 1), AckLevel::Synced, None);
            let mut places = Places::default();
            slots.iter().for_each(|slot| places.push(*slot, id, None));
            let request = Request { session, id, level, sequence: id, duplicate: false, receivers: 0, homes: 0, place };
            commits.written(places, Completion::Client(request), outbox);
        };
        publish(&mut commits, &mut outbox, 1, &[well, failing]);
        publish(&mut commits, &mut outbox, 2, &[well]);
        commits.failed(failing, "as told", &mut outbox);
        commits.synced(well, 2);
        commits.settle(&mut outbox);
        let answers: Vec<(u64, bool)> = std::iter::from_fn(|| net.pop())
            .map(|answer| match answer {
                ToNet::Refused { id, .. } => (id, false),
                ToNet::Acked(request) => (request.id, true),
                _ => panic!("nothing else is said"),
            })
            .collect();
        assert_eq!(answers, [(1, false), (2, true)]);
    }

    fn waits(id: u64) -> Completion {
        let level = AckLevel::Synced;
        let (session, sequence, duplicate, receivers, homes, place) = (SessionId(1), 1, false, 0, 0, None);
        Completion::Client(Request { session, id, level, sequence, duplicate, receivers, homes, place })
    }

    fn at(places: &[(StreamSlot, u64)]) -> Places {
        let mut all = Places::default();
        places.iter().for_each(|(slot, upto)| all.push(*slot, *upto, None));
        all
    }

    #[test]
    fn who_waited_for_a_stream_that_is_gone_does_not_wait_for_the_one_after_it() {
        let waker = StageWaker::parking();
        let (to_net, mut net) = mpsc::ring(64);
        let mut out = Outbox::new(&to_net, &waker);
        let mut answered = move |commits: &mut Commits| {
            commits.settle(&mut out);
            out.notify();
            let mut ids = Vec::new();
            while let Some(message) = net.pop() {
                let ToNet::Acked(request) = message else { panic!("not an acknowledgement") };
                ids.push(request.id);
            }
            ids
        };
        let (waker, (other_net, _net)) = (StageWaker::parking(), mpsc::ring(64));
        let mut other = Outbox::new(&other_net, &waker);
        let (slot, beside) = (StreamSlot(0), StreamSlot(1));
        let mut commits = Commits::default();
        commits.fresh(slot, 1);
        commits.fresh(beside, 1);
        commits.written(at(&[(slot, 1_000)]), waits(1), &mut other);
        commits.written(at(&[(slot, 1_001), (beside, 2)]), waits(2), &mut other);
        commits.written(at(&[(beside, 2), (slot, 1_001)]), waits(3), &mut other);
        // Deleted and made again in one turn.
        commits.gone(slot);
        commits.fresh(slot, 1);
        commits.written(at(&[(slot, 2)]), waits(4), &mut other);
        assert_eq!(answered(&mut commits), [1], "it waits for nothing any more");
        commits.synced(slot, 2);
        assert_eq!(answered(&mut commits), [0; 0], "the second is in front, and waits for the stream beside");
        commits.synced(beside, 2);
        let mut ids = answered(&mut commits);
        ids.sort_unstable();
        assert_eq!(ids, [2, 3, 4]);
    }
}
