//! The smallest batch at which throughput no longer grows.
//!
//! After the batching controller of SEDA (Welsh, Culler and Brewer 2001),
//! which shrinks a stage's batch until throughput falls. What is compared here
//! is the capacity, units per busy second: unlike throughput it does not move
//! with the load that is offered. Only turns that were full say anything: a
//! stage that takes 3 units at a time works alike under any limit of more.
//!
//! The search: measure the capacity at the largest batch; halve the batch while
//! the capacity stays within the tolerance of it; between the last that stayed
//! and the first that fell, bisect to an eighth. Then rest. A search that ends
//! where the last one did doubles the rest, one that ends elsewhere makes it
//! short again; so a stage whose costs do not change is left alone ever longer.

use std::time::Duration;

/// Bounds and measures of the search. Every value is legal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    /// The smallest batch. Default 16 units.
    pub least: u32,
    /// The largest batch, where a stage starts. Default 1,024 units.
    pub most: u32,
    /// The share of the capacity that a smaller batch may cost. Default 0.03.
    pub tolerance: f64,
    /// Full intervals that a capacity is measured over. Default 5.
    pub evidence: u32,
    /// Full intervals that the first rest lasts. Default 100, ten seconds.
    pub rest_first: u32,
    /// The longest rest, in full intervals. Default 36,000, an hour.
    pub rest_most: u32,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { least: 16, most: 1_024, tolerance: 0.03, evidence: 5, rest_first: 100, rest_most: 36_000 }
    }
}

/// The share of a batch that the average busy turn must have used.
const FULL: f64 = 0.8;

/// The search for one stage. Fed once per interval.
#[derive(Clone, Debug)]
pub struct BatchSearch {
    options: BatchOptions,
    batch: u32,
    step: Step,
    /// Full intervals that this step's figures come from.
    seen: u32,
    units: u64,
    busy: Duration,
    rest: u32,
    /// Where the last search ended.
    found: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Measures the largest batch.
    Largest,
    /// Tries a batch: `fell` did not do (zero: none yet), `stayed` did.
    Try {
        largest: f64,
        fell: u32,
        stayed: u32,
    },
    Rest,
}

impl BatchSearch {
    /// A search that starts at the largest batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        let least = options.least.max(1);
        let options = BatchOptions { least, most: options.most.max(least), ..options };
        Self {
            batch: options.most,
            step: Step::Largest,
            seen: 0,
            units: 0,
            busy: Duration::ZERO,
            rest: options.rest_first,
            found: None,
            options,
        }
    }

    /// The batch that holds.
    #[must_use]
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// One interval: `units` were served in `turns` busy turns that took `busy`
    /// together. Answers the batch to set when it changes.
    pub fn observe(&mut self, units: u64, turns: u64, busy: Duration) -> Option<u32> {
        let full = turns > 0 && units as f64 >= FULL * f64::from(self.batch) * turns as f64;
        if !full || busy.is_zero() {
            return None;
        }
        self.seen += 1;
        // The first interval after a change may hold turns from before it.
        if self.seen > 1 {
            self.units = self.units.saturating_add(units);
            self.busy = self.busy.saturating_add(busy);
        }
        let needed = if matches!(self.step, Step::Rest) { self.rest } else { self.options.evidence.saturating_add(1) };
        if self.seen < needed.max(2) {
            return None;
        }
        let capacity = self.units as f64 / self.busy.as_secs_f64();
        (self.seen, self.units, self.busy) = (0, 0, Duration::ZERO);
        let before = self.batch;
        match self.step {
            Step::Rest => {
                self.step = Step::Largest;
                self.batch = self.options.most;
            }
            Step::Largest => self.go_on(capacity, 0, self.batch),
            Step::Try { largest, fell, stayed } => {
                if capacity >= largest * (1.0 - self.options.tolerance) {
                    self.go_on(largest, fell, self.batch);
                } else {
                    self.go_on(largest, self.batch, stayed);
                }
            }
        }
        (self.batch != before).then_some(self.batch)
    }

    /// The next batch between one that fell and one that stayed, or the end.
    fn go_on(&mut self, largest: f64, fell: u32, stayed: u32) {
        let next = if fell == 0 { (stayed / 2).max(self.options.least) } else { fell + (stayed - fell) / 2 };
        let close = next == stayed || stayed - fell.min(stayed) <= (stayed / 8).max(1);
        if next >= stayed || (fell > 0 && close) {
            let same = self.found.is_some_and(|found| found.abs_diff(stayed) <= stayed / 4);
            self.rest = if same { self.rest.saturating_mul(2) } else { self.options.rest_first };
            self.rest = self.rest.min(self.options.rest_most);
            self.found = Some(stayed);
            (self.batch, self.step) = (stayed, Step::Rest);
        } else {
            (self.batch, self.step) = (next, Step::Try { largest, fell, stayed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a stage whose turns cost `turn` ns and whose units cost `unit` ns,
    /// always full, and answers each batch that was set.
    fn run(search: &mut BatchSearch, turn: f64, unit: f64, intervals: u32) -> Vec<u32> {
        let mut set = Vec::new();
        for _ in 0..intervals {
            let batch = f64::from(search.batch());
            let turns = 1e8 / (turn + unit * batch);
            let changed = search.observe((turns * batch) as u64, turns as u64, Duration::from_millis(100));
            set.extend(changed);
        }
        set
    }

    #[test]
    fn the_smallest_batch_at_full_throughput_is_found_within_an_eighth() {
        for (turn, unit) in [(500.0, 100.0), (2_000.0, 100.0), (300.0, 1_000.0), (10_000.0, 1_000.0), (50.0, 5.0)] {
            let options = BatchOptions { least: 1, most: 4_096, ..BatchOptions::default() };
            let mut search = BatchSearch::new(options);
            run(&mut search, turn, unit, 120);
            let capacity = |batch: f64| batch / (turn + unit * batch);
            let enough = 0.97 * capacity(4_096.0);
            let exact = (1..=4_096).find(|&b| capacity(f64::from(b)) >= enough).expect("the largest is enough");
            let found = search.batch();
            assert!(found >= exact, "{turn}+{unit}n: {found} costs throughput, {exact} would not");
            assert!(found - exact <= (exact / 7).max(1), "{turn}+{unit}n: {found}, and {exact} would do");
        }
    }

    #[test]
    fn a_stage_whose_costs_stay_is_left_alone_ever_longer() {
        let mut search = BatchSearch::new(BatchOptions::default());
        // A day of full load.
        let set = run(&mut search, 2_000.0, 100.0, 864_000);
        assert!(set.len() < 400, "{} changes", set.len());
        // Canary: with no rest it never stops.
        let options = BatchOptions { rest_first: 1, rest_most: 1, ..BatchOptions::default() };
        assert!(run(&mut BatchSearch::new(options), 2_000.0, 100.0, 86_400).len() > 4_000);
    }

    #[test]
    fn costs_that_change_are_followed() {
        let mut search = BatchSearch::new(BatchOptions { least: 1, ..BatchOptions::default() });
        run(&mut search, 100.0, 100.0, 300);
        let small = search.batch();
        run(&mut search, 4_000.0, 100.0, 2_000);
        assert!(search.batch() > 4 * small, "{small}, then {}", search.batch());
    }

    #[test]
    fn turns_that_are_not_full_change_nothing() {
        let mut search = BatchSearch::new(BatchOptions::default());
        for _ in 0..10_000 {
            assert_eq!(search.observe(3_000, 1_000, Duration::from_millis(5)), None);
        }
        assert_eq!(search.batch(), 1_024);
    }
}
