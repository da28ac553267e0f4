//! Which rate to try next, and where it broke: a pure decider.
//!
//! It multiplies the offered rate until a step breaks, then halves the
//! distance (of logarithms) between the highest rate that held and the lowest
//! that broke, until they are close. A step breaks when events are lost, when
//! too few arrive, or when p99 passes its limit. One bad step may be the
//! machine's doing, so a rate counts as broken only when it breaks twice.

use std::fmt;

/// What counts as holding, and how closely the breaking point is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RampOptions {
    /// The first rate tried, in events a second.
    pub first: f64,
    /// What the rate is multiplied with while steps hold; above 1.
    pub factor: f64,
    /// The share of the offered events that must arrive within the step, 0 to 1.
    pub share: f64,
    /// The highest p99 that holds, in nanoseconds.
    pub p99: u64,
    /// How close the rates that held and that broke must come: 0.1 is 10 %.
    pub precision: f64,
    /// The most steps, however close the rates are.
    pub steps: usize,
}

impl Default for RampOptions {
    fn default() -> Self {
        Self { first: 10_000.0, factor: 2.0, share: 0.98, p99: 10_000_000, precision: 0.1, steps: 30 }
    }
}

/// What a step gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Events a second that were due.
    pub offered: f64,
    /// Events a second that were published and arrived.
    pub achieved: f64,
    /// 99 of 100 events were at most this late, in nanoseconds.
    pub p99: u64,
    /// Events that were published and never arrived.
    pub lost: u64,
}

/// Why a step broke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Broke {
    /// Events were lost.
    Lost {
        /// How many.
        events: u64,
    },
    /// Too few of the offered events arrived in time.
    Behind {
        /// The share that did.
        share: f64,
    },
    /// They came too late.
    Late {
        /// The p99, in nanoseconds.
        p99: u64,
    },
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { events } => write!(f, "{events} events were lost"),
            Self::Behind { share } => write!(f, "only {:.0} % of the offered events arrived in time", share * 100.0),
            Self::Late { p99 } => write!(f, "p99 was {}", crate::latency::show(*p99)),
        }
    }
}

/// The decider.
#[derive(Clone, Debug)]
pub struct Ramp {
    options: RampOptions,
    next: f64,
    taken: usize,
    /// The rate that broke once and is tried again.
    suspect: bool,
    held: Option<Step>,
    broke: Option<(Step, Broke)>,
}

impl Ramp {
    /// Begins at the options' first rate.
    #[must_use]
    pub fn new(options: RampOptions) -> Self {
        Self { options, next: options.first, taken: 0, suspect: false, held: None, broke: None }
    }

