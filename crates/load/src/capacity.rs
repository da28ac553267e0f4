//! What a hub can carry, from what was measured of it: a pure reckoning.
//!
//! A stage takes so long for each event that comes to the hub and so long for each
//! copy that leaves it. Both are found by least squares from steps at rates that
//! held, where rates in and out are known and how busy the stage was. Stages that
//! take turns on one thread add up; a thread that would be busy more than all the
//! time gives out. Before that, waits grow as 1 / (1 - utilisation): M/M/1, random
//! arrivals and service (Kleinrock, Queueing Systems 1, 1975, section 3.2). Arrivals
//! in bursts wait longer, even ones shorter; what gives out does not depend on it.

use std::collections::BTreeMap;

/// What was seen of a stage at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Events a second that came to the hub.
    pub incoming: f64,
    /// Copies a second that left it.
    pub outgoing: f64,
    /// The share of the time that the stage worked: 1 is all of it.
    pub busy: f64,
}

/// What a stage takes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// For each event that comes.
    pub incoming: f64,
    /// For each copy that leaves.
    pub outgoing: f64,
}

impl Cost {
    /// The cost that fits points best, with neither part below 0. Where in and out
    /// were always in the same proportion they cannot be told apart: both count alike.
    #[must_use]
    pub fn fit(points: &[Point]) -> Self {
        let sum = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>();
        let (ii, oo, io) =
            (sum(|p| p.incoming * p.incoming), sum(|p| p.outgoing * p.outgoing), sum(|p| p.incoming * p.outgoing));
        let (ib, ob) = (sum(|p| p.incoming * p.busy), sum(|p| p.outgoing * p.busy));
        let whole = ii * oo - io * io;
        // In proportion to what it would be of independent rates.
        if whole > 1e-3 * ii * oo {
            let (incoming, outgoing) = ((ib * oo - ob * io) / whole, (ob * ii - ib * io) / whole);
            if incoming >= 0.0 && outgoing >= 0.0 {
                return Self { incoming, outgoing };
            }
            return if incoming < 0.0 {
                Self { incoming: 0.0, outgoing: if oo > 0.0 { ob / oo } else { 0.0 } }
            } else {
                Self { incoming: if ii > 0.0 { ib / ii } else { 0.0 }, outgoing: 0.0 }
            };
        }
        let both = ii + 2.0 * io + oo;
        let each = if both > 0.0 { ((ib + ob) / both).max(0.0) } else { 0.0 };
        Self { incoming: each, outgoing: each }
    }

    /// The share of the time that it takes at these rates.
    #[must_use]
    pub fn busy(&self, incoming: f64, outgoing: f64) -> f64 {
        self.incoming * incoming + self.outgoing * outgoing
    }
}

/// What one hub's stages take, by name; stages of one thread add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    stages: BTreeMap<String, (bool, Cost)>,
}

/// How busy one thread would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The stage, or of the thread that several share the one that takes most.
    pub stage: String,
    /// Others take turns with it.
    pub is_shared: bool,
    /// The share of the time: above 1 it gives out.
    pub busy: f64,
}

impl Service {
    /// A stage more, which has a thread of its own or takes turns with all others
    /// that have none.
    pub fn add(&mut self, stage: &str, own_thread: bool, cost: Cost) {
        self.stages.insert(stage.to_owned(), (own_thread, cost));
    }

    /// The stages with their costs.
    pub fn stages(&self) -> impl Iterator<Item = (&str, Cost)> {
        self.stages.iter().map(|(name, (_, cost))| (name.as_str(), *cost))
    }

    /// The thread that is busiest at these rates; none without stages.
    #[must_use]
    pub fn busiest(&self, incoming: f64, outgoing: f64) -> Option<Use> {
        let busy = |cost: &Cost| cost.busy(incoming, outgoing);
        let shared = self.stages.iter().filter(|(_, (own, _))| !own);
        let most = shared.clone().max_by(|(_, (_, a)), (_, (_, b))| busy(a).total_cmp(&busy(b)));
        let together: f64 = shared.map(|(_, (_, cost))| busy(cost)).sum();
        let shared = most.map(|(name, _)| Use { stage: name.clone(), is_shared: true, busy: together });
        let own = self.stages.iter().filter(|(_, (own, _))| *own);
        let own = own.map(|(name, (_, cost))| Use { stage: name.clone(), is_shared: false, busy: busy(cost) });
        shared.into_iter().chain(own).max_by(|a, b| a.busy.total_cmp(&b.busy))
    }
}

