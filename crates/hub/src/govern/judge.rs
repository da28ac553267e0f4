//! The judge stage: answers whether somebody may do something, and says so again
//! when the answer becomes another one.
//!
//! On a thread of its own, because an answer may take a millisecond: who waits for
//! one waits alone. It keeps the questions whose answers are in use, each once
//! however many sessions use it, and answers them anew when there is a new state
//! or when an answer's time is over. Bound per turn: [`BATCH`] answers of each
//! kind. It takes a question only while the net stage has room for the answer.
//! Beyond [`MOST_IN_USE`] questions, or [`MOST_OF_SESSION`] of one session, what is
//! new is refused: nothing is allowed whose answer could not be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{Mono, Now, UnixNanos};
use weft_govern::access::{Ask, Judge, Place, Verdict};
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};

use super::aside::Reply;
use super::{Governed, Quotas};
use crate::Identity;
use crate::counters::{Counters, add, set};
use crate::messages::{SessionId, ToNet};
use crate::outbox::{Outbox, backlog};

/// Answers of each kind in one turn.
const BATCH: usize = 64;
/// Questions in use at a time, of all sessions.
const MOST_IN_USE: usize = 262_144;
/// Of one session: what it publishes to, twice as much as it remembers of that,
/// and its subscriptions.
const MOST_OF_SESSION: usize = 16_384;
/// Documents that are not understood that are named in the log, of one state.
const MOST_FAULTS: usize = 16;
/// After how long it looks again whether the net stage has room.
const RETRY: Duration = Duration::from_millis(1);

/// Inbox of the judge stage.
pub(crate) enum ToJudge {
    /// A session asks. `keep`: it uses the answer until it says otherwise, and is
    /// to know when it becomes another one.
    Ask { session: SessionId, ask: Arc<Ask>, keep: bool },
    /// Somebody who is no session of the hub asks, once.
    Aside { ask: Arc<Ask>, reply: Reply<Arc<Verdict>> },
    /// A session does not use the answers to these any more.
    Release { session: SessionId, asks: Vec<Arc<Ask>> },
    /// A session has ended.
    Closed { session: SessionId },
}

/// An answer, of a question or anew.
pub(crate) struct Judged {
    pub(crate) session: SessionId,
    pub(crate) ask: Arc<Ask>,
    pub(crate) verdict: Arc<Verdict>,
}

/// A question whose answer is in use.
struct InUse {
    verdict: Arc<Verdict>,
    /// How often the judge had learned when it answered.
    learned: u64,
    /// By whom, and for how many things.
    by: BTreeMap<SessionId, u32>,
}

/// What the stage is made of.
struct JudgeParts {
    judge: Box<dyn Judge>,
    governed: Governed,
    /// Where what may be used is put, for the stages that count it.
    quotas: Arc<ArcSwap<Quotas>>,
    place: Place,
    inbox: mpsc::Consumer<ToJudge>,
    net: Outbox<ToNet>,
    counters: Arc<Counters>,
    waker: StageWaker,
}

/// The stage.
pub(crate) struct JudgeStage {
    parts: JudgeParts,
    /// The version learned last; none before the first.
    version: Option<u64>,
    /// How often it has learned.
    learned: u64,
    in_use: BTreeMap<Arc<Ask>, InUse>,
    by_session: BTreeMap<SessionId, BTreeSet<Arc<Ask>>>,
    /// How many were answered by an earlier state.
    stale: usize,
    /// The question answered anew last.
    cursor: Option<Arc<Ask>>,
    /// When answers are over.
    due: BTreeSet<(UnixNanos, Arc<Ask>)>,
    next: Option<Mono>,
    now: Now,
}

impl JudgeStage {
    /// The stage, and the ways in to it: of the net stage, and of servers beside the hub.
    pub(crate) fn open(
        judge: Box<dyn Judge>,
        (governed, quotas): (Governed, Arc<ArcSwap<Quotas>>),
        identity: &Identity,
        net: Outbox<ToNet>,
        (counters, slots): (Arc<Counters>, usize),
    ) -> (Self, (Outbox<ToJudge>, Outbox<ToJudge>)) {
        let waker = StageWaker::parking();
        let (to_judge, inbox) = mpsc::ring(slots);
        let place = Place {
            hub: identity.name.as_str().into(),
            region: identity.region.as_str().into(),
            labels: identity.labels.iter().map(|label| label.as_str().into()).collect(),
        };
        let out = (Outbox::new(&to_judge, &waker), Outbox::new(&to_judge, &waker));
        (Self::new(JudgeParts { judge, governed, quotas, place, inbox, net, counters, waker }), out)
    }

