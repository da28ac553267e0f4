//! Consuming by HTTP, in the caller's own session ([`Inside`]): what is published from
//! now on ([`live`]) and streams ([`reader`]) as server-sent events, durable consumers
//! by long poll ([`members`]), requests that are replied to ([`call`]), and all of it but
//! these by WebSocket ([`socket`]).
//!
//! Nothing here waits for who does not read: see each part for its bound, and
//! [`Seats`] for all who listen.

mod body;
mod call;
mod event;
mod live;
mod members;
mod outbox;
mod reader;
mod socket;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State as Area};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::time::timeout;
use weft_base::Clock;
use weft_client::{Position, RequestError, Settle, StartAt};
use weft_cloudevents::BATCHED;
use weft_govern::access::Method;
use weft_wire::ErrorCode;

use self::event::{Form, Here};
use self::live::Feeds;
use self::members::{Ask, Members};
use self::outbox::OnFull;
use self::reader::{At, Reader};
use super::events::asked::Asked;
use super::ids;
use super::inside::Inside;
use super::problem::Problem;
use super::query::{Query, bad};
use super::seats::Seats;
use super::serve::HEAD_TIME;
use super::stay::Stay;
use super::who::{Caller, Someone, Who};
use super::{Facts, HttpOptions, answer};
use crate::connect::start_at;
use crate::time::parse_duration;

/// The most bytes of a request's body, and of what is said of what was handed out.
const BODY_BYTES: usize = 1 << 20;
/// The most messages of one answer.
const MOST_MESSAGES: usize = 1_000;
/// Messages of one answer unless it is said.
const MESSAGES: usize = 100;
/// The longest that a poll waits, within `http.patience`.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// What remains of `http.patience` for all else.
const SPARE: Duration = Duration::from_secs(1);
/// The most receipts that are settled in one request.
const MOST_RECEIPTS: usize = 10_000;
/// The longest delay of what is given back.
const MOST_DELAY: Duration = Duration::from_secs(30 * 86_400);
/// The longest name of a member.
const MAX_MEMBER: usize = 64;
/// How long the hub has to begin a reading.
const BEGIN: Duration = Duration::from_secs(10);

/// The area.
pub(super) struct Consume {
    who: Arc<Who>,
    inside: Arc<Inside>,
    seats: Arc<Seats>,
    feeds: Arc<Feeds>,
    members: Members,
    clock: Arc<dyn Clock>,
    heartbeat: Duration,
    listener_bytes: usize,
    /// The most bytes of a message of a socket.
    message_bytes: usize,
    patience: Duration,
}

/// Its routes, and itself, which is to be tended.
pub(super) fn router(
    options: &HttpOptions,
    facts: &Facts,
    who: Arc<Who>,
    inside: Arc<Inside>,
) -> (Router, Arc<Consume>) {
    let clock = (facts.clock.clone(), facts.counters.clone());
    let seats = Arc::new(Seats::new(options, facts.aside.clone(), clock, inside.leaving()));
    let consume = Arc::new(Consume {
        who,
        inside,
        feeds: Arc::new(Feeds::new(seats.clone())),
        members: Members::new(options.members, options.lease, seats.clone()),
        seats,
        clock: facts.clock.clone(),
        message_bytes: options.body.as_usize(),
        heartbeat: options.heartbeat,
        listener_bytes: usize::try_from(options.listener_bytes.0).unwrap_or(usize::MAX),
        patience: options.patience,
    });
    let router = Router::new()
        .route("/v1/topics/{*topic}", get(listen))
        .route("/v1/streams/{stream}/events", get(read))
        .route("/v1/streams/{stream}/consumers/{consumer}/messages", get(take))
        .route("/v1/streams/{stream}/consumers/{consumer}/settle", post(settle))
        .route("/v1/requests/{*topic}", post(request))
        .route("/v1/ws", get(socket::open))
        .with_state(consume.clone());
    (router, consume)
}

type Names<T> = Result<Path<T>, PathRejection>;

/// The parts of a path.
fn parts<T>(names: Names<T>) -> Result<T, Problem> {
    let bad = |_| Problem::new(400, "bad_name", "a part of the path is no UTF-8: escape it");
    names.map(|Path(names)| names).map_err(bad)
}

