//! `weft mesh plan`: what would come of changes of a running mesh, before any of
//! them is made. Reads the plan, asks one hub for the mesh, has `weft-mesh`
//! reckon, and shows. `weft mesh apply` makes them.

mod apply;
mod file;
mod health;
mod live;
mod rules;
mod show;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

use crate::Usage;
use crate::cli::ServerArgs;
use crate::config;
use crate::connect::connect;

pub(crate) use self::apply::apply;
use self::file::Plan;
use self::live::Live;

/// Shows what a plan would do.
pub(crate) async fn plan(file: &Path, json: bool, server: &ServerArgs) -> anyhow::Result<()> {
    let client = connect(server, "weft mesh plan").await?;
    let live = Live::of(&client).await?;
    let plan = read(file, &live)?;
    let rates = live::rates(&client).await?;
    client.close().await;
    let foretold = show::Foretold { live: &live, plan: &plan, rates: &rates };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", foretold.object())?;
    } else {
        foretold.human(&mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// Reads a plan for this mesh; what is wrong with it is a mistake of the arguments.
fn read(file: &Path, live: &Live) -> anyhow::Result<Plan> {
    let read = config::load_with("plan", file, |text| file::parse(text, live));
    Ok(read.map_err(|error| Usage(error.to_string()))?)
}
