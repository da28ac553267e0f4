//! Lanes and deadlines through a whole hub, over sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{Raw, build, options, payloads, start, stop};
use weft_base::{Lane, ProducerId, SubscriptionId, UnixNanos};
use weft_mesh::ledger::DropReason;
use weft_wire::block::BlockFields;
use weft_wire::frame::{AckLevel, Credit, ErrorCode, Frame};

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// A block of one event in this lane, with this deadline.
fn block(lane: Lane, number: u64, deadline: u64, payload: &[u8]) -> Vec<u8> {
    let fields = BlockFields {
        lane,
        producer: ProducerId(8 | u64::from(lane.get())),
        first_sequence: number,
        deadline: UnixNanos(deadline),
        ..BlockFields::new("t")
    };
    build(&fields, &[payload])
}

#[test]
fn an_urgent_event_overtakes_bulk_that_waits_for_a_subscriber() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe_with(1, "t", |s| s.credit_events = 0);
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 8);
    for n in 1..=100 {
        publisher.publish_block(n, AckLevel::Routed, &block(Lane::BULK, n, 0, &[b'b'; 16 << 10]));
        assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    }
    publisher.publish_block(101, AckLevel::Routed, &block(Lane::URGENT, 1, 0, b"u"));
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 1_000, bytes: 0 }));
    let order: Vec<u8> = (0..101).map(|_| subscriber.delivered()[0][0]).collect();
    let place = order.iter().position(|first| *first == b'u');
    // A quantum of the bulk lane, and the block that crosses its end.
    assert!(place.is_some_and(|place| place <= (64 << 10) / (16 << 10) + 1), "{place:?}");
    stop(hub);
}

#[test]
fn what_expires_while_it_waits_is_dropped_counted_and_told() {
    let hub = start(options("hub", None));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe_with(1, "t", |s| s.credit_events = 0);
    subscriber.receive();
    let mut publisher = Raw::connect(&hub, 8);
    // Far enough to be admitted on a busy machine.
    let deadline = wall() + 500_000_000;
    publisher.publish_block(1, AckLevel::Routed, &block(Lane::DEFAULT, 1, deadline, b"late"));
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    publisher.publish_block(2, AckLevel::Routed, &block(Lane::DEFAULT, 2, 0, b"lasting"));
    assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
    while wall() <= deadline {
        publisher.round_trip();
    }
    // Credit for one: what has expired takes none.
    subscriber.send(&Frame::Credit(Credit { id: SubscriptionId(1), events: 1, bytes: 0 }));
    let gap = subscriber.receive();
    assert!(
        matches!(gap.frame(), Frame::Gap(g) if g.events == 1 && g.reason == DropReason::Expired as u8),
        "{:?}",
        gap.frame()
    );
    let received = subscriber.receive();
    let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery") };
    assert_eq!(payloads(deliver.block), [b"lasting"]);
    subscriber.round_trip();
    let ledger = hub.counters().ledger();
    ledger.balance().expect("every copy is accounted for");
    assert_eq!((ledger.delivered, ledger.dropped_for(DropReason::Expired)), (1, 1));
    // One that comes too late is refused.
    publisher.publish_block(3, AckLevel::Routed, &block(Lane::DEFAULT, 3, deadline, b"late"));
    assert!(matches!(publisher.receive().frame(), Frame::Error(e) if e.code == ErrorCode::EXPIRED));
    stop(hub);
}
