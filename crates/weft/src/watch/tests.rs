//! Looks that are made by hand, and what is seen in them.

use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, Now, UnixNanos};
use weft_client::{Fact, HubReport, HubSaid, LinkReport, MeshReport};

use super::history::What;
use super::*;

fn fact(name: &str, text: &str, value: u64) -> Fact {
    Fact { name: name.to_owned(), text: text.to_owned(), value }
}

fn said(name: &str, answered: bool, facts: Vec<Fact>) -> HubSaid {
    let hub = HubId::of_name(name);
    HubSaid { hub, name: name.to_owned(), answered, took: Duration::ZERO, ahead_ns: 0, facts }
}

/// Two hubs with a link in both directions; `west` may be out of reach.
fn report(west: bool) -> MeshReport {
    let hub = |name: &str, reachable| HubReport {
        name: name.to_owned(),
        region: "r".to_owned(),
        id: HubId::of_name(name),
        epoch: Epoch(1),
        reachable,
        draining: false,
        hops: 0,
        rtt: Some(Duration::from_millis(2)),
        interest: 1,
    };
    let link = |from: &str, to: &str| LinkReport {
        from: HubId::of_name(from),
        to: HubId::of_name(to),
        rtt: Some(Duration::from_millis(2)),
        cost: 0,
        up: west,
    };
    MeshReport {
        me: HubId::of_name("east"),
        hubs: vec![hub("west", west), hub("east", true)],
        links: vec![link("west", "east"), link("east", "west")],
        counters: Vec::new(),
    }
}

fn look_of(west: bool, pulses: Vec<HubSaid>) -> Look {
    Look { report: report(west), pulses, consumers: None }
}

fn at(seconds: u64) -> Now {
    Now { mono: Mono(seconds * 1_000_000_000), wall: UnixNanos(seconds * 1_000_000_000) }
}

fn pulse(n: u64) -> Vec<Fact> {
    vec![
        fact("place", "40.5,-73.25", 0),
        fact("ledger.published", "", 10 * n),
        fact("ledger.delivered", "", 5 * n),
        fact("ledger.dropped.expired", "", 2 * n),
        fact("ledger.dropped.no_interest", "", n),
        fact("flow.0", "west", n),
        fact("flow.7", "west", 4 * n),
        fact("flow.bytes", "west", 100 * n),
        fact("flow.99", "west", 1),
        fact("wait.sync", "", 7),
    ]
}

#[test]
fn what_grew_between_two_looks_is_a_rate_by_hub_link_and_lane() {
    let mut watch = Watch::default();
    let (first, _) = watch.take(&look_of(true, vec![said("east", true, pulse(1))]), at(100));
    assert_eq!(first.hub_rates, [HubRate::default(); 2], "of one look there is no rate");
    let (sight, _) = watch.take(&look_of(true, vec![said("east", true, pulse(5))]), at(102));
    let names: Vec<&str> = sight.hubs.iter().map(|hub| hub.name.as_str()).collect();
    assert_eq!((sight.me.as_str(), names), ("east", vec!["east", "west"]));
    assert_eq!(sight.hubs[0].place, Some([40.5, -73.25]));
    assert_eq!(sight.hub_rates[0], HubRate { published: 20.0, delivered: 10.0, dropped: 6.0 });
    assert_eq!(sight.hub_rates[1], HubRate::default(), "it said nothing");
    let rate = sight.link_rates[0];
    assert_eq!((sight.links[0].from.as_str(), rate.bytes), ("east", 200.0));
    assert_eq!(rate.lanes, [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0]);
    // A hub that was started again begins anew, and one out of reach keeps its place.
    let (sight, _) = watch.take(&look_of(true, vec![said("east", true, pulse(0))]), at(103));
    assert_eq!(sight.hub_rates[0].published, 0.0);
    let (sight, _) = watch.take(&look_of(true, vec![said("east", false, Vec::new())]), at(104));
    assert_eq!((sight.hubs[0].place, sight.silent), (Some([40.5, -73.25]), vec!["east".to_owned()]));
}

