//! What comes over a socket: one JSON object in each message, with `op`. Pure.
//!
//! What is not known is refused by its name, and changes nothing.

use std::time::Duration;

use serde_json::{Map, Value};
use weft_base::Lane;
use weft_client::{AckLevel, Position, Settle, StartAt};
use weft_cloudevents::json;

use super::super::super::events::asked::Asked;
use super::super::super::events::{One, read_one};
use super::super::super::problem::Problem;
use super::super::event::Form;
use crate::cli::Reached;
use crate::connect::start_at;

/// The longest id of a subscription or a publish.
const MAX_ID: usize = 64;
/// The most events that are granted at a time, and in all.
pub(super) const MOST_CREDIT: u64 = 1 << 30;
/// The longest deadline, in milliseconds.
const MOST_DEADLINE: u64 = 86_400_000;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Subscribe { id: String, what: What, form: Form, credit: u64 },
    Credit { id: String, events: u64 },
    Unsubscribe { id: String },
    Settle { id: String, said: Vec<(String, Settle)>, confirm: bool },
    Publish { id: String, one: Box<One>, asked: Box<Asked> },
}

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Live { topic: String },
    Stream { stream: String, from: StartAt, position: Position, filter: Option<String> },
    Consumer { stream: String, consumer: String },
}

/// Reads a message. Beside a refusal stands the id that it is of, as far as there is one.
pub(super) fn read(text: &str) -> Result<Said, (Option<String>, Problem)> {
    let members = json::members(text.as_bytes());
    let members = members.map_err(|error| (None, Problem::new(400, "bad_json", error.to_string())))?;
    let mut fields = Fields(members);
    let id = fields.take("id").and_then(|id| serde_json::from_str::<String>(id).ok());
    let id = id.filter(|id| (1..=MAX_ID).contains(&id.len()));
    let Some(id) = id else {
        return Err((None, bad("`id` is a text of 1 to 64 bytes: write one that you know it by")));
    };
    let said = fields.said(id.clone());
    said.map_err(|problem| (Some(id), problem))
}

fn bad(why: &str) -> Problem {
    Problem::new(400, "bad_message", why)
}

