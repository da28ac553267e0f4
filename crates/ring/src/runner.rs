//! Runs stages on threads: turns, idling, pinning, cycle times, stopping, panics.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_base::{Clock, Mono, Now};

use crate::stage::{IdleOptions, Placement, Stage};
use crate::waker::StageWaker;

/// Makes runners; see [`Runner::builder`].
pub struct Runner;

impl Runner {
    /// Begins a runner whose stages read the time from `clock`.
    #[must_use]
    pub fn builder(clock: Arc<dyn Clock>) -> RunnerBuilder {
        RunnerBuilder { clock, groups: Vec::new(), idle: IdleOptions::default() }
    }
}

/// Stages and where to run them.
pub struct RunnerBuilder {
    clock: Arc<dyn Clock>,
    groups: Vec<Group>,
    idle: IdleOptions,
}

/// The stages of one thread.
struct Group {
    /// The shared group's name; none for a stage of its own.
    shared: Option<String>,
    core: Option<usize>,
    stages: Vec<Box<dyn Stage>>,
}

/// Why a runner does not start. Nothing runs then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("no thread for stage `{stage}`: raise the limit of threads, or let stages share one")]
    Thread {
        /// The first stage of the thread.
        stage: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A stage's thread cannot run on the core asked for.
    #[error("stage `{stage}` cannot run on core {core}: name a core that this process may use, or none")]
    Pin {
        /// The stage.
        stage: &'static str,
        /// The core asked for.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// A stage panicked, and the runner stopped because of that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage `{stage}` panicked: {message}")]
pub struct StagePanic {
    /// The stage's name.
    pub stage: &'static str,
    /// What it said.
    pub message: String,
}

/// What one stage has done. Readable at any time from any thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// The stage's name.
    pub stage: &'static str,
    /// Calls of `do_work`.
    pub turns: u64,
    /// Calls that answered more than zero.
    pub busy_turns: u64,
    /// The sum of all answers.
    pub work: u64,
    /// The longest call.
    pub longest_turn: Duration,
    /// Calls longer than [`IdleOptions::late_after`].
    pub late_turns: u64,
    /// Sleeps that this stage went into, for all stages of its thread.
    pub sleeps: u64,
}

/// A stage's counters. The stage's thread alone writes them, so plain loads and
/// stores do; a reader sees each number as of some recent turn.
struct Counters {
    stage: &'static str,
    turns: AtomicU64,
    busy_turns: AtomicU64,
    work: AtomicU64,
    longest: AtomicU64,
    late: AtomicU64,
    sleeps: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Counters {
    fn new(stage: &'static str) -> Self {
        let zero = || AtomicU64::new(0);
        Self { stage, turns: zero(), busy_turns: zero(), work: zero(), longest: zero(), late: zero(), sleeps: zero() }
    }

    fn turn(&self, work: usize, took: Duration, late_after: Duration) {
        add(&self.turns, 1);
        if work > 0 {
            add(&self.busy_turns, 1);
            add(&self.work, work as u64);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.store(nanos, Ordering::Relaxed);
        }
        if took > late_after {
            add(&self.late, 1);
        }
    }

    fn report(&self) -> StageReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StageReport {
            stage: self.stage,
            turns: read(&self.turns),
            busy_turns: read(&self.busy_turns),
            work: read(&self.work),
            longest_turn: Duration::from_nanos(read(&self.longest)),
            late_turns: read(&self.late),
            sleeps: read(&self.sleeps),
        }
    }
}

/// What the threads of one runner share.
struct Control {
    stop: AtomicBool,
    wakers: Vec<StageWaker>,
    /// The first panic.
    panic: Mutex<Option<StagePanic>>,
}

impl Control {
    fn stop(&self) {
        // Pairs with the load in `Agent::run`; a thread that is about to sleep
        // and did not see it is woken (E10).
        self.stop.store(true, Ordering::Release);
        for waker in &self.wakers {
            waker.wake();
        }
    }

    fn panicked(&self, stage: &'static str, payload: &(dyn Any + Send)) {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(StagePanic { stage, message });
        drop(first);
        self.stop();
    }
}

impl RunnerBuilder {
    /// Adds a stage. In a group the order of adding is the order of the turns.
    #[must_use]
    pub fn stage(mut self, stage: Box<dyn Stage>, placement: Placement<'_>) -> Self {
        match placement {
            Placement::Own { core } => self.groups.push(Group { shared: None, core, stages: vec![stage] }),
            Placement::Shared(name) => {
                match self.groups.iter_mut().find(|group| group.shared.as_deref() == Some(name)) {
                    Some(group) => group.stages.push(stage),
                    None => {
                        self.groups.push(Group { shared: Some(name.to_owned()), core: None, stages: vec![stage] });
                    }
                }
            }
        }
        self
    }

    /// Sets what the threads do when their stages are idle.
    #[must_use]
    pub fn idle(mut self, idle: IdleOptions) -> Self {
        self.idle = idle;
        self
    }

    /// Starts the threads, all or none.
    ///
    /// # Errors
    /// [`StartError`] names the stage whose thread could not be had, or could
    /// not be pinned.
    pub fn start(self) -> Result<RunnerHandle, StartError> {
        let agents: Vec<Agent> =
            self.groups.into_iter().map(|group| Agent::new(group, self.idle, self.clock.clone())).collect();
        let control = Arc::new(Control {
            stop: AtomicBool::new(false),
            wakers: agents.iter().filter_map(|agent| agent.waker.clone()).collect(),
            panic: Mutex::new(None),
        });
        let counters = agents.iter().flat_map(|agent| agent.stages.iter().map(|(_, counters)| counters.clone()));
        let watch = StageWatch { counters: counters.collect() };
        let mut handle = RunnerHandle { control, watch, threads: Vec::new() };
        // The threads wait until all are there and pinned, so that no stage
        // does anything if the start fails; then the gates are dropped unopened.
        let mut gates = Vec::with_capacity(agents.len());
        for agent in agents {
            let stage = agent.name();
            let (pinned, is_pinned) = sync_channel(1);
            let (gate, opened) = sync_channel::<()>(1);
            let control = handle.control.clone();
            let thread = std::thread::Builder::new().name(agent.thread_name.clone());
            let body = move || {
                let sent = pinned.send(agent.pin());
                if sent.is_ok() && opened.recv().is_ok() {
                    agent.run(&control);
                }
            };
            let thread = thread.spawn(body).map_err(|source| StartError::Thread { stage, source })?;
            handle.threads.push((stage, thread));
            // No answer at all would mean that the thread is gone: `join` tells.
            is_pinned.recv().unwrap_or(Ok(()))?;
            gates.push(gate);
        }
        for gate in gates {
            // Fails only if the thread is gone: `join` tells.
            let _ = gate.send(());
        }
        Ok(handle)
    }
}

/// One thread and its stages.
struct Agent {
    stages: Vec<(Box<dyn Stage>, Arc<Counters>)>,
    /// The stage that sleeps for all: the first that can be woken.
    sleeper: usize,
    waker: Option<StageWaker>,
    thread_name: String,
    core: Option<usize>,
    idle: IdleOptions,
    clock: Arc<dyn Clock>,
    /// The latest reading of the clock.
    now: Now,
    /// A stage that panicked gets no more calls.
    dead: Option<usize>,
}

impl Agent {
    fn new(group: Group, idle: IdleOptions, clock: Arc<dyn Clock>) -> Self {
        let wakers: Vec<_> = group.stages.iter().map(|stage| stage.waker()).collect();
        let sleeper = wakers.iter().position(Option::is_some).unwrap_or(0);
        let waker = wakers.get(sleeper).cloned().flatten();
        if let Some(first) = &waker {
            wakers.iter().flatten().for_each(|waker| waker.redirect(first));
        }
        let name = group.stages.first().map_or("", |stage| stage.name());
        let thread_name = format!("weft-{}", group.shared.as_deref().unwrap_or(name));
        let stages = group.stages.into_iter().map(|stage| {
            let counters = Arc::new(Counters::new(stage.name()));
            (stage, counters)
        });
        let now = clock.now();
        Self { stages: stages.collect(), sleeper, waker, thread_name, core: group.core, idle, clock, now, dead: None }
    }

    /// The first stage's name.
    fn name(&self) -> &'static str {
        self.stages.first().map_or("", |(stage, _)| stage.name())
    }

    fn pin(&self) -> Result<(), StartError> {
        let Some(core) = self.core else { return Ok(()) };
        pin_to(core).map_err(|source| StartError::Pin { stage: self.name(), core, source })
    }

    fn run(mut self, control: &Control) {
        let mut idle_turns = 0_u32;
        while !control.stop.load(Ordering::Acquire) {
            if self.turn(control, |stage, now| stage.do_work(now)) > 0 {
                idle_turns = 0;
                continue;
            }
            idle_turns = idle_turns.saturating_add(1);
            if idle_turns <= self.idle.spins {
                std::hint::spin_loop();
            } else if idle_turns <= self.idle.spins.saturating_add(self.idle.yields) {
                std::thread::yield_now();
            } else {
                self.rest(control);
            }
        }
        self.now = self.clock.now();
        for n in 0..self.stages.len() {
            self.call(n, control, |stage, now| stage.on_stop(now));
        }
    }

    /// Calls into a stage; none if it panics, or has panicked before.
    fn call<R>(&mut self, n: usize, control: &Control, f: impl FnOnce(&mut dyn Stage, Now) -> R) -> Option<R> {
        if self.dead == Some(n) {
            return None;
        }
        let now = self.now;
        let (stage, _) = self.stages.get_mut(n)?;
        // A stage that panicked is not called again, so nobody sees what the
        // panic may have left half done.
        let result = catch_unwind(AssertUnwindSafe(|| f(stage.as_mut(), now)));
        result
            .map_err(|payload| {
                control.panicked(stage.name(), payload.as_ref());
                self.dead = Some(n);
            })
            .ok()
    }

    /// One turn of each stage; answers the work done.
    fn turn(&mut self, control: &Control, mut turn: impl FnMut(&mut dyn Stage, Now) -> usize) -> usize {
        let mut sum = 0_usize;
        self.now = self.clock.now();
        for n in 0..self.stages.len() {
            let before = self.now.mono;
            let Some(work) = self.call(n, control, &mut turn) else { break };
            // One reading ends this turn and begins the next.
            self.now = self.clock.now();
            if let Some((_, counters)) = self.stages.get(n) {
                counters.turn(work, self.now.mono - before, self.idle.late_after);
            }
            sum = sum.saturating_add(work);
        }
        if sum > 0 {
            for n in 0..self.stages.len() {
                self.call(n, control, |stage, now| stage.finish(now));
            }
        }
        sum
    }

    /// Sleeps, unless there is work after all.
    fn rest(&mut self, control: &Control) {
        if let Some(waker) = &self.waker {
            waker.announce();
        }
        // Whoever published before we announced may not have woken us, and this
        // turn finds it (E10); whoever publishes from now on wakes us.
        if self.turn(control, |stage, now| stage.look(now)) == 0 && !control.stop.load(Ordering::Acquire) {
            let deadline = self.stages.iter().filter_map(|(stage, _)| stage.next_deadline()).min();
            let how_long = deadline.map_or(self.idle.sleep, |at: Mono| self.idle.sleep.min(at - self.now.mono));
            if !how_long.is_zero() {
                let sleeper = self.sleeper;
                if let Some((_, counters)) = self.stages.get(sleeper) {
                    add(&counters.sleeps, 1);
                }
                self.call(sleeper, control, |stage, _| stage.on_idle(how_long));
            }
        }
        if let Some(waker) = &self.waker {
            waker.awake();
        }
    }
}

