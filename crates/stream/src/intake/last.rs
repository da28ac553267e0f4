//! Where the last event of each topic, or of each key of each topic, stands.
//!
//! Noted per block in memory, handed out to be saved from time to time. What is
//! saved may be forgotten here; what is not saved is kept, which is bounded by
//! what publishers may have unsynced. An event without payload is a tombstone:
//! it is noted, so that it takes the place of what was there, and not served.

use std::collections::HashMap;

use weft_wire::block::{Block, Event};
use weft_wire::frame::LastValues;

/// Bytes of a saved entry.
const SAVED: usize = 14;
/// The version of a saved entry.
const VERSION: u8 = 1;

/// Where a last event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// The local sequence of its block's first event.
    pub block: u64,
    /// Which event of the block.
    pub event: u32,
    /// Whether it has no payload.
    pub tombstone: bool,
}

impl Last {
    /// Its local sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.block.saturating_add(self.event.into())
    }

    /// As it is saved.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SAVED);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.block.to_le_bytes());
        bytes.extend_from_slice(&self.event.to_le_bytes());
        bytes.push(self.tombstone.into());
        bytes
    }

    /// What was saved; none of anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (event, rest) = rest.split_first_chunk()?;
        let [tombstone] = *rest else { return None };
        (*version == VERSION && tombstone <= 1).then(|| Self {
            block: u64::from_le_bytes(*block),
            event: u32::from_le_bytes(*event),
            tombstone: tombstone == 1,
        })
    }
}

/// The last events that were noted and not forgotten.
#[derive(Debug)]
pub struct LastTable {
    mode: LastValues,
    entries: HashMap<Box<[u8]>, Last>,
    limit: usize,
    saved: u64,
    captured: u64,
    /// Entries that were noted since they were last captured.
    dirty: usize,
    /// So many entries are there before some are forgotten.
    forget_at: usize,
    /// Kept between calls, so that nothing is allocated.
    key: Vec<u8>,
}

impl LastTable {
    /// A table of which all before the local sequence `saved` is saved, with
    /// room for so many saved entries.
    #[must_use]
    pub fn new(mode: LastValues, limit: usize, saved: u64) -> Self {
        let limit = limit.max(1);
        let (entries, key) = (HashMap::new(), Vec::new());
        Self { mode, entries, limit, saved, captured: saved, dirty: 0, forget_at: limit, key }
    }

    /// Which last values it has.
    #[must_use]
    pub fn mode(&self) -> LastValues {
        self.mode
    }

    /// Writes the key of a topic, and of an event's key where they are told
    /// apart, to `out`: the topic's length as a big-endian `u16`, the topic, the key.
    pub fn key(topic: &str, key: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(key);
    }

    /// The topic in a key; none in what is no key.
    #[must_use]
    pub fn topic_of(key: &[u8]) -> Option<&str> {
        let (len, rest) = key.split_first_chunk()?;
        std::str::from_utf8(rest.get(..usize::from(u16::from_be_bytes(*len)))?).ok()
    }

    /// Notes a block that was appended and begins at the local sequence `first`.
    pub fn note(&mut self, block: Block<'_>, first: u64) {
        match self.mode {
            LastValues::Off => {}
            LastValues::Topic => {
                let Some((event, tombstone)) = last_of(block) else { return };
                self.put(block.topic(), &[], Last { block: first, event, tombstone });
            }
            LastValues::Key => {
                for (number, event) in (0..).zip(block.events()) {
                    if block.is_compacted() && event.is_removed() {
                        continue;
                    }
                    let tombstone = event.payload.is_empty();
                    self.put(block.topic(), event.key, Last { block: first, event: number, tombstone });
                }
            }
        }
    }

    fn put(&mut self, topic: &str, key: &[u8], last: Last) {
        Self::key(topic, key, &mut self.key);
        if let Some(entry) = self.entries.get_mut(self.key.as_slice()) {
            self.dirty += usize::from(entry.sequence() < self.captured);
            *entry = last;
            return;
        }
        self.dirty += 1;
        if self.entries.len() >= self.forget_at {
            let saved = self.saved;
            self.entries.retain(|_, last| last.sequence() >= saved);
            // Looked through again once there are twice as many.
            self.forget_at = self.limit.max(self.entries.len() * 2);
        }
        self.entries.insert(self.key.as_slice().into(), last);
    }

    /// Where the last event of this key stands, if it is not forgotten.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Last> {
        self.entries.get(key).copied()
    }

    /// All that is not forgotten, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Last)> {
        self.entries.iter().map(|(key, last)| (&**key, *last))
    }

    /// Whether so much is not saved that it is time to.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.dirty >= self.limit.div_ceil(2)
    }

    /// Whether so much is not saved that it may not become more.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        self.dirty >= self.limit.saturating_mul(2)
    }

    /// All that was noted since the last call, to be saved once the log is on
    /// disk up to `upto`, the local sequence that is next.
    pub fn capture(&mut self, upto: u64, mut save: impl FnMut(&[u8], Last)) {
        for (key, last) in &self.entries {
            if last.sequence() >= self.captured {
                save(key, *last);
            }
        }
        self.captured = upto;
        self.dirty = 0;
    }

    /// What was captured up to here is saved.
    pub fn saved(&mut self, upto: u64) {
        self.saved = self.saved.max(upto);
    }

    /// What was captured could not be saved: it is captured again.
    pub fn not_saved(&mut self) {
        self.captured = self.saved;
    }
}

