//! Links that fall silent, in both directions, in one, and for a moment.

use super::*;

const PROBE: Duration = Duration::from_millis(250);

/// Three hubs, each linked with each: link 1 between 1 and 2, link 2 between 2
/// and 3, link 3 between 1 and 3. All have measured their round trips.
fn triangle() -> Net {
    let mut net = Net::line(3);
    net.link(3, 1, 3);
    net.pass(3 * SECOND);
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (1, 1));
    net.said.clear();
    net
}

/// How long it takes, in steps of 5 ms, until both ends of link 1 go by hub 3.
fn until_moved(net: &mut Net) -> Duration {
    let cut = net.now;
    while (net.hops(1, 2), net.hops(2, 1)) != (2, 2) {
        net.pass(ms(5));
        assert!(net.now.since(cut) < 60 * SECOND, "it never moves");
    }
    net.now.since(cut)
}

#[test]
fn traffic_leaves_a_silent_link_within_three_intervals_wherever_in_one_it_falls_silent() {
    for offset in (0..250).step_by(50) {
        for (direction, silent) in
            [(&[(1, 1), (1, 2)][..], "both directions"), (&[(1, 1)], "to hub 1"), (&[(1, 2)], "to hub 2")]
        {
            let mut net = triangle();
            net.pass(ms(offset));
            net.swallows = direction.iter().copied().collect();
            let took = until_moved(&mut net);
            assert!(took < 3 * PROBE, "{took:?} at {offset} ms, silent {silent}");
            assert_eq!(net.closed(), [], "it is only suspected");
        }
    }
}

#[test]
fn a_suspect_link_carries_on_while_there_is_no_other_way_and_is_closed_at_the_bound() {
    let mut net = Net::line(2);
    net.pass(2 * SECOND);
    net.swallows = [(1, 1), (1, 2)].into();
    net.pass(4 * SECOND);
    assert_eq!(net.hops(1, 2), 1);
    assert_eq!(net.hubs[&1].counters().suspicions, 1);
    assert!(net.hubs[&1].report().links[0].cost >= crate::SUSPECTED);
    net.pass(2 * SECOND);
    assert_eq!(net.hops(1, 2), 0);
    assert_eq!(net.closed(), [(1, &CloseReason::Silent { seconds: 5 }), (2, &CloseReason::Silent { seconds: 5 })]);
}

#[test]
fn a_link_that_was_silent_for_a_moment_is_used_again_and_was_never_closed() {
    let mut net = triangle();
    net.swallows = [(1, 1), (1, 2)].into();
    until_moved(&mut net);
    net.swallows.clear();
    net.pass(5 * SECOND);
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (1, 1));
    assert_eq!(net.closed(), []);
    let counters = net.hubs[&1].counters();
    assert_eq!((counters.suspicions, counters.recoveries), (1, 1));
    let notices: Vec<_> = net.said_by(1).into_iter().filter(|c| matches!(c, Command::LinkNotice { .. })).collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn silences_are_suspected_and_are_no_losses() {
    let mut net = triangle();
    for silences in 1..=3 {
        net.swallows = [(1, 2)].into();
        net.pass(2 * SECOND);
        net.swallows.clear();
        net.pass(5 * SECOND);
        let hub = &net.hubs[&1];
        assert_eq!(hub.counters().suspicions, silences);
        let link = &hub.links[&LinkId(1)];
        assert_eq!((link.health.is_suspect(), link.loss.millionths()), (false, 0));
    }
}

#[test]
fn bytes_that_are_heard_keep_a_link_whose_answers_wait_behind_them() {
    let mut net = triangle();
    net.loses = |frame| matches!(frame, Frame::Pong(_));
    for _ in 0..100 {
        net.pass(ms(100));
        for hub in [1, 2, 3] {
            for link in [1, 2, 3] {
                net.tell(hub, Event::Heard { link: LinkId(link), at: net.now });
            }
        }
    }
    assert_eq!([1, 2, 3].map(|hub| net.hubs[&hub].counters().suspicions), [0; 3]);
}

