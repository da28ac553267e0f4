//! Listening, and taking in those who dial.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::SockRef;

use super::dial::{Target, parse};
use super::{LISTENER, Link, Stage, TcpNetwork};
use crate::identity::Peer;
use crate::network::{Accept, LinkToken, ListenError, ListenerToken, Ready, Security};
use crate::reason::CloseReason;

pub(super) struct Listener {
    socket: TcpListener,
    /// Whether `knocking` has it.
    pub(super) listed: bool,
}

/// How many peers one listener takes in at one poll, so that a crowd at the
/// door cannot hold up the links.
const AT_ONCE: usize = 64;

impl TcpNetwork {
    pub(super) fn open_listener(
        &mut self,
        addr: &str,
        security: &Security,
        _accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let address = addr.to_owned();
        let addresses: Vec<SocketAddr> = match parse(addr) {
            Ok(Target::Address(one)) => vec![one],
            Ok(Target::Name(host, port)) => match (host.as_str(), port).to_socket_addrs() {
                Ok(found) => found.collect(),
                Err(e) => return Err(ListenError::Address { address, detail: e.to_string() }),
            },
            Err(detail) => return Err(ListenError::Address { address, detail }),
        };
        // A name may stand for several interfaces' addresses: the first is taken.
        let Some(first) = addresses.first().copied() else {
            return Err(ListenError::Address { address, detail: "the name has no address".to_owned() });
        };
        if matches!(security, Security::Plain) && !first.ip().is_loopback() {
            return Err(ListenError::PlainBeyondLoopback { address });
        }
        if let Security::Tls(_) = security {
            return Err(ListenError::Identity { address, detail: "TLS is not in this build yet".to_owned() });
        }
        let mut socket = TcpListener::bind(first).map_err(|e| refusal(addr, &e))?;
        let bound = socket.local_addr().map_err(|e| refusal(addr, &e))?;
        self.size_buffers(SockRef::from(&socket));
        let registry = self.poll.registry();
        let mut registered = Ok(());
        let key = self.listeners.insert_with(|key| {
            registered = registry.register(&mut socket, Token(key as usize | LISTENER), Interest::READABLE);
            Listener { socket, listed: false }
        });
        if let Err(e) = registered {
            self.listeners.remove(key);
            return Err(refusal(addr, &e));
        }
        Ok((ListenerToken(key), bound.to_string()))
    }

    pub(super) fn drop_listener(&mut self, listener: ListenerToken) {
        if let Some(mut gone) = self.listeners.remove(listener.0) {
            let _ = self.poll.registry().deregister(&mut gone.socket);
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
        !self.knocking.is_empty() && self.handshakes < self.options.handshakes
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
            if self.handshakes >= self.options.handshakes {
                return true;
            }
            let Some(listener) = self.listeners.get(key) else { return false };
            match listener.socket.accept() {
                Ok((stream, from)) => self.take_in(key, stream, from, ready),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // The peer went away while it waited, or a signal came.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                // Out of descriptors or memory: they stay in the queue, and
                // the next poll tries again.
                Err(_) => return true,
            }
        }
        true
    }

    fn take_in(&mut self, listener: u64, stream: TcpStream, from: SocketAddr, ready: &mut Vec<Ready>) {
        if self.links.len() >= self.options.connections {
            let reason = CloseReason::TooManyLinks { limit: self.options.connections };
            ready.push(Ready::Refused { listener: ListenerToken(listener), from: from.to_string(), reason });
            return;
        }
        let mut link = Link::new(Stage::Up, Some(listener));
        link.writable = true;
        let key = self.links.insert_with(|_| link);
        match self.adopt(key, stream) {
            Ok(()) => ready.push(Ready::Accepted {
                link: LinkToken(key),
                listener: ListenerToken(listener),
                peer: Peer::anonymous(),
            }),
            Err(e) => {
                self.discard(key);
                let reason = CloseReason::of_io(&e);
                ready.push(Ready::Refused { listener: ListenerToken(listener), from: from.to_string(), reason });
            }
        }
    }

    /// Gives a connection its socket, and registers it with the system.
    pub(super) fn adopt(&mut self, key: u64, mut stream: TcpStream) -> io::Result<()> {
        // Fails only on a connection that has ended already, which the first
        // read reports.
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(key as usize), interest)?;
        if let Some(link) = self.links.get_mut(key) {
            link.stream = Some(stream);
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

fn refusal(addr: &str, error: &io::Error) -> ListenError {
    let address = addr.to_owned();
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        io::ErrorKind::PermissionDenied => ListenError::NotAllowed { address },
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere { address },
        _ => ListenError::Io { address, detail: error.to_string() },
    }
}
