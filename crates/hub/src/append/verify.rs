//! The verify stage: reads all that the streams of this hub have on the disk,
//! slowly and all the time, so that damage is found while another copy is there
//! and not when somebody needs the event. It also looks at what is damaged and
//! writes what is repaired (see [`super::mend`]), before it reads on.
//!
//! On a thread of its own, because it waits for the disk and syncs must not
//! wait behind it. Goes around the streams a step at a time, at most
//! `storage.verify` bytes a second and each stream once per
//! `storage.verify_every`; how far it is, is not kept over a restart. What it
//! finds stands in the stream's [`Health`] until a later pass finds it no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use weft_base::sync::{Mutex, MutexGuard};
use weft_base::{ByteCount, Mono, Now};
use weft_log::{Damage, Verifier};
use weft_ring::stage::{Stage, StageWaker};

use super::mend::{ToMend, Worker};
use crate::counters::{Counters, add};
use crate::options::Storage;
use crate::outbox::Outbox;
use crate::replicate::ToReplicate;

/// What is read at a time, at most; but at least one block.
const STEP: u64 = 256 << 10;
/// The places of a stream that are remembered. Of what is beyond, only that
/// there is something.
const MOST: usize = 256;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder's change is one insertion or removal: nothing is half done.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is known to be damaged in one stream. Shared by the append stage, which
/// shows it, and the verify stage.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The pass that is under way; what opening found is of pass 0.
    pass: u64,
    /// By segment and offset: what is wrong, and the pass that saw it last.
    places: BTreeMap<(u64, u64), (Damage, u64)>,
    /// The pass that last found more than fits.
    more: Option<u64>,
}

impl Health {
    /// With what opening the log found.
    pub(crate) fn new(found: &[Damage]) -> Self {
        let health = Self::default();
        for damage in found {
            health.note(damage);
        }
        health
    }

    /// How many places are known.
    pub(crate) fn places(&self) -> u64 {
        locked(&self.0).places.len() as u64
    }

    /// Takes note; answers whether this is new.
    fn note(&self, damage: &Damage) -> bool {
        let mut known = locked(&self.0);
        let (pass, place) = (known.pass, (damage.segment, damage.offset));
        if let Some(seen) = known.places.get_mut(&place) {
            seen.1 = pass;
            return false;
        }
        if known.places.len() >= MOST {
            known.more = Some(pass);
            return false;
        }
        known.places.insert(place, (damage.clone(), pass));
        true
    }

    /// What is at this place was repaired.
    pub(super) fn mended(&self, segment: u64, offset: u64) {
        locked(&self.0).places.remove(&(segment, offset));
    }

    fn pass_begins(&self) {
        locked(&self.0).pass += 1;
    }

    /// Forgets what this pass did not find any more.
    fn pass_ends(&self) {
        let mut known = locked(&self.0);
        let pass = known.pass;
        known.places.retain(|_, seen| seen.1 == pass);
        known.more = known.more.filter(|seen| *seen == pass);
    }

    /// What an operator is told; empty while nothing is wrong. `oldest` is the
    /// first segment that the log still has.
    pub(crate) fn shown(&self, oldest: u64) -> String {
        let known = locked(&self.0);
        let mut there = known.places.range((oldest, 0)..);
        let Some((_, (first, _))) = there.next() else { return String::new() };
        match (there.count(), known.more) {
            (0, None) => first.to_string(),
            (others, more) => {
                let at_least = if more.is_some() { "at least " } else { "" };
                format!("{first}; {at_least}{others} more places are damaged")
            }
        }
    }
}

/// A stream to verify.
struct Check {
    stream: String,
    verifier: Verifier,
    /// Gone with the stream.
    health: Weak<Health>,
    /// A pass is under way.
    begun: bool,
    /// When the next pass may begin; in the past while one is under way.
    due: Mono,
}

/// The streams that the verify stage has not taken in yet.
#[derive(Default)]
pub(crate) struct ToVerify(Mutex<Vec<Check>>);

impl ToVerify {
    /// A stream to verify for as long as its health is held.
    pub(crate) fn add(&self, stream: &str, verifier: Verifier, health: &Arc<Health>) {
        let health = Arc::downgrade(health);
        let check = Check { stream: stream.to_owned(), verifier, health, begun: false, due: Mono(0) };
        locked(&self.0).push(check);
    }
}

