//! The work that every peer is given, and the halves of a raw client that do it.
//!
//! Publisher and subscribers run on threads of their own in the benchmark's
//! process; the server is another process. The publisher may be at most a
//! window ahead of the slowest subscriber, so that no server is driven into
//! dropping: what is measured is what arrives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

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

    /// The server's process; none for a peer that is a thread.
    fn server(&self) -> Option<&Server>;

    /// A connected publisher of payloads of this size on the topic `key`.
    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>>;

    /// A connected subscriber of the topic `key`; its subscription is in force when this returns.
    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>>;
}

/// How a throughput run is shaped.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Payload bytes of an event.
    pub payload: usize,
    /// How long the publisher publishes.
    pub time: Duration,
    /// How many payload bytes it may be ahead of the slowest subscriber.
    pub window: u64,
    /// How many events it may be ahead.
    pub window_events: u64,
    /// How many subscribers.
    pub subscribers: usize,
}

/// What one throughput run gave.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Events delivered a second, over all subscribers.
    pub rate: f64,
    /// Events delivered over all subscribers.
    pub events: u64,
    /// The server's processor seconds per million events delivered; NaN without a process.
    pub server_cpu: f64,
}

/// Publishes as fast as it goes for the load's time, and counts what arrives.
pub fn throughput(peer: &dyn Peer, key: &str, load: &Load) -> Result<Delivered> {
    let mut subscribers = Vec::new();
    for _ in 0..load.subscribers {
        subscribers.push(peer.subscriber(key, load.payload)?);
    }
    let mut publisher = peer.publisher(key, load.payload)?;
    let counts: Vec<AtomicU64> = subscribers.iter().map(|_| AtomicU64::new(0)).collect();
    // What was sent in all, once the publisher is done; until then unknown.
    let total = AtomicU64::new(u64::MAX);
    let failed = AtomicBool::new(false);
    let cpu = || peer.server().and_then(|s| s.cpu_seconds().ok()).unwrap_or(f64::NAN);
    let (cpu_before, start) = (cpu(), Instant::now());
    let end = thread::scope(|scope| -> Result<Instant> {
        let receivers: Vec<_> = subscribers
            .iter_mut()
            .zip(&counts)
            .map(|(subscriber, count)| {
                let (total, failed) = (&total, &failed);
                scope.spawn(move || {
                    let ended = receive(subscriber.as_mut(), count, total);
                    failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                    ended
                })
            })
            .collect();
        let sent = send(publisher.as_mut(), &counts, &total, &failed, load, start);
        if sent.is_err() {
            total.store(0, Ordering::Release);
        }
        let mut last = start;
        for receiver in receivers {
            let ended = receiver.join().map_err(|_| anyhow::anyhow!("a subscriber panicked"))?;
            last = last.max(ended.with_context(|| format!("{}'s subscriber", peer.name()))?);
        }
        sent.with_context(|| format!("{}'s publisher", peer.name()))?;
        Ok(last)
    })?;
    let events = counts.iter().map(|c| c.load(Ordering::Relaxed)).sum::<u64>();
    ensure!(
        events == total.load(Ordering::Relaxed) * load.subscribers as u64,
        "{} delivered {events} events of {}",
        peer.name(),
        total.load(Ordering::Relaxed) * load.subscribers as u64
    );
    Ok(Delivered {
        rate: events as f64 / (end - start).as_secs_f64(),
        events,
        server_cpu: (cpu() - cpu_before) * 1e6 / events as f64,
    })
}

fn send(
    publisher: &mut dyn Publish,
    counts: &[AtomicU64],
    total: &AtomicU64,
    failed: &AtomicBool,
    load: &Load,
    start: Instant,
) -> Result<()> {
    let window = (load.window / load.payload as u64).clamp(1, load.window_events);
    let mut batch = publisher.batch()?;
    let mut sent = batch;
    while start.elapsed() < load.time {
        let slowest = counts.iter().map(|c| c.load(Ordering::Relaxed)).min().unwrap_or(sent);
        if sent - slowest >= window {
            if failed.load(Ordering::Relaxed) {
                bail!("stopped, since a subscriber failed");
            }
            thread::sleep(Duration::from_micros(20));
            continue;
        }
        batch = publisher.batch()?;
        sent += batch;
    }
    // The subscribers know how many there are before the last of them is on
    // its way, so they never wait for one that does not come.
    total.store(sent + batch, Ordering::Release);
    let last = publisher.batch()?;
    ensure!(last == batch, "batches of different sizes: {batch} and {last} events");
    Ok(())
}

/// Counts until all that was sent is there; answers when the last of it came.
fn receive(subscriber: &mut dyn Subscribe, count: &AtomicU64, total: &AtomicU64) -> Result<Instant> {
    let mut seen = 0;
    while seen < total.load(Ordering::Acquire) {
        seen += subscriber.count()?;
        count.store(seen, Ordering::Relaxed);
    }
    Ok(Instant::now())
}

/// The time at the start of a payload, in nanoseconds since the benchmark's start.
pub fn time_of(payload: &[u8]) -> Result<u64> {
    let bytes = payload.first_chunk::<8>().context("a payload shorter than its time")?;
    Ok(u64::from_le_bytes(*bytes))
}
