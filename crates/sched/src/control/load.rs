//! Load conditioning: what happens to a tenant's lane whose wait is too long.
//!
//! The law is CoDel's (Nichols and Jacobson, RFC 8289), on lanes in place of
//! packets: a burst that drains within an interval is what queues are for, a
//! wait that stays is not. So the *least* wait of an interval is compared with
//! the target. Above it, the tenant's least urgent loaded lane is conditioned;
//! still above it an interval later, the next one, and so on. Below half the
//! target, the most urgent conditioned lane is released first. A lane that has
//! to be conditioned again soon after its release was released too early: it
//! must stay calm for twice as many intervals before the next release, which
//! bounds how often the answer changes. (CoDel remembers its drop rate for the
//! same reason.)
//!
//! What conditioning means is the policy of the lane and tenant. It concerns
//! what is beyond [`LoadController::allowance`] only, the depth that can be
//! served within the target: so conditioning that lasts longer than the
//! overload takes nothing from anybody.
//!
//! Bounded: at most [`LoadOptions::tenants`] tenants are told apart. Those
//! beyond share one entry, whose changes are not listed one by one. A tenant
//! that was idle for [`LoadOptions::memory`] intervals is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{Lane, Mono, TenantId};

/// What a tenant wants to happen to a lane's events when they wait too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The sources wait: no credit is granted. Loses nothing.
    #[default]
    Wait,
    /// The oldest go: what counts is the latest.
    ShedOldest,
    /// The newest go: what was taken is kept.
    ShedNewest,
    /// Of events with the same key the latest stays.
    Conflate,
    /// They go to a stream, to be read later.
    Spill,
    /// They are refused, with a time after which to try again.
    Refuse,
}

/// What is to happen now to what is beyond a lane's allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditioning {
    /// Nothing: all is taken.
    #[default]
    None,
    /// Grant no credit.
    Wait,
    /// Drop the oldest, and count them.
    ShedOldest,
    /// Drop what comes, and count it.
    ShedNewest,
    /// Keep the latest of each key, and count the others.
    Conflate,
    /// Hand over to the stream that the subscription names.
    Spill,
    /// Refuse what comes.
    Refuse {
        /// When there will be room again: the time in which what is beyond the
        /// allowance is served at the present rate, within
        /// [`LoadOptions::retry_least`] and [`LoadOptions::retry_most`].
        retry_after: Duration,
    },
}

/// How load is conditioned. Every value is legal; a zero interval decides on
/// every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The longest wait that is left alone, per lane. Default 2 ms for lane 0,
    /// 5 ms for lanes 1 to 3, 20 ms for 4 to 6, 100 ms for 7.
    pub targets: [Duration; Lane::COUNT],
    /// What happens beyond it, per lane. Default [`Policy::Wait`], which loses nothing.
    pub policies: [Policy; Lane::COUNT],
    /// How long a wait must last to count. Default 100 ms, which is CoDel's:
    /// above the round trips that the load itself goes through.
    pub interval: Duration,
    /// The most intervals below half the target that a release waits for; a
    /// lane's answer changes at most twice in that time, once its early
    /// releases are known. Default 600, a minute.
    pub release_most: u32,
    /// Intervals after which a lane's early release, and an idle tenant, are
    /// forgotten. Default 1,200, two minutes.
    pub memory: u32,
    /// The least time told to those who are refused. Default 10 ms.
    pub retry_least: Duration,
    /// The most told to them, also when nothing is served at all. Default 30 s.
    pub retry_most: Duration,
    /// Tenants that are told apart. Default 1,024.
    pub tenants: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            targets: [ms(2), ms(5), ms(5), ms(5), ms(20), ms(20), ms(20), ms(100)],
            policies: [Policy::Wait; Lane::COUNT],
            interval: ms(100),
            release_most: 600,
            memory: 1_200,
            retry_least: ms(10),
            retry_most: Duration::from_secs(30),
            tenants: 1_024,
        }
    }
}

