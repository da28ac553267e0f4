//! What a consumer is: as clients say it, as it lies on disk, and as the
//! decider takes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;
use weft_stream::consumer::{ConsumerSpec, Mode, Replay};
use weft_stream::predicate::Predicate;
use weft_topic::Filter;
use weft_wire::frame::{self, ConsumerMode, ErrorCode, Start};

use crate::options::{Limits, is_label};

/// How long a member has where nobody says.
const ACK_WAIT_MS: u64 = 30_000;
/// Events under way where nobody says, at most.
const IN_FLIGHT: u32 = 65_536;

/// Where a consumer starts, as it is written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Begin {
    New,
    First,
    Last,
    Sequence(u64),
    /// Nanoseconds since 1970.
    Time(u64),
}

impl Begin {
    pub(crate) fn of(start: Start) -> Self {
        match start {
            Start::New => Self::New,
            Start::First => Self::First,
            Start::Last => Self::Last,
            Start::Sequence(sequence) => Self::Sequence(sequence),
            Start::Time(time) => Self::Time(time.0),
        }
    }

    pub(crate) fn start(self) -> Start {
        match self {
            Self::New => Start::New,
            Self::First => Start::First,
            Self::Last => Start::Last,
            Self::Sequence(sequence) => Start::Sequence(sequence),
            Self::Time(time) => Start::Time(UnixNanos(time)),
        }
    }
}

/// A consumer's definition, as it lies in `consumers.json`. What was left to
/// the hub is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) filters: Vec<String>,
    pub(crate) predicate: String,
    pub(crate) start: Begin,
    /// [`Mode::number`].
    pub(crate) mode: u8,
    pub(crate) ack_wait_ms: u64,
    pub(crate) max_deliver: u32,
    pub(crate) backoff_ms: Vec<u64>,
    pub(crate) max_in_flight: u32,
    /// [`Replay::number`].
    pub(crate) replay: u8,
    pub(crate) dead_letters: bool,
    pub(crate) dead_stream: String,
    pub(crate) inactive_ms: u64,
}

/// Why a definition is refused.
pub(crate) type Refused = (ErrorCode, String);

impl Definition {
    /// What a client asked for, for a consumer of this stream.
    pub(crate) fn from_frame(spec: &frame::ConsumerSpec<'_>, stream: &str, limits: &Limits) -> Self {
        let dead_stream = match (spec.dead_letters, spec.dead_stream) {
            (false, _) => String::new(),
            (true, "") => format!("{stream}-dead"),
            (true, named) => named.to_owned(),
        };
        let most = u32::try_from(limits.in_flight).unwrap_or(u32::MAX);
        Self {
            name: spec.name.to_owned(),
            filters: spec.filters.iter().map(|filter| (*filter).to_owned()).collect(),
            predicate: spec.predicate.to_owned(),
            start: Begin::of(spec.start),
            mode: spec.mode as u8,
            ack_wait_ms: if spec.ack_wait_ms == 0 { ACK_WAIT_MS } else { spec.ack_wait_ms },
            max_deliver: spec.max_deliver,
            backoff_ms: spec.backoff_ms.clone(),
            max_in_flight: if spec.max_in_flight == 0 { IN_FLIGHT.min(most) } else { spec.max_in_flight },
            replay: spec.replay as u8,
            dead_letters: spec.dead_letters,
            dead_stream,
            inactive_ms: spec.inactive_ms,
        }
    }

