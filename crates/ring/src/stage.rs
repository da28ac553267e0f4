//! What a stage is: an agent that does a bounded piece of work per turn.

use std::time::Duration;

use weft_base::{Mono, Now};

pub use crate::runner::{
    PlaceError, Runner, RunnerBuilder, RunnerHandle, StageMover, StagePanic, StageReport, StageWatch, StartError,
};
pub use crate::waker::StageWaker;

/// One stage of a hub. Whether it has a thread of its own or shares one is the
/// runner's affair, and changes nothing in the stage.
pub trait Stage: Send {
    /// Names the stage in reports, panics and thread names. Unique in a runner.
    fn name(&self) -> &'static str;

    /// Does what there is to do, up to the stage's own bound, without blocking,
    /// and answers how much that was: zero lets the thread go idle.
    fn do_work(&mut self, now: Now) -> usize;

    /// The last look before the thread sleeps, with the stage's waker
    /// announced: like `do_work`, but what `on_idle` looks at by itself need not
    /// be looked at here. By default `do_work`.
    fn look(&mut self, now: Now) -> usize {
        self.do_work(now)
    }

    /// Called after each turn in which a stage of the thread did something,
    /// once all of them have had it: a stage that sends out what the others
    /// hand to it does so here, rather than one turn later.
    fn finish(&mut self, now: Now) {
        let _ = now;
    }

    /// Sleeps for up to `how_long`, or less; called when all stages of the
    /// thread were idle, for one of them: the one whose waker has a call of its
    /// own, else the first that has a waker. Must return when its waker is
    /// called. By default sleeps by that waker.
    fn on_idle(&mut self, how_long: Duration) {
        match self.waker() {
            Some(waker) => waker.sleep(how_long),
            None => std::thread::sleep(how_long),
        }
    }

    /// How others wake this stage; the same one on every call. Stages that only
    /// look at clocks need none. When stages share a thread, each one's waker
    /// wakes that thread.
    fn waker(&self) -> Option<StageWaker> {
        None
    }

    /// When the stage wants a turn even if nobody gives it work: the thread
    /// does not sleep beyond this point.
    fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// What waits for the stage now. Asked for about once per millisecond of
    /// work and before a sleep, on the stage's thread. By default nothing.
    fn load(&self) -> Backlog {
        Backlog::default()
    }

    /// Sets how many units `do_work` takes per turn at most. By default nothing
    /// is set: the stage has a bound of its own.
    fn set_batch(&mut self, units: usize) {
        let _ = units;
    }

    /// The last call: the runner stops. Called on the stage's thread, in the
    /// order in which the stages were added.
    fn on_stop(&mut self, now: Now) {
        let _ = now;
    }
}

/// Told of the turns of one stage, by the thread that has it: for histograms of them.
/// It goes with the stage when that moves. Must not wait, and should not allocate.
pub trait TurnMeter: Send {
    /// A turn in which `work` units were served, more than none, took so long and ended
    /// at `now`. What `finish` does is not in it.
    fn turn(&mut self, now: Now, work: usize, took: Duration);

    /// So many units wait now: about once per millisecond of work.
    fn waits(&mut self, depth: u64);
}

/// What waits for a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Units in its queues.
    pub depth: u64,
    /// Units that they hold at most; 0 when that is not known.
    pub capacity: u64,
}

/// Which thread runs a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement<'a> {
    /// The thread of the group with this name, in turn with the group's other
    /// stages, in the order in which they were added.
    Shared(&'a str),
    /// A thread of its own, on one core only if one is given.
    Own {
        /// The core's number, as the system counts.
        core: Option<usize>,
    },
}

/// What a thread does when all its stages are idle: turns at once, then turns
/// with the core offered to others in between, then sleep.
///
/// By default it sleeps at once. Whoever sent the last event needs a core to
/// send the next, and where cores are few it is this one: spinning showed in the
/// tails of every client (with 32 spins and 8 yields on two cores, p99 doubled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleOptions {
    /// Idle turns that are followed by the next at once. Default 0. More
    /// lowers the latency of sparse work, and takes the core from others.
    pub spins: u32,
    /// Idle turns after those that are followed by a yield. Default 0.
    pub yields: u32,
    /// The longest sleep. Default 100 ms. The stages' wakers and deadlines end
    /// it earlier; this bounds the loss where a stage has neither.
    pub sleep: Duration,
    /// A turn longer than this counts as late. Default 10 ms.
    pub late_after: Duration,
}

impl Default for IdleOptions {
    fn default() -> Self {
        Self { spins: 0, yields: 0, sleep: Duration::from_millis(100), late_after: Duration::from_millis(10) }
    }
}
