//! Where the stages of a runner are, and how they move while they run.
//!
//! Each thread has a seat: what it sleeps by, and a box for letters. A stage
//! moves by two letters: one tells the thread that has the stage to let it go;
//! that thread finishes its turn, makes the stage's waker point to the new seat,
//! and puts the stage into the new thread's box. A stage that is not
//! there yet is waited for, so letters that overtake each other do no harm.
//!
//! A stage with a sleep of its own (one that waits for sockets) stays where it
//! is: the thread sleeps where that stage does.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use weft_base::Clock;
use weft_base::sync::{Mutex, MutexGuard};

use super::StagePanic;
use super::agent::{Agent, Seated};
use super::counters::StageWatch;
use crate::stage::{IdleOptions, Placement};
use crate::waker::StageWaker;

/// Why a stage is not moved. It goes on where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// No such stage or group.
    #[error("there is no stage or group `{0}`: name one that the runner was started with")]
    Unknown(String),
    /// The stage sleeps in a way of its own.
    #[error("stage `{0}` waits in a way of its own and cannot move: move the others away from it")]
    Immovable(&'static str),
    /// A core was asked for.
    #[error("stage `{0}` cannot be pinned while it runs: give it a thread without a core, or pin it at the start")]
    Pinned(&'static str),
    /// The runner stops.
    #[error("the runner is stopping: nothing is moved any more")]
    Stopping,
    /// The system gave no thread.
    #[error("no thread for stage `{stage}`: raise the limit of threads, or let stages share one")]
    Thread {
        /// The stage.
        stage: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What a thread is told.
pub(super) enum Letter {
    Take(Seated),
    Order(Order),
}

/// What a thread is to do with a stage that it has or will have.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Go { stage: usize, to: usize },
    Batch { stage: usize, batch: usize },
}

impl Order {
    pub(super) fn stage(self) -> usize {
        match self {
            Order::Go { stage, .. } | Order::Batch { stage, .. } => stage,
        }
    }
}

/// A thread's letters.
#[derive(Default)]
pub(super) struct Letters {
    /// Set after a letter was put in; looked at in each turn.
    any: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    letters: Vec<Letter>,
    /// The thread is gone.
    closed: bool,
}

/// What is known of a stage's places.
pub(super) struct Home {
    pub(super) name: &'static str,
    /// The seat of a thread of its own; none for a stage that cannot move.
    pub(super) own: Option<usize>,
    /// Where it was last told to go.
    pub(super) at: usize,
}

/// What only those who move stages and wait for threads need.
pub(super) struct Places {
    pub(super) homes: Vec<Home>,
    /// The seats of the shared groups.
    pub(super) groups: Vec<(String, usize)>,
    /// Seats that have a thread.
    pub(super) running: Vec<bool>,
    /// With the name of each thread's first stage.
    pub(super) threads: Vec<(&'static str, JoinHandle<()>)>,
}

/// What the threads of one runner share.
pub(super) struct Control {
    pub(super) stop: AtomicBool,
    pub(super) seats: Arc<[StageWaker]>,
    pub(super) boxes: Vec<Letters>,
    pub(super) idle: IdleOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watch: StageWatch,
    pub(super) places: Mutex<Places>,
    /// The first panic.
    pub(super) panic: Mutex<Option<StagePanic>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    pub(super) fn stop(&self) {
        // Pairs with the load in `Agent::run`; a thread that is about to sleep
        // and did not see it is woken (E10).
        self.stop.store(true, Ordering::Release);
        for seat in &*self.seats {
            seat.wake();
        }
    }

    pub(super) fn panicked(&self, stage: &'static str, payload: &(dyn Any + Send)) {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let mut first = locked(&self.panic);
        first.get_or_insert(StagePanic { stage, message });
        drop(first);
        self.stop();
    }

    #[inline]
    pub(super) fn has_letters(&self, seat: usize) -> bool {
        self.boxes.get(seat).is_some_and(|letters| letters.any.load(Ordering::Acquire))
    }

    pub(super) fn letters(&self, seat: usize) -> Vec<Letter> {
        let Some(letters) = self.boxes.get(seat) else { return Vec::new() };
        // Before the letters are taken: one that comes now is seen next time.
        letters.any.store(false, Ordering::Release);
        std::mem::take(&mut locked(&letters.inside).letters)
    }

    /// Puts a letter in and wakes the thread; gives it back when that is gone.
    fn post(&self, seat: usize, letter: Letter) -> Option<Letter> {
        let (Some(letters), Some(waker)) = (self.boxes.get(seat), self.seats.get(seat)) else { return Some(letter) };
        let mut inside = locked(&letters.inside);
        if inside.closed {
            return Some(letter);
        }
        inside.letters.push(letter);
        drop(inside);
        letters.any.store(true, Ordering::Release);
        waker.wake();
        None
    }

    /// Hands a stage to another thread; gives it back when that is gone.
    pub(super) fn hand_over(&self, to: usize, seated: Seated) -> Option<Seated> {
        match self.post(to, Letter::Take(seated)) {
            Some(Letter::Take(seated)) => Some(seated),
            _ => None,
        }
    }

    /// The thread is gone: answers the stages that were on their way to it.
    pub(super) fn close(&self, seat: usize) -> Vec<Seated> {
        let Some(letters) = self.boxes.get(seat) else { return Vec::new() };
        let mut inside = locked(&letters.inside);
        inside.closed = true;
        let left = std::mem::take(&mut inside.letters);
        let stages = left.into_iter().filter_map(|letter| match letter {
            Letter::Take(seated) => Some(seated),
            Letter::Order(_) => None,
        });
        stages.collect()
    }
}

/// Moves the stages of a running runner. Clones move the same.
#[derive(Clone)]
pub struct StageMover {
    pub(super) control: Arc<Control>,
}

impl StageMover {
    /// Moves a stage to another thread after the turn that it is in, losing no
    /// wake-up. Does not wait for that. A thread of its own is started when
    /// the stage first needs it, and sleeps when the stage has left.
    ///
    /// # Errors
    /// [`PlaceError`] says why the stage stays where it is.
    pub fn place(&self, stage: &str, placement: &Placement<'_>) -> Result<(), PlaceError> {
        let mut places = locked(&self.control.places);
        let index = places.homes.iter().position(|home| home.name == stage);
        let unknown = || PlaceError::Unknown(stage.to_owned());
        let index = index.ok_or_else(unknown)?;
        let home = places.homes.get(index).ok_or_else(unknown)?;
        let (name, from) = (home.name, home.at);
        let own = home.own.ok_or(PlaceError::Immovable(name))?;
        let to = match placement {
            Placement::Own { core: Some(_) } => return Err(PlaceError::Pinned(name)),
            Placement::Own { core: None } => own,
            Placement::Shared(group) => {
                let seat = places.groups.iter().find(|(name, _)| name == group).map(|(_, seat)| *seat);
                seat.ok_or_else(|| PlaceError::Unknown((*group).to_owned()))?
            }
        };
        if from == to {
            return Ok(());
        }
        // Under the lock: whoever waits for the threads sees this one, or has
        // made the runner stop before.
        if self.control.stop.load(Ordering::Acquire) {
            return Err(PlaceError::Stopping);
        }
        if !places.running.get(to).copied().unwrap_or(true) {
            let agent = Agent::new(self.control.clone(), to, Vec::new(), None);
            let thread = std::thread::Builder::new().name(format!("weft-{name}"));
            let thread = thread.spawn(move || agent.run());
            places.threads.push((name, thread.map_err(|source| PlaceError::Thread { stage: name, source })?));
            if let Some(running) = places.running.get_mut(to) {
                *running = true;
            }
        }
        if let Some(home) = places.homes.get_mut(index) {
            home.at = to;
        }
        if let Some(counters) = self.control.watch.counters.get(index) {
            counters.placed(to == own);
        }
        self.control.post(from, Letter::Order(Order::Go { stage: index, to }));
        Ok(())
    }

    /// Sets how much a stage takes per turn; see [`crate::stage::Stage::set_batch`].
    ///
    /// # Errors
    /// [`PlaceError::Unknown`].
    pub fn set_batch(&self, stage: &str, batch: usize) -> Result<(), PlaceError> {
        let places = locked(&self.control.places);
        let index = places.homes.iter().position(|home| home.name == stage);
        let index = index.ok_or_else(|| PlaceError::Unknown(stage.to_owned()))?;
        if let Some(home) = places.homes.get(index) {
            self.control.post(home.at, Letter::Order(Order::Batch { stage: index, batch }));
        }
        Ok(())
    }
}
