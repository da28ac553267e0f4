//! The route stage's inbox: a ring for each lane of what carries a block, and
//! one for the rest.
//!
//! It is where blocks wait when more is read than routed: the other stages
//! empty their inboxes in each turn, and what waits behind them waits in lanes
//! of its own. Urgent lanes go first, each with a share: in a round a lane may
//! give as many blocks as its weight, 8 for the most urgent down to 1, so none
//! starves. A full lane stops the reading of those who publish in it, and not
//! of others.
//!
//! Order: blocks of one session and lane take one ring, and links number their
//! blocks by lane. What takes the last ring depends on no block, but for a
//! link's end, which the route stage acts on once the lanes are empty.

use weft_base::Lane;
use weft_ring::mpsc;
use weft_ring::stage::StageWaker;
use weft_wire::block::Block;
use weft_wire::frame::{self, FRAME_HEADER, Kind};

use crate::messages::ToRoute;
use crate::outbox::Outbox;

/// The fewest slots of a lane's ring.
const LEAST_SLOTS: usize = 64;
/// Where a block says its lane.
const LANE_BYTE: usize = 7;

/// Slots of one lane's ring when the ring for the rest has `slots`.
pub(crate) fn lane_slots(slots: usize) -> usize {
    (slots / Lane::COUNT).max(LEAST_SLOTS)
}

/// The lane of a whole `Forward` or `Detour` frame, as its block says; the default
/// one where it says nothing sound, which the route stage finds.
fn lane_of_forward(frame: &[u8]) -> Lane {
    let lane = frame::peek_block(frame).and_then(|block| block.get(LANE_BYTE));
    lane.and_then(|lane| Lane::new(*lane)).unwrap_or(Lane::DEFAULT)
}

/// The lane of a frame that carries a block to the route stage; none for others.
pub(crate) fn lane_of_frame(frame: &[u8]) -> Option<Lane> {
    match frame::peek_kind(frame) {
        Some(Kind::Publish) => frame.get(FRAME_HEADER..).map(|block| Block::trusted(block).lane()),
        Some(Kind::Forward | Kind::Detour) => Some(lane_of_forward(frame)),
        _ => None,
    }
}

impl ToRoute {
    /// The lane of what carries a block, or comes behind some.
    fn lane(&self) -> Option<Lane> {
        match self {
            ToRoute::Publish(publish) => Some(Block::trusted(&publish.block).lane()),
            ToRoute::Forward { frame, .. } => Some(lane_of_forward(frame)),
            // Behind the blocks that it counts.
            ToRoute::Marked { marked, .. } => Some(marked.mark.lane),
            _ => None,
        }
    }
}

/// The rings, as those who send to the route stage hold them.
#[derive(Clone)]
pub(crate) struct RouteRings {
    lanes: [mpsc::Producer<ToRoute>; Lane::COUNT],
    rest: mpsc::Producer<ToRoute>,
}

/// The rings of a hub whose rings have `slots`.
pub(crate) fn rings(slots: usize) -> (RouteRings, RouteInbox) {
    let (to_rest, rest) = mpsc::ring(slots);
    let pairs = [(); Lane::COUNT].map(|()| mpsc::ring(lane_slots(slots)));
    let mut lanes = Vec::with_capacity(Lane::COUNT);
    let producers = pairs.map(|(producer, consumer)| {
        lanes.push(consumer);
        producer
    });
    let inbox = RouteInbox { lanes, rest, turn: 0, given: 0 };
    (RouteRings { lanes: producers, rest: to_rest }, inbox)
}

/// The route stage's end.
pub(crate) struct RouteInbox {
    lanes: Vec<mpsc::Consumer<ToRoute>>,
    rest: mpsc::Consumer<ToRoute>,
    /// The lane whose turn it is; behind the last one, the rest.
    turn: usize,
    /// What it has given in this round.
    given: usize,
}

impl RouteInbox {
    /// The next message, by lanes and their weights.
    pub(crate) fn pop(&mut self) -> Option<ToRoute> {
        // Once around from where it stands, and back to it.
        for _ in 0..=Lane::COUNT + 1 {
            let weight = match self.turn {
                lane if lane < Lane::COUNT => Lane::COUNT - lane,
                _ => Lane::COUNT,
            };
            if self.given < weight {
                let ring = self.lanes.get_mut(self.turn).unwrap_or(&mut self.rest);
                if let Some(message) = ring.pop() {
                    self.given += 1;
                    return Some(message);
                }
            }
            self.turn = (self.turn + 1) % (Lane::COUNT + 1);
            self.given = 0;
        }
        None
    }

    /// Whether no block waits.
    pub(crate) fn has_no_blocks(&self) -> bool {
        self.lanes.iter().all(mpsc::Consumer::is_empty)
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(mpsc::Consumer::len).sum::<usize>() + self.rest.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.lanes.iter().map(mpsc::Consumer::capacity).sum::<usize>() + self.rest.capacity()
    }
}

/// The way into the route stage's inbox, as [`Outbox`] is into others.
pub(crate) struct RouteOutbox {
    lanes: [Outbox<ToRoute>; Lane::COUNT],
    rest: Outbox<ToRoute>,
}

impl RouteOutbox {
    pub(crate) fn new(rings: &RouteRings, waker: &StageWaker) -> Self {
        let rest = Outbox::new(&rings.rest, waker);
        Self { lanes: rings.lanes.each_ref().map(|ring| Outbox::new(ring, waker)), rest }
    }

    fn ring(&mut self, lane: Option<Lane>) -> &mut Outbox<ToRoute> {
        lane.and_then(|lane| self.lanes.get_mut(lane.index())).unwrap_or(&mut self.rest)
    }

    /// Sends now, or as soon as there is room; [`RouteOutbox::notify`] must
    /// follow before the turn ends.
    pub(crate) fn push(&mut self, message: ToRoute) {
        self.ring(message.lane()).push(message);
    }

    /// Sends what waits; answers whether all is sent, and `n` more without a
    /// block fit.
    pub(crate) fn has_room(&mut self, n: usize) -> bool {
        let mut sent = true;
        for lane in &mut self.lanes {
            sent &= lane.has_room(0);
        }
        self.rest.has_room(n) && sent
    }

    /// Whether `n` more blocks of this lane fit.
    pub(crate) fn has_room_in(&mut self, lane: Lane, n: usize) -> bool {
        self.ring(Some(lane)).has_room(n)
    }

    /// Wakes the route stage if it was sent something.
    pub(crate) fn notify(&mut self) {
        self.lanes.iter_mut().for_each(Outbox::notify);
        self.rest.notify();
    }

    /// Whether nothing waits here or in the rings.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(Outbox::is_empty) && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests;
