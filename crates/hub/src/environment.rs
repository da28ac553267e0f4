//! What a hub stands on, handed in by who starts it: time, network, disk, and
//! who decides what may be done. So a hub knows none of those by name, and tests
//! and simulations put twins in their place.

use std::sync::Arc;

use weft_base::Clock;
use weft_govern::access::Judge;
use weft_govern::inspect::Inspectors;
use weft_govern::login::Door;
use weft_keyed::Keyed;
use weft_log::fs::{Fs, RealFs};
use weft_observe::TableOptions;
use weft_transport::Network;

use crate::govern::{Governance, Governed};
use crate::hub::StartError;
use crate::options::HubOptions;
use crate::profile::Profiler;

/// What a hub stands on: replaced by twins in tests and simulations.
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The network.
    pub network: Box<dyn Network>,
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// Small state by key. `None`: an LSM tree in the data folder.
    pub keyed: Option<Arc<dyn Keyed>>,
    /// Who samples this process's threads when an operator asks; without one
    /// such requests are refused.
    pub profiler: Option<Arc<dyn Profiler>>,
    /// Who decides what may be done. `None`: everybody may do everything.
    pub judge: Option<Box<dyn Judge>>,
    /// Who says who a client is. `None`: everybody is who its certificate says, or
    /// what it calls itself.
    pub door: Option<Box<dyn Door>>,
    /// Who makes of the state what payloads are checked by. `None`: no payload is checked.
    pub inspectors: Option<Box<dyn Inspectors>>,
    /// The state by which that is decided, and who else goes by it; filled by
    /// who replicates it, at any time.
    pub governed: Governed,
    /// Where other processes may read the hub's counters. Its default, for simulations:
    /// in no file.
    pub stat: TableOptions,
    /// Who replicates that state, and looks at changes of it before they are made.
    pub governance: Governance,
}

impl Environment {
    /// The machine's clock, network and disk, and no profiler.
    ///
    /// # Errors
    /// [`StartError::System`]: the system gives no network.
    pub fn of_machine(options: &HubOptions) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(weft_base::SystemClock::new());
        let tcp = weft_transport::TcpOptions {
            connections: options.limits.sessions,
            shm_ring: options.limits.shm_ring,
            unsent: Some(options.limits.unsent_bytes),
            shm_links: options.limits.shm_sessions,
            quic: options.quic.clone(),
            ..weft_transport::TcpOptions::default()
        };
        let stat = TableOptions {
            folder: options.data.clone(),
            hub: options.name.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            start: clock.now().wall,
            entries: options.see.entries(),
            ..TableOptions::default()
        };
        let network =
            weft_transport::TcpNetwork::new(tcp, clock.clone()).map_err(|e| StartError::System(e.to_string()))?;
        Ok(Self {
            clock,
            network: Box::new(network),
            fs: Arc::new(RealFs),
            keyed: None,
            profiler: None,
            judge: None,
            door: None,
            inspectors: None,
            governed: Governed::default(),
            stat,
            governance: Governance::default(),
        })
    }
}
