//! What becomes of each frame that comes in.

use std::time::Duration;

use weft_base::{HubId, Lane};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{BlockMut, BlockRef};
use weft_topic::Filter;
use weft_wire::block::{Block, MAX_EVENTS};
use weft_wire::frame::{self, ErrorCode, Frame, Kind, MAX_WEIGHT, OnFull, REPLY_INBOX};
use weft_wire::reply::{ReplyAddress, is_reserved};

use super::read::READ_ROOM;
use super::{NetStage, Role};
use crate::append::{AwaitedLevel, StreamSpec};
use crate::consume::ToConsume;
use crate::counters::{add, set};
use crate::gate::{Bounds, Gate, Holder};
use crate::load::Verdict;
use crate::messages::{
    LastAsked, LiveAsked, Membership, Publish, SessionId, SubscribeOptions, Target, ToAppend, ToConductor, ToRoute,
};

impl NetStage {
    /// Sends a whole frame of a connection where it belongs.
    pub(super) fn on_frame(&mut self, id: SessionId, mut bytes: BlockMut) {
        let Some(connection) = self.connection(id) else { return };
        let role = connection.role.clone();
        let on_reserve = connection.on_reserve;
        // The two frames of the data path go on as they are, undecoded but for their head.
        match (&role, frame::peek_kind(&bytes)) {
            (Role::Client, Some(Kind::Publish)) => {
                let _head = bytes.split_to(frame::FRAME_HEADER.min(bytes.len()));
                return match frame::publish_of(&_head) {
                    Ok((request, level, _)) if on_reserve => self.no_memory(id, request, level),
                    Ok((request, level, homes)) => self.enter(id, request, (level, homes), bytes),
                    Err(error) => self.violate(id, ErrorCode::BAD_FRAME, &error.to_string()),
                };
            }
            (Role::Link { .. }, Some(Kind::Forward | Kind::Detour)) => {
                let len = bytes.len() as u64;
                if let Some(link) = connection.egress.link() {
                    add(&link.wire_in, len);
                }
                return self.on_forward(id, bytes, on_reserve);
            }
            (Role::Link { .. }, Some(Kind::Packed)) => return self.on_packed(id, &bytes),
            _ => {}
        }
        let block = bytes.freeze();
        let decoded = match Frame::decode(&block) {
            Ok(decoded) => decoded,
            Err(error) => return self.violate(id, ErrorCode::BAD_FRAME, &error.to_string()),
        };
        match role {
            Role::AwaitHello { hubs, peer } => match &decoded {
                Frame::Hello(hello) => self.on_hello(id, hubs, &peer, hello),
                other => self.unexpected(id, other.kind(), "the first frame must be a hello"),
            },
            Role::AwaitWelcome { dial, peer, since } => match &decoded {
                Frame::Welcome(welcome) => self.on_welcome(id, dial, since, &peer, welcome),
                Frame::Goodbye(goodbye) => self.end(id, &format!("refused by the peer: {}", goodbye.detail)),
                other => self.unexpected(id, other.kind(), "the answer to a hello must be a welcome"),
            },
            Role::AwaitOpen { dial, peer } => match &decoded {
                Frame::LinkOpen(open) => self.on_link_open(id, peer, dial, open),
                Frame::Goodbye(goodbye) if dial.is_none() && goodbye.code == ErrorCode::LEAVING => {
                    add(&self.counters.probed, 1);
                    if let Some(connection) = self.connection(id) {
                        connection.role = Role::Probed;
                    }
                    self.end(id, goodbye.detail);
                }
                Frame::Goodbye(goodbye) => self.end(id, &format!("refused by the peer: {}", goodbye.detail)),
                other => self.unexpected(id, other.kind(), "a link must begin with what the hubs say of themselves"),
            },
            Role::Client if matches!(decoded, Frame::Hello(_)) => {
                if let Frame::Hello(hello) = &decoded {
                    self.on_renewed_login(id, hello.token);
                }
            }
            Role::Client if self.refuse_foreign(id, &decoded) => {}
            Role::Client if self.waits_for_answer(id, &decoded, &block) => {}
            Role::Client => {
                self.note_act(id, &decoded, None);
                self.on_allowed(id, decoded, &block);
            }
            Role::Link { .. } => match &decoded {
                Frame::Goodbye(goodbye) => self.on_link_goodbye(id, goodbye.detail),
                // A sign of life, and that is all.
                Frame::Ping(_) if self.is_on_further(id) => {}
                Frame::LinkState(_)
                | Frame::Record(_)
                | Frame::Conflict(_)
                | Frame::Interest(_)
                | Frame::Digest(_)
                | Frame::DigestSum(_)
                | Frame::Want(_)
                | Frame::FlowAck(_)
                | Frame::BoundAck(_)
                | Frame::WayAck(_)
                | Frame::Pressure(_)
                | Frame::ReceiptAsk(_)
                | Frame::ReceiptAck(_)
                | Frame::Ping(_) => self.out.conductor.push(ToConductor::LinkFrame { link: id, frame: block }),
                Frame::Pong(_) => {
                    self.rest(id);
                    self.out.conductor.push(ToConductor::LinkFrame { link: id, frame: block });
                }
                Frame::LinkCredit(credit) => self.on_link_credit(id, *credit),
                Frame::LinkLedger(mark) => self.on_mark(id, mark),
                Frame::LinkCounted(counted) => self.on_counted(id, counted),
                other => self.unexpected(id, other.kind(), "hubs do not send it over a link"),
            },
            Role::AwaitLogin(_) | Role::Dialling { .. } | Role::Probed | Role::Gathering { .. } | Role::Joined => {}
        }
    }

