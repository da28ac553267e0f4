//! What the net stage knows of a subscriber that somebody asks for: its sessions,
//! their credit and what waits for it.

use super::{NetStage, Role};
use crate::consume::ToConsume;
use crate::see::look::{ClientState, Look, MOST};

impl NetStage {
    /// Puts in the sessions of the name, and passes the question on.
    pub(super) fn on_look(&mut self, mut look: Box<Look>) {
        for connection in self.connections.iter().flatten().filter(|c| matches!(c.role, Role::Client) && !c.closing) {
            if !look.wants(connection.id, &connection.name) {
                look.note(&connection.name);
            } else if look.clients.len() < MOST {
                look.clients.push(ClientState {
                    session: connection.id,
                    name: connection.name.clone(),
                    subscriptions: connection.egress.subscribers.states(MOST),
                    members: connection.egress.members().take(MOST).collect(),
                });
            }
        }
        self.out.consume.push(ToConsume::Look(look));
    }
}
