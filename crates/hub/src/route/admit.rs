//! Admission: what a client publishes is checked, stamped and sent on its way,
//! or held back while a subscriber, or what it must not overtake, makes it wait.

use std::collections::BTreeMap;

use weft_base::sync::Arc;
use weft_base::{HubId, ProducerId, Residency};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_stream::intake::SPECIAL;
use weft_topic::Topic;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{self, Block, Stamp};
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame, Limit, WhyReport};
use weft_wire::reply::is_reserved;

use super::held::Taken;
use super::table::Route;
use super::{ROOM, RouteStage, Which};
use crate::admit;
use crate::counters::{add, sub};
use crate::gate::{Gate, Holder};
use crate::messages::{Completion, FlowTo, Publish, Request, SessionId, ToNet};
use crate::producers::Place;

/// What admission reads from a block, so that the block can be stamped.
struct Facts {
    producer: ProducerId,
    lane: weft_base::Lane,
    first: u64,
    count: u32,
    late: bool,
}

impl RouteStage {
    /// A block from a client of this hub.
    pub(super) fn publish(&mut self, mut publish: Publish) {
        let (lane, now) = (Block::trusted(&publish.block).lane(), self.now.mono);
        self.waits.record(lane, now.since(publish.since), 1);
        let too_old = self.conditioner.took(lane, publish.since, now);
        if !publish.checked {
            if let Err(fault) = admit::check(&publish.block) {
                if let Some(message) = admit::refusal(&publish, fault) {
                    self.net.push(message);
                }
                return;
            }
            publish.checked = true;
        }
        if too_old {
            return self.shed_oldest(publish);
        }
        let Some(publish) = self.map(publish) else { return };
        if self.held.count(publish.session) > 0 {
            return self.hold(publish, None);
        }
        if let Err((publish, wait)) = self.admit(publish) {
            self.hold(publish, Some(wait));
        }
    }

