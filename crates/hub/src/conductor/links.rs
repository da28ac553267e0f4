//! Signs of life of links, circuits of neighbours, and what the log says of them.
//!
//! Blocks do not pass the conductor, so the net stage notes per link when it
//! last read anything, and the mesh's decider is told before it judges a silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_mesh::{Event, LinkId, LinkNotice};
use weft_wire::ErrorCode;

use super::Conductor;
use super::neighbours::Failed;
use crate::counters::{Counters, LinkCounters, add, set, sub};
use crate::messages::{Dial, SessionId, ToNet};
use crate::meters::RoundTrips;
use crate::net::link::Heard;
use crate::options::Neighbour;
use crate::see::SeeOptions;

/// Hubs that there is no link to and should be, as they are remembered.
const MOST_LOST: usize = 64;
/// How often the decider's counters are put among the hub's, at most.
const SHOWN: Duration = Duration::from_secs(2);

/// A link.
struct Known {
    /// The hub at its other end.
    peer: String,
    counters: Arc<LinkCounters>,
    /// The round trip that was measured last.
    round_trip: Option<Duration>,
    heard: Heard,
    /// How far the decider knows when it was heard.
    told: Mono,
}

/// The links of the hub, and those that are no more.
#[derive(Default)]
pub(super) struct Links {
    up: BTreeMap<LinkId, Known>,
    round_trips: RoundTrips,
    /// When the decider's counters are put among the hub's next.
    next_shown: Mono,
    /// By hub: since when there is none, and why.
    lost: BTreeMap<String, (UnixNanos, String)>,
}

impl Links {
    pub(super) fn new(counters: &Counters, see: &SeeOptions) -> Self {
        Self { round_trips: counters.measured(see, RoundTrips::new), ..Self::default() }
    }

    pub(super) fn up(&mut self, link: LinkId, peer: &str, heard: Heard, counters: &Counters) {
        self.lost.remove(peer);
        self.round_trips.begin(counters.table(), peer);
        let counters = counters.link(peer);
        add(&counters.up, 1);
        let (peer, round_trip, told) = (peer.to_owned(), None, Mono(0));
        self.up.insert(link, Known { peer, counters, round_trip, heard, told });
    }

    /// For how long there has been no link to a hub that there was or is to be one to.
    pub(super) fn down_for(&self, peer: &str, now: Now) -> Option<Duration> {
        let (since, _) = self.lost.get(peer)?;
        Some(Duration::from_nanos(now.wall.0.saturating_sub(since.0)))
    }

    /// The hub at the other end of a link that is up.
    pub(super) fn peer(&self, link: LinkId) -> Option<&str> {
        self.up.get(&link).map(|known| known.peer.as_str())
    }

    pub(super) fn down(&mut self, link: LinkId, reason: &str, now: Now) {
        let Some(Known { peer, counters, .. }) = self.up.remove(&link) else { return };
        sub(&counters.up, 1);
        self.lose(peer, reason, now);
    }

    /// A neighbour could not be dialled: so it is since the first time.
    pub(super) fn failed(&mut self, peer: &str, reason: &str, now: Now) {
        match self.lost.get_mut(peer) {
            Some((_, known)) => reason.clone_into(known),
            None => self.lose(peer.to_owned(), reason, now),
        }
    }

    fn lose(&mut self, peer: String, reason: &str, now: Now) {
        if self.up.values().any(|other| other.peer == peer) {
            return;
        }
        if self.lost.len() >= MOST_LOST {
            let oldest = self.lost.iter().min_by_key(|(_, (since, _))| *since).map(|(peer, _)| peer.clone());
            oldest.map(|peer| self.lost.remove(&peer));
        }
        self.lost.insert(peer, (now.wall, reason.to_owned()));
    }

    /// Hubs that there was a link to, or is to be one, and is none: since when, and why.
    pub(super) fn lost(&self) -> impl Iterator<Item = (&str, UnixNanos, &str)> {
        self.lost.iter().map(|(peer, (since, reason))| (peer.as_str(), *since, reason.as_str()))
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        !self.up.is_empty()
    }
}

