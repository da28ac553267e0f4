//! Control state on redb: one file, one transaction per save, synced before it
//! returns. The same code runs on a file and on the twin of it that loses what
//! was not synced (`disk.rs`).
//!
//! Each value carries a CRC-32C, and the file is checked page by page when it is
//! opened, so damage is told and never taken for an empty state. A file that is
//! there but empty is one whose first write did not complete: nothing in it was
//! ever acknowledged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable, StorageBackend, TableDefinition};
use weft_base::checksum::crc32c;

use crate::codec::{read_all, written};
use crate::storage::{Change, Owner, Storage, StorageError, Stored};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const FORMAT: u64 = 1;
/// What redb may keep of the file in memory; all that is read is read once.
const CACHE: usize = 1 << 20;

/// Control state in a redb database.
pub struct Kept {
    database: Database,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

fn disk(error: impl std::fmt::Display) -> StorageError {
    StorageError::Disk(error.to_string())
}

impl Kept {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let backend = redb::backends::FileBackend::new(file.map_err(disk)?).map_err(refusal)?;
        let kept = Self::on(backend)?;
        // The name of a new file outlives a loss of power as its content does.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
        }
        Ok(kept)
    }

    /// Opens what is kept in a file of another kind.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn on(backend: impl StorageBackend) -> Result<Self, StorageError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        // redb says that it may panic on a file that was altered; the check above
        // finds most of that, and the rest must not take the hub with it.
        match catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend))) {
            Ok(Ok(database)) => Ok(Self { database }),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(StorageError::Damaged("its pages make no sense".to_owned())),
        }
    }
}

fn refusal(error: DatabaseError) -> StorageError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StorageError::Busy,
        DatabaseError::Storage(redb::StorageError::Corrupted(what)) => StorageError::Damaged(what),
        // What is not a database at all comes as an error of input.
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::Damaged(error.to_string())
        }
        DatabaseError::RepairAborted => StorageError::Damaged("it cannot be repaired".to_owned()),
        other => disk(other),
    }
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(bytes.len() + 4);
    sealed.extend(crc32c(bytes).to_le_bytes());
    sealed.extend(bytes);
    sealed
}

fn opened(sealed: &[u8], what: &str) -> Result<Vec<u8>, StorageError> {
    match sealed.split_first_chunk::<4>() {
        Some((crc, bytes)) if crc32c(bytes).to_le_bytes() == *crc => Ok(bytes.to_vec()),
        _ => Err(StorageError::Damaged(format!("the checksum of {what} does not match"))),
    }
}

impl Storage for Kept {
    fn load(&mut self) -> Result<Stored, StorageError> {
        let reading = self.database.begin_read().map_err(disk)?;
        let values = match reading.open_table(VALUES) {
            Ok(values) => values,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Stored::default()),
            Err(error) => return Err(disk(error)),
        };
        let value = |name: &'static str| -> Result<Option<Vec<u8>>, StorageError> {
            let found = values.get(name).map_err(disk)?;
            found.map(|found| opened(found.value(), name)).transpose()
        };
        let number = |name| -> Result<Option<u64>, StorageError> {
            Ok(value(name)?.map(|bytes| read_all(&bytes, |reader| reader.u64())).transpose()?)
        };
        let format = number("format")?.unwrap_or_default();
        if format != FORMAT {
            return Err(StorageError::Format { found: format, known: FORMAT });
        }
        let owner = value("owner")?.map(|bytes| {
            read_all(&bytes, |reader| {
                Ok(Owner { name: reader.name()?, folder: reader.u64()?, instance: reader.u64()? })
            })
        });
        let mut stored = Stored {
            owner: owner.transpose()?,
            cluster: number("cluster")?.unwrap_or_default(),
            vote: value("vote")?,
            committed: value("committed")?,
            purged: value("purged")?,
            entries: Vec::new(),
            snapshot: value("snapshot-meta")?.zip(value("snapshot")?),
        };
        let log = match reading.open_table(LOG) {
            Ok(log) => log,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(stored),
            Err(error) => return Err(disk(error)),
        };
        for entry in log.iter().map_err(disk)? {
            let (index, sealed) = entry.map_err(disk)?;
            let index = index.value();
            if stored.entries.last().is_some_and(|(last, _)| last + 1 != index) {
                return Err(StorageError::Damaged(format!("entries before entry {index} are missing")));
            }
            stored.entries.push((index, opened(sealed.value(), "an entry")?));
        }
        Ok(stored)
    }

    fn save(&mut self, changes: &[Change<'_>]) -> Result<(), StorageError> {
        // Durability is `Immediate` by default: synced when `commit` returns.
        let writing = self.database.begin_write().map_err(disk)?;
        {
            let mut values = writing.open_table(VALUES).map_err(disk)?;
            let mut log = writing.open_table(LOG).map_err(disk)?;
            let mut put = |name, bytes: &[u8]| values.insert(name, sealed(bytes).as_slice()).map(drop).map_err(disk);
            for change in changes {
                match change {
                    Change::Owner(owner) => {
                        put("format", &FORMAT.to_le_bytes())?;
                        let bytes = written(|out| {
                            out.bytes(owner.name.as_bytes());
                            out.u64(owner.folder);
                            out.u64(owner.instance);
                        });
                        put("owner", &bytes)?;
                    }
                    Change::Cluster(cluster) => put("cluster", &cluster.to_le_bytes())?,
                    Change::Vote(vote) => put("vote", vote)?,
                    Change::Committed(id) => put("committed", id)?,
                    Change::Append { index, bytes } => {
                        log.insert(index, sealed(bytes).as_slice()).map_err(disk)?;
                    }
                    Change::Truncate { from } => log.retain_in(*from.., |_, _| false).map_err(disk)?,
                    Change::Purge { upto, id } => {
                        log.retain_in(..=*upto, |_, _| false).map_err(disk)?;
                        put("purged", id)?;
                    }
                    Change::Snapshot { meta, data } => {
                        put("snapshot-meta", meta)?;
                        put("snapshot", data)?;
                    }
                }
            }
        }
        writing.commit().map_err(disk)
    }
}
