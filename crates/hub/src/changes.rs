//! What an operator has changed of a running hub, over its configuration: first
//! on trial, and put back unless it is confirmed in time, as network gear does
//! ("commit confirmed"); then kept, through restarts too, in `DATA/changes.json`.
//!
//! A pure decider: what holds at any time is the configuration with the changes
//! that are there over it, in their order, so that putting one back is leaving
//! it out. One trial at a time: a second operator waits or is refused.

mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_base::Mono;
use weft_mesh::{MAX_LABELS, MOST_COST};
use weft_wire::frame::{self, AS_IT_IS, ChangeWhat, ErrorCode};

pub(crate) use self::file::ChangesFile;
pub use self::file::{drop_changes, read_changes};
use crate::options::is_label;

/// Changes that a hub has at a time.
pub const MAX_CHANGES: usize = 256;
/// The longest address: a host's name and what stands around it.
const MOST_ADDRESS: usize = 300;
/// The longest trial.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(3_600);

/// What is otherwise than the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HubChange {
    /// There may be a link with a hub; with an address, this hub dials it.
    Link {
        /// The hub's name.
        peer: String,
        /// Where it listens for hubs, when this hub is to dial.
        addr: Option<String>,
        /// As in `[[neighbours]]`.
        cost: u32,
        /// As in `[[neighbours]]`.
        price: u32,
    },
    /// There is no link with a hub, whoever dials.
    Unlink {
        /// The hub's name.
        peer: String,
    },
    /// Links with a hub cost something else.
    Weigh {
        /// The hub's name.
        peer: String,
        /// None: as it is.
        cost: Option<u32>,
        /// None: as it is.
        price: Option<u32>,
    },
    /// The hub's labels.
    Labels {
        /// All of them.
        labels: Vec<String>,
    },
}

impl HubChange {
    /// What a client asks for.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn of(asked: &frame::Change<'_>) -> Result<Self, String> {
        let peer = asked.peer.to_owned();
        let known = |value: u32| (value != AS_IT_IS).then_some(value);
        let change = match asked.what {
            ChangeWhat::Link => {
                let addr = (!asked.addr.is_empty()).then(|| asked.addr.to_owned());
                let (cost, price) = (known(asked.cost).unwrap_or(0), known(asked.price).unwrap_or(0));
                Self::Link { peer, addr, cost, price }
            }
            ChangeWhat::Unlink => Self::Unlink { peer },
            ChangeWhat::Weigh => Self::Weigh { peer, cost: known(asked.cost), price: known(asked.price) },
            ChangeWhat::Labels => Self::Labels { labels: asked.labels.iter().map(|&label| label.to_owned()).collect() },
        };
        change.check().map(|()| change)
    }

    /// Holds it to what a configuration may say.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Link { peer, .. } | Self::Unlink { peer } | Self::Weigh { peer, .. } if !is_label(peer) => {
                return Err(format!("`{peer}` is no hub's name: use 1 to 64 of a-z, 0-9 and -"));
            }
            _ => {}
        }
        let (cost, price) = match self {
            Self::Link { cost, price, .. } => (Some(*cost), Some(*price)),
            Self::Weigh { cost, price, .. } => (*cost, *price),
            _ => (None, None),
        };
        if let Some(cost) = cost.filter(|cost| *cost > MOST_COST) {
            return Err(format!("a cost of {cost} µs is too high: at most {MOST_COST}"));
        }
        if price == Some(AS_IT_IS) {
            return Err(format!("a price of {AS_IT_IS} is too high: take a smaller number"));
        }
        match self {
            Self::Labels { labels } if labels.len() > MAX_LABELS => {
                Err(format!("{} labels are too many: at most {MAX_LABELS}", labels.len()))
            }
            Self::Labels { labels } => match labels.iter().find(|label| !is_label(label)) {
                Some(label) => Err(format!("`{label}` is no label: use 1 to 64 of a-z, 0-9 and -")),
                None => Ok(()),
            },
            Self::Link { addr: Some(addr), .. } if !addr.contains(':') || addr.len() > MOST_ADDRESS => {
                Err(format!("`{addr}` is no address: write HOST:PORT, {MOST_ADDRESS} bytes at most"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for HubChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { peer, addr: Some(addr), cost, price } => {
                write!(f, "dials {peer} at {addr} (cost {cost}, price {price})")
            }
            Self::Link { peer, addr: None, cost, price } => {
                write!(f, "takes links of {peer} (cost {cost}, price {price})")
            }
            Self::Unlink { peer } => write!(f, "has no link with {peer}"),
            Self::Weigh { peer, cost, price } => {
                write!(f, "links with {peer}:")?;
                cost.map_or(Ok(()), |cost| write!(f, " cost {cost}"))?;
                price.map_or(Ok(()), |price| write!(f, " price {price}"))
            }
            Self::Labels { labels } => write!(f, "labels: {}", labels.join(", ")),
        }
    }
}

/// A change, where it comes from, and in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The trial that it was part of.
    pub trial: u64,
    /// Its number there.
    pub step: u32,
    /// The name in the certificate of who made it.
    pub by: String,
    /// What.
    pub change: HubChange,
}

