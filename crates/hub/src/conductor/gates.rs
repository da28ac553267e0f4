//! Subscriptions that make their publishers wait: those here are told to the
//! mesh as they turn, those of other hubs hold back what is published here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::Mono;
use weft_mesh::Event;
use weft_ring::stage::StageWaker;
use weft_topic::Filter;
use weft_wire::frame::GateState;

use super::Conductor;
use super::report::nanos;
use crate::gate::{Gate, Holder};
use crate::messages::Target;
use crate::route::table::GateSlot;

/// The conductor's side of gates.
pub(super) struct Gates {
    waker: StageWaker,
    /// The number of each gate of this hub, for the mesh.
    numbers: HashMap<Target, u64>,
    next: u64,
}

impl Gates {
    /// None yet. `waker` wakes the stage that holds publishes back.
    pub(super) fn new(waker: StageWaker) -> Self {
        Self { waker, numbers: HashMap::new(), next: 1 }
    }
}

/// What is known of a gate of another hub.
pub(super) struct RemoteGate {
    pub(super) slot: GateSlot,
    pub(super) state: GateState,
    pub(super) behind_ms: u64,
    pub(super) filter: Filter,
    pub(super) subscriber: String,
    pub(super) hub: String,
}

impl Conductor {
    /// A subscription here makes its publishers wait.
    pub(super) fn own_gate(&mut self, target: Target, gate: Arc<Gate>, filter: &Filter) {
        let number = self.gates.next;
        self.gates.next += 1;
        self.gates.numbers.insert(target, number);
        let state = if gate.is_closed() { GateState::Closed } else { GateState::Open };
        let subscriber = gate.holder().subscriber.clone();
        Arc::make_mut(&mut self.table.gates).insert(target, gate);
        self.apply(Event::Gate { gate: number, state, behind_ms: 0, filter: filter.clone(), subscriber });
    }

    /// It has ended.
    pub(super) fn own_gate_ends(&mut self, target: Target, filter: &Filter) {
        let Some(gate) = self.gates.numbers.remove(&target) else { return };
        Arc::make_mut(&mut self.table.gates).remove(&target);
        let (state, behind_ms) = (GateState::Gone, 0);
        self.apply(Event::Gate { gate, state, behind_ms, filter: filter.clone(), subscriber: String::new() });
    }

    /// It was closed or opened.
    pub(super) fn gate_turned(&mut self, target: Target, closed: bool, behind_ms: u64) {
        let Some(gate) = self.gates.numbers.get(&target).copied() else { return };
        let Some(subscriber) = self.table.gates.get(&target).map(|gate| gate.holder().subscriber.clone()) else {
            return;
        };
        let Some((filter, _)) = self.subscriptions.get(&target).cloned() else { return };
        let state = if closed { GateState::Closed } else { GateState::Open };
        self.apply(Event::Gate { gate, state, behind_ms, filter, subscriber });
    }

    /// News of a gate of another hub.
    pub(super) fn remote_gate(&mut self, said: RemoteGate) {
        let RemoteGate { slot, state, behind_ms, filter, subscriber, hub } = said;
        if state == GateState::Gone {
            let Some(gate) = Arc::make_mut(&mut self.table.remote_gate_list).remove(&slot) else { return };
            gate.end();
            self.table.remote_gates.remove(&filter, &slot);
            self.stale = true;
            return;
        }
        let gate = match self.table.remote_gate_list.get(&slot) {
            Some(gate) => gate.clone(),
            None => {
                let holder = Holder { subscriber, hub, filter: filter.as_str().to_owned() };
                let gate = Gate::new(holder, None, self.gates.waker.clone());
                self.table.remote_gates.insert(&filter, slot);
                Arc::make_mut(&mut self.table.remote_gate_list).insert(slot, gate.clone());
                self.stale = true;
                gate
            }
        };
        if state == GateState::Closed {
            let behind = nanos(Duration::from_millis(behind_ms));
            gate.behind_since(Mono(self.now.mono.0.saturating_sub(behind)));
            gate.close();
        } else {
            gate.open();
        }
    }
}
