//! The segment that is appended to, and what is checked of blocks before they
//! are written there.

use std::io::{self, IoSlice};
use std::sync::Arc;

use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};
use weft_wire::block::{Block, HEADER_LEN, MIN_BLOCK, StreamPlace, peek_len, set_stream_place};

use crate::crypt::NOT_SEALED;
use crate::error::AppendError;
use crate::homes::Homes;
use crate::index::Index;
use crate::mmap::MapWriter;
use crate::scan::Found;
use crate::segment::Segment;
use crate::shared::Shared;

/// The segment appended to.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) writer: MapWriter,
    pub(crate) index: Arc<Index>,
}

/// Whether the blocks' flags are those of one atomic batch.
pub(crate) fn check_batch<'b>(blocks: impl Iterator<Item = &'b [u8]>) -> Result<(), AppendError> {
    let bad = |clause| Err(AppendError::BadBatch { clause });
    let mut ended = false;
    for block in blocks {
        if ended {
            return bad("a block follows the last one");
        }
        match Block::trusted(block).flags() & (BATCH_OPEN | BATCH_LAST) {
            BATCH_OPEN => {}
            BATCH_LAST => ended = true,
            0 => return bad("a block bears neither flag"),
            _ => return bad("a block bears both flags"),
        }
    }
    if ended { Ok(()) } else { bad("the last one is missing") }
}

/// Answers the block's count of events.
pub(crate) fn check_block(block: &[u8], limit: usize) -> Result<u32, AppendError> {
    if block.len() > limit {
        return Err(AppendError::TooLarge { len: block.len(), limit });
    }
    let events = Block::trusted(block).event_count();
    let length = peek_len(block).unwrap_or(0) as usize;
    if length != block.len() || length < MIN_BLOCK || !length.is_multiple_of(8) || events == 0 {
        let clause = format!("its length says {length}, its count of events {events}");
        return Err(AppendError::NotABlock { len: block.len(), clause });
    }
    Ok(events)
}

/// The block's first sequence at its home, where `next` or later is due.
pub(crate) fn place_at_home(home: u32, named: Option<u64>, next: u64) -> Result<u64, AppendError> {
    match named {
        None => Ok(next),
        Some(sequence) if home == 0 || sequence == 0 => Err(AppendError::NoHome { home, sequence }),
        Some(sequence) if sequence < next => Err(AppendError::AlreadyThere { home, sequence, next }),
        Some(sequence) => Ok(sequence),
    }
}

/// The blocks with their places in the stream; the first one's local sequence
/// is `local`, and the next one at the home `next`.
pub(crate) fn placed<'b>(
    blocks: impl Iterator<Item = (&'b [u8], Option<u64>)> + Clone,
    home: u32,
    local: u64,
    next: u64,
) -> impl Iterator<Item = (&'b [u8], StreamPlace)> + Clone {
    blocks.scan((local, next), move |(local, next), (block, named)| {
        let place = StreamPlace { local: *local, home, home_sequence: named.unwrap_or(*next) };
        let events = u64::from(Block::trusted(block).event_count());
        (*local, *next) = (place.local.saturating_add(events), place.home_sequence.saturating_add(events));
        Some((block, place))
    })
}

/// Why blocks could not be written.
pub(crate) enum Unwritten {
    Block(AppendError),
    Disk(io::Error),
}

impl Unwritten {
    /// After an error of the disk the log takes nothing more, as after a sync
    /// that failed: nobody knows what lies behind the last block then, and the
    /// next opening cuts it off. A full disk is none that a log goes on from
    /// either: the file's space was taken when it was made, so this is a file
    /// system that copies what it writes.
    pub(crate) fn at(self, shared: &Shared, segment: u64) -> AppendError {
        match self {
            Self::Block(error) => error,
            Self::Disk(e) => AppendError::Poisoned { why: shared.fail(segment, &e) },
        }
    }
}

impl Active {
    /// Writes the blocks where nothing is published yet, each under its place;
    /// nothing when one of them is wrong. Encrypted ones go by way of `sealing`.
    pub(crate) fn write<'b>(
        &mut self,
        blocks: impl Iterator<Item = (&'b [u8], StreamPlace)> + Clone,
        sealing: &mut Vec<u8>,
    ) -> Result<(), Unwritten> {
        if let Some(key) = &self.segment.key {
            // All of it, before anything is written.
            sealing.clear();
            for (block, place) in blocks {
                let (head, events) = split(block, place)?;
                let failed = |_| AppendError::NotABlock { len: block.len(), clause: NOT_SEALED.to_owned() };
                key.seal(sealing, &[&head, events]).map_err(|e| Unwritten::Block(failed(e)))?;
            }
            let parts = &mut [IoSlice::new(sealing)];
            return self.segment.write(&mut self.writer, 0, parts).map_err(Unwritten::Disk);
        }
        for (block, place) in blocks.clone() {
            split(block, place)?;
        }
        let mut skip = 0;
        for (block, place) in blocks {
            let (head, events) = split(block, place)?;
            let mut parts = [IoSlice::new(&head), IoSlice::new(events)];
            self.segment.write(&mut self.writer, skip, &mut parts).map_err(Unwritten::Disk)?;
            skip += block.len();
        }
        Ok(())
    }

    /// Takes note of blocks that are about to be published.
    pub(crate) fn note<'b>(&self, blocks: impl Iterator<Item = (&'b [u8], StreamPlace)>, homes: &mut Homes) {
        let mut offset = self.segment.tail().offset;
        for (block, place) in blocks {
            let found = Found::of(Block::trusted(block), offset, place, self.segment.key.is_some());
            offset += found.size;
            self.segment.note(&self.index, &found, homes);
            homes.note(place.home, found.home_next(place.home).1);
        }
    }
}

/// A block's header with its place in it, and the rest.
fn split(block: &[u8], place: StreamPlace) -> Result<([u8; HEADER_LEN], &[u8]), Unwritten> {
    let wrong = |clause| Unwritten::Block(AppendError::NotABlock { len: block.len(), clause });
    let (head, events) = block.split_first_chunk().ok_or_else(|| wrong("it has no header".to_owned()))?;
    let mut head = *head;
    set_stream_place(&mut head, place).map_err(|e| wrong(e.to_string()))?;
    Ok((head, events))
}
