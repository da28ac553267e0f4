//! What the net stage notes for the audit log: who came in, what they had done, and
//! what was refused to them. Off the way of what is allowed: a publish whose answer
//! is known and good never comes here.

use weft_govern::access::{Action, Ask, Method, Principal, Verdict};
use weft_govern::audit::Event;
use weft_transport::Network as _;
use weft_wire::frame::{ErrorCode, Frame};

use super::NetStage;
use crate::audit::{act_of, meddles};
use crate::messages::SessionId;

/// What decided where the hub's own configuration did.
const ADMINS: &str = "(admins)";

impl NetStage {
    /// Whether anything is noted.
    #[inline]
    pub(super) const fn audits(&self) -> bool {
        self.out.audit.is_some()
    }

    /// From which address a session came; empty where nothing is noted.
    pub(super) fn origin(&mut self, id: SessionId) -> String {
        if !self.audits() {
            return String::new();
        }
        let Some(link) = self.connection(id).map(|connection| connection.link) else { return String::new() };
        self.network.remote_address(link).unwrap_or_else(|| "this host".to_owned())
    }

    fn event(&mut self, id: SessionId, who: &Principal, action: &str, resource: String) -> Event {
        Event { from: self.origin(id), session: id.0, action: action.to_owned(), resource, ..Event::by(who) }
    }

    fn note(&mut self, event: Event) {
        let now = self.now;
        if let Some(audit) = &mut self.out.audit {
            audit.note(event, now);
        }
    }

    /// Somebody has logged in, or was refused; for who decides on logins. `who` is
    /// whom they showed themselves to be, as far as that is known.
    pub(super) fn note_login(&mut self, id: SessionId, who: &Principal, allowed: bool, detail: &str) {
        // Who comes through a tunnel was noted where they came in.
        if !self.audits() || self.connection(id).is_none_or(|connection| connection.tunnelled) {
            return;
        }
        let event = self.event(id, who, "login", "the hub".to_owned());
        self.note(Event { allowed, detail: detail.to_owned(), ..event });
    }

    /// A login is refused of somebody who has not shown who they are: `name` is what
    /// they call themselves.
    pub(super) fn note_unproved(&mut self, id: SessionId, name: &str, detail: &str) {
        let name = format!("(unproved) {name}").into();
        let who = Principal { tenant: None, name, roles: [].into(), method: Method::Anonymous };
        self.note_login(id, &who, false, detail);
    }

    /// A client has the hub do something that changes it, as it may: by these
    /// answers, or because the hub's own configuration names it.
    pub(super) fn note_act(&mut self, id: SessionId, decoded: &Frame<'_>, by: Option<&Verdict>) {
        if !self.audits() {
            return;
        }
        let Some(act) = act_of(decoded) else { return };
        let Some(connection) = self.connection(id).filter(|connection| !connection.tunnelled) else { return };
        let is_admin = connection.client.is_admin;
        let Some(who) = connection.principal.clone() else { return };
        let event = self.event(id, &who, act.action, act.resource);
        let rules = match by {
            Some(verdict) => verdict.rules.iter().map(ToString::to_string).collect(),
            None if is_admin => vec![ADMINS.to_owned()],
            None => Vec::new(),
        };
        let version = by.map_or(0, |verdict| verdict.version);
        self.note(Event { allowed: true, rules, version, detail: act.detail, ..event });
    }

    /// A question was answered with no.
    pub(super) fn note_denied(&mut self, id: SessionId, ask: &Ask, verdict: &Verdict, detail: &str) {
        if !self.audits() {
            return;
        }
        let from = self.origin(id);
        self.note(Event { from, session: id.0, detail: detail.to_owned(), ..Event::of(ask, verdict) });
    }

    /// Something is refused without a question.
    pub(super) fn note_refused(&mut self, id: SessionId, action: Action, resource: &str, detail: &str) {
        if !self.audits() {
            return;
        }
        let Some(who) = self.connection(id).and_then(|connection| connection.principal.clone()) else { return };
        let event = self.event(id, &who, action.name(), resource.to_owned());
        self.note(Event { detail: detail.to_owned(), ..event });
    }

    /// Whether a frame would have the audit log changed, which only the hub does: it
    /// is refused then.
    pub(super) fn refuse_meddling(&mut self, id: SessionId, decoded: &Frame<'_>) -> bool {
        let Some((request, detail)) = meddles(decoded) else { return false };
        self.note_refused(id, Action::Administer, "the audit log", detail);
        self.refuse(id, request, ErrorCode::FORBIDDEN, detail);
        true
    }

    /// What is done once a turn.
    #[inline]
    pub(super) fn tend_audit(&mut self) {
        let now = self.now;
        if let Some(audit) = &mut self.out.audit {
            audit.tend(now);
        }
    }

    /// The stage stops.
    pub(super) fn close_audit(&mut self) {
        let now = self.now;
        if let Some(audit) = &mut self.out.audit {
            audit.close(now);
        }
    }
}
