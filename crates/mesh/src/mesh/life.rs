//! Links that live, are suspected, and die: probes and their answers.
//!
//! A suspect link keeps its traffic while there is no other way; where there is
//! one, the raised cost in this hub's record moves the routes of all hubs away
//! from it. The hub at the other end raises its own cost too when it reads
//! that, so that a link that works in one direction only is left in both. A link
//! that comes and goes is told the same of until it has lasted.

use std::time::Duration;

use weft_base::{HubId, Mono};
use weft_wire::frame::{Frame, LinkStateLink, Ping, Pong};

use super::{Command, Mesh};
use crate::health::{Answer, Probe, Verdict};
use crate::link::{DOUBTED, DRAINING, Link, SUSPECTED};
use crate::{CloseReason, LinkId};

/// What there is to know about a link that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNotice {
    /// Nothing was heard for longer than is usual: other ways are used where
    /// there are any, and it is closed at the bound.
    Suspect {
        /// For how long nothing was heard.
        silent: Duration,
    },
    /// It answers again, and is used as before.
    Trusted,
    /// Pings come faster than they are answered. Said once for each flood.
    Damped,
    /// It came and went too often of late: other ways are used, where there are
    /// any, until it has lasted.
    Held {
        /// For so long, unless it is lost again.
        for_now: Duration,
    },
    /// It has lasted: it is used as others are.
    Released,
    /// An answer to no ping has come. Said for the first of a link.
    StrangePong,
}

impl Mesh {
    /// Looks at every link: who was silent for too long, who is to be asked.
    pub(super) fn tend_links(&mut self, now: Mono, out: &mut Vec<Command>) {
        let timers = self.options.timers;
        // A turn that comes late by more than half an interval: this hub was
        // not running, and what it did not hear meanwhile says nothing.
        let late = self.deadline.map_or(Duration::ZERO, |due| now.since(due));
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else { continue };
            if late > timers.ping / 2 {
                link.health.slept(late, now);
            }
            match link.health.look(now, &timers) {
                Verdict::Down { silent } => self.close(id, CloseReason::Silent { seconds: silent.as_secs() }, out),
                Verdict::Suspect { silent } => {
                    link.loss.silent();
                    self.links_changed = true;
                    self.counters.suspicions += 1;
                    self.notice(id, LinkNotice::Suspect { silent }, out);
                }
                Verdict::Same if link.health.is_due(now, &timers) => self.ping(id, now),
                Verdict::Same => {}
            }
        }
    }

    pub(super) fn ping(&mut self, id: LinkId, now: Mono) {
        let interval = self.options.timers.ping;
        if let Some(link) = self.links.get_mut(&id) {
            let is_more = link.health.waits();
            let number = link.health.start(now, interval);
            // Those that follow a late answer would count one silence many times.
            if !is_more {
                link.loss.asked(number, now);
            }
            self.send(id, &Frame::Ping(Ping { id: number, time: now.0 }));
        }
    }

    pub(super) fn on_ping(&mut self, id: LinkId, ping: Ping, now: Mono, out: &mut Vec<Command>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.health.asked(now) {
            Probe::Answer => self.send(id, &Frame::Pong(Pong { id: ping.id, time: ping.time })),
            Probe::Damped { first } => {
                self.counters.pings_damped += 1;
                if first {
                    self.notice(id, LinkNotice::Damped, out);
                }
            }
            Probe::Flood => self.close(id, CloseReason::Flood { what: "pings" }, out),
        }
    }

    pub(super) fn on_pong(&mut self, id: LinkId, pong: Pong, now: Mono, out: &mut Vec<Command>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let before = link.health.rtt();
        match link.health.answered(pong.id, pong.time, now, &self.options.timers) {
            Answer::Taken { trusted } => {
                link.loss.answered(pong.id, now, before);
                let is_first = before.is_none();
                let is_news = self.links.get(&id).is_some_and(|link| self.is_news(link));
                self.links_changed |= trusted || is_first || is_news;
                if trusted {
                    self.counters.recoveries += 1;
                    self.notice(id, LinkNotice::Trusted, out);
                }
            }
            Answer::Strange => {
                self.counters.strange_pongs += 1;
                if link.health.is_strange() {
                    self.close(id, CloseReason::Flood { what: "answers to no ping" }, out);
                } else if link.health.is_newly_strange() {
                    self.notice(id, LinkNotice::StrangePong, out);
                }
            }
        }
    }

    /// Takes in which hubs' links were lost, and lets go of those that have lasted.
    pub(super) fn tend_flaps(&mut self, now: Mono, out: &mut Vec<Command>) {
        for hub in std::mem::take(&mut self.lost) {
            let held = self.flaps.held(hub).is_some();
            self.flaps.lost(hub, now);
            self.counters.links_held += u64::from(!held && self.flaps.held(hub).is_some());
        }
        for hub in self.flaps.release(now) {
            self.links_changed = true;
            let ids: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.hub == hub).map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.notice(id, LinkNotice::Released, out));
        }
    }

    pub(super) fn notice(&self, id: LinkId, notice: LinkNotice, out: &mut Vec<Command>) {
        let name = self.links.get(&id).map(|link| link.name.clone()).unwrap_or_default();
        out.push(Command::LinkNotice { link: id, name, notice });
    }

    /// What this hub's record says that a link costs.
    pub(super) fn told_cost(&self, link: &Link) -> u32 {
        let peer = self.hubs.get(&link.hub).filter(|peer| peer.epoch == link.epoch && !peer.is_expired);
        if link.health.is_suspect() || self.flaps.held(link.hub).is_some() {
            link.cost + SUSPECTED
        } else if peer.is_some_and(|peer| suspects(&peer.links, self.me.id)) {
            link.cost + DOUBTED
        } else if self.is_draining {
            link.cost + DRAINING
        } else {
            link.cost
        }
    }
}

/// Whether a hub with these links suspects its link to `peer`.
pub(super) fn suspects(links: &[LinkStateLink], peer: HubId) -> bool {
    links.iter().any(|link| link.peer == peer && link.cost >= SUSPECTED)
}
