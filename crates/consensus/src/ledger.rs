//! The log as openraft wants it, over [`Storage`]: entries are durable before
//! they are acknowledged, a vote before it is given.
//!
//! All of the log is in memory too, so that readers never wait for a disk. It is
//! bounded: the council asks for a snapshot when it has grown by
//! [`Limits::log_entries`](crate::Limits::log_entries) or
//! [`Limits::log_bytes`](crate::Limits::log_bytes), after which openraft gives
//! up what the snapshot covers. When storage fails, the council stops for good:
//! nobody knows what is on the disk.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, RaftLogReader, StorageIOError};
use weft_base::sync::{Arc, Mutex};

use crate::codec::{read_all, written};
use crate::runtime::lock;
use crate::storage::{Change, Owner, Storage, StorageError, Stored};
use crate::types::{Entry, LogId, Member, SnapshotMeta, Types, Vote};

type Failure = openraft::StorageError<Member>;

struct Line {
    entry: Entry,
    bytes: usize,
}

struct Pages {
    storage: Box<dyn Storage>,
    cluster: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The committed id is on its way to the disk with the next save.
    committed_is_new: bool,
    purged: Option<LogId>,
    lines: BTreeMap<u64, Line>,
    bytes: usize,
    snapshot: Option<(SnapshotMeta, Arc<[u8]>)>,
    failure: Option<StorageError>,
    /// The most bytes of entries in one answer, but for a single larger one.
    batch: usize,
}

/// The log and the last snapshot; clones are the same.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Mutex<Pages>>);

impl Ledger {
    /// What is stored, understood.
    pub(crate) fn open(storage: Box<dyn Storage>, stored: Stored, batch: usize) -> Result<Self, StorageError> {
        let log_id = |bytes: Option<Vec<u8>>| bytes.map(|bytes| read_all(&bytes, |reader| reader.log_id())).transpose();
        let vote = stored.vote.map(|bytes| read_all(&bytes, |reader| reader.vote())).transpose()?;
        let (committed, purged) = (log_id(stored.committed)?, log_id(stored.purged)?);
        let snapshot = match stored.snapshot {
            Some((meta, data)) => Some((read_all(&meta, |reader| reader.meta())?, Arc::from(data))),
            None => None,
        };
        let mut pages = Pages {
            storage,
            cluster: stored.cluster,
            vote,
            committed,
            committed_is_new: false,
            purged,
            lines: BTreeMap::new(),
            bytes: 0,
            snapshot,
            failure: None,
            batch,
        };
        let covered = pages.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id);
        for (index, bytes) in stored.entries {
            let entry = read_all(&bytes, |reader| reader.entry())?;
            if entry.log_id.index != index {
                return Err(StorageError::Damaged(format!(
                    "entry {index} says that it is entry {}",
                    entry.log_id.index
                )));
            }
            pages.bytes += bytes.len();
            pages.lines.insert(index, Line { entry, bytes: bytes.len() });
        }
        let first = pages.lines.keys().next().copied();
        let expected = pages.purged.map_or(0, |id| id.index + 1);
        let is_whole = first.is_none_or(|first| first == expected);
        if !is_whole || pages.purged > covered {
            return Err(StorageError::Damaged(format!(
                "it begins at entry {first:?} after entry {:?}, with a snapshot up to entry {:?}",
                pages.purged.map(|id| id.index),
                covered.map(|id| id.index)
            )));
        }
        Ok(Self(Arc::new(Mutex::new(pages))))
    }

    pub(crate) fn cluster(&self) -> u64 {
        lock(&self.0).cluster
    }

    /// The hub belongs to this cluster for good.
    pub(crate) fn join(&self, cluster: u64) -> Result<(), StorageError> {
        let mut pages = lock(&self.0);
        pages.save(&[Change::Cluster(cluster)])?;
        pages.cluster = cluster;
        Ok(())
    }

    /// Why storage failed, if it has.
    pub(crate) fn failure(&self) -> Option<StorageError> {
        lock(&self.0).failure.clone()
    }

    /// How many entries there are after the one of this index, and their bytes.
    pub(crate) fn after(&self, index: Option<u64>) -> (u64, usize) {
        let pages = lock(&self.0);
        let from = index.map_or(0, |index| index + 1);
        pages.lines.range(from..).fold((0, 0), |(count, bytes), (_, line)| (count + 1, bytes + line.bytes))
    }

    /// The term of the last vote.
    pub(crate) fn term(&self) -> u64 {
        lock(&self.0).vote.map_or(0, |vote| vote.leader_id.term)
    }

    /// The last entry's index.
    pub(crate) fn end(&self) -> Option<u64> {
        let pages = lock(&self.0);
        pages.lines.keys().next_back().copied().or(pages.purged.map(|id| id.index))
    }

    /// Whether a Raft was ever begun here.
    pub(crate) fn is_blank(&self) -> bool {
        let pages = lock(&self.0);
        pages.lines.is_empty() && pages.snapshot.is_none() && pages.vote.is_none()
    }

    pub(crate) fn snapshot(&self) -> Option<(SnapshotMeta, Arc<[u8]>)> {
        lock(&self.0).snapshot.clone()
    }

    pub(crate) fn keep_snapshot(&self, meta: &SnapshotMeta, data: Arc<[u8]>) -> Result<(), Failure> {
        let mut pages = lock(&self.0);
        let bytes = written(|out| out.meta(meta));
        pages.save(&[Change::Snapshot { meta: &bytes, data: &data }]).map_err(broken)?;
        pages.snapshot = Some((meta.clone(), data));
        Ok(())
    }
}

