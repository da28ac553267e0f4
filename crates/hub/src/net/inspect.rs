//! Publishes on topics whose payloads are checked go through the inspect stage, and
//! so does what a session publishes behind one, so that its order is kept.
//!
//! A topic that is not checked costs a look-up here: one hash, and a comparison.
//! Answers are kept for [`MOST_TOPICS`] topics, then all are forgotten; and when
//! there is something else to check by, or other rules of the hub's mapping.
//! Without anything to check by none of this runs.
//!
//! What is there of a session and of a tenant is bounded ([`MOST_OF_SESSION`],
//! [`MOST_OF_TENANT`], and bytes): a session is not read until there is less, so
//! that its publisher waits and nothing is lost. Nobody else waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockMut;
use weft_topic::Topic;
use weft_transport::Network as _;
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{Block, MAX_EVENTS};
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame};
use weft_wire::reply::is_reserved;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::NetStage;
use super::rights::{Same, outcomes};
use crate::counters::{add, sub};
use crate::inspect::{Fate, Inspected, Inspection, Payer, Shared, ToInspect, Work};
use crate::mapping::Mapped;
use crate::messages::{Publish, SessionId};

/// Topics for which it is remembered whether they are checked.
const MOST_TOPICS: usize = 4_096;
/// Names that the rules of a mapping may make of a topic, by which it is checked;
/// of what may become more, the first count.
const MOST_OUTCOMES: usize = 64;
/// Blocks of one session that are checked or wait for it.
const MOST_OF_SESSION: u32 = 64;
/// Blocks of one tenant, over all of its sessions.
const MOST_OF_TENANT: u32 = 1_024;
/// Which part of the memory for blocks one tenant's may take.
const SHARE: u64 = 8;

/// The names of a topic in the mesh, if its payloads are checked.
type Names = Option<Arc<[Box<str>]>>;

/// What is there of a tenant, or of a session without one.
#[derive(Default)]
struct Flow {
    blocks: u32,
    bytes: u64,
    /// Sessions that are not read until there is less.
    paused: VecDeque<SessionId>,
}

/// What the net stage needs for it.
pub(in crate::net) struct Inspecting {
    shared: Shared,
    current: Arc<Inspection>,
    mapping: Arc<Mapped>,
    topics: HashMap<u64, (Box<str>, bool, Names), BuildHasherDefault<Same>>,
    flows: BTreeMap<Payer, Flow>,
    seed: u64,
    most_bytes: u64,
}

/// How a session stands with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Blocks that are checked or wait for it.
    blocks: u32,
    /// It is not read until there are fewer.
    pub(in crate::net) paused: bool,
}

impl Inspecting {
    pub(in crate::net) fn new(shared: Shared, seed: u64, arena: u64) -> Self {
        Self {
            current: shared.load_full(),
            shared,
            mapping: Arc::default(),
            topics: HashMap::default(),
            flows: BTreeMap::new(),
            seed,
            most_bytes: arena / SHARE,
        }
    }

    /// Whether nothing is there that comes back.
    pub(in crate::net) fn is_idle(&self) -> bool {
        self.flows.is_empty()
    }

    /// By what names a block's payloads are checked; of a block that was not looked
    /// at yet. Before anything was learned to check by, all may have to be.
    #[inline]
    fn names(&mut self, block: &[u8]) -> Names {
        let block = Block::trusted(block);
        let (topic, is_request) = (block.topic(), block.flags() & REQUEST != 0);
        let key = xxh3_64_with_seed(topic.as_bytes(), self.seed ^ u64::from(is_request));
        match self.topics.get(&key) {
            Some((known, of, names)) if **known == *topic && *of == is_request => names.clone(),
            _ => self.look_up(key, topic, is_request),
        }
    }

