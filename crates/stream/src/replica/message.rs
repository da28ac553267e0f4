//! What homes say to each other: bytes with bounds, safe whatever they are.
//!
//! ```text
//! all:     u8 kind │ u8 version │ u16 0 │ u32 0 │ u64 stream │ …
//! Fetch:   u64 asker │ u64 session │ u64 credit │ u8 all │ text name │ u16 n, n × u32 home │ position wanted
//!          │ position synced │ u16 n, n texts
//! Blocks:  u64 session │ position from │ position through │ position end
//!          │ u16 n, n × (u32 home, u64 from, u64 upto) lost │ zeros to 8 │ entries
//! Synced:  position synced
//! Want:    u64 asker │ u64 request │ text name │ position from │ position upto
//! Found:   u64 request │ u8 done │ position through │ zeros to 8 │ entries
//! position: u16 n │ n × (u32 home, u64 next)      text: u16 length │ UTF-8
//! entry:   u32 home │ u32 span │ u64 sequence │ u32 length │ u32 0 │ the block, zeros to 8
//! ```

use super::vector::{MAX_PLACES, Position};

const VERSION: u8 = 1;
const FETCH: u8 = 1;
const BLOCKS: u8 = 2;
const SYNCED: u8 = 3;
const WANT: u8 = 4;
const FOUND: u8 = 5;
/// The most filters in a request.
pub const MAX_FILTERS: usize = 64;
/// The longest text: a stream's name or a filter.
pub const MAX_TEXT: usize = 1_024;
/// The most ranges that one answer says are lost.
pub const MAX_LOST: usize = 64;
/// The bytes before an entry's block.
pub(super) const ENTRY_HEAD: usize = 24;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message between homes breaks at byte {at}: {what}; run the same version of weft at both")]
pub struct MessageError {
    /// Where.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Events that a home does not have any more, and that were not skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose they are.
    pub home: u32,
    /// The first of them.
    pub from: u64,
    /// The first behind them.
    pub upto: u64,
}

/// Asks for what another hub has of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch<'a> {
    /// The stream, or 0 with a name.
    pub stream: u64,
    /// The stream that asks, as its hub calls it: a mirror has an id of its own.
    pub asker: u64,
    /// A new one begins anew from `wanted`; the same one again adds credit.
    pub session: u64,
    /// How many bytes of entries may have been sent in this session, in all.
    pub credit: u64,
    /// Every home is wanted, also those that the asker does not know.
    pub all: bool,
    /// Otherwise these are.
    pub homes: Vec<u32>,
    /// The stream's name, for mirrors, which know no more of it.
    pub name: &'a str,
    /// What the asker has, or has been sent.
    pub wanted: Position,
    /// What is on the asker's disk.
    pub synced: Position,
    /// Only blocks of topics that one of these matches; none: all.
    pub filters: Vec<&'a str>,
}

/// Answers with a run of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks<'a> {
    /// The stream that asked.
    pub stream: u64,
    /// The request's.
    pub session: u64,
    /// Of the homes wanted: what precedes the run in the sender's log.
    pub from: Position,
    /// Of the homes wanted: what the run reaches.
    pub through: Position,
    /// What the sender has on disk, of every home, with what it skipped.
    pub end: Position,
    /// What is not in the run though the sender once had it.
    pub lost: Vec<Lost>,
    /// The entries' bytes; [`Entries`] walks them.
    pub entries: &'a [u8],
}

/// Asks for events by their names, to repair what is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want<'a> {
    /// The stream, or 0 with a name.
    pub stream: u64,
    /// The stream that asks, as its hub calls it.
    pub asker: u64,
    /// Named in the answer.
    pub request: u64,
    /// The stream's name, for mirrors, which know no more of it.
    pub name: &'a str,
    /// From here on,
    pub from: Position,
    /// up to here, of the homes that this names.
    pub upto: Position,
}

/// Answers with those of them that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBlocks<'a> {
    /// The stream that asked.
    pub stream: u64,
    /// The request's.
    pub request: u64,
    /// There are no more.
    pub done: bool,
    /// How far was looked: to be asked from there on.
    pub through: Position,
    /// The entries' bytes; [`Entries`] walks them.
    pub entries: &'a [u8],
}

