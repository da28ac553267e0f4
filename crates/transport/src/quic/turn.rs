//! One turn: what came, what is due, what goes out, what is to be said.

use std::io;
use std::mem;
use std::time::Duration;

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EcnCodepoint};
use weft_base::Now;

use super::engine::{MARK, Quic};
use super::link::{Said, Stage, broke};
use super::port::{DatagramPort, Ports};
use crate::network::{LinkToken, Ready};
use crate::reason::CloseReason;

/// Receives of one port in one turn, so that none keeps the others waiting.
const RECEIVES: usize = 64;
/// Sends of one link in one turn.
const SENDS: usize = 64;
/// Between two times as of which a link is asked that is late.
const STEP: Duration = Duration::from_millis(1);
/// The most datagrams that go out in one send.
const SEGMENTS: usize = 32;

impl<P: Ports> Quic<P> {
    /// The system says something of a site's port.
    pub(crate) fn signalled(&mut self, token: u64, readable: bool, writable: bool) {
        let key = token & !MARK;
        let Some(site) = self.sites.get_mut(key) else { return };
        if readable && !mem::replace(&mut site.heard, true) {
            self.heard.push(key);
        }
        if writable && let Some(held) = site.held.take() {
            site.send(held.meta, &held.bytes);
            if site.held.is_none() {
                let links: Vec<u64> = site.links.values().copied().collect();
                links.into_iter().for_each(|link| self.stir(link));
            }
        }
    }

    /// One turn, after the ports' signals.
    pub(crate) fn turn(&mut self, ready: &mut Vec<Ready>) {
        if self.is_empty() {
            return;
        }
        let now = self.clock.now();
        ready.append(&mut self.queued);
        self.drive_all(now, ready);
        self.expire(now, ready);
        for key in mem::take(&mut self.heard) {
            self.receive(key, now, ready);
        }
        self.drive_all(now, ready);
        ready.append(&mut self.queued);
        self.report(ready);
    }

