//! Receipts: at which hubs this hub's interest is live.
//!
//! Nothing is said at rest. Who waits for a receipt makes this hub ask: a round,
//! flooded, with the version of its interest. Each hub answers once the routes
//! that it goes by have that version, and says at once when they have not yet.
//! Answers go back by the links that the round came by first, which are a tree;
//! each hub on the way gathers what comes for a moment and passes it on in one
//! frame. So a round costs each link one question a direction and each hub the
//! answers of the part of the tree behind it, however many wait for it.
//!
//! An answer counts only for who waited before its round began: what was true
//! earlier may have been forgotten since. Lost questions and answers cost time:
//! the round is repeated, with growing pauses, while somebody waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_base::{Epoch, HubId, Mono};
use weft_wire::frame::{Frame, LiveState, ReceiptAck, ReceiptAsk, ReceiptEntry};

use super::{Command, Mesh};
use crate::{LinkId, MAX_HUBS};

/// The first version of the protocol with receipts.
pub(super) const SINCE: u16 = 2;

/// Where this hub's interest is to be live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveAt {
    /// At so many hubs, this one among them.
    Count(usize),
    /// At all hubs within reach.
    All,
    /// At the hubs of these names.
    Named(Vec<String>),
}

/// How this hub's interest stands at one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    /// The hub's name.
    pub name: String,
    /// The life of it that this is true of; 0 when the hub is not known.
    pub epoch: Epoch,
    /// How.
    pub state: LiveState,
}

/// A question that has come from another hub.
#[derive(Debug)]
pub(super) struct Asked {
    epoch: Epoch,
    round: u64,
    version: u64,
    /// The way back.
    link: LinkId,
    said: Option<LiveState>,
    /// Answers for the way back, and of which round they are.
    gathered: Vec<ReceiptEntry>,
    of_round: u64,
    due: Mono,
}

#[derive(Debug)]
struct Answer {
    epoch: Epoch,
    round: u64,
    state: LiveState,
}

#[derive(Debug)]
struct Waiting {
    at: LiveAt,
    until: Mono,
    /// The first round that counts for it; none before it is asked.
    round: Option<u64>,
}

/// All that is known of receipts.
#[derive(Debug)]
pub(super) struct Receipts {
    /// Counts the snapshots of routes that were made.
    pub(super) made: u64,
    /// The snapshot that this hub goes by.
    published: u64,
    waiting: BTreeMap<u64, Waiting>,
    by_time: BTreeSet<(Mono, u64)>,
    round: u64,
    /// When the last rounds began, those whose answers may count.
    begun: VecDeque<Mono>,
    /// Rounds repeated since somebody new has begun to wait.
    repeated: u32,
    answers: BTreeMap<HubId, Answer>,
    /// When to look who has what they wait for.
    judge: Option<Mono>,
    /// Hubs that asked and were not told yet that their interest is live.
    owed: BTreeSet<HubId>,
    /// Hubs for which answers are gathered.
    gathering: BTreeSet<HubId>,
    /// How often it was looked who has what they wait for, and at how many hubs.
    #[cfg(test)]
    pub(super) judged: (u64, std::cell::Cell<u64>),
}

impl Receipts {
    pub(super) fn new() -> Self {
        Self {
            made: 0,
            published: 0,
            waiting: BTreeMap::new(),
            by_time: BTreeSet::new(),
            round: 0,
            begun: VecDeque::new(),
            repeated: 0,
            answers: BTreeMap::new(),
            judge: None,
            owed: BTreeSet::new(),
            gathering: BTreeSet::new(),
            #[cfg(test)]
            judged: Default::default(),
        }
    }

    /// A hub is out of reach: it may forget what it said is live. Answers the
    /// first round that it can say so in again.
    pub(super) fn lost(&mut self, hub: HubId) -> u64 {
        self.answers.remove(&hub);
        self.round + 1
    }

    pub(super) fn forget(&mut self, hub: HubId) {
        self.answers.remove(&hub);
        self.owed.remove(&hub);
        self.gathering.remove(&hub);
    }
}

/// What the rounds have brought, of all hubs together: one look at the hubs
/// serves all who wait, whichever round is the first that counts for them.
#[derive(Debug)]
struct Standing {
    /// Other hubs within reach.
    near: usize,
    /// Of them, those that say live: in which round last, in order.
    live: Vec<u64>,
    /// Those that say what will not change, live among them: likewise.
    settled: Vec<u64>,
}