/// What was measured of one tenant's lane since the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSample {
    /// How long the unit waited that was taken out last, or the wait by
    /// Little's law ([`super::wait_of`]).
    pub wait: Duration,
    /// Units that wait now. What a unit is (events, blocks, bytes) is the
    /// caller's choice, the same in every sample.
    pub depth: u64,
    /// Units that left the queue since the last sample.
    pub served: u64,
}

/// A lane's conditioning begins, changes its kind or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadChange {
    /// Whose.
    pub tenant: TenantId,
    /// Which of its lanes.
    pub lane: Lane,
    /// What holds from now on.
    pub conditioning: Conditioning,
}

/// Decides what is conditioned. See the module for the law.
#[derive(Clone, Debug)]
pub struct LoadController {
    options: LoadOptions,
    policies: BTreeMap<TenantId, [Policy; Lane::COUNT]>,
    tenants: BTreeMap<TenantId, Tenant>,
    /// All tenants beyond the bound.
    others: Tenant,
    began: Mono,
}

#[derive(Clone, Debug, Default)]
struct Tenant {
    lanes: [LaneState; Lane::COUNT],
    idle: u32,
}

#[derive(Clone, Debug, Default)]
struct LaneState {
    /// The least wait of this interval; none when nothing was measured.
    least: Option<Duration>,
    depth: u64,
    served: u64,
    /// Units per second that the queue can give away, averaged over about four
    /// intervals in which something was left waiting.
    rate: f64,
    on: bool,
    /// Intervals in a row below half the target while on.
    calm: u32,
    /// The calm intervals that a release needs.
    needed: u32,
    /// Intervals since the last release.
    released: u32,
}

impl LoadController {
    /// A controller that conditions nothing yet.
    #[must_use]
    pub fn new(options: LoadOptions, now: Mono) -> Self {
        Self { options, policies: BTreeMap::new(), tenants: BTreeMap::new(), others: Tenant::default(), began: now }
    }

    /// Gives one tenant policies of its own; those of
    /// [`LoadOptions::policies`] hold for all others. Applies to the lanes
    /// conditioned from the next decision on. The caller bounds how many.
    pub fn set_policies(&mut self, tenant: TenantId, policies: [Policy; Lane::COUNT]) {
        self.policies.insert(tenant, policies);
    }

    /// Notes what was measured; any number of times per interval.
    pub fn observe(&mut self, tenant: TenantId, lane: Lane, sample: LoadSample) {
        let room = self.tenants.len() < self.options.tenants;
        let entry = if room || self.tenants.contains_key(&tenant) {
            self.tenants.entry(tenant).or_default()
        } else {
            &mut self.others
        };
        let state = &mut entry.lanes[lane.index()];
        let wait = if sample.depth == 0 && sample.served == 0 { Duration::ZERO } else { sample.wait };
        state.least = Some(state.least.map_or(wait, |least| least.min(wait)));
        state.depth = sample.depth;
        state.served = state.served.saturating_add(sample.served);
    }

    /// Once per interval: decides, and adds to `changes` what begins and ends.
    /// Within an interval does nothing. Answers when to call next.
    pub fn decide(&mut self, now: Mono, changes: &mut Vec<LoadChange>) -> Mono {
        let interval = self.options.interval;
        let elapsed = now - self.began;
        if elapsed < interval {
            return self.began + interval;
        }
        self.began = now;
        let memory = self.options.memory;
        for (id, tenant) in &mut self.tenants {
            let policies = self.policies.get(id).unwrap_or(&self.options.policies);
            tenant.decide(*id, policies, &self.options, elapsed, changes);
        }
        // Nobody in particular is told of the shared entry's changes; whoever
        // asks by `conditioning` sees them.
        let mut shared = Vec::new();
        self.others.decide(TenantId::default(), &self.options.policies, &self.options, elapsed, &mut shared);
        self.tenants.retain(|_, tenant| tenant.idle < memory.max(1) || tenant.lanes.iter().any(|lane| lane.on));
        now + interval
    }

