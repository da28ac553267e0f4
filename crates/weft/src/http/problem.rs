//! Answers that refuse, of all that is below `/v1/`: `application/problem+json`
//! (RFC 9457) with a `code`, a `detail` that says what to do, and Retry-After where
//! trying again has a use.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use weft_client as client;
use weft_wire::ErrorCode;

use super::answer::{self, Refusal};

/// What its type is called.
const CONTENT: &str = "application/problem+json";
/// The longest that anybody is told to wait, in seconds.
const MOST_RETRY: u64 = 3_600;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    /// The hub's code, or one of HTTP's own.
    pub(super) code: String,
    pub(super) detail: String,
    /// When to come again, in seconds.
    pub(super) retry: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: u16, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), retry: None }
    }

    /// It may be better in so many seconds.
    pub(super) fn soon(status: u16, code: impl Into<String>, detail: impl Into<String>, seconds: u64) -> Self {
        Self { retry: Some(seconds.clamp(1, MOST_RETRY)), ..Self::new(status, code, detail) }
    }

    /// What a hub refuses. `is_nobody`: who asks has shown nothing, and may do so.
    pub(super) fn of_hub(refusal: &client::Refusal, is_nobody: bool) -> Self {
        let status = match refusal.code {
            ErrorCode::DENIED | ErrorCode::FORBIDDEN | ErrorCode::NOT_ADMIN if is_nobody => 401,
            ErrorCode::DENIED | ErrorCode::FORBIDDEN | ErrorCode::NOT_ADMIN => 403,
            ErrorCode::LOGIN_EXPIRED | ErrorCode::BAD_LOGIN => 401,
            ErrorCode::BAD_TOPIC | ErrorCode::BAD_FILTER | ErrorCode::BAD_NAME | ErrorCode::BAD_CONDITION => 400,
            ErrorCode::TOO_LARGE => 413,
            ErrorCode::OVER_QUOTA | ErrorCode::LANE_FULL | ErrorCode::LOGIN_LIMITED | ErrorCode::WINDOW => 429,
            ErrorCode::WRONG_LAST => 412,
            ErrorCode::NO_STREAM
            | ErrorCode::NO_LAST_VALUES
            | ErrorCode::TOO_FEW_HOMES
            | ErrorCode::RESIDENCY
            | ErrorCode::MAPPED_AWAY
            | ErrorCode::OVERLAP => 409,
            ErrorCode::UNFIT | ErrorCode::UNMAPPABLE | ErrorCode::BAD_DELAY => 422,
            ErrorCode::QUOTA | ErrorCode::DISK_FULL => 507,
            ErrorCode::TIMED_OUT | ErrorCode::EXPIRED => 504,
            ErrorCode::OVERLOADED
            | ErrorCode::DRAINING
            | ErrorCode::SHUTDOWN
            | ErrorCode::LEAVING
            | ErrorCode::LIMIT
            | ErrorCode::MOVED
            | ErrorCode::UNREACHABLE
            | ErrorCode::SPOOL_FULL
            | ErrorCode::BEHIND_ITSELF
            | ErrorCode::UNKEPT
            | ErrorCode::LOGIN_UNAVAILABLE => 503,
            _ => 500,
        };
        let code = refusal.code.name().map_or_else(|| refusal.code.0.to_string(), str::to_owned);
        let said = refusal.retry_after.map(seconds);
        // Where the hub names no time, it has a use all the same.
        let retry = said.or(matches!(status, 429 | 503).then_some(1));
        let detail = format!("{}; {}", refusal.detail, refusal.code.remedy());
        Self { status, code, detail, retry: retry.map(|retry| retry.clamp(1, MOST_RETRY)) }
    }

    /// Why a session was not begun: what was shown there was the program's own.
    pub(super) fn of_session(refusal: &client::Refusal) -> Self {
        let problem = Self::of_hub(refusal, false);
        if problem.status == 401 {
            return Self::soon(503, problem.code, problem.detail, 1);
        }
        problem
    }

    /// It as one result among others.
    pub(super) fn part(&self) -> Value {
        let mut body = json!({"status": self.status, "code": self.code, "detail": self.detail});
        if let Some(seconds) = self.retry {
            body["retryAfter"] = seconds.into();
        }
        body
    }

    /// The answer, with the request's id, where that is known.
    pub(super) fn response(&self, request: &str) -> Response<Body> {
        self.response_with(request, &Value::Null)
    }

    /// The same, with the members of an object beside.
    pub(super) fn response_with(&self, request: &str, more: &Value) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = json!({
            "type": "about:blank", "title": status.canonical_reason().unwrap_or("Error"), "status": self.status,
            "code": self.code, "detail": self.detail,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        if !request.is_empty() {
            body["requestId"] = request.into();
        }
        let mut response = answer::of(self.status, &body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if let Some(seconds) = self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"weft\""));
        }
        response
    }
}

impl From<Refusal> for Problem {
    /// One of the server's own.
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status {
            400 => "bad_request",
            401 => "unauthenticated",
            403 => "denied",
            404 => "not_found",
            408 => "late",
            413 => "too_large",
            429 => "limited",
            503 => "unavailable",
            _ => "failed",
        };
        Self { retry: refusal.retry, ..Self::new(refusal.status, code, refusal.message) }
    }
}

/// A time in whole seconds, and no less than it is.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).clamp(1, MOST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: ErrorCode, after: Option<u64>) -> client::Refusal {
        client::Refusal { code, detail: "no".to_owned(), retry_after: after.map(Duration::from_millis) }
    }

    #[test]
    fn what_the_hub_refuses_has_a_status_a_code_and_the_time_that_the_hub_names() {
        let of = |code, after| {
            let problem = Problem::of_hub(&refusal(code, after), false);
            (problem.status, problem.retry, problem.code)
        };
        assert_eq!(of(ErrorCode::OVER_QUOTA, Some(2_001)), (429, Some(3), "over_quota".to_owned()));
        assert_eq!(of(ErrorCode::LANE_FULL, Some(1_500)), (429, Some(2), "lane_full".to_owned()));
        assert_eq!(of(ErrorCode::OVERLOADED, Some(40)), (503, Some(1), "overloaded".to_owned()));
        assert_eq!(of(ErrorCode::DRAINING, None), (503, Some(1), "draining".to_owned()));
        assert_eq!(of(ErrorCode::DENIED, None), (403, None, "denied".to_owned()));
        assert_eq!(of(ErrorCode::BAD_TOPIC, None), (400, None, "bad_topic".to_owned()));
        assert_eq!(of(ErrorCode(9_999), None), (500, None, "9999".to_owned()));
        assert_eq!(of(ErrorCode::OVER_QUOTA, Some(u64::MAX)).1, Some(3_600));
        assert_eq!(Problem::of_hub(&refusal(ErrorCode::DENIED, None), true).status, 401);
        assert_eq!(Problem::of_session(&refusal(ErrorCode::BAD_LOGIN, None)).status, 503, "no fault of the caller's");
    }

    #[test]
    fn every_code_of_the_hub_is_an_error() {
        for code in ErrorCode::ALL {
            let status = Problem::of_hub(&refusal(*code, None), false).status;
            assert!((400..600).contains(&status), "{code}");
        }
    }
}
