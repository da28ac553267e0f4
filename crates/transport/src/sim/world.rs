//! The world's state and its clockwork.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::{Clock, ManualClock, Mono, Random, UnixNanos};

use super::pipe::{Parcel, Pipe};
use super::{SimLimits, SimOptions, SimPath};
use crate::identity::{Credentials, Peer, TlsIdentity};
use crate::level::Report;
use crate::network::{Accept, LinkToken, ListenerToken, Ready};
use crate::reason::CloseReason;
use crate::tls::InUse;

/// Which end of a connection: the one that dialled, or the one that was dialled.
pub(super) type Side = usize;
pub(super) const DIALLED: Side = 0;
pub(super) const ACCEPTED: Side = 1;

/// What happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The front of the flight towards a side arrives.
    Arrive { connection: u64, to: Side },
    /// A sender learns of room.
    Room { connection: u64, to: Side, bytes: usize },
    /// A bound of time of one side passes.
    Deadline { connection: u64, side: Side, of: Phase },
    /// A sender has waited long enough.
    GiveUp { connection: u64, side: Side, since: Mono },
    /// A dial fails that never became a connection.
    Fail { connection: u64, reason: CloseReason },
}

/// Where one side of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dialled, not answered; or not taken in yet.
    Connecting,
    /// In the handshake.
    Shaking,
    /// In the caller's hands.
    Up,
    /// Let go by the caller, until the far side ends too.
    Closing,
    /// Of no interest to anyone.
    Gone,
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) endpoint: u64,
    pub(super) token: LinkToken,
    pub(super) phase: Phase,
    pub(super) identity: Option<Arc<TlsIdentity>>,
    /// What of the identity the far side was shown.
    pub(super) shown: Option<Arc<Credentials>>,
    pub(super) paused: bool,
    pub(super) report: Report,
    pub(super) expires: Option<UnixNanos>,
    /// What comes in; the far side writes it.
    pub(super) inward: Pipe,
}

impl End {
    pub(super) fn new(endpoint: u64, token: LinkToken, identity: Option<Arc<TlsIdentity>>) -> Self {
        Self {
            endpoint,
            token,
            phase: Phase::Connecting,
            shown: identity.as_ref().map(|identity| identity.credentials()),
            identity,
            paused: false,
            report: Report::Off,
            expires: None,
            inward: Pipe::default(),
        }
    }
}

/// A connection: what both sides share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) hosts: [String; 2],
    pub(super) port: u16,
    /// The hub's name that the dialling side expects.
    pub(super) expect: Option<String>,
    pub(super) listener: Option<ListenerToken>,
    /// Whom that listener takes.
    pub(super) accept: Accept,
    /// What came in before the connection was taken in.
    pub(super) early: Vec<Parcel>,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) identity: Option<Arc<TlsIdentity>>,
    pub(super) accept: Accept,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) limits: SimLimits,
    pub(super) listeners: BTreeMap<ListenerToken, Listener>,
    /// Connections that count, by token.
    pub(super) links: BTreeMap<LinkToken, (u64, Side)>,
    /// Connections that wait to be taken in.
    pub(super) waiting: VecDeque<u64>,
    pub(super) handshakes: usize,
    pub(super) ready: Vec<Ready>,
    pub(super) next_token: u64,
}

/// The way from one host to another.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) path: SimPath,
    pub(super) cut: bool,
}

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) options: SimOptions,
    pub(super) random: Random,
    /// The time of what happens now, which may be before the clock's.
    pub(super) time: Mono,
    pub(super) history: u64,
    events: BTreeMap<(Mono, u64), Event>,
    next_event: u64,
    pub(super) identities: InUse,
    /// Ends of certificates, by the time of day.
    pub(super) expiries: BTreeSet<(UnixNanos, u64, Side)>,
    /// The endpoint that runs on a host; none when it is switched off.
    pub(super) hosts: BTreeMap<String, Option<u64>>,
    pub(super) endpoints: BTreeMap<u64, Endpoint>,
    pub(super) connections: BTreeMap<u64, Connection>,
    ways: BTreeMap<(String, String), Way>,
    next_id: u64,
}