/// A message between homes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A request, or more credit for one.
    Fetch(Fetch<'a>),
    /// A part of the answer.
    Blocks(Blocks<'a>),
    /// What is on the sender's disk.
    Synced {
        /// The stream.
        stream: u64,
        /// How far.
        synced: Position,
    },
    /// A question for some events.
    Want(Want<'a>),
    /// They.
    Found(FoundBlocks<'a>),
}

impl Message<'_> {
    /// The stream it is about, 0 when it is named.
    #[must_use]
    pub fn stream(&self) -> u64 {
        match self {
            Message::Fetch(fetch) => fetch.stream,
            Message::Blocks(blocks) => blocks.stream,
            Message::Synced { stream, .. } => *stream,
            Message::Want(want) => want.stream,
            Message::Found(found) => found.stream,
        }
    }
}

/// One block of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it entered the stream.
    pub home: u32,
    /// How many of that home's sequences it covers.
    pub span: u32,
    /// The first of them.
    pub sequence: u64,
    /// Where the block begins in the entries' bytes.
    pub at: usize,
    /// The block.
    pub bytes: &'a [u8],
}

/// Walks the entries of an answer; ends at the first that makes no sense.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// Over the entries' bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all bytes have been walked.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let head: &[u8; ENTRY_HEAD] = self.bytes.get(self.at..)?.first_chunk()?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head.get(at + i).copied().unwrap_or(0)));
        let (home, span, length) = (word(0), word(4), word(16) as usize);
        let sequence = u64::from(word(8)) | u64::from(word(12)) << 32;
        let at = self.at + ENTRY_HEAD;
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        if home == 0 || span == 0 || sequence == 0 || sequence.checked_add(u64::from(span)).is_none() {
            return None;
        }
        self.at = at + length.next_multiple_of(8);
        (self.at <= self.bytes.len()).then_some(Entry { home, span, sequence, at, bytes })
    }
}

/// Adds an entry to those of an answer.
pub(super) fn put_entry(out: &mut Vec<u8>, home: u32, sequence: u64, span: u32, bytes: &[u8]) {
    out.extend_from_slice(&home.to_le_bytes());
    out.extend_from_slice(&span.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// The bytes that an entry takes.
pub(super) const fn entry_len(block: usize) -> usize {
    ENTRY_HEAD + block.next_multiple_of(8)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, stream: u64) -> Self {
        let mut bytes = vec![kind, VERSION, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&stream.to_le_bytes());
        Self(bytes)
    }

    fn u16(&mut self, value: usize) {
        self.0.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u16(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn position(&mut self, position: &Position) {
        self.u16(position.len());
        for (home, next) in position.iter() {
            self.u32(home);
            self.u64(next);
        }
    }
}

/// Reads fields in order.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bad<T>(&self, what: &'static str) -> Result<T, MessageError> {
        Err(MessageError { at: self.at, what })
    }

    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], MessageError> {
        let end = self.at.checked_add(len).ok_or(MessageError { at: self.at, what })?;
        let part = self.bytes.get(self.at..end).ok_or(MessageError { at: self.at, what })?;
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        let at = self.at;
        self.take(N, what)?.try_into().map_err(|_| MessageError { at, what })
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, MessageError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, MessageError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, MessageError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, MessageError> {
        let len = usize::from(self.u16(what)?);
        if len > MAX_TEXT {
            return self.bad("a text is too long");
        }
        let at = self.at;
        std::str::from_utf8(self.take(len, what)?).map_err(|_| MessageError { at, what: "a text is not UTF-8" })
    }

    pub(super) fn position(&mut self, what: &'static str) -> Result<Position, MessageError> {
        let places = usize::from(self.u16(what)?);
        if places > MAX_PLACES {
            return self.bad("a position names too many homes");
        }
        let mut position = Position::start();
        for _ in 0..places {
            let (home, next) = (self.u32(what)?, self.u64(what)?);
            if home == 0 || !position.raise(home, next) {
                return self.bad("a position names a home twice, or at its beginning");
            }
        }
        Ok(position)
    }

    fn bool(&mut self, what: &'static str) -> Result<bool, MessageError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.bad(what),
        }
    }

    /// The rest: zeros up to a multiple of 8, and entries.
    fn entries(&mut self) -> Result<&'a [u8], MessageError> {
        let padding = self.at.next_multiple_of(8) - self.at;
        if self.take(padding, "padding")?.iter().any(|byte| *byte != 0) {
            return self.bad("padding is not zero");
        }
        let entries = self.bytes.get(self.at..).unwrap_or_default();
        let mut walk = Entries::new(entries);
        walk.by_ref().for_each(drop);
        if walk.is_done() {
            Ok(entries)
        } else {
            Err(MessageError { at: self.at + walk.at, what: "an entry makes no sense" })
        }
    }

    pub(super) fn end(&self) -> Result<(), MessageError> {
        if self.at == self.bytes.len() { Ok(()) } else { self.bad("bytes are left over") }
    }
}