impl Conductor {
    /// Has those dialled that are due; answers how many.
    pub(super) fn dial(&mut self) -> usize {
        let now = self.now.mono;
        let due = self.neighbours.due(now);
        for neighbour in &due {
            if let Some((peer, dial)) = self.changes.dial(*neighbour) {
                let (_, failures) = self.neighbours.circuit(*neighbour);
                self.net.push(ToNet::Dial { dial, peer, failures });
            }
        }
        self.other.linked(self.links.any(), now);
        // Where links are picked, that decides when this one is not needed any more.
        if let Some(session) = self.other.settled(now).filter(|_| !self.picks.is_on()) {
            let detail = "a configured neighbour is back".to_owned();
            self.net.push(ToNet::Close { session, code: ErrorCode::LEAVING, detail });
        }
        due.len() + usize::from(self.other.is_due(now) && self.dial_any())
    }

    /// Dials a hub for want of any link: one that is known, or one to begin with.
    fn dial_any(&mut self) -> bool {
        let seed = self.other.seed(self.names.seeds());
        let known = seed.and_then(|seed| self.names.seed(seed)).or_else(|| {
            let known = self.mesh.any_address().filter(|to| self.changes.may_be(&to.name, None));
            known.map(|to| Neighbour { addr: to.address, name: Some(to.name), ..Neighbour::default() })
        });
        let Some(peer) = known else {
            // None is known yet: asked again after a pause.
            self.names.nobody(self.now.mono);
            self.other.down(self.now.mono);
            return false;
        };
        let (name, address) = (peer.name.as_deref().unwrap_or("any"), &peer.addr);
        tracing::info!(code = "another_way", peer = name, address, "no link stands: a hub that is known is dialled");
        let failures = self.other.failures();
        self.net.push(ToNet::Dial { dial: Dial::Any, peer: Arc::new(peer), failures });
        true
    }

    /// A hub could not be dialled.
    pub(super) fn dial_failed(&mut self, dial: Dial, reason: &str) {
        let Some(pause) = self.link_failed(dial) else { return self.pick_failed(dial, reason) };
        let neighbour = dial.place().and_then(|index| self.changes.neighbour(index));
        if let Some(name) = neighbour.as_ref().and_then(|n| n.name.clone()) {
            self.links.failed(&name, reason, self.now);
            // One that never stood is seen to be down.
            drop(self.counters.link(&name));
        }
        let neighbour = neighbour.map_or_else(|| "another hub".to_owned(), |n| shown(&n));
        let again_ms = pause.as_millis() as u64;
        tracing::warn!(code = "dial_failed", neighbour, reason, again_ms, "a neighbour cannot be reached");
    }

    /// A link stands that this hub has dialled.
    pub(super) fn link_made(&mut self, dial: Dial, link: SessionId) {
        match dial {
            Dial::Any => self.other.up(link),
            Dial::Neighbour(index) | Dial::Named(index, _) => {
                self.neighbours.up(index, self.now.mono);
                self.other.neighbour(index, true, self.now.mono);
            }
            Dial::Picked(..) | Dial::Probe(_) => {}
        }
    }

    /// Tells the decider which links were heard since it was told last, and the
    /// net stage how long their round trips take.
    pub(super) fn hear(&mut self) {
        let mut links = std::mem::take(&mut self.links);
        for (link, Known { peer, counters, round_trip, heard, told }) in &mut links.up {
            if let Some(rtt) = self.mesh.rtt(*link) {
                heard.note_rtt(rtt);
                if round_trip.replace(rtt) != Some(rtt) {
                    set(&counters.round_trip_us, u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
                    links.round_trips.record(peer, rtt);
                }
            }
            let at = heard.get();
            if at > *told {
                *told = at;
                self.apply(Event::Heard { link: *link, at });
            }
        }
        if self.now.mono >= links.next_shown {
            links.next_shown = self.now.mono + SHOWN;
            self.show_mesh(&self.mesh.report());
        }
        self.links = links;
    }
}

impl Conductor {
    /// A dial failed or a dialled link was lost; answers the pause before the next
    /// try, of a hub that was picked none.
    pub(super) fn link_failed(&mut self, dial: Dial) -> Option<Duration> {
        self.names.dial_failed(dial, self.now.mono);
        let index = match dial {
            Dial::Any => return Some(self.other.down(self.now.mono)),
            Dial::Neighbour(index) | Dial::Named(index, _) => index,
            Dial::Picked(..) | Dial::Probe(_) => return None,
        };
        self.other.neighbour(index, false, self.now.mono);
        let Failed { pause, failures, opened } = self.neighbours.down(index, self.now.mono);
        if opened {
            let neighbour = self.changes.neighbour(index).map_or_else(String::new, |n| shown(&n));
            tracing::warn!(
                code = "circuit_open",
                neighbour,
                failures,
                "a neighbour failed too often in a row: it is tried now and then only"
            );
        }
        Some(pause)
    }

