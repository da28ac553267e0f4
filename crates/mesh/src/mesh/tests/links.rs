//! Links, records and paths.

use super::*;

#[test]
fn hubs_in_a_line_find_each_other_and_announce_it_once() {
    let net = Net::line(4);
    assert_eq!([2, 3, 4].map(|to| net.hops(1, to)), [1, 2, 3]);
    let ups = |hub| net.said_by(hub).iter().filter(|c| matches!(c, Command::HubUp { .. })).count();
    assert_eq!([1, 2, 3, 4].map(ups), [3; 4]);
    let routes = net.hubs[&1].routes();
    assert_eq!(routes.epoch(id(4)), Some(Epoch(1)));
    assert_eq!(routes.path(id(4)).map(|path| path.via), Some(id(2)));
    assert_eq!(routes.hubs().collect::<Vec<_>>(), [2, 3, 4].map(HubId));
    let report = net.hubs[&1].report();
    assert_eq!((report.hubs.len(), report.links.len()), (4, 6));
    assert!(report.links.iter().all(|link| link.up));
    assert_eq!(report.hubs[3].name, "hub-4");
}

#[test]
fn announcements_come_after_the_routes_that_they_are_true_of() {
    let net = Net::line(2);
    let said = net.said_by(1);
    let up = said.iter().position(|c| matches!(c, Command::HubUp { .. })).expect("up");
    assert_eq!(said[up - 1], &Command::RoutesChanged);
}

#[test]
fn a_link_that_works_in_one_direction_carries_nothing_and_is_closed() {
    let mut net = Net::new();
    (1..=2).for_each(|hub| net.add(hub, 1));
    // Hub 2 hears hub 1, and is never heard.
    net.wires.insert(LinkId(1), [1, 2]);
    net.up(1, 2, 1);
    net.queue.clear();
    let up = |net: &mut Net| {
        net.up(1, 1, 2);
        net.run();
        net.queue.clear();
    };
    net.loses = |frame| matches!(frame, Frame::Pong(_));
    up(&mut net);
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (0, 0));
    net.pass(6 * SECOND);
    assert_eq!(net.closed(), [(1, &CloseReason::Silent { seconds: 5 }), (2, &CloseReason::Silent { seconds: 5 })]);
    assert!(net.hubs[&1].next_deadline().is_some_and(|at| at > net.now), "it does not spin");
}

#[test]
fn a_hub_with_our_own_id_is_refused() {
    let mut net = Net::new();
    net.add(1, 1);
    net.hubs.insert(2, Mesh::new(MeshOptions::default(), info(1, 7), 0));
    net.link(1, 1, 2);
    assert_eq!(net.closed(), [(1, &CloseReason::OwnId), (2, &CloseReason::OwnId)]);
}

#[test]
fn one_id_with_two_names_is_refused_whoever_comes_second() {
    let mut net = Net::line(2);
    net.add(3, 1);
    let other = HubInfo { name: "other".to_owned(), ..info(2, 1) };
    net.hubs.insert(4, Mesh::new(MeshOptions::default(), other, 0));
    net.link(3, 1, 4);
    let expected = CloseReason::TwoNames { known: "hub-2".to_owned(), heard: "other".to_owned() };
    assert_eq!(net.closed(), [(1, &expected)]);
    // From afar it is no fault of the link that the news came by.
    net.said.clear();
    net.link(4, 1, 3);
    net.wires.remove(&LinkId(3));
    net.link(5, 3, 4);
    assert!(net.closed().iter().all(|(hub, _)| *hub == 3), "{:?}", net.closed());
    assert!(net.hubs[&1].counters().conflicts + net.hubs[&3].counters().links_refused > 0);
    assert_eq!(net.hops(1, 3), 1);
}

#[test]
fn an_earlier_life_is_refused_and_a_later_one_takes_its_place() {
    let mut net = Net::line(2);
    net.add(9, 1);
    net.hubs.insert(2, Mesh::new(MeshOptions::default(), info(2, 5), 0));
    net.said.clear();
    net.link(2, 1, 2);
    assert_eq!(net.closed(), [(1, &CloseReason::Superseded)], "the old life's link");
    let ups = [Command::HubDown(id(2)), Command::HubUp { hub: id(2), epoch: Epoch(5) }];
    let said = net.said_by(1);
    assert!(ups.iter().all(|up| said.contains(&up)), "{said:?}");
    net.said.clear();
    net.hubs.insert(9, Mesh::new(MeshOptions::default(), info(2, 4), 0));
    net.link(3, 1, 9);
    assert_eq!(net.closed(), [(1, &CloseReason::OldEpoch { known: Epoch(5), heard: Epoch(4) })]);
}

