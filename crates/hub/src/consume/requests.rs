//! Making, deleting, reporting and steering consumers, and the streams that
//! they are of.

use weft_base::UnixNanos;
use weft_keyed::{Batch, Space};
use weft_stream::consumer::{Consumer, Saved};
use weft_wire::frame::{self, ErrorCode, Frame};

use super::definition::{Definition, Refused};
use super::entry::Key;
use super::keep::{self, Record};
use super::{Action, Begin, ConsumeStage, StreamState, StreamUp};
use crate::counters::add;
use crate::messages::{SessionId, StreamSlot, ToNet};

impl ConsumeStage {
    /// The consumer of this name.
    pub(super) fn find(&self, stream: &str, name: &str) -> Result<Key, Refused> {
        let slot = self.slot(stream)?;
        let known = self.streams.get(&slot).and_then(|state| state.consumers.get(name)).copied();
        known.ok_or_else(|| {
            let detail = format!("stream `{stream}` has no consumer `{name}`: make it with `weft consumer create`");
            (ErrorCode::NO_CONSUMER, detail)
        })
    }

    fn slot(&self, stream: &str) -> Result<StreamSlot, Refused> {
        self.names.get(stream).copied().ok_or_else(|| {
            let detail = format!("this hub has no stream `{stream}`: `weft stream list` names those it has");
            (ErrorCode::NO_STREAM, detail)
        })
    }

    /// A stream exists: its consumers go on where they were.
    pub(super) fn on_stream_up(&mut self, up: StreamUp) {
        let StreamUp { slot, name, id, dir, reader, watched, floors } = up;
        let (records, sealed) = match keep::read(&*self.fs, &dir) {
            Ok(records) => (records, None),
            Err(error) => {
                tracing::error!(code = "consumers_unreadable", stream = name, error = %error, "consumers are left alone");
                (Vec::new(), Some(error.to_string()))
            }
        };
        self.names.insert(name.clone(), slot);
        let synced = reader.synced();
        let consumers = std::collections::BTreeMap::new();
        let state = StreamState { name, id, dir, reader, watched, floors, floor: 0, synced, consumers, sealed };
        self.streams.insert(slot, state);
        for record in records {
            self.bring_back(slot, record);
        }
        self.bring_asides(id);
    }

