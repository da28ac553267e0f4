//! What every network must do, as checks that each implementation runs.
//!
//! An implementation gives a [`Rig`], which makes endpoints of one world, and
//! calls [`conformance_tests!`](crate::conformance_tests) in its tests, once
//! per rig. Time in the checks is a [`ManualClock`] alone: nothing sleeps and
//! nothing measures. What real sockets need is waited for by polling, at most
//! [`PATIENCE`] turns, and a check that runs out of it fails with what it saw.

mod bytes;
#[cfg(test)]
mod canaries;
mod life;
mod limits;
mod trust;

use std::any::Any;
use std::io::IoSlice;
use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::{Clock, ManualClock, UnixNanos};

use crate::ca::Authority;
use crate::identity::{Peer, PeerKind, TlsIdentity};
use crate::network::{Accept, LinkToken, ListenerToken, Network, ReadOutcome, Ready, Security, Waker, WriteOutcome};
use crate::reason::CloseReason;

pub use bytes::*;
pub use life::*;
pub use limits::*;
pub use trust::*;

/// How many turns in which nothing happens a check waits for something.
pub const PATIENCE: usize = 5_000;

/// How many turns of any kind a check waits for something.
pub const LONGEST: usize = 20_000;

/// The time of day at which every check begins.
pub const START: UnixNanos = UnixNanos(1_900_000_000_000_000_000);

/// For how long the checks' certificates are valid.
pub const VALID_FOR: Duration = Duration::from_secs(3600);

/// Bounds that a check asks an endpoint to have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at once.
    pub connections: usize,
    /// The most handshakes of peers that dialled at once.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long connecting may take.
    pub dial_timeout: Duration,
    /// How long a closed link may take to deliver.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshakes: 64,
            handshake_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(2),
        }
    }
}

/// Makes the endpoints of one world.
pub trait Rig {
    /// The network under test.
    type Net: Network;

    /// The world's clock, which reads [`START`] at first.
    fn clock(&self) -> ManualClock;
    /// Whether links are to be made with TLS.
    fn secure(&self) -> bool;
    /// Whether a secure world's links can also be made without TLS.
    fn knows_plain(&self) -> bool {
        true
    }
    /// An endpoint of the world.
    fn endpoint(&mut self, name: &str, limits: Limits) -> Self::Net;
    /// Where that endpoint may listen, at a free port.
    fn address(&self, name: &str) -> String;
    /// An address of that endpoint where nobody listens.
    fn nobody(&mut self, name: &str) -> String;
    /// A host by which that endpoint can be dialled, for its certificate.
    fn host(&self, name: &str) -> String;
    /// Connects to `address` and then says nothing, until it is dropped.
    fn silent(&mut self, address: &str) -> Box<dyn Any>;
    /// Uses the waker on another thread; the answer waits for that thread.
    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()>;
    /// Lets the world go on to the next thing that happens, if it is near.
    fn step(&mut self);
}

/// One endpoint, and what it has reported.
pub struct Node<N> {
    /// The endpoint.
    pub net: N,
    /// What the last poll reported.
    pub last: Vec<Ready>,
    /// What all polls reported, but for `Readable` and `Writable`.
    pub seen: Vec<Ready>,
}

/// A world under test: a rig and its endpoints.
pub struct Stage<R: Rig> {
    /// What makes endpoints.
    pub rig: R,
    /// The endpoints, in the order of their making.
    pub nodes: Vec<Node<R::Net>>,
    /// Who issues certificates.
    pub ca: Authority,
    idle: bool,
}

impl<R: Rig> Stage<R> {
    /// A world without endpoints.
    #[must_use]
    pub fn new(rig: R) -> Self {
        let ca = authority("test", rig.clock().now().wall);
        Self { rig, nodes: Vec::new(), ca, idle: false }
    }

    /// Adds an endpoint, `n0`, `n1`, and so on, and answers its number.
    pub fn add(&mut self, limits: Limits) -> usize {
        let at = self.nodes.len();
        let net = self.rig.endpoint(&name_of(at), limits);
        self.nodes.push(Node { net, last: Vec::new(), seen: Vec::new() });
        at
    }

    /// Two endpoints with a link, dialled by the first: its two ends.
    pub fn linked(rig: R) -> (Self, LinkToken, LinkToken) {
        let mut stage = Self::new(rig);
        stage.add(Limits::default());
        stage.add(Limits::default());
        let (_, address) = stage.listen(1);
        let (near, far) = stage.link(0, 1, &address);
        (stage, near, far)
    }

    /// The security of node `at` as a hub.
    #[must_use]
    pub fn hub(&self, at: usize) -> Security {
        self.security(PeerKind::Hub, &name_of(at), &[&self.rig.host(&name_of(at))])
    }

