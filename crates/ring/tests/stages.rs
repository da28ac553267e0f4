//! The runner: turns, sleeps that end with a wake-up, deadlines, pinning,
//! stopping, and panics that are reported by name.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use weft_base::{Clock, ManualClock, Mono, Now, SystemClock};
use weft_ring::spsc;
use weft_ring::stage::{
    Backlog, IdleOptions, PlaceError, Placement, Runner, RunnerBuilder, RunnerHandle, Stage, StageWaker, StartError,
};

/// So long that a test in which it passes has failed by then.
const FOREVER: Duration = Duration::from_secs(3600);

fn runner() -> RunnerBuilder {
    let idle = IdleOptions { spins: 4, yields: 2, sleep: FOREVER, late_after: Duration::from_secs(60) };
    Runner::builder(Arc::new(SystemClock::new())).idle(idle)
}

/// Tells what happens to it, and does what it is told.
struct Probe {
    name: &'static str,
    work: spsc::Consumer<u32>,
    told: Sender<(&'static str, u32, ThreadId)>,
    waker: Option<StageWaker>,
}

const STOPPED: u32 = u32::MAX;
const PANIC: u32 = u32::MAX - 1;
/// Plus the batch that was set.
const BATCH: u32 = 1_000_000;

impl Probe {
    fn tell(&self, what: u32) {
        // The test may be over.
        let _ = self.told.send((self.name, what, std::thread::current().id()));
    }
}

impl Stage for Probe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn do_work(&mut self, _now: Now) -> usize {
        let Some(item) = self.work.pop() else { return 0 };
        assert_ne!(item, PANIC, "told to panic");
        self.tell(item);
        1
    }

    fn waker(&self) -> Option<StageWaker> {
        self.waker.clone()
    }

    fn load(&self) -> Backlog {
        Backlog { depth: 7, capacity: 16 }
    }

    fn set_batch(&mut self, units: usize) {
        self.tell(BATCH + units as u32);
    }

    fn on_stop(&mut self, _now: Now) {
        self.tell(STOPPED);
    }
}

/// The other end of a probe.
struct Control {
    work: spsc::Producer<u32>,
    waker: StageWaker,
}

impl Control {
    fn give(&mut self, item: u32) {
        assert!(self.work.push(item).is_ok());
        self.waker.wake();
    }
}

type Told = Receiver<(&'static str, u32, ThreadId)>;

fn probe(name: &'static str, told: &Sender<(&'static str, u32, ThreadId)>) -> (Box<Probe>, Control) {
    let (producer, work) = spsc::ring(16);
    let waker = StageWaker::parking();
    let probe = Probe { name, work, told: told.clone(), waker: Some(waker.clone()) };
    (Box::new(probe), Control { work: producer, waker })
}

/// Waits until the runner's threads have gone to sleep so often in all.
fn until_asleep(handle: &RunnerHandle, sleeps: u64) {
    while handle.report().iter().map(|report| report.sleeps).sum::<u64>() < sleeps {
        std::thread::yield_now();
    }
}

#[test]
fn stages_of_a_group_share_a_thread_and_others_have_their_own() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let (b, mut at_b) = probe("b", &told);
    let (c, mut at_c) = probe("c", &told);
    let handle = runner()
        .stage(a, Placement::Shared("data"))
        .stage(b, Placement::Own { core: None })
        .stage(c, Placement::Shared("data"))
        .start()
        .unwrap();
    let mut threads = Vec::new();
    for control in [&mut at_a, &mut at_b, &mut at_c] {
        control.give(1);
        threads.push(tells.recv().unwrap().2);
    }
    assert_eq!(threads[0], threads[2]);
    assert_ne!(threads[0], threads[1]);
    handle.stop();
    assert!(handle.is_stopping());
    handle.join().unwrap();
    let mut stops: Vec<_> = tells.try_iter().map(|(name, what, _)| (name, what)).collect();
    stops.sort_unstable();
    assert_eq!(stops, [("a", STOPPED), ("b", STOPPED), ("c", STOPPED)]);
}

#[test]
fn a_sleeping_thread_is_woken_through_any_of_its_stages() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let (b, mut at_b) = probe("b", &told);
    let handle = runner().stage(a, Placement::Shared("data")).stage(b, Placement::Shared("data")).start().unwrap();
    for n in 0..20 {
        until_asleep(&handle, n + 1);
        let control = if n % 2 == 0 { &mut at_b } else { &mut at_a };
        control.give(n as u32);
        assert_eq!(tells.recv().unwrap().1, n as u32);
    }
    handle.stop();
    handle.join().unwrap();
}

