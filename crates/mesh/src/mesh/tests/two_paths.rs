//! Two paths, as a decider's routes find them.

use super::*;

const EU: &str = "eu";

fn add(net: &mut Net, hub: u64, labels: &[&str], two_paths: bool) {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let options = MeshOptions { limits: net.limits, timers: net.timers, two_paths, ..MeshOptions::default() };
    net.hubs.insert(hub, Mesh::new(options, HubInfo { labels, ..info(hub, 1) }, hub));
}

/// Hub 3 behind hub 2, and behind hubs 4 and 5; all but hub 2 have the label.
fn ring(two_paths: bool) -> Net {
    let mut net = Net::new();
    for hub in 1..6 {
        add(&mut net, hub, if hub == 2 { &[] } else { &[EU] }, two_paths);
    }
    for (link, a, b) in [(12, 1, 2), (23, 2, 3), (14, 1, 4), (45, 4, 5), (53, 5, 3)] {
        net.link(link, a, b);
    }
    net.pass(SECOND);
    net
}

/// The second path from hub 1 to hub 3, and whether the first copy names its way too.
fn second(net: &Net, residency: Residency) -> Option<(Vec<u64>, bool)> {
    let routes = net.hubs[&1].routes();
    let found = routes.bound(residency).expect("it has the label").two_paths(id(3))?;
    let ids =
        |along: &crate::Along| along.hubs.iter().map(|hub| (1..9).find(|n| id(*n) == *hub).unwrap_or(0)).collect();
    Some((ids(&found.second), found.first.is_some()))
}

#[test]
fn a_second_path_follows_links_and_hubs_that_drain() {
    let mut net = ring(true);
    assert_eq!(second(&net, Residency::ANYWHERE), Some((vec![4, 5, 3], false)));
    let before = net.hubs[&1].routes();
    net.want(3, true, "a");
    net.pass(SECOND);
    assert!(net.hubs[&1].routes().has_paths_of(&before), "who wants what changes nothing of it");
    for draining in [true, false] {
        net.tell(4, Event::Draining { draining });
        net.run();
        net.pass(SECOND);
        assert_eq!(second(&net, Residency::ANYWHERE).is_none(), draining);
    }
    net.cut(45);
    net.pass(SECOND);
    assert_eq!(second(&net, Residency::ANYWHERE), None);
    assert!(!net.hubs[&1].routes().has_paths_of(&before));
}

#[test]
fn a_second_path_leads_over_no_hub_without_the_label() {
    let eu = Residency::of(&[EU]);
    let mut net = ring(true);
    assert_eq!(second(&net, eu), None, "one path is left without hub 2");
    let routes = net.hubs[&1].routes();
    assert_eq!(routes.link_to(id(2)), Some(LinkId(12)));
    let bound = routes.bound(eu).expect("it has the label");
    assert_eq!((bound.link_to(id(2)), bound.link_to(id(4))), (None, Some(LinkId(14))));
    add(&mut net, 6, &[EU], true);
    net.link(16, 1, 6);
    net.link(63, 6, 3);
    net.pass(SECOND);
    assert_eq!(second(&net, eu), Some((vec![4, 5, 3], false)), "beside the way over hub 6");
}

#[test]
fn nobody_finds_them_who_is_not_to_and_all_pass_copies_on() {
    let net = ring(false);
    assert_eq!(second(&net, Residency::ANYWHERE), None);
    assert_eq!(net.hubs[&1].routes().link_to(id(4)), Some(LinkId(14)));
}

#[test]
fn there_is_none_over_a_hub_of_version_1() {
    let mut net = Net::new();
    for hub in 1..5 {
        add(&mut net, hub, &[EU], true);
    }
    for (link, a, b) in [(12, 1, 2), (23, 2, 3), (14, 1, 4), (43, 4, 3)] {
        // What hub 4 says comes without attributes.
        net.version = if a == 4 || b == 4 { 1 } else { 2 };
        net.link(link, a, b);
    }
    net.pass(SECOND);
    assert_eq!(second(&net, Residency::ANYWHERE), None);
    assert_eq!(net.hubs[&1].routes().link_to(id(4)), None, "nor is it a neighbour to pass copies on to");
}