    /// Takes in what a port has.
    fn receive(&mut self, key: u64, now: Now, ready: &mut Vec<Ready>) {
        let mut scratch = mem::take(&mut self.scratch);
        for round in 0..=RECEIVES {
            let Some(site) = self.sites.get_mut(key) else { break };
            if round == RECEIVES {
                // There is more: at the next turn, without waiting.
                self.heard.push(key);
                break;
            }
            match site.port.receive(&mut scratch) {
                Ok(arrival) => {
                    let came = scratch.get(..arrival.len).unwrap_or_default();
                    for datagram in came.chunks(arrival.stride.max(1)) {
                        self.datagram(key, &arrival, datagram, now, ready);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => site.refused = true,
                // Only this says that nothing is there, and that the port will
                // tell when something is.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    site.heard = false;
                    break;
                }
                // That of a datagram sent before, which is lost.
                Err(_) => {}
            }
        }
        self.scratch = scratch;
        self.refused(key, ready);
    }

    /// The system says that nobody listens where a dial goes. Once a handshake
    /// was answered this is not believed: anybody can forge it.
    fn refused(&mut self, key: u64, ready: &mut Vec<Ready>) {
        let Some(site) = self.sites.get_mut(key) else { return };
        if !mem::take(&mut site.refused) || site.door.is_some() {
            return;
        }
        let Some((_, link)) = site.links.first_key_value() else { return };
        let link = *link;
        if let Some(found) = self.links.get(link)
            && matches!(found.stage, Stage::Shaking)
            && !found.was_answered()
        {
            let reason = CloseReason::ConnectRefused { address: found.name.clone() };
            self.lose(link, reason, ready);
        }
    }

    fn datagram(&mut self, key: u64, arrival: &super::Arrival, bytes: &[u8], now: Now, ready: &mut Vec<Ready>) {
        let at = self.instants.at(now.mono);
        let Some(site) = self.sites.get_mut(key) else { return };
        self.out.clear();
        let (ecn, data) = (EcnCodepoint::from_bits(arrival.ecn), BytesMut::from(bytes));
        match site.endpoint.handle(at, arrival.from, arrival.to, ecn, data, &mut self.out) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let Some(link) = site.links.get(&handle.0).copied() else { return };
                let Some(found) = self.links.get_mut(link) else { return };
                let mut over = false;
                if let Some(wire) = &mut found.wire {
                    wire.conn.handle_event(event);
                    over = wire.conn.is_closed();
                }
                let opening = found.is_opening();
                self.stir(link);
                // A refusal is told by who caused it, before another handshake's;
                // and an end by its first reason, before a reset behind it.
                if opening || over {
                    self.hear(link, ready);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.knock(key, incoming, now, ready),
            Some(DatagramEvent::Response(answer)) => site.send(answer, &self.out),
            None => {}
        }
    }

    /// Drives the links that have something to send or to say.
    fn drive_all(&mut self, now: Now, ready: &mut Vec<Ready>) {
        let mut again = Vec::new();
        for key in mem::take(&mut self.stirred) {
            let Some(link) = self.links.get_mut(key) else { continue };
            link.stirred = false;
            if self.drive(key, now, ready) {
                again.push(key);
            }
        }
        // Those that have more to send go on at the next turn.
        again.into_iter().for_each(|key| self.stir(key));
    }

    /// Hears what a link has to say and sends what it has, a bounded share.
    /// Answers whether there may be more to send.
    fn drive(&mut self, key: u64, now: Now, ready: &mut Vec<Ready>) -> bool {
        if let Some(link) = self.links.get_mut(key) {
            link.reckon(now.mono);
        }
        self.hear(key, ready);
        self.go_on_ending(key);
        let more = self.transmit(key, now);
        // What was acknowledged to itself, and new numbers of the connection.
        self.hear(key, ready);
        self.time(key);
        let dial = self.links.get(key).and_then(|link| link.wire.as_ref()).map(|wire| wire.site);
        if let Some(site) = dial {
            self.refused(site, ready);
        }
        more
    }

    fn hear(&mut self, key: u64, ready: &mut Vec<Ready>) {
        loop {
            let Some(link) = self.links.get_mut(key) else { return };
            let Some(site) = link.wire.as_ref().map(|wire| wire.site) else { return };
            let Some(site) = self.sites.get_mut(site) else { return };
            match link.hear(&mut site.endpoint) {
                Some(Said::Connected) => self.connected(key, ready),
                Some(Said::Lost(error)) => {
                    let reason = self.reason_of(key, &error);
                    self.lose(key, reason, ready);
                }
                Some(Said::Broke(rule)) => self.lose(key, broke(rule), ready),
                None => break,
            }
        }
        self.list(key);
    }

    fn transmit(&mut self, key: u64, now: Now) -> bool {
        let Some(link) = self.links.get_mut(key) else { return false };
        let (mut as_of, until) = link.asked_at(now.mono);
        let Some(wire) = &mut link.wire else { return false };
        let Some(site) = self.sites.get_mut(wire.site) else { return false };
        let segments = site.port.segments().clamp(1, SEGMENTS);
        for _ in 0..SENDS {
            if site.held.is_some() {
                // Stirred again when the port has room.
                return false;
            }
            self.out.clear();
            let at = self.instants.at(as_of);
            match wire.conn.poll_transmit(at, segments, &mut self.out) {
                Some(meta) => site.send(meta, &self.out),
                None if as_of >= until => return false,
                None => as_of = (as_of + STEP).min(until),
            }
        }
        true
    }

    /// Ends what has had its time, and drives what waited until this moment.
    fn expire(&mut self, now: Now, ready: &mut Vec<Ready>) {
        let at = self.instants.at(now.mono);
        // Each once: what is due again at once is so at the next turn.
        let due: Vec<u64> = self.timers.all_due(now).collect();
        for key in due {
            let Some(link) = self.links.get_mut(key) else { continue };
            if link.deadline.is_some_and(|deadline| deadline <= now.mono) {
                link.deadline = None;
                self.overdue(key, now, ready);
            }
            if let Some(wire) = self.links.get_mut(key).and_then(|link| link.wire.as_mut()) {
                wire.conn.handle_timeout(at);
            }
            if self.drive(key, now, ready) {
                self.stir(key);
            }
        }
        while let Some((key, since)) = self.timers.expired(now) {
            self.set_expiry(key, None);
            self.expired(key, since, ready);
        }
        if self.identities.has_new() {
            self.sites.keys().into_iter().for_each(|site| self.renew(site));
            self.identities.look_at(self.links.keys());
        }
        self.look_again(ready);
    }

    /// Reports what is ready.
    fn report(&mut self, ready: &mut Vec<Ready>) {
        let mut listed = mem::take(&mut self.listed);
        listed.retain(|&key| {
            let Some(link) = self.links.get_mut(key) else { return false };
            if link.is_up() {
                if link.wants_read() {
                    ready.push(Ready::Readable(LinkToken(key | MARK)));
                }
                if link.report_room() {
                    ready.push(Ready::Writable(LinkToken(key | MARK)));
                }
            }
            link.listed = link.is_up() && link.wants_list();
            link.listed
        });
        listed.append(&mut self.listed);
        self.listed = listed;
    }
}
