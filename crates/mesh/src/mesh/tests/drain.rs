//! A hub that is about to stop.

use super::*;

/// A square: 1 - 2 - 4 and 1 - 3 - 4, of which the way over 2 is the shorter one by its ids.
fn square() -> Net {
    let mut net = Net::new();
    (1..=4).for_each(|hub| net.add(hub, 1));
    for (link, [a, b]) in [[1, 2], [2, 4], [1, 3], [3, 4]].into_iter().enumerate() {
        net.link(link as u64 + 1, a, b);
    }
    net.pass(SECOND);
    net
}

fn via(net: &Net, from: u64, to: u64) -> u64 {
    net.hubs[&from].routes().path(id(to)).map_or(0, |path| path.via.0)
}

fn drain(net: &mut Net, hub: u64, draining: bool) {
    net.tell(hub, Event::Draining { draining });
    net.run();
    net.pass(ms(10));
}

#[test]
fn ways_lead_around_a_hub_that_drains_and_still_to_it() {
    let mut net = square();
    let before = via(&net, 1, 4);
    drain(&mut net, before, true);
    let other = 5 - before;
    assert_eq!([via(&net, 1, 4), via(&net, 4, 1)], [other; 2], "around it");
    assert_eq!([net.hops(1, before), net.hops(4, before)], [1; 2], "to it");
    assert!([1, 4, other, before].iter().all(|hub| net.hubs[hub].routes().is_draining(id(before))));
    assert!(!net.hubs[&1].routes().is_draining(id(other)));
    let shown = |hub: u64| net.hubs[&hub].report().hubs.into_iter().filter(|hub| hub.is_draining).map(|hub| hub.id.0);
    assert!([1, before].iter().all(|hub| shown(*hub).eq([before])), "and people are told");
    drain(&mut net, before, false);
    assert!(!net.hubs[&1].routes().is_draining(id(before)), "and back again");
    let costs = |net: &Net| net.hubs[&1].routes().path(id(before)).map(|path| path.cost);
    assert!(costs(&net).is_some_and(|cost| cost < u64::from(crate::DRAINING)));
}

#[test]
fn where_there_is_no_other_way_it_leads_over_a_hub_that_drains() {
    let mut net = Net::line(3);
    drain(&mut net, 2, true);
    assert_eq!([net.hops(1, 3), net.hops(1, 2)], [2, 1]);
}

#[test]
fn hubs_of_version_1_route_around_it_as_well() {
    let mut net = Net::new();
    (1..=4).for_each(|hub| net.add(hub, 1));
    net.version = 1;
    for (link, [a, b]) in [[1, 2], [2, 4], [1, 3], [3, 4]].into_iter().enumerate() {
        net.link(link as u64 + 1, a, b);
    }
    net.pass(SECOND);
    let before = via(&net, 1, 4);
    drain(&mut net, before, true);
    assert_eq!([via(&net, 1, 4), via(&net, 4, 1)], [5 - before; 2]);
    assert!(!net.hubs[&1].routes().is_draining(id(before)), "but do not know why");
}

#[test]
fn a_drained_hub_is_better_than_a_suspected_link_and_taken_for_none() {
    let mut net = square();
    drain(&mut net, 2, true);
    drain(&mut net, 3, true);
    assert!(net.hops(1, 4) == 2, "over one of the two");
    let report = net.hubs[&1].report();
    assert!(report.links.iter().all(|link| link.cost < crate::SUSPECTED));
    assert!(net.said.iter().all(|(_, command)| !matches!(command, Command::LinkNotice { .. })));
}

#[test]
fn clients_go_to_hubs_that_say_where_and_do_not_drain() {
    let mut net = square();
    for hub in 2..=4 {
        let address = format!("hub-{hub}.example.org:7411");
        let mesh = net.hubs.get_mut(&hub).expect("a hub");
        mesh.set_client_addresses(&[address, String::new(), "x".repeat(256)]);
        net.tell(hub, Event::Tick);
        net.run();
    }
    let places = |net: &Net| -> Vec<(u64, Vec<String>)> {
        net.hubs[&1].client_places().into_iter().map(|place| (place.hub.0, place.addresses)).collect()
    };
    let known = places(&net);
    assert_eq!(known.len(), 3);
    assert_eq!(known.last(), Some(&(4, vec!["hub-4.example.org:7411".to_owned()])), "the nearest first");
    drain(&mut net, 2, true);
    assert_eq!(places(&net).iter().map(|(hub, _)| *hub).collect::<Vec<_>>(), [3, 4]);
}
