//! Streams and their consumers, their events by pages, a replay, and the events of a
//! filter as they come.
//!
//! Bounded: [`MOST`] replays and tails at a time, one more is answered 503; each reads
//! with a small credit ([`CREDIT`]), and no faster than its viewer takes it. A tail
//! shows [`A_SECOND`] events a second at most and passes over the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, Uri};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use weft_base::{ByteCount, HubId};
use weft_client::{
    ConsumerReport, OnFull, Retention, StartAt, StreamReport, StreamRole, SubscribeOptions, Subscription,
};

use super::super::answer;
use super::super::problem::Problem;
use super::super::query::{Query, bad};
use super::super::seats::{Seated, Seats};
use super::super::stay::Stay;
use super::{Asking, ITEMS, MOST_ITEMS, not_found, page, payload};

/// Replays and tails at a time.
pub(super) const MOST: usize = 64;
/// Events and bytes that may wait for one reader.
const CREDIT: (u64, ByteCount) = (256, ByteCount::mib(1));
/// Events that a tail shows a second.
const A_SECOND: u32 = 50;
/// How long a page of events may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages that may wait for a viewer.
const WAITING: usize = 8;

/// Who reads.
pub(super) struct Streams {
    places: Arc<Semaphore>,
    seats: Arc<Seats>,
}

