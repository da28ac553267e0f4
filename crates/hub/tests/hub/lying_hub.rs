//! A hub with a sound certificate that lies about credit loses its link, with
//! the reason, and nobody else notices.

use std::sync::atomic::Ordering;

use crate::common::liar::Liar;
use crate::common::{Raw, mesh, start, stop};
use weft_base::Lane;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, LinkCounted, LinkCredit, LinkLedger};

#[test]
fn credit_that_overflows_or_is_taken_back_costs_the_link_and_says_why() {
    let ca = mesh::authority();
    let hub = start(mesh::member(&ca, "chicago", "127.0.0.1:0", &[]));
    let security = mesh::identity(&ca, "liar");
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 2);
    let lies: [&[u64]; 3] = [&[u64::MAX], &[1 << 20, 1 << 19], &[1 << 30, (1 << 41) + (1 << 30)]];
    for (round, lie) in lies.into_iter().enumerate() {
        let mut liar = Liar::connect(&hub, &security, 1);
        for limit in lie {
            liar.send(&Frame::LinkCredit(LinkCredit { lane: Lane::DEFAULT, limit: *limit }));
        }
        let (granted, code, detail) = liar.closed_because();
        assert_eq!(granted, 8 * (4 << 20), "a window for each lane");
        assert_eq!(code, ErrorCode::BAD_CREDIT);
        assert!(detail.contains("credit of lane 4"), "{detail}");
        assert_eq!(hub.counters().violations.load(Ordering::Relaxed), round as u64 + 1, "it is counted");
        publisher.publish_acked(round as u64, AckLevel::Routed, "t", &[b"x"]);
        assert_eq!(subscriber.delivered(), [b"x".to_vec()]);
    }
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

/// A mark says more or less than came: that is an alarm. One that makes no sense ends the link.
#[test]
fn marks_that_go_back_and_answers_to_none_cost_the_link_and_say_why() {
    let ca = mesh::authority();
    let hub = start(mesh::member(&ca, "chicago", "127.0.0.1:0", &[]));
    let security = mesh::identity(&ca, "liar");
    let lane = Lane::DEFAULT;
    let mark = |blocks, events| Frame::LinkLedger(LinkLedger { lane, blocks, columns: 7, events });
    let lies: [(&[Frame<'_>], &str); 3] = [
        (&[mark(2, vec![2]), mark(1, vec![1])], "the count of lane 4 went back from 2 to 1 blocks"),
        (&[mark(1, vec![u64::MAX, 1])], "the events of lane 4 are more than can be counted"),
        (&[Frame::LinkCounted(LinkCounted { lane, blocks: 3, events: 3 })], "no mark is under way"),
    ];
    for (round, (lie, why)) in lies.iter().enumerate() {
        let mut liar = Liar::connect(&hub, &security, 1);
        lie.iter().for_each(|frame| liar.send(frame));
        let (_, code, detail) = liar.closed_because();
        assert_eq!(code, ErrorCode::BAD_COUNT);
        assert!(detail.contains(why), "{detail}");
        assert_eq!(hub.counters().violations.load(Ordering::Relaxed), round as u64 + 1, "it is counted");
    }
    assert_eq!(hub.counters().ledger_alarms.load(Ordering::Relaxed), 1, "of two events that never came");
    stop(hub);
}
