//! Clients at each hub, and their journals: what was published, what became of
//! it, and what was received.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures_lite::future::block_on;
use weft_chaos::Space;
use weft_client::{
    AckLevel, Acknowledgement, Client, MeshReport, PublisherOptions, StartAt, StreamOptions, SubscribeOptions,
};

use crate::judge::{Event, Fate, Published, Receipt, Stored};
use crate::mesh::{Mesh, name};

/// The streams: each captures what all hubs publish below its name.
pub(crate) const STREAMS: [&str; 2] = ["one", "two"];
/// How long hubs that have just started may take to see each other.
const TOGETHER: Duration = Duration::from_secs(60);
/// How long homes may take to copy from each other what is there when nothing comes any more.
const COPIED: Duration = Duration::from_secs(60);
/// Between two events of a publisher.
const TICK: Duration = Duration::from_millis(20);
/// Events of a publisher that have no answer yet, at most.
const WINDOW: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hubs that keep a stream: of the first the first one, of the second the last one and one in the middle.
pub(crate) fn homes(stream: usize, hubs: usize) -> Vec<usize> {
    if stream == 0 { vec![0] } else { vec![hubs - 1, hubs / 2] }
}

/// Who published an event, and its number, as a payload that is taken for no other.
fn payload(publisher: usize, number: usize) -> [u8; 128] {
    let mut bytes = [0; 128];
    for (place, chunk) in bytes.chunks_exact_mut(16).enumerate() {
        chunk[..8].copy_from_slice(&(publisher as u64 ^ (place as u64) << 32).to_le_bytes());
        chunk[8..].copy_from_slice(&(number as u64 ^ (place as u64) << 32).to_le_bytes());
    }
    bytes
}

/// What a payload says, if it is one of these.
fn read(bytes: &[u8]) -> Option<Event> {
    let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let event = Event { publisher: number(0)?, number: number(8)? };
    (payload(event.publisher, event.number) == bytes).then_some(event)
}

/// A client in a hub's namespace.
pub(crate) fn client(space: &Space) -> Result<Client> {
    let connected = space.run(|| block_on(Client::connect(Mesh::connect())))?;
    connected.map_err(|error| anyhow!("a client cannot connect: {error}"))
}