/// Keeps the calling thread on one core.
#[cfg(target_os = "linux")]
fn pin_to(core: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_core: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// A running runner. Dropping it stops the stages and waits for them.
pub struct RunnerHandle {
    control: Arc<Control>,
    watch: StageWatch,
    /// With the name of each thread's first stage.
    threads: Vec<(&'static str, JoinHandle<()>)>,
}

impl RunnerHandle {
    /// Asks all stages to stop, after the turn that they are in; does not wait.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Whether the stages were asked to stop, by `stop` or by a panic.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.control.stop.load(Ordering::Acquire)
    }

    /// Waits until all stages have stopped. Does not ask them to.
    ///
    /// # Errors
    /// [`StagePanic`] names the stage whose panic stopped the runner.
    pub fn join(mut self) -> Result<(), StagePanic> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), StagePanic> {
        for (stage, thread) in self.threads.drain(..) {
            if let Err(payload) = thread.join() {
                // Outside of all calls: a stage's own drop.
                self.control.panicked(stage, payload.as_ref());
            }
        }
        self.control.panic.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// What each stage has done so far, in the order of the threads.
    #[must_use]
    pub fn report(&self) -> Vec<StageReport> {
        self.watch.report()
    }

    /// A handle for reading the reports elsewhere, also after the end.
    #[must_use]
    pub fn watch(&self) -> StageWatch {
        self.watch.clone()
    }
}

impl Drop for RunnerHandle {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop();
            // Who wants to know of a panic calls `join`.
            drop(self.wait());
        }
    }
}

/// Reads what the stages of a runner have done.
#[derive(Clone)]
pub struct StageWatch {
    counters: Arc<[Arc<Counters>]>,
}

impl StageWatch {
    /// What each stage has done so far, in the order of the threads.
    #[must_use]
    pub fn report(&self) -> Vec<StageReport> {
        self.counters.iter().map(|counters| counters.report()).collect()
    }
}
