//! Answers that refuse, in the form that clients of the registry read:
//! `{"error_code": 40401, "message": "..."}`. What is below `/v1/` has another,
//! [`Problem`].

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};
use weft_schema::rest;

use super::ids;
use super::problem::Problem;

/// A refusal, and what goes with it in the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Three digits, or five whose first three are the status.
    pub(super) code: u32,
    pub(super) message: String,
    /// When to come again, in seconds.
    pub(super) retry: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry: None }
    }

    /// It may be better soon.
    pub(super) fn soon(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { retry: Some(1), ..Self::new(status, code, message) }
    }

    /// In the form of what is at a path: below `/v1/` a [`Problem`], with the
    /// request's id.
    pub(super) fn response_for(&self, path: &str, request: &str) -> Response<Body> {
        if path.starts_with("/v1/") { Problem::from(self.clone()).response(request) } else { self.response() }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let body = json!({"error_code": self.code, "message": self.message});
        let mut response = of(self.status, &body);
        if let Some(seconds) = self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"weft\""));
        }
        response
    }
}

/// An answer of this status with JSON.
pub(super) fn of(status: u16, body: &Value) -> Response<Body> {
    with(status, body, rest::CONTENT_TYPE)
}

/// An answer of this status with JSON, of no registry.
pub(super) fn json(status: u16, body: &impl Serialize) -> Response<Body> {
    with(status, body, "application/json")
}

/// What has maps whose keys are no texts would be empty; nothing that is answered has.
fn with(status: u16, body: &impl Serialize, content: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// There is nothing of the path.
pub(super) async fn nothing_there(uri: Uri, headers: HeaderMap) -> Response<Body> {
    let refusal = Refusal::new(404, 404, "HTTP 404 Not Found: there is nothing of this path");
    refusal.response_for(uri.path(), ids::of(&headers))
}