    /// Lets a checked block in; hands it back, with the reason, when it has to wait.
    fn admit(&mut self, publish: Publish) -> Result<(), (Publish, Wait)> {
        let Publish { session, id, level, homes, mut block, checked, since, far, dropped } = publish;
        let parsed = Block::trusted(&block);
        let facts = Facts {
            producer: parsed.producer(),
            lane: parsed.lane(),
            first: parsed.first_sequence(),
            count: parsed.event_count(),
            late: parsed.deadline().0 != 0 && parsed.deadline() < self.now.wall,
        };
        let route = match Topic::parse(Block::trusted(&block).topic()) {
            Ok(_) if dropped => self.nowhere.clone(),
            Ok(topic) => match self.replies.route(self.identity.id, topic.as_str()) {
                None => self.cache.route(&self.table, topic, Residency::ANYWHERE),
                Some(Ok(route)) => route,
                Some(Err(detail)) => {
                    self.refuse(session, id, level, ErrorCode::BAD_TOPIC, detail.to_owned());
                    return Ok(());
                }
            },
            Err(error) => {
                self.refuse(session, id, level, ErrorCode::BAD_TOPIC, error.to_string());
                return Ok(());
            }
        };
        let residency = match self.bind(&mut block, route.rule) {
            Ok(residency) => residency,
            Err(detail) => {
                self.refuse_bound(&block, (session, id, level), detail);
                return Ok(());
            }
        };
        let route = match Topic::parse(Block::trusted(&block).topic()) {
            Ok(topic) if residency.is_bound() && !is_reserved(topic.as_str()) => {
                self.cache.route(&self.table, topic, residency)
            }
            _ => route,
        };
        if let Some(gate) = route.closed_gate() {
            let gate = gate.clone();
            return Err((Publish { session, id, level, homes, block, checked, since, far, dropped }, Wait::Gate(gate)));
        }
        let elsewhere = route.remote.iter().filter(|remote| remote.stream);
        let parts = elsewhere.clone().count() as u32
            + u32::from(!route.streams.is_empty())
            + u32::from(!route.spooled.is_empty());
        let is_special = Block::trusted(&block).flags() & SPECIAL != 0;
        if dropped && (is_special || level >= AckLevel::Written) {
            let detail =
                format!("a rule of the hub's mapping drops this share of `{}`", Block::trusted(&block).topic());
            if level == AckLevel::None {
                self.counters.account(&block).published(facts.count.into());
                self.count_unwanted(&block, DropReason::MappedAway, facts.count.into());
            }
            self.refuse(session, id, level, ErrorCode::MAPPED_AWAY, detail);
            return Ok(());
        }
        let several = level == AckLevel::Homes && parts > 0;
        // Only the home of its one stream can take it, which is another hub.
        let home = elsewhere.clone().next().filter(|_| (is_special || several) && !far && parts == 1);
        if home.is_none() && !self.away.may_follow(session, facts.producer, facts.lane, None) && !far {
            let wait = self.wait_for_answers();
            return Err((Publish { session, id, level, homes, block, checked, since, far, dropped }, wait));
        }
        if (is_special || level >= AckLevel::Written) && !far && self.table.may_lack_streams(parts > 0, self.now.mono) {
            let wait = self.wait_for_word();
            return Err((Publish { session, id, level, homes, block, checked, since, far, dropped }, wait));
        }
        let way = self.apart.way(facts.lane, route.spread.way(facts.producer));
        let is_mixed = || self.flows.holds_otherwise(facts.producer, facts.lane, (residency, way));
        if self.waits_for_spool(&route) || (home.is_none() && elsewhere.clone().next().is_some() && is_mixed()) {
            let wait = self.wait_for_answers();
            return Err((Publish { session, id, level, homes, block, checked, since, far, dropped }, wait));
        }
        if (is_special || several) && !route.spooled.is_empty() {
            let (code, detail) = (ErrorCode::UNREACHABLE, self.not_spooled(&route));
            if level != AckLevel::None {
                self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
            }
            return Ok(());
        }
        let is_ordinary = home.is_none() && !is_special && !several && !far;
        if is_ordinary && self.stays_refused(&block, (session, id, level)) {
            return Ok(());
        }
        let place = self.producers.place(facts.producer, facts.lane, facts.first, facts.count);
        if place == Place::Overlap && home.is_none() {
            let detail =
                "some events of the block were published before, in another block: send blocks again as they were";
            self.refuse(session, id, level, ErrorCode::OVERLAP, detail.to_owned());
            return Ok(());
        }
        let events = u64::from(facts.count);
        if facts.late {
            let account = self.counters.account(&block);
            account.published(events);
            account.copies(events);
            account.drop(DropReason::Expired, events);
            self.refuse(session, id, level, ErrorCode::EXPIRED, "the block's deadline has passed".to_owned());
            return Ok(());
        }
        let unwanted = if dropped { DropReason::MappedAway } else { DropReason::NoInterest };
        let is_request = Block::trusted(&block).flags() & REQUEST != 0;
        if is_request && place != Place::Duplicate && !self.has_responder(&route, residency) {
            self.counters.account(&block).published(events);
            self.count_unwanted(&block, unwanted, events);
            let detail = format!("nobody subscribes to `{}` who could answer", Block::trusted(&block).topic());
            self.refuse(session, id, level, ErrorCode::NO_RESPONDERS, detail);
            return Ok(());
        }
        if let Some(home) = home {
            if let Some((code, detail)) = self.absent(&route, residency) {
                self.refuse(session, id, level, code, detail);
                return Ok(());
            }
            return self
                .send_away(Publish { session, id, level, homes, block, checked, since, far, dropped }, home.hub);
        }
        if (is_special || several || far) && (parts != 1 || route.streams.len() != 1) {
            if far && self.now.mono.since(since) < self.patience {
                // A home that was just started has its streams in a moment.
                let wait = self.wait_for_answers();
                return Err((Publish { session, id, level, homes, block, checked, since, far, dropped }, wait));
            }
            let (code, detail) = self.not_here(Block::trusted(&block).topic(), &route, parts);
            self.refuse(session, id, level, code, detail);
            return Ok(());
        }
        if level >= AckLevel::Written {
            if let Some(detail) = self.barred(&route, residency) {
                self.refuse_bound(&block, (session, id, level), detail);
                return Ok(());
            }
            if parts == 0 {
                let topic = Block::trusted(&block).topic();
                let detail = format!("no stream captures `{topic}`: make one with `weft stream create`");
                self.note_refused(&block, level, ErrorCode::NO_STREAM);
                self.refuse(session, id, level, ErrorCode::NO_STREAM, detail);
                return Ok(());
            }
            if let Some((code, detail)) = self.absent(&route, residency) {
                self.note_refused(&block, level, code);
                self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
                return Ok(());
            }
            if let Some(full) = elsewhere
                .clone()
                .find(|remote| self.flows.is_full(FlowTo { hub: remote.hub, lane: facts.lane, residency, way }))
            {
                let why = if self.is_reachable(full.hub) { "is behind" } else { "cannot be reached" };
                let detail = format!("the hub that keeps the stream {why}: publish again in a while");
                self.note_refused(&block, level, ErrorCode::OVERLOADED);
                self.net.push(ToNet::Refused {
                    session,
                    id,
                    code: ErrorCode::OVERLOADED,
                    retry_after_ms: 1_000,
                    detail,
                });
                return Ok(());
            }
        }

        let duplicate = place == Place::Duplicate;
        let sequence = self.next_sequence;
        let stamp = Stamp {
            origin: self.identity.id,
            epoch: self.identity.epoch,
            block: self.next_block,
            sequence,
            ingested: self.now.wall,
        };
        if let Err(error) = block::stamp_for(&mut block, &stamp, way) {
            self.close(session, ErrorCode::BAD_BLOCK, error.to_string());
            return Ok(());
        }
        self.next_block += 1;
        self.next_sequence += events;
        let block = block.freeze();
        self.note(&block, HubId(0), since);
        let receivers = if duplicate { 0 } else { route.receivers() };
        let request = Request { session, id, level, sequence, duplicate, receivers, homes, place: None };

        // Before anything that may be acknowledged: the answers come by other ways.
        if level >= AckLevel::Written && parts > 1 {
            self.net.push(ToNet::Expect { session, id, parts });
        }
        let awaited = (level >= AckLevel::Written).then_some(request);
        if duplicate {
            // Subscribers have it; streams may not, and know by themselves.
            add(&self.counters.producer_duplicates, 1);
        } else {
            self.renaming.goes_on(&self.producers, facts.producer, facts.lane);
            self.producers.note(facts.producer, facts.lane, facts.first, facts.count);
            self.counters.account(&block).published(events);
            route.counted.iter().for_each(|value| add(value, events));
        }
        let mut copies = 0;
        // The stream says whether live subscribers get what asks for something.
        let live = !duplicate && !is_special;
        if live {
            copies += self.deliver_locally(&route, &block, events, 0);
            copies += self.serve_groups(&route, &block, events);
        }
        let completion = awaited.map_or(Completion::None, Completion::Client);
        copies += self.store_locally(&route, &block, events, completion, false);
        copies += self.spool(&route.spooled, &block, events, completion);
        copies += self.send_remote(&route, &block, events, awaited, if live { Which::All } else { Which::Streams });
        if !duplicate {
            copies += self.count_outside(&route, &block, events);
            if copies == 0 {
                self.count_unwanted(&block, unwanted, events);
            }
        }
        if level == AckLevel::Routed {
            self.net.push(ToNet::Acked(request));
        }
        Ok(())
    }

