//! Reading streams for subscribers, and the requests about streams.

use std::collections::HashMap;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_log::ReadError;
use weft_mesh::ledger::DropReason;
use weft_stream::intake::is_expired;
use weft_topic::{Filter, Topic};
use weft_wire::block::layout::{COMPACTED, EXPIRES};
use weft_wire::block::{Block, Event};
use weft_wire::frame::{self, ErrorCode, Frame, Start, StreamRole};

use super::delay::schedule_of;
use super::position::{Found, Seen};
use super::{AppendStage, StreamSpec};
use crate::consume::ToConsume;
use crate::messages::{Fetched, SessionId, StreamSlot, Target, ToConductor, ToNet};
use crate::outbox::Outbox;
use crate::replicate::Showing;

/// The subscriptions that read streams.
#[derive(Default)]
pub(super) struct Cursors {
    filters: HashMap<Target, (StreamSlot, Filter, Seen)>,
    /// Those that have read all there is, by stream.
    at_end: HashMap<StreamSlot, Vec<Target>>,
}

impl Cursors {
    pub(super) fn close(&mut self, target: Target) {
        if let Some((slot, ..)) = self.filters.remove(&target)
            && let Some(waiting) = self.at_end.get_mut(&slot)
        {
            waiting.retain(|t| *t != target);
        }
    }

    pub(super) fn close_session(&mut self, session: SessionId) {
        self.filters.retain(|target, _| target.session != session);
        for waiting in self.at_end.values_mut() {
            waiting.retain(|target| target.session != session);
        }
    }

    /// A stream has grown: those at its end may read on.
    pub(super) fn grown(&mut self, slot: StreamSlot, net: &mut Outbox<ToNet>) {
        for target in self.at_end.get_mut(&slot).into_iter().flat_map(|waiting| waiting.drain(..)) {
            net.push(ToNet::Grown { target });
        }
    }

    /// A stream is gone: those who read it.
    fn gone(&mut self, slot: StreamSlot) -> Vec<Target> {
        self.at_end.remove(&slot);
        let targets = self.filters.iter().filter(|(_, (s, ..))| *s == slot).map(|(target, _)| *target).collect();
        self.filters.retain(|_, (s, ..)| *s != slot);
        targets
    }
}

impl AppendStage {
    /// Opens a subscription to a stream.
    pub(super) fn open(&mut self, target: Target, name: &str, start: Start, position: Vec<(u32, u64)>, filter: Filter) {
        let Some(slot) = self.names.get(name).copied() else {
            let detail = format!("this hub has no stream `{name}`: `weft stream list` names those it has");
            return self.net.push(ToNet::SubscribeRefused { target, code: ErrorCode::NO_STREAM, detail });
        };
        let Some(stream) = self.stream(slot) else { return };
        let log = &stream.log;
        let (first, end) = (log.first(), log.synced().max(log.first()));
        let seen = Seen::new(position);
        let mut missing = 0;
        let from = match start {
            _ if !seen.is_empty() => match seen.find(&mut stream.reader, first..end) {
                Ok(Found { from, removed }) => {
                    missing = removed;
                    from
                }
                Err(error) => {
                    let (code, detail) = (ErrorCode::STORAGE, error.to_string());
                    return self.net.push(ToNet::SubscribeRefused { target, code, detail });
                }
            },
            Start::New => end,
            Start::First => first,
            Start::Last => end.saturating_sub(1).max(first),
            Start::Sequence(sequence) => sequence.max(first),
            Start::Time(time) => stream.reader.seek_time(time).clamp(first, end.max(first)),
        };
        self.cursors.filters.insert(target, (slot, filter, seen));
        self.net.push(ToNet::Opened { target, stream: slot, from });
        if missing > 0 {
            let gap = frame::Gap { id: target.subscription, events: missing, reason: DropReason::Removed as u8 };
            let mut bytes = Vec::new();
            frame::encode(&Frame::Gap(gap), &mut bytes);
            self.net.push(ToNet::Control { session: target.session, bytes });
        }
    }

