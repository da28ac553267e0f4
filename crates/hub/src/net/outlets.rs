//! Where the net stage hands things on to.

use weft_ring::stage::StageWaker;

use crate::admit::Admission;
use crate::audit::Auditor;
use crate::consume::ToConsume;
use crate::govern::{ToGovern, ToJudge, ToLogin};
use crate::inbox::RouteOutbox;
use crate::inspect::ToInspect;
use crate::messages::{ToAppend, ToConductor};
use crate::outbox::Outbox;

/// The other stages' inboxes.
pub(crate) struct Outlets {
    pub(crate) admit: Admission,
    pub(crate) route: RouteOutbox,
    pub(crate) append: Outbox<ToAppend>,
    pub(crate) conductor: Outbox<ToConductor>,
    pub(crate) consume: Outbox<ToConsume>,
    /// Of a hub that is governed. What has no room there waits with its session, and
    /// nobody else for it.
    pub(crate) judge: Option<Outbox<ToJudge>>,
    /// Of a hub that checks payloads; bounded by what it lets in of each session.
    pub(crate) inspect: Option<Outbox<ToInspect>>,
    /// Of a hub that has a control state.
    pub(crate) govern: Option<Outbox<ToGovern>>,
    /// Of a hub that keeps an audit log.
    pub(crate) audit: Option<Auditor>,
    /// Where it is asked who clients are. Nobody waits for it to have room.
    pub(crate) login: Option<Outbox<ToLogin>>,
    /// Wakes the replicate stage, which is sent nothing from here.
    pub(crate) replicate: StageWaker,
}

impl Outlets {
    /// Whether every ring takes at least this many more.
    pub(super) fn have_room(&mut self, n: usize) -> bool {
        self.admit.have_room(n)
            && self.route.has_room(n)
            && self.append.has_room(n)
            && self.conductor.has_room(n)
            && self.consume.has_room(n)
            && self.govern.as_mut().is_none_or(|govern| govern.has_room(0))
    }

    /// Wakes the stages that were sent something.
    pub(super) fn notify(&mut self) {
        self.admit.notify();
        self.route.notify();
        self.append.notify();
        self.conductor.notify();
        self.consume.notify();
        if let Some(judge) = &mut self.judge {
            judge.notify();
        }
        self.inspect.iter_mut().for_each(Outbox::notify);
        self.govern.iter_mut().for_each(Outbox::notify);
        if let Some(login) = &mut self.login {
            login.notify();
        }
    }

    pub(super) fn are_empty(&self) -> bool {
        self.admit.are_empty()
            && self.route.is_empty()
            && self.append.is_empty()
            && self.conductor.is_empty()
            && self.consume.is_empty()
            && self.govern.as_ref().is_none_or(Outbox::is_empty)
            && self.inspect.as_ref().is_none_or(Outbox::is_empty)
    }
}
