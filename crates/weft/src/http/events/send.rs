//! Events on their way to the hub, in the caller's own session, and what became of
//! each.
//!
//! Nothing waits without end: an event behind others that the hub holds back
//! ([`HELD`]) is refused at once, with the time that these are behind; one that finds no room in the session within
//! [`ROOM`] is refused (429, or 503 where it is the hub that has none), and so are
//! all behind it, so that their order stays; what is not acknowledged within [`ACK`]
//! is told as not known (504).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::{Instant, timeout, timeout_at};
use weft_base::{Lane, UnixNanos};
use weft_client::{
    AckLevel, Acknowledgement, EventFields, Limit, PublishError, Published, Publisher, PublisherOptions, WhyWaiting,
};
use weft_wire::ErrorCode;

use super::super::inside::Lease;
use super::super::moment::{self, ACK};
use super::super::problem::{Problem, seconds};
use super::asked::Asked;
use super::reply::{Done, Event, Outcome, Reply};
use crate::cli::Reached;

/// How long an event waits for room in its session.
const ROOM: Duration = Duration::from_secs(1);
/// Where what is before it waits for longer, an event is refused at once.
const HELD: Duration = Duration::from_millis(200);
/// How long the hub has to say what holds an event up.
const WHY: Duration = Duration::from_secs(1);
/// The longest that a caller is told to wait for what holds it up, in seconds.
const MOST_WAIT: u64 = 30;

/// An event to be published.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct One {
    pub(in crate::http) topic: String,
    pub(super) lane: Lane,
    pub(super) key: String,
    /// Its own, encoded.
    pub(super) headers: Vec<u8>,
    pub(in crate::http) payload: Bytes,
}

/// What is known of an event.
enum Slot {
    Waiting(Acknowledgement, Lane),
    Known(Outcome),
}

/// Events on their way.
pub(super) struct Sent {
    slots: Vec<Slot>,
    lease: Lease,
    reached: Reached,
    options: PublisherOptions,
    is_nobody: bool,
}

/// Sends events, in their order; those that are none already stay what they are.
pub(super) async fn send(
    lease: Lease,
    asked: &Asked,
    events: Vec<Result<One, Problem>>,
    now: UnixNanos,
    is_nobody: bool,
) -> Sent {
    let until = Instant::now() + ACK;
    let options = asked.options();
    moment::hold(lease.client());
    let mut slots = Vec::with_capacity(events.len());
    let mut full: Option<Problem> = None;
    // Of the lanes that have been used: most requests have one.
    let mut publishers: Vec<(Lane, Publisher)> = Vec::new();
    for event in events {
        let event = match (event, &full) {
            (Ok(event), None) => event,
            (Ok(_), Some(problem)) => {
                slots.push(Slot::Known(Err(problem.clone())));
                continue;
            }
            (Err(problem), _) => {
                slots.push(Slot::Known(Err(problem)));
                continue;
            }
        };
        let known = publishers.iter().find(|(lane, _)| *lane == event.lane).map(|(_, publisher)| publisher.clone());
        let publisher = known.unwrap_or_else(|| {
            let publisher = lease.client().publisher(options.clone().lane(event.lane));
            publishers.push((event.lane, publisher.clone()));
            publisher
        });
        let fields =
            EventFields { time: now, key: event.key.as_bytes(), headers: &event.headers, payload: &event.payload };
        if let Some(why) = publisher.held_up().filter(|why| why.behind >= HELD) {
            let problem = no_room(&why);
            full = Some(problem.clone());
            slots.push(Slot::Known(Err(problem)));
            continue;
        }
        // Most find room at once.
        let taken = match publisher.try_publish_event(&event.topic, fields) {
            Err(PublishError::Full { .. } | PublishError::MustAsk) => {
                let room = until.min(Instant::now() + ROOM);
                Box::pin(timeout_at(room, publisher.publish_event(&event.topic, fields))).await
            }
            taken => Ok(taken),
        };
        slots.push(match taken {
            Ok(Ok(acknowledgement)) => Slot::Waiting(acknowledgement, event.lane),
            Ok(Err(error)) => Slot::Known(Err(problem_of(&error, is_nobody))),
            Err(_) => {
                let problem = held_up(&publisher, false).await;
                full = Some(problem.clone());
                Slot::Known(Err(problem))
            }
        });
    }
    Sent { slots, lease, reached: asked.reached, options, is_nobody }
}

impl Sent {
    /// Until all that is to be known is known, or one is not after [`ACK`]. Nothing is lost
    /// where this is dropped before it ends.
    pub(super) async fn settle(&mut self) {
        for slot in &mut self.slots {
            let Slot::Waiting(acknowledgement, _) = slot else { continue };
            let Some(settled) = moment::settled(acknowledgement.clone()).await else { return };
            let outcome = match settled {
                Ok(published) => Ok(reply_of(&published, self.lease.hub(), self.reached)),
                Err(error) => Err(problem_of(&error, self.is_nobody)),
            };
            *slot = Slot::Known(outcome);
        }
    }

