//! `weft demo`: the main job, for real, in half a minute.
//!
//! Three hubs in a line, New York to Chicago to Los Angeles, linked by mutual
//! TLS; three days of flights; subscribers at each hub; a stream at Chicago
//! that captures every departure; Chicago killed midway and brought back; a
//! late subscriber that replays the stream. Then the accounts: whoever
//! subscribed got all that was published, in order and once, but for what the
//! outage cut off; the stream has every acknowledged departure; every ledger
//! is in balance. Exit code 1 if anything of that does not hold.

mod check;
mod flights;
mod hubs;
mod line;
mod progress;
mod report;
mod stay;
mod tour;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_lite::future::block_on;
use weft_client::{Client, MeshReport, StartAt, StreamOptions, SubscribeOptions};
use weft_topic::{Aggregate, Filter};

use self::check::{Event, HubLedger, Moment, Outage, Reader, Run, Subscriber, judge};
use self::flights::{HUBS, HubIndex, Kind};
use self::hubs::{Hubs, MIDDLE};
use self::progress::Progress;
use self::traffic::{Book, Notes, Pace, Publishing, collect, replay};
use crate::cli::DemoArgs;

/// The stream at the middle hub, and what it captures.
const STREAM: &str = "departures";
const CAPTURED: &str = "flights/departed/**";

/// Who subscribes to what, at which hub.
const SUBSCRIPTIONS: [(HubIndex, &str); 8] = [
    (0, "flights/arrived/**"),
    (0, "flights/alerts/**"),
    (1, "flights/**"),
    (1, "flights/departed/*/ORD/*"),
    (1, "flights/arrived/ORD/**"),
    (2, "flights/**"),
    (2, "flights/departed/*/LAX/*"),
    (2, "flights/alerts/arrival/**"),
];

