//! The sync stage: makes what was appended durable.
//!
//! Always on a thread of its own, because `fdatasync` blocks, and for logs alone:
//! keyed state is synced by a stage of its own. It goes around
//! the streams that have something new and syncs each; whatever is appended
//! meanwhile is the next round's. The append stage sees the new positions in
//! the logs themselves and is woken.

use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::Mutex;
use weft_base::{Clock, Now};
use weft_log::Syncer;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};

use super::StreamSpec;
use crate::counters::{Counters, add};
use crate::messages::StreamSlot;
use crate::meters::Meter;
use crate::outbox::backlog;

/// A sync that takes as long is told of.
const SLOW: Duration = Duration::from_secs(1);

/// Inbox of the sync stage.
pub(crate) enum ToSync {
    /// A stream to keep in sync.
    Add { slot: StreamSlot, syncer: Syncer, state: Arc<SyncState>, of: Box<Whose> },
    /// A stream that is gone.
    Remove { slot: StreamSlot },
}

/// What a log is, for the hub's own log.
#[derive(Debug)]
pub(crate) struct Whose {
    pub(crate) stream: String,
    pub(crate) tenant: Option<String>,
}

impl Whose {
    /// The log of a stream, or what is put off for it.
    pub(crate) fn stream(spec: &StreamSpec) -> Box<Self> {
        Box::new(Self { stream: spec.name.clone(), tenant: spec.tenant_id().map(str::to_owned) })
    }

    /// Says that making it durable took so long.
    fn took(&self, time: Duration) {
        if time < SLOW {
            return;
        }
        tracing::warn!(
            code = "sync_slow",
            stream = self.stream,
            tenant_id = self.tenant.as_deref(),
            latency_ms = time.as_millis() as u64,
            "the disk took long to make a stream durable: who waits for that waited as long"
        );
    }
}

/// What the sync stage tells about one stream.
#[derive(Debug, Default)]
pub(crate) struct SyncState {
    failure: Mutex<Option<String>>,
}

impl SyncState {
    /// Why the last sync failed, told once.
    pub(crate) fn take_failure(&self) -> Option<String> {
        match self.failure.lock() {
            Ok(mut failure) => failure.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        }
    }

    fn fail(&self, reason: String) {
        match self.failure.lock() {
            Ok(mut failure) => *failure = Some(reason),
            Err(poisoned) => *poisoned.into_inner() = Some(reason),
        }
    }
}

struct Entry {
    slot: StreamSlot,
    syncer: Syncer,
    state: Arc<SyncState>,
    of: Box<Whose>,
    synced: u64,
    failed: bool,
}

/// The stage.
pub(crate) struct SyncStage {
    inbox: mpsc::Consumer<ToSync>,
    entries: Vec<Entry>,
    counters: Arc<Counters>,
    waker: StageWaker,
    append_waker: StageWaker,
    /// How long it takes to make a stream's end durable.
    syncs: Meter,
    clock: Arc<dyn Clock>,
}

impl SyncStage {
    pub(crate) fn new(
        inbox: mpsc::Consumer<ToSync>,
        counters: Arc<Counters>,
        waker: StageWaker,
        append_waker: StageWaker,
        (syncs, clock): (Meter, Arc<dyn Clock>),
    ) -> Self {
        Self { inbox, entries: Vec::new(), counters, waker, append_waker, syncs, clock }
    }
}

impl Stage for SyncStage {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn do_work(&mut self, now: Now) -> usize {
        let mut work = 0;
        // Read again after each sync alone: a stream that has nothing new costs nothing.
        let mut begun = now.mono;
        while let Some(message) = self.inbox.pop() {
            match message {
                ToSync::Add { slot, syncer, state, of } => {
                    self.entries.push(Entry { slot, syncer, state, of, synced: 0, failed: false });
                }
                ToSync::Remove { slot } => self.entries.retain(|entry| entry.slot != slot),
            }
        }
        for entry in &mut self.entries {
            match entry.syncer.commit() {
                Ok(synced) => {
                    entry.failed = false;
                    if synced != entry.synced {
                        entry.synced = synced;
                        add(&self.counters.syncs, 1);
                        let took = self.clock.now().mono.since(begun);
                        self.syncs.record(took, 1);
                        entry.of.took(took);
                        // Publishers first, then pages and files for what comes next.
                        self.append_waker.wake();
                        entry.syncer.prepare();
                        begun = self.clock.now().mono;
                        work += 1;
                    } else {
                        // Retention may have taken out segments of a stream that gets nothing new.
                        work += entry.syncer.tidy();
                    }
                }
                // Told once; the log refuses what comes after, until it works again.
                Err(error) if !entry.failed => {
                    entry.failed = true;
                    entry.state.fail(error.to_string());
                    self.append_waker.wake();
                }
                Err(_) => {}
            }
        }
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}