    /// Whether all is known.
    pub(super) fn is_settled(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Known(_)))
    }

    /// What is known of each now, and whether that is all.
    pub(super) async fn outcomes(&self) -> (Vec<Outcome>, bool) {
        let waiting = self.slots.iter().find_map(|slot| match slot {
            Slot::Waiting(_, lane) => Some(*lane),
            Slot::Known(_) => None,
        });
        let late = match waiting {
            None => None,
            Some(lane) => Some(held_up(&self.lease.client().publisher(self.options.clone().lane(lane)), true).await),
        };
        let outcomes = self.slots.iter().map(|slot| match (slot, &late) {
            (Slot::Known(outcome), _) => outcome.clone(),
            (Slot::Waiting(..), Some(late)) => Err(late.clone()),
            (Slot::Waiting(..), None) => Err(unknown()),
        });
        (outcomes.collect(), late.is_none())
    }
}

/// Whether something was published, or may have been.
pub(super) fn has_effect(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| match outcome {
        Ok(_) => true,
        Err(problem) => problem.code == UNKNOWN || Some(&*problem.code) == ErrorCode::TIMED_OUT.name(),
    })
}

/// What was published.
fn reply_of(published: &Published, hub: &Arc<str>, asked: Reached) -> Reply {
    let status = if asked.level == AckLevel::None { 202 } else { 200 };
    let event = || Event { hub: hub.clone(), epoch: published.epoch.0, sequence: published.sequence };
    Reply::published(
        status,
        Done {
            level: Reached { level: published.level, homes: published.homes },
            duplicate: published.duplicate,
            event: (published.sequence > 0).then(event),
            stream_sequence: published.home_sequence,
            quarantined: published.is_in_quarantine(),
        },
    )
}

/// It may have been published.
const UNKNOWN: &str = "unknown";

pub(super) fn unknown() -> Problem {
    let text = "the session ended before the acknowledgement came: whether it was published is not known";
    Problem::soon(503, UNKNOWN, text, 1)
}

/// Why an event was not published, or it is not known.
pub(in crate::http) fn problem_of(error: &PublishError, is_nobody: bool) -> Problem {
    let text = error.to_string();
    match error {
        PublishError::Refused(refusal) => Problem::of_hub(refusal, is_nobody),
        PublishError::Topic(_) => Problem::new(400, "bad_topic", text),
        PublishError::Event(_) => Problem::new(413, "too_large", text),
        PublishError::TooLarge { .. } | PublishError::BatchTooLarge { .. } => Problem::new(413, "too_large", text),
        PublishError::Level { .. } => Problem::new(400, "bad_level", text),
        PublishError::Full { .. } => Problem::soon(429, code(ErrorCode::WINDOW), text, 1),
        PublishError::Expired => Problem::new(504, code(ErrorCode::EXPIRED), text),
        // Its session has ended: the next request has another.
        PublishError::Closed => unknown(),
        _ => Problem::new(500, "failed", text),
    }
}

/// What holds an event up, and when to come again: as long as what is in its way is
/// behind. `is_sent`: the hub may have it.
async fn held_up(publisher: &Publisher, is_sent: bool) -> Problem {
    let Ok(Ok(why)) = timeout(WHY, publisher.why_waiting()).await else {
        if !is_sent {
            let text = "the hub does not say what holds the event up: nothing was published, send it again later";
            return Problem::soon(503, code(ErrorCode::OVERLOADED), text, 1);
        }
        let text = "the hub does not say what holds the event up: whether it was published is not known";
        return Problem::soon(503, UNKNOWN, text, 1);
    };
    let retry = seconds(why.behind).min(MOST_WAIT);
    if is_sent {
        let text = format!("no acknowledgement in time, {why}: whether the event was published is not known");
        return Problem::soon(504, code(ErrorCode::TIMED_OUT), text, retry);
    }
    no_room(&why)
}

/// Nothing was published, because of this.
fn no_room(why: &WhyWaiting) -> Problem {
    let (status, code) = match why.limit {
        Limit::Memory => (503, code(ErrorCode::OVERLOADED)),
        // Load holds back lanes, the least urgent first: another one may do.
        Limit::None | Limit::Subscriber | Limit::Stream | Limit::Load => (429, code(ErrorCode::WINDOW)),
    };
    let retry = seconds(why.behind).min(MOST_WAIT);
    let why = match why.limit {
        Limit::None => "more is under way in the session of this principal than it takes".to_owned(),
        _ => why.to_string(),
    };
    Problem::soon(status, code, format!("{why}: nothing was published, send it again later"), retry)
}

fn code(code: ErrorCode) -> &'static str {
    code.name().unwrap_or("failed")
}
