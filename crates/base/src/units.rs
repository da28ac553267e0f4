//! Quantities with their unit in the type, read and shown as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes; reads `64 KiB`, `1MiB`, `4096`, and shows the largest
/// binary unit that divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteCount {
    /// `n` times 1,024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number, for sizing memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) =
            UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / size)
    }
}

/// A text that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of bytes: write for example `65536`, `64 KiB`, `512 MiB` or `2 GiB`")]
pub struct ParseByteCountError(String);

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseByteCountError(text.chars().take(64).collect());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let unit = unit.trim();
        let size = if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?.1 };
        number.checked_mul(size).map(ByteCount).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for n in [0, 1, 1023, 1024, 4096, 3 << 20, 1 << 40, u64::MAX] {
            assert_eq!(ByteCount(n).to_string().parse(), Ok(ByteCount(n)), "{n}");
        }
        assert_eq!("64KiB".parse(), Ok(ByteCount::kib(64)));
    }

    #[test]
    fn refuses_the_rest_and_says_how_to_write_it() {
        for text in ["", "KiB", "-1", "1 kb", "99999999999999999999", "99999999999 GiB"] {
            let error = text.parse::<ByteCount>().expect_err(text).to_string();
            assert!(error.contains("64 KiB"), "{error}");
        }
    }
}
