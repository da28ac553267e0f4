//! The control stage over a runner of stages that are always busy, by a clock
//! that moves when it is read.

use std::thread::ThreadId;

use weft_base::sync::atomic::{AtomicBool, AtomicU64};
use weft_base::{Clock, UnixNanos};
use weft_ring::stage::{Backlog, Runner, RunnerHandle};

use super::*;

/// Every reading is 20 microseconds after the one before.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Now {
        let mono = Mono(self.0.fetch_add(20_000, Ordering::Relaxed));
        Now { mono, wall: UnixNanos(1) }
    }
}

/// Always has work, as much as its batch.
struct Busy {
    name: &'static str,
    waker: StageWaker,
    batch: usize,
    /// The thread of its first turn, and whether it had one on another.
    home: Option<ThreadId>,
    moved: Arc<AtomicBool>,
}

impl Stage for Busy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn do_work(&mut self, _now: Now) -> usize {
        let here = std::thread::current().id();
        if *self.home.get_or_insert(here) != here {
            self.moved.store(true, Ordering::Relaxed);
        }
        self.batch
    }

    fn load(&self) -> Backlog {
        Backlog { depth: 100, capacity: 1_000 }
    }

    fn set_batch(&mut self, units: usize) {
        self.batch = units;
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}

struct Started {
    runner: RunnerHandle,
    counters: Arc<Counters>,
    admission: Arc<AtomicU32>,
    /// Whether net, route and append were ever on another thread.
    moved: [Arc<AtomicBool>; 3],
}

impl Started {
    fn has_moved(&self, n: usize) -> bool {
        self.moved[n].load(Ordering::Relaxed)
    }
}

fn start(threads: Threads, cores: u32, shards: u32) -> Started {
    let counters = Arc::new(Counters::default());
    let admission = Arc::new(AtomicU32::new(1));
    let reins = Arc::new(OnceLock::new());
    let control = ControlStage::new(ControlParts {
        alarm: crate::see::alarm::Alarm::new(&crate::see::SeeOptions::default()),
        reins: reins.clone(),
        threads,
        // The control stage's own turn takes as long as any by this clock.
        bounds: StageBounds {
            interval: Duration::from_millis(10),
            saturated_percent: 40,
            idle_percent: 10,
            ..StageBounds::default()
        },
        cores,
        shards,
        shards_fixed: false,
        admission: admission.clone(),
        counters: counters.clone(),
        now: Mono(0),
    });
    let mut builder = Runner::builder(Arc::new(Ticking::default()));
    let moved: [Arc<AtomicBool>; 3] = Default::default();
    for (name, moved) in ["net", "route", "append"].into_iter().zip(&moved) {
        let waker = if name == "net" { StageWaker::new(|| ()) } else { StageWaker::parking() };
        let stage = Busy { name, waker, batch: 16, home: None, moved: moved.clone() };
        builder = builder.stage(Box::new(stage), Placement::Shared(SHARED));
    }
    let runner = builder.stage(Box::new(control), Placement::Shared(SHARED)).start().unwrap();
    assert!(reins.set(Reins { watch: runner.watch(), mover: runner.mover() }).is_ok());
    Started { runner, counters, admission, moved }
}

fn gauge(counters: &Counters, name: &str) -> Option<u64> {
    counters.list().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[test]
fn a_saturated_thread_gives_a_stage_away_where_cores_are_left() {
    let started = start(Threads::Auto, 8, 4);
    while !started.has_moved(1) && !started.has_moved(2) {
        std::thread::yield_now();
    }
    assert!(!started.has_moved(0), "the stage at the sockets moved");
    started.runner.stop();
    started.runner.join().unwrap();
}

#[test]
fn on_two_cores_and_in_the_fixed_modes_nothing_moves() {
    for (threads, cores) in [(Threads::Auto, 2), (Threads::Shared, 8)] {
        let started = start(threads, cores, 4);
        // Sixty intervals of this clock, each long enough to decide.
        let control = |r: &StageReport| r.stage == "net" && r.turns > 20_000;
        while !started.runner.report().iter().any(control) {
            std::thread::yield_now();
        }
        assert!((0..3).all(|n| !started.has_moved(n)), "{threads:?}");
        assert_eq!(started.admission.load(Ordering::Relaxed), 1);
        started.runner.stop();
        started.runner.join().unwrap();
    }
}

#[test]
fn the_gauges_say_what_the_stages_reported() {
    let started = start(Threads::Shared, 1, 1);
    while gauge(&started.counters, "stage.route.batch") != Some(16) {
        std::thread::yield_now();
    }
    let get = |name: &str| gauge(&started.counters, name).unwrap();
    assert_eq!((get("stage.route.depth"), get("stage.route.shards"), get("stage.route.own_thread")), (100, 1, 0));
    assert!(get("stage.route.busy_permille") > 100 && get("stage.route.service_ns") > 0);
    // 100 wait, and in 10 ms or more of this clock some thousands are served.
    assert!(get("stage.append.wait_us") < 10_000);
    started.runner.stop();
    started.runner.join().unwrap();
}

#[test]
fn decisions_are_carried_out() {
    let started = start(Threads::Shared, 1, 4);
    let control = ControlStage::new(ControlParts {
        alarm: crate::see::alarm::Alarm::new(&crate::see::SeeOptions::default()),
        reins: Arc::new(OnceLock::new()),
        threads: Threads::Shared,
        bounds: StageBounds::default(),
        cores: 1,
        shards: 4,
        shards_fixed: false,
        admission: started.admission.clone(),
        counters: started.counters.clone(),
        now: Mono(0),
    });
    let reins = Reins { watch: started.runner.watch(), mover: started.runner.mover() };
    control.carry_out(&reins, Decision::Shards { stage: ROUTE, shards: 3 });
    assert_eq!(started.admission.load(Ordering::Relaxed), 3);
    let own = |started: &Started| started.runner.report().iter().any(|r| r.stage == "route" && r.own_thread);
    control.carry_out(&reins, Decision::Place { stage: ROUTE, place: Place::Own });
    assert!(own(&started));
    control.carry_out(&reins, Decision::Place { stage: ROUTE, place: Place::Shared });
    assert!(!own(&started));
    control.carry_out(&reins, Decision::Batch { stage: ROUTE, batch: 99 });
    while gauge(&started.counters, "stage.route.batch") != Some(99) {
        std::thread::yield_now();
    }
    // A stage that cannot move stays, and the hub goes on.
    control.carry_out(&reins, Decision::Place { stage: 0, place: Place::Own });
    started.runner.stop();
    started.runner.join().unwrap();
}

#[test]
fn the_shards_of_admission_are_the_route_stages() {
    let report = |stage, work, busy_ms, depth| StageReport {
        stage,
        turns: work,
        busy_turns: work,
        work,
        busy: Duration::from_millis(busy_ms),
        longest_turn: Duration::ZERO,
        late_turns: 0,
        sleeps: 0,
        load: Backlog { depth, capacity: 100 },
        own_thread: false,
    };
    let mut sample = StageSample::default();
    add_to(&mut sample, &report("route", 50, 30, 5), &report("route", 10, 10, 0), family("route") != "admit");
    add_to(&mut sample, &report("admit-1", 90, 70, 2), &report("admit-1", 70, 20, 0), family("admit-1") != "admit");
    let ms = Duration::from_millis;
    // Units are counted once, work is added up, the fuller shard is known.
    assert_eq!((sample.served, sample.arrivals, sample.depth), (40, 45, 7));
    assert_eq!((sample.busy, sample.fullest), (ms(70), ms(50)));
}
