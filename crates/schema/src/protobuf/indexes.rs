//! Which message of a file a payload is: the message indexes that serialisers
//! of Confluent write before a Protobuf payload, behind the schema's id.
//!
//! They are a count and as many numbers, each a zigzag varint: the first counts
//! messages of the file, the next the messages nested in that one, and so on,
//! from 0, in the order of the descriptor. The path `[0]`, the file's first
//! message, is written as one byte 0 (source: "Wire format" in the documentation
//! of Confluent's registry).
//!
//! Allocates nothing; at most [`MessageIndexes::MOST`] numbers.

/// A path of a message in its file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MessageIndexes {
    count: usize,
    path: [u32; Self::MOST],
}

/// Why bytes are no message indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexesError {
    /// The bytes end before the indexes do.
    #[error("the payload ends inside of its message indexes, after {0} bytes")]
    Truncated(usize),
    /// A varint of more than 32 bits, or a number below zero.
    #[error("a message index at byte {0} is no number from 0 to 2147483647")]
    Number(usize),
    /// More than messages can be nested.
    #[error("the payload has {count} message indexes, and at most {} are allowed", MessageIndexes::MOST)]
    TooMany {
        /// How many it says it has.
        count: u32,
    },
}

impl MessageIndexes {
    /// How many indexes there may be: as deep as messages can be nested.
    pub const MOST: usize = 32;

    /// The path of the file's first message.
    pub const FIRST: Self = Self { count: 1, path: [0; Self::MOST] };

    /// Of these indexes; `None` for no index, and for more than [`MessageIndexes::MOST`].
    pub fn of(path: &[u32]) -> Option<Self> {
        let mut all = Self { count: path.len(), path: [0; Self::MOST] };
        all.path.get_mut(..path.len())?.copy_from_slice(path);
        (!path.is_empty()).then_some(all)
    }

    /// Reads the indexes at the begin of `bytes`, and returns what is behind them.
    ///
    /// # Errors
    /// [`IndexesError`], with where.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), IndexesError> {
        let mut at = 0;
        let count = number(bytes, &mut at)?;
        let mut all = Self::FIRST;
        if count > 0 {
            all.count = usize::try_from(count).unwrap_or(usize::MAX);
            let path = all.path.get_mut(..all.count).ok_or(IndexesError::TooMany { count })?;
            for index in path {
                *index = number(bytes, &mut at)?;
            }
        }
        Ok((all, bytes.get(at..).unwrap_or_default()))
    }

    /// Writes the indexes behind `out`, as short as can be.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut varint = |value: u32| {
            let mut rest = u64::from(value) << 1;
            while rest > 0x7f {
                out.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        };
        if self.as_slice() == [0] {
            return varint(0);
        }
        varint(self.count as u32);
        self.as_slice().iter().copied().for_each(varint);
    }

    /// The indexes, the outermost message's first.
    pub fn as_slice(&self) -> &[u32] {
        self.path.get(..self.count).unwrap_or_default()
    }
}

impl std::fmt::Debug for MessageIndexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A zigzag varint that is not below zero.
fn number(bytes: &[u8], at: &mut usize) -> Result<u32, IndexesError> {
    let start = *at;
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at).ok_or(IndexesError::Truncated(bytes.len()))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // An odd number stands for one below zero.
            return match u32::try_from(value) {
                Ok(value) if value & 1 == 0 => Ok(value >> 1),
                _ => Err(IndexesError::Number(start)),
            };
        }
    }
    Err(IndexesError::Number(start))
}

#[cfg(test)]
mod tests {
    use super::{IndexesError, MessageIndexes};
    use proptest::prelude::*;

    #[test]
    fn the_first_message_is_one_zero_byte_and_other_paths_have_a_count() {
        let mut out = Vec::new();
        MessageIndexes::FIRST.write(&mut out);
        assert_eq!(out, [0]);
        assert_eq!(MessageIndexes::read(&[0, 7, 8]), Ok((MessageIndexes::FIRST, &[7, 8][..])));
        // As Confluent's documentation has it: [1, 0] is 2, 1, 0 in zigzag.
        let (path, rest) = MessageIndexes::read(&[4, 2, 0, 9]).expect("two indexes");
        assert_eq!((path.as_slice(), rest), (&[1, 0][..], &[9][..]));
        // The long form of [0] is understood, too.
        assert_eq!(MessageIndexes::read(&[2, 0]), Ok((MessageIndexes::FIRST, &[][..])));
    }

    #[test]
    fn hostile_indexes_are_refused_with_the_place() {
        assert_eq!(MessageIndexes::read(&[]), Err(IndexesError::Truncated(0)));
        assert_eq!(MessageIndexes::read(&[4, 2]), Err(IndexesError::Truncated(2)));
        assert_eq!(MessageIndexes::read(&[1]), Err(IndexesError::Number(0)), "below zero");
        assert_eq!(MessageIndexes::read(&[0xff; 20]), Err(IndexesError::Number(0)));
        assert_eq!(MessageIndexes::read(&[66]), Err(IndexesError::TooMany { count: 33 }));
        assert_eq!(
            MessageIndexes::read(&[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            Err(IndexesError::TooMany { count: i32::MAX as u32 })
        );
        assert!(MessageIndexes::of(&[]).is_none() && MessageIndexes::of(&[0; 33]).is_none());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(path in prop::collection::vec(0..=i32::MAX as u32, 1..=32), tail: Vec<u8>) {
            let indexes = MessageIndexes::of(&path).expect("a path");
            let mut bytes = Vec::new();
            indexes.write(&mut bytes);
            bytes.extend(&tail);
            prop_assert_eq!(MessageIndexes::read(&bytes), Ok((indexes, &tail[..])));
        }

        #[test]
        fn any_bytes_are_indexes_or_refused(bytes: Vec<u8>) {
            if let Ok((indexes, rest)) = MessageIndexes::read(&bytes) {
                prop_assert!(rest.len() < bytes.len() && !indexes.as_slice().is_empty());
            }
        }
    }
}