/// Whose a new control state is, made durable before anything else.
pub(crate) fn own(storage: &mut dyn Storage, owner: &Owner) -> Result<(), StorageError> {
    storage.save(&[Change::Owner(owner)])
}

/// An error of storage as openraft knows it.
pub(crate) fn broken(error: impl std::error::Error + 'static) -> Failure {
    StorageIOError::write(&error).into()
}

impl Pages {
    fn save(&mut self, changes: &[Change<'_>]) -> Result<(), StorageError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let committed = self.committed.filter(|_| self.committed_is_new).map(|id| written(|out| out.log_id(&id)));
        let mut all = changes.to_vec();
        all.extend(committed.as_deref().map(Change::Committed));
        let saved = self.storage.save(&all);
        match &saved {
            Ok(()) => self.committed_is_new = false,
            Err(error) => self.failure = Some(error.clone()),
        }
        saved
    }

    fn drop_from(&mut self, from: u64) {
        let gone = self.lines.split_off(&from);
        self.bytes -= gone.values().map(|line| line.bytes).sum::<usize>();
    }

    fn range(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        let start = range.start_bound().cloned();
        let end = range.end_bound().cloned();
        // A range that ends before it begins is empty; the map would panic.
        let first = match start {
            Bound::Included(first) => first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let past = match end {
            Bound::Included(last) => last + 1,
            Bound::Excluded(past) => past,
            Bound::Unbounded => u64::MAX,
        };
        if first >= past {
            return Vec::new();
        }
        self.lines.range(first..past).map(|(_, line)| line.entry.clone()).collect()
    }
}

impl RaftLogReader<Types> for Ledger {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, Failure> {
        Ok(lock(&self.0).range(range))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, Failure> {
        let pages = lock(&self.0);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for line in pages.lines.range(start..end.max(start)).map(|(_, line)| line) {
            bytes += line.bytes;
            if bytes > pages.batch && !entries.is_empty() {
                break;
            }
            entries.push(line.entry.clone());
        }
        Ok(entries)
    }
}

impl RaftLogStorage<Types> for Ledger {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        let pages = lock(&self.0);
        let last = pages.lines.values().next_back().map(|line| line.entry.log_id);
        Ok(LogState { last_purged_log_id: pages.purged, last_log_id: last.or(pages.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failure> {
        let mut pages = lock(&self.0);
        let bytes = written(|out| out.vote(vote));
        pages.save(&[Change::Vote(&bytes)]).map_err(broken)?;
        pages.vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failure> {
        Ok(lock(&self.0).vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failure> {
        // Not worth a sync: lost, it is found again by the leader's next message.
        let mut pages = lock(&self.0);
        pages.committed = committed;
        pages.committed_is_new = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failure> {
        Ok(lock(&self.0).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<(Entry, Vec<u8>)> = entries
            .into_iter()
            .map(|entry| {
                let bytes = written(|out| out.entry(&entry));
                (entry, bytes)
            })
            .collect();
        let mut pages = lock(&self.0);
        let changes: Vec<Change<'_>> =
            entries.iter().map(|(entry, bytes)| Change::Append { index: entry.log_id.index, bytes }).collect();
        if let Err(error) = pages.save(&changes) {
            callback.log_io_completed(Err(std::io::Error::other(error.clone())));
            return Err(broken(error));
        }
        for (entry, bytes) in entries {
            pages.bytes += bytes.len();
            pages.lines.insert(entry.log_id.index, Line { entry, bytes: bytes.len() });
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), Failure> {
        let mut pages = lock(&self.0);
        pages.save(&[Change::Truncate { from: log_id.index }]).map_err(broken)?;
        pages.drop_from(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), Failure> {
        let mut pages = lock(&self.0);
        let id = written(|out| out.log_id(&log_id));
        pages.save(&[Change::Purge { upto: log_id.index, id: &id }]).map_err(broken)?;
        pages.purged = Some(log_id);
        let kept = pages.lines.split_off(&(log_id.index + 1));
        let gone = std::mem::replace(&mut pages.lines, kept);
        pages.bytes -= gone.values().map(|line| line.bytes).sum::<usize>();
        Ok(())
    }
}
