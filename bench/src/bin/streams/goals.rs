//! The goals of streams, and whether this run met them: a row each with Weft's
//! median, what it is held against, their ratio, and the ratio that is wanted.
#![forbid(unsafe_code)]

use weft_bench::report::{Metric, Report};
use weft_bench::stats::short;
use weft_bench::table::Table;

use crate::Arguments;
use crate::entrants::Row;
use crate::parts::{
    ACKED, BYTES, GROWING, LENGTHS, LOOPBACK, MICROS, OWN_RESIDENT, Part, READ, RESIDENT, SEQUENTIAL, WRITTEN,
};

/// What Iggy 0.8.0 gave on the machine that the goals were set on, in a run of
/// its own: events a second, published with fsync in batches of 1,000, and read again.
const IGGY_PUBLISH: [(&str, f64); 2] = [("128 B", 1.2e6), ("1 KiB", 321_000.0)];
const IGGY_REPLAY: f64 = 4.9e6;
/// By how much memory may differ before it has grown.
const GROWN: f64 = 1.1;

/// The ratio of Weft's figure to the other that is wanted.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// More than the other.
    Above,
    /// Less than the other.
    Below,
}

impl Wanted {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::Above => ratio > 1.0,
            Self::Below => ratio < 1.0,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {least}"),
            Self::AtMost(most) => format!("at most {most}"),
            Self::Above => "above 1".to_owned(),
            Self::Below => "below 1".to_owned(),
        }
    }
}

/// The rows of goals of which both figures were measured.
struct Goals<'a> {
    report: &'a Report,
    table: Table,
}

impl Goals<'_> {
    fn median(&self, section: &str, work: &str, peer: &str, metric: Metric) -> Option<f64> {
        self.report.find(section, work, peer, metric).map(|cell| cell.median)
    }

    /// Weft's median of a part.
    fn ours(&self, part: Part, work: &str, metric: Metric) -> Option<f64> {
        self.median(part.section(), work, Row::Weft.name(), metric)
    }

    fn add(&mut self, what: &str, unit: &str, ours: Option<f64>, beside: &str, other: Option<f64>, wanted: Wanted) {
        let (Some(ours), Some(other)) = (ours, other) else { return };
        let ratio = ours / other;
        let met = if wanted.is_met(ratio) { "met" } else { "**missed**" };
        let ratio = format!("{ratio:.2}");
        let other = format!("{beside}: {}", short(other));
        self.table.row([what, &format!("{} {unit}", short(ours)), &other, &ratio, &wanted.text(), met]);
    }

    /// Beside another server's median of the same figure.
    fn beside(&mut self, what: &str, part: Part, work: &str, metric: Metric, row: Row, wanted: Wanted) {
        let other = self.median(part.section(), work, row.name(), metric);
        self.add(what, metric.unit, self.ours(part, work, metric), row.name(), other, wanted);
    }

    /// The payload's bytes a second beside those that the machine itself gives.
    fn share(&mut self, what: &str, part: Part, metric: Metric, limit: &str, wanted: Wanted) {
        let ours = self.ours(part, "1 KiB", metric).map(|rate| rate * 1024.0);
        let other = self.median(&part.limits(), "1 KiB", limit, BYTES);
        self.add(what, "bytes/s", ours, limit, other, wanted);
    }
}

/// The table of goals.
pub(crate) fn table(arguments: &Arguments, report: &Report) -> Table {
    let head = ["goal", "Weft", "beside", "ratio", "wanted", "met or missed"];
    let mut goals = Goals { report, table: Table::new(head) };
    publishing(&mut goals);
    reading(&mut goals, arguments);
    goals.table
}

