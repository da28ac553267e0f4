//! What carries datagrams, and who makes it.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// One or several datagrams on their way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// To whom.
    pub to: SocketAddr,
    /// From which of this machine's addresses; none for the system's choice.
    pub from: Option<IpAddr>,
    /// The two bits of congestion notification (RFC 3168); zero for none.
    pub ecn: u8,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// The length of each but the last, which may be shorter; none when there
    /// is one.
    pub segment: Option<usize>,
}

/// One or several datagrams that came from one sender.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// From whom.
    pub from: SocketAddr,
    /// To which of this machine's addresses, if that is known.
    pub to: Option<IpAddr>,
    /// The two bits of congestion notification.
    pub ecn: u8,
    /// How many bytes stand in the buffer.
    pub len: usize,
    /// The length of each datagram in it but the last.
    pub stride: usize,
}

/// Carries datagrams, or loses them, and never waits.
///
/// Addresses are those of IP because a path is told by them; a carrier that has
/// none gives its peers addresses of its own making.
pub trait DatagramPort: Send {
    /// The address it is bound to.
    ///
    /// # Errors
    /// The system cannot say.
    fn local(&self) -> io::Result<SocketAddr>;

    /// Sends.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was taken: [`Quic`](super::Quic) offers the
    /// same again when it is told that there is room. Anything else is a loss
    /// like any other, but for `ConnectionRefused`, which says that nobody
    /// listens at the far side.
    fn send(&mut self, out: &Outgoing<'_>) -> io::Result<()>;

    /// Receives into `buf`, which has 64 KiB.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; `ConnectionRefused` as in `send`.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<Arrival>;

    /// The most datagrams that one `send` takes.
    fn segments(&self) -> usize {
        1
    }

    /// Whether a datagram that is too long may arrive in pieces; then none is
    /// sent to find out how long they may be.
    fn may_fragment(&self) -> bool {
        true
    }
}

/// Makes ports.
pub trait Ports: Send {
    /// What it makes.
    type Port: DatagramPort;

    /// A port at `at`, for peers that dial; what happens at it is reported
    /// under `site`.
    ///
    /// # Errors
    /// The system's, for example that the address is in use.
    fn bind(&mut self, at: SocketAddr, site: u64) -> io::Result<Self::Port>;

    /// A port to send to `to` from.
    ///
    /// # Errors
    /// The system's, for example that there is no way to it.
    fn towards(&mut self, to: SocketAddr, site: u64) -> io::Result<Self::Port>;

    /// That port is of no more use.
    fn gone(&mut self, port: Self::Port);
}
