//! `weft hub drain` and `weft hub undrain`: a running hub sends its clients
//! elsewhere and stops, or goes on after all; `weft hub reload`: it reads its
//! configuration again.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use weft_client::{Client, DrainReport, DrainState};

use crate::cli::{DrainArgs, HubCommand, ReloadArgs, UndrainArgs};
use crate::connect::connect_for;
use crate::{Usage, config};

/// Between two questions how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// For how long the hub is looked for once it does not answer: it has stopped, or it was lost.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn run(command: &HubCommand) -> anyhow::Result<()> {
    match command {
        HubCommand::Drain(args) => drain(args).await,
        HubCommand::Undrain(args) => undrain(args).await,
        HubCommand::Reload(args) => reload(args),
    }
}

fn reload(args: &ReloadArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config).map_err(|e| Usage(e.to_string()))?;
    let pid = Pid::from_raw(args.pid).ok_or_else(|| Usage(format!("{} is no process", args.pid)))?;
    kill_process(pid, Signal::HUP).with_context(|| format!("no hub of yours has the process {}", args.pid))?;
    writeln!(
        io::stdout(),
        "{} reads it again: `config_taken` and `config_waits` in its log say what of it",
        config.hub.name
    )?;
    Ok(())
}

async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let client = connect_for(&args.server, "weft hub drain", Some(PATIENCE)).await?;
    let hub = client.hub().map(|hub| hub.name).unwrap_or_default();
    let mut last = client.drain_hub(args.within.unwrap_or_default()).await?;
    if args.no_wait {
        writeln!(io::stdout(), "{hub} drains: {}", show(&last))?;
        client.close().await;
        return Ok(());
    }
    while last.state != DrainState::Stopping {
        eprintln!("{hub}: {}", show(&last));
        let Some(report) = later(&client, &last).await? else { break };
        if report.state == DrainState::Serving {
            anyhow::bail!("{hub} goes on: the drain was cancelled");
        }
        last = report;
    }
    // What is under way there is finished; then it says goodbye.
    while client.hub().is_some() {
        std::thread::sleep(LOOK);
    }
    writeln!(io::stdout(), "{hub} has stopped: {}", show(&last))?;
    Ok(())
}

/// How it stands once something has changed; nothing once the hub is gone.
async fn later(client: &Client, last: &DrainReport) -> anyhow::Result<Option<DrainReport>> {
    loop {
        std::thread::sleep(LOOK);
        match client.drain_report().await {
            Ok(report) => {
                let is_other = DrainReport { left_of_time: last.left_of_time, ..report.clone() } != *last;
                if is_other {
                    return Ok(Some(report));
                }
            }
            // Once it is about to stop it answers no more.
            Err(_) if last.state != DrainState::Serving => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn undrain(args: &UndrainArgs) -> anyhow::Result<()> {
    let client = connect_for(&args.server, "weft hub undrain", Some(PATIENCE)).await?;
    let hub = client.hub().map(|hub| hub.name).unwrap_or_default();
    let report = client.undrain_hub().await?;
    client.close().await;
    if report.state == DrainState::Serving {
        writeln!(io::stdout(), "{hub} goes on")?;
        return Ok(());
    }
    anyhow::bail!("{hub} is about to stop, it is too late: {}", show(&report))
}

fn show(report: &DrainReport) -> String {
    let DrainReport { clients, told, moved, left, consumers, streams, left_of_time, .. } = report;
    let time = left_of_time.as_secs();
    format!(
        "{moved} of {clients} clients moved, {told} told, {left} left; {consumers} consumers to move; \
         {streams} streams to copy; {time} s left"
    )
}
