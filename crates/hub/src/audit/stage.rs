//! The audit stage: makes records of what other stages noted, chains them, and has
//! them appended.
//!
//! On a thread of its own, so that hashing holds up nobody. One block of records is
//! under way at a time; the next is made when that one is on the disk, so that a
//! block that was refused is made again in the same place of the chain. Bounds:
//! [`PENDING`] records wait, beyond them what comes is lost, counted, and told by a
//! record once there is room; a block has at most [`RECORDS`] records and half of
//! what a frame holds. While the disk takes nothing it is tried later and later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now};
use weft_govern::audit::{Chain, Entry, Event};
use weft_log::LogReader;
use weft_ring::arena::{Arena, BlockRef};
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_wire::block::{self, BlockFields, BlockWriter, EventFields, Stamp};

use super::{SharedDigest, ToAudit, Unstored, stream_of, topic_of};
use crate::Identity;
use crate::counters::{Counters, add, get, set};
use crate::lifecycle::{Lifecycle, Phase};
use crate::messages::{Author, Internal, ToAppend};
use crate::outbox::{Outbox, backlog};

/// Records that wait for the disk.
const PENDING: usize = 8_192;
/// Records of one block.
const RECORDS: usize = 128;
/// Messages taken in one turn.
const BATCH: usize = 256;
/// What failed is tried again after this, and then after twice as long each time.
const RETRY: Duration = Duration::from_secs(1);
/// How often that time is doubled at most.
const DOUBLED: u32 = 5;
/// Without memory it is tried again after this.
const NO_MEMORY: Duration = Duration::from_millis(50);
/// Bytes of the log's end that are read to find its last record.
const END: usize = 1 << 20;

/// Where the chain goes on.
pub(super) struct Begin {
    chain: Chain<SharedDigest>,
    /// What the first record is to say.
    detail: String,
}

/// Finds the end of a hub's audit log: the chain goes on behind it.
pub(super) fn begin(hub: &str, digest: SharedDigest, log: Option<&mut LogReader>) -> Begin {
    let anew = |digest: SharedDigest, detail: &str| Begin { chain: Chain::new(hub, digest), detail: detail.to_owned() };
    let Some(reader) = log.filter(|reader| reader.next() > reader.first()) else {
        return anew(digest, "the hub starts, and its audit log begins");
    };
    let last = match last_line(reader) {
        Ok(last) => Chain::after(hub, &last, digest.clone()).map(|chain| (chain, reader.next().saturating_sub(1))),
        Err(why) => Err(why),
    };
    match last {
        Ok((chain, at)) => Begin { chain, detail: format!("the hub starts, and goes on behind the sequence {at}") },
        Err(why) => {
            tracing::error!(
                code = "audit_begins_anew",
                why,
                "the end of the audit log cannot be read: a new chain begins"
            );
            anew(
                digest,
                &format!("the hub starts, and begins a new chain, since the end of the log cannot be read: {why}"),
            )
        }
    }
}

/// The last record of a log.
fn last_line(reader: &mut LogReader) -> Result<String, String> {
    let (last, next) = (reader.next().saturating_sub(1), reader.next());
    let blocks = reader.read(last, next, END).map_err(|error| error.to_string())?;
    let block = blocks.last().ok_or("the last block is not there")?;
    let payload = block.block().events().last().map(|event| event.payload.to_vec()).ok_or("the last block is empty")?;
    String::from_utf8(payload).map_err(|error| error.to_string())
}

/// What the stage is made of.
pub(super) struct AuditParts {
    pub(super) inbox: mpsc::Consumer<ToAudit>,
    pub(super) append: Outbox<ToAppend>,
    pub(super) arena: Arena,
    pub(super) identity: Arc<Identity>,
    /// The most bytes of a block.
    pub(super) most: usize,
    pub(super) counters: Arc<Counters>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) waker: StageWaker,
}

/// A block on its way to the disk.
struct UnderWay {
    ticket: u64,
    /// What it has, to make it again.
    entries: Vec<Entry>,
    /// The chain before it.
    before: Chain<SharedDigest>,
    /// How many were told as lost in it.
    lost: u64,
}

/// The stage.
pub(crate) struct AuditStage {
    parts: AuditParts,
    chain: Chain<SharedDigest>,
    stream: String,
    topic: String,
    pending: VecDeque<Entry>,
    under_way: Option<UnderWay>,
    ticket: u64,
    /// How many of those that were lost were told.
    told: u64,
    failures: u32,
    retry: Option<Mono>,
    /// What the hub's start is to be told with; told by now if none.
    start: Option<String>,
    has_stopped: bool,
    now: Now,
}

impl AuditStage {
    pub(super) fn new(parts: AuditParts, Begin { chain, detail }: Begin) -> Self {
        let (stream, topic) = (stream_of(&parts.identity.name), topic_of(&parts.identity.name));
        Self {
            chain,
            stream,
            topic,
            pending: VecDeque::new(),
            under_way: None,
            ticket: 0,
            told: 0,
            failures: 0,
            retry: None,
            start: Some(detail),
            has_stopped: false,
            now: Now::default(),
            parts,
        }
    }

    /// What the hub itself does.
    fn own(&self, action: &str, detail: String, times: u64) -> Entry {
        let event = Event {
            who: "(hub)".to_owned(),
            from: format!("hub {}", self.parts.identity.name),
            method: "(hub)".to_owned(),
            action: action.to_owned(),
            resource: "the audit log".to_owned(),
            allowed: true,
            detail,
            ..Event::default()
        };
        Entry { event, time: self.now.wall.0, last: None, times, several: false }
    }

    fn take(&mut self, entry: Entry) {
        if self.pending.len() >= PENDING {
            return add(&self.parts.counters.govern.audit_lost, entry.times);
        }
        self.pending.push_back(entry);
    }

