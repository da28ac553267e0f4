//! Dead letters: events that a consumer gives up, each as a block of its own
//! in a stream beside the consumer's, with what it was and why it is there.
//!
//! An event is settled once its letter is synced; a crash before that writes
//! the letter again, never loses the event. At most [`UNDER_WAY`] letters wait
//! for the disk; further ones wait in the decider, whose in-flight limit bounds
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_base::{Mono, ProducerId, UnixNanos};
use weft_log::LogBlock;
use weft_ring::arena::BlockRef;
use weft_stream::consumer::DeadLetter;
use weft_wire::HeadersWriter;
use weft_wire::block::{self, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::headers::names;

use super::entry::Key;
use super::{ConsumeStage, Entry};
use crate::counters::add;
use crate::messages::{Internal, ToAppend};

/// Letters on their way to the disk at once.
const UNDER_WAY: usize = 256;
/// Letters written in one turn.
const BATCH: usize = 32;
/// What could not be stored is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// The flags of the format are about how a block entered its stream: they are
/// not the letter's.
const USERS_FLAGS: u32 = 0x00ff_ffff;

/// What is to be stored.
#[derive(Default)]
pub(super) struct Dead {
    waiting: VecDeque<(Key, DeadLetter)>,
    /// By ticket.
    stored: BTreeMap<u64, (Key, DeadLetter)>,
    ticket: u64,
    /// Not before this, after a failure.
    retry: Option<Mono>,
}

impl Dead {
    /// Takes what a decider gives up.
    pub(super) fn add(&mut self, key: Key, letters: &mut Vec<DeadLetter>) {
        self.waiting.extend(letters.drain(..).map(|letter| (key, letter)));
    }

    /// A consumer is gone: nobody needs its letters.
    pub(super) fn forget(&mut self, key: Key) {
        self.waiting.retain(|(of, _)| *of != key);
        self.stored.retain(|_, (of, _)| *of != key);
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        if self.waiting.is_empty() { None } else { self.retry }
    }
}

/// Why a letter is not written now.
enum Unwritten {
    /// There is no memory for it at present.
    Memory,
    /// The event cannot be read, and never will be.
    Lost(String),
}

impl ConsumeStage {
    /// Writes letters that wait.
    pub(super) fn bury(&mut self) -> usize {
        if self.dead.waiting.is_empty() || self.dead.retry.is_some_and(|retry| retry > self.now.mono) {
            return 0;
        }
        self.dead.retry = None;
        let mut work = 0;
        while work < BATCH && self.dead.stored.len() < UNDER_WAY && self.append.has_room(1) {
            let Some((key, letter)) = self.dead.waiting.pop_front() else { break };
            work += 1;
            let Some(mut entry) = self.take(key) else { continue };
            let written = self.write_letter(&mut entry, &letter);
            let stream = entry.definition.dead_stream.clone();
            let source = self.streams.get(&entry.slot).map_or_else(String::new, |stream| stream.name.clone());
            match written {
                Ok(block) => {
                    self.dead.ticket += 1;
                    let ticket = self.dead.ticket;
                    self.append.push(ToAppend::Internal(Internal { stream, source, block, ticket }));
                    if letter.count > 1 {
                        let rest = DeadLetter { first: letter.first + 1, count: letter.count - 1, ..letter.clone() };
                        self.dead.waiting.push_front((key, rest));
                    }
                    self.dead.stored.insert(ticket, (key, DeadLetter { count: 1, ..letter }));
                }
                Err(Unwritten::Memory) => {
                    self.dead.retry = Some(self.now.mono + Duration::from_millis(20));
                    self.dead.waiting.push_front((key, letter));
                }
                Err(Unwritten::Lost(why)) => {
                    add(&self.counters.consumer_dead_lost, 1);
                    let (consumer, sequence) = (entry.definition.name.as_str(), letter.first);
                    tracing::error!(code = "dead_letter_lost", consumer, sequence, why, "a dead letter has no event");
                    entry.consumer.dead_lettered(letter.first, 1);
                    if letter.count > 1 {
                        let rest = DeadLetter { first: letter.first + 1, count: letter.count - 1, ..letter };
                        self.dead.waiting.push_front((key, rest));
                    }
                }
            }
            let lost_room = self.dead.retry.is_some();
            self.entries[key.place as usize] = Some(entry);
            self.touch(key);
            if lost_room {
                break;
            }
        }
        work
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        self.entries.get_mut(key.place as usize)?.take_if(|entry| entry.serial == key.serial)
    }

    /// The append stage has a letter on disk, or refuses it.
    pub(super) fn on_stored(&mut self, ticket: u64, refused: Option<String>) {
        let Some((key, letter)) = self.dead.stored.remove(&ticket) else { return };
        if let Some(why) = refused {
            add(&self.counters.consumer_dead_refused, 1);
            tracing::error!(code = "dead_letter_refused", why, "a dead letter could not be stored; it is tried again");
            self.dead.retry = Some(self.now.mono + RETRY);
            return self.dead.waiting.push_back((key, letter));
        }
        if let Some(entry) = self.entry(key) {
            entry.consumer.dead_lettered(letter.first, letter.count);
        }
        self.touch(key);
    }

    /// The block of a letter's first event.
    fn write_letter(&mut self, entry: &mut Entry, letter: &DeadLetter) -> Result<BlockRef, Unwritten> {
        let found = Self::block_of(entry, letter.first).map_err(|error| Unwritten::Lost(error.to_string()))?;
        let stream = self.streams.get(&entry.slot).map_or("", |stream| stream.name.as_str());
        let consumer = entry.definition.name.as_str();
        let texts = Texts { stream, consumer, letter };
        let block =
            encode(&found, &texts, (self.identity.id, self.identity.epoch), self.now.wall).map_err(Unwritten::Lost)?;
        self.arena.copy_of(&block).ok_or(Unwritten::Memory)
    }
}

/// What a letter says of itself.
struct Texts<'a> {
    stream: &'a str,
    consumer: &'a str,
    letter: &'a DeadLetter,
}

