//! How many lines of one code are written: [`BURST`] at once and then one each
//! [`EVERY`]. What is more is counted, and the next line of the code says how many
//! were left out; where none comes, a line of its own does. So nobody who has a hub
//! log something fills its disk, and a flood of one code hides no other.
//!
//! Bounded: codes are words of the source. Of [`MOST`] and more, which cannot be,
//! the further ones are not limited.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::Mono;

/// Lines of one code that are written at once.
pub(super) const BURST: u32 = 100;
/// After them one is written each so often.
pub(super) const EVERY: Duration = Duration::from_millis(50);
/// The most codes that are told apart.
const MOST: usize = 4_096;

/// What is known of one code.
#[derive(Debug, Default)]
struct Code {
    /// When all that was written would have been written one each [`EVERY`].
    even: Mono,
    left_out: u64,
}

impl Code {
    /// Whether a line may be written now; how many were left out before it.
    fn may(&mut self, now: Mono) -> Option<u64> {
        let even = self.even.max(now);
        if even.since(now) >= EVERY * BURST {
            return None;
        }
        self.even = even + EVERY;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What is known of all codes.
#[derive(Debug)]
pub(super) struct Limits(BTreeMap<String, Code>);

impl Limits {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether a line of this code may be written now; how many were left out before
    /// it. One that may not is counted.
    pub(super) fn may(&mut self, code: &str, now: Mono) -> Option<u64> {
        if !self.0.contains_key(code) {
            if self.0.len() >= MOST {
                return Some(0);
            }
            self.0.insert(code.to_owned(), Code::default());
        }
        let known = self.0.get_mut(code)?;
        let may = known.may(now);
        known.left_out += u64::from(may.is_none());
        may
    }

    /// The codes of which lines were left out and one may be written again, with how
    /// many: it is to be said now.
    pub(super) fn untold(&mut self, now: Mono) -> Vec<(String, u64)> {
        let untold = self.0.iter_mut().filter(|(_, code)| code.left_out > 0);
        untold.filter_map(|(name, code)| Some((name.clone(), code.may(now)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_code_is_cut_and_counted_and_hides_no_other() {
        let mut limits = Limits::new();
        let start = Mono(1_000_000_000_000);
        let written = (0..1_000).filter(|_| limits.may("dial_failed", start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(limits.may("link_up", start), Some(0));
        assert!(limits.untold(start).is_empty(), "there is no room for a line about it either");
        assert_eq!(limits.may("dial_failed", start + EVERY), Some(900));
        assert_eq!(limits.may("dial_failed", start + EVERY), None);
        assert_eq!(limits.untold(start + EVERY * 2), [("dial_failed".to_owned(), 1)]);
        assert!(limits.untold(start + EVERY * 20).is_empty(), "it was said");
    }

    #[test]
    fn what_comes_no_faster_than_it_may_is_written_all() {
        let mut limits = Limits::new();
        for n in 0..10_000 {
            assert_eq!(limits.may("publish_refused", Mono(0) + EVERY * n), Some(0));
        }
    }
}
