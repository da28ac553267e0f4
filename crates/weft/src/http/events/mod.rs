//! Events by HTTP: `POST /v1/topics/{topic}` publishes its body as one event, in the
//! caller's own session ([`Inside`]).
//!
//! A request ends with the event's acknowledgement, or with a problem that says
//! whether it was published, or that this is not known. Nothing waits without end: an
//! event that finds no room in the session within [`ROOM`] is answered 429 (or 503
//! where it is the hub that has none), one that is not acknowledged within [`ACK`]
//! 504. The most bytes of a body are [`BODY_BYTES`].

pub(super) mod asked;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State as Area};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::post;
use serde_json::json;
use tokio::time::timeout;
use weft_base::{Clock, Random};
use weft_client::{AckLevel, EventFields, Limit, PublishError, Published, Publisher};
use weft_govern::access::Method;
use weft_wire::ErrorCode;

use self::asked::Asked;
use super::inside::Inside;
use super::problem::{Problem, seconds};
use super::serve::HEAD_TIME;
use super::who::{Caller, Who};
use super::{Facts, answer};
use crate::cli::Reached;

/// The most bytes of a body.
pub(super) const BODY_BYTES: usize = 1 << 20;
/// How long an event waits for room in its session.
const ROOM: Duration = Duration::from_secs(1);
/// How long it is waited for an acknowledgement.
const ACK: Duration = Duration::from_secs(10);
/// How long the hub has to say what holds an event up.
const WHY: Duration = Duration::from_secs(1);
/// The longest that a caller is told to wait for what holds it up, in seconds.
const MOST_WAIT: u64 = 30;
/// The longest id of a request that is taken over.
const MAX_REQUEST: usize = 128;
/// Where it stands.
const REQUEST_ID: &str = "x-request-id";

/// The area.
struct Events {
    who: Arc<Who>,
    inside: Arc<Inside>,
    clock: Arc<dyn Clock>,
    random: std::sync::Mutex<Random>,
}

/// Its routes.
///
/// # Errors
/// The system refuses numbers by chance.
pub(super) fn router(facts: &Facts, who: Arc<Who>, inside: Arc<Inside>) -> anyhow::Result<Router> {
    let random = std::sync::Mutex::new(Random::from_entropy()?);
    let events = Arc::new(Events { who, inside, clock: facts.clock.clone(), random });
    Ok(Router::new().route("/v1/topics/{*topic}", post(publish)).with_state(events))
}

async fn publish(
    Area(events): Area<Arc<Events>>,
    Extension(caller): Extension<Arc<Caller>>,
    topic: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let id = events.request_id(request.headers());
    let mut response = match events.publish(&caller, topic, request).await {
        Ok(response) => response,
        Err(problem) => problem.response(&id),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

impl Events {
    /// The request's own id, or one that is made for it.
    fn request_id(&self, headers: &HeaderMap) -> String {
        let own = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let own = own.filter(|id| (1..=MAX_REQUEST).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
        own.map_or_else(
            || {
                // A generator is whole at any time.
                let mut random = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
            },
            str::to_owned,
        )
    }

    async fn publish(
        &self,
        caller: &Caller,
        topic: Result<Path<String>, PathRejection>,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let who = self.who.asks(caller, &head.headers).await?;
        let topic =
            topic.map_err(|_| Problem::new(400, "bad_topic", "the topic in the path is no UTF-8: escape it"))?;
        let topic = topic.0;
        let asked = Asked::of(&head.headers)?;
        let body = timeout(HEAD_TIME, to_bytes(body, BODY_BYTES)).await;
        let body = body.map_err(|_| Problem::new(408, "late", "the body did not come in time: send it again"))?;
        let body = body.map_err(|_| {
            let text = format!("the body is cut short, or has more than {BODY_BYTES} bytes: send less at a time");
            Problem::new(413, "too_large", text)
        })?;
        let lease = self.inside.session(&who.login).await?;
        let publisher = lease.client().publisher(asked.options());
        let event = EventFields {
            time: self.clock.now().wall,
            key: asked.key.as_bytes(),
            headers: &asked.headers,
            payload: &body,
        };
        let is_nobody = who.principal.method == Method::Anonymous;
        let problem = |error: PublishError| problem_of(&error, is_nobody);
        let Ok(taken) = timeout(ROOM, publisher.publish_event(&topic, event)).await else {
            return Err(held_up(&publisher, false).await);
        };
        let acknowledgement = taken.map_err(problem)?;
        let Ok(published) = timeout(ACK, acknowledgement).await else {
            return Err(held_up(&publisher, true).await);
        };
        let published = published.map_err(problem)?;
        let hub = lease.client().hub().map(|hub| hub.name);
        Ok(answer_of(&published, hub.as_deref(), asked.reached))
    }
}

/// What was published.
fn answer_of(published: &Published, hub: Option<&str>, asked: Reached) -> Response<Body> {
    let status = if asked.level == AckLevel::None { 202 } else { 200 };
    let reached = Reached { level: published.level, homes: published.homes };
    let mut body = json!({"level": reached.to_string(), "duplicate": published.duplicate});
    if published.sequence > 0
        && let Some(hub) = hub
    {
        // As `weft mesh where` takes it.
        body["event"] = format!("{hub}/{}/{}", published.epoch.0, published.sequence).into();
    }
    if published.home_sequence > 0 {
        body["streamSequence"] = published.home_sequence.into();
    }
    if published.is_in_quarantine() {
        body["quarantined"] = true.into();
    }
    answer::json(status, &body)
}

/// Why an event was not published, or it is not known.
pub(super) fn problem_of(error: &PublishError, is_nobody: bool) -> Problem {
    let text = error.to_string();
    match error {
        PublishError::Refused(refusal) => Problem::of_hub(refusal, is_nobody),
        PublishError::Topic(_) => Problem::new(400, "bad_topic", text),
        PublishError::Event(_) => Problem::new(413, "too_large", text),
        PublishError::TooLarge { .. } | PublishError::BatchTooLarge { .. } => Problem::new(413, "too_large", text),
        PublishError::Level { .. } => Problem::new(400, "bad_level", text),
        PublishError::Full { .. } => Problem::soon(429, "window", text, 1),
        PublishError::Expired => Problem::new(504, "expired", text),
        // Its session has ended: the next request has another.
        PublishError::Closed => {
            let text = "the session ended before the acknowledgement came: whether it was published is not known";
            Problem::soon(503, "unknown", text, 1)
        }
        _ => Problem::new(500, "failed", text),
    }
}

/// What holds an event up, and when to come again: as long as what is in its way is
/// behind. `is_sent`: the hub may have it.
async fn held_up(publisher: &Publisher, is_sent: bool) -> Problem {
    let Ok(Ok(why)) = timeout(WHY, publisher.why_waiting()).await else {
        let text = "the hub does not say what holds the event up: whether it was published is not known";
        return Problem::soon(503, "unknown", text, 1);
    };
    let retry = seconds(why.behind).min(MOST_WAIT);
    if is_sent {
        let text = format!("no acknowledgement in time, {why}: whether the event was published is not known");
        return Problem::soon(504, code(ErrorCode::TIMED_OUT), text, retry);
    }
    let status = match why.limit {
        Limit::Memory | Limit::Load => 503,
        Limit::None | Limit::Subscriber | Limit::Stream => 429,
    };
    Problem::soon(status, code(ErrorCode::WINDOW), format!("{why}: nothing was published, send it again later"), retry)
}

fn code(code: ErrorCode) -> &'static str {
    code.name().unwrap_or("failed")
}
