//! A tour of what the dashboard shows when things go wrong, each for some seconds: a
//! hub is killed, a link is cut, a lane is flooded, payloads break a schema.
//!
//! Each step says what is done and where to look. It ends by itself or by a signal, and
//! fails only where a step cannot be done. `web/test/tour.test.js` sees that the page
//! shows each.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_lite::future::block_on;
use weft_base::Lane;
use weft_client::{AckLevel, PublishError, PublisherOptions};

use super::flights::HUBS;
use super::hubs::{CLIENT, Hubs, MIDDLE};

/// The pause between two steps.
const PAUSE: Duration = Duration::from_secs(4);
/// How often it is looked whether the tour is to end.
const LOOK: Duration = Duration::from_millis(50);
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

/// How long a step lasts.
pub(super) struct Pace {
    step: Duration,
    /// A message for each time that Enter is pressed; none: steps last as long as they do.
    hand: Option<Receiver<()>>,
    /// The program is told to end.
    stop: Arc<AtomicBool>,
}

/// When a step ends.
enum End {
    At(Instant),
    ByHand,
}

impl Pace {
    /// Steps of so many seconds, or until Enter is pressed.
    pub(super) fn new(seconds: u64, by_hand: bool) -> anyhow::Result<Self> {
        let hand = by_hand.then(|| {
            let (send, pressed) = sync_channel(1);
            // Ends with the program, or with what it reads.
            thread::spawn(move || {
                for line in std::io::stdin().lines() {
                    if line.is_err() || send.send(()).is_err() {
                        return;
                    }
                }
            });
            pressed
        });
        Ok(Self { step: Duration::from_secs(seconds), hand, stop: super::signals()? })
    }

    /// When what begins now ends; `time`: where it is not by hand.
    fn end(&self, time: Duration) -> End {
        if self.hand.is_some() { End::ByHand } else { End::At(Instant::now() + time) }
    }

    /// Whether it is over. At a signal, or where nobody can press Enter any more, that is an error.
    fn is_over(&self, end: &End) -> anyhow::Result<bool> {
        ensure!(!self.stop.load(Ordering::Relaxed), "the tour was ended by a signal");
        match (end, &self.hand) {
            (End::At(at), _) => Ok(Instant::now() >= *at),
            (End::ByHand, None) => Ok(true),
            (End::ByHand, Some(hand)) => match hand.try_recv() {
                Ok(()) => Ok(true),
                Err(TryRecvError::Empty) => Ok(false),
                Err(TryRecvError::Disconnected) => bail!("the tour was ended: nobody presses Enter any more"),
            },
        }
    }

    fn wait(&self, time: Duration) -> anyhow::Result<()> {
        let end = self.end(time);
        while !self.is_over(&end)? {
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

pub(super) fn run(hubs: &mut Hubs, folder: &Path, pace: Pace) -> anyhow::Result<()> {
    let step = pace.step;
    println!("\nThe tour. Open {} and watch the map.", hubs.dashboard(0));
    say("All is well", "Map: the flights; Alerts: nothing is wrong");
    pace.wait(step)?;

    say(
        "Chicago is killed",
        "Map: it is a square, its links are broken lines; Alerts: no path leads to chicago; Ledger: drops, no_path",
    );
    hubs.kill(MIDDLE)?;
    pace.wait(step)?;
    hubs.start_one(MIDDLE)?;
    say("Chicago is back", "Map: the flights go on; Hub chicago: another life");
    pace.wait(PAUSE)?;

    say(
        "The link between New York and Chicago is cut",
        "Map: a broken line; Alerts: the link is down. Where the hubs have made another link by themselves, flights take it",
    );
    hubs.cut(true);
    pace.wait(step)?;
    hubs.cut(false);
    say("The link is mended", "Alerts: they go one by one");
    pace.wait(PAUSE)?;

    say(
        "Lane 7, for bulk, is flooded from New York",
        "Link new-york → chicago: lane 7; the flights in lanes 0 and 4 go on",
    );
    flood(hubs, &pace)?;
    say("The flood is over", "Over time: the peak");
    pace.wait(PAUSE)?;

    say(
        "Orders that break their schema are published",
        "Hub new-york: its counter schema.rejected; Schemas: tour-orders",
    );
    break_schema(hubs, folder, &pace)?;
    println!("\nThat was the tour.");
    Ok(())
}

fn say(what: &str, look: &str) {
    println!("\n* {what}.\n  {look}.");
}

/// Publishes in the lane for bulk as fast as it is taken.
fn flood(hubs: &Hubs, pace: &Pace) -> anyhow::Result<()> {
    let client = block_on(hubs.connect(0, "tour flood"))?;
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed).lane(Lane::BULK));
    let end = pace.end(pace.step);
    let (mut refused, mut why) = (0_u32, None::<PublishError>);
    while !pace.is_over(&end)? {
        let mut last = None;
        for _ in 0..FLOOD {
            // Arrivals, which Los Angeles takes.
            last = Some(block_on(publisher.publish("flights/arrived/tour", &[b'x'; 256]))?);
        }
        if let Some(Err(error)) = last.map(block_on) {
            refused += 1;
            why = Some(error);
        }
    }
    block_on(client.close());
    if let Some(why) = why {
        println!("  {refused} times it was too much: {why}");
    }
    Ok(())
}

/// Has a topic get a schema, and publishes what does not fit.
fn break_schema(hubs: &Hubs, folder: &Path, pace: &Pace) -> anyhow::Result<()> {
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
    let end = pace.end(pace.step);
    let (mut refused, mut why) = (0_u32, None::<PublishError>);
    while !pace.is_over(&end)? {
        for payload in [&br#"{"id":7}"#[..], br#"{"id":"seven"}"#] {
            let answered = block_on(async { publisher.publish(TOPIC, payload).await?.await });
            if let Err(error) = answered {
                refused += 1;
                why = Some(error);
            }
        }
        thread::sleep(LOOK);
    }
    block_on(client.close());
    let why = why.context("what breaks the schema was taken")?;
    println!("  {refused} were refused: {why}");
    Ok(())
}