    fn new(parts: JudgeParts) -> Self {
        parts.governed.watch(parts.waker.clone());
        Self {
            parts,
            version: None,
            learned: 0,
            in_use: BTreeMap::new(),
            by_session: BTreeMap::new(),
            stale: 0,
            cursor: None,
            due: BTreeSet::new(),
            next: None,
            now: Now::default(),
        }
    }

    /// Takes in a new state. Answers whether there was one.
    fn learn(&mut self) -> bool {
        if self.version == Some(self.parts.governed.version()) {
            return false;
        }
        let state = self.parts.governed.state();
        let faults = self.parts.judge.learn(&state);
        for fault in faults.iter().take(MOST_FAULTS) {
            let (key, what) = (&fault.key, &fault.what);
            tracing::warn!(
                code = "govern_fault",
                key,
                what,
                "a document is not understood, and forbids what it speaks of"
            );
        }
        let quotas = Quotas::of(&state);
        if **self.parts.quotas.load() != quotas {
            self.parts.quotas.store(Arc::new(quotas));
        }
        let counts = &self.parts.counters.govern;
        set(&counts.version, state.version());
        set(&counts.faults, faults.len() as u64);
        tracing::info!(code = "governed", version = state.version(), faults = faults.len(), "there is a new state");
        self.version = Some(state.version());
        self.learned += 1;
        self.stale = self.in_use.len();
        true
    }

    fn verdict(&self, ask: &Ask) -> Arc<Verdict> {
        let verdict = self.parts.judge.judge(ask, &self.parts.place, self.now.wall);
        if !verdict.allowed {
            add(&self.parts.counters.govern.denied, 1);
        }
        Arc::new(verdict)
    }

    fn refusal(&self, why: &str) -> Arc<Verdict> {
        let version = self.version.unwrap_or_default();
        Arc::new(Verdict { allowed: false, version, until: None, rules: Arc::default(), reason: why.into() })
    }

    fn on_message(&mut self, message: ToJudge) {
        match message {
            ToJudge::Ask { session, ask, keep } => {
                add(&self.parts.counters.govern.asked, 1);
                let verdict = if keep { self.keep(session, &ask) } else { self.verdict(&ask) };
                self.parts.net.push(ToNet::Judged(Box::new(Judged { session, ask, verdict })));
            }
            ToJudge::Aside { ask, reply } => {
                add(&self.parts.counters.govern.asked, 1);
                reply(self.verdict(&ask));
            }
            ToJudge::Release { session, asks } => {
                for ask in &asks {
                    self.release(session, ask, false);
                }
            }
            ToJudge::Closed { session } => {
                for ask in self.by_session.remove(&session).unwrap_or_default() {
                    self.release(session, &ask, true);
                }
            }
        }
    }

    /// Answers a question whose answer is used from now on.
    fn keep(&mut self, session: SessionId, ask: &Arc<Ask>) -> Arc<Verdict> {
        let of_session = self.by_session.get(&session).map_or(0, BTreeSet::len);
        let is_new = !self.in_use.contains_key(ask);
        if (is_new && self.in_use.len() >= MOST_IN_USE) || of_session >= MOST_OF_SESSION {
            let why = "the hub keeps as many decisions as it can: use fewer topics and subscriptions, or another hub";
            return self.refusal(why);
        }
        let known = self.in_use.get(ask).filter(|used| used.learned == self.learned);
        let known = known.filter(|used| used.verdict.until.is_none_or(|until| until > self.now.wall));
        let verdict = match known {
            Some(used) => used.verdict.clone(),
            None => self.verdict(ask),
        };
        // Those who use it already hear of it too, if it is another.
        self.answer_anew(ask, &verdict);
        let (learned, mine) = (self.learned, verdict.clone());
        let key = self.in_use.get_key_value(ask).map_or_else(|| ask.clone(), |(key, _)| key.clone());
        if is_new && let Some(until) = mine.until {
            self.due.insert((until, key.clone()));
        }
        let used =
            self.in_use.entry(key.clone()).or_insert_with(|| InUse { verdict: mine, learned, by: BTreeMap::new() });
        *used.by.entry(session).or_default() += 1;
        self.by_session.entry(session).or_default().insert(key);
        verdict
    }

