//! Taking blocks in: what the streams of this hub append, and what they refuse.
//!
//! Most blocks ask for nothing and are appended as they come. Those that do,
//! by the flags of [`SPECIAL`], go to one stream of this hub alone, and are
//! handed back to the route stage for live subscribers once the stream has them:
//! what a condition refuses is seen by nobody.

use std::time::Duration;

use weft_log::AppendError;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_stream::intake::{Asked, BatchPart, Place, Put, SPECIAL};
use weft_wire::block::Block;
use weft_wire::block::layout::CONDITIONAL;
use weft_wire::frame::{ErrorCode, LastValues};

use super::commit::Places;
use super::{AppendStage, Stream};
use crate::messages::{Completion, Named, Request, StreamSlot, ToConductor, ToNet};
use crate::see::account::Waits;

/// Why a stream does not take a block.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) reason: DropReason,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn of(stream: &str, error: &AppendError) -> Self {
        let detail = format!("stream `{stream}`: {error}");
        Self { code: code_of(error), reason: DropReason::StreamRefused, detail }
    }
}

/// A block of an atomic batch that is not whole yet.
pub(super) struct Part {
    block: BlockRef,
    completion: Completion,
}

/// Where a block stands in a stream.
pub(super) struct Stands {
    /// The local sequence after it.
    pub(super) upto: u64,
    pub(super) named: Option<Named>,
    pub(super) duplicate: bool,
}

impl AppendStage {
    /// Appends a block to its streams; the completion is owed once all have it
    /// at the level asked, or refused as soon as one has not.
    /// `spooled`: it waited on disk where it entered the mesh.
    pub(super) fn append(&mut self, slots: &[StreamSlot], block: &BlockRef, completion: Completion, spooled: bool) {
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let counters = self.counters.clone();
        let account = counters.account(block);
        // Before what becomes of them: what asks for something may wait here once more.
        account.leave(Waits::Append, events * slots.len() as u64);
        if self.commits.is_refused(completion) {
            return account.drop(DropReason::StreamRefused, events * slots.len() as u64);
        }
        let homes = Self::homes_request(completion);
        if let Some((code, detail)) = homes.and_then(|request| self.too_few_homes(slots, &request)) {
            account.drop(DropReason::StreamRefused, events * slots.len() as u64);
            return self.refuse(completion, code, detail);
        }
        if parsed.flags() & SPECIAL != 0 {
            return self.append_special(slots, block, completion);
        }
        let mut places = Places::default();
        let (mut refused, mut all_duplicate) = (None, true);
        for slot in slots {
            match self.take_in(*slot, block, spooled) {
                Ok(Some(stands)) => {
                    all_duplicate &= stands.duplicate;
                    places.push(*slot, stands.upto, stands.named);
                }
                Ok(None) => account.drop(DropReason::StreamRefused, events),
                Err(refusal) => {
                    account.drop(refusal.reason, events);
                    refused = Some(refusal);
                }
            }
        }
        match refused {
            Some(Refusal { code, detail, .. }) => self.refuse(completion, code, detail),
            // Nothing has it: an origin that took this hub for a home looks for another one.
            None if places.first().is_none() => {
                self.refuse(completion, ErrorCode::NO_STREAM, "no stream here takes it".to_owned());
            }
            None => {
                let completion = if all_duplicate { completion.duplicate() } else { completion };
                self.written(places, completion, events);
            }
        }
    }

    /// A block of so many events stands in its streams: whoever waits is answered
    /// at once, or queues.
    fn written(&mut self, places: Places, completion: Completion, events: u64) {
        match (Self::homes_request(completion), places.first()) {
            (Some(request), Some((slot, local))) => {
                self.wait_for_homes(slot, Request { place: places.named(), ..request }, local, events);
            }
            _ => self.commits.written(places, completion, &mut self.net),
        }
    }

