//! Load conditioning: what happens to publishes that wait too long between the
//! socket and the route stage.
//!
//! The route stage measures how long each lane's publishes have waited and
//! feeds `weft_sched`'s controller, which decides, per lane and the least
//! urgent first, that what is beyond an allowance is conditioned. The lane's
//! policy says how: its publishers are not read on (`wait`), what waited longest
//! is dropped (`shed-oldest`), what comes is dropped (`shed-newest`) or refused
//! with a time to try again (`refuse`). The net stage sees what was decided in
//! a few atomics per lane.
//!
//! Conflation and spilling need to know who subscribes, so they are policies of
//! subscriptions (`net/backlog.rs`), not of the way in.

use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use weft_base::{Lane, Mono, TenantId};
use weft_sched::control::load::{Conditioning, LoadController, LoadOptions, LoadSample, Policy};

use crate::options::LoadPolicy;

/// One lane, as the stages share it.
#[derive(Debug)]
struct Shared {
    /// Publishes between the net and the route stage.
    depth: AtomicU64,
    /// What is beyond this is conditioned; `u64::MAX` while nothing is.
    allowance: AtomicU64,
    /// A [`LoadPolicy`].
    action: AtomicU8,
    retry_ms: AtomicU32,
}

/// What the stages share: how much waits, and what is to be done about it.
#[derive(Debug)]
pub(crate) struct Load([Shared; Lane::COUNT]);

/// What becomes of a publish that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Take,
    /// Not now: the session is read on later.
    Wait,
    Drop,
    Refuse {
        retry_after_ms: u32,
    },
}

impl Load {
    pub(crate) fn new() -> Arc<Self> {
        let lane = |_| Shared {
            depth: AtomicU64::new(0),
            allowance: AtomicU64::new(u64::MAX),
            action: AtomicU8::new(LoadPolicy::Off as u8),
            retry_ms: AtomicU32::new(0),
        };
        Arc::new(Self(std::array::from_fn(lane)))
    }

    /// What is to become of a publish of this lane that comes now.
    #[inline]
    pub(crate) fn verdict(&self, lane: Lane) -> Verdict {
        let shared = &self.0[lane.index()];
        if shared.depth.load(Ordering::Relaxed) < shared.allowance.load(Ordering::Relaxed) {
            return Verdict::Take;
        }
        match shared.action.load(Ordering::Relaxed) {
            WAIT => Verdict::Wait,
            SHED_NEWEST => Verdict::Drop,
            REFUSE => Verdict::Refuse { retry_after_ms: shared.retry_ms.load(Ordering::Relaxed) },
            _ => Verdict::Take,
        }
    }

    /// A publish of this lane was taken in.
    #[inline]
    pub(crate) fn enter(&self, lane: Lane) {
        self.0[lane.index()].depth.fetch_add(1, Ordering::Relaxed);
    }

    /// It has left, routed or refused. Whether it is the oldest of too many and
    /// is to be dropped.
    #[inline]
    pub(crate) fn leave(&self, lane: Lane) -> bool {
        let shared = &self.0[lane.index()];
        let depth = shared.depth.fetch_sub(1, Ordering::Relaxed);
        depth > shared.allowance.load(Ordering::Relaxed) && shared.action.load(Ordering::Relaxed) == SHED_OLDEST
    }
}

const WAIT: u8 = LoadPolicy::Wait as u8;
const SHED_OLDEST: u8 = LoadPolicy::ShedOldest as u8;
const SHED_NEWEST: u8 = LoadPolicy::ShedNewest as u8;
const REFUSE: u8 = LoadPolicy::Refuse as u8;

/// The route stage's side: measures, and lets the controller decide.
pub(crate) struct Conditioner {
    load: Arc<Load>,
    policies: [LoadPolicy; Lane::COUNT],
    controller: LoadController,
    next: Mono,
    /// Since the last turn's end, per lane: how many left, and how long the last had waited.
    left: [(u64, Duration); Lane::COUNT],
    /// Some lane is conditioned.
    active: bool,
}

impl Conditioner {
    pub(crate) fn new(load: Arc<Load>, policies: [LoadPolicy; Lane::COUNT], now: Mono) -> Self {
        let policy = |policy| match policy {
            LoadPolicy::Off | LoadPolicy::Wait => Policy::Wait,
            LoadPolicy::ShedOldest => Policy::ShedOldest,
            LoadPolicy::ShedNewest => Policy::ShedNewest,
            LoadPolicy::Refuse => Policy::Refuse,
        };
        let options = LoadOptions { policies: policies.map(policy), ..LoadOptions::default() };
        let controller = LoadController::new(options, now);
        let left = [(0, Duration::ZERO); Lane::COUNT];
        Self { load, policies, controller, next: Mono(0), left, active: false }
    }

    /// A publish has left that came at `since`; whether it is to be dropped as
    /// the oldest of too many.
    #[inline]
    pub(crate) fn took(&mut self, lane: Lane, since: Mono, now: Mono) -> bool {
        let left = &mut self.left[lane.index()];
        *left = (left.0 + 1, now.since(since));
        self.load.leave(lane)
    }

