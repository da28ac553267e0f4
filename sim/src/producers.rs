//! Those who publish to streams, and keep what they published until every home
//! says that it is synced; after a crash of their hub they send it all again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_base::HubId;

use crate::plan::PlannedProducer;

/// A producer. Each of its blocks has the next sequence, from 1.
#[derive(Debug)]
pub(crate) struct SimProducer {
    pub(crate) hub: usize,
    topics: Vec<String>,
    pub(crate) lane: weft_base::Lane,
    pub(crate) size: u64,
    pub(crate) homes: BTreeSet<HubId>,
    /// Not handed to the hub yet, in order.
    waiting: VecDeque<u64>,
    /// Handed to the hub: who has not synced it yet.
    sent: BTreeMap<u64, BTreeSet<HubId>>,
    pub(crate) produced: u64,
}

impl SimProducer {
    pub(crate) fn new(planned: &PlannedProducer, id_of: impl Fn(usize) -> HubId) -> Self {
        Self {
            hub: planned.hub,
            topics: planned.topics.clone(),
            lane: planned.lane,
            size: planned.size,
            homes: planned.homes.iter().map(|home| id_of(*home)).collect(),
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            produced: 0,
        }
    }

    /// Makes a block.
    pub(crate) fn produce(&mut self) {
        self.produced += 1;
        self.waiting.push_back(self.produced);
    }

    /// The topic of the next block for the hub, if there is one.
    pub(crate) fn next_topic(&self) -> Option<&str> {
        let sequence = *self.waiting.front()?;
        self.topics.get((sequence % self.topics.len().max(1) as u64) as usize).map(String::as_str)
    }

    /// The next block for the hub, if it knows the way to all homes.
    pub(crate) fn next(&mut self, known: &[HubId]) -> Option<u64> {
        if !self.homes.iter().all(|home| known.contains(home)) {
            return None;
        }
        let sequence = self.waiting.pop_front()?;
        self.sent.insert(sequence, self.homes.clone());
        Some(sequence)
    }

    /// A home has synced a block.
    pub(crate) fn synced(&mut self, home: HubId, sequence: u64) {
        if let Some(missing) = self.sent.get_mut(&sequence) {
            missing.remove(&home);
            if missing.is_empty() {
                self.sent.remove(&sequence);
            }
        }
    }

    /// The hub has lost what it was given: all that is not acknowledged goes again.
    pub(crate) fn hub_restarted(&mut self) {
        for (sequence, _) in std::mem::take(&mut self.sent).into_iter().rev() {
            self.waiting.push_front(sequence);
        }
    }

    /// Blocks that are not acknowledged.
    pub(crate) fn unfinished(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }
}
