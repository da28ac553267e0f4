//! Listening, and taking in those who dial.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use rustls::ServerConnection;
use socket2::SockRef;

use super::link::{Link, Stage};
use super::secure::Secure;
use super::socket::Socket;
use super::{LISTENER, TcpNetwork};
use crate::address::{Target, parse};
use crate::identity::Peer;
use crate::network::{Accept, ListenError, ListenerToken, Ready, Security};
use crate::reason::CloseReason;
use crate::shm::{Door, Visitor};
use crate::tls::Gatekeeper;

pub(super) struct Listener {
    pub(super) gate: Gate,
    /// Whether `knocking` has it.
    pub(super) listed: bool,
}

/// Where peers come in.
pub(super) enum Gate {
    /// A port; without a gatekeeper it is plain.
    Tcp(TcpListener, Option<Gatekeeper>),
    /// Shared memory.
    Shm(Door),
}

/// Who came in.
enum Arrival {
    Tcp(TcpStream, SocketAddr),
    Shm(Visitor),
}

impl Gate {
    fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Tcp(socket, _) => socket.accept().map(|(stream, from)| Arrival::Tcp(stream, from)),
            Self::Shm(door) => door.accept().map(Arrival::Shm),
        }
    }
}

/// How many peers one listener takes in at one poll, so that a crowd at the
/// door cannot hold up the links.
const AT_ONCE: usize = 64;

/// How long nobody is taken in after the system had no descriptor to give.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

impl TcpNetwork {
    pub(super) fn open_listener(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let address = addr.to_owned();
        let first = first_of(addr, addr)?;
        let tls = match security {
            Security::Plain if !first.ip().is_loopback() => return Err(ListenError::PlainBeyondLoopback { address }),
            Security::Plain => None,
            Security::Tls(identity) => {
                self.identities.add(identity);
                let made = Gatekeeper::new(identity, accept, &self.clock);
                Some(made.map_err(|detail| ListenError::Identity { address, detail })?)
            }
        };
        let mut socket = TcpListener::bind(first).map_err(|e| ListenError::of_bind(addr, &e))?;
        let bound = socket.local_addr().map_err(|e| ListenError::of_bind(addr, &e))?;
        self.size_buffers(SockRef::from(&socket));
        let registry = self.poll.registry();
        let mut registered = Ok(());
        let key = self.listeners.insert_with(|key| {
            registered = registry.register(&mut socket, Token(key as usize | LISTENER), Interest::READABLE);
            Listener { gate: Gate::Tcp(socket, tls), listed: false }
        });
        if let Err(e) = registered {
            self.listeners.remove(key);
            return Err(ListenError::of_bind(addr, &e));
        }
        Ok((ListenerToken(key), bound.to_string()))
    }

    pub(super) fn drop_listener(&mut self, listener: ListenerToken) {
        let Some(mut gone) = self.listeners.remove(listener.0) else { return };
        let _ = match &mut gone.gate {
            Gate::Tcp(socket, _) => self.poll.registry().deregister(socket),
            Gate::Shm(door) => self.poll.registry().deregister(&mut door.socket),
        };
        for key in self.links.keys() {
            let Some(link) = self.links.get(key) else { continue };
            if link.listener == Some(listener.0) && matches!(link.stage, Stage::Handshaking { .. }) {
                let refused = self.refusal_of(key, CloseReason::ListenerClosed);
                self.queued.extend(refused);
                self.discard(key);
            }
        }
    }

    /// The system says that somebody is at the door.
    pub(super) fn knock(&mut self, key: u64) {
        if let Some(listener) = self.listeners.get_mut(key)
            && !listener.listed
        {
            listener.listed = true;
            self.knocking.push(key);
        }
    }

    /// Whether taking in could go on right now.
    pub(super) fn may_accept(&self) -> bool {
        !self.knocking.is_empty() && self.handshakes < self.options.handshakes && self.door.is_none()
    }

    /// Takes in those who wait, at most [`AT_ONCE`] per listener.
    pub(super) fn accept_all(&mut self, ready: &mut Vec<Ready>) {
        let mut at = 0;
        while let Some(key) = self.knocking.get(at).copied() {
            if self.accept_some(key, ready) {
                at += 1;
                continue;
            }
            self.knocking.swap_remove(at);
            if let Some(listener) = self.listeners.get_mut(key) {
                listener.listed = false;
            }
        }
    }

