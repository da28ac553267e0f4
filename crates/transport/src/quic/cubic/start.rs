//! When slow start ends: HyStart++ (RFC 9406). Pure.
//!
//! A window that doubles each round trip until a datagram is lost has lost as
//! many as it holds by then. Round trips become longer before that, as the
//! queue of the line fills. From then on the window grows by a quarter of what
//! it would, for up to five round trips, in case it was chance; round trips
//! that are short again end that, and what is left of five ends slow start.

use std::time::Duration;

/// Round trips longer by so much of the last ones' shortest say that a queue
/// fills: an eighth, within these bounds.
const DIVISOR: u32 = 8;
const LEAST: Duration = Duration::from_millis(4);
const MOST: Duration = Duration::from_millis(16);
/// Acknowledgements of a round trip without which it says nothing.
const SAMPLES: u32 = 8;
/// By what growth is divided once a queue fills.
const CAREFUL: f64 = 4.0;
/// For how many round trips.
const ROUNDS: u32 = 5;

/// What slow start knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    /// The shortest of the last round trip, and of this one.
    last: Option<Duration>,
    this: Option<Duration>,
    samples: u32,
    careful: Option<Careful>,
}

#[derive(Clone, Copy, Debug)]
struct Careful {
    /// Shorter round trips than this say that it was chance.
    baseline: Duration,
    rounds: u32,
}

impl Start {
    /// An acknowledgement came after so long.
    pub(super) fn sample(&mut self, took: Duration) {
        let this = self.this.map_or(took, |this| this.min(took));
        self.this = Some(this);
        self.samples += 1;
        if self.samples < SAMPLES {
            return;
        }
        match (self.careful, self.last) {
            (Some(careful), _) if this < careful.baseline => self.careful = None,
            (None, Some(last)) if this >= last + (last / DIVISOR).clamp(LEAST, MOST) => {
                self.careful = Some(Careful { baseline: this, rounds: 0 });
            }
            _ => {}
        }
    }

    /// A round trip is over: whether slow start is.
    pub(super) fn round(&mut self) -> bool {
        (self.last, self.this, self.samples) = (self.this.take(), None, 0);
        let Some(careful) = &mut self.careful else { return false };
        careful.rounds += 1;
        careful.rounds >= ROUNDS
    }

    /// By what growth is divided.
    pub(super) const fn divisor(&self) -> f64 {
        if self.careful.is_some() { CAREFUL } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round trip of ten acknowledgements; whether slow start ends with it.
    fn round(start: &mut Start, ms: u64) -> bool {
        (0..10).for_each(|_| start.sample(Duration::from_millis(ms)));
        start.round()
    }

    #[test]
    fn round_trips_that_stay_longer_end_it_after_five() {
        let mut start = Start::default();
        assert!(!round(&mut start, 80) && !round(&mut start, 89));
        assert_eq!(start.divisor(), 1.0, "89 is within an eighth of 80");
        assert!(!round(&mut start, 101));
        assert_eq!(start.divisor(), 4.0);
        let ends: Vec<bool> = (0..4).map(|_| round(&mut start, 110)).collect();
        assert_eq!(ends, [false, false, false, true], "the one that was longer is the first of five");
    }

    #[test]
    fn one_that_is_short_again_says_that_it_was_chance() {
        let mut start = Start::default();
        round(&mut start, 80);
        round(&mut start, 120);
        assert_eq!(start.divisor(), 4.0);
        round(&mut start, 81);
        assert_eq!(start.divisor(), 1.0);
        assert!((0..100).all(|_| !round(&mut start, 81)));
    }

    #[test]
    fn few_acknowledgements_say_nothing_and_short_lines_have_four_milliseconds() {
        let mut start = Start::default();
        round(&mut start, 80);
        (0..7).for_each(|_| start.sample(Duration::from_millis(500)));
        assert_eq!(start.divisor(), 1.0);
        let mut start = Start::default();
        round(&mut start, 1);
        round(&mut start, 4);
        assert_eq!(start.divisor(), 1.0);
        round(&mut start, 8);
        assert_eq!(start.divisor(), 4.0);
    }
}
