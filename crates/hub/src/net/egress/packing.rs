//! Packing what goes out over a link whose ends have agreed to it.
//!
//! Blocks of one lane that were taken from the lanes one after the other become
//! one frame, which is smaller. Nothing waits for that: what is packed together
//! is what waits for the socket anyway. Nothing but blocks is packed, and no two
//! lanes together, so that the order among lanes stays what it is without.
//!
//! What does not get smaller goes as it is, and its lane is tried again after
//! ever more bytes. What has no room goes as it is, too: all packed bytes that
//! wait for sockets come out of one budget, [`Room`].
//!
//! Credit, budgets and deadlines count plain bytes: they bound what lies in
//! memory at either end, which packing does not change.

use weft_base::Lane;
use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_pack::{Codec, Packer};
use weft_wire::block::Block;
use weft_wire::frame::{MAX_FRAME, PACKED_HEAD, Packed};

use super::Frame;
use super::way::Way;
use crate::messages::Forward;

/// Plain bytes that are packed together, at most, where one block has no more:
/// a small buffer of the arena at the other end, and little enough that an
/// urgent frame does not wait long behind it.
pub(crate) const BATCH: usize = 64 << 10;
/// Fewer plain bytes are not packed: it is not worth it.
const LEAST: usize = 256;
/// What packed bytes that wait for sockets may come to, of all links together.
pub(crate) const ROOM: u64 = 8 << 20;
/// After what does not get smaller, so many plain bytes go as they are; twice
/// as many each time, up to the second number.
const PAUSE: (u64, u64) = (128 << 10, 8 << 20);

/// What packs and unpacks for all links of a hub, and the memory for that.
pub(crate) struct Press {
    packer: Packer,
    plain: Vec<u8>,
    packed: Vec<u8>,
    room: Room,
}

impl Press {
    pub(crate) fn new() -> Self {
        Self {
            packer: Packer::new(),
            plain: Vec::new(),
            packed: Vec::new(),
            room: Room(Arc::new(AtomicU64::new(ROOM))),
        }
    }

    /// What packed bytes of all links may still come to.
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }

    pub(crate) fn packer(&mut self) -> &mut Packer {
        &mut self.packer
    }

    /// The blocks with their heads as one, if that is smaller by a sixteenth at least.
    fn pack(&mut self, codec: Codec, forwards: &[Forward]) -> Option<&[u8]> {
        self.plain.clear();
        for forward in forwards {
            self.plain.extend_from_slice(forward.head.bytes());
            self.plain.extend_from_slice(&forward.block);
        }
        let bound = codec.bound(self.plain.len());
        if self.packed.len() < bound {
            self.packed.resize(bound, 0);
        }
        let len = self.packer.pack(codec, &self.plain, &mut self.packed)?;
        let is_smaller = PACKED_HEAD + len + 8 <= self.plain.len() - self.plain.len() / 16;
        self.packed.get(..len).filter(|_| is_smaller)
    }
}

/// A budget in bytes that several share.
#[derive(Clone)]
pub(crate) struct Room(Arc<AtomicU64>);

impl Room {
    pub(super) fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Room {
    /// All that is left.
    pub(super) fn take_all(&self) -> Share {
        let mut share = Share { of: self.clone(), bytes: 0 };
        assert!(share.reach(self.left()));
        share
    }
}

/// A part of a budget, given back when it goes.
pub(super) struct Share {
    of: Room,
    bytes: u64,
}

impl Share {
    /// Takes as much more as makes it so much; answers whether there was as much.
    fn reach(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.of.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more)).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Blocks on their way out as one frame.
pub(super) struct Batch {
    /// The frame.
    pub(super) bytes: Vec<u8>,
    /// What is in it, for the accounts.
    pub(super) forwards: Vec<Forward>,
    /// Plain bytes of them.
    pub(super) plain: usize,
    share: Share,
}

impl Batch {
    fn new(room: &Room) -> Self {
        let share = Share { of: room.clone(), bytes: 0 };
        Self { bytes: Vec::new(), forwards: Vec::new(), plain: 0, share }
    }

    /// Makes the frame. Answers whether there was room for it.
    fn seal(&mut self, codec: Codec, lane: Lane, packed: &[u8]) -> bool {
        let len = (PACKED_HEAD + packed.len()).next_multiple_of(8);
        let counts = u16::try_from(self.forwards.len()).ok().zip(u32::try_from(self.plain).ok());
        let Some((frames, plain)) = counts.filter(|_| self.share.reach(len as u64)) else { return false };
        self.bytes.reserve_exact(len);
        self.bytes.extend_from_slice(&Packed { codec: codec.number(), lane, frames, plain, bytes: packed }.head());
        self.bytes.extend_from_slice(packed);
        self.bytes.resize(len, 0);
        true
    }
}

/// Whether packing is tried in a lane.
#[derive(Clone, Copy, Default)]
struct Trial {
    /// Plain bytes that go as they are before the next try.
    left: u64,
    /// How many that were at the last failure.
    pause: u64,
}

impl Trial {
    fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
        self.left = self.pause;
    }