impl Texts<'_> {
    fn write(&self, topic: &str, out: &mut HeadersWriter<'_>) -> Result<(), weft_wire::headers::HeaderError> {
        let DeadLetter { first, attempts, reason, .. } = self.letter;
        out.push(names::DEAD_REASON, reason.text().as_bytes())?;
        out.push(names::DEAD_STREAM, self.stream.as_bytes())?;
        out.push(names::DEAD_CONSUMER, self.consumer.as_bytes())?;
        out.push(names::DEAD_ATTEMPTS, attempts.to_string().as_bytes())?;
        out.push(names::DEAD_SEQUENCE, first.to_string().as_bytes())?;
        out.push(names::DEAD_TOPIC, topic.as_bytes())
    }
}

/// The event as a block of its own: its topic, key, headers and payload, and
/// why it is here. Headers that would be too long with the reason are left out.
fn encode(
    found: &LogBlock,
    texts: &Texts<'_>,
    (hub, epoch): (weft_base::HubId, weft_base::Epoch),
    now: UnixNanos,
) -> Result<Vec<u8>, String> {
    let source = found.block();
    let place = usize::try_from(texts.letter.first.saturating_sub(found.first())).unwrap_or(usize::MAX);
    let Some(event) = source.events().nth(place) else { return Err("the block has no such event".to_owned()) };
    let mut headers = Vec::new();
    let with_own = event
        .headers
        .iter()
        .try_fold(HeadersWriter::new(&mut headers), |mut out, (name, value)| out.push(name, value).map(|()| out));
    let fits = with_own.and_then(|mut out| texts.write(source.topic(), &mut out));
    if fits.is_err() {
        headers.clear();
        let mut out = HeadersWriter::new(&mut headers);
        texts.write(source.topic(), &mut out).map_err(|error| error.to_string())?;
    }
    let fields = BlockFields {
        topic: source.topic(),
        lane: source.lane(),
        flags: source.flags() & USERS_FLAGS,
        schema: source.schema(),
        producer: ProducerId(0),
        first_sequence: 0,
        deadline: UnixNanos(0),
        tenant: source.tenant(),
    };
    let fields_of = EventFields { time: event.time, key: event.key, headers: &headers, payload: event.payload };
    let sizes = [(event.key.len(), headers.len(), event.payload.len())];
    let mut bytes = vec![0; block::block_len(source.topic().len(), sizes.into_iter())];
    let mut writer = BlockWriter::new(&mut bytes, &fields).map_err(|error| error.to_string())?;
    writer.push(&fields_of).map_err(|error| error.to_string())?;
    let len = writer.finish().map_err(|error| error.to_string())?;
    bytes.truncate(len);
    // Where and when it came from stays; when it entered is when it died, so
    // that the stream keeps it from now on.
    let was = source.stamp();
    let stamp = Stamp {
        origin: was.map_or(hub, |stamp| stamp.origin),
        epoch: was.map_or(epoch, |stamp| stamp.epoch),
        block: was.map_or(1, |stamp| stamp.block),
        sequence: was.map_or(1, |stamp| stamp.sequence.saturating_add(place as u64)),
        ingested: now,
    };
    block::stamp(&mut bytes, &stamp).map_err(|error| error.to_string())?;
    Ok(bytes)
}
