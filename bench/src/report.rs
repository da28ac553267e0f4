//! What a run of many peers measured: every figure with its runs, the machine,
//! and what was set up how; as tables for people and as JSON for programs.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::machine;
use crate::stats::{Runs, short};
use crate::table::Table;

/// All of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When it began, seconds since 1970, UTC.
    pub began_unix_s: u64,
    /// How it was called.
    pub command: String,
    /// The commit of the sources, when git knows it.
    pub commit: String,
    /// Processor, cores, memory, kernel, load.
    pub machine: String,
    /// What was measured in which way.
    pub setup: Vec<String>,
    /// The peers, with their versions.
    pub peers: Vec<Entrant>,
    /// What was left out or failed, and why.
    pub missing: Vec<String>,
    /// The figures.
    pub cells: Vec<Cell>,
}

/// A peer that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    /// Its name in the tables.
    pub name: String,
    /// The server and its version.
    pub version: String,
    /// Which client did the work.
    pub client: String,
}

/// One figure of one peer.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The table it belongs to.
    pub section: String,
    /// What was done: a column.
    pub work: String,
    /// Who did it: a row.
    pub peer: String,
    /// What was counted.
    pub metric: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// One result per round, in order.
    pub runs: Vec<f64>,
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// A kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
}

/// Events delivered a second, over all subscribers.
pub const RATE: Metric = Metric { name: "delivered", unit: "events/s" };
/// Processor seconds of the server per million events delivered.
pub const CPU: Metric = Metric { name: "server CPU", unit: "s per million events" };
/// The most memory of the server that was resident during the run.
pub const MEMORY: Metric = Metric { name: "peak resident memory", unit: "MiB" };

impl Report {
    /// An empty report of this run.
    #[must_use]
    pub fn new() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut words = std::env::args();
        let program = words.next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        let commit = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=10"]).output();
        let commit = commit.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        Self {
            began_unix_s: began,
            command: [format!("cargo xtask bench {program}")].into_iter().chain(words).collect::<Vec<_>>().join(" "),
            commit,
            machine: machine::line(),
            setup: Vec::new(),
            peers: Vec::new(),
            missing: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// Adds a run's result to its figure.
    pub fn record(&mut self, section: &str, work: &str, peer: &str, metric: Metric, value: f64) {
        let at = self.cells.iter().position(|cell| {
            cell.section == section && cell.work == work && cell.peer == peer && cell.metric == metric.name
        });
        let at = at.unwrap_or_else(|| {
            self.cells.push(Cell {
                section: section.to_owned(),
                work: work.to_owned(),
                peer: peer.to_owned(),
                metric: metric.name,
                unit: metric.unit,
                runs: Vec::new(),
                median: f64::NAN,
                min: f64::NAN,
                max: f64::NAN,
            });
            self.cells.len() - 1
        });
        let cell = &mut self.cells[at];
        cell.runs.push(value);
        let runs: Runs = cell.runs.iter().copied().collect();
        (cell.median, cell.min, cell.max) = (runs.median(), runs.min(), runs.max());
    }

    /// A figure, if it was measured.
    #[must_use]
    pub fn find(&self, section: &str, work: &str, peer: &str, metric: Metric) -> Option<&Cell> {
        self.cells.iter().find(|cell| {
            cell.section == section && cell.work == work && cell.peer == peer && cell.metric == metric.name
        })
    }

    /// The distinct works of a section that have this metric, in the order in which they were measured.
    #[must_use]
    pub fn works(&self, section: &str, metric: Metric) -> Vec<&str> {
        distinct(self.cells.iter().filter(|c| c.section == section && c.metric == metric.name).map(|c| &*c.work))
    }

    /// The distinct peers of a section that have this metric.
    #[must_use]
    pub fn entrants(&self, section: &str, metric: Metric) -> Vec<&str> {
        distinct(self.cells.iter().filter(|c| c.section == section && c.metric == metric.name).map(|c| &*c.peer))
    }

    /// One metric of a section: a row per peer, a column per work, medians
    /// with their spread; the best of each column stands in bold.
    #[must_use]
    pub fn table(&self, section: &str, metric: Metric, lowest_is_best: bool) -> Table {
        let works = self.works(section, metric);
        let head = std::iter::once(format!("{}, {}", metric.name, metric.unit));
        let mut table = Table::new(head.chain(works.iter().map(|w| (*w).to_owned())));
        for peer in self.entrants(section, metric) {
            let cells = works.iter().map(|work| {
                let Some(cell) = self.find(section, work, peer, metric) else { return "-".to_owned() };
                let others = works_best(self, section, work, metric, lowest_is_best);
                spread(cell, others.is_some_and(|best| best == cell.median))
            });
            table.row(std::iter::once(peer.to_owned()).chain(cells));
        }
        table
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

fn works_best(report: &Report, section: &str, work: &str, metric: Metric, lowest: bool) -> Option<f64> {
    let cells = report.cells.iter().filter(|c| c.section == section && c.work == work && c.metric == metric.name);
    let medians = cells.map(|c| c.median).filter(|m| m.is_finite());
    if lowest { medians.reduce(f64::min) } else { medians.reduce(f64::max) }
}

/// The median, and the smallest and largest run as its share: `2.95 M (-3 % +1 %)`.
fn spread(cell: &Cell, best: bool) -> String {
    let median = if best { format!("**{}**", short(cell.median)) } else { short(cell.median) };
    if cell.runs.len() < 2 || cell.median == 0.0 || !cell.median.is_finite() {
        return median;
    }
    let percent = |value: f64| ((value / cell.median - 1.0) * 100.0).abs().round();
    format!("{median} (-{} +{} %)", percent(cell.min), percent(cell.max))
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_medians_and_the_best_stands_out() {
        let mut report = Report::new();
        for value in [3e6, 1e6, 2e6] {
            report.record("live", "16 B", "a", RATE, value);
        }
        report.record("live", "16 B", "b", RATE, 1.5e6);
        let table = report.table("live", RATE, false).to_string();
        assert!(table.contains("**2.00 M** (-50 +50 %)") && table.contains(" 1.50 M "), "{table}");
        let table = report.table("live", RATE, true).to_string();
        assert!(table.contains("**1.50 M**"), "{table}");
    }
}
