//! What ways are found by. All hubs of a mesh must have the same of it.

use weft_mesh::Weights;

/// The table `[routing]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// How much round trip, loss and price count in a link's cost.
    pub weights: Weights,
}

impl Routing {
    /// What must be the same at all hubs, each with the name of its key: two hubs
    /// that reckon differently send blocks in circles.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<(&'static str, String)> {
        let Weights { rtt, loss, price } = self.weights;
        vec![
            ("routing.rtt_weight", rtt.to_string()),
            ("routing.loss_weight", loss.to_string()),
            ("routing.price_weight", price.to_string()),
        ]
    }
}
