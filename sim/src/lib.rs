//! A whole mesh in one thread, from one seed, in virtual time.
//!
//! The hubs' deciders are the real ones of `weft-mesh`; the layer that moves
//! events between them (`hub.rs`) uses routes, flows, the duplicate cut and the
//! ledger in the way a hub does, with values in the place of bytes. The network
//! delays, loses and cuts; hubs crash and come back; subscribers come and go.
//! `checks.rs` holds what happens against what was promised. A run depends on its
//! seed alone: [`run`] with the same arguments does the same.
//!
//! Plans come from a seed alone, with a shape ([`Plan::of_shape`]), or from a mesh
//! and faults that somebody wrote down ([`Plan::of_files`]): `weft sim` reads the
//! files and hands over a [`topology::Topology`]. Nothing here knows of formats.
//!
//! Every checker has a [`Canary`]: a fault put in on purpose that the checker
//! must report, so that a checker that sees nothing is noticed. A new checker
//! takes three things: a [`Check`] with its [`Family`], for which reports count
//! it; the place where it looks, which is an effect of a simulated hub (`hub.rs`,
//! `world/mod.rs`), a step of time (`Due::LookBack`) or the mesh at rest
//! (`world/rest.rs`); and its canary.
//!
//! `cargo run --release -p weft-sim -- --seeds 1000` runs a thousand meshes.
#![forbid(unsafe_code)]

pub mod broken;
mod canary;
mod checks;
pub mod council;
mod expect;
mod failover;
mod groups;
mod histogram;
mod hub;
mod log;
mod network;
mod plan;
mod producers;
mod report;
mod residency;
mod said;
pub mod scale;
mod shapes;
pub mod streams;
pub mod topology;
mod world;

use std::time::Duration;

pub use canary::Canary;
pub use checks::{Check, Family, Tally, Violation};
pub use expect::Expect;
pub use failover::Failover;
pub use histogram::Histogram;
pub use plan::{Plan, PlannedHub, PlannedLink, PlannedProducer, Quality, What};
pub use report::{Failed, Report, Row};
pub use shapes::{MOST_HUBS, Shape, ShapeError, SizedShape};

/// What was checked and measured in a run that kept its promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How much was checked.
    pub tally: Tally,
    /// From a publish to its delivery to a live subscriber.
    pub latency: Histogram,
    /// Cuts of a mesh at rest with another path there.
    pub failovers: Vec<Failover>,
    /// Of such cuts, those that another fault or the mending overtook.
    pub abandoned: u64,
    /// Bytes of control that each hub sent.
    pub control: Vec<u64>,
    /// How long after the last fault links and paths changed for the last time.
    pub rested: Duration,
}

/// Runs a plan to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(plan: &Plan, canary: Option<Canary>) -> Result<Outcome, Violation> {
    world::World::new(plan, canary).run()
}

/// Runs the mesh of this seed to its end; answers what was checked.
///
/// # Errors
/// The first promise that was broken, with the plan that led there.
pub fn run_seed(seed: u64, canary: Option<Canary>) -> Result<Outcome, Box<Failure>> {
    let plan = Plan::of_seed(seed);
    run(&plan, canary).map_err(|violation| Box::new(Failure { plan, violation }))
}

/// A broken promise and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("seed {}: {violation}", plan.seed)]
pub struct Failure {
    /// What was to happen.
    pub plan: Plan,
    /// What was wrong.
    pub violation: Violation,
}
