//! The work that every peer is given, and the halves of a raw client that do it.
//!
//! Publishers and subscribers run on threads of their own in the benchmark's
//! process; the server is another process. The publishers may be at most a
//! window ahead of the slowest subscriber, so that no server is driven into
//! dropping: what is measured is what arrives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use weft_load::latency::Latencies;

use crate::latency::{self, Pace};
use crate::process::Server;

/// The publishing half of a raw client.
pub trait Publish: Send {
    /// Writes the next batch that was built beforehand; answers its events, always as many.
    fn batch(&mut self) -> Result<u64>;

    /// Writes one event per time, each payload starting with its time (u64,
    /// little-endian, nanoseconds since the benchmark's start).
    fn stamped(&mut self, times: &[u64]) -> Result<()>;
}

/// The subscribing half of a raw client.
pub trait Subscribe: Send {
    /// Reads what there is (waits for it) and answers how many events it held.
    /// An event that the server says it dropped is an error.
    fn count(&mut self) -> Result<u64>;

    /// Reads what there is and hands out the time in each event's payload.
    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()>;
}

/// A peer under test: a server that runs, and how to connect to it.
pub trait Peer {
    /// Its name in the tables.
    fn name(&self) -> &str;

    /// The server's version, as it says itself or as it was installed.
    fn version(&self) -> String;

    /// The server's process; none for a peer that is a thread.
    fn server(&self) -> Option<&Server>;

    /// A connected publisher of payloads of this size on the topic `key`.
    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>>;

    /// A connected subscriber of the topic `key`; its subscription is in force when this returns.
    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>>;

    /// A connected subscriber of `key` that nobody will read, and that must not
    /// hold publishers up: where the server has policies, the one that drops.
    fn sleeper(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        self.subscriber(key, payload)
    }

    /// A connection subscribed to each of these topics, all of one length.
    fn watch(&self, _keys: &[String], _payload: usize) -> Result<Box<dyn Subscribe>> {
        bail!("many subscriptions are not measured of {}", self.name())
    }

    /// A publisher whose batches go to these topics in turn, an event each, from the first one on.
    fn spread(&self, _keys: &[String], _payload: usize) -> Result<Box<dyn Publish>> {
        bail!("many subscriptions are not measured of {}", self.name())
    }

    /// The server's processor time so far; NaN without a process.
    fn cpu_seconds(&self) -> f64 {
        self.server().and_then(|server| server.cpu_seconds().ok()).unwrap_or(f64::NAN)
    }

    /// Publishes as fast as it goes for the load's time; see [`throughput`].
    fn deliver(&self, key: &str, load: &Load) -> Result<Delivered> {
        throughput(self, key, load)
    }

    /// Latency at a fixed rate; see [`open_loop`](crate::latency::open_loop).
    fn open_loop(&self, key: &str, pace: &Pace) -> Result<Latencies> {
        latency::open_loop(self, key, pace)
    }

    /// Questions and answers, one at a time; see [`round_trips`](crate::latency::round_trips).
    fn round_trips(&self, key: &str, payload: usize, time: Duration) -> Result<Latencies> {
        latency::round_trips(self, key, payload, time)
    }
}

/// How a throughput run is shaped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Payload bytes of an event.
    pub payload: usize,
    /// How long the publishers publish.
    pub time: Duration,
    /// How many payload bytes they may be ahead of the slowest subscriber, together.
    pub window: u64,
    /// How many events they may be ahead, together.
    pub window_events: u64,
    /// How many publishers, each on a connection of its own.
    pub publishers: usize,
    /// How many subscribers, each on a connection of its own; each gets what every publisher publishes.
    pub subscribers: usize,
}

/// What one throughput run gave.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// Events delivered a second, over all subscribers.
    pub rate: f64,
    /// Events delivered over all subscribers.
    pub events: u64,
    /// The server's processor seconds per million events delivered; NaN without a process.
    pub server_cpu: f64,
}

/// What publishers and subscribers of a run know of each other.
struct Shared<'a> {
    load: &'a Load,
    /// Each subscriber gets one event of this many.
    parts: u64,
    start: Instant,
    /// Events that publishers sent or are about to.
    sent: AtomicU64,
    /// What each subscriber got.
    got: Vec<AtomicU64>,
    /// What was sent in all, once the publishers are done; until then more than can be.
    total: AtomicU64,
    failed: AtomicBool,
}

/// Publishes as fast as it goes for the load's time, and counts what arrives.
pub fn throughput<P: Peer + ?Sized>(peer: &P, key: &str, load: &Load) -> Result<Delivered> {
    ensure!(load.publishers > 0 && load.subscribers > 0, "a load of nobody: {load:?}");
    let subscribers: Result<Vec<_>> = (0..load.subscribers).map(|_| peer.subscriber(key, load.payload)).collect();
    let publishers: Result<Vec<_>> = (0..load.publishers).map(|_| peer.publisher(key, load.payload)).collect();
    run(peer, subscribers?, publishers?, load, false)
}

