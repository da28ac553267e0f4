//! The arguments of `weft plan-capacity`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CapacityArgs {
    /// The mesh and its load: hubs, links, publishers, subscribers, groups and streams,
    /// as `weft sim` takes them (`examples/sim/mesh.toml`).
    #[arg(value_name = "MESH")]
    pub(crate) mesh: PathBuf,
    /// What a hub was measured to take, by `weft bench --find-limit --out FILE`; with
    /// several --shape what comes and what leaves are told apart.
    #[arg(long, value_name = "FILE")]
    pub(crate) measured: PathBuf,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
