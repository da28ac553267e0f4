//! A cost model of a hub's stages on a machine with many cores, for trying the
//! controllers on machines that this one is not.
//!
//! Fluid: in each interval the throughput is the largest at which no thread and
//! no core has more to do than the interval. A block costs its service time in
//! each stage; a cache line's way between cores where it changes threads; a
//! call to wake the next thread, the less likely the busier that is; and, where
//! the clients are on the same machine, what it costs them. The cost of a cache
//! line is the one measured on the machine that the project is built on; the
//! stages' times and the wake-up call are of the order seen there.

use std::time::Duration;

use weft_base::{Mono, Random};
use weft_sched::control::stage::{Place, StageOptions, StageSample};
use weft_sched::control::stages::{ControlOptions, Decision, StagesController};

/// A cache line that another core wrote: 245 ns.
const LINE: f64 = 245e-9;
/// What the caller pays to wake a thread, assumed. (The thread runs 28 µs later.)
const WAKE: f64 = 2e-6;
/// Blocks per turn; a thread is woken once per turn at most.
const BATCH: f64 = 8.0;
/// The share of the load that the fullest shard has above its part.
const UNEVEN: f64 = 0.1;
/// The most blocks that wait; beyond it the sources stop.
const QUEUE: f64 = 20_000.0;

/// The stages and their seconds per block.
pub(crate) const STAGES: [(&str, f64); 5] =
    [("net", 0.5e-6), ("admit", 0.15e-6), ("route", 0.3e-6), ("append", 0.15e-6), ("egress", 0.5e-6)];

pub(crate) struct Machine {
    pub(crate) cores: f64,
    /// Seconds per block that clients on this machine take of its cores.
    pub(crate) clients: f64,
    /// The relative noise of what is measured, at most.
    pub(crate) noise: f64,
}

pub(crate) struct Hub {
    pub(crate) machine: Machine,
    pub(crate) control: StagesController,
    pub(crate) changes: Vec<(Mono, Decision)>,
    pub(crate) served: f64,
    pub(crate) now: Mono,
    interval: Duration,
    waiting: f64,
    random: Random,
}

/// The load of each stage's fullest thread, and of all cores, at a throughput.
struct Loads {
    stage: [f64; STAGES.len()],
    fullest: f64,
    cores: f64,
}

impl Hub {
    pub(crate) fn new(machine: Machine, options: ControlOptions, shards_most: u32) -> Self {
        let stage = |(name, _): &(&str, f64)| StageOptions { shards_most, ..StageOptions::new(name) };
        let interval = options.interval;
        let control = StagesController::new(options, STAGES.iter().map(stage).collect(), Mono(0));
        let random = Random::from_seed(7);
        Self { machine, control, changes: Vec::new(), served: 0.0, now: Mono(0), interval, waiting: 0.0, random }
    }

    fn shape(&self, n: usize) -> (Place, f64) {
        self.control.stages().get(n).map_or((Place::Shared, 1.0), |s| (s.place(), f64::from(s.shards())))
    }

    /// Seconds per block of all that runs on the thread of a stage.
    fn thread_of(&self, n: usize) -> f64 {
        let (place, shards) = self.shape(n);
        let all = STAGES.iter().enumerate();
        match place {
            Place::Own => STAGES.get(n).map_or(0.0, |stage| stage.1 / shards),
            Place::Shared => all.filter(|(n, _)| self.shape(*n).0 == Place::Shared).map(|(_, stage)| stage.1).sum(),
        }
    }

    fn loads(&self, rate: f64) -> Loads {
        let mut stage = [0.0; STAGES.len()];
        let (mut shared, mut fullest) = (0.0, 0.0_f64);
        for (n, (_, service)) in STAGES.iter().enumerate() {
            let (place, shards) = self.shape(n);
            let mut cost = *service;
            let crosses = |other: Option<usize>| {
                other.is_some_and(|o| o < STAGES.len() && (place, self.shape(o).0) != (Place::Shared, Place::Shared))
            };
            if crosses(n.checked_sub(1)) {
                cost += LINE;
            }
            if crosses(Some(n + 1)) {
                cost += WAKE / BATCH * (1.0 - (rate * self.thread_of(n + 1)).min(1.0)).powi(2);
            }
            let uneven = if shards > 1.0 { 1.0 + UNEVEN } else { 1.0 };
            let Some(load) = stage.get_mut(n) else { continue };
            *load = rate * cost;
            match place {
                Place::Shared => shared += rate * cost,
                Place::Own => fullest = fullest.max(rate * cost / shards * uneven),
            }
        }
        let cores = stage.iter().sum::<f64>() + rate * self.machine.clients;
        Loads { stage, fullest: fullest.max(shared), cores }
    }

    /// Blocks per second that this arrangement can do.
    pub(crate) fn capacity(&self) -> f64 {
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            let loads = self.loads(middle);
            let fits = loads.fullest <= 1.0 && loads.cores <= self.machine.cores;
            if fits { low = middle } else { high = middle }
        }
        low
    }

    fn noisy(&mut self, value: f64) -> f64 {
        let unit = self.random.below(2_001) as f64 / 1_000.0 - 1.0;
        (value * (1.0 + self.machine.noise * unit)).max(0.0)
    }

    /// One interval with this many blocks per second offered.
    pub(crate) fn step(&mut self, offered: f64) {
        let seconds = self.interval.as_secs_f64();
        self.now = self.now + self.interval;
        let capacity = self.capacity();
        let wanted = self.waiting / seconds + offered;
        let rate = wanted.min(capacity);
        self.waiting = ((wanted - rate) * seconds).min(QUEUE);
        self.served += rate * seconds;
        let loads = self.loads(rate);
        // Where cores are short, threads wait for them in the middle of their work.
        let stretched = if loads.cores >= self.machine.cores * 0.999 { 1.0 / loads.fullest } else { 1.0 };
        let mut samples = Vec::new();
        for n in 0..STAGES.len() {
            let served = self.noisy(rate * seconds) as u64;
            let busy = self.noisy(loads.stage[n] * stretched * seconds);
            let depth = if n == 0 { self.waiting as u64 } else { 0 };
            let arrivals = (offered * seconds) as u64;
            let busy = Duration::from_secs_f64(busy);
            samples.push(StageSample {
                depth,
                capacity: QUEUE as u64,
                arrivals,
                served,
                turns: served / BATCH as u64,
                busy,
                fullest: Duration::ZERO,
            });
        }
        let mut decisions = Vec::new();
        self.control.decide(self.now, &samples, &mut decisions);
        self.changes.extend(decisions.into_iter().map(|decision| (self.now, decision)));
    }

    /// Runs for `seconds` with what `offered` says at each second.
    pub(crate) fn run(&mut self, seconds: u32, offered: impl Fn(f64) -> f64) {
        let began = self.now;
        while self.now - began < Duration::from_secs(u64::from(seconds)) {
            self.step(offered((self.now - began).as_secs_f64()));
        }
    }

    pub(crate) fn threads(&self) -> u32 {
        let own = |s: &weft_sched::control::stage::StageController| {
            if s.place() == Place::Own { s.shards() } else { 0 }
        };
        1 + self.control.stages().iter().map(own).sum::<u32>()
    }
}

/// What one thread that runs everything does, with nothing handed over.
pub(crate) fn single_loop(machine: &Machine) -> f64 {
    let service: f64 = STAGES.iter().map(|stage| stage.1).sum();
    (1.0 / service).min(machine.cores / (service + machine.clients))
}
