//! Whose streams are: who is of a tenant makes streams of that tenant, and of no
//! other, whatever the frame says. Who is of none may name one.
//!
//! It is settled here, at the hub of the client, before a frame goes to other hubs:
//! those believe it, as they believe what else this hub has let through.

use weft_govern::access::Action;
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, Frame, StreamAlter, StreamCreate, StreamSpec};

use super::NetStage;
use crate::messages::SessionId;

impl NetStage {
    /// A frame that defines a stream, of somebody of a tenant, that does not name
    /// that tenant: goes on with it, or is refused where it names another one.
    /// Answers whether it was such a frame.
    pub(super) fn defines_for_its_tenant(&mut self, id: SessionId, decoded: &Frame<'_>, bytes: &BlockRef) -> bool {
        let (request, spec) = match decoded {
            Frame::StreamCreate(create) => (create.request, &create.spec),
            Frame::StreamAlter(alter) => (alter.request, &alter.spec),
            _ => return false,
        };
        // Who comes through a tunnel was looked at where they came in.
        let Some(connection) = self.connection(id).filter(|connection| !connection.tunnelled) else { return false };
        let Some(who) = connection.principal.clone() else { return false };
        let Some(tenant) = who.tenant.as_deref().filter(|tenant| *tenant != spec.tenant) else { return false };
        if !spec.tenant.is_empty() {
            let detail = format!(
                "`{who}` may not define a stream of tenant `{}`: leave the tenant out, it is the own one then",
                spec.tenant
            );
            self.note_refused(id, Action::Administer, &format!("stream `{}`", spec.name), &detail);
            self.refuse(id, request, ErrorCode::DENIED, &detail);
            return true;
        }
        let spec = StreamSpec { tenant, ..spec.clone() };
        let own = match decoded {
            Frame::StreamAlter(_) => Frame::StreamAlter(StreamAlter { request, spec }),
            _ => Frame::StreamCreate(StreamCreate { request, spec }),
        };
        let mut encoded = Vec::new();
        if let Err(error) = frame::try_encode(&own, &mut encoded) {
            self.refuse(id, request, ErrorCode::LIMIT, &error.to_string());
        } else if !self.tunnel_takes(id, &own, &encoded) {
            self.on_client_frame(id, own, bytes);
        }
        true
    }
}
