//! A hub with a sound certificate that lies about credit loses its link, with
//! the reason, and nobody else notices.

mod common;

use std::sync::atomic::Ordering;

use common::liar::Liar;
use common::{Raw, mesh, start, stop};
use weft_base::Lane;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, LinkCredit};

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
