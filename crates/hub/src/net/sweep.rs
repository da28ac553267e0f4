//! What the net stage looks after from time to time: handshakes that take too
//! long, and buffers that nobody uses.

use std::time::Duration;

use super::NetStage;
use crate::messages::SessionId;

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

    /// Ends handshakes that take too long.
    pub(super) fn sweep(&mut self) {
        self.release_buffers();
        if !self.sweeping || self.now.mono < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.mono + Duration::from_millis(250);
        let late: Vec<SessionId> = self
            .connections
            .iter()
            .flatten()
            .filter(|c| !c.is_session() && !c.closing && c.deadline <= self.now.mono)
            .map(|c| c.id)
            .collect();
        self.sweeping = self.connections.iter().flatten().any(|c| !c.is_session());
        for id in late {
            self.end(id, "the peer did not finish its handshake in time");
        }
    }
}
