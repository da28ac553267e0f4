//! Dead letters: events that a consumer gives up, each as a block of its own
//! in a stream beside the consumer's, with what it was and why it is there.
//!
//! An event is settled once its letter is synced; a crash before that writes
//! the letter again, never loses the event. At most [`UNDER_WAY`] letters wait
//! for the disk; further ones wait in the decider, whose in-flight limit bounds
//! them. Consumers take turns; one whose letters cannot be stored or read now
//! tries with one letter, later and later, and holds up nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use weft_base::{Mono, ProducerId, UnixNanos};
use weft_log::{LogBlock, ReadError};
use weft_ring::arena::BlockRef;
use weft_stream::consumer::DeadLetter;
use weft_wire::HeadersWriter;
use weft_wire::block::{self, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::headers::{HeaderError, names};

use super::entry::Key;
use super::{ConsumeStage, Entry};
use crate::counters::add;
use crate::messages::{Author, Internal, ToAppend};

/// Letters on their way to the disk at once.
const UNDER_WAY: usize = 256;
/// Letters written in one turn.
const BATCH: usize = 32;
/// What failed is tried again after this, and then after twice as long each time.
const RETRY: Duration = Duration::from_secs(1);
/// How often that time is doubled at most.
const DOUBLED: u32 = 5;
/// Without memory it is tried again after this.
const NO_MEMORY: Duration = Duration::from_millis(20);
/// The flags of the format are about how a block entered its stream: they are
/// not the letter's.
const USERS_FLAGS: u32 = 0x00ff_ffff;
/// What is left out of a letter that would be too large, tried in this order.
const LEFT_OUT: [&str; 5] = ["", "headers", "payload", "payload headers", "payload headers key"];

/// The letters of one consumer.
#[derive(Default)]
struct Queue {
    letters: VecDeque<DeadLetter>,
    /// On their way to the disk.
    under_way: usize,
    /// Not before this, after a failure.
    retry: Option<Mono>,
    /// Failures since the last letter that was stored.
    failures: u32,
}

impl Queue {
    /// Whether a letter may go now. After a failure one at a time does.
    fn may_go(&self, now: Mono) -> bool {
        let one = self.failures == 0 || self.under_way == 0;
        one && !self.letters.is_empty() && self.retry.is_none_or(|retry| retry <= now)
    }

    fn failed(&mut self, now: Mono) {
        self.retry = Some(now + RETRY * (1 << self.failures.min(DOUBLED)));
        self.failures = self.failures.saturating_add(1);
    }
}

/// What is to be stored.
#[derive(Default)]
pub(super) struct Dead {
    queues: BTreeMap<Key, Queue>,
    /// Whose turn it was.
    last: Option<Key>,
    /// By ticket.
    stored: BTreeMap<u64, (Key, DeadLetter)>,
    ticket: u64,
}

impl Dead {
    /// Takes what a decider gives up.
    pub(super) fn add(&mut self, key: Key, letters: &mut Vec<DeadLetter>) {
        if !letters.is_empty() {
            self.queues.entry(key).or_default().letters.extend(letters.drain(..));
        }
    }

    /// A consumer is gone: nobody needs its letters.
    pub(super) fn forget(&mut self, key: Key) {
        self.queues.remove(&key);
        self.stored.retain(|_, (of, _)| *of != key);
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.queues.values().filter(|queue| !queue.letters.is_empty()).filter_map(|queue| queue.retry).min()
    }

    /// Those whose time has come need not wait any more.
    fn wake(&mut self, now: Mono) {
        for queue in self.queues.values_mut() {
            queue.retry = queue.retry.filter(|retry| *retry > now);
        }
    }

    /// The next letter, of one event: each consumer in turn.
    fn next(&mut self, now: Mono) -> Option<(Key, DeadLetter)> {
        if self.stored.len() >= UNDER_WAY {
            return None;
        }
        let after = self.last.map_or(Unbounded, Excluded);
        let behind = self.queues.range((after, Unbounded)).chain(self.queues.iter());
        let key = behind.into_iter().find(|(_, queue)| queue.may_go(now)).map(|(key, _)| *key)?;
        self.last = Some(key);
        let queue = self.queues.get_mut(&key)?;
        let letter = queue.letters.pop_front()?;
        if letter.count > 1 {
            queue.letters.push_front(DeadLetter { first: letter.first + 1, count: letter.count - 1, ..letter.clone() });
        }
        let letter = DeadLetter { count: 1, ..letter };
        Some((key, letter))
    }

    /// A letter is on its way to the disk.
    fn sent(&mut self, key: Key, letter: DeadLetter) -> u64 {
        self.ticket += 1;
        self.stored.insert(self.ticket, (key, letter));
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.under_way += 1;
        }
        self.ticket
    }

    /// A letter is stored, or is not: whose it was.
    fn answered(&mut self, ticket: u64) -> Option<(Key, DeadLetter)> {
        let (key, letter) = self.stored.remove(&ticket)?;
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.under_way = queue.under_way.saturating_sub(1);
        }
        Some((key, letter))
    }

    /// A letter is tried again: later, and the later the oftener it failed.
    fn again(&mut self, key: Key, letter: DeadLetter, now: Mono) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.letters.push_front(letter);
            // Letters that were under way together fail together.
            if queue.retry.is_none_or(|retry| retry <= now) {
                queue.failed(now);
            }
        }
    }

    /// There was no memory for a letter.
    fn wait(&mut self, key: Key, letter: DeadLetter, now: Mono) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.letters.push_front(letter);
            queue.retry = Some(now + NO_MEMORY);
        }
    }

    /// A letter of this consumer is done with.
    fn done(&mut self, key: Key) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.failures = 0;
            queue.retry = None;
            if queue.letters.is_empty() && queue.under_way == 0 {
                self.queues.remove(&key);
            }
        }
    }
}