    /// A stream of this hub has taken a block that asked for something: now live
    /// subscribers get it.
    pub(super) fn release_block(&mut self, block: &BlockRef) {
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let Ok(topic) = Topic::parse(parsed.topic()) else { return };
        let route = self.cache.route(&self.table, topic, parsed.residency());
        self.deliver_locally(&route, block, events, 0);
        self.serve_groups(&route, block, events);
        self.send_remote(&route, block, events, None, Which::Live);
    }

    /// Holds a publish back, behind those of its session that wait already.
    fn hold(&mut self, publish: Publish, wait: Option<Wait>) {
        let (session, bytes) = (publish.session, publish.block.len());
        let is_short = matches!(wait, Some(Wait::Word(_)));
        match &wait {
            Some(wait) => self.begins_to_wait(session, wait, Block::trusted(&publish.block).lane()),
            None => self.still_waits(session),
        }
        // Also where it alone is more than a session may have held.
        let is_first = self.held.count(session) == 0;
        match self.held.push(session, bytes, HeldBack { publish, wait }) {
            Taken::First | Taken::Behind => {}
            Taken::Pause => self.net.push(ToNet::Hold { session, held: true }),
            Taken::Full(HeldBack { publish, .. }) => {
                if is_first {
                    self.waits_no_more(session);
                }
                return self.refuse_held(publish);
            }
        }
        if is_first {
            add(&self.counters.held_publishers, 1);
            // What is over in a moment nobody is told of unasked.
            if is_short {
                self.untold.insert(session);
            } else {
                self.tell_why(session, 0, 0);
            }
        }
    }