/// What a hub refuses somebody. Where they ask for a stream or a consumer by name, that
/// there is none is 404.
pub(super) fn refused(refusal: &weft_client::Refusal, who: &Someone) -> Problem {
    let problem = Problem::of_hub(refusal, who.principal.method == Method::Anonymous);
    let status = match refusal.code {
        ErrorCode::NO_STREAM | ErrorCode::NO_CONSUMER | ErrorCode::CONSUMER_GONE => 404,
        ErrorCode::STREAM_EXISTS | ErrorCode::CONSUMER_EXISTS | ErrorCode::IN_USE | ErrorCode::FIXED => 409,
        ErrorCode::NOT_A_HOME => 409,
        ErrorCode::BAD_PREDICATE | ErrorCode::BAD_CONSUMER | ErrorCode::OUT_OF_RANGE => 400,
        ErrorCode::UNSUPPORTED => 501,
        ErrorCode::INTEREST | ErrorCode::CHURN => 429,
        _ => return problem,
    };
    Problem { status, retry: (status == 429).then_some(1), ..problem }
}

/// Why a question to the hub has no answer.
pub(super) fn asked_in_vain(error: &RequestError, who: &Someone) -> Problem {
    let text = error.to_string();
    match error {
        RequestError::Refused(refusal) => refused(refusal, who),
        RequestError::Invalid { .. } => Problem::new(400, "bad_name", text),
        RequestError::TooMany { .. } => Problem::soon(429, "window", text, 1),
        RequestError::ConnectionLost | RequestError::Closed => Problem::soon(503, "unknown", text, 1),
        _ => Problem::new(500, "failed", text),
    }
}

/// A body of at most so many bytes, in time.
pub(super) async fn body_of(body: Body, most: usize) -> Result<axum::body::Bytes, Problem> {
    let body = timeout(HEAD_TIME, to_bytes(body, most)).await;
    let body = body.map_err(|_| Problem::new(408, "late", "the body did not come in time: send it again"))?;
    body.map_err(|_| {
        let text = format!("the body is cut short, or has more than {most} bytes: send less at a time");
        Problem::new(413, "too_large", text)
    })
}

async fn listen(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(stay): Extension<Arc<Stay>>,
    topic: Names<String>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    area.listen(&caller, &stay, topic, request.into_parts().0).await.unwrap_or_else(|problem| problem.response(&id))
}

async fn read(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(stay): Extension<Arc<Stay>>,
    stream: Names<String>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    area.read(&caller, &stay, stream, request.into_parts().0).await.unwrap_or_else(|problem| problem.response(&id))
}

async fn take(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(stay): Extension<Arc<Stay>>,
    names: Names<(String, String)>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    area.take(&caller, &stay, names, request.into_parts().0).await.unwrap_or_else(|problem| problem.response(&id))
}

async fn settle(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    names: Names<(String, String)>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    area.settle(&caller, names, request).await.unwrap_or_else(|problem| problem.response(&id))
}

async fn request(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    topic: Names<String>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    area.request(&caller, topic, request).await.unwrap_or_else(|problem| problem.response(&id))
}

/// Whether one of these media types is accepted, whatever its weight; who says nothing
/// takes anything.
fn accepts(headers: &HeaderMap, known: &[&str]) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let is_known = |range: &str| {
        let name = range.split(';').next().unwrap_or_default().trim();
        known.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    accepted.peek().is_none() || accepted.any(|value| value.split(',').any(is_known))
}

/// Whether server-sent events are what is asked for.
fn wants_events(headers: &HeaderMap) -> Result<(), Problem> {
    if accepts(headers, &["text/event-stream", "text/*", "*/*"]) {
        return Ok(());
    }
    Err(Problem::new(406, "not_acceptable", "events are given as text/event-stream: accept it"))
}

