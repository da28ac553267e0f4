//! Publishes that only the home of their stream can take in: the route stage
//! hands them over and keeps them until it hears what the home answers, or that
//! the tunnel is lost and what was in it has to be sent again.

use weft_ring::arena::BlockRef;
use weft_wire::block::Block;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, publish_head, publish_homes_head};

use super::NetStage;
use super::near::Near;
use crate::messages::{FarPublish, FarSaid, ToRoute};

impl NetStage {
    /// A publish for a home.
    pub(in crate::net) fn on_far(&mut self, far: &FarPublish) {
        let FarPublish { session, home, round, number, .. } = *far;
        if round != self.network.tunnels.near.round(session, home) {
            // The route stage is about to hear that the tunnel was lost, and counts this one too.
            return;
        }
        let said = match self.tunnel_to(session, home) {
            None => FarSaid::Gone { session },
            Some(Err(detail)) => {
                let answer = Box::new(Err((ErrorCode::LIMIT, 1_000, detail)));
                FarSaid::Answered { session, number, answer }
            }
            Some(Ok(tunnel)) => return self.network.tunnels.near.publish(tunnel, far),
        };
        self.out.route.push(ToRoute::Far(said));
    }
}

impl Near {
    /// Puts a publish into a tunnel.
    fn publish(&mut self, tunnel: u64, far: &FarPublish) {
        let Some(end) = self.ends.get_mut(&tunnel) else { return };
        let FarPublish { number, level, homes, .. } = *far;
        let block: &BlockRef = &far.block;
        let head = match level {
            AckLevel::Homes => publish_homes_head(number, homes, block.len()),
            level => publish_head(number, level, block.len()),
        };
        end.confined |= Block::trusted(block).residency().is_bound();
        end.pipe.write(&head);
        end.pipe.write(block);
        end.publishes.insert(number);
        self.dirty.push(tunnel);
    }

    /// What the route stage is to hear, if this answers a publish.
    pub(super) fn publish_answered(&mut self, tunnel: u64, answer: &Frame<'_>) -> Option<FarSaid> {
        let end = self.ends.get_mut(&tunnel)?;
        let (number, answer) = match answer {
            Frame::Ack(ack) => (ack.request, Ok(*ack)),
            Frame::Error(error) => (error.request, Err((error.code, error.retry_after_ms, error.detail.to_owned()))),
            _ => return None,
        };
        let answered = end.publishes.remove(&number);
        answered.then(|| FarSaid::Answered { session: end.session, number, answer: Box::new(answer) })
    }
}
