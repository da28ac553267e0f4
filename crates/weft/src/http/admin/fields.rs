//! What streams and consumers are told, as JSON: the options of `weft stream` and
//! `weft consumer` under the names that `--json` prints, so that what was shown can be
//! sent back. Pure.
//!
//! Sizes are numbers of bytes or texts such as `10 GiB`, times texts such as `30 d`;
//! `null` is as if it were left out. What is reported and cannot be told is passed
//! over; what is not known is refused by its name.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};
use weft_base::ByteCount;
use weft_client::{
    Consistency, ConsumerMode, ConsumerOptions, LastValues, Replay, Retention, StreamOptions, Unreachable,
};

use super::super::problem::Problem;
use crate::connect::start_at;
use crate::time::parse_duration;

/// Reported of streams, and not told.
const OF_STREAMS: [&str; 11] =
    ["name", "id", "home", "role", "events", "first", "next", "synced", "bytes", "position", "state"];
/// Reported of consumers, and not told.
const OF_CONSUMERS: [&str; 11] =
    ["name", "floor", "next", "lag", "inFlight", "redelivered", "dead", "expired", "members", "pausedUntil", "seat"];
/// The most entries of a list.
const MOST: usize = 4_096;

type Fields = Map<String, Value>;

/// An object, out of a body.
pub(super) fn object(body: &[u8]) -> Result<Fields, Problem> {
    if body.is_empty() {
        return Ok(Fields::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(wrong("write an object")),
        Err(error) => Err(wrong(&format!("it is no JSON, {error}"))),
    }
}

fn wrong(why: &str) -> Problem {
    Problem::new(400, "bad_body", format!("the body: {why}"))
}

/// One field.
struct Field<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Field<'_> {
    fn bad(&self, why: impl Display) -> Problem {
        let name: String = self.name.chars().take(64).collect();
        wrong(&format!("`{name}`: {why}"))
    }

    fn text(&self) -> Result<Option<&str>, Problem> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(self.bad("write a text")),
        }
    }

    fn owned(&self) -> Result<Option<String>, Problem> {
        Ok(self.text()?.map(str::to_owned))
    }

    fn time(&self) -> Result<Option<Duration>, Problem> {
        self.text()?.map(|text| parse_duration(text).map_err(|why| self.bad(why))).transpose()
    }

    fn bytes(&self) -> Result<Option<ByteCount>, Problem> {
        match self.value {
            Value::Number(number) => {
                number.as_u64().map(|bytes| Some(ByteCount(bytes))).ok_or_else(|| self.bad("write a number of bytes"))
            }
            _ => self.text()?.map(|text| ByteCount::from_str(text).map_err(|why| self.bad(why))).transpose(),
        }
    }

    fn number<T: TryFrom<u64>>(&self) -> Result<Option<T>, Problem> {
        if self.value.is_null() {
            return Ok(None);
        }
        let number = self.value.as_u64().filter(|number| *number > 0).and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.bad("write a whole number, at least 1"))
    }

    fn boolean(&self) -> Result<Option<bool>, Problem> {
        match self.value {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(*value)),
            _ => Err(self.bad("write true or false")),
        }
    }

    fn one_of<T: Copy>(&self, known: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text()? else { return Ok(None) };
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| self.bad(format!("write one of {}", names())))
    }

    fn texts(&self) -> Result<Vec<String>, Problem> {
        let Value::Array(all) = self.value else {
            return if self.value.is_null() { Ok(Vec::new()) } else { Err(self.bad("write a list of texts")) };
        };
        if all.len() > MOST {
            return Err(self.bad(format!("it has more than {MOST} entries")));
        }
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.bad("write a list of texts"));
        all.iter().map(text).collect()
    }

    fn pair(&self) -> Result<Option<(String, String)>, Problem> {
        match <[String; 2]>::try_from(self.texts()?) {
            Ok([from, to]) => Ok(Some((from, to))),
            Err(other) if other.is_empty() => Ok(None),
            Err(_) => Err(self.bad("write [FROM, TO]")),
        }
    }
}

