//! Checks of how links begin and end.

use std::collections::BTreeSet;
use std::io::IoSlice;

use super::{Limits, Rig, Stage, name_of, pattern};
use crate::network::{DialError, Network, ReadOutcome, WriteOutcome};
use crate::reason::CloseReason;

/// What a write took before `close` arrives, and then the end.
pub fn close_delivers_what_was_taken<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let data = pattern(8 << 20);
    let mut taken = 0;
    while let WriteOutcome::Bytes(n) = stage.nodes[0].net.write(near, &[IoSlice::new(&data[taken..])]) {
        taken += n;
        if taken == data.len() {
            break;
        }
    }
    assert!(taken > 0);
    // The far side has sent something that is never read: that must not
    // destroy what is on its way.
    assert_eq!(stage.nodes[1].net.write(far, &[IoSlice::new(b"unread")]), WriteOutcome::Bytes(6));
    stage.nodes[0].net.close(near);
    assert_eq!(stage.nodes[0].net.closing(), 1);
    assert_eq!(stage.nodes[0].net.write(near, &[IoSlice::new(b"late")]), WriteOutcome::Closed(CloseReason::NoSuchLink));
    let mut got = Vec::new();
    let reason = stage.until("the end", |stage| {
        let mut buf = vec![0; 100_000];
        loop {
            match stage.nodes[1].net.read(far, &mut buf) {
                ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
                ReadOutcome::WouldBlock => return None,
                ReadOutcome::Closed(reason) => return Some(reason),
            }
        }
    });
    assert_eq!(reason, CloseReason::PeerClosed);
    assert!(got == data[..taken], "{} bytes arrived of {taken}", got.len());
    stage.until("the close to be done", |stage| (stage.nodes[0].net.closing() == 0).then_some(()));
}

/// The end is said once, by whoever comes first, and never again.
pub fn the_peers_end_is_seen_once<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.nodes[0].net.close(near);
    assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    let mut buf = [0; 8];
    assert_eq!(stage.nodes[1].net.read(far, &mut buf), ReadOutcome::Closed(CloseReason::NoSuchLink));
    assert_eq!(stage.nodes[1].net.write(far, &[IoSlice::new(b"x")]), WriteOutcome::Closed(CloseReason::NoSuchLink));
    assert_eq!(stage.nodes[1].net.remote_address(far), None);
    stage.settle();
    assert_eq!(stage.nodes[0].closed(near), None, "an end was reported to the one that closed");
    assert_eq!(stage.nodes[1].closed(far), None, "an end was reported twice");
}

/// `close` of a link that is gone, or never was, does nothing.
pub fn closing_twice_is_harmless<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.nodes[0].net.close(near);
    stage.nodes[0].net.close(near);
    stage.nodes[0].net.close(crate::network::LinkToken(u64::MAX));
    assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    stage.nodes[1].net.close(far);
    stage.settle();
    assert_eq!((stage.nodes[0].closed(near), stage.nodes[1].closed(far)), (None, None));
}

/// Both ends closing at once end both.
pub fn both_may_close_at_once<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.nodes[0].net.close(near);
    stage.nodes[1].net.close(far);
    stage.until("both closes to be done", |stage| stage.nodes.iter().all(|node| node.net.closing() == 0).then_some(()));
}

/// Each of a hundred links carries its own bytes.
pub fn many_links_at_once<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    let security = stage.hub(0);
    let mut links = Vec::new();
    for _ in 0..100 {
        match stage.nodes[0].net.dial(&address, &security, None) {
            Ok(link) => links.push(link),
            Err(e) => panic!("dial: {e}"),
        }
    }
    stage.until("100 links", |stage| {
        let up = links.iter().all(|link| stage.nodes[0].connected(*link).is_some());
        (up && stage.nodes[1].accepted().len() == links.len()).then_some(())
    });
    // Each link says its number; the far side says it back.
    for (number, link) in links.iter().enumerate() {
        let said = (number as u32).to_le_bytes();
        assert_eq!(stage.nodes[0].net.write(*link, &[IoSlice::new(&said)]), WriteOutcome::Bytes(4));
    }
    let mut waiting: BTreeSet<_> = stage.nodes[1].accepted().into_iter().map(|(link, _)| link).collect();
    let mut heard = BTreeSet::new();
    stage.until("each link's bytes", |stage| {
        waiting.retain(|link| {
            let mut buf = [0; 8];
            match stage.nodes[1].net.read(*link, &mut buf) {
                ReadOutcome::Bytes(4) => {
                    stage.nodes[1].net.write(*link, &[IoSlice::new(&buf[..4])]);
                    false
                }
                ReadOutcome::WouldBlock => true,
                other => panic!("{other:?}"),
            }
        });
        for (number, link) in links.iter().enumerate() {
            let mut buf = [0; 8];
            if stage.nodes[0].net.read(*link, &mut buf) == ReadOutcome::Bytes(4) {
                assert_eq!(buf[..4], (number as u32).to_le_bytes(), "another link's bytes");
                heard.insert(number);
            }
        }
        (heard.len() == links.len()).then_some(())
    });
}

