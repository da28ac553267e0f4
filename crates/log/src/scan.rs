//! Finding blocks in bytes that may be damaged.

use std::borrow::Cow;

use weft_wire::block::layout::BATCH_OPEN;
use weft_wire::block::{Block, HEADER_LEN, MAGIC, MIN_BLOCK, StreamPlace, hub_checksum, peek_len};

use crate::crypt::{Plain, SegmentKey, TRAILER};
use crate::mmap::HEAD;

/// The least an event takes up in a block; so many bytes at least were lost
/// with every event that is missing.
const EVENT_MIN: u64 = weft_wire::block::EVENT_HEADER_LEN as u64;

/// A segment's blocks, from the end of the header on; offsets count from the
/// segment's beginning. Of a compacted segment also the sequence after it: up
/// to there blocks may be missing; and of an encrypted one its key.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a>(pub(crate) &'a [u8], pub(crate) Option<u64>, pub(crate) Option<&'a SegmentKey>);

/// A block that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// What it takes up in the segment: more than its length when it is
    /// encrypted.
    pub(crate) size: usize,
    /// Its first sequence.
    pub(crate) first: u64,
    /// The sequence after its last.
    pub(crate) next: u64,
    /// When its hub took it in, Unix ns.
    pub(crate) time: u64,
    /// The home it entered at, 0 in logs from before there were homes.
    pub(crate) home: u32,
    /// Its first sequence there.
    pub(crate) home_sequence: u64,
    /// It is part of an atomic batch of which more follows.
    pub(crate) open: bool,
}

impl Found {
    /// A block that is put at `offset`, under `place`.
    pub(crate) fn of(block: Block<'_>, offset: usize, place: StreamPlace, encrypted: bool) -> Self {
        let StreamPlace { local: first, home, home_sequence } = place;
        let next = first.saturating_add(block.event_count().into());
        let (len, open) = (block.bytes().len(), block.flags() & BATCH_OPEN != 0);
        let size = len + if encrypted { TRAILER } else { 0 };
        Self { offset, len, size, first, next, time: block.counts_from().0, home, home_sequence, open }
    }

    /// Where the next one begins.
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.size
    }

    /// The home it entered at, and the first sequence there. Blocks from before
    /// there were homes entered here, under the sequence they have here.
    pub(crate) const fn home(&self, own: u32) -> (u32, u64) {
        if self.home == 0 { (own, self.first) } else { (self.home, self.home_sequence) }
    }

    /// The home, and the sequence there of what follows.
    pub(crate) const fn home_next(&self, own: u32) -> (u32, u64) {
        let (home, first) = self.home(own);
        (home, first.saturating_add(self.next - self.first))
    }
}

/// Why there is no block at an offset.
pub(crate) type Clause = Cow<'static, str>;

impl<'a> Content<'a> {
    /// The offset after the last byte.
    pub(crate) const fn end(self) -> usize {
        HEAD + self.0.len()
    }

