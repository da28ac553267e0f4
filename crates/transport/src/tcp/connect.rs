//! From a dial, or an accepted connection, to a link in the caller's hands.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use super::TcpNetwork;
use super::link::{Link, Stage};
use super::secure::{Secure, Stop};
use crate::address::{Target, in_turn};
use crate::identity::{Peer, peer_of, stranger_of};
use crate::network::{DialError, Known, LinkToken, ListenerToken, Ready, Security};
use crate::reason::CloseReason;
use crate::tls::{self, Trust};

impl TcpNetwork {
    pub(super) fn open_link(
        &mut self,
        (addr, target): (&str, Target),
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let address = addr.to_owned();
        let limit = self.options.connections;
        if self.count() >= limit {
            return Err(DialError::TooManyLinks { address, limit });
        }
        let host = target.host();
        let secure = match (security, &target) {
            (Security::Plain, Target::Address(one)) if !one.ip().is_loopback() => {
                return Err(DialError::PlainBeyondLoopback { address });
            }
            (Security::Plain, _) => None,
            (Security::Tls(identity), _) => {
                let unusable = |detail| DialError::Identity { address: address.clone(), detail };
                self.identities.add(identity);
                // The trust first: what is replaced meanwhile is looked at again.
                let trust = Trust::of_dialled(identity, &host, expect).map_err(unusable)?;
                let tls = tls::client(identity, &host, expect, &self.clock).map_err(unusable)?;
                Some(Box::new(Secure::new(tls.into(), trust)))
            }
        };
        let stage = Stage::Resolving { host, failures: known.failures };
        let key = self.links.insert_with(|_| Link::new(stage, secure, None));
        self.set_deadline(key, self.options.dial_timeout);
        match target.addresses(known.at) {
            Ok(all) => {
                let mut ready = Vec::new();
                self.resolved(key, Ok(all), &mut ready);
                self.queued.append(&mut ready);
            }
            Err((host, port)) => self.resolver.ask(key, (host, port)),
        }
        Ok(LinkToken(key))
    }

    pub(super) fn set_deadline(&mut self, key: u64, after: Duration) {
        let at = self.clock.now().mono + after;
        if let Some(link) = self.links.get_mut(key) {
            self.timers.set_deadline(key, &mut link.deadline, Some(at));
        }
    }

    /// Where a link goes is known, which may be gone since.
    pub(super) fn resolved(&mut self, key: u64, answer: io::Result<Vec<SocketAddr>>, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get(key) else { return };
        let Stage::Resolving { host, failures } = &link.stage else { return };
        let failures = *failures;
        let unknown = |detail: String| CloseReason::Resolve { host: host.clone(), detail };
        let is_plain = link.secure.is_none();
        let is_ours = |address: &SocketAddr| !is_plain || address.ip().is_loopback();
        let tried = match answer {
            Ok(all) if all.is_empty() => Err(unknown("it has none".to_owned())),
            Ok(mut all) => {
                let beyond = all.iter().find(|address| !is_ours(address)).copied();
                all.retain(is_ours);
                match beyond {
                    Some(address) if all.is_empty() => {
                        Err(CloseReason::PlainBeyondLoopback { address: address.to_string() })
                    }
                    _ => self.try_addresses(key, in_turn(all, failures)),
                }
            }
            Err(e) => Err(unknown(e.to_string())),
        };
        if let Err(reason) = tried {
            self.fail(key, reason, ready);
        }
    }

    /// Begins to connect to the last of `rest`, or to the one before it if
    /// that fails at once, and so on. Each gets its share of the time.
    fn try_addresses(&mut self, key: u64, mut rest: Vec<SocketAddr>) -> Result<(), CloseReason> {
        let mut reason = CloseReason::NoSuchLink;
        while let Some(address) = rest.pop() {
            let shares = u32::try_from(rest.len() + 1).unwrap_or(u32::MAX);
            self.set_deadline(key, self.options.dial_timeout / shares);
            match TcpStream::connect(address) {
                Ok(stream) => {
                    self.size_buffers(SockRef::from(&stream));
                    if let Some(link) = self.links.get_mut(key) {
                        link.stage = Stage::Connecting { address, rest };
                    }
                    return self.adopt(key, stream).map_err(|e| CloseReason::of_connect(&address.to_string(), &e));
                }
                Err(e) => reason = CloseReason::of_connect(&address.to_string(), &e),
            }
        }
        Err(reason)
    }

