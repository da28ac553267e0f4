//! Has names looked up, and links kept to the hubs that they lead to: what
//! [`Source`] wants becomes a place among the hubs that are dialled.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_base::{Clock, Mono};
use weft_ring::stage::StageWaker;
use weft_transport::dns::{Found, LookUpError, LookUps, Place, Sought};

use super::Conductor;
use super::changes::Wish;
use super::names::{Named, Source, Standing};
use crate::messages::Dial;
use crate::options::{HubOptions, Neighbour};

/// Where a hub without any link begins.
enum Seed {
    At(String),
    /// One of the hubs that a name leads to, by its place among the names.
    Named(usize),
}

/// A name, and what the hubs that it leads to are for.
struct Entry {
    /// As it is written.
    text: String,
    source: Source,
    /// How links to them are kept, and which row says so; none where they are only to
    /// begin with.
    neighbour: Option<(usize, Neighbour)>,
    /// Hubs beyond the limit, when they were last looked up.
    beyond: usize,
}

/// The names that the hub was told, and what they lead to.
pub(super) struct Names {
    look_ups: LookUps,
    entries: Vec<Entry>,
    seeds: Vec<Seed>,
    /// What was last begun with.
    begun: Option<(usize, Place)>,
    /// When it is next looked at which of them are wanted.
    look: Mono,
    asked: u64,
    failed: u64,
}

impl Names {
    /// `own`: where the hub says that it is dialled.
    pub(super) fn new(options: &HubOptions, own: &[String], clock: Arc<dyn Clock>, waker: StageWaker) -> Self {
        let mut entries = Vec::new();
        let mut entry = |text: &str, neighbour: Option<(usize, Neighbour)>| {
            let sought = Sought::of(text)?.ok()?;
            let (text, source) = (text.to_owned(), Source::new(sought, &options.dns, own));
            entries.push(Entry { text, source, neighbour, beyond: 0 });
            Some(entries.len() - 1)
        };
        for (row, neighbour) in options.neighbours.iter().enumerate() {
            entry(&neighbour.addr, Some((row, neighbour.clone())));
        }
        let seed = |text: &String| entry(text, None).map_or_else(|| Seed::At(text.clone()), Seed::Named);
        let seeds = options.seeds.iter().map(seed).collect();
        let look_ups = LookUps::new(options.dns.clone(), clock, move || waker.wake());
        Self { look_ups, entries, seeds, begun: None, look: Mono(0), asked: 0, failed: 0 }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Mono> {
        let kept = self.entries.iter().any(|entry| entry.neighbour.is_some()).then_some(self.look);
        self.entries.iter().filter_map(|entry| entry.source.next()).chain(kept).min()
    }

    /// How many there are to begin with.
    pub(super) fn seeds(&self) -> usize {
        self.seeds.len()
    }

    /// Where to begin, by one of the seeds.
    pub(super) fn seed(&mut self, at: usize) -> Option<Neighbour> {
        self.begun = None;
        match self.seeds.get(at)? {
            Seed::At(addr) => Some(Neighbour { addr: addr.clone(), ..Neighbour::default() }),
            Seed::Named(at) => {
                let place = self.entries.get_mut(*at)?.source.begin()?;
                self.begun = Some((*at, place.clone()));
                Some(Neighbour { addr: place.address, at: place.at, ..Neighbour::default() })
            }
        }
    }

    /// The names that lead to a hub that was dialled.
    fn of(&mut self, dial: Dial) -> Option<(&mut Entry, impl Fn(&Named) -> bool + use<>)> {
        let (at, place, kept) = match (dial, &self.begun) {
            (Dial::Named(index, _), _) => {
                let has = |entry: &Entry| entry.source.named.iter().any(|named| named.kept == Some(index));
                (self.entries.iter().position(has)?, None, Some(index))
            }
            (Dial::Any, Some((at, place))) => (*at, Some(place.clone()), None),
            _ => return None,
        };
        let is_it = move |named: &Named| match &place {
            Some(place) => named.place == *place,
            None => named.kept == kept,
        };
        Some((self.entries.get_mut(at)?, is_it))
    }

    /// A hub that a name leads to was not to be had.
    pub(super) fn dial_failed(&mut self, dial: Dial, now: Mono) {
        if let Some((entry, _)) = self.of(dial) {
            entry.source.look_again(now);
        }
    }

    /// None of those to begin with is known: their names are looked up soon.
    pub(super) fn nobody(&mut self, now: Mono) {
        self.entries.iter_mut().for_each(|entry| entry.source.look_again(now));
    }
}

impl Conductor {
    /// Looks up what is due, and has links kept as is wanted; answers how much was done.
    pub(super) fn tend_names(&mut self) -> usize {
        let now = self.now.mono;
        let answers = self.names.look_ups.take();
        let mut work = answers.len();
        for (key, answer) in answers {
            self.looked_up(key as usize, answer);
        }
        let names = &mut self.names;
        for (key, entry) in names.entries.iter_mut().enumerate() {
            if entry.source.is_due(now) {
                names.asked += 1;
                work += 1;
                names.look_ups.ask(key as u64, entry.source.sought.clone());
            }
        }
        if work > 0 || self.names.look <= now {
            self.settle_named();
        }
        work
    }

