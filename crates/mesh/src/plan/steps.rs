//! In which order changes are made: what is added before what is taken away, so
//! that hubs that reach each other before and after do so all the time; and
//! before a link goes, its ends make it so dear that nothing takes it.

use weft_base::HubId;

use super::{Change, PlanMesh};
use crate::link::MOST_COST;

/// What a step does of its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// All of it.
    Make,
    /// The link that is to go gets the highest cost, so that events that are
    /// under way have crossed it when it goes.
    Avoid,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The place of its change in the list.
    pub change: usize,
    /// What it does.
    pub act: Act,
}

impl PlanMesh {
    /// The steps in which these changes are made.
    #[must_use]
    pub fn steps(&self, changes: &[Change]) -> Vec<Step> {
        let of = |act: Act, is: fn(&Change) -> bool| {
            let these = changes.iter().enumerate().filter(move |(_, change)| is(change));
            these.map(move |(change, _)| Step { change, act })
        };
        let mut steps: Vec<Step> = of(Act::Make, |change| matches!(change, Change::Add { .. })).collect();
        steps.extend(of(Act::Make, |change| matches!(change, Change::Label { .. })));
        steps.extend(of(Act::Make, |change| matches!(change, Change::Weigh { .. })));
        steps.extend(of(Act::Avoid, |change| matches!(change, Change::Remove { .. })));
        steps.extend(of(Act::Make, |change| matches!(change, Change::Remove { .. })));
        // When the other ways are there.
        steps.extend(of(Act::Make, |change| matches!(change, Change::Drain { .. })));
        steps
    }

    /// Makes a step.
    pub fn make(&mut self, changes: &[Change], step: Step) {
        match (changes.get(step.change), step.act) {
            (Some(Change::Remove { between }), Act::Avoid) => {
                self.apply(&Change::Weigh { between: *between, cost: Some(MOST_COST), price: None });
            }
            (Some(change), _) => self.apply(change),
            (None, _) => {}
        }
    }

    /// The hubs that must do something for a change, in order: whoever dials a
    /// new link does so when the other end may no longer refuse it.
    #[must_use]
    pub fn concerned(change: &Change) -> Vec<HubId> {
        match change {
            Change::Add { between: [dials, other], .. } => vec![*other, *dials],
            Change::Remove { between } | Change::Weigh { between, .. } => between.to_vec(),
            Change::Label { hub, .. } | Change::Drain { hub } => vec![*hub],
        }
    }
}
