//! Publishes that this hub has refused: each stays refused once later ones of its
//! producer were let in.
//!
//! A client sends again what has no answer, by another session. An answer may be
//! lost with the session before, and where it was a refusal and what came after it
//! was let in since, the publish would now be stored behind that: a stream takes
//! numbers of a producer that it has not, also late, for it cannot know what became
//! of them. So does what an earlier session had sent and this hub comes to read
//! after what came by the next one, as after it was stopped for a while.
//!
//! Conditions and batches are looked at anew by the stream that they are for.

use std::collections::{BTreeMap, VecDeque};

use weft_base::{Lane, ProducerId};
use weft_stream::intake::SPECIAL;
use weft_wire::block::Block;
use weft_wire::frame::{AckLevel, ErrorCode};

use super::RouteStage;
use crate::messages::SessionId;
use crate::producers::{Place, last_of};

/// Refused publishes that are remembered; beyond it the oldest is forgotten.
pub(crate) const MOST: usize = 16_384;

/// A producer's block: its lane and first number.
type Key = (ProducerId, Lane, u64);

/// Those that are remembered.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// The last number of each, and why.
    of: BTreeMap<Key, (u64, ErrorCode)>,
    /// In the order in which they were refused; some may be there no more.
    order: VecDeque<Key>,
}

impl Refused {
    fn note(&mut self, key: Key, last: u64, code: ErrorCode) {
        if self.of.insert(key, (last, code)).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }

    /// Why a block was refused, and its last number.
    fn of(&self, key: Key) -> Option<(u64, ErrorCode)> {
        self.of.get(&key).copied()
    }

    fn forget(&mut self, key: Key) {
        self.of.remove(&key);
        if self.of.is_empty() {
            self.order.clear();
        }
    }
}

fn key_of(block: &Block<'_>) -> Key {
    (block.producer(), block.lane(), block.first_sequence())
}

impl RouteStage {
    /// A block is not let in, and its client is told, or was. What was let in before
    /// is for streams to tell, whatever becomes of it when it comes again.
    pub(super) fn note_refused(&mut self, block: &[u8], level: AckLevel, code: ErrorCode) {
        let parsed = Block::trusted(block);
        let (first, count) = (parsed.first_sequence(), parsed.event_count());
        let place = self.producers.place(parsed.producer(), parsed.lane(), first, count);
        if level != AckLevel::None && place == Place::New {
            self.note_given_up(block, code);
        }
    }

    /// A block was let in, and is given up.
    pub(super) fn note_given_up(&mut self, block: &[u8], code: ErrorCode) {
        let block = Block::trusted(block);
        if block.producer().0 != 0 && block.flags() & SPECIAL == 0 {
            let last = last_of(block.first_sequence(), block.event_count());
            self.refused.note(key_of(&block), last, code);
        }
    }

    /// Whether a block was refused here before, and later ones of its producer were
    /// let in since: it is refused again.
    pub(super) fn stays_refused(&mut self, block: &[u8], (session, id, level): (SessionId, u64, AckLevel)) -> bool {
        let block = Block::trusted(block);
        let key = key_of(&block);
        let Some((last, code)) = self.refused.of(key) else { return false };
        if self.producers.seen(key.0, key.1).is_none_or(|(upto, _)| upto <= last) {
            self.refused.forget(key);
            return false;
        }
        let detail = "it was refused before, and later events of its producer were taken since: publish it anew";
        self.refuse(session, id, level, code, detail.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_remembered_as_may_be_and_the_newest_of_them() {
        let mut refused = Refused::default();
        let key = |n: u64| (ProducerId(7), Lane::DEFAULT, n);
        for n in 0..MOST as u64 + 10 {
            refused.note(key(n), n, ErrorCode::UNREACHABLE);
        }
        assert_eq!((refused.of.len(), refused.order.len()), (MOST, MOST));
        assert_eq!(refused.of(key(9)), None);
        assert_eq!(refused.of(key(10)), Some((10, ErrorCode::UNREACHABLE)));
        // Refused and let in again and again: nothing grows.
        for _ in 0..3 * MOST {
            refused.forget(key(20));
            refused.note(key(20), 20, ErrorCode::UNREACHABLE);
        }
        assert!(refused.of.len() <= MOST && refused.order.len() <= MOST);
    }
}
