//! What the other stages hand back: blocks, answers, and the hub's own end.

use weft_base::{Lane, Way};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{Arena, BlockRef};
use weft_transport::Network as _;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, forget_way};
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame, LinkCredit};

use super::connection::Parts;
use super::inspect::Inspecting;
use super::link::{Offered, SHORT_ROOM};
use super::subscriber::{Delivery, Memory};
use super::{Connection, NetStage, Role};
use crate::counters::{Counters, add, get, set, sub};
use crate::lifecycle::Phase;
use crate::messages::{Completion, Request, SessionId, StreamSlot, ToAppend, ToConductor, ToNet, ToRoute};
use crate::see::account::Waits;

/// The first version of the protocol whose blocks may name a way.
const WAYS_SINCE: u16 = 2;

/// A copy that names no way; none when there is no memory.
fn without_way(arena: &Arena, block: &BlockRef) -> Option<BlockRef> {
    let mut buffer = arena.lend(block.len())?;
    buffer.extend(block);
    let mut copy = buffer.split_to(block.len());
    forget_way(&mut copy).ok()?;
    Some(copy.freeze())
}

impl NetStage {
    /// Takes up to `most` messages from the inbox.
    pub(super) fn take_inbox(&mut self, most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(message) = self.inbox.pop()
        {
            taken += 1;
            self.on_message(message);
        }
        taken
    }

