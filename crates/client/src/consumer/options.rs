//! What a consumer is told when it is made, and how a hub reports it.

use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};
use weft_wire::frame;

pub use weft_wire::frame::{ConsumerMode, Replay};

use crate::options::StartAt;

/// What a consumer hands out, and when again. It is kept by the hub, with how
/// far its members have come, whether they are there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Its name, unique in its stream.
    pub name: String,
    /// Which topics; none: all of the stream's.
    pub filters: Vec<String>,
    /// Which events, as a condition on headers, key, topic, length and time;
    /// empty: all. See docs/streams.md for the language.
    pub predicate: String,
    /// Where it starts when it is made.
    pub start: StartAt,
    /// How its members share.
    pub mode: ConsumerMode,
    /// How long a member has for an event before it is handed out again;
    /// `None`: what the hub's configuration says.
    pub ack_wait: Option<Duration>,
    /// How often an event is handed out at most, then it is a dead letter;
    /// `None`: any number.
    pub max_deliver: Option<u32>,
    /// How long to wait before an event is handed out again, by attempt; the
    /// last serves for all that follow. At most 32.
    pub backoff: Vec<Duration>,
    /// The most events handed out and not settled, over all members; `None`:
    /// what the hub's configuration says.
    pub max_in_flight: Option<u32>,
    /// How fast what the stream had before is handed out.
    pub replay: Replay,
    /// Whether events that are given up go to a stream of dead letters.
    pub dead_letters: bool,
    /// That stream; `None`: the stream's name with `-dead`.
    pub dead_stream: Option<String>,
    /// Without members for this long it is deleted; `None`: never.
    pub inactive: Option<Duration>,
}

impl ConsumerOptions {
    /// A consumer of this name, of everything in its stream from the first
    /// event on, with dead letters.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filters: Vec::new(),
            predicate: String::new(),
            start: StartAt::First,
            mode: ConsumerMode::Shared,
            ack_wait: None,
            max_deliver: None,
            backoff: Vec::new(),
            max_in_flight: None,
            replay: Replay::Full,
            dead_letters: true,
            dead_stream: None,
            inactive: None,
        }
    }

    /// Of these topics as well.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// Shared like this.
    #[must_use]
    pub fn mode(mut self, mode: ConsumerMode) -> Self {
        self.mode = mode;
        self
    }

    /// From here on.
    #[must_use]
    pub fn start(mut self, start: StartAt) -> Self {
        self.start = start;
        self
    }

    /// With this ack wait.
    #[must_use]
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = Some(wait);
        self
    }

    /// As it is sent.
    pub(crate) fn spec(&self) -> frame::ConsumerSpec<'_> {
        frame::ConsumerSpec {
            name: &self.name,
            filters: self.filters.iter().map(String::as_str).collect(),
            predicate: &self.predicate,
            start: self.start.on_the_wire(),
            mode: self.mode,
            ack_wait_ms: self.ack_wait.map_or(0, millis),
            max_deliver: self.max_deliver.unwrap_or_default(),
            backoff_ms: self.backoff.iter().copied().map(millis).collect(),
            max_in_flight: self.max_in_flight.unwrap_or_default(),
            replay: self.replay,
            dead_letters: self.dead_letters,
            dead_stream: self.dead_stream.as_deref().unwrap_or_default(),
            inactive_ms: self.inactive.map_or(0, millis),
        }
    }

    /// As it was reported.
    pub(crate) fn of(spec: &frame::ConsumerSpec<'_>) -> Self {
        let age = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let some = |value: u32| (value > 0).then_some(value);
        Self {
            name: spec.name.to_owned(),
            filters: spec.filters.iter().map(|filter| (*filter).to_owned()).collect(),
            predicate: spec.predicate.to_owned(),
            start: StartAt::of(spec.start),
            mode: spec.mode,
            ack_wait: age(spec.ack_wait_ms),
            max_deliver: some(spec.max_deliver),
            backoff: spec.backoff_ms.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            max_in_flight: some(spec.max_in_flight),
            replay: spec.replay,
            dead_letters: spec.dead_letters,
            dead_stream: (!spec.dead_stream.is_empty()).then(|| spec.dead_stream.to_owned()),
            inactive: age(spec.inactive_ms),
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How much may wait here for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// Events that the hub may hand out ahead of the application, up to
    /// [`MAX_CREDIT_EVENTS`](crate::MAX_CREDIT_EVENTS); 0: none but what is
    /// fetched.
    pub credit_events: u64,
    /// Bytes of blocks likewise, also of those that are fetched: 4096 to
    /// [`MAX_CREDIT_BYTES`](crate::MAX_CREDIT_BYTES).
    pub credit_bytes: ByteCount,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        Self { credit_events: 1024, credit_bytes: ByteCount::mib(8) }
    }
}

