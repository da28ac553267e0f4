//! A simulated world: hosts, paths between them, and a clock of its own.
//!
//! Endpoints made by one [`SimWorld`] reach each other at `host:port`. Nothing
//! happens by itself: time moves when the driver calls [`SimWorld::step`] or
//! [`SimWorld::advance`] (or moves the clock), and a poll takes in what has
//! happened until then and never waits. A world with the same seed, driven by
//! the same calls, does the same.
//!
//! A driver polls its endpoints until none has anything, then steps.
//!
//! Certificates are checked as on a real link, by the same code, at the same
//! points of the handshake; only the encryption is left out.

mod arrival;
mod faults;
mod handshake;
mod network;
mod pipe;
mod world;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::PoisonError;
use std::time::Duration;

use weft_base::sync::{Arc, Mutex};
use weft_base::{ByteCount, Clock, ManualClock, Mono, UnixNanos};

use world::World;

pub use network::SimNetwork;

/// How a world behaves where nothing else is said.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The path between two hosts, each way, until [`SimWorld::set_path`].
    pub path: SimPath,
    /// How many bytes may be on their way or unread, per link and direction.
    pub window: ByteCount,
    /// Of a thousand reads or writes, so many move only a part.
    pub partial: u64,
    /// How long a sender waits for a far side that does not answer.
    pub give_up: Duration,
    /// Whether links without TLS are allowed between different hosts.
    pub plain_anywhere: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            path: SimPath::default(),
            window: ByteCount::kib(256),
            partial: 0,
            give_up: Duration::from_secs(60),
            plain_anywhere: true,
        }
    }
}

/// One direction of the way between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimPath {
    /// How long a byte takes.
    pub delay: Duration,
    /// Up to how much longer, at random; bytes of one link stay in order.
    pub jitter: Duration,
    /// Bytes per second of each link; none is no bound.
    pub bandwidth: Option<u64>,
    /// Of a thousand dials, so many go unanswered.
    pub lost_dials: u64,
    /// Of a million pieces of data, so many break the link they belong to.
    pub resets: u64,
}

impl Default for SimPath {
    fn default() -> Self {
        Self { delay: Duration::from_millis(1), jitter: Duration::ZERO, bandwidth: None, lost_dials: 0, resets: 0 }
    }
}

/// Bounds of one endpoint: see [`crate::TcpOptions`].
#[derive(Clone, Copy, Debug)]
pub struct SimLimits {
    /// The most connections at once.
    pub connections: usize,
    /// The most handshakes of peers that dialled at once.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long connecting may take.
    pub dial_timeout: Duration,
    /// How long a closed link waits for its far side.
    pub linger: Duration,
}

impl Default for SimLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct SimWorld(Arc<Mutex<World>>);

impl SimWorld {
    /// A world without hosts, at monotonic zero and the time of day `start`.
    #[must_use]
    pub fn new(seed: u64, start: UnixNanos, options: SimOptions) -> Self {
        Self(Arc::new(Mutex::new(World::new(seed, start, options))))
    }

    /// The world's clock. Moving it by hand is as good as [`Self::advance`].
    #[must_use]
    pub fn clock(&self) -> ManualClock {
        self.with(|world| world.clock.clone())
    }

    /// Starts an endpoint on `host`. One that runs there already crashes, as
    /// by [`Self::crash`], and its far sides learn of it when they send.
    #[must_use]
    pub fn endpoint(&self, host: &str, limits: SimLimits) -> SimNetwork {
        let id = self.with(|world| world.start_endpoint(host, limits));
        SimNetwork::new(self.clone(), id)
    }

    /// Sets the way from one host to another, in that direction, for what is
    /// sent from now on.
    pub fn set_path(&self, from: &str, to: &str, path: SimPath) {
        self.with(|world| {
            let way = world.way(from, to);
            way.path = path;
        });
    }

    /// Cuts the ways between two hosts, both directions: nothing arrives, and
    /// nobody is told. What was sent waits for [`Self::heal`].
    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts the way from one host to another, in that direction alone: its
    /// links are half open.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.with(|world| world.way(from, to).cut = true);
    }

    /// Mends both ways between two hosts; what waited goes on.
    pub fn heal(&self, a: &str, b: &str) {
        self.with(|world| {
            world.heal(a, b);
            world.heal(b, a);
        });
    }

    /// Breaks every link between two hosts: both ends see a reset.
    pub fn reset_links(&self, a: &str, b: &str) {
        self.with(|world| world.reset_links(a, b));
    }

    /// Switches a host off: its endpoint is gone without a word, its far sides
    /// are left half open, and dials to it go unanswered until an endpoint
    /// starts there again.
    pub fn crash(&self, host: &str) {
        self.with(|world| world.crash(host));
    }

    /// When the next thing happens that the world knows of.
    #[must_use]
    pub fn next_event(&self) -> Option<Mono> {
        self.with(|world| world.next_event())
    }

    /// Moves the clock to the next thing that happens; false when nothing
    /// will.
    pub fn step(&self) -> bool {
        self.step_within(Duration::MAX)
    }

    /// The same, if that is no further away than `limit`.
    pub fn step_within(&self, limit: Duration) -> bool {
        self.with(|world| {
            let now = world.clock.now().mono;
            let Some(next) = world.next_event().filter(|at| at.since(now) <= limit) else { return false };
            world.clock.advance(next.since(now));
            world.catch_up();
            true
        })
    }

    /// Moves the clock by `by`, and lets happen what happens until then.
    pub fn advance(&self, by: Duration) {
        self.with(|world| {
            world.clock.advance(by);
            world.catch_up();
        });
    }

    /// A number that depends on everything that has happened: two runs that
    /// answer the same did the same.
    #[must_use]
    pub fn history(&self) -> u64 {
        self.with(|world| world.history)
    }

    fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        // A panic elsewhere fails its test; this one may still clean up.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