    /// Reads on for a subscription, as far as is synced.
    pub(super) fn fetch(&mut self, target: Target, slot: StreamSlot, from: u64, max_bytes: usize) {
        let Some((_, filter, seen)) = self.cursors.filters.get(&target).cloned() else { return };
        let now = self.now.wall;
        let Some(stream) = self.stream(slot) else { return };
        let upto = stream.log.synced();
        let mut fetched = Fetched { blocks: Vec::new(), next: from, end: false, lost: None, failed: None };
        match stream.reader.read(from, upto, max_bytes) {
            Ok(blocks) => {
                // When nothing comes, compaction took out all there was.
                fetched.next = upto.max(from);
                for block in blocks {
                    fetched.next = block.next();
                    let wanted = !seen.has(&block.block())
                        && Topic::parse(block.block().topic()).is_ok_and(|topic| filter.matches(topic));
                    if wanted && !all_expired(block.block(), now) {
                        fetched.blocks.push(block);
                    }
                }
            }
            // What is damaged or gone is never served: the subscriber is told, and gets what comes after.
            Err(error) => {
                let (next, reason) = match &error {
                    ReadError::Damaged { resume, .. } => (*resume, DropReason::Damaged),
                    ReadError::Gone { first } => (*first, DropReason::Removed),
                    _ => (from, DropReason::Damaged),
                };
                fetched.next = next;
                fetched.lost = next.checked_sub(from).filter(|lost| *lost > 0).map(|lost| (lost, reason));
                if fetched.lost.is_none() {
                    fetched.failed = Some((ErrorCode::STORAGE, error.to_string()));
                }
            }
        }
        // A disk that cannot be read is tried again when the stream grows.
        fetched.end = fetched.next >= upto || (fetched.failed.is_some() && fetched.next == from);
        if fetched.end {
            self.cursors.at_end.entry(slot).or_default().push(target);
        }
        self.net.push(ToNet::Fetched { target, fetched });
    }

    /// Makes a stream. The answer comes when blocks are routed to it.
    pub(super) fn create(&mut self, session: SessionId, id: u64, spec: StreamSpec) {
        let outcome = self.try_create(spec);
        match outcome {
            Ok(Some(stream)) => {
                let tenant_id = stream.spec.tenant_id();
                tracing::info!(
                    code = "stream_created",
                    session = session.0,
                    tenant_id,
                    stream = stream.spec.name,
                    "a stream was made"
                );
                self.install(stream, Some((session, id)));
            }
            Ok(None) => self.done(session, id),
            Err((code, detail)) => self.refuse_request(session, id, code, detail),
        }
    }

    /// The new stream; none when there is one of exactly this definition.
    pub(super) fn try_create(&mut self, spec: StreamSpec) -> Result<Option<super::Stream>, (ErrorCode, String)> {
        let limits = self.options.limits.clone();
        let filters = spec.check(&limits).map_err(|detail| (ErrorCode::BAD_NAME, detail))?;
        if let Some(slot) = self.names.get(&spec.name).copied() {
            let same = self.stream(slot).is_some_and(|stream| stream.spec.is_what(&spec));
            let detail =
                format!("there is a stream `{}` of another definition: delete it or take another name", spec.name);
            return if same { Ok(None) } else { Err((ErrorCode::STREAM_EXISTS, detail)) };
        }
        if self.names.len() >= limits.streams {
            let detail = format!("the hub has {} streams, its limit (limits.streams)", limits.streams);
            return Err((ErrorCode::LIMIT, detail));
        }
        let Some(folder) = &self.folder else {
            let detail = "this hub has no data folder: give it one (`data = \"...\"`) or use another hub".to_owned();
            return Err((ErrorCode::UNSUPPORTED, detail));
        };
        let stream =
            folder.create(spec, filters, &limits, self.now).map_err(|e| (ErrorCode::STORAGE, e.to_string()))?;
        Ok(Some(stream))
    }