/// In which form a poll is answered: by CloudEvents whoever names them.
fn wanted_form(headers: &HeaderMap) -> Result<Form, Problem> {
    if headers.contains_key(ACCEPT) && accepts(headers, &[BATCHED]) {
        return Ok(Form::CloudEvents);
    }
    if accepts(headers, &["application/json", "application/*", "*/*"]) {
        return Ok(Form::Own);
    }
    let text = format!("messages are given as application/json or {BATCHED}: accept one of them");
    Err(Problem::new(406, "not_acceptable", text))
}

/// How events are written that are listened to.
fn form_of(query: &Query) -> Result<Form, Problem> {
    match query.get("format") {
        None | Some("weft") => Ok(Form::Own),
        Some("cloudevents") => Ok(Form::CloudEvents),
        Some(_) => Err(bad("format", "write weft or cloudevents")),
    }
}

impl Consume {
    /// Ends what is over; called every second.
    pub(super) fn tend(&self) {
        self.seats.tend();
        self.members.tend();
    }

    /// Who listens, for other areas that have listeners too.
    pub(super) fn seats(&self) -> Arc<Seats> {
        self.seats.clone()
    }

    /// The hub stops.
    pub(super) fn end(&self) {
        self.seats.end_all();
    }

    async fn listen(
        &self,
        caller: &Caller,
        stay: &Arc<Stay>,
        topic: Names<String>,
        head: Parts,
    ) -> Result<Response<Body>, Problem> {
        let who = self.who.asks(caller, &head.headers).await?;
        let filter = parts(topic)?;
        wants_events(&head.headers)?;
        let query = Query::of(&head.uri, &["on_full", "format"])?;
        let form = form_of(&query)?;
        let on_full = match query.get("on_full") {
            None | Some("disconnect") => OnFull::Disconnect,
            Some("drop-oldest") => OnFull::DropOldest,
            Some("drop-newest") => OnFull::DropNewest,
            Some(_) => return Err(bad("on_full", "write disconnect, drop-oldest or drop-newest")),
        };
        let seated = self.seats.take(&who.login, stay)?;
        // It has a seat from here on.
        stay.give_way();
        let bound = (&seated.seat, self.listener_bytes, on_full);
        let live = self.feeds.listen(&self.inside, &who, (&filter, form), bound).await?;
        Ok(body::answer(seated, self.heartbeat, live))
    }

