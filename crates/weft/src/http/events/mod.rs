//! Events by HTTP: `POST /v1/topics/{topic}` publishes its body as one event, or the
//! CloudEvents in it; `POST /v1/batch` several, to topics of their own; all in the
//! caller's own session ([`Inside`]).
//!
//! A request ends with the acknowledgements of its events, or with a problem that
//! says whether they were published, or that this is not known. With an
//! `Idempotency-Key` ([`once`]) it has one effect however often it comes, and goes on
//! when whoever asked has gone.
//!
//! Bounded: bodies and the events of a batch (`[http] body` and `batch`, 413), the
//! time for a body (408) and for everything after it ([`send`]).

pub(super) mod asked;
mod once;
mod read;
mod reply;
mod send;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State as Area};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::request;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use weft_base::{Clock, UnixNanos};
use weft_govern::access::Method;

use self::asked::Asked;
use self::once::{Begun, Once, Print};
use self::read::Events;
use self::reply::{Outcome, Reply};
pub(super) use self::send::One;
use self::send::Sent;
pub(super) use self::send::problem_of;
use super::inside::Inside;
use super::problem::Problem;
use super::serve::HEAD_TIME;
use super::who::{Caller, Someone, Who};
use super::{Facts, HttpOptions, ids};

/// How long it is waited for what was told as not known, for who asks again.
const LATE: Duration = Duration::from_secs(60);
/// Says that an answer is an earlier one.
const REPLAYED: &str = "idempotent-replayed";

/// The area.
struct Place {
    who: Arc<Who>,
    inside: Arc<Inside>,
    clock: Arc<dyn Clock>,
    once: Arc<Once>,
    /// Those whose events are being sent, whether anybody waits for them or not.
    working: Arc<Semaphore>,
    /// The most bytes of a body.
    body: usize,
    /// The most events of a batch.
    batch: usize,
}

/// Its routes.
pub(super) fn router(options: &HttpOptions, facts: &Facts, who: Arc<Who>, inside: Arc<Inside>) -> Router {
    let clock = facts.clock.clone();
    let place = Place {
        who,
        inside,
        once: Arc::new(Once::new(clock.clone())),
        clock,
        working: Arc::new(Semaphore::new(options.requests)),
        body: options.body.as_usize(),
        batch: options.batch,
    };
    Router::new()
        .route("/v1/topics/{*topic}", post(publish))
        .route("/v1/batch", post(batch))
        .with_state(Arc::new(place))
}

/// An event in JSON, as in a batch.
///
/// # Errors
/// [`Problem`]: it is none.
pub(super) fn read_one(event: &[u8], asked: &Asked) -> Result<One, Problem> {
    read::of_json(asked, event)
}

/// An event on its way.
pub(super) struct Sending(Sent);

/// Sends an event, behind those that were sent before.
///
/// # Errors
/// [`Problem`]: there is no session for it.
pub(super) async fn send_one(
    inside: &Inside,
    who: &Someone,
    asked: &Asked,
    one: One,
    now: UnixNanos,
) -> Result<Sending, Problem> {
    let lease = inside.session(&who.login).await?;
    Ok(Sending(send::send(lease, asked, vec![Ok(one)], now, is_nobody(who)).await))
}

impl Sending {
    /// What became of it, as one result among others.
    pub(super) async fn outcome(mut self) -> Value {
        self.0.settle().await;
        let (mut outcomes, _) = self.0.outcomes().await;
        Reply::part(outcomes.pop().unwrap_or_else(|| Err(send::unknown())))
    }
}

async fn publish(
    Area(place): Area<Arc<Place>>,
    Extension(caller): Extension<Arc<Caller>>,
    topic: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let topic = topic.map_err(|_| Problem::new(400, "bad_topic", "the topic in the path is no UTF-8: escape it"));
    let answer = place.answer(&caller, &head, body, |asked, body| {
        let Path(topic) = topic?;
        read::to_topic(&topic, asked, &head.headers, body, place.batch)
    });
    written(answer.await, &head.headers)
}

async fn batch(
    Area(place): Area<Arc<Place>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answer =
        place.answer(&caller, &head, body, |asked, body| read::batch(asked, &head.headers, &body, place.batch));
    written(answer.await, &head.headers)
}

/// Makes one answer of what became of all events.
type Together = fn(Vec<Outcome>) -> Reply;

/// An answer, and whether it is an earlier one.
type Answer = (Arc<Reply>, bool);

fn written(answer: Result<Answer, Problem>, headers: &HeaderMap) -> Response<Body> {
    let id = ids::of(headers);
    match answer {
        Ok((reply, is_earlier)) => {
            let mut response = reply.response(id);
            if is_earlier {
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            }
            response
        }
        Err(problem) => problem.response(id),
    }
}