    /// Plain, or a fresh certificate of this world's authority.
    #[must_use]
    pub fn security(&self, kind: PeerKind, name: &str, hosts: &[&str]) -> Security {
        if self.rig.secure() { issue(&self.ca, &self.ca, kind, name, hosts, self.now()) } else { Security::Plain }
    }

    /// The world's time of day.
    #[must_use]
    pub fn now(&self) -> UnixNanos {
        self.rig.clock().now().wall
    }

    /// Has node `at` listen for hubs and clients.
    pub fn listen(&mut self, at: usize) -> (ListenerToken, String) {
        let (address, security) = (self.rig.address(&name_of(at)), self.hub(at));
        listen(&mut self.nodes[at].net, &address, &security, Accept::Both)
    }

    /// Has node `from` dial `address` as a hub.
    pub fn dial(&mut self, from: usize, address: &str) -> LinkToken {
        let security = self.hub(from);
        match self.nodes[from].net.dial(address, &security, None) {
            Ok(link) => link,
            Err(e) => panic!("dialling `{address}`: {e}"),
        }
    }

    /// Has node `from` dial node `to` at `address`: both ends of the link.
    pub fn link(&mut self, from: usize, to: usize, address: &str) -> (LinkToken, LinkToken) {
        let before = self.nodes[to].accepted().len();
        let near = self.dial(from, address);
        let far = self.until("a link", |stage| {
            stage.nodes[from].connected(near)?;
            stage.nodes[to].accepted().get(before).map(|(link, _)| *link)
        });
        (near, far)
    }

    /// Lets the world go on, and polls every endpoint once.
    pub fn turn(&mut self) {
        let patience = if self.idle { Duration::from_millis(1) } else { Duration::ZERO };
        self.rig.step();
        self.idle = true;
        for node in &mut self.nodes {
            if let Err(e) = node.net.poll(Some(patience), &mut node.last) {
                panic!("poll: {e}");
            }
            self.idle &= node.last.is_empty();
            let lasting = node.last.iter().filter(|ready| !matches!(ready, Ready::Readable(_) | Ready::Writable(_)));
            node.seen.extend(lasting.cloned());
        }
    }

    /// Takes turns until `found` answers something.
    ///
    /// # Panics
    /// When it has not for [`PATIENCE`] turns: the check fails.
    pub fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let mut idle = 0;
        for _ in 0..LONGEST {
            if let Some(found) = found(self) {
                return found;
            }
            self.turn();
            idle = if self.idle { idle + 1 } else { 0 };
            if idle > PATIENCE {
                break;
            }
        }
        let seen: Vec<_> = self.nodes.iter().map(|node| (&node.seen, &node.last)).collect();
        panic!("{what} did not happen; seen: {seen:?}");
    }

    /// Takes turns until nobody has had anything for a while.
    pub fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..PATIENCE {
            self.turn();
            idle = if self.idle { idle + 1 } else { 0 };
            if idle > 20 {
                return;
            }
        }
        panic!("endpoints that have nothing to do are never at rest");
    }

    /// Waits until a read of that link finds its end.
    pub fn end_of(&mut self, at: usize, link: LinkToken) -> CloseReason {
        self.until("the end of the link", |stage| {
            let mut buf = [0; 4096];
            match stage.nodes[at].net.read(link, &mut buf) {
                ReadOutcome::Closed(CloseReason::NoSuchLink) => stage.nodes[at].closed(link),
                ReadOutcome::Closed(reason) => Some(reason),
                _ => stage.nodes[at].closed(link),
            }
        })
    }

    /// Sends `data` from one end of a link and answers what comes out at the
    /// other, in pieces of changing sizes.
    pub fn carry(&mut self, from: (usize, LinkToken), to: (usize, LinkToken), data: &[u8]) -> Vec<u8> {
        let (mut sent, mut got, mut buf) = (0, Vec::new(), vec![0; 50_000]);
        self.until("the data's arrival", |stage| {
            while sent < data.len() {
                let end = data.len().min(sent + 1 + (sent * 7) % 30_000);
                match stage.nodes[from.0].net.write(from.1, &[IoSlice::new(&data[sent..end])]) {
                    WriteOutcome::Bytes(n) => sent += n,
                    WriteOutcome::WouldBlock => break,
                    WriteOutcome::Closed(reason) => panic!("write: {reason}"),
                }
            }
            loop {
                let size = 1 + (got.len() * 13) % buf.len();
                match stage.nodes[to.0].net.read(to.1, &mut buf[..size]) {
                    ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
                    ReadOutcome::WouldBlock => break,
                    ReadOutcome::Closed(reason) => panic!("read: {reason}"),
                }
            }
            (got.len() >= data.len()).then_some(())
        });
        got
    }
}

impl<N: Network> Node<N> {
    /// The links that came in, in order, and who dialled them.
    #[must_use]
    pub fn accepted(&self) -> Vec<(LinkToken, Peer)> {
        let accepted = self.seen.iter().filter_map(|ready| match ready {
            Ready::Accepted { link, peer, .. } => Some((*link, peer.clone())),
            _ => None,
        });
        accepted.collect()
    }

