//! Flights that stay in the air after the main job, for whoever looks at the dashboard:
//! the three days again and again, and subscribers at each hub that take them.
//!
//! Nothing here is counted or judged. An event that cannot be published, since its hub
//! is down, is passed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use weft_base::Lane;
use weft_client::{AckLevel, Client, PublisherOptions, SubscribeOptions};

use super::SUBSCRIPTIONS;
use super::flights::{HUBS, HubIndex, Kind};
use super::hubs::Hubs;
use super::traffic::Book;

/// How many times faster than they flew: some hundred events a second.
const SPEED: u64 = 3_000;
/// The longest pause between two events.
const LONGEST: Duration = Duration::from_millis(500);

/// Publishers and subscribers, until they are stopped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<Client>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts them.
    pub(super) async fn start(hubs: &Hubs, book: &Arc<Book>) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut clients, mut threads) = (Vec::new(), Vec::new());
        for (index, hub) in HUBS.iter().enumerate() {
            let client = hubs.connect(index, &format!("demo {}", hub.name)).await?;
            for (_, filter) in SUBSCRIPTIONS.iter().filter(|(at, _)| *at == index) {
                let mut subscription = client.subscribe(filter, SubscribeOptions::default()).await?;
                threads.push(std::thread::spawn(move || while block_on(subscription.next()).is_some() {}));
            }
            let (publisher, book, stop) = (client.clone(), book.clone(), stop.clone());
            threads.push(std::thread::spawn(move || fly(&publisher, index, &book, &stop)));
            clients.push(client);
        }
        Ok(Self { stop, clients, threads })
    }

    /// Ends them.
    ///
    /// # Errors
    /// A thread has failed.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            block_on(client.close());
        }
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the demo's flights failed"))?;
        }
        Ok(())
    }
}

/// Publishes what happens at a hub, again and again.
fn fly(client: &Client, hub: HubIndex, book: &Book, stop: &AtomicBool) {
    let publisher = |lane| client.publisher(PublisherOptions::level(AckLevel::None).lane(lane));
    let (plain, urgent) = (publisher(Lane::DEFAULT), publisher(Lane::URGENT));
    let own = || book.planned.iter().filter(|event| event.hub == hub);
    let Some(first) = own().map(|event| event.minute).min() else { return };
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for event in own() {
            let minutes = u64::try_from(event.minute - first).unwrap_or_default();
            let due = Duration::from_nanos(minutes.saturating_mul(60_000_000_000) / SPEED);
            while begun.elapsed() < due && !stop.load(Ordering::Relaxed) {
                std::thread::sleep((due.saturating_sub(begun.elapsed())).min(LONGEST / 10));
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let publisher = if event.kind == Kind::Alert { &urgent } else { &plain };
            // A publisher that waits for a hub that is down would be late for all that follows.
            let _ = publisher.try_publish(&event.topic, event.payload.as_bytes());
        }
    }
}
