//! What ways are found by, and which events keep to which of them.

use weft_base::Way;
use weft_mesh::{Spreading, Weights};
use weft_topic::Filter;

/// The most rules of residency.
pub const MAX_RESIDENCY: usize = 1_024;

/// A row of `[[residency]]`: events of these topics that enter the mesh at this
/// hub may be only at hubs with a label. Not weakened by what a publisher says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidencyRule {
    /// The topics.
    pub filter: Filter,
    /// The label.
    pub label: String,
}

/// What is wrong with rules of residency.
pub(super) fn residency_violations(rules: &[ResidencyRule], found: &mut Vec<(&'static str, String)>) {
    if rules.len() > MAX_RESIDENCY {
        found.push(("residency", format!("{} rules are too many: at most {MAX_RESIDENCY}", rules.len())));
    }
    for (at, rule) in rules.iter().enumerate().take(MAX_RESIDENCY) {
        if !super::is_label(&rule.label) {
            found.push(("residency", format!("the label `{}` must be 1 to 64 of a-z, 0-9 and `-`", rule.label)));
        }
        let others = rules.iter().take(at).filter(|other| other.label != rule.label);
        if let Some(other) = others.clone().find(|other| other.filter.intersects(&rule.filter)) {
            found.push((
                "residency",
                format!(
                    "`{}` and `{}` have topics in common and bind them to two labels, `{}` and `{}`: an event has one",
                    other.filter, rule.filter, other.label, rule.label
                ),
            ));
        }
    }
}

/// The table `[routing]`. All hubs of a mesh must have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// How much round trip, loss and price count in a link's cost.
    pub weights: Weights,
    /// Over how many ways topics are spread, and what these may cost.
    pub spreading: Spreading,
}

impl Routing {
    /// What must be the same at all hubs, each with the name of its key: two hubs
    /// that reckon differently send blocks in circles.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<(&'static str, String)> {
        let Weights { rtt, loss, price } = self.weights;
        let Spreading { ways, within } = self.spreading;
        vec![
            ("routing.rtt_weight", rtt.to_string()),
            ("routing.loss_weight", loss.to_string()),
            ("routing.price_weight", price.to_string()),
            ("routing.ways", ways.to_string()),
            ("routing.ways_within_percent", within.to_string()),
        ]
    }

    /// What is wrong with it.
    pub(super) fn violations(&self, found: &mut Vec<(&'static str, String)>) {
        let Spreading { ways, within } = self.spreading;
        if !(1..=Way::MOST).contains(&ways) {
            let most = Way::MOST;
            found.push(("routing.ways", format!("{ways} ways cannot be found: 1, for no spreading, to {most}")));
        }
        if within > Spreading::MOST_WITHIN {
            let most = Spreading::MOST_WITHIN;
            let said = format!("a way may not cost {within} % more than the cheapest: {most} at most");
            found.push(("routing.ways_within_percent", said));
        }
    }
}
