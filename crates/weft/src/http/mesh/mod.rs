//! The mesh for the dashboard's page, as JSON below `/v1/mesh` (`web/API.md`): what is
//! there now and how it was ([`live`]), what hubs say when they are asked ([`hubs`]),
//! streams ([`streams`]), documents of the control state ([`documents`]).
//!
//! What a caller asks is asked in the caller's own session ([`Inside`]), so that the
//! same policies decide as for `weft mesh` and `weft stream`. What is shown to all
//! alike is sampled once for all, by the program itself, and shown to who may observe
//! the mesh; see docs/adr/0051.
//!
//! Bounded: answers by their lists, texts and payloads by [`payload::MOST`], viewers by
//! [`live::MOST`], streams of events by [`streams::MOST`].

mod documents;
mod hubs;
mod live;
mod login;
mod payload;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State as Area};
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::time::timeout;
use weft_base::Clock;
use weft_client::{RequestError, SubscribeError};
use weft_govern::access::{Action, Method as Shown, Resource};
use weft_wire::ErrorCode;

use self::live::Live;
use self::login::Logins;
use self::payload::Schemas;
use self::streams::Streams;
use super::inside::{Inside, Lease};
use super::problem::Problem;
use super::registry::desk::Desk;
use super::seats::Seats;
use super::serve::HEAD_TIME;
use super::stay::Stay;
use super::who::{Caller, Someone, Who};
use super::{Facts, answer};
use weft_hub::govern::Aside;

/// The most bytes of a body.
const BODY_BYTES: usize = 16 << 10;
/// The longest part of a path, in bytes.
const PART_BYTES: usize = 1_024;
/// Items of a list where nothing is said, and at most.
const ITEMS: usize = 100;
const MOST_ITEMS: usize = 200;

/// The area.
struct Mesh {
    who: Arc<Who>,
    inside: Arc<Inside>,
    aside: Arc<Aside>,
    live: Arc<Live>,
    logins: Logins,
    streams: Streams,
    desk: Desk,
}

/// Somebody who asks, with a session.
struct Asking {
    who: Someone,
    lease: Lease,
    /// What shows payloads by their schemas.
    schemas: Schemas,
}

/// Its routes.
pub(super) fn router(facts: &Facts, who: Arc<Who>, inside: Arc<Inside>, desk: Desk, seats: Arc<Seats>) -> Router {
    let clock: Arc<dyn Clock> = facts.clock.clone();
    let mesh = Arc::new(Mesh {
        who,
        live: Arc::new(Live::new(inside.clone(), clock.clone(), facts.counters.clone())),
        inside,
        aside: facts.aside.clone(),
        logins: Logins::new(clock),
        streams: Streams::new(seats),
        desk,
    });
    Router::new().route("/v1/mesh", any(handle)).route("/v1/mesh/{*rest}", any(handle)).with_state(mesh)
}

async fn handle(
    Area(mesh): Area<Arc<Mesh>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(stay): Extension<Arc<Stay>>,
    request: Request,
) -> Response<Body> {
    let mut response = mesh.answer(&caller, &stay, request).await.unwrap_or_else(|problem| problem.response(""));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Mesh {
    async fn answer(&self, caller: &Caller, stay: &Arc<Stay>, request: Request) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        let parts = parts(head.uri.path())?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let ["login"] = parts.as_slice() {
            return self.log_in_or_out(caller, &head).await;
        }
        self.logins.show(&mut head.headers);
        let who = self.who.asks(caller, &head.headers).await?;
        if let ["explain"] = parts.as_slice() {
            only(&head, &Method::POST)?;
            login::own_page(&head.headers)?;
            let body = timeout(HEAD_TIME, to_bytes(body, BODY_BYTES)).await;
            let body = body.map_err(|_| Problem::new(408, "late", "the body did not come in time: send it again"))?;
            let body = body.map_err(|_| {
                Problem::new(413, "too_large", format!("the body is cut short, or has more than {BODY_BYTES} bytes"))
            })?;
            return documents::explain(&self.asking(who).await?, &body).await;
        }
        only(&head, &Method::GET)?;
        match parts.as_slice() {
            ["live"] => {
                self.may_observe(&who).await?;
                self.live.answer(&head.uri).await
            }
            [] => {
                self.may_observe(&who).await?;
                Ok(answer::json(200, &live::mesh(&*self.live.now().await?)))
            }
            ["history"] => {
                self.may_observe(&who).await?;
                self.live.history(&head.uri).await
            }
            ["me"] => {
                let asking = self.asking(who).await?;
                let (principal, hub) = (&asking.who.principal, asking.lease.client().hub());
                let roles: Vec<&str> = principal.roles.iter().map(|role| &**role).collect();
                Ok(answer::json(
                    200,
                    &json!({
                        "principal": {"tenant": principal.tenant.as_deref(), "name": &*principal.name, "roles": roles},
                        "administrator": asking.who.is_administrator, "method": principal.method.name(), "hub": hub.map(|hub| hub.name),
                        "version": self.aside.governed().version(),
                    }),
                ))
            }
            ["hubs", name] => {
                let asking = self.asking(who).await?;
                hubs::hub(&asking, &*self.seen(&asking.who).await?, name).await
            }
            ["links", from, to] => {
                let asking = self.asking(who).await?;
                hubs::link(&asking, &*self.seen(&asking.who).await?, (from, to)).await
            }
            ["ledger"] => hubs::ledger(&self.asking(who).await?, &head.uri).await,
            ["where"] => hubs::event(&self.asking(who).await?, &head.uri).await,
            ["topics"] => hubs::topics(&self.asking(who).await?, &head.uri).await,
            ["topics", topic] => hubs::topic(&self.asking(who).await?, topic).await,
            ["streams"] => streams::all(&self.asking(who).await?, &head.uri).await,
            ["streams", name] => streams::one(&self.asking(who).await?, name).await,
            ["streams", name, "consumers"] => streams::consumers(&self.asking(who).await?, name).await,
            ["streams", name, "consumers", consumer] => {
                streams::consumer(&self.asking(who).await?, name, consumer).await
            }
            ["streams", name, "events"] => streams::events(&self.asking(who).await?, &head.uri, name).await,
            ["streams", name, "replay"] => self.streams.replay(self.asking(who).await?, (&head.uri, name), stay).await,
            ["tail"] => self.streams.tail(self.asking(who).await?, &head.uri, stay).await,
            ["documents", kind] => documents::list(&self.asking(who).await?, &head.uri, kind).await,
            ["documents", kind, name] => documents::one(&self.asking(who).await?, kind, name).await,
            _ => Err(Problem::new(404, "not_found", "there is nothing of this path: see web/API.md")),
        }
    }

    async fn may_observe(&self, who: &Someone) -> Result<(), Problem> {
        Ok(self.who.may(who, Action::Observe, vec![Resource::Mesh]).await?)
    }

    /// The mesh as it is now, for who may see it.
    async fn seen(&self, who: &Someone) -> Result<Arc<crate::watch::Sight>, Problem> {
        self.may_observe(who).await?;
        self.live.now().await
    }

    async fn asking(&self, who: Someone) -> Result<Asking, Problem> {
        let lease = self.inside.session(&who.login).await?;
        let schemas = Schemas { desk: self.desk.clone(), aside: self.aside.clone() };
        Ok(Asking { who, lease, schemas })
    }

    async fn log_in_or_out(&self, caller: &Caller, head: &Parts) -> Result<Response<Body>, Problem> {
        login::own_page(&head.headers)?;
        match head.method {
            Method::POST => {
                self.who.asks(caller, &head.headers).await?;
                self.logins.keep(&head.headers, caller.is_secured())
            }
            Method::DELETE => Ok(self.logins.forget(&head.headers)),
            _ => Err(not_here("POST to log in, DELETE to log out")),
        }
    }
}