/// Why a letter is not written now.
enum Unwritten {
    /// There is no memory for it at present.
    Memory,
    /// The event cannot be read at present.
    Later(String),
    /// The event cannot be read, and never will be.
    Lost(String),
}

impl From<ReadError> for Unwritten {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone { .. } | ReadError::Damaged { .. } => Self::Lost(error.to_string()),
            // The disk may recover.
            _ => Self::Later(error.to_string()),
        }
    }
}

impl ConsumeStage {
    /// Writes letters that wait.
    pub(super) fn bury(&mut self) -> usize {
        let now = self.now.mono;
        self.dead.wake(now);
        let mut work = 0;
        while work < BATCH && self.append.has_room(1) {
            let Some((key, letter)) = self.dead.next(now) else { break };
            work += 1;
            let Some(mut entry) = self.take(key) else { continue };
            let written = self.write_letter(&mut entry, &letter);
            let stream = entry.definition.dead_stream.clone();
            let source = self.streams.get(&entry.slot).map_or_else(String::new, |stream| stream.name.clone());
            let (consumer, sequence) = (entry.definition.name.as_str(), letter.first);
            match written {
                Ok(block) => {
                    let ticket = self.dead.sent(key, letter);
                    let author = Author::Consumer;
                    self.append.push(ToAppend::Internal(Internal { stream, source, block, ticket, author }));
                }
                Err(Unwritten::Memory) => self.dead.wait(key, letter, now),
                Err(Unwritten::Later(why)) => {
                    tracing::error!(code = "dead_letter_unread", consumer, sequence, why, "it is tried again");
                    self.dead.again(key, letter, now);
                }
                Err(Unwritten::Lost(why)) => {
                    add(&self.counters.consumer_dead_lost, 1);
                    tracing::error!(code = "dead_letter_lost", consumer, sequence, why, "a dead letter has no event");
                    entry.consumer.dead_lettered(letter.first, 1);
                    self.dead.done(key);
                }
            }
            self.entries[key.place as usize] = Some(entry);
            self.touch(key);
        }
        work
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        self.entries.get_mut(key.place as usize)?.take_if(|entry| entry.serial == key.serial)
    }

    /// The append stage has a letter on disk, or refuses it.
    pub(super) fn on_stored(&mut self, ticket: u64, refused: Option<String>) {
        let Some((key, letter)) = self.dead.answered(ticket) else { return };
        if let Some(why) = refused {
            add(&self.counters.consumer_dead_refused, 1);
            let consumer = self.entry(key).map_or("", |entry| entry.definition.name.as_str());
            tracing::error!(code = "dead_letter_refused", consumer, why, "it could not be stored; it is tried again");
            return self.dead.again(key, letter, self.now.mono);
        }
        self.dead.done(key);
        if let Some(entry) = self.entry(key) {
            entry.consumer.dead_lettered(letter.first, letter.count);
        }
        self.touch(key);
    }

