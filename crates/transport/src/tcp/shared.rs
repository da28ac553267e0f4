//! Links by shared memory, beside those of TCP: see [`crate::shm`]. They have
//! the same table, the same poll and the same reports.

use std::io::{self, IoSlice};
use std::mem;
use std::net::Shutdown;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Token};
use rustix::net::RecvFlags;

use super::link::{Link, Stage};
use super::listen::{Gate, Listener};
use super::{LISTENER, TcpNetwork};
use crate::identity::Peer;
use crate::network::{DialError, LinkToken, ListenError, ListenerToken, ReadOutcome, Ready, WriteOutcome};
use crate::reason::CloseReason;
use crate::shm::{self, Door, End, Joining, Visitor};

/// What a link of this kind has in place of a TCP socket.
#[derive(Debug)]
pub(super) struct Shared {
    /// Where it leads, or who is there, for people.
    pub(super) name: String,
    pub(super) side: Side,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Side {
    /// The hub has not said hello yet.
    Joining(UnixStream),
    /// It stands.
    End(End),
}

impl Shared {
    pub(super) const fn end(&self) -> Option<&End> {
        match &self.side {
            Side::End(end) => Some(end),
            Side::Joining(_) => None,
        }
    }

    pub(super) const fn end_mut(&mut self) -> Option<&mut End> {
        match &mut self.side {
            Side::End(end) => Some(end),
            Side::Joining(_) => None,
        }
    }

    /// Whether the list of links to be looked at lacks this one, which wants
    /// it from now on.
    #[inline]
    pub(super) fn must_watch(&mut self) -> bool {
        let Some(end) = self.end_mut() else { return false };
        let must = !end.watched && end.wants_look();
        end.watched |= must;
        must
    }

    pub(super) const fn socket(&mut self) -> &mut UnixStream {
        match &mut self.side {
            Side::End(end) => &mut end.socket,
            Side::Joining(socket) => socket,
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> ReadOutcome {
        let Some(end) = self.end_mut() else { return ReadOutcome::WouldBlock };
        match end.read(buf) {
            Ok(n) => ReadOutcome::Bytes(n),
            Err(shm::Stop::WouldBlock) => ReadOutcome::WouldBlock,
            Err(stop) => ReadOutcome::Closed(reason_of(stop)),
        }
    }

    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], offered: usize) -> WriteOutcome {
        let Some(end) = self.end_mut() else { return WriteOutcome::WouldBlock };
        match end.write(slices, offered) {
            Ok(n) => WriteOutcome::Bytes(n),
            Err(shm::Stop::WouldBlock) => WriteOutcome::WouldBlock,
            Err(stop) => WriteOutcome::Closed(reason_of(stop)),
        }
    }

    /// Tells the peer that nothing follows.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }
}

fn reason_of(stop: shm::Stop) -> CloseReason {
    match stop {
        shm::Stop::Broken(broken) => CloseReason::BrokenRing { detail: broken.to_string() },
        shm::Stop::Ended | shm::Stop::WouldBlock => CloseReason::PeerClosed,
    }
}

impl TcpNetwork {
    pub(super) fn open_door(&mut self, addr: &str, path: &str) -> Result<(ListenerToken, String), ListenError> {
        let mut door = Door::open(addr, path)?;
        let registry = self.poll.registry();
        let mut registered = Ok(());
        let key = self.listeners.insert_with(|key| {
            registered = registry.register(&mut door.socket, Token(key as usize | LISTENER), Interest::READABLE);
            Listener { gate: Gate::Shm(door), listed: false }
        });
        if let Err(e) = registered {
            self.listeners.remove(key);
            return Err(ListenError::Io { address: addr.to_owned(), detail: e.to_string() });
        }
        Ok((ListenerToken(key), addr.to_owned()))
    }

    /// Gives a visitor a link, or says why not.
    pub(super) fn let_in(&mut self, listener: u64, visitor: Visitor, ready: &mut Vec<Ready>) {
        let invited = if self.count() >= self.options.connections {
            Err((visitor.name, CloseReason::TooManyLinks { limit: self.options.connections }))
        } else if self.shm_links >= self.options.shm_links {
            Err((visitor.name, CloseReason::TooManyShared { limit: self.options.shm_links }))
        } else {
            visitor.invite(shm::ring_size(self.options.shm_ring))
        };
        let kept = invited.and_then(|(end, name)| {
            let shared = Shared { name: name.clone(), side: Side::End(end) };
            let key = self
                .links
                .insert_with(|_| Link::shared(Stage::Handshaking { rest: Vec::new() }, shared, Some(listener)));
            self.shm_links += 1;
            self.enrol(key).map(|()| key).map_err(|e| {
                self.discard(key);
                (name, CloseReason::of_io(&e))
            })
        });
        match kept {
            Ok(key) => self.hand_over(key, Peer::anonymous(), ready),
            Err((from, reason)) => {
                ready.push(Ready::Refused { listener: ListenerToken(listener), from, reason });
            }
        }
    }

