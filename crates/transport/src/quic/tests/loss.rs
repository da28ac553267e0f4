//! Paths that lose, double and reorder: bytes come out as they went in.

use std::io::IoSlice;
use std::time::Duration;

use proptest::prelude::*;

use super::memory::{Faults, InMemory};
use crate::conformance::{Limits, Stage, pattern};
use crate::network::{Network, ReadOutcome, WriteOutcome};
use crate::quic::CHANNELS;
use crate::reason::CloseReason;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_channel_carries_its_bytes_whatever_the_path_does(
        seed: u64,
        lost in 0u64..120,
        doubled in 0u64..120,
        jitter in 0u64..30,
        size in 1usize..60_000,
    ) {
        let faults = Faults { lost, doubled, delay: Duration::from_millis(5), jitter: Duration::from_millis(jitter), line: None };
        let patient = Duration::from_secs(600);
        let limits = Limits { handshake_timeout: patient, dial_timeout: patient, linger: patient, ..Limits::default() };
        let mut stage = Stage::new(InMemory::faulty(seed, faults));
        stage.add(limits);
        stage.add(limits);
        let (_, address) = stage.listen(1);
        let (near, far) = stage.link(0, 1, &address);
        stage.nodes[1].net.read_channels(far);
        let data: Vec<u8> = pattern(size);
        let (mut sent, mut got) = ([0; CHANNELS], vec![Vec::new(); CHANNELS]);
        let mut buf = [0; 4_000];
        stage.until("all channels' bytes", |stage| {
            for channel in 0..CHANNELS {
                // Each channel has its own bytes: the pattern from another place on.
                let rest = &data[sent[channel]..data.len() - channel.min(data.len() - sent[channel])];
                if let WriteOutcome::Bytes(n) = stage.nodes[0].net.write_on(near, channel, &[IoSlice::new(rest)]) {
                    sent[channel] += n;
                }
                if let ReadOutcome::Bytes(n) = stage.nodes[1].net.read_on(far, channel, &mut buf) {
                    got[channel].extend_from_slice(&buf[..n]);
                }
            }
            let whole = |channel: usize| got[channel].len() >= data.len().saturating_sub(channel);
            (0..CHANNELS).all(whole).then_some(())
        });
        for (channel, got) in got.iter().enumerate() {
            prop_assert!(*got == data[..data.len().saturating_sub(channel)], "channel {}", channel);
        }
        stage.nodes[0].net.close(near);
        prop_assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    }
}

#[test]
fn a_link_that_hears_nothing_ends() {
    let mut rig = InMemory::new();
    rig.idle = Some(Duration::from_secs(3));
    let (mut stage, near, far) = Stage::linked(rig);
    for _ in 0..4_000 {
        stage.turn();
    }
    assert_eq!((stage.nodes[0].closed(near), stage.nodes[1].closed(far)), (None, None), "both say that they live");
    let mut buf = [0; 8];
    assert_eq!(stage.nodes[1].net.read(far, &mut buf), ReadOutcome::WouldBlock);
    stage.rig.shore.world().cut = true;
    for (at, link) in [(0, near), (1, far)] {
        assert_eq!(stage.end_of(at, link), CloseReason::TimedOut);
    }
}
