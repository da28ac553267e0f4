//! Encryption at rest: AES-256-GCM, one key for each segment.
//!
//! # What is hidden
//! The topic and the events of each block: everything behind its header of 128
//! bytes. The header stays in clear, so that sequences, positions and retention
//! need no key, but it is authenticated: a bit that changed in it is damage, as
//! one in the rest is. The producer's checksum is of the plain text and would
//! let a guess at it be confirmed, so it is taken out of the header and
//! encrypted with the rest. What stays visible is what the header says: sizes,
//! counts, times, producers' numbers, sequences.
//!
//! # A record
//! ```text
//! header, 128 bytes, its bytes 60..64 zero | encrypted: bytes 128.. of the block, then the checksum u32 and 0 u32
//! | tag, 16 bytes
//! ```
//! So it is [`TRAILER`] bytes longer than the block.
//!
//! # Keys and nonces
//! A segment's key is HKDF-SHA256 (extract with the segment's salt of 16 random
//! bytes, expand with `weft segment`) of one of the [`Keys`]. The nonce is the
//! block's first local sequence. GCM fails when a nonce is used again with its
//! key for other bytes: what lay under it both times is then known by its
//! difference, and tags can be forged. It never is, because a salt lives no
//! longer than the value in memory that drew it, and under one salt each
//! sequence is sealed for the disk once:
//!
//! - **Appending.** A block's local sequence is its own within the segment. All
//!   blocks of a batch are sealed in memory before any of it is written, so one
//!   that is refused half-way left nothing on the disk.
//! - **Crash, kill, torn write.** Whoever opens a log appends to a new segment,
//!   never to one that an earlier life wrote to: that life may have sealed blocks
//!   that were lost, or that recovery cut, under the sequences that come next.
//!   What recovery writes anew are the same bytes, and zeros.
//! - **A write or a sync that failed**, also for want of space, ends the life: a
//!   part of what was written may be there, and the log takes nothing more until
//!   it is opened again.
//! - **Compaction, repair, backup** write segments with salts of their own, and
//!   throw away with the file what they had sealed when they are cut short.
//! - **Copies** of a folder, restored or put back: each is opened, so each goes
//!   on under salts of its own.
//! - **Segments made ahead of need** get their salt with their first block.
//!
//! What breaks it is memory that is set back while the log is open: a virtual
//! machine that goes on from a snapshot of its memory.
//!
//! # Place
//! A record opens only under the sequence that its own header says, since that
//! is authenticated, and in its own segment, since no other has its key: one
//! that was moved is damage. The segment's first page is not authenticated, but
//! says nothing that a record does not say as well: who can write to the disk
//! can take events away, put an older state of files back, or put segments in
//! clear there, and change none.
//!
//! The salt and the key's id stand twice in the segment's header page (see
//! [`crate::format`]), in sectors of their own; with both gone nothing in the
//! segment can be read.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use weft_wire::block::{Block, HEADER_LEN};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

use crate::mmap::Map;
use crate::scan::Clause;

/// How much longer a block is in an encrypted segment: its checksum, padded,
/// and the tag.
pub(crate) const TRAILER: usize = CHECKSUM + TAG;
const CHECKSUM: usize = 8;
const TAG: usize = 16;
/// The bytes of a key.
pub const KEY_LEN: usize = 32;
/// How many keys there can be.
pub const MAX_KEYS: usize = 64;
/// What an error says when sealing failed, which our own faults alone cause.
pub(crate) const NOT_SEALED: &str = "a block could not be encrypted";
/// Where the producer's checksum stands in a block's header.
const PLACE: Range<usize> = 60..64;

/// Why a text holds no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is none in it.
    #[error("there is no key: give one of 64 hexadecimal digits per line, e.g. from `openssl rand -hex 32`")]
    None,
    /// A line is something else. It is not told what it holds.
    #[error("line {line} is no key: give 64 hexadecimal digits per line, e.g. from `openssl rand -hex 32`")]
    Malformed {
        /// Its number, from 1.
        line: usize,
    },
    /// Two lines are the same key.
    #[error("line {line} repeats an earlier key: give each key once, the one to write with first")]
    Twice {
        /// The second one's number, from 1.
        line: usize,
    },
    /// There are too many.
    #[error("there are more than {MAX_KEYS} keys: leave out those with which no segment is encrypted any more")]
    TooMany,
}

