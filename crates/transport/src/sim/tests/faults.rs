//! What a world does to its links.

use std::io::IoSlice;

use super::*;
use crate::conformance::{Stage, pattern};
use crate::network::{DialError, LinkToken, ReadOutcome, WriteOutcome};
use crate::reason::CloseReason;

const MS: Duration = Duration::from_millis(1);

/// A world with that path everywhere, two hosts, and a link between them.
fn linked(secure: bool, path: SimPath) -> (Stage<Simulated>, SimWorld, LinkToken, LinkToken) {
    let mut rig = Simulated::new(secure);
    rig.world = SimWorld::new(1, START, SimOptions { path, ..SimOptions::default() });
    let world = rig.world.clone();
    let (stage, near, far) = Stage::linked(rig);
    (stage, world, near, far)
}

fn write(stage: &mut Stage<Simulated>, at: usize, link: LinkToken, bytes: &[u8]) -> WriteOutcome {
    stage.nodes[at].net.write(link, &[IoSlice::new(bytes)])
}

fn read(stage: &mut Stage<Simulated>, at: usize, link: LinkToken) -> ReadOutcome {
    stage.nodes[at].net.read(link, &mut [0; 1 << 16])
}

#[test]
fn a_byte_takes_the_paths_time() {
    let (mut stage, world, near, far) = linked(false, SimPath { delay: MS * 20, ..SimPath::default() });
    write(&mut stage, 0, near, b"x");
    world.advance(MS * 20 - Duration::from_nanos(1));
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::WouldBlock);
    world.advance(Duration::from_nanos(1));
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::Bytes(1));
}

#[test]
fn bandwidth_bounds_what_arrives() {
    let path = SimPath { bandwidth: Some(1_000_000), ..SimPath::default() };
    let (mut stage, world, near, far) = linked(false, path);
    let start = world.clock().now().mono;
    let data = pattern(2_000_000);
    assert!(stage.carry((0, near), (1, far), &data) == data);
    let took = world.clock().now().mono.since(start);
    assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&took), "2 MB at 1 MB/s took {took:?}");
}

#[test]
fn a_cut_keeps_back_and_a_heal_lets_go_in_order() {
    let (mut stage, world, near, far) = linked(true, SimPath::default());
    world.cut("n0", "n1");
    let data = pattern(50_000);
    let (first, second) = data.split_at(20_000);
    assert_eq!(write(&mut stage, 0, near, first), WriteOutcome::Bytes(20_000));
    world.advance(MS * 500);
    assert_eq!(write(&mut stage, 0, near, second), WriteOutcome::Bytes(30_000));
    world.advance(MS * 500);
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::WouldBlock);
    world.heal("n0", "n1");
    let mut got = Vec::new();
    stage.until("the bytes", |stage| {
        let mut buf = vec![0; 100_000];
        while let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
    assert!(stage.carry((1, far), (0, near), &data) == data, "the link lives on");
}

#[test]
fn a_cut_longer_than_patience_ends_the_sender_and_not_the_other() {
    let (mut stage, world, near, far) = linked(false, SimPath::default());
    world.cut("n0", "n1");
    write(&mut stage, 0, near, b"lost");
    world.advance(Duration::from_secs(59));
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::WouldBlock);
    world.advance(Duration::from_secs(2));
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::Closed(CloseReason::TimedOut));
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::WouldBlock, "half open: nobody told it");
}

#[test]
fn one_direction_can_be_cut_alone() {
    let (mut stage, world, near, far) = linked(false, SimPath::default());
    world.cut_one_way("n0", "n1");
    write(&mut stage, 0, near, b"lost");
    write(&mut stage, 1, far, b"found");
    world.advance(MS * 100);
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::WouldBlock);
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::Bytes(5));
}

#[test]
fn a_host_that_is_switched_off_leaves_half_open_links() {
    let (mut stage, world, near, far) = linked(true, SimPath::default());
    let address = stage.nodes[0].net.remote_address(near).unwrap();
    world.crash("n1");
    world.advance(Duration::from_secs(30));
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::WouldBlock);
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::Closed(CloseReason::NoSuchLink));
    let dialled = stage.dial(0, &address);
    world.advance(Duration::from_secs(5));
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(dialled));
    assert_eq!(reason, CloseReason::ConnectTimedOut { address, millis: 5000 });
    // It comes back and knows nothing of the link.
    assert_eq!(write(&mut stage, 0, near, b"still there?"), WriteOutcome::Bytes(12));
    let _back = world.endpoint("n1", SimLimits::default());
    world.advance(MS * 10);
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::Closed(CloseReason::Reset));
}

