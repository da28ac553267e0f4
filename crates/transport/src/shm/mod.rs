//! Shared memory between a hub and a client of its host.
//!
//! A Unix socket is the door. The hub makes a memory file for each who comes
//! in, sealed so that nobody can cut it short, with one ring of bytes per
//! direction ([`weft_ring::bytes`]), and hands it over through the socket. From
//! then on bytes go through the rings alone. The socket stays open for two
//! things: a byte in it wakes an end that sleeps, and its end is the end of the
//! link, also when the peer was killed; what was published before is still read.
//!
//! Wake-ups are bytes in the socket and not an eventfd, because both ends of an
//! eventfd are one open file: a hostile peer can fill its counter, make it
//! blocking, and so hold up the hub in its next write. Of a socket each side
//! has its own.
//!
//! Who may come in: the user that the hub runs as, and root. The socket's mode
//! is 0600, and the system names the peer's user. A client in turn takes memory
//! only from its own user or root, unless it is root. There is no TLS and no
//! certificate; the peer is anonymous, as on loopback without TLS.
//!
//! [`crate::TcpNetwork`] serves links of this kind beside those of TCP, for
//! addresses of the form `shm:PATH`. [`ShmStream`] is one on its own, with
//! calls that wait.

mod door;
mod end;
mod hello;
mod mapping;
mod stream;
#[cfg(test)]
mod tests;

pub use stream::ShmStream;

pub(crate) use door::{Door, Visitor};
pub(crate) use end::{End, Stop};
pub(crate) use hello::{Joining, join};

use rustix::process::Uid;
use weft_base::ByteCount;

/// What an address of shared memory begins with; the path of the hub's socket
/// follows.
pub const PREFIX: &str = "shm:";

/// The least size of a ring: a page.
pub const MIN_RING: ByteCount = ByteCount(4096);

/// The greatest size of a ring.
pub const MAX_RING: ByteCount = ByteCount(1 << 30);

/// The size of each ring unless another is asked for. Measured: with a quarter
/// of it the sides wait for each other more often, which costs a sixth more of
/// the hub's time per event of 1 KiB or 16 KiB, and a third of the throughput.
pub const DEFAULT_RING: ByteCount = ByteCount::mib(1);

/// The longest path of a socket, in bytes: the system's bound.
pub const MAX_PATH: usize = 107;

/// The path in an address of shared memory; none when it is another's.
#[must_use]
pub fn path_of(address: &str) -> Option<&str> {
    address.strip_prefix(PREFIX)
}

/// What is wrong with a path of a socket, if anything.
pub(crate) fn wrong_with(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("the path is missing".to_owned());
    }
    if path.len() > MAX_PATH {
        return Some(format!("the path has {} bytes, and a socket's path at most {MAX_PATH}", path.len()));
    }
    path.contains('\0').then(|| "the path has a zero byte in it".to_owned())
}

/// Whether a process of user `own` lets one of user `peer` share its memory.
fn is_trusted(peer: Uid, own: Uid) -> bool {
    peer == own || peer.is_root()
}

/// The size of a ring: a power of two within the bounds.
pub(crate) fn ring_size(asked: ByteCount) -> usize {
    let bounded = asked.0.clamp(MIN_RING.0, MAX_RING.0);
    // Within bounds of 2^30, so it fits.
    usize::try_from(bounded.next_power_of_two()).unwrap_or(MIN_RING.as_usize())
}