struct Key {
    id: u64,
    /// Where it stays, so that moving this leaves no copy behind.
    bytes: Box<Zeroizing<[u8; KEY_LEN]>>,
}

/// The keys of a log: the first one writes, all of them read. Overwritten in
/// memory when the last copy of this handle is dropped, and shown nowhere.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Key>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        // By their ids, which are not secret.
        self.0.iter().map(|key| key.id).eq(other.0.iter().map(|key| key.id))
    }
}

impl Eq for Keys {}

impl Keys {
    /// Keys as they stand in a file: one of 64 hexadecimal digits per line;
    /// empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`KeysError`], which never holds what stands in the text.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let given = |line: &str| !line.is_empty() && !line.starts_with('#');
        let mut keys: Vec<Key> = Vec::new();
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, l)| given(l)) {
            let malformed = || KeysError::Malformed { line: at };
            if keys.len() == MAX_KEYS {
                return Err(KeysError::TooMany);
            }
            let (pairs, rest) = line.as_bytes().as_chunks::<2>();
            if pairs.len() != KEY_LEN || !rest.is_empty() {
                return Err(malformed());
            }
            let mut bytes = Box::new(Zeroizing::new([0; KEY_LEN]));
            for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                *byte = (digit(*high).ok_or_else(malformed)? << 4) | digit(*low).ok_or_else(malformed)?;
            }
            // HKDF refuses only longer outputs than this.
            let id = id_of(bytes.as_slice()).map_err(|_| malformed())?;
            if keys.iter().any(|key| key.id == id) {
                return Err(KeysError::Twice { line: at });
            }
            keys.push(Key { id, bytes });
        }
        if keys.is_empty() { Err(KeysError::None) } else { Ok(Self(Arc::new(keys))) }
    }

    /// The keys' ids, the one that writes first, for errors: they tell nothing
    /// of the keys.
    #[must_use]
    pub fn ids(&self) -> String {
        self.0.iter().map(|key| format!("{:016x}", key.id)).collect::<Vec<_>>().join(", ")
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Tells a key from others without telling anything of it.
fn id_of(key: &[u8]) -> Result<u64, Unspecified> {
    let mut out = [0; 32];
    Salt::new(HKDF_SHA256, b"weft key id").extract(key).expand(&[b"id"], HKDF_SHA256)?.fill(&mut out)?;
    let [a, b, c, d, e, f, g, h, ..] = out;
    // 0 is no id.
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1))
}

/// What a segment's header page says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) id: u64,
    pub(crate) salt: [u64; 2],
}

/// A segment is encrypted with a key that is not there: its id, or 0 when its
/// salt is damaged and there is no key at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoKey(pub(crate) u64);

/// The id of a key that is missing, for errors.
pub(crate) fn named(id: u64) -> String {
    if id == 0 { "a key that its damaged salt does not name".to_owned() } else { format!("the key {id:016x}") }
}

/// The key of one segment.
pub(crate) struct SegmentKey {
    pub(crate) sealed: Sealed,
    /// None when the salt is damaged: then nothing can be opened.
    cipher: Option<LessSafeKey>,
}

/// A block's plain text, aligned to 8 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    words: Arc<Vec<u64>>,
    len: usize,
}

impl Plain {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.words.as_bytes().get(..self.len).unwrap_or_default()
    }
}

fn nonce(record: &[u8]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let sequence = Block::trusted(record).stream_sequence();
    for (to, byte) in nonce.iter_mut().zip(sequence.to_le_bytes()) {
        *to = byte;
    }
    Nonce::assume_unique_for_key(nonce)
}

