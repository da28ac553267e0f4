//! Blocks that the hub itself appends: dead letters, events for quarantine, and records
//! of the audit log. They go into the stream named, whatever its filters say; it is
//! made on first use. Who asked is told once the block is on disk, or why it never
//! will be.

use std::collections::VecDeque;
use std::time::Duration;

use weft_ring::arena::BlockRef;
use weft_wire::block::Block;
use weft_wire::frame;

use super::{AppendStage, StreamSpec};
use crate::audit::{self, ToAudit, Unstored};
use crate::consume::ToConsume;
use crate::inspect::ToInspect;
use crate::messages::StreamSlot;
use crate::outbox::Outbox;

/// How long dead letters are kept where nobody says.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long, and how much, a quarantine keeps, unless its stream is altered: behind
/// that the oldest events go.
const QUARANTINE: (Duration, u64) = (Duration::from_secs(30 * 24 * 3_600), 1 << 30);

/// A block that the hub itself appends to a stream of its own, whatever the
/// stream's filters say. Who asked is told what became of it.
pub(crate) struct Internal {
    /// Made when there is none.
    pub(crate) stream: String,
    /// The stream that the event was in; the topic of records of the audit log; what the
    /// stream of a quarantine captures.
    pub(crate) source: String,
    /// Stamped.
    pub(crate) block: BlockRef,
    pub(crate) ticket: u64,
    pub(crate) author: Author,
}

/// Whose block it is that the hub itself appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// A consumer's dead letter: the consume stage is told.
    Consumer,
    /// Events that do not fit their schema: the inspect stage is told.
    Quarantine,
    /// Records of the audit log: the audit stage is told. They are in no ledger, since
    /// nobody published them.
    Audit,
}

/// Whom to tell, and of what.
type Ticket = (Author, u64);

/// The stages that are told.
pub(super) struct Authors<'a> {
    pub(super) consume: &'a mut Outbox<ToConsume>,
    pub(super) audit: &'a mut Option<Outbox<ToAudit>>,
    pub(super) inspect: &'a mut Option<Outbox<ToInspect>>,
}

impl Authors<'_> {
    fn tell(&mut self, (author, ticket): Ticket, outcome: Result<(), Unstored>) {
        let refused =
            |outcome: Result<(), Unstored>| outcome.err().map(|(Unstored::Refused(why) | Unstored::Unsure(why))| why);
        match (author, &mut self.audit, &mut self.inspect) {
            (Author::Consumer, ..) => self.consume.push(ToConsume::Stored { ticket, refused: refused(outcome) }),
            (Author::Audit, Some(audit), _) => audit.push(ToAudit::Stored { ticket, outcome }),
            (Author::Quarantine, _, Some(inspect)) => {
                inspect.push(ToInspect::Stored { ticket, refused: refused(outcome) });
            }
            (Author::Audit | Author::Quarantine, ..) => debug_assert!(false, "who asks can be told"),
        }
    }
}

/// What was appended and is not synced: bounded by who asks, who waits for it.
#[derive(Default)]
pub(super) struct Internals {
    waiting: VecDeque<(StreamSlot, u64, Ticket)>,
    /// The audit log's definition is as the hub's configuration has it.
    audit_is_right: bool,
}

impl Internals {
    /// A stream is on disk up to here.
    pub(super) fn synced(&mut self, slot: StreamSlot, upto: u64, authors: &mut Authors<'_>) {
        self.waiting.retain(|(of, next, ticket)| {
            let done = *of == slot && *next <= upto;
            if done {
                authors.tell(*ticket, Ok(()));
            }
            !done
        });
    }

    /// What waits for this stream may never be on disk.
    pub(super) fn failed(&mut self, slot: StreamSlot, why: &str, authors: &mut Authors<'_>) {
        self.waiting.retain(|(of, _, ticket)| {
            if *of == slot {
                authors.tell(*ticket, Err(Unstored::Unsure(why.to_owned())));
            }
            *of != slot
        });
    }
}

impl AppendStage {
    pub(super) fn append_internal(&mut self, internal: Internal) {
        let ticket = (internal.author, internal.ticket);
        match self.try_internal(&internal) {
            Ok((slot, next)) => self.internals.waiting.push_back((slot, next, ticket)),
            Err(why) => self.internals().1.tell(ticket, Err(Unstored::Refused(why))),
        }
    }

    /// The hub's own blocks, and those who are told of them.
    pub(super) fn internals(&mut self) -> (&mut Internals, Authors<'_>) {
        let authors = Authors { consume: &mut self.consume, audit: &mut self.audit, inspect: &mut self.inspect };
        (&mut self.internals, authors)
    }