    /// One stream takes a block, or has it; none when the stream is gone.
    fn take_in(&mut self, slot: StreamSlot, block: &BlockRef, spooled: bool) -> Result<Option<Stands>, Refusal> {
        let (now, home) = (self.now, self.home);
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return Ok(None) };
        let place = if spooled {
            let producers = self.options.limits.replica_producers;
            stream.copying.look_back(&stream.spec, &mut stream.reader, producers, true);
            match stream.copying.has_spooled(&parsed) {
                true => Place::Duplicate { named: None },
                // Where it is not known, it is taken rather than lost.
                false => Place::New,
            }
        } else {
            stream.place(parsed)
        };
        let stands = match place {
            Place::New => {
                let admitted = stream.admits(parsed);
                let appended = admitted.and_then(|()| {
                    stream.log.append(block, now).map_err(|error| Refusal::of(&stream.spec.name, &error))
                });
                let appended = appended.inspect_err(|_| stream.index.refused(parsed))?;
                stream.index.note(parsed, &appended, now);
                stream.copying.note(&parsed);
                let account = self.counters.account(block);
                account.stored(events);
                account.placed(stream.spec.id, home.0, appended.home_sequence);
                if let Some(stamp) = account.traced() {
                    self.traced.push(stamp, slot, appended.next);
                }
                let named = Named { home, sequence: appended.home_sequence };
                Stands { upto: appended.next, named: Some(named), duplicate: false }
            }
            Place::Duplicate { named } => {
                self.counters.account(block).drop(DropReason::Duplicate, events);
                stream.stands_already(named.map(|sequence| Named { home, sequence }))
            }
            Place::Overlap => return Err(stream.overlap()),
            Place::Unsure => return Err(stream.unsure()),
        };
        Ok(Some(stands))
    }

    /// A block that asks for something, for one stream.
    fn append_special(&mut self, slots: &[StreamSlot], block: &BlockRef, completion: Completion) {
        let home = self.home;
        let parsed = Block::trusted(block);
        let events = u64::from(parsed.event_count());
        let refused =
            |code, detail: &str| Refusal { code, reason: DropReason::StreamRefused, detail: detail.to_owned() };
        let stream = match slots {
            [slot] => self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut).map(|stream| (*slot, stream)),
            _ => None,
        };
        let Some((slot, stream)) = stream else {
            let copies = events * slots.len() as u64;
            self.counters.account(block).drop(DropReason::StreamRefused, copies);
            let (code, detail) = if slots.len() == 1 {
                (ErrorCode::NO_STREAM, "the stream was deleted")
            } else {
                (ErrorCode::BAD_CONDITION, "a block with a condition, a delay or a batch is for one stream alone")
            };
            return self.refuse(completion, code, detail.to_owned());
        };
        let Refusal { code, reason, detail } = match Asked::of(parsed) {
            Err(error) => refused(ErrorCode::BAD_CONDITION, &error.to_string()),
            Ok(asked) if asked.deliver_at.is_some() => return self.put_off(slot, block, &asked, completion),
            Ok(asked) => match stream.place(parsed) {
                Place::Overlap => stream.overlap(),
                Place::Unsure => stream.unsure(),
                Place::Duplicate { named } => {
                    self.counters.account(block).drop(DropReason::Duplicate, events);
                    let stands = stream.stands_already(named.map(|sequence| Named { home, sequence }));
                    let mut places = Places::default();
                    places.push(slot, stands.upto, stands.named);
                    return self.written(places, completion.duplicate(), events);
                }
                Place::New => {
                    let part = Part { block: block.clone(), completion };
                    match asked.batch {
                        None => return self.append_together(slot, vec![part]),
                        Some(batch) => return self.collect(slot, batch, part),
                    }
                }
            },
        };
        self.counters.account(block).drop(reason, events);
        self.refuse(completion, code, detail);
    }

    /// A block of an atomic batch has come.
    fn collect(&mut self, slot: StreamSlot, batch: BatchPart, part: Part) {
        let parsed = Block::trusted(&part.block);
        let (producer, len, events) = (parsed.producer(), part.block.len(), u64::from(parsed.event_count()));
        // It counts as on its way until the batch is whole.
        self.counters.account(&part.block).enter(Waits::Append, events);
        match self.batches.put(slot.0, producer, batch, len, part, self.now.mono) {
            Put::Waits => {}
            Put::Again(earlier) => {
                let detail = "the block came again: who sent it last is answered when the batch is whole";
                self.no_longer_wait(std::slice::from_ref(&earlier));
                let detail = detail.to_owned();
                self.refuse_all(
                    vec![earlier],
                    &Refusal { code: ErrorCode::OVERLAP, reason: DropReason::Duplicate, detail },
                );
            }
            Put::Whole(parts) => {
                self.no_longer_wait(&parts);
                self.append_together(slot, parts);
            }
            Put::Refused(parts, fault) => {
                self.note_refused(slot, &parts);
                self.refuse_parts(parts, ErrorCode::BAD_BATCH, &fault.to_string());
            }
        }
    }

    /// Blocks that were new are refused: they are not taken for what is there
    /// when they come again.
    fn note_refused(&mut self, slot: StreamSlot, parts: &[Part]) {
        let Some(stream) = self.stream(slot) else { return };
        parts.iter().for_each(|part| stream.index.refused(Block::trusted(&part.block)));
    }

    fn no_longer_wait(&self, parts: &[Part]) {
        for Part { block, .. } in parts {
            let events = u64::from(Block::trusted(block).event_count());
            self.counters.account(block).leave(Waits::Append, events);
        }
    }

    /// Blocks of a batch that will not be whole.
    pub(super) fn refuse_parts(&mut self, parts: Vec<Part>, code: ErrorCode, detail: &str) {
        self.no_longer_wait(&parts);
        self.refuse_all(parts, &Refusal { code, reason: DropReason::BadBatch, detail: detail.to_owned() });
    }

    fn refuse_all(&mut self, parts: Vec<Part>, refusal: &Refusal) {
        for Part { block, completion } in parts {
            let events = u64::from(Block::trusted(&block).event_count());
            self.counters.account(&block).drop(refusal.reason, events);
            self.refuse(completion, refusal.code, refusal.detail.clone());
        }
    }

    /// Appends blocks as one, if all that they ask for is so.
    fn append_together(&mut self, slot: StreamSlot, parts: Vec<Part>) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            let refusal = Refusal {
                code: ErrorCode::NO_STREAM,
                reason: DropReason::StreamRefused,
                detail: "the stream was deleted".to_owned(),
            };
            return self.refuse_all(parts, &refusal);
        };
        let checked = parts.iter().try_for_each(|part| {
            stream.admits(Block::trusted(&part.block))?;
            stream.meets(Block::trusted(&part.block))
        });
        let appended = checked.and_then(|()| {
            let blocks: Vec<&[u8]> = parts.iter().map(|part| &*part.block).collect();
            let appended = match blocks.as_slice() {
                [alone] => stream.log.append(alone, now),
                together => stream.log.append_batch(together, now),
            };
            appended.map_err(|error| Refusal::of(&stream.spec.name, &error))
        });
        let appended = match appended {
            Ok(appended) => appended,
            Err(refusal) => {
                self.note_refused(slot, &parts);
                return self.refuse_all(parts, &refusal);
            }
        };
        let (mut first, mut home_sequence) = (appended.first, appended.home_sequence);
        let id = stream.spec.id;
        for Part { block, completion } in parts {
            let parsed = Block::trusted(&block);
            let events = u64::from(parsed.event_count());
            let own = weft_log::Appended { first, next: first.saturating_add(events), home_sequence };
            if let Some(stream) = self.streams.get_mut(slot.0 as usize).and_then(Option::as_mut) {
                stream.index.note(parsed, &own, now);
                stream.copying.note(&parsed);
            }
            let account = self.counters.account(&block);
            account.stored(events);
            account.placed(id, self.home.0, home_sequence);
            if let Some(stamp) = account.traced() {
                self.traced.push(stamp, slot, own.next);
            }
            let named = Named { home: self.home, sequence: home_sequence };
            (first, home_sequence) = (own.next, home_sequence.saturating_add(events));
            let mut places = Places::default();
            // All of the batch must be on disk for one of its blocks to be.
            places.push(slot, appended.next, Some(named));
            self.written(places, completion, events);
            self.conductor.push(ToConductor::Release { block });
        }
    }

    /// Batches that took too long.
    pub(super) fn expire_batches(&mut self) {
        while let Some((parts, fault)) = self.batches.late(self.now.mono) {
            self.refuse_parts(parts, ErrorCode::BAD_BATCH, &fault.to_string());
        }
    }

    /// At most once a second: publishers go on trying on a full disk.
    fn tell_refused(&mut self, reason: &str) {
        if self.now.mono < self.next_refusal_told {
            self.refusals_untold += 1;
            return;
        }
        self.next_refusal_told = self.now.mono + Duration::from_secs(1);
        let others = std::mem::take(&mut self.refusals_untold);
        tracing::warn!(code = "append_refused", reason, others_before = others, "a block could not be stored");
    }

    /// The publish that a completion stands for cannot be stored.
    pub(super) fn refuse(&mut self, completion: Completion, code: ErrorCode, detail: String) {
        let retry_after_ms = if matches!(code, ErrorCode::DISK_FULL | ErrorCode::STORAGE) {
            self.tell_refused(&detail);
            1_000
        } else {
            // What its publisher can change is told to the publisher.
            tracing::debug!(code = "append_refused", reason = %detail, "a block was not taken");
            0
        };
        match completion {
            Completion::None => {}
            Completion::Client(request) => {
                self.net.push(ToNet::Refused { session: request.session, id: request.id, code, retry_after_ms, detail })
            }
            Completion::Flow { key, incarnation, .. } => self.commits.refuse(key, incarnation, code),
        }
    }
}