    fn on_message(&mut self, message: ToNet) {
        match message {
            ToNet::Peer(message) => self.on_peer(message),
            ToNet::Deliver { targets, block, hops } => {
                let counters = self.counters.clone();
                let account = counters.account(&block);
                let events = u64::from(Block::trusted(&block).event_count());
                // For clients of version 1: the same without a way, once one is among them.
                let (lane, has_way) = {
                    let block = Block::trusted(&block);
                    (block.lane(), block.way() != Way::MAIN)
                };
                let mut plain: Option<BlockRef> = None;
                for target in targets.iter() {
                    let found = self.connections.get_mut(target.session.slot()).and_then(Option::as_mut);
                    let Some(connection) = found.filter(|c| c.id == target.session && !c.closing) else {
                        account.drop(DropReason::SessionClosed, events);
                        account.leave(Waits::Net, events);
                        self.unanswered(&block, 1);
                        continue;
                    };
                    if connection.tunnelled && !self.may_pass(target.session, &block) {
                        account.drop(DropReason::Residency, events);
                        account.leave(Waits::Net, events);
                        continue;
                    }
                    let found = self.connections.get_mut(target.session.slot()).and_then(Option::as_mut);
                    let Some(connection) = found else { continue };
                    let mut given = &block;
                    if has_way && connection.client.version < WAYS_SINCE {
                        plain = plain.or_else(|| without_way(&self.arena, &block));
                        let Some(plain) = &plain else {
                            account.drop(DropReason::SubscriberFull, events);
                            account.leave(Waits::Net, events);
                            let missing = [(DropReason::SubscriberFull, events)];
                            connection.egress.subscribers.expired(target.subscription, lane, 0, 0, missing);
                            self.mark_dirty(target.session);
                            continue;
                        };
                        given = plain;
                    }
                    let now = self.now.mono;
                    if let (Some(rights), Some(governing)) = (connection.rights.as_deref(), &mut self.governing)
                        && rights.metered.counts_deliveries()
                        && !governing.meters.deliver(&rights.metered, (events, given.len() as u64), now)
                    {
                        account.drop(DropReason::OverQuota, events);
                        account.leave(Waits::Net, events);
                        let missing = [(DropReason::OverQuota, events)];
                        connection.egress.subscribers.expired(target.subscription, lane, 0, 0, missing);
                        self.mark_dirty(target.session);
                        continue;
                    }
                    let memory = Memory { arena: &self.arena, tight: self.tight };
                    let subscribers = &mut connection.egress.subscribers;
                    let delivery = subscribers.deliver(target.subscription, given, hops, now, memory, account);
                    account.leave(Waits::Net, events);
                    match delivery {
                        Delivery::Done => {
                            self.mark_dirty(target.session);
                            if Block::trusted(&block).lane() < Lane::DEFAULT {
                                self.urgent.push_back(target.session);
                            }
                        }
                        Delivery::Gone => self.unanswered(&block, 1),
                        Delivery::Spill(stream) => {
                            self.spill(stream, &block);
                            self.mark_dirty(target.session);
                        }
                        Delivery::Disconnect => {
                            let since = subscribers.oldest(target.subscription).unwrap_or(now);
                            let latency_ms = now.since(since).as_millis() as u64;
                            tracing::info!(
                                code = "subscriber_slow",
                                session = target.session.0,
                                tenant_id = connection.tenant(),
                                client = connection.name,
                                subscription = target.subscription.0,
                                latency_ms,
                                "a subscriber fell behind its limit: its session is closed, as it asked for then"
                            );
                            let detail = "a subscription fell behind its limit and asked to be disconnected then";
                            self.goodbye(target.session, ErrorCode::TOO_SLOW, detail);
                        }
                    }
                }
            }
            ToNet::Forward { link, forward } => {
                let (counters, now) = (self.counters.clone(), self.now);
                // What all links and subscribers share runs short because of those that are behind.
                let most = self.options.limits.waiting_blocks as u64;
                let short = self.tight || get(&counters.backlog_blocks) >= most;
                let Some(connection) = self.connection(link).filter(|c| !c.closing) else {
                    let account = self.counters.account(&forward.block);
                    self.counters.drop_forward(&forward, DropReason::LinkLost);
                    account.leave(Waits::Net, forward.live_copies);
                    return self.unanswered(&forward.block, forward.live_copies);
                };
                let is_early = connection.credit.as_ref().is_some_and(|credit| credit.version < WAYS_SINCE);
                if is_early && Block::trusted(&forward.block).way() != Way::MAIN {
                    // It has just come into the mesh. What is guaranteed comes again by another block.
                    let account = self.counters.account(&forward.block);
                    account.drop(DropReason::NoPath, forward.live_copies);
                    account.leave(Waits::Net, forward.live_copies);
                    return self.unanswered(&forward.block, forward.live_copies);
                }
                let (lane, len) =
                    (Block::trusted(&forward.block).lane(), forward.head.bytes().len() + forward.block.len());
                let live_copies = forward.live_copies;
                let account = counters.account_of_waiting(&forward.block);
                let offered = match &mut connection.credit {
                    Some(_) if short && connection.egress.queued() >= SHORT_ROOM * 2 => Offered::Full(forward),
                    Some(credit) => {
                        let offered = credit.out.offer(lane, len, forward, short);
                        if !matches!(offered, Offered::Send(_))
                            && let Some(link) = connection.egress.link()
                        {
                            credit.out.count_stall(lane, now.mono, link);
                        }
                        offered
                    }
                    None => Offered::Send(forward),
                };
                match offered {
                    Offered::Send(forward) => {
                        connection.egress.forward(forward, now.wall, &counters);
                        self.mark_dirty(link);
                    }
                    Offered::Waits => {
                        add(&counters.backlog_blocks, 1);
                        account.enter(Waits::Links, live_copies);
                    }
                    Offered::Full(forward) if short => counters.drop_forward(&forward, DropReason::LinkCrowded),
                    Offered::Full(forward) => counters.drop_forward(&forward, DropReason::LinkFull),
                }
                account.leave(Waits::Net, live_copies);
            }
            ToNet::Judged(judged) => self.on_judged(&judged),
            ToNet::Look(look) => self.on_look(look),
            ToNet::Looked(look) => self.out.conductor.push(ToConductor::Looked(look)),
            ToNet::Topics(look) => self.on_topics(look),
            ToNet::Counted { link, counted } => self.say_counted(link, counted),
            ToNet::Acked(request) => self.on_acked(request),
            ToNet::Inspected(inspected) => self.on_inspected(*inspected),
            ToNet::Far(far) => self.on_far(&far),
            ToNet::FarAcked { session, ack } => {
                self.landed(session, ack.request);
                if let Some(connection) = self.connection(session) {
                    connection.unanswered = connection.unanswered.saturating_sub(1);
                    frame::encode(&Frame::Ack(*ack), connection.egress.control());
                    self.mark_dirty(session);
                }
            }
            ToNet::Expect { session, id, parts } => {
                if let Some(connection) = self.connection(session) {
                    connection.parts.insert(id, Parts { open: parts, level: AckLevel::Homes });
                }
            }
            ToNet::Refused { session, id, code, retry_after_ms, detail } => {
                add(&self.counters.refused, 1);
                self.landed(session, id);
                if let Some(connection) = self.connection(session) {
                    connection.unanswered = connection.unanswered.saturating_sub(1);
                    connection.parts.remove(&id);
                    let code = code.told_to(connection.version());
                    let error = frame::ErrorFrame { request: id, code, retry_after_ms, detail: &detail };
                    frame::encode(&Frame::Error(error), connection.egress.control());
                    self.mark_dirty(session);
                }
            }
            // One that is not needed any more has broken nothing.
            ToNet::Close { session, code: code @ ErrorCode::LEAVING, detail } => self.goodbye(session, code, &detail),
            ToNet::Close { session, code, detail } => self.violate(session, code, &detail),
            ToNet::Options(options) => self.options = options,
            ToNet::Control { session, bytes } => {
                if !self.frames_may_pass(session, &bytes) {
                    return;
                }
                if let Some(connection) = self.connection(session) {
                    connection.egress.control().extend_from_slice(&bytes);
                    self.mark_dirty(session);
                }
            }
            ToNet::Opened { target, stream, from } => {
                if let Some(connection) = self.connection(target.session) {
                    let subscribed = frame::Subscribed { id: target.subscription, start_sequence: from, live: false };
                    frame::encode(&Frame::Subscribed(subscribed), connection.egress.control());
                    connection.egress.subscribers.opened(target.subscription, stream, from);
                    connection.egress.subscribers.grown(target.subscription);
                    self.mark_dirty(target.session);
                }
            }
            ToNet::SpillFound { target, stream, filter } => {
                let known = |c: &mut Connection| c.egress.subscribers.spills_to(target.subscription, stream);
                if self.connection(target.session).is_some_and(known) {
                    self.out.conductor.push(ToConductor::Subscribe { target, filter, gate: None, group: None });
                }
            }
            ToNet::Taken { link, lane, bytes } => self.on_taken(link, lane, bytes),
            ToNet::Hold { session, held } => self.hold(session, held),
            ToNet::SubscribeRefused { target, code, detail } => {
                let counters = self.counters.clone();
                if let Some(connection) = self.connection(target.session) {
                    connection.egress.subscribers.unsubscribe(target.subscription, &counters);
                    self.closed_standing(target.session, target.subscription);
                    self.refuse(target.session, target.subscription.0, code, &detail);
                }
            }
            ToNet::Fetched { target, mut fetched } => {
                let (failed, lost, now) = (fetched.failed.take(), fetched.lost, self.now.mono);
                let counters = self.counters.clone();
                if !fetched.blocks.iter().all(|block| self.may_pass(target.session, block)) {
                    return;
                }
                if let Some(connection) = self.connection(target.session) {
                    if let Some((events, reason)) = lost {
                        let gap = frame::Gap { id: target.subscription, events, reason: reason as u8 };
                        frame::encode(&Frame::Gap(gap), connection.egress.control());
                    }
                    connection.egress.subscribers.fetched(target.subscription, fetched, now, &counters);
                    self.mark_dirty(target.session);
                }
                if let Some((code, detail)) = failed {
                    self.refuse(target.session, target.subscription.0, code, &detail);
                }
            }
            ToNet::Grown { target } => {
                if let Some(connection) = self.connection(target.session) {
                    connection.egress.subscribers.grown(target.subscription);
                    self.mark_dirty(target.session);
                }
            }
            ToNet::Handout { target, head, block } => self.on_handout(target, head, block),
            ToNet::MemberEnded { target, code, detail } => self.on_member_ended(target, code, &detail),
            ToNet::LoggedIn(said) => self.on_logged_in(*said),
            ToNet::Places(places) => self.drain.places = Some(places),
            ToNet::Preferences(preferences) => self.network.tunnels.near.preferences = preferences,
            ToNet::Dial { dial, peer, failures } => {
                if !self.lifecycle.is_draining() {
                    self.dial(dial, &peer, failures as usize);
                }
            }
        }
    }

