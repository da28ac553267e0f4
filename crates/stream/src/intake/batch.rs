//! Atomic batches that are not whole yet: their blocks wait here, in order,
//! until the last one is there, and go on or are refused together.
//!
//! Bounded in blocks and bytes of one batch, in batches, and in time: what goes
//! beyond is handed back to be refused.

use std::time::Duration;

use weft_base::{Mono, ProducerId};

use super::BatchPart;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Batches that are not whole; one more is refused.
    pub open: usize,
    /// Blocks of one batch; a longer one is refused.
    pub blocks: usize,
    /// Bytes of one batch; a larger one is refused.
    pub bytes: usize,
    /// How long a batch may take from its first block to its last.
    pub time: Duration,
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Faulty {
    /// More than may be open.
    #[error("{limit} atomic batches are not whole, the limit: publish it again in a while")]
    Open {
        /// How many may be.
        limit: usize,
    },
    /// Too many blocks.
    #[error("the atomic batch has {blocks} blocks, the most is {limit}: split it")]
    Blocks {
        /// How many it has.
        blocks: u32,
        /// The most.
        limit: usize,
    },
    /// Too many bytes.
    #[error("the atomic batch has {bytes} bytes and more, the most is {limit}: split it")]
    Bytes {
        /// How many there are already.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A block out of its turn, or of another count.
    #[error("block {index} of the atomic batch came where block {expected} was due: publish all of it again")]
    Order {
        /// Which came.
        index: u32,
        /// Which was due.
        expected: u32,
    },
    /// It took too long.
    #[error("the atomic batch was not whole after {limit:?}: publish all of it again")]
    Time {
        /// The most it may take.
        limit: Duration,
    },
}

/// What becomes of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<T> {
    /// It waits for the others.
    Waits,
    /// It waits in the place of this one, which it is once more.
    Again(T),
    /// The batch is whole: these are its blocks.
    Whole(Vec<T>),
    /// The batch is refused: these are its blocks so far.
    Refused(Vec<T>, Faulty),
}

#[derive(Debug)]
struct Open<T> {
    stream: u32,
    producer: ProducerId,
    id: [u8; 16],
    count: u32,
    parts: Vec<T>,
    bytes: usize,
    since: Mono,
}

/// All batches that are not whole.
#[derive(Debug)]
pub struct Batches<T> {
    open: Vec<Open<T>>,
    limits: Limits,
}

