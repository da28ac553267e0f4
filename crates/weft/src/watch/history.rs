//! How it was over the last hour: rates, waits for stages and round trips, by hub.
//!
//! Bounded: [`MOST_TIMES`] readings, [`STEP_MS`] apart, of [`MOST_LINES`] lines; what
//! comes when there is no room for one more line is not kept.

use std::collections::{BTreeMap, VecDeque};

use super::{Counts, Sight};

/// Readings that are kept.
const MOST_TIMES: usize = 720;
/// The time between two, in milliseconds.
const STEP_MS: u64 = 5_000;
/// Lines that are kept: with that many they take 23 MiB.
const MOST_LINES: usize = 8_192;

/// What a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Events a second: published, delivered, dropped.
    Rates,
    /// Microseconds that what came last waited for each stage.
    Waits,
    /// Milliseconds there and back over each link.
    Trips,
}

impl What {
    /// By its name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "rates" => Some(Self::Rates),
            "waits" => Some(Self::Waits),
            "trips" => Some(Self::Trips),
            _ => None,
        }
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Rates => "/s",
            Self::Waits => "µs",
            Self::Trips => "ms",
        }
    }
}

type Line = (What, String, String);
/// A line as it is drawn: its name, and its values.
type Drawn<'a> = (&'a str, Vec<Option<f32>>);

/// Readings of the last hour.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Unix milliseconds.
    times: VecDeque<u64>,
    /// By what it is of, the hub and its name there; as long as `times`, and not a
    /// number where nothing was said.
    lines: BTreeMap<Line, VecDeque<f32>>,
}

impl History {
    pub(super) fn take(&mut self, sight: &Sight, counts: &BTreeMap<String, Counts>) {
        if self.times.back().is_some_and(|last| sight.at < last + STEP_MS) {
            return;
        }
        self.times.push_back(sight.at);
        self.lines.values_mut().for_each(|line| line.push_back(f32::NAN));
        if self.times.len() > MOST_TIMES {
            self.times.pop_front();
            for line in self.lines.values_mut() {
                line.pop_front();
            }
        }
        for (hub, rate) in sight.hubs.iter().zip(&sight.hub_rates) {
            if counts.contains_key(&hub.name) {
                for (name, value) in
                    [("published", rate.published), ("delivered", rate.delivered), ("dropped", rate.dropped)]
                {
                    self.put(What::Rates, &hub.name, name, value);
                }
            }
        }
        for (hub, counts) in counts {
            counts.waits.iter().for_each(|(stage, wait)| self.put(What::Waits, hub, stage, *wait as f64));
        }
        for link in sight.links.iter().filter(|link| link.up) {
            if let Some(rtt) = link.rtt {
                self.put(What::Trips, &link.from, &link.to, rtt.as_secs_f64() * 1e3);
            }
        }
        // A line of what is there no more.
        self.lines.retain(|_, line| line.iter().any(|value| !value.is_nan()));
    }

    fn put(&mut self, what: What, hub: &str, name: &str, value: f64) {
        let key = (what, hub.to_owned(), name.to_owned());
        if !self.lines.contains_key(&key) && self.lines.len() >= MOST_LINES {
            return;
        }
        let times = self.times.len();
        let line = self.lines.entry(key).or_insert_with(|| vec![f32::NAN; times].into());
        if let Some(last) = line.back_mut() {
            *last = value as f32;
        }
    }

    /// The times of the last so many milliseconds, and of each line of a hub, the
    /// greatest first, so many at most: its name and its values then.
    pub(crate) fn of(&self, what: What, hub: &str, ms: u64, most: usize) -> (Vec<u64>, Vec<Drawn<'_>>) {
        let from = self.times.back().copied().unwrap_or_default().saturating_sub(ms);
        let skipped = self.times.iter().take_while(|time| **time < from).count();
        let times = self.times.iter().skip(skipped).copied().collect();
        let mut lines: Vec<(f32, &str, Vec<Option<f32>>)> = Vec::new();
        for ((_, _, name), line) in self.lines.iter().filter(|((of, at, _), _)| *of == what && at == hub) {
            let values: Vec<Option<f32>> = line.iter().skip(skipped).map(|v| (!v.is_nan()).then_some(*v)).collect();
            let greatest = values.iter().flatten().copied().fold(0.0, f32::max);
            lines.push((greatest, name, values));
        }
        lines.sort_by(|a, b| b.0.total_cmp(&a.0));
        (times, lines.into_iter().take(most).map(|(_, name, values)| (name, values)).collect())
    }
}
