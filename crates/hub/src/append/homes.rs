//! Who waits until several homes have an event on their disks, and changes of
//! who the homes are.
//!
//! What other homes have, they say themselves, as soon as it is on their disks
//! ([`ToAppend::HomesSynced`](crate::messages::ToAppend)); this home counts once
//! its own disk has it. That says what they have of what entered here. An event
//! that is here as a copy, because its producer had published it at another home
//! before, entered there: a third home may have all of this home's events and
//! not that one. So who publishes it here waits for homes that have all that
//! lies here, of every home ([`ToAppend::HomesHold`](crate::messages::ToAppend)),
//! which is asked for while somebody waits so. Waiting is bounded by [`WAITING`]; beyond it who asks is
//! refused with a time to try again, and what was published is stored all the
//! same.

use weft_base::HubId;
use weft_base::sync::atomic::Ordering;
use weft_log::Fate;
use weft_stream::replica::Position;
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame, Retention};

use super::{AppendStage, StreamSpec};
use crate::messages::{Completion, Named, Request, SessionId, StreamSlot, ToConductor, ToNet};
use crate::replicate::ToReplicate;

/// How many may wait for other homes.
const WAITING: usize = 65_536;

/// What is waited for.
struct Wait {
    slot: StreamSlot,
    /// The first local sequence behind the event.
    local: u64,
    /// What another home must have.
    need: Need,
    homes: u8,
    /// A publish, or else a later question about it.
    request: Result<Request, Asked>,
}

/// What another home must have on disk for it to have an event.
enum Need {
    /// What entered here, up to this sequence.
    Own(u64),
    /// All that lay here when it was asked for.
    All(Position),
}

/// A question about an event that was published before.
#[derive(Clone, Copy)]
struct Asked {
    session: SessionId,
    id: u64,
    level: AckLevel,
    sequence: u64,
}

/// All who wait.
#[derive(Default)]
pub(super) struct HomesWaiting {
    waits: Vec<Wait>,
    /// Something may have been reached.
    moved: bool,
}

impl HomesWaiting {
    /// More is on disk, here or elsewhere.
    pub(super) fn moved(&mut self) {
        self.moved = true;
    }
}

/// A kind of retention as operators write it.
fn retention_name(kind: Retention) -> &'static str {
    match kind {
        Retention::Limits => "limits",
        Retention::Interest => "interest",
        Retention::WorkQueue => "work-queue",
    }
}

impl AppendStage {
    /// Why a publish cannot have as many homes as it asks for.
    pub(super) fn too_few_homes(&self, slots: &[StreamSlot], request: &Request) -> Option<(ErrorCode, String)> {
        let stream = |slot: &StreamSlot| self.streams.get(slot.0 as usize).and_then(Option::as_ref);
        let least = slots.iter().filter_map(stream).map(|stream| stream.spec.homes.len().max(1)).min().unwrap_or(0);
        if slots.len() > 1 {
            let detail = "the topic goes to several streams: ask for `synced`, or publish to a topic of one".to_owned();
            return Some((ErrorCode::TOO_FEW_HOMES, detail));
        }
        if least < usize::from(request.homes) {
            let detail = format!("the stream has {least} homes, {} were asked for", request.homes);
            return Some((ErrorCode::TOO_FEW_HOMES, detail));
        }
        if self.homes_waiting.waits.len() >= WAITING {
            let detail = format!("{WAITING} publishes wait for other homes: try again in a while");
            return Some((ErrorCode::OVERLOADED, detail));
        }
        None
    }

    /// A publish is in the log; its publisher waits for other homes.
    pub(super) fn wait_for_homes(&mut self, slot: StreamSlot, request: Request, local: u64, events: u64) {
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let need = match request.place {
            Some(place) => Need::Own(place.sequence + events),
            // Of one that came again no more is known than that it is here.
            None => {
                stream.copying.ends_wanted.store(true, Ordering::Release);
                Need::All(stream.lies_here())
            }
        };
        self.homes_waiting.waits.push(Wait { slot, local, need, homes: request.homes, request: Ok(request) });
        self.homes_waiting.moved = true;
    }

