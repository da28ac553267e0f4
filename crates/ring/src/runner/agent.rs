//! One thread of a runner: turns, idling, sleeping, and stages that come and go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weft_base::{Clock, Mono, Now};

use super::counters::Counters;
use super::places::{Control, Letter, Order};
use super::{StartError, pin_to};
use crate::stage::{IdleOptions, Stage, TurnMeter};

/// How long a thread without stages sleeps at most.
const UNUSED: Duration = Duration::from_secs(3_600);
/// How old the figures of what waits may be while there is work.
const LOAD_AGE: Duration = Duration::from_millis(1);

/// A stage and where it stands.
pub(super) struct Seated {
    /// Its number in the runner: the order of the turns on every thread.
    pub(super) index: usize,
    pub(super) stage: Box<dyn Stage>,
    pub(super) counters: Arc<Counters>,
    pub(super) meter: Option<Box<dyn TurnMeter>>,
}

/// One thread and its stages.
pub(super) struct Agent {
    /// The number of the thread's seat.
    seat: usize,
    stages: Vec<Seated>,
    /// The stage that sleeps for all, by its place in `stages`.
    sleeper: usize,
    control: Arc<Control>,
    core: Option<usize>,
    idle: IdleOptions,
    clock: Arc<dyn Clock>,
    /// The latest reading of the clock.
    now: Now,
    /// Since when `finish` has been at work.
    finishing: bool,
    /// When the stages were last asked what waits for them, and whether they
    /// worked since.
    loaded: Mono,
    worked: bool,
    /// A stage that panicked gets no more calls.
    dead: Option<usize>,
    /// For stages that are still on their way here.
    orders: Vec<Order>,
}

impl Agent {
    pub(super) fn new(control: Arc<Control>, seat: usize, stages: Vec<Seated>, core: Option<usize>) -> Self {
        let (idle, clock) = (control.idle, control.clock.clone());
        let now = clock.now();
        let mut agent = Self {
            seat,
            stages,
            sleeper: 0,
            control,
            core,
            idle,
            clock,
            now,
            finishing: false,
            loaded: Mono(0),
            worked: true,
            dead: None,
            orders: Vec::new(),
        };
        agent.choose_sleeper();
        agent
    }

