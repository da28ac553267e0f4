//! The admit stage: checks what clients publish, on cores of its own where
//! there are some.
//!
//! Checking costs by the byte (two checksums over all of a block), routing by
//! the block; so checking is what is spread. Shard 0 is the route stage itself,
//! which checks what nobody else has; the others are stages of this kind, each
//! with its own ring and thread. A topic's shard is found by consistent hashing.
//!
//! The order of a session's blocks holds while shards come and go, by the rule of
//! receive flow steering (Herbert and de Bruijn, Linux 2.6.35, `rps_dev_flow`): a session's
//! next block goes to another shard only when the shard that has its last one
//! has handed that on. Until then it stays where it is.
//!
//! Inputs: blocks from the net stage. Outputs: the same blocks to the route
//! stage, refusals to the net stage. Owner thread: one per shard. Bound per
//! turn: [`BATCH`]; none is taken while the route stage has no room.

use std::sync::Arc;

use weft_base::Now;
use weft_base::buckets::jump;
use weft_base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_topic::Topic;
use weft_wire::block::Block;
use weft_wire::frame::{AckLevel, ErrorCode};

use crate::inbox::RouteOutbox;
use crate::load::Load;
use crate::messages::{Publish, ToNet, ToRoute};
use crate::outbox::{Outbox, backlog};

/// Blocks taken in one turn.
const BATCH: usize = 64;
/// Room that the next stages must have before a block is taken.
const ROOM: usize = 2;
/// The names of the shards' stages; also the most there can be.
pub(crate) const NAMES: [&str; 16] = [
    "admit-1", "admit-2", "admit-3", "admit-4", "admit-5", "admit-6", "admit-7", "admit-8", "admit-9", "admit-10",
    "admit-11", "admit-12", "admit-13", "admit-14", "admit-15", "admit-16",
];

/// What is wrong with a published block.
pub(crate) enum Fault {
    /// The publisher broke the format: its session ends.
    Format(String),
    /// The block is sound and cannot be published.
    Refused(ErrorCode, String),
}

/// All that can be known of a published block by looking at it alone.
pub(crate) fn check(block: &[u8]) -> Result<(), Fault> {
    let parsed = Block::validate(block).map_err(|error| Fault::Format(error.to_string()))?;
    if parsed.stamp().is_some() {
        return Err(Fault::Format("a publisher must leave the hub's line of a block zero".to_owned()));
    }
    Topic::parse(parsed.topic()).map_err(|error| Fault::Refused(ErrorCode::BAD_TOPIC, error.to_string()))?;
    Ok(())
}

/// What to say of a faulty block, if the publisher is to be told.
pub(crate) fn refusal(publish: &Publish, fault: Fault) -> Option<ToNet> {
    let session = publish.session;
    match fault {
        Fault::Format(detail) => Some(ToNet::Close { session, code: ErrorCode::BAD_BLOCK, detail }),
        Fault::Refused(..) if publish.level == AckLevel::None => None,
        Fault::Refused(code, detail) => {
            Some(ToNet::Refused { session, id: publish.id, code, retry_after_ms: 0, detail })
        }
    }
}

/// One shard.
pub(crate) struct AdmitStage {
    pub(crate) name: &'static str,
    pub(crate) inbox: mpsc::Consumer<Publish>,
    pub(crate) route: RouteOutbox,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) waker: StageWaker,
    /// Blocks taken since the start; `done` follows when they have been handed on.
    pub(crate) taken: u64,
    pub(crate) done: Arc<AtomicU64>,
    /// Where what is refused here counts as having left.
    pub(crate) load: Arc<Load>,
}

impl Stage for AdmitStage {
    fn name(&self) -> &'static str {
        self.name
    }

    fn do_work(&mut self, _now: Now) -> usize {
        let before = self.taken;
        let mut work = 0;
        while work < BATCH && self.route.has_room(ROOM) && self.net.has_room(ROOM) {
            let Some(mut publish) = self.inbox.pop() else { break };
            work += 1;
            self.taken += 1;
            match check(&publish.block) {
                Ok(()) => {
                    publish.checked = true;
                    self.route.push(ToRoute::Publish(publish));
                }
                Err(fault) => {
                    self.load.leave(Block::trusted(&publish.block).lane());
                    if let Some(message) = refusal(&publish, fault) {
                        self.net.push(message);
                    }
                }
            }
        }
        // Only what is in the route stage's ring has been handed on: whoever
        // reads this and sends there next comes behind it.
        if self.route.has_room(0) && (self.taken != before || self.done.load(Ordering::Relaxed) != self.taken) {
            self.done.store(self.taken, Ordering::Release);
        }
        self.route.notify();
        self.net.notify();
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}

/// The net stage's way to the shards.
pub(crate) struct Admission {
    shards: Vec<Shard>,
    /// How many shards, with the route stage as the first, are to be used.
    wanted: Arc<AtomicU32>,
}

/// One shard, as its sender knows it.
pub(crate) struct Shard {
    pub(crate) out: Outbox<Publish>,
    pub(crate) sent: u64,
    pub(crate) done: Arc<AtomicU64>,
}

/// Where a session's last block went: a shard's number, from 1, and how many
/// blocks that shard had been sent by then.
pub(crate) type LastShard = (usize, u64);

impl Admission {
    pub(crate) fn new(shards: Vec<Shard>, wanted: Arc<AtomicU32>) -> Self {
        Self { shards, wanted }
    }

    /// Sends a block to be checked and routed; `last` is its session's.
    pub(crate) fn send(&mut self, publish: Publish, last: &mut Option<LastShard>, route: &mut RouteOutbox) {
        if self.shards.is_empty() {
            return route.push(ToRoute::Publish(publish));
        }
        let at = match self.under_way(*last) {
            Some(shard) => shard,
            None => self.shard_of(Block::trusted(&publish.block).topic()),
        };
        match at.checked_sub(1).and_then(|index| self.shards.get_mut(index)) {
            Some(shard) => {
                shard.sent += 1;
                *last = Some((at, shard.sent));
                shard.out.push(publish);
            }
            None => {
                *last = None;
                route.push(ToRoute::Publish(publish));
            }
        }
    }

    /// The shard that still has a session's last block.
    fn under_way(&self, last: Option<LastShard>) -> Option<usize> {
        let (at, ticket) = last?;
        let shard = self.shards.get(at.checked_sub(1)?)?;
        // Acquire: what was handed on is in the route stage's ring before what follows.
        (shard.done.load(Ordering::Acquire) < ticket).then_some(at)
    }

    fn shard_of(&self, topic: &str) -> usize {
        match self.wanted.load(Ordering::Relaxed) {
            0 | 1 => 0,
            wanted => jump(xxhash_rust::xxh3::xxh3_64(topic.as_bytes()), wanted) as usize,
        }
    }

    /// Whether every ring takes at least this many more.
    pub(crate) fn have_room(&mut self, n: usize) -> bool {
        self.shards.iter_mut().all(|shard| shard.out.has_room(n))
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.done.load(Ordering::Acquire) == shard.sent)
    }

    pub(crate) fn notify(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.out.notify());
    }
}

#[cfg(test)]
mod tests;