    /// The other hub takes more of a lane: what waited for that goes on.
    pub(super) fn on_link_credit(&mut self, id: SessionId, credit: LinkCredit) {
        let (counters, now) = (self.counters.clone(), self.now);
        let Some(Connection { credit: Some(own), egress, .. }) = self.connection(id) else { return };
        let granted = own.out.granted(credit.lane, credit.limit, |forward| {
            let (block, copies) = (forward.block.clone(), forward.live_copies);
            sub(&counters.backlog_blocks, 1);
            egress.forward(forward, now.wall, &counters);
            counters.account(&block).leave(Waits::Links, copies);
        });
        if let Some(link) = egress.link() {
            own.out.count_stall(credit.lane, now.mono, link);
        }
        match granted {
            Ok(()) => self.mark_dirty(id),
            Err(error) => self.violate(id, ErrorCode::BAD_CREDIT, &error.to_string()),
        }
    }

    /// Drops what is too late; what waits for a link's credit gets what that
    /// had. Answers whether there was any.
    pub(super) fn drop_expired(connection: &mut Connection, counters: &Counters, now: weft_base::Now) -> bool {
        let Connection { egress, credit, .. } = connection;
        let dropped = egress.drop_expired(now.wall, counters);
        let Some(credit) = credit else { return dropped };
        for lane in Lane::all() {
            let unsent = egress.take_unsent(lane);
            if unsent > 0 {
                credit.out.returned(lane, unsent, |forward| {
                    let (block, copies) = (forward.block.clone(), forward.live_copies);
                    sub(&counters.backlog_blocks, 1);
                    egress.forward(forward, now.wall, counters);
                    counters.account(&block).leave(Waits::Links, copies);
                });
                if let Some(link) = egress.link() {
                    credit.out.count_stall(lane, now.mono, link);
                }
            }
        }
        dropped
    }