    /// Whether that link is up, and with whom.
    #[must_use]
    pub fn connected(&self, link: LinkToken) -> Option<Peer> {
        self.seen.iter().find_map(|ready| match ready {
            Ready::Connected { link: up, peer } if *up == link => Some(peer.clone()),
            _ => None,
        })
    }

    /// Whether a poll reported the end of that link, and why.
    #[must_use]
    pub fn closed(&self, link: LinkToken) -> Option<CloseReason> {
        self.seen.iter().find_map(|ready| match ready {
            Ready::Closed { link: down, reason } if *down == link => Some(reason.clone()),
            _ => None,
        })
    }

    /// Why peers were refused, in order.
    #[must_use]
    pub fn refused(&self) -> Vec<CloseReason> {
        let refused = self.seen.iter().filter_map(|ready| match ready {
            Ready::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        refused.collect()
    }

    /// Whether the last poll said that the link can be read.
    #[must_use]
    pub fn readable(&self, link: LinkToken) -> bool {
        self.last.contains(&Ready::Readable(link))
    }

    /// Whether the last poll said that the link can be written.
    #[must_use]
    pub fn writable(&self, link: LinkToken) -> bool {
        self.last.contains(&Ready::Writable(link))
    }
}

fn name_of(at: usize) -> String {
    format!("n{at}")
}

/// `len` bytes that repeat only after 64 KiB or more, so that a piece lost,
/// doubled or exchanged shows.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16).wrapping_mul(31)) as u8).collect()
}

pub(crate) fn authority(name: &str, now: UnixNanos) -> Authority {
    match Authority::create(name, now, VALID_FOR * 1000) {
        Ok(ca) => ca,
        Err(e) => panic!("authority: {e}"),
    }
}

/// A certificate of `ca`, whose holder trusts `trusted`.
pub(crate) fn issue(
    ca: &Authority,
    trusted: &Authority,
    kind: PeerKind,
    name: &str,
    hosts: &[&str],
    now: UnixNanos,
) -> Security {
    let issued = match ca.issue(kind, name, hosts, now, VALID_FOR) {
        Ok(issued) => issued,
        Err(e) => panic!("issue: {e}"),
    };
    let root = trusted.certificate_pem().as_bytes();
    match TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), root) {
        Ok(identity) => Security::Tls(Arc::new(identity)),
        Err(e) => panic!("identity: {e}"),
    }
}

pub(crate) fn listen(
    net: &mut impl Network,
    address: &str,
    security: &Security,
    accept: Accept,
) -> (ListenerToken, String) {
    match net.listen(address, security, accept) {
        Ok(bound) => bound,
        Err(e) => panic!("listening at `{address}`: {e}"),
    }
}

/// Makes one test of each check, for the rig that the expression makes.
#[macro_export]
macro_rules! conformance_tests {
    ($rig:expr) => {
        $crate::conformance_tests!(@each $rig,
            the_stream_arrives_in_order, both_directions_at_once, vectored_writes_keep_their_order,
            of_many_slices_the_first_64_are_taken, a_full_link_blocks_and_goes_on, reads_are_level_triggered,
            a_paused_link_is_silent, what_is_idle_stays_silent, empty_reads_and_writes_do_nothing,
            close_delivers_what_was_taken, the_peers_end_is_seen_once, closing_twice_is_harmless,
            both_may_close_at_once, many_links_at_once, a_slow_link_holds_up_no_other, tokens_are_not_used_twice,
            nobody_there_is_said, a_closed_dial_is_silent, bad_addresses_are_refused, a_closed_listener_takes_nobody,
            a_link_outlives_its_listener, the_waker_ends_a_poll, a_peer_that_dies_is_seen,
            too_many_links_are_refused, too_many_dials_are_refused, handshakes_in_flight_are_bounded,
            a_silent_peer_runs_out_of_time, lingering_is_bounded, peers_are_named, a_clients_port_is_for_clients,
            a_guest_is_let_in_where_any_client_is,
            a_client_in_place_of_a_hub_is_refused, another_hub_is_refused, a_host_not_in_the_certificate_is_refused,
            a_foreign_authority_is_refused, an_expired_certificate_is_refused, a_certificate_too_early_is_refused,
            a_link_ends_with_its_certificate, a_replaced_identity_counts_for_new_links, a_revoked_peer_is_refused,
            a_link_ends_when_its_peer_is_revoked, a_peer_that_is_revoked_while_it_comes_in_does_not_stay, plain_and_tls_do_not_mix
        );
    };
    (@each $rig:expr, $($check:ident),+) => {
        $(#[test]
        fn $check() {
            $crate::conformance::$check($rig);
        })+
    };
}
