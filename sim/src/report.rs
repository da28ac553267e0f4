//! Many runs, added up by shape or file, and told in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::checks::{Family, Tally, Violation};
use crate::failover::Failover;
use crate::histogram::Histogram;
use crate::{Outcome, Plan};

/// So many failures are told one by one.
const MOST_TOLD: usize = 20;

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By shape or file.
    pub rows: BTreeMap<String, Row>,
    /// Runs that broke a promise, in the order of runs.
    pub failed: Vec<Failed>,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Of which shape or file.
    pub of: String,
    /// The run.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
}

/// The runs of one shape or file.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// How many.
    pub seeds: u64,
    /// Of those, the ones that broke a promise, by what it is about.
    pub broken: BTreeMap<Family, u64>,
    /// What those checked that kept all of them.
    pub tally: Tally,
    /// From publish to delivery.
    pub latency: Histogram,
    /// Cuts that were survived.
    pub failovers: Vec<Failover>,
    /// Cuts that something else overtook.
    pub abandoned: u64,
    /// The most bytes of control a second that one hub sent in a run, by its name.
    pub control: BTreeMap<String, u64>,
    /// The longest that a mesh took to come to rest after the last fault.
    pub rested: Duration,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, plan: &Plan, outcome: Result<Outcome, Violation>) {
        let row = self.rows.entry(plan.of.clone()).or_default();
        row.seeds += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(violation) => {
                *row.broken.entry(violation.check.family()).or_default() += 1;
                self.failed.push(Failed { of: plan.of.clone(), seed: plan.seed, violation });
                return;
            }
        };
        row.tally += outcome.tally;
        row.latency += &outcome.latency;
        row.failovers.extend(outcome.failovers);
        row.abandoned += outcome.abandoned;
        row.rested = row.rested.max(outcome.rested);
        let seconds = (outcome.tally.virtual_ms / 1000).max(1);
        for (hub, bytes) in plan.hubs.iter().zip(outcome.control) {
            let most = row.control.entry(hub.name.clone()).or_default();
            *most = (*most).max(bytes / seconds);
        }
    }

    /// Whether all promises held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Row {
    /// Of cuts that were noticed at once, or were not: how many were survived,
    /// and the median and the longest time without traffic in probe intervals.
    #[must_use]
    pub fn failover(&self, noticed: bool) -> Option<(usize, f64, f64)> {
        let mut took: Vec<f64> =
            self.failovers.iter().filter(|one| one.noticed == noticed).map(Failover::intervals).collect();
        took.sort_by(f64::total_cmp);
        Some((took.len(), *took.get(took.len() / 2)?, *took.last()?))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failed { of, seed, violation } in self.failed.iter().take(MOST_TOLD) {
            writeln!(f, "FAILED {of}, seed {seed}: {violation}")?;
        }
        if self.failed.len() > MOST_TOLD {
            writeln!(f, "and {} more failed", self.failed.len() - MOST_TOLD)?;
        }
        let of = self.rows.keys().map(String::len).max().unwrap_or(0).max(8);
        write!(f, "{:<of$} {:>6} {:>6}", "", "seeds", "failed")?;
        Family::ALL.iter().try_for_each(|family| write!(f, " {:>10}", family.name()))?;
        writeln!(f)?;
        for (name, row) in &self.rows {
            write!(f, "{name:<of$} {:>6} {:>6}", row.seeds, row.broken.values().sum::<u64>())?;
            for family in Family::ALL {
                write!(f, " {:>10}", row.broken.get(&family).copied().unwrap_or(0))?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "\n{:<of$} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8} {:>9} {:>9} {:>9} {:>8} {:>12}",
            "",
            "events",
            "delivered",
            "had to",
            "stored",
            "receipts",
            "faults",
            "p50 ms",
            "p99 ms",
            "max ms",
            "rest s",
            "control B/s"
        )?;
        for (name, row) in &self.rows {
            let ms = |per_mille| row.latency.per_mille(per_mille).map_or(0.0, |took| took.as_secs_f64() * 1e3);
            let Tally { published, delivered, expected, stored, receipts, faults, .. } = row.tally;
            let (rest, control) = (row.rested.as_secs_f64(), row.control.values().max().copied().unwrap_or(0));
            writeln!(
                f,
                "{name:<of$} {published:>10} {delivered:>10} {expected:>10} {stored:>10} {receipts:>9} {faults:>8} {:>9.1} {:>9.1} {:>9.1} {rest:>8.1} {control:>12}",
                ms(500),
                ms(990),
                ms(1000)
            )?;
        }
        writeln!(
            f,
            "\n{:<of$} {:>34} {:>34} {:>9}",
            "", "cuts noticed: n, p50, max intervals", "cuts silent", "overtaken"
        )?;
        for (name, row) in &self.rows {
            let told = |noticed| match row.failover(noticed) {
                Some((count, median, most)) => format!("{count}, {median:.1}, {most:.1}"),
                None => "-".to_owned(),
            };
            writeln!(f, "{name:<of$} {:>34} {:>34} {:>9}", told(true), told(false), row.abandoned)?;
        }
        Ok(())
    }
}
