//! Checks of the bounds on connections, handshakes and time.

use std::io::IoSlice;
use std::time::Duration;

use super::{Limits, Rig, Stage, pattern};
use crate::network::{DialError, Network, WriteOutcome};
use crate::reason::CloseReason;

/// Who dials a full endpoint is refused; when there is room again, not.
pub fn too_many_links_are_refused<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits { connections: 2, ..Limits::default() });
    let (_, address) = stage.listen(1);
    let (near, far) = stage.link(0, 1, &address);
    stage.link(0, 1, &address);
    let third = stage.dial(0, &address);
    let reason = stage.until("a refusal", |stage| stage.nodes[1].refused().first().cloned());
    assert_eq!(reason, CloseReason::TooManyLinks { limit: 2 });
    stage.end_of(0, third);
    stage.nodes[0].net.close(near);
    assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    stage.until("the closed link to be gone", |stage| (stage.nodes[1].net.closing() == 0).then_some(()));
    stage.link(0, 1, &address);
}

/// Dialling beyond the limit is refused at once.
pub fn too_many_dials_are_refused<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits { connections: 1, ..Limits::default() });
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    stage.link(0, 1, &address);
    let security = stage.hub(0);
    let second = stage.nodes[0].net.dial(&address, &security, None);
    assert_eq!(second, Err(DialError::TooManyLinks { address, limit: 1 }));
}

/// While as many handshakes go on as may, further peers wait, and come in
/// when those run out of time.
pub fn handshakes_in_flight_are_bounded<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let mut stage = Stage::new(rig);
    stage.add(Limits { handshake_timeout: Duration::from_secs(60), ..Limits::default() });
    stage.add(Limits { handshakes: 3, handshake_timeout: Duration::from_secs(5), ..Limits::default() });
    let (_, address) = stage.listen(1);
    let silent: Vec<_> = (0..3).map(|_| stage.rig.silent(&address)).collect();
    stage.settle();
    let near = stage.dial(0, &address);
    stage.settle();
    assert_eq!(stage.nodes[0].connected(near), None, "a fourth handshake went on");
    assert_eq!(stage.nodes[1].refused(), []);
    stage.rig.clock().advance(Duration::from_secs(5));
    stage.until("the link", |stage| stage.nodes[0].connected(near));
    assert_eq!(stage.nodes[1].refused(), vec![CloseReason::HandshakeTimedOut { millis: 5000 }; 3]);
    drop(silent);
}

/// A peer that never begins its handshake is refused when its time is over,
/// and not before.
pub fn a_silent_peer_runs_out_of_time<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let mut stage = Stage::new(rig);
    stage.add(Limits { handshake_timeout: Duration::from_secs(5), ..Limits::default() });
    let (_, address) = stage.listen(0);
    let silent = stage.rig.silent(&address);
    stage.settle();
    stage.rig.clock().advance(Duration::from_millis(4000));
    stage.settle();
    assert_eq!(stage.nodes[0].refused(), []);
    stage.rig.clock().advance(Duration::from_millis(1000));
    let reason = stage.until("the refusal", |stage| stage.nodes[0].refused().first().cloned());
    assert_eq!(reason, CloseReason::HandshakeTimedOut { millis: 5000 });
    drop(silent);
}

/// A close whose far side does not read ends with its time.
pub fn lingering_is_bounded<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig);
    stage.add(Limits { linger: Duration::from_secs(2), ..Limits::default() });
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    let (near, far) = stage.link(0, 1, &address);
    stage.nodes[1].net.pause(far);
    let data = pattern(1 << 20);
    let mut sent = 0;
    while let WriteOutcome::Bytes(n) = stage.nodes[0].net.write(near, &[IoSlice::new(&data)]) {
        sent += n;
        assert!(sent < 1 << 28, "the link never blocks");
    }
    stage.nodes[0].net.close(near);
    stage.settle();
    assert_eq!(stage.nodes[0].net.closing(), 1);
    stage.rig.clock().advance(Duration::from_secs(2));
    stage.until("the close to be given up", |stage| (stage.nodes[0].net.closing() == 0).then_some(()));
}