    /// A block came over a link, as it is or packed.
    pub(super) fn on_forward(&mut self, id: SessionId, bytes: BlockMut, on_reserve: bool) {
        let Some(connection) = self.connection(id) else { return };
        let mut from = HubId(0);
        if let Some(link) = connection.egress.link() {
            from = HubId(link.hub);
            add(&link.blocks_in, 1);
            add(&link.bytes_in, bytes.len() as u64);
        }
        let (lane, len) = (forwarded_lane(&bytes), bytes.len());
        if lane.is_some_and(|lane| !self.take_credit(id, lane, len)) {
            return;
        }
        if on_reserve {
            self.not_taken_in(id, &bytes);
            // Its destination counts live events as missing; the origin sends guaranteed ones again.
            add(&self.counters.unread, 1);
            return lane.map_or((), |lane| self.on_taken(id, lane, len as u64));
        }
        let since = self.now.mono;
        self.out.route.push(ToRoute::Forward { link: id, from, since, frame: bytes });
    }

    /// So many bytes of a lane came over a link. Answers whether it had credit
    /// for them; one that had not is ended.
    pub(super) fn take_credit(&mut self, id: SessionId, lane: Lane, len: usize) -> bool {
        let now = self.now.mono;
        let Some(connection) = self.connection(id) else { return false };
        let Some(credit) = connection.credit.as_mut() else { return true };
        match credit.into.came(lane, len, credit.heard.rtt(), now) {
            Ok(false) => true,
            Ok(true) => {
                if let Some(link) = connection.egress.link() {
                    set(&link.window, credit.into.windows().largest());
                }
                // Said at once.
                self.on_taken(id, lane, 0);
                true
            }
            Err(error) => {
                self.violate(id, ErrorCode::NO_CREDIT, &error.to_string());
                false
            }
        }
    }

    pub(super) fn unexpected(&mut self, id: SessionId, kind: Kind, rule: &str) {
        self.violate(id, ErrorCode::UNEXPECTED, &format!("a frame of kind {kind:?} does not belong here: {rule}"));
    }

    /// A publish, to be acknowledged at this level and, with `Homes`, by so many.
    pub(super) fn on_publish(&mut self, id: SessionId, request: u64, asked: (frame::AckLevel, u8), block: BlockMut) {
        if let Some(block) = self.inspect(id, request, asked, block) {
            self.publish_on(id, request, asked, block, false);
        }
    }

