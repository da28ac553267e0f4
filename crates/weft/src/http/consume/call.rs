//! Requests across the mesh (docs/requests-and-groups.md) by HTTP: the body is what is
//! asked, the answer is the first reply.
//!
//! A reply is bytes of somebody else's: it is never called a page, whatever its
//! responder says of it, and no browser runs any of it.

use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use tokio::time::timeout;
use weft_client::{CallError, Reply};

use super::super::events::asked::Asked;
use super::super::events::problem_of as not_published;
use super::super::inside::Inside;
use super::super::problem::Problem;
use super::super::who::Someone;
use weft_govern::access::Method;

/// How long a reply is waited for unless the request says otherwise.
const DEADLINE: Duration = Duration::from_secs(5);
/// What remains of `http.patience` for all else.
const SPARE: Duration = Duration::from_secs(1);
/// What a reply may be called; anything else is bytes.
const TYPES: [&str; 3] = ["application/json", "application/cloudevents+json", "text/plain"];

/// Asks, and waits for the first reply. `patience`: how long a request by HTTP may take.
///
/// # Errors
/// [`Problem`]: nobody is there to answer, or nobody has in time.
pub(super) async fn call(
    inside: &Inside,
    who: &Someone,
    (topic, asked, body): (&str, &Asked, &[u8]),
    patience: Duration,
) -> Result<Response<Body>, Problem> {
    let most = patience.saturating_sub(SPARE);
    let deadline = asked.deadline.unwrap_or(DEADLINE.min(most));
    if deadline > most {
        let text = format!("the header weft-deadline: write at most {} here (of http.patience)", most.as_millis());
        return Err(Problem::new(400, "bad_header", text));
    }
    let lease = inside.session(&who.login).await?;
    let mut request = lease.client().request(topic, body).deadline(deadline).lane(asked.lane);
    for (name, value) in asked.more() {
        request = request.header(name, value);
    }
    // The client ends it at its deadline by itself.
    match timeout(deadline + SPARE / 2, request.send()).await {
        Ok(Ok(reply)) => Ok(answer(&reply)),
        Ok(Err(error)) => Err(problem_of(&error, who)),
        Err(_) => Err(problem_of(&CallError::Deadline, who)),
    }
}

fn answer(reply: &Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.payload().to_vec()));
    let known = reply.header("content-type").and_then(|name| std::str::from_utf8(name).ok());
    let known = known.and_then(|name| TYPES.iter().find(|known| name.split(';').next() == Some(*known)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(known.unwrap_or(&"application/octet-stream")));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

fn problem_of(error: &CallError, who: &Someone) -> Problem {
    let text = error.to_string();
    match error {
        CallError::NoResponders => Problem::new(404, "no_responders", text),
        CallError::Deadline => Problem::new(504, "timed_out", text),
        CallError::NoReply => Problem::new(502, "no_reply", text),
        CallError::ConnectionLost | CallError::Closed => Problem::soon(503, "unknown", text, 1),
        CallError::NotConnected => Problem::soon(503, "sessions", text, 1),
        CallError::TooMany { .. } => Problem::soon(429, "window", text, 1),
        CallError::Refused(refusal) => super::refused(refusal, who),
        CallError::Publish(error) => not_published(error, who.principal.method == Method::Anonymous),
        CallError::Event(_) => Problem::new(413, "too_large", text),
        _ => Problem::new(500, "failed", text),
    }
}