fn publishing(goals: &mut Goals<'_>) {
    let what = "pipelined at synced, 128 B";
    goals.beside(what, Part::Publish, "128 B", ACKED, Row::Jetstream, Wanted::AtLeast(2.0));
    goals.beside(what, Part::Publish, "128 B", ACKED, Row::JetstreamAlways, Wanted::AtLeast(50.0));
    goals.share("pipelined at synced, 1 KiB", Part::Publish, ACKED, SEQUENTIAL, Wanted::AtLeast(0.9));
    for (work, rate) in IGGY_PUBLISH {
        let ours = goals.ours(Part::Publish, work, ACKED);
        let what = format!("pipelined at synced, {work}");
        goals.add(&what, ACKED.unit, ours, "Iggy with fsync, an earlier run", Some(rate), Wanted::Above);
    }
    let what = "one at a time at synced, 128 B, p50";
    let ours = goals.ours(Part::Single, "p50", MICROS);
    for limit in [GROWING, WRITTEN] {
        let other = goals.median(&Part::Single.limits(), "p50", limit, MICROS);
        goals.add(what, MICROS.unit, ours, limit, other, Wanted::AtMost(1.3));
    }
    for row in [Row::RedisAlways, Row::JetstreamAlways] {
        goals.beside(what, Part::Single, "p50", MICROS, row, Wanted::Below);
    }
}

fn reading(goals: &mut Goals<'_>, arguments: &Arguments) {
    goals.beside("read again, 128 B", Part::Replay, "128 B", READ, Row::Jetstream, Wanted::AtLeast(5.0));
    let ours = goals.ours(Part::Replay, "128 B", READ);
    goals.add("read again, 128 B", READ.unit, ours, "Iggy, an earlier run", Some(IGGY_REPLAY), Wanted::Above);
    goals.share("read again, 1 KiB", Part::Replay, READ, LOOPBACK, Wanted::AtLeast(0.6));
    let what = format!("group of {}, each event acknowledged", arguments.members);
    goals.beside(&what, Part::Group, "128 B", READ, Row::Jetstream, Wanted::AtLeast(2.0));
    let what = format!("live at {}/s, synced before delivered, p99", arguments.rate);
    goals.beside(&what, Part::Live, "p99", MICROS, Row::Jetstream, Wanted::Below);
    let [short_stream, long_stream] =
        LENGTHS.map(|length| goals.median(Part::Memory.section(), length, OWN_RESIDENT, RESIDENT));
    let what = "memory of its own at 4 times the stream's length";
    goals.add(what, RESIDENT.unit, long_stream, "at its length", short_stream, Wanted::AtMost(GROWN));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn goals_are_met_and_missed_and_those_without_figures_are_left_out() {
        let mut report = Report::new();
        let mut record = |part: Part, work: &str, row: Row, metric, value| {
            report.record(part.section(), work, row.name(), metric, value);
        };
        record(Part::Publish, "128 B", Row::Weft, ACKED, 2e6);
        record(Part::Publish, "128 B", Row::Jetstream, ACKED, 1e6);
        record(Part::Publish, "128 B", Row::JetstreamAlways, ACKED, 50e3);
        record(Part::Live, "p99", Row::Weft, MICROS, 99.0);
        record(Part::Live, "p99", Row::Jetstream, MICROS, 100.0);
        let table = table(&Arguments::parse_from(["streams"]), &report).to_string();
        let row = |text: &str| table.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
        assert!(row("JetStream, default: 1.00 M").ends_with(" met |"), "{table}");
        assert!(row("sync always").contains("40.00") && row("sync always").contains("**missed**"), "{table}");
        assert!(row("live at 10000/s").contains(" met "), "{table}");
        assert!(!table.contains("one at a time") && !table.contains("group"), "{table}");
    }

    #[test]
    fn a_ratio_at_its_bound_is_met_where_the_bound_is_part_of_it() {
        assert!(Wanted::AtLeast(0.9).is_met(0.9) && !Wanted::AtLeast(0.9).is_met(0.89));
        assert!(Wanted::AtMost(1.3).is_met(1.3) && !Wanted::AtMost(1.3).is_met(1.31));
        assert!(Wanted::Above.is_met(1.01) && !Wanted::Above.is_met(1.0));
        assert!(Wanted::Below.is_met(0.99) && !Wanted::Below.is_met(1.0));
    }
}
