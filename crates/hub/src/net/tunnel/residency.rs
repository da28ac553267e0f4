//! What may go to a client at another hub: events that are bound to a label only
//! to a hub that carries it, over hubs that do.

use weft_base::Residency;
use weft_wire::block::Block;
use weft_wire::frame::{FOUND_HEAD, Kind, peek_kind};

use super::message::{Said, What};
use super::{ErrorCode, NetStage};
use crate::messages::SessionId;

impl NetStage {
    /// Whether a block may be written to a session. Where it may not, the session
    /// is over: what was left out of it could be told from a loss by nobody.
    pub(in crate::net) fn may_pass(&mut self, id: SessionId, block: &[u8]) -> bool {
        let residency = Block::trusted(block).residency();
        !residency.is_bound() || self.may_pass_bound(id, residency)
    }

    /// Likewise, of frames that another stage has written.
    pub(in crate::net) fn frames_may_pass(&mut self, id: SessionId, bytes: &[u8]) -> bool {
        peek_kind(bytes) != Some(Kind::Found) || self.may_pass(id, bytes.get(FOUND_HEAD..).unwrap_or_default())
    }

    fn may_pass_bound(&mut self, id: SessionId, residency: Residency) -> bool {
        let Some(link) = self.connection(id).filter(|connection| connection.tunnelled).map(|c| c.link) else {
            return true;
        };
        let Some(far) = self.network.tunnels.far.get_mut(&link) else { return false };
        let table = self.snapshot.load();
        let routes = &table.routes;
        let has_way = table.ways(routes.shared(far.peer)).next_hop(far.peer).is_some();
        if routes.may_be_at(far.peer, residency) && has_way {
            far.confined = true;
            return true;
        }
        let (peer, tunnel) = (far.peer, far.tunnel);
        let detail = format!(
            "the stream has events that may be only at hubs with the label `{}`, which the client's hub, or one on \
             the way there, does not carry: read them at a hub that does",
            table.rules.name(residency)
        );
        drop(table);
        self.network.tunnels.pump();
        let what = What::Close { code: ErrorCode::RESIDENCY, detail: &detail };
        self.network.tunnels.say(peer, &Said { by_home: true, tunnel, what });
        self.network.tunnels.forget_far(link);
        self.end(id, &detail);
        false
    }
}