    /// Whether so many bytes are to be tried.
    fn is_due(&mut self, plain: usize) -> bool {
        let is_due = self.left == 0;
        self.left = self.left.saturating_sub(plain as u64);
        is_due
    }
}

/// How the blocks of one link are packed.
pub(crate) struct Packing {
    codec: Codec,
    /// Plain bytes that go together at most.
    most: usize,
    trials: [Trial; Lane::COUNT],
    /// What is to be packed next, of this lane.
    open: Batch,
    lane: Lane,
    /// Frames that are looked at.
    tail: Vec<Frame>,
    spares: Vec<Batch>,
    room: Room,
}

impl Packing {
    /// For a link of a hub whose largest frame has so many bytes.
    pub(crate) fn new(codec: Codec, most_frame: usize, room: Room) -> Self {
        Self {
            codec,
            most: most_frame.min(BATCH),
            trials: [Trial::default(); Lane::COUNT],
            open: Batch::new(&room),
            lane: Lane::DEFAULT,
            tail: Vec::new(),
            spares: Vec::new(),
            room,
        }
    }

    /// Packs what is in the way from this frame on.
    pub(super) fn pack(&mut self, way: &mut Way, fresh: usize, press: &mut Press) {
        let mut tail = std::mem::take(&mut self.tail);
        tail.extend(way.frames.drain(fresh.min(way.frames.len())..));
        for frame in tail.drain(..) {
            let Frame::Forward(forward) = frame else {
                self.close(way, press);
                way.frames.push_back(frame);
                continue;
            };
            let (lane, len) = (Block::trusted(&forward.block).lane(), forward.len());
            if lane != self.lane || self.open.plain + len > self.most {
                self.close(way, press);
            }
            self.lane = lane;
            self.open.plain += len;
            self.open.forwards.push(forward);
        }
        self.close(way, press);
        self.tail = tail;
    }

    /// What was collected goes into the way, packed or as it is.
    fn close(&mut self, way: &mut Way, press: &mut Press) {
        let (plain, lane) = (self.open.plain, self.lane);
        let trial = &mut self.trials[lane.index()];
        let is_tried = (LEAST..=MAX_FRAME).contains(&plain) && trial.is_due(plain);
        if is_tried {
            match press.pack(self.codec, &self.open.forwards) {
                Some(packed) => {
                    trial.pause = 0;
                    if self.open.seal(self.codec, lane, packed) {
                        let next = self.spares.pop().unwrap_or_else(|| Batch::new(&self.room));
                        return way.frames.push_back(Frame::Packed(std::mem::replace(&mut self.open, next)));
                    }
                }
                None => trial.failed(),
            }
        }
        self.open.plain = 0;
        way.frames.extend(self.open.forwards.drain(..).map(Frame::Forward));
    }

    /// A batch is written: its memory is used again, unless it was for a large block
    /// or less than half of the budget is left, which other links may need.
    pub(super) fn done(&mut self, mut batch: Batch) {
        let is_spare = batch.plain <= self.most && self.spares.len() < super::SENDING / BATCH + 1;
        if is_spare && self.room.left() >= ROOM / 2 {
            batch.bytes.clear();
            batch.forwards.clear();
            batch.plain = 0;
            self.spares.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symptom: with some fifty links that had once sent much, further ones went
    /// uncompressed for ever. Cause: what links keep for their next batches is of
    /// the budget too, and nothing bounded that but the number of links.
    #[test]
    fn links_that_have_nothing_to_send_keep_no_more_than_half_of_the_room() {
        let room = Press::new().room();
        let mut links: Vec<Packing> = (0..100).map(|_| Packing::new(Codec::Lz4, BATCH, room.clone())).collect();
        for link in &mut links {
            let batch = || {
                let mut batch = Batch::new(&room);
                assert!(batch.share.reach(BATCH as u64), "there is room: {}", room.left());
                batch.plain = BATCH;
                batch
            };
            [batch(), batch()].into_iter().for_each(|batch| link.done(batch));
        }
        assert!(room.left() >= ROOM / 2 - BATCH as u64, "{}", room.left());
        assert!(links.iter().any(|link| !link.spares.is_empty()), "and some keep something");
        drop(links);
        assert_eq!(room.left(), ROOM);
    }
}
