//! The block arena: pre-faulted buffers, lent, split into blocks, shared by
//! reference count, and returned whole.
//!
//! ```text
//!   lend ─> Buffer ─ split_to ─> BlockMut ─ freeze ─> BlockRef ─ clone, slice ─> BlockRef …
//!             │                      │                    │
//!             └──── the last handle of the buffer to go ──┴──> free list
//! ```
//!
//! Memory comes in chunks of equal buffers, zeroed (and so faulted in) when the
//! chunk is made, never given back before the arena ends, and never beyond the
//! budget. A buffer goes back in one step with all the blocks that were in it.
//! After that, lending, splitting, freezing, cloning and dropping allocate
//! nothing and take no lock; only growing does both.
//!
//! **Why handing out `&mut [u8]` is sound.** The bytes of a buffer are covered
//! by exclusive ranges that never overlap: a `Buffer` owns what is not yet
//! split off, a `BlockMut` owns its range, and splitting divides one range in
//! two. Freezing turns an exclusive range into one that is only read, for good.
//! A buffer is lent again only after its last handle went (E11, E12) or to its
//! only owner (E13).

mod buffer;
mod memory;
mod pool;

use weft_base::ByteCount;
use weft_base::sync::Arc;

pub use buffer::{BlockMut, BlockRef, Buffer};

/// Every buffer starts on a boundary of this many bytes.
pub const ALIGNMENT: usize = 64;

/// What an arena is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaOptions {
    /// Bytes of a small buffer, a multiple of 64. Default 64 KiB. What a
    /// connection reads into, so about this much memory per connection.
    pub small: usize,
    /// Bytes of a large buffer, a multiple of 64, at least `small`. Default
    /// 1 MiB + 64 KiB. For frames that do not fit a small one: at least the
    /// largest frame.
    pub large: usize,
    /// The most memory that the arena ever takes. Default 256 MiB. Neither
    /// class takes more than three quarters, so that neither can starve the other.
    pub budget: ByteCount,
    /// Memory that is faulted in at the start, in small buffers. Default 4 MiB.
    pub initial: ByteCount,
    /// Whether to ask the system for huge pages: fewer TLB misses, but memory
    /// is taken in pieces of 2 MiB. Default no. Not having them is no error.
    pub huge_pages: bool,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self {
            small: 64 << 10,
            large: (1 << 20) + (64 << 10),
            budget: ByteCount::mib(256),
            initial: ByteCount::mib(4),
            huge_pages: false,
        }
    }
}

/// Why an arena cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// A class of buffers has an impossible size.
    #[error("{class} buffers of {bytes} bytes: take a multiple of {ALIGNMENT} from {ALIGNMENT} to {MAX_BUFFER}")]
    BufferSize {
        /// `small` or `large`.
        class: &'static str,
        /// The size asked for.
        bytes: usize,
    },
    /// Large buffers would be smaller than small ones.
    #[error("large buffers of {large} bytes are smaller than small ones of {small}: raise `large` or lower `small`")]
    Order {
        /// The size of a small buffer.
        small: usize,
        /// The size of a large buffer.
        large: usize,
    },
    /// The budget has no room for a chunk of each class.
    #[error("a budget of {budget} is too small for these buffers: give at least {least}")]
    Budget {
        /// The budget asked for.
        budget: ByteCount,
        /// The smallest that works with the other options.
        least: ByteCount,
    },
    /// More memory is to be taken at the start than ever.
    #[error("{initial} at the start is more than {limit}, the most that small buffers may take: lower `initial`")]
    Initial {
        /// The memory asked for at the start.
        initial: ByteCount,
        /// Three quarters of the budget.
        limit: ByteCount,
    },
    /// The system did not give the memory for the start.
    #[error("the system refused {bytes} of memory: lower `initial`")]
    Memory {
        /// The chunk that was asked for.
        bytes: ByteCount,
    },
}

/// The largest buffer that an arena can be asked to have: 1 GiB.
pub const MAX_BUFFER: usize = 1 << 30;

/// What an arena has and has done. The numbers are read one after the other,
/// so they agree only while nothing is lent or returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Buffers out now.
    pub lent: usize,
    /// Of the size of buffers with the least left: how many are out of all that
    /// there can be, in thousandths. The sizes do not share what they have taken.
    pub busy: u32,
    /// Buffers ready to be lent without growing.
    pub free: usize,
    /// Memory taken from the system.
    pub bytes: u64,
    /// Requests that were answered with none: larger than a large buffer, or
    /// the budget spent.
    pub refused: u64,
    /// Whether the system took the advice to use huge pages, for every chunk.
    pub huge_pages: bool,
}

/// A handle to an arena. Its memory lives until the last handle and the last
/// buffer are gone.
#[derive(Clone)]
pub struct Arena {
    pool: Arc<pool::Pool>,
}

impl Arena {
    /// An arena with its initial memory faulted in.
    ///
    /// # Errors
    /// [`ArenaError`] names the option at fault and the remedy.
    pub fn new(options: ArenaOptions) -> Result<Self, ArenaError> {
        Ok(Self { pool: Arc::new(pool::Pool::new(&options)?) })
    }

    /// Lends an empty buffer with a capacity of at least `at_least` bytes; none
    /// if there is none of that size or the budget is spent (both counted as
    /// refused). Grows by a chunk when the class has no free buffer, which
    /// takes the time of faulting it in (about a third of a millisecond for
    /// each MiB); otherwise lock-free.
    #[must_use]
    pub fn lend(&self, at_least: usize) -> Option<Buffer> {
        pool::lend(&self.pool, at_least)
    }

    /// A block that holds a copy of `bytes`, in a buffer of its own; none as
    /// for [`lend`](Self::lend).
    #[must_use]
    pub fn copy_of(&self, bytes: &[u8]) -> Option<BlockRef> {
        let mut buffer = self.lend(bytes.len())?;
        buffer.extend(bytes);
        Some(buffer.split_to(bytes.len()).freeze())
    }

    /// The largest buffer that [`lend`](Self::lend) can give.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.pool.largest()
    }

    /// What the arena has and has done.
    #[must_use]
    pub fn stats(&self) -> ArenaStats {
        self.pool.stats()
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Arena").field(&self.stats()).finish()
    }
}
