//! Networks that carry bytes between hubs and clients: TCP with TLS 1.3, QUIC, and a simulated one.
//!
//! A [`Network`] owns listeners and links and is driven by one thread: `poll`
//! says what can be done, `read` and `write` move bytes without ever waiting.
//! It knows nothing of what it carries. [`TcpNetwork`] is the machine's network
//! (epoll or kqueue by mio, TLS by rustls; shared memory, see [`shm`]; QUIC, see [`quic`]); [`SimNetwork`] is an endpoint of a
//! simulated world with its own clock. Both pass the suite in the module `conformance`
//! (feature `conformance`), which a further network is to pass as well.
#![deny(unsafe_code)]

mod address;
pub mod ca;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod dns;
mod front;
pub mod identity;
pub mod joining;
mod level;
pub mod network;
mod offhand;
pub mod quic;
pub mod reason;
pub mod shm;
pub mod sim;
mod slab;
pub mod tcp;
mod timers;
mod tls;

pub use ca::{Authority, CaError, Issued};
pub use front::{Front, Guest};
pub use identity::{IdentityError, IdentityFiles, Peer, PeerKind, TlsIdentity, is_name, peer_of, stranger_of, uri_of};
pub use network::{
    Accept, DialError, Known, LinkToken, ListenError, ListenerToken, Network, ReadOutcome, Ready, Security, Waker,
    WriteOutcome,
};
pub use quic::{Congestion, QuicOptions};
pub use reason::CloseReason;
pub use shm::ShmStream;
pub use sim::{SimLimits, SimNetwork, SimOptions, SimPath, SimWorld};
pub use tcp::{TcpNetwork, TcpOptions, UNSENT};
pub use tls::is_fips;
