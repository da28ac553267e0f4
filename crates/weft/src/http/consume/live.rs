//! What is published from now on, to many who listen: those of one principal, one
//! filter and one form share one subscription, and the bytes that it becomes.
//!
//! A task of each feed takes what comes, writes it once, and puts it into the queue of
//! each listener ([`Outbox`]); it waits for none of them. So nobody is held up by one
//! who does not read, and what the hub has for the subscription is always taken. A
//! feed ends with its last listener, and its listeners with its session. At most
//! [`TURN_BYTES`] are written before others have their turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;
use weft_base::ByteCount;
use weft_client::{Delivery, SubscribeError, SubscribeOptions, Subscription};
use weft_govern::access::Principal;

use super::super::inside::{Inside, Lease};
use super::super::problem::Problem;
use super::super::seats::{Over, Seat, Seats};
use super::super::who::Someone;
use super::body::Source;
use super::event::{self, Form, Here};
use super::outbox::{Chunk, OnFull, Outbox};

/// What may be on its way from the hub.
const CREDIT: (u64, ByteCount) = (8_192, ByteCount::mib(2));
/// The most bytes that are written in a turn, but for a block that has more.
const TURN_BYTES: usize = 64 << 10;
/// How long the hub has to accept a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(10);

/// Whose, of which filter, and in which form.
type Key = (Arc<Principal>, String, Form);
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Feed>>>>;

/// All feeds.
pub(super) struct Feeds {
    seats: Arc<Seats>,
    slots: Mutex<BTreeMap<Key, Slot>>,
}

/// What is known of one who listens.
pub(super) struct Listener {
    seat: Arc<Seat>,
    outbox: Outbox,
    is_gone: AtomicBool,
}

struct Feed {
    /// None: it has ended.
    listeners: Mutex<Option<Vec<Arc<Listener>>>>,
    /// One has gone.
    left: Notify,
}

impl Feed {
    fn listeners(&self) -> MutexGuard<'_, Option<Vec<Arc<Listener>>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, unless it has ended.
    fn add(&self, listener: &Arc<Listener>) -> bool {
        let mut listeners = self.listeners();
        let Some(all) = listeners.as_mut() else { return false };
        all.push(listener.clone());
        true
    }

    /// Whether anybody listens still; if not, it has ended.
    fn goes_on(&self) -> bool {
        let mut listeners = self.listeners();
        let Some(all) = listeners.as_mut() else { return false };
        all.retain(|listener| !listener.is_gone.load(Ordering::Relaxed) && !listener.seat.is_over());
        if all.is_empty() {
            *listeners = None;
        }
        listeners.is_some()
    }

    fn end(&self, over: &Over) {
        for listener in self.listeners().take().into_iter().flatten() {
            listener.seat.end(over.clone());
        }
    }

    fn push(&self, chunk: &Chunk, seats: &Seats) {
        let listeners = self.listeners();
        for listener in listeners.iter().flatten() {
            match listener.outbox.push(chunk) {
                Some(0) => {}
                Some(gone) => {
                    seats.counters.http_listeners_missed.fetch_add(gone, Ordering::Relaxed);
                }
                None => {
                    seats.counters.http_listeners_slow.fetch_add(1, Ordering::Relaxed);
                    listener.seat.cut(Over::new("too_slow", "more waited than may (http.listener_bytes)"));
                }
            }
        }
    }
}

/// What one listens to; its end is told to the feed.
pub(super) struct Live {
    feed: Arc<Feed>,
    listener: Arc<Listener>,
}

impl Source for Live {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Over>> {
        self.listener.outbox.poll(cx).map(Ok)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.listener.is_gone.store(true, Ordering::Relaxed);
        self.feed.left.notify_one();
    }
}

