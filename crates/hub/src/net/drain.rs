//! Clients are sent elsewhere before the hub stops, and go in good order.
//!
//! Who asks for a drain is told how it stands. New clients are turned away with
//! the addresses of other hubs; those that are here are told the same, one after
//! the other (`crate::drain`). A client that goes says so (`Leave`): from then on
//! nothing is routed to it, and once what was on its way to it is delivered it is
//! let go. Clients of protocol version 1 are closed at the end.

use std::time::Duration;

use weft_base::Mono;
use weft_govern::access::Action;
use weft_mesh::ClientPlace;
use weft_wire::frame::{
    self, DrainAction, DrainReport, DrainState, DrainStatus, ErrorCode, Frame, MAX_PLACES, Place, Redirect,
};

use super::{NetStage, Role};
use crate::drain::Pace;
use crate::messages::{SessionId, ToConductor};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// For so long operators may ask how it ended.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What is on its way to a client that leaves has at least so long to come here.
const LEAST_GRACE: Duration = Duration::from_millis(250);
/// And at most so long.
const MOST_GRACE: Duration = Duration::from_secs(2);
/// From this version on clients know of `Redirect`.
const VERSION_REDIRECT: u16 = 2;

/// What the stage knows of a drain, and of clients that leave.
#[derive(Default)]
pub(super) struct Drain {
    pace: Option<Pace>,
    /// Where clients may go, the nearest first; nothing until the conductor has said so.
    pub(super) places: Option<Vec<ClientPlace>>,
    /// The place in the table of the next client to be told.
    next: usize,
    /// Clients that were told something, whose turns spread them over the places.
    turns: usize,
    look: Mono,
    /// When it was over, and since when operators may ask how it ended.
    over: Option<Mono>,
    leaving: Vec<SessionId>,
}

impl Drain {
    /// When it is looked how far it is. Not once the hub stops, which ends it all.
    fn next(&self, stops: bool) -> Option<Mono> {
        let goes_on = !stops && (self.pace.is_some() || !self.leaving.is_empty());
        goes_on.then_some(self.look)
    }
}

impl NetStage {
    /// A hub that drains takes no new clients.
    pub(super) fn turns_away(&mut self, id: SessionId, version: u16) -> bool {
        if !self.lifecycle.board.is_draining() {
            return false;
        }
        if version >= VERSION_REDIRECT {
            self.redirect(id);
            self.goodbye(id, ErrorCode::DRAINING, "the hub is about to stop: connect to another");
        } else {
            // Which they know, and try elsewhere or again.
            self.goodbye(id, ErrorCode::SHUTDOWN, "the hub is about to stop: connect to another");
        }
        true
    }

