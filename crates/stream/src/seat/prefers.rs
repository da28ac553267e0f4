//! Where consumers are to run: what this hub knows itself, and what others say.

use std::collections::BTreeMap;

use weft_base::{HubId, Mono};

use super::machine::Seats;
use super::told::{Preference, Prefers, Told};
use super::{Host, Id};

impl<D: Clone> Seats<D> {
    /// What is known of where consumers are to run: here and at other hubs, the
    /// newest of each. None when nothing has changed since it was taken last.
    pub fn take_preferences(&mut self) -> Option<BTreeMap<Id, Preference>> {
        if !std::mem::take(&mut self.hints_changed) {
            return None;
        }
        let mut all: BTreeMap<Id, Preference> = BTreeMap::new();
        let known = self.known();
        for prefers in self.hints.values().flatten().chain(&known) {
            all.entry((prefers.stream, prefers.name.clone())).or_default().learn(&prefers.preference);
        }
        Some(all)
    }

    /// What this hub knows itself.
    pub(super) fn known(&self) -> Vec<Prefers> {
        let own = self.own.iter().map(|(id, own)| (id, &own.preference));
        let aside = self.aside.iter().map(|(id, copy)| (id, &copy.preference));
        let all = own.chain(aside).filter(|(_, preference)| preference.number > 0);
        let prefers = |((stream, name), preference): (&Id, &Preference)| Prefers {
            stream: *stream,
            name: name.clone(),
            preference: preference.clone(),
        };
        all.map(prefers).collect()
    }

    /// The newest preference that is known here.
    #[must_use]
    pub fn preference(&self, id: &Id) -> Preference {
        let own = self.own.get(id).map(|own| &own.preference);
        let aside = self.aside.get(id).map(|copy| &copy.preference);
        own.into_iter().chain(aside).max().cloned().unwrap_or_default()
    }

    fn knows(&self, id: &Id) -> bool {
        self.own.contains_key(id) || self.aside.contains_key(id)
    }

    /// Somebody says where a consumer is to run.
    pub(super) fn learn(&mut self, id: &Id, preference: &Preference, host: &mut impl Host<Definition = D>) {
        if self.preference(id) >= *preference {
            return;
        }
        if let Some(own) = self.own.get_mut(id) {
            own.preference.clone_from(preference);
            host.prefer(id, preference);
        }
        if let Some(copy) = self.aside.get_mut(id) {
            copy.preference.clone_from(preference);
            host.keep(id, Some(copy));
        }
        (self.look, self.tell, self.hints_changed) = (true, true, true);
    }

    /// Another hub says all that it knows.
    pub(super) fn hear_preferences(
        &mut self,
        from: HubId,
        mut all: Vec<Prefers>,
        host: &mut impl Host<Definition = D>,
    ) {
        for prefers in &all {
            // What is said of one that was deleted may be of before that.
            let id = (prefers.stream, prefers.name.clone());
            if self.gone(&id) == 0 && self.preference(&id) < prefers.preference && self.knows(&id) {
                self.learn(&id, &prefers.preference, host);
            }
        }
        let before = self.hints.remove(&from).unwrap_or_default();
        let others: usize = self.hints.values().map(Vec::len).sum();
        all.truncate(self.settings.aside.saturating_sub(others));
        self.hints_changed |= before != all;
        if !all.is_empty() {
            self.hints.insert(from, all);
        }
    }

    /// Tells those who are to be told.
    pub(super) fn tell_preferences(&mut self, now: Mono, host: &mut impl Host<Definition = D>) {
        let all = std::mem::take(&mut self.tell);
        let mut to = std::mem::take(&mut self.tell_to);
        if !all && to.is_empty() {
            return;
        }
        let known = self.known();
        if all {
            to = self.peers.keys().copied().collect();
            // Nobody needs to hear of nothing, but that there is nothing any more.
            if std::mem::replace(&mut self.told_some, !known.is_empty()) || !known.is_empty() {
                self.told_at = now;
            } else {
                return;
            }
        } else if known.is_empty() {
            return;
        }
        self.told_some |= !known.is_empty();
        for hub in to {
            host.send(hub, Told::Prefer(known.clone()));
        }
    }
}
