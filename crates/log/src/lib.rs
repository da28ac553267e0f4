//! Layer 1: the append-only log of blocks, one per stream.
//!
//! A log is a folder of segments, each a file that is pre-allocated and mapped
//! into memory. Its content is the blocks as they arrived: appending is one
//! write of the system, reading lends the mapping's bytes in place. Each event gets a
//! sequence, from 1, without gaps.
//!
//! * [`Log`] appends, and takes out old segments. One thread.
//! * [`Syncer`] brings what was appended to the disk. Another thread.
//! * [`LogReader`] reads. Any number of threads, while the others work.
//! * [`fs::Fs`] is all of the file system that is used; [`fs::RealFs`] is the
//!   machine's, [`fault::FaultFs`] one that loses power, fails and fills up.
//!
//! Where to begin reading: [`format`](mod@format) for the bytes on disk,
//! [`recover`] for what is promised after a crash and how it is kept,
//! [`sync`] for durability, [`mmap`] for why sharing the mapping is sound,
//! [`offline`] for looking at a log that is not open, and repairing it.
//!
//! Limits, and what happens at each: a block larger than
//! [`LogOptions::max_block`] is refused; without room on the disk blocks are
//! refused while reads go on; after a failed write or sync blocks are refused until the
//! log is opened again. Memory does not grow with what the log holds but with
//! the number of its segments: about 400 bytes and 16 for each home for each of
//! them. Beside that and the mapping it is the indexes of nine segments (28
//! bytes and 16 for each home for each [`LogOptions::index_every`] bytes) and
//! at most [`recover::MAX_DAMAGES`] reports.
//!
//! Nothing here knows topics, producers, sessions, or when to sync and when to
//! remove: the hub decides.
#![deny(unsafe_code)]

mod active;
mod append;
mod compact;
mod crypt;
mod error;
pub mod fault;
pub mod format;
pub mod fs;
mod homes;
mod index;
mod judge;
mod load;
mod mend;
pub mod mmap;
pub mod offline;
mod options;
mod read;
pub mod recover;
mod scan;
mod segment;
mod shared;
mod side;
pub mod sync;
mod verify;

pub use append::{Appended, Kept, Log};
pub use compact::{ASKED, Compacted};
pub use crypt::{KEY_LEN, Keys, KeysError, MAX_KEYS};
pub use error::{AppendError, CompactError, OpenError, ReadError, SyncError};
pub use homes::MAX_HOMES;
pub use mend::{Hole, Look, MendError, Mender};
pub use options::LogOptions;
pub use read::{Blocks, Fate, LogBlock, LogReader};
pub use recover::{Damage, Recovery};
pub use sync::Syncer;
pub use verify::{Verified, Verifier};
