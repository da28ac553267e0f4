//! Interest: spread, repaired, kept and forgotten.

use weft_wire::frame::{Interest, InterestChange, StreamInterest};

use super::*;

#[test]
fn interest_is_known_everywhere_as_its_smallest_cover() {
    let mut net = Net::line(3);
    net.want(3, true, "a/b");
    net.want(3, true, "a/*");
    net.want(3, true, "x");
    assert_eq!(net.known(1, 3), ["a/*", "x"]);
    assert_eq!(net.destinations(1, "a/b"), [(3, true)]);
    assert_eq!(net.destinations(1, "b"), []);
    net.want(3, false, "a/*");
    assert_eq!(net.known(1, 3), ["a/b", "x"]);
}

#[test]
fn a_topic_has_each_hub_once_for_each_kind() {
    let mut net = Net::line(2);
    net.want(2, true, "a/*");
    net.want(2, true, "*/b");
    net.tell(2, Event::Stream { add: true, def: def("s", 0), filter: filter("**") });
    net.run();
    net.pass(ms(10));
    let mut found = Vec::new();
    let topic = Topic::parse("a/b").expect("a topic");
    net.hubs[&1].routes().destinations(topic, |hub, kind, _| found.push((hub.0, kind)));
    assert_eq!(found, [(2, Kind::Live), (2, Kind::Stream)]);
}

#[test]
fn changes_that_come_close_together_are_told_in_one() {
    let mut net = Net::line(2);
    net.want(1, true, "first");
    net.pass(SECOND);
    let version = |net: &Net| net.hubs[&2].report().hubs[0].interest_version;
    let before = version(&net);
    for n in 0..100 {
        net.tell(1, Event::Interest { add: true, filter: filter(&format!("n/{n}")) });
    }
    net.run();
    net.pass(ms(10));
    assert_eq!(version(&net), before + 2, "the first at once, the rest together");
    assert_eq!(net.known(2, 1).len(), 101);
}

#[test]
fn a_filter_that_comes_and_goes_is_told_a_few_times_and_then_stays_for_a_while() {
    let mut net = Net::line(2);
    net.want(1, true, "steady");
    net.pass(SECOND);
    let version = |net: &Net| net.hubs[&2].report().hubs[0].interest_version;
    let before = version(&net);
    for _ in 0..100 {
        net.want(1, true, "flap");
        net.want(1, false, "flap");
    }
    assert_eq!(version(&net), before + 7, "three times there and back, and there");
    assert_eq!(net.known(2, 1), ["flap", "steady"]);
    assert_eq!(net.hubs[&1].counters().filters_held, 1);
    net.pass(Timers::default().damp_most + SECOND);
    assert_eq!((net.known(2, 1), net.hubs[&1].counters().filters_held), (vec!["steady"], 0));
}

#[test]
fn who_changes_much_tells_it_in_few_and_what_came_and_went_meanwhile_not_at_all() {
    let mut net = Net::line(2);
    net.pass(SECOND);
    for n in 0..10_000 {
        net.tell(1, Event::Interest { add: true, filter: filter(&format!("n/{n}")) });
    }
    net.pass(ms(100));
    assert_eq!(net.known(2, 1).len(), 10_000, "what is there is told at once");
    let version = |net: &Net| net.hubs[&2].report().hubs[0].interest_version;
    let before = version(&net);
    for n in 0..100 {
        net.tell(1, Event::Interest { add: true, filter: filter(&format!("brief/{n}")) });
        net.pass(ms(1));
        net.tell(1, Event::Interest { add: false, filter: filter(&format!("brief/{n}")) });
    }
    net.tell(1, Event::Interest { add: true, filter: filter("here") });
    net.pass(SECOND);
    assert_eq!(version(&net), before + 1);
    assert_eq!(net.known(2, 1).len(), 10_001);
}

