//! Streams read from their first event on, and shared by a group that
//! acknowledges each event by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::acked::Durable;
use crate::work::Subscribe;

/// How long a group may go without an event before they count as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose streams can be read again.
pub trait Streams: Durable {
    /// A reader of all that the stream holds, from the first event on, as fast as it goes.
    fn reader(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>>;

    /// So many members of one durable consumer, each on a connection of its own.
    fn group(&self, key: &str, members: usize) -> Result<Vec<Box<dyn Work>>>;

    /// A reader of what is new in a stream of its own, made for it, with its publisher.
    fn live(&self, key: &str, payload: usize) -> Result<(Box<dyn crate::work::Publish>, Box<dyn Subscribe>)>;
}

/// A member of a group.
pub trait Work: Send {
    /// Waits a moment for events, and acknowledges each; answers how many there were.
    fn work(&mut self) -> Result<u64>;

    /// Returns when the server has all acknowledgements.
    fn finish(&mut self) -> Result<()>;
}

/// Events a second of one pass over a stream of so many events.
pub fn replay(peer: &dyn Streams, key: &str, payload: usize, events: u64) -> Result<f64> {
    let start = Instant::now();
    let mut reader = peer.reader(key, payload)?;
    let mut seen = 0;
    while seen < events {
        seen += reader.count().with_context(|| format!("{}'s reader, after {seen} events", peer.name()))?;
    }
    ensure!(seen == events, "{} played {seen} events of {events}", peer.name());
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

/// Events a second that a group takes and acknowledges, until it has had them all.
pub fn shared(peer: &dyn Streams, key: &str, members: usize, events: u64) -> Result<f64> {
    let group = peer.group(key, members)?;
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let (done, failed) = (&done, &failed);
        let threads: Vec<_> = group
            .into_iter()
            .map(|mut member| {
                scope.spawn(move || -> Result<()> {
                    let mut work = || -> Result<()> {
                        let mut last = Instant::now();
                        while done.load(Ordering::Acquire) < events && !failed.load(Ordering::Relaxed) {
                            let taken = member.work()?;
                            done.fetch_add(taken, Ordering::AcqRel);
                            if taken > 0 {
                                last = Instant::now();
                            }
                            ensure!(last.elapsed() < PATIENCE, "nothing came for {PATIENCE:?}");
                        }
                        member.finish()
                    };
                    let ended = work();
                    failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                    ended
                })
            })
            .collect();
        for thread in threads {
            let ended = thread.join().map_err(|_| anyhow!("a member panicked"))?;
            ended.with_context(|| format!("{}'s group", peer.name()))?;
        }
        Ok(())
    })?;
    let taken = done.load(Ordering::Acquire);
    ensure!(taken == events, "{} handed out {taken} events of {events}", peer.name());
    Ok(events as f64 / start.elapsed().as_secs_f64())
}
