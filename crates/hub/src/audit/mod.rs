//! The audit log: who did what from where, allowed or refused, as a chain of
//! records in a stream of the hub's own ([ADR 42](../../../../docs/adr/0042-each-hub-keeps-a-chain-of-its-own.md)).
//!
//! Stages that see something note it with their [`Auditor`], which gathers what
//! comes again and never waits: beyond the bounds of what is gathered, and of the
//! way to the audit stage, records are counted as lost, and the next one that is
//! written says how many. Only the hub writes the stream: what clients ask of its
//! name is refused, but to read it.

mod acts;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use weft_base::{HubId, Mono, Now};
use weft_govern::audit::{Digest, Entry, Event, Gather, GatherLimits};
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::StageWaker;
use weft_wire::frame::{self, Frame, OnFull};

pub(crate) use self::acts::act_of;
use self::stage::{AuditParts, AuditStage, Begin, begin};
use crate::Identity;
use crate::append::Stream;
use crate::counters::{Counters, add};
use crate::lifecycle::Lifecycle;
use crate::messages::ToAppend;
use crate::options::{AuditOptions, HubOptions};
use crate::outbox::Outbox;

/// How the names of streams of audit logs begin.
const PREFIX: &str = "weft-audit-";
/// The topics of their records, before the hub's name.
const TOPICS: &str = "_audit/";
/// Bytes of a stream's name.
const MAX_LABEL: usize = 64;
/// Records on their way to the audit stage; more are lost, and counted.
const SLOTS: usize = 4_096;

/// SHA-256, by who has a library for it, for stages on other threads.
pub type SharedDigest = Arc<dyn Digest + Send + Sync>;

/// The name of the stream in which a hub keeps its audit log: `weft-audit-HUB`,
/// with the hub's number in the place of the end of a name that is too long.
#[must_use]
pub fn stream_of(hub: &str) -> String {
    let room = MAX_LABEL - PREFIX.len();
    if hub.len() <= room {
        return format!("{PREFIX}{hub}");
    }
    let number = format!("-{:016x}", HubId::of_name(hub).0);
    format!("{PREFIX}{}{number}", hub.get(..room - number.len()).unwrap_or_default())
}

/// The topic of a hub's records.
#[must_use]
pub fn topic_of(hub: &str) -> String {
    format!("{TOPICS}{hub}")
}

/// Whether a stream is an audit log, by its name.
#[must_use]
pub fn is_audit(stream: &str) -> bool {
    stream.starts_with(PREFIX)
}

/// Whether a hub with these options keeps an audit log, where it has what it takes.
fn is_kept(options: &HubOptions, has_judge: bool) -> bool {
    options.data.is_some() && options.audit.write.unwrap_or(has_judge || !options.admins.is_empty())
}

/// What a client's frame wants with the stream of an audit log that only its hub
/// does, if anything: the request, and why not.
pub(crate) fn meddles(decoded: &Frame<'_>) -> Option<(u64, &'static str)> {
    let kept = "the hub keeps this stream itself (its audit log): it can be read, and how much it keeps is said in \
                `[audit]` of its configuration";
    let into = "what the hub's audit log has only the hub writes: name another stream";
    let none = "a consumer of an audit log gives nothing up: make it without dead letters";
    match decoded {
        Frame::StreamCreate(create) if is_audit(create.spec.name) => Some((create.request, kept)),
        Frame::StreamAlter(alter) if is_audit(alter.spec.name) => Some((alter.request, kept)),
        Frame::StreamDelete(delete) if is_audit(delete.name) => Some((delete.request, kept)),
        Frame::Subscribe(subscribe) if subscribe.on_full == OnFull::Spill && is_audit(subscribe.spill) => {
            Some((subscribe.id.0, into))
        }
        Frame::ConsumerCreate(create) if is_audit(create.spec.dead_stream) => Some((create.request, into)),
        Frame::ConsumerCreate(create) if is_audit(create.stream) && create.spec.dead_letters => {
            Some((create.request, none))
        }
        _ => None,
    }
}

/// The definition of a hub's audit log.
pub(crate) fn spec_of<'a>(name: &'a str, topic: &'a str, options: &AuditOptions, least: u64) -> frame::StreamSpec<'a> {
    // Whole segments go, so that there are to be several.
    let segment = (options.keep_bytes.0 / 16).clamp(least, SEGMENT_MOST.max(least));
    frame::StreamSpec {
        name,
        filters: vec![topic],
        retain_bytes: options.keep_bytes.0,
        retain_age_ms: u64::try_from(options.keep.as_millis()).unwrap_or(u64::MAX),
        segment_bytes: segment,
        ..frame::StreamSpec::default()
    }
}

/// The largest segment of an audit log.
const SEGMENT_MOST: u64 = 16 << 20;

/// What the audit stage is told.
pub(crate) enum ToAudit {
    /// Something to be written.
    Entry(Box<Entry>),
    /// What became of records that were to be appended.
    Stored { ticket: u64, outcome: Result<(), Unstored> },
}

