//! Streams and durable consumers, administered by HTTP as by `weft stream` and
//! `weft consumer`, in the caller's own session ([`Inside`]): the hub decides who may.
//!
//! A stream that is shown has an ETag of what it was told, by which a change is refused
//! (412) that was decided on something else. The hub knows no such condition: it holds
//! against changes by HTTP at this hub, which come one after the other.

mod fields;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State as Area};
use axum::http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use weft_base::{Clock, UnixNanos};
use weft_client::{ConsumerOptions, Consumers, LastValue, RequestError, StreamOptions, StreamReport, Streams};
use weft_wire::ErrorCode;

use super::consume::{asked_in_vain, body_of};
use super::ids;
use super::inside::Inside;
use super::problem::Problem;
use super::query::{Query, bad};
use super::who::{Caller, Someone, Who};
use super::{Facts, answer};
use crate::commands::{consumer as consumers, stream as streams};
use crate::connect::start_at;
use crate::events;
use crate::time::parse_duration;

/// The most bytes of a definition.
const BODY_BYTES: usize = 256 << 10;
/// How long the hub has for an answer: another hub may have to be asked.
const ANSWER: Duration = Duration::from_secs(15);
/// The most last values of an answer.
const MOST_LAST: u32 = 10_000;

/// The area.
struct Admin {
    who: Arc<Who>,
    inside: Arc<Inside>,
    clock: Arc<dyn Clock>,
    /// Changes with a condition come one after the other.
    changing: Mutex<()>,
}

/// Its routes.
pub(super) fn router(facts: &Facts, who: Arc<Who>, inside: Arc<Inside>) -> Router {
    let admin = Admin { who, inside, clock: facts.clock.clone(), changing: Mutex::new(()) };
    let router = Router::new()
        .route("/v1/streams", any(of_all))
        .route("/v1/streams/{stream}", any(of_one))
        .route("/v1/streams/{stream}/last", any(of_part))
        .route("/v1/streams/{stream}/consumers", any(of_part))
        .route("/v1/streams/{stream}/consumers/{consumer}", any(of_consumer))
        .route("/v1/streams/{stream}/consumers/{consumer}/pause", any(of_consumer))
        .route("/v1/streams/{stream}/consumers/{consumer}/resume", any(of_consumer))
        .route("/v1/streams/{stream}/consumers/{consumer}/reset", any(of_consumer))
        .route("/v1/streams/{stream}/consumers/{consumer}/move", any(of_consumer));
    router.with_state(Arc::new(admin))
}

type Caught = Extension<Arc<Caller>>;
type Names<T> = Result<Path<T>, PathRejection>;

async fn of_all(Area(admin): Area<Arc<Admin>>, Extension(caller): Caught, request: Request) -> Response<Body> {
    admin.answer(&caller, Ok((String::new(), None)), request).await
}

async fn of_one(
    Area(admin): Area<Arc<Admin>>,
    Extension(caller): Caught,
    names: Names<String>,
    request: Request,
) -> Response<Body> {
    admin.answer(&caller, names.map(|Path(stream)| (stream, None)), request).await
}

async fn of_part(
    Area(admin): Area<Arc<Admin>>,
    Extension(caller): Caught,
    names: Names<String>,
    request: Request,
) -> Response<Body> {
    admin.answer(&caller, names.map(|Path(stream)| (stream, None)), request).await
}

async fn of_consumer(
    Area(admin): Area<Arc<Admin>>,
    Extension(caller): Caught,
    names: Names<(String, String)>,
    request: Request,
) -> Response<Body> {
    admin.answer(&caller, names.map(|Path((stream, consumer))| (stream, Some(consumer))), request).await
}

/// One request.
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    who: Someone,
}

impl Asked {
    /// The last part of the path, below what it is about.
    fn part(&self) -> &str {
        self.uri.path().rsplit('/').next().unwrap_or_default()
    }

