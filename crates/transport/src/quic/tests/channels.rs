//! Channels: what is lost or unread on one holds up no other.

use std::io::IoSlice;
use std::time::Duration;

use weft_base::ByteCount;

use super::memory::{Faults, InMemory, MemoryNetwork};
use crate::conformance::{Stage, pattern};
use crate::network::{LinkToken, Network, ReadOutcome, Ready, WriteOutcome};
use crate::quic::CHANNELS;

const BULK: usize = CHANNELS - 1;
const URGENT: usize = 1;

fn write(net: &mut MemoryNetwork, link: LinkToken, channel: usize, bytes: &[u8]) -> usize {
    match net.write_on(link, channel, &[IoSlice::new(bytes)]) {
        WriteOutcome::Bytes(n) => n,
        WriteOutcome::WouldBlock => 0,
        WriteOutcome::Closed(reason) => panic!("write: {reason}"),
    }
}

fn read(net: &mut MemoryNetwork, link: LinkToken, channel: usize) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 10_000]);
    loop {
        match net.read_on(link, channel, &mut buf) {
            ReadOutcome::Bytes(n) => all.extend_from_slice(&buf[..n]),
            ReadOutcome::WouldBlock => return all,
            ReadOutcome::Closed(reason) => panic!("read: {reason}"),
        }
    }
}

/// A path that takes ten milliseconds each way.
fn far_apart() -> (Stage<InMemory>, LinkToken, LinkToken) {
    let faults = Faults { delay: Duration::from_millis(10), ..Faults::default() };
    let (mut stage, near, far) = Stage::linked(InMemory::faulty(1, faults));
    stage.settle();
    stage.nodes[1].net.read_channels(far);
    (stage, near, far)
}

#[test]
fn a_lost_datagram_of_the_last_lane_does_not_hold_up_the_first() {
    let (mut stage, near, far) = far_apart();
    let bulk = pattern(5_000);
    stage.rig.shore.world().cut = true;
    assert_eq!(write(&mut stage.nodes[0].net, near, BULK, &bulk), bulk.len());
    // All of it goes out, and is lost.
    stage.turn();
    stage.rig.shore.world().cut = false;
    assert_eq!(write(&mut stage.nodes[0].net, near, URGENT, b"now"), 3);
    let mut late = Vec::new();
    let urgent = stage.until("the urgent bytes", |stage| {
        late.extend(read(&mut stage.nodes[1].net, far, BULK));
        Some(read(&mut stage.nodes[1].net, far, URGENT)).filter(|got| !got.is_empty())
    });
    assert_eq!(urgent, b"now");
    assert_eq!(late, [], "what was lost cannot have come before");
    stage.until("what was lost", |stage| {
        late.extend(read(&mut stage.nodes[1].net, far, BULK));
        (late.len() >= bulk.len()).then_some(())
    });
    assert!(late == bulk);
}

/// The twin of the test above, on one channel: there the later bytes do wait.
#[test]
fn on_one_channel_what_follows_a_loss_waits() {
    let (mut stage, near, far) = far_apart();
    stage.rig.shore.world().cut = true;
    assert_eq!(write(&mut stage.nodes[0].net, near, BULK, &pattern(5_000)), 5_000);
    stage.turn();
    stage.rig.shore.world().cut = false;
    assert_eq!(write(&mut stage.nodes[0].net, near, BULK, b"now"), 3);
    for _ in 0..15 {
        stage.turn();
        assert_eq!(read(&mut stage.nodes[1].net, far, BULK), []);
    }
}