    /// The same, of one whose payloads fit. `checked`: its format was looked at.
    pub(super) fn publish_on(
        &mut self,
        id: SessionId,
        request: u64,
        asked: (frame::AckLevel, u8),
        block: BlockMut,
        checked: bool,
    ) {
        let (level, homes) = asked;
        let window = self.options.limits.publish_blocks;
        let lane = Block::trusted(&block).lane();
        match self.load.verdict(lane) {
            // What waits is left in the connection's buffer; this one came before that was decided.
            Verdict::Take | Verdict::Wait => {}
            Verdict::Drop => return self.shed(id, request, level, 0, &block),
            Verdict::Refuse { retry_after_ms } => return self.shed(id, request, level, retry_after_ms, &block),
        }
        let since = self.now.mono;
        let known = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let Some(connection) = known else { return self.publish_of_nobody(id, block, checked) };
        if level != frame::AckLevel::None {
            if connection.unanswered >= window && connection.tunnelled {
                // The client keeps to its own hub's window, which may be wider.
                let detail = format!("more than {window} blocks wait at the stream's home: publish again in a while");
                return self.refuse_for(id, request, ErrorCode::OVERLOADED, 1_000, &detail);
            }
            if connection.unanswered >= window {
                let detail = format!("more than {window} blocks are unacknowledged: wait for acknowledgements");
                return self.violate(id, ErrorCode::WINDOW, &detail);
            }
            connection.unanswered += 1;
        }
        let far = connection.tunnelled;
        if !far {
            connection.published.note(Block::trusted(&block), &mut self.publishing, self.now.wall);
        }
        let publish = Publish { session: id, id: request, level, homes, block, checked, since, far, dropped: false };
        let mut last = connection.last_shard;
        self.load.enter(lane);
        self.out.admit.send(publish, &mut last, &mut self.out.route);
        if let Some(connection) = self.connection(id) {
            connection.last_shard = last;
        }
    }

    /// The hub has more to do than it can: a publish is refused, or dropped
    /// where nobody asked for an answer, and counted either way.
    fn shed(&mut self, id: SessionId, request: u64, level: frame::AckLevel, retry_after_ms: u32, block: &[u8]) {
        if level != frame::AckLevel::None {
            add(&self.counters.refused, 1);
            let detail = "the hub has more to do than it can, and this lane waits longest: publish again in a while";
            return self.refuse_for(id, request, ErrorCode::LANE_FULL, retry_after_ms.max(1), detail);
        }
        let events = u64::from(Block::trusted(block).event_count().min(MAX_EVENTS));
        // Not checked, so that nothing can be said of its topic.
        let account = self.counters.account_of_none();
        account.published(events);
        account.copies(events);
        account.drop(DropReason::ShedNewest, events);
    }

    /// Publishes wait for memory: said at once, whatever else holds them up.
    fn out_of_memory(&mut self, id: SessionId, request: u64, blocks: u32) {
        let identity = self.identity.clone();
        let Some(connection) = self.connection(id) else { return };
        let (limit, hub) = (frame::Limit::Memory, identity.name.as_str());
        let why = frame::WhyReport { request, limit, name: "", hub, filter: "", behind_ms: 0, blocks };
        frame::encode(&Frame::WhyReport(why), connection.egress.control());
        self.mark_dirty(id);
    }

    /// A publish came while there was no memory to keep it in.
    fn no_memory(&mut self, id: SessionId, request: u64, level: frame::AckLevel) {
        add(&self.counters.unread, 1);
        if level != frame::AckLevel::None {
            let detail = "the hub's memory for blocks is in use (limits.arena): publish again in a while";
            self.refuse_for(id, request, ErrorCode::OVERLOADED, 100, detail);
        }
    }

