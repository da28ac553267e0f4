//! The ends of links: what was taken is delivered, within a bound of time, and
//! the far side is told.

use bytes::Bytes;
use quinn_proto::{EndpointEvent, VarInt};

use super::engine::{MARK, Quic};
use super::link::{Link, Stage};
use super::port::Ports;
use super::reason::{BROKEN, DONE};
use crate::network::{LinkToken, Ready};
use crate::reason::CloseReason;

/// Datagrams that say the end of a connection, at most.
const LAST_WORDS: usize = 4;

impl<P: Ports> Quic<P> {
    /// The caller lets go of a link.
    pub(crate) fn close(&mut self, token: LinkToken) {
        self.queued.retain(|ready| ready.link() != Some(token));
        let key = token.0 & !MARK;
        match self.links.get(key) {
            Some(link) if link.is_up() => self.let_go(key),
            Some(link) if link.is_opening() && link.listener.is_none() => self.discard(key, DONE),
            _ => {}
        }
    }

    /// Begins the end of a link that is up.
    pub(super) fn let_go(&mut self, key: u64) {
        let Some(link) = self.links.get_mut(key) else { return };
        if link.lost.is_some() || link.is_whole() {
            // There is nobody to deliver to.
            return self.discard(key, DONE);
        }
        link.finish_channels();
        link.stage = Stage::Closing;
        self.closing += 1;
        self.set_expiry(key, None);
        self.set_deadline(key, Some(self.shared.linger), self.clock.now());
        self.stir(key);
    }

    /// A read or a write found the end.
    pub(super) fn read_ended(&mut self, key: u64) {
        let broken = self.links.get(key).is_some_and(|link| matches!(link.lost, Some(CloseReason::BrokenQuic { .. })));
        self.discard(key, if broken { BROKEN } else { DONE });
    }

    /// The connection is over. What came before may still be read.
    pub(super) fn lose(&mut self, key: u64, reason: CloseReason, ready: &mut Vec<Ready>) {
        let Some(link) = self.links.get_mut(key) else { return };
        match link.stage {
            Stage::Up => {
                link.lost.get_or_insert(reason);
                self.list(key);
            }
            Stage::Closing => self.discard(key, DONE),
            Stage::Resolving | Stage::Shaking if link.listener.is_some() => {
                let broken = matches!(reason, CloseReason::BrokenQuic { .. });
                ready.extend(self.refusal_of(key, reason));
                self.discard(key, if broken { BROKEN } else { DONE });
            }
            Stage::Resolving | Stage::Shaking => self.try_next(key, reason),
        }
    }

    /// Gives a dial up, and says so at the next poll.
    pub(super) fn fail(&mut self, key: u64, reason: CloseReason) {
        self.queued.push(Ready::Closed { link: LinkToken(key | MARK), reason });
        self.discard(key, DONE);
    }

    /// Forgets a link at once, and tells the far side with this code.
    pub(super) fn discard(&mut self, key: u64, code: VarInt) {
        self.hang_up(key, code);
        self.set_expiry(key, None);
        let Some(mut link) = self.links.remove(key) else { return };
        self.timers.set_deadline(key, &mut link.due, None);
        self.handshakes -= usize::from(link.counted);
        self.closing -= usize::from(matches!(link.stage, Stage::Closing));
    }

    /// Ends a link's connection, if it has one, and leaves its port.
    pub(super) fn hang_up(&mut self, key: u64, code: VarInt) {
        let at = self.instants.at(self.clock.now().mono);
        let Some(mut wire) = self.links.get_mut(key).and_then(|link| link.wire.take()) else { return };
        let Some(site) = self.sites.get_mut(wire.site) else { return };
        site.links.remove(&wire.handle.0);
        wire.conn.close(at, code, Bytes::new());
        // The end is said with every key that the far side may have.
        for _ in 0..LAST_WORDS {
            self.out.clear();
            let Some(last) = wire.conn.poll_transmit(at, 1, &mut self.out) else { break };
            site.send(last, &self.out);
        }
        while let Some(event) = wire.conn.poll_endpoint_events() {
            wire.drained |= event.is_drained();
            let _ = site.endpoint.handle_event(wire.handle, event);
        }
        if !wire.drained {
            // Who still sends is told by a reset: nothing waits here for that.
            let _ = site.endpoint.handle_event(wire.handle, EndpointEvent::drained());
        }
        self.leave(wire.site);
    }

    /// Goes on with the end of a link as far as it goes.
    pub(super) fn go_on_ending(&mut self, key: u64) {
        let Some(link) = self.links.get_mut(key).filter(|link| matches!(link.stage, Stage::Closing)) else { return };
        let broken = link.discard_input().is_err();
        if broken || (link.is_whole() && link.is_delivered()) {
            self.discard(key, DONE);
        }
    }

    /// Looks again at the peers of some links whose identity was replaced.
    pub(super) fn look_again(&mut self, ready: &mut Vec<Ready>) {
        for key in self.identities.next_links() {
            let Some(link) = self.links.get_mut(key).filter(|link| link.is_up()) else { continue };
            let chain = link.chain().unwrap_or_default();
            if let Err(reason) = link.trust.check(&chain, &*self.clock) {
                ready.push(Ready::Closed { link: LinkToken(key | MARK), reason });
                self.let_go(key);
            }
        }
    }

    /// A link's certificate has ended: the link does, too.
    pub(super) fn expired(&mut self, key: u64, since: std::time::Duration, ready: &mut Vec<Ready>) {
        let reason = CloseReason::CertificateExpired { seconds_ago: since.as_secs() };
        if self.links.get(key).is_some_and(Link::is_up) {
            ready.push(Ready::Closed { link: LinkToken(key | MARK), reason });
            self.let_go(key);
        }
    }
}