#[test]
fn what_an_earlier_life_said_of_itself_is_overtaken() {
    let mut net = Net::line(3);
    net.want(3, true, "old");
    for _ in 0..5 {
        net.pass(30 * SECOND);
    }
    net.cut(2);
    // The new life starts with lower versions than the others remember.
    net.add(3, 2);
    net.link(2, 2, 3);
    assert_eq!(net.hops(1, 3), 2);
    assert_eq!(net.hubs[&1].routes().epoch(id(3)), Some(Epoch(2)));
    assert_eq!(net.hubs[&3].counters().conflicts, 0);
}

#[test]
fn of_two_links_to_a_neighbour_the_second_stands_by() {
    let mut net = Net::line(3);
    net.link(9, 1, 2);
    assert_eq!(net.hubs[&1].routes().next_hop(id(3)), Some(LinkId(1)));
    net.said.clear();
    net.cut(1);
    assert_eq!(net.hubs[&1].routes().next_hop(id(3)), Some(LinkId(9)));
    assert!(!net.said.iter().any(|(_, c)| matches!(c, Command::HubDown(_))), "{:?}", net.said);
    net.want(1, true, "still/told");
    assert_eq!(net.known(3, 1), ["still/told"]);
}

#[test]
fn small_changes_of_round_trips_are_kept_and_large_ones_told_after_a_while() {
    let mut net = Net::line(2);
    let told = |net: &Net| net.hubs[&1].report().links[0].rtt;
    let before = told(&net);
    net.delay = Duration::from_micros(200);
    net.pass(20 * SECOND);
    assert_eq!(told(&net), before);
    net.delay = ms(5);
    net.pass(40 * SECOND);
    assert!(told(&net) > ms(6), "{:?}", told(&net));
    assert_eq!(net.hubs[&2].report().links, {
        let mut links = net.hubs[&1].report().links;
        links.iter_mut().for_each(|link| link.link = (link.from == id(2)).then_some(LinkId(1)));
        links
    });
}

#[test]
fn at_the_limit_of_links_the_next_is_refused() {
    let mut net = Net::with(Limits { links: 1, ..Limits::default() }, Timers::default());
    (1..=3).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.link(2, 1, 3);
    assert_eq!(net.closed(), [(1, &CloseReason::TooManyLinks { limit: 1 })]);
}

#[test]
fn at_the_limit_of_hubs_one_out_of_reach_makes_room_and_one_within_reach_does_not() {
    let mut net = Net::with(Limits { hubs: 2, ..Limits::default() }, Timers::default());
    (1..=4).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.link(2, 1, 3);
    net.link(3, 1, 4);
    assert_eq!(net.closed()[0], (1, &CloseReason::TooManyHubs { limit: 2 }));
    net.wires.remove(&LinkId(3));
    net.cut(2);
    net.link(4, 1, 4);
    assert_eq!(net.hops(1, 4), 1);
    assert_eq!(net.hubs[&1].counters().hubs_forgotten, 1);
}

#[test]
fn acknowledgements_of_flows_find_their_way_and_their_life() {
    let mut net = Net::line(3);
    net.said.clear();
    let ack = FlowAck {
        to: id(1),
        from: id(3),
        to_epoch: Epoch(1),
        lane: Lane::BULK,
        incarnation: 2,
        written: 9,
        synced: 7,
        refused: ErrorCode::NONE,
        places: vec![FlowPlace { number: 8, home: 3, home_sequence: 40 }],
    };
    let (residency, way) = (Residency::ANYWHERE, Way(3));
    for ack in [ack.clone(), FlowAck { to_epoch: Epoch(2), ..ack.clone() }, FlowAck { to: id(77), ..ack.clone() }] {
        net.tell(3, Event::FlowAck { residency, way, ack });
    }
    net.run();
    let (hub, lane, refused, places) = (id(3), Lane::BULK, ErrorCode::NONE, ack.places);
    let (incarnation, written, synced) = (2, 9, 7);
    let expected = Command::FlowAcked { hub, lane, residency, way, incarnation, written, synced, refused, places };
    assert_eq!(net.said, [(1, expected)]);
    assert_eq!(net.hubs[&3].counters().flow_acks_dropped, 1);
}
