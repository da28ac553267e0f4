//! The hub as a whole: started, drained and stopped. How its stages are put together
//! is in [`start`].

mod start;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{HubId, UnixNanos};
use weft_ring::mpsc;
use weft_ring::stage::{RunnerHandle, StageWaker};
use weft_topic::mapping::Mappings;

use crate::Identity;
use crate::counters::Counters;
use crate::environment::Environment;
pub use crate::errors::{BusyError, StartError, StopError};
use crate::govern::Aside;
use crate::lifecycle::{Lifecycle, Phase};
use crate::messages::ToConductor;
use crate::options::HubOptions;
use crate::route::table::RouteTable;
use crate::see::Collector;

/// A running hub. Dropping it without [`Hub::stop`] ends it without a drain.
pub struct Hub {
    clients: Vec<String>,
    hubs: Vec<String>,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    reach: Reach,
    pub(crate) drain_clients: Duration,
    pub(crate) waker: StageWaker,
    runner: RunnerHandle,
    /// The way to the conductor from outside.
    conductor: Mutex<mpsc::Producer<ToConductor>>,
    conductor_waker: StageWaker,
    aside: Arc<Aside>,
}

/// Which hubs are in the mesh, as the routes have it at any time.
#[derive(Clone)]
pub struct Reach(Arc<ArcSwap<RouteTable>>);

impl Reach {
    /// Whether a hub of this name can be reached now.
    #[must_use]
    pub fn is_there(&self, name: &str) -> bool {
        self.0.load().routes.is_reachable(HubId::of_name(name))
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts a hub on the machine's clock, network and disk.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(options: HubOptions) -> Result<Self, StartError> {
        let environment = Environment::of_machine(&options)?;
        Self::start_in(options, environment)
    }

    /// Where clients connect, as bound.
    #[must_use]
    pub fn client_addresses(&self) -> &[String] {
        &self.clients
    }

    /// The first address where hubs connect, as bound.
    #[must_use]
    pub fn hub_address(&self) -> Option<&str> {
        self.hubs.first().map(String::as_str)
    }

    /// Where hubs connect, as bound.
    #[must_use]
    pub fn hub_addresses(&self) -> &[String] {
        &self.hubs
    }

    /// Who the hub is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The hub's counters, live.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Which hubs are in the mesh, for who asks from another thread.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// The way in for servers of other protocols in this process.
    #[must_use]
    pub fn aside(&self) -> Arc<Aside> {
        self.aside.clone()
    }

    /// What makes spans of what is traced, for a thread of its own; `None` where
    /// nothing is traced. Ask once: two would share the blocks between them.
    #[must_use]
    pub fn traces(&self) -> Option<Collector> {
        self.counters.traces.is_on().then(|| Collector::new(self.counters.clone(), self.identity.clone()))
    }

    /// Begins the orderly end: stop accepting, finish what is under way,
    /// acknowledge, tell the peers. [`Hub::is_drained`] says when that is over.
    pub fn drain(&self) {
        self.lifecycle.enter(Phase::Draining);
        self.waker.wake();
    }

    /// Looks at its links again at once, because its identity was replaced;
    /// without this it does so the next time that something happens.
    pub fn look_again(&self) {
        self.waker.wake();
    }

    /// Replaces the rules by which topics of this hub's clients are mapped,
    /// without a restart: between two blocks. What was published before and
    /// comes again is mapped as it was.
    ///
    /// # Errors
    /// [`BusyError`]: the hub has no room for the message just now.
    pub fn set_mapping(&self, rules: Mappings) -> Result<(), BusyError> {
        let mut conductor = self.conductor.lock().unwrap_or_else(PoisonError::into_inner);
        conductor.push(ToConductor::Mapping(Box::new(rules))).map_err(|_| BusyError)?;
        self.conductor_waker.wake();
        Ok(())
    }

    /// Takes another configuration, as far as a running hub can
    /// ([`HubOptions::reloaded`]), without a restart; rules of mapping apart, see
    /// [`set_mapping`](Self::set_mapping). Links to neighbours that it does not name
    /// any more end, others are dialled, costs are told to the mesh, and limits
    /// hold for what comes from then on.
    ///
    /// # Errors
    /// [`BusyError`]: the hub has no room for the message just now.
    pub fn reload(&self, options: HubOptions) -> Result<(), BusyError> {
        let mut conductor = self.conductor.lock().unwrap_or_else(PoisonError::into_inner);
        conductor.push(ToConductor::Reload(Arc::new(options))).map_err(|_| BusyError)?;
        self.conductor_waker.wake();
        Ok(())
    }

    /// Whether a drain is over, or given up after `timers.drain`.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.lifecycle.phase() == Phase::Closed
    }

    /// Whether a stage has failed; the hub is then of no more use.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.runner.is_stopping()
    }

    /// Waits for a drain to end, checking every few milliseconds.
    pub fn wait_drained(&self) {
        while !self.is_drained() && !self.has_failed() {
            weft_base::sync::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Ends all stages: streams are synced and closed.
    ///
    /// # Errors
    /// The name of a stage that had panicked.
    pub fn stop(self) -> Result<(), StopError> {
        self.runner.stop();
        self.runner.join().map_err(|e| StopError(e.to_string()))?;
        // Who reads them from now on knows that nothing comes any more.
        let table = self.counters.table();
        table.end(UnixNanos(table.last_beat()));
        Ok(())
    }
}
