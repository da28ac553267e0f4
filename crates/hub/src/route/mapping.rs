//! The border: what clients publish gets the topic that the hub's rules say,
//! once, before anything is looked up by topic.
//!
//! A block under another topic is written anew into a buffer of this stage, many
//! to a buffer. What has a rule and cannot be mapped is refused, or dropped and
//! counted where nobody asked for an answer.
//!
//! A publish that comes again must get the topic that it got before, or a stream
//! that has it under one topic would be followed by one that has it under
//! another. So rules that were replaced are kept, [`FORMER_RULES`] sets of them, with
//! how far each producer had come under them.

use std::collections::{HashMap, VecDeque};

use weft_base::sync::Arc;
use weft_base::{Lane, ProducerId};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{Arena, BlockMut, Buffer};
use weft_topic::Topic;
use weft_topic::mapping::{Entered, MappedTopic};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{self, Block};
use weft_wire::frame::{AckLevel, ErrorCode};

use super::RouteStage;
use crate::counters::add;
use crate::mapping::Mapped;
use crate::messages::{Publish, ToNet};
use crate::producers::{Producers, last_of};

/// Sets of rules that are kept after they were replaced.
pub(crate) const FORMER_RULES: usize = 4;
/// Producers whose place under former rules is remembered, together. Of others
/// what comes again is mapped by the rules in force.
pub(crate) const FORMER_PRODUCERS: usize = 65_536;
/// The buffer that blocks are written into anew; longer ones have their own.
const BUFFER: usize = 32 << 10;
/// What frames between hubs and clients need around a block, at most.
const AROUND: usize = 64;

/// Rules that were in force.
struct Former {
    rules: Arc<Mapped>,
    /// The turn of the producers' table in which they were replaced.
    turn: u64,
    /// How far producers had come then that have gone on since.
    upto: HashMap<(ProducerId, Lane), u64>,
}

/// What renaming needs.
pub(super) struct Renaming {
    arena: Arena,
    buffer: Option<Buffer>,
    /// The longest block that may become longer.
    most: usize,
    /// The oldest first.
    former: VecDeque<Former>,
}

/// Why a block cannot get its topic.
struct Refusal {
    code: ErrorCode,
    retry_after_ms: u32,
    detail: String,
}

impl Renaming {
    pub(super) fn new(arena: Arena, frame: usize) -> Self {
        Self { arena, buffer: None, most: frame.saturating_sub(AROUND), former: VecDeque::new() }
    }

    /// Other rules are in force.
    pub(super) fn replaced(&mut self, rules: Arc<Mapped>, turn: u64) {
        if self.former.len() >= FORMER_RULES {
            self.former.pop_front();
        }
        self.former.push_back(Former { rules, turn, upto: HashMap::new() });
    }

    /// A producer goes on: what it had published before stays known.
    pub(super) fn goes_on(&mut self, producers: &Producers, producer: ProducerId, lane: Lane) {
        if self.former.is_empty() {
            return;
        }
        let Some((upto, turn)) = producers.seen(producer, lane) else { return };
        let many: usize = self.former.iter().map(|former| former.upto.len()).sum();
        let replaced_since = self.former.iter_mut().find(|former| turn <= former.turn);
        if let Some(former) = replaced_since.filter(|_| many < FORMER_PRODUCERS) {
            former.upto.entry((producer, lane)).or_insert(upto);
        }
    }

    /// The rules by which a publish was mapped before, if they are others.
    fn rules_of(&self, producers: &Producers, producer: ProducerId, lane: Lane, last: u64) -> Option<&Arc<Mapped>> {
        if self.former.is_empty() {
            return None;
        }
        let (upto, turn) = producers.seen(producer, lane)?;
        if last > upto {
            return None;
        }
        let took = |former: &&Former| match former.upto.get(&(producer, lane)) {
            Some(upto) => last <= *upto,
            None => turn <= former.turn,
        };
        self.former.iter().find(took).map(|former| &former.rules)
    }