/// The stage.
pub(crate) struct VerifyStage {
    arrivals: Arc<ToVerify>,
    mend: Arc<ToMend>,
    worker: Worker,
    replicate: Outbox<ToReplicate>,
    checks: Vec<Check>,
    /// Where to go on among them.
    at: usize,
    /// Bytes a second, not 0.
    rate: u64,
    every: Duration,
    /// Not before this, by the rate.
    pause: Mono,
    counters: Arc<Counters>,
    waker: StageWaker,
}

/// What the verify stage is made of.
pub(crate) struct VerifyParts {
    pub(crate) arrivals: Arc<ToVerify>,
    pub(crate) mend: Arc<ToMend>,
    pub(crate) replicate: Outbox<ToReplicate>,
    pub(crate) waker: StageWaker,
}

impl VerifyStage {
    /// `storage.verify` is 0 when nothing is added to `arrivals`.
    pub(crate) fn new(parts: VerifyParts, storage: &Storage, counters: Arc<Counters>) -> Self {
        Self {
            arrivals: parts.arrivals,
            mend: parts.mend,
            worker: Worker::default(),
            replicate: parts.replicate,
            checks: Vec::new(),
            at: 0,
            rate: storage.verify.0.max(1),
            every: storage.verify_every,
            pause: Mono(0),
            counters,
            waker: parts.waker,
        }
    }

    /// The next stream whose turn it is.
    fn next_due(&self, now: Mono) -> Option<usize> {
        let len = self.checks.len();
        (0..len).map(|n| (self.at + n) % len).find(|n| self.checks.get(*n).is_some_and(|check| check.due <= now))
    }
}

impl Stage for VerifyStage {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn do_work(&mut self, now: Now) -> usize {
        if self.replicate.has_room(1)
            && let Some(job) = self.mend.take()
        {
            self.replicate.push(self.worker.work(job, now));
            self.replicate.notify();
            return 1;
        }
        self.checks.append(&mut locked(&self.arrivals.0));
        self.checks.retain(|check| check.health.strong_count() > 0);
        if now.mono < self.pause {
            return 0;
        }
        let Some(at) = self.next_due(now.mono) else { return 0 };
        self.at = at + 1;
        let Some(check) = self.checks.get_mut(at) else { return 0 };
        let Some(health) = check.health.upgrade() else { return 0 };
        if !std::mem::replace(&mut check.begun, true) {
            health.pass_begins();
            // This pass ends when it ends; the one after it is due then.
            check.due = now.mono;
        }
        let verified = check.verifier.step(ByteCount(STEP.min(self.rate / 4).max(1)));
        for damage in verified.damaged.iter().filter(|damage| health.note(damage)) {
            add(&self.counters.log_damaged, 1);
            tell(&check.stream, damage);
        }
        if verified.done {
            health.pass_ends();
            check.begun = false;
            check.due = check.due + self.every;
        }
        add(&self.counters.log_verified_bytes, verified.bytes);
        let nanos = u128::from(verified.bytes) * 1_000_000_000 / u128::from(self.rate);
        self.pause = now.mono + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        1
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.checks.iter().map(|check| check.due.max(self.pause)).min()
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}

/// Logs a damage, once each.
pub(crate) fn tell(stream: &str, damage: &Damage) {
    let Damage { segment, offset, clause } = damage;
    tracing::error!(
        code = "stream_damaged",
        stream,
        segment,
        offset,
        clause,
        "a stream is damaged; the rest is served"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(segment: u64, offset: u64) -> Damage {
        Damage { segment, offset, clause: "wrong".to_owned() }
    }

    #[test]
    fn damage_is_new_once_and_forgotten_by_the_pass_that_does_not_find_it() {
        let health = Health::new(&[damage(1, 4096)]);
        health.pass_begins();
        assert!(!health.note(&damage(1, 4096)), "opening found it");
        assert!(health.note(&damage(2, 5000)));
        assert!(!health.note(&damage(2, 5000)));
        health.pass_ends();
        let shown = health.shown(1);
        assert!(shown.contains("byte 4096") && shown.contains("1 more"), "{shown}");
        assert!(health.shown(2).contains("byte 5000"), "retention took segment 1: {}", health.shown(2));
        assert_eq!(health.shown(3), "");
        health.pass_begins();
        health.note(&damage(2, 5000));
        health.pass_ends();
        assert_eq!((health.places(), health.shown(1)), (1, damage(2, 5000).to_string()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let health = Health::default();
        let new = (0..MOST as u64 + 9).filter(|at| health.note(&damage(1, *at))).count();
        assert_eq!((new, health.places()), (MOST, MOST as u64));
        assert!(health.shown(1).contains("at least 255 more"), "{}", health.shown(1));
    }
}