    pub(super) fn on_client_frame(&mut self, id: SessionId, decoded: Frame<'_>, bytes: &BlockRef) {
        if self.refuse_meddling(id, &decoded) {
            return;
        }
        match decoded {
            Frame::Subscribe(subscribe) => self.on_subscribe(id, &subscribe),
            Frame::Unsubscribe(unsubscribe) => {
                let target = Target { session: id, subscription: unsubscribe.id };
                let counters = self.counters.clone();
                let Some(connection) = self.connection(id) else { return };
                if connection.egress.leave(unsubscribe.id, &counters) {
                    self.mark_dirty(id);
                    return self.out.consume.push(ToConsume::Close { target });
                }
                let stream = connection.egress.subscribers.is_stream(unsubscribe.id);
                if !connection.egress.subscribers.unsubscribe(unsubscribe.id, &counters) {
                    return self.refuse(
                        id,
                        unsubscribe.id.0,
                        ErrorCode::NO_SUBSCRIPTION,
                        "there is no such subscription",
                    );
                }
                frame::encode(
                    &Frame::Unsubscribed(frame::Unsubscribed { id: unsubscribe.id }),
                    connection.egress.control(),
                );
                self.mark_dirty(id);
                if stream {
                    self.out.append.push(ToAppend::CloseSubscription { target });
                } else {
                    self.out.conductor.push(ToConductor::Unsubscribe { target });
                }
            }
            Frame::Credit(credit) => {
                // Credit for a subscription that has just ended is no error: it crossed the end on its way.
                let Some(connection) = self.connection(id) else { return };
                if connection.egress.is_member(credit.id) {
                    let target = Target { session: id, subscription: credit.id };
                    let (events, bytes) = (credit.events, credit.bytes);
                    return self.out.consume.push(ToConsume::Credit { target, events, bytes });
                }
                connection.egress.subscribers.grant(credit.id, credit.events, credit.bytes);
                self.mark_dirty(id);
            }
            Frame::Ping(ping) => {
                if let Some(connection) = self.connection(id) {
                    let pong = Frame::Pong(frame::Pong { id: ping.id, time: ping.time });
                    frame::encode(&pong, connection.egress.control());
                }
                self.mark_dirty(id);
            }
            Frame::Goodbye(_) => {
                self.note_moved(id);
                self.goodbye(id, ErrorCode::NONE, "goodbye");
            }
            Frame::Leave(_) => self.on_leave(id),
            Frame::Drain(asked) => self.on_drain(id, asked),
            Frame::Why(why) => {
                let facts = self.connection(id).map(|connection| (connection.unanswered, connection.on_reserve));
                let Some((unanswered, on_reserve)) = facts else { return };
                if on_reserve || self.arena.lend(READ_ROOM).is_none() {
                    return self.out_of_memory(id, why.request, unanswered);
                }
                self.out.route.push(ToRoute::Why { session: id, id: why.request, unanswered });
            }
            Frame::StreamCreate(create) => {
                let spec = StreamSpec::from_frame(&create.spec, &self.options.stream_defaults);
                self.out.append.push(ToAppend::Create { session: id, id: create.request, spec });
            }
            Frame::StreamAlter(alter) => {
                let spec = StreamSpec::from_frame(&alter.spec, &self.options.stream_defaults);
                self.out.append.push(ToAppend::Alter { session: id, id: alter.request, spec });
            }
            Frame::LastGet(asked) => {
                let filter = match Filter::parse(asked.filter) {
                    Ok(filter) => filter,
                    Err(error) => return self.refuse(id, asked.request, ErrorCode::BAD_FILTER, &error.to_string()),
                };
                self.out.append.push(ToAppend::LastGet(LastAsked {
                    session: id,
                    id: asked.request,
                    stream: asked.stream.to_owned(),
                    filter,
                    key: asked.has_key.then(|| asked.key.to_vec()),
                    most: asked.most,
                }));
            }
            Frame::AwaitLevel(asked) => {
                let asked = Box::new(AwaitedLevel::from_frame(&asked));
                self.out.append.push(ToAppend::AwaitLevel { session: id, asked });
            }
            Frame::StreamDelete(delete) => {
                let name = delete.name.to_owned();
                self.out.append.push(ToAppend::Delete { session: id, id: delete.request, name });
            }
            Frame::StreamInfo(info) => {
                let name = Some(info.name.to_owned());
                self.out.append.push(ToAppend::Report { session: id, id: info.request, name });
            }
            Frame::StreamList(list) => {
                self.out.append.push(ToAppend::Report { session: id, id: list.request, name: None });
            }
            Frame::Profile(asked) => {
                if let Err((code, detail)) = self.profiling.ask(id, asked) {
                    self.refuse(id, asked.request, code, &detail);
                }
            }
            Frame::Ask(_) | Frame::WhyNot(_) => {
                self.out.conductor.push(ToConductor::Ask { session: id, frame: bytes.clone() });
            }
            Frame::Change(frame::Change { request, .. }) | Frame::Trial(frame::Trial { request, .. }) => {
                self.on_change(id, request, bytes);
            }
            Frame::Govern(asked) => self.on_govern(id, asked.request, bytes),
            Frame::Survey(asked) => {
                self.out.conductor.push(ToConductor::Survey { session: id, id: asked.request });
            }
            Frame::MeshShow(show) => {
                self.out.conductor.push(ToConductor::MeshShow { session: id, id: show.request });
            }
            Frame::LiveAsk(asked) => {
                self.out.conductor.push(ToConductor::LiveAsk(Box::new(LiveAsked {
                    session: id,
                    request: asked.request,
                    subscription: asked.subscription,
                    topic: asked.topic.to_owned(),
                    scope: asked.scope,
                    count: asked.count,
                    timeout: Duration::from_millis(asked.timeout_ms.into()),
                    hubs: asked.hubs.iter().map(|&hub| hub.to_owned()).collect(),
                })));
            }
            Frame::Settle(_) => self.out.consume.push(ToConsume::Settle { session: id, frame: bytes.clone() }),
            other => self.on_consumer_frame(id, &other),
        }
    }