    async fn read(
        &self,
        caller: &Caller,
        stay: &Arc<Stay>,
        stream: Names<String>,
        head: Parts,
    ) -> Result<Response<Body>, Problem> {
        let who = self.who.asks(caller, &head.headers).await?;
        let stream = parts(stream)?;
        wants_events(&head.headers)?;
        let query = Query::of(&head.uri, &["from", "filter", "position", "format"])?;
        let form = form_of(&query)?;
        // What a browser says when it comes again goes before what its address says.
        let last =
            head.headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let last = last.filter(|last| !last.is_empty());
        let position = match last.as_deref().or(query.get("position")) {
            None => Position::default(),
            Some(text) => {
                let why = |error: weft_client::ParsePositionError| Problem::new(400, "bad_position", error.to_string());
                text.parse::<Position>().map_err(why)?
            }
        };
        let from = query.get("from").map(start_at).transpose();
        let from = from.map_err(|why| bad("from", &why.to_string()))?.unwrap_or(StartAt::New);
        let seated = self.seats.take(&who.login, stay)?;
        // It has a seat from here on.
        stay.give_way();
        let lease = self.inside.session(&who.login).await?;
        let lost = || Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1);
        let here = Here::of(lease.client().hub().ok_or_else(lost)?);
        let (events, bytes) = reader::CREDIT;
        let (at, streams) = (At::of(&position), lease.client().streams());
        let reading = streams.read(&stream).from(from).at(position).with_credit(events, bytes);
        let reading = match query.get("filter") {
            Some(filter) => reading.filter(filter),
            None => reading,
        };
        let late = |_| Problem::soon(503, "unknown", "the hub does not begin the reading: try again", 1);
        let begun = timeout(BEGIN, reading.open()).await.map_err(late)?;
        let subscription = begun.map_err(|error| live::problem_of(&error, &who))?;
        let reader = Reader { subscription, at, here, form, stream, lease, ready: VecDeque::new() };
        Ok(body::answer(seated, self.heartbeat, reader))
    }

    async fn take(
        &self,
        caller: &Caller,
        stay: &Stay,
        names: Names<(String, String)>,
        head: Parts,
    ) -> Result<Response<Body>, Problem> {
        let who = self.who.asks(caller, &head.headers).await?;
        let query = Query::of(&head.uri, &["max", "wait", "member"])?;
        let wait = query.time("wait", MOST_WAIT)?.unwrap_or_default().min(self.patience.saturating_sub(SPARE));
        let max = query.number("max", 1..=MOST_MESSAGES)?.unwrap_or(MESSAGES);
        let form = wanted_form(&head.headers)?;
        let ask = Ask { form, ..Self::ask(names, query.get("member"), (max, wait))? };
        // It has a member's place from here on.
        stay.give_way();
        let body = self.members.take(&self.inside, &who, &ask).await?;
        let mut response = answer::json(200, &Value::Null);
        *response.body_mut() = Body::from(body);
        if form == Form::CloudEvents {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(BATCHED));
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    fn ask(
        names: Names<(String, String)>,
        member: Option<&str>,
        (max, wait): (usize, Duration),
    ) -> Result<Ask, Problem> {
        let (stream, consumer) = parts(names)?;
        let member = member.unwrap_or_default().to_owned();
        if member.len() > MAX_MEMBER {
            return Err(bad("member", "write at most 64 bytes"));
        }
        Ok(Ask { stream, consumer, member, max, wait, form: Form::Own })
    }

    async fn settle(
        &self,
        caller: &Caller,
        names: Names<(String, String)>,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let who = self.who.asks(caller, &head.headers).await?;
        let query = Query::of(&head.uri, &["member"])?;
        let ask = Self::ask(names, query.get("member"), (0, Duration::ZERO))?;
        let (said, confirm) = said_in(&body_of(body, BODY_BYTES).await?)?;
        let said = self.members.settle(&who, &ask, said, confirm).await?;
        Ok(answer::json(200, &json!({"settled": said.settled, "stale": said.stale})))
    }

    async fn request(
        &self,
        caller: &Caller,
        topic: Names<String>,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let who = self.who.asks(caller, &head.headers).await?;
        let topic = parts(topic)?;
        let asked = Asked::of(&head.headers)?;
        let body = body_of(body, BODY_BYTES).await?;
        call::call(&self.inside, &who, (&topic, &asked, &body), self.patience).await
    }
}

/// What is said of which receipts, and whether that is to be on disk.
fn said_in(body: &[u8]) -> Result<(Vec<(String, Settle)>, bool), Problem> {
    let bad = |why: &str| Problem::new(400, "bad_body", format!("the body: {why}"));
    let value: Value = serde_json::from_slice(body).map_err(|error| bad(&format!("it is no JSON, {error}")))?;
    let Value::Object(fields) = value else { return Err(bad("write an object, such as {\"ack\": [\"7-42\"]}")) };
    said_of(&fields)
}

