//! The control state of a hub: what replicates it, put together for the hub,
//! which knows neither Raft nor the file that it is kept in. And documents as
//! files, with what is found out of them without a hub.

mod cases;
mod council;
mod digest;
pub(crate) mod files;
mod judge;
mod policies;
mod schemas;
mod vet;

pub(crate) use self::cases::cases;
pub(crate) use self::council::open;
pub(crate) use self::digest::Sha256;
pub(crate) use self::judge::{Enforced, explain};
pub(crate) use self::policies::{compile, learn};
pub(crate) use self::schemas::Schemas;
pub(crate) use self::vet::{Vetting, can, vet_files};
