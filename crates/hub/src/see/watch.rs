//! Tells a ledger that is out of balance from one that is being written. Pure.
//!
//! The counts of a running hub are read one after the other while they change,
//! so one reading says little. What was made is read between two readings of
//! what became of it, which gives bounds: when zero is within them nothing can
//! be said against the ledger. Only a ledger of which every reading for some
//! time was short, or every one was long, is out of balance, by the least that
//! was read.

use std::time::Duration;

use weft_base::Mono;

/// Readings that an alarm needs at least.
const READINGS: u32 = 5;

/// One reading: copies made, less those accounted for, is within these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) least: i64,
    pub(crate) most: i64,
}

impl Reading {
    /// Of what was accounted for before and after `made` was read.
    pub(crate) fn new(before: u64, made: u64, after: u64) -> Self {
        let difference = |accounted: u64| made.wrapping_sub(accounted) as i64;
        let (a, b) = (difference(before), difference(after));
        Self { least: a.min(b), most: a.max(b) }
    }

    /// How far zero is off: positive when copies are missing, negative when
    /// there are too many.
    fn off(self) -> i64 {
        if self.least > 0 { self.least } else { self.most.min(0) }
    }
}

/// What became of an imbalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// So many copies are missing, or, below zero, too many: for the whole time.
    Imbalance(i64),
    /// There was an alarm, and the ledger balances.
    Balanced,
}

/// The watch of one ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The least that was read, since when, and how often; none when balanced.
    off: Option<(i64, Mono, u32)>,
    /// What was said last.
    alarm: i64,
}

impl Watch {
    /// Takes a reading in. Answers when there is something new to say.
    pub(crate) fn read(&mut self, reading: Reading, now: Mono, after: Duration) -> Option<Turn> {
        let off = reading.off();
        self.off = match self.off {
            _ if off == 0 => None,
            Some((least, since, readings)) if least.signum() == off.signum() => {
                let least = if off.abs() < least.abs() { off } else { least };
                Some((least, since, readings.saturating_add(1)))
            }
            _ => Some((off, now, 1)),
        };
        match self.off {
            None if self.alarm != 0 => {
                self.alarm = 0;
                Some(Turn::Balanced)
            }
            Some((least, since, readings)) if now.since(since) >= after && readings >= READINGS => {
                // What came since then begins a time of its own.
                self.off = None;
                let is_new = least != self.alarm;
                self.alarm = least;
                is_new.then_some(Turn::Imbalance(least))
            }
            _ => None,
        }
    }

    /// What the ledger is out of balance by, as far as that was said.
    pub(crate) fn alarm(&self) -> i64 {
        self.alarm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(1);

    /// Reads every 100 ms what `of` says.
    fn run(watch: &mut Watch, from: u64, count: u64, of: impl Fn(u64) -> (i64, i64)) -> Vec<Turn> {
        let read = |n: u64| {
            let (least, most) = of(n);
            watch.read(Reading { least, most }, Mono(n * 100_000_000), AFTER)
        };
        (from..from + count).filter_map(read).collect()
    }

    #[test]
    fn one_copy_that_stays_missing_is_an_alarm_once_and_its_end_is_told() {
        let mut watch = Watch::default();
        assert_eq!(run(&mut watch, 0, 50, |_| (1, 1)), [Turn::Imbalance(1)]);
        assert_eq!(watch.alarm(), 1);
        assert_eq!(run(&mut watch, 50, 5, |_| (0, 0)), [Turn::Balanced]);
        assert_eq!(run(&mut watch, 55, 50, |_| (-2, -2)), [Turn::Imbalance(-2)]);
    }

    #[test]
    fn what_is_out_of_balance_for_less_than_the_time_is_none() {
        let mut watch = Watch::default();
        assert_eq!(run(&mut watch, 0, 10, |_| (3, 3)), []);
        assert_eq!(run(&mut watch, 10, 1, |_| (0, 3)), []);
        assert_eq!(run(&mut watch, 11, 10, |_| (3, 3)), []);
    }

    #[test]
    fn a_busy_ledger_that_is_short_at_times_and_long_at_others_balances() {
        let mut watch = Watch::default();
        assert_eq!(run(&mut watch, 0, 200, |n| if n % 9 < 8 { (40, 90) } else { (-7, -2) }), []);
        assert_eq!(run(&mut watch, 200, 200, |n| (-(n as i64), 50)), [], "zero is always possible");
    }

    #[test]
    fn of_a_busy_ledger_the_least_is_missing() {
        let mut watch = Watch::default();
        let turns = run(&mut watch, 0, 11, |n| (2 + (n as i64 * 7) % 5, 90));
        assert_eq!(turns, [Turn::Imbalance(2)]);
    }

    #[test]
    fn readings_are_bounds_whichever_way_the_counts_move() {
        assert_eq!(Reading::new(10, 12, 11), Reading { least: 1, most: 2 });
        assert_eq!(Reading::new(11, 12, 10), Reading { least: 1, most: 2 });
        assert_eq!(Reading::new(10, 12, 12).off(), 0);
        assert_eq!(Reading::new(14, 12, 13).off(), -1);
    }
}
