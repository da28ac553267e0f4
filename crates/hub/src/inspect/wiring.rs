//! How the stages that check payloads are put among the others when a hub starts.
//! A hub whose program gives nothing to check by has none of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_govern::inspect::Inspectors;
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::{Stage, StageWaker};

use super::learn::LearnStage;
use super::stage::{InspectParts, InspectStage};
use super::{Shared, ToInspect};
use crate::Identity;
use crate::counters::Counters;
use crate::govern::Governed;
use crate::messages::{ToAppend, ToNet};
use crate::outbox::Outbox;
use crate::route::table::RouteTable;

/// The stages' inbox and what they share, before there are stages.
pub(crate) struct Inspectorate {
    inspectors: Box<dyn Inspectors>,
    shared: Shared,
    inbox: (mpsc::Producer<ToInspect>, mpsc::Consumer<ToInspect>),
    waker: StageWaker,
}

impl Inspectorate {
    pub(crate) fn new(inspectors: Box<dyn Inspectors>, slots: usize) -> Self {
        Self { inspectors, shared: Shared::default(), inbox: mpsc::ring(slots), waker: StageWaker::parking() }
    }

    /// The way in.
    pub(crate) fn outbox(&self) -> Outbox<ToInspect> {
        Outbox::new(&self.inbox.0, &self.waker)
    }

    /// By what is checked.
    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// The stages. `net` is woken when there is something else to check by.
    pub(crate) fn stages(
        self,
        (net, net_waker): (Outbox<ToNet>, StageWaker),
        append: Outbox<ToAppend>,
        governed: Governed,
        (identity, counters): (Arc<Identity>, Arc<Counters>),
        (arena, snapshot, frame): (Arena, Arc<ArcSwap<RouteTable>>, usize),
    ) -> [Box<dyn Stage>; 2] {
        let others = vec![net_waker, self.waker.clone()];
        let learn = LearnStage::new(self.inspectors, (governed, self.shared.clone()), counters.clone(), others);
        let inspect = InspectStage::new(InspectParts {
            shared: self.shared,
            inbox: self.inbox.1,
            net,
            append,
            identity,
            counters,
            arena,
            snapshot,
            frame,
            waker: self.waker,
        });
        [Box::new(learn), Box::new(inspect)]
    }
}