/// The same with publishers and subscribers that are connected already. Every
/// subscriber must get what every publisher publishes, or, when it is
/// `divided`, an equal part of every batch.
pub fn run<P: Peer + ?Sized>(
    peer: &P,
    subscribers: Vec<Box<dyn Subscribe>>,
    publishers: Vec<Box<dyn Publish>>,
    load: &Load,
    divided: bool,
) -> Result<Delivered> {
    let readers = subscribers.len() as u64;
    let cpu_before = peer.cpu_seconds();
    let shared = Shared {
        load,
        parts: if divided { readers } else { 1 },
        start: Instant::now(),
        sent: AtomicU64::new(0),
        got: subscribers.iter().map(|_| AtomicU64::new(0)).collect(),
        total: AtomicU64::new(u64::MAX),
        failed: AtomicBool::new(false),
    };
    let last = thread::scope(|scope| -> Result<Instant> {
        let shared = &shared;
        let receivers: Vec<_> = subscribers
            .into_iter()
            .zip(&shared.got)
            .map(|(mut subscriber, got)| scope.spawn(move || note(shared, receive(subscriber.as_mut(), got, shared))))
            .collect();
        let senders: Vec<_> = publishers
            .into_iter()
            .map(|publisher| scope.spawn(move || note(shared, send(publisher, shared))))
            .collect();
        let senders: Vec<_> = senders.into_iter().map(|sender| joined(sender.join())).collect();
        let sent = senders.into_iter().collect::<Result<Vec<_>>>().and_then(|done| last_batch(done, shared));
        if sent.is_err() {
            shared.total.store(0, Ordering::Release);
        }
        let mut last = shared.start;
        for receiver in receivers {
            let ended = joined(receiver.join()).with_context(|| format!("{}'s subscriber", peer.name()))?;
            last = last.max(ended);
        }
        sent.with_context(|| format!("{}'s publisher", peer.name()))?;
        Ok(last)
    })?;
    let events = shared.got.iter().map(|c| c.load(Ordering::Relaxed)).sum::<u64>();
    let expected = shared.total.load(Ordering::Relaxed) / shared.parts * readers;
    ensure!(events == expected, "{} delivered {events} events of {expected}", peer.name());
    Ok(Delivered {
        rate: events as f64 / (last - shared.start).as_secs_f64(),
        events,
        server_cpu: (peer.cpu_seconds() - cpu_before) * 1e6 / events as f64,
    })
}

/// What a thread answered; one that panicked is an error.
fn joined<T>(ended: thread::Result<Result<T>>) -> Result<T> {
    ended.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// Tells the others when a thread fails.
fn note<T>(shared: &Shared<'_>, ended: Result<T>) -> Result<T> {
    shared.failed.fetch_or(ended.is_err(), Ordering::Relaxed);
    ended
}

/// Publishes until the time is over; answers the publisher, and the events of its batch.
fn send(mut publisher: Box<dyn Publish>, shared: &Shared<'_>) -> Result<(Box<dyn Publish>, u64)> {
    let load = shared.load;
    let window = (load.window / load.payload as u64).clamp(1, load.window_events);
    // The first batch says how many events a batch has.
    let batch = publisher.batch()?;
    shared.sent.fetch_add(batch, Ordering::Relaxed);
    while shared.start.elapsed() < load.time {
        let sent = shared.sent.load(Ordering::Relaxed);
        let slowest = shared.got.iter().map(|c| c.load(Ordering::Relaxed)).min().unwrap_or(sent);
        if sent.saturating_sub(slowest * shared.parts) >= window {
            ensure!(!shared.failed.load(Ordering::Relaxed), "stopped, since another end failed");
            thread::sleep(Duration::from_micros(20));
            continue;
        }
        shared.sent.fetch_add(batch, Ordering::Relaxed);
        let now = publisher.batch()?;
        ensure!(now == batch, "batches of different sizes: {batch} and {now} events");
    }
    Ok((publisher, batch))
}

/// Sends one more batch when all publishers are done. The subscribers know how
/// many there are before the last of them is on its way, so they never wait
/// for one that does not come.
fn last_batch(mut done: Vec<(Box<dyn Publish>, u64)>, shared: &Shared<'_>) -> Result<()> {
    let (publisher, batch) = done.first_mut().context("a run without publishers")?;
    let total = shared.sent.load(Ordering::Relaxed) + *batch;
    shared.total.store(total, Ordering::Release);
    let last = publisher.batch()?;
    ensure!(last == *batch, "batches of different sizes: {batch} and {last} events");
    // What is written may still lie in a publisher of a library: dropping it
    // early would lose it, so all are kept until the subscribers are through.
    while shared.got.iter().any(|got| got.load(Ordering::Relaxed) * shared.parts < total) {
        if shared.failed.load(Ordering::Relaxed) {
            bail!("stopped, since a subscriber failed");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Counts until all that was sent is there; answers when the last of it came.
fn receive(subscriber: &mut dyn Subscribe, got: &AtomicU64, shared: &Shared<'_>) -> Result<Instant> {
    let mut seen = 0;
    while seen < shared.total.load(Ordering::Acquire) / shared.parts {
        seen += subscriber.count()?;
        got.store(seen, Ordering::Relaxed);
    }
    Ok(Instant::now())
}

/// The time at the start of a payload, in nanoseconds since the benchmark's start.
pub fn time_of(payload: &[u8]) -> Result<u64> {
    let bytes = payload.first_chunk::<8>().context("a payload shorter than its time")?;
    Ok(u64::from_le_bytes(*bytes))
}
