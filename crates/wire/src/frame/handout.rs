//! Handing out and settling: the frames of consumers on the data path. Both are
//! read in place; decoding allocates nothing.

use weft_base::SubscriptionId;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codec::{Reader, Writer, wire_enum};
use super::data::{block, head};
use super::{FRAME_HEADER, FrameClause, FrameError, Kind, MAX_HANDOUT_RUNS, MAX_SETTLE_RANGES, MAX_TEXT};

wire_enum! {
    /// What a member says of events that it was handed out.
    Verb {
        /// Done with them.
        Ack = 0,
        /// Not done: hand them out again, after `delay_ms`.
        Nack = 1,
        /// Still at it: the wait for an acknowledgement begins anew.
        Progress = 2,
        /// Never hand them out again: they go to the dead letters, with the reason.
        Term = 3,
    }
}

/// Events of a block: `count` of them, the first in place `from`.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Run {
    from: U16,
    count: U16,
}

impl Run {
    /// `count` events from place `from` of the block on.
    #[must_use]
    pub const fn new(from: u16, count: u16) -> Self {
        Self { from: U16::new(from), count: U16::new(count) }
    }

    /// The place of the first in the block.
    #[must_use]
    pub const fn from(self) -> u16 {
        self.from.get()
    }

    /// How many, at least 1.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count.get()
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.from(), self.count())
    }
}

/// Bytes of a run in a frame.
pub const RUN_LEN: usize = size_of::<Run>();
/// Bytes between a handout's header and its runs.
const FIXED: usize = 16;

/// Events of a block, handed out to a member of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handout<'a> {
    /// The subscription.
    pub id: SubscriptionId,
    /// The stream's sequence of the block's first event, whether it is handed
    /// out or not.
    pub first: u64,
    /// How often these events are handed out with this: 1 for the first time.
    pub attempt: u32,
    /// Which events of the block: 1 to [`MAX_HANDOUT_RUNS`], ascending.
    pub runs: &'a [Run],
    /// Not validated.
    pub block: &'a [u8],
}

/// The runs are in order, none is empty, none touches another and none ends
/// beyond what a block can have.
fn sound(runs: &[Run]) -> bool {
    let mut end: Option<u32> = None;
    runs.iter().all(|run| {
        let from = u32::from(run.from());
        let apart = end.is_none_or(|end| from > end);
        let stop = from + u32::from(run.count());
        end = Some(stop);
        apart && run.count() > 0 && stop <= crate::block::MAX_EVENTS
    })
}

/// The zeros between the runs and the block.
const fn padding(runs: usize) -> usize {
    (runs * RUN_LEN).next_multiple_of(8) - runs * RUN_LEN
}

/// More runs than a handout takes, none, or some out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} runs in one handout: there must be 1 to {MAX_HANDOUT_RUNS}, ascending and apart; send several")]
pub struct BadRuns {
    /// How many there were.
    pub count: usize,
}

/// Writes all of a [`Handout`] frame that comes before the block to `out`,
/// which is emptied first; the block's `block_len` bytes follow it.
///
/// # Errors
/// [`BadRuns`]; `out` is then empty.
pub fn handout_head(
    id: SubscriptionId,
    first: u64,
    attempt: u32,
    runs: &[Run],
    block_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), BadRuns> {
    out.clear();
    let count = runs.len();
    if count == 0 || count > MAX_HANDOUT_RUNS || !sound(runs) {
        return Err(BadRuns { count });
    }
    let len = handout_head_len(count);
    out.reserve(len);
    out.extend_from_slice(head(Kind::Handout, 0, id.0, len.saturating_add(block_len)).as_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&attempt.to_le_bytes());
    // At most MAX_HANDOUT_RUNS.
    out.extend_from_slice(&(count as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(runs.as_bytes());
    out.resize(len, 0);
    Ok(())
}

/// How many bytes of a [`Handout`] frame come before the block.
#[must_use]
pub const fn handout_head_len(runs: usize) -> usize {
    FRAME_HEADER + FIXED + runs * RUN_LEN + padding(runs)
}

impl<'a> Handout<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        if reader.flags() != 0 {
            return Err(FrameError::new(FrameClause::Flags, "flags", 5, reader.flags().into()));
        }
        let first = reader.u64("first")?;
        if first == 0 {
            return Err(FrameError::new(FrameClause::Value, "first", FRAME_HEADER, first));
        }
        let attempt = reader.u32("attempt")?;
        if attempt == 0 {
            return Err(FrameError::new(FrameClause::Value, "attempt", FRAME_HEADER + 8, 0));
        }
        let count = usize::from(reader.u16("runs")?);
        if count == 0 || count > MAX_HANDOUT_RUNS {
            return Err(FrameError::new(FrameClause::ListLength, "runs", FRAME_HEADER + 12, count as u64));
        }
        let reserved = reader.u16("reserved")?;
        if reserved != 0 {
            return Err(FrameError::new(FrameClause::Reserved, "reserved", FRAME_HEADER + 14, reserved.into()));
        }
        let runs = <[Run]>::ref_from_bytes(reader.take(count * RUN_LEN, "runs")?).unwrap_or_default();
        if !sound(runs) {
            return Err(FrameError::new(FrameClause::Value, "runs", FRAME_HEADER + FIXED, count as u64));
        }
        let zeros = reader.take(padding(count), "padding")?;
        if let Some(byte) = zeros.iter().find(|byte| **byte != 0) {
            let offset = FRAME_HEADER + FIXED + count * RUN_LEN;
            return Err(FrameError::new(FrameClause::Reserved, "padding", offset, (*byte).into()));
        }
        Ok(Self { id: SubscriptionId(reader.id()), first, attempt, runs, block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.id(self.id.0);
        writer.u64(self.first);
        writer.u32(self.attempt);
        // A list beyond its bounds is refused by whoever reads it; built by
        // `handout_head` there is none.
        writer.u16(u16::try_from(self.runs.len()).unwrap_or(u16::MAX));
        writer.u16(0);
        writer.raw(self.runs.as_bytes());
        writer.raw([0; 8].get(..padding(self.runs.len())).unwrap_or_default());
        writer.raw(self.block);
    }
}

/// Events of a stream: `count` of them from the sequence `first` on.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SettleRange {
    first: U64,
    count: U32,
}

