//! Repair: neighbours compare what they know, and ask for what they lack.

use weft_base::{HubId, Mono};
use weft_wire::frame::{Digest, DigestEntry, Frame, Want, WantEntry};

use super::Mesh;
use super::interest::Wanted;
use crate::LinkId;
use crate::transfer::Transfer;

impl Mesh {
    /// What this hub knows: of itself, and of hubs within reach. Others are not
    /// spoken of, or the dead would be passed around for ever.
    pub(super) fn digest(&self) -> Frame<'static> {
        let reachable = self.hubs.iter().filter(|(_, hub)| hub.path.is_some()).map(|(id, _)| *id);
        let entries = std::iter::once(self.me.id).chain(reachable).filter_map(|id| self.digest_entry(id)).collect();
        Frame::Digest(Digest { entries })
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