#[test]
fn in_a_large_mesh_neighbours_compare_sums_and_only_what_differs_in_full() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static ENTRIES: AtomicUsize = AtomicUsize::new(0);
    static SUMS: AtomicUsize = AtomicUsize::new(0);
    // Records are not renewed meanwhile: that would be told too.
    let still = Timers { refresh: SECOND * 3600, record_age: SECOND * 7200, ..Timers::default() };
    let mut net = Net::with(Limits::default(), still);
    (1..=20).for_each(|hub| net.add(hub, 1));
    (1..20).for_each(|hub| net.link(hub, hub, hub + 1));
    net.want(1, true, "a");
    net.pass(SECOND * 20);
    net.loses = |frame| {
        match frame {
            Frame::Digest(digest) => _ = ENTRIES.fetch_add(digest.entries.len(), Ordering::Relaxed),
            Frame::DigestSum(_) => _ = SUMS.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
        false
    };
    net.pass(SECOND * 20);
    assert_eq!(ENTRIES.load(Ordering::Relaxed), 0, "they agree");
    assert!(SUMS.load(Ordering::Relaxed) >= 20 * 2);
    net.loses = |frame| matches!(frame, Frame::Interest(_));
    net.want(1, true, "b");
    assert_eq!(net.known(20, 1), ["a"]);
    net.loses = |frame| {
        let entries = if let Frame::Digest(digest) = frame { digest.entries.len() } else { 0 };
        ENTRIES.fetch_add(entries, Ordering::Relaxed);
        false
    };
    net.pass(SECOND * 60);
    assert_eq!(net.known(20, 1), ["a", "b"]);
    let entries = ENTRIES.load(Ordering::Relaxed);
    assert!((1..200).contains(&entries), "{entries} entries for one hub that differed");
}

#[test]
fn a_lost_step_is_repaired_by_the_next_or_by_a_digest() {
    let mut net = Net::line(3);
    net.want(1, true, "a");
    net.loses = |frame| matches!(frame, Frame::Interest(_));
    net.want(1, true, "b");
    net.loses = |_| false;
    assert_eq!(net.known(2, 1), ["a"]);
    net.want(1, true, "c");
    assert_eq!(net.known(3, 1), ["a", "b", "c"], "the next step shows the hole");
    net.loses = |frame| matches!(frame, Frame::Interest(_));
    net.want(1, true, "d");
    net.loses = |_| false;
    net.pass(7 * SECOND);
    assert_eq!(net.known(3, 1), ["a", "b", "c", "d"], "the digest shows the hole");
}

#[test]
fn a_set_that_went_astray_is_repaired_from_its_owners_side() {
    let mut net = Net::line(3);
    net.want(1, true, "a");
    // Somebody tells hub 3 a step that hub 1 never made, and hub 1 then makes another.
    let step = |filter| InterestChange {
        add: true,
        kind: Kind::Live,
        filter,
        group: "",
        weight: 0,
        stream: StreamInterest::default(),
    };
    let forged = Interest {
        hub: id(1),
        epoch: Epoch(1),
        from_version: 2,
        to_version: 3,
        changes: vec![step("forged")],
        more: false,
    };
    net.tell(3, Event::Frame { link: LinkId(2), frame: &Frame::Interest(forged) });
    assert_eq!(net.known(3, 1), ["a", "forged"]);
    net.want(1, true, "b");
    assert_eq!(net.known(3, 1), ["a", "forged"], "it is of the version that it has");
    net.pass(20 * SECOND);
    assert_eq!([net.known(2, 1), net.known(3, 1)], [["a", "b"], ["a", "b"]]);
    assert_eq!([2, 3].map(|hub| net.hubs[&hub].counters().sets_wanted), [0, 1], "who is right does not ask");
}

#[test]
fn a_long_set_arrives_while_it_goes_on_changing() {
    let undamped = Timers { damp_most: Duration::ZERO, ..Timers::default() };
    let mut net = Net::with(Limits::default(), undamped);
    (1..=3).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    for n in 0..20_000 {
        let filter = filter(&format!("some/what/longer/{n:06}"));
        net.tell(1, Event::Interest { add: true, filter });
    }
    net.pass(SECOND);
    assert_eq!(net.known(2, 1).len(), 20_000);
    net.link(2, 2, 3);
    for n in 0..20 {
        net.pass(ms(1));
        net.tell(1, Event::Interest { add: n % 2 == 0, filter: filter("in/and/out") });
        net.tell(1, Event::Interest { add: true, filter: filter(&format!("added/{n}")) });
        net.run();
    }
    assert!(net.known(3, 1).len() < 20_000, "it is under way");
    net.pass(SECOND);
    assert_eq!(net.known(3, 1).len(), 20_020);
    assert_eq!(net.known(3, 1), net.known(1, 1));
    // Asked for once, with the record; nothing else had to be asked for.
    assert_eq!(net.hubs[&3].counters().sets_wanted, 0);
}

