//! Broken events: refused with what is wrong, in time that grows with the input.

use weft_cloudevents::{Broken, CloudEvent, MOST_ATTRIBUTES, batched, json};

const GOOD: &str = r#""specversion":"1.0","id":"1","source":"/a","type":"t""#;

fn refused(text: &str) -> String {
    CloudEvent::structured(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn broken_events_in_json_are_refused_with_what_is_wrong() {
    for (more, says) in [
        (r#","time":"yesterday""#, "RFC 3339"),
        (r#","time":1893456000"#, "no string"),
        (r#","dataschema":"x""#, "scheme"),
        (r#","datacontenttype":"json""#, "media type"),
        (r#","subject":"""#, "empty"),
        (r#","x":1.5"#, "whole number"),
        (r#","x":2147483648"#, "whole number"),
        (r#","x":{}"#, "whole number"),
        (r#","x":[]"#, "whole number"),
        (r#","x":"\ud800""#, "surrogate"),
        (r#","x":"\u0000""#, "control character"),
        (r#","My-Name":"x""#, "no name"),
        (r#","":"x""#, "no name"),
        (r#","id":"2""#, "twice"),
        (r#","data":1,"data_base64":"""#, "both"),
        (r#","data_base64":"%%%""#, "base64"),
        (r#","data_base64":"AA""#, "padding"),
        (r#","data_base64":7"#, "base64"),
        (r#","datacontenttype":"text/plain","data":"\udfff""#, "surrogate"),
        (r#","data":{"a":}"#, "JSON"),
        (r#","data":01"#, "byte"),
    ] {
        let why = refused(&format!("{{{GOOD}{more}}}"));
        assert!(why.contains(says), "{more}: {why}");
    }
    for (text, says) in [
        ("", "object"),
        ("null", "object"),
        ("[]", "object"),
        ("{", "JSON"),
        ("{}", "specversion"),
        (r#"{"specversion":"1.0","id":"1","source":"/a"}"#, "`type` is missing"),
        (r#"{"specversion":"1.0","id":"1","source":"/a","type":null}"#, "`type` is missing"),
        (r#"{"specversion":"0.3","id":"1","source":"/a","type":"t"}"#, "only version"),
        (r#"{"specversion":"1.0","id":7,"source":"/a","type":"t"}"#, "`id`: it is no string"),
        (r#"{"specversion":"1.0","id":"","source":"/a","type":"t"}"#, "empty"),
    ] {
        let why = refused(text);
        assert!(why.contains(says), "{text}: {why}");
    }
    assert!(CloudEvent::structured(b"{\"specversion\":\"1.0\",\"id\":\"\xff\"}").is_err());
}

#[test]
fn broken_events_in_headers_are_refused_with_what_is_wrong() {
    let good: [(&str, &[u8]); 4] =
        [("ce-specversion", b"1.0"), ("CE-Id", b"1"), ("ce-source", b"/a"), ("ce-type", b"t")];
    let of = |more: &[(&str, &[u8])], media| {
        let headers = good.iter().chain(more).copied();
        CloudEvent::binary(headers, media, b"x".to_vec())
    };
    let event = of(&[("host", b"h"), ("ce-subject", b"Z%C3%BCrich")], Some("text/plain")).expect("it is an event");
    assert_eq!(event.attribute("subject"), Some("Z\u{fc}rich"));
    assert_eq!(event.attribute("datacontenttype"), Some("text/plain"));
    for (more, media) in [
        (("ce-id", &b"2"[..]), None),
        (("ce-datacontenttype", b"text/plain"), None),
        (("ce-", b"x"), None),
        (("ce-a-b", b"x"), None),
        (("ce-x", b"%00"), None),
        (("ce-x", b"\xff"), None),
        (("ce-time", b"now"), None),
        (("ce-x", b"y"), Some("nonsense")),
    ] {
        assert!(of(&[more], media).is_err(), "{more:?}");
    }
    assert_eq!(
        CloudEvent::binary(good[1..].iter().copied(), None, Vec::new()),
        Err(Broken::Missing { name: "specversion" })
    );
}

#[test]
fn the_specifications_examples_are_read() {
    let text = br#"{"specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext", "subject": null,
        "id" : "C234-1234-1234", "time" : "2018-04-05T17:31:00Z", "comexampleextension1" : "value",
        "comexampleothervalue" : 5, "comexampletruth": true, "datacontenttype" : "application/json",
        "data" : { "appinfoB" : "abc", "appinfoA" : 123.10, "appinfoC" : true } }"#;
    let event = CloudEvent::structured(text).expect("it is an event");
    assert_eq!(event.attribute("comexampleothervalue"), Some("5"));
    assert_eq!(event.attribute("comexampletruth"), Some("true"));
    assert_eq!(event.attribute("subject"), None);
    let data = br#"{ "appinfoB" : "abc", "appinfoA" : 123.10, "appinfoC" : true }"#;
    assert_eq!(event.data(), data, "as it was written");
    for (more, data) in [
        (r#","datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#, &b"<much wow=\"xml\"/>"[..]),
        (r#","datacontenttype":"text/json","data":"text""#, b"\"text\""),
        (r#","data":"text""#, b"\"text\""),
        (r#","data":null"#, b"null"),
        (r#","data_base64":null"#, b""),
        (r#","datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"AP8=""#, b"\x00\xff"),
        (r#","datacontenttype":"text/plain","data":{"a": 1}"#, b"{\"a\": 1}"),
    ] {
        let event = CloudEvent::structured(format!("{{{GOOD}{more}}}").as_bytes()).expect(more);
        assert_eq!(event.data(), data, "{more}");
    }
}

#[test]
fn of_a_batch_each_is_read_by_itself() {
    let text = format!("[{{{GOOD}}}, {{}}, 7, {{{GOOD},\"data\":1}}]");
    let all = batched(text.as_bytes(), 4).expect("an array");
    assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(batched(text.as_bytes(), 3), Err(Broken::Json(json::JsonError::TooMany { most: 3 })));
    assert!(batched(b"{}", 3).is_err() && batched(b"[{]", 3).is_err());
    assert_eq!(batched(b"[]", 3), Ok(Vec::new()));
}

#[test]
fn what_is_large_is_refused_or_read_in_one_pass() {
    let many: String = (0..=MOST_ATTRIBUTES).map(|n| format!(",\"x{n}\":\"\"")).collect();
    assert_eq!(CloudEvent::structured(format!("{{{GOOD}{many}}}").as_bytes()), Err(Broken::TooMany));
    let long = format!("{{{GOOD},\"x\":\"{}\"}}", "x".repeat(70_000));
    let event = CloudEvent::structured(long.as_bytes()).expect("it is an event");
    assert!(matches!(event.into_parts(&[]), Err(Broken::Headers(_))));
    // Deep enough to overflow a stack by far.
    let deep = format!("{{{GOOD},\"data\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
    let event = CloudEvent::structured(deep.as_bytes()).expect("it is an event");
    assert_eq!(event.data().len(), 800_000);
    assert!(event.to_structured().len() > 800_000);
    let name = format!("{{{GOOD},\"{}\":1}}", "n".repeat(1 << 20));
    assert!(refused(&name).len() < 300);
}
