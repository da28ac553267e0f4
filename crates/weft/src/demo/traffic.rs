//! Publishers that follow the flights' clock, and subscribers that note what
//! they get. Each has a thread; all share one clock and one book of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::future::block_on;
use weft_base::{Clock, Lane, SystemClock, UnixNanos};
use weft_client::{AckLevel, Acknowledgement, Client, EventFields, HeadersWriter, PublisherOptions, Subscription};

use super::check::Moment;
use super::flights::{HUBS, HubIndex, Kind, Planned};

/// The header that carries an event's number.
const NUMBER: &str = "ce-id";
/// Acknowledgements that may wait to be noted.
const WAITING: usize = 4_096;

/// What is known of every event, by its number: its place in the plan.
pub(crate) struct Book {
    pub(crate) clock: SystemClock,
    pub(crate) planned: Vec<Planned>,
    /// When it was handed to the client; 0 before.
    from: Vec<AtomicU64>,
    /// When its acknowledgement came; 0 before, or never.
    acknowledged: Vec<AtomicU64>,
    /// In which life of its hub it entered the mesh.
    epochs: Vec<AtomicU64>,
    pub(crate) published: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// Deliveries to live subscriptions, by hub.
    pub(crate) delivered: [AtomicU64; HUBS.len()],
    /// Set when all else is over and the closing events may be published.
    pub(crate) close: AtomicBool,
    /// Set when publishers are to give up.
    pub(crate) stop: AtomicBool,
}

impl Book {
    pub(crate) fn new(planned: Vec<Planned>) -> Arc<Self> {
        let zeros = || planned.iter().map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            clock: SystemClock::new(),
            from: zeros(),
            acknowledged: zeros(),
            epochs: zeros(),
            published: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            delivered: Default::default(),
            close: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            planned,
        })
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now().mono.0
    }

    pub(crate) fn from(&self, number: usize) -> Moment {
        self.from.get(number).map_or(0, |from| from.load(Ordering::Relaxed))
    }

    pub(crate) fn acknowledged(&self, number: usize) -> Option<Moment> {
        self.acknowledged.get(number).map(|at| at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub(crate) fn epoch(&self, number: usize) -> u64 {
        self.epochs.get(number).map_or(0, |epoch| epoch.load(Ordering::Relaxed))
    }

    pub(crate) fn total(&self) -> u64 {
        self.planned.len() as u64
    }
}

/// The events of one kind at one hub.
pub(crate) struct Publishing {
    pub(crate) hub: HubIndex,
    pub(crate) kind: Kind,
}

impl Publishing {
    /// All there are.
    pub(crate) fn all() -> impl Iterator<Item = Publishing> {
        let kinds = [Kind::Departed, Kind::Arrived, Kind::Alert];
        (0..HUBS.len()).flat_map(move |hub| kinds.map(|kind| Publishing { hub, kind }))
    }

    /// The number of the publisher of an event.
    pub(crate) fn number(hub: HubIndex, kind: Kind) -> usize {
        hub * 3 + kind as usize
    }

    fn options(&self) -> PublisherOptions {
        match self.kind {
            Kind::Departed => PublisherOptions::level(AckLevel::Synced),
            Kind::Arrived => PublisherOptions::level(AckLevel::Routed),
            Kind::Alert => PublisherOptions::level(AckLevel::Routed).lane(Lane::URGENT),
        }
    }

    /// Publishes each event when its minute comes, in a thread of its own;
    /// another notes the acknowledgements.
    pub(crate) fn start(self, book: &Arc<Book>, client: &Client, pace: Pace) -> Vec<JoinHandle<Result<(), String>>> {
        let (send, receive) = mpsc::sync_channel::<(usize, Acknowledgement)>(WAITING);
        let publisher = client.publisher(self.options());
        let notes = book.clone();
        let noting = std::thread::spawn(move || {
            let mut outcome = Ok(());
            for (number, acknowledgement) in receive {
                let answer = block_on(acknowledgement);
                notes.answered.fetch_add(1, Ordering::Relaxed);
                match answer {
                    Ok(published) => {
                        notes.epochs[number].store(u64::from(published.epoch.0), Ordering::Relaxed);
                        notes.acknowledged[number].store(notes.now(), Ordering::Relaxed);
                    }
                    Err(error) if outcome.is_ok() => {
                        outcome = Err(format!("event {number} ({}): {error}", notes.planned[number].topic));
                    }
                    Err(_) => {}
                }
            }
            outcome
        });
        let book = book.clone();
        let publishing = std::thread::spawn(move || {
            let mut headers = Vec::new();
            for (number, event) in book.planned.iter().enumerate() {
                if event.hub != self.hub || event.kind != self.kind {
                    continue;
                }
                if !pace.wait(&book, event) {
                    return Ok(());
                }
                headers.clear();
                let mut writer = HeadersWriter::new(&mut headers);
                writer.push(NUMBER, number.to_string().as_bytes()).map_err(|e| e.to_string())?;
                let time = u64::try_from(event.minute).unwrap_or(0).saturating_mul(60_000_000_000);
                let fields = EventFields {
                    time: UnixNanos(time),
                    key: b"",
                    headers: &headers,
                    payload: event.payload.as_bytes(),
                };
                book.from[number].store(book.now().max(1), Ordering::Relaxed);
                let taken = block_on(publisher.publish_event(&event.topic, fields));
                let acknowledgement = taken.map_err(|e| format!("event {number} ({}): {e}", event.topic))?;
                book.published.fetch_add(1, Ordering::Relaxed);
                if send.send((number, acknowledgement)).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        });
        vec![publishing, noting]
    }
}

/// How the flights' clock runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the first minute is.
    pub(crate) start: Moment,
    pub(crate) first_minute: i64,
    pub(crate) speed: u32,
}

impl Pace {
    /// When a minute is.
    pub(crate) fn moment(&self, minute: i64) -> Moment {
        let minutes = u64::try_from(minute - self.first_minute).unwrap_or(0);
        self.start + minutes.saturating_mul(60_000_000_000) / u64::from(self.speed.max(1))
    }

    /// Waits until it is time for an event; false when it is time to give up.
    fn wait(&self, book: &Book, event: &Planned) -> bool {
        loop {
            if book.stop.load(Ordering::Relaxed) {
                return false;
            }
            let left = self.moment(event.minute).saturating_sub(book.now());
            if left == 0 && (!event.closing || book.close.load(Ordering::Relaxed)) {
                return true;
            }
            std::thread::sleep(Duration::from_nanos(left).clamp(Duration::from_micros(50), Duration::from_millis(20)));
        }
    }
}

/// A delivery of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) number: u32,
    /// The stream's sequence; 0 when live.
    pub(crate) sequence: u64,
    pub(crate) hops: u8,
    /// From the publisher's call to here.
    pub(crate) nanos: u64,
}

