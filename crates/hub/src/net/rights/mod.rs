//! What the session of a client may do: asked of the judge stage when it first
//! does it, remembered while it does, and taken back when the answer becomes
//! another one.
//!
//! While an answer is awaited the frame is kept and the session is not read, so
//! its order is kept: one frame for each session, and nothing of other sessions
//! waits. What the judge stage has no room for is asked later, session by session.
//! Nothing is asked of a session whose client is at another hub (a tunnel): it was
//! asked there. Without a judge nothing of this runs.

mod explain;
mod owned;
mod publishes;
mod questions;
mod standing;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::{Mono, SubscriptionId};
use weft_govern::access::{Action, Ask, Principal, Resource, Verdict};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{BlockMut, BlockRef};
use weft_topic::{Filter, Topic};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, MAX_EVENTS};
use weft_wire::frame::{AckLevel, ErrorCode, Frame};

pub(in crate::net) use self::publishes::Same;
use self::publishes::{Known, Publishes, action_of};
use self::questions::questions;
use self::standing::Standing;
use super::NetStage;
use super::quota::{Metered, Meters};
use crate::counters::add;
use crate::govern::{Quotas, ToJudge};
use crate::mapping::Mapped;
use crate::messages::SessionId;

/// Topics that the rules of a mapping may make of one, for which it is asked. Of a
/// topic that becomes more nothing is let in.
const MOST_OUTCOMES: usize = 64;

/// What the stage needs to ask.
pub(in crate::net) struct Governing {
    /// Sessions whose questions the judge stage had no room for.
    unasked: VecDeque<SessionId>,
    /// The mapping that answers about publishes were asked by.
    mapping: Arc<Mapped>,
    /// Counts those.
    epoch: u64,
    seed: u64,
    /// Sessions that wait for their quota, and until when.
    waits: BTreeSet<(Mono, SessionId)>,
    /// What may be used, as the state says.
    pub(in crate::net) quotas: Arc<ArcSwap<Quotas>>,
    /// What is used.
    pub(in crate::net) meters: Meters,
}

impl Governing {
    pub(in crate::net) fn new(seed: u64, quotas: Arc<ArcSwap<Quotas>>) -> Self {
        Self {
            unasked: VecDeque::new(),
            mapping: Arc::default(),
            epoch: 0,
            seed,
            waits: BTreeSet::new(),
            quotas,
            meters: Meters::default(),
        }
    }

    /// When somebody has waited long enough.
    pub(in crate::net) fn deadline(&self) -> Option<Mono> {
        self.waits.first().map(|(until, _)| *until)
    }
}

/// A question, and the answer once it is there.
#[derive(Clone, Debug)]
struct Need {
    ask: Arc<Ask>,
    verdict: Option<Arc<Verdict>>,
    /// Without it what was asked for is refused.
    required: bool,
}

impl Need {
    /// Takes an answer if it is to this question. Answers whether it is.
    fn take(&mut self, ask: &Arc<Ask>, verdict: &Arc<Verdict>) -> bool {
        let is_it = Arc::ptr_eq(&self.ask, ask) || self.ask == *ask;
        if is_it {
            self.verdict = Some(verdict.clone());
        }
        is_it
    }

    fn is_allowed(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.allowed)
    }
}

/// What is kept of a session while its answers are awaited.
pub(in crate::net) enum Kept {
    /// With the count of the mapping that it was asked about by.
    Publish { request: u64, asked: (AckLevel, u8), block: BlockMut, epoch: u64 },
    /// Allowed, and waits for its quota.
    Metered { request: u64, asked: (AckLevel, u8), block: BlockMut },
    Frame {
        request: u64,
        opens: Option<SubscriptionId>,
        /// One answer in its favour is enough.
        one_of: bool,
        frame: BlockRef,
    },
}

/// A frame that waits.
struct Parked {
    kept: Kept,
    needs: Vec<Need>,
    /// Questions that are not asked yet: from this one on.
    unasked: usize,
    /// It waits for a time.
    waits: bool,
}

