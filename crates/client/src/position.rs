//! How far a stream was read, in a form that each of its homes understands.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use weft_base::HubId;
use weft_wire::frame::MAX_HOMES;

/// How far a stream was read: of each home, the sequence there of the next
/// event from it. Sequences of the stream itself differ from home to home, this
/// does not; so a reader that keeps it goes on at any home, without a gap and
/// without an event twice.
///
/// As text it is `TAG:NEXT` for each home, divided by commas; the tag is
/// [`HubId::tag`] in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<u32, u64>);

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no position: it is TAG:NEXT for each home, divided by commas, at most {MAX_HOMES}, such as 0000a1b2:17"
)]
pub struct ParsePositionError {
    text: String,
}

impl Position {
    /// Of this home: the sequence of the next event; `None` when nothing from
    /// there was read.
    #[must_use]
    pub fn next_of(&self, home: HubId) -> Option<u64> {
        self.0.get(&home.tag()).copied()
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All below `next` of this home was read. Beyond [`MAX_HOMES`] homes,
    /// which no stream has, nothing is noted.
    pub(crate) fn note(&mut self, home: u32, next: u64) {
        if self.0.len() < MAX_HOMES || self.0.contains_key(&home) {
            let known = self.0.entry(home).or_insert(next);
            *known = next.max(*known);
        }
    }

    pub(crate) fn homes(&self) -> &BTreeMap<u32, u64> {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (home, next)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{home:08x}:{next}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let pair = |part: &str| {
            let (home, next) = part.split_once(':')?;
            Some((u32::from_str_radix(home, 16).ok().filter(|home| *home != 0)?, next.parse().ok()?))
        };
        let pairs: Option<BTreeMap<u32, u64>> = text.split(',').map(pair).collect();
        pairs
            .filter(|homes| homes.len() <= MAX_HOMES)
            .map(Self)
            .ok_or_else(|| ParsePositionError { text: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written_and_never_goes_back() {
        let mut position = Position::default();
        assert!(position.is_empty());
        position.note(0xb2, 7);
        position.note(0xa1, 18);
        position.note(0xb2, 5);
        assert_eq!(position.to_string(), "000000a1:18,000000b2:7");
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "7", "a1:", "0:1", "x:1", "a1:1,", "100000000:1"] {
            assert!(text.parse::<Position>().is_err_and(|e| e.to_string().contains("TAG:NEXT")), "{text}");
        }
    }
}