    /// The block of a letter's first event.
    fn write_letter(&mut self, entry: &mut Entry, letter: &DeadLetter) -> Result<BlockRef, Unwritten> {
        let found = Self::block_of(entry, letter.first)?;
        let stream = self.streams.get(&entry.slot).map_or("", |stream| stream.name.as_str());
        let consumer = entry.definition.name.as_str();
        let texts = Texts { stream, consumer, letter };
        let most = self.options.limits.frame.as_usize();
        let by = (self.identity.id, self.identity.epoch);
        let block = encode(&found, &texts, most, by, self.now.wall).map_err(Unwritten::Lost)?;
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
    fn write(&self, topic: &str, left_out: &str, out: &mut HeadersWriter<'_>) -> Result<(), HeaderError> {
        let DeadLetter { first, attempts, reason, .. } = self.letter;
        out.push(names::DEAD_REASON, reason.text().as_bytes())?;
        out.push(names::DEAD_STREAM, self.stream.as_bytes())?;
        out.push(names::DEAD_CONSUMER, self.consumer.as_bytes())?;
        out.push(names::DEAD_ATTEMPTS, attempts.to_string().as_bytes())?;
        out.push(names::DEAD_SEQUENCE, first.to_string().as_bytes())?;
        out.push(names::DEAD_TOPIC, topic.as_bytes())?;
        if left_out.is_empty() { Ok(()) } else { out.push(names::DEAD_LEFT_OUT, left_out.as_bytes()) }
    }
}

/// The event as a block of its own: its topic, key, headers and payload, and
/// why it is here. What makes it larger than `most` bytes is left out, and said.
fn encode(
    found: &LogBlock,
    texts: &Texts<'_>,
    most: usize,
    (hub, epoch): (weft_base::HubId, weft_base::Epoch),
    now: UnixNanos,
) -> Result<Vec<u8>, String> {
    let source = found.block();
    let place = usize::try_from(texts.letter.first.saturating_sub(found.first())).unwrap_or(usize::MAX);
    let Some(event) = source.events().nth(place) else { return Err("the block has no such event".to_owned()) };
    let mut headers = Vec::new();
    let mut fit = None;
    for left_out in LEFT_OUT {
        let kept = |part: &str| !left_out.split(' ').any(|out| out == part);
        let (payload, key) =
            (if kept("payload") { event.payload } else { &[] }, if kept("key") { event.key } else { &[] });
        headers.clear();
        let own = event.headers.iter().filter(|_| kept("headers"));
        let with_own = own
            .into_iter()
            .try_fold(HeadersWriter::new(&mut headers), |mut out, (name, value)| out.push(name, value).map(|()| out));
        if with_own.and_then(|mut out| texts.write(source.topic(), left_out, &mut out)).is_err() {
            continue;
        }
        let len = block::block_len(source.topic().len(), [(key.len(), headers.len(), payload.len())].into_iter());
        if len <= most {
            fit = Some((key, payload, len));
            break;
        }
    }
    let Some((key, payload, len)) = fit else { return Err(format!("no letter about it fits in {most} bytes")) };
    let fields = BlockFields {
        topic: source.topic(),
        lane: source.lane(),
        flags: source.flags() & USERS_FLAGS,
        schema: source.schema(),
        producer: ProducerId(0),
        first_sequence: 0,
        deadline: UnixNanos(0),
        tenant: source.tenant(),
        residency: source.residency(),
    };
    let fields_of = EventFields { time: event.time, key, headers: &headers, payload };
    let mut bytes = vec![0; len];
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

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stream::consumer::DeadReason;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    fn key(place: u32) -> Key {
        Key { place, serial: 1 }
    }

    fn with(letters: &[(u32, u32)]) -> Dead {
        let mut dead = Dead::default();
        for (place, count) in letters {
            let (reason, attempts) = (DeadReason::Terminated(String::new()), 1);
            dead.add(key(*place), &mut vec![DeadLetter { first: 1, count: *count, attempts, reason }]);
        }
        dead
    }

    #[test]
    fn a_consumer_whose_letters_fail_tries_one_later_and_later_and_holds_up_nobody() {
        let mut dead = with(&[(1, 3), (2, 1)]);
        let (of, letter) = dead.next(at(0)).expect("the first one's");
        assert_eq!((of, letter.first, letter.count), (key(1), 1, 1));
        let first = dead.sent(of, letter);
        let (other, letter) = dead.next(at(0)).expect("the second one's: they take turns");
        assert_eq!(other, key(2));
        let second = dead.sent(other, letter);
        let (of, letter) = dead.next(at(0)).expect("the first one's next");
        let third = dead.sent(of, letter);
        for ticket in [first, third] {
            let (of, letter) = dead.answered(ticket).expect("known");
            dead.again(of, letter, at(0));
        }
        assert_eq!(dead.next_deadline(), Some(at(1)), "what fails together counts once");
        assert!(dead.next(at(0)).is_none());
        assert_eq!(dead.answered(second).map(|(of, _)| of), Some(key(2)));
        dead.done(key(2));
        dead.add(key(2), &mut vec![with(&[(2, 1)]).next(at(0)).expect("one").1]);
        assert_eq!(dead.next(at(0)).map(|(of, _)| of), Some(key(2)), "the other one need not wait");
        // One at a time, and twice as late after each failure.
        let mut now = 1;
        for wait in [2, 4, 8, 16, 32, 32] {
            dead.wake(at(now));
            let (of, letter) = dead.next(at(now)).expect("its time has come");
            let ticket = dead.sent(of, letter);
            assert!(dead.next(at(now)).is_none(), "one goes first");
            let (of, letter) = dead.answered(ticket).expect("known");
            dead.again(of, letter, at(now));
            assert_eq!(dead.next_deadline(), Some(at(now + wait)));
            now += wait;
        }
        let (of, letter) = dead.next(at(now)).expect("again");
        let ticket = dead.sent(of, letter);
        assert!(dead.answered(ticket).is_some());
        dead.done(of);
        assert!(dead.next(at(now)).is_some() && dead.next(at(now)).is_some(), "once one is stored all go");
    }

    #[test]
    fn what_the_disk_cannot_read_now_is_not_lost() {
        let source = std::io::Error::other("input/output error");
        let error = ReadError::Io { segment: 1, offset: 64, source };
        assert!(matches!(Unwritten::from(error), Unwritten::Later(_)));
        assert!(matches!(Unwritten::from(ReadError::Gone { first: 9 }), Unwritten::Lost(_)));
    }
}
