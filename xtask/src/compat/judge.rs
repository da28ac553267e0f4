//! What must hold of the numbers that publishers count up from 0.
//!
//! In a stream of one home they stand in order, each once. In one of several
//! homes each stands once, in the order of each home. A durable consumer gets each
//! at least once; what it has settled does not come again, but for what it
//! settled last before the home that served it stopped.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// How many numbers these are: all of them from 0 on, once and in order.
pub(super) fn in_order<'a>(lines: impl Iterator<Item = &'a str>) -> Result<u64> {
    let mut next = 0;
    for line in lines {
        ensure!(line.parse() == Ok(next), "{line} stands where {next} must: lost, repeated or out of order");
        next += 1;
    }
    Ok(next)
}

/// How many numbers these are: all of them from 0 on, in any order. None when
/// some are missing; an error when one is there twice.
pub(super) fn all_once<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Option<u64>> {
    let mut numbers = lines.map(number).collect::<Result<Vec<u64>>>()?;
    numbers.sort_unstable();
    if let Some(twice) = numbers.windows(2).find(|two| two.first() == two.last()) {
        anyhow::bail!("{} stands there twice", twice.first().copied().unwrap_or(0));
    }
    let count = numbers.len() as u64;
    Ok(numbers.last().is_none_or(|last| last + 1 == count).then_some(count))
}

fn number(line: &str) -> Result<u64> {
    line.parse().with_context(|| format!("`{line}` is no number"))
}

/// What the consumer has had, and in which round last.
#[derive(Debug, Default)]
pub(super) struct Taken {
    round: u32,
    numbers: BTreeMap<u64, u32>,
}

impl Taken {
    /// Hubs were replaced since.
    pub(super) fn next_round(&mut self) {
        self.round += 1;
    }

    /// It has had and settled these.
    pub(super) fn take<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> Result<()> {
        for line in lines {
            let number = number(line)?;
            let before = self.numbers.insert(number, self.round);
            ensure!(
                before.is_none_or(|before| before + 1 >= self.round),
                "{number} was settled in round {} and comes again in round {}",
                before.unwrap_or(0),
                self.round
            );
        }
        Ok(())
    }

    /// Whether it has had all numbers below `end`.
    pub(super) fn has_all(&self, end: u64) -> bool {
        self.numbers.range(..end).count() as u64 == end
    }

    /// The first that it has not had.
    pub(super) fn missing(&self) -> u64 {
        (0..).zip(self.numbers.keys()).find(|(next, number)| next != *number).map_or(self.count(), |(next, _)| next)
    }

    /// How many different ones it has had.
    pub(super) fn count(&self) -> u64 {
        self.numbers.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_or_out_of_order_is_seen() {
        assert_eq!(in_order(["0", "1", "2"].into_iter()).ok(), Some(3));
        assert_eq!(in_order([].into_iter()).ok(), Some(0));
        for bad in [&["0", "2"][..], &["0", "0", "1"], &["1", "0"], &["1"], &["0", "x"]] {
            assert!(in_order(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn at_several_homes_a_hole_is_waited_for_and_a_double_is_not() {
        assert_eq!(all_once(["2", "0", "1"].into_iter()).unwrap(), Some(3));
        assert_eq!(all_once([].into_iter()).unwrap(), Some(0));
        assert_eq!(all_once(["2", "0"].into_iter()).unwrap(), None);
        for bad in [&["0", "1", "0"][..], &["x"]] {
            assert!(all_once(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_settled_may_come_again_once_a_hub_was_replaced_and_not_later() {
        let mut taken = Taken::default();
        taken.take(["0", "1", "3"].into_iter()).unwrap();
        assert!(taken.has_all(2) && !taken.has_all(4));
        assert_eq!((taken.missing(), taken.count()), (2, 3));
        taken.next_round();
        taken.take(["1", "2"].into_iter()).unwrap();
        assert!(taken.has_all(4));
        assert_eq!(taken.missing(), 4);
        taken.next_round();
        taken.take(["2"].into_iter()).unwrap();
        assert!(taken.take(["0"].into_iter()).is_err());
    }
}
