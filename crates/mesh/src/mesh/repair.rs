//! Repair: neighbours compare what they know, and ask for what they lack.

use std::collections::BTreeMap;

use weft_base::{HubId, Mono};
use weft_wire::frame::{DIGEST_SUMS, Digest, DigestEntry, DigestSum, Frame, Want, WantEntry};
use xxhash_rust::xxh3::xxh3_64;

use super::Mesh;
use super::interest::Wanted;
use super::records::WITH_ATTRIBUTES;
use crate::LinkId;
use crate::transfer::Transfer;

/// From so many other hubs on sums are shorter than entries.
const LONG_DIGEST: usize = 16;
/// The first version of the protocol with sums.
const SUMS_SINCE: u16 = 2;

impl Mesh {
    /// What this hub knows: of itself, and of hubs within reach. Others are not
    /// spoken of, or the dead would be passed around for ever.
    pub(super) fn digest(&self) -> Frame<'static> {
        Frame::Digest(Digest { entries: self.digest_entries().collect() })
    }

    fn digest_entries(&self) -> impl Iterator<Item = DigestEntry> {
        let reachable = self.hubs.iter().filter(|(_, hub)| hub.path.is_some()).map(|(id, _)| *id);
        std::iter::once(self.me.id).chain(reachable).filter_map(|id| self.digest_entry(id))
    }

    /// Tells each neighbour what this hub knows: as sums where these are shorter
    /// and the neighbour knows of them.
    pub(super) fn send_digests(&mut self) {
        let digest = self.digest();
        let is_long = self.hubs.len() >= LONG_DIGEST;
        let sum = is_long.then(|| Frame::DigestSum(DigestSum { sums: self.digest_sums() }));
        let links: Vec<(LinkId, bool)> =
            self.links.iter().map(|(id, link)| (*id, link.version >= SUMS_SINCE)).collect();
        for (link, knows_sums) in links {
            self.send(link, sum.as_ref().filter(|_| knows_sums).unwrap_or(&digest));
        }
        self.ask_for_attributes();
    }

    /// Of records that came without attributes, neighbours may have the same
    /// version with them, of which digests say nothing: each is asked once, unless
    /// it has sent the record as bare. What comes there later it passes on.
    fn ask_for_attributes(&mut self) {
        let carrying = self.links.iter().filter(|(_, link)| link.version >= WITH_ATTRIBUTES);
        let carrying: Vec<LinkId> = carrying.map(|(id, _)| *id).collect();
        let mut wants: BTreeMap<LinkId, Vec<WantEntry>> = BTreeMap::new();
        for (id, hub) in self.hubs.iter_mut().filter(|(_, hub)| hub.is_bare()) {
            for link in &carrying {
                if hub.bare_at.insert(*link) {
                    let have_link_version = hub.version.saturating_sub(1);
                    let want = WantEntry { hub: *id, have_link_version, have_interest_version: u64::MAX };
                    wants.entry(*link).or_default().push(want);
                }
            }
        }
        for (link, entries) in wants {
            self.send(link, &Frame::Want(Want { entries }));
        }
    }

    fn digest_sums(&self) -> Vec<u64> {
        let mut sums = vec![0u64; DIGEST_SUMS];
        for entry in self.digest_entries() {
            if let Some(sum) = sums.get_mut(place(entry.hub)) {
                *sum = sum.wrapping_add(hash(&entry));
            }
        }
        sums
    }

    /// A neighbour says in short what it knows: where this hub knows something
    /// else it says what, and the neighbour asks. What the neighbour knows better
    /// it says when this hub's own sums come there.
    pub(super) fn on_digest_sum(&mut self, link: LinkId, theirs: &[u64]) {
        let own = self.digest_sums();
        let differs = |hub: HubId| own.get(place(hub)) != theirs.get(place(hub));
        let entries: Vec<DigestEntry> = self.digest_entries().filter(|entry| differs(entry.hub)).collect();
        if !entries.is_empty() {
            self.send(link, &Frame::Digest(Digest { entries }));
        }
    }

    pub(super) fn digest_entry(&self, id: HubId) -> Option<DigestEntry> {
        let (epoch, link_version) = if id == self.me.id {
            (self.me.epoch, self.record.version)
        } else {
            self.hubs.get(&id).map(|hub| (hub.epoch, hub.version))?
        };
        let (interest_version, interest_hash) =
            self.interest_to_tell(id).map_or((0, 0), |(_, version, set)| (version, set.hash()));
        Some(DigestEntry { hub: id, epoch, link_version, interest_version, interest_hash })
    }

    /// A neighbour says what it knows: asks it for what is newer there.
    pub(super) fn on_digest(&mut self, link: LinkId, entries: &[DigestEntry], now: Mono) {
        let wants: Vec<WantEntry> = entries.iter().filter_map(|theirs| self.want(link, theirs, now)).collect();
        if !wants.is_empty() {
            self.send(link, &Frame::Want(Want { entries: wants }));
        }
    }

    /// What to ask a neighbour for, that knows this of a hub.
    fn want(&mut self, link: LinkId, theirs: &DigestEntry, now: Mono) -> Option<WantEntry> {
        if theirs.hub == self.me.id {
            self.counters.conflicts += u64::from(theirs.epoch > self.me.epoch);
            return None;
        }
        if !self.hubs.contains_key(&theirs.hub) && !self.has_room() {
            return None;
        }
        let Some(hub) = self.hubs.get_mut(&theirs.hub).filter(|hub| hub.epoch >= theirs.epoch) else {
            return Some(WantEntry { hub: theirs.hub, have_link_version: 0, have_interest_version: 0 });
        };
        if hub.epoch > theirs.epoch {
            return None;
        }
        let known = hub.interest.version_in(hub.epoch);
        // Two hubs that disagree at the same version must not swap their sets:
        // the one nearer to the set's owner is right.
        let is_wrong = known > 0
            && known == theirs.interest_version
            && hub.interest.set.hash() != theirs.interest_hash
            && hub.interest.is_exact()
            && self.routes.next_hop(theirs.hub) == Some(link);
        let is_asked = hub.wanted.as_ref().is_some_and(|wanted| now < wanted.until);
        let wants_interest = !is_asked && (theirs.interest_version > known || is_wrong);
        if wants_interest {
            self.counters.sets_wanted += 1;
            hub.wanted = Some(Wanted { link, until: now + self.options.timers.digest, is_repair: is_wrong });
        }
        (wants_interest || theirs.link_version > hub.version).then_some(WantEntry {
            hub: theirs.hub,
            have_link_version: hub.version,
            have_interest_version: if wants_interest { 0 } else { u64::MAX },
        })
    }

    /// Asks a neighbour for the whole interest of a hub, unless it was asked for already.
    pub(super) fn ask(&mut self, link: LinkId, id: HubId, now: Mono) {
        let Some(hub) = self.hubs.get_mut(&id) else { return };
        if hub.wanted.as_ref().is_some_and(|wanted| now < wanted.until) {
            return;
        }
        self.counters.sets_wanted += 1;
        hub.wanted = Some(Wanted { link, until: now + self.options.timers.digest, is_repair: false });
        let entry = WantEntry { hub: id, have_link_version: hub.version, have_interest_version: 0 };
        self.send(link, &Frame::Want(Want { entries: vec![entry] }));
    }

    /// A neighbour asks for what it lacks.
    pub(super) fn on_want(&mut self, link: LinkId, entries: &[WantEntry], now: Mono) {
        for want in entries {
            self.send_record(&[link], want.hub, Some(want.have_link_version));
            let Some((epoch, version, set)) = self.interest_to_tell(want.hub) else { continue };
            if version > want.have_interest_version {
                let transfer = Transfer::whole(epoch, version, set.snapshot());
                self.start_transfer(link, want.hub, transfer, now);
            }
        }
    }
}

/// Which of the sums a hub is in.
fn place(hub: HubId) -> usize {
    (hub.0 % DIGEST_SUMS as u64) as usize
}

fn hash(entry: &DigestEntry) -> u64 {
    let mut bytes = [0; 36];
    let fields = [entry.hub.0, entry.link_version, entry.interest_version, entry.interest_hash];
    for (room, field) in bytes.chunks_exact_mut(8).zip(fields) {
        room.copy_from_slice(&field.to_le_bytes());
    }
    if let Some(room) = bytes.last_chunk_mut() {
        *room = entry.epoch.0.to_le_bytes();
    }
    xxh3_64(&bytes)
}