/// A link that is full does not keep another from carrying.
pub fn a_slow_link_holds_up_no_other<R: Rig>(rig: R) {
    let (mut stage, near, _) = Stage::linked(rig);
    let (_, address) = stage.listen(1);
    let (other_near, other_far) = stage.link(0, 1, &address);
    let data = pattern(1 << 20);
    let mut sent = 0;
    while let WriteOutcome::Bytes(n) = stage.nodes[0].net.write(near, &[IoSlice::new(&data)]) {
        sent += n;
        assert!(sent < 1 << 28, "the link never blocks");
    }
    assert!(stage.carry((0, other_near), (1, other_far), &data) == data);
}

/// A token that was given is not given again.
pub fn tokens_are_not_used_twice<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    let mut tokens = BTreeSet::new();
    for _ in 0..5 {
        let (near, far) = stage.link(0, 1, &address);
        assert!(tokens.insert((0, near)) && tokens.insert((1, far)), "a token came twice");
        stage.nodes[0].net.close(near);
        assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    }
}

/// Dialling where nobody listens ends with a reason that names the address.
pub fn nobody_there_is_said<R: Rig>(mut rig: R) {
    let nobody = rig.nobody("n1");
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let link = stage.dial(0, &nobody);
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    assert_eq!(reason, CloseReason::ConnectRefused { address: nobody });
    let mut buf = [0; 8];
    assert_eq!(stage.nodes[0].net.read(link, &mut buf), ReadOutcome::Closed(CloseReason::NoSuchLink));
}

/// Nothing is reported of a link after `close`, also when it failed before.
pub fn a_closed_dial_is_silent<R: Rig>(mut rig: R) {
    let nobody = rig.nobody("n1");
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    for address in [nobody, address] {
        for steps in 0..5 {
            let link = stage.dial(0, &address);
            for _ in 0..steps {
                stage.rig.step();
            }
            stage.nodes[0].net.close(link);
            for _ in 0..30 {
                stage.turn();
                for (far, _) in stage.nodes[1].accepted() {
                    stage.nodes[1].net.close(far);
                }
            }
            assert_eq!(stage.nodes[0].seen, []);
        }
    }
}

/// What is not `host:port` is refused at once, and the remedy is said.
pub fn bad_addresses_are_refused<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    let security = stage.hub(0);
    for address in ["", "host", "host:", "host:x", "host:65536", ":1", "a b:1"] {
        let net = &mut stage.nodes[0].net;
        let dial = net.dial(address, &security, None);
        assert!(matches!(dial, Err(DialError::Address { .. })), "{address}: {dial:?}");
        match net.listen(address, &security, super::Accept::Both) {
            Err(e) => assert!(e.to_string().contains("host:port"), "{e}"),
            Ok(bound) => panic!("listens at `{address}`: {bound:?}"),
        }
    }
}

/// After `close_listener` nobody comes in, and nobody listens there.
pub fn a_closed_listener_takes_nobody<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (listener, address) = stage.listen(1);
    stage.link(0, 1, &address);
    stage.nodes[1].net.close_listener(listener);
    let link = stage.dial(0, &address);
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    assert_eq!(reason, CloseReason::ConnectRefused { address });
    assert_eq!(stage.nodes[1].accepted().len(), 1);
}

/// Links that came in stay when their listener is closed.
pub fn a_link_outlives_its_listener<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (listener, address) = stage.listen(1);
    let (near, far) = stage.link(0, 1, &address);
    stage.nodes[1].net.close_listener(listener);
    assert!(stage.carry((0, near), (1, far), b"still here") == b"still here");
    assert!(stage.nodes[1].net.remote_address(far).is_some());
}

/// A wake that came before the poll ends it as one that comes during it.
pub fn the_waker_ends_a_poll<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.settle();
    let net = &mut stage.nodes[0].net;
    let waker = net.waker();
    let mut ready = Vec::new();
    // Hangs, and so fails, if the wake is lost.
    waker.wake();
    waker.wake();
    assert!(net.poll(None, &mut ready).is_ok());
    for _ in 0..100 {
        let wait = stage.rig.wake_elsewhere(waker.clone());
        assert!(net.poll(None, &mut ready).is_ok());
        wait();
        // The poll may have come back before the wake was done.
        assert!(net.poll(Some(std::time::Duration::ZERO), &mut ready).is_ok());
    }
    assert!(ready.is_empty());
}

/// An endpoint that is dropped ends its links, as a process that dies does.
pub fn a_peer_that_dies_is_seen<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    assert!(stage.carry((1, far), (0, near), &[]).is_empty());
    let dead = stage.nodes.remove(0);
    drop(dead);
    let reason = stage.end_of(0, far);
    let expected = [CloseReason::PeerClosed, CloseReason::Truncated, CloseReason::Reset];
    assert!(expected.contains(&reason), "{name}: {reason}", name = name_of(0));
}
