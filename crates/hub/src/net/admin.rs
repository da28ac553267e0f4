//! What only administrators may do: clients whose certificate is named in `admins`.

use weft_govern::access::Action;
use weft_ring::arena::BlockRef;
use weft_transport::{Peer, PeerKind};
use weft_wire::frame::ErrorCode;

use super::NetStage;
use crate::govern::ToGovern;
use crate::messages::{SessionId, ToConductor};

impl NetStage {
    /// Whether this is an administrator, who has shown a certificate.
    pub(super) fn is_admin(&self, peer: &Peer) -> bool {
        peer.kind == PeerKind::Client && self.options.admins.contains(&peer.name)
    }

    /// Somebody changes the hub, or asks what was changed.
    pub(super) fn on_change(&mut self, id: SessionId, request: u64, bytes: &BlockRef) {
        let Some(connection) = self.connection(id) else { return };
        if !connection.may_administer() {
            let detail = "the client's certificate is not named in `admins` of the hub's configuration";
            self.note_refused(id, Action::Administer, "the mesh", detail);
            return self.refuse(id, request, ErrorCode::NOT_ADMIN, detail);
        }
        self.out.conductor.push(ToConductor::Change { session: id, frame: bytes.clone() });
    }

    /// Somebody looks at the control state, or changes it. Never waits for who
    /// answers: while that is behind, requests are refused.
    pub(super) fn on_govern(&mut self, id: SessionId, request: u64, bytes: &BlockRef) {
        let from = self.origin(id);
        let Some(connection) = self.connection(id) else { return };
        let Some(author) = connection.principal.clone() else { return };
        // Where a judge decides, it has: without one, nobody else changes anything.
        let (is_administrator, is_judged) = (connection.client.is_admin, connection.rights.is_some());
        let (code, retry_after_ms, detail) = match &mut self.out.govern {
            Some(govern) => {
                if govern.has_room(1) {
                    return govern.push(ToGovern::Ask {
                        session: id,
                        author,
                        is_administrator,
                        may_change: is_administrator || is_judged,
                        from,
                        frame: bytes.clone(),
                    });
                }
                (ErrorCode::OVERLOADED, 1_000, "too many requests to the control state wait at this hub")
            }
            None => (ErrorCode::UNSUPPORTED, 0, "the hub has no control state: give it a data folder (`data`)"),
        };
        self.refuse_for(id, request, code, retry_after_ms, detail);
    }
}