impl Standing {
    /// How many said so in this round or later.
    fn since(rounds: &[u64], round: u64) -> usize {
        rounds.len() - rounds.partition_point(|said| *said < round)
    }

    /// At how many hubs it is live, this one among them.
    fn live(&self, round: u64) -> usize {
        1 + Self::since(&self.live, round)
    }

    /// No hub within reach is without it.
    fn is_everywhere(&self, round: u64) -> bool {
        self.live(round) > self.near
    }

    /// Waiting longer changes nothing.
    fn is_settled(&self, round: u64) -> bool {
        Self::since(&self.settled, round) == self.near
    }
}

impl Mesh {
    /// Somebody waits for a receipt.
    pub(super) fn receipt(&mut self, receipt: u64, at: LiveAt, until: Mono, now: Mono) {
        let old = self.receipts.waiting.insert(receipt, Waiting { at, until, round: None });
        if let Some(old) = old {
            self.receipts.by_time.remove(&(old.until, receipt));
        }
        self.receipts.by_time.insert((until, receipt));
        self.receipts.repeated = 0;
        self.receipts.judge = Some(now);
    }

    /// Nobody waits any more.
    pub(super) fn receipt_gone(&mut self, receipt: u64) {
        if let Some(waiting) = self.receipts.waiting.remove(&receipt) {
            self.receipts.by_time.remove(&(waiting.until, receipt));
        }
        if self.receipts.waiting.is_empty() {
            self.receipts.answers.clear();
        }
    }

    /// This hub goes by the newest snapshot of routes from here on. Answers
    /// whether some hub waits to hear it.
    pub(super) fn routes_published(&mut self, now: Mono) -> bool {
        self.receipts.published = self.receipts.made;
        let owed: Vec<HubId> = self.receipts.owed.iter().copied().collect();
        owed.iter().for_each(|hub| self.answer(*hub, now));
        !owed.is_empty()
    }

    /// Another hub asks.
    pub(super) fn on_receipt_ask(&mut self, link: LinkId, ask: &ReceiptAsk, now: Mono) {
        if ask.hub == self.me.id {
            return;
        }
        let has_room = !self.free_slots.is_empty() || self.hubs.values().any(|hub| hub.path.is_none());
        let Some(hub) = self.hubs.get_mut(&ask.hub) else {
            if !has_room {
                let entry = ReceiptEntry { hub: self.me.id, epoch: self.me.epoch, state: LiveState::Limit };
                self.send_receipts(link, ask.hub, ask.epoch, ask.round, vec![entry]);
            }
            return;
        };
        let is_old = hub.asked.as_ref().is_some_and(|old| old.epoch == ask.epoch && old.round >= ask.round);
        if hub.epoch != ask.epoch || is_old {
            return;
        }
        self.flush_receipts(ask.hub);
        let without = |l: &&crate::link::Link| l.version < SINCE;
        let without = self.links.values().filter(without);
        let entry = |l: &crate::link::Link| ReceiptEntry { hub: l.hub, epoch: l.epoch, state: LiveState::OldVersion };
        let gathered: Vec<ReceiptEntry> = without.map(entry).collect();
        let Some(hub) = self.hubs.get_mut(&ask.hub) else { return };
        hub.asked = Some(Asked {
            epoch: ask.epoch,
            round: ask.round,
            version: ask.version,
            link,
            said: None,
            gathered,
            of_round: ask.round,
            due: now + self.options.timers.receipt_gather,
        });
        self.receipts.gathering.insert(ask.hub);
        self.receipts.owed.insert(ask.hub);
        self.flood_since(SINCE, &Frame::ReceiptAsk(*ask), Some(link));
        self.answer(ask.hub, now);
    }

