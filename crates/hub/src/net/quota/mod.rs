//! What tenants and identities use at this hub, and what becomes of what is beyond
//! their quotas: a publish waits, with its session, up to [`MOST_WAIT`], and is
//! refused where it would have to wait longer (dropped and counted where nobody
//! asked for an answer); a delivery is dropped and its subscriber told of the gap;
//! connections, subscriptions and bytes in flight are refused.
//!
//! One meter for each tenant and each identity that has a quota, none for others:
//! who is not limited pays for nothing. So one tenant's excess waits and is refused
//! by itself, whatever others do.

mod rate;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weft_base::Mono;
use weft_govern::access::Principal;
use weft_govern::document::Quota;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockMut;
use weft_wire::block::{Block, MAX_EVENTS};
use weft_wire::frame::{AckLevel, ErrorCode};

use self::rate::Rate;
use super::NetStage;
use super::rights::Kept;
use crate::counters::{HeldBy, add};
use crate::govern::{Owner, Quotas};
use crate::messages::SessionId;

/// The longest that a publish waits for its quota. A session waits in order, so
/// what it sent behind waits as well.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// What one owner of a quota uses.
#[derive(Debug, Default)]
struct Meter {
    quota: Quota,
    publish_events: Rate,
    publish_bytes: Rate,
    deliver_events: Rate,
    deliver_bytes: Rate,
    sessions: u64,
    subscriptions: u64,
    in_flight: u64,
}

/// What all of them use.
#[derive(Debug, Default)]
pub(in crate::net) struct Meters {
    quotas: Arc<Quotas>,
    all: Vec<Meter>,
    by_owner: BTreeMap<Owner, usize>,
}

/// How a session is metered.
#[derive(Debug, Default)]
pub(in crate::net) struct Metered {
    /// Its tenant's meter and its own, where there are any.
    by: Vec<usize>,
    /// Some of them limits what is delivered.
    delivers: bool,
    /// Some of them limits bytes in flight.
    flies: bool,
    /// Bytes of publishes that are not answered, by request.
    in_flight: HashMap<u64, u64>,
}

impl Metered {
    /// Whether what is delivered to it is counted.
    #[inline]
    pub(in crate::net) fn counts_deliveries(&self) -> bool {
        self.delivers
    }

    fn bytes(&self) -> u64 {
        self.in_flight.values().sum()
    }
}

impl Meters {
    /// Other quotas are in force. What was used up to now counts on.
    fn replace(&mut self, quotas: Arc<Quotas>) {
        let mut before: BTreeMap<Owner, Meter> = BTreeMap::new();
        let mut old: Vec<Option<Meter>> = std::mem::take(&mut self.all).into_iter().map(Some).collect();
        for (owner, at) in std::mem::take(&mut self.by_owner) {
            if let Some(meter) = old.get_mut(at).and_then(Option::take) {
                before.insert(owner, meter);
            }
        }
        for (owner, quota) in quotas.iter() {
            let known = before.remove(owner).unwrap_or_default();
            let meter = Meter { quota: quota.clone(), sessions: 0, subscriptions: 0, in_flight: 0, ..known };
            self.by_owner.insert(owner.clone(), self.all.len());
            self.all.push(meter);
        }
        self.quotas = quotas;
    }

    /// The meters of somebody.
    fn of(&self, who: &Principal) -> Vec<usize> {
        let tenant = who.tenant.clone().map(Owner::Tenant);
        let owners = tenant.into_iter().chain([Owner::Identity(who.name.clone())]);
        owners.filter_map(|owner| self.by_owner.get(&owner).copied()).collect()
    }

    fn metered(&self, who: &Principal) -> Metered {
        let by = self.of(who);
        let any = |is: fn(&Quota) -> bool| by.iter().filter_map(|at| self.all.get(*at)).any(|meter| is(&meter.quota));
        let delivers = any(|quota| quota.deliver_events.is_some() || quota.deliver_bytes.is_some());
        let flies = any(|quota| quota.in_flight_bytes.is_some());
        Metered { by, delivers, flies, in_flight: HashMap::new() }
    }

    fn each(&mut self, by: &[usize], mut f: impl FnMut(&mut Meter)) {
        for at in by {
            if let Some(meter) = self.all.get_mut(*at) {
                f(meter);
            }
        }
    }

