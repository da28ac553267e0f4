//! How it was over the last hour: rates, waits for stages and round trips, by hub; and
//! of the hub that looks how long what came waited, by percentiles ([`Spans`]).
//!
//! Bounded: [`MOST_TIMES`] readings, [`STEP_MS`] apart, of [`MOST_LINES`] lines; what
//! comes when there is no room for one more line is not kept.

use std::collections::{BTreeMap, VecDeque};

use weft_observe::{Snapshot, Table, layout};

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
    /// Microseconds that what came waited for each stage, by percentile.
    Stages,
    /// Microseconds from the socket to the route stage, by lane and percentile.
    Lanes,
    /// Microseconds that events were old as they went to a subscriber's socket, by lane
    /// and percentile.
    Delivery,
    /// The same, as they went to a link's socket.
    Forward,
}

impl What {
    /// By its name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "rates" => Some(Self::Rates),
            "waits" => Some(Self::Waits),
            "trips" => Some(Self::Trips),
            "stages" => Some(Self::Stages),
            "lanes" => Some(Self::Lanes),
            "delivery" => Some(Self::Delivery),
            "forward" => Some(Self::Forward),
            _ => None,
        }
    }

    /// What a histogram of the hub's table is of, and the name of its line.
    fn of_histogram(name: &str) -> Option<(Self, String)> {
        let (head, what) = name.rsplit_once('.')?;
        let (kind, which) = head.split_once('.')?;
        match (kind, what) {
            ("stage", "wait") => Some((Self::Stages, which.to_owned())),
            ("lane", "wait") => Some((Self::Lanes, format!("lane {which}"))),
            ("lane", "delivery") => Some((Self::Delivery, format!("lane {which}"))),
            ("lane", "forward") => Some((Self::Forward, format!("lane {which}"))),
            _ => None,
        }
    }

    /// Whether its lines are of a percentile each.
    pub(crate) const fn has_percentiles(self) -> bool {
        matches!(self, Self::Stages | Self::Lanes | Self::Delivery | Self::Forward)
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Rates => "/s",
            Self::Waits | Self::Stages | Self::Lanes | Self::Delivery | Self::Forward => "µs",
            Self::Trips => "ms",
        }
    }
}

/// Percentiles that are kept, and in parts of ten thousand.
pub(crate) const PERCENTILES: [(&str, u32); 3] = [("P50", 5_000), ("P99", 9_900), ("P99.9", 9_990)];
/// Histograms of which they are kept.
const MOST_HISTOGRAMS: usize = 128;

/// What the histograms of the hub that looks had recorded at the reading before.
#[derive(Debug, Default)]
pub(crate) struct Spans(BTreeMap<String, Snapshot>);

impl Spans {
    /// Puts what was recorded since the last reading into the newest one.
    pub(crate) fn take(&mut self, table: &Table, hub: &str, history: &mut History) {
        let mut now = BTreeMap::new();
        table.each(|name, kind, look| {
            let Some((what, line)) = What::of_histogram(name).filter(|_| kind == layout::Kind::Histogram) else {
                return;
            };
            if now.len() >= MOST_HISTOGRAMS {
                return;
            }
            let Some(snapshot) = look.snapshot() else { return };
            // At the first reading it is not known what was recorded lately.
            if let Some(Ok(lately)) = self.0.get(name).map(|before| snapshot.since(before)) {
                for (percentile, parts) in PERCENTILES {
                    if let Some(nanos) = lately.quantile(parts) {
                        history.put(what, hub, &format!("{line} {percentile}"), nanos as f64 / 1e3);
                    }
                }
            }
            now.insert(name.to_owned(), snapshot);
        });
        self.0 = now;
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
    /// Whether a reading was made of what was seen then.
    pub(crate) fn has_newest(&self, at: u64) -> bool {
        self.times.back() == Some(&at)
    }

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
    /// greatest first, so many at most: its name and its values then. Of lines with
    /// percentiles those of one, in order of name.
    pub(crate) fn of(
        &self,
        (what, percentile): (What, &str),
        hub: &str,
        ms: u64,
        most: usize,
    ) -> (Vec<u64>, Vec<Drawn<'_>>) {
        let from = self.times.back().copied().unwrap_or_default().saturating_sub(ms);
        let skipped = self.times.iter().take_while(|time| **time < from).count();
        let times = self.times.iter().skip(skipped).copied().collect();
        let mut lines: Vec<(f32, &str, Vec<Option<f32>>)> = Vec::new();
        for ((_, _, name), line) in self.lines.iter().filter(|((of, at, _), _)| *of == what && at == hub) {
            let name = if what.has_percentiles() {
                let Some(name) = name.strip_suffix(percentile).and_then(|name| name.strip_suffix(' ')) else {
                    continue;
                };
                name
            } else {
                name
            };
            let values: Vec<Option<f32>> = line.iter().skip(skipped).map(|v| (!v.is_nan()).then_some(*v)).collect();
            let greatest = values.iter().flatten().copied().fold(0.0, f32::max);
            lines.push((greatest, name, values));
        }
        lines.sort_by(|a, b| b.0.total_cmp(&a.0));
        lines.truncate(most);
        if what.has_percentiles() {
            lines.sort_by(|a, b| a.1.cmp(b.1));
        }
        (times, lines.into_iter().map(|(_, name, values)| (name, values)).collect())
    }
}