    /// Begins to connect to the hub whose socket is at `path`.
    pub(super) fn open_shared(&mut self, addr: &str, path: &str) -> Result<LinkToken, DialError> {
        let address = || addr.to_owned();
        if let Some(detail) = shm::wrong_with(path) {
            return Err(DialError::ShmPath { address: address(), detail });
        }
        let limit = self.options.connections;
        if self.count() >= limit {
            return Err(DialError::TooManyLinks { address: address(), limit });
        }
        let failed = match UnixStream::connect(path) {
            Ok(socket) => {
                let shared = Shared { name: address(), side: Side::Joining(socket) };
                let key = self.links.insert_with(|_| Link::shared(Stage::Joining, shared, None));
                match self.enrol(key) {
                    Ok(()) => {
                        self.set_deadline(key, self.options.dial_timeout);
                        return Ok(LinkToken(key));
                    }
                    Err(e) => (key, CloseReason::of_io(&e)),
                }
            }
            Err(e) => {
                let reason = match e.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        CloseReason::ConnectRefused { address: address() }
                    }
                    _ => CloseReason::Unreachable { address: address(), detail: e.to_string() },
                };
                (self.links.insert_with(|_| Link::new(Stage::Joining, None, None)), reason)
            }
        };
        let (key, reason) = failed;
        self.discard(key);
        self.queued.push(Ready::Closed { link: LinkToken(key), reason });
        Ok(LinkToken(key))
    }

    /// Registers a link's socket with the system.
    fn enrol(&mut self, key: u64) -> io::Result<()> {
        let Some(shared) = self.links.get_mut(key).and_then(|link| link.shared.as_mut()) else { return Ok(()) };
        self.poll.registry().register(shared.socket(), Token(key as usize), Interest::READABLE)
    }

    /// The system says something of a link's socket.
    pub(super) fn shared_event(&mut self, key: u64, event: &Event, ready: &mut Vec<Ready>) {
        let closed = event.is_read_closed() || event.is_error();
        self.change(key, |link, _| {
            if let Some(end) = link.shared.as_mut().and_then(|shared| shared.end_mut()) {
                end.signalled(closed);
            }
        });
        let Some(link) = self.links.get(key) else { return };
        let has_ended = link.shared.as_ref().and_then(|shared| shared.end()).is_some_and(End::has_ended);
        match link.stage {
            Stage::Joining => self.go_on_joining(key, ready),
            Stage::Lingering if has_ended => self.discard(key),
            _ => {}
        }
    }

    fn go_on_joining(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(mut shared) = self.links.get_mut(key).and_then(|link| link.shared.take()) else { return };
        let said = shm::join(shared.socket(), RecvFlags::DONTWAIT);
        let Shared { name, side } = *shared;
        let joined = match (said, side) {
            (Ok(Joining::Joined(file, ring)), Side::Joining(socket)) => {
                End::of_client(socket, file, ring).map(Side::End)
            }
            (Ok(_), side) => Ok(side),
            (Err(e), _) => Err(e),
        };
        match joined {
            Ok(side) => {
                let stands = matches!(side, Side::End(_));
                if let Some(link) = self.links.get_mut(key) {
                    link.shared = Some(Box::new(Shared { name, side }));
                }
                if stands {
                    self.hand_over(key, Peer::anonymous(), ready);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                self.fail(key, CloseReason::Unreachable { address: name, detail: e.to_string() }, ready);
            }
            Err(e) => self.fail(key, CloseReason::of_io(&e), ready),
        }
    }

    /// Looks at the rings that were empty or full when they were last used.
    #[inline]
    pub(super) fn look_around(&mut self) {
        if !self.watched.is_empty() {
            self.advance(End::look);
        }
    }

    /// Before the thread sleeps: asks all peers to wake it.
    #[inline]
    pub(super) fn doze(&mut self) {
        if !self.watched.is_empty() {
            self.advance(End::doze);
        }
    }

    fn advance(&mut self, step: impl Fn(&mut End)) {
        let mut watched = mem::take(&mut self.watched);
        watched.retain(|&key| {
            self.change(key, |link, _| {
                let Some(end) = link.shared.as_mut().and_then(|shared| shared.end_mut()) else { return false };
                step(end);
                end.watched = end.wants_look();
                end.watched
            })
            .unwrap_or(false)
        });
        watched.append(&mut self.watched);
        self.watched = watched;
    }
}
