//! From a dial to a link in the caller's hands.

use std::io;
use std::net::SocketAddr;

use weft_base::Now;

use super::config;
use super::engine::{MARK, Quic};
use super::link::{Dial, Link, Stage, Wire};
use super::port::Ports;
use super::reason::DONE;
use crate::address::in_turn;
use crate::identity::{Peer, TlsIdentity, peer_of, stranger_of};
use crate::network::{DialError, LinkToken, ListenerToken, Ready};
use crate::reason::CloseReason;
use crate::tls::{Blame, Trust};
use weft_base::sync::Arc;

impl<P: Ports> Quic<P> {
    /// A link to `host`, whose addresses `resolved` is to be told. `addr` is
    /// what the caller wrote; it was dialled so often in vain.
    pub(crate) fn dial(
        &mut self,
        addr: &str,
        host: &str,
        failures: usize,
        identity: &Arc<TlsIdentity>,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let limit = self.limit();
        if self.links.len() >= limit {
            return Err(DialError::TooManyLinks { address: addr.to_owned(), limit });
        }
        let blame = Blame::kept();
        let unusable = |detail| DialError::Identity { address: addr.to_owned(), detail };
        // The trust first: what is replaced meanwhile is looked at again.
        self.identities.add(identity);
        let trust = Trust::of_dialled(identity, host, expect).map_err(unusable)?;
        let config = config::client(&self.options, identity, expect, &self.clock, blame.clone()).map_err(unusable)?;
        let mut link = Link::new(Stage::Resolving, addr.to_owned(), blame, trust, None, self.ahead());
        link.dial = Some(Box::new(Dial {
            host: host.to_owned(),
            failures,
            config,
            identity: identity.clone(),
            rest: Vec::new(),
        }));
        let key = self.links.insert_with(|_| link);
        self.set_deadline(key, Some(self.shared.dial_timeout), self.clock.now());
        Ok(LinkToken(key | MARK))
    }

    /// The host's addresses are known, the best first, or why they are not.
    pub(crate) fn resolved(&mut self, token: LinkToken, found: io::Result<Vec<SocketAddr>>) {
        let key = token.0 & !MARK;
        let Some(Link { stage: Stage::Resolving, dial: Some(dial), .. }) = self.links.get_mut(key) else { return };
        let unknown = match found {
            Ok(all) if all.is_empty() => "it has none".to_owned(),
            Ok(all) => {
                dial.rest = in_turn(all, dial.failures);
                return self.try_next(key, CloseReason::NoSuchLink);
            }
            Err(e) => e.to_string(),
        };
        let reason = CloseReason::Resolve { host: dial.host.clone(), detail: unknown };
        self.fail(key, reason);
    }

    /// Goes on with the next address; `reason` is why the last one failed.
    pub(super) fn try_next(&mut self, key: u64, mut reason: CloseReason) {
        let now = self.clock.now();
        self.hang_up(key, DONE);
        loop {
            let Some(Link { dial: Some(dial), name, .. }) = self.links.get_mut(key) else { return };
            let Some(to) = dial.rest.pop() else { return self.fail(key, reason) };
            let shares = u32::try_from(dial.rest.len() + 1).unwrap_or(u32::MAX);
            let (name, host, config) = (name.clone(), dial.host.clone(), dial.config.clone());
            let identity = dial.identity.clone();
            let site = match self.site(&identity, None, None, |ports, site| ports.towards(to, site)) {
                Ok(site) => site,
                Err(e) => {
                    reason = CloseReason::of_connect(&name, &e);
                    continue;
                }
            };
            let at = self.instants.at(now.mono);
            let connected = self.sites.get_mut(site).map(|site| site.endpoint.connect(at, config, to, &host));
            match (connected, self.links.get_mut(key)) {
                (Some(Ok((handle, conn))), Some(link)) => {
                    (link.stage, link.answered) = (Stage::Shaking, false);
                    link.wire = Some(Box::new(Wire { site, handle, conn, drained: false }));
                    if let Some(site) = self.sites.get_mut(site) {
                        site.links.insert(handle.0, key);
                    }
                    self.set_deadline(key, Some(self.shared.dial_timeout / shares), now);
                    return self.stir(key);
                }
                (Some(Err(e)), _) => reason = CloseReason::Unreachable { address: name, detail: e.to_string() },
                _ => {}
            }
            self.leave(site);
        }
    }

    /// The handshake is done.
    pub(super) fn connected(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        if !matches!(link.stage, Stage::Shaking) {
            return;
        }
        let chain = link.chain().unwrap_or_default();
        // An identity that was replaced meanwhile has not looked at this peer.
        if let Err(reason) = link.trust.check(&chain, &*self.clock) {
            return self.lose(key, reason, ready);
        }
        let peer: Option<Peer> = chain.first().and_then(|first| peer_of(first).or_else(|_| stranger_of(first)).ok());
        let guest = chain.is_empty() && link.trust.takes_guests();
        let Some(peer) = peer.or_else(|| guest.then(Peer::guest)) else {
            // The verifier has read it already.
            return self.lose(key, CloseReason::NoIdentity, ready);
        };
        if let Err(rule) = link.open_channels() {
            return self.lose(key, super::link::broke(rule), ready);
        }
        link.stage = Stage::Up;
        link.dial = None;
        self.handshakes -= usize::from(std::mem::take(&mut link.counted));
        link.deadline = None;
        let (listener, link) = (link.listener, LinkToken(key | MARK));
        self.set_expiry(key, peer.expires);
        self.list(key);
        ready.push(match listener {
            Some(listener) => Ready::Accepted { link, listener: ListenerToken(listener | MARK), peer },
            None => Ready::Connected { link, peer },
        });
    }

    /// A bound of time has passed.
    pub(super) fn overdue(&mut self, key: u64, now: Now, ready: &mut Vec<Ready>) {
        let millis = |bound: std::time::Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let (dial, shake) = (self.shared.dial_timeout, self.shared.handshake_timeout);
        let Some(link) = self.links.get_mut(key) else { return };
        match link.stage {
            Stage::Resolving => {
                let host = link.dial.as_ref().map(|dial| dial.host.clone()).unwrap_or_default();
                let detail = format!("no answer within {} ms", millis(dial));
                self.fail(key, CloseReason::Resolve { host, detail });
            }
            // Somebody is there: from now on it is the handshake that takes time.
            Stage::Shaking if link.listener.is_none() && !link.was_answered() => {
                let reason = CloseReason::ConnectTimedOut { address: link.name.clone(), millis: millis(dial) };
                self.try_next(key, reason);
            }
            Stage::Shaking if link.listener.is_none() && !std::mem::replace(&mut link.answered, true) => {
                self.set_deadline(key, Some(shake), now);
            }
            Stage::Shaking => self.lose(key, CloseReason::HandshakeTimedOut { millis: millis(shake) }, ready),
            Stage::Closing => self.discard(key, super::reason::GAVE_UP),
            Stage::Up => {}
        }
    }
}
