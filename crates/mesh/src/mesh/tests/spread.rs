//! Several ways of like cost.

use weft_base::Way;

use super::*;

/// A square: 1 - 2 - 4 and 1 - 3 - 4, both ways of one cost but for what is measured.
fn square(version: u16) -> Net {
    let mut net = Net::new();
    net.version = version;
    (1..=4).for_each(|hub| net.add(hub, 1));
    for (link, [a, b]) in [[1, 2], [2, 4], [1, 3], [3, 4]].into_iter().enumerate() {
        let link = link as u64 + 1;
        net.link(link, a, b);
        for hub in [a, b] {
            net.tell(hub, Event::LinkCost { link: LinkId(link), cost: 100_000 });
        }
    }
    net.run();
    net.pass(SECOND);
    net
}

/// Over which hub each way from 1 to 4 leads.
fn over(net: &Net) -> Vec<u64> {
    let routes = net.hubs[&1].routes();
    (0..routes.ways()).map(|way| routes.path_on(id(4), Way(way)).map_or(0, |path| path.via.0)).collect()
}

#[test]
fn ways_of_like_cost_are_all_in_use_and_one_that_is_lost_moves_its_share_alone() {
    let mut net = square(2);
    let before = over(&net);
    assert!(before.len() == 8 && [2, 3].iter().all(|hub| before.contains(hub)), "{before:?}");
    assert_eq!([net.hubs[&1].routes().links_towards(id(4)), net.hubs[&1].routes().links_towards(id(2))], [2, 1]);
    for link in [2, 4] {
        // Dear, but there: no way leads over it any more, and none that did not moves.
        let (lost, left) = if link == 2 { (2, 3) } else { (3, 2) };
        net.tell(lost, Event::LinkCost { link: LinkId(link), cost: 900_000 });
        net.run();
        net.pass(SECOND);
        assert_eq!(over(&net), [left; 8]);
        net.tell(lost, Event::LinkCost { link: LinkId(link), cost: 100_000 });
        net.run();
        net.pass(SECOND);
        assert_eq!(over(&net), before, "as it was");
    }
    assert!(net.hubs[&1].routes().hubs().all(|hub| net.hubs[&1].routes().path_on(hub, Way(200)).is_some()));
}

#[test]
fn a_mesh_with_a_hub_of_version_1_has_one_way() {
    let net = square(1);
    assert_eq!(over(&net).len(), 1);
    assert_eq!(net.hubs[&1].routes().links_towards(id(4)), 1);
}
