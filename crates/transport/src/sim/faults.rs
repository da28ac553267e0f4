//! What ends links: their callers, and what goes wrong in a world.

use weft_base::{Clock, UnixNanos};

use super::pipe::Parcel;
use super::world::{ACCEPTED, Endpoint, Phase, Side, World};
use crate::network::ListenerToken;
use crate::reason::CloseReason;

impl World {
    pub(super) fn wall(&self) -> UnixNanos {
        self.clock.now().wall
    }

    /// The caller lets go of its side.
    pub(super) fn close(&mut self, connection: u64, side: Side) {
        match self.phase(connection, side) {
            Phase::Up => {}
            Phase::Connecting | Phase::Shaking => {
                self.send(connection, 1 - side, Parcel::Fin { proper: false });
                return self.forget(connection, side);
            }
            Phase::Closing | Phase::Gone => return,
        }
        self.send(connection, 1 - side, Parcel::Fin { proper: true });
        let Some(end) = self.end(connection, side) else { return };
        end.phase = Phase::Closing;
        let (ended, unread) = (end.inward.end.is_some(), end.inward.unread.len());
        end.inward.unread.clear();
        if let Some(at) = end.expires.take() {
            self.expiries.remove(&(at, connection, side));
        }
        self.tell_room(connection, side, unread);
        if ended {
            self.forget(connection, side);
        } else if let Some(limits) = self.limits(connection, side) {
            self.bound(connection, side, Phase::Closing, limits.linger);
        }
    }

    pub(super) fn close_listener(&mut self, id: u64, token: ListenerToken) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        if endpoint.listeners.remove(&token).is_none() {
            return;
        }
        let links: Vec<_> = endpoint.links.values().copied().collect();
        for (connection, side) in links {
            let came_in = self.connections.get(&connection).is_some_and(|shared| shared.listener == Some(token));
            if came_in && side == ACCEPTED && self.phase(connection, side) == Phase::Shaking {
                self.fail(connection, side, CloseReason::ListenerClosed);
            }
        }
    }

    /// The endpoint's program ends: its system ends the connections.
    pub(super) fn stop_endpoint(&mut self, id: u64) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        let links: Vec<_> = endpoint.links.values().copied().chain(waiting(endpoint)).collect();
        for (connection, side) in links {
            if self.phase(connection, side) != Phase::Closing {
                self.send(connection, 1 - side, Parcel::Fin { proper: false });
            }
            self.forget(connection, side);
        }
        self.endpoints.remove(&id);
    }

    /// The host is switched off: nobody is told.
    pub(super) fn crash(&mut self, host: &str) {
        let running = self.hosts.insert(host.to_owned(), None).flatten();
        let Some(endpoint) = running.and_then(|id| self.endpoints.remove(&id)) else { return };
        let links: Vec<_> = endpoint.links.values().copied().chain(waiting(&endpoint)).collect();
        for (connection, side) in links {
            self.forget(connection, side);
        }
    }

    /// Mends the way from one host to another.
    pub(super) fn heal(&mut self, from: &str, to: &str) {
        self.way(from, to).cut = false;
        self.go_on(from, to);
    }

    /// Breaks every connection between two hosts.
    pub(super) fn reset_links(&mut self, a: &str, b: &str) {
        let between = |hosts: &[String; 2]| (hosts[0] == a && hosts[1] == b) || (hosts[0] == b && hosts[1] == a);
        let broken: Vec<_> =
            self.connections.iter().filter(|(_, shared)| between(&shared.hosts)).map(|(id, _)| *id).collect();
        for connection in broken {
            self.break_down(connection);
        }
    }
}

/// Connections that an endpoint has not taken in yet.
fn waiting(endpoint: &Endpoint) -> impl Iterator<Item = (u64, Side)> {
    endpoint.waiting.iter().map(|connection| (*connection, ACCEPTED))
}
