//! The last events: what is missing on a flow shows when something comes after it.
//!
//! So in the end each hub publishes in each lane, and on each way, what everybody
//! gets. These events must not be lost themselves, or nothing tells of them: each
//! hub's wait until those of the one before would have left the slowest link, where
//! events that wait too long in a queue are dropped.

use std::time::Duration;

use weft_base::Way;
use weft_mesh::Spreading;

use super::{BLOCK_BYTES, Checked, Due, ENTRY_BYTES, World};
use crate::Plan;
use crate::hub::Publish;
use crate::plan::LANES;
use crate::residency::residency_of;

/// The topics of the last events begin so, and of those that are bound to a label.
const LAST: &str = "last";
const LAST_BOUND: &str = "eu/last";
/// Bytes of the last events.
const LAST_SIZE: u64 = 100;

/// How long a block for all hubs takes to leave the slowest link.
fn pause(plan: &Plan) -> Duration {
    let hubs = plan.hubs.len() as u64;
    // On two paths each hub has a copy of its own besides.
    let second = if plan.two_paths { hubs * (LAST_SIZE + BLOCK_BYTES + ENTRY_BYTES) } else { 0 };
    let bytes = LAST_SIZE + BLOCK_BYTES + hubs * ENTRY_BYTES + second;
    plan.links.iter().flat_map(|link| link.quality).map(|quality| quality.time_of(bytes)).max().unwrap_or_default()
}

/// From the first of them to the last.
pub(super) fn span(plan: &Plan) -> Duration {
    pause(plan) * (topics().len() * LANES.len() * plan.hubs.len()) as u32
}

fn topics() -> Vec<String> {
    [LAST, LAST_BOUND].into_iter().flat_map(one_for_each_way).collect()
}

/// Topics below this one, of which each way has one.
fn one_for_each_way(below: &str) -> Vec<String> {
    let ways = Spreading::default().ways;
    let topic = |way| (0..).map(|n| format!("{below}/{n}")).find(|topic| Way::of_topic(topic, ways) == Way(way));
    (0..ways).filter_map(topic).collect()
}

impl World<'_> {
    /// One hub publishes one of them, of all hubs, then of all lanes, then of all topics.
    pub(super) fn publish_last(&mut self, number: usize) -> Checked {
        let hubs = self.plan.hubs.len().max(1);
        let (round, hub) = (number / hubs, number % hubs);
        let (topic, lane) = (round / LANES.len(), round % LANES.len());
        let topics = topics();
        let (Some(topic), Some(lane)) = (topics.get(topic), LANES.get(lane)) else { return Ok(()) };
        self.after(pause(self.plan), Due::LastPublish(number + 1));
        if !self.plan.may_be_at(hub, residency_of(topic)) {
            return Ok(());
        }
        self.publish(hub, Publish { topic, lane: *lane, events: 1, size: LAST_SIZE, produced: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Quality, What};

    /// Of seeds 3475 and 7228: there were eight times as many when there were more
    /// ways, and the queue of a slow link lost the only one of a flow.
    #[test]
    fn none_of_them_is_lost_in_the_queue_of_a_slow_link() {
        let mut plan = Plan::of_shape("ring:4".parse().expect("a shape"), 1);
        plan.producers.clear();
        plan.steps.retain(|(_, what)| matches!(what, What::Start { .. }));
        for link in &mut plan.links {
            let slow = Quality { delay: Duration::from_millis(5), bandwidth: 5_000, ..Quality::default() };
            link.quality = [slow; 2];
        }
        let outcome = crate::run(&plan, None).expect("all promises hold");
        assert_eq!(outcome.tally.overflowed, 0);
        assert!(outcome.tally.published >= 4 * 24, "{:?}", outcome.tally);
    }
}