impl SegmentKey {
    /// The key of a new segment.
    pub(crate) fn fresh(keys: &Keys) -> io::Result<Arc<Self>> {
        let failed = |_| io::Error::other("the system gave no random bytes for a segment's salt");
        let mut salt = [0; 2];
        aws_lc_rs::rand::fill(salt.as_mut_bytes()).map_err(failed)?;
        let key = keys.0.first().ok_or_else(|| io::Error::other("there is no key to write with"))?;
        Self::derive(key, salt).map_err(|_| io::Error::other("a segment's key could not be derived"))
    }

    fn derive(key: &Key, salt: [u64; 2]) -> Result<Arc<Self>, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, salt.as_bytes()).extract(key.bytes.as_slice());
        let cipher = LessSafeKey::new(UnboundKey::from(secret.expand(&[b"weft segment"], &AES_256_GCM)?));
        Ok(Arc::new(Self { sealed: Sealed { id: key.id, salt }, cipher: Some(cipher) }))
    }

    /// The key of a segment that is there: none when it is not encrypted.
    /// `flagged` is what its header says, when that is whole.
    pub(crate) fn of(
        flagged: Option<bool>,
        sealed: Option<Sealed>,
        keys: Option<&Keys>,
    ) -> Result<Option<Arc<Self>>, NoKey> {
        let Some(sealed) = sealed.filter(|_| flagged != Some(false)) else {
            if flagged != Some(true) {
                return Ok(None);
            }
            // Without any key the log is not one to be opened, whatever the salt was.
            keys.ok_or(NoKey(0))?;
            return Ok(Some(Arc::new(Self { sealed: Sealed { id: 0, salt: [0; 2] }, cipher: None })));
        };
        let missing = NoKey(sealed.id);
        let key = keys.and_then(|keys| keys.0.iter().find(|key| key.id == sealed.id)).ok_or(missing)?;
        Self::derive(key, sealed.salt).map(Some).map_err(|_| missing)
    }

    /// Writes the salt into a segment's first page, where it is known.
    pub(crate) fn write(&self, map: &Map) {
        if self.cipher.is_some() {
            self.sealed.write(map);
        }
    }

    /// Appends the record of a block, whose parts these are. It has its local
    /// sequence, under which nothing else is ever sealed with this key and
    /// written.
    pub(crate) fn seal(&self, out: &mut Vec<u8>, block: &[&[u8]]) -> Result<(), Unspecified> {
        let cipher = self.cipher.as_ref().ok_or(Unspecified)?;
        let start = out.len();
        block.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(&[0; CHECKSUM]);
        let record = out.get_mut(start..).unwrap_or_default();
        let (header, rest) = record.split_at_mut_checked(HEADER_LEN).ok_or(Unspecified)?;
        let checksum = header.get_mut(PLACE).ok_or(Unspecified)?;
        let end = rest.len().saturating_sub(CHECKSUM);
        for (to, from) in rest.iter_mut().skip(end).zip(checksum) {
            (*to, *from) = (*from, 0);
        }
        let tag = cipher.seal_in_place_separate_tag(nonce(header), Aad::from(&*header), rest)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The block of a record, as it was sealed.
    pub(crate) fn open(&self, record: &[u8]) -> Result<Plain, Clause> {
        let cipher = self.cipher.as_ref().ok_or("the segment's salt, without which nothing in it can be read")?;
        let changed = || Clause::from("what is encrypted is not what was written");
        let len = record.len().checked_sub(TRAILER).ok_or_else(changed)?;
        let mut words = vec![0_u64; record.len().div_ceil(8)];
        let bytes = words.as_mut_bytes().get_mut(..record.len()).ok_or_else(changed)?;
        bytes.copy_from_slice(record);
        let (header, rest) = bytes.split_at_mut_checked(HEADER_LEN).ok_or_else(changed)?;
        let text = cipher.open_in_place(nonce(header), Aad::from(&*header), rest).map_err(|_| changed())?;
        let end = text.len().saturating_sub(CHECKSUM);
        for (to, from) in header.iter_mut().skip(PLACE.start).take(PLACE.len()).zip(text.iter().skip(end)) {
            *to = *from;
        }
        Ok(Plain { words: Arc::new(words), len })
    }
}