/// All that one subscription got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) got: Vec<Got>,
    /// Events that gap marks said were dropped.
    pub(crate) marked: u64,
    /// How often the connection was lost in between.
    pub(crate) reconnections: u64,
    /// What ended it, if it was an error.
    pub(crate) error: Option<String>,
}

impl Notes {
    /// Notes a delivery.
    fn take(&mut self, book: &Book, delivery: &weft_client::Delivery) -> u64 {
        let now = book.now();
        let gap = delivery.gap();
        self.marked += gap.events;
        self.reconnections += u64::from(gap.reconnected);
        let (first, hops) = (delivery.stream_sequence(), delivery.hops());
        let before = self.got.len();
        for (index, event) in (0_u64..).zip(delivery.events()) {
            let number = event.headers.get(NUMBER).and_then(|value| std::str::from_utf8(value).ok());
            // An event of somebody else has no place in the book; the judge will say so.
            let number = number.and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
            let nanos = now.saturating_sub(book.from(number as usize));
            let sequence = if first == 0 { 0 } else { first + index };
            self.got.push(Got { number, sequence, hops, nanos });
        }
        (self.got.len() - before) as u64
    }
}

/// Notes what a live subscription gets until its client is closed.
pub(crate) fn collect(book: &Arc<Book>, hub: Option<HubIndex>, mut subscription: Subscription) -> JoinHandle<Notes> {
    let book = book.clone();
    std::thread::spawn(move || {
        let mut notes = Notes::default();
        while let Some(item) = block_on(subscription.next()) {
            match item {
                Ok(delivery) => {
                    let count = notes.take(&book, &delivery);
                    if let Some(delivered) = hub.and_then(|hub| book.delivered.get(hub)) {
                        delivered.fetch_add(count, Ordering::Relaxed);
                    }
                }
                Err(error) => notes.error = Some(error.to_string()),
            }
        }
        notes
    })
}

/// Reads a stream up to, but not including, `end`.
pub(crate) async fn replay(book: &Book, mut subscription: Subscription, end: u64) -> anyhow::Result<Notes> {
    let mut notes = Notes::default();
    let mut next = subscription.start_sequence();
    while next < end {
        let delivery = subscription.next().await.ok_or_else(|| anyhow::anyhow!("the replay ended early"))??;
        notes.take(book, &delivery);
        next = delivery.stream_sequence() + u64::from(delivery.event_count());
    }
    Ok(notes)
}