    /// The route stage has taken so much of a link: the other hub may send as much more.
    pub(super) fn on_taken(&mut self, link: SessionId, lane: Lane, bytes: u64) {
        let Some(connection) = self.connection(link) else { return };
        let Some(limit) = connection.credit.as_mut().and_then(|credit| credit.into.took(lane, bytes)) else { return };
        frame::encode(&Frame::LinkCredit(LinkCredit { lane, limit }), connection.egress.control());
        self.mark_dirty(link);
    }

    /// The answer to a probe came, as it does now and then on every link: its
    /// windows give back what is not used.
    pub(super) fn rest(&mut self, id: SessionId) {
        let now = self.now.mono;
        let Some(Connection { credit: Some(credit), egress, .. }) = self.connection(id) else { return };
        credit.into.rest(now);
        if let Some(link) = egress.link() {
            set(&link.window, credit.into.windows().largest());
            Lane::all().for_each(|lane| credit.out.count_stall(lane, now, link));
        }
    }

    /// Appends what a subscriber has no room for to the stream that it named.
    /// The subscriber's copy is counted; this is one more, for the stream.
    fn spill(&mut self, stream: StreamSlot, block: &BlockRef) {
        let events = u64::from(Block::trusted(block).event_count());
        let account = self.counters.account(block);
        account.copies(events);
        if !self.out.append.has_room(1) {
            return account.drop(DropReason::StreamRefused, events);
        }
        account.enter(Waits::Append, events);
        let (streams, completion) = ([stream].into(), Completion::None);
        self.out.append.push(ToAppend::Append { streams, block: block.clone(), completion, spooled: false });
    }

    /// Stops reading a session, or goes on. One that subscribes is read all the
    /// same: its credit comes by the same way, and others may wait for that.
    fn hold(&mut self, session: SessionId, held: bool) {
        let Some(connection) = self.connection(session) else { return };
        if connection.closing || connection.held == held || (held && connection.egress.subscriptions() > 0) {
            return;
        }
        connection.held = held;
        let link = connection.link;
        if held {
            return self.network.pause(link);
        }
        let again = !std::mem::replace(&mut connection.readable, true);
        if !connection.waits_for_answer() && !connection.inspected.paused {
            self.network.resume(link);
        }
        if again {
            self.reading.push_back(session);
        }
    }