    /// Deletes a stream with all that it holds.
    pub(super) fn delete(&mut self, session: SessionId, id: u64, name: &str) {
        let Some(slot) = self.names.remove(name) else {
            let detail = format!("this hub has no stream `{name}`");
            return self.refuse_request(session, id, ErrorCode::NO_STREAM, detail);
        };
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        self.free.push_back(slot);
        self.sync.push(super::ToSync::Remove { slot });
        self.sync.push(super::ToSync::Remove { slot: schedule_of(slot) });
        self.commits.gone(schedule_of(slot));
        self.replicate.push(super::ToReplicate::StreamDown { slot });
        self.commits.gone(slot);
        let (internals, mut authors) = self.internals();
        internals.failed(slot, "the stream was deleted", &mut authors);
        self.consume.push(ToConsume::StreamDown { slot });
        let parts = self.batches.gone(slot.0);
        self.refuse_parts(parts, ErrorCode::NO_STREAM, "the stream was deleted");
        for target in self.cursors.gone(slot) {
            let detail = format!("stream `{name}` was deleted");
            self.net.push(ToNet::SubscribeRefused { target, code: ErrorCode::NO_STREAM, detail });
        }
        match self.folder.as_ref().map(|folder| folder.delete(stream)) {
            Some(Err(error)) => self.refuse_request(session, id, ErrorCode::STORAGE, error.to_string()),
            _ => {
                tracing::info!(code = "stream_deleted", session = session.0, stream = name, "a stream was deleted");
                self.conductor.push(ToConductor::StreamDown { slot, answer: Some((session, id)) });
            }
        }
    }

    /// Reports one stream, or all in the order of their names.
    pub(super) fn report(&mut self, session: SessionId, id: u64, name: Option<&str>) {
        if let Some(name) = name
            && !self.names.contains_key(name)
        {
            let detail = format!("this hub has no stream `{name}`: `weft stream list` names those it has");
            return self.refuse_request(session, id, ErrorCode::NO_STREAM, detail);
        }
        let home = self.options.name.clone();
        let mut streams: Vec<&super::Stream> =
            self.streams.iter().flatten().filter(|stream| name.is_none_or(|name| stream.spec.name == name)).collect();
        streams.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let showings: HashMap<u64, Arc<Showing>> =
            streams.iter().filter_map(|stream| Some((stream.spec.id, stream.copying.shown.load_full()?))).collect();
        let states: Vec<String> = streams
            .iter()
            .map(|stream| {
                let copying = showings.get(&stream.spec.id).map_or("", |showing| &showing.state);
                let damaged = stream.health.shown(stream.log.oldest_segment());
                let trouble = stream.log.trouble().unwrap_or_default();
                let parts = [trouble, copying.to_owned(), damaged.to_string(), stream.scheduled(self.now.wall)];
                let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                parts.join("; ")
            })
            .collect();
        let reports: Vec<frame::StreamReport> = streams
            .iter()
            .zip(&states)
            .map(|(stream, state)| frame::StreamReport {
                spec: stream.spec.to_frame(),
                home: &home,
                role: if stream.spec.is_home(&home) { StreamRole::Home } else { StreamRole::Mirror },
                first: stream.log.first(),
                next: stream.log.next(),
                synced: stream.log.synced(),
                bytes: stream.log.bytes(),
                position: stream.copying.position_shown(self.home, &stream.log),
                state,
            })
            .collect();
        let mut bytes = Vec::new();
        match frame::try_encode(&Frame::StreamReports(frame::StreamReports { request: id, reports }), &mut bytes) {
            Ok(()) => self.net.push(ToNet::Control { session, bytes }),
            Err(error) => {
                let detail = format!("{error}: ask for one stream by its name");
                self.refuse_request(session, id, ErrorCode::LIMIT, detail);
            }
        }
    }

    pub(super) fn done(&mut self, session: SessionId, id: u64) {
        let mut bytes = Vec::new();
        frame::encode(&Frame::Done(frame::Done { request: id }), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    pub(super) fn refuse_request(&mut self, session: SessionId, id: u64, code: ErrorCode, detail: String) {
        let mut bytes = Vec::new();
        let error = frame::ErrorFrame { request: id, code, retry_after_ms: 0, detail: &detail };
        frame::encode(&Frame::Error(error), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }
}

/// Whether no event of a block is of use any more, or there.
fn all_expired(block: Block<'_>, now: UnixNanos) -> bool {
    let is_gone = |event: Event<'_>| (block.is_compacted() && event.is_removed()) || is_expired(block, &event, now);
    block.flags() & (EXPIRES | COMPACTED) != 0 && block.events().all(is_gone)
}