    fn on_message(&mut self, message: ToAudit) {
        match message {
            ToAudit::Entry(entry) => self.take(*entry),
            ToAudit::Stored { ticket, outcome } => {
                let Some(done) = self.under_way.take_if(|under_way| under_way.ticket == ticket) else { return };
                self.stored(done, outcome);
            }
        }
    }

    fn stored(&mut self, done: UnderWay, outcome: Result<(), Unstored>) {
        let why = match outcome {
            Ok(()) => {
                add(&self.parts.counters.govern.audit_records, done.entries.len() as u64);
                if self.failures > 0 {
                    tracing::info!(code = "audit_back", stream = self.stream, "the audit log is written again");
                }
                (self.failures, self.retry) = (0, None);
                return;
            }
            // Not there: it is made again, in the same place of the chain.
            Err(Unstored::Refused(why)) => {
                self.chain = done.before;
                self.told -= done.lost;
                let entries = done.entries.into_iter().skip(usize::from(done.lost > 0));
                entries.rev().for_each(|entry| self.pending.push_front(entry));
                why
            }
            // There or not: whoever verifies the chain sees which.
            Err(Unstored::Unsure(why)) => why,
        };
        add(&self.parts.counters.govern.audit_failures, 1);
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(self.now.mono + RETRY * (1 << (self.failures - 1).min(DOUBLED)));
        tracing::error!(
            code = "audit_failed",
            stream = self.stream,
            why,
            waiting = self.pending.len(),
            "records of the audit log could not be stored; it is tried again"
        );
    }

    /// Has the next records appended, if none are under way. Answers whether it has.
    fn write(&mut self) -> bool {
        if self.under_way.is_some() || self.retry.is_some_and(|retry| retry > self.now.mono) {
            return false;
        }
        let lost = get(&self.parts.counters.govern.audit_lost).saturating_sub(self.told);
        if (self.pending.is_empty() && lost == 0) || !self.parts.append.has_room(1) {
            return false;
        }
        let before = self.chain.clone();
        let (mut entries, mut lines) = (Vec::new(), Vec::new());
        let mut teller = (lost > 0).then(|| {
            let detail = format!("{lost} records were lost before this one, because the hub had no room for them");
            self.own("lose", detail, lost)
        });
        while entries.len() < RECORDS
            && let Some(entry) = teller.take().or_else(|| self.pending.pop_front())
        {
            let chain = self.chain.clone();
            let of_entry = self.chain.append(entry.clone());
            let all = lines.iter().chain(&of_entry).map(|line: &String| (0, 0, line.len()));
            let bytes = block::block_len(self.topic.len(), all);
            if bytes > self.parts.most && lines.is_empty() {
                // It fits into no block: it is lost, and the next one says so.
                self.chain = chain;
                add(&self.parts.counters.govern.audit_lost, entry.times);
                continue;
            }
            if bytes > self.parts.most / 2 && !lines.is_empty() {
                self.chain = chain;
                self.pending.push_front(entry);
                break;
            }
            entries.push(entry);
            lines.extend(of_entry);
        }
        if lines.is_empty() {
            return false;
        }
        let Some(block) = self.block(&lines) else {
            // Without memory all is as it was.
            self.chain = before;
            entries.drain(usize::from(lost > 0)..).rev().for_each(|entry| self.pending.push_front(entry));
            self.retry = Some(self.now.mono + NO_MEMORY);
            return false;
        };
        self.ticket += 1;
        self.told += lost;
        let (stream, source, ticket) = (self.stream.clone(), self.topic.clone(), self.ticket);
        let internal = Internal { stream, source, block, ticket, author: Author::Audit };
        self.parts.append.push(ToAppend::Internal(internal));
        self.under_way = Some(UnderWay { ticket, entries, before, lost });
        true
    }

    /// A block of these records.
    fn block(&self, lines: &[String]) -> Option<BlockRef> {
        let len = block::block_len(self.topic.len(), lines.iter().map(|line| (0, 0, line.len())));
        let fields = BlockFields::new(&self.topic);
        let mut bytes = vec![0; len];
        let mut writer = BlockWriter::new(&mut bytes, &fields).ok()?;
        for line in lines {
            let event = EventFields { time: self.now.wall, key: &[], headers: &[], payload: line.as_bytes() };
            writer.push(&event).ok()?;
        }
        let len = writer.finish().ok()?;
        bytes.truncate(len);
        let (identity, number) = (&self.parts.identity, self.ticket + 1);
        let stamp = Stamp {
            origin: identity.id,
            epoch: identity.epoch,
            block: number,
            sequence: number,
            ingested: self.now.wall,
        };
        block::stamp(&mut bytes, &stamp).ok()?;
        self.parts.arena.copy_of(&bytes)
    }
}

impl Stage for AuditStage {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        if let Some(detail) = self.start.take() {
            let entry = self.own("start", detail, 1);
            self.pending.push_front(entry);
        }
        if !self.has_stopped && self.parts.lifecycle.phase() != Phase::Running {
            self.has_stopped = true;
            let entry = self.own("stop", "the hub stops".to_owned(), 1);
            self.take(entry);
        }
        let mut work = 0;
        while work < BATCH {
            let Some(message) = self.parts.inbox.pop() else { break };
            self.on_message(message);
            work += 1;
        }
        work += usize::from(self.write());
        let counts = &self.parts.counters.govern;
        set(&counts.audit_pending, self.pending.len() as u64);
        self.parts.append.notify();
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.parts.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.parts.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        match (&self.under_way, self.pending.is_empty()) {
            // It is told, and woken by that.
            (Some(_), _) | (None, true) => None,
            (None, false) => Some(self.retry.unwrap_or(self.now.mono + NO_MEMORY)),
        }
    }
}
