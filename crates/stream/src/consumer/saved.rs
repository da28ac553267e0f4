//! What of a consumer outlives the process, and its bytes.
//!
//! ```text
//!   0 u32 "WFCS"       4 u16 version, 1      6 u16 zero
//!   8 u32 generation  12 u32 zero           16 u64 floor
//!  24 u64 paused until, Unix time in nanoseconds; 0 not paused, all ones for ever
//!  32 u32 runs that are done        36 u32 runs that were tried
//!  40     per done run: first, less the end of the run before (of the floor);
//!         its length
//!         per tried run: first, likewise; length; attempts times two, plus one
//!         when it is given up
//!   -  u32 CRC-32C of all before
//! ```
//! Numbers of runs are LEB128. Both lists are in order, no run is empty, none
//! overlaps the one before. Losing what was saved last costs redelivery only.

use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

/// The most runs in each list.
pub const MAX_RUNS: usize = 1 << 21;
const MAGIC: u32 = u32::from_le_bytes(*b"WFCS");
const VERSION: u16 = 1;
const HEAD: usize = 40;

/// A run of events that were handed out and not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The first.
    pub first: u64,
    /// Exclusive.
    pub end: u64,
    /// How often they were handed out; at least once.
    pub attempts: u32,
    /// They are given up; their dead letters were not stored yet.
    pub dead: bool,
}

/// What of a consumer outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Its last generation.
    pub generation: u32,
    /// All below is settled.
    pub floor: u64,
    /// What is settled above: first and end (exclusive), in order.
    pub done: Vec<(u64, u64)>,
    /// What was handed out and is not settled, in order.
    pub tried: Vec<Tried>,
    /// Until when it is paused; the largest number: for ever.
    pub paused_until: Option<UnixNanos>,
}

/// Why bytes are not what was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// Too short, not in order, too many, or too long.
    #[error(
        "the saved consumer is malformed at byte {at} ({what}): it begins anew from its start or its floor elsewhere"
    )]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The bytes were changed.
    #[error("the saved consumer has checksum {found:#x} and should have {wanted:#x}: the disk has changed it")]
    Checksum {
        /// What the bytes say.
        found: u32,
        /// What they come to.
        wanted: u32,
    },
    /// A newer program wrote it.
    #[error("the saved consumer has version {found}, and this program knows {VERSION}: use the newer program")]
    Version {
        /// Its version.
        found: u16,
    },
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads from bytes that anybody may have written.
struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, SavedError> {
        Err(SavedError::Malformed { at: self.at, what })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], SavedError> {
        let Some(found) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) else {
            return self.fail("it ends too early");
        };
        self.at += N;
        Ok(*found)
    }

    fn number(&mut self) -> Result<u64, SavedError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return self.fail("a number is too large");
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        self.fail("a number is too long")
    }

    /// A run after `last`, which becomes its end.
    fn run(&mut self, last: &mut u64) -> Result<(u64, u64), SavedError> {
        let (gap, length) = (self.number()?, self.number()?);
        let first = last.checked_add(gap);
        match first.and_then(|first| Some((first, first.checked_add(length)?))) {
            Some((first, end)) if length > 0 => {
                *last = end;
                Ok((first, end))
            }
            _ => self.fail("a run is empty or too long"),
        }
    }
}

