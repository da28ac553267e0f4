//! A client that writes what it likes into the shared memory and the socket.

use std::io::{IoSlice, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::net::RecvFlags;
use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicBool, Ordering};

use super::Shared;
use crate::conformance::{Stage, pattern};
use crate::network::{LinkToken, Network, ReadOutcome, Ready, WriteOutcome};
use crate::reason::CloseReason;
use crate::shm::hello::{Joining, join};
use crate::shm::mapping::{Mapping, Way};
use crate::shm::path_of;

/// A client that follows no rule.
struct Hostile {
    socket: UnixStream,
    mapping: Arc<Mapping>,
}

impl Hostile {
    /// A world with a hub, an honest client of it, and a hostile one: the
    /// honest link's ends, and the hub's end of the hostile one.
    fn beside_an_honest_one() -> (Self, Stage<Shared>, [LinkToken; 3]) {
        let mut stage = Stage::new(Shared::new());
        stage.add(Default::default());
        stage.add(Default::default());
        let (_, address) = stage.listen(1);
        let (near, far) = stage.link(0, 1, &address);
        let socket = UnixStream::connect(path_of(&address).unwrap()).unwrap();
        let bad = stage.until("the hostile link", |stage| stage.nodes[1].accepted().get(1).map(|(link, _)| *link));
        let Ok(Joining::Joined(file, ring)) = join(&socket, RecvFlags::empty()) else { panic!("no hello") };
        let mapping = Mapping::open(file, ring).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self { socket, mapping }, stage, [near, far, bad])
    }

    fn poke(&self, way: Way, word: usize, value: u64) {
        let words = self.mapping.words(way);
        match word {
            0 => words.tail.0.store(value, Ordering::Relaxed),
            1 => words.head.0.store(value, Ordering::Relaxed),
            2 => words.reader_sleeps.0.store(value as u32, Ordering::Relaxed),
            _ => words.writer_sleeps.0.store(value as u32, Ordering::Relaxed),
        }
    }
}

/// Reads and writes the hostile link as a hub does; why it ended, if it did.
fn serve(stage: &mut Stage<Shared>, bad: LinkToken, sizes: (usize, usize)) -> Option<CloseReason> {
    let mut buf = vec![0; sizes.0];
    if let ReadOutcome::Closed(reason) = stage.nodes[1].net.read(bad, &mut buf) {
        return Some(reason);
    }
    match stage.nodes[1].net.write(bad, &[IoSlice::new(&vec![7; sizes.1])]) {
        WriteOutcome::Closed(reason) => Some(reason),
        _ => None,
    }
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::ToHub), Just(Way::ToClient)]
}

#[derive(Clone, Debug)]
enum Step {
    Poke(Way, usize, u64),
    Shout(usize),
    Serve(usize, usize),
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![any::<u64>(), 0..200_000_u64, (0..200_000_u64).prop_map(|n| 0_u64.wrapping_sub(n))];
    let step = prop_oneof![
        3 => (ways(), 0..4_usize, value).prop_map(|(way, word, value)| Step::Poke(way, word, value)),
        1 => (0..2000_usize).prop_map(Step::Shout),
        3 => (0..100_000_usize, 0..100_000_usize).prop_map(|(read, write)| Step::Serve(read, write)),
        2 => Just(Step::Turn),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_it_writes_it_costs_no_more_than_its_own_link(steps in steps()) {
        let (hostile, mut stage, [near, far, bad]) = Hostile::beside_an_honest_one();
        let mut ended = None;
        for step in steps {
            match step {
                Step::Poke(way, word, value) => hostile.poke(way, word, value),
                Step::Shout(len) => {
                    // Fails when the hub has closed the link, or has enough.
                    let _ = (&hostile.socket).write(&vec![1; len]);
                }
                Step::Serve(read, write) if ended.is_none() => ended = serve(&mut stage, bad, (read, write)),
                Step::Serve(..) => {}
                Step::Turn => stage.turn(),
            }
        }
        if let Some(reason) = ended.or_else(|| stage.nodes[1].closed(bad)) {
            prop_assert!(matches!(reason, CloseReason::BrokenRing { .. }), "{}", reason);
        }
        let data = pattern(200_000);
        prop_assert!(stage.carry((0, near), (1, far), &data) == data, "the honest client is not served");
        prop_assert!(stage.carry((1, far), (0, near), &data) == data);
    }
}

/// Each word, while the hub is at work on another thread than the hostile one.
#[test]
fn words_that_change_all_the_time_end_one_link() {
    let (hostile, mut stage, [near, far, bad]) = Hostile::beside_an_honest_one();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                // Marsaglia's xorshift: values of all sizes.
                value ^= value << 13;
                value ^= value >> 7;
                value ^= value << 17;
                let way = if value & 1 == 0 { Way::ToHub } else { Way::ToClient };
                hostile.poke(way, (value >> 1) as usize & 3, value >> (value >> 58));
            }
        });
        let reason = stage.until("the end", |stage| serve(stage, bad, (5000, 5000)));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(reason, CloseReason::BrokenRing { .. }), "{reason}");
        assert_eq!(reason.name(), "broken_ring");
    });
    let data = pattern(200_000);
    assert!(stage.carry((0, near), (1, far), &data) == data);
}

