//! The text that Prometheus reads: families of values with their kind, what they
//! mean, and labels, in its text format, version 0.0.4
//! (prometheus.io, "Exposition formats").
//!
//! Knows nothing of hubs. What is written is sorted, so that two pages of the same
//! values are the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Labels of a value, in the order in which they are written.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

struct Family {
    kind: Kind,
    help: String,
    lines: String,
}

/// A page that is being written.
#[derive(Default)]
pub(super) struct Page(BTreeMap<String, Family>);

impl Page {
    /// The lines of a family, begun when it is new. One that was begun as another
    /// kind stays what it is and takes nothing.
    fn lines(&mut self, name: &str, kind: Kind, help: &str) -> Option<&mut String> {
        let begin = || Family { kind, help: help.to_owned(), lines: String::new() };
        let family = self.0.entry(name.to_owned()).or_insert_with(begin);
        (family.kind == kind).then_some(&mut family.lines)
    }

    /// A counter, whose name ends in `_total`, or a gauge.
    pub(super) fn value(&mut self, (name, kind): (&str, Kind), help: &str, labels: Labels<'_>, value: f64) {
        if let Some(lines) = self.lines(name, kind, help) {
            line(lines, name, labels, value);
        }
    }

    /// A histogram: counts of what is at most so large, ascending, and of all.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_>,
        counts: impl Iterator<Item = (f64, u64)>,
        (sum, all): (f64, u64),
    ) {
        let Some(lines) = self.lines(name, Kind::Histogram, help) else { return };
        let bucket = format!("{name}_bucket");
        let at_most = |lines: &mut String, bound: &str, count: u64| {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            line(lines, &bucket, &labels, count as f64);
        };
        counts.for_each(|(bound, count)| at_most(lines, &bound.to_string(), count));
        at_most(lines, "+Inf", all);
        line(lines, &format!("{name}_sum"), labels, sum);
        line(lines, &format!("{name}_count"), labels, all as f64);
    }

    /// A summary: what so large a part does not exceed; NaN where nothing was counted.
    pub(super) fn summary(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_>,
        quantiles: impl Iterator<Item = (f64, f64)>,
        (sum, all): (f64, u64),
    ) {
        let Some(lines) = self.lines(name, Kind::Summary, help) else { return };
        for (part, value) in quantiles {
            let part = part.to_string();
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("quantile", part.as_str())]).collect();
            line(lines, name, &labels, value);
        }
        line(lines, &format!("{name}_sum"), labels, sum);
        line(lines, &format!("{name}_count"), labels, all as f64);
    }

    /// The whole.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { kind, help, lines }) in &self.0 {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a string does not fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}", kind.name());
        }
        text
    }
}

fn line(out: &mut String, name: &str, labels: Labels<'_>, value: f64) {
    out.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_sorted_says_each_family_once_and_escapes_what_is_not_its_own() {
        let mut page = Page::default();
        let events = ("weft_events_total", Kind::Counter);
        page.value(events, "Events,\nall.", &[("hub", "b\"\\\n")], 2.0);
        page.value(("weft_depth", Kind::Gauge), "What waits.", &[], 0.5);
        page.value(events, "Events,\nall.", &[("hub", "c"), ("lane", "1")], 3.0);
        page.value(("weft_depth", Kind::Counter), "Another.", &[], 7.0);
        let counts = [(0.001, 1), (0.002, 3)].into_iter();
        page.histogram("weft_wait_seconds", "Waits.", &[("lane", "0")], counts, (0.25, 4));
        page.summary("weft_last_seconds", "Last.", &[], [(0.99, f64::NAN)].into_iter(), (0.0, 0));
        let text = "# HELP weft_depth What waits.\n# TYPE weft_depth gauge\nweft_depth 0.5\n\
            # HELP weft_events_total Events,\\nall.\n# TYPE weft_events_total counter\n\
            weft_events_total{hub=\"b\\\"\\\\\\n\"} 2\nweft_events_total{hub=\"c\",lane=\"1\"} 3\n\
            # HELP weft_last_seconds Last.\n# TYPE weft_last_seconds summary\n\
            weft_last_seconds{quantile=\"0.99\"} NaN\nweft_last_seconds_sum 0\nweft_last_seconds_count 0\n\
            # HELP weft_wait_seconds Waits.\n# TYPE weft_wait_seconds histogram\n\
            weft_wait_seconds_bucket{lane=\"0\",le=\"0.001\"} 1\nweft_wait_seconds_bucket{lane=\"0\",le=\"0.002\"} 3\n\
            weft_wait_seconds_bucket{lane=\"0\",le=\"+Inf\"} 4\nweft_wait_seconds_sum{lane=\"0\"} 0.25\n\
            weft_wait_seconds_count{lane=\"0\"} 4\n";
        assert_eq!(page.text(), text);
    }
}
