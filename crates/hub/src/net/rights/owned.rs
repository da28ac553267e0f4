//! Whose streams are: who is of a tenant makes streams of that tenant, and of no
//! other, whatever the frame says. Who is of none may name one.
//!
//! It is settled here, at the hub of the client, before a frame goes to other hubs:
//! those believe it, as they believe what else this hub has let through.

use std::sync::Arc;

use weft_govern::access::{Action, Principal};
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, Frame, StreamAlter, StreamCreate, StreamSpec};

use super::NetStage;
use crate::messages::SessionId;

/// What a frame defines a stream as, if it does, and the request's number.
fn defined<'a, 'b>(decoded: &'a Frame<'b>) -> Option<(u64, &'a StreamSpec<'b>)> {
    match decoded {
        Frame::StreamCreate(create) => Some((create.request, &create.spec)),
        Frame::StreamAlter(alter) => Some((alter.request, &alter.spec)),
        _ => None,
    }
}

impl NetStage {
    /// Refuses a frame of somebody of a tenant that defines a stream of another one.
    /// To be asked first: no policy allows it.
    pub(in crate::net) fn refuse_foreign(&mut self, id: SessionId, decoded: &Frame<'_>) -> bool {
        let Some((request, spec)) = defined(decoded).filter(|(_, spec)| !spec.tenant.is_empty()) else { return false };
        let Some(who) = self.of_tenant(id).filter(|who| who.tenant.as_deref() != Some(spec.tenant)) else {
            return false;
        };
        let detail = format!(
            "`{who}` may not define a stream of tenant `{}`: leave the tenant out, it is the own one then",
            spec.tenant
        );
        self.note_refused(id, Action::Administer, &format!("stream `{}`", spec.name), &detail);
        self.refuse(id, request, ErrorCode::DENIED, &detail);
        true
    }

    /// A frame that defines a stream, of somebody of a tenant, that names no tenant:
    /// goes on with that one. Answers whether it was such a frame.
    pub(super) fn defines_for_its_tenant(&mut self, id: SessionId, decoded: &Frame<'_>, bytes: &BlockRef) -> bool {
        let Some((request, spec)) = defined(decoded).filter(|(_, spec)| spec.tenant.is_empty()) else { return false };
        let Some(who) = self.of_tenant(id) else { return false };
        let Some(tenant) = who.tenant.as_deref() else { return false };
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

    /// The client, if it is of a tenant. Who comes through a tunnel was looked at where
    /// they came in.
    fn of_tenant(&mut self, id: SessionId) -> Option<Arc<Principal>> {
        let connection = self.connection(id).filter(|connection| !connection.tunnelled)?;
        connection.principal.clone().filter(|who| who.tenant.is_some())
    }
}