/// The same of the members of an object.
fn said_of(fields: &serde_json::Map<String, Value>) -> Result<(Vec<(String, Settle)>, bool), Problem> {
    let bad = |why: &str| Problem::new(400, "bad_body", format!("the body: {why}"));
    let mut delay = Duration::ZERO;
    let mut reason = String::new();
    let mut confirm = false;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("ack" | "nack" | "progress" | "term", Value::Array(_)) => {}
            ("delay", Value::String(text)) => {
                delay = parse_duration(text).map_err(|why| bad(&format!("`delay`, {why}")))?;
                if delay > MOST_DELAY {
                    return Err(bad("`delay` is more than 30 d"));
                }
            }
            ("reason", Value::String(text)) => reason.clone_from(text),
            ("confirm", Value::Bool(value)) => confirm = *value,
            ("ack" | "nack" | "progress" | "term", _) => return Err(bad(&format!("`{name}` is a list of receipts"))),
            ("delay" | "reason", _) => return Err(bad(&format!("`{name}` is a text"))),
            ("confirm", _) => return Err(bad("`confirm` is true or false")),
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(bad(&format!(
                    "`{name}` is not known: there are ack, nack, progress, term, delay, reason, confirm"
                )));
            }
        }
    }
    let mut said = Vec::new();
    let kinds = [
        ("ack", Settle::Ack),
        ("nack", Settle::Nack(delay)),
        ("progress", Settle::Progress),
        ("term", Settle::Term(reason)),
    ];
    for (name, what) in kinds {
        let Some(Value::Array(receipts)) = fields.get(name) else { continue };
        for receipt in receipts {
            let Value::String(receipt) = receipt else { return Err(bad(&format!("`{name}` has what is no receipt"))) };
            if members::receipt_of(receipt).is_none() {
                let receipt: String = receipt.chars().take(64).collect();
                return Err(bad(&format!("`{receipt}` is no receipt: send those that came with the messages")));
            }
            if said.len() >= MOST_RECEIPTS {
                return Err(bad("it has more than 10000 receipts: settle some at a time"));
            }
            said.push((receipt.clone(), what.clone()));
        }
    }
    Ok((said, confirm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_receipts_is_read_and_what_cannot_be_is_refused_by_name() {
        let (said, confirm) = said_in(
            br#"{"ack": ["1-2"], "nack": ["1-3"], "delay": "5 s", "term": ["1-4"], "reason": "r", "confirm": true}"#,
        )
        .expect("it is sound");
        let five = Duration::from_secs(5);
        let wanted = [("1-2", Settle::Ack), ("1-3", Settle::Nack(five)), ("1-4", Settle::Term("r".to_owned()))];
        assert_eq!((said, confirm), (wanted.map(|(receipt, what)| (receipt.to_owned(), what)).to_vec(), true));
        assert!(said_in(b"{}").is_ok_and(|(said, confirm)| said.is_empty() && !confirm));
        let many = format!(r#"{{"ack": [{}"1-1"]}}"#, r#""1-1","#.repeat(MOST_RECEIPTS));
        for (body, name) in [
            ("", "JSON"),
            ("[]", "object"),
            (r#"{"ack": "1-2"}"#, "ack"),
            (r#"{"ack": [1]}"#, "ack"),
            (r#"{"ack": ["x"]}"#, "receipt"),
            (r#"{"nak": []}"#, "nak"),
            (r#"{"nack": [], "delay": "soon"}"#, "delay"),
            (r#"{"nack": [], "delay": "40 d"}"#, "delay"),
            (r#"{"reason": 1}"#, "reason"),
            (r#"{"confirm": 1}"#, "confirm"),
            (&*many, "10000"),
        ] {
            let problem = said_in(body.as_bytes()).expect_err(body);
            assert_eq!((problem.status, problem.code.as_str()), (400, "bad_body"));
            assert!(problem.detail.contains(name), "{problem:?}");
        }
    }

    #[test]
    fn who_takes_no_events_is_told_what_there_is() {
        let of = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_str(value).expect("a header"));
            }
            wants_events(&headers).err().map(|problem| problem.status)
        };
        assert_eq!([of(&[]), of(&["*/*"]), of(&["text/event-stream"]), of(&["text/html, text/*;q=0.1"])], [None; 4]);
        assert_eq!([of(&["application/json"]), of(&["text/html"])], [Some(406); 2]);
        assert_eq!(of(&["text/html", "text/event-stream"]), None);
    }

    #[test]
    fn a_poll_is_answered_by_cloudevents_where_they_are_asked_for_and_nothing_else_is() {
        let of = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_str(value).expect("a header"));
            }
            wanted_form(&headers).map_err(|problem| problem.status)
        };
        assert_eq!([of(&[]), of(&["*/*"]), of(&["application/json"])], [Ok(Form::Own); 3]);
        assert_eq!(of(&["application/CloudEvents-batch+json; charset=utf-8"]), Ok(Form::CloudEvents));
        assert_eq!(of(&["text/html", BATCHED]), Ok(Form::CloudEvents));
        assert_eq!(of(&["application/json, application/cloudevents-batch+json"]), Ok(Form::CloudEvents));
        assert_eq!(of(&["application/cloudevents+json"]), Err(406));
    }
}
