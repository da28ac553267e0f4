//! The publishing side of a session: blocks that fill, blocks that wait to be
//! sent, blocks that wait for their acknowledgement.
//!
//! ```text
//! push -> open block -> (full, lingered long enough, or nothing on its way) -> pending
//!      -> sent, within the hub's window -> acknowledged or refused -> gone
//! ```
//!
//! A block is given its number, and its events their sequences, when it is
//! sealed; it keeps both when it is sent again over a new connection, which is
//! how the hub knows that it has seen it. Each lane has a producer id of its
//! own, because blocks of an urgent lane may overtake others inside the mesh
//! and hubs cut what comes behind a producer's newest sequence.
//!
//! Lanes share what is sent by weighted deficit, so an urgent block overtakes
//! bulk that waits for the window. Inside a lane blocks keep their order whatever
//! their deadlines: it is the order of the producer's sequences. One that expires
//! before it is sent is answered with an error and never sent.
//!
//! An event's bytes are written once, into the buffer that is handed to the
//! network and kept until the acknowledgement.

mod alone;
mod batch;
mod open;
mod terms;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Now, ProducerId, Residency, TenantId, UnixNanos};
use weft_sched::lanes::{LaneQueue, Waiting};
use weft_wire::block::{EventFields, HEADER_LEN, Paused, event_len};
use weft_wire::frame::{self, AckLevel, FRAME_HEADER, publish_head, publish_homes_head};

pub(crate) use self::batch::Gathered;
use self::open::Open;
pub(crate) use self::open::Sealed;
pub use self::terms::Terms;
pub(crate) use self::window::Window;
use crate::error::{PublishError, Refusal};
use crate::options::Order;
use crate::ticket::Ticket;

/// Topics of one lane whose blocks may fill side by side.
pub const OPEN_TOPICS: usize = 64;
/// Producers with ids of their own that one client may have.
const MOST_PRODUCERS: usize = 65_536;
/// Numbers of blocks that need not be sent any more which may wait beside the others.
const FORGOTTEN: usize = 64;
/// Buffers of blocks that are done, kept for the next ones.
const SPARE: usize = 32;
/// A spare buffer larger than this is not kept.
const SPARE_BYTES: usize = 256 << 10;

/// What a hub says of a whole block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockAck {
    pub(crate) level: AckLevel,
    pub(crate) origin: HubId,
    pub(crate) epoch: Epoch,
    /// Of the block's first event.
    pub(crate) sequence: u64,
    pub(crate) duplicate: bool,
    /// To how many live receivers the hub sent it.
    pub(crate) receivers: u32,
    /// Where it entered its stream; 0 for no stream, or several.
    pub(crate) home: HubId,
    /// Of the block's first event, at that home.
    pub(crate) home_sequence: u64,
    /// How many homes have it on disk.
    pub(crate) homes: u8,
}

impl BlockAck {
    pub(crate) fn of(ack: &frame::Ack) -> Self {
        Self {
            level: ack.level,
            origin: ack.origin,
            epoch: ack.epoch,
            sequence: ack.sequence,
            duplicate: ack.duplicate,
            receivers: ack.receivers,
            home: ack.home,
            home_sequence: ack.home_sequence,
            homes: ack.homes,
        }
    }
}

pub(crate) type BlockTicket = Ticket<Result<BlockAck, PublishError>>;

/// What blocks of one publisher have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) lane: Lane,
    pub(crate) level: AckLevel,
    pub(crate) schema: u32,
    pub(crate) tenant: TenantId,
    pub(crate) linger: Duration,
    pub(crate) block: usize,
    pub(crate) order: Order,
    /// How long after it was taken an event is of use.
    pub(crate) deadline: Option<Duration>,
    /// With level `Homes`: how many; else 0.
    pub(crate) homes: u8,
    /// How long after it entered its hub an event is of use.
    pub(crate) ttl: Option<Duration>,
    /// The producer's id, if it is not the client's own.
    pub(crate) producer: Option<ProducerId>,
    /// Where its events may be.
    pub(crate) residency: Residency,
}

