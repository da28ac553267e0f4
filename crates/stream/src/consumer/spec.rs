//! What a durable consumer is told when it is made.

use std::time::Duration;

use weft_topic::Filter;
use weft_wire::frame::Start;

use crate::predicate::Predicate;

/// The most filters of a consumer.
pub const MAX_FILTERS: usize = 64;
/// The most steps of a back-off list.
pub const MAX_BACKOFF: usize = 32;
/// The most events that a consumer may have under way at once.
pub const MAX_IN_FLIGHT: u32 = 1 << 20;
/// The longest name of a consumer, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest of all delays: of back-off, nack and ack wait.
pub const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// How the members of a consumer share its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Each event to one of the members, whole blocks where there is room, in
    /// no order between members.
    #[default]
    Shared,
    /// One member gets all, in order; the others wait for it to leave. What it
    /// says afterwards is refused by its token.
    Exclusive,
    /// All events of one key to one member, in order. A key changes its member
    /// only when nothing of it is under way. An event without a key belongs to
    /// its topic.
    Keyed,
}

impl Mode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Shared => 0,
            Self::Exclusive => 1,
            Self::Keyed => 2,
        }
    }

    /// The mode of this number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Shared),
            1 => Some(Self::Exclusive),
            2 => Some(Self::Keyed),
            _ => None,
        }
    }
}

/// How fast a consumer gets what is in the stream already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replay {
    /// As fast as its members take it.
    #[default]
    Full,
    /// With the pauses between blocks that there were when they entered the
    /// mesh. The time in which the consumer is paused counts as none.
    Original,
}

impl Replay {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Original => 1,
        }
    }

    /// The replay of this number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Full),
            1 => Some(Self::Original),
            _ => None,
        }
    }
}

/// All of it. [`ConsumerSpec::new`] has the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerSpec {
    /// Its name among the consumers of the stream: 1 to [`MAX_NAME`] bytes of
    /// letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Events of these topics; of all topics when empty. At most [`MAX_FILTERS`].
    pub filters: Vec<Filter>,
    /// Of those, the ones for which this holds.
    pub predicate: Option<Predicate>,
    /// Where a new consumer begins.
    pub start: Start,
    /// How members share.
    pub mode: Mode,
    /// How long a member has to settle an event before it is handed out again.
    /// 30 s; 10 ms to [`MAX_DELAY`].
    pub ack_wait: Duration,
    /// How often an event is handed out at most; after that it is a dead
    /// letter. 16; 0 for no bound.
    pub max_deliver: u32,
    /// How long an event waits before it is handed out again: the first time
    /// `backoff[0]`, then `backoff[1]`, the last repeats. It holds after a nack
    /// without a delay of its own and after an ack wait that passed, not when
    /// a member leaves. Empty: 1 ms, doubled each time up to 1 s, after a nack,
    /// and nothing after an ack wait.
    pub backoff: Vec<Duration>,
    /// How many events may be handed out, wait to be handed out again, or be
    /// dead letters that are not stored yet, together. 65,536; 1 to
    /// [`MAX_IN_FLIGHT`]. At the limit nothing new is handed out.
    pub max_in_flight: u32,
    /// How fast old events come.
    pub replay: Replay,
    /// Whether what is given up goes to a stream of dead letters; if not it is
    /// counted and settled.
    pub dead_letters: bool,
    /// Which one; empty for the stream's name with `-dead` after it.
    pub dead_stream: String,
    /// The consumer ends when it had no member for so long. `None`: never.
    pub inactive: Option<Duration>,
}

/// Why a consumer cannot be as it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The name is not one.
    #[error("`{0}` cannot name a consumer: 1 to {MAX_NAME} letters, digits, `.`, `_` and `-` can")]
    Name(String),
    /// A list that is too long.
    #[error("the consumer has {found} {what}, and may have {most}: {remedy}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The most.
        most: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A value out of its range.
    #[error("{what} is {found}, and must be {least} to {most}")]
    Range {
        /// Which.
        what: &'static str,
        /// What was given.
        found: String,
        /// The smallest.
        least: String,
        /// The largest.
        most: String,
    },
}