    /// Whether publishes of some lane are conditioned.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// At the end of a turn: notes what was measured, and decides once per
    /// interval. Whether anything changed.
    pub(crate) fn turn(&mut self, now: Mono) -> bool {
        let tenant = TenantId(0);
        for (lane, (served, wait)) in Lane::all().zip(&mut self.left) {
            if *served > 0 && self.policies[lane.index()] != LoadPolicy::Off {
                let depth = self.load.0[lane.index()].depth.load(Ordering::Relaxed);
                let sample = LoadSample { wait: *wait, depth, served: std::mem::take(served) };
                self.controller.observe(tenant, lane, sample);
            }
            *served = 0;
        }
        if now < self.next {
            return false;
        }
        let mut changes = Vec::new();
        self.next = self.controller.decide(now, &mut changes);
        if changes.is_empty() && !self.active {
            return false;
        }
        for change in &changes {
            let lane = change.lane.get();
            tracing::info!(code = "load", lane, conditioning = ?change.conditioning, "a lane is conditioned otherwise");
        }
        self.active = false;
        for lane in Lane::all() {
            let shared = &self.load.0[lane.index()];
            let conditioning = self.controller.conditioning(tenant, lane);
            if conditioning == Conditioning::None {
                shared.allowance.store(u64::MAX, Ordering::Relaxed);
                continue;
            }
            self.active = true;
            if let Conditioning::Refuse { retry_after } = conditioning {
                let ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX).max(1);
                shared.retry_ms.store(ms, Ordering::Relaxed);
            }
            shared.action.store(self.policies[lane.index()] as u8, Ordering::Relaxed);
            shared.allowance.store(self.controller.allowance(tenant, lane), Ordering::Relaxed);
        }
        !changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BULK: Lane = Lane::BULK;

    /// Ten times what is served comes for a while; answers what was taken and
    /// the greatest depth once conditioning held.
    fn overload(policy: LoadPolicy) -> (u64, u64, u64) {
        let load = Load::new();
        let mut policies = [LoadPolicy::Off; Lane::COUNT];
        policies[BULK.index()] = policy;
        let mut conditioner = Conditioner::new(load.clone(), policies, Mono(0));
        let mut waiting = std::collections::VecDeque::new();
        let (mut taken, mut refused, mut deepest) = (0, 0, 0);
        // A tick is a millisecond: ten come, one is served.
        for tick in 0..5_000u64 {
            let now = Mono(tick * 1_000_000);
            for _ in 0..10 {
                match load.verdict(BULK) {
                    Verdict::Take => {
                        load.enter(BULK);
                        waiting.push_back(now);
                        taken += 1;
                    }
                    Verdict::Refuse { retry_after_ms } => {
                        assert!(retry_after_ms > 0, "it says when to try again");
                        refused += 1;
                    }
                    Verdict::Wait | Verdict::Drop => refused += 1,
                }
            }
            let mut served = false;
            while !served && let Some(since) = waiting.pop_front() {
                // What is dropped costs nothing; the next is served.
                served = !conditioner.took(BULK, since, now);
            }
            conditioner.turn(now);
            // Three intervals pass before it holds, and what came meanwhile is served first.
            if tick > 4_000 {
                deepest = deepest.max(waiting.len() as u64);
            }
        }
        assert!(conditioner.is_active());
        assert_eq!(load.0[BULK.index()].depth.load(Ordering::Relaxed), waiting.len() as u64);
        (taken, refused, deepest)
    }

    #[test]
    fn what_waits_too_long_is_conditioned_to_what_can_be_served_in_time() {
        for policy in [LoadPolicy::Wait, LoadPolicy::ShedOldest, LoadPolicy::ShedNewest, LoadPolicy::Refuse] {
            let (taken, refused, deepest) = overload(policy);
            // A hundred milliseconds at one in a millisecond, and what came in one tick. Where the
            // oldest go the wait is short at once, so the lane is released now and then, for an interval.
            let most = if policy == LoadPolicy::ShedOldest { 1_120 } else { 120 };
            assert!(deepest <= most, "{policy:?}: {deepest} wait");
            if policy == LoadPolicy::ShedOldest {
                assert_eq!(taken, 50_000, "everything is taken, and the oldest go");
            } else {
                assert!(refused > 30_000, "{policy:?}: {refused} were not taken");
            }
        }
    }

    #[test]
    fn without_a_policy_nothing_is_conditioned() {
        let load = Load::new();
        let mut conditioner = Conditioner::new(load.clone(), [LoadPolicy::Off; Lane::COUNT], Mono(0));
        for tick in 1..1_000u64 {
            load.enter(BULK);
            conditioner.took(BULK, Mono(0), Mono(tick * 1_000_000));
            assert!(!conditioner.turn(Mono(tick * 1_000_000)) && !conditioner.is_active());
        }
        assert_eq!(load.verdict(BULK), Verdict::Take);
    }
}
