//! Which hubs keep a stream: by its definition, and by what the mesh says.
//!
//! A stream with several homes is made at one of them and gets to the others
//! by itself: a home that does not have it is told the definition, until the
//! directory says that it does. Likewise its deletion. A definition that is
//! changed is changed at each home by who changes it.
//!
//! ```text
//! u8 9 │ u8 1 │ u16 0 │ u32 0 │ the definition as in `stream.json`
//! u8 10 │ u8 1 │ u16 0 │ u32 0 │ u64 stream: it is deleted
//! ```

use weft_base::HubId;
use weft_stream::replica::{Event, Peer, Settings};
use weft_wire::peer::Service;

use super::ReplicateStage;
use crate::append::StreamSpec;
use crate::counters::add;
use crate::messages::{PeerMessage, SessionId, ToAppend, ToRoute};

const DEFINED: u8 = 9;
const DELETED: u8 = 10;
const HEAD: usize = 8;
/// The longest definition that is taken.
const MOST: usize = 64 << 10;
/// Deleted streams that are remembered.
const DELETED_MOST: usize = 1_024;
/// Hubs that a stream is copied from at most.
const PEERS: usize = 64;
/// A session that nobody has: what answers it meets nobody.
const NOBODY: SessionId = SessionId(u64::MAX);

/// Whether a message is about definitions.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(&DEFINED | &DELETED))
}

fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind, 1, 0, 0, 0, 0, 0, 0], rest].concat()
}

impl ReplicateStage {
    /// What the decider of a stream is told of it.
    pub(super) fn settings(&self, spec: &StreamSpec) -> Settings {
        let (limits, timers) = (&self.options.limits, &self.options.timers);
        let table = self.snapshot.load();
        let own = self.identity.id;
        let mirror = !spec.mirror_of.is_empty();
        let mut peers: Vec<Peer> = Vec::new();
        if !mirror {
            let homes = spec.homes.iter().map(|home| HubId::of_name(home)).filter(|hub| *hub != own);
            peers.extend(homes.map(|hub| Peer { hub, tag: hub.tag(), counts: true }));
        }
        let name = if mirror { &spec.mirror_of } else { &spec.name };
        // A hub that is no home any more still gives what entered there.
        let known = table.routes.homes_of(name).filter(|home| mirror || home.def.id == spec.id);
        let mut known: Vec<(u64, HubId)> =
            known.filter(|home| home.hub != own).map(|home| (home.cost.unwrap_or(u64::MAX), home.hub)).collect();
        known.sort_unstable();
        for (_, hub) in known {
            if peers.len() < PEERS && peers.iter().all(|peer| peer.hub != hub) {
                peers.push(Peer { hub, tag: hub.tag(), counts: false });
            }
        }
        let streams = self.streams.values().map(|entry| entry.replica.settings().peers.len()).sum::<usize>();
        let share = limits.replica_bytes.0 / (streams + peers.len()).max(1) as u64;
        let answer = (limits.frame.as_usize() / 2).clamp(4 << 10, 256 << 10);
        Settings {
            id: spec.id,
            stream: if mirror { 0 } else { spec.id },
            home: own.tag(),
            mirror,
            peers,
            filters: if mirror { spec.filters.clone() } else { Vec::new() },
            window: share.clamp(64 << 10, 4 << 20),
            answer,
            askers: limits.replica_readers,
            keep_alive: timers.replica_keep_alive,
            timeout: timers.replica_timeout,
            backoff: timers.replica_backoff,
            ..Settings::new(spec.id, name, own.tag())
        }
    }