    #[cold]
    fn look_up(&mut self, key: u64, topic: &str, is_request: bool) -> Names {
        // A reply has no schema of its own, and what is no topic is refused later.
        let parsed = Topic::parse(topic).ok().filter(|topic| !is_reserved(topic.as_str()))?;
        let mut becomes = outcomes(&self.mapping, parsed, is_request);
        becomes.truncate(MOST_OUTCOMES);
        let names = match &self.current.inspector {
            Some(inspector) => becomes.into_iter().filter(|name| inspector.checks(name)).collect::<Vec<_>>(),
            None => becomes,
        };
        let names: Names = (!names.is_empty()).then(|| names.into_iter().map(String::into_boxed_str).collect());
        if self.topics.len() >= MOST_TOPICS {
            self.topics.clear();
        }
        self.topics.insert(key, (topic.into(), is_request, names.clone()));
        names
    }

    fn is_full(&self, payer: &Payer, part: u32) -> bool {
        self.flows
            .get(payer)
            .is_some_and(|flow| flow.blocks >= MOST_OF_TENANT / part || flow.bytes >= self.most_bytes / u64::from(part))
    }
}

impl NetStage {
    /// A block that may be published: checked first, where it is to be. Hands it
    /// back where it is not.
    #[inline]
    pub(super) fn inspect(
        &mut self,
        id: SessionId,
        request: u64,
        asked: (AckLevel, u8),
        block: BlockMut,
    ) -> Option<BlockMut> {
        let Some(inspecting) = &mut self.inspecting else { return Some(block) };
        let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let Some(connection) = found.filter(|connection| !connection.tunnelled) else { return Some(block) };
        let topics = inspecting.names(&block);
        if topics.is_none() && connection.inspected.blocks == 0 {
            return Some(block);
        }
        let who =
            connection.rights.as_deref().map(|rights| rights.who.clone()).or_else(|| connection.principal.clone());
        let tenant = who.as_deref().and_then(|who| who.tenant.clone());
        let payer = tenant.map_or(Payer::Session(id), Payer::Tenant);
        let bytes = block.len() as u64;
        let flow = inspecting.flows.entry(payer.clone()).or_default();
        flow.blocks += 1;
        flow.bytes += bytes;
        connection.inspected.blocks += 1;
        add(&self.counters.schema.waiting, 1);
        if connection.inspected.blocks >= MOST_OF_SESSION || inspecting.is_full(&payer, 1) {
            connection.inspected.paused = true;
            let link = connection.link;
            if let Some(flow) = inspecting.flows.get_mut(&payer) {
                flow.paused.push_back(id);
            }
            add(&self.counters.schema.held, 1);
            self.network.pause(link);
        }
        let work = Box::new(Work { session: id, payer, who, request, asked, topics, block, bytes });
        if let Some(inspect) = &mut self.out.inspect {
            inspect.push(ToInspect::Block(work));
        }
        None
    }

    /// A block was checked.
    pub(super) fn on_inspected(&mut self, inspected: Inspected) {
        let Inspected { work, fate } = inspected;
        let Work { session: id, payer, request, asked, block, bytes, .. } = *work;
        sub(&self.counters.schema.waiting, 1);
        self.leave_inspection(id, &payer, bytes);
        match fate {
            Fate::Pass { checked } => self.publish_on(id, request, asked, block, checked),
            Fate::Reject(detail) => {
                let detail = format!("{detail}; nothing of the block was published");
                self.keep_out(id, request, asked.0, &block, (ErrorCode::UNFIT, 0, &detail), DropReason::Unfit);
            }
            Fate::Unkept(detail) => {
                let detail = format!("what of the block is not of its schema could not be put in quarantine: {detail}");
                self.keep_out(id, request, asked.0, &block, (ErrorCode::UNKEPT, 1_000, &detail), DropReason::Unkept);
            }
            Fate::Quarantined => {
                let events = u64::from(Block::trusted(&block).event_count().min(MAX_EVENTS));
                self.counters.account(&block).published(events);
                self.acknowledge_quarantine(id, request, asked.0);
            }
        }
    }