    /// Says how a hub's interest stands here, unless it was told so.
    fn answer(&mut self, id: HubId, now: Mono) {
        let Some(hub) = self.hubs.get_mut(&id) else { return };
        let Some(asked) = hub.asked.as_mut().filter(|asked| asked.epoch == hub.epoch) else {
            self.receipts.owed.remove(&id);
            return;
        };
        // Out of reach it may soon be forgotten here: until it is back it hears nothing certain.
        let is_published = hub.interest.since <= self.receipts.published && hub.path.is_some();
        let state = match hub.interest.version_in(hub.epoch) >= asked.version && is_published {
            false => LiveState::Behind,
            true if hub.interest.is_cut() => LiveState::Limit,
            true => LiveState::Live,
        };
        if asked.said == Some(state) {
            return;
        }
        if asked.of_round != asked.round {
            self.flush_receipts(id);
        }
        let Some(asked) = self.hubs.get_mut(&id).and_then(|hub| hub.asked.as_mut()) else { return };
        asked.said = Some(state);
        asked.of_round = asked.round;
        asked.gathered.retain(|old| old.hub != self.me.id);
        if asked.gathered.is_empty() {
            asked.due = now + self.options.timers.receipt_gather;
        }
        asked.gathered.push(ReceiptEntry { hub: self.me.id, epoch: self.me.epoch, state });
        self.receipts.gathering.insert(id);
        if state != LiveState::Behind {
            self.receipts.owed.remove(&id);
        }
    }

    /// Answers have come: to this hub's question, or on their way to another's.
    pub(super) fn on_receipt_ack(&mut self, link: LinkId, ack: &ReceiptAck, now: Mono) {
        if ack.to == self.me.id {
            return self.take_answers(ack, now);
        }
        let asked = self.hubs.get_mut(&ack.to).and_then(|hub| hub.asked.as_mut());
        let is_known =
            asked.is_some_and(|asked| asked.epoch == ack.epoch && asked.round >= ack.round && asked.link != link);
        if !is_known {
            self.counters.receipts_dropped += 1;
            return;
        }
        let differs = |asked: &Asked| asked.of_round != ack.round;
        if self.hubs.get(&ack.to).and_then(|hub| hub.asked.as_ref()).is_some_and(differs) {
            self.flush_receipts(ack.to);
        }
        let gather = self.options.timers.receipt_gather;
        let Some(asked) = self.hubs.get_mut(&ack.to).and_then(|hub| hub.asked.as_mut()) else { return };
        if asked.gathered.is_empty() {
            asked.due = now + gather;
        }
        asked.of_round = ack.round;
        let room = (MAX_HUBS * 2).saturating_sub(asked.gathered.len());
        asked.gathered.extend(ack.entries.iter().take(room));
        self.counters.receipts_dropped += ack.entries.len().saturating_sub(room) as u64;
        self.receipts.gathering.insert(ack.to);
    }

    fn take_answers(&mut self, ack: &ReceiptAck, now: Mono) {
        let rounds = self.first_round(now)..=self.receipts.round;
        if ack.epoch != self.me.epoch || !rounds.contains(&ack.round) || self.receipts.waiting.is_empty() {
            return;
        }
        for entry in &ack.entries {
            let can_be_said =
                matches!(entry.state, LiveState::Live | LiveState::Behind | LiveState::Limit | LiveState::OldVersion);
            let is_known =
                self.hubs.get(&entry.hub).is_some_and(|hub| hub.epoch == entry.epoch && ack.round >= hub.counts_from);
            let is_newer = self.receipts.answers.get(&entry.hub).is_none_or(|old| {
                let is_better = old.state == LiveState::Behind || entry.state == LiveState::Live;
                old.epoch != entry.epoch || ack.round > old.round || (ack.round == old.round && is_better)
            });
            // What it said is live stays so for those who waited then: only they are judged by it.
            let keeps = self.receipts.answers.get(&entry.hub).is_some_and(|old| {
                old.epoch == entry.epoch && old.state == LiveState::Live && entry.state == LiveState::Behind
            });
            if can_be_said && is_known && is_newer && !keeps {
                let answer = Answer { epoch: entry.epoch, round: ack.round, state: entry.state };
                self.receipts.answers.insert(entry.hub, answer);
            }
        }
        let soon = now + self.options.timers.receipt_gather;
        self.receipts.judge = Some(self.receipts.judge.map_or(soon, |at| at.min(soon)));
    }

    /// The first round whose answers may count: who answered may have given this
    /// hub up at once, when this one did not run, and has forgotten what it wants
    /// after that time.
    fn first_round(&mut self, now: Mono) -> u64 {
        let kept = self.options.timers.interest_retention;
        let Receipts { round, begun, .. } = &mut self.receipts;
        while begun.front().is_some_and(|at| *at + kept <= now) {
            begun.pop_front();
        }
        *round + 1 - begun.len() as u64
    }