/// How many times longer something takes, waiting included, than with nothing else
/// there; none once it never ends.
#[must_use]
pub fn stretch(busy: f64) -> Option<f64> {
    (busy < 1.0).then(|| 1.0 / (1.0 - busy.max(0.0)))
}

/// How many times this load something carries before it gives out; none for no load.
#[must_use]
pub fn factor(busy: f64) -> Option<f64> {
    (busy > 0.0).then(|| 1.0 / busy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What points were made of is found again, whatever the rates were, when
        /// they were not always in one proportion.
        #[test]
        fn a_cost_is_found_again_from_what_it_makes(
            incoming in 0.0..1e-4_f64, outgoing in 0.0..1e-4_f64,
            rates in proptest::collection::vec((1.0..1e5_f64, 1.0..8.0_f64), 3..20),
        ) {
            let cost = Cost { incoming, outgoing };
            let mut points: Vec<Point> = rates.into_iter().map(|(rate, fan)| {
                Point { incoming: rate, outgoing: rate * fan, busy: cost.busy(rate, rate * fan) }
            }).collect();
            points.push(Point { incoming: 1e5, outgoing: 0.0, busy: cost.busy(1e5, 0.0) });
            points.push(Point { incoming: 0.0, outgoing: 1e5, busy: cost.busy(0.0, 1e5) });
            let found = Cost::fit(&points);
            prop_assert!((found.incoming - incoming).abs() <= 1e-9, "{found:?} of {cost:?}");
            prop_assert!((found.outgoing - outgoing).abs() <= 1e-9, "{found:?} of {cost:?}");
        }

        /// Whatever was measured, no part is below 0, and more load is never less busy.
        #[test]
        fn no_cost_is_below_nothing(
            points in proptest::collection::vec((0.0..1e6_f64, 0.0..1e6_f64, 0.0..1.0_f64), 0..20),
            rate in 0.0..1e6_f64,
        ) {
            let points: Vec<Point> = points.into_iter()
                .map(|(incoming, outgoing, busy)| Point { incoming, outgoing, busy }).collect();
            let cost = Cost::fit(&points);
            prop_assert!(cost.incoming >= 0.0 && cost.outgoing >= 0.0, "{cost:?}");
            prop_assert!(cost.busy(rate, 0.0) <= cost.busy(rate + 1.0, 1.0));
        }

        /// The factor is where the busiest thread is busy all the time.
        #[test]
        fn at_its_factor_a_hub_is_busy_all_the_time(rate in 1.0..1e5_f64, fan in 0.1..8.0_f64, ns in 1.0..1e5_f64) {
            let mut service = Service::default();
            service.add("route", false, Cost { incoming: ns * 1e-9, outgoing: 0.0 });
            service.add("net", false, Cost { incoming: ns * 1e-9, outgoing: ns * 2e-9 });
            service.add("sync", true, Cost { incoming: ns * 1e-10, outgoing: 0.0 });
            let busy = service.busiest(rate, rate * fan).expect("there are stages");
            let times = factor(busy.busy).expect("a load");
            let most = service.busiest(rate * times, rate * fan * times).expect("there are stages");
            prop_assert!((most.busy - 1.0).abs() < 1e-9, "{most:?}");
            prop_assert!(most.is_shared && most.stage == "net");
        }
    }

    #[test]
    fn rates_of_one_proportion_count_alike() {
        let points = [1e3, 2e3, 4e3].map(|rate| Point { incoming: rate, outgoing: rate, busy: rate * 2e-5 });
        let cost = Cost::fit(&points);
        assert!((cost.incoming - 1e-5).abs() < 1e-12 && (cost.outgoing - 1e-5).abs() < 1e-12, "{cost:?}");
        assert_eq!(Cost::fit(&[]), Cost::default());
    }

    #[test]
    fn waits_grow_until_they_never_end() {
        assert_eq!(stretch(0.0), Some(1.0));
        assert_eq!(stretch(0.5), Some(2.0));
        assert!(stretch(0.9).is_some_and(|times| (times - 10.0).abs() < 1e-9));
        assert_eq!((stretch(1.0), stretch(1.5), factor(0.0)), (None, None, None));
    }
}
