//! `weft mesh show`, and the way to the other questions to the mesh.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};
use weft_client::{LinkReport, MeshReport, Question};
use weft_mesh::{DOUBTED, DRAINING, SUSPECTED};

use super::see;
use crate::cli::MeshCommand;
use crate::connect::connect;
use crate::plan;

/// How long hubs may take to say their ledger.
const LEDGERS: Duration = Duration::from_secs(1);

pub(crate) async fn run(command: MeshCommand) -> anyhow::Result<()> {
    let (json, server) = match command {
        MeshCommand::Show { json, server } => (json, server),
        MeshCommand::Apply(args) => return plan::apply(&args).await,
        MeshCommand::Plan(args) => return plan::plan(&args.file, args.json, &args.server).await,
        MeshCommand::Where { event, ask } => return see::where_is(event, &ask).await,
        MeshCommand::Ledger { ask } => return see::ledger::run(&ask).await,
        MeshCommand::Topics(args) => return see::topics::run(&args).await,
        MeshCommand::WhyNot(args) => return super::why_not::run(&args).await,
        MeshCommand::Trace { topic, payload, dry, ask } => {
            return see::trace(&topic, payload.as_bytes(), dry, &ask).await;
        }
    };
    let client = connect(&server, "weft mesh show").await?;
    let report = client.mesh().await?;
    // A hub of an earlier version ends the session at this question: the rest is shown all the same.
    let ledgers = client.ask_mesh(&Question::Ledger, LEDGERS).await.unwrap_or_else(|error| {
        eprintln!("the hub does not tell the ledgers of all hubs: {error}");
        Vec::new()
    });
    let mut out = io::stdout().lock();
    if json {
        let mut object = object(&report);
        see::ledger::add_ledgers(&ledgers, &mut object);
        writeln!(out, "{object}")?;
    } else {
        human(&report, &mut out)?;
        see::ledger::ledgers(&ledgers, &mut out)?;
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

fn human(report: &MeshReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:<20} {:<14} {:>9} {:>4} {:>10} {:>8}", "HUB", "REGION", "REACHABLE", "HOPS", "RTT", "INTEREST")?;
    for hub in &report.hubs {
        let name = if hub.id == report.me { format!("{} *", hub.name) } else { hub.name.clone() };
        let reachable = match (hub.reachable, hub.draining) {
            (false, _) => "no",
            (true, true) => "draining",
            (true, false) => "yes",
        };
        let (hops, rtt) = (hub.hops, show_rtt(hub.rtt));
        writeln!(out, "{name:<20} {:<14} {reachable:>9} {hops:>4} {rtt:>10} {:>8}", hub.region, hub.interest)?;
    }
    writeln!(out, "\n{:<42} {:>10} {:>8} {:>8}  PICKED", "LINK", "RTT", "COST", "STATE")?;
    for link in &report.links {
        let ends = format!("{} -> {}", report.name_of(link.from), report.name_of(link.to));
        let (cost, suspect) = cost_of(report, link);
        let state = match (link.up, suspect) {
            (false, _) => "down",
            (true, true) => "suspect",
            (true, false) => "up",
        };
        let picked = if link.from == report.me { picked(report, &report.name_of(link.to)) } else { String::new() };
        let line = format!("{ends:<42} {:>10} {cost:>8} {state:>8}  {picked}", show_rtt(link.rtt));
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "\n{:<42} {:>14}", "COUNTER (of the hub marked *)", "VALUE")?;
    for (name, value) in report.counters.iter().filter(|(name, value)| *value > 0 && !name.starts_with(STAGE)) {
        writeln!(out, "{name:<42} {value:>14}")?;
    }
    stages(report, out)
}

/// Why there is a link to a neighbour of the hub that answers: by its own choice,
/// by the neighbour's, or both; nothing for one that it was told to keep.
fn picked(report: &MeshReport, peer: &str) -> String {
    let why = |end: &str| {
        let head = format!("link.{peer}.{end}.");
        report.counters.iter().find_map(|(name, value)| name.strip_prefix(&head).filter(|_| *value > 0))
    };
    let own = why("picked").map(str::to_owned);
    let other = why("picked_by_other").map(|why| format!("by {peer}: {why}"));
    own.into_iter().chain(other).collect::<Vec<String>>().join(", ")
}

/// What counters of stages begin with.
const STAGE: &str = "stage.";

/// The stages of the hub, a line each.
fn stages(report: &MeshReport, out: &mut impl Write) -> io::Result<()> {
    let of = |stage: &str, what: &str| {
        let name = format!("{STAGE}{stage}.{what}");
        report.counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    };
    let depths = report.counters.iter().filter_map(|(name, _)| name.strip_prefix(STAGE)?.strip_suffix(".depth"));
    let mut head = true;
    for stage in depths {
        if std::mem::take(&mut head) {
            let columns = ("STAGE (of the hub marked *)", "DEPTH", "WAIT", "BATCH", "BUSY", "SHARDS", "THREAD");
            let (stage, depth, wait, batch, busy, shards, thread) = columns;
            writeln!(out, "\n{stage:<28} {depth:>7} {wait:>10} {batch:>6} {busy:>7} {shards:>6} {thread:>7}")?;
        }
        let wait = format!("{} µs", of(stage, "wait_us"));
        let busy = format!("{:.1} %", of(stage, "busy_permille") as f64 / 10.0);
        let thread = if of(stage, "own_thread") > 0 { "own" } else { "shared" };
        let (depth, batch, shards) = (of(stage, "depth"), of(stage, "batch"), of(stage, "shards"));
        writeln!(out, "{stage:<28} {depth:>7} {wait:>10} {batch:>6} {busy:>7} {shards:>6} {thread:>7}")?;
    }
    Ok(())
}

/// What a link was configured to cost, and whether one of its ends suspects it.
fn cost_of(report: &MeshReport, link: &LinkReport) -> (u32, bool) {
    let told = link.cost;
    if let Some(raised) = [SUSPECTED, DOUBTED].into_iter().find(|raised| told >= *raised) {
        return (told - raised, true);
    }
    let drains = report.hubs.iter().any(|hub| hub.id == link.from && hub.draining);
    // A hub may drain whose record says it already, or still, when its links do not.
    (if drains { told.checked_sub(DRAINING).unwrap_or(told) } else { told }, false)
}

fn show_rtt(rtt: Option<Duration>) -> String {
    rtt.map_or_else(|| "-".to_owned(), |rtt| format!("{:.3} ms", rtt.as_secs_f64() * 1e3))
}

fn object(report: &MeshReport) -> Value {
    let rtt = |rtt: Option<Duration>| rtt.map_or(Value::Null, |rtt| (rtt.as_secs_f64() * 1e3).into());
    let hubs: Vec<Value> = report
        .hubs
        .iter()
        .map(|hub| {
            json!({
                "name": hub.name, "region": hub.region, "id": hub.id.to_string(), "epoch": hub.epoch.0,
                "reachable": hub.reachable, "draining": hub.draining, "hops": hub.hops, "rttMs": rtt(hub.rtt), "interest": hub.interest,
            })
        })
        .collect();
    let links: Vec<Value> = report
        .links
        .iter()
        .map(|link| {
            let (cost, suspect) = cost_of(report, link);
            json!({
                "from": report.name_of(link.from), "to": report.name_of(link.to),
                "rttMs": rtt(link.rtt), "cost": cost, "up": link.up, "suspect": suspect,
            })
        })
        .collect();
    let counters: Map<String, Value> =
        report.counters.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    json!({ "hub": report.name_of(report.me), "hubs": hubs, "links": links, "counters": counters })
}