    /// The bytes from `offset` on.
    fn at(self, offset: usize) -> &'a [u8] {
        offset.checked_sub(HEAD).and_then(|o| self.0.get(o..)).unwrap_or_default()
    }

    /// What a block of this length takes up.
    const fn size(self, len: usize) -> usize {
        if self.2.is_some() { len + TRAILER } else { len }
    }

    pub(crate) fn range(self, start: usize, end: usize) -> &'a [u8] {
        self.at(start).get(..end.saturating_sub(start)).unwrap_or_default()
    }

    /// What the header at `offset` says, if it could be one: checks no sums.
    pub(crate) fn glance(self, offset: usize) -> Result<Found, Clause> {
        let bytes = self.at(offset);
        let len = peek_len(bytes).unwrap_or(0) as usize;
        let size = self.size(len);
        let Some(bytes) = bytes.get(..size).filter(|_| len >= MIN_BLOCK && len.is_multiple_of(8)) else {
            return Err("the length is none of a block that ends in the segment".into());
        };
        // Offset 4 of a block, see weft_wire::block.
        if bytes.get(4..6) != Some(&MAGIC.to_le_bytes()) {
            return Err("the magic number is not that of a block".into());
        }
        let block = Block::trusted(bytes);
        let (first, events) = (block.stream_sequence(), block.event_count());
        let next = first.checked_add(events.into()).filter(|_| first > 0 && events > 0);
        let Some(next) = next else { return Err("the block has no sequence, or no events".into()) };
        let time = block.counts_from().0;
        let (home, home_sequence) = block.home().unwrap_or_default();
        let open = block.flags() & BATCH_OPEN != 0;
        Ok(Found { offset, len, size, first, next, time, home, home_sequence, open })
    }

    /// The block at `offset`, all of it checked; it begins with `sequence`.
    pub(crate) fn check(self, offset: usize, sequence: u64) -> Result<Found, Clause> {
        self.open(offset, sequence).map(|(found, _)| found)
    }

    /// The same, and its plain text when it is encrypted.
    pub(crate) fn open(self, offset: usize, sequence: u64) -> Result<(Found, Option<Plain>), Clause> {
        let (found, plain) = self.opened(offset)?;
        if !self.follows(&found, sequence) {
            return Err(format!("the block has sequence {}, {sequence} was next", found.first).into());
        }
        Ok((found, plain))
    }

    /// The bytes of a block that [`open`](Self::open) answered.
    pub(crate) fn bytes<'b>(self, found: &Found, plain: Option<&'b Plain>) -> &'b [u8]
    where
        'a: 'b,
    {
        plain.map_or_else(|| self.range(found.offset, found.offset + found.len), Plain::bytes)
    }

    /// What the header at `offset` says, its hub's line checked.
    pub(crate) fn named(self, offset: usize) -> Option<Found> {
        let found = self.glance(offset).ok()?;
        let head = self.range(offset, offset + HEADER_LEN);
        let (_, checksum) = head.split_last_chunk::<4>()?;
        (hub_checksum(head) == u32::from_le_bytes(*checksum)).then_some(found)
    }

    /// Whether a block may come where `sequence` is next.
    pub(crate) fn follows(self, found: &Found, sequence: u64) -> bool {
        match self.1 {
            None => found.first == sequence,
            Some(end) => found.first >= sequence && found.next <= end,
        }
    }

    /// The block at `offset`, all of it checked.
    pub(crate) fn whole(self, offset: usize) -> Result<Found, Clause> {
        self.opened(offset).map(|(found, _)| found)
    }

    /// The same, and its plain text when it is encrypted.
    pub(crate) fn opened(self, offset: usize) -> Result<(Found, Option<Plain>), Clause> {
        let found = self.glance(offset)?;
        let plain = self.2.map(|key| key.open(self.range(offset, found.end()))).transpose()?;
        match Block::validate(self.bytes(&found, plain.as_ref())) {
            Ok(_) => Ok((found, plain)),
            Err(e) => Err(e.to_string().into()),
        }
    }

    /// Whether all bytes from `offset` on are zero.
    pub(crate) fn is_blank_from(self, offset: usize) -> bool {
        is_zero(self.at(offset))
    }

    /// The bytes from `offset` to the last line of 64 that is not all zero.
    pub(crate) fn used_from(self, offset: usize) -> &'a [u8] {
        let bytes = self.at(offset);
        // By lines from the end, since mostly zeros are there.
        let lines = bytes.chunks(64).rposition(|line| !is_zero(line)).map_or(0, |last| last + 1);
        bytes.get(..(lines * 64).min(bytes.len())).unwrap_or_default()
    }

    /// The first whole block after the damage at `damaged`, where `expected`
    /// was the next sequence. Its sequence tells how many events were lost.
    ///
    /// Where the damaged block's length can be believed, the block after it is
    /// taken. Else every multiple of 8 is looked at; since an event's payload
    /// may be a block itself, what is found there must be followed by a block
    /// with the right sequence, or by nothing. What comes after it may be
    /// damaged too: so one that the damaged block still leads to, by its length
    /// or by its events, is taken when it fits before the next one that is
    /// followed so.
    ///
    /// The work is bounded: of the bytes that look like a block and are none,
    /// at most 64 times the content is checksummed.
    pub(crate) fn resync(self, damaged: usize, expected: u64) -> Option<Found> {
        let plausible = |found: &Found| {
            if self.1.is_some() {
                return self.follows(found, expected);
            }
            let lost = found.first.checked_sub(expected).filter(|lost| *lost > 0);
            lost.is_some_and(|lost| lost <= (found.offset - damaged) as u64 / EVENT_MIN)
        };
        let says = Block::trusted(self.range(damaged, damaged + HEADER_LEN));
        let claimed = damaged + self.size(peek_len(says.bytes()).unwrap_or(0) as usize);
        let leads = |found: &Found| found.offset == claimed;
        let counts = |found: &Found| {
            says.stream_sequence() == expected && expected.checked_add(says.event_count().into()) == Some(found.first)
        };
        // Its length is believed at once when its events lead to that block too:
        // a wrong one may lead to the end of a later block.
        if claimed > damaged
            && let Ok(found) = self.whole(claimed)
            && plausible(&found)
            && counts(&found)
        {
            return Some(found);
        }
        let mut budget = self.0.len().saturating_mul(64);
        let last = self.end().checked_sub(HEADER_LEN)?;
        let mut led: Option<Found> = None;
        for offset in (damaged + 8..=last).step_by(8) {
            if led.is_some_and(|led| offset < led.end()) {
                continue;
            }
            let Ok(seen) = self.glance(offset) else { continue };
            if !plausible(&seen) {
                continue;
            }
            let followed = self.followed(&seen);
            if !followed && (led.is_some() || !(leads(&seen) || counts(&seen))) {
                continue;
            }
            let Some(left) = budget.checked_sub(seen.size) else { break };
            budget = left;
            if self.whole(offset).is_err() {
                continue;
            }
            if followed {
                return Some(led.filter(|led| led.next <= seen.first).unwrap_or(seen));
            }
            led = Some(seen);
        }
        led
    }

    fn followed(self, found: &Found) -> bool {
        let after = found.end();
        match self.glance(after) {
            Ok(next) => self.follows(&next, found.next),
            Err(_) => is_zero(self.range(after, (after + HEADER_LEN).min(self.end()))),
        }
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In chunks, so that the compiler turns it into wide compares.
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|c| *c == [0; 64]) && rest.iter().all(|b| *b == 0)
}

/// Whether some of these bytes, which begin at `offset` of the file, look as
/// if they had never reached the disk: an aligned line of 64 bytes, or the part
/// of one at either end, that is all zero. A disk writes whole sectors, which
/// are larger; lines are smaller in case a page was written back while a block
/// was being copied into it.
pub(crate) fn has_blank_line(bytes: &[u8], offset: usize) -> bool {
    let head = bytes.len().min(offset.next_multiple_of(64) - offset);
    let (first, rest) = bytes.split_at(head);
    (!first.is_empty() && is_zero(first)) || rest.chunks(64).any(is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_line_is_found_at_either_end_and_between() {
        let full = [1_u8; 256];
        assert!(!has_blank_line(&full, 8));
        for (start, offset, blank) in [(0, 8, 0..56), (0, 8, 56..120), (0, 8, 248..256), (0, 64, 0..64)] {
            let mut bytes = full;
            bytes[blank.clone()].fill(0);
            assert!(has_blank_line(&bytes[start..], offset), "{blank:?}");
            bytes[blank.start] = 1;
            assert!(!has_blank_line(&bytes[start..], offset), "{blank:?}");
        }
    }
}
