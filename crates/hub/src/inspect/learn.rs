//! The learn stage: has what payloads are checked by made of each new control state.
//!
//! On a thread of its own, because compiling takes as long as it takes: meanwhile
//! payloads are checked by the state before. Only the last state counts; those
//! between are passed over. It is sent nothing and sends nothing: it is woken by
//! a new state, and wakes the stages that go by what it has made.

use std::sync::Arc;

use weft_base::{Mono, Now};
use weft_govern::inspect::Inspectors;
use weft_ring::stage::{Backlog, Stage, StageWaker};

use super::{Inspection, Shared};
use crate::counters::{Counters, add, set};
use crate::govern::Governed;

/// Documents that are not understood that are named in the log, of one state.
const MOST_FAULTS: usize = 16;

/// The stage.
pub(crate) struct LearnStage {
    inspectors: Box<dyn Inspectors>,
    governed: Governed,
    shared: Shared,
    counters: Arc<Counters>,
    waker: StageWaker,
    /// Who goes by it.
    others: Vec<StageWaker>,
    version: Option<u64>,
}

impl LearnStage {
    pub(crate) fn new(
        inspectors: Box<dyn Inspectors>,
        (governed, shared): (Governed, Shared),
        counters: Arc<Counters>,
        others: Vec<StageWaker>,
    ) -> Self {
        let waker = StageWaker::parking();
        governed.watch(waker.clone());
        Self { inspectors, governed, shared, counters, waker, others, version: None }
    }
}

impl Stage for LearnStage {
    fn name(&self) -> &'static str {
        "schemas"
    }

    fn do_work(&mut self, _now: Now) -> usize {
        if self.version == Some(self.governed.version()) {
            return 0;
        }
        let state = self.governed.state();
        let learned = self.inspectors.learn(&state);
        for fault in learned.faults.iter().take(MOST_FAULTS) {
            let (key, what) = (&fault.key, &fault.what);
            tracing::warn!(code = "schema_fault", key, what, "payloads that it speaks of do not fit");
        }
        self.version = Some(state.version());
        let is_same = self.shared.load().inspector.as_ref().is_some_and(|known| Arc::ptr_eq(known, &learned.inspector));
        if !is_same {
            self.shared.store(Arc::new(Inspection { inspector: Some(learned.inspector) }));
            for other in &self.others {
                other.wake();
            }
        }
        // Last: who sees the version may rely on being checked by it.
        let counts = &self.counters.schema;
        set(&counts.schemas, learned.schemas);
        set(&counts.faults, learned.faults.len() as u64);
        add(&counts.compiled, learned.compiled);
        set(&counts.version, state.version());
        1
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        None
    }

    fn load(&self) -> Backlog {
        Backlog { depth: 0, capacity: 1 }
    }
}
