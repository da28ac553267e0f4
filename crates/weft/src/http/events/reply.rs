//! What a request is answered, before it is written: kept where the same is asked
//! again.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use super::super::answer;
use super::super::problem::Problem;

/// Some were published, and others were not (RFC 4918, 11.1).
const MIXED: u16 = 207;

/// What became of one event.
pub(super) type Outcome = Result<Reply, Problem>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    body: Value,
    problem: Option<Problem>,
    retry: Option<u64>,
    size: usize,
}

impl Reply {
    /// What was asked is done.
    pub(super) fn done(status: u16, body: Value) -> Self {
        let size = body.to_string().len();
        Self { status, body, problem: None, retry: None, size }
    }

    /// It is not; what is beside the problem stands in it.
    fn failed(problem: Problem, more: Value) -> Self {
        let size = more.to_string().len() + problem.detail.len();
        Self { status: problem.status, retry: problem.retry, body: more, problem: Some(problem), size }
    }

    /// Of one event.
    pub(super) fn one(outcome: Outcome) -> Self {
        outcome.unwrap_or_else(|problem| Self::failed(problem, Value::Null))
    }

    /// Of several, in their order: the status of all where all went well, 207 where
    /// some did, and the first one's problem where nothing was published.
    pub(super) fn many(outcomes: Vec<Outcome>) -> Self {
        let published = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let failed = outcomes.len() - published;
        let good = outcomes.iter().find_map(|outcome| outcome.as_ref().ok()).map(|reply| reply.status);
        let first = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).cloned();
        let retry = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.retry).max();
        let results: Vec<Value> = outcomes.into_iter().map(Self::part).collect();
        let body = json!({"published": published, "failed": failed, "results": results});
        match (good, first) {
            (None, Some(problem)) => Self::failed(Problem { retry, ..problem }, body),
            (Some(_), Some(_)) => Self { retry, ..Self::done(MIXED, body) },
            (good, None) => Self::done(good.unwrap_or(200), body),
        }
    }

    /// What became of one event among others.
    pub(super) fn part(outcome: Outcome) -> Value {
        match outcome {
            Ok(Self { status, mut body, .. }) => {
                body["status"] = status.into();
                body
            }
            Err(problem) => problem.part(),
        }
    }

    /// Bytes of it, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The answer to the request of this id.
    pub(super) fn response(&self, request: &str) -> Response<Body> {
        let mut response = match &self.problem {
            Some(problem) => problem.response_with(request, &self.body),
            None => answer::json(self.status, &self.body),
        };
        if let Some(seconds) = self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_event_hides_no_others_and_where_none_went_well_the_status_says_why() {
        let good = || Ok(Reply::done(200, json!({"level": "routed"})));
        let bad = |retry| Err(Problem { retry, ..Problem::new(429, "window", "later") });
        let all = Reply::many(vec![good(), good()]);
        assert_eq!((all.status, &all.body["published"], &all.body["failed"]), (200, &json!(2), &json!(0)));
        let mixed = Reply::many(vec![bad(Some(2)), good(), bad(Some(7))]);
        assert_eq!((mixed.status, mixed.retry), (MIXED, Some(7)));
        assert_eq!(mixed.body["results"][1], json!({"status": 200, "level": "routed"}));
        assert_eq!(mixed.body["results"][2]["code"], "window");
        assert_eq!(mixed.body["results"][2]["retryAfter"], 7);
        let none = Reply::many(vec![bad(None), bad(Some(3))]);
        assert_eq!((none.status, none.retry), (429, Some(3)));
        let response = none.response("id");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(Reply::many(Vec::new()).status, 200);
    }
}