    /// So many receivers of a block are gone. If it is a request, the route
    /// stage tells its requester; when that has no room, the deadline will.
    fn unanswered(&mut self, block: &BlockRef, receivers: u64) {
        if Block::trusted(block).flags() & REQUEST != 0 && self.out.route.has_room(1) {
            self.out.route.push(ToRoute::Unanswered { request: block.clone(), receivers });
        }
    }

    /// One destination of a publish has reached its level; the last one answers the client.
    fn on_acked(&mut self, request: Request) {
        let identity = self.identity.clone();
        let Some(connection) = self.connection(request.session) else { return };
        let (mut level, mut place) = (request.level, request.place);
        if let Some(parts) = connection.parts.get_mut(&request.id) {
            parts.open -= 1;
            parts.level = least(parts.level, level);
            if parts.open > 0 {
                return;
            }
            // In several places it has no name of its own.
            (level, place) = (parts.level, None);
            connection.parts.remove(&request.id);
        }
        connection.unanswered = connection.unanswered.saturating_sub(1);
        self.landed(request.session, request.id);
        if self.counters.traces.is_on() {
            self.counters.traces.answered(request.sequence, self.now.wall.0);
        }
        let Some(connection) = self.connection(request.session) else { return };
        let ack = frame::Ack {
            request: request.id,
            level,
            origin: identity.id,
            epoch: identity.epoch,
            sequence: request.sequence,
            duplicate: request.duplicate,
            receivers: request.receivers,
            home: place.map_or(weft_base::HubId(0), |place| place.home),
            home_sequence: place.map_or(0, |place| place.sequence),
            homes: match level {
                AckLevel::Homes => request.homes,
                AckLevel::Synced => 1,
                _ => 0,
            },
        };
        frame::encode(&Frame::Ack(ack), connection.egress.control());
        self.mark_dirty(request.session);
    }

    /// The hub's orderly end: nothing more is read; what is under way is
    /// stored, acknowledged and written; then the peers are told goodbye.
    pub(super) fn drain_if_asked(&mut self) {
        match self.lifecycle.phase() {
            Phase::Draining => {
                if !self.listeners.is_empty() {
                    for (listener, _) in std::mem::take(&mut self.listeners) {
                        self.network.close_listener(listener);
                    }
                    self.lifecycle.drain_until(self.now.mono + self.options.timers.drain);
                }
                if !self.lifecycle.has_parted() {
                    self.out.consume.wake();
                }
                let quiet = self.lifecycle.has_parted()
                    && self.inbox.is_empty()
                    && self.out.are_empty()
                    && self.inspecting.as_ref().is_none_or(Inspecting::is_idle)
                    && self.counters.in_flight_here() == 0
                    && self.connections.iter().flatten().all(|c| c.egress.is_empty());
                if quiet || self.lifecycle.is_late(self.now.mono) {
                    let ids: Vec<SessionId> = self.connections.iter().flatten().map(|c| c.id).collect();
                    for id in ids {
                        self.goodbye(id, ErrorCode::SHUTDOWN, "the hub is stopping: connect again in a moment");
                    }
                    self.lifecycle.enter(Phase::Closing);
                }
            }
            Phase::Closing => {
                let gone = !self.connections.iter().flatten().any(|c| !matches!(c.role, Role::Dialling { .. }));
                if gone || self.lifecycle.is_late(self.now.mono) {
                    self.lifecycle.enter(Phase::Closed);
                }
            }
            Phase::Running | Phase::Closed => {}
        }
    }
}

/// What a publish has reached of which one part has reached `a` and another `b`.
fn least(a: AckLevel, b: AckLevel) -> AckLevel {
    // The number of `Spooled` is the last one, and it says less than any that a stream's home answers.
    if [a, b].contains(&AckLevel::Spooled) { AckLevel::Spooled } else { a.min(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_parts_the_one_counts_that_has_reached_least() {
        assert_eq!(least(AckLevel::Homes, AckLevel::Written), AckLevel::Written);
        assert_eq!(least(AckLevel::Synced, AckLevel::Spooled), AckLevel::Spooled);
        assert_eq!(least(AckLevel::Spooled, AckLevel::Homes), AckLevel::Spooled);
    }
}
