//! `weft pub`: an argument, the lines of stdin, or files become events.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use weft_base::{Clock, Lane, SystemClock, UnixNanos};
use weft_client::{
    AckLevel, Acknowledgement, Batch, EventFields, HeadersWriter, Limit, Published, Publisher, PublisherOptions, Terms,
};

use crate::Usage;
use crate::cli::{Level, PubArgs, Reached};
use crate::connect::{connect, why};

/// Acknowledgements that may be outstanding here; the client's window bounds
/// the blocks, this bounds the futures.
const OUTSTANDING: usize = 65_536;
/// Without any progress for this long, people are told what holds it up.
const STALL: Duration = Duration::from_secs(1);
/// Seconds between two words of what goes on holding it up, at most.
const STALLS: u32 = 60;
/// The longest line that is taken.
const LONGEST_LINE: usize = 8 << 20;

impl From<Level> for AckLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::None => AckLevel::None,
            Level::Routed => AckLevel::Routed,
            Level::Written => AckLevel::Written,
            Level::Synced => AckLevel::Synced,
        }
    }
}

pub(crate) async fn run(args: &PubArgs) -> anyhow::Result<()> {
    if args.payload.is_none() && !args.lines && args.file.is_empty() {
        return Err(Usage(
            "nothing to publish: give a payload, --lines (and lines on stdin), or --file FILE".to_owned(),
        )
        .into());
    }
    let lane =
        Lane::new(args.lane).ok_or_else(|| Usage(format!("lane {} is none: 0 (most urgent) to 7", args.lane)))?;
    let mut header_bytes = Vec::new();
    write_headers(&args.header, &mut header_bytes)?;
    let client = connect(&args.server, "weft pub").await?;
    let deadline = args.deadline.map(Duration::from_millis);
    let (level, homes) = (args.level.level, args.level.homes);
    let options = PublisherOptions {
        deadline,
        homes,
        ttl: args.ttl,
        require_live: args.require.clone(),
        residency: args.residency.clone(),
        ..PublisherOptions::level(level).lane(lane)
    };
    let publisher = client.publisher(options);
    let stall = Stall::watch(publisher.clone());
    let mut sender = Sender {
        stall: &stall,
        topic: &args.topic,
        key: args.key.as_bytes(),
        headers: &header_bytes,
        clock: SystemClock::new(),
        terms: terms(args),
        batch: args.batch.then(|| publisher.batch()),
        publisher,
        last: None,
        spooled: 0,
        waiting: VecDeque::new(),
        published: 0,
        bar: bar(args),
    };
    if let Err(error) = publish(args, &mut sender).await {
        sender.bar.finish_and_clear();
        return Err(why(&client, error));
    }
    let (published, last, spooled) = (sender.published, sender.last, sender.spooled);
    sender.bar.finish_and_clear();
    let mut reached = if spooled > 0 { Reached { level: AckLevel::Spooled, homes: 0 } } else { args.level };
    if let (Some(level), Some(stream), Some(last)) = (args.reach, &args.stream, last) {
        // Homes take a publisher's events in order: what holds for the last holds for all.
        let done = client.streams().reach(stream, &last, level.level, level.homes).await;
        done.map_err(|error| why(&client, error)).with_context(|| format!("level {level} of stream `{stream}`"))?;
        reached = level;
    }
    let name = client.hub().map(|hub| hub.name);
    let hub = name.as_ref().map_or_else(String::new, |name| format!(" at hub `{name}`"));
    if !client.close().await {
        anyhow::bail!("not everything was sent before the time was up");
    }
    let place = last.filter(|last| last.home_sequence > 0 && published == 1);
    let place = place.map_or_else(String::new, |last| format!(", sequence {}", last.home_sequence));
    let aside = if last.is_some_and(|last| last.is_in_quarantine()) {
        "; the last of them is in quarantine, because it is not of the schema of its topic: `weft schema quarantine list`"
    } else {
        ""
    };
    eprintln!(
        "published {published} event{}{hub}, level {reached}{place}{aside}",
        if published == 1 { "" } else { "s" }
    );
    if let Some((last, hub)) = last.filter(|last| last.sequence > 0 && published == 1).zip(name) {
        eprintln!("to see where it went: weft mesh where {hub}/{}/{}", last.epoch.0, last.sequence);
    }
    if spooled > 0 {
        eprintln!("{spooled} of them wait on the hub's disk: no home of their stream can be reached");
    }
    Ok(())
}

/// What is asked of each event beyond being published.
fn terms(args: &PubArgs) -> Terms {
    let now = SystemClock::new().now().wall;
    let after = args.after.map(|after| now.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)));
    Terms {
        expect_last: args.expect_last,
        expect_key: args.key_expect,
        deliver_at: args.at.or(after.map(UnixNanos)),
        ..Terms::default()
    }
}