impl Saved {
    /// The bytes. Lists longer than [`MAX_RUNS`] are cut, which costs
    /// redelivery.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let done = self.done.get(..MAX_RUNS).unwrap_or(&self.done);
        let tried = self.tried.get(..MAX_RUNS).unwrap_or(&self.tried);
        let mut out = Vec::with_capacity(HEAD + 4 * (done.len() + tried.len()) + 4);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.floor.to_le_bytes());
        out.extend_from_slice(&self.paused_until.map_or(0, |until| until.0.max(1)).to_le_bytes());
        out.extend_from_slice(&(done.len() as u32).to_le_bytes());
        out.extend_from_slice(&(tried.len() as u32).to_le_bytes());
        let mut last = self.floor;
        for (first, end) in done {
            put(&mut out, first.saturating_sub(last));
            put(&mut out, end.saturating_sub(*first));
            last = *end;
        }
        last = self.floor;
        for run in tried {
            put(&mut out, run.first.saturating_sub(last));
            put(&mut out, run.end.saturating_sub(run.first));
            put(&mut out, u64::from(run.attempts) << 1 | u64::from(run.dead));
            last = run.end;
        }
        let checksum = crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// What a consumer begins with whose file was written in the life
    /// `generation`, when all below `from` was settled, and of which `kept` was
    /// found beside: that counts unless it is of an earlier life, as it can be
    /// when the file reached the disk and what followed did not.
    #[must_use]
    pub fn since(kept: Option<Self>, generation: u32, from: u64) -> Self {
        let kept = kept.filter(|kept| kept.generation >= generation);
        kept.unwrap_or_else(|| Self { generation, floor: from, ..Self::default() })
    }

    /// Of a stream that ends before `next`, as one restored from an older copy
    /// does: set back to its end, because what comes there now was never seen.
    ///
    /// # Errors
    /// The same set back, when it was beyond.
    pub fn within(self, next: u64) -> Result<Self, Self> {
        let ends = self.done.iter().map(|(_, end)| *end).chain(self.tried.iter().map(|tried| tried.end));
        if self.floor <= next && ends.max().unwrap_or(0) <= next {
            return Ok(self);
        }
        let Self { mut done, mut tried, .. } = self;
        done.retain_mut(|(first, end)| {
            *end = (*end).min(next);
            *first < *end
        });
        tried.retain_mut(|tried| {
            tried.end = tried.end.min(next);
            tried.first < tried.end
        });
        Err(Self { floor: self.floor.min(next), done, tried, ..self })
    }

    /// Reads them back; any bytes are safe, and take no more memory than four
    /// times their length.
    ///
    /// # Errors
    /// [`SavedError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SavedError> {
        let Some((content, checksum)) = bytes.split_last_chunk() else {
            return Err(SavedError::Malformed { at: 0, what: "it ends too early" });
        };
        let mut from = Bytes { bytes: content, at: 0 };
        if u32::from_le_bytes(from.fixed()?) != MAGIC {
            return Err(SavedError::Malformed { at: 0, what: "it does not begin with `WFCS`" });
        }
        let (found, wanted) = (u32::from_le_bytes(*checksum), crc32c(content));
        if found != wanted {
            return Err(SavedError::Checksum { found, wanted });
        }
        let version = u16::from_le_bytes(from.fixed()?);
        if version != VERSION {
            return Err(SavedError::Version { found: version });
        }
        if from.fixed::<2>()? != [0; 2] {
            return from.fail("reserved bytes are not zero");
        }
        let generation = u32::from_le_bytes(from.fixed()?);
        if from.fixed::<4>()? != [0; 4] {
            return from.fail("reserved bytes are not zero");
        }
        let floor = u64::from_le_bytes(from.fixed()?);
        let paused = u64::from_le_bytes(from.fixed()?);
        let counts = [u32::from_le_bytes(from.fixed()?) as usize, u32::from_le_bytes(from.fixed()?) as usize];
        // Each run takes two bytes at least: so much memory and no more.
        if counts.iter().any(|count| *count > MAX_RUNS || *count * 2 > content.len()) {
            return from.fail("it claims more runs than it can have");
        }
        let [done, tried] = counts;
        let mut last = floor;
        let done: Vec<_> = (0..done).map(|_| from.run(&mut last)).collect::<Result<_, _>>()?;
        last = floor;
        let tried = (0..tried).map(|_| {
            let (first, end) = from.run(&mut last)?;
            let value = from.number()?;
            match u32::try_from(value >> 1) {
                Ok(attempts) if attempts > 0 => Ok(Tried { first, end, attempts, dead: value & 1 == 1 }),
                _ => from.fail("the attempts are none or too many"),
            }
        });
        let tried: Vec<_> = tried.collect::<Result<_, _>>()?;
        if from.at != content.len() {
            return from.fail("something follows the last run");
        }
        let paused_until = (paused != 0).then_some(UnixNanos(paused));
        Ok(Self { generation, floor, done, tried, paused_until })
    }
}
