//! From a dial to a link: connecting, being taken in, and TLS.

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::pipe::Parcel;
use super::world::{ACCEPTED, DIALLED, Event, Phase, Side, World, ephemeral};
use crate::identity::Peer;
use crate::network::{Accept, Ready};
use crate::reason::CloseReason;
use crate::tls::{DialledPeer, DiallingPeer, provider, reason_of, seen_by_peer, unix_time};

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    /// Somebody asks for a connection.
    pub(super) fn knock(&mut self, connection: u64) {
        let Some(shared) = self.connections.get(&connection) else { return };
        let (host, port) = (&shared.hosts[ACCEPTED], shared.port);
        let endpoint = self.hosts.get(host).copied().flatten();
        let listener = endpoint.and_then(|id| {
            let mut listeners = self.endpoints.get(&id)?.listeners.iter();
            listeners.find(|(_, listener)| listener.port == port).map(|(token, _)| (id, *token))
        });
        let Some((endpoint, listener)) = listener else {
            self.send(connection, DIALLED, Parcel::Nobody);
            self.forget(connection, ACCEPTED);
            return;
        };
        if let Some(shared) = self.connections.get_mut(&connection) {
            shared.ends[ACCEPTED].endpoint = endpoint;
            shared.listener = Some(listener);
        }
        // As a system does, before its program has taken the peer in.
        self.send(connection, DIALLED, Parcel::SynAck);
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.waiting.push_back(connection);
        }
        self.take_in_all(endpoint);
    }

    /// Something ended at the endpoint of that side: others may come in.
    pub(super) fn take_in_waiting(&mut self, connection: u64, side: Side) {
        if let Some(endpoint) = self.end(connection, side).map(|end| end.endpoint) {
            self.take_in_all(endpoint);
        }
    }

    /// Takes in those who wait, as far as the bound on handshakes allows.
    fn take_in_all(&mut self, id: u64) {
        loop {
            let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
            if endpoint.handshakes >= endpoint.limits.handshakes {
                return;
            }
            let Some(connection) = endpoint.waiting.pop_front() else { return };
            self.take_in(id, connection);
        }
    }

    fn take_in(&mut self, id: u64, connection: u64) {
        let Some(shared) = self.connections.get_mut(&connection) else { return };
        let early = std::mem::take(&mut shared.early);
        let from = format!("{}:{}", shared.hosts[DIALLED], ephemeral(connection));
        let Some(token) = shared.listener else { return };
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let limits = endpoint.limits;
        let Some(listener) = endpoint.listeners.get(&token) else {
            self.send(connection, DIALLED, Parcel::Reset);
            self.forget(connection, ACCEPTED);
            return;
        };
        if endpoint.links.len() >= limits.connections {
            let reason = CloseReason::TooManyLinks { limit: limits.connections };
            endpoint.ready.push(Ready::Refused { listener: token, from, reason });
            self.send(connection, DIALLED, Parcel::Fin { proper: false });
            self.forget(connection, ACCEPTED);
            return;
        }
        let (identity, accept) = (listener.identity.clone(), listener.accept);
        let secure = identity.is_some();
        if secure {
            endpoint.handshakes += 1;
        }
        let link = self.token(id, connection, ACCEPTED);
        if let Some(shared) = self.connections.get_mut(&connection) {
            shared.accept = accept;
            let end = &mut shared.ends[ACCEPTED];
            end.shown = identity.as_ref().map(|identity| identity.credentials());
            (end.token, end.identity, end.phase) = (link, identity, Phase::Shaking);
        }
        if secure {
            self.bound(connection, ACCEPTED, Phase::Shaking, limits.handshake_timeout);
        } else {
            self.hand_over(connection, ACCEPTED, Peer::anonymous());
        }
        for parcel in early {
            self.deliver(connection, ACCEPTED, parcel);
        }
    }

    pub(super) fn bound(&mut self, connection: u64, side: Side, of: Phase, after: Duration) {
        self.schedule(self.time + after, Event::Deadline { connection, side, of });
    }

    /// The connection stands, for the side that dialled.
    pub(super) fn answered(&mut self, connection: u64) {
        if self.phase(connection, DIALLED) != Phase::Connecting {
            // It has given up since.
            self.send(connection, ACCEPTED, Parcel::Reset);
            return;
        }
        let Some(end) = self.end(connection, DIALLED) else { return };
        if end.identity.is_none() {
            self.hand_over(connection, DIALLED, Peer::anonymous());
            return;
        }
        end.phase = Phase::Shaking;
        if let Some(limits) = self.limits(connection, DIALLED) {
            self.bound(connection, DIALLED, Phase::Shaking, limits.handshake_timeout);
        }
        self.send(connection, ACCEPTED, Parcel::Hello);
    }

    /// The side that dialled looks at the hub's certificate.
    pub(super) fn check_hub(&mut self, connection: u64) {
        if self.phase(connection, DIALLED) != Phase::Shaking {
            return;
        }
        match self.look_at_peer(connection, DIALLED) {
            Some(Ok(peer)) => {
                self.send(connection, ACCEPTED, Parcel::Finished);
                self.hand_over(connection, DIALLED, peer);
            }
            Some(Err(e)) => self.refuse(connection, DIALLED, &e),
            None => {}
        }
    }

    /// The side that was dialled looks at the other's certificate.
    pub(super) fn check_dialler(&mut self, connection: u64) {
        if self.phase(connection, ACCEPTED) != Phase::Shaking {
            return;
        }
        match self.look_at_peer(connection, ACCEPTED) {
            Some(Ok(peer)) => self.hand_over(connection, ACCEPTED, peer),
            Some(Err(e)) => self.refuse(connection, ACCEPTED, &e),
            None => {}
        }
    }

    /// What one side finds when it looks at the other's certificate; none when
    /// there is no TLS.
    fn look_at_peer(&self, connection: u64, side: Side) -> Option<Result<Peer, rustls::Error>> {
        let now = unix_time(self.wall());
        let shared = self.connections.get(&connection)?;
        let mine = shared.ends[side].identity.as_ref()?.credentials();
        let shown = shared.ends[1 - side].shown.as_ref()?;
        let Some((certificate, rest)) = shown.chain.split_first() else {
            let takes_guests = side == ACCEPTED && shared.accept == Accept::AnyClients;
            return Some(takes_guests.then(Peer::guest).ok_or(rustls::Error::NoCertificatesPresented));
        };
        let unusable = rustls::Error::General;
        Some(if side == DIALLED {
            let host = ServerName::try_from(shared.hosts[ACCEPTED].as_str()).ok()?;
            let verifier = DialledPeer::new(&mine, shared.expect.as_deref(), &provider()).map_err(unusable);
            verifier.and_then(|verifier| verifier.check(certificate, rest, &host, now))
        } else {
            let verifier = DiallingPeer::new(&mine, shared.accept, &provider()).map_err(unusable);
            verifier.and_then(|verifier| verifier.check(certificate, rest, now))
        })
    }

    /// An identity was replaced: links whose peer it does not let in end.
    pub(super) fn look_again(&mut self) {
        let connections: Vec<u64> = self.connections.keys().copied().collect();
        for (connection, side) in connections.into_iter().flat_map(|id| [(id, DIALLED), (id, ACCEPTED)]) {
            if self.phase(connection, side) != Phase::Up {
                continue;
            }
            if let Some(Err(error)) = self.look_at_peer(connection, side) {
                self.announce_end(connection, side, reason_of(&error, false));
                self.close(connection, side);
            }
        }
    }

    fn refuse(&mut self, connection: u64, side: Side, error: &rustls::Error) {
        self.send(connection, 1 - side, Parcel::Alert(seen_by_peer(error)));
        self.fail(connection, side, reason_of(error, false));
    }

    /// One side ends before it was up.
    pub(super) fn fail(&mut self, connection: u64, side: Side, reason: CloseReason) {
        self.announce_end(connection, side, reason);
        if self.phase(connection, side) == Phase::Shaking {
            self.send(connection, 1 - side, Parcel::Fin { proper: false });
        }
        self.forget(connection, side);
    }

    /// A bound of time has passed, if the side still stands where it did.
    pub(super) fn overdue(&mut self, connection: u64, side: Side, of: Phase) {
        if self.phase(connection, side) != of {
            return;
        }
        let (Some(limits), Some(shared)) = (self.limits(connection, side), self.connections.get(&connection)) else {
            return;
        };
        match of {
            Phase::Connecting => {
                let address = format!("{}:{}", shared.hosts[ACCEPTED], shared.port);
                let millis = millis(limits.dial_timeout);
                self.fail(connection, side, CloseReason::ConnectTimedOut { address, millis });
            }
            Phase::Shaking => {
                let millis = millis(limits.handshake_timeout);
                self.fail(connection, side, CloseReason::HandshakeTimedOut { millis });
            }
            Phase::Closing => self.forget(connection, side),
            Phase::Up | Phase::Gone => {}
        }
    }

    /// A sender has waited long enough for a far side that cannot be reached.
    pub(super) fn give_up(&mut self, connection: u64, side: Side, since: weft_base::Mono) {
        let still = self.end(connection, 1 - side).is_some_and(|far| far.inward.stalled == Some(since));
        if still && self.phase(connection, side) != Phase::Connecting {
            self.broken(connection, side, CloseReason::TimedOut);
        }
    }
}
