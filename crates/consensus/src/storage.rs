//! What is kept: the interface, and the interface's errors. `kept.rs` is the
//! implementation on redb.
//!
//! A council keeps all of it in memory as well, bounded by its limits, and reads
//! it once, when it opens. So storage is asked for two things only: everything,
//! and to make changes durable, all or none.

use crate::codec::CodecError;

/// What a council keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Whose it is; `None` before anything was kept.
    pub owner: Option<Owner>,
    /// The cluster that its hub belongs to; 0 in none.
    pub cluster: u64,
    /// The last vote.
    pub vote: Option<Vec<u8>>,
    /// The last entry known to be committed; may be behind.
    pub committed: Option<Vec<u8>>,
    /// The last entry that was given up after a snapshot.
    pub purged: Option<Vec<u8>>,
    /// Entries with their indexes, in order, without a hole.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// The last snapshot: what it covers, and the machine's bytes.
    pub snapshot: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whose control state it is, so that a file that was copied from another hub,
/// or is older than the data folder, does not vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The hub's name.
    pub name: String,
    /// The instance of its data folder (`weft.json`).
    pub folder: u64,
    /// The instance of this control state, drawn when it was made.
    pub instance: u64,
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Once, before all others.
    Owner(&'a Owner),
    /// The hub belongs to this cluster.
    Cluster(u64),
    /// The last vote.
    Vote(&'a [u8]),
    /// The last entry known to be committed.
    Committed(&'a [u8]),
    /// The next entry.
    Append {
        /// Its index.
        index: u64,
        /// The entry.
        bytes: &'a [u8],
    },
    /// Entries from this one on are gone.
    Truncate {
        /// The first that is gone.
        from: u64,
    },
    /// Entries up to this one are gone.
    Purge {
        /// The last that is gone.
        upto: u64,
        /// Its id.
        id: &'a [u8],
    },
    /// In the place of the last snapshot.
    Snapshot {
        /// What it covers.
        meta: &'a [u8],
        /// The machine's bytes.
        data: &'a [u8],
    },
}

/// Where control state is kept.
pub trait Storage: Send + 'static {
    /// All that is kept, verified.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    fn load(&mut self) -> Result<Stored, StorageError>;

    /// Makes all of these changes or none of them; returns when they would
    /// outlive a loss of power. Votes are given and entries acknowledged on the
    /// strength of it.
    ///
    /// # Errors
    /// They may or may not have been made. The council stops.
    fn save(&mut self, changes: &[Change<'_>]) -> Result<(), StorageError>;
}

/// Control state cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The disk failed.
    #[error("the control state cannot be read or written: {0}: check the disk and start the hub again")]
    Disk(String),
    /// Another process has it open.
    #[error("the control state is open in another process: stop that process")]
    Busy,
    /// What was written is not there, or other than it was.
    #[error(
        "the control state is damaged ({0}): move `control.redb` away and start the hub again; \
         it comes back as another member and gets the state from the others"
    )]
    Damaged(String),
    /// A later version of Weft wrote it.
    #[error(
        "the control state is of format {found}, this version reads format {known}: start the version that wrote it"
    )]
    Format {
        /// What was found.
        found: u64,
        /// What is known.
        known: u64,
    },
}

impl From<CodecError> for StorageError {
    fn from(error: CodecError) -> Self {
        Self::Damaged(error.to_string())
    }
}
