//! Layer 2: what governs a mesh, as documents, and how they change.
//!
//! A [`State`] is a map of resources (`tenant/billing`, `policy/traders`), each a
//! JSON document with the version at which it was last changed. Hubs keep
//! copies of one state, which is replicated; here is what it means. [`access`]
//! says in which words it is asked whether somebody may do something; who
//! answers (a policy engine) is behind the trait [`access::Judge`]. [`login`] says
//! how it is asked who somebody is; who answers is behind [`login::Door`].
//!
//! Pure: no socket, file, clock, thread or async. Does not know how the state is
//! replicated, what a policy language looks like, or how a login is proved.
#![forbid(unsafe_code)]

pub mod access;
pub mod api;
pub mod audit;
mod change;
pub mod check;
pub mod document;
pub mod fence;
pub mod inspect;
mod items;
pub mod json;
mod limits;
pub mod login;
mod machine;
mod owners;
pub mod plan;
mod snapshot;
mod state;

pub use change::{Change, ChangeError, ChangeId, Expect};
pub use limits::Limits;
pub use machine::{Authored, Machine, Outcome};
pub use snapshot::SnapshotError;
pub use state::{Item, Key, Kind, KindError, MAX_NAME, State};