#[test]
fn work_given_at_any_moment_is_done() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let handle = runner().stage(a, Placement::Own { core: None }).start().unwrap();
    for n in 0..20_000 {
        at_a.give(n + 100);
        assert_eq!(tells.recv().unwrap().1, n + 100);
    }
    // Counted after the turn: read when there are no more turns.
    let watch = handle.watch();
    drop(handle);
    let report = watch.report()[0];
    assert_eq!((report.stage, report.work, report.busy_turns), ("a", 20_000, 20_000));
    assert!(report.turns >= report.busy_turns && report.late_turns == 0);
    assert_eq!(tells.recv().unwrap().1, STOPPED);
}

#[test]
fn a_panic_is_reported_by_name_and_stops_the_others() {
    let (told, tells): (_, Told) = channel();
    let (a, at_a) = probe("a", &told);
    let (b, mut at_b) = probe("b", &told);
    let (c, at_c) = probe("c", &told);
    let handle = runner()
        .stage(a, Placement::Shared("data"))
        .stage(b, Placement::Shared("data"))
        .stage(c, Placement::Own { core: None })
        .start()
        .unwrap();
    until_asleep(&handle, 2);
    at_b.give(PANIC);
    let watch = handle.watch();
    let panic = handle.join().unwrap_err();
    assert_eq!(panic.stage, "b");
    assert!(panic.message.contains("told to panic"), "{panic}");
    assert!(panic.to_string().starts_with("stage `b` panicked: "));
    let mut stops: Vec<_> = tells.try_iter().map(|(name, what, _)| (name, what)).collect();
    stops.sort_unstable();
    assert_eq!(stops, [("a", STOPPED), ("c", STOPPED)]);
    assert_eq!(watch.report().len(), 3);
    drop((at_a, at_c));
}

/// Works when its deadline has come, and moves the clock on when it idles.
struct Timer {
    clock: ManualClock,
    due: Mono,
    done: Sender<Mono>,
    idled: Vec<Duration>,
}

impl Stage for Timer {
    fn name(&self) -> &'static str {
        "timer"
    }

    fn do_work(&mut self, now: Now) -> usize {
        if now.mono < self.due {
            return 0;
        }
        let _ = self.done.send(now.mono);
        self.due = now.mono + Duration::from_secs(5);
        1
    }

    fn on_idle(&mut self, how_long: Duration) {
        self.idled.push(how_long);
        self.clock.advance(how_long);
    }

    fn next_deadline(&self) -> Option<Mono> {
        Some(self.due)
    }
}

#[test]
fn no_sleep_goes_beyond_a_deadline_and_the_longest_turn_is_kept() {
    /// Takes 30 ms per turn, by the manual clock.
    struct Slow(ManualClock, Arc<AtomicBool>);
    impl Stage for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }
        fn do_work(&mut self, _now: Now) -> usize {
            if !self.1.swap(true, Ordering::Relaxed) {
                self.0.advance(Duration::from_millis(30));
            }
            0
        }
    }
    let clock = ManualClock::default();
    let (done, is_done) = channel();
    let timer = Timer { clock: clock.clone(), due: Mono(7_000_000_000), done, idled: Vec::new() };
    let slow = Slow(clock.clone(), Arc::default());
    let idle = IdleOptions { sleep: Duration::from_secs(2), ..IdleOptions::default() };
    let handle = Runner::builder(Arc::new(clock.clone()) as Arc<dyn Clock>)
        .idle(idle)
        .stage(Box::new(timer), Placement::Shared("data"))
        .stage(Box::new(slow), Placement::Shared("data"))
        .start()
        .unwrap();
    // 30 ms, then sleeps of 2 s, and the last just to the deadline.
    assert_eq!(is_done.recv().unwrap(), Mono(7_000_000_000));
    assert_eq!(is_done.recv().unwrap(), Mono(12_000_000_000));
    let report = handle.report();
    assert_eq!((report[1].longest_turn, report[1].late_turns), (Duration::from_millis(30), 1));
    assert_eq!((report[0].longest_turn, report[0].late_turns), (Duration::ZERO, 0));
    assert!(report[0].sleeps >= 4);
}

#[test]
fn a_core_that_is_not_there_is_refused_and_nothing_runs() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let (b, _at_b) = probe("b", &told);
    at_a.give(1);
    let refused =
        runner().stage(a, Placement::Own { core: None }).stage(b, Placement::Own { core: Some(1023) }).start();
    let error = refused.err().unwrap();
    assert!(matches!(error, StartError::Pin { stage: "b", core: 1023, .. }), "{error}");
    drop(told);
    assert!(tells.recv().is_err(), "no stage worked or was stopped");
}

