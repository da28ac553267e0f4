//! What a hub that has just started does not know yet: who keeps and wants what.
//!
//! With its first digest a neighbour tells which hubs it knows of, and how much of
//! their interest. Once this hub has all of that, it has learned what the mesh was
//! when it came. Until then that it knows of no stream does not mean that there
//! is none ([`Routes::learned`](crate::Routes::learned)).

use weft_base::{Epoch, HubId};
use weft_wire::frame::DigestEntry;

use super::Mesh;
use crate::{Learned, LinkId};

/// What is still to come.
#[derive(Debug, Default)]
pub(super) struct Learning {
    learned: Learned,
    missing: Option<Missing>,
}

/// Of the neighbour whose digest came first.
#[derive(Debug)]
struct Missing {
    by: LinkId,
    /// The hubs, with the versions of their interest there.
    sets: Vec<(HubId, Epoch, u64)>,
}

impl Learning {
    /// How far it is.
    pub(super) fn learned(&self) -> Learned {
        self.learned
    }

    /// The link is gone, and what was awaited by it comes by no other as a matter of course.
    pub(super) fn forget_link(&mut self, link: LinkId) {
        self.missing.take_if(|missing| missing.by == link);
    }
}

impl Mesh {
    /// A neighbour says what it knows.
    pub(super) fn learn_from(&mut self, link: LinkId, entries: &[DigestEntry]) {
        if self.learning.learned != Learned::All && self.learning.missing.is_none() {
            let others = entries.iter().filter(|entry| entry.hub != self.me.id).take(self.options.limits.hubs);
            let sets = others.map(|entry| (entry.hub, entry.epoch, entry.interest_version)).collect();
            self.learning.missing = Some(Missing { by: link, sets });
        }
    }

    /// Looks whether all has come, or whether it must be awaited of another neighbour.
    pub(super) fn tend_learning(&mut self) {
        if self.learning.learned == Learned::All {
            return;
        }
        let (hubs, has_room) = (&self.hubs, self.has_room());
        let learned = match &mut self.learning.missing {
            None => Learned::Nothing,
            Some(Missing { sets, .. }) => {
                sets.retain(|(id, epoch, version)| match hubs.get(id) {
                    None => has_room,
                    // Of a later life what the earlier one wanted stands until it is replaced.
                    Some(hub) => hub.epoch <= *epoch && hub.interest.version_in(*epoch) < *version,
                });
                if sets.is_empty() { Learned::All } else { Learned::Some }
            }
        };
        if learned == Learned::All {
            self.learning.missing = None;
        }
        self.hubs_changed |= self.learning.learned != learned;
        self.learning.learned = learned;
    }
}