    /// What the hub answers, in time.
    async fn of<T>(&self, asked: impl Future<Output = Result<T, RequestError>>) -> Result<T, Problem> {
        match timeout(ANSWER, asked).await {
            Ok(answered) => answered.map_err(|error| asked_in_vain(&error, &self.who)),
            Err(_) => {
                let text =
                    "the hub does not answer in time: whether it was done is not known, look before trying again";
                Err(Problem::new(504, "timed_out", text))
            }
        }
    }

    /// Nothing else is asked of it.
    fn not_allowed(&self, allowed: &str) -> Problem {
        let text = format!("{} cannot be done here: there are {allowed}", self.method);
        Problem::new(405, "method_not_allowed", text)
    }

    fn no_query(&self) -> Result<(), Problem> {
        Query::of(&self.uri, &[]).map(drop)
    }
}

/// What a stream was told, in few letters (RFC 9110, 8.8.3).
fn etag(told: &StreamOptions) -> String {
    use std::fmt::Write as _;
    let hash = digest(&SHA256, format!("{told:?}").as_bytes());
    let mut tag = "\"".to_owned();
    for byte in hash.as_ref().iter().take(16) {
        // Into memory it cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether a header names a tag, or anything.
fn names(headers: &HeaderMap, header: &HeaderName, tag: Option<&str>) -> Option<bool> {
    let mut is_there = false;
    for value in headers.get_all(header) {
        is_there = true;
        let text = value.to_str().unwrap_or_default();
        let fits = |part: &str| part.trim() == "*" || Some(part.trim()) == tag;
        if tag.is_some() && text.split(',').any(fits) {
            return Some(true);
        }
    }
    is_there.then_some(false)
}

/// A change that is made only if things are as its author believes.
fn holds(headers: &HeaderMap, now: Option<&StreamReport>) -> Result<(), Problem> {
    let tag = now.map(|report| etag(&report.definition));
    let stale = |text: &str| Err(Problem::new(412, "changed", text));
    if names(headers, &IF_MATCH, tag.as_deref()) == Some(false) {
        return stale("the stream is not as the header if-match says: look at it again, and decide anew");
    }
    if names(headers, &IF_NONE_MATCH, tag.as_deref()) == Some(true) {
        return stale("the stream is there, and the header if-none-match says that it must not be");
    }
    Ok(())
}

fn shown(status: u16, report: &StreamReport) -> Response<Body> {
    let mut response = answer::json(status, &streams::object(report));
    if let Ok(tag) = HeaderValue::from_str(&etag(&report.definition)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = axum::http::StatusCode::NO_CONTENT;
    response
}

fn list(name: &str, all: Vec<Value>) -> Response<Body> {
    answer::json(200, &json!({name: all}))
}

impl Admin {
    async fn answer(
        &self,
        caller: &Caller,
        names: Result<(String, Option<String>), PathRejection>,
        request: Request,
    ) -> Response<Body> {
        let id = ids::of(request.headers()).to_owned();
        self.answered(caller, names, request).await.unwrap_or_else(|problem| problem.response(&id))
    }

    async fn answered(
        &self,
        caller: &Caller,
        names: Result<(String, Option<String>), PathRejection>,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let who = self.who.asks(caller, &head.headers).await?;
        let bad = |_| Problem::new(400, "bad_name", "a part of the path is no UTF-8: escape it");
        let (stream, consumer) = names.map_err(bad)?;
        let body = body_of(body, BODY_BYTES).await?;
        let lease = self.inside.session(&who.login).await?;
        let known = lease.client().streams();
        let asked = Asked { method: head.method, uri: head.uri, headers: head.headers, body, who };
        match (stream.as_str(), consumer) {
            ("", _) => Self::all(&asked, &known).await,
            (stream, Some(consumer)) => self.consumer(&asked, &known.consumers(stream), &consumer).await,
            (stream, None) if asked.uri.path().matches('/').count() == 3 => self.stream(&asked, &known, stream).await,
            (stream, None) if asked.part() == "last" => Self::last(&asked, &known, stream).await,
            (stream, None) => Self::consumers(&asked, &known.consumers(stream)).await,
        }
    }

    async fn all(asked: &Asked, known: &Streams) -> Result<Response<Body>, Problem> {
        asked.no_query()?;
        if asked.method != Method::GET {
            return Err(asked.not_allowed("GET"));
        }
        let all = asked.of(known.list()).await?;
        Ok(list("streams", all.iter().map(streams::object).collect()))
    }

    /// Waits for changes before it that have a condition too.
    async fn turn(&self, asked: &Asked) -> Result<Option<MutexGuard<'_, ()>>, Problem> {
        if !asked.headers.contains_key(IF_MATCH) && !asked.headers.contains_key(IF_NONE_MATCH) {
            return Ok(None);
        }
        let turn = timeout(ANSWER, self.changing.lock()).await;
        let text = "others change streams with conditions, and it takes long: nothing was changed, try again";
        turn.map(Some).map_err(|_| Problem::soon(503, "unavailable", text, 5))
    }

    async fn stream(&self, asked: &Asked, known: &Streams, name: &str) -> Result<Response<Body>, Problem> {
        asked.no_query()?;
        let _turn = match asked.method {
            Method::GET => None,
            _ => self.turn(asked).await?,
        };
        let now = match known_or_none(asked.of(known.info(name)).await) {
            // Making one may be allowed to who may not look.
            Err(problem) if problem.status == 403 && asked.method == Method::PUT => None,
            now => now?,
        };
        let missing = || {
            let text = format!("there is no stream `{name}` at this hub or within its reach: create it first");
            Problem::new(404, code(ErrorCode::NO_STREAM), text)
        };
        if asked.method == Method::GET {
            return now.map(|report| shown(200, &report)).ok_or_else(missing);
        }
        holds(&asked.headers, now.as_ref())?;
        match (&asked.method, now) {
            (&Method::PUT, now) => {
                let told = fields::object(&asked.body)?;
                let mut options = StreamOptions { name: name.to_owned(), ..StreamOptions::default() };
                if let Some(now) = &now {
                    // What cannot be changed stays, unless it is said otherwise.
                    let StreamOptions { id, segment, retention, tenant, .. } = now.definition.clone();
                    options = StreamOptions { id, segment, retention, tenant, ..options };
                }
                fields::of_stream(&told, &mut options)?;
                if options.filters.is_empty() {
                    options.filters.push("**".to_owned());
                }
                match &now {
                    Some(_) => asked.of(known.alter(&options)).await?,
                    None => asked.of(known.create(&options)).await?,
                }
                let status = if now.is_some() { 200 } else { 201 };
                self.after(asked, known, name, status).await
            }
            (&Method::PATCH, Some(now)) => {
                let mut options = now.definition;
                fields::of_stream(&fields::object(&asked.body)?, &mut options)?;
                asked.of(known.alter(&options)).await?;
                self.after(asked, known, name, 200).await
            }
            (&Method::DELETE, Some(_)) => {
                asked.of(known.delete(name)).await?;
                Ok(nothing())
            }
            (&Method::PATCH | &Method::DELETE, None) => Err(missing()),
            _ => Err(asked.not_allowed("GET, PUT, PATCH and DELETE")),
        }
    }

    /// How a stream is after a change; who may not look at it is told that it is done.
    async fn after(&self, asked: &Asked, known: &Streams, name: &str, status: u16) -> Result<Response<Body>, Problem> {
        match asked.of(known.info(name)).await {
            Ok(report) => Ok(shown(status, &report)),
            Err(problem) if problem.status == 403 => Ok(answer::json(status, &json!({"name": name}))),
            Err(problem) => Err(problem),
        }
    }

    async fn last(asked: &Asked, known: &Streams, stream: &str) -> Result<Response<Body>, Problem> {
        if asked.method != Method::GET {
            return Err(asked.not_allowed("GET"));
        }
        let query = Query::of(&asked.uri, &["filter", "key", "max"])?;
        let filter = query.get("filter").unwrap_or("**");
        weft_topic::Filter::parse(filter).map_err(|why| bad("filter", &why.to_string()))?;
        let most = query.number("max", 1..=MOST_LAST)?.unwrap_or(1_000);
        let key = query.get("key").map(str::as_bytes);
        let found: Vec<LastValue> = asked.of(known.get_last(stream, filter, key, most)).await?;
        Ok(list("values", found.iter().map(events::last_object).collect()))
    }

    async fn consumers(asked: &Asked, known: &Consumers) -> Result<Response<Body>, Problem> {
        asked.no_query()?;
        if asked.method != Method::GET {
            return Err(asked.not_allowed("GET"));
        }
        let all = asked.of(known.list()).await?;
        Ok(list("consumers", all.iter().map(consumers::object).collect()))
    }

    async fn consumer(&self, asked: &Asked, known: &Consumers, name: &str) -> Result<Response<Body>, Problem> {
        asked.no_query()?;
        let is_itself = asked.uri.path().matches('/').count() == 5;
        let told = fields::object(&asked.body)?;
        match (&asked.method, asked.part()) {
            (&Method::GET, _) if is_itself => {}
            (&Method::PUT, _) if is_itself => {
                let mut options = ConsumerOptions::new(name);
                fields::of_consumer(&told, &mut options)?;
                asked.of(known.create(&options)).await?;
            }
            (&Method::DELETE, _) if is_itself => {
                asked.of(known.delete(name)).await?;
                return Ok(nothing());
            }
            (&Method::POST, "pause") if !is_itself => {
                let time =
                    fields::only(&told, "for")?.map(parse_duration).transpose().map_err(|why| bad("for", &why))?;
                let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                let now = self.clock.now().wall;
                let until = time.map(|time| UnixNanos(now.0.saturating_add(nanos(time))));
                asked.of(known.pause(name, until)).await?;
            }
            (&Method::POST, "resume") if !is_itself => {
                fields::only(&told, "")?;
                asked.of(known.resume(name)).await?;
            }
            (&Method::POST, "reset") if !is_itself => {
                let from = start_at(fields::only(&told, "from")?.unwrap_or("first"));
                asked.of(known.reset(name, from.map_err(|why| bad("from", &why.to_string()))?)).await?;
            }
            (&Method::POST, "move") if !is_itself => {
                let home = fields::only(&told, "to")?.unwrap_or_default();
                asked.of(known.move_to(name, home)).await?;
            }
            _ if is_itself => return Err(asked.not_allowed("GET, PUT and DELETE")),
            _ => return Err(asked.not_allowed("POST")),
        }
        let report = asked.of(known.info(name)).await?;
        Ok(answer::json(200, &consumers::object(&report)))
    }
}

/// That there is none is no failure.
fn known_or_none(asked: Result<StreamReport, Problem>) -> Result<Option<StreamReport>, Problem> {
    match asked {
        Ok(report) => Ok(Some(report)),
        Err(problem) if problem.code == code(ErrorCode::NO_STREAM) => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn code(code: ErrorCode) -> &'static str {
    code.name().unwrap_or("failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_for_what_a_stream_was_told_and_conditions_are_held_against_it() {
        let told = StreamOptions::new("a", "a/**");
        let other = StreamOptions { compact: true, ..told.clone() };
        assert_eq!(etag(&told), etag(&told.clone()));
        assert_ne!(etag(&told), etag(&other));
        let headers = |name: HeaderName, value: &str| {
            HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header"))])
        };
        let tag = etag(&told);
        let of = |value: &str, tag: Option<&str>| names(&headers(IF_MATCH, value), &IF_MATCH, tag);
        assert_eq!(of(&tag, Some(&tag)), Some(true));
        assert_eq!(of(&format!("\"x\", {tag}"), Some(&tag)), Some(true));
        assert_eq!(
            [of("*", Some(&tag)), of("*", None), of("\"x\"", Some(&tag))],
            [Some(true), Some(false), Some(false)]
        );
        assert_eq!(names(&HeaderMap::new(), &IF_MATCH, Some(&tag)), None);
    }
}