impl<T> Batches<T> {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { open: Vec::new(), limits }
    }

    /// A block of `len` bytes of a batch for `stream`. A block that comes again
    /// takes the place of the one before.
    pub fn put(
        &mut self,
        stream: u32,
        producer: ProducerId,
        part: BatchPart,
        len: usize,
        block: T,
        now: Mono,
    ) -> Put<T> {
        let BatchPart { id, index, count } = part;
        let limits = self.limits;
        let found = self.open.iter().position(|o| (o.stream, o.producer, o.id) == (stream, producer, id));
        let place = match found {
            Some(place) => place,
            None if index > 0 => return Put::Refused(vec![block], Faulty::Order { index, expected: 0 }),
            None if count as usize > limits.blocks => {
                return Put::Refused(vec![block], Faulty::Blocks { blocks: count, limit: limits.blocks });
            }
            None if self.open.len() >= limits.open => {
                return Put::Refused(vec![block], Faulty::Open { limit: limits.open });
            }
            None => {
                self.open.push(Open { stream, producer, id, count, parts: Vec::new(), bytes: 0, since: now });
                self.open.len() - 1
            }
        };
        let Some(open) = self.open.get_mut(place) else { return Put::Waits };
        if let Some(earlier) = open.parts.get_mut(index as usize)
            && open.count == count
        {
            return Put::Again(std::mem::replace(earlier, block));
        }
        let expected = open.parts.len() as u32;
        let ordered = index == expected && open.count == count;
        open.bytes = open.bytes.saturating_add(len);
        open.parts.push(block);
        let (bytes, whole) = (open.bytes, ordered && index + 1 == count);
        let faulty = if !ordered {
            Some(Faulty::Order { index, expected })
        } else if bytes > limits.bytes {
            Some(Faulty::Bytes { bytes, limit: limits.bytes })
        } else {
            None
        };
        match faulty {
            None if !whole => Put::Waits,
            None => Put::Whole(self.open.remove(place).parts),
            Some(faulty) => Put::Refused(self.open.remove(place).parts, faulty),
        }
    }

    /// The blocks of a batch that took too long, if there is one.
    pub fn late(&mut self, now: Mono) -> Option<(Vec<T>, Faulty)> {
        let limit = self.limits.time;
        let place = self.open.iter().position(|open| now - open.since >= limit)?;
        Some((self.open.remove(place).parts, Faulty::Time { limit }))
    }

    /// The blocks that wait to enter a stream that is gone.
    pub fn gone(&mut self, stream: u32) -> Vec<T> {
        let gone = self.open.extract_if(.., |open| open.stream == stream);
        gone.flat_map(|open| open.parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProducerId = ProducerId(1);
    const LIMITS: Limits = Limits { open: 2, blocks: 3, bytes: 100, time: Duration::from_secs(5) };

    fn part(id: u8, index: u32, count: u32) -> BatchPart {
        BatchPart { id: [id; 16], index, count }
    }

    #[test]
    fn a_batch_goes_on_when_its_last_block_is_there() {
        let mut batches = Batches::new(LIMITS);
        assert_eq!(batches.put(0, P, part(1, 0, 2), 10, "a", Mono(0)), Put::Waits);
        assert_eq!(batches.put(1, P, part(1, 0, 2), 10, "x", Mono(0)), Put::Waits, "of another stream");
        assert_eq!(batches.put(0, P, part(1, 1, 2), 10, "b", Mono(0)), Put::Whole(vec!["a", "b"]));
        assert_eq!(batches.put(0, P, part(2, 0, 1), 10, "alone", Mono(0)), Put::Whole(vec!["alone"]));
        assert_eq!(batches.gone(1), ["x"]);
    }

    #[test]
    fn a_block_that_comes_again_takes_the_place_of_the_one_before() {
        let mut batches = Batches::new(LIMITS);
        for (index, block) in [(0, "a"), (1, "b")] {
            assert_eq!(batches.put(0, P, part(1, index, 3), 10, block, Mono(0)), Put::Waits);
        }
        for (index, block, earlier) in [(0, "again a", "a"), (1, "again b", "b")] {
            assert_eq!(batches.put(0, P, part(1, index, 3), 10, block, Mono(0)), Put::Again(earlier));
        }
        let whole = Put::Whole(vec!["again a", "again b", "c"]);
        assert_eq!(batches.put(0, P, part(1, 2, 3), 10, "c", Mono(0)), whole);
    }

    #[test]
    fn what_goes_beyond_a_bound_is_refused_with_all_that_waited() {
        let mut batches = Batches::new(LIMITS);
        let refused = batches.put(0, P, part(1, 1, 2), 10, "no first", Mono(0));
        assert_eq!(refused, Put::Refused(vec!["no first"], Faulty::Order { index: 1, expected: 0 }));
        let refused = batches.put(0, P, part(1, 0, 4), 10, "long", Mono(0));
        assert_eq!(refused, Put::Refused(vec!["long"], Faulty::Blocks { blocks: 4, limit: 3 }));
        assert_eq!(batches.put(0, P, part(1, 0, 3), 60, "a", Mono(0)), Put::Waits);
        let refused = batches.put(0, P, part(1, 1, 3), 60, "b", Mono(0));
        assert_eq!(refused, Put::Refused(vec!["a", "b"], Faulty::Bytes { bytes: 120, limit: 100 }));
        assert_eq!(batches.put(0, P, part(2, 0, 3), 1, "a", Mono(0)), Put::Waits);
        let refused = batches.put(0, P, part(2, 2, 3), 1, "c", Mono(0));
        assert_eq!(refused, Put::Refused(vec!["a", "c"], Faulty::Order { index: 2, expected: 1 }));
        for id in [3, 4] {
            assert_eq!(batches.put(0, P, part(id, 0, 2), 1, "open", Mono(0)), Put::Waits);
        }
        let refused = batches.put(0, P, part(5, 0, 2), 1, "one more", Mono(0));
        assert_eq!(refused, Put::Refused(vec!["one more"], Faulty::Open { limit: 2 }));
    }

    #[test]
    fn a_batch_that_is_never_whole_is_handed_back() {
        let mut batches = Batches::new(LIMITS);
        assert_eq!(batches.put(0, P, part(1, 0, 2), 1, "a", Mono(0)), Put::Waits);
        assert_eq!(batches.late(Mono(4_999_999_999)), None);
        assert_eq!(batches.late(Mono(5_000_000_000)), Some((vec!["a"], Faulty::Time { limit: LIMITS.time })));
        assert_eq!(batches.late(Mono(5_000_000_000)), None);
    }
}
