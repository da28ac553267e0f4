//! What an idle network costs: nothing.

use super::*;
use crate::conformance::Stage;

#[test]
fn an_idle_network_keeps_no_timer_and_no_list() {
    let (mut stage, near, far) = Stage::linked(Loopback::new(false));
    assert!(stage.carry((0, near), (1, far), b"hello") == b"hello");
    stage.settle();
    for node in &stage.nodes {
        assert!(node.net.timers.is_empty(), "a timer is left");
        assert!(node.net.hot.is_empty() && node.net.hot_count == 0 && node.net.knocking.is_empty());
    }
    stage.nodes[0].net.close(near);
    assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    stage.settle();
    for node in &stage.nodes {
        assert!(node.net.timers.is_empty(), "a timer is left");
        assert_eq!((node.net.links.len(), node.net.lingering, node.net.hot_count), (0, 0, 0));
    }
}

#[test]
fn with_tls_the_only_timer_is_the_certificates_end() {
    let (mut stage, _, _) = Stage::linked(Loopback::new(true));
    stage.settle();
    let clock = stage.rig.clock.clone();
    for node in &stage.nodes {
        assert_eq!(node.net.timers.until_next(None, &clock), Some(crate::conformance::VALID_FOR));
    }
}

#[test]
fn a_handshake_that_fails_leaves_nothing() {
    let mut stage = Stage::new(Loopback::new(true));
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    for _ in 0..10 {
        let link = stage.nodes[0].net.dial(&address, &Security::Plain, None).unwrap();
        stage.until("the plain side", |stage| stage.nodes[0].connected(link));
        stage.nodes[0].net.write(link, &[IoSlice::new(b"this is not TLS")]);
        let before = stage.nodes[1].refused().len();
        stage.until("the refusal", |stage| (stage.nodes[1].refused().len() > before).then_some(()));
        stage.nodes[0].net.close(link);
    }
    stage.until("the ends", |stage| stage.nodes.iter().all(|node| node.net.links.len() == 0).then_some(()));
    let net = &stage.nodes[1].net;
    assert_eq!((net.handshakes, net.lingering, net.hot_count), (0, 0, 0));
    assert!(net.timers.is_empty());
}