    /// It has waited longest of too many: it is dropped and counted, and
    /// refused where an answer was asked for.
    fn shed_oldest(&mut self, publish: Publish) {
        let Publish { session, id, level, block, .. } = publish;
        let events = u64::from(Block::trusted(&block).event_count());
        let account = self.counters.account(&block);
        account.published(events);
        account.copies(events);
        account.drop(DropReason::ShedOldest, events);
        self.note_refused(&block, level, ErrorCode::LANE_FULL);
        let detail =
            "the hub has more to do than it can, and of its lane this has waited longest: publish again".to_owned();
        if level != AckLevel::None {
            self.net.push(ToNet::Refused { session, id, code: ErrorCode::LANE_FULL, retry_after_ms: 100, detail });
        }
    }

    /// There is no room to hold a publish back: it is refused or, where nobody
    /// asked for an answer, dropped and counted.
    fn refuse_held(&mut self, publish: Publish) {
        let Publish { session, id, level, block, .. } = publish;
        if level == AckLevel::None {
            let events = Block::validate(&block).map_or(0, |block| u64::from(block.event_count()));
            // It may not have been checked.
            let account = self.counters.account_of_none();
            account.published(events);
            account.copies(events);
            return account.drop(DropReason::WaitOverrun, events);
        }
        let detail = "too many publishes wait for subscribers that are behind: publish again in a while".to_owned();
        if Block::validate(&block).is_ok() {
            self.note_refused(&block, level, ErrorCode::OVERLOADED);
        }
        self.net.push(ToNet::Refused { session, id, code: ErrorCode::OVERLOADED, retry_after_ms: 1_000, detail });
    }

    /// Lets in what was held back and may go on, while the next stages have room.
    pub(super) fn release(&mut self, most: usize) -> usize {
        let mut work = 0;
        while work < most
            && !self.held.is_empty()
            && self.net.has_room(ROOM)
            && self.append.has_room(ROOM)
            && let Some(session) = self.held.next(|held| held.may_go(self.away.progress))
            && let Some((HeldBack { publish, .. }, freed)) = self.held.pop(session)
        {
            let bytes = publish.block.len();
            if let Err((publish, wait)) = self.admit(publish) {
                self.begins_to_wait(session, &wait, Block::trusted(&publish.block).lane());
                self.held.put_back(session, bytes, HeldBack { publish, wait: Some(wait) });
                if freed.read_on {
                    self.net.push(ToNet::Hold { session, held: false });
                }
                continue;
            }
            work += 1;
            if freed.read_on {
                self.net.push(ToNet::Hold { session, held: false });
            }
            if freed.last {
                sub(&self.counters.held_publishers, 1);
                self.waits_no_more(session);
                if !self.untold.remove(&session) {
                    self.tell_why(session, 0, 0);
                }
            }
        }
        work
    }

