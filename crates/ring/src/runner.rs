//! Runs stages on threads: turns, idling, moving, pinning, cycle times,
//! stopping, panics.

mod agent;
mod counters;
mod places;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};

use weft_base::Clock;
use weft_base::sync::Mutex;

use self::agent::{Agent, Seated};
use self::counters::Counters;
pub use self::counters::{StageReport, StageWatch};
use self::places::{Control, Home, Letters, Places};
pub use self::places::{PlaceError, StageMover};
use crate::stage::{IdleOptions, Placement, Stage, TurnMeter};
use crate::waker::StageWaker;

/// Makes runners; see [`Runner::builder`].
pub struct Runner;

impl Runner {
    /// Begins a runner whose stages read the time from `clock`.
    #[must_use]
    pub fn builder(clock: Arc<dyn Clock>) -> RunnerBuilder {
        RunnerBuilder { clock, groups: Vec::new(), idle: IdleOptions::default(), metered: None }
    }
}

/// Stages and where to run them.
pub struct RunnerBuilder {
    clock: Arc<dyn Clock>,
    groups: Vec<Group>,
    idle: IdleOptions,
    metered: Option<Box<MakeMeter>>,
}

/// What makes the meter of a stage, by its name.
type MakeMeter = dyn FnMut(&'static str) -> Box<dyn TurnMeter>;

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

    /// Has what this makes told of the turns of each stage, by its name.
    #[must_use]
    pub fn metered(mut self, meter: impl FnMut(&'static str) -> Box<dyn TurnMeter> + 'static) -> Self {
        self.metered = Some(Box::new(meter));
        self
    }

    /// Starts the threads, all or none.
    ///
    /// # Errors
    /// [`StartError`] names the stage whose thread could not be had, or could
    /// not be pinned.
    pub fn start(self) -> Result<RunnerHandle, StartError> {
        let (control, agents) = self.seat();
        let handle = RunnerHandle { control };
        // The threads wait until all are there and pinned, so that no stage
        // does anything if the start fails; then the gates are dropped unopened.
        let mut gates = Vec::with_capacity(agents.len());
        for (agent, thread_name) in agents {
            let stage = agent.name();
            let (pinned, is_pinned) = sync_channel(1);
            let (gate, opened) = sync_channel::<()>(1);
            let thread = std::thread::Builder::new().name(thread_name);
            let body = move || {
                let sent = pinned.send(agent.pin());
                if sent.is_ok() && opened.recv().is_ok() {
                    agent.run();
                }
            };
            let thread = thread.spawn(body).map_err(|source| StartError::Thread { stage, source })?;
            handle.push(stage, thread);
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

    /// Gives every thread, of now or later, its seat, and every stage its own.
    fn seat(mut self) -> (Arc<Control>, Vec<(Agent, String)>) {
        let mut seats = Vec::new();
        let mut homes = Vec::new();
        let mut groups = Vec::new();
        let mut counters = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            // The thread sleeps where its stage with a sleep of its own does.
            let wakers = group.stages.iter().filter_map(|stage| stage.waker());
            seats.push(wakers.into_iter().find(StageWaker::is_own_sleep).unwrap_or_else(StageWaker::parking));
            let own = group.shared.is_none();
            groups.extend(group.shared.iter().map(|name| (name.clone(), at)));
            for stage in &group.stages {
                counters.push(Arc::new(Counters::new(stage.name(), own)));
                homes.push(Home { name: stage.name(), own: own.then_some(at), at });
            }
        }
        let mut running = vec![true; seats.len()];
        let stages = self.groups.iter().flat_map(|group| &group.stages);
        for (home, stage) in homes.iter_mut().zip(stages) {
            if stage.waker().is_some_and(|waker| waker.is_own_sleep()) {
                home.own = None;
            } else if home.own.is_none() {
                home.own = Some(seats.len());
                seats.push(StageWaker::parking());
                running.push(false);
            }
        }
        let seats: Arc<[StageWaker]> = seats.into();
        let control = Arc::new(Control {
            stop: AtomicBool::new(false),
            boxes: seats.iter().map(|_| Letters::default()).collect(),
            seats: seats.clone(),
            idle: self.idle,
            clock: self.clock,
            watch: StageWatch { counters: counters.iter().cloned().collect() },
            places: Mutex::new(Places { homes, groups, running, threads: Vec::new() }),
            panic: Mutex::new(None),
        });
        let mut numbered = counters.into_iter().enumerate();
        let mut agents = Vec::new();
        for (at, group) in self.groups.into_iter().enumerate() {
            let name = group.stages.first().map_or("", |stage| stage.name());
            let thread_name = format!("weft-{}", group.shared.as_deref().unwrap_or(name));
            let stages = group.stages.into_iter().zip(numbered.by_ref()).map(|(stage, (index, counters))| {
                if let Some(waker) = stage.waker()
                    && !seats.get(at).is_some_and(|seat| seat.is_same(&waker))
                {
                    waker.seat(&seats, at);
                }
                let meter = self.metered.as_mut().map(|make| make(stage.name()));
                Seated { index, stage, counters, meter }
            });
            agents.push((Agent::new(control.clone(), at, stages.collect(), group.core), thread_name));
        }
        (control, agents)
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

    fn push(&self, stage: &'static str, thread: std::thread::JoinHandle<()>) {
        self.control.places.lock().unwrap_or_else(PoisonError::into_inner).threads.push((stage, thread));
    }

    fn wait(&mut self) -> Result<(), StagePanic> {
        loop {
            // Not under the lock: stages that move take it.
            let next = self.control.places.lock().unwrap_or_else(PoisonError::into_inner).threads.pop();
            let Some((stage, thread)) = next else { break };
            if let Err(payload) = thread.join() {
                // Outside of all calls: a stage's own drop.
                self.control.panicked(stage, payload.as_ref());
            }
        }
        self.control.panic.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Moves a stage to another thread while it runs; see [`StageMover::place`].
    ///
    /// # Errors
    /// [`PlaceError`] says why the stage stays where it is.
    pub fn place(&self, stage: &str, placement: &Placement<'_>) -> Result<(), PlaceError> {
        self.mover().place(stage, placement)
    }

    /// A handle for moving stages from elsewhere, such as from a stage.
    #[must_use]
    pub fn mover(&self) -> StageMover {
        StageMover { control: self.control.clone() }
    }

    /// What each stage has done so far, in the order of the threads.
    #[must_use]
    pub fn report(&self) -> Vec<StageReport> {
        self.control.watch.report()
    }

    /// A handle for reading the reports elsewhere, also after the end.
    #[must_use]
    pub fn watch(&self) -> StageWatch {
        self.control.watch.clone()
    }
}

impl Drop for RunnerHandle {
    fn drop(&mut self) {
        self.stop();
        // Who wants to know of a panic calls `join`.
        drop(self.wait());
    }
}
