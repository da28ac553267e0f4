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

use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// There until it is dropped.
    tree: Option<Tree>,
}

struct Tree {
    /// In the order of [`Space::ALL`].
    spaces: [Keyspace; Space::ALL.len()],
    database: Database,
}

/// fjall panics on some damage, by its own assertions or, after that, on a lock
/// that was held. What lies here can be made anew, so the hub does not end for
/// it: it is damage like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, KeyedError>) -> Result<T, KeyedError> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(KeyedError::Damaged { reason: "it cannot be read any further".to_owned() }))
}

impl Drop for LsmKeyed {
    fn drop(&mut self) {
        let tree = self.tree.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(tree)));
    }
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
        // Where debug assertions are on, a journal's torn end is one of those.
        guarded(|| Self::open_or_panic(path, options))
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
        Ok(Self { tree: Some(Tree { spaces, database }) })
    }

    fn tree(&self) -> Result<&Tree, KeyedError> {
        self.tree.as_ref().ok_or(KeyedError::Stopped)
    }
}

impl Tree {
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
        let tree = self.tree()?;
        guarded(|| Ok(tree.space(space).get(key).map_err(failed)?.map(|value| value.to_vec())))
    }

    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError> {
        if !below.is_empty() && from >= below {
            return Ok(Vec::new());
        }
        let space = self.tree()?.space(space);
        guarded(|| {
            let range = if below.is_empty() { space.range(from..) } else { space.range(from..below) };
            range
                .take(most)
                .map(|entry| entry.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed))
                .collect()
        })
    }

    fn apply(&self, batch: Batch) -> Result<(), KeyedError> {
        let writes = batch.checked()?;
        if writes.is_empty() {
            return Ok(());
        }
        let tree = self.tree()?;
        guarded(|| {
            let mut all = tree.database.batch();
            for write in writes {
                let space = tree.space(write.space);
                match write.value {
                    Some(value) => all.insert(space, write.key, value),
                    None => all.remove(space, write.key),
                }
            }
            all.commit().map_err(failed)
        })
    }

    fn sync(&self) -> Result<(), KeyedError> {
        let tree = self.tree()?;
        guarded(|| tree.database.persist(PersistMode::SyncData).map_err(failed))
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