    /// The system says something about a connection that is being tried.
    pub(super) fn connecting(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        let (Stage::Connecting { address, rest }, Some(socket)) = (&mut link.stage, &mut link.socket) else { return };
        let address = *address;
        let outcome = match socket.stream.take_error() {
            Ok(Some(e)) | Err(e) => Err(e),
            Ok(None) => socket.stream.peer_addr().map(|_| ()),
        };
        match outcome {
            Ok(()) => {
                // Some systems do not take it before the connection stands.
                let _ = socket.stream.set_nodelay(true);
                socket.writable = true;
                if link.secure.is_some() {
                    link.stage = Stage::Handshaking { rest: std::mem::take(rest) };
                    self.set_deadline(key, self.options.handshake_timeout);
                    self.shake(key, ready);
                } else {
                    self.hand_over(key, Peer::anonymous(), ready);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => self.try_next(key, CloseReason::of_connect(&address.to_string(), &e), ready),
        }
    }

    /// One address failed: on to the next, or the end.
    fn try_next(&mut self, key: u64, mut reason: CloseReason, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        if let Some(mut socket) = link.socket.take() {
            let _ = self.poll.registry().deregister(&mut socket.stream);
        }
        if let Stage::Connecting { rest, .. } | Stage::Handshaking { rest } = &mut link.stage
            && !rest.is_empty()
        {
            let rest = std::mem::take(rest);
            match self.try_addresses(key, rest) {
                Ok(()) => return,
                Err(last) => reason = last,
            }
        }
        self.fail(key, reason, ready);
    }

    /// The handshake at one address of a hub that is dialled came to nothing: on to
    /// the next one, if there is any. Answers whether there is.
    fn shake_next(&mut self, key: u64, reason: &CloseReason, ready: &mut Vec<Ready>) -> bool {
        let Some(link) = self.links.get_mut(key) else { return false };
        if !matches!(&link.stage, Stage::Handshaking { rest } if !rest.is_empty()) {
            return false;
        }
        let Some(again) = link.secure.as_ref().and_then(|secure| secure.again(&self.clock)) else { return false };
        // The alert that says why, as far as the system takes it.
        let _ = link.flush();
        link.secure = Some(Box::new(again));
        self.try_next(key, reason.clone(), ready);
        true
    }

    /// Goes on with a handshake as far as it goes.
    pub(super) fn shake(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        let (Some(socket), Some(secure)) = (&mut link.socket, &mut link.secure) else { return };
        match secure.shake(socket, &mut self.scratch) {
            // An identity that was replaced meanwhile has not looked at this peer.
            Ok(()) => match secure
                .look_again(&*self.clock)
                .map(|()| secure.peer_certificate().map(|c| peer_of(c).or_else(|_| stranger_of(c))))
            {
                Ok(Some(Ok(peer))) => self.hand_over(key, peer, ready),
                Ok(None) if secure.takes_guests() => self.hand_over(key, Peer::guest(), ready),
                // The verifier has read both already.
                Ok(Some(Err(_)) | None) => self.refuse(key, CloseReason::NoIdentity, ready),
                Err(reason) => self.refuse(key, reason, ready),
            },
            Err(Stop::WouldBlock) => {}
            Err(Stop::Closed(reason)) => self.refuse(key, reason, ready),
        }
    }

    /// The link is up.
    pub(super) fn hand_over(&mut self, key: u64, peer: Peer, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        self.handshakes -= usize::from(std::mem::take(&mut link.counted));
        self.timers.set_deadline(key, &mut link.deadline, None);
        self.timers.set_expiry(key, &mut link.expires, peer.expires);
        let listener = link.listener;
        self.change(key, |link, _| link.stage = Stage::Up);
        let link = LinkToken(key);
        ready.push(match listener {
            Some(listener) => Ready::Accepted { link, listener: ListenerToken(listener), peer },
            None => Ready::Connected { link, peer },
        });
    }

    /// A handshake failed: another address is tried, or it is said here and to the peer.
    fn refuse(&mut self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        if self.shake_next(key, &reason, ready) {
            return;
        }
        self.announce(key, reason, ready);
        self.let_go(key);
    }

    /// Ends a connection at once and says so here.
    pub(super) fn fail(&mut self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        self.announce(key, reason, ready);
        self.discard(key);
    }

    /// Reports the end of a link, or of what was to become one.
    fn announce(&self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        match self.links.get(key) {
            Some(link) if link.listener.is_some() && link.is_opening() => ready.extend(self.refusal_of(key, reason)),
            Some(_) => ready.push(Ready::Closed { link: LinkToken(key), reason }),
            None => {}
        }
    }

    /// A link's certificate has ended: the link does, too.
    pub(super) fn expired(&mut self, key: u64, since: Duration, ready: &mut Vec<Ready>) {
        self.announce(key, CloseReason::CertificateExpired { seconds_ago: since.as_secs() }, ready);
        self.let_go(key);
    }

    /// Looks again at the peers of some links whose identity was replaced.
    pub(super) fn look_again(&mut self, ready: &mut Vec<Ready>) {
        for key in self.identities.next_links() {
            let Some(link) = self.links.get_mut(key).filter(|link| matches!(link.stage, Stage::Up)) else { continue };
            let Some(Err(reason)) = link.secure.as_mut().map(|secure| secure.look_again(&*self.clock)) else {
                continue;
            };
            self.announce(key, reason, ready);
            self.let_go(key);
        }
    }

    /// A bound of time has passed.
    pub(super) fn overdue(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get(key) else { return };
        let millis = |bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let dial = millis(self.options.dial_timeout);
        match &link.stage {
            Stage::Resolving { host, .. } => {
                let (host, detail) = (host.clone(), format!("no answer within {dial} ms"));
                self.fail(key, CloseReason::Resolve { host, detail }, ready);
            }
            Stage::Connecting { address, .. } => {
                let address = address.to_string();
                self.try_next(key, CloseReason::ConnectTimedOut { address, millis: dial }, ready);
            }
            Stage::Joining => {
                let address = link.shared.as_ref().map(|shared| shared.name.clone()).unwrap_or_default();
                let detail = format!("the hub did not answer within {dial} ms");
                self.fail(key, CloseReason::Unreachable { address, detail }, ready);
            }
            Stage::Handshaking { .. } => {
                let reason = CloseReason::HandshakeTimedOut { millis: millis(self.options.handshake_timeout) };
                if !self.shake_next(key, &reason, ready) {
                    self.fail(key, reason, ready);
                }
            }
            Stage::Up | Stage::Flushing | Stage::Lingering => self.discard(key),
        }
    }
}