#[test]
fn an_unread_channel_holds_up_no_other() {
    let (mut stage, near, far) = far_apart();
    let bulk = pattern(1 << 20);
    let (mut filled, mut quiet) = (0, 0);
    while quiet < 100 {
        let n = write(&mut stage.nodes[0].net, near, BULK, &bulk);
        filled += n;
        quiet = if n == 0 { quiet + 1 } else { 0 };
        stage.turn();
    }
    assert!(filled >= 256 << 10, "a window's worth: {filled}");
    let urgent = pattern(600 << 10);
    let (mut sent, mut got) = (0, Vec::new());
    stage.until("the other channel's bytes", |stage| {
        sent += write(&mut stage.nodes[0].net, near, URGENT, &urgent[sent..]);
        got.extend(read(&mut stage.nodes[1].net, far, URGENT));
        (got.len() >= urgent.len()).then_some(())
    });
    assert!(got == urgent);
}

/// Finding A11: two lanes that nobody read filled the link's window, and the
/// control frames that would have had them read came no more.
#[test]
fn lanes_that_nobody_reads_leave_the_first_channel_its_room() {
    let (mut stage, near, far) = far_apart();
    let bulk = pattern(1 << 20);
    let (mut filled, mut quiet) = (0, 0);
    while quiet < 100 {
        let n: usize = (1..CHANNELS).map(|lane| write(&mut stage.nodes[0].net, near, lane, &bulk)).sum();
        filled += n;
        quiet = if n == 0 { quiet + 1 } else { 0 };
        stage.turn();
    }
    assert!(filled >= (CHANNELS - 1) * (256 << 10), "a window of each lane: {filled}");
    assert_eq!(write(&mut stage.nodes[0].net, near, 0, b"credit"), 6);
    let got = stage
        .until("the control frame", |stage| Some(read(&mut stage.nodes[1].net, far, 0)).filter(|got| !got.is_empty()));
    assert_eq!(got, b"credit");
}

/// Finding A10: a lane's blocks went past their deadlines in the state
/// machine, which took a window of them whatever the path carried.
#[test]
fn a_link_takes_little_ahead_of_what_its_path_carries_and_the_first_channel_always_something() {
    let faults = Faults { delay: Duration::from_millis(10), ..Faults::default() };
    let rig = InMemory { unsent: Some(ByteCount::kib(32)), ..InMemory::faulty(1, faults) };
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle();
    stage.nodes[1].net.read_channels(far);
    let bulk = pattern(1 << 20);
    let taken = write(&mut stage.nodes[0].net, near, BULK, &bulk);
    assert!((32 << 10..128 << 10).contains(&taken), "what may be unsent and the first congestion window: {taken}");
    assert_eq!(write(&mut stage.nodes[0].net, near, BULK, &bulk), 0);
    assert_eq!(write(&mut stage.nodes[0].net, near, 0, b"control"), 7, "it has room of its own");
    assert_eq!(write(&mut stage.nodes[0].net, near, BULK, &bulk), 0, "which is nobody else's");
    let (mut sent, mut got, mut control) = (taken, Vec::new(), Vec::new());
    stage.until("all of it", |stage| {
        sent += write(&mut stage.nodes[0].net, near, BULK, &bulk[sent..]);
        got.extend(read(&mut stage.nodes[1].net, far, BULK));
        control.extend(read(&mut stage.nodes[1].net, far, 0));
        (got.len() == bulk.len()).then_some(())
    });
    assert!(got == bulk && control == b"control");
}

/// How many milliseconds one lane takes for 3 MiB over a round trip of 80 ms,
/// when so many of a thousand datagrams are lost, chosen by this seed.
fn time_for_bulk(seed: u64, unsent: Option<ByteCount>, lost: u64) -> usize {
    let faults = Faults { delay: Duration::from_millis(40), ..Faults::default() };
    let rig = InMemory { unsent, window: Some(ByteCount::mib(16)), ..InMemory::faulty(seed, faults) };
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle();
    stage.nodes[1].net.read_channels(far);
    stage.rig.shore.world().faults.lost = lost;
    let bulk = pattern(3 << 20);
    let (mut sent, mut got) = (0, 0);
    for turn in 0..100_000 {
        sent += write(&mut stage.nodes[0].net, near, BULK, &bulk[sent..]);
        got += read(&mut stage.nodes[1].net, far, BULK).len();
        if got == bulk.len() {
            return turn;
        }
        stage.turn();
    }
    panic!("{got} of {} bytes came", bulk.len());
}