    fn try_internal(&mut self, internal: &Internal) -> Result<(StreamSlot, u64), String> {
        let Internal { stream: name, source, block, author, .. } = internal;
        match author {
            Author::Consumer if !self.names.contains_key(name) => {
                let spec = dead_spec(name, source, &self.options.stream_defaults);
                self.make_internal(spec, "a stream for dead letters was made")?;
            }
            Author::Quarantine if !self.names.contains_key(name) => {
                let spec = quarantine_spec(name, source, &self.options.stream_defaults);
                self.make_internal(spec, "a stream for quarantine was made")?;
            }
            Author::Consumer | Author::Quarantine => {}
            Author::Audit => self.ready_audit(name, source)?,
        }
        let now = self.now;
        let slot = self.names.get(name).copied().ok_or("the stream was not made")?;
        let stream = self.stream(slot).ok_or("the stream is gone")?;
        // What is one tenant's must not lie where another one may read it.
        if *author == Author::Quarantine && stream.spec.filters != [source.as_str()] {
            return Err(format!("the stream `{name}` has another use: name another `quarantine` in the subject"));
        }
        let appended = stream.log.append(block, now).map_err(|error| format!("stream `{name}`: {error}"))?;
        stream.index.note(Block::trusted(block), &appended, now);
        if *author != Author::Audit {
            let events = u64::from(Block::trusted(block).event_count());
            let account = self.counters.account(block);
            account.copies(events);
            account.stored(events);
        }
        Ok((slot, appended.next))
    }

    fn make_internal(&mut self, spec: StreamSpec, told: &str) -> Result<(), String> {
        let name = spec.name.clone();
        if let Some(made) = self.try_create(spec).map_err(|(_, detail)| detail)? {
            tracing::info!(code = "stream_created", stream = name, "{told}");
            self.install(made, None);
        }
        Ok(())
    }

    /// Has the stream of the audit log be as the configuration wants it.
    fn ready_audit(&mut self, name: &str, topic: &str) -> Result<(), String> {
        if self.internals.audit_is_right {
            return Ok(());
        }
        let options = self.options.clone();
        let least = options.limits.frame.0.saturating_mul(2);
        let wanted = audit::spec_of(name, topic, &options.audit, least);
        let wanted = StreamSpec::from_frame(&wanted, &options.stream_defaults);
        let Some(slot) = self.names.get(name).copied() else {
            self.make_internal(wanted, "the stream of the audit log was made")?;
            self.internals.audit_is_right = true;
            return Ok(());
        };
        let known = self.stream(slot).map(|stream| stream.spec.clone()).ok_or("the stream is gone")?;
        if known.filters != wanted.filters || !known.homes.is_empty() || !known.mirror_of.is_empty() {
            return Err(format!("stream `{name}` is not the hub's audit log: delete it while `[audit] write = false`"));
        }
        let (retain_bytes, retain_age_ms) = (wanted.retain_bytes, wanted.retain_age_ms);
        if (known.retain_bytes, known.retain_age_ms) != (retain_bytes, retain_age_ms) {
            let spec = StreamSpec { retain_bytes, retain_age_ms, ..known };
            self.try_alter(spec).map_err(|(_, detail)| detail)?;
        }
        self.internals.audit_is_right = true;
        Ok(())
    }
}

/// A stream for what entered at this hub and does not fit. Nobody publishes into it.
/// It is of the tenant that its filter names, if it names one.
fn quarantine_spec(name: &str, filter: &str, defaults: &crate::options::StreamDefaults) -> StreamSpec {
    let levels: Vec<&str> = filter.split('/').collect();
    let tenant = if let [_, tenant, _] = levels.as_slice() { *tenant } else { "" };
    let (age, retain_bytes) = QUARANTINE;
    let retain_age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let filters = vec![filter];
    let spec = frame::StreamSpec { name, filters, tenant, retain_age_ms, retain_bytes, ..frame::StreamSpec::default() };
    StreamSpec::from_frame(&spec, defaults)
}

/// A stream for the dead letters of another. Its filter is in the reserved
/// space: nobody publishes into it.
fn dead_spec(name: &str, source: &str, defaults: &crate::options::StreamDefaults) -> StreamSpec {
    let filter = format!("_dead/{source}");
    let retain_age_ms = u64::try_from(KEEP.as_millis()).unwrap_or(u64::MAX);
    let spec = frame::StreamSpec { name, filters: vec![&filter], retain_age_ms, ..frame::StreamSpec::default() };
    StreamSpec::from_frame(&spec, defaults)
}