impl ConsumeOptions {
    /// Pushed, with this credit.
    #[must_use]
    pub fn with_credit(events: u64, bytes: ByteCount) -> Self {
        Self { credit_events: events, credit_bytes: bytes }
    }

    /// Pulled: nothing is handed out but what is fetched.
    #[must_use]
    pub fn pull() -> Self {
        Self { credit_events: 0, ..Self::default() }
    }
}

/// A member of a consumer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// The name of its client.
    pub name: String,
    /// Its fencing token; 0 while it stands by.
    pub token: u64,
    /// Events handed out to it and not settled.
    pub in_flight: u64,
}

/// A consumer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerReport {
    /// What it is.
    pub definition: ConsumerOptions,
    /// All below this sequence of the stream is settled.
    pub floor: u64,
    /// The sequence that is handed out next for the first time.
    pub next: u64,
    /// How many events it has not settled, up to the end of what is on disk.
    pub lag: u64,
    /// Events handed out and not settled.
    pub in_flight: u64,
    /// Events handed out more than once.
    pub redelivered: u64,
    /// Events given up to dead letters.
    pub dead: u64,
    /// Events that expired before anybody had them.
    pub expired: u64,
    /// Its members.
    pub members: Vec<MemberReport>,
    /// Whether it is paused, and until when; a time of `u64::MAX` is until it
    /// is resumed.
    pub paused_until: Option<UnixNanos>,
    /// The home at which it runs.
    pub seat: String,
}

impl ConsumerReport {
    pub(crate) fn of(report: &frame::ConsumerReport<'_>) -> Self {
        let member = |member: &frame::MemberReport<'_>| MemberReport {
            name: member.name.to_owned(),
            token: member.token,
            in_flight: member.in_flight,
        };
        let until = |ms: u64| UnixNanos(ms.saturating_mul(1_000_000));
        Self {
            definition: ConsumerOptions::of(&report.spec),
            floor: report.floor,
            next: report.next,
            lag: report.lag,
            in_flight: report.in_flight,
            redelivered: report.redelivered,
            dead: report.dead,
            expired: report.expired,
            members: report.members.iter().map(member).collect(),
            paused_until: (report.paused_until > 0).then(|| until(report.paused_until)),
            seat: report.seat.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_reported_as_it_was_sent() {
        let full = ConsumerOptions {
            predicate: "key == 'a'".to_owned(),
            start: StartAt::Sequence(7),
            max_deliver: Some(5),
            backoff: vec![Duration::from_secs(1), Duration::from_secs(9)],
            max_in_flight: Some(100),
            replay: Replay::Original,
            dead_letters: false,
            dead_stream: Some("late".to_owned()),
            inactive: Some(Duration::from_secs(60)),
            ..ConsumerOptions::new("c").filter("a/**").filter("b/*").mode(ConsumerMode::Keyed)
        };
        let full = full.ack_wait(Duration::from_secs(3));
        assert_eq!(ConsumerOptions::of(&full.spec()), full);
        let plain = ConsumerOptions::new("c");
        assert_eq!(ConsumerOptions::of(&plain.spec()), plain);
    }
}
