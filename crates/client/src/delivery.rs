//! What a subscription gets: a block of events, read where it was received.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use weft_base::{Lane, UnixNanos};
use weft_ring::arena::BlockRef;
use weft_sched::lanes::{LaneQueue, Waiting, order_key};
use weft_topic::Topic;
use weft_wire::block::{Block, Event, Stamp};
use zerocopy::IntoBytes;

use crate::error::SubscribeError;
use crate::ticket::lock;

/// With this many blocks waiting the application is behind, and small blocks
/// are moved out of the receive buffers, which they would keep whole.
const BEHIND: usize = 32;
/// A block of at most this many bytes is small.
const SMALL: usize = 8 << 10;

/// Where a delivered block lies: 8-aligned in both.
#[derive(Clone)]
enum Bytes {
    /// In the buffer that it was received into.
    Received(BlockRef),
    /// In memory of its own.
    Moved(Arc<[u64]>),
}

/// Events that the hub dropped, or that passed while there was no connection,
/// between the delivery before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Events that the hub says it dropped for this subscription.
    pub events: u64,
    /// The number of the last reason that it gave (`weft_mesh::ledger::DropReason`).
    pub reason: u8,
    /// The connection was lost in between: of a live subscription an unknown
    /// number of events passed meanwhile. Of a stream none are missing.
    pub reconnected: bool,
}

impl Gap {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.events == 0 && !self.reconnected
    }
}

/// A block of events of one topic, as it came over the wire.
///
/// Nothing is copied or decoded until it is looked at: events are read from
/// the receive buffer, which lives as long as a delivery from it.
#[derive(Clone)]
pub struct Delivery {
    bytes: Bytes,
    hops: u8,
    gap: Gap,
    /// Events at the front that are not in this delivery.
    skip: u32,
    /// Events behind those that are at most.
    take: u32,
}

impl Delivery {
    /// Of a validated block.
    pub(crate) fn new(block: BlockRef, hops: u8, gap: Gap, skip: u32) -> Self {
        Self { bytes: Bytes::Received(block), hops, gap, skip, take: u32::MAX }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Received(block) => block,
            Bytes::Moved(words) => words.as_bytes(),
        }
    }

    /// Leaves the receive buffer, if it is small and so many wait that they
    /// would keep many buffers.
    pub(crate) fn make_room(&mut self, waiting: usize) {
        if waiting >= BEHIND && self.bytes().len() <= SMALL {
            self.move_out();
        }
    }

    /// Leaves the receive buffer.
    fn move_out(&mut self) {
        if let Bytes::Received(block) = &self.bytes {
            let mut words = vec![0_u64; block.len() / 8];
            words.as_mut_bytes().copy_from_slice(block);
            self.bytes = Bytes::Moved(words.into());
        }
    }

    /// The block, with all that its producer and its hubs wrote into it.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        Block::trusted(self.bytes())
    }

    /// The topic of all its events.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.block().topic()
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let block = self.block();
        // What compaction took out of a stream only keeps the others' places.
        let is_there = move |event: &Event<'_>| !(block.is_compacted() && event.is_removed());
        block.events().skip(self.skip as usize).take(self.take as usize).filter(is_there)
    }

    /// Keeps the first `n` events; answers the others, if there are any. Copies nothing.
    pub(crate) fn split_off(&mut self, n: u32) -> Option<Delivery> {
        let count = self.event_count();
        if count <= n {
            return None;
        }
        let rest = Delivery { gap: Gap::default(), skip: self.skip + n, take: count - n, ..self.clone() };
        self.take = n;
        Some(rest)
    }

    /// How many events there are.
    #[must_use]
    pub fn event_count(&self) -> u32 {
        self.block().event_count().saturating_sub(self.skip).min(self.take)
    }

    /// How many links they came over.
    #[must_use]
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// What is missing before them.
    #[must_use]
    pub fn gap(&self) -> Gap {
        self.gap
    }

    /// Where and when the block entered the mesh.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.block().stamp()
    }

    /// The producer's sequence of the first of [`events`](Self::events).
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.block().first_sequence() + u64::from(self.skip)
    }

    /// The stream's sequence of the first of [`events`](Self::events); 0 when
    /// they come from no stream.
    #[must_use]
    pub fn stream_sequence(&self) -> u64 {
        match self.block().stream_sequence() {
            0 => 0,
            first => first + u64::from(self.skip),
        }
    }

    /// The home at which they entered their stream, by its
    /// [tag](weft_base::HubId::tag), and the sequence there of the first of
    /// [`events`](Self::events); `None` when they come from no stream.
    #[must_use]
    pub fn home(&self) -> Option<(u32, u64)> {
        self.block().home().map(|(home, first)| (home, first + u64::from(self.skip)))
    }

    /// When the block entered its first hub.
    #[must_use]
    pub fn ingested(&self) -> UnixNanos {
        self.stamp().map_or(UnixNanos(0), |stamp| stamp.ingested)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("block", &self.block())
            .field("hops", &self.hops)
            .field("gap", &self.gap)
            .field("skip", &self.skip)
            .finish()
    }
}

