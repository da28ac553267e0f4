//! Durable publishing: how many events a second are acknowledged, with many on
//! their way, and how long one takes alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use weft_load::latency::Latencies;

use crate::process::Server;

/// The sending half of a raw client.
pub trait Send: std::marker::Send {
    /// Writes one batch; answers its events.
    fn send(&mut self) -> Result<u64>;
}

/// The half that reads acknowledgements.
pub trait Acks: std::marker::Send {
    /// Reads what there is (waits for it); answers how many events it acknowledged. A refusal is an error.
    fn acked(&mut self) -> Result<u64>;
}

/// A server that stores events before it acknowledges them.
pub trait Durable {
    /// Its name in the tables.
    fn name(&self) -> &str;

    /// Its process.
    fn server(&self) -> &Server;

    /// The most events on their way that the server allows, or gains anything from.
    fn window(&self, payload: usize, batch: usize) -> Result<u64>;

    /// Makes a stream and connects; a write carries `batch` events.
    fn open(&self, key: &str, payload: usize, batch: usize) -> Result<(Box<dyn Send>, Box<dyn Acks>)>;

    /// Deletes the stream.
    fn close(&self, key: &str) -> Result<()>;
}

/// How a run is shaped.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Payload bytes of an event.
    pub payload: usize,
    /// Events per write of the client: a block of Weft, a run of messages of NATS.
    pub batch: usize,
    /// The most events that are sent and not yet acknowledged.
    pub window: u64,
    /// How long to publish, where time is what ends it.
    pub time: Duration,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Events that were acknowledged: all that were sent.
    pub events: u64,
    /// Events acknowledged a second.
    pub rate: f64,
    /// The server's processor seconds per million events.
    pub server_cpu: f64,
}

/// Publishes with a window of unacknowledged events for the load's time, to a stream that is deleted then.
pub fn pipelined(peer: &dyn Durable, key: &str, load: &Load) -> Result<Acked> {
    let start = Instant::now();
    let acked = publish(peer, key, load, |_| start.elapsed() >= load.time)?;
    peer.close(key)?;
    Ok(acked)
}

/// Publishes at least so many events to a stream, which stays.
pub fn fill(peer: &dyn Durable, key: &str, load: &Load, events: u64) -> Result<u64> {
    Ok(publish(peer, key, load, |sent| sent + load.batch as u64 >= events)?.events)
}

/// Publishes with a window of unacknowledged events until it is enough.
fn publish(peer: &dyn Durable, key: &str, load: &Load, is_enough: impl Fn(u64) -> bool) -> Result<Acked> {
    let window = load.window.min(peer.window(load.payload, load.batch)?).max(load.batch as u64);
    let (mut sender, mut acks) = peer.open(key, load.payload, load.batch)?;
    let (acked, total) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let failed = AtomicBool::new(false);
    let cpu = peer.server().cpu_seconds()?;
    let start = Instant::now();
    let end = thread::scope(|scope| -> Result<Instant> {
        let publisher = thread::current();
        let (acked, total, failed) = (&acked, &total, &failed);
        let reader = scope.spawn(move || -> Result<Instant> {
            let mut work = || -> Result<Instant> {
                let mut seen = 0;
                while seen < total.load(Ordering::Acquire) {
                    seen += acks.acked()?;
                    acked.store(seen, Ordering::Release);
                    publisher.unpark();
                }
                Ok(Instant::now())
            };
            let ended = work();
            failed.fetch_or(ended.is_err(), Ordering::Relaxed);
            publisher.unpark();
            ended
        });
        // Waits until one more batch is within the window.
        let room = |sent: u64| -> Result<()> {
            while sent - acked.load(Ordering::Acquire) + load.batch as u64 > window {
                ensure!(!failed.load(Ordering::Relaxed), "stopped, since an acknowledgement failed");
                // Woken by the next acknowledgement; the limit is for a failure in between.
                thread::park_timeout(Duration::from_millis(10));
            }
            Ok(())
        };
        let mut publish = || -> Result<u64> {
            let mut sent = 0;
            while !is_enough(sent) {
                room(sent)?;
                sent += sender.send()?;
            }
            room(sent)?;
            // The reader knows how many there are before the last of them is on
            // its way, so it never waits for one that does not come.
            total.store(sent + load.batch as u64, Ordering::Release);
            sender.send()
        };
        let sent = publish();
        if sent.is_err() {
            total.store(0, Ordering::Release);
        }
        let ended = reader.join().map_err(|_| anyhow!("the reader of acknowledgements panicked"))?;
        let ended = ended.with_context(|| format!("{}'s acknowledgements", peer.name()))?;
        sent.with_context(|| format!("{}'s publisher", peer.name()))?;
        Ok(ended)
    })?;
    let events = acked.load(Ordering::Acquire);
    let used = peer.server().cpu_seconds()? - cpu;
    let (rate, server_cpu) = (events as f64 / (end - start).as_secs_f64(), used * 1e6 / events as f64);
    Ok(Acked { events, rate, server_cpu })
}

/// Publishes one event, waits for its acknowledgement, and so on for `time`: nanoseconds each.
pub fn one_by_one(peer: &dyn Durable, key: &str, payload: usize, time: Duration) -> Result<Latencies> {
    let (mut sender, mut acks) = peer.open(key, payload, 1)?;
    let mut latencies = Latencies::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let start = Instant::now();
        sender.send()?;
        while acks.acked()? == 0 {}
        latencies.record(start.elapsed().as_nanos() as u64);
    }
    peer.close(key)?;
    Ok(latencies)
}