/// The batch that a block is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whole {
    blocks: usize,
    bytes: usize,
}

/// A block that is sealed and not done.
#[derive(Debug)]
struct Pending {
    lane: Lane,
    level: AckLevel,
    block: Arc<Sealed>,
    ticket: Option<Arc<BlockTicket>>,
    sent: bool,
    homes: u8,
    whole: Option<Whole>,
}

/// A block to be written now.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) head: [u8; FRAME_HEADER],
    pub(crate) block: Arc<Sealed>,
}

/// The publishing side of a session.
#[derive(Debug)]
pub(crate) struct Publishing {
    producer: u64,
    next_sequence: [u64; Lane::COUNT],
    /// Of producers with ids of their own: the number of the next event.
    durable: BTreeMap<ProducerId, u64>,
    next_request: u64,
    open: Vec<Open>,
    pending: BTreeMap<u64, Pending>,
    pending_bytes: usize,
    unsent: LaneQueue<u64>,
    /// Sent and to be acknowledged, as the hub counts them.
    unacknowledged: Window,
    limit: Window,
    hub_window: Window,
    most_block: usize,
    spare: Vec<Vec<u8>>,
    waiting: Vec<Waker>,
    /// How many hold blocks open that are not full.
    corks: usize,
}

impl Publishing {
    pub(crate) fn new(producer: u64, limit: Window) -> Self {
        Self {
            producer: producer & !0b111,
            next_sequence: [1; Lane::COUNT],
            durable: BTreeMap::new(),
            next_request: 1,
            open: Vec::new(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            unsent: LaneQueue::default(),
            unacknowledged: Window { blocks: 0, bytes: 0 },
            limit,
            hub_window: Window { blocks: 1, bytes: 0 },
            most_block: HEADER_LEN,
            spare: Vec::new(),
            waiting: Vec::new(),
            corks: 0,
        }
    }

    /// One more holds, or one less, blocks open that are not full.
    pub(crate) fn cork(&mut self, is_put: bool) {
        self.corks = if is_put { self.corks.saturating_add(1) } else { self.corks.saturating_sub(1) };
    }

    /// The id of the producer of lane `lane`.
    pub(crate) fn producer(&self, lane: Lane) -> ProducerId {
        ProducerId(self.producer | u64::from(lane.get()))
    }

    /// The id under which blocks of this publisher go.
    fn producer_of(&self, spec: &Spec) -> ProducerId {
        spec.producer.unwrap_or_else(|| self.producer(spec.lane))
    }

    /// The number of its next event.
    fn next_of(&self, spec: &Spec) -> u64 {
        match spec.producer {
            Some(producer) => self.durable.get(&producer).copied().unwrap_or(1),
            None => self.next_sequence[spec.lane.index()],
        }
    }

    fn set_next_of(&mut self, spec: &Spec, next: u64) {
        match spec.producer {
            Some(producer) => drop(self.durable.insert(producer, next)),
            None => self.next_sequence[spec.lane.index()] = next,
        }
    }

    /// A producer with an id of its own goes on with this number, or with a
    /// higher one that it has reached here. False when there are too many.
    pub(crate) fn declare(&mut self, producer: ProducerId, next: u64) -> bool {
        if self.durable.len() >= MOST_PRODUCERS && !self.durable.contains_key(&producer) {
            return false;
        }
        let known = self.durable.entry(producer).or_insert(1);
        *known = (*known).max(next);
        true
    }

    /// Seals what must be on its way before a block of `topic`, or of several
    /// topics, that is not filled: so that the order asked for is kept.
    fn seal_before(&mut self, spec: &Spec, topic: Option<&str>) -> Result<(), PublishError> {
        let all = spec.order == Order::Publisher;
        let before =
            |open: &Open| open.spec.lane == spec.lane && (all || topic.is_none_or(|topic| open.topic == topic));
        while let Some(i) = self.open.iter().position(before) {
            self.seal(i)?;
        }
        Ok(())
    }

    /// Puts an event into a block. Answers the block's ticket, unless nothing
    /// is acknowledged at this level, and the event's place in the block.
    pub(crate) fn push(
        &mut self,
        spec: &Spec,
        topic: &str,
        event: &EventFields<'_>,
        now: Now,
    ) -> Result<(Option<Arc<BlockTicket>>, u32), PublishError> {
        if spec.producer.is_some() {
            // Blocks must come again as they were, also from another process that cuts them elsewhere.
            return Ok((self.push_on_terms(spec, topic, event, &Terms::default(), now)?, 0));
        }
        let mut headers = Vec::new();
        let event = match spec.ttl {
            Some(_) => {
                Terms { ttl: spec.ttl, ..Terms::default() }.headers(event.headers, &mut headers)?;
                &EventFields { headers: &headers, ..*event }
            }
            None => event,
        };
        let need = event_len(event.key.len(), event.headers.len(), event.payload.len());
        let limit = spec.block.min(self.most_block);
        let mut place = self.open.iter().position(|open| open.topic == topic && open.spec == *spec);
        if let Some(i) = place
            && let Some(open) = self.open.get(i)
            && !open.fits(need, limit)
        {
            self.seal(i)?;
            place = None;
        }
        let i = match place {
            Some(i) => i,
            None => self.open_block(spec, topic, need, now)?,
        };
        let Some(open) = self.open.get_mut(i) else { return Err(PublishError::Closed) };
        match open.push(event, need, limit) {
            Ok(index) => Ok((open.ticket.clone(), index)),
            Err(error) => {
                if open.is_empty() {
                    let open = self.open.remove(i);
                    self.spare.push(open.buffer);
                }
                Err(error.into())
            }
        }
    }

    /// Whether no more blocks may be pending.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= self.limit.blocks || self.pending_bytes >= self.limit.bytes
    }

