//! Bytes made smaller, and back again: LZ4 blocks and Zstandard frames, each on
//! its own, so that none needs another to be read.
//!
//! What is unpacked comes from outside: it is written into memory of a size
//! that the caller has bounded, never beyond it, and nothing is allocated on
//! its word. The state of the algorithms (hash tables, entropy tables) is kept
//! from one call to the next: in the steady state neither direction allocates.
//!
//! Knows nothing of frames, links or hubs.
#![forbid(unsafe_code)]

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use zstd_safe::{CCtx, DCtx, compress_bound, get_error_name};

/// How hard Zstandard tries: its fastest ordinary level. At the sizes that go
/// over links the higher ones cost more time than they save bytes.
pub const ZSTD_LEVEL: i32 = 1;

/// What a [`Packer`] takes of memory at most, in bytes, beside what its caller
/// hands it: both directions of both algorithms, for inputs of up to 8 MiB.
pub const MEMORY: usize = 4 << 20;

/// A way to make bytes smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// An LZ4 block: cheap for both ends.
    Lz4 = 1,
    /// A Zstandard frame: smaller, for more of the processor.
    Zstd = 2,
}

impl Codec {
    /// All of them, in order of number.
    pub const ALL: [Codec; 2] = [Codec::Lz4, Codec::Zstd];

    /// Its number in formats; a number keeps its meaning for ever.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The one of this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.number() == number)
    }

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The most bytes that packing so many bytes may come to: random ones grow.
    #[must_use]
    pub fn bound(self, plain: usize) -> usize {
        match self {
            Codec::Lz4 => get_maximum_output_size(plain),
            Codec::Zstd => compress_bound(plain),
        }
    }
}

/// Why packed bytes cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// They are not what the algorithm writes, or are more than they were said to be.
    #[error("the bytes are no {codec} of {plain} bytes: {reason}", codec = codec.name())]
    Unsound {
        /// What they were said to be.
        codec: Codec,
        /// How many bytes they were said to be.
        plain: usize,
        /// What the algorithm's reader says.
        reason: String,
    },
    /// They are fewer than they were said to be.
    #[error("the bytes are {found} once unpacked, {plain} were announced")]
    Short {
        /// How many were announced.
        plain: usize,
        /// How many there are.
        found: usize,
    },
}

/// Packs and unpacks, one thing at a time.
pub struct Packer {
    lz4: Option<CompressTable>,
    to_zstd: Option<CCtx<'static>>,
    from_zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

impl Packer {
    /// Without any memory yet: what is never used takes none.
    #[must_use]
    pub const fn new() -> Self {
        Self { lz4: None, to_zstd: None, from_zstd: None }
    }

    /// Packs `plain` into the beginning of `out`; answers how many bytes that
    /// is. `None` when `out` is shorter than [`Codec::bound`] or there is no memory.
    #[must_use]
    pub fn pack(&mut self, codec: Codec, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        if out.len() < codec.bound(plain.len()) {
            return None;
        }
        match codec {
            Codec::Lz4 => {
                let table = self.lz4.get_or_insert_with(CompressTable::large);
                compress_into_with_table(plain, out, table).ok()
            }
            Codec::Zstd => {
                if self.to_zstd.is_none() {
                    self.to_zstd = CCtx::try_create();
                }
                self.to_zstd.as_mut()?.compress(out, plain, ZSTD_LEVEL).ok()
            }
        }
    }

    /// Unpacks `packed`, which must be exactly as many bytes as `out` has. What
    /// is in `out` after an error means nothing.
    ///
    /// # Errors
    /// [`UnpackError`]: the bytes are not what they were said to be.
    pub fn unpack(&mut self, codec: Codec, packed: &[u8], out: &mut [u8]) -> Result<(), UnpackError> {
        let plain = out.len();
        let unsound = |reason: String| UnpackError::Unsound { codec, plain, reason };
        let found = match codec {
            Codec::Lz4 => decompress_into(packed, out).map_err(|error| unsound(error.to_string()))?,
            Codec::Zstd => {
                if self.from_zstd.is_none() {
                    self.from_zstd = DCtx::try_create();
                }
                let Some(context) = &mut self.from_zstd else { return Err(unsound("no memory".to_owned())) };
                context.decompress(out, packed).map_err(|code| unsound(get_error_name(code).to_owned()))?
            }
        };
        if found == plain { Ok(()) } else { Err(UnpackError::Short { plain, found }) }
    }
}
