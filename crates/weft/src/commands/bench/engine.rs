//! Publishers and subscribers on threads of their own, and what they saw.
//!
//! Each event carries the time at which it was due, in nanoseconds since this
//! program began to measure; a subscriber counts its latency from then. What
//! arrives late from a step before is left out. A step ends when all that was
//! published arrived, or when nothing came for a while: the rest is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use futures_lite::Stream;
use futures_lite::future::block_on;
use weft_base::{Lane, Random};
use weft_client::{
    AckLevel, Acknowledgement, Client, Delivery, PublishError, Publisher, PublisherOptions, SubscribeError,
    SubscribeOptions, Subscription,
};
use weft_load::latency::Latencies;
use weft_load::pace::Pace;
use weft_load::ramp::Step;
use weft_load::saturated::{self, Stage};

use super::threads::Snapshot;
use crate::cli::ServerArgs;
use crate::connect::{connect_for, why};

/// Nothing arrives for this long: what is missing is lost.
const QUIET: Duration = Duration::from_secs(2);
/// For how long a hub that went away is waited for: what is measured after it is not that hub.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often a waiting subscriber looks whether the step is over.
const LOOK: Duration = Duration::from_millis(50);
/// Events sent between two readings of the clock.
const BURST: u64 = 64;
/// What is not known yet.
const UNKNOWN: u64 = u64::MAX;
/// The part of a step that warms up, and the part after which the hub is asked how it does.
const WARM_UP: f64 = 0.2;
const ASK: f64 = 0.8;

/// What load to make.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    pub(super) size: usize,
    /// Publishers take them in turn.
    pub(super) lanes: Vec<Lane>,
    pub(super) level: AckLevel,
    /// Without a rate: how many events publishers may be ahead of the slowest subscriber.
    pub(super) window: u64,
    /// How long a step publishes.
    pub(super) time: Duration,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// As the subscribers take it, within the window.
    Most,
    /// Events a second, when they are due.
    Fixed(f64),
}

/// What a step gave.
pub(super) struct Outcome {
    pub(super) rate: Rate,
    /// Events published, and those that were due and could not be.
    pub(super) published: u64,
    pub(super) unsent: u64,
    /// Over all subscribers.
    pub(super) delivered: u64,
    /// Published, and missing at a subscriber; over all subscribers.
    pub(super) lost: u64,
    /// Of those, what the hub said it dropped.
    pub(super) dropped: u64,
    /// From the start until the last event arrived.
    pub(super) seconds: f64,
    /// By lane, after the warm-up.
    pub(super) lanes: Vec<(Lane, Latencies)>,
    /// The hub's stages and this program's threads, under load.
    pub(super) hub: Vec<Stage>,
    pub(super) generator: Vec<Stage>,
}

impl Outcome {
    /// Delivered events a second, over all subscribers.
    pub(super) fn delivered_rate(&self) -> f64 {
        self.delivered as f64 / self.seconds.max(1e-9)
    }

    /// All lanes together.
    pub(super) fn all(&self) -> Latencies {
        let mut all = Latencies::new();
        self.lanes.iter().for_each(|(_, seen)| all.merge(seen));
        all
    }

    /// What the ramp decides by.
    pub(super) fn step(&self, offered: f64) -> Step {
        let due = (self.published + self.unsent).max(1);
        let arrived = self.delivered as f64 / (self.delivered + self.lost).max(1) as f64;
        let achieved = offered * (self.published as f64 / due as f64) * arrived;
        Step { offered, achieved, p99: self.all().at(0.99), lost: self.lost }
    }

    pub(super) fn verdict(&self) -> saturated::Verdict {
        saturated::first(&self.hub, &self.generator)
    }
}

struct Sender {
    client: Client,
    publisher: Publisher,
    topic: String,
    payload: Vec<u8>,
}

struct Receiver {
    client: Client,
    subscription: Subscription,
}

/// Everybody who takes part, connected.
pub(super) struct Ends {
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    /// From when times are counted.
    began: Instant,
    name: String,
    filter: String,
}