    /// Somebody asks for a higher level of what was acknowledged before.
    pub(super) fn await_level(&mut self, session: SessionId, asked: &AwaitedLevel) {
        let AwaitedLevel { id, ref stream, named, level, homes } = *asked;
        let Some(slot) = self.names.get(stream).copied() else {
            let detail = format!("this hub has no stream `{stream}`: `weft stream list` names those it has");
            return self.refuse_request(session, id, ErrorCode::NO_STREAM, detail);
        };
        let Some(found) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let known = named.sequence > 0 && named.sequence < found.entered(self.home);
        if named.home != self.home || !known {
            let detail = format!("event {} of home {} did not enter here: ask at its home", named.sequence, named.home);
            return self.refuse_request(session, id, ErrorCode::UNSUPPORTED, detail);
        }
        if level == AckLevel::Homes && found.spec.homes.len().max(1) < usize::from(homes) {
            let detail = format!("the stream has {} homes, {homes} were asked for", found.spec.homes.len().max(1));
            return self.refuse_request(session, id, ErrorCode::TOO_FEW_HOMES, detail);
        }
        if self.homes_waiting.waits.len() >= WAITING {
            let detail = format!("{WAITING} publishes wait for other homes: try again in a while");
            return self.refuse_request(session, id, ErrorCode::OVERLOADED, detail);
        }
        let local = match found.reader.fate(self.home.tag(), named.sequence) {
            Ok(Fate::Whole { local }) => local + 1,
            // It was on the disk for as long as it was to be.
            Ok(Fate::Removed) => 0,
            // Nobody may ever have it again: who asks is not kept waiting.
            Ok(Fate::Damaged) => {
                let detail = format!(
                    "event {} of stream `{stream}` is damaged at this home: ask again once it is repaired from another \
                     home, or publish it again",
                    named.sequence
                );
                return self.refuse_request(session, id, ErrorCode::DAMAGED, detail);
            }
            Err(error) => return self.refuse_request(session, id, ErrorCode::STORAGE, error.to_string()),
        };
        let request = Err(Asked { session, id, level, sequence: named.sequence });
        let homes = if level == AckLevel::Homes { homes } else { 1 };
        let need = Need::Own(named.sequence + 1);
        self.homes_waiting.waits.push(Wait { slot, local, need, homes, request });
        self.homes_waiting.moved = true;
    }

    /// Answers those whose events enough homes have.
    pub(super) fn settle_homes(&mut self) -> usize {
        if !std::mem::take(&mut self.homes_waiting.moved) || self.homes_waiting.waits.is_empty() {
            return 0;
        }
        let before = self.homes_waiting.waits.len();
        let Self { homes_waiting, streams, net, home, identity_epoch, .. } = self;
        homes_waiting.waits.retain(|wait| {
            let stream = streams.get(wait.slot.0 as usize).and_then(Option::as_ref);
            let Some(stream) = stream else {
                // Deleted: like those who wait for its disk.
                wait.answer(*home, *identity_epoch, net);
                return false;
            };
            let others = match &wait.need {
                Need::Own(next) => stream.copying.homes_with(*next),
                Need::All(position) => stream.copying.homes_with_all(position),
            };
            let homes = usize::from(stream.log.synced() >= wait.local) * (1 + others);
            if homes < usize::from(wait.homes) {
                return true;
            }
            wait.answer(*home, *identity_epoch, net);
            false
        });
        for (index, stream) in streams.iter().enumerate() {
            let Some(stream) = stream.as_ref().filter(|s| s.copying.ends_wanted.load(Ordering::Acquire)) else {
                continue;
            };
            let is_wanted = |wait: &Wait| wait.slot.0 as usize == index && matches!(wait.need, Need::All(_));
            stream.copying.ends_wanted.store(homes_waiting.waits.iter().any(is_wanted), Ordering::Release);
        }
        before - self.homes_waiting.waits.len()
    }

    /// A stream's definition is changed: who its homes are, what it captures,
    /// and what may change without touching what it holds. A mirror that
    /// mirrors no more is a home.
    pub(super) fn alter(&mut self, session: SessionId, id: u64, spec: StreamSpec) {
        match self.try_alter(spec) {
            Ok(slot) => {
                let Some(stream) = self.streams.get(slot.0 as usize).and_then(Option::as_ref) else { return };
                tracing::info!(code = "stream_altered", stream = stream.spec.name, "a stream's definition was changed");
                let (spec, filters) = (stream.spec.clone(), stream.filters.clone());
                let def = std::sync::Arc::new(spec.def(&self.options.name));
                self.prepare_copying(slot);
                self.replicate.push(ToReplicate::Altered { slot, spec: Box::new(spec) });
                self.conductor.push(ToConductor::StreamUp { slot, def, filters, answer: Some((session, id)) });
            }
            Err((code, detail)) => self.refuse_request(session, id, code, detail),
        }
    }