    /// Who of these has used up something of which one more is asked for.
    fn exceeded(&self, by: &[usize], more: u64, of: impl Fn(&Meter) -> (Option<u64>, u64)) -> Option<(&Owner, u64)> {
        let over = |at: &&usize| {
            self.all.get(**at).is_some_and(|meter| {
                let (most, used) = of(meter);
                most.is_some_and(|most| used.saturating_add(more) > most)
            })
        };
        let at = *by.iter().find(over)?;
        let (owner, _) = self.by_owner.iter().find(|(_, of)| **of == at)?;
        Some((owner, self.all.get(at).and_then(|meter| of(meter).0)?))
    }

    /// Takes a publish in. Answers how long it has to wait; or how long it would
    /// have to, where that is too long and it is not taken in.
    fn publish(&mut self, by: &[usize], (events, bytes): (u64, u64), now: Mono) -> Result<Duration, Duration> {
        let mut wait = Duration::ZERO;
        self.each(by, |meter| {
            if let Some(rate) = meter.quota.publish_events {
                wait = wait.max(meter.publish_events.wait(rate, now));
            }
            if let Some(rate) = meter.quota.publish_bytes {
                wait = wait.max(meter.publish_bytes.wait(rate, now));
            }
        });
        if wait > MOST_WAIT {
            return Err(wait);
        }
        self.each(by, |meter| {
            if let Some(rate) = meter.quota.publish_events {
                meter.publish_events.take(rate, events, now);
            }
            if let Some(rate) = meter.quota.publish_bytes {
                meter.publish_bytes.take(rate, bytes, now);
            }
        });
        Ok(wait)
    }

    /// Takes a delivery in, or answers that it is beyond the quota.
    pub(in crate::net) fn deliver(&mut self, metered: &Metered, (events, bytes): (u64, u64), now: Mono) -> bool {
        let mut fits = true;
        self.each(&metered.by, |meter| {
            fits &= meter.quota.deliver_events.is_none_or(|rate| meter.deliver_events.wait(rate, now).is_zero());
            fits &= meter.quota.deliver_bytes.is_none_or(|rate| meter.deliver_bytes.wait(rate, now).is_zero());
        });
        if fits {
            self.each(&metered.by, |meter| {
                if let Some(rate) = meter.quota.deliver_events {
                    meter.deliver_events.take(rate, events, now);
                }
                if let Some(rate) = meter.quota.deliver_bytes {
                    meter.deliver_bytes.take(rate, bytes, now);
                }
            });
        }
        fits
    }
}

fn shown(owner: &Owner) -> String {
    match owner {
        Owner::Tenant(name) => format!("tenant `{name}`"),
        Owner::Identity(name) => format!("identity `{name}`"),
    }
}

impl NetStage {
    /// Whether somebody may have one more connection; if not, why.
    pub(in crate::net) fn connections_of(&self, who: &Principal) -> Result<(), String> {
        let Some(governing) = &self.governing else { return Ok(()) };
        let meters = &governing.meters;
        let by = meters.of(who);
        match meters.exceeded(&by, 1, |meter| (meter.quota.connections, meter.sessions)) {
            Some((owner, most)) => Err(format!("{} has {most} connections, its quota at each hub", shown(owner))),
            None => Ok(()),
        }
    }

    /// How a session that begins is metered.
    pub(in crate::net) fn meter(&mut self, who: &Principal) -> Metered {
        let Some(governing) = &mut self.governing else { return Metered::default() };
        let metered = governing.meters.metered(who);
        governing.meters.each(&metered.by, |meter| meter.sessions += 1);
        metered
    }

    /// A session has ended, with so many subscriptions.
    pub(in crate::net) fn unmeter(&mut self, metered: &Metered, subscriptions: u64) {
        let Some(governing) = &mut self.governing else { return };
        let bytes = metered.bytes();
        governing.meters.each(&metered.by, |meter| {
            meter.sessions = meter.sessions.saturating_sub(1);
            meter.subscriptions = meter.subscriptions.saturating_sub(subscriptions);
            meter.in_flight = meter.in_flight.saturating_sub(bytes);
        });
    }

    /// Subscriptions of a session have begun or ended.
    pub(in crate::net) fn meter_subscriptions(&mut self, id: SessionId, begun: u64, ended: u64) {
        let Some(governing) = &mut self.governing else { return };
        let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let Some(rights) = found.and_then(|c| c.rights.as_deref()) else { return };
        governing.meters.each(&rights.metered.by, |meter| {
            meter.subscriptions = (meter.subscriptions + begun).saturating_sub(ended);
        });
    }