/// What the threads of a step share.
struct Course {
    began: Instant,
    /// When the step starts, when recording starts, and when publishing ends; nanoseconds since `began`.
    start: u64,
    warm: u64,
    end: u64,
    sent: AtomicU64,
    got: Vec<AtomicU64>,
    /// How many events each subscriber is to get, once that is known.
    total: AtomicU64,
}

impl Course {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, time: u64) {
        thread::sleep(Duration::from_nanos(time.saturating_sub(self.now())));
    }
}

/// What a subscriber saw.
struct Seen {
    events: u64,
    dropped: u64,
    last: u64,
    lanes: Vec<Option<Latencies>>,
}

impl Ends {
    /// Connects everybody, and subscribes.
    pub(super) fn connect(plan: &Plan, here: &ServerArgs, there: &ServerArgs) -> anyhow::Result<Self> {
        let name = format!("bench-{:08x}", Random::from_entropy()?.below(1 << 32));
        let filter = format!("{name}/*");
        let mut receivers = Vec::new();
        for _ in 0..plan.subscribers {
            let client = block_on(connect_for(there, "weft bench", Some(PATIENCE)))?;
            let subscription = block_on(client.subscribe(&filter, SubscribeOptions::default()))?;
            receivers.push(Receiver { client, subscription });
        }
        let mut senders = Vec::new();
        for (number, lane) in (0..plan.publishers).zip(plan.lanes.iter().cycle()) {
            let client = block_on(connect_for(here, "weft bench", Some(PATIENCE)))?;
            let publisher = client.publisher(PublisherOptions::level(plan.level).lane(*lane));
            senders.push(Sender {
                client,
                publisher,
                topic: format!("{name}/{number}"),
                payload: vec![b'x'; plan.size],
            });
        }
        Ok(Self { senders, receivers, began: Instant::now(), name, filter })
    }

