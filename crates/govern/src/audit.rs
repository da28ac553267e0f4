//! Who did what, allowed or refused, as a chain of records: whoever alters, takes
//! out, puts in or exchanges one breaks it.
//!
//! A record is one line of canonical JSON with the SHA-256 of the line before it
//! ([`Chain`]). Now and then an [anchor](Line::Anchor) stands between them, where
//! a segment begins: a log that was cut there is verified from there on. What was
//! cut at the end, or written anew from some place to the end, is seen only by
//! who knows a later hash: give [`verify`] one that was kept elsewhere.
//!
//! The same again within a time is counted in one record ([`Gather`]), so that
//! nobody fills the log by asking over and over. Texts are cut to [`TEXT`] bytes.

mod gather;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Ask, Principal, Verdict};
use crate::json;

pub use gather::{Gather, GatherLimits};

/// Longest text of a record, in bytes; what is longer is cut.
pub const TEXT: usize = 1_024;
/// Most rules that a record names.
pub const RULES: usize = 8;
/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Records from one anchor to the next.
pub const SEGMENT: u64 = 1_024;

/// SHA-256 (FIPS 180-4), given by who has a library for it.
pub trait Digest {
    /// The hash of some bytes.
    fn sha256(&self, bytes: &[u8]) -> [u8; 32];
}

impl<D: Digest + ?Sized> Digest for &D {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        (**self).sha256(bytes)
    }
}

impl<D: Digest + ?Sized> Digest for Arc<D> {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        (**self).sha256(bytes)
    }
}

/// The hash of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Hash {
    /// Reads 64 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = Self::default();
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (at, byte) in hash.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(hash)
    }
}

/// What was asked or done, and how it was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who, as `tenant/name` or a name alone.
    pub who: String,
    /// From which address.
    pub from: String,
    /// In which session of the hub, where in one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub session: u64,
    /// How they proved who they are.
    pub method: String,
    /// What they wanted to do.
    pub action: String,
    /// To what.
    pub resource: String,
    /// Whether they might.
    pub allowed: bool,
    /// The rules that decided, or in a word what did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Of the control state that it was decided by.
    pub version: u64,
    /// What else there is to say: the number of a change, the reason of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(session: &u64) -> bool {
    *session == 0
}

impl Event {
    /// By somebody who has shown who they are; the rest is empty, and refused.
    #[must_use]
    pub fn by(who: &Principal) -> Self {
        Self { who: who.to_string(), method: who.method.name().to_owned(), ..Self::default() }
    }

    /// A question, and how it was answered.
    #[must_use]
    pub fn of(ask: &Ask, verdict: &Verdict) -> Self {
        Self {
            action: ask.action.name().to_owned(),
            resource: ask.resource.to_string(),
            allowed: verdict.allowed,
            rules: verdict.rules.iter().map(ToString::to_string).collect(),
            version: verdict.version,
            detail: verdict.reason.to_string(),
            ..Self::by(&ask.principal)
        }
    }

    /// With its texts cut to what a record may have.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts =
            [&mut self.who, &mut self.from, &mut self.method, &mut self.action, &mut self.resource, &mut self.detail];
        for text in texts.into_iter().chain(&mut self.rules) {
            text.truncate(text.floor_char_boundary(TEXT));
        }
        self.rules.truncate(RULES);
        self
    }
}

/// An event, as often as it was within a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What.
    pub event: Event,
    /// When first, in nanoseconds since 1970, by the hub's clock.
    pub time: u64,
    /// When last, where it was more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// How often.
    pub times: u64,
    /// It stands for several events that differ in more than the time: of those
    /// no more than this was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// A segment begins; nothing else was done.
    Anchor {
        /// When, in nanoseconds since 1970.
        time: u64,
    },
    /// Something was asked or done.
    Entry(Box<Entry>),
}

/// A line with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Counts lines of this hub's chain, from 0.
    pub number: u64,
    /// The hub that wrote it.
    pub hub: String,
    /// The hash of the line before it; of the first, zeros.
    pub previous: String,
    /// What it says.
    pub line: Line,
}

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn read(line: &str) -> Result<Self, String> {
        if line.len() > MAX_LINE {
            return Err(format!("it has {} bytes, of which {MAX_LINE} are allowed", line.len()));
        }
        json::bound(line).map_err(|error| error.to_string())?;
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    fn text(&self) -> String {
        // Texts, numbers, lists and maps with texts for keys can always be written.
        json::canonical(&serde_json::to_value(self).unwrap_or(Value::Null))
    }
}

/// Writes a chain. A clone goes on from the same place, for who has to go back.
#[derive(Clone, Debug)]
pub struct Chain<D> {
    digest: D,
    hub: String,
    next: u64,
    previous: Hash,
    /// Records until the next anchor.
    left: u64,
}

impl<D: Digest> Chain<D> {
    /// A chain that begins.
    #[must_use]
    pub fn new(hub: &str, digest: D) -> Self {
        Self { digest, hub: hub.to_owned(), next: 0, previous: Hash::default(), left: 0 }
    }

