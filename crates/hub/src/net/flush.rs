//! Writing: what connections have to say, to sockets that have room.

use weft_base::Now;
use weft_transport::{CloseReason, Network};

use super::egress::Press;
use super::{Connection, NetStage, Outlets, Role};
use crate::consume::ToConsume;
use crate::counters::Counters;
use crate::messages::{ToAppend, ToConductor};
use crate::meters::Leaving;

impl NetStage {
    /// Writes what the dirty connections have; those whose socket is full wait for `Writable`.
    pub(super) fn flush_all(&mut self) -> usize {
        let mut work = 0;
        for _ in 0..self.urgent.len() + self.dirty.len() {
            let Some(id) = self.urgent.pop_front().or_else(|| self.dirty.pop_front()) else { break };
            let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
            else {
                continue;
            };
            // It may be on both lists.
            if !std::mem::take(&mut connection.dirty) {
                continue;
            }
            if connection.blocked || matches!(connection.role, Role::Dialling { .. }) {
                continue;
            }
            let outcome = Self::flush_one(
                connection,
                &mut self.network,
                (&mut self.press, &mut self.leaving),
                &self.counters,
                &mut self.out,
                self.now,
            );
            let relayed = connection.egress.take_relayed();
            self.marking |= connection.egress.owes_marks();
            let is_over = connection.closing && connection.egress.is_empty();
            if !relayed.is_empty() {
                self.relayed(&relayed);
            }
            match outcome {
                Ok(n) => {
                    work += n.min(1);
                    if is_over {
                        self.end(id, "closed by this hub");
                    }
                }
                Err(reason) => self.lose(id, &reason),
            }
        }
        work
    }

    fn flush_one(
        connection: &mut Connection,
        network: &mut dyn Network,
        (press, leaving): (&mut Press, &mut Leaving),
        counters: &Counters,
        out: &mut Outlets,
        now: Now,
    ) -> Result<usize, CloseReason> {
        let mut total = 0;
        loop {
            let session = connection.id;
            connection.egress.pump(now.wall, counters, |wanted| {
                let target = crate::messages::Target { session, subscription: wanted.subscription };
                let fetch =
                    ToAppend::Fetch { target, stream: wanted.stream, from: wanted.from, max_bytes: wanted.max_bytes };
                out.append.push(fetch);
            });
            connection.egress.subscribers.take_turned(|subscription, gate| {
                let target = crate::messages::Target { session, subscription };
                let (closed, behind_ms) = (gate.is_closed(), gate.behind_ms(now));
                out.conductor.push(ToConductor::GateTurned { target, closed, behind_ms });
            });
            if Self::drop_expired(connection, counters, now) {
                // What it had, of credit and of room, serves what waits.
                continue;
            }
            let (n, all) = connection.egress.flush(network, connection.link, counters, (press, leaving))?;
            total += n;
            if connection.egress.take_freed() {
                out.consume.push(ToConsume::Room { session });
            }
            if !all {
                connection.blocked = true;
                return Ok(total);
            }
            if n == 0 {
                return Ok(total);
            }
        }
    }
}
