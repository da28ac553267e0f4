//! Links over lines that carry so much and no more, with a queue that holds
//! what a round trip carries.

use std::io::IoSlice;
use std::time::Duration;

use weft_base::{ByteCount, Clock};

use super::memory::{Faults, InMemory, Line};
use crate::conformance::{Limits, Stage, pattern};
use crate::network::{LinkToken, Network, ReadOutcome, WriteOutcome};
use crate::quic::CHANNELS;

/// What is unsent at most, as hubs have it.
const UNSENT: ByteCount = ByteCount::kib(64);

/// The channel of a lane: the first one has room of its own.
const LANE: usize = CHANNELS - 1;

fn rig(mbit: u64) -> InMemory {
    let rate = mbit * 1_000_000;
    let line = Line { rate, queue: rate / 8 * 80 / 1000 };
    let faults = Faults { delay: Duration::from_millis(40), line: Some(line), ..Faults::default() };
    InMemory { unsent: Some(UNSENT), window: Some(ByteCount::mib(8)), ..InMemory::faulty(1, faults) }
}

/// A link from one of several to the last endpoint, and what it has carried.
struct Flow {
    near: LinkToken,
    far: LinkToken,
    got: u64,
}

/// So many links, each from an endpoint of its own to the same one.
fn flows(rig: InMemory, count: usize) -> (Stage<InMemory>, Vec<Flow>) {
    let mut stage = Stage::new(rig);
    for _ in 0..=count {
        stage.add(Limits::default());
    }
    let (_, address) = stage.listen(count);
    let flows = (0..count).map(|at| {
        let (near, far) = stage.link(at, count, &address);
        stage.nodes[count].net.read_channels(far);
        Flow { near, far, got: 0 }
    });
    let flows = flows.collect();
    (stage, flows)
}

/// All links are given what they take, for so long. Answers the share of the
/// line's bits that was each one's payload.
fn run(stage: &mut Stage<InMemory>, flows: &mut [Flow], time: Duration) -> Vec<f64> {
    let (data, mut buf) = (pattern(20_000), vec![0; 100_000]);
    let clock = stage.rig.shore.world().clock();
    let rate = stage.rig.shore.world().faults.line.unwrap().rate;
    let (start, last) = (clock.now().mono, flows.len());
    flows.iter_mut().for_each(|flow| flow.got = 0);
    while clock.now().mono.since(start) < time {
        for (at, flow) in flows.iter_mut().enumerate() {
            while stage.nodes[at].net.write_on(flow.near, LANE, &[IoSlice::new(&data)])
                == WriteOutcome::Bytes(data.len())
            {}
            while let ReadOutcome::Bytes(n) = stage.nodes[last].net.read_on(flow.far, LANE, &mut buf) {
                flow.got += n as u64;
            }
        }
        stage.turn();
    }
    flows.iter().map(|flow| flow.got as f64 * 8.0 / time.as_secs_f64() / rate as f64).collect()
}

/// What one link's payload takes of a line, once it has warmed up.
fn share(rig: InMemory) -> f64 {
    let (mut stage, mut flows) = flows(rig, 1);
    run(&mut stage, &mut flows, Duration::from_secs(2));
    run(&mut stage, &mut flows, Duration::from_secs(2))[0]
}

#[test]
fn a_link_fills_its_line() {
    for mbit in [10, 50, 200] {
        let share = share(rig(mbit));
        assert!(share > 0.9, "{share} of {mbit} Mbit/s");
    }
}

/// The canary of the test above.
#[test]
fn a_window_that_is_too_small_does_not_fill_the_line() {
    let share = share(InMemory { window: Some(ByteCount::kib(64)), ..rig(50) });
    assert!((0.05..0.2).contains(&share), "64 KiB a round trip are an eighth of it: {share}");
}

#[test]
fn two_links_share_a_line() {
    let (mut stage, mut both) = flows(rig(10), 2);
    run(&mut stage, &mut both, Duration::from_secs(10));
    let shares = run(&mut stage, &mut both, Duration::from_secs(20));
    assert!(shares.iter().sum::<f64>() > 0.9, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0.25), "{shares:?}");
}

/// The state machine's pacing lets out two milliseconds' worth at a time: on a
/// busy machine, where a thread is run now and then, a link had little of the
/// line, whatever its window.
#[test]
fn a_link_that_is_driven_late_fills_its_line() {
    let (mut stage, mut flows) = flows(rig(50), 1);
    stage.rig.tick = Duration::from_millis(15);
    run(&mut stage, &mut flows, Duration::from_secs(3));
    let share = run(&mut stage, &mut flows, Duration::from_secs(3))[0];
    assert!(share > 0.7, "{share}");
}

/// While others filled the line, an idle link lost what little it sent now and
/// then, and lowered its window each time; then it had 10 % of the line for tens
/// of seconds.
#[test]
fn what_an_idle_link_loses_does_not_cost_it_the_line() {
    let (mut stage, mut flows) = flows(rig(50), 1);
    run(&mut stage, &mut flows, Duration::from_secs(2));
    stage.rig.shore.world().faults.lost = 100;
    for turn in 0..20_000 {
        if turn % 250 == 0 {
            stage.nodes[0].net.write_on(flows[0].near, LANE, &[IoSlice::new(&[0; 100])]);
        }
        stage.turn();
    }
    stage.rig.shore.world().faults.lost = 0;
    run(&mut stage, &mut flows, Duration::from_secs(2));
    let share = run(&mut stage, &mut flows, Duration::from_secs(2))[0];
    assert!(share > 0.8, "{share}");
}

/// A link stood still for seconds at its beginning: the state machine's pacing
/// reckons in whole bytes from one question to the next, and who wrote all the
/// time had it asked so often that it never came to one. Once by writes that
/// find no room, once by ones that do.
#[test]
fn a_link_that_is_written_to_all_the_time_is_not_held_back_by_its_pacing() {
    for (unsent, piece) in [(Some(UNSENT), 20_000), (None, 400)] {
        let faults = Faults { delay: Duration::from_millis(400), ..Faults::default() };
        let rig = InMemory { unsent, window: Some(ByteCount::mib(64)), ..InMemory::faulty(1, faults) };
        let (mut stage, both) = flows(rig, 1);
        let (near, far) = (both[0].near, both[0].far);
        stage.rig.tick = Duration::from_micros(25);
        let (data, mut buf) = (pattern(piece), vec![0; 100_000]);
        let mut got = 0;
        for _ in 0..120_000 {
            stage.nodes[0].net.write(near, &[IoSlice::new(&data)]);
            if let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
                got += n;
            }
            stage.turn();
        }
        // Three windows, each twice the one before; it had 68,000 of them.
        assert!(got > 90_000, "{got} bytes by writes of {piece}");
    }
}
