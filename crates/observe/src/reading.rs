//! A file of counters as another process sees it: all values with their names,
//! units and ages, whether its writer works, hangs or is dead.
//!
//! Nothing that a file says is believed: its lengths and places are held against
//! what was mapped, names must be UTF-8 without control characters, and all
//! values together must not be longer than the file, so that a small file
//! cannot ask for much memory. What is refused is refused with the place.
//!
//! A value is one load of one aligned word, and so never torn; different values
//! are of slightly different moments.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use weft_base::UnixNanos;
use weft_base::sync::atomic::{Ordering, fence};

use crate::layout::{
    ENTRY, HEADER, Kind, MAGIC, MAX_BYTES, MAX_ENTRIES, MAX_HUB, MAX_NAME, MAX_PROGRAM, NO_BEAT, Place, Unit, VERSION,
    word, words_of,
};
use crate::mapping::View;
use crate::place;
use crate::scale::Scale;
use crate::snapshot::Snapshot;

/// What a file said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The hub's name.
    pub hub: String,
    /// Its program's version.
    pub program: String,
    /// Its process, which may be gone.
    pub process: u32,
    /// When it started.
    pub start: UnixNanos,
    /// When it last said that it lives.
    pub beat: UnixNanos,
    /// It ended in good order, so the values are its last.
    pub ended: bool,
    /// Values of it that are in no file, for want of room.
    pub left_out: u64,
    /// Values of kinds that this program does not know.
    pub unknown: u64,
    /// The values, in the order in which they were begun.
    pub values: Vec<Shown>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name, of at most 112 bytes.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// What there is.
    pub datum: Datum,
    /// When whoever writes it last did something; the process's beat where it has no other.
    pub beat: UnixNanos,
}

/// What a value is, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    /// Since the process's start.
    Counter(u64),
    /// Now.
    Gauge(u64),
    /// A distribution.
    Histogram(Snapshot),
    /// When its writer last did something.
    Beat(UnixNanos),
}

impl Shown {
    /// How long ago its writer last did something; nothing when that is to come,
    /// by a clock that was set back.
    #[must_use]
    pub fn age(&self, now: UnixNanos) -> Duration {
        Duration::from_nanos(now.0.saturating_sub(self.beat.0))
    }
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("{path} cannot be read: see that it is there and yours", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is none.
    #[error("this is no file of counters, or one that is just being made: it does not begin with WEFTSTAT")]
    Magic,
    /// Another program's.
    #[error("the file has layout {0}, and this program reads {VERSION}: use the `weft` of the hub that wrote it")]
    Version(u64),
    /// It is shorter or longer than may be.
    #[error("the file says that it has {said} bytes, and has {real}; at least {} and at most {MAX_BYTES} are read", HEADER * 8)]
    Length {
        /// What its header says.
        said: u64,
        /// What there is.
        real: u64,
    },
    /// It says something impossible.
    #[error("the file is damaged: word {at} says {value}, where {rule}")]
    Damaged {
        /// Which word of 8 bytes.
        at: usize,
        /// What it says.
        value: u64,
        /// What is the rule.
        rule: &'static str,
    },
}

/// Words to read from.
trait Words {
    fn load(&self, at: usize) -> Option<u64>;
}

impl Words for View {
    fn load(&self, at: usize) -> Option<u64> {
        Self::load(self, at)
    }
}

impl Words for &[u8] {
    fn load(&self, at: usize) -> Option<u64> {
        let start = at.checked_mul(8)?;
        Some(u64::from_ne_bytes(self.get(start..start.checked_add(8)?)?.try_into().ok()?))
    }
}

impl Reading {
    /// Reads a file as it is now. It is mapped; where its file system cannot do
    /// that, it is read, and a word may be torn if the writer writes meanwhile.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of_file(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::File { path: path.to_owned(), source };
        // Nor may it be one that has to be waited for.
        let unblocked = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut file = OpenOptions::new().read(true).custom_flags(unblocked).open(path).map_err(failed)?;
        let known = file.metadata().map_err(failed)?;
        if !known.is_file() {
            return Err(ReadError::Magic);
        }
        let real = known.len();
        if real < HEADER as u64 * 8 || real > MAX_BYTES {
            return Err(ReadError::Length { said: real, real });
        }
        match View::of_file(&file, real as usize) {
            Ok(view) => read(&view, real),
            Err(_) => {
                let mut bytes = Vec::new();
                file.by_ref().take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
                Self::of_bytes(&bytes)
            }
        }
    }

    /// Reads the file of a process that runs.
    ///
    /// # Errors
    /// [`ReadError`], also when it is no process of yours or has no such file.
    pub fn of_process(process: u32) -> Result<Self, ReadError> {
        let proc = || PathBuf::from(format!("/proc/{process}/maps"));
        let path = place::file_of(process).map_err(|source| ReadError::File { path: proc(), source })?;
        Self::of_file(&path)
    }

    /// Reads a copy of a file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        read(&bytes, bytes.len() as u64)
    }
}