    /// Sends what was gathered for a hub.
    fn flush_receipts(&mut self, id: HubId) {
        self.receipts.gathering.remove(&id);
        let Some(asked) = self.hubs.get_mut(&id).and_then(|hub| hub.asked.as_mut()) else { return };
        let entries = std::mem::take(&mut asked.gathered);
        let (link, epoch, round) = (asked.link, asked.epoch, asked.of_round);
        if !entries.is_empty() {
            self.send_receipts(link, id, epoch, round, entries);
        }
    }

    fn send_receipts(&mut self, link: LinkId, to: HubId, epoch: Epoch, round: u64, entries: Vec<ReceiptEntry>) {
        if self.links.contains_key(&link) {
            self.send(link, &Frame::ReceiptAck(ReceiptAck { to, epoch, round, entries }));
        } else {
            self.counters.receipts_dropped += entries.len() as u64;
        }
    }

    /// The ways have changed: who waits is looked at, and hubs that are new are asked soon.
    pub(super) fn receipts_see_paths(&mut self, now: Mono) {
        if !self.receipts.waiting.is_empty() {
            self.receipts.judge = Some(now);
            self.receipts.repeated = 0;
        }
    }

    /// Asks, passes on and answers what is due.
    pub(super) fn tend_receipts(&mut self, now: Mono, out: &mut Vec<Command>) {
        let is_due = |id: &HubId| self.hubs.get(id).and_then(|hub| hub.asked.as_ref()).is_none_or(|a| a.due <= now);
        let due: Vec<HubId> = self.receipts.gathering.iter().copied().filter(is_due).collect();
        due.into_iter().for_each(|id| self.flush_receipts(id));
        if self.receipts.waiting.is_empty() {
            return;
        }
        if self.ask_at().is_some_and(|at| at <= now) {
            self.ask_round(now);
        }
        let is_time_up = self.receipts.by_time.first().is_some_and(|(until, _)| *until <= now);
        if is_time_up || self.receipts.judge.is_some_and(|at| at <= now) {
            self.receipts.judge = None;
            self.judge_receipts(now, out);
        }
    }

    fn ask_round(&mut self, now: Mono) {
        let receipts = &mut self.receipts;
        receipts.round += 1;
        receipts.begun.push_back(now);
        receipts.repeated += 1;
        let round = receipts.round;
        for waiting in receipts.waiting.values_mut() {
            waiting.round.get_or_insert(round);
        }
        receipts.judge = Some(now);
        // Neighbours without receipts never answer.
        for link in self.links.values().filter(|link| link.version < SINCE) {
            let answer = Answer { epoch: link.epoch, round, state: LiveState::OldVersion };
            self.receipts.answers.insert(link.hub, answer);
        }
        let ask = ReceiptAsk { hub: self.me.id, epoch: self.me.epoch, round, version: self.local.version };
        self.flood_since(SINCE, &Frame::ReceiptAsk(ask), None);
    }

    /// When the next round is to begin. What is not told to the mesh yet is told first.
    fn ask_at(&self) -> Option<Mono> {
        let receipts = &self.receipts;
        if receipts.waiting.is_empty() || !self.local.is_told() {
            return None;
        }
        let Some(asked) = receipts.begun.back().copied() else { return Some(Mono(0)) };
        let timers = &self.options.timers;
        let is_new = receipts.waiting.values().any(|waiting| waiting.round.is_none());
        let pause = timers.receipt_retry * (1 << receipts.repeated.min(5));
        Some(asked + if is_new { timers.receipt_pace } else { pause })
    }

    fn judge_receipts(&mut self, now: Mono, out: &mut Vec<Command>) {
        #[cfg(test)]
        {
            self.receipts.judged.0 += 1;
        }
        let first = self.first_round(now);
        let standing = self.standing();
        let mut done = Vec::new();
        for (id, waiting) in &self.receipts.waiting {
            let is_late = waiting.until <= now;
            let Some(round) = waiting.round.map(|round| round.max(first)).or(is_late.then_some(u64::MAX)) else {
                continue;
            };
            let (met, is_final) = match &waiting.at {
                LiveAt::Named(names) => {
                    let states = names.iter().map(|name| self.state_at(HubId::of_name(name), round));
                    let states: Vec<Option<LiveState>> = states.collect();
                    let is_final = |state: &Option<LiveState>| state.is_some_and(is_final);
                    (states.iter().all(|s| *s == Some(LiveState::Live)), states.iter().all(is_final))
                }
                LiveAt::Count(count) => (standing.live(round) >= *count, false),
                LiveAt::All => (standing.is_everywhere(round), standing.is_settled(round)),
            };
            if met || is_final || is_late {
                done.push((*id, met, self.lines(&waiting.at, round, now)));
            }
        }
        for (receipt, met, hubs) in done {
            self.receipt_gone(receipt);
            out.push(Command::Receipt { receipt, met, hubs });
        }
    }

