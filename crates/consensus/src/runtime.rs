//! The runtime that openraft's tasks run on: one queue of tasks in the order in
//! which they became ready, timers by virtual time, and random numbers from a
//! seed. It runs while [`Executor::run`] is called and at no other time, so a
//! council does what its inputs make it do and nothing else.
//!
//! openraft asks for its runtime by functions without a receiver
//! (to spawn, to sleep, to know the time), so the executor that is
//! running is found in a thread-local; it is set by [`Executor::enter`] for the
//! length of a call, and councils may move between threads and share one.
//!
//! It must never read the machine's clock or entropy. A task that panics takes
//! the council's caller with it, as any broken promise of our own does. Tasks
//! are made by openraft (a handful per member) and by the council, which bounds
//! its own; [`Executor::run`] stops after [`POLLS`] and goes on at the next call.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use openraft::{AsyncRuntime, TokioRuntime};
use weft_base::sync::{Arc, Mutex, MutexGuard};
use weft_base::{Mono, Random};

/// The most polls of one call, so that it ends.
const POLLS: usize = 100_000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Locks what only one thread uses at a time; a panic elsewhere does not spread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Mutex<Turn>>>> = const { RefCell::new(None) };
}

/// What tasks reach while they run.
struct Turn {
    now: Mono,
    random: Random,
    next: u64,
    spawned: Vec<(u64, Task)>,
    ready: VecDeque<u64>,
    queued: BTreeSet<u64>,
    timers: BTreeMap<(Mono, u64), Waker>,
}

/// Wakes one task.
struct Waking {
    task: u64,
    turn: Arc<Mutex<Turn>>,
}

impl Wake for Waking {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        let mut turn = lock(&self.turn);
        if turn.queued.insert(self.task) {
            turn.ready.push_back(self.task);
        }
    }
}

/// The tasks of one council.
pub(crate) struct Executor {
    turn: Arc<Mutex<Turn>>,
    tasks: BTreeMap<u64, (Task, Waker)>,
}

/// Puts the executor before it back when it is dropped.
pub(crate) struct Entered(Option<Arc<Mutex<Turn>>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

impl Executor {
    pub(crate) fn new(now: Mono, random: Random) -> Self {
        let turn = Turn {
            now,
            random,
            next: 0,
            spawned: Vec::new(),
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            timers: BTreeMap::new(),
        };
        Self { turn: Arc::new(Mutex::new(turn)), tasks: BTreeMap::new() }
    }

    /// Makes this the executor that tasks of this thread find, at this time.
    /// Time does not go back.
    pub(crate) fn enter(&self, now: Mono) -> Entered {
        let mut turn = lock(&self.turn);
        turn.now = turn.now.max(now);
        drop(turn);
        Entered(CURRENT.with(|current| current.borrow_mut().replace(Arc::clone(&self.turn))))
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Wakes what is due and polls what is ready until nothing is; true when it
    /// stopped before that. Called between [`Executor::enter`] and its end.
    pub(crate) fn run(&mut self) -> bool {
        self.wake_due();
        for _ in 0..POLLS {
            self.adopt();
            let Some(task) = self.next_ready() else { return false };
            let Some((future, waker)) = self.tasks.get_mut(&task) else { continue };
            let waker = waker.clone();
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks.remove(&task);
            }
        }
        true
    }

    /// Whether a task waits for its turn.
    pub(crate) fn is_ready(&self) -> bool {
        let turn = lock(&self.turn);
        !turn.ready.is_empty() || !turn.spawned.is_empty()
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Mono> {
        let turn = lock(&self.turn);
        if !turn.ready.is_empty() || !turn.spawned.is_empty() {
            return Some(turn.now);
        }
        turn.timers.keys().next().map(|(at, _)| *at)
    }

    fn wake_due(&self) {
        let mut due = Vec::new();
        let mut turn = lock(&self.turn);
        let now = turn.now;
        while let Some(entry) = turn.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        drop(turn);
        due.into_iter().for_each(Waker::wake);
    }

    fn adopt(&mut self) {
        let mut turn = lock(&self.turn);
        for (task, future) in std::mem::take(&mut turn.spawned) {
            let waker = Waker::from(std::sync::Arc::new(Waking { task, turn: Arc::clone(&self.turn) }));
            self.tasks.insert(task, (future, waker));
            if turn.queued.insert(task) {
                turn.ready.push_back(task);
            }
        }
    }

    fn next_ready(&self) -> Option<u64> {
        let mut turn = lock(&self.turn);
        let task = turn.ready.pop_front()?;
        turn.queued.remove(&task);
        Some(task)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Wakers hold the turn, which holds wakers: the ring is cut here. What
        // tasks spawn while they are dropped goes nowhere.
        self.tasks.clear();
        let mut turn = lock(&self.turn);
        let (timers, spawned) = (std::mem::take(&mut turn.timers), std::mem::take(&mut turn.spawned));
        drop(turn);
        drop((timers, spawned));
    }
}

fn current() -> Option<Arc<Mutex<Turn>>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Starts a task of the executor that is running; without one it is dropped.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    if let Some(turn) = current() {
        let mut turn = lock(&turn);
        turn.next += 1;
        let task = turn.next;
        turn.spawned.push((task, Box::pin(future)));
    }
}

/// Virtual time as openraft wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Mono);

impl Moment {
    /// The same point as the project writes it.
    pub(crate) fn mono(self) -> Mono {
        self.0
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(Mono(self.0.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX))))
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;
    fn sub(self, earlier: Moment) -> Duration {
        self.0.since(earlier.0)
    }
}