#[test]
fn a_hub_that_was_stopped_for_a_while_suspects_nobody_for_it() {
    let mut net = triangle();
    // Hub 1 does not run for 4 s; the others suspect it, and it is back before they give it up.
    let stopped = net.hubs.remove(&1).expect("a hub");
    net.pass(4 * SECOND);
    assert_eq!(net.hubs[&2].counters().suspicions, 1);
    net.hubs.insert(1, stopped);
    net.pass(6 * SECOND);
    assert_eq!(net.hubs[&1].counters().suspicions, 0);
    assert_eq!(net.closed(), []);
    assert_eq!([2, 3].map(|to| net.hops(1, to)), [1, 1]);
    assert_eq!([2, 3].map(|to| net.hops(to, 1)), [1, 1]);
}

#[test]
fn answers_that_were_never_asked_for_change_nothing_are_said_once_and_end_the_link() {
    let mut net = triangle();
    let before = net.hubs[&1].report().links;
    // A guessed number with a forged time, from a far future and from the past.
    for time in [0, 1, u64::MAX] {
        for id in 0..300 {
            net.tell(1, Event::Frame { link: LinkId(1), frame: &Frame::Pong(Pong { id, time }) });
        }
    }
    assert_eq!(net.hubs[&1].report().links, before);
    assert_eq!(net.hubs[&1].counters().strange_pongs, 900);
    assert_eq!(net.said_by(1).len(), 1, "{:?}", net.said);
    for id in 0..300 {
        net.tell(1, Event::Frame { link: LinkId(1), frame: &Frame::Pong(Pong { id, time: 7 }) });
    }
    assert_eq!(net.closed(), [(1, &CloseReason::Flood { what: "answers to no ping" })]);
    assert_eq!(net.hops(1, 2), 2, "the rest of the mesh is unmoved");
}

#[test]
fn a_flood_of_probes_is_answered_in_part_said_once_and_ends_the_link() {
    let mut net = triangle();
    for id in 0..20_000 {
        net.tell(1, Event::Frame { link: LinkId(1), frame: &Frame::Ping(Ping { id, time: 0 }) });
    }
    let answered = net.queue.iter().filter(|(hub, link, _)| (*hub, link.0) == (2, 1)).count();
    assert!(answered < 100, "{answered}");
    assert_eq!(net.hubs[&1].counters().pings_damped, 9_999);
    let notices = net.said_by(1).into_iter().filter(|c| matches!(c, Command::LinkNotice { .. })).count();
    assert_eq!(notices, 1);
    assert_eq!(net.closed(), [(1, &CloseReason::Flood { what: "pings" })]);
}

#[test]
fn a_link_that_comes_and_goes_moves_routes_no_more_until_it_has_lasted() {
    let mut net = triangle();
    let mut next = 10;
    net.cut(1);
    let mut used = Vec::new();
    for _ in 0..10 {
        net.pass(3 * SECOND);
        assert_eq!((net.hops(1, 2), net.hops(2, 1)), (2, 2), "by hub 3");
        net.link(next, 1, 2);
        net.pass(3 * SECOND);
        used.push(net.hops(1, 2) == 1);
        assert_eq!(net.hops(1, 2), net.hops(2, 1), "both ends go by it, or none");
        net.cut(next);
        next += 1;
    }
    assert_eq!(used.iter().filter(|used| **used).count(), used.iter().take_while(|used| **used).count());
    assert!(used[0] && !used[5..].contains(&true), "a few times and not again: {used:?}");
    assert_eq!(net.hubs[&1].counters().links_held, 1);
    net.said.clear();
    net.link(next, 1, 2);
    net.pass(5 * SECOND);
    assert_eq!(net.hops(1, 2), 2, "it is there, and not trusted");
    net.pass(60 * SECOND);
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (1, 1), "it has lasted");
    let notices = net.said.iter().filter_map(|(hub, command)| match command {
        Command::LinkNotice { notice, .. } if *hub == 1 => Some(*notice),
        _ => None,
    });
    let notices: Vec<LinkNotice> = notices.collect();
    assert!(matches!(notices[..], [LinkNotice::Held { .. }, LinkNotice::Released]), "{notices:?}");
}

#[test]
fn a_link_that_comes_and_goes_carries_what_has_no_other_way() {
    let mut net = Net::line(2);
    for next in 10..20 {
        net.pass(3 * SECOND);
        assert_eq!(net.hops(1, 2), 1);
        net.cut(if next == 10 { 1 } else { next - 1 });
        assert_eq!(net.hops(1, 2), 0);
        net.link(next, 1, 2);
    }
    net.pass(SECOND);
    assert_eq!(net.hubs[&1].counters().links_held, 1);
    assert_eq!(net.hops(1, 2), 1);
}