impl<'a> Message<'a> {
    /// The message's bytes. Texts beyond [`MAX_TEXT`] and lists beyond their
    /// bounds are the caller's fault and are refused by who decodes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Message::Fetch(fetch) => {
                let mut out = Writer::new(FETCH, fetch.stream);
                out.u64(fetch.asker);
                out.u64(fetch.session);
                out.u64(fetch.credit);
                out.0.push(u8::from(fetch.all));
                out.text(fetch.name);
                out.u16(fetch.homes.len());
                fetch.homes.iter().for_each(|home| out.u32(*home));
                out.position(&fetch.wanted);
                out.position(&fetch.synced);
                out.u16(fetch.filters.len());
                fetch.filters.iter().for_each(|filter| out.text(filter));
                out.0
            }
            Message::Blocks(blocks) => {
                let mut out = Writer::new(BLOCKS, blocks.stream);
                out.0.reserve(1_024 + blocks.entries.len());
                out.u64(blocks.session);
                for position in [&blocks.from, &blocks.through, &blocks.end] {
                    out.position(position);
                }
                out.u16(blocks.lost.len());
                for lost in &blocks.lost {
                    out.u32(lost.home);
                    out.u64(lost.from);
                    out.u64(lost.upto);
                }
                out.0.resize(out.0.len().next_multiple_of(8), 0);
                out.0.extend_from_slice(blocks.entries);
                out.0
            }
            Message::Synced { stream, synced } => {
                let mut out = Writer::new(SYNCED, *stream);
                out.position(synced);
                out.0
            }
            Message::Want(want) => {
                let mut out = Writer::new(WANT, want.stream);
                out.u64(want.asker);
                out.u64(want.request);
                out.text(want.name);
                out.position(&want.from);
                out.position(&want.upto);
                out.0
            }
            Message::Found(found) => {
                let mut out = Writer::new(FOUND, found.stream);
                out.0.reserve(1_024 + found.entries.len());
                out.u64(found.request);
                out.0.push(u8::from(found.done));
                out.position(&found.through);
                out.0.resize(out.0.len().next_multiple_of(8), 0);
                out.0.extend_from_slice(found.entries);
                out.0
            }
        }
    }

    /// The message in these bytes. The entries of an answer are walked, the
    /// blocks in them are not looked at.
    ///
    /// # Errors
    /// [`MessageError`] with the first byte that makes no sense.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("kind")?;
        if reader.u8("version")? != VERSION {
            return reader.bad("a version that this hub does not know");
        }
        if reader.u16("reserved")? != 0 || reader.u32("reserved")? != 0 {
            return reader.bad("reserved bytes are not zero");
        }
        let stream = reader.u64("stream")?;
        match kind {
            FETCH => {
                let asker = reader.u64("asker")?;
                let (session, credit) = (reader.u64("session")?, reader.u64("credit")?);
                let all = reader.bool("neither all nor some")?;
                let name = reader.text("name")?;
                let count = usize::from(reader.u16("homes")?);
                if count > MAX_PLACES {
                    return reader.bad("too many homes are wanted");
                }
                let homes = (0..count).map(|_| reader.u32("home")).collect::<Result<_, _>>()?;
                let (wanted, synced) = (reader.position("wanted")?, reader.position("synced")?);
                let count = usize::from(reader.u16("filters")?);
                if count > MAX_FILTERS {
                    return reader.bad("too many filters");
                }
                let filters = (0..count).map(|_| reader.text("filter")).collect::<Result<_, _>>()?;
                reader.end()?;
                Ok(Message::Fetch(Fetch { stream, asker, session, credit, all, homes, name, wanted, synced, filters }))
            }
            BLOCKS => {
                let session = reader.u64("session")?;
                let (from, through) = (reader.position("from")?, reader.position("through")?);
                let end = reader.position("end")?;
                let count = usize::from(reader.u16("lost")?);
                if count > MAX_LOST {
                    return reader.bad("too many ranges are lost");
                }
                let mut lost = Vec::with_capacity(count);
                for _ in 0..count {
                    let (home, from, upto) = (reader.u32("lost")?, reader.u64("lost")?, reader.u64("lost")?);
                    if home == 0 || from >= upto {
                        return reader.bad("a range that is lost is empty");
                    }
                    lost.push(Lost { home, from, upto });
                }
                let entries = reader.entries()?;
                Ok(Message::Blocks(Blocks { stream, session, from, through, end, lost, entries }))
            }
            SYNCED => {
                let synced = reader.position("synced")?;
                reader.end()?;
                Ok(Message::Synced { stream, synced })
            }
            WANT => {
                let (asker, request) = (reader.u64("asker")?, reader.u64("request")?);
                let name = reader.text("name")?;
                let (from, upto) = (reader.position("from")?, reader.position("upto")?);
                reader.end()?;
                Ok(Message::Want(Want { stream, asker, request, name, from, upto }))
            }
            FOUND => {
                let (request, done) = (reader.u64("request")?, reader.bool("neither done nor not")?);
                let through = reader.position("through")?;
                let entries = reader.entries()?;
                Ok(Message::Found(FoundBlocks { stream, request, done, through, entries }))
            }
            _ => reader.bad("an unknown kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Vec<u8>> {
        let position: Position = [(1, 5), (9, 70)].into_iter().collect();
        let mut entries = Vec::new();
        put_entry(&mut entries, 1, 5, 3, b"0123456789abcdef");
        put_entry(&mut entries, 9, 70, 1, b"odd");
        let blocks = Blocks {
            stream: 7,
            session: 1,
            from: Position::start(),
            through: position.clone(),
            end: position.clone(),
            lost: vec![Lost { home: 1, from: 2, upto: 4 }],
            entries: &entries,
        };
        let fetch = Fetch {
            stream: 7,
            asker: 8,
            session: 3,
            credit: 1 << 20,
            all: false,
            homes: vec![1, 9],
            name: "orders",
            wanted: position.clone(),
            synced: Position::start(),
            filters: vec!["a/*", "b/**"],
        };
        let (from, upto) = ([(9, 60)].into_iter().collect(), position.clone());
        let want = Want { stream: 0, asker: 8, request: 4, name: "orders", from, upto };
        let found = FoundBlocks { stream: 8, request: 4, done: true, through: position.clone(), entries: &entries };
        let messages = [
            Message::Fetch(fetch),
            Message::Blocks(blocks),
            Message::Synced { stream: 7, synced: position },
            Message::Want(want),
            Message::Found(found),
        ];
        for message in &messages {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(message));
        }
        messages.iter().map(Message::encode).collect()
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let bytes = samples().swap_remove(1);
        let Ok(Message::Blocks(blocks)) = Message::decode(&bytes) else { panic!("not an answer") };
        let found: Vec<(u32, u64, u32, &[u8])> =
            Entries::new(blocks.entries).map(|e| (e.home, e.sequence, e.span, e.bytes)).collect();
        assert_eq!(found, [(1, 5, 3, &b"0123456789abcdef"[..]), (9, 70, 1, b"odd")]);
    }

    #[test]
    fn every_cut_is_refused() {
        for whole in samples() {
            for len in 0..whole.len() {
                // An answer may end between two entries: it is then a shorter answer.
                if let Ok(message) = Message::decode(&whole[..len]) {
                    assert!(matches!(message, Message::Blocks(_) | Message::Found(_)), "{message:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_mean_something(
            which in 0_usize..5, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
        ) {
            let mut bytes = samples().swap_remove(which);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(message) = Message::decode(&bytes) {
                let again = message.encode();
                prop_assert_eq!(Message::decode(&again), Ok(message));
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes);
        }
    }
}
