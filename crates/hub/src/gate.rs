//! Gates: how a subscriber that makes its publishers wait holds them back.
//!
//! A subscription with the policy `wait` has a gate. It counts what is on its
//! way to the subscriber from the moment it is routed, so that what waits in
//! the rings between the stages counts too: routing closes it when half of the
//! subscriber's bounds is taken, and the net stage opens it when less than a
//! quarter is. The stage that admits publishes reads it, one atomic load per
//! gate of the topic's route, and holds back what meets a closed one. The room
//! above the mark takes what comes from other hubs before they hear of it. A
//! gate of another hub's subscription is closed and opened by what that hub says.

use std::fmt;

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weft_base::{Mono, Now};
use weft_ring::stage::StageWaker;

/// How much may be on its way to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Whose gate it is, for those who are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The subscriber's name.
    pub(crate) subscriber: String,
    /// Its hub's name.
    pub(crate) hub: String,
    /// What it subscribes to.
    pub(crate) filter: String,
}

/// The gate of one subscription. Opening it wakes the stage that holds blocks back.
pub(crate) struct Gate {
    closed: AtomicBool,
    /// The subscription is over: the gate stays open.
    ended: AtomicBool,
    /// Since when the oldest block of the subscriber waits.
    since: AtomicU64,
    /// On its way to the subscriber.
    events: AtomicU64,
    bytes: AtomicU64,
    bounds: Bounds,
    holder: Holder,
    waker: StageWaker,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("holder", &self.holder).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl Gate {
    /// An open gate of a subscriber with these bounds; a gate of another hub has none.
    pub(crate) fn new(holder: Holder, bounds: Option<Bounds>, waker: StageWaker) -> Arc<Self> {
        Arc::new(Self {
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            since: AtomicU64::new(0),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bounds: bounds.unwrap_or(Bounds { events: u64::MAX, bytes: u64::MAX }),
            holder,
            waker,
        })
    }

    /// This much is on its way to the subscriber; closes the gate at half of its bounds.
    pub(crate) fn enter(&self, events: u64, bytes: u64) {
        let events = self.events.fetch_add(events, Ordering::AcqRel) + events;
        let bytes = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if events >= self.bounds.events.div_ceil(2) || bytes >= self.bounds.bytes.div_ceil(2) {
            self.close();
        }
    }

    /// This much is written or dropped; opens the gate below a quarter of its bounds.
    pub(crate) fn leave(&self, events: u64, bytes: u64) {
        // A session that ends a subscription and makes another of the same number may get
        // what was on its way to the first, which has not entered here.
        let take = |count: &AtomicU64, n: u64| {
            let before = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_sub(n)));
            before.unwrap_or_else(|now| now).saturating_sub(n)
        };
        let (events, bytes) = (take(&self.events, events), take(&self.bytes, bytes));
        if self.is_closed() && events < self.bounds.events.div_ceil(4) && bytes < self.bounds.bytes.div_ceil(4) {
            self.open();
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// For how long the subscriber's oldest block has waited, in milliseconds.
    pub(crate) fn behind_ms(&self, now: Now) -> u64 {
        let since = match self.since.load(Ordering::Relaxed) {
            0 => return 0,
            since => Mono(since),
        };
        u64::try_from(now.mono.since(since).as_millis()).unwrap_or(u64::MAX)
    }

    /// The subscriber's oldest block waits since then.
    pub(crate) fn behind_since(&self, since: Mono) {
        self.since.store(since.0, Ordering::Relaxed);
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Ended before: nobody would open it.
        if self.ended.load(Ordering::SeqCst) {
            self.open();
        }
    }

    /// Opens it, and wakes who holds publishes back.
    pub(crate) fn open(&self) {
        if self.closed.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// The subscription is over: opens it for good.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.open();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Whoever waited for it has nothing to wait for any more.
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_at_half_and_opens_below_a_quarter_of_either_bound() {
        let holder = Holder { subscriber: String::new(), hub: String::new(), filter: String::new() };
        let gate = Gate::new(holder, Some(Bounds { events: 8, bytes: 100 }), StageWaker::parking());
        gate.enter(3, 10);
        assert!(!gate.is_closed());
        gate.enter(1, 10);
        assert!(gate.is_closed());
        gate.leave(2, 0);
        assert!(gate.is_closed(), "a quarter is not below a quarter");
        gate.leave(1, 0);
        assert!(!gate.is_closed());
        gate.enter(0, 30);
        assert!(gate.is_closed(), "bytes count as well");
        let now = Now { mono: Mono(5_000_000), wall: weft_base::UnixNanos(0) };
        assert_eq!(gate.behind_ms(now), 0, "nothing waits");
        gate.behind_since(Mono(1_000_000));
        assert_eq!(gate.behind_ms(now), 4);
        gate.leave(1_000, 1_000);
        gate.enter(3, 3);
        assert!(!gate.is_closed(), "what never entered takes nothing from the rest");
        gate.end();
        gate.enter(100, 100);
        assert!(!gate.is_closed(), "nobody waits for a subscriber who is gone");
    }
}
