//! Spans, made of what was noted and of the records in the window.
//!
//! Runs on a thread that is none of the hub's, several times a second, so that a
//! record is read before its place is taken anew. A block's spans are made once
//! nothing of it is under way here any more, or after [`PATIENCE`] with what is
//! known then; those carry `weft.incomplete`. At most [`MOST_WAITING`] blocks wait;
//! the oldest are then told of as they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weft_base::HubId;
use weft_mesh::ledger::DropReason;
use weft_wire::trace::{SpanId, SpanStage, TraceId, span_of_stage, trace_of_block};

use super::super::window::Seen;
use super::{Noted, Why};
use crate::Identity;
use crate::counters::{Counters, add};

/// How long what becomes of a block is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after all became of it that the ledger counts: answers and the disk
/// may come behind that.
const REST: Duration = Duration::from_millis(200);
/// Blocks that are waited for.
const MOST_WAITING: usize = 8_192;

/// On which side of something a span is, as OpenTelemetry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither.
    Internal,
    /// It hands something on.
    Producer,
    /// It takes something.
    Consumer,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// What a hub did with a block for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The span that it is part of, or came of; none: it begins the trace.
    pub parent: Option<SpanId>,
    /// One of `hop`, `route`, `append`, `sync`, `link`, `deliver`, `acknowledge`.
    pub name: &'static str,
    /// On which side.
    pub kind: Kind,
    /// From when, in Unix nanoseconds by this machine's clock.
    pub start: u64,
    /// Until when; not before `start`.
    pub end: u64,
    /// What is said of it; names are OpenTelemetry's, or begin with `weft.`.
    pub attributes: Vec<(&'static str, Value)>,
    /// Other traces of which it carries events, and the spans there that published them.
    pub links: Vec<(TraceId, SpanId)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A block whose spans are waited for.
struct Waiting {
    noted: Noted,
    since: u64,
    /// As its record was when it was last read.
    seen: Option<Seen>,
    /// Since when nothing of it is under way; 0 while something is.
    quiet: u64,
}

/// Makes spans; one for each hub, where something is traced.
pub struct Collector {
    counters: Arc<Counters>,
    identity: Arc<Identity>,
    waiting: VecDeque<Waiting>,
    fresh: Vec<Noted>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Collector {
    pub(crate) fn new(counters: Arc<Counters>, identity: Arc<Identity>) -> Self {
        Self { counters, identity, waiting: VecDeque::new(), fresh: Vec::new() }
    }

    /// Adds the spans that are ready to `spans`; `now` in Unix nanoseconds. Call it
    /// about ten times a second. `last`: what waits is told of as it is.
    pub fn collect(&mut self, now: u64, last: bool, spans: &mut Vec<Span>) {
        self.counters.traces.take(&mut self.fresh);
        let fresh = self.fresh.drain(..);
        self.waiting.extend(fresh.map(|noted| Waiting { noted, since: now, seen: None, quiet: 0 }));
        let crowded = self.waiting.len().saturating_sub(MOST_WAITING);
        let mut index = 0;
        let (counters, identity) = (&self.counters, &self.identity);
        self.waiting.retain_mut(|waiting| {
            index += 1;
            let is_gone = waiting.read(counters, now);
            let is_over = waiting.quiet != 0 && now.saturating_sub(waiting.quiet) >= nanos(REST);
            let is_late = now.saturating_sub(waiting.since) >= nanos(PATIENCE);
            if !(is_gone || is_over || is_late || last || index <= crowded) {
                return true;
            }
            let incomplete = waiting.quiet == 0;
            if incomplete {
                add(&counters.traced().incomplete, 1);
            }
            Maker { counters, identity, waiting, incomplete }.make(spans);
            false
        });
    }
}

/// Bytes that blocks take which are waited for, of so many each as they were noted.
pub(super) const fn memory(noted: usize) -> usize {
    // What is read of a record has lists of a few each.
    MOST_WAITING * (noted + size_of::<Waiting>() + 6 * super::super::window::FEW * 24)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Waiting {
    /// Reads the record; answers whether that is of another block by now.
    fn read(&mut self, counters: &Counters, now: u64) -> bool {
        let Some(seen) = counters.window.seen(&self.noted.stamp) else { return true };
        let dropped = seen.drops.iter().map(|(_, n)| n).sum::<u64>();
        let ended = seen.delivered + seen.stored + seen.forwarded + seen.spooled + dropped;
        let is_same = self.seen.as_ref() == Some(&seen);
        // What only passes in a guaranteed flow is no copy of this hub's.
        let is_over = ended >= seen.copies && (seen.copies > 0 || seen.sent_at > 0);
        if !is_over || !is_same {
            self.quiet = 0;
        }
        if is_over && self.quiet == 0 {
            self.quiet = now.max(1);
        }
        self.seen = Some(seen);
        false
    }
}

/// Makes the spans of one block.
struct Maker<'a> {
    counters: &'a Counters,
    identity: &'a Identity,
    waiting: &'a Waiting,
    incomplete: bool,
}

impl Maker<'_> {
    fn make(&self, spans: &mut Vec<Span>) {
        let Noted { stamp, said, .. } = &self.waiting.noted;
        let nothing = Seen { came_at: stamp.ingested.0, routed_at: stamp.ingested.0, ..Seen::default() };
        let seen = self.waiting.seen.as_ref().unwrap_or(&nothing);
        let trace = said.as_ref().map_or_else(|| trace_of_block(stamp), |said| said.context.trace);
        let own = self.identity.id;
        let id = |stage, other| span_of_stage(&trace, stamp, own, stage, other);
        let parent = match seen.from {
            HubId(0) => said.as_ref().map(|said| said.context.span),
            from => Some(span_of_stage(&trace, stamp, from, SpanStage::Link, own)),
        };
        let answered = match seen.from {
            HubId(0) if stamp.origin == own => self.counters.traces.answered_at(stamp.sequence),
            _ => 0,
        };
        let mut parts: Vec<(SpanStage, HubId, &'static str, Kind, u64, u64)> = Vec::new();
        let mut part = |stage, other, name, kind, start: u64, end: u64| {
            if end > 0 {
                parts.push((stage, other, name, kind, start, end.max(start)));
            }
        };
        let none = HubId(0);
        part(SpanStage::Route, none, "route", Kind::Internal, seen.came_at, seen.routed_at);
        part(SpanStage::Append, none, "append", Kind::Internal, seen.routed_at, seen.stored_at);
        part(SpanStage::Sync, none, "sync", Kind::Internal, seen.stored_at, seen.synced_at);
        for (hub, at) in seen.links.iter().zip(&seen.links_at) {
            part(SpanStage::Link, *hub, "link", Kind::Producer, seen.routed_at, *at);
        }
        part(SpanStage::Deliver, none, "deliver", Kind::Producer, seen.routed_at, seen.delivered_at);
        part(SpanStage::Acknowledge, none, "acknowledge", Kind::Internal, seen.routed_at, answered);
        let end = parts.iter().map(|part| part.5).max().unwrap_or(seen.routed_at);
        let hop = Span {
            trace,
            id: id(SpanStage::Hop, none),
            parent,
            name: "hop",
            kind: Kind::Consumer,
            start: seen.came_at,
            end: end.max(seen.came_at),
            attributes: self.of_hop(seen),
            links: said.iter().flat_map(|said| &said.links).map(|link| (link.trace, link.span)).collect(),
            error: self.error(seen),
        };
        let hop_id = hop.id;
        spans.push(hop);
        spans.extend(parts.into_iter().map(|(stage, other, name, kind, start, end)| Span {
            trace,
            id: id(stage, other),
            parent: Some(hop_id),
            name,
            kind,
            start,
            end,
            attributes: self.of_part(stage, other, seen),
            links: Vec::new(),
            error: None,
        }));
    }

    fn of_hop(&self, seen: &Seen) -> Vec<(&'static str, Value)> {
        let Noted { stamp, why, topic, lane, bytes, .. } = &self.waiting.noted;
        let number = |n: u64| Value::Number(i64::try_from(n).unwrap_or(i64::MAX));
        let mut said = vec![
            ("messaging.system", Value::Text("weft".to_owned())),
            ("messaging.destination.name", Value::Text(topic.clone())),
            ("messaging.message.body.size", number(*bytes as u64)),
            ("weft.hub", Value::Text(self.identity.name.clone())),
            ("weft.origin", Value::Text(self.name(stamp.origin))),
            ("weft.epoch", number(stamp.epoch.0.into())),
            ("weft.sequence", number(stamp.sequence)),
            ("weft.lane", number((*lane).into())),
            ("weft.copies", number(seen.copies)),
        ];
        if seen.events > 0 {
            said.push(("messaging.batch.message_count", number(seen.events.into())));
        }
        if seen.from.0 != 0 {
            said.push(("weft.from", Value::Text(self.name(seen.from))));
        }
        if seen.again > 0 {
            said.push(("weft.again", number(seen.again)));
        }
        let sampled = match why {
            Why::Chosen => "head",
            Why::Slow => "slow",
            Why::Lost(_) => "lost",
        };
        said.push(("weft.sampled_by", Value::Text(sampled.to_owned())));
        if self.incomplete {
            said.push(("weft.incomplete", Value::Flag(true)));
        }
        said
    }

    fn of_part(&self, stage: SpanStage, other: HubId, seen: &Seen) -> Vec<(&'static str, Value)> {
        let number = |n: u64| Value::Number(i64::try_from(n).unwrap_or(i64::MAX));
        let mut said = vec![("weft.hub", Value::Text(self.identity.name.clone()))];
        match stage {
            SpanStage::Append => said.push(("weft.stored", number(seen.stored))),
            SpanStage::Link => said.push(("weft.to", Value::Text(self.name(other)))),
            SpanStage::Deliver => said.push(("weft.delivered", number(seen.delivered))),
            _ => {}
        }
        said
    }

    /// What was lost, by reason.
    fn error(&self, seen: &Seen) -> Option<String> {
        let lost = |(code, n): &(u8, u64)| {
            let reason = DropReason::from_code(*code).filter(|reason| super::is_loss(*reason))?;
            Some(format!("{n} dropped: {}", reason.name()))
        };
        let mut lost: Vec<String> = seen.drops.iter().filter_map(lost).collect();
        if lost.is_empty()
            && let Why::Lost(reason) = self.waiting.noted.why
        {
            lost.push(format!("dropped: {}", reason.name()));
        }
        (!lost.is_empty()).then(|| lost.join(", "))
    }

    fn name(&self, hub: HubId) -> String {
        if hub == self.identity.id {
            return self.identity.name.clone();
        }
        self.counters.link_of(hub).map_or_else(|| format!("{:016x}", hub.0), |(name, _)| name)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