    /// All of a block is on disk, in quarantine. Sequence 0 says that it is not in the mesh.
    fn acknowledge_quarantine(&mut self, id: SessionId, request: u64, asked: AckLevel) {
        if asked == AckLevel::None {
            return;
        }
        self.landed(id, request);
        let identity = self.identity.clone();
        let Some(connection) = self.connection(id) else { return };
        let level = asked.min(AckLevel::Synced);
        let ack = frame::Ack {
            request,
            level,
            origin: identity.id,
            epoch: identity.epoch,
            sequence: 0,
            duplicate: false,
            receivers: 0,
            home: weft_base::HubId(0),
            home_sequence: 0,
            homes: u8::from(level == AckLevel::Synced),
        };
        frame::encode(&Frame::Ack(ack), connection.egress.control());
        self.mark_dirty(id);
    }

    /// What was published by a session that is gone is published all the same.
    pub(super) fn publish_of_nobody(&mut self, id: SessionId, block: BlockMut, checked: bool) {
        let (lane, since) = (Block::trusted(&block).lane(), self.now.mono);
        self.load.enter(lane);
        let (level, homes, far, dropped) = (AckLevel::None, 0, false, false);
        let publish = Publish { session: id, id: 0, level, homes, block, checked, since, far, dropped };
        self.out.admit.send(publish, &mut None, &mut self.out.route);
    }

    /// There is one block less: who waited for that is read again.
    fn leave_inspection(&mut self, id: SessionId, payer: &Payer, bytes: u64) {
        if let Some(connection) = self.connection(id) {
            connection.inspected.blocks = connection.inspected.blocks.saturating_sub(1);
        }
        let Some(inspecting) = &mut self.inspecting else { return };
        let Some(flow) = inspecting.flows.get_mut(payer) else { return };
        flow.blocks = flow.blocks.saturating_sub(1);
        flow.bytes = flow.bytes.saturating_sub(bytes);
        // Half of it, so that nobody stops and goes with each block.
        if !flow.paused.is_empty() && !inspecting.is_full(payer, 2) {
            self.resume_inspected(payer);
        }
        let Some(inspecting) = &mut self.inspecting else { return };
        if inspecting.flows.get(payer).is_some_and(|flow| flow.blocks == 0 && flow.paused.is_empty()) {
            inspecting.flows.remove(payer);
        }
    }

    fn resume_inspected(&mut self, payer: &Payer) {
        let flow = self.inspecting.as_mut().and_then(|inspecting| inspecting.flows.get_mut(payer));
        let Some(mut paused) = flow.map(|flow| std::mem::take(&mut flow.paused)) else { return };
        paused.retain(|id| {
            let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == *id);
            let Some(connection) = found else { return false };
            if connection.inspected.blocks > MOST_OF_SESSION / 2 {
                return true;
            }
            connection.inspected.paused = false;
            if !connection.held && !connection.waits_for_answer() {
                self.network.resume(connection.link);
            }
            if !connection.closing && !std::mem::replace(&mut connection.readable, true) {
                self.reading.push_back(*id);
            }
            false
        });
        if let Some(flow) = self.inspecting.as_mut().and_then(|inspecting| inspecting.flows.get_mut(payer)) {
            flow.paused = paused;
        }
    }

    /// What is done once a turn: there may be something else to check by, other
    /// rules of the mapping, and room in the stage.
    pub(super) fn tend_inspection(&mut self) {
        let Some(inspecting) = &mut self.inspecting else { return };
        let table = self.snapshot.load();
        let shared = inspecting.shared.load();
        if !Arc::ptr_eq(&shared, &inspecting.current) || !Arc::ptr_eq(&table.mapping, &inspecting.mapping) {
            inspecting.current = Arc::clone(&shared);
            inspecting.mapping = table.mapping.clone();
            inspecting.topics.clear();
        }
        if let Some(inspect) = &mut self.out.inspect {
            inspect.has_room(0);
        }
    }
}