    /// The block under another topic.
    fn rename(&mut self, old: &BlockMut, topic: &str) -> Result<BlockMut, Refusal> {
        let refusal = |code, retry_after_ms, detail: String| Refusal { code, retry_after_ms, detail };
        let parsed = Block::trusted(old);
        let need = block::len_with_topic(&parsed, topic);
        if need > old.len().max(self.most) {
            let detail = format!("as `{topic}` the block has {need} bytes, more than limits.frame: send smaller ones");
            return Err(refusal(ErrorCode::TOO_LARGE, 0, detail));
        }
        if self
            .buffer
            .as_mut()
            .is_none_or(|buffer| buffer.room() < need && !(buffer.reclaim() && buffer.room() >= need))
        {
            self.buffer = self.arena.lend(need.max(BUFFER));
        }
        let no_memory = || {
            let detail = "the hub's memory for blocks is in use (limits.arena): publish again in a while";
            refusal(ErrorCode::OVERLOADED, 100, detail.to_owned())
        };
        let buffer = self.buffer.as_mut().ok_or_else(no_memory)?;
        let len = block::write_with_topic(&parsed, topic, buffer.spare_mut())
            .map_err(|error| refusal(ErrorCode::UNMAPPABLE, 0, error.to_string()))?;
        buffer.advance(len);
        Ok(buffer.split_to(len))
    }
}

impl RouteStage {
    /// Gives what a client of this hub publishes its topic by the rules; nothing
    /// where it was refused.
    pub(super) fn map(&mut self, mut publish: Publish) -> Option<Publish> {
        if publish.far || (self.table.mapping.is_empty() && self.renaming.former.is_empty()) {
            return Some(publish);
        }
        let parsed = Block::trusted(&publish.block);
        let Ok(topic) = Topic::parse(parsed.topic()) else { return Some(publish) };
        let (producer, lane, first) = (parsed.producer(), parsed.lane(), parsed.first_sequence());
        let last = last_of(first, parsed.event_count());
        let former = self.renaming.rules_of(&self.producers, producer, lane, last);
        let rules = former.unwrap_or(&self.table.mapping).clone();
        let Some(found) = rules.find(topic, parsed.flags() & REQUEST != 0) else { return Some(publish) };
        let events = u64::from(parsed.event_count());
        add(&found.counts.matched, events);
        // Producer 0 is nobody in particular, and has no numbers of its own.
        let sequence = if producer.0 == 0 { self.next_block } else { first };
        let destination = found.rule.choose(topic, Entered { producer: producer.0, sequence });
        let mut name = MappedTopic::new();
        let refusal = match found.rule.apply(topic, destination, &mut name) {
            Ok(false) => {
                add(&found.counts.dropped, events);
                publish.dropped = true;
                return Some(publish);
            }
            Ok(true) if name.as_str() == topic.as_str() => return Some(publish),
            Ok(true) => match self.renaming.rename(&publish.block, &name) {
                Ok(block) => return Some(Publish { block, ..publish }),
                Err(refusal) => refusal,
            },
            Err(error) => {
                let (rule, from) = (found.name, found.rule.from());
                let detail = format!("rule {rule} of the hub's mapping (`{from}`) cannot be applied: {error}");
                Refusal { code: ErrorCode::UNMAPPABLE, retry_after_ms: 0, detail }
            }
        };
        add(&found.counts.refused, events);
        self.refuse_unmapped(&publish, events, refusal);
        None
    }

    fn refuse_unmapped(&mut self, publish: &Publish, events: u64, refusal: Refusal) {
        if publish.level == AckLevel::None {
            let account = self.counters.account(&publish.block);
            account.published(events);
            account.copies(events);
            return account.drop(DropReason::Unmappable, events);
        }
        let Refusal { code, retry_after_ms, detail } = refusal;
        self.net.push(ToNet::Refused { session: publish.session, id: publish.id, code, retry_after_ms, detail });
    }
}