    /// As it is reported.
    pub(crate) fn to_frame(&self) -> frame::ConsumerSpec<'_> {
        frame::ConsumerSpec {
            name: &self.name,
            filters: self.filters.iter().map(String::as_str).collect(),
            predicate: &self.predicate,
            start: self.start.start(),
            mode: ConsumerMode::from_number(self.mode).unwrap_or(ConsumerMode::Shared),
            ack_wait_ms: self.ack_wait_ms,
            max_deliver: self.max_deliver,
            backoff_ms: self.backoff_ms.clone(),
            max_in_flight: self.max_in_flight,
            replay: frame::Replay::from_number(self.replay).unwrap_or(frame::Replay::Full),
            dead_letters: self.dead_letters,
            dead_stream: &self.dead_stream,
            inactive_ms: self.inactive_ms,
        }
    }

    /// What the decider takes, or what is wrong.
    pub(crate) fn check(&self, stream: &str, limits: &Limits) -> Result<ConsumerSpec, Refused> {
        let bad = |detail: String| (ErrorCode::BAD_CONSUMER, detail);
        let mut spec = ConsumerSpec::new(&self.name);
        for text in &self.filters {
            let parsed = Filter::parse(text);
            spec.filters.push(parsed.map_err(|e| (ErrorCode::BAD_FILTER, format!("the filter `{text}`: {e}")))?);
        }
        if !self.predicate.is_empty() {
            let compiled = Predicate::compile(&self.predicate);
            spec.predicate = Some(compiled.map_err(|e| (ErrorCode::BAD_PREDICATE, e.to_string()))?);
        }
        spec.start = self.start.start();
        spec.mode = Mode::of_number(self.mode).ok_or_else(|| bad(format!("there is no mode {}", self.mode)))?;
        spec.replay =
            Replay::of_number(self.replay).ok_or_else(|| bad(format!("there is no replay {}", self.replay)))?;
        spec.ack_wait = Duration::from_millis(self.ack_wait_ms);
        spec.max_deliver = self.max_deliver;
        spec.backoff = self.backoff_ms.iter().copied().map(Duration::from_millis).collect();
        spec.max_in_flight = self.max_in_flight;
        spec.dead_letters = self.dead_letters;
        spec.dead_stream.clone_from(&self.dead_stream);
        spec.inactive = (self.inactive_ms > 0).then(|| Duration::from_millis(self.inactive_ms));
        spec.check().map_err(|e| bad(e.to_string()))?;
        if self.max_in_flight as usize > limits.in_flight {
            let most = limits.in_flight;
            return Err(bad(format!(
                "{} events in flight are more than the hub has room for, {most} (limits.in_flight): ask for fewer",
                self.max_in_flight
            )));
        }
        if self.dead_letters && (!is_label(&self.dead_stream) || self.dead_stream == stream) {
            return Err(bad(format!(
                "`{}` cannot be the stream of its dead letters: name another of 1 to 64 of a-z, 0-9 and `-`",
                self.dead_stream
            )));
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> frame::ConsumerSpec<'static> {
        frame::ConsumerSpec {
            name: "c",
            filters: vec!["a/**"],
            predicate: "",
            start: Start::Time(UnixNanos(7)),
            mode: ConsumerMode::Keyed,
            ack_wait_ms: 0,
            max_deliver: 3,
            backoff_ms: vec![10],
            max_in_flight: 0,
            replay: frame::Replay::Original,
            dead_letters: true,
            dead_stream: "",
            inactive_ms: 0,
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_all_is_read_as_it_was_written() {
        let definition = Definition::from_frame(&asked(), "s", &Limits::default());
        assert_eq!((definition.ack_wait_ms, definition.dead_stream.as_str()), (ACK_WAIT_MS, "s-dead"));
        let text = serde_json::to_string(&definition).expect("json");
        assert_eq!(serde_json::from_str::<Definition>(&text).expect("read"), definition);
        assert_eq!(Definition::from_frame(&definition.to_frame(), "s", &Limits::default()), definition);
        let spec = definition.check("s", &Limits::default()).expect("sound");
        assert_eq!((spec.mode, spec.replay, spec.start), (Mode::Keyed, Replay::Original, Start::Time(UnixNanos(7))));
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        let limits = Limits::default();
        let code = |change: fn(&mut Definition)| {
            let mut definition = Definition::from_frame(&asked(), "s", &limits);
            change(&mut definition);
            definition.check("s", &limits).map(drop).map_err(|(code, _)| code)
        };
        assert_eq!(code(|_| {}), Ok(()));
        assert_eq!(code(|d| d.filters = vec!["a//b".to_owned()]), Err(ErrorCode::BAD_FILTER));
        assert_eq!(code(|d| d.predicate = "((".to_owned()), Err(ErrorCode::BAD_PREDICATE));
        assert_eq!(code(|d| d.name = "a/b".to_owned()), Err(ErrorCode::BAD_CONSUMER));
        assert_eq!(code(|d| d.dead_stream = "s".to_owned()), Err(ErrorCode::BAD_CONSUMER));
        assert_eq!(code(|d| d.max_in_flight = u32::MAX), Err(ErrorCode::BAD_CONSUMER));
        assert_eq!(code(|d| d.mode = 9), Err(ErrorCode::BAD_CONSUMER));
    }
}