    /// The first stage's name.
    pub(super) fn name(&self) -> &'static str {
        self.stages.first().map_or("", |seated| seated.counters.stage)
    }

    pub(super) fn pin(&self) -> Result<(), StartError> {
        let Some(core) = self.core else { return Ok(()) };
        pin_to(core).map_err(|source| StartError::Pin { stage: self.name(), core, source })
    }

    /// A stage with a sleep of its own, else the first with a waker.
    fn choose_sleeper(&mut self) {
        let wakers = || self.stages.iter().map(|seated| seated.stage.waker());
        let own = wakers().position(|waker| waker.is_some_and(|waker| waker.is_own_sleep()));
        self.sleeper = own.or_else(|| wakers().position(|waker| waker.is_some())).unwrap_or(0);
    }

    pub(super) fn run(mut self) {
        let control = self.control.clone();
        let mut idle_turns = 0_u32;
        while !control.stop.load(Ordering::Acquire) {
            if control.has_letters(self.seat) {
                self.read_letters();
            }
            if self.turn(|stage, now| stage.do_work(now)) > 0 {
                idle_turns = 0;
                continue;
            }
            idle_turns = idle_turns.saturating_add(1);
            if idle_turns <= self.idle.spins {
                std::hint::spin_loop();
            } else if idle_turns <= self.idle.spins.saturating_add(self.idle.yields) {
                std::thread::yield_now();
            } else {
                self.rest();
            }
        }
        self.now = self.clock.now();
        for n in 0..self.stages.len() {
            self.call(n, |stage, now| stage.on_stop(now));
        }
        // What was on its way here stops here.
        self.stages = control.close(self.seat);
        for n in 0..self.stages.len() {
            self.call(n, |stage, now| stage.on_stop(now));
        }
    }

    /// Calls into a stage; none if it panics, or has panicked before.
    fn call<R>(&mut self, n: usize, f: impl FnOnce(&mut dyn Stage, Now) -> R) -> Option<R> {
        let now = self.now;
        let seated = self.stages.get_mut(n)?;
        if self.dead == Some(seated.index) {
            return None;
        }
        // A stage that panicked is not called again, so nobody sees what the
        // panic may have left half done.
        let result = catch_unwind(AssertUnwindSafe(|| f(seated.stage.as_mut(), now)));
        result
            .map_err(|payload| {
                self.control.panicked(seated.counters.stage, payload.as_ref());
                self.dead = Some(seated.index);
            })
            .ok()
    }

    /// One turn of each stage; answers the work done.
    fn turn(&mut self, mut turn: impl FnMut(&mut dyn Stage, Now) -> usize) -> usize {
        let mut sum = 0_usize;
        let before = self.now.mono;
        self.now = self.clock.now();
        if std::mem::take(&mut self.finishing)
            && let Some(seated) = self.stages.get(self.sleeper)
        {
            // Sending out is the work of the stage that the thread sleeps by:
            // one reading of the clock less than asking each.
            seated.counters.finished(self.now.mono - before);
        }
        for n in 0..self.stages.len() {
            let before = self.now.mono;
            let Some(work) = self.call(n, &mut turn) else { break };
            // One reading ends this turn and begins the next.
            self.now = self.clock.now();
            if let Some(seated) = self.stages.get_mut(n) {
                let took = self.now.mono - before;
                seated.counters.turn(work, took, self.idle.late_after);
                if let Some(meter) = seated.meter.as_mut().filter(|_| work > 0) {
                    meter.turn(self.now, work, took);
                }
            }
            sum = sum.saturating_add(work);
        }
        if sum > 0 {
            self.worked = true;
            if self.now.mono - self.loaded >= LOAD_AGE {
                self.look_at_load();
            }
            for n in 0..self.stages.len() {
                self.call(n, |stage, now| stage.finish(now));
            }
            self.finishing = true;
        }
        sum
    }

    fn look_at_load(&mut self) {
        self.loaded = self.now.mono;
        self.worked = false;
        for n in 0..self.stages.len() {
            if let Some(load) = self.call(n, |stage, _| stage.load())
                && let Some(seated) = self.stages.get_mut(n)
            {
                seated.counters.load(load);
                if let Some(meter) = &mut seated.meter {
                    meter.waits(load.depth);
                }
            }
        }
    }

    /// Sleeps, unless there is work after all.
    fn rest(&mut self) {
        let control = self.control.clone();
        let Some(seat) = control.seats.get(self.seat) else { return };
        seat.announce();
        // Whoever published before we announced may not have woken us, and this
        // turn finds it (E10); whoever publishes from now on wakes us.
        if self.turn(|stage, now| stage.look(now)) == 0
            && !control.stop.load(Ordering::Acquire)
            && !control.has_letters(self.seat)
        {
            let deadline = self.stages.iter().filter_map(|seated| seated.stage.next_deadline()).min();
            let how_long = deadline.map_or(self.idle.sleep, |at: Mono| self.idle.sleep.min(at - self.now.mono));
            if self.stages.is_empty() {
                seat.sleep(UNUSED);
            } else if !how_long.is_zero() {
                if self.worked {
                    self.look_at_load();
                }
                let sleeper = self.sleeper;
                if let Some(seated) = self.stages.get(sleeper) {
                    seated.counters.slept();
                }
                self.call(sleeper, |stage, _| stage.on_idle(how_long));
            }
        }
        seat.awake();
    }

    /// Takes stages in, lets stages go, and sets batches.
    #[cold]
    fn read_letters(&mut self) {
        for letter in self.control.clone().letters(self.seat) {
            match letter {
                Letter::Take(seated) => self.take(seated),
                Letter::Order(order) => self.orders.push(order),
            }
        }
        for order in std::mem::take(&mut self.orders) {
            match self.stages.iter().position(|seated| seated.index == order.stage()) {
                // It is still on its way here.
                None => self.orders.push(order),
                Some(n) => match order {
                    Order::Go { to, .. } => self.give(n, to),
                    Order::Batch { batch, .. } => {
                        self.call(n, |stage, _| stage.set_batch(batch));
                    }
                },
            }
        }
    }

    fn take(&mut self, seated: Seated) {
        let at = self.stages.partition_point(|other| other.index < seated.index);
        self.stages.insert(at, seated);
        self.choose_sleeper();
    }

    fn give(&mut self, n: usize, to: usize) {
        let seated = self.stages.remove(n);
        self.choose_sleeper();
        let waker = seated.stage.waker();
        // First the waker, then the stage: see `move_to`.
        if let Some(waker) = &waker {
            waker.move_to(to);
        }
        if let Some(seated) = self.control.clone().hand_over(to, seated) {
            // The runner stops, and that thread is gone already.
            if let Some(waker) = &waker {
                waker.move_to(self.seat);
            }
            self.take(seated);
        }
    }
}
