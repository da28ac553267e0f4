//! The machine as openraft wants it: entries applied in order, snapshots made
//! and installed. Entries that are applied are in the log or the last snapshot,
//! so the machine itself is not kept: it is built again when a council opens.

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, RaftSnapshotBuilder, Snapshot};
use weft_base::sync::{Arc, Mutex};

use crate::ledger::{Ledger, broken};
use crate::machine::{Machine, RestoreError};
use crate::runtime::lock;
use crate::storage::StorageError;
use crate::types::{Entry, LogId, Member, SnapshotMeta, StoredMembership, Types};

type Failure = openraft::StorageError<Member>;

/// The machine and how far it is.
pub(crate) struct Applied<M> {
    pub(crate) machine: M,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// The most bytes of a snapshot.
    snapshot: usize,
    /// Why a snapshot could not be made or restored.
    pub(crate) failure: Option<String>,
}

/// The machine of one council; clones are the same.
pub(crate) struct Replica<M> {
    pub(crate) applied: Arc<Mutex<Applied<M>>>,
    ledger: Ledger,
}

impl<M> Clone for Replica<M> {
    fn clone(&self) -> Self {
        Self { applied: Arc::clone(&self.applied), ledger: self.ledger.clone() }
    }
}

impl<M: Machine> Replica<M> {
    /// The machine as the last snapshot left it.
    pub(crate) fn open(mut machine: M, ledger: Ledger, most: usize) -> Result<Self, StorageError> {
        let (mut last, mut membership) = (None, StoredMembership::default());
        if let Some((meta, data)) = ledger.snapshot() {
            machine.restore(&data).map_err(|error| StorageError::Damaged(error.to_string()))?;
            (last, membership) = (meta.last_log_id, meta.last_membership);
        }
        let applied = Applied { machine, last, membership, snapshot: most, failure: None };
        Ok(Self { applied: Arc::new(Mutex::new(applied)), ledger })
    }
}

impl<M: Machine> RaftSnapshotBuilder<Types> for Replica<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failure> {
        let mut applied = lock(&self.applied);
        let data: Arc<[u8]> = Arc::from(applied.machine.snapshot());
        if data.len() > applied.snapshot {
            let what = format!("the control state is {} bytes, the limit is {}", data.len(), applied.snapshot);
            applied.failure = Some(what.clone());
            return Err(broken(RestoreError(what)));
        }
        let snapshot_id = applied.last.map_or_else(|| "0".to_owned(), |id| format!("{}-{}", id.leader_id, id.index));
        let meta = SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone(), snapshot_id };
        drop(applied);
        self.ledger.keep_snapshot(&meta, Arc::clone(&data))?;
        Ok(Snapshot { meta, snapshot: Box::new(data) })
    }
}

impl<M: Machine> RaftStateMachine<Types> for Replica<M> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), Failure> {
        let applied = lock(&self.applied);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<u8>>, Failure>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut applied = lock(&self.applied);
        let mut answers = Vec::new();
        for entry in entries {
            applied.last = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(proposal) => applied.machine.apply(&proposal.0, entry.log_id.index),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            });
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Arc<[u8]>>, Failure> {
        Ok(Box::new(Arc::from([])))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<Arc<[u8]>>) -> Result<(), Failure> {
        let mut applied = lock(&self.applied);
        if let Err(error) = applied.machine.restore(&snapshot) {
            applied.failure = Some(error.to_string());
            return Err(broken(error));
        }
        applied.last = meta.last_log_id;
        applied.membership = meta.last_membership.clone();
        drop(applied);
        self.ledger.keep_snapshot(meta, *snapshot)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failure> {
        Ok(self.ledger.snapshot().map(|(meta, data)| Snapshot { meta, snapshot: Box::new(data) }))
    }
}