    /// The rate to try; `None` when the breaking point is known well enough.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        if self.taken >= self.options.steps {
            return None;
        }
        match (&self.held, &self.broke) {
            (Some(held), Some((broke, _))) if broke.offered / held.offered <= 1.0 + self.options.precision => None,
            _ => Some(self.next),
        }
    }

    /// Takes what the step at [`next`](Self::next) gave; answers why it broke, if it did.
    pub fn observe(&mut self, step: Step) -> Option<Broke> {
        self.taken += 1;
        let broke = self.judge(&step);
        match broke {
            None => {
                self.suspect = false;
                self.held = Some(step);
            }
            Some(_) if !self.suspect => {
                self.suspect = true;
                return broke;
            }
            Some(why) => {
                self.suspect = false;
                self.broke = Some((step, why));
            }
        }
        self.next = match (&self.held, &self.broke) {
            (Some(held), Some((broke, _))) => (held.offered * broke.offered).sqrt(),
            (Some(held), None) => held.offered * self.options.factor,
            // Not even the first rate held: look below it.
            (None, _) => step.offered / self.options.factor,
        };
        broke
    }

    fn judge(&self, step: &Step) -> Option<Broke> {
        let share = if step.offered > 0.0 { step.achieved / step.offered } else { 1.0 };
        if step.lost > 0 {
            Some(Broke::Lost { events: step.lost })
        } else if share < self.options.share {
            Some(Broke::Behind { share })
        } else if step.p99 > self.options.p99 {
            Some(Broke::Late { p99: step.p99 })
        } else {
            None
        }
    }

    /// The step of the highest rate that held.
    #[must_use]
    pub fn held(&self) -> Option<&Step> {
        self.held.as_ref()
    }

    /// The step of the lowest rate that broke, and why.
    #[must_use]
    pub fn broke(&self) -> Option<&(Step, Broke)> {
        self.broke.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a hub of a known capacity would answer.
    fn hub(capacity: f64, offered: f64) -> Step {
        let p99 = if offered < capacity { 100_000 } else { 50_000_000 };
        Step { offered, achieved: offered.min(capacity), p99, lost: 0 }
    }

    /// Runs a ramp against `answer`; how many steps it took, and what held.
    fn run(options: RampOptions, mut answer: impl FnMut(usize, f64) -> Step) -> (usize, Ramp) {
        let mut ramp = Ramp::new(options);
        let mut steps = 0;
        while let Some(rate) = ramp.next() {
            assert!(steps < 1_000, "it does not end");
            ramp.observe(answer(steps, rate));
            steps += 1;
        }
        (steps, ramp)
    }

    /// The judge of these tests: whether a ramp with these options finds a hub's capacity.
    fn finds(options: RampOptions, capacity: f64) -> bool {
        let (_, ramp) = run(options, |_, rate| hub(capacity, rate));
        let held = ramp.held().map_or(0.0, |step| step.offered);
        held <= capacity && held * (1.0 + options.precision) >= capacity * 0.999
    }

    #[test]
    fn the_breaking_point_is_found_wherever_it_is() {
        for capacity in [700.0, 9_999.0, 10_001.0, 123_456.0, 3_333_333.0, 40e6] {
            assert!(finds(RampOptions::default(), capacity), "{capacity}");
        }
    }

    #[test]
    fn canary_a_ramp_that_lets_everything_hold_is_caught() {
        let blind = RampOptions { share: 0.0, p99: u64::MAX, ..RampOptions::default() };
        assert!(!finds(blind, 123_456.0));
    }

    #[test]
    fn canary_a_ramp_that_stops_too_early_is_caught() {
        assert!(!finds(RampOptions { steps: 4, ..RampOptions::default() }, 3_333_333.0));
    }

    #[test]
    fn one_bad_step_is_tried_again_and_does_not_end_the_ramp() {
        let (_, ramp) = run(RampOptions::default(), |step, rate| match step {
            2 => Step { lost: 5, ..hub(1e6, rate) },
            _ => hub(1e6, rate),
        });
        assert!(ramp.held().is_some_and(|held| held.offered > 0.9e6), "{ramp:?}");
    }

    #[test]
    fn every_way_to_break_is_told() {
        let at = |step: Step| {
            let mut ramp = Ramp::new(RampOptions::default());
            ramp.observe(step)
        };
        let good = Step { offered: 1e4, achieved: 1e4, p99: 1, lost: 0 };
        assert_eq!(at(good), None);
        assert_eq!(at(Step { lost: 3, ..good }), Some(Broke::Lost { events: 3 }));
        assert_eq!(at(Step { achieved: 5e3, ..good }), Some(Broke::Behind { share: 0.5 }));
        assert_eq!(at(Step { p99: 20_000_000, ..good }), Some(Broke::Late { p99: 20_000_000 }));
    }

    #[test]
    fn a_hub_that_never_breaks_ends_the_ramp_all_the_same() {
        let (steps, ramp) = run(RampOptions::default(), |_, rate| hub(f64::INFINITY, rate));
        assert_eq!(steps, RampOptions::default().steps);
        assert!(ramp.broke().is_none());
    }
}