/// The bound on what is handed over ahead must not keep the path from being
/// filled, also while losses are made good. One run says little where there are
/// some: QUIC draws numbers of its own, so that other datagrams are lost each time.
#[test]
fn what_is_not_taken_ahead_costs_no_throughput() {
    for lost in [0, 5] {
        let sum = |unsent| (0..16).map(|seed| time_for_bulk(seed, unsent, lost)).sum::<usize>();
        let (all, little) = (sum(None), sum(Some(ByteCount::kib(64))));
        assert!(little <= all + all / 4, "{little} ms with a bound, {all} without, {lost} of 1,000 lost");
    }
}

#[test]
fn what_waits_on_one_channel_lets_the_others_pass() {
    let (mut stage, near, far) = far_apart();
    let bulk = pattern(200_000);
    let sent = write(&mut stage.nodes[0].net, near, BULK, &bulk);
    assert!(sent > 100_000, "more than goes out at once: {sent}");
    assert_eq!(write(&mut stage.nodes[0].net, near, URGENT, b"first"), 5);
    let mut late = 0;
    stage.until("the urgent bytes", |stage| {
        late += read(&mut stage.nodes[1].net, far, BULK).len();
        Some(read(&mut stage.nodes[1].net, far, URGENT)).filter(|got| got == b"first")
    });
    assert!(late < sent / 2, "{late} of {sent} bytes went before");
}

/// Whether a poll says that a link of node 1 can be read.
fn is_readable(stage: &mut Stage<InMemory>, link: LinkToken) -> bool {
    let mut ready = Vec::new();
    stage.nodes[1].net.poll(Some(Duration::ZERO), &mut ready).unwrap();
    ready.iter().any(|ready| matches!(ready, Ready::Readable(of) if *of == link))
}

#[test]
fn a_channel_that_nobody_reads_neither_keeps_a_poll_busy_nor_hides_the_end() {
    let (mut stage, near, far) = Stage::linked(InMemory::new());
    stage.settle();
    assert_eq!(write(&mut stage.nodes[0].net, near, URGENT, b"unasked"), 7);
    stage.settle();
    assert_eq!(read(&mut stage.nodes[1].net, far, 0), []);
    assert!(!is_readable(&mut stage, far), "nothing is there for who reads channel 0");
    stage.nodes[0].net.close(near);
    assert_eq!(stage.end_of(1, far), crate::CloseReason::Truncated);
}

#[test]
fn what_came_before_all_channels_were_read_is_reported_then() {
    let (mut stage, near, far) = Stage::linked(InMemory::new());
    stage.settle();
    assert_eq!(write(&mut stage.nodes[0].net, near, URGENT, b"early"), 5);
    stage.settle();
    assert!(!is_readable(&mut stage, far));
    stage.nodes[1].net.read_channels(far);
    assert!(is_readable(&mut stage, far));
    assert_eq!(read(&mut stage.nodes[1].net, far, URGENT), b"early");
}

#[test]
fn the_end_of_a_link_comes_after_what_all_channels_carried() {
    let (mut stage, near, far) = far_apart();
    for channel in 0..CHANNELS {
        assert_eq!(write(&mut stage.nodes[0].net, near, channel, &[channel as u8; 100]), 100);
    }
    stage.nodes[0].net.close(near);
    for channel in (0..CHANNELS).rev() {
        let (mut got, mut buf) = (Vec::new(), [0; 64]);
        stage.until("a channel's bytes", |stage| {
            match stage.nodes[1].net.read_on(far, channel, &mut buf) {
                ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
                ReadOutcome::WouldBlock => {}
                ReadOutcome::Closed(reason) => panic!("the link ended with channel {channel} unread: {reason}"),
            }
            (got.len() == 100).then_some(())
        });
        assert_eq!(got, [channel as u8; 100]);
    }
    assert_eq!(stage.end_of(1, far), crate::CloseReason::PeerClosed);
}
