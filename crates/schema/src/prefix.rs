//! The bytes that serialisers of Confluent put before a payload: a zero, the
//! schema's id in four bytes, the highest first; and for Protobuf which message
//! of the schema it is ([`MessageIndexes`]).
//!
//! Source: "Wire format" in the documentation of Confluent's registry.

use crate::protobuf::MessageIndexes;

/// The first byte.
pub const MAGIC: u8 = 0;

/// Why bytes are no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The payload ends within it.
    #[error("the payload ends within the prefix of its serialiser")]
    Short,
    /// The first byte is not zero.
    #[error("the payload begins with the byte {0}, and the prefix of a serialiser with 0")]
    Magic(u8),
}

/// The id and what follows it.
///
/// # Errors
/// [`PrefixError::Short`], [`PrefixError::Magic`].
pub fn split(bytes: &[u8]) -> Result<(u32, &[u8]), PrefixError> {
    match bytes {
        [MAGIC, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        [first, ..] if *first != MAGIC => Err(PrefixError::Magic(*first)),
        _ => Err(PrefixError::Short),
    }
}

/// Writes the prefix of a payload. `message` is for Protobuf only: the path of the
/// message, where what is no path ([`MessageIndexes::of`]) means the first one.
pub fn write(id: u32, message: Option<&[u32]>) -> Vec<u8> {
    let mut bytes = vec![MAGIC];
    bytes.extend(id.to_be_bytes());
    if let Some(path) = message {
        MessageIndexes::of(path).unwrap_or(MessageIndexes::FIRST).write(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{PrefixError, split, write};
    use crate::protobuf::MessageIndexes;

    #[test]
    fn what_is_written_is_read_back() {
        for indexes in [vec![0], vec![1], vec![0, 0], vec![3, 200, 70_000]] {
            let bytes = write(0x0102_0304, Some(&indexes));
            let (id, rest) = split(&bytes).expect("a prefix");
            assert_eq!(id, 0x0102_0304);
            let (read, rest) = MessageIndexes::read(rest).expect("indexes");
            assert_eq!((read.as_slice(), rest), (&indexes[..], &[][..]));
        }
        assert_eq!(write(7, Some(&[0])), [0, 0, 0, 0, 7, 0]);
        assert_eq!(write(7, None), [0, 0, 0, 0, 7]);
        // As Confluent's documentation has it: the message [1, 0] is 2, 1, 0 in zigzag.
        assert_eq!(write(7, Some(&[1, 0])), [0, 0, 0, 0, 7, 4, 2, 0]);
    }

    #[test]
    fn bytes_that_are_no_prefix_are_refused() {
        assert_eq!(split(b"{}"), Err(PrefixError::Magic(b'{')));
        assert_eq!(split(&[0, 0, 0]), Err(PrefixError::Short));
    }
}