/// Changes what is said of a stream.
pub(super) fn of_stream(fields: &Fields, to: &mut StreamOptions) -> Result<(), Problem> {
    for (name, value) in fields {
        let field = Field { name, value };
        match name.as_str() {
            "filters" => to.filters = field.texts()?,
            "homes" => to.homes = field.texts()?,
            "tenant" => to.tenant = field.owned()?,
            "mirrorOf" => to.mirror_of = field.owned()?,
            "mirrorPrefix" => to.mirror_prefix = field.pair()?,
            "retainBytes" => to.retain_bytes = field.bytes()?,
            "retainAge" => to.retain_age = field.time()?,
            "retainEvents" => to.retain_events = field.number()?,
            "segmentBytes" => to.segment = field.bytes()?,
            "maxEvent" => to.max_event = field.bytes()?,
            "compact" => to.compact = field.boolean()?.unwrap_or_default(),
            "tombstoneAge" => to.tombstone_age = field.time()?,
            "dedupWindow" => to.dedup_window = field.time()?,
            "retention" => {
                let known = [
                    ("limits", Retention::Limits),
                    ("interest", Retention::Interest),
                    ("work-queue", Retention::WorkQueue),
                ];
                to.retention = field.one_of(&known)?.unwrap_or_default();
            }
            "last" => {
                let known = [("off", LastValues::Off), ("topic", LastValues::Topic), ("key", LastValues::Key)];
                to.last = field.one_of(&known)?.unwrap_or_default();
            }
            "consistency" => {
                let known = [
                    ("monotonic", Consistency::Monotonic),
                    ("strong", Consistency::Strong),
                    ("eventual", Consistency::Eventual),
                ];
                to.consistency = field.one_of(&known)?.unwrap_or_default();
            }
            "unreachable" => {
                let known = [("refuse", Unreachable::Refuse), ("spool", Unreachable::Spool)];
                to.unreachable = field.one_of(&known)?.unwrap_or_default();
            }
            reported if OF_STREAMS.contains(&reported) => {}
            _ => return Err(field.bad("it is no option of a stream (docs/http.md)")),
        }
    }
    Ok(())
}

/// Changes what is said of a consumer.
pub(super) fn of_consumer(fields: &Fields, to: &mut ConsumerOptions) -> Result<(), Problem> {
    for (name, value) in fields {
        let field = Field { name, value };
        match name.as_str() {
            "filters" => to.filters = field.texts()?,
            "where" => to.predicate = field.owned()?.unwrap_or_default(),
            "from" => {
                if let Some(text) = field.text()? {
                    to.start = start_at(text).map_err(|why| field.bad(why))?;
                }
            }
            "mode" => {
                let known = [
                    ("shared", ConsumerMode::Shared),
                    ("exclusive", ConsumerMode::Exclusive),
                    ("keyed", ConsumerMode::Keyed),
                ];
                to.mode = field.one_of(&known)?.unwrap_or(ConsumerMode::Shared);
            }
            "speed" => {
                let known = [("full", Replay::Full), ("original", Replay::Original)];
                to.replay = field.one_of(&known)?.unwrap_or(Replay::Full);
            }
            "ackWait" => to.ack_wait = field.time()?,
            "maxDeliver" => to.max_deliver = field.number()?,
            "maxInFlight" => to.max_in_flight = field.number()?,
            "backoff" => {
                let times = field.texts()?.into_iter().map(|text| parse_duration(&text).map_err(|why| field.bad(why)));
                to.backoff = times.collect::<Result<_, _>>()?;
            }
            "deadLetters" => to.dead_letters = field.boolean()?.unwrap_or(true),
            "deadStream" => to.dead_stream = field.owned()?,
            "inactive" => to.inactive = field.time()?,
            reported if OF_CONSUMERS.contains(&reported) => {}
            _ => return Err(field.bad("it is no option of a consumer (docs/http.md)")),
        }
    }
    Ok(())
}

