//! A snapshot: the whole state as bytes, for hubs that join or were away for long.
//!
//! ```text
//! magic "weftgov1" | version u64 | resources u32 | remembered u32
//! resource:   key u16+text | its version u64 | document u32+text
//! remembered: number u128 | outcome u32+JSON | author u16+text | time u64
//! CRC-32C of all before it, u32
//! ```
//!
//! Numbers are little-endian, resources in order of key. It comes from other
//! hubs and from disk: nothing in it is believed before it is checked, and no
//! memory is taken for what it only claims to have.

use std::sync::Arc;

use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

use crate::machine::{Authored, Decided, Outcome, Remembered};
use crate::state::Item;
use crate::{ChangeId, Key, Limits, State};

/// How it begins; the last digit is the number of the format.
const MAGIC: &[u8; 8] = b"weftgov1";
/// Bytes of an outcome at most, as [`Outcome::encode`] writes it.
const OUTCOME: usize = 4 << 10;

/// Why bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It begins otherwise.
    #[error("the snapshot is of a format that this hub does not know: upgrade the hub")]
    Format,
    /// The checksum does not fit.
    #[error("the snapshot is damaged: its checksum is {found:08x} and not {expected:08x}")]
    Checksum {
        /// Of the bytes.
        found: u32,
        /// What stands at the end.
        expected: u32,
    },
    /// It breaks a rule of the format.
    #[error("the snapshot is wrong at byte {offset}: {what}")]
    Content {
        /// From its beginning.
        offset: usize,
        /// Which rule.
        what: String,
    },
}

pub(crate) fn write(state: &State, remembered: &Remembered) -> Vec<u8> {
    let mut out = Vec::with_capacity(state.bytes() + 64 * state.len() + (64 << 10));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&state.version().to_le_bytes());
    count(&mut out, state.len());
    count(&mut out, remembered.len());
    for (key, item) in state.items() {
        short(&mut out, &key.to_string());
        out.extend_from_slice(&item.version.to_le_bytes());
        count(&mut out, item.document.len());
        out.extend_from_slice(item.document.as_bytes());
    }
    for (id, decided) in remembered.iter() {
        let outcome = decided.outcome.encode();
        out.extend_from_slice(&id.0.to_le_bytes());
        count(&mut out, outcome.len());
        out.extend_from_slice(&outcome);
        short(&mut out, &decided.authored.author);
        out.extend_from_slice(&decided.authored.at.0.to_le_bytes());
    }
    let crc = crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Lengths are bounded by the limits, far below 32 bits.
fn count(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

/// A text of a length in 16 bits: a key, or an author, whose rest is cut.
fn short(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<(State, Remembered), SnapshotError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Format)?;
    let (body, crc) = body.split_last_chunk::<4>().ok_or(SnapshotError::Format)?;
    let expected = u32::from_le_bytes(*crc);
    let found = crc32c(bytes.get(..bytes.len() - 4).unwrap_or_default());
    if found != expected {
        return Err(SnapshotError::Checksum { found, expected });
    }
    let mut reader = Reader { rest: body, whole: bytes.len() - 4 };
    let version = reader.u64()?;
    let resources = reader.count("resources", limits.resources)?;
    let outcomes = reader.count("changes remembered", limits.remembered)?;
    let mut items: Vec<(Key, Item)> = Vec::new();
    let mut bytes_of_all = 0;
    for _ in 0..resources {
        let (key, item) = reader.resource(limits)?;
        if items.last().is_some_and(|(last, _)| *last >= key) {
            return Err(reader.wrong(&format!("{key} is not after the one before it")));
        }
        if item.version > version {
            return Err(reader.wrong(&format!("{key} is of a version after that of the state")));
        }
        bytes_of_all += item.document.len();
        if bytes_of_all > limits.state {
            return Err(reader.wrong(&format!("all documents have more than {} bytes", limits.state)));
        }
        items.push((key, item));
    }
    let mut remembered = Remembered::default();
    for _ in 0..outcomes {
        let id = ChangeId(u128::from_le_bytes(reader.chunk()?));
        let outcome = reader.bytes("an outcome", OUTCOME)?;
        let outcome = Outcome::decode(outcome).map_err(|error| reader.wrong(&error))?;
        let author = reader.short()?.into();
        let authored = Authored { author, at: UnixNanos(reader.u64()?) };
        if !remembered.add(id, Decided { outcome, authored }, limits.remembered) {
            return Err(reader.wrong(&format!("the change {id} is remembered twice")));
        }
    }
    if !reader.rest.is_empty() {
        return Err(reader.wrong("something follows the end"));
    }
    Ok((State::of(version, items), remembered))
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Where the rest ends in the whole.
    whole: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> SnapshotError {
        SnapshotError::Content { offset: self.whole - self.rest.len(), what: what.to_owned() }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    fn count(&mut self, what: &str, most: usize) -> Result<usize, SnapshotError> {
        let count = u32::from_le_bytes(self.chunk()?) as usize;
        if count > most {
            return Err(self.wrong(&format!("{count} {what}, of which {most} are allowed")));
        }
        Ok(count)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes(&mut self, what: &str, most: usize) -> Result<&'a [u8], SnapshotError> {
        let len = self.count(&format!("bytes of {what}"), most)?;
        self.take(len)
    }

    fn text(&self, bytes: &'a [u8]) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    fn short(&mut self) -> Result<&'a str, SnapshotError> {
        let len = usize::from(u16::from_le_bytes(self.chunk()?));
        let bytes = self.take(len)?;
        self.text(bytes)
    }

    fn resource(&mut self, limits: &Limits) -> Result<(Key, Item), SnapshotError> {
        let key = self.short()?;
        let key = Key::parse(key).map_err(|error| self.wrong(&error.to_string()))?;
        let version = self.u64()?;
        let document = self.bytes("a document", limits.document)?;
        let document: Arc<str> = self.text(document)?.into();
        Ok((key, Item { version, document }))
    }
}
