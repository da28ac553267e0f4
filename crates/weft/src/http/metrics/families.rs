//! What a value of the hub's table is to Prometheus: names become families, what
//! stands in them for one of many (a link, a stage, a lane, a reason) becomes a
//! label, and units become seconds, bytes and ratios.

use std::collections::BTreeMap;

use super::page::Kind;

/// A value's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The value's name, with `*` for what became a label.
    pub(super) pattern: String,
    pub(super) labels: Vec<(&'static str, &'a str)>,
}

/// What counters begin with that users declare; their names are families.
const METRIC: &str = "metric.";

/// Names that end in what held publishers back, and the lane.
const STALLS: [&str; 2] = ["publish.stalls.", "publish.stalled_ns."];

/// What a name begins with, and which labels the parts behind it are. The last part
/// of a name is what is counted, unless the second field says that it is a label.
const LABELLED: [(&str, bool, &str); 9] = [
    (METRIC, false, ""),
    ("ledger.dropped.", true, "reason"),
    ("second.dropped.", true, "reason"),
    ("joins.refused.", true, "reason"),
    ("link.", false, "peer"),
    ("stage.", false, "stage"),
    ("lane.", false, "lane"),
    ("class.", false, "class"),
    ("mapping.", false, "rule"),
];

impl<'a> Place<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        for head in STALLS {
            if let Some((limit, lane)) = name.strip_prefix(head).and_then(|rest| rest.split_once('.')) {
                return Self { pattern: format!("{head}*.*"), labels: vec![("limit", limit), ("lane", lane)] };
            }
        }
        for (head, is_last, label) in LABELLED {
            let Some(rest) = name.strip_prefix(head) else { continue };
            if let Some((name, value)) = rest.split_once('.').filter(|_| head == METRIC) {
                return Self { pattern: format!("{head}{name}.*"), labels: vec![("value", value)] };
            }
            if is_last {
                return Self { pattern: format!("{head}*"), labels: vec![(label, rest)] };
            }
            // Reasons of classes have two.
            if let Some((of, reason)) = rest.split_once(".dropped.") {
                return Self { pattern: format!("{head}*.dropped.*"), labels: vec![(label, of), ("reason", reason)] };
            }
            if let Some((of, what)) = rest.rsplit_once('.') {
                if let Some(lane) = what.strip_prefix("lane_").and_then(|what| what.strip_suffix("_out")) {
                    let labels = vec![(label, of), ("lane", lane)];
                    return Self { pattern: format!("{head}*.lane_out"), labels };
                }
                return Self { pattern: format!("{head}*.{what}"), labels: vec![(label, of)] };
            }
        }
        Self { pattern: name.to_owned(), labels: Vec::new() }
    }
}

/// Endings of names that are units, what Prometheus has them in, and how many make one.
const UNITS: [(&str, &str, f64); 4] =
    [("_ns", "_seconds", 1e9), ("_us", "_seconds", 1e6), ("_ms", "_seconds", 1e3), ("_permille", "_ratio", 1e3)];

/// What a pattern is called, and by what its values are divided.
pub(super) fn family(pattern: &str, kind: Kind) -> (String, f64) {
    let mut name = String::from("weft");
    for part in pattern.split('.').filter(|part| *part != "*") {
        name.push('_');
        name.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    }
    let mut divisor = 1.0;
    if kind == Kind::Histogram {
        (name, divisor) = (name + "_duration_seconds", 1e9);
    } else if kind == Kind::Summary {
        (name, divisor) = (name + "_recent_seconds", 1e9);
    } else if let Some((head, (_, unit, size))) =
        UNITS.iter().find_map(|unit| Some((name.strip_suffix(unit.0)?.to_owned(), unit)))
    {
        (name, divisor) = (head + unit, *size);
    }
    if kind == Kind::Counter {
        name.push_str("_total");
    }
    (name, divisor)
}

/// What patterns mean whose text is not with the counter.
const OTHERS: [(&str, &str); 26] = [
    ("publish.stalls.*.*", "Times that publishers were held back, by what and by the lane of what waited"),
    ("publish.stalled_ns.*.*", "How long publishers were held back, by what and by the lane of what waited"),
    ("link.*.lane_out", "Events written to the link by lane, of those that are written as blocks"),
    ("lane.*.published", "Events of the lane taken from clients of this hub"),
    ("ledger.dropped.*", "Copies dropped, by reason"),
    ("second.dropped.*", "Events of second copies that went no further, by reason; in no ledger"),
    ("joins.refused.*", "Requests to join refused, by reason"),
    ("class.*.published", "Events of the class taken from clients of this hub"),
    ("class.*.arrived", "Events of the class that other hubs sent here"),
    ("class.*.transit", "Live copies of the class that came over a link for another hub"),
    ("class.*.copies", "Copies of the class made"),
    ("class.*.delivered", "Copies of the class written to subscribers"),
    ("class.*.stored", "Copies of the class appended to streams of this hub"),
    ("class.*.forwarded", "Copies of the class written to links"),
    ("class.*.spooled", "Copies of the class put on disk here until a home can be reached"),
    ("class.*.in_flight", "Copies of the class that wait in this hub"),
    ("class.*.imbalance", "Copies that the ledger of the class is out of balance by"),
    ("class.*.dropped.*", "Copies of the class dropped, by reason"),
    ("mapping.*.matched", "Events that the rule of mapping was applied to"),
    ("mapping.*.dropped", "Events that the rule of mapping dropped on purpose"),
    ("mapping.*.refused", "Events of which the rule of mapping could make no topic"),
    ("stage.*.service", "What a unit of the stage takes"),
    ("stage.*.wait", "How long a unit that comes waits for the stage, by Little's law"),
    ("lane.*.wait", "How long blocks of the lane wait from the socket to the route stage"),
    ("lane.*.delivery", "How old events of the lane are as they go to a subscriber's socket"),
    ("lane.*.forward", "How old events of the lane are as they go to a link's socket"),
];
const TIMES: [(&str, &str); 4] = [
    ("link.*.arrival", "How old events are as they come over a link"),
    ("link.*.round_trip", "Round trips of links, as the mesh reckons them"),
    ("log.sync", "Calls of fdatasync for streams"),
    ("append.settle", "How long publishers wait from the append to what they asked for being on disk"),
];