#[test]
fn what_is_cut_short_never_counts() {
    let mut net = Net::new();
    (1..=2).for_each(|hub| net.add(hub, 1));
    for n in 0..20_000 {
        let filter = filter(&format!("some/what/longer/{n:06}"));
        net.tell(1, Event::Interest { add: true, filter });
    }
    net.pass(ms(10));
    net.link(1, 1, 2);
    net.pass(ms(3));
    net.cut(1);
    assert_eq!(net.known(2, 1).len(), 0);
    net.link(2, 1, 2);
    net.pass(SECOND);
    assert_eq!(net.known(2, 1).len(), 20_000);
}

#[test]
fn interest_of_a_hub_out_of_reach_is_kept_and_then_forgotten() {
    let mut net = Net::line(3);
    net.want(3, true, "a");
    net.cut(2);
    assert_eq!(net.destinations(1, "a"), [(3, false)]);
    net.pass(59 * SECOND);
    assert_eq!(net.destinations(1, "a"), [(3, false)]);
    net.pass(2 * SECOND);
    assert_eq!(net.destinations(1, "a"), []);
    assert_eq!(net.hubs[&1].report().hubs.len(), 2);
    assert_eq!(net.hubs[&1].counters().hubs_forgotten, 1);
    // And it comes back as it was, the same life included.
    net.link(3, 2, 3);
    net.pass(ms(10));
    assert_eq!(net.destinations(1, "a"), [(3, true)]);
}

#[test]
fn the_dead_are_not_passed_around() {
    let mut net = Net::line(4);
    net.want(4, true, "a");
    net.cut(3);
    for _ in 0..300 {
        net.pass(SECOND);
    }
    for hub in 1..=3 {
        assert_eq!(net.hubs[&hub].report().hubs.len(), 3, "hub {hub} knows of the living only");
    }
}

#[test]
fn the_old_interest_stands_until_the_new_life_has_told_all() {
    let mut net = Net::line(3);
    net.want(3, true, "old");
    net.cut(2);
    net.add(3, 2);
    net.loses = |frame| matches!(frame, Frame::Interest(interest) if interest.epoch == Epoch(2));
    net.want(3, true, "new");
    net.link(2, 2, 3);
    assert_eq!(net.known(1, 3), ["old"]);
    assert_eq!(net.destinations(1, "old"), [(3, true)]);
    assert_eq!(net.hubs[&1].report().hubs[2].interest_version, 0, "of this life, nothing is known");
    net.loses = |_| false;
    net.pass(20 * SECOND);
    assert_eq!(net.known(1, 3), ["new"]);
    assert_eq!(net.destinations(1, "old"), []);
}

#[test]
fn a_set_beyond_the_limit_counts_as_everything() {
    let mut net = Net::with(Limits { filters: 10, ..Limits::default() }, Timers::default());
    net.add(2, 1);
    net.limits.filters = 100;
    net.add(1, 1);
    net.add(3, 1);
    net.link(1, 1, 2);
    net.link(2, 2, 3);
    for n in 0..30 {
        net.want(1, true, &format!("n/{n}"));
    }
    assert_eq!(net.known(2, 1), ["**"], "its own limit is 10");
    assert_eq!(net.destinations(2, "anything"), [(1, true)]);
    assert_eq!(net.destinations(3, "n/29"), [(1, true)], "and nobody behind it misses anything");
    for n in 30..110 {
        net.want(1, true, &format!("n/{n}"));
    }
    assert_eq!(net.known(1, 1), ["**"], "beyond its own limit it says so itself");
    net.pass(30 * SECOND);
    assert_eq!([net.known(2, 1), net.known(3, 1)], [["**"], ["**"]]);
    // A filter that leaves a collapsed set takes nothing with it.
    net.want(1, false, "n/0");
    assert_eq!(net.destinations(2, "n/0"), [(1, true)]);
}