impl Parked {
    fn new(kept: Kept, needs: Vec<Need>) -> Self {
        Self { kept, needs, unasked: 0, waits: false }
    }

    fn is_answered(&self) -> bool {
        !self.waits && self.needs.iter().all(|need| need.verdict.is_some())
    }

    /// Whether the answers are used for longer than this frame.
    fn keeps(&self) -> bool {
        match &self.kept {
            Kept::Publish { .. } | Kept::Metered { .. } => true,
            Kept::Frame { opens, .. } => opens.is_some(),
        }
    }
}

/// The rights of a session.
pub(crate) struct Rights {
    pub(in crate::net) who: Arc<Principal>,
    pub(in crate::net) metered: Metered,
    publishes: Publishes,
    standing: BTreeMap<SubscriptionId, Standing>,
    /// Subscriptions whose requests it may answer.
    replies: usize,
    parked: Option<Box<Parked>>,
}

impl NetStage {
    /// The session of a client begins: from here on it is asked what it may do, and
    /// what it uses is counted.
    pub(in crate::net) fn govern(&mut self, id: SessionId, who: Arc<Principal>) {
        let metered = self.meter(&who);
        let Some(governing) = &self.governing else { return };
        let rights = Rights {
            who,
            metered,
            publishes: Publishes::new(governing.seed),
            standing: BTreeMap::new(),
            replies: 0,
            parked: None,
        };
        if let Some(connection) = self.connection(id) {
            connection.rights = Some(Box::new(rights));
        }
    }

    fn rights(&mut self, id: SessionId) -> Option<&mut Rights> {
        self.connection(id)?.rights.as_deref_mut()
    }

    /// A publish comes from a client: it goes on where that is allowed.
    #[inline]
    pub(in crate::net) fn enter(&mut self, id: SessionId, request: u64, asked: (AckLevel, u8), block: BlockMut) {
        let epoch = self.governing.as_ref().map_or(0, |governing| governing.epoch);
        let Some(rights) = self.rights(id) else { return self.on_publish(id, request, asked, block) };
        match rights.publishes.find(epoch, &block) {
            Known::NoMatter => self.on_publish(id, request, asked, block),
            Known::Allowed => self.meter_publish(id, request, asked, block),
            Known::Reply if rights.replies > 0 => self.meter_publish(id, request, asked, block),
            Known::Reply => {
                let detail = explain::no_reply(&rights.who);
                self.note_refused(id, Action::Reply, "a request", "it has no live subscription to requests");
                self.deny_publish(id, request, asked.0, &block, &detail);
            }
            Known::Denied(at) => {
                let known = rights.publishes.refused(at);
                let found = known.map(|(topic, need)| (explain::publish(topic, need), need.clone()));
                let (detail, need) = found.map_or_else(Default::default, |(detail, need)| (detail, Some(need)));
                self.note_need(id, need.as_ref(), "");
                self.deny_publish(id, request, asked.0, &block, &detail);
            }
            Known::No => self.ask_to_publish(id, request, asked, block),
        }
    }

    /// A publish is not let in: refused or, where nobody asked for an answer,
    /// dropped and counted.
    fn deny_publish(&mut self, id: SessionId, request: u64, level: AckLevel, block: &[u8], detail: &str) {
        add(&self.counters.govern.denied_blocks, 1);
        self.keep_out(id, request, level, block, (ErrorCode::DENIED, 0, detail), DropReason::Denied);
    }

    /// A block from a client does not enter.
    pub(in crate::net) fn keep_out(
        &mut self,
        id: SessionId,
        request: u64,
        level: AckLevel,
        block: &[u8],
        (code, retry_after_ms, detail): (ErrorCode, u32, &str),
        reason: DropReason,
    ) {
        if level != AckLevel::None {
            add(&self.counters.refused, 1);
            return self.refuse_for(id, request, code, retry_after_ms, detail);
        }
        let events = u64::from(Block::trusted(block).event_count().min(MAX_EVENTS));
        // Not checked, so that nothing can be said of its topic.
        let account = self.counters.account_of_none();
        account.published(events);
        account.copies(events);
        account.drop(reason, events);
    }