fn read(words: &impl Words, real: u64) -> Result<Reading, ReadError> {
    let load = |at: usize| words.load(at).unwrap_or(0);
    if load(word::MAGIC) != MAGIC {
        return Err(ReadError::Magic);
    }
    // Pairs with the release fence before the magic is stored.
    fence(Ordering::Acquire);
    if load(word::VERSION) != VERSION {
        return Err(ReadError::Version(load(word::VERSION)));
    }
    let said = load(word::BYTES);
    if said != real || real < HEADER as u64 * 8 || real > MAX_BYTES {
        return Err(ReadError::Length { said, real });
    }
    let room = at_most(words, word::ROOM, MAX_ENTRIES, "there may be 16,384 entries")?;
    let first = HEADER + room * ENTRY;
    let end = real as usize / 8;
    if first > end {
        let (at, value) = (word::ROOM, room as u64);
        return Err(ReadError::Damaged { at, value, rule: "the entries must end before the file does" });
    }
    let count = at_most(words, word::ENTRIES, room, "there are more entries than there is room for")?;
    // Pairs with the release of the writer: what was counted is there.
    fence(Ordering::Acquire);
    let process = load(word::PROCESS);
    let rule = "a process has a number of 32 bits";
    let mut reading = Reading {
        hub: text(words, word::HUB, at_most(words, word::HUB_BYTES, MAX_HUB, "a name has 128 bytes at most")?)?,
        program: text(words, word::PROGRAM, at_most(words, word::PROGRAM_BYTES, MAX_PROGRAM, "it has 64 bytes")?)?,
        process: u32::try_from(process).map_err(|_| ReadError::Damaged { at: word::PROCESS, value: process, rule })?,
        start: UnixNanos(load(word::START)),
        beat: UnixNanos(load(word::BEAT)),
        ended: load(word::STATE) == 2,
        left_out: load(word::LEFT_OUT),
        unknown: 0,
        values: Vec::new(),
    };
    let place_of = |number: usize| Place::of([load(HEADER + number * ENTRY), load(HEADER + number * ENTRY + 1)]);
    // Values do not overlap in a good file, so they are no more than it has words.
    let mut left = end - first;
    for number in 0..count {
        let (at, place) = (HEADER + number * ENTRY, place_of(number));
        let damaged = |at: usize, rule| ReadError::Damaged { at, value: load(at), rule };
        let Some(kind) = Kind::of(place.kind) else {
            reading.unknown += 1;
            continue;
        };
        let scale = match kind {
            Kind::Histogram => Scale::of(place.scale.0, place.scale.1)
                .ok_or_else(|| damaged(at, "a histogram's scale must make sense"))?,
            _ => Scale::NANOS,
        };
        let (from, len) = (place.at as usize, place.len as usize);
        if len != words_of(kind, scale) {
            return Err(damaged(at + 1, "a value has as many words as its kind and scale need"));
        }
        if from < first || from.checked_add(len).is_none_or(|past| past > end) {
            return Err(damaged(at + 1, "a value lies between the entries and the end"));
        }
        left = left.checked_sub(len).ok_or_else(|| damaged(at + 1, "values must not overlap"))?;
        let bytes = usize::from(place.name_bytes);
        if bytes == 0 || bytes > MAX_NAME {
            return Err(damaged(at, "a name has 1 to 112 bytes"));
        }
        let datum = match kind {
            Kind::Counter => Datum::Counter(load(from)),
            Kind::Gauge => Datum::Gauge(load(from)),
            Kind::Beat => Datum::Beat(UnixNanos(load(from))),
            Kind::Histogram => Datum::Histogram(Snapshot::read(scale, |word| load(from + word))),
        };
        let beat = match place.beat {
            _ if kind == Kind::Beat => UnixNanos(load(from)),
            NO_BEAT => reading.beat,
            other => {
                let other = Some(usize::from(other)).filter(|other| *other < count).map(place_of);
                match other {
                    Some(beat)
                        if Kind::of(beat.kind) == Some(Kind::Beat) && (first..end).contains(&(beat.at as usize)) =>
                    {
                        UnixNanos(load(beat.at as usize))
                    }
                    _ => return Err(damaged(at, "a value's beat must be an entry that is one")),
                }
            }
        };
        reading.values.push(Shown { name: text(words, at + 2, bytes)?, unit: place.unit, datum, beat });
    }
    Ok(reading)
}

fn at_most(words: &impl Words, at: usize, most: usize, rule: &'static str) -> Result<usize, ReadError> {
    let value = words.load(at).unwrap_or(0);
    usize::try_from(value).ok().filter(|value| *value <= most).ok_or(ReadError::Damaged { at, value, rule })
}

fn text(words: &impl Words, at: usize, bytes: usize) -> Result<String, ReadError> {
    let value = words.load(at).unwrap_or(0);
    let mut all: Vec<u8> =
        (at..at + bytes.div_ceil(8)).flat_map(|at| words.load(at).unwrap_or(0).to_le_bytes()).collect();
    all.truncate(bytes);
    // Shown on terminals, where control characters are commands.
    String::from_utf8(all).ok().filter(|text| !text.chars().any(char::is_control)).ok_or(ReadError::Damaged {
        at,
        value,
        rule: "a name is UTF-8 without control characters",
    })
}
