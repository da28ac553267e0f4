//! Damage in the streams of this hub is repaired from their other homes.
//!
//! What any reader met is gathered from the logs when the directory is looked
//! at; `weft_stream::heal` decides, the verify stage looks and writes.

use weft_base::HubId;
use weft_stream::heal::{Answer, Command, Event, Healer, Piece, Segment, Settings};
use weft_stream::replica::{Entries, FoundBlocks, Message, Want};
use weft_wire::block::Block;
use weft_wire::peer::Service;

use super::ReplicateStage;
use crate::append::{Job, StreamSpec, as_mirrored};
use crate::counters::add;
use crate::messages::ToRoute;
use crate::options::HubOptions;

/// The decider, unless nothing is to be repaired.
pub(super) fn healer(options: &HubOptions, epoch: weft_base::Epoch) -> Option<Healer> {
    let storage = &options.storage;
    let settings = Settings {
        most: storage.repair.0,
        pause: storage.repair_pause,
        backoff: storage.repair_backoff,
        timeout: options.timers.replica_timeout,
    };
    (storage.repair.0 > 0).then(|| Healer::new(settings, u64::from(epoch.0) << 32))
}

impl ReplicateStage {
    /// Tells the decider, and does what it says.
    pub(super) fn heal(&mut self, event: Event) {
        let Some(healer) = &mut self.healer else { return };
        let mut commands = Vec::new();
        let before = healer.counts;
        healer.apply(event, self.now, &mut commands);
        let after = healer.counts;
        add(&self.counters.log_repaired, after.repaired - before.repaired);
        add(&self.counters.log_repaired_events, after.events - before.events);
        add(&self.counters.log_repair_failed, after.failed - before.failed);
        for command in commands {
            match command {
                Command::Look(at) => self.job(at, None),
                Command::Fill { at, blocks } => self.job(at, Some(blocks)),
                Command::Ask { stream, to, request, from, upto } => {
                    let Some(entry) = self.ids.get(&stream).and_then(|slot| self.streams.get(slot)) else { continue };
                    let settings = entry.replica.settings();
                    let (stream, asker, name) = (settings.stream, settings.id, settings.name.as_str());
                    let bytes = Message::Want(Want { stream, asker, request, name, from, upto }).encode();
                    self.route.push(ToRoute::Peer { to, service: Service::Replica, confined: false, bytes });
                }
            }
        }
    }

    fn job(&self, at: Segment, blocks: Option<Vec<Vec<u8>>>) {
        // Without its stream the decider waits for nothing: it was told so, or
        // is with the event that follows.
        let Some(entry) = self.ids.get(&at.stream).and_then(|slot| self.streams.get(slot)) else { return };
        if let Some((mend, waker)) = &self.mend {
            mend.ask(Job { at, mending: entry.stream.mending.clone(), blocks });
            waker.wake();
        }
    }

    /// Tells the decider who keeps each stream, and where damage was met.
    pub(super) fn gather_damage(&mut self) {
        if self.healer.is_none() {
            return;
        }
        let mut events = Vec::new();
        for entry in self.streams.values() {
            let stream = entry.stream.spec.id;
            let hubs = entry.replica.settings().peers.iter().map(|peer| peer.hub).collect();
            events.push(Event::Sources { stream, hubs });
            let suspects = entry.stream.mending.mender.suspects();
            events.extend(suspects.into_iter().map(|number| Event::Suspect(Segment { stream, number })));
        }
        events.into_iter().for_each(|event| self.heal(event));
        self.heal(Event::Tick);
    }

    /// A home answers with events that were asked for by name.
    pub(super) fn on_found(&mut self, from: HubId, found: &FoundBlocks<'_>) {
        let Some(entry) = self.ids.get(&found.stream).and_then(|slot| self.streams.get(slot)) else { return };
        let pieces = pieces(&entry.stream.spec, found.entries);
        if let Err(why) = &pieces {
            add(&self.counters.replica_nonsense, 1);
            tracing::warn!(code = "replica_nonsense", %from, why, "an answer for a repair was dropped");
        }
        let (done, through) = (found.done, found.through.clone());
        let answer = pieces.ok().map(|pieces| Answer { done, through, pieces });
        self.heal(Event::Given { from, request: found.request, answer });
    }

    /// The verify stage has put blocks in their place, or not.
    pub(super) fn on_mended(&mut self, at: Segment, result: Result<(), String>) {
        let entry = self.ids.get(&at.stream).and_then(|slot| self.streams.get(slot));
        let stream = entry.map_or("", |entry| entry.stream.spec.name.as_str());
        let segment = at.number;
        match result {
            Ok(()) => {
                tracing::info!(code = "stream_repaired", stream, segment, "damage was repaired from another home");
                self.heal(Event::Filled { at });
            }
            Err(why) => {
                tracing::warn!(code = "repair_failed", stream, segment, why, "damage could not be repaired");
                self.heal(Event::Failed { at, why });
            }
        }
    }
}

/// The blocks of an answer, checked, and as a mirror has them.
fn pieces(spec: &StreamSpec, entries: &[u8]) -> Result<Vec<Piece>, String> {
    let piece = |entry: weft_stream::replica::Entry<'_>| {
        let block = Block::validate(entry.bytes).map_err(|error| error.to_string())?;
        if block.home() != Some((entry.home, entry.sequence)) || block.event_count() != entry.span {
            return Err("a block's name is not that of its place".to_owned());
        }
        let bytes = as_mirrored(spec, &block)?.unwrap_or_else(|| entry.bytes.to_vec());
        Ok(Piece { home: entry.home, sequence: entry.sequence, span: entry.span, bytes })
    };
    Entries::new(entries).map(piece).collect()
}
