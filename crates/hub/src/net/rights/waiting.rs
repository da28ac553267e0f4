//! Sessions that wait: for the answers to what they asked.

use weft_base::Mono;
use weft_transport::Network as _;

use super::{Governing, Kept, Parked};
use crate::counters::{add, sub};
use crate::govern::{Judged, ToJudge};
use crate::messages::SessionId;
use crate::net::{Connection, NetStage};

impl Connection {
    /// Whether a frame of it waits for an answer.
    #[inline]
    pub(in crate::net) fn waits_for_answer(&self) -> bool {
        self.rights.as_deref().is_some_and(|rights| rights.parked.as_ref().is_some_and(|parked| !parked.is_answered()))
    }

    /// Whether a frame of it was kept, whose turn it is before what came after it.
    #[inline]
    pub(in crate::net) fn has_parked(&self) -> bool {
        self.rights.as_deref().is_some_and(|rights| rights.parked.is_some())
    }
}

impl NetStage {
    /// Keeps a frame until it is answered, and does not read its session until then.
    pub(super) fn park(&mut self, id: SessionId, parked: Parked) {
        let Some(connection) = self.connection(id) else { return };
        let Some(rights) = connection.rights.as_deref_mut() else { return };
        rights.parked = Some(Box::new(parked));
        let link = connection.link;
        self.network.pause(link);
        add(&self.counters.govern.waiting, 1);
        self.ask(id);
    }

    /// Keeps a publish until a time, likewise.
    pub(in crate::net) fn park_until(&mut self, id: SessionId, kept: Kept, until: Mono) {
        self.park(id, Parked { waits: true, ..Parked::new(kept, Vec::new()) });
        if let Some(governing) = &mut self.governing {
            governing.waits.insert((until, id));
        }
    }

    /// Lets those go on that have waited for their time.
    fn wake_waiting(&mut self) {
        let now = self.now.mono;
        while let Some(governing) = &mut self.governing
            && governing.waits.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, id)) = governing.waits.pop_first()
        {
            let Some(connection) = self.connection(id) else { continue };
            let parked = connection.rights.as_deref_mut().and_then(|rights| rights.parked.as_deref_mut());
            let Some(parked) = parked.filter(|parked| parked.waits) else { continue };
            parked.waits = false;
            if !connection.closing && !std::mem::replace(&mut connection.readable, true) {
                self.reading.push_back(id);
            }
        }
    }

    /// Asks what a parked frame wants to know, as far as there is room. Answers
    /// whether all is asked.
    fn ask(&mut self, id: SessionId) -> bool {
        let (Some(judge), Some(governing)) = (&mut self.out.judge, &mut self.governing) else { return true };
        let found = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id);
        let Some(parked) = found.and_then(|c| c.rights.as_deref_mut()?.parked.as_deref_mut()) else { return true };
        let keep = parked.keeps();
        while let Some(need) = parked.needs.get(parked.unasked) {
            if !judge.has_room(1) {
                governing.unasked.push_back(id);
                return false;
            }
            judge.push(ToJudge::Ask { session: id, ask: need.ask.clone(), keep });
            parked.unasked += 1;
        }
        true
    }

    /// The frame that was kept is taken, if it is answered. Answers whether it is.
    pub(in crate::net) fn take_parked(&mut self, id: SessionId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        let Some(rights) = connection.rights.as_deref_mut() else { return false };
        let Some(parked) = rights.parked.take_if(|parked| parked.is_answered()) else { return false };
        let (link, is_held) = (connection.link, connection.held || connection.inspected.paused);
        if !is_held {
            self.network.resume(link);
        }
        sub(&self.counters.govern.waiting, 1);
        self.unpark(id, *parked);
        true
    }

    /// An answer has come, of a question or anew.
    pub(in crate::net) fn on_judged(&mut self, judged: &Judged) {
        let Judged { session, ask, verdict } = judged;
        let Some(connection) = self.connection(*session) else { return };
        let is_closing = connection.closing;
        let Some(rights) = connection.rights.as_deref_mut() else { return };
        let mut answered = false;
        if let Some(parked) = &mut rights.parked {
            let mut is_of = false;
            for need in &mut parked.needs {
                is_of |= need.take(ask, verdict);
            }
            answered = is_of && parked.is_answered();
        }
        rights.publishes.turned(ask, verdict);
        let over = rights.standing_turned(ask, verdict);
        if answered && !is_closing && !std::mem::replace(&mut connection.readable, true) {
            self.reading.push_back(*session);
        }
        for (subscription, need) in over {
            self.end_standing(*session, subscription, &need);
        }
    }

    /// What is done once a turn: the rules of the mapping may be others, and the
    /// judge stage may have room again.
    pub(in crate::net) fn tend_rights(&mut self) {
        if self.governing.is_none() {
            return;
        }
        self.tend_quotas();
        self.wake_waiting();
        let Some(governing) = &mut self.governing else { return };
        let Governing { mapping, epoch, unasked, .. } = governing;
        {
            let table = self.snapshot.load();
            if !std::sync::Arc::ptr_eq(mapping, &table.mapping) {
                *mapping = table.mapping.clone();
                *epoch += 1;
            }
        }
        for _ in 0..unasked.len() {
            let Some(id) = self.governing.as_mut().and_then(|governing| governing.unasked.pop_front()) else { break };
            if !self.ask(id) {
                break;
            }
        }
    }

    /// A session has ended: nobody waits, and nothing is used any more.
    pub(in crate::net) fn end_rights(&mut self, connection: &Connection) {
        if connection.has_parked() {
            sub(&self.counters.govern.waiting, 1);
        }
        let Some(rights) = connection.rights.as_deref() else { return };
        self.unmeter(&rights.metered, rights.subscriptions());
        if let Some(judge) = &mut self.out.judge {
            judge.push(ToJudge::Closed { session: connection.id });
        }
    }
}