impl ConsumerSpec {
    /// The consumer of this name that gets everything from the stream's
    /// beginning, shared by its members.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            filters: Vec::new(),
            predicate: None,
            start: Start::First,
            mode: Mode::Shared,
            ack_wait: Duration::from_secs(30),
            max_deliver: 16,
            backoff: Vec::new(),
            max_in_flight: 65_536,
            replay: Replay::Full,
            dead_letters: true,
            dead_stream: String::new(),
            inactive: None,
        }
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// [`SpecError`] with the first value that cannot be.
    pub fn check(&self) -> Result<(), SpecError> {
        let ordinary = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.bytes().all(ordinary) {
            return Err(SpecError::Name(self.name.chars().take(MAX_NAME).collect()));
        }
        let many = |what, found, most, remedy| {
            if found > most { Err(SpecError::TooMany { what, found, most, remedy }) } else { Ok(()) }
        };
        many("filters", self.filters.len(), MAX_FILTERS, "use wildcards, or make another consumer")?;
        many("steps of back-off", self.backoff.len(), MAX_BACKOFF, "the last one repeats")?;
        let shortest = Duration::from_millis(10);
        delay("ack wait", self.ack_wait, shortest)?;
        self.backoff.iter().try_for_each(|step| delay("a step of back-off", *step, Duration::ZERO))?;
        self.inactive.map_or(Ok(()), |time| delay("inactivity", time, Duration::from_secs(1)))?;
        if self.max_in_flight == 0 || self.max_in_flight > MAX_IN_FLIGHT {
            return Err(SpecError::Range {
                what: "max in flight",
                found: self.max_in_flight.to_string(),
                least: "1".to_owned(),
                most: MAX_IN_FLIGHT.to_string(),
            });
        }
        Ok(())
    }

    /// How long an event waits after attempt `attempt` (from 1) failed.
    pub(crate) fn wait_after(&self, attempt: u32, nacked: bool) -> Duration {
        let step = attempt.max(1) - 1;
        match self.backoff.get(step as usize).or(self.backoff.last()) {
            Some(wait) => *wait,
            None if nacked => Duration::from_millis(1 << step.min(10)).min(Duration::from_secs(1)),
            None => Duration::ZERO,
        }
    }

    /// Whether an event that was handed out so often is given up.
    pub(crate) fn gives_up(&self, attempts: u32) -> bool {
        self.max_deliver != 0 && attempts >= self.max_deliver
    }
}

fn delay(what: &'static str, found: Duration, least: Duration) -> Result<(), SpecError> {
    if (least..=MAX_DELAY).contains(&found) {
        return Ok(());
    }
    let text = |time: Duration| format!("{} ms", time.as_millis());
    Err(SpecError::Range { what, found: text(found), least: text(least), most: text(MAX_DELAY) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_and_each_bound_is_told() {
        let good = ConsumerSpec::new("orders.eu-1");
        assert_eq!(good.check(), Ok(()));
        let wrong = |change: fn(&mut ConsumerSpec)| {
            let mut spec = good.clone();
            change(&mut spec);
            spec.check().map_err(|error| error.to_string())
        };
        for (change, part) in [
            ((|s| s.name = "a/b".into()) as fn(&mut ConsumerSpec), "cannot name"),
            (|s| s.name.clear(), "cannot name"),
            (|s| s.filters = vec![Filter::everything(); MAX_FILTERS + 1], "65 filters"),
            (|s| s.backoff = vec![Duration::ZERO; MAX_BACKOFF + 1], "33 steps"),
            (|s| s.ack_wait = Duration::from_millis(9), "ack wait is 9 ms"),
            (|s| s.backoff = vec![MAX_DELAY * 2], "back-off"),
            (|s| s.inactive = Some(Duration::ZERO), "inactivity"),
            (|s| s.max_in_flight = 0, "max in flight is 0"),
            (|s| s.max_in_flight = MAX_IN_FLIGHT + 1, "max in flight"),
        ] {
            let told = wrong(change).expect_err(part);
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn the_last_step_of_back_off_repeats_and_nacks_without_end_slow_down() {
        let ms = Duration::from_millis;
        let mut spec = ConsumerSpec::new("c");
        let waits: Vec<_> = [1, 2, 11, 12, u32::MAX].map(|n| spec.wait_after(n, true)).to_vec();
        assert_eq!(waits, [ms(1), ms(2), ms(1000), ms(1000), ms(1000)]);
        assert_eq!(spec.wait_after(3, false), Duration::ZERO);
        spec.backoff = vec![ms(5), ms(50)];
        assert_eq!([1, 2, 3, 99].map(|n| spec.wait_after(n, false)), [ms(5), ms(50), ms(50), ms(50)]);
    }
}