    /// Tells a client where it may go.
    fn redirect(&mut self, id: SessionId) {
        let within = self.drain.pace.map_or(Duration::ZERO, |pace| pace.left(self.now.mono));
        let region = &self.identity.region;
        let (near, far): (Vec<_>, Vec<_>) =
            self.drain.places.iter().flatten().partition(|place| place.region == *region);
        let (mut near, far) = if near.is_empty() { (far, Vec::new()) } else { (near, far) };
        // Hubs that are as good as each other get their share.
        let turn = self.drain.turns % near.len().max(1);
        near.rotate_left(turn);
        let places = near.into_iter().chain(far);
        let places =
            places.flat_map(|place| place.addresses.iter().map(|address| Place { name: &place.name, address }));
        let redirect = Redirect {
            within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
            places: places.take(MAX_PLACES).collect(),
        };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Redirect(redirect), &mut bytes);
        self.drain.turns = self.drain.turns.wrapping_add(1);
        if let Some(connection) = self.connection(id) {
            connection.egress.control().extend_from_slice(&bytes);
        }
        self.mark_dirty(id);
    }

    /// An operator's word.
    pub(super) fn on_drain(&mut self, id: SessionId, asked: frame::Drain) {
        let Some(connection) = self.connection(id) else { return };
        if !connection.may_administer() {
            let detail = "the client's certificate is not named in `admins` of the hub's configuration";
            self.note_refused(id, Action::Administer, "the mesh", detail);
            return self.refuse(id, asked.request, ErrorCode::NOT_ADMIN, detail);
        }
        connection.client.operates = true;
        let by = connection.name.clone();
        match asked.action {
            DrainAction::Ask => {}
            DrainAction::Begin => {
                let within = match asked.within_ms {
                    0 => self.options.timers.drain_clients,
                    millis => Duration::from_millis(millis.into()),
                };
                tracing::info!(code = "drain_asked", by, within_ms = within.as_millis() as u64, "the hub is to drain");
                self.lifecycle.board.ask(within);
            }
            DrainAction::Cancel => {
                tracing::info!(code = "drain_cancelled", by, "the hub is to go on");
                self.lifecycle.board.cancel();
            }
        }
        self.drain.look = Mono(0);
        self.tend_drain();
        let report = DrainReport { request: asked.request, status: self.lifecycle.board.status() };
        if let Some(connection) = self.connection(id) {
            connection.client.knows_end = report.status.state == DrainState::Stopping;
            frame::encode(&Frame::DrainReport(report), connection.egress.control());
        }
        self.mark_dirty(id);
    }

    /// A client goes.
    pub(super) fn on_leave(&mut self, id: SessionId) {
        self.note_moved(id);
        let grace = (self.snapshot.load().routes.longest_way() * 4).clamp(LEAST_GRACE, MOST_GRACE);
        let now = self.now.mono;
        let last = self.drain.pace.map_or(now, |pace| pace.until).max(now + grace + self.options.timers.drain);
        let Some(connection) = self.connection(id) else { return };
        if connection.client.leaving.replace((now + grace, last)).is_none() {
            self.drain.leaving.push(id);
            self.out.conductor.push(ToConductor::SessionLeaves { session: id });
        }
    }

    /// A client that was told to go does.
    pub(super) fn note_moved(&mut self, id: SessionId) {
        if let Some(connection) = self.connection(id)
            && std::mem::take(&mut connection.client.told)
        {
            self.lifecycle.board.moved();
        }
    }

    pub(super) fn drain_deadline(&self) -> Option<Mono> {
        self.drain.next(self.lifecycle.is_draining())
    }

    /// What is due of all this.
    pub(super) fn tend_drain(&mut self) {
        let asked = self.lifecycle.board.asked();
        let waits = asked.is_some() || self.drain.pace.is_some() || !self.drain.leaving.is_empty();
        if !waits || self.now.mono < self.drain.look || self.lifecycle.is_draining() {
            return;
        }
        self.drain.look = self.now.mono + LOOK;
        self.let_go();
        match (asked, self.drain.pace) {
            (Some(within), None) => self.begin_drain(within),
            (Some(within), Some(pace)) if within != pace.within => self.begin_drain(within),
            (None, Some(_)) => self.end_drain(),
            _ => {}
        }
        if let Some(pace) = self.drain.pace {
            self.go_on_draining(&pace);
        }
    }

    fn begin_drain(&mut self, within: Duration) {
        let clients = self.left();
        let again = self.drain.pace.is_some();
        // Who was told is on its way; the others are told in the new time.
        let told = if again { self.lifecycle.board.status().told } else { 0 };
        let pace = Pace::new((clients, told), within, self.options.limits.drain_rate, self.now.mono);
        self.drain.pace = Some(pace);
        self.drain.next = 0;
        if again {
            return;
        }
        tracing::info!(
            code = "hub_leaving",
            clients,
            within_ms = within.as_millis() as u64,
            "clients are sent elsewhere"
        );
        self.drain.places = None;
        self.lifecycle.board.begin(clients);
        self.out.conductor.push(ToConductor::Draining { draining: true });
    }

    fn end_drain(&mut self) {
        if self.lifecycle.board.status().state == DrainState::Stopping {
            return;
        }
        self.drain.pace = None;
        self.lifecycle.board.enter(DrainState::Serving);
        for connection in self.connections.iter_mut().flatten() {
            connection.client.told = false;
        }
        tracing::info!(code = "hub_stays", "the hub goes on");
        self.out.conductor.push(ToConductor::Draining { draining: false });
    }

    /// Clients of this hub that are to go.
    fn left(&self) -> u32 {
        let clients = self
            .connections
            .iter()
            .flatten()
            .filter(|c| matches!(c.role, Role::Client) && !c.tunnelled && !c.client.operates);
        u32::try_from(clients.count()).unwrap_or(u32::MAX)
    }

    fn go_on_draining(&mut self, pace: &Pace) {
        let now = self.now.mono;
        let due = if self.drain.places.is_some() { pace.due(now) } else { 0 };
        while self.lifecycle.board.status().told < due {
            let Some(found) = self.connections.get(self.drain.next) else { break };
            self.drain.next += 1;
            let tells = |c: &&super::Connection| {
                matches!(c.role, Role::Client)
                    && !(c.tunnelled || c.closing || c.client.operates || c.client.told)
                    && c.client.leaving.is_none()
                    && c.client.version >= VERSION_REDIRECT
            };
            let Some(id) = found.as_ref().filter(tells).map(|c| c.id) else { continue };
            self.redirect(id);
            if let Some(connection) = self.connection(id) {
                connection.client.told = true;
            }
            self.lifecycle.board.told();
        }
        let left = self.left();
        // Clients that were here at the last look may have stored something since.
        if left > 0 || self.lifecycle.board.status().left > 0 {
            self.lifecycle.board.look_anew();
        }
        self.lifecycle.board.left(left, pace.left(now));
        // The consume stage is to see that its consumers have their seats elsewhere,
        // the replicate stage what others have to copy yet.
        self.out.consume.wake();
        self.out.replicate.wake();
        if let Some(over) = self.drain.over {
            let operators = self.connections.iter().flatten().filter(|c| c.client.operates);
            if now >= over + LAST_WORD || operators.into_iter().all(|c| c.client.knows_end) {
                self.lifecycle.board.end();
            }
        }
        // Others have heard of it by then, or will not in time.
        let is_known = pace.since(now) >= (self.options.timers.probe * 2).min(pace.within);
        let board = &self.lifecycle.board;
        let is_empty = left == 0 && board.has_no_consumers() && board.are_streams_copied() && is_known;
        if (is_empty || pace.is_over(now)) && self.lifecycle.board.status().state == DrainState::Draining {
            self.lifecycle.board.enter(DrainState::Stopping);
            self.drain.over = Some(now);
            let DrainStatus { clients, told, moved, left, consumers, streams, .. } = self.lifecycle.board.status();
            tracing::info!(
                code = "hub_empty",
                clients,
                told,
                moved,
                left,
                consumers,
                streams,
                latency_ms = pace.since(now).as_millis() as u64,
                "clients were sent elsewhere"
            );
        }
    }

    /// Lets those go who leave and have all that was on its way to them.
    fn let_go(&mut self) {
        let now = self.now.mono;
        let leaving = std::mem::take(&mut self.drain.leaving);
        for id in leaving {
            let Some(connection) = self.connection(id).filter(|c| !c.closing) else { continue };
            let Some((first, last)) = connection.client.leaving else { continue };
            let is_quiet = connection.egress.is_empty() && connection.egress.subscribers.are_quiet();
            if now >= first && is_quiet {
                self.goodbye(id, ErrorCode::LEAVING, "all that waited for the client is delivered");
            } else if now >= last {
                self.goodbye(id, ErrorCode::SHUTDOWN, "what waits for the client could not be delivered in time");
            } else {
                self.drain.leaving.push(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symptom: from the end of a drain until the hub had stopped its network
    /// thread took a whole core. Cause: nobody looked any more, and it was due.
    #[test]
    fn nothing_is_due_of_a_drain_once_the_hub_stops() {
        let look = Mono(9);
        let drain = Drain { leaving: vec![SessionId(1)], look, ..Drain::default() };
        assert_eq!((drain.next(false), drain.next(true)), (Some(look), None));
        assert_eq!(Drain::default().next(false), None);
    }
}
