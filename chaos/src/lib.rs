//! Networks made up on one machine: namespaces, and lines between them that
//! delay, lose, cap and cut; and real hubs that run there.
//!
//! The kernel's own emulation (netem) is not in every kernel, so a [`Line`] is a
//! thread of this process between two TUN devices. Needs root, `/dev/net/tun`,
//! and the programs `ip` and `setpriv`; [`missing`] says what of it is not there.
//! Nothing is left behind, however this process ends: a namespace has no name
//! and ends with its last process, and processes started in one end with this one.
#![forbid(unsafe_code)]

pub mod hub;
pub mod line;
pub mod queue;
pub mod space;

pub use line::Line;
pub use queue::{Conditions, Counts};
pub use space::{Space, missing};