/// What is to hold, where the configuration says otherwise or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overlaid {
    /// Hubs to dial: the address.
    pub(crate) dialled: BTreeMap<String, String>,
    /// Hubs with which there is no link.
    pub(crate) unlinked: BTreeSet<String>,
    /// Cost and price of links with hubs.
    pub(crate) weights: BTreeMap<String, (Option<u32>, Option<u32>)>,
    pub(crate) labels: Option<Vec<String>>,
}

struct OnTrial {
    id: u64,
    by: String,
    until: Mono,
    entries: Vec<Entry>,
}

/// The changes of a hub.
#[derive(Default)]
pub(crate) struct Overlay {
    kept: Vec<Entry>,
    trial: Option<OnTrial>,
}

/// Why something cannot be done with changes.
pub(crate) type Refusal = (ErrorCode, String);

impl Overlay {
    pub(crate) fn new(kept: Vec<Entry>) -> Self {
        Self { kept, trial: None }
    }

    /// A change more, on trial for so long from now on.
    pub(crate) fn change(&mut self, entry: Entry, time: Duration, now: Mono) -> Result<(), Refusal> {
        if entry.trial == 0 || entry.step == 0 {
            let detail = "a trial and its steps have numbers from 1: use another client".to_owned();
            return Err((ErrorCode::BAD_CHANGE, detail));
        }
        let count = self.kept.len() + self.trial.as_ref().map_or(0, |trial| trial.entries.len());
        if count >= MAX_CHANGES {
            let detail = format!(
                "the hub has {count} changes, the most that there may be: write them into hub.toml and drop them \
                 (`weft hub --drop-changes`)"
            );
            return Err((ErrorCode::BAD_CHANGE, detail));
        }
        if let Some(trial) = self.trial.as_ref().filter(|trial| trial.id != entry.trial) {
            let left = trial.until.since(now).as_secs() + 1;
            let detail = format!("{} has changes on trial at this hub: try again in {left} s", trial.by);
            return Err((ErrorCode::TRIAL, detail));
        }
        let fresh = || OnTrial { id: entry.trial, by: entry.by.clone(), until: now, entries: Vec::new() };
        let trial = self.trial.get_or_insert_with(fresh);
        trial.until = now + time.clamp(Duration::from_secs(1), LONGEST_TRIAL);
        trial.entries.push(entry);
        Ok(())
    }

    /// The trial goes on for so long from now on.
    pub(crate) fn stay(&mut self, id: u64, time: Duration, now: Mono) -> Result<(), Refusal> {
        let trial = self.on_trial(id)?;
        trial.until = now + time.clamp(Duration::from_secs(1), LONGEST_TRIAL);
        Ok(())
    }

    /// What is on trial is kept from now on.
    pub(crate) fn confirm(&mut self, id: u64) -> Result<(), Refusal> {
        self.on_trial(id)?;
        let trial = self.trial.take();
        // Only what was kept before: this trial may still be put back, step by step.
        forget_superseded(&mut self.kept);
        self.kept.extend(trial.into_iter().flat_map(|trial| trial.entries));
        Ok(())
    }

