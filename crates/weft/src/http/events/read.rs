//! The events of a request: its body as it is, CloudEvents, and batches in JSON.
//!
//! A batch is an array, or a line for each (NDJSON), of
//! `{topic, payload | payload_base64, key, headers, lane}`. What is no event is
//! refused by itself; what is no JSON, or more than are taken, is refused as a whole,
//! before anything is published.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weft_base::Lane;
use weft_client::HeadersWriter;
use weft_cloudevents::json::{self, JsonError};
use weft_cloudevents::{Broken, CloudEvent, Mode, Parts};

use super::super::problem::Problem;
use super::asked::{Asked, bad, text};
use super::send::One;

/// What a header of the hub's own begins with.
const RESERVED: &str = "weft-";
/// What the header of an attribute begins with.
const ATTRIBUTE: &str = "ce-";
/// Media types of a line for each event.
const LINES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// One event, or several.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Events {
    One(Box<One>),
    /// Those that are none are refused by themselves.
    Many(Vec<Result<One, Problem>>),
}

/// The events of a request to a topic: no more than `most`.
pub(super) fn to_topic(
    topic: &str,
    asked: &Asked,
    headers: &HeaderMap,
    body: Bytes,
    most: usize,
) -> Result<Events, Problem> {
    let media_type = text(headers, CONTENT_TYPE.as_str())?;
    let is_attribute = |name: &HeaderName| name.as_str().starts_with(ATTRIBUTE);
    let mode = Mode::of(media_type, headers.keys().any(is_attribute)).map_err(|error| broken(&error))?;
    let event = match mode {
        Mode::None => {
            let key = asked.key.clone().unwrap_or_default();
            let mut own = Vec::new();
            let mut writer = HeadersWriter::new(&mut own);
            for (name, value) in asked.more() {
                writer.push(name, value).map_err(|error| bad(name, &error.to_string()))?;
            }
            let one = One { topic: topic.to_owned(), lane: asked.lane, key, headers: own, payload: body };
            return Ok(Events::One(Box::new(one)));
        }
        Mode::Binary => {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            CloudEvent::binary(headers, media_type, body.to_vec())
        }
        Mode::Structured => CloudEvent::structured(&body),
        Mode::Batched => {
            let all = weft_cloudevents::batched(&body, most).map_err(|error| broken(&error))?;
            let all = all.into_iter().map(|event| of_cloud(topic, asked, event));
            return Ok(Events::Many(all.collect()));
        }
    };
    Ok(Events::One(Box::new(of_cloud(topic, asked, event)?)))
}

fn of_cloud(topic: &str, asked: &Asked, event: Result<CloudEvent, Broken>) -> Result<One, Problem> {
    let parts = event.and_then(|event| event.into_parts(&asked.more()));
    let Parts { key, headers, payload } = parts.map_err(|error| broken(&error))?;
    // Who asks knows better than whoever made the event.
    let key = asked.key.clone().unwrap_or(key);
    Ok(One { topic: topic.to_owned(), lane: asked.lane, key, headers, payload: payload.into() })
}