    /// A chain that goes on after its last line. It begins a segment.
    ///
    /// # Errors
    /// The line is none, or another hub's.
    pub fn after(hub: &str, last: &str, digest: D) -> Result<Self, String> {
        let record = Record::read(last)?;
        if record.hub != hub {
            return Err(format!("the chain is of the hub {}: this is {hub}", record.hub));
        }
        let previous = Hash(digest.sha256(last.as_bytes()));
        Ok(Self { digest, hub: hub.to_owned(), next: record.number.saturating_add(1), previous, left: 0 })
    }

    /// The next lines: an entry, with an anchor before it where a segment begins.
    pub fn append(&mut self, entry: Entry) -> Vec<String> {
        let mut lines = Vec::with_capacity(2);
        if self.left == 0 {
            lines.push(self.line(Line::Anchor { time: entry.time }));
            self.left = SEGMENT;
        }
        self.left -= 1;
        lines.push(self.line(Line::Entry(Box::new(Entry { event: entry.event.bounded(), ..entry }))));
        lines
    }

    /// The hash of the last line, to be kept elsewhere: with it [`verify`] finds
    /// what was cut or written anew at the end.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.previous
    }

    fn line(&mut self, line: Line) -> String {
        let record = Record { number: self.next, hub: self.hub.clone(), previous: self.previous.to_string(), line };
        let text = record.text();
        self.previous = Hash(self.digest.sha256(text.as_bytes()));
        self.next += 1;
        text
    }
}

/// Why a chain is broken. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Not a record.
    #[error("line {line} is no record: {why}")]
    Unreadable {
        /// Which.
        line: usize,
        /// In words.
        why: String,
    },
    /// It does not begin where a segment does.
    #[error("line 1 is the record {number}, at which no segment begins: lines before it are missing")]
    NotAnchored {
        /// Of the record.
        number: u64,
    },
    /// A record of another hub.
    #[error("line {line} is of the hub {found}, and those before are of {expected}: verify one hub at a time")]
    Hub {
        /// Which.
        line: usize,
        /// Of the lines before.
        expected: String,
        /// Of this one.
        found: String,
    },
    /// Records are missing, in another order, or there twice.
    #[error("line {line} is the record {found} where {expected} should be: records are missing, or in another order")]
    Number {
        /// Which.
        line: usize,
        /// The number that it should have.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// The line before is not what it was when this one was written.
    #[error("line {line} follows a line with another hash: line {} was altered, or this one was put in", .line - 1)]
    Hash {
        /// Which.
        line: usize,
    },
    /// All fits, and does not lead to the hash that was kept elsewhere.
    #[error("the lines do not contain the one with the hash {0}: the end was cut off or written anew")]
    Head(Hash),
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of the first record.
    pub first: u64,
    /// How many lines there are.
    pub lines: usize,
    /// The hash of the last.
    pub head: Hash,
}

/// Verifies lines of one hub's chain, in order, from an anchor on, one at a time.
/// Keeps one line.
#[derive(Debug)]
pub struct Verifier<D> {
    digest: D,
    known: Option<Hash>,
    is_known: bool,
    verified: Verified,
    /// The next number, and of which hub.
    expected: Option<(u64, String)>,
}

impl<D: Digest> Verifier<D> {
    /// Of no line yet. `known` is the hash of a line among them that was kept
    /// elsewhere.
    #[must_use]
    pub const fn new(digest: D, known: Option<Hash>) -> Self {
        let verified = Verified { first: 0, lines: 0, head: Hash([0; 32]) };
        Self { digest, known, is_known: known.is_none(), verified, expected: None }
    }

    /// The next line.
    ///
    /// # Errors
    /// It does not follow.
    pub fn take(&mut self, text: &str) -> Result<(), Broken> {
        let verified = &mut self.verified;
        let line = verified.lines + 1;
        let record = Record::read(text).map_err(|why| Broken::Unreadable { line, why })?;
        match self.expected.take() {
            None if !matches!(record.line, Line::Anchor { .. }) => {
                return Err(Broken::NotAnchored { number: record.number });
            }
            None => verified.first = record.number,
            Some((_, hub)) if hub != record.hub => {
                return Err(Broken::Hub { line, expected: hub, found: record.hub });
            }
            Some((number, _)) if number != record.number => {
                return Err(Broken::Number { line, expected: number, found: record.number });
            }
            Some(_) if record.previous != verified.head.to_string() => return Err(Broken::Hash { line }),
            Some(_) => {}
        }
        verified.head = Hash(self.digest.sha256(text.as_bytes()));
        self.is_known |= self.known == Some(verified.head);
        verified.lines = line;
        self.expected = Some((record.number.saturating_add(1), record.hub));
        Ok(())
    }

    /// That was all. Nothing verified is no line at all: zero of them.
    ///
    /// # Errors
    /// [`Broken::Head`].
    pub fn finish(self) -> Result<Verified, Broken> {
        match self.known {
            Some(known) if !self.is_known => Err(Broken::Head(known)),
            _ => Ok(self.verified),
        }
    }
}

/// Verifies lines of one hub's chain that are all at hand, as [`Verifier`] does.
///
/// # Errors
/// Where it is broken first.
pub fn verify<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    digest: &impl Digest,
    known: Option<Hash>,
) -> Result<Verified, Broken> {
    let mut verifier = Verifier::new(digest, known);
    for line in lines {
        verifier.take(line)?;
    }
    verifier.finish()
}
