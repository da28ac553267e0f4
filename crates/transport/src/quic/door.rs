//! Listening, and taking in those who dial.

use std::io;
use std::net::SocketAddr;

use quinn_proto::{Endpoint, Incoming, ServerConfig};
use weft_base::Now;
use weft_base::sync::Arc;

use super::engine::{MARK, Quic, Site};
use super::link::{Link, Stage, Wire};
use super::port::{DatagramPort, Ports};
use super::reason::{DONE, reason_of};
use super::{PREFIX, config};
use crate::identity::TlsIdentity;
use crate::network::{Accept, ListenError, ListenerToken, Ready};
use crate::reason::CloseReason;
use crate::tls::{Blame, Trust};

/// What lets peers in.
pub(super) struct Door {
    /// Where the verifier leaves why it refused somebody.
    blame: Blame,
    /// By what peers are let in, and whom.
    trust: Trust,
    accept: Accept,
    /// Whether peers are still taken in.
    open: bool,
}

impl<P: Ports> Quic<P> {
    /// Listens at `at`; `addr` is what the caller wrote.
    pub(crate) fn listen(
        &mut self,
        addr: &str,
        at: SocketAddr,
        identity: &Arc<TlsIdentity>,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let blame = Blame::kept();
        self.identities.add(identity);
        let trust = Trust::of_dialling(identity, accept);
        let server = config::server(&self.options, identity, accept, &self.clock, blame.clone())
            .map_err(|detail| ListenError::Identity { address: addr.to_owned(), detail })?;
        let door = Door { blame, trust, accept, open: true };
        let key = self.site(identity, Some(server), Some(door), |ports, site| ports.bind(at, site));
        let bound = key.and_then(|key| match self.sites.get(key).map(|site| site.port.local()) {
            Some(Ok(bound)) => Ok((key, bound)),
            Some(Err(e)) => Err(e),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        let (key, bound) = bound.map_err(|e| ListenError::of_bind(addr, &e))?;
        Ok((ListenerToken(key | MARK), format!("{PREFIX}{bound}")))
    }

    /// Makes a site with a port of `make`'s.
    pub(super) fn site(
        &mut self,
        identity: &TlsIdentity,
        server: Option<Arc<ServerConfig>>,
        door: Option<Door>,
        make: impl FnOnce(&mut P, u64) -> io::Result<P::Port>,
    ) -> io::Result<u64> {
        // The key must be known before there is something to keep under it.
        let key = self.sites.next_key();
        let port = make(&mut self.ports, key)?;
        let mtu = !port.may_fragment();
        let endpoint = Endpoint::new(config::endpoint(identity), server, mtu, None);
        let key = self.sites.insert_with(|_| Site::new(port, endpoint, door));
        self.heard.push(key);
        Ok(key)
    }

    /// Nobody is taken in there any more; handshakes under way end.
    pub(crate) fn close_listener(&mut self, token: ListenerToken) {
        let key = token.0 & !MARK;
        let Some(site) = self.sites.get_mut(key) else { return };
        let Some(door) = &mut site.door else { return };
        door.open = false;
        let links: Vec<u64> = site.links.values().copied().collect();
        for link in links {
            if self.links.get(link).is_some_and(Link::is_opening) {
                let refused = self.refusal_of(link, CloseReason::ListenerClosed);
                self.queued.extend(refused);
                self.discard(link, DONE);
            }
        }
        self.leave(key);
    }

    /// Closes a port that nothing needs any more.
    pub(super) fn leave(&mut self, key: u64) {
        let unused = |site: &Site<P::Port>| site.links.is_empty() && !site.door.as_ref().is_some_and(|door| door.open);
        if self.sites.get(key).is_some_and(unused)
            && let Some(site) = self.sites.remove(key)
        {
            self.ports.gone(site.port);
        }
    }

    /// What to say of a peer that was refused.
    pub(super) fn refusal_of(&self, key: u64, reason: CloseReason) -> Option<Ready> {
        let link = self.links.get(key)?;
        Some(Ready::Refused { listener: ListenerToken(link.listener? | MARK), from: link.name.clone(), reason })
    }

    /// The identity of a listener counts as it is now, for who knocks from here on.
    pub(super) fn renew(&mut self, key: u64) {
        let Some(Site { door: Some(door), endpoint, .. }) = self.sites.get_mut(key) else { return };
        let Some(new) = door.trust.renewed() else { return };
        // What was read of its files can be used, or it would not count.
        if let Ok(server) = config::server(&self.options, new.identity(), door.accept, &self.clock, door.blame.clone())
        {
            endpoint.set_server_config(Some(server));
            door.trust = new;
        }
    }

    /// A peer that this side has not heard of: in, away, or to be asked again.
    pub(super) fn knock(&mut self, key: u64, incoming: Incoming, now: Now, ready: &mut Vec<Ready>) {
        let limit = self.limit();
        let full = self.links.len() >= limit;
        // Half of the places are for those who came in, and for dials.
        let busy = self.handshakes >= self.shared.handshakes.min((limit / 2).max(1));
        let retry_from = self.options.retry_from.unwrap_or(self.shared.handshakes.min(limit) / 4);
        let crowded = full || busy || self.handshakes >= retry_from;
        let at = self.instants.at(now.mono);
        let ahead = self.ahead();
        let Some(site) = self.sites.get_mut(key) else { return };
        let Some(door) = &site.door else { return site.endpoint.ignore(incoming) };
        let (open, blame, trust) = (door.open, door.blame.clone(), door.trust.clone());
        let from = incoming.remote_address();
        let refused =
            |reason| Ready::Refused { listener: ListenerToken(key | MARK), from: format!("{PREFIX}{from}"), reason };
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        // Anybody can forge an address: nothing is said of one that is not proved.
        let proved = incoming.remote_address_validated();
        if open && crowded && incoming.may_retry() {
            if let Ok(answer) = site.endpoint.retry(incoming, &mut out) {
                site.send(answer, &out);
            }
        } else if open && full {
            let answer = site.endpoint.refuse(incoming, &mut out);
            site.send(answer, &out);
            if proved {
                ready.push(refused(CloseReason::TooManyLinks { limit }));
            }
        } else if open && busy {
            // It asks again by itself, and there may be room then.
            site.endpoint.ignore(incoming);
        } else {
            match site.endpoint.accept(incoming, at, &mut out, None) {
                Ok((handle, mut conn)) if !open => {
                    // Links that came in before keep the port; this says that nobody listens there.
                    conn.close(at, DONE, bytes::Bytes::new());
                    if let Some(answer) = conn.poll_transmit(at, 1, &mut out) {
                        site.send(answer, &out);
                    }
                    let _ = site.endpoint.handle_event(handle, quinn_proto::EndpointEvent::drained());
                }
                Ok((handle, conn)) => {
                    let name = format!("{PREFIX}{from}");
                    let mut link = Link::new(Stage::Shaking, name, blame, trust, Some(key), ahead);
                    link.wire = Some(Box::new(Wire { site: key, handle, conn, drained: false }));
                    link.counted = true;
                    let link = self.links.insert_with(|_| link);
                    site.links.insert(handle.0, link);
                    self.handshakes += 1;
                    self.set_deadline(link, Some(self.shared.handshake_timeout), now);
                    self.stir(link);
                }
                Err(error) => {
                    if let Some(answer) = error.response {
                        site.send(answer, &out);
                    }
                    let reason = reason_of(&error.cause, blame.take(), "", false);
                    if proved {
                        ready.push(refused(reason));
                    }
                }
            }
        }
        self.out = out;
    }
}
