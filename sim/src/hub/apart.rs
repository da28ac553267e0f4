//! The urgent lane on two paths, as a hub's route stage has it: second copies of
//! what is published here, copies that name their way, and of what comes over two
//! paths each block once and in order.

use std::rc::Rc;
use std::time::Duration;

use weft_base::{Lane, Mono};
use weft_mesh::flow::{Came, LiveReceiver, Merge, Merged};
use weft_mesh::{Along, DropReason, INITIAL_TTL, LinkId, TwoPaths};
use weft_wire::frame::{FlowEntry, FlowKind, PathCopy};

use super::SimHub;
use crate::Canary;
use crate::said::{Block, Effect, FlowOf, Message, Named};

/// How long a block waits for earlier ones that the other path may bring.
const PATIENCE: Duration = Duration::from_millis(250);

/// A block that waits, or has just come.
#[derive(Debug)]
pub(crate) struct Kept {
    block: Rc<Block>,
    entry: FlowEntry,
    copy: PathCopy,
    ttl: u8,
}

pub(crate) type Merges = std::collections::BTreeMap<FlowOf, Merge<Kept>>;

impl SimHub {
    /// Whether what is published here goes over two paths.
    pub(crate) fn is_on_two_paths(&self, lane: Lane) -> bool {
        self.two_paths && lane == Lane::URGENT
    }

    /// Sends what does not go the usual way; answers the entries that do.
    pub(crate) fn send_apart(
        &mut self,
        block: &Rc<Block>,
        entries: Vec<FlowEntry>,
        out: &mut Vec<Effect>,
    ) -> Vec<FlowEntry> {
        let mut usual = Vec::new();
        for entry in entries {
            let Some(TwoPaths { first, second, .. }) = self.ways(block.residency).two_paths(entry.hub) else {
                usual.push(entry);
                continue;
            };
            self.send_along(block, entry, &second, (PathCopy::Second, INITIAL_TTL), out);
            match first {
                Some(first) => self.send_along(block, entry, &first, (PathCopy::First, INITIAL_TTL), out),
                None => usual.push(entry),
            }
        }
        usual
    }

    fn send_along(
        &mut self,
        block: &Rc<Block>,
        entry: FlowEntry,
        along: &Along,
        (copy, ttl): (PathCopy, u8),
        out: &mut Vec<Effect>,
    ) {
        if copy == PathCopy::First && entry.kind.is_best_effort() {
            self.ledger.forwarded += block.events;
        }
        let named = Some(Named { copy, hubs: along.hubs.to_vec() });
        let message = Message::Forward { block: block.clone(), entries: vec![entry], ttl, named };
        out.push(Effect::Send { link: along.link, message });
    }

    /// A copy has come that names its way.
    pub(crate) fn on_along(
        &mut self,
        (block, entry): (&Rc<Block>, &FlowEntry),
        Named { copy, hubs }: &Named,
        ttl: u8,
        at: Mono,
        out: &mut Vec<Effect>,
    ) {
        let counts = *copy == PathCopy::First && entry.kind.is_best_effort();
        self.ledger.received += if counts { block.events } else { 0 };
        let drop = |hub: &mut Self, reason| {
            if counts {
                hub.ledger.copies += block.events;
                hub.ledger.drop(reason, block.events);
            }
        };
        let onwards = hubs.get(1..).unwrap_or_default();
        if block.id.origin == self.id || onwards.contains(&self.id) {
            return drop(self, DropReason::Loop);
        }
        let Some(next) = onwards.first() else { return self.take(block, entry, *copy, ttl, at, out) };
        match self.ways(block.residency).link_to(*next).filter(|_| ttl > 1) {
            Some(link) => {
                self.ledger.copies += if counts { block.events } else { 0 };
                let along = Along { link, hubs: onwards.into() };
                self.send_along(block, *entry, &along, (*copy, ttl - 1), out);
            }
            None => drop(self, DropReason::NoPath),
        }
    }

    /// Whether live blocks of a flow are to be merged.
    pub(crate) fn is_merged(&self, block: &Block, copy: PathCopy) -> bool {
        copy == PathCopy::Second || self.merges.contains_key(&flow_of(block))
    }

    /// A live block has come over one of two paths.
    pub(crate) fn merge(&mut self, kept: (&Rc<Block>, &FlowEntry, PathCopy, u8), at: Mono, out: &mut Vec<Effect>) {
        let (block, entry, copy, ttl) = kept;
        let own = self.epoch;
        let receiver = self.live_in.entry(flow_of(block)).or_insert_with(|| LiveReceiver::new(own));
        let merge = self.merges.entry(flow_of(block)).or_insert_with(|| Merge::new(receiver));
        let (incarnation, sequence, events) = (entry.incarnation, entry.sequence, block.events);
        let came = Came { copy, origin: block.id.epoch, incarnation, sequence, events };
        let kept = Kept { block: block.clone(), entry: *entry, copy, ttl };
        let mut merged = Vec::new();
        merge.came(receiver, came, kept, at, &mut merged);
        self.take_merged(merged, out);
    }

    /// What has waited for too long goes on.
    pub(crate) fn tend_merges(&mut self, at: Mono, out: &mut Vec<Effect>) {
        let mut merged = Vec::new();
        for (flow, merge) in &mut self.merges {
            if let Some(receiver) = self.live_in.get_mut(flow) {
                merge.due(receiver, at, PATIENCE, &mut merged);
            }
        }
        self.take_merged(merged, out);
    }

    pub(crate) fn merges_deadline(&self) -> Option<Mono> {
        self.merges.values().filter_map(|merge| merge.deadline(PATIENCE)).min()
    }

    fn take_merged(&mut self, merged: Vec<Merged<Kept>>, out: &mut Vec<Effect>) {
        for merged in merged {
            match merged {
                Merged::Next { item: Kept { block, entry, ttl, .. }, missed, .. } => {
                    self.take_next(&block, &entry, missed, ttl, out);
                }
                Merged::Duplicate(Kept { block, entry, ttl, .. }) if self.canary == Some(Canary::PathWindowOff) => {
                    self.take_next(&block, &entry, 0, ttl, out);
                }
                Merged::Duplicate(Kept { block, copy: PathCopy::First, .. }) => {
                    self.ledger.copies += block.events;
                    self.ledger.drop(DropReason::DuplicatePath, block.events);
                }
                Merged::Duplicate(_) => {}
            }
        }
    }

    fn take_next(&mut self, block: &Rc<Block>, entry: &FlowEntry, missed: u64, ttl: u8, out: &mut Vec<Effect>) {
        if entry.kind != FlowKind::Group {
            self.take_in(block, entry, missed, out);
        } else if let Some(passed) = self.serve_in(block, entry, Some(missed), out) {
            self.send_on(block, &[passed], None::<LinkId>, ttl.saturating_sub(1), out);
        }
    }
}

fn flow_of(block: &Block) -> FlowOf {
    (block.id.origin, block.lane, block.residency, block.way)
}