    /// Tells a client what its publishes wait for here.
    pub(super) fn tell_why(&mut self, session: SessionId, request: u64, unanswered: u32) {
        let held = self.held.count(session);
        let blocks = u32::try_from(held).unwrap_or(u32::MAX).max(unanswered);
        let identity = self.identity.clone();
        let nothing =
            WhyReport { request, limit: Limit::None, name: "", hub: &identity.name, filter: "", behind_ms: 0, blocks };
        let gate = self.held.first(session).and_then(|first| match &first.wait {
            Some(Wait::Gate(gate)) => Some(gate),
            Some(Wait::Answers(_) | Wait::Word(_)) | None => None,
        });
        let away = self.away.awaited(session).map(|(home, since)| (self.flows.name_of(home), since));
        let waits = self.flows.awaited(session).or(away.as_ref().map(|(name, since)| (name.as_str(), *since)));
        let why = match (gate, waits) {
            (Some(gate), _) => {
                let Holder { subscriber, hub, filter } = gate.holder();
                let behind_ms = gate.behind_ms(self.now);
                WhyReport { limit: Limit::Subscriber, name: subscriber, hub, filter, behind_ms, ..nothing }
            }
            (None, Some((hub, since))) => {
                let behind_ms = u64::try_from((self.now.mono - since).as_millis()).unwrap_or(u64::MAX);
                WhyReport { limit: Limit::Stream, hub, behind_ms, ..nothing }
            }
            (None, None) if blocks > 0 && self.conditioner.is_active() => WhyReport { limit: Limit::Load, ..nothing },
            (None, None) if blocks > 0 => WhyReport { limit: Limit::Stream, ..nothing },
            (None, None) => nothing,
        };
        let mut bytes = Vec::new();
        frame::encode(&Frame::WhyReport(why), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    /// What is said of a publish that only the home of its one stream can take in.
    fn not_here(&self, topic: &str, route: &Route, parts: u32) -> (ErrorCode, String) {
        if parts == 0 {
            let detail = format!("no stream captures `{topic}`: make one with `weft stream create`");
            return (ErrorCode::NO_STREAM, detail);
        }
        let mut streams = self.streams_of(topic, route);
        let several = streams.len();
        if several < 2 {
            let names = streams.concat();
            let detail =
                format!("this hub was taken for a home of the stream {names} and is none: publish again in a while");
            return (ErrorCode::UNSUPPORTED, detail);
        }
        streams.truncate(NAMED);
        let (names, more) = (streams.join(", "), if several > NAMED { ", …" } else { "" });
        let detail = format!(
            "conditions, batches, delays and levels of several homes are for one stream, and `{topic}` goes to \
             {several} ({names}{more}): publish to a topic that one stream alone captures, or change the filters of \
             the others with `weft stream alter`"
        );
        (ErrorCode::UNSUPPORTED, detail)
    }

    /// The streams that a topic goes to, by name, with the homes of those that are
    /// not here.
    fn streams_of(&self, topic: &str, route: &Route) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, (stream, _)) in &*self.table.stream_names {
            if route.streams.contains(&stream.slot) {
                names.push(format!("`{name}` here"));
            }
        }
        let Ok(topic) = Topic::parse(topic) else { return names };
        let mut ids = Vec::new();
        self.table.routes.streams(topic, |at| ids.push(at.id));
        let mut homes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let elsewhere = self.table.routes.all_streams().filter(|home| ids.contains(&home.def.id));
        for home in elsewhere.filter(|home| !route.stream_ids.contains(&home.def.id)) {
            homes.entry(&home.def.name).or_default().push(self.flows.name_of(home.hub));
        }
        names.extend(homes.into_iter().map(|(name, hubs)| format!("`{name}` at {}", hubs.join(" and "))));
        names
    }
}

/// So many streams are named in a refusal.
const NAMED: usize = 8;

/// What a publish waits for.
pub(crate) enum Wait {
    /// A subscriber that is behind.
    Gate(Arc<Gate>),
    /// Others that it must not overtake, or the stream that it is for; it was in
    /// vain when so much had happened.
    Answers(u64),
    /// Word of what there is elsewhere: likewise.
    Word(u64),
}

/// A publish that is held back, and what it waits for; none: the one before it.
pub(crate) struct HeldBack {
    pub(super) publish: Publish,
    wait: Option<Wait>,
}

impl HeldBack {
    fn may_go(&self, progress: u64) -> bool {
        match &self.wait {
            Some(Wait::Gate(gate)) => !gate.is_closed(),
            Some(Wait::Answers(seen) | Wait::Word(seen)) => *seen != progress,
            None => true,
        }
    }
}
