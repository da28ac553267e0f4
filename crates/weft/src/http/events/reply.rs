//! What a request is answered, before it is written: kept where the same is asked
//! again.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::super::answer;
use super::super::problem::Problem;
use crate::cli::Reached;

/// Some were published, and others were not (RFC 4918, 11.1).
const MIXED: u16 = 207;

/// What the answer to an event takes besides names, at most about.
const DONE_BYTES: usize = 160;

/// What became of one event.
pub(super) type Outcome = Result<Reply, Problem>;

/// What is said of an event that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    #[serde(serialize_with = "shown")]
    pub(super) level: Reached,
    pub(super) duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<Event>,
    /// 0: no stream alone took it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) stream_sequence: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) quarantined: bool,
}

/// An event by its hub, that one's life, and its sequence: as `weft mesh where` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) hub: Arc<str>,
    pub(super) epoch: u32,
    pub(super) sequence: u64,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { hub, epoch, sequence } = self;
        to.collect_str(&format_args!("{hub}/{epoch}/{sequence}"))
    }
}

fn shown<S: Serializer>(level: &Reached, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(level)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an answer says where all went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Said {
    One(Done),
    Other(Value),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    body: Said,
    problem: Option<Problem>,
    retry: Option<u64>,
    size: usize,
}

impl Reply {
    /// An event was published.
    pub(super) fn published(status: u16, done: Done) -> Self {
        let hub = done.event.as_ref().map_or(0, |event| event.hub.len());
        Self { status, body: Said::One(done), problem: None, retry: None, size: DONE_BYTES + hub }
    }

    /// What was asked is done.
    pub(super) fn done(status: u16, body: Value) -> Self {
        let size = body.to_string().len();
        Self { status, body: Said::Other(body), problem: None, retry: None, size }
    }

    /// It is not; what is beside the problem stands in it.
    fn failed(problem: Problem, more: Value) -> Self {
        let size = more.to_string().len() + problem.detail.len();
        Self { status: problem.status, retry: problem.retry, body: Said::Other(more), problem: Some(problem), size }
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
            Ok(Self { status, body, .. }) => {
                let mut body = body.value();
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
            Some(problem) => problem.response_with(request, &self.body.clone().value()),
            None => answer::json(self.status, &self.body),
        };
        if let Some(seconds) = self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl Said {
    /// As JSON, to be part of more.
    fn value(self) -> Value {
        match self {
            // It has nothing that JSON has not.
            Self::One(done) => serde_json::to_value(done).unwrap_or_default(),
            Self::Other(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_client::AckLevel;

    use super::*;

    #[test]
    fn one_bad_event_hides_no_others_and_where_none_went_well_the_status_says_why() {
        let good = || Ok(Reply::done(200, json!({"level": "routed"})));
        let bad = |retry| Err(Problem { retry, ..Problem::new(429, "window", "later") });
        let all = Reply::many(vec![good(), good()]);
        let said = |reply: &Reply| reply.body.clone().value();
        assert_eq!((all.status, &said(&all)["published"], &said(&all)["failed"]), (200, &json!(2), &json!(0)));
        let mixed = Reply::many(vec![bad(Some(2)), good(), bad(Some(7))]);
        assert_eq!((mixed.status, mixed.retry), (MIXED, Some(7)));
        assert_eq!(said(&mixed)["results"][1], json!({"status": 200, "level": "routed"}));
        assert_eq!(said(&mixed)["results"][2]["code"], "window");
        assert_eq!(said(&mixed)["results"][2]["retryAfter"], 7);
        let none = Reply::many(vec![bad(None), bad(Some(3))]);
        assert_eq!((none.status, none.retry), (429, Some(3)));
        let response = none.response("id");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(Reply::many(Vec::new()).status, 200);
    }

    #[test]
    fn what_is_said_of_an_event_has_what_there_is_of_it() {
        let level = |level, homes| Reached { level, homes };
        let done = Done {
            level: level(AckLevel::Routed, 0),
            duplicate: false,
            event: None,
            stream_sequence: 0,
            quarantined: false,
        };
        let plain = Reply::published(200, done.clone());
        assert_eq!(Reply::part(Ok(plain)), json!({"level": "routed", "duplicate": false, "status": 200}));
        let synced = Reply::published(200, Done { level: level(AckLevel::Synced, 1), ..done.clone() });
        assert_eq!(Reply::part(Ok(synced))["level"], "synced", "as it is asked for, at however many homes");
        let event = Some(Event { hub: "new-york".into(), epoch: 7, sequence: 42 });
        let full = Done { level: level(AckLevel::Homes, 2), event, stream_sequence: 9, quarantined: true, ..done };
        let text = serde_json::to_string(&full).expect("JSON");
        let wanted =
            r#"{"level":"homes:2","duplicate":false,"event":"new-york/7/42","streamSequence":9,"quarantined":true}"#;
        assert_eq!(text, wanted);
        assert!(Reply::published(200, full).size() >= text.len());
    }
}
