//! A whole mesh in one thread, from one seed, in virtual time.
//!
//! The hubs' deciders are the real ones of `weft-mesh`; the layer that moves
//! events between them ([`hub`]) uses routes, flows, the duplicate cut and the
//! ledger in the way a hub does, with values in the place of bytes. The network
//! delays, loses and cuts; hubs crash and come back; subscribers come and go.
//! [`checks`] hold what happens against what was promised. A run depends on its
//! seed alone: [`run`] with the same arguments does the same.
//!
//! Every checker has a [`Canary`]: a fault put in on purpose that the checker
//! must report, so that a checker that sees nothing is noticed.
//!
//! `cargo run --release -p weft-sim -- --seeds 1000` runs a thousand meshes.
#![forbid(unsafe_code)]

mod canary;
mod checks;
mod groups;
mod hub;
mod network;
mod plan;
mod producers;
pub mod scale;
pub mod streams;
mod world;

pub use canary::Canary;
pub use checks::{Check, Tally, Violation};
pub use plan::{Plan, Shape, What};

/// Runs the mesh of this seed to its end; answers what was checked.
///
/// # Errors
/// The first promise that was broken, with the plan that led there.
pub fn run(seed: u64, canary: Option<Canary>) -> Result<Tally, Box<Failure>> {
    let plan = Plan::of_seed(seed);
    world::World::new(&plan, canary).run().map_err(|violation| Box::new(Failure { plan, violation }))
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