    /// What holds for a tenant's lane. For `Refuse` the time is that of the
    /// last decision.
    #[must_use]
    pub fn conditioning(&self, tenant: TenantId, lane: Lane) -> Conditioning {
        let state = &self.tenants.get(&tenant).unwrap_or(&self.others).lanes[lane.index()];
        if !state.on {
            return Conditioning::None;
        }
        let policies = self.policies.get(&tenant).unwrap_or(&self.options.policies);
        state.conditioning(policies[lane.index()], self.options.targets[lane.index()], &self.options)
    }

    /// The depth that a conditioned lane may keep: what is served within its
    /// target, one unit at least.
    #[must_use]
    pub fn allowance(&self, tenant: TenantId, lane: Lane) -> u64 {
        let state = &self.tenants.get(&tenant).unwrap_or(&self.others).lanes[lane.index()];
        state.allowance(self.options.targets[lane.index()])
    }
}

impl Tenant {
    fn decide(
        &mut self,
        id: TenantId,
        policies: &[Policy; Lane::COUNT],
        options: &LoadOptions,
        elapsed: Duration,
        changes: &mut Vec<LoadChange>,
    ) {
        let mut loaded = false;
        let (mut start, mut stop) = (None, None);
        for lane in Lane::all() {
            let state = &mut self.lanes[lane.index()];
            let measured = state.least.take();
            let wait = measured.unwrap_or(Duration::ZERO);
            loaded |= measured.is_some() && (state.depth > 0 || state.served > 0);
            state.measure(elapsed);
            let target = options.targets[lane.index()];
            if state.on {
                state.calm = if wait <= target / 2 { state.calm.saturating_add(1) } else { 0 };
                if stop.is_none() && state.calm >= state.needed {
                    stop = Some(lane);
                }
            } else {
                state.released = state.released.saturating_add(1);
                // The last one found is the least urgent.
                if wait > target {
                    start = Some(lane);
                }
            }
        }
        self.idle = if loaded { 0 } else { self.idle.saturating_add(1) };
        let mut tell = |state: &LaneState, lane: Lane| {
            let conditioning = if state.on {
                state.conditioning(policies[lane.index()], options.targets[lane.index()], options)
            } else {
                Conditioning::None
            };
            changes.push(LoadChange { tenant: id, lane, conditioning });
        };
        if let Some(lane) = start {
            let state = &mut self.lanes[lane.index()];
            let early = state.needed > 0 && state.released <= options.memory;
            let most = options.release_most.max(1);
            state.needed = if early { state.needed.saturating_mul(2).min(most) } else { 1 };
            (state.on, state.calm) = (true, 0);
            tell(state, lane);
        } else if let Some(lane) = stop {
            // Nothing is released while something else is still too slow.
            let state = &mut self.lanes[lane.index()];
            (state.on, state.released) = (false, 0);
            tell(state, lane);
        }
    }
}

impl LaneState {
    fn measure(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let rate = std::mem::take(&mut self.served) as f64 / seconds;
        if self.depth == 0 {
            // Nothing is left waiting: what could have been served is this at least.
            self.rate = self.rate.max(rate);
        } else if self.rate == 0.0 {
            self.rate = rate;
        } else {
            self.rate += (rate - self.rate) / 4.0;
        }
    }

    fn allowance(&self, target: Duration) -> u64 {
        ((self.rate * target.as_secs_f64()) as u64).max(1)
    }

    fn conditioning(&self, policy: Policy, target: Duration, options: &LoadOptions) -> Conditioning {
        match policy {
            Policy::Wait => Conditioning::Wait,
            Policy::ShedOldest => Conditioning::ShedOldest,
            Policy::ShedNewest => Conditioning::ShedNewest,
            Policy::Conflate => Conditioning::Conflate,
            Policy::Spill => Conditioning::Spill,
            Policy::Refuse => {
                let excess = self.depth.saturating_sub(self.allowance(target)) as f64;
                let most = options.retry_most.as_secs_f64();
                // With nothing served the quotient is infinite or no number.
                let seconds = (excess / self.rate).min(most);
                let seconds = if seconds.is_finite() { seconds } else { most };
                let least = options.retry_least.min(options.retry_most);
                Conditioning::Refuse { retry_after: Duration::from_secs_f64(seconds.max(0.0)).max(least) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