    /// Answers whether more may be waiting.
    fn accept_some(&mut self, key: u64, ready: &mut Vec<Ready>) -> bool {
        for _ in 0..AT_ONCE {
            if !self.may_accept() {
                return true;
            }
            let Some(listener) = self.listeners.get(key) else { return false };
            match listener.gate.accept() {
                Ok(Arrival::Tcp(stream, from)) => self.take_in(key, stream, from, ready),
                Ok(Arrival::Shm(visitor)) => self.let_in(key, visitor, ready),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // The peer went away while it waited, or a signal came.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                // Out of descriptors or memory. They stay in the system's
                // queue until some may have been given back.
                Err(_) => {
                    let at = self.clock.now().mono + OUT_OF_DESCRIPTORS;
                    self.door = Some(at);
                    return true;
                }
            }
        }
        true
    }

    fn take_in(&mut self, listener: u64, stream: TcpStream, from: SocketAddr, ready: &mut Vec<Ready>) {
        let token = ListenerToken(listener);
        let refused = |reason| Ready::Refused { listener: token, from: from.to_string(), reason };
        if self.count() >= self.options.connections {
            ready.push(refused(CloseReason::TooManyLinks { limit: self.options.connections }));
            return;
        }
        let secure = match self.begin_shake(listener) {
            Ok(secure) => secure,
            Err(reason) => return ready.push(refused(reason)),
        };
        let shakes = secure.is_some();
        let key =
            self.links.insert_with(|_| Link::new(Stage::Handshaking { rest: Vec::new() }, secure, Some(listener)));
        if let Err(e) = self.adopt(key, stream) {
            self.discard(key);
            ready.push(refused(CloseReason::of_io(&e)));
        } else if shakes {
            self.handshakes += 1;
            let at = self.clock.now().mono + self.options.handshake_timeout;
            if let Some(link) = self.links.get_mut(key) {
                link.counted = true;
                self.timers.set_deadline(key, &mut link.deadline, Some(at));
            }
        } else {
            self.hand_over(key, Peer::anonymous(), ready);
        }
    }

    /// The beginning of a handshake, with a listener that is not plain.
    fn begin_shake(&mut self, listener: u64) -> Result<Option<Box<Secure>>, CloseReason> {
        let Some(Gate::Tcp(_, Some(gatekeeper))) = self.listeners.get_mut(listener).map(|l| &mut l.gate) else {
            return Ok(None);
        };
        let (config, trust) = gatekeeper.admit()?;
        let tls = ServerConnection::new(config).map_err(|e| CloseReason::Tls { detail: e.to_string() })?;
        Ok(Some(Box::new(Secure::new(tls.into(), trust))))
    }

    /// What to say of a peer that was refused.
    pub(super) fn refusal_of(&self, key: u64, reason: CloseReason) -> Option<Ready> {
        let link = self.links.get(key)?;
        let from = link.socket.as_ref().and_then(|socket| socket.stream.peer_addr().ok());
        let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        Some(Ready::Refused { listener: ListenerToken(link.listener?), from, reason })
    }

    /// Gives a connection its socket, and registers it with the system.
    pub(super) fn adopt(&mut self, key: u64, mut stream: TcpStream) -> io::Result<()> {
        // Fails only on a connection that has ended already, which the first
        // read reports, and on one that is not connected yet.
        let _ = stream.set_nodelay(true);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(unsent) = self.options.unsent {
            // Also on one that is not connected yet; a system that refuses costs urgency, not events.
            let bytes = u32::try_from(unsent.0).unwrap_or(u32::MAX);
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(bytes);
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(key as usize), interest)?;
        if let Some(link) = self.links.get_mut(key) {
            let mut socket = Socket::new(stream);
            // One that came in stands already and has room.
            socket.writable = link.listener.is_some();
            link.socket = Some(socket);
        }
        Ok(())
    }

    /// Sets the buffers that the options ask for; a system that refuses a
    /// size keeps its own, which costs speed and nothing else.
    pub(super) fn size_buffers(&self, socket: SockRef<'_>) {
        if let Some(size) = self.options.send_buffer {
            let _ = socket.set_send_buffer_size(size.as_usize());
        }
        if let Some(size) = self.options.receive_buffer {
            let _ = socket.set_recv_buffer_size(size.as_usize());
        }
    }
}

/// The address to listen at that `target` stands for, in what was given as
/// `addr`. A name may stand for several interfaces' addresses: the first is taken.
pub(super) fn first_of(addr: &str, target: &str) -> Result<SocketAddr, ListenError> {
    let wrong = |detail| ListenError::Address { address: addr.to_owned(), detail };
    match parse(target).map_err(wrong)? {
        Target::Address(one) => Ok(one),
        Target::Name(host, port) => {
            let mut found = (host.as_str(), port).to_socket_addrs().map_err(|e| wrong(e.to_string()))?;
            found.next().ok_or_else(|| wrong("the name has no address".to_owned()))
        }
    }
}