/// The events of a batch: no more than `most`.
pub(super) fn batch(asked: &Asked, headers: &HeaderMap, body: &[u8], most: usize) -> Result<Events, Problem> {
    let media_type = text(headers, CONTENT_TYPE.as_str())?.unwrap_or("application/json");
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let each = |event: &str| of_json(asked, event.as_bytes());
    if essence == "application/json" {
        let all = json::elements(body, most).map_err(|error| no_json(&error))?;
        return Ok(Events::Many(all.into_iter().map(each).collect()));
    }
    if !LINES.contains(&&*essence) {
        let text = "a batch is application/json, an array, or application/x-ndjson, a line for each event; \
                    CloudEvents go to /v1/topics/";
        return Err(Problem::new(415, "bad_format", text));
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    if lines.clone().nth(most).is_some() {
        return Err(no_json(&JsonError::TooMany { most }));
    }
    Ok(Events::Many(lines.map(|line| of_json(asked, line)).collect()))
}

/// An event of a batch.
pub(super) fn of_json(asked: &Asked, event: &[u8]) -> Result<One, Problem> {
    let wrong = |why: String| Problem::new(400, "bad_event", why);
    let string = |name: &str, value: &str| {
        serde_json::from_str::<String>(value).map_err(|_| wrong(format!("`{name}` is no string of Unicode")))
    };
    let mut one = One {
        topic: String::new(),
        lane: asked.lane,
        key: asked.key.clone().unwrap_or_default(),
        headers: Vec::new(),
        payload: Bytes::new(),
    };
    let (mut has_payload, mut own) = (false, Vec::new());
    for (name, value) in json::members(event).map_err(|error| no_json(&error))? {
        match name.as_str() {
            "topic" => one.topic = string("topic", value)?,
            "key" => one.key = string("key", value)?,
            "lane" => {
                let lane = value.parse().ok().and_then(Lane::new);
                one.lane = lane.ok_or_else(|| wrong("`lane` is 0 (most urgent) to 7".to_owned()))?;
            }
            "payload" | "payload_base64" if std::mem::replace(&mut has_payload, true) => {
                return Err(wrong("there are both `payload` and `payload_base64`: send one".to_owned()));
            }
            // A string is its text; all else is JSON, as it was written.
            "payload" if value.starts_with('"') => one.payload = string("payload", value)?.into(),
            "payload" => one.payload = Bytes::copy_from_slice(value.as_bytes()),
            "payload_base64" => {
                let bytes = STANDARD.decode(string("payload_base64", value)?);
                let why = "`payload_base64` is no base64 (RFC 4648, with padding)";
                one.payload = bytes.map_err(|_| wrong(why.to_owned()))?.into();
            }
            "headers" => {
                for (name, value) in json::members(value.as_bytes()).map_err(|error| no_json(&error))? {
                    let value = string(&format!("headers.{name}"), value)?;
                    own.push((name, value));
                }
            }
            _ => {
                let name: String = name.chars().take(64).collect();
                let known = "topic, payload, payload_base64, key, headers and lane";
                return Err(wrong(format!("`{name}` is not known: an event has {known}")));
            }
        }
    }
    if one.topic.is_empty() {
        return Err(wrong("`topic` is missing, or empty".to_owned()));
    }
    let mut writer = HeadersWriter::new(&mut one.headers);
    let traced = asked.more().into_iter().filter(|(name, _)| !own.iter().any(|(had, _)| had == name));
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    for (name, value) in own.clone().chain(traced.collect::<Vec<_>>()) {
        if name.starts_with(RESERVED) {
            return Err(wrong(format!("the header `{name}` is the hub's own: leave it out")));
        }
        writer.push(name, value).map_err(|error| wrong(format!("`headers`: {error}")))?;
    }
    Ok(one)
}

fn no_json(error: &JsonError) -> Problem {
    match error {
        JsonError::TooMany { .. } => Problem::new(413, "too_many", error.to_string()),
        _ => Problem::new(400, "bad_json", error.to_string()),
    }
}

fn broken(error: &Broken) -> Problem {
    match error {
        Broken::Json(error @ JsonError::TooMany { .. }) => no_json(error),
        Broken::Format { .. } => Problem::new(415, "bad_format", error.to_string()),
        _ => Problem::new(400, "bad_cloudevent", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use weft_wire::headers::Headers;

    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn many(headers: &[(&'static str, &str)], body: &str) -> Vec<Result<One, Problem>> {
        let headers = map(headers);
        match batch(&Asked::of(&headers).unwrap(), &headers, body.as_bytes(), 4) {
            Ok(Events::Many(all)) => all,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_is_read_event_by_event_and_json_in_it_stays_as_it_was_written() {
        let all = many(
            &[("weft-lane", "2"), ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
            r#"[{"topic": "a/1", "payload": {"z": 1.0, "a": [ ]}, "key": "k", "headers": {"x": "y"}},
                {"topic": "a/2", "payload": "text\n", "lane": 7}, {"topic":"a/3","payload_base64":"AP8="}, {}]"#,
        );
        let of = |n: usize| all[n].as_ref().unwrap();
        assert_eq!(&of(0).payload[..], br#"{"z": 1.0, "a": [ ]}"#);
        assert_eq!((&*of(0).topic, &*of(0).key, of(0).lane.get()), ("a/1", "k", 2));
        let headers = Headers::validate(&of(0).headers).unwrap();
        assert_eq!((headers.get("x"), headers.get("traceparent").is_some()), (Some(&b"y"[..]), true));
        assert_eq!((&of(1).payload[..], of(1).lane.get()), (&b"text\n"[..], 7));
        assert_eq!(&of(2).payload[..], b"\x00\xff");
        assert_eq!(all[3].as_ref().unwrap_err().code, "bad_event");
        let lines = "{\"topic\":\"a\"}\r\n\n{\"topic\":\n{\"topic\":\"b\",\"payload\":1}";
        let all = many(&[("content-type", "application/x-ndjson")], lines);
        assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn what_is_no_event_is_refused_by_itself_and_says_why() {
        for (event, says) in [
            (r#"{"topic":7}"#, "`topic` is no string"),
            (r#"{"payload":1}"#, "`topic` is missing"),
            (r#"{"topic":"a","lane":8}"#, "0 (most urgent) to 7"),
            (r#"{"topic":"a","lane":"1"}"#, "0 (most urgent) to 7"),
            (r#"{"topic":"a","payload":1,"payload_base64":""}"#, "both"),
            (r#"{"topic":"a","payload_base64":"%"}"#, "base64"),
            (r#"{"topic":"a","payload":"\ud800"}"#, "Unicode"),
            (r#"{"topic":"a","headers":[]}"#, "object"),
            (r#"{"topic":"a","headers":{"x":1}}"#, "`headers.x` is no string"),
            (r#"{"topic":"a","headers":{"":"x"}}"#, "visible ASCII"),
            (r#"{"topic":"a","headers":{"weft-ttl":"x"}}"#, "the hub's own"),
            (r#"{"topic":"a","payloda":1}"#, "`payloda` is not known"),
            (r#"{"topic":"a","topic":"b"}"#, "twice"),
            ("7", "object"),
        ] {
            let all = many(&[], &format!("[{event}]"));
            let problem = all[0].as_ref().unwrap_err();
            assert!(problem.status == 400 && problem.detail.contains(says), "{event}: {problem:?}");
        }
        let headers = map(&[]);
        let asked = Asked::of(&headers).unwrap();
        let refused = |body: &str| batch(&asked, &headers, body.as_bytes(), 2).unwrap_err();
        assert_eq!(refused("[{},{},{}]").status, 413);
        assert_eq!(refused("[{}").status, 400);
        assert_eq!(refused("").status, 400);
        let lines = map(&[("content-type", "application/x-ndjson")]);
        assert_eq!(batch(&asked, &lines, b"{}\n{}\n{}", 2).unwrap_err().status, 413);
        for other in ["text/plain", "application/cloudevents-batch+json"] {
            let headers = map(&[("content-type", other)]);
            assert_eq!(batch(&asked, &headers, b"[]", 2).unwrap_err().status, 415, "{other}");
        }
    }

    #[test]
    fn cloudevents_are_told_by_their_media_type_and_headers() {
        let of = |headers: &[(&'static str, &str)], body: &str| {
            let headers = map(headers);
            to_topic("a", &Asked::of(&headers).unwrap(), &headers, Bytes::copy_from_slice(body.as_bytes()), 2)
        };
        let one = |events| match events {
            Ok(Events::One(one)) => *one,
            other => panic!("{other:?}"),
        };
        let binary =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t"), ("content-type", "a/b")];
        let event = one(of(&binary, "x"));
        assert_eq!(Headers::validate(&event.headers).unwrap().get("content-type"), Some(&b"a/b"[..]));
        let text = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","partitionkey":"k","data":{"b":1}}"#;
        let structured = ("content-type", "application/cloudevents+json");
        assert_eq!(one(of(&[structured], text)).key, "k");
        assert_eq!(one(of(&[structured, ("weft-key", "other")], text)).key, "other");
        assert_eq!(&one(of(&[structured], text)).payload[..], b"{\"b\":1}");
        let event = one(of(&[("content-type", "application/json")], text));
        assert_eq!((&event.payload[..], event.headers.len()), (text.as_bytes(), 0), "it does not say what it is");
        let batched = ("content-type", "application/cloudevents-batch+json");
        assert!(matches!(of(&[batched], &format!("[{text},{{}}]")), Ok(Events::Many(all)) if all.len() == 2));
        for (headers, body, status, code) in [
            (&binary[1..], "x", 400, "bad_cloudevent"),
            (&[structured][..], "{}", 400, "bad_cloudevent"),
            (&[batched][..], "{}", 400, "bad_cloudevent"),
            (&[batched][..], "[1,2,3]", 413, "too_many"),
            (&[("content-type", "application/cloudevents+avro")][..], "", 415, "bad_format"),
        ] {
            let problem = of(headers, body).unwrap_err();
            assert_eq!((problem.status, &*problem.code), (status, code), "{problem:?}");
        }
    }
}