impl openraft::Instant for Moment {
    fn now() -> Self {
        Self(current().map_or(Mono(0), |turn| lock(&turn).now))
    }
}

/// Ready at a point in virtual time.
pub(crate) struct Sleep {
    until: Mono,
    turn: Option<Arc<Mutex<Turn>>>,
    timer: Option<u64>,
}

impl Sleep {
    fn until(until: Mono) -> Self {
        Self { until, turn: current(), timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(turn) = &this.turn else { return Poll::Pending };
        let mut turn = lock(turn);
        if turn.now >= this.until {
            if let Some(timer) = this.timer.take() {
                turn.timers.remove(&(this.until, timer));
            }
            return Poll::Ready(());
        }
        let timer = *this.timer.get_or_insert_with(|| {
            turn.next += 1;
            turn.next
        });
        turn.timers.insert((this.until, timer), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(turn), Some(timer)) = (&self.turn, self.timer) {
            let waker = lock(turn).timers.remove(&(self.until, timer));
            drop(waker);
        }
    }
}

/// A future with an end.
pub(crate) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Late>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Late))
    }
}

/// It took longer than it was given.
#[derive(Debug)]
pub(crate) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

/// The task was dropped before its end: the council is being closed.
#[derive(Debug)]
pub(crate) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was dropped")
    }
}

struct Joint<T> {
    output: Option<T>,
    waker: Option<Waker>,
}

/// The output of a task, when it has ended.
pub(crate) struct Join<T>(Arc<Mutex<Joint<T>>>);

impl<T> Future for Join<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut joint = lock(&self.0);
        if let Some(output) = joint.output.take() {
            return Poll::Ready(Ok(output));
        }
        joint.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Random numbers of the running executor.
pub(crate) struct Draw;

impl rand_core::RngCore for Draw {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        current().map_or(0, |turn| lock(&turn).random.next_u64())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next_u64().to_le_bytes();
            chunk.iter_mut().zip(drawn).for_each(|(byte, value)| *byte = value);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

/// The runtime, as openraft names it: the executor that is running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Virtual;

impl AsyncRuntime for Virtual {
    type JoinError = Dropped;
    type JoinHandle<T: Send + 'static> = Join<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Late;
    type Timeout<R, F: Future<Output = R> + Send> = Timeout<F>;
    type ThreadLocalRng = Draw;
    type OneshotSender<T: Send> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;
    type OneshotReceiver<T: Send> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;

    fn spawn<F>(future: F) -> Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let joint = Arc::new(Mutex::new(Joint { output: None, waker: None }));
        let theirs = Arc::clone(&joint);
        spawn(async move {
            let output = future.await;
            let mut joint = lock(&theirs);
            joint.output = Some(output);
            let waker = joint.waker.take();
            drop(joint);
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Join(joint)
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::until(<Moment as openraft::Instant>::now().0 + duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        Sleep::until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Moment, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
    }

    fn is_panic(_: &Dropped) -> bool {
        false
    }

    fn thread_rng() -> Draw {
        Draw
    }

    fn oneshot<T: Send>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_in_the_order_they_became_ready_and_timers_by_virtual_time() {
        let mut executor = Executor::new(Mono(0), Random::from_seed(1));
        let seen = Arc::new(Mutex::new(Vec::new()));
        {
            let _entered = executor.enter(Mono(0));
            for (name, nanos) in [("late", 20), ("soon", 10), ("at once", 0)] {
                let seen = Arc::clone(&seen);
                spawn(async move {
                    Virtual::sleep(Duration::from_nanos(nanos)).await;
                    lock(&seen).push(name);
                });
            }
            assert!(!executor.run());
        }
        assert_eq!((lock(&seen).clone(), executor.next_timer()), (vec!["at once"], Some(Mono(10))));
        let _entered = executor.enter(Mono(30));
        executor.run();
        assert_eq!(*lock(&seen), ["at once", "soon", "late"]);
        assert_eq!((executor.tasks(), executor.next_timer()), (0, None));
    }

    #[test]
    fn a_timeout_ends_what_never_does_and_forgets_its_timer() {
        let mut executor = Executor::new(Mono(0), Random::from_seed(1));
        let late = Arc::new(Mutex::new(None));
        let entered = executor.enter(Mono(0));
        let told = Arc::clone(&late);
        spawn(async move {
            let never = std::future::pending::<()>();
            let quick = Virtual::timeout(Duration::from_nanos(9), std::future::ready(())).await.is_ok();
            let slow = Virtual::timeout(Duration::from_nanos(5), never).await.is_err();
            *lock(&told) = Some((quick, slow));
        });
        executor.run();
        drop(entered);
        assert_eq!(executor.next_timer(), Some(Mono(5)), "the first one's timer is gone");
        let _entered = executor.enter(Mono(5));
        executor.run();
        assert_eq!(*lock(&late), Some((true, true)));
    }

    #[test]
    fn without_an_executor_nothing_is_spawned_and_nothing_panics() {
        spawn(async { unreachable!("never polled") });
        let _ = (Virtual::sleep(Duration::ZERO), Virtual::spawn(async { 1 }));
    }
}