/// When, in the flights' time, the middle hub is killed: per cent of the whole.
const KILL_AT: u64 = 45;
/// For how long it is away.
const AWAY: Duration = Duration::from_millis(2_500);
/// What was published this long before the kill may have died with the hub.
const DIED_WITH: Duration = Duration::from_millis(250);
/// How long the mesh may take to agree, before the flights and after the outage.
const AGREE: Duration = Duration::from_secs(60);
/// How long everything may take to come to rest after the last flight.
const REST: Duration = Duration::from_secs(30);
/// How often the demo looks.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let temporary = match &args.dir {
        Some(_) => None,
        None => {
            Some(tempfile::Builder::new().prefix("weft-demo-").tempdir().context("cannot make a temporary folder")?)
        }
    };
    let folder: PathBuf = match (&args.dir, &temporary) {
        (Some(dir), _) => std::path::absolute(dir)?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => bail!("no folder"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let outcome = show(args, &folder);
    if outcome.is_err()
        && let Some(temporary) = temporary
    {
        eprintln!("weft: the hubs' logs and data are left in {}", temporary.keep().display());
    }
    outcome
}

fn show(args: &DemoArgs, folder: &Path) -> anyhow::Result<()> {
    let book = Book::new(flights::plan()?);
    let mut progress = Progress::new(book.total());
    progress.say(&format!("hubs, certificates and data in {}", folder.display()));
    let mut hubs = Hubs::start(folder, args.tour)?;
    let stage = block_on(Stage::set(&hubs, &book))?;
    stage.agree(&book, &mut progress)?;
    let places: Vec<String> =
        HUBS.iter().enumerate().map(|(i, hub)| format!("{} at {}", hub.shown, hubs.address(i))).collect();
    progress.say(&format!("three hubs, mutual TLS: {}", places.join(", ")));
    progress.say(&format!("the dashboard, with the flights on a map: {}", hubs.dashboard(0)));

    let pace = pace(&book, args.speed);
    let (publishers, outage) = fly(args, &book, &mut hubs, &stage, pace, &mut progress)?;
    progress.say("the last flight has landed; waiting until everything is at rest");
    let rested = stage.rest(&book, &mut progress);
    let replayed = block_on(late_replay(&hubs, &book));
    let reports = block_on(stage.reports());
    progress.finish();

    book.stop.store(true, Ordering::Relaxed);
    let failures = stage.strike(publishers);
    let (replayed, reports) = (replayed?, reports?);
    let run = account(&book, &failures.notes, &replayed, &reports, outage);
    let verdict = judge(&run);
    let mut wrong: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
    wrong.extend(failures.errors);
    if let Err(error) = rested {
        wrong.push(error.to_string());
    }
    report::print(&run, &verdict, &failures.notes, &replayed, &reports)?;
    if args.keep || args.stay || args.tour {
        let flies = args.stay || args.tour;
        let traffic = flies.then(|| block_on(stay::Traffic::start(&hubs, &book))).transpose()?;
        if args.tour { tour::run(&mut hubs, folder, tour::Pace::new(args.step, args.by_hand)?) } else { keep(&hubs) }?;
        traffic.map_or(Ok(()), stay::Traffic::stop)?;
    }
    wrong.extend(hubs.stop());
    if wrong.is_empty() {
        println!("\nEverything is accounted for.");
        return Ok(());
    }
    bail!("{} things do not hold:\n  {}", wrong.len(), wrong.join("\n  "));
}

fn pace(book: &Book, speed: u32) -> Pace {
    let first_minute = book.planned.first().map_or(0, |event| event.minute);
    Pace { start: book.now() + 100_000_000, first_minute, speed }
}

type Thread = JoinHandle<Result<(), String>>;

/// The flights fly; midway the middle hub is away for a while.
fn fly(
    args: &DemoArgs,
    book: &Arc<Book>,
    hubs: &mut Hubs,
    stage: &Stage,
    pace: Pace,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<Thread>, Option<Outage>)> {
    let mut threads = Vec::new();
    for publishing in Publishing::all() {
        let client = if publishing.kind == Kind::Departed { &stage.durable } else { &stage.publishers[publishing.hub] };
        threads.extend(publishing.start(book, client, pace));
    }
    let last_minute = book.planned.last().map_or(0, |event| event.minute);
    let end = pace.moment(last_minute);
    let kill = pace.start + end.saturating_sub(pace.start) * KILL_AT / 100;
    let mut outage = None;
    while book.now() < end {
        if !args.no_kill && outage.is_none() && book.now() >= kill {
            outage = Some(away(book, hubs, stage, progress)?);
        }
        progress.show(book);
        std::thread::sleep(LOOK);
    }
    book.close.store(true, Ordering::Relaxed);
    Ok((threads, outage))
}

/// Kills the middle hub, brings it back and waits until the mesh agrees again.
fn away(book: &Arc<Book>, hubs: &mut Hubs, stage: &Stage, progress: &mut Progress) -> anyhow::Result<Outage> {
    let name = HUBS[MIDDLE].shown;
    let pid = hubs.pid(MIDDLE).map_or_else(String::new, |pid| format!(" (process {pid})"));
    let from = book.now().saturating_sub(nanos(DIED_WITH));
    hubs.kill(MIDDLE)?;
    progress.say(&format!(
        "{name} is killed{pid}: departures wait for their stream, live events for Los Angeles are lost and counted"
    ));
    let back = book.now() + nanos(AWAY);
    while book.now() < back {
        progress.show(book);
        std::thread::sleep(LOOK.min(Duration::from_nanos(back.saturating_sub(book.now()))));
    }
    hubs.start_one(MIDDLE)?;
    let started = book.now();
    progress.say(&format!("{name} is back"));
    stage.agree(book, progress)?;
    let took = Duration::from_nanos(book.now() - started).as_millis();
    progress.say(&format!("every hub knows again what every other wants, {took} ms after {name} was ready"));
    Ok(Outage { hub: MIDDLE, from, until: book.now() })
}

fn nanos(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clients of all hubs and who collects what their subscriptions get.
struct Stage {
    /// For what must be on disk: it waits while the stream's hub is away, and
    /// nothing else shall wait behind it.
    durable: Client,
    publishers: Vec<Client>,
    subscribers: Vec<Client>,
    live: Vec<JoinHandle<Notes>>,
    reader: JoinHandle<Notes>,
}

/// What the threads say at the end.
struct Struck {
    /// Of the live subscriptions, in order, and last of the stream's reader.
    notes: Vec<Notes>,
    errors: Vec<String>,
}

impl Stage {
    async fn set(hubs: &Hubs, book: &Arc<Book>) -> anyhow::Result<Self> {
        let durable = hubs.connect(0, "demo departures").await?;
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for (index, hub) in HUBS.iter().enumerate() {
            publishers.push(hubs.connect(index, &format!("demo publisher {}", hub.name)).await?);
            subscribers.push(hubs.connect(index, &format!("demo subscriber {}", hub.name)).await?);
        }
        subscribers[MIDDLE].streams().create(&StreamOptions::new(STREAM, CAPTURED)).await?;
        let from_first = SubscribeOptions::stream(STREAM, StartAt::First);
        let reader = collect(book, None, subscribers[MIDDLE].subscribe("**", from_first).await?);
        let mut live = Vec::new();
        for (hub, filter) in SUBSCRIPTIONS {
            let subscription = subscribers[hub].subscribe(filter, SubscribeOptions::default()).await?;
            live.push(collect(book, Some(hub), subscription));
        }
        Ok(Self { durable, publishers, subscribers, live, reader })
    }

    async fn reports(&self) -> anyhow::Result<Vec<MeshReport>> {
        let mut reports = Vec::new();
        for client in &self.subscribers {
            reports.push(client.mesh().await?);
        }
        Ok(reports)
    }

    /// Waits until every hub knows what every other wants.
    fn agree(&self, book: &Book, progress: &mut Progress) -> anyhow::Result<()> {
        let until = Instant::now() + AGREE;
        let wanted: Vec<usize> = (0..HUBS.len()).map(wanted_at).collect();
        loop {
            // A client that is still connecting answers once it is connected.
            let reports = block_on(self.reports());
            if let Ok(reports) = &reports
                && agreement(reports).as_ref() == Some(&wanted)
            {
                return Ok(());
            }
            if Instant::now() > until {
                let view = reports.map_or_else(|e| e.to_string(), |reports| views(&reports));
                bail!("the hubs do not know of each other what they want within {} s: {view}", AGREE.as_secs());
            }
            progress.show(book);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every publish is answered and no hub has anything in flight.
    fn rest(&self, book: &Book, progress: &mut Progress) -> anyhow::Result<()> {
        let until = Instant::now() + REST;
        let mut before = None;
        loop {
            progress.show(book);
            let answered = book.answered.load(Ordering::Relaxed) == book.total();
            let ledgers: Vec<HubLedger> =
                block_on(self.reports())?.iter().map(|report| ledger(report, false)).collect();
            let delivered: u64 = book.delivered.iter().map(|n| n.load(Ordering::Relaxed)).sum();
            let sum = (ledgers.iter().map(|l| l.copies).sum::<u64>(), delivered);
            if answered && ledgers.iter().all(|l| l.in_flight == 0) && before == Some(sum) {
                return Ok(());
            }
            if Instant::now() > until {
                let open = book.total() - book.answered.load(Ordering::Relaxed);
                let flying: Vec<String> = ledgers.iter().map(|l| format!("{} {}", l.name, l.in_flight)).collect();
                bail!(
                    "no rest {} s after the last flight: {open} publishes not answered, in flight at {}",
                    REST.as_secs(),
                    flying.join(", ")
                );
            }
            before = Some(sum);
            std::thread::sleep(LOOK * 2);
        }
    }

    /// Closes all clients and collects what the threads have.
    fn strike(self, publishers: Vec<Thread>) -> Struck {
        let mut errors = Vec::new();
        for client in self.publishers.into_iter().chain([self.durable]).chain(self.subscribers) {
            if !block_on(client.close()) {
                errors.push("a client could not be closed in good order".to_owned());
            }
        }
        for thread in publishers {
            match thread.join() {
                Ok(outcome) => errors.extend(outcome.err()),
                Err(_) => errors.push("a publisher's thread failed".to_owned()),
            }
        }
        let mut notes = Vec::new();
        for thread in self.live.into_iter().chain([self.reader]) {
            let note = thread.join().unwrap_or_else(|_| Notes {
                error: Some("a subscriber's thread failed".to_owned()),
                ..Notes::default()
            });
            errors.extend(note.error.clone());
            notes.push(note);
        }
        Struck { notes, errors }
    }
}

/// How many filters a hub tells the others: those that no other includes, the
/// stream's, and that of its audit log.
fn wanted_at(hub: HubIndex) -> usize {
    let filters =
        SUBSCRIPTIONS.iter().filter(|(at, _)| *at == hub).filter_map(|(_, filter)| Filter::parse(filter).ok());
    let mut cover = Aggregate::new();
    filters.for_each(|filter| drop(cover.insert(&filter)));
    cover.cover_len() + usize::from(hub == MIDDLE) + 1
}

/// How many filters each hub wants, if all hubs see all hubs alike.
fn agreement(reports: &[MeshReport]) -> Option<Vec<usize>> {
    let of = |report: &MeshReport, name: &str| report.hubs.iter().find(|hub| hub.name == name).cloned();
    let own: Vec<_> = HUBS.iter().zip(reports).map(|(hub, report)| of(report, hub.name)).collect::<Option<_>>()?;
    for report in reports {
        for hub in &own {
            let seen = of(report, &hub.name)?;
            if !seen.reachable || seen.epoch != hub.epoch || seen.interest != hub.interest {
                return None;
            }
        }
    }
    Some(own.iter().map(|hub| hub.interest as usize).collect())
}

fn views(reports: &[MeshReport]) -> String {
    let view = |report: &MeshReport| {
        let hubs: Vec<String> = report
            .hubs
            .iter()
            .map(|hub| format!("{} {} {}", hub.name, if hub.reachable { "reachable" } else { "away" }, hub.interest))
            .collect();
        format!("{} sees {}", report.name_of(report.me), hubs.join(", "))
    };
    reports.iter().map(view).collect::<Vec<_>>().join("; ")
}

/// Somebody who comes late and reads the stream from its beginning.
async fn late_replay(hubs: &Hubs, book: &Book) -> anyhow::Result<Notes> {
    let client = hubs.connect(MIDDLE, "demo late subscriber").await?;
    let end = client.streams().info(STREAM).await?.next;
    let subscription = client.subscribe("**", SubscribeOptions::stream(STREAM, StartAt::First)).await?;
    let notes = replay(book, subscription, end).await?;
    client.close().await;
    Ok(notes)
}

/// A hub's ledger, from its counters.
fn ledger(report: &MeshReport, second_life: bool) -> HubLedger {
    let counter = |name: &str| report.counter(name).unwrap_or(0);
    let with_prefix = |prefix: &str| -> Vec<(String, u64)> {
        let named = report.counters.iter().filter_map(|(name, n)| Some((name.strip_prefix(prefix)?.to_owned(), *n)));
        named.filter(|(_, n)| *n > 0).collect()
    };
    HubLedger {
        name: report.name_of(report.me),
        published: counter("ledger.published"),
        received: counter("ledger.arrived") + counter("ledger.transit"),
        copies: counter("ledger.copies"),
        delivered: counter("ledger.delivered"),
        stored: counter("ledger.stored"),
        forwarded: counter("ledger.forwarded"),
        in_flight: with_prefix("in_flight.").iter().map(|(_, n)| n).sum(),
        dropped: with_prefix("ledger.dropped."),
        missed: counter("flow.missed"),
        second_life,
    }
}

/// Everything for the judge.
fn account(book: &Book, notes: &[Notes], late: &Notes, reports: &[MeshReport], outage: Option<Outage>) -> Run {
    let captured = Filter::parse(CAPTURED).ok();
    // The killed hub's epoch as it is now is that of its second life.
    let epoch_now = |hub: HubIndex| {
        let report = reports.get(hub)?;
        report.hubs.iter().find(|known| known.id == report.me).map(|me| u64::from(me.epoch.0))
    };
    let again = outage.and_then(|outage| Some((outage.hub, epoch_now(outage.hub)?)));
    let events = book.planned.iter().enumerate().map(|(number, planned)| Event {
        topic: planned.topic.clone(),
        publisher: Publishing::number(planned.hub, planned.kind),
        hub: planned.hub,
        from: book.from(number),
        acknowledged: book.acknowledged(number),
        durable: planned.kind == Kind::Departed,
        second_life: again == Some((planned.hub, book.epoch(number))),
    });
    let subscribers = SUBSCRIPTIONS.iter().zip(notes).filter_map(|((hub, filter), notes)| {
        Some(Subscriber {
            name: format!("{} `{filter}`", HUBS[*hub].shown),
            hub: *hub,
            filter: Filter::parse(filter).ok()?,
            received: notes.got.iter().map(|got| got.number).collect(),
            marked: notes.marked,
        })
    });
    let reader = |name: &str, notes: &Notes| Reader {
        name: name.to_owned(),
        received: notes.got.iter().map(|got| (got.sequence, got.number)).collect(),
    };
    let mut readers: Vec<Reader> =
        notes.get(SUBSCRIPTIONS.len()).map(|n| reader("the stream's reader", n)).into_iter().collect();
    readers.push(reader("the late subscriber", late));
    let ledgers = reports.iter().enumerate().map(|(hub, report)| ledger(report, outage.is_some_and(|o| o.hub == hub)));
    Run {
        events: events.collect(),
        subscribers: subscribers.collect(),
        readers,
        captured,
        outage,
        ledgers: ledgers.collect(),
    }
}

/// Leaves the hubs running until a signal comes.
fn keep(hubs: &Hubs) -> anyhow::Result<()> {
    let tls = hubs.tls();
    let file = |name: &str| tls.join(name).display().to_string();
    let identity = format!(
        "--tls-cert {} --tls-key {} --tls-ca {}",
        file(&format!("{}.pem", hubs::CLIENT)),
        file(&format!("{}.key", hubs::CLIENT)),
        file("ca.pem")
    );
    println!("\nThe hubs go on until Ctrl-C. Try:\n");
    for (index, hub) in HUBS.iter().enumerate() {
        let pid = hubs.pid(index).unwrap_or(0);
        println!(
            "  # {}, process {pid}\n  weft mesh show -s {} --hub {} {identity}",
            hub.shown,
            hubs.address(index),
            hub.name
        );
    }
    println!("  weft sub 'flights/**' -s {} --hub {} {identity}", hubs.address(2), HUBS[2].name);
    println!("  weft pub flights/departed/JFK/LAX/B6 hello -s {} --hub {} {identity}", hubs.address(0), HUBS[0].name);
    println!("  # the dashboard\n  {}", hubs.dashboard(0));
    println!("  weft stream replay {STREAM} -s {} --hub {} {identity}", hubs.address(MIDDLE), HUBS[MIDDLE].name);
    let stop = signals()?;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Becomes true when the program is told to end.
fn signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