impl Stream {
    /// Where a block stands among what its producer sent before, here or, to be
    /// copied from there, at another home.
    fn place(&mut self, block: Block<'_>) -> Place {
        match self.index.place(block) {
            Place::New if self.copying.has(&block) => Place::Duplicate { named: None },
            place => place,
        }
    }

    /// Whether the stream takes a block of such size now.
    pub(super) fn admits(&self, block: Block<'_>) -> Result<(), Refusal> {
        if self.copying.is_behind_itself() {
            // A new event would get the name of one that the others have.
            let detail = format!("stream `{}` gets back from its other homes what entered here before", self.spec.name);
            return Err(Refusal { code: ErrorCode::BEHIND_ITSELF, reason: DropReason::StreamRefused, detail });
        }
        if let Some(tenant) = &self.over_quota {
            let whose = if tenant.is_empty() {
                "streams of no tenant have stored all they may (limits.tenant_stream_bytes)".to_owned()
            } else {
                format!("tenant `{tenant}` has stored all it may (its `storage_bytes`, or limits.tenant_stream_bytes)")
            };
            let detail = format!(
                "{whose}: stream `{}` takes nothing more until there is less, or more is allowed",
                self.spec.name
            );
            return Err(Refusal { code: ErrorCode::QUOTA, reason: DropReason::Quota, detail });
        }
        let most = self.spec.max_event as usize;
        if most > 0 {
            let size = |event: weft_wire::block::Event<'_>| {
                event.key.len() + event.headers.as_bytes().len() + event.payload.len()
            };
            if let Some(large) = block.events().map(size).find(|size| *size > most) {
                let name = &self.spec.name;
                let detail = format!("stream `{name}` takes events of at most {most} bytes, not {large}");
                return Err(Refusal { code: ErrorCode::TOO_LARGE, reason: DropReason::StreamRefused, detail });
            }
        }
        Ok(())
    }

    /// Whether what a block expects is so.
    fn meets(&mut self, block: Block<'_>) -> Result<(), Refusal> {
        if block.flags() & CONDITIONAL == 0 {
            return Ok(());
        }
        let refusal = |code, reason, detail| Refusal { code, reason, detail };
        let asked = Asked::of(block)
            .map_err(|e| refusal(ErrorCode::BAD_CONDITION, DropReason::StreamRefused, e.to_string()))?;
        let name = &self.spec.name;
        if let Some(expected) = asked.expect_last {
            let actual = self.log.next().saturating_sub(1);
            if actual != expected {
                let detail = format!("the last sequence of stream `{name}` is {actual}, not {expected}");
                return Err(refusal(ErrorCode::WRONG_LAST, DropReason::WrongLast, detail));
            }
        }
        if let Some(expected) = asked.expect_key {
            if self.index.mode() != LastValues::Key {
                let detail = format!("stream `{name}` keeps no last values by key: alter it to `last = key`");
                return Err(refusal(ErrorCode::NO_LAST_VALUES, DropReason::StreamRefused, detail));
            }
            let key = block.events().next().map_or(&[][..], |event| event.key);
            let actual = self
                .index
                .last_sequence(block.topic(), key)
                .map_err(|error| refusal(ErrorCode::STORAGE, DropReason::StreamRefused, error.to_string()))?;
            if actual != expected {
                let topic = block.topic();
                let detail = format!("the last sequence of this key of `{topic}` is {actual}, not {expected}");
                return Err(refusal(ErrorCode::WRONG_LAST, DropReason::WrongLast, detail));
            }
        }
        Ok(())
    }

    /// The place of a block that was there before. It may still wait for its
    /// sync: all that is there by now covers it.
    fn stands_already(&self, named: Option<Named>) -> Stands {
        Stands { upto: self.log.next(), named, duplicate: true }
    }

    pub(super) fn unsure(&self) -> Refusal {
        let detail = format!(
            "stream `{}` cannot tell whether it has the block: too many that came after it were refused since; look \
             whether it is there before it is published under another number",
            self.spec.name
        );
        Refusal { code: ErrorCode::OVERLAP, reason: DropReason::StreamRefused, detail }
    }

    pub(super) fn overlap(&self) -> Refusal {
        let detail = format!("stream `{}` has a part of the block already", self.spec.name);
        Refusal { code: ErrorCode::OVERLAP, reason: DropReason::Duplicate, detail }
    }
}

/// What a client is told when an append fails.
fn code_of(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::DiskFull { .. } => ErrorCode::DISK_FULL,
        AppendError::TooLarge { .. } => ErrorCode::TOO_LARGE,
        AppendError::BadBatch { .. } | AppendError::BatchTooLarge { .. } => ErrorCode::BAD_BATCH,
        _ => ErrorCode::STORAGE,
    }
}
