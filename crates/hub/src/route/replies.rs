//! Replies and requests: blocks that go to an address, and what a requester is
//! told when nobody is there to answer.
//!
//! A reply's topic names a hub and a session (`weft_wire::reply`), so its route
//! is known without a look at anybody's interest. A request that finds no
//! receiver where it enters the mesh is refused there; one that was sent on
//! and then finds nobody, or no way, is answered with a mark by the hub that
//! noticed. Marks are best effort: the requester has its deadline.

use std::collections::HashMap;
use std::sync::Arc;

use weft_base::{HubId, ProducerId, Residency};
use weft_ring::arena::{Arena, BlockRef};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::frame::REPLY_INBOX;
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::reply::{ReplyAddress, is_reserved};

use super::table::{Remote, Route};
use super::{RouteStage, Which};
use crate::messages::{SessionId, Target};

/// Routes to inboxes that are remembered; at the bound all are forgotten.
const MOST: usize = 65_536;

/// The routes of replies, and what marks are written with.
pub(super) struct Replies {
    routes: HashMap<ReplyAddress, Arc<Route>>,
    /// Where the marks of this hub lie.
    arena: Arena,
    /// How many marks were written.
    marks: u64,
    block: Vec<u8>,
    headers: Vec<u8>,
}

impl Replies {
    pub(super) fn new(arena: Arena) -> Self {
        Self { routes: HashMap::new(), arena, marks: 0, block: Vec::new(), headers: Vec::new() }
    }

    /// The route of a topic in the reserved space; `None` for other topics.
    ///
    /// # Errors
    /// What is wrong with a reserved topic that is no reply's.
    pub(super) fn route(&mut self, me: HubId, topic: &str) -> Option<Result<Arc<Route>, &'static str>> {
        if !is_reserved(topic) {
            return None;
        }
        let Some((address, _)) = ReplyAddress::parse(topic) else {
            return Some(Err("topics that start with `_` are reserved: choose another first level"));
        };
        if let Some(route) = self.routes.get(&address) {
            return Some(Ok(route.clone()));
        }
        if self.routes.len() >= MOST {
            self.routes.clear();
        }
        let mut route = Route::default();
        if address.hub == me {
            route.local = [Target { session: SessionId(address.session), subscription: REPLY_INBOX }].into();
        } else {
            route.remote = [Remote { hub: address.hub, live: true, ..Remote::default() }].into();
        }
        let route = Arc::new(route);
        self.routes.insert(address, route.clone());
        Some(Ok(route))
    }

    /// The block that says to a request's requester that a receiver had nobody
    /// to answer, without a stamp. None when the request has no address, or
    /// there is no memory.
    fn mark(&mut self, me: HubId, first_sequence: u64, request: Block<'_>) -> Option<Vec<u8>> {
        let event = request.events().next()?;
        let topic = event.headers.get(names::REPLY_TO).and_then(|value| std::str::from_utf8(value).ok())?;
        ReplyAddress::parse(topic)?;
        let mut headers = HeadersWriter::new(&mut self.headers);
        headers.push(names::REPLY, names::REPLY_NO_RESPONDERS).ok()?;
        let event = EventFields { headers: &self.headers, ..EventFields::default() };
        let fields = BlockFields {
            lane: request.lane(),
            producer: ProducerId(me.0),
            first_sequence,
            deadline: request.deadline(),
            ..BlockFields::new(topic)
        };
        let len = block::block_len(topic.len(), [(0, event.headers.len(), 0)].into_iter());
        let mut bytes = std::mem::take(&mut self.block);
        bytes.resize(len, 0);
        let mut writer = BlockWriter::new(&mut bytes, &fields).ok()?;
        writer.push(&event).ok()?;
        writer.finish().ok()?;
        Some(bytes)
    }
}

impl RouteStage {
    /// Whether a request on this route can reach anybody who might answer.
    pub(super) fn has_responder(&self, route: &Route, residency: Residency) -> bool {
        let ways = self.table.ways(residency);
        !route.local.is_empty()
            || route.groups.iter().any(super::groups::RouteGroup::has_member)
            || route.remote.iter().any(|remote| remote.live && ways.is_reachable(remote.hub))
    }

    /// So many receivers of this block had nobody who could answer it. If it
    /// is a request, its requester is told.
    pub(super) fn no_responders(&mut self, request: &BlockRef, receivers: u64) {
        let request = Block::trusted(request);
        if request.flags() & REQUEST == 0 {
            return;
        }
        for _ in 0..receivers {
            // Greater in each life of the hub, so that no mark is taken for an earlier one.
            let first = u64::from(self.identity.epoch.0) << 32 | self.replies.marks;
            self.replies.marks += 1;
            let Some(mut bytes) = self.replies.mark(self.identity.id, first, request) else { return };
            let stamp = Stamp {
                origin: self.identity.id,
                epoch: self.identity.epoch,
                block: self.next_block,
                sequence: self.next_sequence,
                ingested: self.now.wall,
            };
            let mark = block::stamp(&mut bytes, &stamp).ok().and_then(|()| self.replies.arena.copy_of(&bytes));
            self.replies.block = bytes;
            let Some(mark) = mark else { return };
            self.next_block += 1;
            self.next_sequence += 1;
            self.send_mark(&mark);
        }
    }

    fn send_mark(&mut self, mark: &BlockRef) {
        let topic = Block::trusted(mark).topic();
        let Some(Ok(route)) = self.replies.route(self.identity.id, topic) else { return };
        self.counters.account(mark).published(1);
        self.deliver_locally(&route, mark, 1, 0);
        // The split in hand is that of the request.
        let split = std::mem::take(&mut self.split);
        let entries = std::mem::take(&mut self.entries);
        let passed = std::mem::take(&mut self.group_entries);
        self.send_remote(&route, mark, 1, None, Which::All);
        self.split = split;
        self.entries = entries;
        self.group_entries = passed;
    }
}