/// Checks a block that came in: layout, checksums and topic.
pub(crate) fn check(bytes: &[u8]) -> Result<Block<'_>, String> {
    let block = Block::validate(bytes).map_err(|e| e.to_string())?;
    Topic::parse(block.topic()).map_err(|e| e.to_string())?;
    Ok(block)
}

/// What waits for one subscription's application, the urgent lanes first and
/// the earliest deadline first inside a lane; a stream's deliveries keep the
/// stream's order. Bounded by the credit that the hub was given.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    items: LaneQueue<Delivery>,
    /// Of a stream: all before this sequence has come, or is told to be missing.
    reached: u64,
    /// What is told to be missing behind the last that came.
    behind: Gap,
    /// Why nothing more comes; told once all that waits is taken.
    failed: Option<SubscribeError>,
    ended: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// A block has come. `stream`: it is one of a stream.
    pub(crate) fn push(&self, mut delivery: Delivery, stream: bool, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        delivery.make_room(inner.items.len());
        let (block, cost) = (delivery.block(), delivery.bytes().len());
        let events = u64::from(block.event_count());
        let waiting = if stream {
            Waiting { lane: Lane::DEFAULT, deadline: UnixNanos(0), order: 0, cost, events }
        } else {
            let order = order_key(block.producer().0, block.topic().as_bytes());
            Waiting { lane: block.lane(), deadline: block.deadline(), order, cost, events }
        };
        // Deadlines are compared with each other and with what has none: when it came to its hub is near enough.
        let came = delivery.ingested();
        inner.items.push(waiting, came, delivery);
        wake.extend(inner.waker.take());
    }

    /// Of a stream: all before `next` has come or is told to be missing, of
    /// that `behind` since the last that came.
    pub(crate) fn reach(&self, next: u64, behind: Gap, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        inner.reached = inner.reached.max(next);
        inner.behind = behind;
        wake.extend(inner.waker.take());
    }

    /// What is told to be missing behind the last that came.
    pub(crate) fn behind(&self) -> Gap {
        lock(&self.0).behind
    }

    /// Nothing more will come, for this reason.
    pub(crate) fn fail(&self, error: SubscribeError, wake: &mut Vec<Waker>) {
        lock(&self.0).failed.get_or_insert(error);
        self.end(wake);
    }

    /// Nothing more will come.
    pub(crate) fn end(&self, wake: &mut Vec<Waker>) {
        let mut inner = lock(&self.0);
        inner.ended = true;
        wake.extend(inner.waker.take());
    }

    /// Takes what goes first; `Ready(None)` when nothing will come any more, or
    /// of a stream nothing before `end`.
    pub(crate) fn poll_below(&self, cx: &mut Context<'_>, end: u64) -> Poll<Option<Result<Delivery, SubscribeError>>> {
        let mut inner = lock(&self.0);
        if let Some((_, delivery)) = inner.items.pop() {
            return Poll::Ready(Some(Ok(delivery)));
        }
        if let Some(error) = inner.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if inner.ended || inner.reached >= end {
            return Poll::Ready(None);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
