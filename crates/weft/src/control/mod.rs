//! The control state of a hub: what replicates it, put together for the hub,
//! which knows neither Raft nor the file that it is kept in.

mod council;
pub(crate) mod files;
mod judge;
mod vet;

pub(crate) use self::council::open;
pub(crate) use self::judge::Enforced;
pub(crate) use self::vet::Vetting;
