//! The ends of connections: by the peer's fault, by the network, by this hub.
//! Everybody who knew of the session is told, and what is counted is counted.

use weft_base::Lane;
use weft_transport::{CloseReason, Network as _};
use weft_wire::frame::{self, ErrorCode};

use super::NetStage;
use super::connection::Role;
use super::egress;
use crate::consume::ToConsume;
use crate::counters::{add, sub};
use crate::messages::{SessionId, ToAppend, ToConductor, ToRoute};

impl NetStage {
    /// The peer broke the protocol: it is told why, and closed.
    pub(super) fn violate(&mut self, id: SessionId, code: ErrorCode, detail: &str) {
        add(&self.counters.violations, 1);
        let tenant_id = self.connection(id).and_then(|connection| connection.tenant());
        tracing::warn!(
            code = "session_violation",
            session = id.0,
            tenant_id,
            detail,
            "closing a session that broke the protocol"
        );
        self.goodbye(id, code, detail);
    }

    /// Says why and closes once that is written, or once the peer has had its
    /// time to take it. What it still sends is not read: it would be kept for
    /// nothing, and announced at every turn.
    pub(super) fn goodbye(&mut self, id: SessionId, code: ErrorCode, detail: &str) {
        let deadline = self.now.mono + self.options.timers.drain;
        let Some(connection) = self.connection(id).filter(|c| !c.closing) else { return };
        let frame = frame::Frame::Goodbye(frame::Goodbye { code, detail });
        frame::encode(&frame, connection.egress.control());
        (connection.closing, connection.deadline) = (true, deadline);
        (connection.received, connection.unpacked) = (None, None);
        let link = connection.link;
        self.network.pause(link);
        self.sweeping = true;
        self.mark_dirty(id);
    }

    /// The network ended the connection, and why; a peer that broke its rules
    /// is counted as one that broke the protocol.
    pub(super) fn lose(&mut self, id: SessionId, reason: &CloseReason) {
        let detail = reason.to_string();
        if matches!(reason, CloseReason::BrokenRing { .. } | CloseReason::BrokenQuic { .. }) {
            add(&self.counters.violations, 1);
            let tenant_id = self.connection(id).and_then(|connection| connection.tenant());
            tracing::warn!(
                code = "session_violation",
                session = id.0,
                tenant_id,
                detail,
                "a peer broke the protocol of its link"
            );
        }
        self.end(id, &detail);
    }

    /// The connection is over: everybody who knew of the session is told.
    pub(super) fn end(&mut self, id: SessionId, reason: &str) {
        let Some(mut connection) = self.connections.get_mut(id.slot()).and_then(|c| c.take_if(|c| c.id == id)) else {
            return;
        };
        connection.egress.abandon(&self.counters);
        if let Some(credit) = &mut connection.credit {
            for forward in credit.out.drain() {
                sub(&self.counters.backlog_blocks, 1);
                egress::lost(&forward, &self.counters);
            }
            if let Some(link) = connection.egress.link() {
                Lane::all().for_each(|lane| credit.out.count_stall(lane, self.now.mono, link));
            }
        }
        connection.count_stall(None, self.now.mono, &self.counters);
        self.publishing.ended(&connection.published);
        self.end_rights(&connection);
        self.end_login(id, connection.login_asked || connection.login.is_some());
        let is_further = connection.is_further();
        for link in self.network.bundles.parts(connection.link) {
            self.by_link.remove(&link);
        }
        self.network.close(connection.link);
        self.vacant.push(id.slot() as u32);
        match connection.role {
            Role::Client => {
                self.end_tunnels(id);
                sub(&self.counters.clients, 1);
                self.out.conductor.push(ToConductor::SessionClosed { session: id });
                self.out.append.push(ToAppend::CloseSession { session: id });
                if connection.egress.has_consumed() {
                    self.out.consume.push(ToConsume::CloseSession { session: id });
                }
                let tenant_id = connection.tenant();
                tracing::debug!(code = "client_gone", session = id.0, tenant_id, reason, "a client's session ended");
            }
            Role::Link { dial } => {
                sub(&self.counters.links, 1);
                self.out.route.push(ToRoute::LinkGone { link: id });
                self.out.conductor.push(ToConductor::LinkDown { link: id, dial, reason: reason.to_owned() });
            }
            // What it was for is told by the first.
            Role::Dialling { .. } | Role::AwaitWelcome { .. } | Role::AwaitOpen { .. } | Role::Joined if is_further => {
            }
            Role::Dialling { dial } | Role::AwaitWelcome { dial, .. } => {
                self.out.conductor.push(ToConductor::DialFailed { dial, reason: reason.to_owned() });
            }
            Role::AwaitOpen { dial: Some(dial), .. } | Role::Gathering { dial: Some(dial), .. } => {
                self.out.conductor.push(ToConductor::DialFailed { dial, reason: reason.to_owned() });
            }
            Role::Probed => {}
            Role::AwaitHello { .. }
            | Role::AwaitLogin(_)
            | Role::AwaitOpen { .. }
            | Role::Gathering { .. }
            | Role::Joined => {
                add(&self.counters.failed_handshakes, 1);
                tracing::info!(code = "handshake_failed", reason, "a connection did not become a session");
            }
        }
        if let Some(part) = connection.part {
            self.end_others(id, part, reason);
        }
    }
}
