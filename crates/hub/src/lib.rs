//! Layer 3: the hub. Stages wired together, sessions, streams and the conductor.
//!
//! ```text
//! socket -> net -> (admit) -> route -> append -> (sync)
//!            ^  \              \        |
//!            |   \              v       v
//!            +---- net's inbox: deliveries, forwards, answers
//!                 conductor: mesh, subscriptions, streams; publishes route tables
//! ```
//!
//! Knows no protocol but the native one, no configuration format, no async
//! runtime. Time, network and disk come from an [`Environment`].
#![forbid(unsafe_code)]

mod admit;
mod agree;
mod append;
pub mod audit;
pub mod budget;
pub mod changes;
mod conductor;
mod consume;
mod control;
pub mod counters;
mod dial;
mod drain;
mod environment;
mod errors;
mod gate;
pub mod govern;
mod hub;
mod inbox;
mod inspect;
mod keyed;
mod lifecycle;
mod load;
mod mapping;
mod messages;
mod meters;
mod net;
pub mod options;
mod outbox;
mod producers;
pub mod profile;
mod replicate;
mod route;
pub mod see;
mod spool;

pub use append::{FolderError, stream_json};
pub use counters::Counters;
pub use environment::Environment;
pub use govern::{GovernCounts, Governed};
pub use hub::{BusyError, Hub, Reach, StartError, StopError};
pub use inspect::SchemaCounts;
pub use options::HubOptions;
pub use weft_wire::frame::{DrainState, DrainStatus};

use weft_base::{Epoch, HubId};

/// Who a hub is in this life of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name's id.
    pub id: HubId,
    /// This life.
    pub epoch: Epoch,
    /// The start of the data folder that this life is.
    pub life: weft_mesh::Life,
    /// The name.
    pub name: String,
    /// The region.
    pub region: String,
    /// Its labels.
    pub labels: Vec<String>,
}
