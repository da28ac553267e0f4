//! The bytes that serialisers of Confluent put before a payload: a zero, the
//! schema's id in four bytes, the highest first; and for Protobuf which message
//! of the schema it is, as the indexes from the outermost message to it, in
//! zigzag varints with their count before them. The single index 0 is one zero.
//!
//! Source: "Wire format" in the documentation of Confluent's registry.

/// How deep a message may be within others.
pub const MAX_INDEXES: usize = 32;

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
    /// Indexes of a message that cannot be.
    #[error("the prefix names a message by indexes that are negative, too large or more than {MAX_INDEXES}")]
    Indexes,
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

/// The indexes of a Protobuf message, and what follows them.
///
/// # Errors
/// [`PrefixError::Short`], [`PrefixError::Indexes`].
pub fn message(bytes: &[u8]) -> Result<(Vec<u32>, &[u8]), PrefixError> {
    let (count, mut rest) = number(bytes)?;
    let count = usize::try_from(count).map_err(|_| PrefixError::Indexes)?;
    if count == 0 {
        return Ok((vec![0], rest));
    }
    if count > MAX_INDEXES {
        return Err(PrefixError::Indexes);
    }
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, after) = number(rest)?;
        indexes.push(index);
        rest = after;
    }
    Ok((indexes, rest))
}

/// Writes the prefix of a payload; `message` only for Protobuf.
pub fn write(id: u32, message: Option<&[u32]>) -> Vec<u8> {
    let mut bytes = vec![MAGIC];
    bytes.extend(id.to_be_bytes());
    let mut put = |value: u64| {
        let mut value = value << 1;
        while value > 0x7f {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push((value & 0x7f) as u8);
    };
    match message {
        None => {}
        Some([] | [0]) => put(0),
        Some(indexes) => {
            put(indexes.len() as u64);
            indexes.iter().for_each(|index| put(u64::from(*index)));
        }
    }
    bytes
}

/// A number that is not negative, in zigzag varint coding, and what follows it.
fn number(bytes: &[u8]) -> Result<(u32, &[u8]), PrefixError> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(PrefixError::Short)?;
        value |= u64::from(byte & 0x7f) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            // The lowest bit is the sign.
            return match u32::try_from(value >> 1) {
                Ok(number) if value & 1 == 0 => Ok((number, rest)),
                _ => Err(PrefixError::Indexes),
            };
        }
    }
    Err(PrefixError::Indexes)
}

#[cfg(test)]
mod tests {
    use super::{PrefixError, message, split, write};

    #[test]
    fn what_is_written_is_read_back() {
        for indexes in [vec![0], vec![1], vec![0, 0], vec![3, 200, 70_000]] {
            let bytes = write(0x0102_0304, Some(&indexes));
            let (id, rest) = split(&bytes).expect("a prefix");
            assert_eq!(id, 0x0102_0304);
            assert_eq!(message(rest), Ok((indexes, &[][..])));
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
        assert_eq!(message(&[]), Err(PrefixError::Short));
        assert_eq!(message(&[1]), Err(PrefixError::Indexes), "a negative count");
        assert_eq!(message(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(PrefixError::Indexes), "too many");
        assert_eq!(message(&[0x80; 12]), Err(PrefixError::Indexes));
    }
}