/// The one option of what is done to a consumer, if it is there.
pub(super) fn only<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, Problem> {
    if let Some(other) = fields.keys().find(|known| *known != name) {
        let field = Field { name: other, value: &Value::Null };
        let there = if name.is_empty() { "there is none".to_owned() } else { format!("there is `{name}`") };
        return Err(field.bad(format!("it is not known here; {there}")));
    }
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(Field { name, value }.bad("write a text")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Fields {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn all_that_a_stream_may_be_told_is_read_and_what_is_reported_is_passed_over() {
        let told = json!({
            "name": "x", "events": 7, "filters": ["a/**"], "homes": ["h"], "tenant": "t", "mirrorOf": "s",
            "mirrorPrefix": ["a", "b"], "retainBytes": "1 GiB", "retainAge": "7d", "retainEvents": 9,
            "segmentBytes": 65536, "maxEvent": null, "compact": true, "tombstoneAge": "1h", "dedupWindow": "2 h",
            "retention": "work-queue", "last": "key", "consistency": "strong", "unreachable": "spool",
        });
        let mut options = StreamOptions { max_event: Some(ByteCount(1)), ..StreamOptions::default() };
        of_stream(&fields(&told), &mut options).expect("it is sound");
        let wanted = StreamOptions {
            homes: vec!["h".to_owned()],
            tenant: Some("t".to_owned()),
            mirror_of: Some("s".to_owned()),
            mirror_prefix: Some(("a".to_owned(), "b".to_owned())),
            retain_bytes: Some(ByteCount::mib(1024)),
            retain_age: Some(Duration::from_secs(7 * 86_400)),
            retain_events: Some(9),
            segment: Some(ByteCount::kib(64)),
            compact: true,
            tombstone_age: Some(Duration::from_secs(3_600)),
            dedup_window: Some(Duration::from_secs(7_200)),
            retention: Retention::WorkQueue,
            last: LastValues::Key,
            consistency: Consistency::Strong,
            unreachable: Unreachable::Spool,
            ..StreamOptions::new("", "a/**")
        };
        assert_eq!(options, wanted);
    }

    #[test]
    fn all_that_a_consumer_may_be_told_is_read() {
        let told = json!({
            "filters": ["a/*"], "where": "key == 'a'", "from": "7", "mode": "keyed", "speed": "original",
            "ackWait": "3 s", "maxDeliver": 5, "maxInFlight": 100, "backoff": ["1s", "9s"], "deadLetters": false,
            "deadStream": "late", "inactive": "1 min", "lag": 3,
        });
        let mut options = ConsumerOptions::new("c");
        of_consumer(&fields(&told), &mut options).expect("it is sound");
        let wanted = ConsumerOptions {
            predicate: "key == 'a'".to_owned(),
            start: weft_client::StartAt::Sequence(7),
            replay: Replay::Original,
            max_deliver: Some(5),
            max_in_flight: Some(100),
            backoff: vec![Duration::from_secs(1), Duration::from_secs(9)],
            dead_letters: false,
            dead_stream: Some("late".to_owned()),
            inactive: Some(Duration::from_secs(60)),
            ..ConsumerOptions::new("c").filter("a/*").mode(ConsumerMode::Keyed).ack_wait(Duration::from_secs(3))
        };
        assert_eq!(options, wanted);
    }

    #[test]
    fn what_cannot_be_told_is_refused_by_its_name() {
        for (name, value) in [
            ("filter", json!([])),
            ("filters", json!("a")),
            ("filters", json!([1])),
            ("retainBytes", json!("much")),
            ("retainBytes", json!(-1)),
            ("retainAge", json!(7)),
            ("retainEvents", json!(0)),
            ("compact", json!("yes")),
            ("retention", json!("all")),
            ("mirrorPrefix", json!(["a"])),
        ] {
            let problem = of_stream(&fields(&json!({name: value})), &mut StreamOptions::default()).expect_err(name);
            assert_eq!((problem.status, problem.code.as_str()), (400, "bad_body"));
            assert!(problem.detail.contains(&format!("`{name}`")), "{problem:?}");
        }
        for (name, value) in
            [("mode", json!("both")), ("from", json!("soon")), ("backoff", json!(["x"])), ("x", json!(1))]
        {
            let problem = of_consumer(&fields(&json!({name: value})), &mut ConsumerOptions::new("c")).expect_err(name);
            assert!(problem.detail.contains(&format!("`{name}`")), "{problem:?}");
        }
        assert!(object(b"[]").is_err() && object(b"{").is_err() && object(b"").is_ok_and(|fields| fields.is_empty()));
        assert_eq!(only(&fields(&json!({"to": "a"})), "to").ok(), Some(Some("a")));
        assert!(only(&fields(&json!({"to": "a"})), "").is_err() && only(&fields(&json!({"to": 1})), "to").is_err());
    }
}
