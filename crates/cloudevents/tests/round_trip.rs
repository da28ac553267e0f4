//! Whatever way an event takes (JSON, headers of HTTP, the mesh), it is the same one.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weft_cloudevents::{ATTEMPT, CloudEvent, Defaults, Delivered, Parts, RECEIPT, STREAM, TOPIC, json};
use weft_wire::headers::Headers;

const DEFAULTS: Defaults<'static> = Defaults { id: "a/1/7", source: "a", time: "2030-01-01T10:00:00Z" };

/// An event as a sender has it: its attributes and its data.
#[derive(Clone, Debug)]
struct Sent {
    attributes: Vec<(String, String)>,
    data: Vec<u8>,
}

impl Sent {
    fn message(&self) -> Vec<(String, String)> {
        let header = |(name, value): &(String, String)| (format!("ce-{name}"), weft_cloudevents::encoded(value));
        self.attributes.iter().filter(|(name, _)| name != "datacontenttype").map(header).collect()
    }

    fn media_type(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == "datacontenttype").map(|(_, value)| value.as_str())
    }

    fn event(&self) -> CloudEvent {
        let headers = self.message();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        CloudEvent::binary(headers, self.media_type(), self.data.clone()).expect("it is an event")
    }
}

fn value() -> impl Strategy<Value = String> {
    "[ -~\u{a0}-\u{2fff}\u{1f600}]{1,40}"
}

