//! A tour of what the dashboard shows when things go wrong, each for some seconds: a
//! hub is killed, a link is cut, a lane is flooded, payloads break a schema.
//!
//! Each step says what is done and where to look. It ends by itself, and fails only
//! where a step cannot be done.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_lite::future::block_on;
use weft_base::Lane;
use weft_client::{AckLevel, PublishError, PublisherOptions};

use super::flights::HUBS;
use super::hubs::{CLIENT, Hubs, MIDDLE};

/// How long a step lasts, and the pause between two.
const STEP: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(4);
/// Events that a flood publishes at a time.
const FLOOD: usize = 200;
/// The topic whose schema is broken.
const TOPIC: &str = "tour/orders/1";
/// A schema, the topics that it is for, and that what does not fit is refused.
const SCHEMA: &str = r#"[[schema]]
name = "1"
format = "JSON"
text = '{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}'
fingerprint = "571097d345176cd64a65e3aabe9c6b04d5bd7ed54e9e609a3f8465b76c015110"

[[subject]]
name = "tour-orders"
topics = ["tour/orders/**"]
check = "reject"
[subject.versions.1]
id = 1
"#;

pub(super) fn run(hubs: &mut Hubs, folder: &Path) -> anyhow::Result<()> {
    println!("\nThe tour. Open {} and watch the map.", hubs.dashboard(0));
    say("All is well", "Map: the flights; Alerts: nothing is wrong");
    wait(STEP);

    say("Chicago is killed", "Map: it is a square, its links are broken lines; Alerts: no path leads to chicago");
    hubs.kill(MIDDLE)?;
    wait(STEP);
    hubs.start_one(MIDDLE)?;
    say("Chicago is back", "Map: the flights go on; Hub chicago: another life");
    wait(PAUSE);

    say(
        "The link between New York and Chicago is cut",
        "Alerts: the link is down, new-york has no path; Ledger: drops",
    );
    hubs.cut(true);
    wait(STEP);
    hubs.cut(false);
    say("The link is mended", "Alerts: they go one by one");
    wait(PAUSE);

    say(
        "Lane 7, for bulk, is flooded from New York",
        "Link new-york → chicago: lane 7; the flights in lanes 0 and 4 go on",
    );
    flood(hubs)?;
    say("The flood is over", "Over time: the peak");
    wait(PAUSE);

    say(
        "Orders that break their schema are published",
        "Hub new-york: its counter schema.rejected; Schemas: tour-orders",
    );
    break_schema(hubs, folder)?;
    println!("\nThat was the tour.");
    Ok(())
}

fn say(what: &str, look: &str) {
    println!("\n* {what}.\n  {look}.");
}

fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Publishes in the lane for bulk as fast as it is taken.
fn flood(hubs: &Hubs) -> anyhow::Result<()> {
    let client = block_on(hubs.connect(0, "tour flood"))?;
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed).lane(Lane::BULK));
    let until = Instant::now() + STEP;
    while Instant::now() < until {
        let mut last = None;
        for _ in 0..FLOOD {
            // Arrivals, which Los Angeles takes.
            last = Some(block_on(publisher.publish("flights/arrived/tour", &[b'x'; 256]))?);
        }
        if let Some(last) = last {
            block_on(last)?;
        }
    }
    block_on(client.close());
    Ok(())
}

/// Has a topic get a schema, and publishes what does not fit.
fn break_schema(hubs: &Hubs, folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("tour.toml");
    fs::write(&file, SCHEMA)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let tls = hubs.tls();
    let applied = Command::new(program)
        .arg("apply")
        .arg(&file)
        .args(["-s", hubs.address(MIDDLE), "--hub", HUBS[MIDDLE].name])
        .arg("--tls-cert")
        .arg(tls.join(format!("{CLIENT}.pem")))
        .arg("--tls-key")
        .arg(tls.join(format!("{CLIENT}.key")))
        .arg("--tls-ca")
        .arg(tls.join("ca.pem"))
        .output()
        .context("cannot start weft apply")?;
    ensure!(applied.status.success(), "weft apply: {}", String::from_utf8_lossy(&applied.stderr));
    let client = block_on(hubs.connect(0, "tour orders"))?;
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
    let until = Instant::now() + STEP;
    let (mut refused, mut why) = (0_u32, None::<PublishError>);
    while Instant::now() < until {
        for payload in [&br#"{"id":7}"#[..], br#"{"id":"seven"}"#] {
            let answered = block_on(async { publisher.publish(TOPIC, payload).await?.await });
            if let Err(error) = answered {
                refused += 1;
                why = Some(error);
            }
        }
        wait(Duration::from_millis(50));
    }
    block_on(client.close());
    let why = why.context("what breaks the schema was taken")?;
    println!("  {refused} were refused: {why}");
    Ok(())
}
