//! What the net stage looks after from time to time: handshakes and ends that
//! take too long, and buffers that nobody uses.

use std::time::Duration;

use super::{Connection, NetStage};
use crate::messages::SessionId;

/// How often connections are looked at, at most.
pub(super) const SWEEP: Duration = Duration::from_millis(250);
/// How long a connection that says nothing keeps its buffer, at least.
const KEPT_FOR: Duration = Duration::from_secs(1);

impl NetStage {
    /// Gives back the buffers of connections that have said nothing for a while.
    fn release_buffers(&mut self) {
        if !self.keeping || self.now.mono < self.next_release {
            return;
        }
        self.next_release = self.now.mono + KEPT_FOR;
        self.keeping = false;
        for connection in self.connections.iter_mut().flatten() {
            if !std::mem::take(&mut connection.active) {
                connection.drop_empty_buffer();
            }
            self.keeping |= connection.received.is_some();
        }
    }

    /// Ends handshakes that take too long, and sessions whose peers do not take
    /// what is left for them.
    pub(super) fn sweep(&mut self) {
        self.release_buffers();
        if !self.sweeping || self.now.mono < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.mono + SWEEP;
        self.tend_connections();
        let is_due = |c: &&Connection| c.closing || !c.is_session() || c.is_broken();
        let due = self.connections.iter().flatten().filter(is_due);
        let late: Vec<(SessionId, bool)> =
            due.filter(|c| c.deadline <= self.now.mono).map(|c| (c.id, c.closing)).collect();
        self.sweeping = !self.network.bundles.are_none() || self.connections.iter().flatten().any(|c| is_due(&c));
        for (id, closing) in late {
            let broken = self.connection(id).and_then(|c| c.apart.as_ref()?.broken.clone());
            match broken {
                _ if closing => self.end(id, "the peer did not take its goodbye in time"),
                Some(reason) => self.end(id, &reason),
                None => self.end(id, "the peer did not finish its handshake in time"),
            }
        }
    }
}