/// The last event that is in a block, and whether it is a tombstone; none when
/// compaction took out all.
fn last_of(block: Block<'_>) -> Option<(u32, bool)> {
    let is_there = |event: &Event<'_>| !(block.is_compacted() && event.is_removed());
    (0..)
        .zip(block.events())
        .filter(|(_, event)| is_there(event))
        .last()
        .map(|(at, event)| (at, event.payload.is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use weft_wire::block::{BlockFields, BlockWriter, EventFields};

    use super::*;

    fn block(topic: &str, events: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new(topic)).unwrap();
        for (key, payload) in events {
            writer.push(&EventFields { key, payload, ..EventFields::default() }).unwrap();
        }
        let len = writer.finish().unwrap();
        bytes.truncate(len);
        bytes
    }

    fn key(topic: &str, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        LastTable::key(topic, key, &mut out);
        out
    }

    fn note(table: &mut LastTable, topic: &str, events: &[(&[u8], &[u8])], first: u64) {
        let bytes = block(topic, events);
        table.note(Block::validate(&bytes).unwrap(), first);
    }

    #[test]
    fn the_last_event_of_a_topic_is_that_of_its_newest_block() {
        let mut table = LastTable::new(LastValues::Topic, 10, 1);
        note(&mut table, "a", &[(b"k", b"1"), (b"l", b"2")], 1);
        note(&mut table, "b", &[(b"k", b"3")], 3);
        note(&mut table, "a", &[(b"k", b"4"), (b"k", b"")], 4);
        assert_eq!(table.get(&key("a", b"")), Some(Last { block: 4, event: 1, tombstone: true }));
        assert_eq!(table.get(&key("b", b"")).unwrap().sequence(), 3);
        assert_eq!(table.get(&key("a", b"k")), None, "keys are not told apart");
    }

    #[test]
    fn keys_are_told_apart_where_the_stream_says_so() {
        let mut table = LastTable::new(LastValues::Key, 10, 1);
        note(&mut table, "a", &[(b"k", b"1"), (b"l", b""), (b"k", b"2")], 1);
        assert_eq!(table.get(&key("a", b"k")), Some(Last { block: 1, event: 2, tombstone: false }));
        assert_eq!(table.get(&key("a", b"l")), Some(Last { block: 1, event: 1, tombstone: true }));
        assert_eq!(LastTable::topic_of(&key("a/b", b"k")), Some("a/b"));
        assert_eq!(LastTable::topic_of(b"\0\x09short"), None);
        let mut off = LastTable::new(LastValues::Off, 10, 1);
        note(&mut off, "a", &[(b"k", b"1")], 1);
        assert_eq!(off.iter().count(), 0);
    }

    #[test]
    fn what_is_captured_is_new_and_what_is_saved_is_forgotten_first() {
        let mut table = LastTable::new(LastValues::Topic, 2, 1);
        note(&mut table, "a", &[(b"", b"1")], 1);
        note(&mut table, "b", &[(b"", b"1")], 2);
        let mut count = 0;
        table.capture(3, |_, _| count += 1);
        assert_eq!(count, 2);
        note(&mut table, "b", &[(b"", b"2")], 3);
        table.saved(3);
        note(&mut table, "c", &[(b"", b"1")], 4);
        assert_eq!((table.get(&key("a", b"")), table.get(&key("b", b"")).unwrap().block), (None, 3));
        count = 0;
        table.capture(5, |_, last| count += last.block);
        assert_eq!(count, 7, "b and c");
    }

    #[test]
    fn what_compaction_took_out_is_no_last_value() {
        let whole = block("a", &[(b"k", b"1"), (b"l", b"2"), (b"m", b"3")]);
        let mut compacted = Vec::new();
        weft_wire::block::compact(&Block::validate(&whole).unwrap(), |at, _| at == 1, &mut compacted);
        let compacted = Block::trusted(&compacted);
        let mut by_key = LastTable::new(LastValues::Key, 10, 1);
        by_key.note(compacted, 1);
        assert_eq!(by_key.iter().count(), 1);
        assert_eq!(by_key.get(&key("a", b"l")).unwrap().event, 1);
        let mut by_topic = LastTable::new(LastValues::Topic, 10, 1);
        by_topic.note(compacted, 1);
        assert_eq!(by_topic.get(&key("a", b"")), Some(Last { block: 1, event: 1, tombstone: false }));
    }

    #[test]
    fn an_entry_is_read_as_it_was_saved() {
        let last = Last { block: u64::MAX - 1, event: 7, tombstone: true };
        assert_eq!(Last::decode(&last.encode()), Some(last));
        assert_eq!(Last::decode(&last.encode()[1..]), None);
        assert_eq!(Last::decode(&[]), None);
    }
}
