//! What only administrators may do: clients whose certificate is named in `admins`.

use weft_ring::arena::BlockRef;
use weft_transport::{Peer, PeerKind};
use weft_wire::frame::ErrorCode;

use super::NetStage;
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
            return self.refuse(id, request, ErrorCode::NOT_ADMIN, detail);
        }
        self.out.conductor.push(ToConductor::Change { session: id, frame: bytes.clone() });
    }
}
