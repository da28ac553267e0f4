//! Events that may be only at hubs with a label: which they are in a run, and
//! who carries it.

use weft_base::{Lane, Mono, Random, Residency};

use crate::plan::{LANES, Plan, What, ms};

/// The label.
pub(crate) const LABEL: &str = "eu";
/// The topics of events that are bound to it begin so.
const PREFIX: &str = "eu/";
/// In which version of the protocol hubs say what they carry.
const WITH_LABELS: u16 = 2;

/// Where events of a topic may be.
pub(crate) fn residency_of(topic: &str) -> Residency {
    if topic.starts_with(PREFIX) { Residency::of(&[LABEL]) } else { Residency::ANYWHERE }
}

impl Plan {
    /// Whether events of this residency may be at a hub.
    pub(crate) fn may_be_at(&self, hub: usize, residency: Residency) -> bool {
        let carries = || self.hubs.get(hub).is_some_and(|hub| hub.labels.iter().any(|label| label == LABEL));
        !residency.is_bound() || carries()
    }

    /// Gives some hubs the label, and lets their clients publish what is bound to it.
    pub(crate) fn add_bound(&mut self, random: &mut Random) {
        for hub in self.hubs.iter_mut().filter(|hub| hub.version >= WITH_LABELS) {
            if random.chance(650) {
                hub.labels.push(LABEL.to_owned());
            }
        }
        let carriers: Vec<usize> =
            (0..self.hubs.len()).filter(|hub| self.may_be_at(*hub, Residency::of(&[LABEL]))).collect();
        let mut at = Mono::default() + ms(1_500);
        while at < self.healed {
            at = at + ms(1 + random.below(300));
            let Some(hub) = random.pick(&carriers).copied() else { return };
            let lane = *random.pick(&LANES).unwrap_or(&Lane::DEFAULT);
            let topic = format!("{PREFIX}{}", random.pick(&["a", "b"]).unwrap_or(&"a"));
            self.add(at, What::Publish { hub, topic, lane, events: 1 + random.below(3), size: 200 });
        }
    }
}