    /// A consumer that was there in the hub's last life.
    fn bring_back(&mut self, slot: StreamSlot, record: Record) {
        let Some(stream) = self.streams.get_mut(&slot) else { return };
        let (stream_id, stream_name) = (stream.id, stream.name.clone());
        let name = record.definition.name.clone();
        let spec = match record.definition.check(&stream_name, &self.options.limits) {
            Ok(spec) => spec,
            Err((_, why)) => {
                // Left in the file as it is: a limit may have been lowered.
                stream.sealed = Some(format!("consumer `{name}` cannot be: {why}"));
                return tracing::error!(code = "consumer_refused", stream = stream_name, name, why, "left alone");
            }
        };
        let kept =
            self.positions.keyed().map(|keyed| keyed.reads().get(Space::Positions, &keep::key(stream_id, &name)));
        let saved = match kept {
            Some(Ok(Some(bytes))) => Saved::decode(&bytes).map_err(|error| error.to_string()),
            Some(Ok(None)) | None => Err("there is none".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
        };
        if let Err(why) = &saved {
            let from = record.from;
            tracing::warn!(code = "position_lost", stream = stream_name, name, from, why, "begins where its file says");
        }
        let saved = Saved::since(saved.ok(), record.generation, record.from);
        let next = stream.reader.next();
        let saved = saved.within(next).unwrap_or_else(|saved| {
            tracing::warn!(
                code = "position_ahead",
                stream = stream_name,
                name,
                next,
                "the stream was set back: so is it"
            );
            saved
        });
        // Another home may have had it since: it counts as what it was last.
        let term = saved.generation;
        self.generation = self.generation.max(term).saturating_add(1);
        let consumer = Consumer::restore(spec, saved, self.generation, self.now);
        if let Some(entry) = self.install(slot, record.definition, consumer) {
            entry.preference.clone_from(&record.preference);
        }
        if let Some(seats) = self.seating.seats() {
            seats.brought_back((stream_id, name), term, record.preference);
        }
    }

    /// A stream is gone, and what it kept of its consumers with it.
    pub(super) fn on_stream_down(&mut self, slot: StreamSlot) {
        let Some(stream) = self.streams.get(&slot) else { return };
        let (id, name) = (stream.id, stream.name.clone());
        let consumers: Vec<(String, Key)> = stream.consumers.iter().map(|(name, key)| (name.clone(), *key)).collect();
        let mut batch = Batch::default();
        for (consumer, key) in consumers {
            let why = format!("stream `{name}` was deleted, and its consumers with it");
            self.uninstall(key, ErrorCode::CONSUMER_GONE, &why);
            batch.delete(Space::Positions, keep::key(id, &consumer));
        }
        self.apply(batch);
        self.decide(|seats, _, stage| seats.stream_gone(id, stage));
        self.streams.remove(&slot);
        if self.names.get(&name) == Some(&slot) {
            self.names.remove(&name);
        }
    }

    pub(super) fn apply(&mut self, batch: Batch) {
        if let Some(keyed) = self.positions.keyed()
            && let Err(error) = keyed.write_now(batch)
        {
            add(&self.counters.positions_failed, 1);
            tracing::error!(code = "positions_failed", error = %error, "positions of consumers could not be written");
        }
    }

    /// Writes the stream's file.
    pub(super) fn write_file(&self, slot: StreamSlot) -> Result<(), Refused> {
        let Some(stream) = self.streams.get(&slot) else { return Ok(()) };
        if let Some(why) = &stream.sealed {
            return Err((ErrorCode::STORAGE, why.clone()));
        }
        let entry = |key: &Key| self.entries.get(key.place as usize).and_then(Option::as_ref);
        let (synced, running) = (stream.reader.synced(), stream.consumers.values().filter_map(entry));
        let records: Vec<Record> = running.map(|entry| entry.record(synced)).collect();
        if records.is_empty() && self.fs.read(&stream.dir.join(super::FILE), 0).is_err() {
            return Ok(());
        }
        keep::write(&*self.fs, &stream.dir, records).map_err(|error| (ErrorCode::STORAGE, error.to_string()))
    }

    /// Writes the stream's file; when that fails it is said and tried again
    /// with the next change.
    pub(super) fn note(&self, slot: StreamSlot) {
        if let Err((_, why)) = self.write_file(slot) {
            let stream = self.streams.get(&slot).map_or("", |state| state.name.as_str());
            tracing::error!(code = "consumers_failed", stream, why, "the consumers of a stream could not be written");
        }
    }

    pub(super) fn on_create(&mut self, session: SessionId, id: u64, stream: &str, definition: Definition) {
        match self.create(stream, definition) {
            Ok(()) => self.done(session, id),
            Err((code, detail)) => self.refuse(session, id, code, &detail),
        }
    }

    fn create(&mut self, stream: &str, definition: Definition) -> Result<(), Refused> {
        let slot = self.slot(stream)?;
        let limits = self.options.limits.clone();
        let spec = definition.check(stream, &limits)?;
        let Some(state) = self.streams.get_mut(&slot) else { return Ok(()) };
        if let Some(why) = &state.sealed {
            return Err((ErrorCode::STORAGE, why.clone()));
        }
        let name = definition.name.clone();
        let (of_stream, mut log) = (state.consumers.len(), state.reader.clone());
        if let Some(key) = state.consumers.get(&name).copied() {
            let same = self.entry(key).is_some_and(|entry| entry.definition == definition);
            let detail = format!("there is a consumer `{name}` of another definition: delete it, or take another name");
            return if same { Ok(()) } else { Err((ErrorCode::CONSUMER_EXISTS, detail)) };
        }
        let all = self.entries.iter().flatten().count();
        let bounds = [
            (all, limits.consumers, "hub", "consumers"),
            (of_stream, limits.consumers_per_stream, "stream", "consumers_per_stream"),
        ];
        for (have, most, what, limit) in bounds {
            if have >= most {
                let detail = format!("the {what} has {most} consumers, its limit (limits.{limit}): delete one");
                return Err((ErrorCode::LIMIT, detail));
            }
        }
        let from = begin(definition.start, &mut log)?;
        let id = (self.streams.get(&slot).map_or(0, |state| state.id), name.clone());
        let gone = self.seating.seats().map_or(0, |seats| seats.gone(&id));
        self.generation = self.generation.max(gone).saturating_add(1);
        let consumer = Consumer::new(spec, from, self.generation, self.now);
        let generation = consumer.generation();
        if let Some(entry) = self.install(slot, definition, consumer) {
            entry.claimed = true;
        }
        let written = self.write_file(slot);
        if let Ok(key) = self.find(stream, &name) {
            if written.is_err() {
                self.uninstall(key, ErrorCode::STORAGE, "its definition could not be written");
            } else {
                self.seating.changed(key, self.now.mono);
                self.decide(|seats, _, _| seats.created(id, generation));
            }
        }
        if written.is_ok() {
            tracing::info!(code = "consumer_created", stream, consumer = name, from, "a consumer was made");
        }
        written
    }

    pub(super) fn on_delete(&mut self, session: SessionId, id: u64, stream: &str, name: &str) {
        match self.delete(stream, name, "the consumer was deleted") {
            Ok(()) => self.done(session, id),
            Err((code, detail)) => self.refuse(session, id, code, &detail),
        }
    }

    fn delete(&mut self, stream: &str, name: &str, why: &str) -> Result<(), Refused> {
        let key = self.find(stream, name)?;
        let slot = self.slot(stream)?;
        if let Some(sealed) = self.streams.get(&slot).and_then(|state| state.sealed.clone()) {
            return Err((ErrorCode::STORAGE, sealed));
        }
        self.uninstall(key, ErrorCode::CONSUMER_GONE, why);
        let stream_id = self.streams.get(&slot).map_or(0, |state| state.id);
        self.decide(|seats, _, stage| seats.deleted(&(stream_id, name.to_owned()), stage));
        let mut batch = Batch::default();
        batch.delete(Space::Positions, keep::key(stream_id, name));
        self.apply(batch);
        tracing::info!(code = "consumer_deleted", stream, consumer = name, why, "a consumer was deleted");
        // Not written, it would be there again after a restart.
        self.write_file(slot)
    }

    /// Nobody consumed for as long as the definition says.
    pub(super) fn expire(&mut self, key: Key) {
        let Some(entry) = self.entry(key) else { return };
        let (slot, name) = (entry.slot, entry.definition.name.clone());
        let Some(stream) = self.streams.get(&slot).map(|stream| stream.name.clone()) else { return };
        if let Err((_, why)) = self.delete(&stream, &name, "it had no member for too long") {
            tracing::error!(code = "consumers_failed", stream, consumer = name, why, "a consumer could not be deleted");
        }
    }

    pub(super) fn on_report(&mut self, session: SessionId, id: u64, stream: &str, name: &str) {
        let keys = if name.is_empty() {
            let state = self.slot(stream).map(|slot| self.streams.get(&slot));
            state.map(|state| state.into_iter().flat_map(|s| s.consumers.values().copied()).collect())
        } else {
            self.find(stream, name).map(|key| vec![key])
        };
        let keys: Vec<Key> = match keys {
            Ok(keys) => keys,
            Err((code, detail)) => return self.refuse(session, id, code, &detail),
        };
        let synced = self.names.get(stream).and_then(|slot| self.streams.get(slot)).map_or(0, |s| s.reader.synced());
        // Those that run at other homes, as they said last.
        let elsewhere = if name.is_empty() { self.elsewhere(stream, synced) } else { Vec::new() };
        let found = keys.iter().filter_map(|key| self.entries.get(key.place as usize).and_then(Option::as_ref));
        let own = self.identity.name.as_str();
        let mut reports: Vec<_> = found.map(|entry| (&entry.definition, entry.consumer.report(synced), own)).collect();
        reports.extend(elsewhere.iter().map(|(definition, report, seat)| (definition, report.clone(), seat.as_str())));
        let frames = reports.iter().map(|(definition, report, seat)| {
            let member = |m| member_report(m);
            frame::ConsumerReport {
                spec: definition.to_frame(),
                floor: report.floor,
                next: report.next,
                lag: report.lag,
                in_flight: report.in_flight,
                redelivered: report.counts.redelivered,
                dead: report.counts.dead,
                expired: report.counts.expired,
                members: report.members.iter().map(member).collect(),
                paused_until: report.paused_until.map_or(0, millis),
                seat,
            }
        });
        let mut bytes = Vec::new();
        let reports = frame::ConsumerReports { request: id, reports: frames.collect() };
        match frame::try_encode(&Frame::ConsumerReports(reports), &mut bytes) {
            Ok(()) => self.net.push(ToNet::Control { session, bytes }),
            Err(error) => {
                let detail = format!("{error}: ask for one consumer by its name");
                self.refuse(session, id, ErrorCode::LIMIT, &detail);
            }
        }
    }

    pub(super) fn on_control(&mut self, session: SessionId, id: u64, stream: &str, name: &str, action: Action) {
        if let Action::Move(home) = &action {
            return self.on_move(session, id, stream, name, home);
        }
        match self.control(stream, name, action) {
            Ok(()) => self.done(session, id),
            Err((code, detail)) => self.refuse(session, id, code, &detail),
        }
    }

    fn control(&mut self, stream: &str, name: &str, action: Action) -> Result<(), Refused> {
        let key = self.find(stream, name)?;
        let now = self.now;
        let Some(entry) = self.entry(key) else { return Ok(()) };
        match action {
            Action::Pause(until) => {
                let until = (until != 0).then(|| UnixNanos(until.saturating_mul(1_000_000)));
                entry.consumer.pause(until, now);
            }
            Action::Resume => entry.consumer.resume(now),
            Action::Reset(start) => {
                let from = begin(start, &mut entry.again.clone())?;
                let slot = entry.slot;
                let activated = entry.consumer.reset(from);
                let generation = entry.consumer.generation();
                if let Some(id) = self.id_of(key) {
                    self.decide(|seats, _, _| seats.renewed(&id, generation));
                }
                self.dead.forget(key);
                let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut) else {
                    return Ok(());
                };
                for told in activated {
                    entry.tell(told, &mut self.net);
                }
                tracing::info!(code = "consumer_reset", stream, consumer = name, from, "a consumer begins anew");
                self.touch(key);
                return self.write_file(slot);
            }
            // Answered when it is there.
            Action::Move(_) => {}
        }
        self.touch(key);
        Ok(())
    }