    fn on_subscribe(&mut self, id: SessionId, subscribe: &frame::Subscribe<'_>) {
        let filter = match Filter::parse(subscribe.filter) {
            Ok(filter) => filter,
            Err(error) => return self.refuse(id, subscribe.id.0, ErrorCode::BAD_FILTER, &error.to_string()),
        };
        let own = ReplyAddress { hub: self.identity.id, session: id.0 };
        let is_inbox = subscribe.id == REPLY_INBOX && subscribe.filter == own.inbox();
        // A stream's own reader sees what is there, whatever the space.
        let is_hidden = is_reserved(subscribe.filter) && subscribe.stream.is_empty();
        if !is_inbox && (is_hidden || subscribe.id == REPLY_INBOX) {
            let detail = "topics that start with `_` are reserved: a session may subscribe to its own inbox alone";
            return self.refuse(id, subscribe.id.0, ErrorCode::FORBIDDEN, detail);
        }
        let group = match membership(subscribe) {
            Ok(group) => group,
            Err((code, detail)) => return self.refuse(id, subscribe.id.0, code, detail),
        };
        let (live, spills) = (subscribe.stream.is_empty(), subscribe.on_full == OnFull::Spill);
        if spills == subscribe.spill.is_empty() {
            let detail = "the policy `spill`, and no other, names the stream to spill to";
            return self.refuse(id, subscribe.id.0, ErrorCode::BAD_NAME, detail);
        }
        let most = self.options.limits.subscriptions_per_session;
        let (hub, waker) = (self.identity.clone(), self.gate_waker.clone());
        let limits = &self.options.limits;
        let bounds = Bounds { events: limits.subscriber_events as u64, bytes: limits.subscriber_bytes.0 };
        let Some(connection) = self.connection(id) else { return };
        if connection.egress.knows(subscribe.id) {
            let detail = "the subscription's number is in use: choose another";
            return self.refuse(id, subscribe.id.0, ErrorCode::IN_USE, detail);
        }
        if connection.egress.subscriptions() >= most {
            let detail = format!("the session has {most} subscriptions, its limit (limits.subscriptions_per_session)");
            return self.refuse(id, subscribe.id.0, ErrorCode::LIMIT, &detail);
        }
        let holder = |name: &str| Holder {
            subscriber: name.to_owned(),
            hub: hub.name.clone(),
            filter: filter.as_str().to_owned(),
        };
        // Of a group's member it says who is passed over.
        let gate = (live && (subscribe.on_full == OnFull::Wait || group.is_some()))
            .then(|| Gate::new(holder(&connection.name), Some(bounds), waker));
        connection.egress.subscribers.subscribe(
            subscribe.id,
            SubscribeOptions {
                credit_events: subscribe.credit_events,
                credit_bytes: subscribe.credit_bytes,
                on_full: subscribe.on_full,
                gate: gate.clone(),
            },
        );
        let target = Target { session: id, subscription: subscribe.id };
        if is_inbox {
            // Replies find it by its address: nobody else has to know of it.
            let subscribed = frame::Subscribed { id: subscribe.id, start_sequence: 0, live: true };
            frame::encode(&Frame::Subscribed(subscribed), connection.egress.control());
            self.mark_dirty(id);
        } else if !live {
            let (stream, position) = (subscribe.stream.to_owned(), subscribe.position.clone());
            self.out.append.push(ToAppend::Open { target, stream, start: subscribe.start, position, filter });
        } else if spills {
            self.out.append.push(ToAppend::FindSpill { target, stream: subscribe.spill.to_owned(), filter });
        } else {
            self.out.conductor.push(ToConductor::Subscribe { target, filter, gate, group });
        }
    }