    pub(super) fn try_alter(&mut self, mut spec: StreamSpec) -> Result<StreamSlot, (ErrorCode, String)> {
        let filters = spec.check(&self.options.limits).map_err(|detail| (ErrorCode::BAD_NAME, detail))?;
        let name = spec.name.clone();
        let no_stream = || (ErrorCode::NO_STREAM, format!("this hub has no stream `{name}`"));
        let slot = self.names.get(&name).copied().ok_or_else(no_stream)?;
        let (streams, folder) = (&mut self.streams, &self.folder);
        let stream = streams.get_mut(slot.0 as usize).and_then(Option::as_mut).ok_or_else(no_stream)?;
        if spec.id == 0 {
            spec.id = stream.spec.id;
        }
        if !spec.mirror_of.is_empty() && spec.mirror_of != stream.spec.mirror_of {
            let detail = format!("stream `{name}` cannot become a mirror: make a mirror under another name");
            return Err((ErrorCode::FIXED, detail));
        }
        let old = &stream.spec;
        let same = StreamSpec {
            filters: old.filters.clone(),
            homes: old.homes.clone(),
            mirror_of: old.mirror_of.clone(),
            mirror_prefix: old.mirror_prefix.clone(),
            unreachable: old.unreachable,
            consistency: old.consistency,
            max_event: old.max_event,
            dedup_window_ms: old.dedup_window_ms,
            tenant: old.tenant.clone(),
            retain_bytes: old.retain_bytes,
            retain_age_ms: old.retain_age_ms,
            retain_events: old.retain_events,
            last: old.last,
            compact: old.compact,
            tombstone_age_ms: old.tombstone_age_ms,
            ..spec.clone()
        };
        if spec.retention != old.retention {
            let (is, asked) = (retention_name(old.retention), retention_name(spec.retention));
            let detail = format!(
                "stream `{name}` was made with retention `{is}` and cannot be altered to `{asked}`: what consumers \
                 settled may be gone, or there for ever; make a stream of another name"
            );
            return Err((ErrorCode::FIXED, detail));
        }
        if same != *old {
            let detail = format!(
                "of stream `{name}` the filters, homes, consistency, window of duplicates, tenant, largest event, compaction, last \
                 values, how much it keeps and what happens while no home can be reached can be changed, and a mirror \
                 can become a home; the rest cannot"
            );
            return Err((ErrorCode::FIXED, detail));
        }
        if let Some(folder) = folder {
            folder.describe(&spec).map_err(|error| (ErrorCode::STORAGE, error.to_string()))?;
        }
        let other_last = (spec.last != stream.spec.last).then_some(spec.last);
        stream.log.set_kept(spec.kept());
        stream.index.redefine(&spec);
        (stream.spec, stream.filters) = (spec, filters);
        if let Some(mode) = other_last {
            stream.index.rebuild(mode, &stream.log).map_err(|error| (ErrorCode::STORAGE, error.to_string()))?;
        }
        Ok(slot)
    }

    /// The request of a publish that waits for other homes.
    pub(super) fn homes_request(completion: Completion) -> Option<Request> {
        match completion {
            Completion::Client(request) if request.level == AckLevel::Homes => Some(request),
            _ => None,
        }
    }
}

/// A level that somebody waits for, see [`frame::AwaitLevel`].
pub(crate) struct AwaitedLevel {
    pub(crate) id: u64,
    pub(crate) stream: String,
    pub(crate) named: Named,
    pub(crate) level: AckLevel,
    pub(crate) homes: u8,
}

impl AwaitedLevel {
    pub(crate) fn from_frame(asked: &frame::AwaitLevel<'_>) -> Self {
        let named = Named { home: asked.home, sequence: asked.home_sequence };
        let (level, homes) = (asked.level, asked.homes);
        Self { id: asked.request, stream: asked.stream.to_owned(), named, level, homes }
    }
}

impl Wait {
    fn answer(&self, home: HubId, epoch: weft_base::Epoch, net: &mut crate::outbox::Outbox<ToNet>) {
        match self.request {
            Ok(request) => net.push(ToNet::Acked(request)),
            Err(Asked { session, id, level, sequence }) => {
                let ack = frame::Ack {
                    request: id,
                    level,
                    origin: home,
                    epoch,
                    sequence: 0,
                    duplicate: false,
                    receivers: 0,
                    home,
                    home_sequence: sequence,
                    homes: self.homes,
                };
                let mut bytes = Vec::new();
                frame::encode(&Frame::Ack(ack), &mut bytes);
                net.push(ToNet::Control { session, bytes });
            }
        }
    }
}