    /// Whether a session may have one more subscription; if not, why.
    pub(in crate::net) fn subscriptions_of(&self, metered: &Metered) -> Result<(), String> {
        let Some(governing) = &self.governing else { return Ok(()) };
        match governing.meters.exceeded(&metered.by, 1, |meter| (meter.quota.subscriptions, meter.subscriptions)) {
            Some((owner, most)) => Err(format!("{} has {most} subscriptions, its quota at each hub", shown(owner))),
            None => Ok(()),
        }
    }

    /// A publish that is allowed: counted, and taken in now, later or not at all.
    #[inline]
    pub(in crate::net) fn meter_publish(
        &mut self,
        id: SessionId,
        request: u64,
        asked: (AckLevel, u8),
        block: BlockMut,
    ) {
        let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let metered = found.and_then(|c| c.rights.as_deref_mut()).map(|rights| &mut rights.metered);
        let (Some(metered), Some(governing)) = (metered.filter(|m| !m.by.is_empty()), &mut self.governing) else {
            return self.on_publish(id, request, asked, block);
        };
        let (now, bytes) = (self.now.mono, block.len() as u64);
        let events = u64::from(Block::trusted(&block).event_count().min(MAX_EVENTS));
        let meters = &mut governing.meters;
        if metered.flies && asked.0 != AckLevel::None {
            let over = meters.exceeded(&metered.by, bytes, |meter| (meter.quota.in_flight_bytes, meter.in_flight));
            if let Some((owner, most)) = over {
                let detail = format!("{} has {most} bytes in flight, its quota: wait for answers", shown(owner));
                return self.over_quota(id, request, asked.0, &block, (Duration::from_millis(100), &detail));
            }
        }
        let wait = match meters.publish(&metered.by, (events, bytes), now) {
            Ok(wait) => wait,
            Err(wait) => {
                let detail = "the tenant or the identity publishes more than its quota at each hub";
                return self.over_quota(id, request, asked.0, &block, (wait, detail));
            }
        };
        if metered.flies && asked.0 != AckLevel::None {
            let before = metered.in_flight.insert(request, bytes).unwrap_or_default();
            meters.each(&metered.by, |meter| meter.in_flight = (meter.in_flight + bytes).saturating_sub(before));
        }
        if wait.is_zero() {
            return self.on_publish(id, request, asked, block);
        }
        add(&self.counters.govern.quota_waits, 1);
        let (begun, nanos) = self.counters.publish_stalls.of_lane(HeldBy::Quota, Block::trusted(&block).lane());
        add(begun, 1);
        add(nanos, u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        self.park_until(id, Kept::Metered { request, asked, block }, now + wait);
    }

    /// A publish is answered: its bytes are not in flight any more.
    #[inline]
    pub(in crate::net) fn landed(&mut self, id: SessionId, request: u64) {
        let Some(governing) = &mut self.governing else { return };
        let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let Some(rights) = found.and_then(|c| c.rights.as_deref_mut()).filter(|rights| rights.metered.flies) else {
            return;
        };
        if let Some(bytes) = rights.metered.in_flight.remove(&request) {
            governing.meters.each(&rights.metered.by, |meter| meter.in_flight = meter.in_flight.saturating_sub(bytes));
        }
    }

    fn over_quota(
        &mut self,
        id: SessionId,
        request: u64,
        level: AckLevel,
        block: &[u8],
        (wait, detail): (Duration, &str),
    ) {
        add(&self.counters.govern.over_quota_blocks, 1);
        let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
        let refusal = (ErrorCode::OVER_QUOTA, retry_after_ms, detail);
        self.keep_out(id, request, level, block, refusal, DropReason::OverQuota);
    }

    /// Looks whether other quotas are in force, and meters all sessions by those.
    pub(in crate::net) fn tend_quotas(&mut self) {
        let Some(governing) = &mut self.governing else { return };
        let quotas = governing.quotas.load();
        if Arc::ptr_eq(&quotas, &governing.meters.quotas) {
            return;
        }
        let quotas = Arc::clone(&quotas);
        governing.meters.replace(quotas);
        for connection in self.connections.iter_mut().flatten() {
            let Some(rights) = connection.rights.as_deref_mut() else { continue };
            let in_flight = std::mem::take(&mut rights.metered.in_flight);
            let metered = Metered { in_flight, ..governing.meters.metered(&rights.who) };
            let (bytes, subscriptions) = (metered.bytes(), rights.subscriptions());
            governing.meters.each(&metered.by, |meter| {
                meter.sessions += 1;
                meter.subscriptions += subscriptions;
                meter.in_flight += bytes;
            });
            rights.metered = metered;
        }
    }
}