#[test]
fn what_is_wrong_stands_from_when_it_began_until_it_is_over() {
    let mut watch = Watch::default();
    let codes = |alerts: &[Alert]| alerts.iter().map(|alert| (alert.code, alert.since / 1_000)).collect::<Vec<_>>();
    let (_, alerts) = watch.take(&look_of(true, vec![said("east", true, pulse(1))]), at(1));
    assert_eq!(codes(&alerts), []);
    let mut stood = Vec::new();
    for n in 2..10 {
        let (_, alerts) = watch.take(&look_of(true, vec![said("east", true, pulse(n))]), at(n));
        stood = codes(&alerts);
    }
    assert_eq!(stood, [("drops_growing", 6)], "of those that somebody wanted, after some looks");
    let (_, alerts) = watch.take(&look_of(false, vec![said("east", true, pulse(9))]), at(10));
    assert_eq!(codes(&alerts), [("hub_out_of_reach", 10), ("link_down", 10), ("link_down", 10)]);
    let mut wrong = pulse(9);
    wrong.push(fact("ledger.imbalance", "", 3));
    wrong.push(fact("wait.sync", "", 250_000));
    let (_, alerts) = watch.take(&look_of(false, vec![said("east", true, wrong)]), at(11));
    assert_eq!(
        codes(&alerts),
        [("hub_out_of_reach", 10), ("link_down", 10), ("link_down", 10), ("ledger_unbalanced", 11), ("sync_slow", 11)]
    );
    assert!(alerts.iter().all(|alert| !alert.todo.is_empty() && alert.text.ends_with('.')));
    for second in 12..16 {
        let (_, alerts) = watch.take(&look_of(true, vec![said("east", false, Vec::new())]), at(second));
        stood = codes(&alerts);
    }
    assert_eq!(stood, [("hub_silent", 14)]);
    let (_, alerts) = watch.take(&look_of(true, vec![said("east", true, pulse(9))]), at(16));
    assert_eq!(codes(&alerts), []);
}

#[test]
fn an_hour_is_kept_and_what_was_not_said_is_a_gap() {
    let mut watch = Watch::default();
    for n in 0..800 {
        let answered = n % 2 == 0;
        watch.take(
            &look_of(true, vec![said("east", answered, if answered { pulse(n) } else { Vec::new() })]),
            at(n * 5),
        );
    }
    let (times, lines) = watch.history.of((What::Waits, ""), "east", u64::MAX, 4);
    assert_eq!((times.len(), times[0]), (720, 400_000));
    assert_eq!((lines.len(), lines[0].0, &lines[0].1[..2]), (1, "sync", &[Some(7.0), None][..]));
    let (times, lines) = watch.history.of((What::Trips, ""), "east", 10_000, 4);
    assert_eq!((times.len(), lines[0].0, lines[0].1.len()), (3, "west", 3));
    assert!(watch.history.of((What::Rates, ""), "nobody", u64::MAX, 4).1.is_empty());
}

#[test]
fn a_link_that_a_neighbour_misses_is_down_and_not_gone() {
    let mut watch = Watch::default();
    let mut look = look_of(true, vec![said("east", true, vec![fact("missed", "west", 1), fact("missed", "who", 1)])]);
    look.report.links.clear();
    let (sight, alerts) = watch.take(&look, at(1));
    let ends: Vec<(&str, &str, bool)> = sight.links.iter().map(|l| (&*l.from, &*l.to, l.up)).collect();
    assert_eq!(ends, [("east", "west", false), ("west", "east", false)], "and none to a hub that is not known");
    assert_eq!(alerts.iter().filter(|alert| alert.code == "link_down").count(), 2);
    let look = look_of(true, vec![said("east", true, vec![fact("missed", "west", 1)])]);
    let (sight, alerts) = watch.take(&look, at(2));
    assert!(sight.links.len() == 2 && sight.links.iter().all(|link| link.up), "another link stands");
    assert!(alerts.is_empty());
}

#[test]
fn percentiles_are_of_what_was_recorded_since_the_reading_before() {
    let table = weft_observe::Table::create(&weft_observe::TableOptions::default());
    let scale = weft_observe::scale::Scale::NANOS;
    let mut recorder = table.histogram("lane.4.delivery", weft_observe::layout::Unit::Nanoseconds, scale, None);
    let (mut watch, mut spans) = (Watch::default(), history::Spans::default());
    let mut read = |watch: &mut Watch, seconds| {
        watch.take(&look_of(true, Vec::new()), at(seconds));
        assert!(watch.history.has_newest(seconds * 1_000));
        spans.take(&table, "east", &mut watch.history);
    };
    recorder.record_many(9_000_000_000, 100);
    read(&mut watch, 5);
    recorder.record_many(1_000, 98);
    recorder.record_many(1_000_000, 2);
    read(&mut watch, 10);
    read(&mut watch, 15);
    let of = |percentile| watch.history.of((What::Delivery, percentile), "east", 60_000, 16).1;
    let near = |value: Option<f32>, wanted: f32| value.is_some_and(|value| (value - wanted).abs() <= wanted / 16.0);
    for (percentile, wanted) in [("P50", 1.0), ("P99", 1_000.0), ("P99.9", 1_000.0)] {
        let lines = of(percentile);
        let [(name, values)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(*name, "lane 4");
        assert!(values[0].is_none() && near(values[1], wanted) && values[2].is_none(), "{percentile}: {values:?}");
    }
}
