//! `weft plan-capacity`: what a load makes each hub and link of a mesh carry, which
//! gives out first and at how many times the load, and what is different when a hub
//! dies. Measured service times come from `weft bench --out`, the mesh and its load
//! from a mesh file of `weft sim`; the ways are the decider's own.

mod load;
mod measured;
mod reckon;
mod show;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::Usage;
use crate::cli::CapacityArgs;
use crate::simulate;

/// Runs the command.
///
/// # Errors
/// A file cannot be read or has mistakes.
pub(crate) fn run(args: &CapacityArgs) -> anyhow::Result<()> {
    let mesh = simulate::read_mesh(&args.mesh).map_err(|e| Usage(e.to_string()))?;
    let measured = measured::read(&args.measured).map_err(Usage)?;
    let load = load::of(&mesh);
    let whole = reckon::whole(&mesh, &load, &measured);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", show::object(&whole, &measured))?;
    } else {
        show::human(&whole, &measured, &mut out)?;
    }
    out.flush()?;
    Ok(())
}
