//! QUIC: links over datagrams, with TLS 1.3 and several channels each.
//!
//! The state machine is quinn-proto; everything around it is here and driven by
//! the thread that polls: no task, no timer thread, no clock but the one that
//! is handed in. Datagrams go through a [`DatagramPort`], so that what carries
//! them may be a UDP socket ([`UdpPorts`]) or, in tests, memory that loses and
//! reorders by a seed.
//!
//! Both sides prove who they are with the certificates and the checks of TCP;
//! there is no QUIC without. Sessions are not resumed and nothing is sent ahead
//! of the handshake (0-RTT), so each link is checked as a whole.
//!
//! A link has [`CHANNELS`] streams in each direction, one for each channel. The
//! first goes before the others, which take turns by the datagram. A lost datagram holds up only the channels whose
//! bytes were in it. The end of a link is the end of all its streams; who let
//! go of it waits until the far side has read them, within a bound of time.
//!
//! What is full: a channel takes as much as the far side's window of it and
//! this side's memory of unacknowledged bytes have room for; handshakes,
//! connections and unread bytes are bounded by [`QuicOptions`]. With many
//! handshakes under way a peer must first show that it receives at the address
//! it sends from (a stateless retry), and with too many it is told the same or
//! not answered: it asks again by itself.

mod ahead;
mod config;
mod cubic;
mod dial;
mod door;
mod ending;
mod engine;
mod link;
mod port;
mod reason;
mod turn;
mod udp;

#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use weft_base::{ByteCount, Lane};

pub(crate) use engine::{Quic, Shared};
pub use port::{Arrival, DatagramPort, Outgoing, Ports};
pub(crate) use udp::UdpPorts;

/// What an address of QUIC begins with; `host:port` follows.
pub const PREFIX: &str = "quic:";

/// The channels of a link: one for each lane, and one before them.
pub const CHANNELS: usize = Lane::COUNT + 1;

/// What both sides must name in the handshake (ALPN).
pub const ALPN: &[u8] = b"weft/1";

/// How a link finds out how much its path carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Sends less after a loss, and grows by the time since then (RFC 9438);
    /// begins carefully (RFC 9406).
    #[default]
    Cubic,
    /// Measures bandwidth and round trip, and minds losses little.
    Bbr,
    /// Sends half after a loss (RFC 9002).
    NewReno,
}

/// Bounds of links by QUIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicOptions {
    /// The most links by QUIC at once, in both directions together; handshakes
    /// of peers that dialled count.
    pub links: usize,
    /// Bytes of one channel that may be under way or unread: the path's
    /// bandwidth times its round trip is what one busy channel needs. A link
    /// holds at most this unread of each channel, so that none that is unread
    /// takes the room of another, and twice this unacknowledged of all.
    pub window: ByteCount,
    /// How a link finds out how much its path carries.
    pub congestion: Congestion,
    /// After how long without a word from the far side a link is over.
    pub idle: Duration,
    /// How often a side that dialled says something when there is nothing to say.
    pub keep_alive: Duration,
    /// With so many handshakes under way a peer must first show that it
    /// receives at the address it sends from; none for a quarter of those, or of
    /// the links, that there may be at once, so that senders who forge their
    /// address cannot take the others' places.
    pub retry_from: Option<usize>,
    /// The system's buffers of a socket, each.
    pub socket_buffer: ByteCount,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            links: 8,
            window: WINDOW,
            congestion: Congestion::default(),
            idle: Duration::from_secs(15),
            keep_alive: Duration::from_secs(5),
            retry_from: None,
            socket_buffer: ByteCount::mib(4),
        }
    }
}

impl QuicOptions {
    /// All that is wrong with these options, each as the field's path and a
    /// sentence that says what to do.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.links == 0 {
            found.push(("quic.links", "0 is too small: at least 1".to_owned()));
        }
        if !(MIN_WINDOW..=MAX_WINDOW).contains(&self.window) {
            let bounds = format!("{MIN_WINDOW} to {MAX_WINDOW}");
            found.push((
                "quic.window",
                format!("{} is no window: {bounds}, the path's bandwidth times its round trip", self.window),
            ));
        }
        if self.idle < Duration::from_millis(100) || self.idle > MAX_IDLE {
            found.push(("quic.idle", format!("{:?} is out of range: 100 ms to {MAX_IDLE:?}", self.idle)));
        }
        if self.keep_alive.is_zero() || self.keep_alive > self.idle / 2 {
            let idle = self.idle;
            found.push((
                "quic.keep_alive",
                format!("{:?} is out of range: above 0, and at most half of idle = {idle:?}", self.keep_alive),
            ));
        }
        found
    }

    /// The most memory that one link takes: a window of each channel unread,
    /// and twice a window unacknowledged.
    #[must_use]
    pub const fn memory(&self) -> ByteCount {
        ByteCount(self.window.0.saturating_mul(CHANNELS as u64 + 2))
    }
}

/// The default of [`QuicOptions::window`]: 600 Mbit/s over a round trip of 80 ms.
pub const WINDOW: ByteCount = ByteCount::mib(6);

/// The least window: room for a few datagrams.
pub const MIN_WINDOW: ByteCount = ByteCount::kib(16);

/// The greatest window.
pub const MAX_WINDOW: ByteCount = ByteCount::mib(1024);

/// The longest time without a word after which a link is over.
pub const MAX_IDLE: Duration = Duration::from_secs(24 * 3600);

/// The part of an address behind [`PREFIX`]; none when it is another's.
#[must_use]
pub fn target_of(address: &str) -> Option<&str> {
    address.strip_prefix(PREFIX)
}
