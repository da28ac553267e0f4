//! Who listens for long: each answer that goes on has a seat, by which it is ended
//! from here when the hub drains or stops, when its login is over or stands no more,
//! and when its connection takes nothing any more.
//!
//! Bounded: `[http] listeners`, of which one principal has at most three quarters; one
//! more is answered 503 or 429. What ends is told why, if it still takes anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use weft_base::{Clock, Mono};
use weft_govern::access::Principal;
use weft_govern::login::Login;
use weft_hub::Counters;
use weft_hub::govern::Aside;
use weft_login::{Limits, Logins};

use super::HttpOptions;
use super::problem::Problem;
use super::serve::Busy;
use super::stay::Stay;

/// Why somebody listens no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) code: String,
    pub(super) detail: String,
}

impl Over {
    pub(super) fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }
}

/// One who listens.
pub(super) struct Seat {
    login: Arc<Login>,
    stay: Arc<Stay>,
    busy: Mutex<Option<Busy>>,
    /// When something was last asked of it for its connection, in nanoseconds.
    asked: AtomicU64,
    /// Its login was looked at since it is there.
    is_known: AtomicBool,
    over: OnceLock<Over>,
    waker: Mutex<Option<Waker>>,
}

impl Seat {
    /// Ends it; the first reason counts.
    pub(super) fn end(&self, over: Over) {
        let _ = self.over.set(over);
        if let Some(waker) = locked(&self.waker).take() {
            waker.wake();
        }
    }

    /// Ends it, with a connection that takes nothing.
    pub(super) fn cut(&self, over: Over) {
        self.end(over);
        drop(locked(&self.busy).take());
        self.stay.cut();
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }
}

/// What is held is whole at any time.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All seats.
pub(super) struct Seats {
    most: usize,
    stall: Duration,
    aside: Arc<Aside>,
    clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    leaving: Arc<AtomicBool>,
    now: Mutex<Now>,
}

struct Now {
    taken: BTreeMap<u64, Arc<Seat>>,
    of: BTreeMap<Arc<Principal>, usize>,
    next: u64,
    logins: Logins,
}

/// A seat, until it is dropped.
pub(super) struct Seated {
    seats: Arc<Seats>,
    number: u64,
    pub(super) seat: Arc<Seat>,
}

impl Seats {
    pub(super) fn new(
        options: &HttpOptions,
        aside: Arc<Aside>,
        (clock, counters): (Arc<dyn Clock>, Arc<Counters>),
        leaving: Arc<AtomicBool>,
    ) -> Self {
        // Nobody logs in here: it is told only who still stands.
        let logins = Logins::new(Limits::default());
        let now = Now { taken: BTreeMap::new(), of: BTreeMap::new(), next: 0, logins };
        let (most, stall) = (options.listeners, options.heartbeat * 2);
        Self { most, stall, aside, clock, counters, leaving, now: Mutex::new(now) }
    }

    /// Whether the hub sends its clients elsewhere.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// How often something is to be written to who listens; who takes nothing for
    /// twice as long is ended.
    pub(super) fn heartbeat(&self) -> Duration {
        self.stall / 2
    }

    pub(super) fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// A seat for somebody.
    ///
    /// # Errors
    /// [`Problem`]: as many are taken as may be, or the hub drains.
    pub(super) fn take(self: &Arc<Self>, login: &Arc<Login>, stay: &Arc<Stay>) -> Result<Seated, Problem> {
        if self.is_leaving() {
            return Err(Problem::soon(503, "draining", "the hub is about to stop: ask another hub", 5));
        }
        let at = self.now();
        let mut now = locked(&self.now);
        let full = |status: u16, text: String| Err(Problem::soon(status, "listeners", text, 5));
        if now.taken.len() >= self.most {
            return full(503, format!("{} listen by HTTP, the limit (http.listeners)", self.most));
        }
        let share = (self.most * 3 / 4).max(1);
        let own = now.of.entry(login.principal.clone()).or_default();
        if *own >= share {
            return full(429, format!("{share} of the same principal listen by HTTP, the limit (of http.listeners)"));
        }
        *own += 1;
        let number = now.next;
        now.next += 1;
        let seat = Arc::new(Seat {
            login: login.clone(),
            stay: stay.clone(),
            busy: Mutex::new(Some(stay.keep())),
            asked: AtomicU64::new(at.0),
            is_known: AtomicBool::new(false),
            over: OnceLock::new(),
            waker: Mutex::default(),
        });
        now.taken.insert(number, seat.clone());
        self.counters.http_listeners.fetch_add(1, Ordering::Relaxed);
        Ok(Seated { seats: self.clone(), number, seat })
    }

    /// Ends who may not, or does not, listen any more; called every second.
    pub(super) fn tend(&self) {
        let at = self.clock.now();
        let mut now = locked(&self.now);
        if now.taken.is_empty() {
            return;
        }
        let is_new = now.logins.version() != self.aside.governed().version();
        if is_new {
            // What is wrong with documents is said by who lets people in.
            let _ = now.logins.learn(&self.aside.state());
        }
        let is_leaving = self.is_leaving();
        for seat in now.taken.values().filter(|seat| !seat.is_over()) {
            let is_new = !seat.is_known.swap(true, Ordering::Relaxed) || is_new;
            if is_leaving {
                seat.end(Over::new("draining", "the hub is about to stop: go on at another hub"));
            } else if seat.login.expires.is_some_and(|end| end <= at.wall)
                || (is_new && now.logins.stands(&seat.login).is_err())
            {
                seat.end(Over::new("login_expired", "what was shown to log in is over or was changed: log in again"));
            } else if at.mono.since(Mono(seat.asked.load(Ordering::Relaxed))) > self.stall {
                self.counters.http_listeners_slow.fetch_add(1, Ordering::Relaxed);
                seat.cut(Over::new("too_slow", "the connection took nothing for two heartbeats"));
            }
        }
    }

    /// The hub stops.
    pub(super) fn end_all(&self) {
        for seat in locked(&self.now).taken.values() {
            seat.end(Over::new("shutdown", "the hub is stopping: go on at another hub, or here in a moment"));
        }
    }
}

impl Seated {
    /// See [`Seats::heartbeat`].
    pub(super) fn heartbeat(&self) -> Duration {
        self.seats.heartbeat()
    }

    /// Its connection asks for more: why there is none, if it is over. Otherwise
    /// whoever asks is woken then.
    pub(super) fn over(&self, waker: &Waker) -> Option<Over> {
        self.seat.asked.store(self.seats.now().0, Ordering::Relaxed);
        match &mut *locked(&self.seat.waker) {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        self.seat.over.get().cloned()
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut now = locked(&self.seats.now);
        now.taken.remove(&self.number);
        let who = &self.seat.login.principal;
        if let Some(own) = now.of.get_mut(who) {
            *own -= 1;
            if *own == 0 {
                now.of.remove(who);
            }
        }
        self.seats.counters.http_listeners.fetch_sub(1, Ordering::Relaxed);
    }
}