/// Why records are not on the disk.
#[derive(Debug)]
pub(crate) enum Unstored {
    /// They were not appended.
    Refused(String),
    /// They were, and could not be synced: they may be there or not.
    Unsure(String),
}

/// A hub's audit log before there is a stage: its inbox, from which each stage that
/// notes something gets an [`Auditor`] of its own, and where its chain goes on.
pub(crate) struct Trail {
    ring: mpsc::Producer<ToAudit>,
    inbox: mpsc::Consumer<ToAudit>,
    waker: StageWaker,
    begin: Begin,
}

/// What the stage needs of the hub besides.
pub(crate) type Whole<'a> = (Arc<Identity>, &'a HubOptions, Arc<Counters>, Arc<Lifecycle>);

impl Trail {
    /// The audit log of a hub that is to keep one, and has what it takes.
    pub(crate) fn open(
        digest: Option<SharedDigest>,
        options: &HubOptions,
        has_judge: bool,
        streams: &mut [Stream],
    ) -> Option<Self> {
        let digest = digest.filter(|_| is_kept(options, has_judge))?;
        let name = stream_of(&options.name);
        let found = streams.iter_mut().find(|stream| stream.spec.name == name);
        Some(Self::at(begin(&options.name, digest, found.map(|stream| &mut stream.reader))))
    }

    fn at(begin: Begin) -> Self {
        let waker = StageWaker::parking();
        let (ring, inbox) = mpsc::ring(SLOTS);
        Self { ring, inbox, waker, begin }
    }

    /// The stage.
    pub(crate) fn stage(
        self,
        append: Outbox<ToAppend>,
        arena: Arena,
        (identity, options, counters, lifecycle): Whole<'_>,
    ) -> AuditStage {
        let (inbox, waker, most) = (self.inbox, self.waker, options.limits.frame.as_usize());
        let parts = AuditParts { inbox, append, arena, identity, most, counters, lifecycle, waker };
        AuditStage::new(parts, self.begin)
    }

    /// For a stage that answers the audit stage.
    pub(crate) fn outbox(&self) -> Outbox<ToAudit> {
        Outbox::new(&self.ring, &self.waker)
    }

    /// For a stage that notes what it sees.
    pub(crate) fn auditor(&self, counters: &Arc<Counters>) -> Auditor {
        let gather = Gather::new(GatherLimits::default());
        Auditor { gather, out: self.outbox(), counters: counters.clone() }
    }
}

/// Notes what a stage sees, for the audit log. Never waits.
pub(crate) struct Auditor {
    gather: Gather,
    out: Outbox<ToAudit>,
    counters: Arc<Counters>,
}

impl Auditor {
    /// Something was asked or done. The same again within a while is counted.
    pub(crate) fn note(&mut self, event: Event, now: Now) {
        if let Some(entry) = self.gather.take(event, now) {
            self.push(entry);
        }
    }

    /// Tells what was counted, once its time is over. To be called once a turn.
    pub(crate) fn tend(&mut self, now: Now) {
        if self.gather.due().is_some_and(|due| due <= now.mono) {
            self.tell(now, false);
        }
        self.out.notify();
    }

    /// Tells all that was counted: the stage stops.
    pub(crate) fn close(&mut self, now: Now) {
        self.tell(now, true);
        self.out.notify();
    }

    /// When it has something to tell.
    pub(crate) const fn due(&self) -> Option<Mono> {
        self.gather.due()
    }

    fn tell(&mut self, now: Now, last: bool) {
        for entry in self.gather.flush(now, last) {
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.out.has_room(1) {
            self.out.push(ToAudit::Entry(Box::new(entry)));
        } else {
            add(&self.counters.govern.audit_lost, entry.times);
        }
    }
}

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn a_hub_s_audit_log_has_a_name_that_streams_may_have() {
        assert_eq!(stream_of("chicago"), "weft-audit-chicago");
        let long = "h".repeat(64);
        let name = stream_of(&long);
        assert!(name.len() == 64 && crate::options::is_label(&name) && is_audit(&name), "{name}");
        assert_ne!(name, stream_of(&format!("{}x", "h".repeat(63))), "names that begin alike are told apart");
    }

    #[test]
    fn what_would_write_or_change_an_audit_log_is_seen() {
        let spec = |name| frame::StreamSpec { name, ..frame::StreamSpec::default() };
        let create = |name| Frame::StreamCreate(frame::StreamCreate { request: 7, spec: spec(name) });
        assert_eq!(meddles(&create("weft-audit-h1")).map(|(request, _)| request), Some(7));
        assert_eq!(meddles(&create("orders")), None);
        let delete = Frame::StreamDelete(frame::StreamDelete { request: 8, name: "weft-audit-h1" });
        assert_eq!(meddles(&delete).map(|(request, _)| request), Some(8));
        let alter = Frame::StreamAlter(frame::StreamAlter { request: 9, spec: spec("weft-audit-h1") });
        assert_eq!(meddles(&alter).map(|(request, _)| request), Some(9));
        let info = Frame::StreamInfo(frame::StreamInfo { request: 1, name: "weft-audit-h1" });
        assert_eq!(meddles(&info), None, "it may be looked at");
    }
}
