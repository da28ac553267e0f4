//! Zenoh as a peer: `router` runs a router, as `zenohd` does; `deliver`,
//! `open-loop` and `round-trips` connect to one, do the work that every peer is
//! given, and print what it gave as JSON.
//!
//! The work itself is the benchmarks' own, taken from their files. The client is
//! Zenoh's crate: events are put one by one and batched by Zenoh; a subscriber's
//! callback notes the time in each payload, and a thread takes what was noted.
#![forbid(unsafe_code)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../src/latency.rs"]
mod latency;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/process.rs"]
mod process;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/work.rs"]
mod work;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use zenoh::Wait;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;

use crate::process::Server;
use crate::work::{Peer, Publish, Subscribe};

/// A Zenoh router, or clients of one.
#[derive(Parser)]
enum Task {
    /// Runs a router until it is stopped.
    Router {
        /// Where it listens, `127.0.0.1:PORT`.
        address: String,
    },
    /// Delivered events a second.
    Deliver(Work),
    /// Latency at a fixed rate.
    OpenLoop(Work),
    /// Questions and answers: payload bytes and seconds as a pair.
    RoundTrips(Work),
}

#[derive(clap::Args)]
struct Work {
    /// The router.
    address: String,
    /// Its process.
    pid: u32,
    /// The load, the pace, or payload and time, as JSON.
    what: String,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Router { address } => {
            let _session = open("router", "listen", &address)?;
            loop {
                std::thread::park();
            }
        }
        Task::Deliver(work) => {
            let load = serde_json::from_str(&work.what)?;
            println!("{}", serde_json::to_string(&work.peer().deliver("bench", &load)?)?);
        }
        Task::OpenLoop(work) => {
            let pace = serde_json::from_str(&work.what)?;
            println!("{}", serde_json::to_string(&work.peer().open_loop("bench", &pace)?.pairs())?);
        }
        Task::RoundTrips(work) => {
            let (payload, time): (usize, Duration) = serde_json::from_str(&work.what)?;
            println!("{}", serde_json::to_string(&work.peer().round_trips("bench", payload, time)?.pairs())?);
        }
    }
    Ok(())
}

impl Work {
    fn peer(&self) -> Router {
        Router { address: self.address.clone(), pid: self.pid }
    }
}

fn open(mode: &str, side: &str, address: &str) -> Result<zenoh::Session> {
    let config = format!(
        "{{ mode: \"{mode}\", {side}: {{ endpoints: [\"tcp/{address}\"] }}, \
         scouting: {{ multicast: {{ enabled: false }}, gossip: {{ enabled: false }} }} }}"
    );
    let config = zenoh::Config::from_json5(&config).map_err(|e| anyhow!("{e}"))?;
    zenoh::open(config).wait().map_err(|e| anyhow!("{mode} at {address}: {e}"))
}

/// A router that runs in another process.
struct Router {
    address: String,
    pid: u32,
}

impl Peer for Router {
    fn name(&self) -> &str {
        "Zenoh"
    }

    fn version(&self) -> String {
        String::new()
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds(self.pid).unwrap_or(f64::NAN)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        let session = open("client", "connect", &self.address)?;
        let publisher = session
            .declare_publisher(key.to_owned())
            .congestion_control(CongestionControl::Block)
            .wait()
            .map_err(|e| anyhow!("{e}"))?;
        let batch = ((64 << 10) / (payload + 16)).max(1) as u64;
        Ok(Box::new(Putter { publisher, _session: session, payload: vec![b'x'; payload], batch }))
    }

    fn subscriber(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        let session = open("client", "connect", &self.address)?;
        let noted = Arc::new(Noted::default());
        let notes = noted.clone();
        let subscriber = session
            .declare_subscriber(key.to_owned())
            .callback(move |sample| {
                let bytes = sample.payload().to_bytes();
                let time = bytes.first_chunk::<8>().map_or(0, |time| u64::from_le_bytes(*time));
                let mut times = notes.lock();
                times.push(time);
                // Whoever waits has found it empty.
                if times.len() == 1 {
                    notes.some.notify_one();
                }
            })
            .wait()
            .map_err(|e| anyhow!("{e}"))?;
        // Zenoh does not say when a subscription is in force at the router.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Box::new(Taker { noted, taken: Vec::new(), _subscriber: subscriber, _session: session }))
    }
}

struct Putter {
    publisher: Publisher<'static>,
    _session: zenoh::Session,
    payload: Vec<u8>,
    batch: u64,
}

impl Putter {
    fn put(&self) -> Result<()> {
        self.publisher.put(self.payload.as_slice()).wait().map_err(|e| anyhow!("{e}"))
    }
}

impl Publish for Putter {
    fn batch(&mut self) -> Result<u64> {
        (0..self.batch).try_for_each(|_| self.put())?;
        Ok(self.batch)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        for time in times {
            self.payload[..8].copy_from_slice(&time.to_le_bytes());
            self.put()?;
        }
        Ok(())
    }
}

/// The times of what arrived and was not taken yet.
#[derive(Default)]
struct Noted {
    times: Mutex<Vec<u64>>,
    some: Condvar,
}

impl Noted {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Taker {
    noted: Arc<Noted>,
    taken: Vec<u64>,
    _subscriber: zenoh::pubsub::Subscriber<()>,
    _session: zenoh::Session,
}

impl Taker {
    fn take(&mut self) -> Result<()> {
        self.taken.clear();
        let waited = self.noted.some.wait_timeout_while(self.noted.lock(), Duration::from_secs(20), |t| t.is_empty());
        let (mut times, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!times.is_empty(), "waited in vain for events");
        std::mem::swap(&mut *times, &mut self.taken);
        Ok(())
    }
}

impl Subscribe for Taker {
    fn count(&mut self) -> Result<u64> {
        self.take()?;
        Ok(self.taken.len() as u64)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.take()?;
        self.taken.iter().for_each(|time| each(*time));
        Ok(())
    }
}