    /// Puts an answer in the place of the one in use, and tells who uses it where
    /// it is another one.
    fn answer_anew(&mut self, ask: &Arc<Ask>, verdict: &Arc<Verdict>) {
        let Some((key, _)) = self.in_use.get_key_value(ask) else { return };
        let key = key.clone();
        let Some(used) = self.in_use.get_mut(ask) else { return };
        if used.learned != self.learned {
            self.stale = self.stale.saturating_sub(1);
            used.learned = self.learned;
        }
        let before = std::mem::replace(&mut used.verdict, verdict.clone());
        if before.until != verdict.until {
            before.until.map(|until| self.due.remove(&(until, key.clone())));
            verdict.until.map(|until| self.due.insert((until, key.clone())));
        }
        if before.allowed != verdict.allowed {
            add(&self.parts.counters.govern.turned, 1);
            for session in used.by.keys() {
                let judged = Judged { session: *session, ask: key.clone(), verdict: verdict.clone() };
                self.parts.net.push(ToNet::Judged(Box::new(judged)));
            }
        }
    }

    /// A session uses an answer for one thing less, or not at all any more.
    fn release(&mut self, session: SessionId, ask: &Arc<Ask>, wholly: bool) {
        let Some(used) = self.in_use.get_mut(ask) else { return };
        let Some(count) = used.by.get_mut(&session) else { return };
        *count -= 1;
        if *count > 0 && !wholly {
            return;
        }
        used.by.remove(&session);
        if let Some(asks) = self.by_session.get_mut(&session) {
            asks.remove(ask);
            if asks.is_empty() {
                self.by_session.remove(&session);
            }
        }
        if used.by.is_empty()
            && let Some((key, used)) = self.in_use.remove_entry(ask)
        {
            self.stale = self.stale.saturating_sub(usize::from(used.learned != self.learned));
            used.verdict.until.map(|until| self.due.remove(&(until, key)));
        }
    }

    /// Answers anew what an earlier state had answered, a bounded number. Goes on
    /// behind the last one, around, so that states that come fast keep none waiting.
    fn answer_stale(&mut self) -> usize {
        let mut work = 0;
        while self.stale > 0 && work < BATCH && self.parts.net.has_room(1) {
            let from = self.cursor.take().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.in_use.range((from, Bound::Unbounded)).find(|(_, used)| used.learned != self.learned);
            let Some((ask, _)) = next else {
                let first = self.in_use.iter().find(|(_, used)| used.learned != self.learned);
                let Some((ask, _)) = first else {
                    debug_assert!(false, "what is counted as stale is there");
                    self.stale = 0;
                    break;
                };
                self.answer_one(&ask.clone());
                work += 1;
                continue;
            };
            self.answer_one(&ask.clone());
            work += 1;
        }
        work
    }

    fn answer_one(&mut self, ask: &Arc<Ask>) {
        let verdict = self.verdict(ask);
        self.answer_anew(ask, &verdict);
        self.cursor = Some(ask.clone());
    }

    /// Answers anew what has had its time, a bounded number.
    fn answer_due(&mut self) -> usize {
        let mut work = 0;
        while work < BATCH
            && self.parts.net.has_room(1)
            && let Some((until, ask)) = self.due.first().cloned()
            && until <= self.now.wall
        {
            let verdict = self.verdict(&ask);
            // A judge that gives the same time again is asked again in a while, not at once.
            let again = UnixNanos(self.now.wall.0.saturating_add(100_000_000));
            let verdict = match verdict.until {
                Some(until) if until <= self.now.wall => Arc::new(Verdict { until: Some(again), ..(*verdict).clone() }),
                _ => verdict,
            };
            self.due.remove(&(until, ask.clone()));
            self.answer_anew(&ask, &verdict);
            work += 1;
        }
        work
    }

    /// When there is something to do without a message.
    fn deadline(&self, blocked: bool) -> Option<Mono> {
        if blocked {
            return Some(self.now.mono + RETRY);
        }
        let (until, _) = self.due.first()?;
        Some(self.now.mono + Duration::from_nanos(until.0.saturating_sub(self.now.wall.0)))
    }
}

impl Stage for JudgeStage {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        let mut work = usize::from(self.learn());
        let mut asked = 0;
        while asked < BATCH
            && self.parts.net.has_room(1)
            && let Some(message) = self.parts.inbox.pop()
        {
            asked += 1;
            self.on_message(message);
        }
        work += asked + self.answer_stale() + self.answer_due();
        let counts = &self.parts.counters.govern;
        set(&counts.in_use, self.in_use.len() as u64);
        set(&counts.stale, self.stale as u64);
        self.parts.net.notify();
        let blocked = !self.parts.net.has_room(1);
        self.next = self.deadline(blocked);
        work
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.parts.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.next
    }

    fn load(&self) -> Backlog {
        backlog(&self.parts.inbox)
    }
}
