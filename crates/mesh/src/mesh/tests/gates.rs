//! Gates: who hears of subscribers that make their publishers wait, and for how long.

use super::*;

fn turn(net: &mut Net, hub: u64, gate: u64, state: GateState) {
    let event = Event::Gate { gate, state, behind_ms: 7, filter: filter("a/*"), subscriber: "board".to_owned() };
    net.tell(hub, event);
    net.run();
}

/// What a hub was told of gates, as hub, number and state.
fn heard(net: &Net, hub: u64) -> Vec<(u64, u64, GateState)> {
    let gates = net.said_by(hub).into_iter().filter_map(|command| match command {
        Command::Gate { hub, gate, state, filter: of, subscriber, name, .. } => {
            assert_eq!((of, name), (&filter("a/*"), &format!("hub-{}", hub.0)));
            assert!(*state == GateState::Gone || subscriber == "board");
            Some((hub.0, *gate, *state))
        }
        _ => None,
    });
    gates.collect()
}

fn said<'a>(version: u64, state: GateState) -> Pressure<'a> {
    Pressure {
        hub: id(1),
        epoch: Epoch(1),
        gate: 5,
        version,
        state,
        behind_ms: 0,
        filter: "a/*",
        subscriber: "board",
        name: "hub-1",
    }
}

#[test]
fn every_hub_hears_of_each_turn_once() {
    let mut net = Net::line(4);
    // A ring: news comes by two ways.
    net.link(9, 4, 1);
    for state in [GateState::Open, GateState::Closed, GateState::Open, GateState::Gone] {
        turn(&mut net, 1, 5, state);
    }
    let all = [GateState::Open, GateState::Closed, GateState::Open, GateState::Gone].map(|state| (1, 5, state));
    for hub in [2, 3, 4] {
        assert_eq!(heard(&net, hub), all, "hub {hub}");
    }
    assert_eq!(heard(&net, 1), [], "its own it knows");
}

#[test]
fn a_gate_that_has_ended_is_not_brought_back_by_older_news() {
    let mut net = Net::line(2);
    let mut hear = |version, state| {
        net.tell(2, Event::Frame { link: LinkId(1), frame: &Frame::Pressure(said(version, state)) });
        net.run();
        heard(&net, 2).len()
    };
    assert_eq!(hear(3, GateState::Gone), 1);
    assert_eq!(hear(2, GateState::Closed), 1);
    assert_eq!(hear(3, GateState::Closed), 1);
    assert_eq!(hear(4, GateState::Closed), 2, "newer news counts");
}

#[test]
fn nobody_waits_for_a_hub_out_of_reach_and_a_new_link_is_told_again() {
    let mut net = Net::line(3);
    turn(&mut net, 1, 5, GateState::Closed);
    net.cut(1);
    net.pass(ms(10));
    let closed_and_gone = [(1, 5, GateState::Closed), (1, 5, GateState::Gone)];
    assert_eq!(heard(&net, 2), closed_and_gone);
    assert_eq!(heard(&net, 3), closed_and_gone);
    net.link(7, 1, 2);
    net.pass(ms(10));
    for hub in [2, 3] {
        assert_eq!(heard(&net, hub).last(), Some(&(1, 5, GateState::Closed)), "hub {hub}");
    }
}

#[test]
fn gates_are_bounded_and_a_bad_filter_is_refused() {
    let mut net = Net::line(2);
    let bad = Pressure { filter: "a//b", ..said(1, GateState::Closed) };
    net.tell(2, Event::Frame { link: LinkId(1), frame: &Frame::Pressure(bad) });
    assert_eq!((heard(&net, 2).len(), net.hubs[&2].report().counters.refused), (0, 1));
    for gate in 0..5_000 {
        let frame = Frame::Pressure(Pressure { gate, ..said(1, GateState::Open) });
        net.tell(2, Event::Frame { link: LinkId(1), frame: &frame });
    }
    assert_eq!(heard(&net, 2).len(), 4_096);
    // One that has ended makes room.
    let frame = Frame::Pressure(Pressure { gate: 9, ..said(2, GateState::Gone) });
    net.tell(2, Event::Frame { link: LinkId(1), frame: &frame });
    let frame = Frame::Pressure(Pressure { gate: 9_999, ..said(1, GateState::Open) });
    net.tell(2, Event::Frame { link: LinkId(1), frame: &frame });
    assert_eq!(heard(&net, 2).len(), 4_098);
}
