//! Those who publish, consume and read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_base::{ProducerId, UnixNanos};
use weft_stream::replica::Position;
use weft_wire::block::{BlockFields, BlockWriter, EventFields};

use super::world::Item;
use super::{Level, Name};

/// Keys of events.
const KEYS: u64 = 7;

/// A publish that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) first: u64,
    pub(super) level: Level,
    pub(super) bytes: Vec<u8>,
    /// When it was sent last.
    pub(super) sent_ms: u64,
}

/// Publishes until it has published so many events.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) id: u64,
    /// At which home's place it is.
    pub(super) site: usize,
    pub(super) session: Option<u64>,
    pub(super) outstanding: VecDeque<Publication>,
    pub(super) todo: u64,
    next: u64,
}

impl Producer {
    pub(super) fn new(id: u64, site: usize, todo: u64) -> Self {
        Self { id, site, session: None, outstanding: VecDeque::new(), todo, next: 1 }
    }

    /// A new block of so many events at most.
    pub(super) fn write(&mut self, events: u64, level: Level, time: UnixNanos) -> u64 {
        let events = events.min(self.todo);
        let mut fields = BlockFields::new(if self.id.is_multiple_of(2) { "s/even" } else { "s/odd" });
        fields.producer = ProducerId(self.id);
        fields.first_sequence = self.next;
        let mut bytes = vec![0; 256 + 64 * events as usize];
        let Ok(mut writer) = BlockWriter::new(&mut bytes, &fields) else { return 0 };
        for number in self.next..self.next + events {
            let payload = [self.id.to_le_bytes(), number.to_le_bytes()].concat();
            let key = format!("k{}", (self.id * 3 + number) % KEYS);
            let event = EventFields { time, key: key.as_bytes(), headers: &[], payload: &payload };
            if writer.push(&event).is_err() {
                return 0;
            }
        }
        let Ok(len) = writer.finish() else { return 0 };
        bytes.truncate(len);
        self.outstanding.push_back(Publication { first: self.next, level, bytes, sent_ms: 0 });
        self.next += events;
        self.todo -= events;
        events
    }

    pub(super) fn is_done(&self) -> bool {
        self.todo == 0 && self.outstanding.is_empty()
    }
}

/// A member of a consumer.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) consumer: usize,
    pub(super) site: usize,
    pub(super) session: Option<u64>,
    pub(super) token: u64,
    /// What it was handed last in an earlier session, and under which token.
    pub(super) had: Option<(u64, Vec<Item>)>,
}

/// Reads the whole stream now and then, from one home or another.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    pub(super) site: usize,
    /// What it has seen.
    pub(super) position: Position,
    pub(super) seen: BTreeSet<Name>,
    /// In the order of the one home, for streams with one.
    pub(super) order: Vec<Name>,
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Producer(usize),
    Member(usize),
}

/// A connection between a client and a home: keeps the order, until it breaks.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) site: usize,
    pub(super) home: usize,
    pub(super) epoch: u32,
    pub(super) is_open: bool,
    /// When the last message arrives, up and down.
    pub(super) last: [u64; 2],
}

/// All sessions that there were.
pub(super) type Sessions = BTreeMap<u64, Session>;
