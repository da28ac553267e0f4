//! Signs of life of a link of several connections.
//!
//! The first carries the mesh's probes, by which the link is judged as any. Each
//! of the others carries a ping that nobody answers while it has nothing else to
//! carry: so that what is between the hubs does not forget it, and that a link
//! ends of which one connection has gone silent. Lanes that lead nowhere would be
//! worse than a link that is made anew.
//!
//! Silence is counted in sweeps and not in time: after a sleep there is one of
//! them, and who was asleep has heard nobody.

use super::NetStage;
use super::sweep::SWEEP;
use crate::messages::SessionId;

impl NetStage {
    /// Something came on a channel, or lies there and there is no room for it.
    pub(super) fn heard_on(&mut self, id: SessionId, channel: usize) {
        let Some(apart) = self.connection(id).and_then(|connection| connection.apart.as_mut()) else { return };
        if let Some(silent) = apart.silent.get_mut(channel) {
            *silent = 0;
        }
    }

    /// Whether what is taken apart came on another connection of a link than its first.
    pub(super) fn is_on_further(&mut self, id: SessionId) -> bool {
        self.connection(id).and_then(|connection| connection.apart.as_ref()).is_some_and(|apart| apart.is_on_further())
    }

    /// At each sweep: says on each connection that it goes on, and ends links of
    /// which one was silent for `timers.link_silence`.
    pub(super) fn tend_connections(&mut self) {
        if self.network.bundles.are_none() {
            return;
        }
        let silence = self.options.timers.link_silence;
        let most = u32::try_from(silence.as_nanos().div_ceil(SWEEP.as_nanos())).unwrap_or(u32::MAX);
        let (mut alive, mut lost) = (Vec::new(), Vec::new());
        for connection in self.connections.iter_mut().flatten().filter(|connection| !connection.closing) {
            let Some(apart) = &mut connection.apart else { continue };
            if apart.connections < 2 || apart.broken.is_some() {
                continue;
            }
            // Who stops reads nobody any more.
            let is_judged = !self.lifecycle.is_draining();
            for (channel, silent) in apart.silent.iter_mut().enumerate().take(apart.connections).skip(1) {
                *silent += u32::from(is_judged);
                if *silent > most {
                    lost.push((connection.id, channel));
                    break;
                }
            }
            if connection.egress.show_life() {
                alive.push(connection.id);
            }
        }
        alive.into_iter().for_each(|id| self.mark_dirty(id));
        for (id, channel) in lost {
            self.end(id, &format!("connection {channel} of the link was silent for {silence:?}"));
        }
    }
}
