//! The arguments of `weft sim`.

use std::path::PathBuf;

use clap::Args;
use weft_sim::SizedShape;

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The mesh (TOML); `examples/sim/mesh.toml` documents it.
    #[arg(value_name = "MESH", required_unless_present_any = ["shape", "example"], conflicts_with_all = ["shape", "example"])]
    pub(crate) mesh: Option<PathBuf>,
    /// What goes wrong (TOML); `examples/sim/plan.toml` documents it.
    #[arg(long, value_name = "FILE", requires = "mesh")]
    pub(crate) faults: Option<PathBuf>,
    /// Instead of a mesh: a shape with a workload and faults by chance, such as
    /// `ring:8`; line, ring, double-ring, star, star-of-stars, full, leaf, merge
    /// or random.
    #[arg(long, value_name = "NAME[:HUBS]", conflicts_with = "example")]
    pub(crate) shape: Option<SizedShape>,
    /// How many runs, each with its own seed for what is left to chance.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) first: u64,
    /// Write the report to this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print what is to happen in each run.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Write a sample mesh and plan, mesh.toml and plan.toml, into this folder.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub(crate) example: Option<PathBuf>,
}