impl Streams {
    pub(super) fn new(seats: Arc<Seats>) -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), seats }
    }

    /// A place, and a seat by which it ends as all who listen do.
    fn seat(&self, asking: &Asking, stay: &Arc<Stay>) -> Result<Seat, Problem> {
        let full = |_| Problem::soon(503, "viewers", format!("{MOST} replays and tails are open, the limit"), 5);
        let place = self.places.clone().try_acquire_owned().map_err(full)?;
        Ok(Seat { seated: self.seats.take(&asking.who.login, stay)?, place })
    }

    /// All events of a stream from one on, to the end that it has now.
    pub(super) async fn replay(
        &self,
        asking: Asking,
        (uri, name): (&Uri, &str),
        stay: &Arc<Stay>,
    ) -> Result<Response<Body>, Problem> {
        let query = Query::of(uri, &["from"])?;
        let from = query.number("from", 1..=u64::MAX)?.unwrap_or(1);
        let seat = self.seat(&asking, stay)?;
        let end = info(&asking, name).await?.next;
        let mut read = open(&asking, name, from).await?;
        let (send, body) = channel(seat);
        tokio::spawn(async move {
            let hubs = Names::of(&asking).await;
            while let Some(Ok(delivery)) = read.next_below(end).await {
                let events = payload::events(&delivery, &asking.schemas, |id| hubs.name(id)).await;
                let last = delivery.stream_sequence() + u64::from(delivery.event_count());
                let below = events.into_iter().filter(|event| event["sequence"].as_u64().is_some_and(|at| at < end));
                for event in below {
                    if send.send(message(&event)).await.is_err() {
                        return;
                    }
                }
                if last >= end {
                    return;
                }
            }
        });
        Ok(body)
    }

    /// Events of a filter as they come.
    pub(super) async fn tail(&self, asking: Asking, uri: &Uri, stay: &Arc<Stay>) -> Result<Response<Body>, Problem> {
        let query = Query::of(uri, &["filter"])?;
        let Some(filter) = query.get("filter") else { return Err(bad("filter", "say which topics")) };
        let seat = self.seat(&asking, stay)?;
        let (credit_events, credit_bytes) = CREDIT;
        let options = SubscribeOptions { credit_events, credit_bytes, ..SubscribeOptions::default() };
        let subscribed = asking.lease.client().subscribe(filter, options.on_full(OnFull::DropOldest)).await;
        let mut subscription = subscribed.map_err(|error| asking.refused(&error))?;
        let (send, body) = channel(seat);
        tokio::spawn(async move {
            let hubs = Names::of(&asking).await;
            let (mut second, mut shown) = (Instant::now(), 0);
            loop {
                let item = tokio::select! {
                    item = subscription.next() => item,
                    () = send.closed() => return,
                };
                let Some(Ok(delivery)) = item else { return };
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, shown) = (Instant::now(), 0);
                }
                let room = A_SECOND.saturating_sub(shown);
                if room == 0 {
                    continue;
                }
                for event in
                    payload::events(&delivery, &asking.schemas, |id| hubs.name(id)).await.iter().take(room as usize)
                {
                    shown += 1;
                    if send.send(message(event)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(body)
    }
}

/// The names of hubs.
struct Names(BTreeMap<HubId, String>);

impl Names {
    async fn of(asking: &Asking) -> Self {
        let client = asking.lease.client();
        // Who may not see the mesh sees ids.
        let report = client.mesh().await;
        let mut names: BTreeMap<HubId, String> =
            report.into_iter().flat_map(|report| report.hubs).map(|hub| (hub.id, hub.name)).collect();
        names.extend(client.hub().map(|hub| (hub.id, hub.name)));
        Self(names)
    }

    fn name(&self, id: HubId) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// A message of server-sent events.
fn message(event: &Value) -> Bytes {
    Bytes::from(format!("event: event\ndata: {event}\n\n"))
}

/// Where one sits who reads.
struct Seat {
    seated: Seated,
    #[allow(dead_code, reason = "held")]
    place: OwnedSemaphorePermit,
}

/// What is sent to one end is the body of the answer, until the viewer goes or its
/// seat is over.
struct Sent {
    from: mpsc::Receiver<Bytes>,
    seat: Seat,
    /// A comment is sent so often where nothing else is.
    beat: Interval,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.seat.seated.over(cx.waker()).is_some() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(bytes) = self.from.poll_recv(cx) {
            return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
        }
        self.beat.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent")
    }
}

fn channel(seat: Seat) -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (send, from) = mpsc::channel(WAITING);
    let mut beat = interval(seat.seated.heartbeat());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut response = Response::new(Body::new(Sent { from, seat, beat }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    (send, response)
}

async fn info(asking: &Asking, name: &str) -> Result<StreamReport, Problem> {
    asking.lease.client().streams().info(name).await.map_err(|error| asking.problem(&error))
}

async fn reports(asking: &Asking) -> Result<Vec<StreamReport>, Problem> {
    asking.lease.client().streams().list().await.map_err(|error| asking.problem(&error))
}

/// Streams whose names contain something, in order of name.
pub(super) async fn all(asking: &Asking, uri: &Uri) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["limit", "after", "search"])?;
    let limit = query.number("limit", 1..=MOST_ITEMS)?.unwrap_or(ITEMS);
    let (search, after) = (query.get("search").unwrap_or_default(), query.get("after"));
    let mut rows = BTreeMap::<String, Vec<StreamReport>>::new();
    for report in reports(asking).await? {
        let name = report.name();
        if name.contains(search) && after.is_none_or(|after| name > after) {
            rows.entry(name.to_owned()).or_default().push(report);
        }
    }
    let more = rows.len() > limit;
    let shown: Vec<(&String, Value)> = rows.iter().take(limit).map(|(name, homes)| (name, row(homes))).collect();
    let next = shown.last().map(|(name, _)| name.as_str()).filter(|_| more);
    let items: Vec<Value> = shown.iter().map(|(_, row)| row.clone()).collect();
    Ok(page(&items, next))
}

/// A stream at all its homes.
pub(super) async fn one(asking: &Asking, name: &str) -> Result<Response<Body>, Problem> {
    // Who may see this one may not see all.
    let own = info(asking, name).await?;
    let mut homes = match reports(asking).await {
        Ok(all) => all.into_iter().filter(|report| report.name() == name).collect(),
        Err(_) => Vec::new(),
    };
    if homes.is_empty() {
        homes.push(own);
    }
    Ok(answer::json(200, &row(&homes)))
}

fn row(homes: &[StreamReport]) -> Value {
    let Some(first) = homes.first() else { return Value::Null };
    let d = &first.definition;
    let retention = match d.retention {
        Retention::Limits => "limits",
        Retention::Interest => "interest",
        Retention::WorkQueue => "work-queue",
    };
    let homes: Vec<Value> = homes
        .iter()
        .map(|home| {
            let role = match home.role {
                StreamRole::Home => "home",
                StreamRole::Mirror => "mirror",
            };
            json!({
                "hub": home.home, "role": role, "first": home.first, "next": home.next, "synced": home.synced,
                "bytes": home.bytes.0, "state": home.state,
            })
        })
        .collect();
    json!({
        "name": first.name(), "tenant": d.tenant, "filters": d.filters, "mirrorOf": d.mirror_of,
        "retention": retention, "homes": homes,
    })
}

/// The consumers of a stream.
pub(super) async fn consumers(asking: &Asking, stream: &str) -> Result<Response<Body>, Problem> {
    let list = asking.lease.client().streams().consumers(stream).list().await;
    let list = list.map_err(|error| asking.problem(&error))?;
    let items: Vec<Value> = list.iter().take(MOST_ITEMS).map(|one| of_consumer(stream, one)).collect();
    Ok(page(&items, None))
}

/// One consumer.
pub(super) async fn consumer(asking: &Asking, stream: &str, name: &str) -> Result<Response<Body>, Problem> {
    let list = asking.lease.client().streams().consumers(stream).list().await;
    let list = list.map_err(|error| asking.problem(&error))?;
    let found = list.iter().find(|one| one.name() == name).ok_or_else(|| not_found("consumer", name))?;
    Ok(answer::json(200, &of_consumer(stream, found)))
}

fn of_consumer(stream: &str, one: &ConsumerReport) -> Value {
    let d = &one.definition;
    let mode = format!("{:?}", d.mode).to_lowercase();
    let members: Vec<Value> = one
        .members
        .iter()
        .map(|member| json!({"name": member.name, "token": member.token.to_string(), "inFlight": member.in_flight}))
        .collect();
    json!({
        "stream": stream, "name": one.name(), "filters": d.filters, "predicate": d.predicate, "mode": mode,
        "floor": one.floor, "next": one.next, "lag": one.lag, "inFlight": one.in_flight,
        "redelivered": one.redelivered, "dead": one.dead, "expired": one.expired,
        "pausedUntil": one.paused_until.map(|until| until.0 / 1_000_000), "seat": one.seat, "members": members,
    })
}

async fn open(asking: &Asking, name: &str, from: u64) -> Result<Subscription, Problem> {
    let (events, bytes) = CREDIT;
    let read = asking.lease.client().streams().read(name).from(StartAt::Sequence(from)).with_credit(events, bytes);
    read.open().await.map_err(|error| asking.refused(&error))
}

/// Events of a stream from a sequence on.
pub(super) async fn events(asking: &Asking, uri: &Uri, name: &str) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["from", "limit"])?;
    let from = query.number("from", 1..=u64::MAX)?.unwrap_or(1);
    let limit = query.number("limit", 1..=MOST_ITEMS)?.unwrap_or(20);
    let report = info(asking, name).await?;
    let end = report.next;
    let mut items = Vec::new();
    if from < end {
        let hubs = Names::of(asking).await;
        let mut read = open(asking, name, from.max(report.first)).await?;
        let until = Instant::now() + PATIENCE;
        while items.len() < limit {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(Some(item)) = timeout(left, read.next_below(end)).await else { break };
            let delivery = item.map_err(|error| asking.refused(&error))?;
            items.extend(payload::events(&delivery, &asking.schemas, |id| hubs.name(id)).await);
            if delivery.stream_sequence() + u64::from(delivery.event_count()) >= end {
                break;
            }
        }
    }
    items.retain(|event| event["sequence"].as_u64().is_some_and(|at| at < end));
    items.truncate(limit);
    let next = items.last().and_then(|event| event["sequence"].as_u64()).map(|last| last + 1);
    let next = next.filter(|next| *next < end).map(|next| next.to_string());
    Ok(page(&items, next.as_deref()))
}
