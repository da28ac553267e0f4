//! Publishers at each level of acknowledgement, and the judgement of what the
//! stream holds afterwards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures_lite::future::block_on;
use weft_client::{
    AckLevel, Client, ConnectOptions, PublisherOptions, StartAt, StreamOptions, SubscribeError, SubscribeOptions,
};

use crate::hub::{Hub, until};

/// The stream that all of it goes to.
pub(crate) const STREAM: &str = "crash";
/// The levels, each with its topic.
pub(crate) const LEVELS: [(AckLevel, &str); 3] =
    [(AckLevel::Routed, "routed"), (AckLevel::Written, "written"), (AckLevel::Synced, "synced")];
/// Events of a publisher that are not acknowledged, at most.
const WINDOW: usize = 128;
const PAYLOAD: usize = 128;

/// The whole payload tells level and number, so that none is taken for another.
pub(crate) fn payload(level: usize, number: u64) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ level as u64;
    for chunk in bytes.chunks_exact_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// What became of an event at its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Refused,
}

struct Publisher {
    thread: JoinHandle<Vec<Fate>>,
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

/// Publishers at work.
pub(crate) struct Load {
    publishers: Vec<Publisher>,
    stop: Arc<AtomicBool>,
}

/// What was published at one level, and what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledged ones that the stream holds.
    pub(crate) recovered: u64,
    /// Acknowledged ones that it does not hold.
    pub(crate) lost: u64,
    /// Those that it holds more than once.
    pub(crate) repeated: u64,
    /// Those that stand after a later one of the same publisher.
    pub(crate) disordered: u64,
}

/// All levels' counts, and what should not be at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) counts: [Count; 3],
    /// Events that nobody published, or that are not as they were published.
    pub(crate) foreign: u64,
    /// Events of which the hub said that it cannot serve them.
    pub(crate) told: u64,
    /// Of each level and number, whether the stream holds it.
    pub(crate) held: [Vec<bool>; 3],
}

impl Load {
    /// Makes the stream and begins to publish.
    pub(crate) fn start(hub: &Hub) -> Self {
        let client = block_on(Client::connect(hub.connect())).expect("the hub answers");
        let mut stream = StreamOptions::new(STREAM, "t/**");
        stream.segment = Some(weft_base::ByteCount::mib(4));
        block_on(client.streams().create(&stream)).expect("a stream");
        block_on(client.close());
        let stop = Arc::new(AtomicBool::new(false));
        let publishers = (0..LEVELS.len()).map(|level| publisher(level, hub.connect(), stop.clone())).collect();
        Self { publishers, stop }
    }

    /// Waits until so many more are acknowledged at each level.
    pub(crate) fn advance(&self, events: u64) {
        let read = |p: &Publisher| p.acknowledged.load(Ordering::Acquire);
        let goals: Vec<u64> = self.publishers.iter().map(|p| read(p) + events).collect();
        until("events are acknowledged", || {
            assert!(self.publishers.iter().all(|p| !p.thread.is_finished()), "a publisher gave up");
            self.publishers.iter().zip(&goals).all(|(p, goal)| read(p) >= *goal)
        });
    }

    /// Waits until so many are refused at this level.
    pub(crate) fn refused(&self, level: usize, events: u64) {
        until("events are refused", || self.publishers[level].refused.load(Ordering::Acquire) >= events);
    }

    /// Ends the publishers once everything has an answer.
    pub(crate) fn finish(self) -> Published {
        self.stop.store(true, Ordering::Release);
        let fates = self.publishers.into_iter().map(|p| p.thread.join().expect("the publisher did not panic"));
        Published(fates.collect())
    }
}

fn publisher(level: usize, connect: ConnectOptions, stop: Arc<AtomicBool>) -> Publisher {
    let (acknowledged, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (acknowledged.clone(), refused.clone());
    let thread = std::thread::spawn(move || {
        let client = block_on(Client::connect(connect)).expect("the hub answers");
        let publisher = client.publisher(PublisherOptions::level(LEVELS[level].0));
        let topic = format!("t/{}", LEVELS[level].1);
        let (mut fates, mut waiting) = (Vec::new(), VecDeque::new());
        let mut settle = |done: Result<weft_client::Published, weft_client::PublishError>| {
            let fate = if done.is_ok() { Fate::Acknowledged } else { Fate::Refused };
            let count = if done.is_ok() { &counts.0 } else { &counts.1 };
            count.fetch_add(1, Ordering::AcqRel);
            fates.push(fate);
        };
        block_on(async {
            let mut number = 0;
            while !stop.load(Ordering::Acquire) {
                while waiting.len() < WINDOW {
                    waiting.push_back(publisher.publish(&topic, &payload(level, number)).await.expect("it is taken"));
                    number += 1;
                }
                for _ in 0..WINDOW / 2 {
                    if let Some(first) = waiting.pop_front() {
                        settle(first.await);
                    }
                }
            }
            for last in waiting {
                settle(last.await);
            }
            client.close().await;
        });
        fates
    });
    Publisher { thread, acknowledged, refused }
}

/// What was published, by level and number.
pub(crate) struct Published(Vec<Vec<Fate>>);

impl Published {
    /// Reads the whole stream and judges it.
    pub(crate) fn judge(&self, hub: &Hub) -> Verdict {
        let mut seen: Vec<Vec<u8>> = self.0.iter().map(|fates| vec![0; fates.len()]).collect();
        let mut verdict = Verdict::default();
        let mut last = [None; 3];
        let read: Result<(), SubscribeError> = block_on(async {
            let client = Client::connect(hub.connect()).await.expect("the hub answers");
            let report = client.streams().info(STREAM).await.expect("a report");
            let replay = SubscribeOptions::stream(STREAM, StartAt::First);
            let mut events = client.subscribe("**", replay).await?;
            while let Some(delivery) = events.next_below(report.next).await {
                let delivery = delivery?;
                verdict.told += delivery.gap().events;
                let level = LEVELS.iter().position(|(_, name)| delivery.topic() == format!("t/{name}"));
                for event in delivery.events() {
                    let number = event.payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
                    let known = level.filter(|l| event.payload == payload(*l, number));
                    let Some((level, count)) =
                        known.and_then(|l| Some((l, seen.get_mut(l)?.get_mut(usize::try_from(number).ok()?)?)))
                    else {
                        verdict.foreign += 1;
                        continue;
                    };
                    *count = count.saturating_add(1);
                    verdict.counts[level].disordered += u64::from(last[level] > Some(number));
                    last[level] = last[level].max(Some(number));
                }
            }
            verdict.told += events.gap_behind().events;
            client.close().await;
            Ok(())
        });
        read.expect("the stream can be read");
        for (level, fates) in self.0.iter().enumerate() {
            let count = &mut verdict.counts[level];
            count.published = fates.len() as u64;
            for (fate, seen) in fates.iter().zip(&seen[level]) {
                let acknowledged = *fate == Fate::Acknowledged;
                count.acknowledged += u64::from(acknowledged);
                count.recovered += u64::from(acknowledged && *seen > 0);
                count.lost += u64::from(acknowledged && *seen == 0);
                count.repeated += u64::from(*seen > 1);
            }
            verdict.held[level] = seen[level].iter().map(|times| *times > 0).collect();
        }
        verdict
    }
}