    /// Asks whether a block may be published: for the topic that it has in the
    /// mesh, or each that the rules of the mapping may make of it.
    fn ask_to_publish(&mut self, id: SessionId, request: u64, asked: (AckLevel, u8), block: BlockMut) {
        let Some(governing) = &self.governing else { return };
        let parsed = Block::trusted(&block);
        let (lane, action) = (parsed.lane(), action_of(&parsed));
        let Ok(topic) = Topic::parse(parsed.topic()) else {
            // It is refused for its topic.
            return self.on_publish(id, request, asked, block);
        };
        let epoch = governing.epoch;
        let becomes = outcomes(&governing.mapping, topic, parsed.flags() & REQUEST != 0);
        if becomes.len() > MOST_OUTCOMES {
            let detail = format!(
                "the hub's mapping makes {} topics of `{}`, at most {MOST_OUTCOMES} are asked about: name fewer in the rule",
                becomes.len(),
                topic.as_str()
            );
            return self.deny_publish(id, request, asked.0, &block, &detail);
        }
        let Some(rights) = self.rights(id) else { return };
        let who = rights.who.clone();
        let filters = becomes.iter().filter_map(|name| Filter::parse(name).ok());
        let needs: Vec<Need> = filters
            .map(|filter| {
                let resource = Resource::Topic(filter);
                let ask = Arc::new(Ask { principal: who.clone(), action, resource, lane: Some(lane) });
                Need { ask, verdict: None, required: true }
            })
            .collect();
        if needs.is_empty() {
            // Dropped or refused by the mapping, whoever publishes it.
            return self.on_publish(id, request, asked, block);
        }
        self.park(id, Parked::new(Kept::Publish { request, asked, block, epoch }, needs));
    }

    /// Whether a client's frame has to wait for an answer, or was refused for one
    /// that is there. If not, it is taken now.
    pub(in crate::net) fn waits_for_answer(&mut self, id: SessionId, decoded: &Frame<'_>, bytes: &BlockRef) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        let is_admin = connection.client.is_admin;
        let Some(rights) = connection.rights.as_deref() else { return false };
        let who = rights.who.clone();
        if let Frame::Unsubscribe(unsubscribe) = decoded {
            let subscription = unsubscribe.id;
            self.on_allowed(id, decoded.clone(), bytes);
            self.closed_standing(id, subscription);
            return true;
        }
        let snapshot = self.snapshot.load_full();
        let asked = questions(decoded, &|name| snapshot.captured(name));
        let is_live = matches!(decoded, Frame::Subscribe(subscribe) if subscribe.stream.is_empty());
        if asked.opens.is_some_and(|subscription| self.is_taken(id, subscription, is_live)) {
            let detail = "the subscription's number is in use: choose another";
            self.refuse(id, asked.request, ErrorCode::IN_USE, detail);
            return true;
        }
        if asked.opens.is_some()
            && let Err(detail) = self.room_to_subscribe(id)
        {
            self.refuse(id, asked.request, ErrorCode::OVER_QUOTA, &detail);
            return true;
        }
        let needs = asked.all.into_iter();
        // Who the hub's own configuration names is never locked out.
        let needs = needs.filter(|question| !(is_admin && question.action == Action::Administer));
        let needs: Vec<Need> = needs
            .map(|question| {
                let (action, resource) = (question.action, question.resource);
                let ask = Arc::new(Ask { principal: who.clone(), action, resource, lane: None });
                Need { ask, verdict: None, required: question.required }
            })
            .collect();
        if needs.is_empty() || (asked.one_of && is_admin) {
            return false;
        }
        let (request, opens, one_of) = (asked.request, asked.opens, asked.one_of);
        let kept = Kept::Frame { request, opens, one_of, frame: bytes.clone() };
        self.park(id, Parked::new(kept, needs));
        true
    }