    /// Looks up who keeps the streams of this hub, and tells homes that do not
    /// have one yet.
    pub(super) fn renew_definitions(&mut self) {
        let slots: Vec<_> = self.streams.keys().copied().collect();
        for slot in slots {
            let Some(entry) = self.streams.get(&slot) else { continue };
            let settings = self.settings(&entry.stream.spec);
            self.tell_homes(&entry.stream.spec.clone());
            let Some(entry) = self.streams.get_mut(&slot) else { continue };
            let old = entry.replica.settings();
            if old.peers == settings.peers && old.filters == settings.filters && old.mirror == settings.mirror {
                continue;
            }
            entry.replica.alter(settings);
            let hubs: Vec<_> = self.hubs.iter().map(|(hub, (epoch, _))| (*hub, *epoch)).collect();
            for (hub, epoch) in hubs {
                self.apply(slot, Event::HubUp { hub, epoch }, None);
            }
            self.synced(slot);
        }
    }

    fn tell_homes(&mut self, spec: &StreamSpec) {
        let own = self.identity.id;
        if !spec.mirror_of.is_empty() || !spec.is_home(&self.identity.name) {
            return;
        }
        let table = self.snapshot.load_full();
        for home in spec.homes.iter().map(|home| HubId::of_name(home)).filter(|hub| *hub != own) {
            let has = table.routes.homes_of(&spec.name).any(|known| known.hub == home);
            if has || !self.hubs.contains_key(&home) {
                continue;
            }
            if let Ok(bytes) = serde_json::to_vec(spec) {
                let bytes = message(DEFINED, &bytes);
                self.route.push(ToRoute::Peer { to: home, service: Service::Replica, confined: false, bytes });
            }
        }
    }

    /// A stream was deleted here: its other homes delete it too.
    pub(super) fn forget_everywhere(&mut self, spec: &StreamSpec) {
        if self.deleted.len() >= DELETED_MOST {
            self.deleted.pop_front();
        }
        self.deleted.push_back(spec.id);
        if !spec.mirror_of.is_empty() {
            return;
        }
        let own = self.identity.id;
        for to in spec.homes.iter().map(|home| HubId::of_name(home)).filter(|hub| *hub != own) {
            self.tell_deleted(to, spec.id);
        }
    }

    fn tell_deleted(&mut self, to: HubId, id: u64) {
        let bytes = message(DELETED, &id.to_le_bytes());
        self.route.push(ToRoute::Peer { to, service: Service::Replica, confined: false, bytes });
    }

    /// Another home says what a stream is, or that it is no more.
    pub(super) fn on_definition(&mut self, peer: &PeerMessage) {
        let rest = peer.bytes.get(HEAD..).unwrap_or_default();
        if peer.bytes.first() == Some(&DELETED) {
            let Some(id) = rest.first_chunk().map(|id| u64::from_le_bytes(*id)) else { return };
            let known = self.ids.get(&id).and_then(|slot| self.streams.get(slot));
            let is_home = |spec: &StreamSpec| spec.homes.iter().any(|home| HubId::of_name(home) == peer.from);
            if let Some(name) = known.map(|e| &e.stream.spec).filter(|spec| is_home(spec)).map(|spec| spec.name.clone())
            {
                self.append.push(ToAppend::Delete { session: NOBODY, id: 0, name });
            }
            return;
        }
        let spec: StreamSpec = match serde_json::from_slice(rest) {
            Ok(spec) if rest.len() <= MOST => spec,
            _ => return add(&self.counters.replica_nonsense, 1),
        };
        if self.deleted.contains(&spec.id) {
            return self.tell_deleted(peer.from, spec.id);
        }
        let wanted = spec.id != 0 && spec.mirror_of.is_empty() && spec.homes.contains(&self.identity.name);
        if !wanted {
            return add(&self.counters.replica_nonsense, 1);
        }
        match self.streams.values().find(|entry| entry.stream.spec.name == spec.name) {
            None => self.append.push(ToAppend::Create { session: NOBODY, id: 0, spec }),
            Some(entry) if entry.stream.spec.id == spec.id => {}
            Some(_) => tracing::warn!(
                code = "stream_of_same_name",
                stream = spec.name,
                from = %peer.from,
                "another home's stream has the name of one here, and is another: delete one of them"
            ),
        }
    }
}