    /// Seals an open block: it gets its number and sequences.
    fn seal(&mut self, i: usize) -> Result<(), PublishError> {
        if self.is_full() {
            return Err(PublishError::Full { blocks: self.pending.len() });
        }
        if i >= self.open.len() {
            return Ok(());
        }
        // Not swap_remove: the order in `open` is the order of opening.
        let mut open = self.open.remove(i);
        let lane = open.spec.lane;
        let first = self.next_sequence[lane.index()];
        let count = open.paused.as_ref().map_or(0, Paused::event_count);
        let len = match open.finish(first) {
            Ok(len) => len,
            Err(error) => {
                // Only beyond 2^64 events of this lane.
                if let Some(ticket) = open.ticket {
                    ticket.complete(Err(error.into()), &mut self.waiting);
                }
                return Ok(());
            }
        };
        self.next_sequence[lane.index()] = first.saturating_add(u64::from(count));
        let block = Arc::new(Sealed { buffer: open.buffer, len });
        let (level, homes) = (open.spec.level, open.spec.homes);
        let pending = Pending { lane, level, homes, block, ticket: open.ticket, sent: false, whole: None };
        self.enqueue(pending, open.expires);
        Ok(())
    }

    fn enqueue(&mut self, pending: Pending, expires: Option<Mono>) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.pending_bytes += pending.block.len;
        self.queue(request, pending.lane, pending.block.len, expires);
        self.pending.insert(request, pending);
        request
    }

    /// A block need not be sent any more.
    pub(crate) fn forget(&mut self, request: u64) {
        self.finish(request);
        // Its number in `unsent` is passed over in its turn, or once there are many of them.
        if self.unsent.len() > 2 * self.pending.len() + FORGOTTEN {
            let mut kept = LaneQueue::default();
            while let Some((waiting, request)) = self.unsent.pop() {
                if self.pending.contains_key(&request) {
                    kept.push(waiting, UnixNanos(0), request);
                }
            }
            self.unsent = kept;
        }
    }

    /// Queues a sealed block to be sent.
    fn queue(&mut self, request: u64, lane: Lane, cost: usize, expires: Option<Mono>) {
        // The queue compares times with each other only: the clock that does not jump serves as well.
        let deadline = UnixNanos(expires.map_or(0, |at| at.0.max(1)));
        let waiting = Waiting { lane, deadline, order: 0, cost, events: 0 };
        self.unsent.push(waiting, UnixNanos(0), request);
    }

    /// Answers the blocks that have expired and were not sent.
    pub(crate) fn expire(&mut self, now: Mono, wake: &mut Vec<Waker>) {
        while let Some((_, request)) = self.unsent.take_expired(UnixNanos(now.0)) {
            let Some(pending) = self.finish(request) else { continue };
            if let Some(ticket) = &pending.ticket {
                ticket.complete(Err(PublishError::Expired), wake);
            }
            self.recycle(pending.block);
            wake.append(&mut self.waiting);
        }
    }

    /// Seals what must not wait longer: what is due, and everything when
    /// `hurry` or when nothing else is on its way.
    pub(crate) fn seal_due(&mut self, now: Mono, hurry: bool) {
        if self.corks > 0 && !hurry {
            return;
        }
        let idle = self.pending.is_empty();
        let mut i = 0;
        while let Some(open) = self.open.get(i) {
            if hurry || idle || open.due <= now {
                if self.seal(i).is_err() {
                    return;
                }
            } else {
                i += 1;
            }
        }
    }

    /// When a block is due, unless that is waiting for room or is held open.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        if self.is_full() || self.corks > 0 {
            return None;
        }
        self.open.iter().map(|open| open.due).min()
    }

    /// When a block that is not sent yet expires.
    pub(crate) fn next_expiry(&mut self) -> Option<Mono> {
        // A deadline is past a nanosecond after it.
        self.unsent.earliest_deadline().map(|at| Mono(at.0.saturating_add(1)))
    }

    /// The next block to be written, if the hub's window has room for it.
    pub(crate) fn next_outgoing(&mut self) -> Option<Outgoing> {
        let request = *self.unsent.peek()?.1;
        let Some(pending) = self.pending.get_mut(&request) else {
            self.unsent.pop();
            return self.next_outgoing();
        };
        let (len, level) = (pending.block.len, pending.level);
        if level != AckLevel::None {
            if !self.unacknowledged.has_room(len, self.hub_window) {
                return None;
            }
            let used = &mut self.unacknowledged;
            used.blocks += 1;
            used.bytes += len;
            pending.sent = true;
        }
        self.unsent.pop();
        let head = match level {
            AckLevel::Homes => publish_homes_head(request, pending.homes, len),
            level => publish_head(request, level, len),
        };
        let out = Outgoing { head, block: pending.block.clone() };
        if level == AckLevel::None {
            // Nobody will say more of it.
            self.finish(request);
        }
        Some(out)
    }

    /// Whether a turn of the driver would write something now.
    pub(crate) fn can_send(&mut self, hurry: bool) -> bool {
        let is_idle = self.pending.is_empty() && self.corks == 0;
        if !self.open.is_empty() && !self.is_full() && (hurry || is_idle) {
            return true;
        }
        let Some((_, request)) = self.unsent.peek() else { return false };
        self.pending
            .get(request)
            .is_none_or(|p| p.level == AckLevel::None || self.unacknowledged.has_room(p.block.len, self.hub_window))
    }

    /// Takes a block out of the table.
    fn finish(&mut self, request: u64) -> Option<Pending> {
        let pending = self.pending.remove(&request)?;
        self.pending_bytes -= pending.block.len;
        if pending.sent {
            self.unacknowledged.blocks -= 1;
            self.unacknowledged.bytes -= pending.block.len;
        }
        Some(pending)
    }

    /// Keeps a block's buffer for another block, if nobody else holds it.
    pub(crate) fn recycle(&mut self, block: Arc<Sealed>) {
        if self.spare.len() < SPARE
            && block.buffer.len() <= SPARE_BYTES
            && let Some(sealed) = Arc::into_inner(block)
        {
            self.spare.push(sealed.buffer);
        }
    }

    /// The hub's answer to a block; `wake` gets the tasks to wake. False when
    /// no block has this number.
    pub(crate) fn answered(&mut self, request: u64, answer: Result<BlockAck, Refusal>, wake: &mut Vec<Waker>) -> bool {
        // A block that was not sent in this connection has no answer in it.
        if self.pending.get(&request).is_none_or(|pending| !pending.sent) {
            return false;
        }
        let Some(pending) = self.finish(request) else { return false };
        if let Some(ticket) = &pending.ticket {
            ticket.complete(answer.map_err(PublishError::Refused), wake);
        }
        self.recycle(pending.block);
        wake.append(&mut self.waiting);
        true
    }

    /// A new connection: its hub's window, and all that is not acknowledged is
    /// to be sent again, in the order of the numbers. A block that this hub
    /// does not take is refused here.
    pub(crate) fn connected(&mut self, window: Window, max_frame: usize, wake: &mut Vec<Waker>) {
        self.hub_window = Window { blocks: window.blocks.max(1), bytes: window.bytes };
        self.most_block = max_frame.saturating_sub(FRAME_HEADER);
        self.unacknowledged = Window { blocks: 0, bytes: 0 };
        // What was not sent yet may still expire; of what was sent the hub must say what became of it.
        let mut expires = BTreeMap::new();
        while let Some((waiting, request)) = self.unsent.pop() {
            expires.insert(request, waiting.deadline);
        }
        let most = self.most_block;
        let (most_blocks, most_bytes) = (self.hub_window.blocks, self.hub_window.bytes);
        let mut too_large = Vec::new();
        for (request, pending) in &mut self.pending {
            pending.sent = false;
            let len = pending.block.len;
            let whole = pending.whole.filter(|whole| whole.blocks > most_blocks || whole.bytes > most_bytes);
            if let Some(Whole { blocks, bytes }) = whole {
                too_large.push((*request, PublishError::BatchTooLarge { blocks, bytes, most_blocks, most_bytes }));
            } else if len > most {
                too_large.push((*request, PublishError::TooLarge { len, most }));
            } else {
                let deadline = expires.get(request).copied().unwrap_or_default();
                let (lane, cost) = (pending.lane, pending.block.len);
                self.unsent.push(Waiting { lane, deadline, order: 0, cost, events: 0 }, UnixNanos(0), *request);
            }
        }
        for (request, error) in too_large {
            if let Some(pending) = self.finish(request)
                && let Some(ticket) = &pending.ticket
            {
                ticket.complete(Err(error), wake);
            }
        }
        wake.append(&mut self.waiting);
    }

    /// Nothing will be sent any more: everybody who waits is told.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        let open = std::mem::take(&mut self.open).into_iter().filter_map(|open| open.ticket);
        let pending = std::mem::take(&mut self.pending).into_values().filter_map(|pending| pending.ticket);
        for ticket in open.chain(pending) {
            ticket.complete(Err(PublishError::Closed), wake);
        }
        self.pending_bytes = 0;
        self.unacknowledged = Window { blocks: 0, bytes: 0 };
        wake.append(&mut self.waiting);
    }

    /// Registers a task that waits for room, or for quiet.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|w| w.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// The tasks that wait for room.
    pub(crate) fn take_waiting(&mut self, wake: &mut Vec<Waker>) {
        wake.append(&mut self.waiting);
    }

    /// Whether nothing waits to be sealed, sent or acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.pending.is_empty()
    }

    /// Whether no block is on its way to the hub, or waits for its answer.
    pub(crate) fn none_sent(&self) -> bool {
        self.unacknowledged.blocks == 0
    }

    /// Blocks that are sealed and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }
}