#[test]
fn a_client_that_does_not_read_fills_its_ring_and_no_more() {
    let (_hostile, mut stage, [near, far, bad]) = Hostile::beside_an_honest_one();
    let piece = pattern(10_000);
    let mut taken = 0;
    while let WriteOutcome::Bytes(n) = stage.nodes[1].net.write(bad, &[IoSlice::new(&piece)]) {
        taken += n;
    }
    assert_eq!(taken, 64 << 10, "the size of the ring");
    stage.settle();
    assert!(!stage.nodes[1].writable(bad));
    let data = pattern(1 << 20);
    assert!(stage.carry((1, far), (0, near), &data) == data, "the honest client is served");
}

/// The kernel says nothing of a link whose both ends are awake.
#[test]
fn a_wake_up_is_asked_for_only_before_sleep_or_after_long_silence() {
    let (hostile, mut stage, [_, _, bad]) = Hostile::beside_an_honest_one();
    let sleeps = || hostile.mapping.words(Way::ToHub).reader_sleeps.0.load(Ordering::Relaxed);
    let mut ready = Vec::new();
    let mut look = |stage: &mut Stage<Shared>, timeout| {
        stage.nodes[1].net.poll(Some(timeout), &mut ready).unwrap();
        ready.contains(&Ready::Readable(bad))
    };
    assert_eq!(stage.nodes[1].net.read(bad, &mut [0; 8]), ReadOutcome::WouldBlock);
    // Honest again: eight bytes, announced by nothing but the position.
    let mut tail = 0;
    let mut publish = || {
        tail += 8;
        hostile.poke(Way::ToHub, 0, tail);
    };
    let read = |stage: &mut Stage<Shared>| {
        assert_eq!(stage.nodes[1].net.read(bad, &mut [0; 8]), ReadOutcome::Bytes(8));
        assert_eq!(stage.nodes[1].net.read(bad, &mut [0; 8]), ReadOutcome::WouldBlock);
    };
    hostile.poke(Way::ToHub, 2, 0);
    for _ in 0..5 {
        assert!(!look(&mut stage, std::time::Duration::ZERO));
        publish();
        // Found by the first poll or, if it slept before, by the byte.
        let _ = (&hostile.socket).write(&[1]);
        assert!(look(&mut stage, std::time::Duration::ZERO));
        read(&mut stage);
        assert_eq!(sleeps(), 0, "it is awake");
    }
    assert!(!look(&mut stage, std::time::Duration::from_millis(1)));
    assert_eq!(sleeps(), 1, "it slept");
    publish();
    hostile.poke(Way::ToHub, 2, 0);
    assert!(!look(&mut stage, std::time::Duration::from_millis(1)), "nobody has woken it");
    let _ = (&hostile.socket).write(&[1]);
    assert!(look(&mut stage, std::time::Duration::from_millis(1)));
    read(&mut stage);
    for _ in 0..1000 {
        look(&mut stage, std::time::Duration::ZERO);
    }
    assert_eq!(sleeps(), 1, "it does not look for ever");
}
