//! Events that may be only at hubs with a label: which these are, and what is
//! said where one would have to be elsewhere.
//!
//! Rules of this hub bind what enters the mesh here by its topic, and publishers
//! may bind what they publish; who does both must say the same. From then on the
//! block says it itself, under its checksum.

use std::collections::BTreeMap;

use weft_base::{HubId, Residency};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::{BlockMut, BlockRef};
use weft_topic::{InterestSet, Topic};
use weft_wire::block::{self, Block};
use weft_wire::frame::{AckLevel, ErrorCode, PathCopy};

use super::RouteStage;
use super::table::Route;
use crate::counters::add;
use crate::messages::{SessionId, ToNet};
use crate::options::HubOptions;

/// The rules of a hub, and what labels are called.
#[derive(Debug)]
pub(crate) struct Rules {
    of: InterestSet<Residency>,
    names: BTreeMap<Residency, String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { of: InterestSet::new(), names: BTreeMap::new() }
    }
}

impl Rules {
    pub(crate) fn new(options: &HubOptions) -> Self {
        let mut rules = Self::default();
        let ruled = options.residency.iter().map(|rule| &rule.label);
        for label in options.labels.iter().chain(ruled) {
            rules.names.insert(Residency::of(&[label]), label.clone());
        }
        for rule in &options.residency {
            rules.of.insert(&rule.filter, Residency::of(&[&rule.label]));
        }
        rules
    }

    /// Where events of a topic may be, by the rules.
    pub(crate) fn rule(&self, topic: Topic<'_>) -> Residency {
        let mut found = Residency::ANYWHERE;
        if !self.of.is_empty() {
            self.of.for_each_match(topic, |residency| found = *residency);
        }
        found
    }

    /// What a label is called here, or its number.
    pub(crate) fn name(&self, residency: Residency) -> String {
        self.names.get(&residency).cloned().unwrap_or_else(|| format!("number {residency}"))
    }
}

impl RouteStage {
    /// Binds a block that enters the mesh here, where a rule says so.
    ///
    /// # Errors
    /// Why the block may not enter here, for people.
    pub(super) fn bind(&self, block: &mut BlockMut, rule: Residency) -> Result<Residency, String> {
        let parsed = Block::trusted(block);
        let said = parsed.residency();
        let name = |residency| self.table.rules.name(residency);
        if rule.is_bound() && said.is_bound() && said != rule {
            return Err(format!(
                "a rule of this hub binds `{}` to the label `{}`, and the publisher to `{}`: leave it to the rule",
                parsed.topic(),
                name(rule),
                name(said)
            ));
        }
        let residency = if rule.is_bound() { rule } else { said };
        if self.table.routes.bound(residency).is_none() {
            return Err(format!(
                "the hub `{}` does not carry the label `{}`: publish at one that does",
                self.identity.name,
                name(residency)
            ));
        }
        if residency != said
            && let Err(error) = block::set_residency(block, residency)
        {
            return Err(error.to_string());
        }
        Ok(residency)
    }

    /// A publish would have to be where it may not: it is refused or, where
    /// nobody asked for an answer, dropped and counted.
    pub(super) fn refuse_bound(
        &mut self,
        block: &[u8],
        (session, id, level): (SessionId, u64, AckLevel),
        detail: String,
    ) {
        let events = u64::from(Block::trusted(block).event_count());
        let account = self.counters.account(block);
        account.published(events);
        account.copies(events);
        account.drop(DropReason::Residency, events);
        if level != AckLevel::None {
            let code = ErrorCode::RESIDENCY;
            self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 0, detail });
        }
    }

    /// Why streams of a route cannot keep an event of this residency.
    pub(super) fn barred(&self, route: &Route, residency: Residency) -> Option<String> {
        let (_, hub) = route.barred.first()?;
        Some(format!(
            "a stream of the topic has a home at hub `{}`, which does not carry the label `{}`: \
             give the stream homes at hubs that do",
            self.flows.name_of(*hub),
            self.table.rules.name(residency)
        ))
    }

    /// Counts what a block that entered here would have been for where it may not be.
    pub(super) fn count_outside(&self, route: &Route, block: &[u8], events: u64) -> u64 {
        let copies = events * (route.outside + route.barred.len() as u64);
        if copies > 0 {
            let account = self.counters.account(block);
            account.copies(copies);
            account.drop(DropReason::Residency, copies);
        }
        copies
    }

    /// A block has come that this hub must not have: whoever sent it did not know
    /// yet, or is wrong. Nothing becomes of it.
    pub(super) fn must_not_have(
        &mut self,
        block: &BlockRef,
        (is_message, along): (bool, Option<PathCopy>),
        from: HubId,
    ) {
        add(&self.counters.residency_refused, 1);
        if is_message {
            return self.drop_message(DropReason::Residency);
        }
        if along == Some(PathCopy::Second) {
            return self.drop_along(block, PathCopy::Second, DropReason::Residency);
        }
        let (parsed, me) = (Block::trusted(block), self.identity.id);
        let events = u64::from(parsed.event_count());
        let best_effort = || self.entries.iter().filter(|entry| entry.kind.is_best_effort());
        let (here, all) = (best_effort().filter(|entry| entry.hub == me).count() as u64, best_effort().count() as u64);
        let account = self.counters.account(block);
        account.arrived(events * here);
        account.transit(events * (all - here));
        account.copies(events * all);
        account.drop(DropReason::Residency, events * all);
        let refused = crate::counters::get(&self.counters.residency_refused);
        if refused.is_power_of_two() {
            let (label, from) = (self.table.rules.name(parsed.residency()), self.flows.name_of(from));
            tracing::warn!(
                code = "residency_refused",
                from,
                label,
                refused,
                "a block came that may not be at this hub: it does not carry the label"
            );
        }
    }
}