    fn on_trial(&mut self, id: u64) -> Result<&mut OnTrial, Refusal> {
        self.trial.as_mut().filter(|trial| trial.id == id).ok_or_else(|| {
            let detail = "the hub has no such trial: it was put back, its time was up, or the hub was started anew";
            (ErrorCode::TRIAL, detail.to_owned())
        })
    }

    /// Leaves changes out: one of a trial, all of it (step 0), or all that are
    /// kept (trial 0). Answers how many, and whether kept ones are among them.
    pub(crate) fn undo(&mut self, id: u64, step: u32) -> (usize, bool) {
        let is_meant = |entry: &Entry| (id == 0 || entry.trial == id) && (step == 0 || entry.step == step);
        let before = self.kept.len();
        self.kept.retain(|entry| !is_meant(entry));
        let kept = before - self.kept.len();
        let mut gone = kept;
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.id == id) {
            let before = trial.entries.len();
            trial.entries.retain(|entry| !is_meant(entry));
            gone += before - trial.entries.len();
        }
        // A trial that nothing is left of is over.
        self.trial.take_if(|trial| trial.entries.is_empty());
        (gone, kept > 0)
    }

    /// When the trial is over unless it is confirmed.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.trial.as_ref().map(|trial| trial.until)
    }

    /// Puts back what was not confirmed in time; answers who made it and what it was.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<(String, usize)> {
        let over = self.trial.take_if(|trial| trial.until <= now)?;
        Some((over.by, over.entries.len()))
    }

    pub(crate) fn kept(&self) -> &[Entry] {
        &self.kept
    }

    /// All changes in their order, and whether each is kept.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Entry, bool)> {
        let trial = self.trial.iter().flat_map(|trial| &trial.entries).map(|entry| (entry, false));
        self.kept.iter().map(|entry| (entry, true)).chain(trial)
    }

    /// What holds over the configuration.
    pub(crate) fn overlaid(&self) -> Overlaid {
        let mut over = Overlaid::default();
        for (entry, _) in self.entries() {
            match &entry.change {
                HubChange::Link { peer, addr, cost, price } => {
                    over.unlinked.remove(peer);
                    over.weights.insert(peer.clone(), (Some(*cost), Some(*price)));
                    if let Some(addr) = addr {
                        over.dialled.insert(peer.clone(), addr.clone());
                    }
                }
                HubChange::Unlink { peer } => {
                    over.dialled.remove(peer);
                    over.weights.remove(peer);
                    over.unlinked.insert(peer.clone());
                }
                HubChange::Weigh { peer, cost, price } => {
                    let known = over.weights.entry(peer.clone()).or_default();
                    *known = (cost.or(known.0), price.or(known.1));
                }
                HubChange::Labels { labels } => over.labels = Some(labels.clone()),
            }
        }
        over
    }
}

/// Leaves out what later changes made of no effect.
fn forget_superseded(kept: &mut Vec<Entry>) {
    let (mut decided, mut weighed, mut has_labels) = (BTreeSet::new(), BTreeSet::new(), false);
    let mut left: Vec<Entry> = Vec::new();
    for entry in std::mem::take(kept).into_iter().rev() {
        let counts = match &entry.change {
            HubChange::Labels { .. } => !std::mem::replace(&mut has_labels, true),
            HubChange::Link { peer, .. } | HubChange::Unlink { peer } | HubChange::Weigh { peer, .. }
                if decided.contains(peer) =>
            {
                false
            }
            HubChange::Weigh { peer, cost: Some(_), price: Some(_) } => weighed.insert(peer.clone()),
            HubChange::Weigh { peer, .. } => !weighed.contains(peer),
            // Who no longer dials by this still does by an earlier one.
            HubChange::Link { addr: None, .. } => true,
            HubChange::Link { peer, .. } | HubChange::Unlink { peer } => decided.insert(peer.clone()),
        };
        left.extend(counts.then_some(entry));
    }
    left.reverse();
    *kept = left;
}
