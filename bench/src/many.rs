//! Very many subscriptions: how long it takes to make them, what each costs the
//! server in memory, and how fast events spread over all their topics go.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::work::{self, Delivered, Load, Peer};

/// What very many subscriptions gave.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// Subscriptions made a second.
    pub made: f64,
    /// Resident bytes of the server per subscription, with its share of the connection.
    pub bytes: f64,
    /// Events, each to another topic.
    pub delivered: Delivered,
}

/// Makes `count` subscriptions to a topic each, dealt out to `connections` in
/// turn, and publishes an event to each in turn for the load's time.
pub fn many<P: Peer + ?Sized>(peer: &P, count: usize, connections: usize, load: &Load) -> Result<Many> {
    ensure!(connections > 0 && count.is_multiple_of(connections), "{count} do not divide by {connections}");
    let keys: Vec<String> = (0..count).map(|number| format!("many/{number:07}")).collect();
    let resident = || peer.server().and_then(|s| s.memory().ok()).map_or(f64::NAN, |(now, _)| now as f64);
    let (before, start) = (resident(), Instant::now());
    let mut subscribers = Vec::new();
    for connection in 0..connections {
        let own: Vec<String> = keys.iter().skip(connection).step_by(connections).cloned().collect();
        subscribers.push(peer.watch(&own, load.payload)?);
    }
    let made = count as f64 / start.elapsed().as_secs_f64();
    // What a hub does about them behind the answers is part of their cost.
    std::thread::sleep(Duration::from_millis(300));
    let bytes = (resident() - before) / count as f64;
    let publisher = peer.spread(&keys, load.payload)?;
    let delivered = work::run(peer, subscribers, vec![publisher], load, true)?;
    Ok(Many { made, bytes, delivered })
}