#[test]
#[cfg(target_os = "linux")]
fn a_pinned_stage_runs_on_its_core() {
    struct Where(Sender<usize>);
    impl Stage for Where {
        fn name(&self) -> &'static str {
            "where"
        }
        fn do_work(&mut self, _now: Now) -> usize {
            let _ = self.0.send(rustix::thread::sched_getcpu());
            1
        }
    }
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..1024).rev().find(|&core| allowed.is_set(core)).unwrap();
    let (at, is_at) = channel();
    let handle = runner().stage(Box::new(Where(at)), Placement::Own { core: Some(core) }).start().unwrap();
    assert!((0..100).all(|_| is_at.recv().unwrap() == core));
    drop(handle);
}

#[test]
fn a_stage_moves_between_threads_while_it_works_and_misses_nothing() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let (b, mut at_b) = probe("b", &told);
    let handle = runner().stage(a, Placement::Shared("data")).stage(b, Placement::Shared("data")).start().unwrap();
    let mut threads = std::collections::HashSet::new();
    for n in 0..500 {
        let placement = if n % 2 == 0 { Placement::Own { core: None } } else { Placement::Shared("data") };
        // Work before, during and after the move, and work for the one that stays.
        at_b.give(3 * n);
        handle.place("b", &placement).unwrap();
        at_b.give(3 * n + 1);
        at_a.give(n);
        at_b.give(3 * n + 2);
        let mut of_b = Vec::new();
        for (name, what, thread) in tells.iter().take(4) {
            if name == "b" {
                of_b.push(what);
                threads.insert(thread);
            }
        }
        assert_eq!(of_b, [3 * n, 3 * n + 1, 3 * n + 2]);
    }
    assert_eq!(threads.len(), 2, "it never moved");
    // The last move is done when the stage says so from there.
    handle.place("b", &Placement::Own { core: None }).unwrap();
    assert!(handle.report()[1].own_thread && !handle.report()[0].own_thread);
    handle.stop();
    handle.join().unwrap();
    let mut stops: Vec<_> = tells.try_iter().map(|(name, what, _)| (name, what)).collect();
    stops.sort_unstable();
    assert_eq!(stops, [("a", STOPPED), ("b", STOPPED)]);
}

#[test]
fn a_runner_that_stops_while_stages_move_stops_each_once() {
    for n in 0..100 {
        let (told, tells) = channel();
        let (a, _at_a) = probe("a", &told);
        let (b, _at_b) = probe("b", &told);
        let handle = runner().stage(a, Placement::Shared("data")).stage(b, Placement::Shared("data")).start().unwrap();
        handle.place("a", &Placement::Own { core: None }).unwrap();
        handle.place("b", &Placement::Own { core: None }).unwrap();
        if n % 3 == 0 {
            handle.place("a", &Placement::Shared("data")).unwrap();
        }
        handle.stop();
        assert!(matches!(handle.place("b", &Placement::Shared("data")), Err(PlaceError::Stopping)));
        handle.join().unwrap();
        let mut stops: Vec<_> = tells.try_iter().map(|(name, what, _)| (name, what)).collect();
        stops.sort_unstable();
        assert_eq!(stops, [("a", STOPPED), ("b", STOPPED)], "round {n}");
    }
}

#[test]
fn a_move_that_cannot_be_is_refused_and_says_why() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let (mut b, _at_b) = probe("b", &told);
    b.waker = Some(StageWaker::new(|| ()));
    let handle = runner().stage(a, Placement::Shared("data")).stage(b, Placement::Own { core: None }).start().unwrap();
    let own = Placement::Own { core: None };
    assert!(matches!(handle.place("c", &own), Err(PlaceError::Unknown(_))));
    assert!(matches!(handle.place("a", &Placement::Shared("x")), Err(PlaceError::Unknown(_))));
    assert!(matches!(handle.place("a", &Placement::Own { core: Some(0) }), Err(PlaceError::Pinned("a"))));
    assert!(matches!(handle.place("b", &Placement::Shared("data")), Err(PlaceError::Immovable("b"))));
    at_a.give(5);
    assert_eq!(tells.recv().unwrap().1, 5);
}

#[test]
fn a_batch_reaches_the_stage_wherever_it_is_and_reports_say_what_waits() {
    let (told, tells) = channel();
    let (a, mut at_a) = probe("a", &told);
    let handle = runner().stage(a, Placement::Shared("data")).start().unwrap();
    for n in 0..50 {
        let placement = if n % 2 == 0 { Placement::Own { core: None } } else { Placement::Shared("data") };
        handle.place("a", &placement).unwrap();
        handle.mover().set_batch("a", n as usize).unwrap();
        assert_eq!(tells.recv().unwrap().1, BATCH + n);
    }
    at_a.give(1);
    assert_eq!(tells.recv().unwrap().1, 1);
    // Counted after the turn, and asked for before the sleep.
    while handle.report()[0].busy.is_zero() || handle.report()[0].load == Backlog::default() {
        std::thread::yield_now();
    }
    let report = handle.report()[0];
    assert_eq!((report.work, report.load), (1, Backlog { depth: 7, capacity: 16 }));
}
