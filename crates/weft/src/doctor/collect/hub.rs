//! Of a running hub: its counters and links, and what others answer it.

use std::time::Duration;

use weft_base::ByteCount;
use weft_client::{Client, MeshReport, Question};
use weft_mesh::{DOUBTED, SUSPECTED};

use super::Collected;
use crate::doctor::facts::{Line, Other, Running};

/// How long other hubs may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the client's hub, and by it the others.
///
/// # Errors
/// The hub does not answer.
pub(in crate::doctor) async fn ask(client: &Client, found: &mut Collected) -> anyhow::Result<()> {
    let report = client.mesh().await?;
    let said = client.ask_mesh(&Question::Ledger, PATIENCE).await.map_err(|e| e.to_string());
    let mut running = of_report(&report);
    for hub in found.know("the clocks of other hubs", said).unwrap_or_default() {
        if hub.hub != report.me {
            let give_or_take = hub.took / 2;
            running.others.push(Other { name: hub.name, answered: hub.answered, ahead_ns: hub.ahead_ns, give_or_take });
        }
    }
    found.facts.running = Some(running);
    Ok(())
}

fn of_report(report: &MeshReport) -> Running {
    let bad = report.links.iter().filter(|link| !link.up || link.cost >= SUSPECTED.min(DOUBTED));
    let bad_links = bad.map(|link| {
        let state = if link.up { "is suspected" } else { "is down" };
        format!("{} -> {} {state}", report.name_of(link.from), report.name_of(link.to))
    });
    let own = report.links.iter().filter(|link| link.from == report.me && link.up);
    let lines = own.filter_map(|link| {
        let peer = report.name_of(link.to);
        let window = report.counter(&format!("link.{peer}.window"))?;
        Some(Line { rtt: link.rtt?, window: ByteCount(window), peer })
    });
    Running {
        name: report.name_of(report.me),
        counters: report.counters.clone(),
        others: Vec::new(),
        bad_links: bad_links.collect(),
        lines: lines.collect(),
    }
}