    /// Closes the circuits of neighbours whose links have lasted.
    pub(super) fn tend_circuits(&mut self) {
        for index in self.neighbours.lasted(self.now.mono) {
            let neighbour = self.changes.neighbour(index).map_or_else(String::new, |n| shown(&n));
            tracing::info!(code = "circuit_closed", neighbour, "a neighbour's link has lasted: it is dialled as usual");
        }
    }

    /// What there is to show of each neighbour: its circuit, and failures in a row.
    pub(super) fn circuits(&self) -> Vec<(String, u64)> {
        let mut values = vec![("circuits.opened".to_owned(), self.neighbours.opened())];
        for (index, name) in self.changes.neighbours() {
            let (circuit, failures) = self.neighbours.circuit(index);
            values.push((format!("circuit.{name}.state"), circuit as u64));
            values.push((format!("circuit.{name}.failures"), failures.into()));
        }
        values
    }

    /// Neighbours that are dialled and cannot be reached, by what they are called.
    pub(super) fn lost(&self) -> impl Iterator<Item = String> {
        self.changes.neighbours().filter(|(index, _)| self.neighbours.is_lost(*index)).map(|(_, name)| name)
    }
}

/// A neighbour as people read it: several hubs may have one name in DNS.
pub(super) fn shown(neighbour: &Neighbour) -> String {
    match neighbour.at.as_slice() {
        [] => neighbour.addr.clone(),
        [first, ..] => format!("{} ({first})", neighbour.addr),
    }
}

/// Says in the log what there is to know of a link that goes on.
pub(super) fn tell(peer: &str, notice: LinkNotice) {
    match notice {
        LinkNotice::Suspect { silent } => {
            let silent_ms = silent.as_millis() as u64;
            tracing::warn!(
                code = "link_suspect",
                peer,
                silent_ms,
                "a link is silent: other ways are used, if there are any"
            );
        }
        LinkNotice::Trusted => tracing::info!(code = "link_trusted", peer, "a link that was suspected answers again"),
        LinkNotice::Damped => {
            tracing::warn!(code = "link_probes_damped", peer, "a hub probes its link faster than is answered");
        }
        LinkNotice::Held { for_now } => {
            let for_ms = for_now.as_millis() as u64;
            tracing::warn!(
                code = "link_held",
                peer,
                for_ms,
                "a link came and went too often: other ways are used until it has lasted"
            );
        }
        LinkNotice::Released => {
            tracing::info!(code = "link_released", peer, "a link that came and went has lasted: it is used again");
        }
        LinkNotice::StrangePong => {
            tracing::warn!(code = "link_strange_answer", peer, "a hub answers a probe that was never sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::get;

    fn at(seconds: u64) -> Now {
        Now { wall: UnixNanos(seconds * 1_000_000_000), mono: Mono(seconds * 1_000_000_000) }
    }

    fn lost(links: &Links) -> Vec<(&str, u64, &str)> {
        links.lost().map(|(peer, since, reason)| (peer, since.0 / 1_000_000_000, reason)).collect()
    }

    #[test]
    fn links_that_are_gone_or_never_came_are_remembered_until_there_is_one() {
        let mut links = Links::default();
        links.failed("east", "refused", at(1));
        links.failed("east", "timed out", at(2));
        assert_eq!(lost(&links), [("east", 1, "timed out")], "since the first, for the last reason");
        let counters = Counters::default();
        links.up(LinkId(1), "east", Heard::default(), &counters);
        links.up(LinkId(2), "east", Heard::default(), &counters);
        assert_eq!(get(&counters.link("east").up), 2);
        links.down(LinkId(1), "cut", at(3));
        links.failed("east", "busy", at(3));
        assert_eq!(lost(&links), [], "there is another");
        links.down(LinkId(2), "cut", at(4));
        assert_eq!(get(&counters.link("east").up), 0);
        assert_eq!(lost(&links), [("east", 4, "cut")]);
        for n in 0..2 * MOST_LOST as u64 {
            links.failed(&format!("hub-{n}"), "refused", at(5 + n));
        }
        assert_eq!(links.lost().count(), MOST_LOST);
        assert!(links.lost().all(|(peer, ..)| peer != "east"), "the oldest go first");
    }
}