/// What counters mean that users declare.
pub(super) const DECLARED: &str = "Events published at this hub that are counted as the configuration declares";

/// What each pattern means.
pub(super) fn texts() -> BTreeMap<String, String> {
    let others = OTHERS.iter().chain(&TIMES).map(|(pattern, text)| ((*pattern).to_owned(), (*text).to_owned()));
    let mut all: BTreeMap<String, String> = others.collect();
    for (pattern, lines) in weft_hub::counters::texts() {
        let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let text = text.strip_prefix("Gauge: ").unwrap_or(&text).trim_end_matches('.').replace('`', "");
        let mut letters = text.chars();
        let text = letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
        all.entry(pattern).or_insert(text);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_become_families_and_what_is_one_of_many_becomes_a_label() {
        for (name, pattern, labels) in [
            ("ledger.published", "ledger.published", vec![]),
            ("ledger.dropped.no_path", "ledger.dropped.*", vec![("reason", "no_path")]),
            ("link.new-york.events_out", "link.*.events_out", vec![("peer", "new-york")]),
            ("link.new-york.lane_3_out", "link.*.lane_out", vec![("peer", "new-york"), ("lane", "3")]),
            ("stage.route", "stage.route", vec![]),
            ("stage.admit-3.service", "stage.*.service", vec![("stage", "admit-3")]),
            ("class.gold.dropped.ttl", "class.*.dropped.*", vec![("class", "gold"), ("reason", "ttl")]),
            ("mapping.a.b.matched", "mapping.*.matched", vec![("rule", "a.b")]),
            ("metric.orders.a.b", "metric.orders.*", vec![("value", "a.b")]),
            ("metric.orders", "metric.orders", vec![]),
            ("publish.stalls.load.3", "publish.stalls.*.*", vec![("limit", "load"), ("lane", "3")]),
            ("publish.held", "publish.held", vec![]),
        ] {
            assert_eq!(Place::of(name), Place { pattern: pattern.to_owned(), labels }, "{name}");
        }
        for (pattern, kind, name, divisor) in [
            ("ledger.dropped.*", Kind::Counter, "weft_ledger_dropped_total", 1.0),
            ("stage.*.wait_us", Kind::Gauge, "weft_stage_wait_seconds", 1e6),
            ("stage.*.busy_permille", Kind::Gauge, "weft_stage_busy_ratio", 1e3),
            ("link.*.round_trip", Kind::Histogram, "weft_link_round_trip_duration_seconds", 1e9),
            ("publish.stalled_ns.*.*", Kind::Counter, "weft_publish_stalled_seconds_total", 1e9),
            ("log.verified_bytes", Kind::Counter, "weft_log_verified_bytes_total", 1.0),
        ] {
            assert_eq!(family(pattern, kind), (name.to_owned(), divisor), "{pattern}");
        }
    }

    /// Names of families in a file that is deployed.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("weft_") || word.starts_with("process_")).collect()
    }

    #[test]
    fn what_is_deployed_asks_for_families_that_there_are() {
        let texts = texts();
        let mut known: BTreeSet<String> = [
            "weft_build_info",
            "weft_ledger_in_flight",
            "weft_allocations_total",
            "weft_allocated_bytes",
            "weft_consumer_lag_events",
            "weft_consumer_lag_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
        ]
        .map(str::to_owned)
        .into();
        for (pattern, lines) in weft_hub::counters::texts() {
            let is_gauge = lines.first().is_some_and(|line| line.trim().starts_with("Gauge"));
            known.insert(family(&pattern, if is_gauge { Kind::Gauge } else { Kind::Counter }).0);
        }
        for pattern in texts.keys() {
            known.insert(family(pattern, Kind::Summary).0);
            known.insert(format!("{}_bucket", family(pattern, Kind::Histogram).0));
        }
        for pattern in ["ledger.dropped.*", "publish.stalls.*.*", "publish.stalled_ns.*.*"] {
            known.insert(family(pattern, Kind::Counter).0);
        }
        for text in [
            include_str!("../../../../../deploy/prometheus/weft.rules.yml"),
            include_str!("../../../../../deploy/prometheus/weft.test.yml"),
            include_str!("../../../../../deploy/prometheus/weft.dashboard.json"),
        ] {
            let wanted = named(text);
            assert!(wanted.len() > 10);
            assert_eq!(wanted.iter().find(|name| !known.contains(**name)), None);
        }
        assert!(!known.contains("weft_ledger_published"), "a counter has its ending");
    }

    #[test]
    fn what_a_counter_means_is_said_once_and_as_a_sentence() {
        let texts = texts();
        assert_eq!(texts["ledger.published"], "Events taken from clients of this hub");
        assert_eq!(texts["in_flight.net"], "Copies between the route and the net stage");
        assert_eq!(texts["link.*.up"], "Links that stand to the hub");
        assert!(texts.values().all(|text| !text.is_empty()));
    }
}