impl SettleRange {
    /// `count` events from the sequence `first` on.
    #[must_use]
    pub const fn new(first: u64, count: u32) -> Self {
        Self { first: U64::new(first), count: U32::new(count) }
    }

    /// The sequence of the first.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first.get()
    }

    /// How many, at least 1.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count.get()
    }

    fn is_sound(self) -> bool {
        self.first() > 0 && self.count() > 0 && self.first().checked_add(self.count().into()).is_some()
    }
}

impl std::fmt::Debug for SettleRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.first(), self.count())
    }
}

/// What a member says of events that it was handed out; answered only when
/// `request` is not 0: by [`Done`](super::Done) when what it says is on disk,
/// or by `Error`. Without a request what cannot be settled is told by an
/// `Error` with request 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle<'a> {
    /// The subscription at which the events were handed out.
    pub id: SubscriptionId,
    /// Chosen by the client; 0 when no answer is wanted.
    pub request: u64,
    /// The member's token, from [`Consuming`](super::Consuming).
    pub token: u64,
    /// What it says.
    pub verb: Verb,
    /// Nack: hand them out again no earlier than after this many milliseconds;
    /// 0 for what the consumer's back-off says. Zero for the other verbs.
    pub delay_ms: u64,
    /// Nack and term: why, for people; cut to [`MAX_TEXT`]. Empty for the others.
    pub reason: &'a str,
    /// Of which events: 1 to [`MAX_SETTLE_RANGES`], in any order.
    pub ranges: &'a [SettleRange],
}

impl<'a> Settle<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let request = reader.u64("request")?;
        let token = reader.u64("token")?;
        let verb = reader.one_of("verb", Verb::from_number)?;
        let delay_ms = reader.u64("delay_ms")?;
        if delay_ms != 0 && verb != Verb::Nack {
            return reader.refuse(FrameClause::Reserved, "delay_ms", delay_ms);
        }
        let reason = reader.text("reason", MAX_TEXT)?;
        if !reason.is_empty() && !matches!(verb, Verb::Nack | Verb::Term) {
            return reader.refuse(FrameClause::Reserved, "reason", reason.len() as u64);
        }
        let count = reader.u32("ranges")? as usize;
        if count == 0 || count > MAX_SETTLE_RANGES {
            return reader.refuse(FrameClause::ListLength, "ranges", count as u64);
        }
        let bytes = reader.take(count * size_of::<SettleRange>(), "ranges")?;
        let ranges = <[SettleRange]>::ref_from_bytes(bytes).unwrap_or_default();
        if let Some(place) = ranges.iter().position(|range| !range.is_sound()) {
            return reader.refuse(FrameClause::Value, "ranges", place as u64);
        }
        Ok(Self { id: SubscriptionId(reader.id()), request, token, verb, delay_ms, reason, ranges })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.id(self.id.0);
        writer.u64(self.request);
        writer.u64(self.token);
        writer.u8(self.verb as u8);
        writer.u64(self.delay_ms);
        writer.cut("reason", self.reason);
        writer.list("ranges", self.ranges, MAX_SETTLE_RANGES, |w, range| w.raw(range.as_bytes()));
    }
}