/// Publishes all there is, and waits until it is acknowledged.
async fn publish(args: &PubArgs, sender: &mut Sender<'_>) -> anyhow::Result<()> {
    if let Some(payload) = &args.payload {
        sender.send(payload.as_bytes()).await?;
    }
    for path in &args.file {
        let payload = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        sender.send(&payload).await.with_context(|| format!("file {}", path.display()))?;
    }
    if args.lines {
        lines(sender).await?;
    }
    sender.commit().await?;
    sender.settle(0).await
}

/// Encodes `NAME=VALUE` headers.
fn write_headers(headers: &[String], out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut writer = HeadersWriter::new(out);
    for header in headers {
        let (name, value) =
            header.split_once('=').ok_or_else(|| Usage(format!("`{header}` is no header: write NAME=VALUE")))?;
        writer.push(name, value.as_bytes()).map_err(|e| Usage(e.to_string()))?;
    }
    Ok(())
}

/// Publishes each line of stdin.
async fn lines(sender: &mut Sender<'_>) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        number += 1;
        let mut limited = std::io::Read::take(&mut input, LONGEST_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line).context("cannot read stdin")? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > LONGEST_LINE {
            anyhow::bail!("line {number} is longer than {LONGEST_LINE} bytes: publish it with --file");
        }
        sender.send(&line).await.with_context(|| format!("line {number}"))?;
    }
}

struct Sender<'a> {
    publisher: Publisher,
    stall: &'a Stall,
    topic: &'a str,
    key: &'a [u8],
    headers: &'a [u8],
    clock: SystemClock,
    terms: Terms,
    batch: Option<Batch>,
    /// What the mesh said of the last one.
    last: Option<Published>,
    /// Events that are on disk at the hub, on their way to a home that cannot be reached.
    spooled: u64,
    waiting: VecDeque<Acknowledgement>,
    published: u64,
    bar: ProgressBar,
}

impl Sender<'_> {
    async fn send(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let event = EventFields { time: self.clock.now().wall, key: self.key, headers: self.headers, payload };
        if let Some(batch) = &mut self.batch {
            batch.publish_event(self.topic, event);
            return Ok(());
        }
        let acknowledgement = self.publisher.publish_on(self.topic, event, self.terms).await?;
        self.stall.moved();
        self.waiting.push_back(acknowledgement);
        self.settle(OUTSTANDING).await
    }

    /// Publishes the batch, if it is one.
    async fn commit(&mut self) -> anyhow::Result<()> {
        let Some(batch) = self.batch.take() else { return Ok(()) };
        let published = batch.commit().await.context("nothing of the batch is published")?;
        self.published += published.len() as u64;
        self.last = published.last().copied();
        self.bar.inc(self.published);
        Ok(())
    }

    /// Waits until at most `most` acknowledgements are outstanding, and takes
    /// those that are there.
    async fn settle(&mut self, most: usize) -> anyhow::Result<()> {
        while let Some(first) = self.waiting.front() {
            if self.waiting.len() <= most && first.try_get().is_none() {
                return Ok(());
            }
            let Some(first) = self.waiting.pop_front() else { return Ok(()) };
            let said = first.await.with_context(|| format!("event {}", self.published + 1))?;
            self.spooled += u64::from(said.level == AckLevel::Spooled);
            self.last = Some(said);
            self.published += 1;
            self.stall.moved();
            self.bar.inc(1);
        }
        Ok(())
    }
}

/// Says on stderr what holds the publisher up, after a second in which nothing
/// moved, after two, four, and so on, at most a minute apart. A thread of its own
/// asks, because the publisher waits.
struct Stall {
    moves: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: std::thread::Thread,
}

impl Stall {
    fn watch(publisher: Publisher) -> Self {
        let (moves, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (moves.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let (mut seen, mut still) = (0, 0_u32);
            while !ended.load(Ordering::Acquire) {
                std::thread::park_timeout(STALL);
                let now = counted.load(Ordering::Relaxed);
                if now != std::mem::replace(&mut seen, now) || now == 0 || ended.load(Ordering::Acquire) {
                    still = 0;
                    continue;
                }
                still = still.saturating_add(1);
                if !(still.is_power_of_two() && still < STALLS || still.is_multiple_of(STALLS)) {
                    continue;
                }
                match futures_lite::future::block_on(publisher.why_waiting()) {
                    Ok(why) if why.limit != Limit::None => eprintln!("weft: waiting: {why}"),
                    _ => {}
                }
            }
        });
        Self { moves, over, thread: thread.thread().clone() }
    }

    /// Something was taken or acknowledged.
    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// A bar where people look, plain silence elsewhere.
fn bar(args: &PubArgs) -> ProgressBar {
    if !args.progress || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let total = match (args.lines, args.file.len() as u64) {
        (true, _) => None,
        (false, 0) => Some(1),
        (false, files) => Some(files),
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = "{spinner} {pos} acknowledged, {per_sec} {wide_bar} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
