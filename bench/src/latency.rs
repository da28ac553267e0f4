//! Latency at a fixed rate: open loop, free of coordinated omission.
//!
//! Event number i is due at start + i / rate, whatever happened to those before
//! it; its latency counts from when it was due, not from when it was sent. A
//! publisher that wakes late sends all that is due at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use weft_load::latency::Latencies;
use weft_load::pace;

use crate::work::{Peer, Publish, Subscribe};

/// p50 / p99 / p99.9 / p99.99 in microseconds.
#[must_use]
pub fn percentiles(latencies: &Latencies) -> String {
    let at = |q: f64| {
        let micros = latencies.at(q) as f64 / 1e3;
        if micros < 10.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
    };
    format!("{} / {} / {} / {}", at(0.5), at(0.99), at(0.999), at(0.9999))
}

/// How a latency run is shaped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Events a second.
    pub rate: u64,
    /// Payload bytes, at least 8.
    pub payload: usize,
    /// How long before recording starts.
    pub warm_up: Duration,
    /// How long recording goes on.
    pub time: Duration,
    /// Whether the publisher spins until the next event is due, instead of sleeping.
    pub spin: bool,
}

/// The most events written at once by a publisher that woke late.
const CATCH_UP: usize = 256;

/// Runs the pace once on a peer; answers nanoseconds from due to received.
pub fn open_loop<P: Peer + ?Sized>(peer: &P, key: &str, pace: &Pace) -> Result<Latencies> {
    let mut subscriber = peer.subscriber(key, pace.payload)?;
    let mut publisher = peer.publisher(key, pace.payload)?;
    open_loop_of(peer.name(), &mut *publisher, &mut *subscriber, pace)
}

/// The same with a publisher and a subscriber that are there.
pub fn open_loop_of(
    name: &str,
    publisher: &mut dyn Publish,
    subscriber: &mut dyn Subscribe,
    pace: &Pace,
) -> Result<Latencies> {
    let schedule = pace::Pace::new(pace.rate as f64, 0, 1);
    let total = schedule.due_before((pace.warm_up + pace.time).as_nanos() as u64);
    let first = pace.warm_up.as_nanos() as u64;
    let failed = AtomicBool::new(false);
    let start = Instant::now() + Duration::from_millis(20);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<Latencies> {
            let _note = Note(&failed);
            let mut latencies = Latencies::new();
            let mut seen = 0;
            while seen < total {
                // A read's events all arrived by now; the clock is read once for them.
                let mut now = 0;
                subscriber.times(&mut |due| {
                    if now == 0 {
                        now = start.elapsed().as_nanos() as u64;
                    }
                    seen += 1;
                    if due >= first {
                        latencies.record(now.saturating_sub(due));
                    }
                })?;
            }
            Ok(latencies)
        });
        // Wake as exactly as the kernel can; the default slack is 50 µs.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut times = Vec::with_capacity(CATCH_UP);
        let mut next = 0u64;
        let sent = loop {
            if next >= total || failed.load(Ordering::Relaxed) {
                break Ok(());
            }
            let now = start.elapsed().as_nanos() as u64;
            times.clear();
            while next < total && times.len() < CATCH_UP && schedule.due(next) <= now {
                times.push(schedule.due(next));
                next += 1;
            }
            if !times.is_empty() {
                if let Err(error) = publisher.stamped(&times) {
                    break Err(error);
                }
            } else if pace.spin {
                std::hint::spin_loop();
            } else {
                thread::sleep(Duration::from_nanos(schedule.due(next)).saturating_sub(start.elapsed()));
            }
        };
        let received = receiver.join().map_err(|_| anyhow!("the subscriber panicked"))?;
        sent.with_context(|| format!("{name}'s publisher"))?;
        received.with_context(|| format!("{name}'s subscriber"))
    })
}

/// Questions and answers for `time`, one at a time: a question goes to one
/// topic, its receiver answers on another. Answers nanoseconds from before the
/// question is written until its answer is read.
pub fn round_trips<P: Peer + ?Sized>(peer: &P, key: &str, payload: usize, time: Duration) -> Result<Latencies> {
    let (ask, answer) = (format!("{key}-ask"), format!("{key}-answer"));
    let mut questions = peer.subscriber(&ask, payload)?;
    let mut answers = peer.subscriber(&answer, payload)?;
    let mut asking = peer.publisher(&ask, payload)?;
    let mut answering = peer.publisher(&answer, payload)?;
    thread::scope(|scope| {
        let responder = scope.spawn(move || -> Result<()> {
            let mut asked = Vec::new();
            loop {
                asked.clear();
                questions.times(&mut |id| asked.push(id))?;
                if !asked.is_empty() {
                    answering.stamped(&asked)?;
                }
                if asked.contains(&LAST) {
                    return Ok(());
                }
            }
        });
        let mut latencies = Latencies::new();
        let start = Instant::now();
        let mut ask = |id: u64| -> Result<u64> {
            let before = Instant::now();
            asking.stamped(&[id])?;
            let mut answered = false;
            while !answered {
                answers.times(&mut |of| answered |= of == id)?;
            }
            Ok(before.elapsed().as_nanos() as u64)
        };
        let mut asked = || -> Result<()> {
            for id in 0.. {
                if start.elapsed() >= time {
                    break;
                }
                latencies.record(ask(id)?);
            }
            ask(LAST)?;
            Ok(())
        };
        let asked = asked();
        let responded = responder.join().map_err(|_| anyhow!("the responder panicked"))?;
        asked.with_context(|| format!("{}'s questions", peer.name()))?;
        responded.with_context(|| format!("{}'s responder", peer.name()))?;
        Ok(latencies)
    })
}

/// The question that ends the responder.
const LAST: u64 = u64::MAX;

/// Tells the publisher that the subscriber's thread has ended, in whatever way.
struct Note<'a>(&'a AtomicBool);

impl Drop for Note<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