fn json_text() -> impl Strategy<Value = Vec<u8>> {
    let leaf =
        prop_oneof![Just("null".to_owned()), any::<i64>().prop_map(|n| n.to_string()), Just("\"a\\n\"".to_owned())];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| format!("[ {} ]", all.join(" ,"))),
            vec(inner, 0..4).prop_map(|all| {
                let members: Vec<String> = all.iter().enumerate().map(|(n, v)| format!("\"{}\" :{v}", 9 - n)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
    .prop_map(String::into_bytes)
}

fn sent() -> impl Strategy<Value = Sent> {
    let media = prop_oneof![
        Just(None),
        Just(Some("application/json")),
        Just(Some("application/vnd.x+json; charset=utf-8")),
        Just(Some("text/plain")),
        Just(Some("application/xml")),
        Just(Some("application/octet-stream")),
    ];
    let data = prop_oneof![vec(any::<u8>(), 0..64), json_text(), value().prop_map(String::into_bytes)];
    let more = btree_map("x[a-z0-9]{0,19}", value(), 0..6);
    let known = (value(), "[!-~]{1,30}", value(), proptest::option::of(value()), proptest::option::of(value()));
    (known, media, more, data).prop_map(|((id, source, kind, subject, key), media, more, data)| {
        let mut attributes = vec![
            ("specversion".to_owned(), "1.0".to_owned()),
            ("id".to_owned(), id),
            ("source".to_owned(), source),
            ("type".to_owned(), kind),
            ("time".to_owned(), "2030-01-01T10:00:00.5+01:00".to_owned()),
            ("traceparent".to_owned(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ];
        attributes.extend(subject.map(|subject| ("subject".to_owned(), subject)));
        attributes.extend(key.map(|key| ("partitionkey".to_owned(), key)));
        attributes.extend(media.map(|media| ("datacontenttype".to_owned(), media.to_owned())));
        attributes.extend(more);
        Sent { attributes, data }
    })
}

/// All of it but the topic, which the mesh adds.
fn without_topic(event: &CloudEvent) -> Vec<(String, String)> {
    let all = event.attributes().filter(|(name, _)| *name != TOPIC);
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

proptest! {
    #[test]
    fn an_event_that_went_through_the_mesh_is_what_was_sent(sent in sent()) {
        let event = sent.event();
        let Parts { key, headers, payload } = event.clone().into_parts(&[]).unwrap();
        let headers = Headers::validate(&headers).unwrap();
        let delivered = Delivered { topic: "a/b", key: key.as_bytes(), headers, payload: &payload, passing: &[] };
        let got = CloudEvent::of_event(&delivered, &DEFAULTS);
        prop_assert_eq!(got.attribute(TOPIC), Some("a/b"));
        prop_assert_eq!(without_topic(&got), without_topic(&event));
        prop_assert_eq!(got.data(), &sent.data[..]);
    }

    #[test]
    fn an_event_in_json_is_read_as_it_was(sent in sent()) {
        let event = sent.event();
        let text = event.to_structured();
        prop_assert!(json::is_value(text.as_bytes()), "{}", text);
        let read = CloudEvent::structured(text.as_bytes()).unwrap();
        prop_assert_eq!(without_topic(&read), without_topic(&event));
        // Around JSON, space has no meaning.
        let trimmed = |data: &[u8]| if json::is_value(data) { data.trim_ascii().to_vec() } else { data.to_vec() };
        prop_assert_eq!(trimmed(read.data()), trimmed(&sent.data));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn an_event_in_headers_is_read_as_it_was(sent in sent()) {
        let event = sent.event();
        let headers = event.to_binary();
        let media = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
        prop_assert!(headers.iter().all(|(_, value)| value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')));
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let read = CloudEvent::binary(headers, media.as_deref(), event.data().to_vec()).unwrap();
        prop_assert_eq!(read, event);
    }

    #[test]
    fn whatever_lies_in_the_mesh_is_a_valid_event_when_it_is_handed_out(
        own in vec(("[!-~]{1,24}|ce-(id|source|type|specversion|time|x)|content-type|traceparent", vec(any::<u8>(), 0..24)), 0..80),
        key in vec(any::<u8>(), 0..16),
        payload in vec(any::<u8>(), 0..64),
        id in value(),
    ) {
        let mut headers = Vec::new();
        let mut writer = weft_wire::headers::HeadersWriter::new(&mut headers);
        for (name, value) in &own {
            writer.push(name, value).unwrap();
        }
        let headers = Headers::validate(&headers).unwrap();
        let delivered = Delivered { topic: "a/b", key: &key, headers, payload: &payload, passing: &[] };
        let event = CloudEvent::of_event(&delivered, &Defaults { id: &id, ..DEFAULTS });
        let read = CloudEvent::structured(event.to_structured().as_bytes()).unwrap();
        prop_assert_eq!(without_topic(&read), without_topic(&event));
    }

    #[test]
    fn any_bytes_are_an_event_or_refused(text in vec(any::<u8>(), 0..200)) {
        let _ = CloudEvent::structured(&text);
        let _ = weft_cloudevents::batched(&text, 4);
        let _ = weft_cloudevents::decoded(&text);
    }
}

#[test]
fn what_was_no_cloudevent_has_its_topic_as_subject_and_what_its_hub_says() {
    let delivered = Delivered {
        topic: "flights/departed/Z\u{fc}rich",
        key: b"B6725",
        headers: Headers::default(),
        payload: b"any text",
        passing: &[],
    };
    let event = CloudEvent::of_event(&delivered, &DEFAULTS);
    let text = event.to_structured();
    let wanted = "{\"datacontenttype\":\"text/plain\",\"id\":\"a/1/7\",\"partitionkey\":\"B6725\",\"source\":\"a\",\"specversion\":\"1.0\",\
                  \"subject\":\"flights/departed/Z\u{fc}rich\",\"time\":\"2030-01-01T10:00:00Z\",\"type\":\"weft.event\",\
                  \"wefttopic\":\"flights/departed/Z\u{fc}rich\",\"data\":\"any text\"}";
    assert_eq!(text, wanted);
    // What is no text needs no name; nor does what its publisher has named.
    let raw = CloudEvent::of_event(&Delivered { payload: b"\xff", ..delivered }, &DEFAULTS).to_structured();
    assert!(raw.ends_with("\"data_base64\":\"/w==\"}") && !raw.contains("datacontenttype"), "{raw}");
    let empty = CloudEvent::of_event(&Delivered { payload: b"", ..delivered }, &DEFAULTS);
    assert_eq!((empty.attribute("datacontenttype"), empty.data()), (None, &b""[..]));
}

#[test]
fn how_an_event_was_handed_out_stands_beside_it_and_is_never_taken_from_its_headers() {
    let mut headers = Vec::new();
    let mut writer = weft_wire::headers::HeadersWriter::new(&mut headers);
    for (name, value) in [("ce_specversion", "1.0"), ("cloudEvents_id", "7"), ("ce_source", "/s"), ("ce_type", "t")] {
        writer.push(name, value.as_bytes()).unwrap();
    }
    for name in ["ce-weftreceipt", "ce-weftstream", "ce_wefttopic"] {
        writer.push(name, b"forged").unwrap();
    }
    for number in 0..100 {
        writer.push(&format!("ce-x{number}"), b"y").unwrap();
    }
    let headers = Headers::validate(&headers).unwrap();
    let passing = [(RECEIPT, "1-2"), (ATTEMPT, "3")];
    let delivered = Delivered { topic: "a/b", key: b"", headers, payload: b"", passing: &passing };
    let event = CloudEvent::of_event(&delivered, &DEFAULTS);
    for (name, value) in [("id", "7"), ("source", "/s"), ("type", "t"), (RECEIPT, "1-2"), (ATTEMPT, "3")] {
        assert_eq!(event.attribute(name), Some(value), "{name}");
    }
    assert_eq!((event.attribute(STREAM), event.attribute(TOPIC)), (None, Some("a/b")));
    assert_eq!(event.attributes().count(), weft_cloudevents::MOST_ATTRIBUTES);
    // Who publishes what was handed out publishes it without.
    let Parts { headers, .. } = event.into_parts(&[]).unwrap();
    let headers = Headers::validate(&headers).unwrap();
    assert!(headers.iter().all(|(name, _)| !name.contains("weft")), "{headers:?}");
    assert_eq!(headers.get("ce-id"), Some(&b"7"[..]));
}