#[test]
fn a_program_that_ends_closes_its_links_and_its_ports() {
    for (secure, expected) in [(false, CloseReason::PeerClosed), (true, CloseReason::Truncated)] {
        let (mut stage, world, near, _) = linked(secure, SimPath::default());
        let address = stage.nodes[0].net.remote_address(near).unwrap();
        drop(stage.nodes.remove(1));
        world.advance(MS * 10);
        assert_eq!(read(&mut stage, 0, near), ReadOutcome::Closed(expected));
        let link = stage.dial(0, &address);
        let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
        assert_eq!(reason, CloseReason::ConnectRefused { address });
    }
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let (mut stage, world, near, far) = linked(false, SimPath::default());
    write(&mut stage, 0, near, b"before");
    world.advance(MS);
    write(&mut stage, 0, near, b"never");
    world.reset_links("n1", "n0");
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::Bytes(6));
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::Closed(CloseReason::Reset));
    assert_eq!(write(&mut stage, 0, near, b"x"), WriteOutcome::Closed(CloseReason::Reset));
    assert_eq!(read(&mut stage, 0, near), ReadOutcome::Closed(CloseReason::NoSuchLink));
}

#[test]
fn dials_and_pieces_are_lost_at_the_paths_rate() {
    let (mut stage, world, near, far) = linked(false, SimPath::default());
    let address = stage.nodes[0].net.remote_address(near).unwrap();
    world.set_path("n0", "n1", SimPath { lost_dials: 1000, resets: 1_000_000, ..SimPath::default() });
    let link = stage.dial(0, &address);
    world.advance(Duration::from_secs(5));
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    assert!(matches!(reason, CloseReason::ConnectTimedOut { .. }), "{reason}");
    write(&mut stage, 0, near, b"x");
    world.advance(MS);
    assert_eq!(read(&mut stage, 1, far), ReadOutcome::Closed(CloseReason::Reset));
}

#[test]
fn reads_and_writes_may_be_partial() {
    let mut rig = Simulated::new(false);
    rig.world = SimWorld::new(1, START, SimOptions { partial: 500, ..SimOptions::default() });
    let (mut stage, near, far) = Stage::linked(rig);
    let partial = (0..100).any(|_| write(&mut stage, 0, near, &[7; 100]) != WriteOutcome::Bytes(100));
    assert!(partial, "every write of a hundred was whole");
    let (mut stage, near, far2) = {
        let mut rig = Simulated::new(false);
        rig.world = SimWorld::new(1, START, SimOptions { partial: 500, ..SimOptions::default() });
        Stage::linked(rig)
    };
    let _ = far;
    let data = pattern(300_000);
    assert!(stage.carry((0, near), (1, far2), &data) == data);
}

#[test]
fn hosts_that_are_not_there_and_plain_links_where_they_are_forbidden() {
    let mut rig = Simulated::new(false);
    rig.world = SimWorld::new(1, START, SimOptions { plain_anywhere: false, ..SimOptions::default() });
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    let (_, address) = stage.listen(0);
    let net = &mut stage.nodes[0].net;
    let elsewhere = net.dial("n1:1", &Security::Plain, None);
    assert_eq!(elsewhere, Err(DialError::PlainBeyondLoopback { address: "n1:1".to_owned() }));
    // One's own host is loopback, by any of its names.
    let port = address.rsplit_once(':').unwrap().1;
    for host in ["n0", "localhost", "127.0.0.1", "[::1]"] {
        let link = stage.nodes[0].net.dial(&format!("{host}:{port}"), &Security::Plain, None).unwrap();
        stage.until("the link", |stage| stage.nodes[0].connected(link));
    }
    let mut stage = Stage::new(Simulated::new(false));
    stage.add(Limits::default());
    let link = stage.dial(0, "nowhere:1");
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    assert!(matches!(reason, CloseReason::Resolve { host, .. } if host == "nowhere"));
}