    /// How the interest of this hub stands at a hub; none while it has not answered.
    fn state_at(&self, id: HubId, round: u64) -> Option<LiveState> {
        if id == self.me.id {
            return Some(LiveState::Live);
        }
        let Some(hub) = self.hubs.get(&id).filter(|hub| hub.path.is_some()) else {
            return Some(LiveState::OutOfReach);
        };
        let answer = self.receipts.answers.get(&id);
        answer.filter(|answer| answer.epoch == hub.epoch && answer.round >= round).map(|answer| answer.state)
    }

    fn standing(&self) -> Standing {
        #[cfg(test)]
        self.receipts.judged.1.set(self.receipts.judged.1.get() + self.hubs.len() as u64);
        let near = self.hubs.iter().filter(|(_, hub)| hub.path.is_some());
        let mut standing = Standing { near: near.clone().count(), live: Vec::new(), settled: Vec::new() };
        for (id, hub) in near {
            let Some(answer) = self.receipts.answers.get(id).filter(|answer| answer.epoch == hub.epoch) else {
                continue;
            };
            if answer.state == LiveState::Live {
                standing.live.push(answer.round);
            }
            if is_final(answer.state) {
                standing.settled.push(answer.round);
            }
        }
        standing.live.sort_unstable();
        standing.settled.sort_unstable();
        standing
    }

    fn lines(&self, at: &LiveAt, round: u64, now: Mono) -> Vec<ReceiptLine> {
        let line = |(id, name): (HubId, &str)| {
            let state = self.state_at(id, round).unwrap_or_else(|| self.why_silent(id, now));
            let epoch = if id == self.me.id { self.me.epoch } else { self.hubs.get(&id).map_or(Epoch(0), |h| h.epoch) };
            ReceiptLine { name: name.to_owned(), epoch, state }
        };
        let mut lines: Vec<ReceiptLine> = match at {
            LiveAt::Named(names) => names.iter().map(|name| line((HubId::of_name(name), name))).collect(),
            _ => {
                let others = self.hubs.iter().map(|(id, hub)| (*id, hub.name.as_str()));
                others.chain([(self.me.id, self.me.name.as_str())]).map(line).collect()
            }
        };
        lines.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        lines
    }

    /// Why a hub within reach has not answered what was asked last.
    fn why_silent(&self, id: HubId, now: Mono) -> LiveState {
        let timers = &self.options.timers;
        if let Some(hub) = self.hubs.get(&id) {
            // It answered an earlier question, and not that it is live: that is why.
            let last = self.receipts.answers.get(&id).filter(|answer| answer.epoch == hub.epoch);
            if let Some(answer) = last.filter(|answer| answer.state != LiveState::Live) {
                return answer.state;
            }
            // Its record came without attributes: a hub of version 1 on the way took them
            // off, and knows no receipts either.
            if hub.attributes.is_none() {
                return LiveState::OldVersion;
            }
        }
        let is_suspect = self.hubs.get(&id).is_some_and(|hub| {
            let way = hub.path.and_then(|path| self.links.get(&path.link));
            now >= hub.renewed + timers.record_age / 2 || way.is_some_and(|link| link.health.is_suspect())
        });
        if is_suspect { LiveState::Suspect } else { LiveState::TimedOut }
    }

    pub(super) fn receipts_deadline(&self) -> Option<Mono> {
        let gathering = self.receipts.gathering.iter().filter_map(|id| self.hubs.get(id)?.asked.as_ref());
        let gathering = gathering.map(|asked| asked.due).min();
        let until = self.receipts.by_time.first().map(|(until, _)| *until);
        let judge = self.receipts.judge.filter(|_| !self.receipts.waiting.is_empty());
        [gathering, until, judge, self.ask_at()].into_iter().flatten().min()
    }
}

/// Whether a hub that says so says the same for as long as the question stands.
fn is_final(state: LiveState) -> bool {
    matches!(state, LiveState::Live | LiveState::Limit | LiveState::OldVersion)
}