impl Feeds {
    pub(super) fn new(seats: Arc<Seats>) -> Self {
        Self { seats, slots: Mutex::default() }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that have ended and that nobody waits for.
    fn sweep(&self) {
        self.slots().retain(|_, slot| Arc::strong_count(slot) > 1);
    }

    /// Has one more listen.
    ///
    /// # Errors
    /// [`Problem`]: there is no session, or the hub wants no such subscription.
    pub(super) async fn listen(
        self: &Arc<Self>,
        inside: &Inside,
        who: &Someone,
        (filter, form): (&str, Form),
        (seat, most, on_full): (&Arc<Seat>, usize, OnFull),
    ) -> Result<Live, Problem> {
        let outbox = Outbox::new(most, on_full);
        let listener = Arc::new(Listener { seat: seat.clone(), outbox, is_gone: AtomicBool::new(false) });
        let key = (who.principal.clone(), filter.to_owned(), form);
        let slot = self.slots().entry(key).or_default().clone();
        // Others of the same wait here while the first subscribes.
        let mut now = slot.lock().await;
        if let Some(feed) = now.as_ref().filter(|feed| feed.add(&listener)) {
            return Ok(Live { feed: feed.clone(), listener });
        }
        let subscribed = self.subscribe(inside, who, filter).await;
        let (lease, subscription, here) = match subscribed {
            Ok(subscribed) => subscribed,
            Err(problem) => {
                drop(now);
                drop(slot);
                self.sweep();
                return Err(problem);
            }
        };
        let feed = Arc::new(Feed { listeners: Mutex::new(Some(vec![listener.clone()])), left: Notify::new() });
        *now = Some(feed.clone());
        drop(now);
        let (feeds, running) = (self.clone(), feed.clone());
        tokio::spawn(async move {
            running.run(&feeds.seats, subscription, (&here, form)).await;
            drop(lease);
            drop(slot);
            feeds.sweep();
        });
        Ok(Live { feed, listener })
    }

    async fn subscribe(
        &self,
        inside: &Inside,
        who: &Someone,
        filter: &str,
    ) -> Result<(Lease, Subscription, Here), Problem> {
        let lease = inside.session(&who.login).await?;
        let lost = || Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1);
        let here = Here::of(lease.client().hub().ok_or_else(lost)?);
        let (credit_events, credit_bytes) = CREDIT;
        let options = SubscribeOptions { credit_events, credit_bytes, ..SubscribeOptions::default() };
        let subscribed = timeout(SUBSCRIBE, lease.client().subscribe(filter, options)).await;
        let late = |_| Problem::soon(503, "unknown", "the hub does not accept the subscription: try again", 1);
        let subscription = subscribed.map_err(late)?.map_err(|error| problem_of(&error, who))?;
        Ok((lease, subscription, here))
    }
}

/// Why there is no subscription.
pub(super) fn problem_of(error: &SubscribeError, who: &Someone) -> Problem {
    match error {
        SubscribeError::Refused(refusal) => super::refused(refusal, who),
        SubscribeError::Filter(why) => Problem::new(400, "bad_filter", why.to_string()),
        SubscribeError::StreamName { .. } => Problem::new(400, "bad_name", error.to_string()),
        SubscribeError::Closed => Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1),
        _ => Problem::new(500, "failed", error.to_string()),
    }
}

/// Why a subscription ended.
pub(super) fn over_of(ended: Option<&SubscribeError>) -> Over {
    match ended {
        Some(SubscribeError::Refused(refusal)) => {
            Over::new(refusal.code.name().unwrap_or("failed"), refusal.detail.clone())
        }
        Some(error) => Over::new("failed", error.to_string()),
        None => Over::new("session", "the session at the hub has ended: listen again"),
    }
}

impl Feed {
    /// Hands on what comes, until nobody listens or nothing comes any more.
    async fn run(&self, seats: &Seats, mut subscription: Subscription, (here, form): (&Here, Form)) {
        while self.goes_on() {
            let taken = tokio::select! {
                taken = subscription.next() => taken,
                () = self.left.notified() => continue,
            };
            let delivery = match taken {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return self.end(&over_of(Some(&error))),
                None => return self.end(&over_of(None)),
            };
            let mut out = Vec::new();
            let mut events = write(&mut out, &delivery, here, form);
            drop(delivery);
            while out.len() < TURN_BYTES {
                // Its end is looked at in the next turn.
                let Some(Ok(delivery)) = subscription.try_next() else { break };
                events += write(&mut out, &delivery, here, form);
            }
            self.push(&Chunk { bytes: out.into(), events }, seats);
            // The connections have their turn.
            tokio::task::yield_now().await;
        }
    }
}

/// Writes a delivery, with what is missing before it; answers how many events those are.
fn write(out: &mut Vec<u8>, delivery: &Delivery, here: &Here, form: Form) -> u64 {
    let gap = delivery.gap();
    event::gap(out, gap);
    let mut events = gap.events;
    for one in event::events(delivery) {
        event::data(out, &one, here, (form, None));
        events += 1;
    }
    events
}