#[test]
fn a_filter_that_is_none_costs_the_link() {
    let mut net = Net::line(2);
    let step = InterestChange {
        add: true,
        kind: Kind::Live,
        filter: "a//b",
        group: "",
        weight: 0,
        stream: StreamInterest::default(),
    };
    let bad =
        Interest { hub: id(2), epoch: Epoch(1), from_version: 1, to_version: 2, changes: vec![step], more: false };
    net.tell(1, Event::Frame { link: LinkId(1), frame: &Frame::Interest(bad) });
    assert!(matches!(net.closed()[..], [(1, CloseReason::BadInterest { .. })]));
    assert_eq!(net.hops(1, 2), 0);
}

#[test]
fn groups_are_known_everywhere_with_their_weight_and_apart_from_other_interest() {
    let mut net = Net::line(3);
    let member = |net: &mut Net, add, text, weight| {
        net.tell(3, Event::Member { add, group: "board".into(), filter: filter(text), weight });
        net.run();
        net.pass(ms(10));
    };
    net.want(3, true, "**");
    member(&mut net, true, "a/b", 2);
    member(&mut net, true, "a/b", 3);
    let known = |net: &Net, hub: u64, of: u64| -> Vec<(String, String, u32)> {
        let groups = net.hubs[&hub].groups_of(id(of));
        groups.map(|(group, filter, weight)| (group.to_owned(), filter.as_str().to_owned(), weight)).collect()
    };
    assert_eq!(known(&net, 1, 3), [("board".to_owned(), "a/b".to_owned(), 5)]);
    let hubs = |net: &Net, topic: &str| {
        let mut found = Vec::new();
        let topic = Topic::parse(topic).expect("a topic");
        net.hubs[&1].routes().groups(topic, |group, at| found.push((group, at.hub.0, at.weight, at.cost.is_some())));
        found
    };
    let board = crate::GroupKey::of_name("board");
    assert_eq!(hubs(&net, "a/b"), [(board, 3, 5, true)]);
    assert_eq!(hubs(&net, "a/c"), []);
    member(&mut net, false, "a/b", 3);
    assert_eq!(hubs(&net, "a/b"), [(board, 3, 2, true)]);
    net.cut(2);
    assert_eq!(hubs(&net, "a/b"), [(board, 3, 2, false)], "kept, so that what it misses is counted");
    member(&mut net, false, "a/b", 2);
    assert_eq!(known(&net, 3, 3), []);
}

#[test]
fn the_directory_of_streams_is_known_everywhere_and_follows_what_changes() {
    let mut net = Net::line(3);
    let tell = |net: &mut Net, hub, add, role, text| {
        net.tell(hub, Event::Stream { add, def: def("orders", role), filter: filter(text) });
        net.run();
        net.pass(ms(10));
    };
    tell(&mut net, 3, true, 0, "a/**");
    tell(&mut net, 2, true, 1, "_stream/7");
    let homes = |net: &Net| {
        let routes = net.hubs[&1].routes();
        let mut homes: Vec<_> =
            routes.homes_of("orders").map(|home| (home.hub.0, home.def.role, home.cost.is_some())).collect();
        homes.sort_unstable();
        homes
    };
    assert_eq!(homes(&net), [(2, 1, true), (3, 0, true)]);
    assert_eq!(net.destinations(1, "a/b"), [(3, true)], "a mirror takes no publishes");
    net.cut(2);
    assert_eq!(homes(&net), [(2, 1, true), (3, 0, false)], "who is out of reach is known still");
    tell(&mut net, 2, false, 1, "_stream/7");
    tell(&mut net, 2, true, 0, "a/**");
    assert_eq!(homes(&net), [(2, 0, true), (3, 0, false)], "promoted");
    assert_eq!(net.hubs[&1].streams_of(id(2)).count(), 1);
    tell(&mut net, 2, false, 0, "a/**");
    assert_eq!(homes(&net), [(3, 0, false)]);
}