    fn looked_up(&mut self, key: usize, answer: Result<Found, LookUpError>) {
        let now = self.now.mono;
        let Some(Entry { text, source, neighbour, beyond }) = self.names.entries.get_mut(key) else { return };
        let name = text.as_str();
        match answer {
            Ok(found) => {
                let (hubs, left_out, was) = (found.places.len(), found.beyond, *beyond);
                *beyond = left_out;
                let is_new = source.found(found, now);
                if is_new {
                    tracing::info!(code = "dns_found", name, hubs, left_out, "a name leads to other hubs than before");
                }
                if left_out > 0 && was == 0 {
                    let most = self.options.dns.targets;
                    tracing::warn!(
                        code = "dns_beyond",
                        name,
                        left_out,
                        most,
                        "a name leads to more hubs than the limit (dns.targets)"
                    );
                }
                if is_new && neighbour.is_none() {
                    self.other.hurry(now);
                }
            }
            Err(error) => {
                self.names.failed += 1;
                let (reason, detail) = (error.name(), error.to_string());
                if source.failed(now) {
                    tracing::warn!(
                        code = "dns_failed",
                        name,
                        reason,
                        detail,
                        "a name of hubs cannot be looked up: those that are known stay"
                    );
                } else {
                    tracing::debug!(
                        code = "dns_failed",
                        name,
                        reason,
                        detail,
                        "a name of hubs still cannot be looked up"
                    );
                }
            }
        }
    }

    /// A hub that was dialled is this one.
    pub(super) fn dialled_own(&mut self, dial: Dial) {
        if let Some((entry, is_it)) = self.names.of(dial) {
            entry.source.own(is_it);
            tracing::debug!(code = "dns_own", name = entry.text, "a name leads to this hub, too");
        }
        self.settle_named();
        // A place that is not wanted any more has not failed.
        self.link_failed(dial);
    }

    /// How it stands with a hub that DNS named.
    fn standing(&self, named: &Named) -> Standing {
        let Some(index) = named.kept else { return Standing::New };
        if self.is_double(index) || self.neighbours.stands(index, self.now.mono) {
            return Standing::Linked;
        }
        if self.neighbours.circuit(index).1 > 0 { Standing::Failed } else { Standing::New }
    }

    /// Whether another link with the hub at this place makes its own needless: one
    /// that the hub was told to keep, one by another of the hub's addresses, or
    /// one that the other hub has dialled, of which that of the first of both stays.
    fn is_double(&self, index: usize) -> bool {
        self.changes.others(index).any(|(link, peer, dialled)| match dialled {
            Some(other) => other < index || !self.changes.is_named(other),
            None => self.picks.is_accepted(link) && weft_base::HubId::of_name(peer) < self.identity.id,
        })
    }

    /// Compares which hubs are wanted of those that are named with those that are
    /// kept, and makes the difference.
    pub(super) fn settle_named(&mut self) {
        self.names.look = self.now.mono + Source::LOOK;
        let mut entries = std::mem::take(&mut self.names.entries);
        let mut wishes: BTreeMap<usize, Wish> = BTreeMap::new();
        for Entry { source, neighbour, .. } in &mut entries {
            let Some((row, template)) = neighbour else { continue };
            let wanted = source.wanted(|named| self.standing(named));
            for (named, is_wanted) in source.named.iter_mut().zip(wanted) {
                let Place { address, at, .. } = &named.place;
                let found = || Neighbour { addr: address.clone(), at: at.clone(), ..template.clone() };
                if named.kept.is_none() && is_wanted {
                    named.kept = self.changes.keep(found(), *row, &mut self.neighbours);
                }
                let Some(index) = named.kept else { continue };
                self.changes.moved(index, found);
                let wish = match is_wanted {
                    true if self.is_double(index) => Wish::Double,
                    true => Wish::Link,
                    false => Wish::Not,
                };
                wishes.insert(index, wish);
            }
        }
        self.names.entries = entries;
        if self.changes.wish(&wishes) {
            self.reconcile();
        }
    }

    /// What there is to show of names.
    pub(super) fn named(&self) -> Vec<(String, u64)> {
        let Names { entries, asked, failed, .. } = &self.names;
        let mut values = vec![("dns.look_ups".to_owned(), *asked), ("dns.failed".to_owned(), *failed)];
        for Entry { text, source, neighbour, beyond } in entries {
            let linked = source.named.iter().filter(|named| self.standing(named) == Standing::Linked).count();
            values.push((format!("dns.{text}.hubs"), source.named.len() as u64));
            values.push((format!("dns.{text}.beyond"), *beyond as u64));
            values.push((format!("dns.{text}.failures"), source.failures.into()));
            values.extend(neighbour.as_ref().map(|_| (format!("dns.{text}.linked"), linked as u64)));
        }
        values
    }
}