impl Place {
    /// Publishes what `read` finds in a request.
    async fn answer(
        &self,
        caller: &Caller,
        head: &request::Parts,
        body: Body,
        read: impl FnOnce(&Asked, Bytes) -> Result<Events, Problem>,
    ) -> Result<Answer, Problem> {
        let who = self.who.asks(caller, &head.headers).await?;
        let asked = Asked::of(&head.headers)?;
        let body = self.body(&head.headers, body).await?;
        let key = asked.once.as_ref().map(|key| (key.clone(), print(head, &body)));
        let (events, of): (_, Together) = match read(&asked, body)? {
            Events::One(one) => (vec![Ok(*one)], first as Together),
            Events::Many(many) => (many, Reply::many as Together),
        };
        match key {
            None => {
                let mut sent = self.send(&who, asked, events).await?;
                sent.settle().await;
                Ok((Arc::new(of(sent.outcomes().await.0)), false))
            }
            // Its state is large, and few ask for it.
            Some((key, print)) => Box::pin(self.answer_once(&who, asked, events, of, &key, print)).await,
        }
    }

    /// The same, under a key.
    async fn answer_once(
        &self,
        who: &Someone,
        asked: Asked,
        events: Vec<Result<One, Problem>>,
        of: Together,
        key: &str,
        print: Print,
    ) -> Result<Answer, Problem> {
        let ticket = match self.once.begin(&who.principal, key, print)? {
            Begun::Known(reply) => return Ok((reply, true)),
            Begun::New(ticket) => ticket,
        };
        let working = self.working.clone().try_acquire_owned().map_err(|_| {
            let text = "more events are being sent than the hub takes (http.requests)";
            Problem::soon(503, "unavailable", text, 1)
        })?;
        let lease = self.inside.session(&who.login).await?;
        let (now, is_nobody, inside) = (self.clock.now().wall, is_nobody(who), self.inside.clone());
        let (say, said) = oneshot::channel();
        // Goes on when who asks goes away: what became of it is asked for later.
        tokio::spawn(async move {
            let mut sent = send::send(lease, &asked, events, now, is_nobody).await;
            drop(working);
            sent.settle().await;
            let (mut outcomes, is_all) = sent.outcomes().await;
            let mut reply = Arc::new(of(outcomes.clone()));
            drop(say.send(reply.clone()));
            if !is_all {
                wait_late(&mut sent, &inside).await;
                (outcomes, _) = sent.outcomes().await;
                reply = Arc::new(of(outcomes.clone()));
            }
            if send::has_effect(&outcomes) {
                ticket.keep(reply);
            }
        });
        let reply = said.await.map_err(|_| send::unknown())?;
        Ok((reply, false))
    }

    async fn send(&self, who: &Someone, asked: Asked, events: Vec<Result<One, Problem>>) -> Result<Sent, Problem> {
        let lease = self.inside.session(&who.login).await?;
        Ok(send::send(lease, &asked, events, self.clock.now().wall, is_nobody(who)).await)
    }

    /// All of a body.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let large = || {
            let text =
                format!("the body is cut short, or has more than {} bytes (http.body): send less at a time", self.body);
            Problem::new(413, "too_large", text)
        };
        let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|length| length > self.body as u64) {
            return Err(large());
        }
        let body = timeout(HEAD_TIME, to_bytes(body, self.body)).await;
        let body = body.map_err(|_| Problem::new(408, "late", "the body did not come in time: send it again"))?;
        body.map_err(|_| large())
    }
}

/// Waits until all is known, for a while; not while the hub sends its clients away.
async fn wait_late(sent: &mut Sent, inside: &Inside) {
    let until = tokio::time::Instant::now() + LATE;
    while tokio::time::Instant::now() < until && !inside.is_leaving() {
        if timeout(Duration::from_secs(1), sent.settle()).await.is_ok() && sent.is_settled() {
            return;
        }
    }
}

/// What became of the only event.
fn first(mut all: Vec<Outcome>) -> Reply {
    Reply::one(all.pop().unwrap_or_else(|| Err(send::unknown())))
}

fn is_nobody(who: &Someone) -> bool {
    who.principal.method == Method::Anonymous
}

/// What a request asks for: by its path, what its headers say of its events, and its
/// body. Its trace and its id differ each time.
fn print(head: &request::Parts, body: &[u8]) -> Print {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |part: &[u8]| {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    };
    add(head.uri.path().as_bytes());
    let counts = |name: &str| name.starts_with("weft-") || name.starts_with("ce-") || name == CONTENT_TYPE.as_str();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut headers: Vec<(&str, &[u8])> = headers.filter(|(name, _)| counts(name)).collect();
    headers.sort_unstable();
    for (name, value) in headers {
        add(name.as_bytes());
        add(value);
    }
    add(body);
    let mut print = [0; 32];
    // SHA-256 has as many bytes.
    print.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    print
}
