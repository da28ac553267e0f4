//! What a simulated hub does with what comes back to it, as real ones do.

use super::*;
use crate::groups::Member;

/// A hub with a subscriber and a member of a group, and a block that it published once.
fn hub_and_block() -> (SimHub, Rc<Block>, Vec<Effect>) {
    let (id, labels) = (HubId(1), Vec::new());
    let info = HubInfo { id, name: "hub-1".to_owned(), region: String::new(), labels, epoch: Epoch(1) };
    let mut hub = SimHub::new(info, MeshOptions::default(), &[], Log::default(), 1, None);
    let (filter, mut out) = (Filter::parse("**").expect("a filter"), Vec::new());
    hub.subscribe(true, 7, &filter, Mono(1), &mut out);
    hub.member(true, &Member { client: 8, group: "red".to_owned(), filter, weight: 1 }, Mono(1), &mut out);
    out.clear();
    let block = Block {
        id: BlockId { origin: id, epoch: Epoch(1), number: 5 },
        lane: Lane::DEFAULT,
        topic: "a".to_owned(),
        events: 1,
        residency: Residency::ANYWHERE,
        way: Way::MAIN,
        kept: false,
        produced: None,
        size: 1,
        published: Mono(1),
    };
    (hub, Rc::new(block), out)
}

/// Of seeds 5267, 6586, 7202 and 7472: while ways changed a block came back to its
/// hub, which sent it on a second time over the same link. Real hubs cut it.
#[test]
fn an_own_block_that_comes_back_goes_no_further_but_one_that_is_passed_on_is_served() {
    let (mut hub, block, mut out) = hub_and_block();
    let entry = FlowEntry {
        hub: hub.id,
        incarnation: 1,
        kind: FlowKind::Live,
        retransmit: false,
        sequence: 0,
        base: GroupKey::of_name("red").0,
    };
    hub.on_forward(LinkId(3), &block, &[entry], INITIAL_TTL, Mono(2), &mut out);
    assert!(out.is_empty(), "{out:?}");
    assert_eq!(hub.ledger.dropped_for(DropReason::Duplicate), 1);
    let passed_on = FlowEntry { kind: FlowKind::Group, retransmit: true, ..entry };
    hub.on_forward(LinkId(3), &block, &[passed_on], INITIAL_TTL, Mono(3), &mut out);
    assert!(matches!(out[..], [Effect::Shared { client: 8, .. }]), "{out:?}");
    assert_eq!(hub.ledger.balance(), Ok(()));
}