    /// Answers a request with an error.
    pub(super) fn refuse(&mut self, id: SessionId, request: u64, code: ErrorCode, detail: &str) {
        self.refuse_for(id, request, code, 0, detail);
    }

    pub(super) fn refuse_for(
        &mut self,
        id: SessionId,
        request: u64,
        code: ErrorCode,
        retry_after_ms: u32,
        detail: &str,
    ) {
        self.landed(id, request);
        if let Some(connection) = self.connection(id) {
            let code = code.told_to(connection.version());
            let error = frame::ErrorFrame { request, code, retry_after_ms, detail };
            frame::encode(&Frame::Error(error), connection.egress.control());
        }
        self.mark_dirty(id);
    }
}

/// The group that a subscription asks for, if any.
fn membership(subscribe: &frame::Subscribe<'_>) -> Result<Option<Membership>, (ErrorCode, &'static str)> {
    if subscribe.id == REPLY_INBOX && matches!(subscribe.on_full, OnFull::Wait | OnFull::Spill) {
        return Err((ErrorCode::UNSUPPORTED, "an inbox for replies drops or disconnects: ask for one of these"));
    }
    if subscribe.group.is_empty() {
        return Ok(None);
    }
    if !subscribe.stream.is_empty() || subscribe.id == REPLY_INBOX {
        let detail = "groups share live events: a subscription to a stream, or to replies, has no group";
        return Err((ErrorCode::UNSUPPORTED, detail));
    }
    if matches!(subscribe.on_full, OnFull::Wait | OnFull::Spill) {
        let detail = "a full member of a group is passed over: its policy cannot be `wait` or `spill`";
        return Err((ErrorCode::UNSUPPORTED, detail));
    }
    if subscribe.group.chars().any(char::is_control) {
        return Err((ErrorCode::BAD_NAME, "a group's name must have no control characters"));
    }
    if !(1..=MAX_WEIGHT).contains(&subscribe.weight) {
        return Err((ErrorCode::LIMIT, "a member's weight must be 1 to 1000"));
    }
    Ok(Some(Membership { group: subscribe.group.into(), weight: subscribe.weight }))
}

/// The lane of the block in a `Forward` frame, from its header; whether the
/// block is sound is for the route stage to say.
fn forwarded_lane(frame: &[u8]) -> Option<Lane> {
    forwarded(frame).map(|block| block.lane())
}

/// The block in a `Forward` or `Detour` frame, unchecked.
pub(super) fn forwarded(frame: &[u8]) -> Option<Block<'_>> {
    frame::peek_block(frame).map(Block::trusted)
}