    pub(super) fn done(&mut self, session: SessionId, id: u64) {
        let mut bytes = Vec::new();
        frame::encode(&Frame::Done(frame::Done { request: id }), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    pub(super) fn refuse(&mut self, session: SessionId, id: u64, code: ErrorCode, detail: &str) {
        let mut bytes = Vec::new();
        let error = frame::ErrorFrame { request: id, code, retry_after_ms: 0, detail };
        frame::encode(&Frame::Error(error), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }
}

fn member_report(member: &weft_stream::consumer::MemberReport) -> frame::MemberReport<'_> {
    frame::MemberReport { name: &member.name, token: member.token, in_flight: member.in_flight }
}

/// A pause's end in milliseconds; the largest number: when it is resumed.
fn millis(until: UnixNanos) -> u64 {
    if until.0 == u64::MAX { u64::MAX } else { until.0 / 1_000_000 }
}

/// The sequence at which a consumer begins.
fn begin(start: Begin, log: &mut weft_log::LogReader) -> Result<u64, Refused> {
    let (first, next) = (log.first(), log.next());
    match start {
        Begin::New => Ok(next),
        Begin::First => Ok(first),
        Begin::Last => Ok(next.saturating_sub(1).max(first)),
        Begin::Sequence(sequence) if sequence > next => {
            let detail = format!("sequence {sequence} is not in the stream yet, which has {first} to {next}");
            Err((ErrorCode::OUT_OF_RANGE, detail))
        }
        Begin::Sequence(sequence) => Ok(sequence.max(first)),
        Begin::Time(time) => Ok(log.seek_time(UnixNanos(time))),
    }
}
