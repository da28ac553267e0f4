//! From a dial to a link, and from a link to its end.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use super::dial::{Target, parse};
use super::{Link, Stage, TcpNetwork};
use crate::identity::Peer;
use crate::network::{DialError, LinkToken, Ready, Security};
use crate::reason::CloseReason;

/// How much of what nobody wants is thrown away per poll and connection.
const DISCARDS: usize = 4;

impl TcpNetwork {
    pub(super) fn open_link(
        &mut self,
        addr: &str,
        security: &Security,
        _expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let address = addr.to_owned();
        let target = parse(addr).map_err(|detail| DialError::Address { address: address.clone(), detail })?;
        if let (Security::Plain, Target::Address(one)) = (security, &target)
            && !one.ip().is_loopback()
        {
            return Err(DialError::PlainBeyondLoopback { address });
        }
        if let Security::Tls(_) = security {
            return Err(DialError::Identity { address, detail: "TLS is not in this build yet".to_owned() });
        }
        let limit = self.options.connections;
        if self.links.len() >= limit {
            return Err(DialError::TooManyLinks { address, limit });
        }
        let key = self.links.insert_with(|_| Link::new(Stage::Resolving, None));
        self.bound_attempt(key, 1);
        match target {
            Target::Address(one) => {
                if let Err(reason) = self.try_addresses(key, vec![one]) {
                    self.discard(key);
                    self.queued.push(Ready::Closed { link: LinkToken(key), reason });
                }
            }
            Target::Name(host, port) => self.resolver.ask(key, host, port),
        }
        Ok(LinkToken(key))
    }

    /// Gives the next attempt its share of the bound of time.
    fn bound_attempt(&mut self, key: u64, shares: usize) {
        let share = self.options.dial_timeout / u32::try_from(shares.max(1)).unwrap_or(u32::MAX);
        let at = self.clock.now().mono + share;
        if let Some(link) = self.links.get_mut(key) {
            self.timers.set_deadline(key, link, Some(at));
        }
    }

    /// The resolver answered for a link that may be gone since.
    pub(super) fn resolved(&mut self, key: u64, answer: io::Result<Vec<SocketAddr>>, ready: &mut Vec<Ready>) {
        if !self.links.get(key).is_some_and(|link| matches!(link.stage, Stage::Resolving)) {
            return;
        }
        let tried = match answer {
            Ok(mut addresses) => {
                // The next one is taken from the end.
                addresses.reverse();
                self.try_addresses(key, addresses)
            }
            Err(e) => Err(CloseReason::Resolve { host: String::new(), detail: e.to_string() }),
        };
        if let Err(reason) = tried {
            self.fail(key, reason, ready);
        }
    }

    /// Begins to connect to the last of `rest`, or to the one before it if
    /// that fails at once, and so on.
    fn try_addresses(&mut self, key: u64, mut rest: Vec<SocketAddr>) -> Result<(), CloseReason> {
        let none = CloseReason::Resolve { host: String::new(), detail: "the name has no address".to_owned() };
        let mut reason = none;
        while let Some(address) = rest.pop() {
            self.bound_attempt(key, rest.len() + 1);
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
        let (Stage::Connecting { address, .. }, Some(stream)) = (&link.stage, &link.stream) else { return };
        let address = *address;
        let outcome = match stream.take_error() {
            Ok(Some(e)) | Err(e) => Err(e),
            Ok(None) => stream.peer_addr().map(|_| ()),
        };
        match outcome {
            Ok(()) => {
                let _ = stream.set_nodelay(true);
                link.stage = Stage::Up;
                link.writable = true;
                self.timers.set_deadline(key, link, None);
                ready.push(Ready::Connected { link: LinkToken(key), peer: Peer::anonymous() });
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => self.try_next(key, CloseReason::of_connect(&address.to_string(), &e), ready),
        }
    }

    /// One address failed: on to the next, or the end.
    pub(super) fn try_next(&mut self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        let rest = match &mut link.stage {
            Stage::Connecting { rest, .. } => std::mem::take(rest),
            _ => Vec::new(),
        };
        if let Some(mut stream) = link.stream.take() {
            let _ = self.poll.registry().deregister(&mut stream);
        }
        if rest.is_empty() {
            self.fail(key, reason, ready);
        } else if let Err(reason) = self.try_addresses(key, rest) {
            self.fail(key, reason, ready);
        }
    }

    /// Ends a connection and says so.
    pub(super) fn fail(&mut self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        self.discard(key);
        ready.push(Ready::Closed { link: LinkToken(key), reason });
    }

    /// A bound of time has passed.
    pub(super) fn overdue(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get(key) else { return };
        let millis = |bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        match &link.stage {
            Stage::Resolving => {
                let detail = format!("no answer within {} ms", millis(self.options.dial_timeout));
                self.fail(key, CloseReason::Resolve { host: String::new(), detail }, ready);
            }
            Stage::Connecting { address, .. } => {
                let (address, millis) = (address.to_string(), millis(self.options.dial_timeout));
                self.try_next(key, CloseReason::ConnectTimedOut { address, millis }, ready);
            }
            Stage::Lingering | Stage::Up => self.discard(key),
        }
    }

    /// The caller lets go of a link.
    pub(super) fn end(&mut self, key: u64) {
        let Some(link) = self.links.get_mut(key) else { return };
        if matches!(link.stage, Stage::Lingering) {
            return;
        }
        let shut = match (&link.stage, &link.stream) {
            (Stage::Up, Some(stream)) => stream.shutdown(Shutdown::Write).is_ok(),
            _ => false,
        };
        if !shut {
            self.discard(key);
            return;
        }
        let was = link.is_hot();
        link.stage = Stage::Lingering;
        let is = link.is_hot();
        self.lingering += 1;
        let at = self.clock.now().mono + self.options.linger;
        self.timers.set_expiry(key, link, None);
        self.timers.set_deadline(key, link, Some(at));
        match (was, is) {
            (false, true) => self.heat(key),
            (true, false) => self.hot_count -= 1,
            _ => {}
        }
    }

    /// Throws away what a peer sends on a link that was let go of.
    pub(super) fn drain(&mut self, key: u64) {
        for _ in 0..DISCARDS {
            let Some(link) = self.links.get_mut(key) else { return };
            let was = link.is_hot();
            let read = link.read_once(&mut self.scratch);
            if was && !link.is_hot() {
                self.hot_count -= 1;
            }
            match read {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                _ => return self.discard(key),
            }
        }
    }
}
