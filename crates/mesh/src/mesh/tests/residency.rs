//! Ways for events that may be only at hubs with a label.

use weft_base::Way;
use weft_wire::frame::FlowEntry;

use super::*;
use crate::{DropReason, Split, split};

const EU: &str = "eu";

fn add(net: &mut Net, hub: u64, labels: &[&str], epoch: u32) {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let options = MeshOptions { limits: net.limits, timers: net.timers, ..MeshOptions::default() };
    net.hubs.insert(hub, Mesh::new(options, HubInfo { labels, ..info(hub, epoch) }, hub));
}

/// Hubs 1 and 3 with the label, linked over 2, which has none; and, when there is
/// a detour, over 4 and 5, which do.
fn net(detour: bool) -> Net {
    let mut net = Net::new();
    for (hub, labels) in [(1, &[EU, "a"][..]), (2, &[]), (3, &[EU, "b"]), (4, &[EU]), (5, &[EU])] {
        add(&mut net, hub, labels, 1);
    }
    net.link(12, 1, 2);
    net.link(23, 2, 3);
    if detour {
        net.link(14, 1, 4);
        net.link(45, 4, 5);
        net.link(53, 5, 3);
    }
    net.pass(SECOND);
    net
}

/// By which link `from` sends such an event to `to`, or why not.
fn way(net: &Net, from: u64, to: u64, residency: Residency) -> Result<u64, DropReason> {
    let routes = net.hubs[&from].routes();
    let kind = weft_wire::frame::FlowKind::Live;
    let entry = FlowEntry { hub: id(to), incarnation: 0, kind, retransmit: false, sequence: 0, base: 0 };
    let mut out = Split::new();
    split((routes.bound(residency).expect("it has the label"), Way::MAIN), [entry], None, crate::INITIAL_TTL, &mut out);
    let link = out.links().next().map(|(link, _)| link.0);
    link.ok_or_else(|| out.dropped()[0].1)
}

#[test]
fn a_way_through_a_hub_without_the_label_is_never_found() {
    let eu = Residency::of(&[EU]);
    let straight = net(false);
    assert_eq!(way(&straight, 1, 3, Residency::ANYWHERE), Ok(12));
    assert_eq!(way(&straight, 1, 3, eu), Err(DropReason::Residency), "there is a way, over hub 2");
    assert_eq!(way(&straight, 1, 2, eu), Err(DropReason::Residency), "though it is a neighbour");
    assert_eq!(way(&straight, 1, 4, eu), Err(DropReason::NoPath), "nobody knows of it");
    let detour = net(true);
    assert_eq!(way(&detour, 1, 3, Residency::ANYWHERE), Ok(12));
    for (hub, link) in [(1, 14), (4, 45), (5, 53)] {
        assert_eq!(way(&detour, hub, 3, eu), Ok(link), "at hub {hub}");
    }
    let routes = |hub| detour.hubs[&hub].routes();
    assert!(routes(2).bound(eu).is_none(), "hub 2 must not have it");
    assert!(routes(1).bound(Residency::of(&["us"])).is_none());
    let at = |hub| routes(1).may_be_at(id(hub), eu);
    assert_eq!([1, 2, 3, 4, 9].map(at), [true, false, true, true, false]);
}

#[test]
fn ways_follow_labels_and_links() {
    let eu = Residency::of(&[EU]);
    let mut net = net(true);
    net.cut(45);
    net.pass(SECOND);
    assert_eq!(way(&net, 1, 3, eu), Err(DropReason::Residency));
    // Hub 2 is started again, with the label.
    net.cut(12);
    net.cut(23);
    add(&mut net, 2, &[EU], 2);
    net.link(112, 1, 2);
    net.link(123, 2, 3);
    net.pass(SECOND);
    assert_eq!((way(&net, 1, 3, eu), way(&net, 2, 3, eu)), (Ok(112), Ok(123)));
}

#[test]
fn messages_between_hubs_keep_to_what_both_ends_have_in_common() {
    let net = net(true);
    let (eu, routes) = (Residency::of(&[EU]), |hub| net.hubs[&hub].routes());
    assert_eq!((routes(1).shared(id(3)), routes(1).shared(id(2))), (eu, Residency::ANYWHERE));
    let mut two = Net::new();
    for (hub, labels) in [(1, ["eu", "gdpr"]), (2, ["eu", "gdpr"]), (3, ["gdpr", "eu"])] {
        add(&mut two, hub, &labels, 1);
    }
    two.link(1, 1, 2);
    two.link(2, 2, 3);
    two.pass(SECOND);
    let both = Residency::of(&["eu", "gdpr"]);
    assert_eq!(two.hubs[&1].routes().shared(id(3)), both);
    assert_eq!((way(&two, 1, 3, both), way(&two, 2, 3, both)), (Ok(1), Ok(2)), "at both ends and between");
}

#[test]
fn acknowledgements_of_bound_flows_go_the_ways_of_these() {
    let eu = Residency::of(&[EU]);
    let mut net = net(true);
    net.said.clear();
    let ack = FlowAck {
        to: id(1),
        from: id(3),
        to_epoch: Epoch(1),
        lane: weft_base::Lane::URGENT,
        incarnation: 0,
        written: 1,
        synced: 1,
        refused: weft_wire::frame::ErrorCode::NONE,
        places: Vec::new(),
    };
    net.swallows.insert((12, 1));
    net.tell(3, Event::FlowAck { residency: eu, way: Way::MAIN, ack: ack.clone() });
    net.run();
    let heard = |(hub, command): &(u64, Command)| {
        *hub == 1 && matches!(command, Command::FlowAcked { residency, .. } if *residency == eu)
    };
    assert!(net.said.iter().any(heard), "{:?}", net.said);
    net.said.clear();
    net.tell(2, Event::FlowAck { residency: eu, way: Way::MAIN, ack });
    net.run();
    assert!(net.said.is_empty(), "hub 2 has no say in it");
}