/// Members that nobody has taken yet, as they were written.
struct Fields<'a>(Vec<(String, &'a str)>);

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| *value != "null")
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let read = |value| serde_json::from_str(value).map_err(|_| bad(&format!("`{name}` is a text")));
        self.take(name).map(read).transpose()
    }

    fn number(&mut self, name: &str, most: u64) -> Result<Option<u64>, Problem> {
        let read = |value: &str| {
            let number = value.parse().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| bad(&format!("`{name}` is 1 to {most}")))
        };
        self.take(name).map(read).transpose()
    }

    /// Nothing else may be there.
    fn end(self, known: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(bad(&format!("`{name}` is not known here: there are op, id, {known}")))
            }
        }
    }

    fn said(mut self, id: String) -> Result<Said, Problem> {
        match self.text("op")?.as_deref() {
            Some("subscribe") => self.subscribe(id),
            Some("credit") => {
                let events = self.number("events", MOST_CREDIT)?;
                self.end("events")?;
                Ok(Said::Credit { id, events: events.ok_or_else(|| bad("`events` is missing: write how many"))? })
            }
            Some("unsubscribe") => {
                self.end("nothing else")?;
                Ok(Said::Unsubscribe { id })
            }
            Some("settle") => {
                let mut fields = Map::new();
                for (name, value) in self.0 {
                    let value: Value =
                        serde_json::from_str(value).map_err(|_| bad(&format!("`{name}` is too deep")))?;
                    fields.insert(name, value);
                }
                let (said, confirm) = super::super::said_of(&fields)?;
                Ok(Said::Settle { id, said, confirm })
            }
            Some("publish") => self.publish(id),
            _ => Err(bad("`op` is subscribe, credit, unsubscribe, settle or publish")),
        }
    }

    fn subscribe(mut self, id: String) -> Result<Said, Problem> {
        let form = match self.text("format")?.as_deref() {
            None | Some("weft") => Form::Own,
            Some("cloudevents") => Form::CloudEvents,
            Some(_) => return Err(bad("`format` is weft or cloudevents")),
        };
        let credit = self.number("credit", MOST_CREDIT)?.unwrap_or(0);
        let what = match (self.text("topic")?, self.text("stream")?, self.text("consumer")?) {
            (Some(topic), None, None) => What::Live { topic },
            (None, Some(stream), Some(consumer)) => What::Consumer { stream, consumer },
            (None, Some(stream), None) => {
                let from = self.text("from")?.map(|from| start_at(&from)).transpose();
                let from = from.map_err(|why| bad(&format!("`from`: {why}")))?.unwrap_or(StartAt::New);
                let position = self.text("position")?.map(|text| text.parse::<Position>()).transpose();
                let position = position.map_err(|error| Problem::new(400, "bad_position", error.to_string()))?;
                let (position, filter) = (position.unwrap_or_default(), self.text("filter")?);
                What::Stream { stream, from, position, filter }
            }
            _ => return Err(bad("write `topic`, or `stream`, or `stream` and `consumer`")),
        };
        self.end("topic, stream, consumer, from, position, filter, format, credit")?;
        Ok(Said::Subscribe { id, what, form, credit })
    }

    fn publish(mut self, id: String) -> Result<Said, Problem> {
        let reached = match self.text("level")? {
            None => Reached { level: AckLevel::Routed, homes: 0 },
            Some(text) => text.parse().map_err(|why: String| bad(&format!("`level`: {why}")))?,
        };
        let deadline = self.number("deadline", MOST_DEADLINE)?.map(Duration::from_millis);
        let event = self.take("event").ok_or_else(|| bad("`event` is missing: write an object with `topic`"))?;
        self.end("event, level, deadline")?;
        let asked = Asked::plain(Lane::DEFAULT, reached, deadline);
        let one = read_one(event.as_bytes(), &asked)?;
        Ok(Said::Publish { id, one: Box::new(one), asked: Box::new(asked) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read() {
        let live = What::Live { topic: "a/**".to_owned() };
        let wanted = Said::Subscribe { id: "1".to_owned(), what: live, form: Form::Own, credit: 7 };
        assert_eq!(read(r#"{"op":"subscribe","id":"1","topic":"a/**","credit":7}"#), Ok(wanted));
        let stream = r#"{"op":"subscribe","id":"s","stream":"log","from":"first","filter":"a","format":"cloudevents"}"#;
        let Ok(Said::Subscribe { what: What::Stream { from, filter, .. }, form, credit, .. }) = read(stream) else {
            panic!("it is read");
        };
        assert_eq!((from, filter.as_deref(), form, credit), (StartAt::First, Some("a"), Form::CloudEvents, 0));
        let consumer = read(r#"{"id":"c","op":"subscribe","stream":"log","consumer":"c"}"#);
        assert!(matches!(consumer, Ok(Said::Subscribe { what: What::Consumer { .. }, .. })), "{consumer:?}");
        assert_eq!(read(r#"{"op":"credit","id":"1","events":3}"#), Ok(Said::Credit { id: "1".to_owned(), events: 3 }));
        let settle = read(r#"{"op":"settle","id":"c","ack":["1-2"],"confirm":true}"#);
        let said = vec![("1-2".to_owned(), Settle::Ack)];
        assert_eq!(settle, Ok(Said::Settle { id: "c".to_owned(), said, confirm: true }));
        let publish = r#"{"op":"publish","id":"p","event":{"topic":"a","payload":{"z":1.0}},"level":"synced"}"#;
        let Ok(Said::Publish { one, asked, .. }) = read(publish) else { panic!("it is read") };
        assert_eq!((&*one.topic, &one.payload[..]), ("a", &b"{\"z\":1.0}"[..]));
        assert_eq!(asked.reached().level, AckLevel::Synced);
    }

    #[test]
    fn what_is_none_of_it_is_refused_with_its_id_where_it_has_one() {
        for (text, id, word) in [
            ("", None, "object"),
            ("[]", None, "object"),
            ("{}", None, "id"),
            (r#"{"op":"credit","id":7}"#, None, "id"),
            (r#"{"id":"1"}"#, Some("1"), "op"),
            (r#"{"op":"sing","id":"1"}"#, Some("1"), "op"),
            (r#"{"op":"credit","id":"1"}"#, Some("1"), "events"),
            (r#"{"op":"credit","id":"1","events":0}"#, Some("1"), "events"),
            (r#"{"op":"credit","id":"1","events":-3}"#, Some("1"), "events"),
            (r#"{"op":"credit","id":"1","events":3,"more":1}"#, Some("1"), "more"),
            (r#"{"op":"subscribe","id":"1"}"#, Some("1"), "topic"),
            (r#"{"op":"subscribe","id":"1","topic":"a","stream":"b"}"#, Some("1"), "topic"),
            (r#"{"op":"subscribe","id":"1","topic":"a","from":"first"}"#, Some("1"), "from"),
            (r#"{"op":"subscribe","id":"1","stream":"a","position":"x"}"#, Some("1"), "position"),
            (r#"{"op":"subscribe","id":"1","topic":"a","format":"xml"}"#, Some("1"), "format"),
            (r#"{"op":"settle","id":"1","ack":["x"]}"#, Some("1"), "receipt"),
            (r#"{"op":"publish","id":"1"}"#, Some("1"), "event"),
            (r#"{"op":"publish","id":"1","event":{}}"#, Some("1"), "topic"),
            (r#"{"op":"publish","id":"1","event":{"topic":"a"},"level":"soon"}"#, Some("1"), "level"),
        ] {
            let (found, problem) = read(text).expect_err(text);
            assert_eq!((found.as_deref(), problem.status), (id, 400), "{text}: {problem:?}");
            assert!(problem.detail.contains(word), "{text}: {problem:?}");
        }
        let deep = format!("{{\"op\":\"settle\",\"id\":\"1\",\"ack\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