impl Asking {
    /// What the hub refuses, or what became of a question.
    fn problem(&self, error: &RequestError) -> Problem {
        match error {
            RequestError::Refused(refusal) => {
                let problem = Problem::of_hub(refusal, self.who.principal.method == Shown::Anonymous);
                match refusal.code {
                    ErrorCode::NO_STREAM => Problem { status: 404, ..problem },
                    _ => problem,
                }
            }
            RequestError::Invalid { detail } => Problem::new(400, "bad_request", detail.clone()),
            RequestError::TooMany { .. } => Problem::soon(503, "sessions", error.to_string(), 1),
            _ => Problem::soon(503, "unavailable", error.to_string(), 1),
        }
    }

    fn refused(&self, error: &SubscribeError) -> Problem {
        match error {
            SubscribeError::Refused(refusal) => self.problem(&RequestError::Refused(refusal.clone())),
            SubscribeError::Filter(error) => Problem::new(400, "bad_filter", error.to_string()),
            SubscribeError::StreamName { .. } => Problem::new(400, "bad_name", error.to_string()),
            _ => Problem::soon(503, "unavailable", error.to_string(), 1),
        }
    }
}

/// The parts of a path below `/v1/mesh`, as they were before they were escaped.
fn parts(path: &str) -> Result<Vec<String>, Problem> {
    let rest = path.strip_prefix("/v1/mesh").unwrap_or_default().trim_matches('/');
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let part = |part: &str| {
        let part = unescape(part).filter(|part| part.len() <= PART_BYTES);
        let text = format!("a part of the path is no UTF-8, or has more than {PART_BYTES} bytes: escape it");
        part.ok_or_else(|| Problem::new(400, "bad_path", text))
    };
    rest.split('/').map(part).collect()
}

/// A part of a path without escapes (RFC 3986).
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn only(head: &Parts, method: &Method) -> Result<(), Problem> {
    if head.method == *method || (*method == Method::GET && head.method == Method::HEAD) {
        return Ok(());
    }
    Err(not_here(&format!("ask with {method}")))
}

fn not_here(what: &str) -> Problem {
    Problem::new(405, "not_allowed", format!("this method does nothing here: {what}"))
}

fn not_found(what: &str, name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    Problem::new(404, "not_found", format!("there is no {what} `{name}`, or it may not be seen: look at the list"))
}

/// A page of a list: what is left out of it stands behind `next`.
fn page(items: &[Value], next: Option<&str>) -> Response<Body> {
    answer::json(200, &json!({"items": items, "next": next, "total": Value::Null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_told_apart_before_they_are_unescaped() {
        let of = |path| parts(path).ok();
        let owned = |parts: &[&str]| Some(parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(of("/v1/mesh"), owned(&[]));
        assert_eq!(of("/v1/mesh/"), owned(&[]));
        assert_eq!(of("/v1/mesh/topics/a%2Fb%20c"), owned(&["topics", "a/b c"]));
        assert_eq!(of("/v1/mesh/topics/%3Cscript%3E"), owned(&["topics", "<script>"]));
        for bad in ["/v1/mesh/%", "/v1/mesh/%f", "/v1/mesh/%zz", "/v1/mesh/%ff"] {
            assert_eq!(parts(bad).err().map(|problem| problem.status), Some(400), "{bad}");
        }
        assert!(parts(&format!("/v1/mesh/{}", "x".repeat(2_000))).is_err());
    }
}