/// Makes a stream, once its homes see each other.
fn make(client: &Client, options: &StreamOptions) -> Result<()> {
    let end = Instant::now() + TOGETHER;
    loop {
        match block_on(client.streams().create(options)) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

/// The journal of a publisher: each event's time and fate, by number.
type Shared = Arc<Mutex<Vec<Published>>>;

/// A publisher's thread.
struct Publisher {
    thread: JoinHandle<()>,
    journal: Shared,
}

/// Everybody at work.
pub(crate) struct Load {
    start: Instant,
    clients: Vec<Client>,
    live: Vec<Publisher>,
    durable: Vec<[Publisher; 2]>,
    received: Vec<Arc<Mutex<Vec<Receipt>>>>,
    readers: Vec<JoinHandle<()>>,
    /// All publishers stop when it is set.
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Makes the streams at their homes, and begins.
    pub(crate) fn start(mesh: &Mesh, start: Instant) -> Result<Self> {
        let hubs = mesh.spaces.len();
        let clients: Result<Vec<Client>> = mesh.spaces.iter().map(client).collect();
        let clients = clients?;
        for (number, stream) in STREAMS.into_iter().enumerate() {
            let mut options = StreamOptions::new(stream, format!("{stream}/**"));
            let homes = homes(number, hubs);
            options.homes = homes.iter().map(|hub| name(*hub)).collect();
            make(&clients[homes[0]], &options).with_context(|| format!("the stream {stream}"))?;
        }
        let (mut received, mut readers) = (Vec::new(), Vec::new());
        for client in &clients {
            let journal = Arc::new(Mutex::new(Vec::new()));
            let mut events = block_on(client.subscribe("live/**", SubscribeOptions::default()))?;
            let into = journal.clone();
            readers.push(std::thread::spawn(move || {
                let mut life = 0;
                while let Some(Ok(delivery)) = block_on(events.next()) {
                    life += u32::from(delivery.gap().reconnected);
                    let mut into = lock(&into);
                    let at = start.elapsed();
                    into.extend(delivery.events().map(|event| Receipt { event: read(event.payload), at, life }));
                }
            }));
            received.push(journal);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = |client: &Client, at: usize, topic: &str, level| {
            let journal = Shared::default();
            let (client, topic, into, stop) =
                (client.clone(), format!("{topic}/{}", name(at)), journal.clone(), stop.clone());
            let thread = std::thread::spawn(move || publish(&client, at, &topic, level, start, &into, &stop));
            Publisher { thread, journal }
        };
        let live =
            clients.iter().enumerate().map(|(at, client)| publisher(client, at, "live", AckLevel::Routed)).collect();
        let durable = clients
            .iter()
            .enumerate()
            .map(|(at, client)| STREAMS.map(|stream| publisher(client, at, stream, AckLevel::Synced)))
            .collect();
        Ok(Self { start, clients, live, durable, received, readers, stop })
    }

    /// Waits until subscribers got something that was published after `since`, for
    /// each publisher and subscriber that are wanted; answers whether they did.
    pub(crate) fn all_get_what_came_after(
        &self,
        since: Duration,
        within: Duration,
        wanted: impl Fn(usize, usize) -> bool,
    ) -> bool {
        let end = Instant::now() + within;
        let pairs = || (0..self.live.len()).flat_map(|from| (0..self.live.len()).map(move |to| (from, to)));
        loop {
            if pairs()
                .filter(|(from, to)| wanted(*from, *to))
                .all(|(from, to)| self.first_after(from, to, since).is_some())
            {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// When the subscriber at `to` first got an event that was published at `from` after `since`.
    pub(crate) fn first_after(&self, from: usize, to: usize, since: Duration) -> Option<Duration> {
        let number = lock(&self.live[from].journal).partition_point(|published| published.at <= since);
        let received = lock(&self.received[to]);
        let later = received.iter().rev().take_while(|receipt| receipt.at > since);
        later
            .filter(|receipt| receipt.event.is_some_and(|e| e.publisher == from && e.number >= number))
            .map(|r| r.at)
            .last()
    }

    /// How many events each live publisher has published.
    pub(crate) fn published(&self) -> Vec<usize> {
        self.live.iter().map(|publisher| lock(&publisher.journal).len()).collect()
    }

    /// What a hub says of itself and the mesh, within a bound of time.
    pub(crate) fn report(&self, hub: usize, within: Duration) -> Option<MeshReport> {
        let (say, said) = std::sync::mpsc::channel();
        let client = self.clients[hub].clone();
        std::thread::spawn(move || {
            let _ = say.send(block_on(client.mesh()));
        });
        said.recv_timeout(within).ok()?.ok()
    }

    /// Lets everybody finish: publishers get answers for all that they have published.
    pub(crate) fn finish(self, within: Duration) -> Result<Journals> {
        self.stop.store(true, Ordering::Release);
        let end = Instant::now() + within;
        let all = || self.live.iter().chain(self.durable.iter().flatten());
        while !all().all(|publisher| publisher.thread.is_finished()) {
            let waiting = || all().flat_map(|p| lock(&p.journal).clone()).filter(|p| p.fate == Fate::Open).count();
            ensure!(Instant::now() < end, "{} publishes have no answer after {within:?}", waiting());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let journal = |publisher: Publisher| -> Result<Vec<Published>> {
            publisher.thread.join().map_err(|_| anyhow!("a publisher panicked"))?;
            Ok(std::mem::take(&mut *lock(&publisher.journal)))
        };
        let live = self.live.into_iter().map(journal).collect::<Result<_>>()?;
        let mut durable = Vec::new();
        for [one, two] in self.durable {
            durable.push([journal(one)?, journal(two)?]);
        }
        Ok(Journals {
            start: self.start,
            clients: self.clients,
            readers: self.readers,
            live,
            durable,
            received: self.received,
        })
    }
}

/// What was written down, with the subscribers still at work.
pub(crate) struct Journals {
    start: Instant,
    clients: Vec<Client>,
    readers: Vec<JoinHandle<()>>,
    pub(crate) live: Vec<Vec<Published>>,
    pub(crate) durable: Vec<[Vec<Published>; 2]>,
    received: Vec<Arc<Mutex<Vec<Receipt>>>>,
}

impl Journals {
    /// Waits until every subscriber has the last event of every publisher, or no longer.
    pub(crate) fn wait_for_the_last(&self, within: Duration) {
        let end = self.start.elapsed() + within;
        let last = |publisher: usize| self.live[publisher].iter().rposition(|p| p.fate == Fate::Acknowledged);
        let has = |received: &[Receipt], publisher: usize| {
            let last = last(publisher).map(|number| Event { publisher, number });
            last.is_none() || received.iter().rev().any(|receipt| receipt.event == last)
        };
        while self.start.elapsed() < end {
            if self.received.iter().all(|received| (0..self.live.len()).all(|p| has(&lock(received), p))) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Reads a stream at each of its homes, once these have all of each other.
    pub(crate) fn read(&self, stream: usize) -> Result<Vec<Stored>> {
        let homes = homes(stream, self.clients.len());
        let end = Instant::now() + COPIED;
        loop {
            let mut places = Vec::new();
            for home in &homes {
                let report = block_on(self.clients[*home].streams().info(STREAMS[stream]))?;
                ensure!(
                    report.home == name(*home),
                    "{} is asked for its stream, and {} answers",
                    name(*home),
                    report.home
                );
                // A home says its own place first.
                places.push(BTreeMap::from_iter(report.position));
            }
            if places.windows(2).all(|two| two[0] == two[1]) {
                break;
            }
            ensure!(
                Instant::now() < end,
                "the homes of {} do not have the same after {COPIED:?}: {places:?}",
                STREAMS[stream]
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
        homes.iter().map(|home| self.read_at(*home, stream)).collect()
    }

    /// Reads a stream from its first event on, as one of its homes keeps it.
    fn read_at(&self, home: usize, stream: usize) -> Result<Stored> {
        let client = &self.clients[home];
        let mut stored = Stored::default();
        block_on(async {
            let end = client.streams().info(STREAMS[stream]).await?.next;
            let mut events = client.subscribe("**", SubscribeOptions::stream(STREAMS[stream], StartAt::First)).await?;
            while let Some(delivery) = events.next_below(end).await {
                let delivery = delivery?;
                stored.missing += delivery.gap().events;
                stored.events.extend(delivery.events().map(|event| read(event.payload)));
            }
            stored.missing += events.gap_behind().events;
            Ok(stored)
        })
    }

    /// What a hub says of itself and the mesh.
    pub(crate) fn report(&self, hub: usize) -> Result<MeshReport> {
        Ok(block_on(self.clients[hub].mesh())?)
    }

    /// Ends the subscribers; answers what each received.
    pub(crate) fn end(self) -> Vec<Vec<Receipt>> {
        for client in &self.clients {
            block_on(client.clone().close());
        }
        for reader in self.readers {
            let _ = reader.join();
        }
        self.received.iter().map(|received| std::mem::take(&mut *lock(received))).collect()
    }
}

fn publish(
    client: &Client,
    at: usize,
    topic: &str,
    level: AckLevel,
    start: Instant,
    journal: &Mutex<Vec<Published>>,
    stop: &AtomicBool,
) {
    let publisher = client.publisher(PublisherOptions::level(level));
    let mut waiting: VecDeque<(usize, Acknowledgement)> = VecDeque::new();
    let settle = |number: usize, good: bool| {
        let fate = if good { Fate::Acknowledged } else { Fate::Refused };
        if let Some(published) = lock(journal).get_mut(number) {
            (published.fate, published.answered) = (fate, Some(start.elapsed()));
        }
    };
    let mut number = 0;
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        if waiting.len() < WINDOW {
            // Written down first: what nobody wrote down must not arrive.
            lock(journal).push(Published { at: start.elapsed(), answered: None, fate: Fate::Open });
            match block_on(publisher.publish(topic, &payload(at, number))) {
                Ok(acknowledgement) => waiting.push_back((number, acknowledgement)),
                Err(_) => settle(number, false),
            }
            number += 1;
        }
        while let Some((number, done)) = waiting.front().and_then(|(number, first)| Some((*number, first.try_get()?))) {
            settle(number, done.is_ok());
            waiting.pop_front();
        }
        due += TICK;
        while let Some(pause) = due.checked_duration_since(Instant::now()).filter(|pause| !pause.is_zero()) {
            std::thread::park_timeout(pause);
        }
        due = due.max(Instant::now().checked_sub(TICK).unwrap_or(due));
    }
    for (number, last) in waiting {
        settle(number, block_on(last).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_whose_it_is_and_a_changed_one_is_taken_for_no_event() {
        let mut bytes = payload(3, 70_000);
        assert_eq!(read(&bytes), Some(Event { publisher: 3, number: 70_000 }));
        bytes[100] ^= 1;
        assert_eq!(read(&bytes), None);
        assert_eq!(read(b"short"), None);
    }
}
