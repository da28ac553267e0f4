//! Publishes that are checked on threads of their own.

use crate::common::{Raw, options, start, stop};
use weft_wire::frame::{AckLevel, ErrorCode, Frame};

#[test]
fn blocks_of_many_topics_keep_their_publishers_order_and_faults_are_told() {
    let mut wanted = options("hub", None);
    wanted.admit_threads = Some(3);
    let hub = start(wanted);
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "**");
    let mut publisher = Raw::connect(&hub, 2);
    for n in 0..2_000_u64 {
        publisher.publish(n, AckLevel::None, &format!("topic/{}", n % 37), &[&n.to_le_bytes()]);
    }
    for n in 0..2_000_u64 {
        assert_eq!(subscriber.delivered(), [n.to_le_bytes().to_vec()]);
    }
    publisher.publish(7, AckLevel::Routed, "not/**", &[b"x"]);
    let answer = publisher.receive();
    assert!(matches!(answer.frame(), Frame::Error(e) if e.request == 7 && e.code == ErrorCode::BAD_TOPIC));
    let mut block = publisher.block("topic/1", &[b"x"]);
    block[140] ^= 1;
    publisher.publish_block(8, AckLevel::Routed, &block);
    assert_eq!(publisher.closed_because().0, ErrorCode::BAD_BLOCK);
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}