    /// What was asked for a frame is answered: it is taken, or refused.
    fn unpark(&mut self, id: SessionId, parked: Parked) {
        let keeps = parked.keeps();
        let Parked { kept, needs, .. } = parked;
        match kept {
            Kept::Publish { request, asked, block, epoch } => {
                if self.governing.as_ref().is_some_and(|governing| governing.epoch != epoch) {
                    // Other rules say by now what it becomes.
                    self.release(id, needs.into_iter().map(|need| need.ask).collect());
                    return self.ask_to_publish(id, request, asked, block);
                }
                let parsed = Block::trusted(&block);
                let (topic, lane, action) = (parsed.topic(), parsed.lane(), action_of(&parsed));
                let refused = needs.iter().find(|need| !need.is_allowed());
                let detail = refused.map(|need| explain::publish(topic, need));
                let denied = refused.cloned();
                let Some(rights) = self.rights(id) else { return };
                let gone = rights.publishes.insert(epoch, (topic, lane, action), needs);
                self.release(id, gone);
                match detail {
                    None => self.meter_publish(id, request, asked, block),
                    Some(detail) => {
                        self.note_need(id, denied.as_ref(), "");
                        self.deny_publish(id, request, asked.0, &block, &detail);
                    }
                }
            }
            Kept::Metered { request, asked, block } => self.on_publish(id, request, asked, block),
            Kept::Frame { request, opens, one_of, frame } => {
                let is_enough = one_of && needs.iter().any(Need::is_allowed);
                let missing = needs.iter().find(|need| need.required && !need.is_allowed());
                if let Some(need) = missing.filter(|_| !is_enough) {
                    let detail = explain::need(need);
                    self.note_need(id, Some(need), "");
                    if keeps {
                        self.release(id, needs.into_iter().map(|need| need.ask).collect());
                    }
                    add(&self.counters.refused, 1);
                    return self.refuse(id, request, ErrorCode::DENIED, &detail);
                }
                // Decoded before; its bytes are as they were.
                let Ok(decoded) = Frame::decode(&frame) else { return };
                let by = needs.iter().find(|need| need.is_allowed()).and_then(|need| need.verdict.clone());
                self.note_act(id, &decoded, by.as_deref());
                match opens {
                    // First, so that nothing is open that stands on nothing.
                    Some(subscription) => {
                        if !self.stand(id, subscription, needs) {
                            let detail = "the number was used for too much at other hubs: choose another";
                            return self.refuse(id, request, ErrorCode::LIMIT, detail);
                        }
                        self.on_allowed(id, decoded, &frame);
                        self.closed_standing(id, subscription);
                    }
                    None => self.on_allowed(id, decoded, &frame),
                }
            }
        }
    }

    /// A frame of a client that is allowed, here or at another hub.
    pub(in crate::net) fn on_allowed(&mut self, id: SessionId, decoded: Frame<'_>, bytes: &BlockRef) {
        if !self.defines_for_its_tenant(id, &decoded, bytes) && !self.tunnel_takes(id, &decoded, bytes) {
            self.on_client_frame(id, decoded, bytes);
        }
    }

    /// Notes a question that was answered with no.
    fn note_need(&mut self, id: SessionId, need: Option<&Need>, detail: &str) {
        if let Some(need) = need.filter(|_| self.audits())
            && let Some(verdict) = need.verdict.as_deref()
        {
            self.note_denied(id, &need.ask, verdict, detail);
        }
    }

    /// Answers are not used any more.
    fn release(&mut self, session: SessionId, asks: Vec<Arc<Ask>>) {
        if !asks.is_empty()
            && let Some(judge) = &mut self.out.judge
        {
            judge.push(ToJudge::Release { session, asks });
        }
    }
}

/// The topics that a topic may become; itself where no rule is for it.
pub(in crate::net) fn outcomes(mapping: &Mapped, topic: Topic<'_>, is_request: bool) -> Vec<String> {
    let Some(found) = mapping.find(topic, is_request) else { return vec![topic.as_str().to_owned()] };
    let outcomes = found.rule.outcomes(topic).into_iter();
    let mut becomes: Vec<String> = outcomes.filter_map(|(_, becomes)| becomes.ok().flatten()).collect();
    becomes.sort_unstable();
    becomes.dedup();
    becomes
}