    /// Waits until what is published reaches every subscriber: through a mesh, interest takes a moment to spread.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        for number in 0..self.senders.len() {
            let mut waiting: Vec<usize> = (0..self.receivers.len()).collect();
            while !waiting.is_empty() {
                if Instant::now() >= until {
                    bail!(
                        "publisher {number} does not reach {} of the subscribers: are the hubs linked?",
                        waiting.len()
                    );
                }
                let sender = &mut self.senders[number];
                sender.payload[..8].copy_from_slice(&0_u64.to_le_bytes());
                let taken = block_on(sender.publisher.publish(&sender.topic, &sender.payload));
                drop(taken.map_err(|error| why(&sender.client, error))?);
                let topic = &sender.topic;
                waiting.retain(|&receiver| {
                    let next = next_until(&mut self.receivers[receiver].subscription, Instant::now() + LOOK);
                    !matches!(next, Some(Some(Ok(delivery))) if delivery.topic() == topic)
                });
            }
        }
        Ok(())
    }

    /// A name that nothing else has, for a stream.
    pub(super) fn stream_name(&self) -> &str {
        &self.name
    }

    /// What the subscribers subscribe to.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Publishes at this rate, and counts what arrives.
    pub(super) fn step(&mut self, plan: &Plan, rate: Rate, control: &Client) -> anyhow::Result<Outcome> {
        let start = (self.began.elapsed() + Duration::from_millis(10)).as_nanos() as u64;
        let part = |share: f64| start + plan.time.mul_f64(share).as_nanos() as u64;
        let course = Course {
            began: self.began,
            start,
            warm: part(WARM_UP),
            end: part(1.0),
            sent: AtomicU64::new(0),
            got: self.receivers.iter().map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(UNKNOWN),
        };
        let count = self.senders.len();
        let course = &course;
        thread::scope(|scope| -> anyhow::Result<Outcome> {
            let receivers = self.receivers.iter_mut().zip(&course.got).enumerate();
            let receivers = receivers
                .map(|(number, (receiver, got))| {
                    let builder = thread::Builder::new().name(format!("bench-sub-{number}"));
                    builder.spawn_scoped(scope, move || receive(&mut receiver.subscription, got, course))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let senders = self.senders.iter_mut().enumerate();
            let senders = senders
                .map(|(number, sender)| {
                    let builder = thread::Builder::new().name(format!("bench-pub-{number}"));
                    builder.spawn_scoped(scope, move || match rate {
                        Rate::Most => as_fast_as_taken(sender, plan.window, course),
                        Rate::Fixed(rate) => when_due(sender, Pace::new(rate, number, count), course),
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            course.sleep_until(course.warm);
            let busy = Snapshot::take();
            course.sleep_until(part(ASK));
            let generator = busy.busy_since();
            // A hub that does not answer is measured all the same.
            let hub = block_on(control.mesh()).map(|report| saturated::stages(&report.counters)).unwrap_or_default();
            let mut unsent = 0;
            let mut failed = None;
            for sender in senders {
                match joined(sender.join()) {
                    Ok(left) => unsent += left,
                    Err(error) => failed = Some(error),
                }
            }
            let published = course.sent.load(Ordering::Acquire);
            course.total.store(if failed.is_some() { 0 } else { published }, Ordering::Release);
            let seen = receivers.into_iter().map(|receiver| joined(receiver.join())).collect::<Vec<_>>();
            if let Some(error) = failed {
                return Err(error.context("a publisher"));
            }
            let seen = seen.into_iter().collect::<anyhow::Result<Vec<_>>>().context("a subscriber")?;
            let watched = Watched { rate, published, unsent, hub, generator };
            Ok(outcome(watched, &seen, course))
        })
    }

    /// Closes all connections.
    pub(super) fn close(self) {
        for client in self.senders.into_iter().map(|s| s.client).chain(self.receivers.into_iter().map(|r| r.client)) {
            block_on(client.close());
        }
    }
}

/// What was seen from outside while publishers and subscribers did their work.
struct Watched {
    rate: Rate,
    published: u64,
    unsent: u64,
    hub: Vec<Stage>,
    generator: Vec<Stage>,
}

fn outcome(watched: Watched, seen: &[Seen], course: &Course) -> Outcome {
    let mut lanes: Vec<Option<Latencies>> = vec![None; Lane::COUNT];
    for (into, from) in seen.iter().flat_map(|seen| &seen.lanes).enumerate().map(|(n, from)| (n % Lane::COUNT, from)) {
        if let (Some(into), Some(from)) = (lanes.get_mut(into), from) {
            into.get_or_insert_with(Latencies::new).merge(from);
        }
    }
    let lanes = (0_u8..).zip(lanes).filter_map(|(number, seen)| Some((Lane::new(number)?, seen?))).collect();
    let delivered: u64 = seen.iter().map(|seen| seen.events).sum();
    let last = seen.iter().map(|seen| seen.last).max().unwrap_or(course.end);
    let Watched { rate, published, unsent, hub, generator } = watched;
    Outcome {
        rate,
        published,
        unsent,
        delivered,
        lost: (published * seen.len() as u64).saturating_sub(delivered),
        dropped: seen.iter().map(|seen| seen.dropped).sum(),
        // At a fixed rate a step lasts as long as events were due, at least.
        seconds: last.max(if rate == Rate::Most { 0 } else { course.end }).saturating_sub(course.start) as f64 / 1e9,
        lanes,
        hub,
        generator,
    }
}

fn joined<T>(ended: thread::Result<anyhow::Result<T>>) -> anyhow::Result<T> {
    ended.map_err(|_| anyhow!("a thread panicked"))?
}

/// Publishes one event that was due then.
fn publish(sender: &mut Sender, due: u64, last: &mut Option<Acknowledgement>) -> Result<(), PublishError> {
    sender.payload[..8].copy_from_slice(&due.to_le_bytes());
    let taken = match sender.publisher.try_publish(&sender.topic, &sender.payload) {
        Err(PublishError::Full { .. }) => block_on(sender.publisher.publish(&sender.topic, &sender.payload)),
        taken => taken,
    };
    *last = Some(taken?);
    Ok(())
}

/// Waits until everything is acknowledged, or written at level none.
fn settle(sender: &Sender, last: Option<Acknowledgement>) -> anyhow::Result<()> {
    block_on(sender.client.flush());
    if let Some(last) = last {
        block_on(last).map_err(|error| why(&sender.client, error))?;
    }
    // At level none nobody else says so.
    sender.client.gave_up().map_or(Ok(()), |why| Err(anyhow!(why)))
}

/// Publishes what is due until the step ends; answers how many events were due and not sent.
fn when_due(sender: &mut Sender, pace: Pace, course: &Course) -> anyhow::Result<u64> {
    // Wake as exactly as the kernel can; the default slack is 50 µs.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    course.sleep_until(course.start);
    let due_in_all = pace.due_before(course.end - course.start);
    let (mut next, mut last) = (0, None);
    while next < due_in_all {
        let now = course.now();
        if now >= course.end + QUIET.as_nanos() as u64 / 4 {
            break;
        }
        let due = pace.due_before(now.saturating_sub(course.start)).min(due_in_all).min(next + BURST);
        if due <= next {
            course.sleep_until(course.start + pace.due(next));
            continue;
        }
        course.sent.fetch_add(due - next, Ordering::Relaxed);
        for number in next..due {
            publish(sender, course.start + pace.due(number), &mut last).map_err(|error| why(&sender.client, error))?;
        }
        next = due;
    }
    settle(sender, last)?;
    Ok(due_in_all - next)
}

/// Publishes as long as the step lasts, at most a window ahead of the slowest subscriber.
fn as_fast_as_taken(sender: &mut Sender, window: u64, course: &Course) -> anyhow::Result<u64> {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    course.sleep_until(course.start);
    let mut last = None;
    loop {
        let now = course.now();
        if now >= course.end {
            break;
        }
        let sent = course.sent.load(Ordering::Relaxed);
        let slowest = course.got.iter().map(|got| got.load(Ordering::Relaxed)).min().unwrap_or(sent);
        if sent.saturating_sub(slowest) >= window {
            thread::sleep(Duration::from_micros(20));
            continue;
        }
        course.sent.fetch_add(BURST, Ordering::Relaxed);
        for _ in 0..BURST {
            publish(sender, now, &mut last).map_err(|error| why(&sender.client, error))?;
        }
    }
    settle(sender, last)?;
    Ok(0)
}

/// Takes what comes until all is there, or nothing comes any more.
fn receive(subscription: &mut Subscription, got: &AtomicU64, course: &Course) -> anyhow::Result<Seen> {
    let mut seen = Seen { events: 0, dropped: 0, last: course.start, lanes: vec![None; Lane::COUNT] };
    let mut quiet_since = Instant::now();
    loop {
        let total = course.total.load(Ordering::Acquire);
        if total != UNKNOWN && (seen.events >= total || quiet_since.elapsed() >= QUIET) {
            return Ok(seen);
        }
        let Some(next) = next_until(subscription, Instant::now() + LOOK) else {
            if total == UNKNOWN {
                quiet_since = Instant::now();
            }
            continue;
        };
        let mut next = Some(next.context("the connection is closed")?);
        // All that is here arrived by now.
        let now = course.now();
        quiet_since = Instant::now();
        while let Some(delivery) = next {
            take(&delivery?, now, &mut seen, course);
            next = subscription.try_next();
        }
        got.store(seen.events, Ordering::Relaxed);
    }
}

fn take(delivery: &Delivery, now: u64, seen: &mut Seen, course: &Course) {
    seen.dropped += delivery.gap().events;
    let Some(lane) = seen.lanes.get_mut(delivery.block().lane().index()) else { return };
    for event in delivery.events() {
        let Some(due) = event.payload.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else { continue };
        // Of a step before.
        if due < course.start {
            continue;
        }
        seen.events += 1;
        seen.last = now;
        if due >= course.warm {
            lane.get_or_insert_with(Latencies::new).record(now.saturating_sub(due));
        }
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The next delivery, or none by then.
fn next_until(subscription: &mut Subscription, until: Instant) -> Option<Option<Result<Delivery, SubscribeError>>> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(next) = Pin::new(&mut *subscription).poll_next(&mut cx) {
            return Some(next);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
