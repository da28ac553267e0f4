//! Keyed state on an LSM tree of the crate fjall.
//!
//! ```text
//! one write batch -> journal (survives the process) -> memtables -> tables
//!                       fdatasync in `sync`
//! ```
//!
//! What is known of fjall, and what is done about it: it makes nothing durable
//! by itself, so `sync` persists; the end of a journal that is damaged ends its
//! replay silently, so nothing may lie here alone; clearing a keyspace had bugs,
//! so it is not used; a value keeps its whole block alive, so values are copied
//! out. Caches and memtables are small, so that a hub at rest stays small.

use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use weft_base::ByteCount;

use crate::{Batch, Entry, Keyed, KeyedError, Space};

/// Files kept open.
const OPEN_FILES: usize = 128;
/// Bytes of all journals: the least that fjall takes.
const JOURNAL: ByteCount = ByteCount::mib(64);

/// How much memory keyed state takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    /// Of tables, kept in memory; the least recently used blocks go first.
    pub cache: ByteCount,
    /// What one space keeps in memory before it is written as a table.
    pub memtable: ByteCount,
}

impl Default for LsmOptions {
    fn default() -> Self {
        Self { cache: ByteCount::mib(4), memtable: ByteCount::mib(2) }
    }
}

impl LsmOptions {
    /// The most bytes that all of it takes: the cache, and for each space a
    /// memtable that fills beside one that is written.
    #[must_use]
    pub fn memory(&self) -> ByteCount {
        ByteCount(self.cache.0.saturating_add(self.memtable.0.saturating_mul(2 * Space::ALL.len() as u64)))
    }
}

/// Keyed state in a folder, which belongs to one process at a time.
pub struct LsmKeyed {
    database: Database,
    /// In the order of [`Space::ALL`].
    spaces: [Keyspace; Space::ALL.len()],
}

impl std::fmt::Debug for LsmKeyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LsmKeyed").finish_non_exhaustive()
    }
}

impl LsmKeyed {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`KeyedError`]: in use, damaged, or the disk refused.
    pub fn open(path: &Path, options: LsmOptions) -> Result<Self, KeyedError> {
        // fjall asserts, where debug assertions are on, that a journal's torn
        // end is as it should be. A hub that cannot start is worse than state
        // that is made anew.
        let opened = std::panic::catch_unwind(|| Self::open_or_panic(path, options));
        opened.unwrap_or_else(|_| Err(KeyedError::Damaged { reason: "a journal's end cannot be read".to_owned() }))
    }

    fn open_or_panic(path: &Path, options: LsmOptions) -> Result<Self, KeyedError> {
        let failed = |error| from_fjall(error, path);
        let database = Database::builder(path)
            .cache_size(options.cache.0)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNAL.0)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let open = |space: Space| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable.0);
            database.keyspace(space.name(), options).map_err(|error| from_fjall(error, path))
        };
        let [a, b, c, d, e, f] = Space::ALL.map(open);
        let spaces = [a?, b?, c?, d?, e?, f?];
        sync_names(path).map_err(KeyedError::Io)?;
        Ok(Self { database, spaces })
    }

    fn space(&self, space: Space) -> &Keyspace {
        let [producers, positions, last, schedule, cursors, meta] = &self.spaces;
        match space {
            Space::Producers => producers,
            Space::Positions => positions,
            Space::Last => last,
            Space::Schedule => schedule,
            Space::Cursors => cursors,
            Space::Meta => meta,
        }
    }
}

/// Makes the names of the folder and of those in it durable: fjall syncs its
/// files, but neither the folder that holds its own nor the one that holds
/// those of its spaces, and without their names files are gone.
fn sync_names(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(path)? {
        let inner = entry?.path();
        if inner.is_dir() {
            std::fs::File::open(inner)?.sync_all()?;
        }
    }
    std::fs::File::open(path)?.sync_all()?;
    std::fs::File::open(parent)?.sync_all()
}

impl Keyed for LsmKeyed {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KeyedError> {
        let value = self.space(space).get(key).map_err(failed)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError> {
        if !below.is_empty() && from >= below {
            return Ok(Vec::new());
        }
        let space = self.space(space);
        let range = if below.is_empty() { space.range(from..) } else { space.range(from..below) };
        range
            .take(most)
            .map(|entry| entry.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed))
            .collect()
    }

    fn apply(&self, batch: Batch) -> Result<(), KeyedError> {
        let writes = batch.checked()?;
        if writes.is_empty() {
            return Ok(());
        }
        let mut all = self.database.batch();
        for write in writes {
            let space = self.space(write.space);
            match write.value {
                Some(value) => all.insert(space, write.key, value),
                None => all.remove(space, write.key),
            }
        }
        all.commit().map_err(failed)
    }

    fn sync(&self) -> Result<(), KeyedError> {
        self.database.persist(PersistMode::SyncData).map_err(failed)
    }
}

fn failed(error: fjall::Error) -> KeyedError {
    from_fjall(error, Path::new(""))
}

fn from_fjall(error: fjall::Error, path: &Path) -> KeyedError {
    match error {
        fjall::Error::Io(source) => KeyedError::Io(source),
        fjall::Error::Storage(fjall::LsmError::Io(source)) => KeyedError::Io(source),
        fjall::Error::Locked => KeyedError::InUse { path: PathBuf::from(path) },
        fjall::Error::Poisoned => KeyedError::Stopped,
        other => KeyedError::Damaged { reason: format!("{other:?}") },
    }
}