impl World {
    pub(super) fn new(seed: u64, start: UnixNanos, options: SimOptions) -> Self {
        Self {
            clock: ManualClock::at(start),
            options,
            random: Random::from_seed(seed),
            time: Mono(0),
            history: seed,
            events: BTreeMap::new(),
            next_event: 0,
            identities: InUse::default(),
            expiries: BTreeSet::new(),
            hosts: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            connections: BTreeMap::new(),
            ways: BTreeMap::new(),
            next_id: 0,
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn way(&mut self, from: &str, to: &str) -> &mut Way {
        let path = self.options.path;
        self.ways.entry((from.to_owned(), to.to_owned())).or_insert(Way { path, cut: false })
    }

    pub(super) fn schedule(&mut self, at: Mono, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    pub(super) fn next_event(&self) -> Option<Mono> {
        let now = self.clock.now();
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let expiry =
            self.expiries.first().map(|(at, ..)| now.mono + Duration::from_nanos(at.0.saturating_sub(now.wall.0)));
        match (event, expiry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets happen what should have happened by now, each thing at its time.
    pub(super) fn catch_up(&mut self) {
        let now = self.clock.now();
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now.mono) {
            self.time = self.time.max(entry.key().0);
            let event = entry.remove();
            self.note(&event);
            self.happen(event);
        }
        self.time = now.mono;
        if self.identities.has_new() {
            self.look_again();
        }
        while let Some((at, connection, side)) = self.expiries.first().copied().filter(|(at, ..)| *at <= now.wall) {
            self.expiries.pop_first();
            let seconds_ago = (now.wall.0 - at.0) / 1_000_000_000;
            self.announce_end(connection, side, CloseReason::CertificateExpired { seconds_ago });
            self.close(connection, side);
        }
    }

    /// Adds to the history.
    fn note(&mut self, event: &Event) {
        let (kind, connection, more) = match event {
            Event::Arrive { connection, to } => (1, connection, *to as u64),
            Event::Room { connection, to, bytes } => (2, connection, ((*bytes as u64) << 1) | *to as u64),
            Event::Deadline { connection, side, of } => (3, connection, ((*of as u64) << 1) | *side as u64),
            Event::GiveUp { connection, side, .. } => (4, connection, *side as u64),
            Event::Fail { connection, .. } => (5, connection, 0),
        };
        for word in [self.time.0, kind, *connection, more] {
            self.history = (self.history ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { connection, to } => self.arrive(connection, to),
            Event::Room { connection, to, bytes } => self.room(connection, to, bytes),
            Event::Deadline { connection, side, of } => self.overdue(connection, side, of),
            Event::GiveUp { connection, side, since } => self.give_up(connection, side, since),
            Event::Fail { connection, reason } => self.fail(connection, DIALLED, reason),
        }
    }

    pub(super) fn start_endpoint(&mut self, host: &str, limits: SimLimits) -> u64 {
        self.crash(host);
        let id = self.id();
        let endpoint = Endpoint {
            host: host.to_owned(),
            limits,
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            waiting: VecDeque::new(),
            handshakes: 0,
            ready: Vec::new(),
            next_token: 0,
        };
        self.endpoints.insert(id, endpoint);
        self.hosts.insert(host.to_owned(), Some(id));
        // What was sent to the host while it was off finds nobody who knows it.
        let others: Vec<String> = self.hosts.keys().cloned().collect();
        for other in others {
            self.go_on(&other, host);
        }
        id
    }

    /// A new token of that endpoint, for one side of a connection.
    pub(super) fn token(&mut self, endpoint: u64, connection: u64, side: Side) -> LinkToken {
        match self.endpoints.get_mut(&endpoint) {
            Some(endpoint) => {
                endpoint.next_token += 1;
                let token = LinkToken(endpoint.next_token);
                endpoint.links.insert(token, (connection, side));
                token
            }
            None => LinkToken(0),
        }
    }

    pub(super) fn end(&mut self, connection: u64, side: Side) -> Option<&mut End> {
        self.connections.get_mut(&connection)?.ends.get_mut(side)
    }

    pub(super) fn phase(&self, connection: u64, side: Side) -> Phase {
        let end = self.connections.get(&connection).and_then(|connection| connection.ends.get(side));
        end.map_or(Phase::Gone, |end| end.phase)
    }

    pub(super) fn limits(&self, connection: u64, side: Side) -> Option<SimLimits> {
        let end = self.connections.get(&connection)?.ends.get(side)?;
        self.endpoints.get(&end.endpoint).map(|endpoint| endpoint.limits)
    }

    pub(super) fn report(&mut self, connection: u64, side: Side, ready: impl FnOnce(LinkToken) -> Ready) {
        let Some(end) = self.end(connection, side) else { return };
        let (endpoint, token) = (end.endpoint, end.token);
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.ready.push(ready(token));
        }
    }

    /// Tells one side's caller that its link, or what was to become one, ends.
    pub(super) fn announce_end(&mut self, connection: u64, side: Side, reason: CloseReason) {
        match self.phase(connection, side) {
            Phase::Connecting | Phase::Shaking if side == ACCEPTED => {
                let Some(shared) = self.connections.get(&connection) else { return };
                let Some(listener) = shared.listener else { return };
                let from = format!("{}:{}", shared.hosts[DIALLED], ephemeral(connection));
                self.report(connection, side, |_| Ready::Refused { listener, from, reason });
            }
            Phase::Connecting | Phase::Shaking | Phase::Up => {
                self.report(connection, side, |link| Ready::Closed { link, reason });
            }
            Phase::Closing | Phase::Gone => {}
        }
    }

    /// One side is up.
    pub(super) fn hand_over(&mut self, connection: u64, side: Side, peer: Peer) {
        self.leave_handshake(connection, side);
        let Some(end) = self.end(connection, side) else { return };
        end.phase = Phase::Up;
        end.expires = peer.expires;
        if let Some(at) = peer.expires {
            self.expiries.insert((at, connection, side));
        }
        let listener = self.connections.get(&connection).and_then(|shared| shared.listener);
        self.report(connection, side, |link| match listener {
            Some(listener) if side == ACCEPTED => Ready::Accepted { link, listener, peer },
            _ => Ready::Connected { link, peer },
        });
        self.take_in_waiting(connection, side);
    }

    /// One side is of no interest to anyone any more.
    pub(super) fn forget(&mut self, connection: u64, side: Side) {
        self.leave_handshake(connection, side);
        let Some(end) = self.end(connection, side) else { return };
        end.phase = Phase::Gone;
        let (endpoint, token, expires) = (end.endpoint, end.token, end.expires.take());
        if let Some(at) = expires {
            self.expiries.remove(&(at, connection, side));
        }
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.links.remove(&token);
        }
        self.take_in_waiting(connection, side);
        if (0..2).all(|side| self.phase(connection, side) == Phase::Gone) {
            self.connections.remove(&connection);
        }
    }

    /// A handshake of a side that was dialled no longer counts.
    fn leave_handshake(&mut self, connection: u64, side: Side) {
        let Some(end) = self.end(connection, side) else { return };
        let counted = side == ACCEPTED && end.phase == Phase::Shaking && end.identity.is_some();
        let endpoint = end.endpoint;
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint).filter(|_| counted) {
            endpoint.handshakes -= 1;
        }
    }
}

/// The port from which a connection comes.
pub(super) fn ephemeral(connection: u64) -> u64 {
    49_152 + connection % 16_384
}
