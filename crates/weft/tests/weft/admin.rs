//! Streams and consumers, administered by HTTP at a real hub.

use futures_lite::future::block_on;
use serde_json::{Value, json};
use weft_client::{Client, ConnectOptions, LastValues};

use crate::common::Hub;
use crate::common::http::{Answer, connect, raw};
use crate::common::voters::weft;

fn hub() -> Hub {
    let config = "name = \"alone\"\ndata = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
                  [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    Hub::configured(config)
}

fn ask(hub: &Hub, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    raw(connect(&hub.http), head.as_bytes())
}

/// It is a problem of this status and code, which speaks of something.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str, of: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{answer:?}");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(of)), "{answer:?}");
}

fn tag(answer: &Answer) -> String {
    let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
    tag.unwrap_or_else(|| panic!("no tag: {answer:?}")).trim().to_owned()
}

#[test]
fn streams_and_consumers_are_administered_as_by_the_command_line() {
    let hub = hub();
    problem(&ask(&hub, "GET /v1/streams/log", "", ""), 404, "no_stream", "log");
    problem(&ask(&hub, "PATCH /v1/streams/log", "", "{}"), 404, "no_stream", "log");
    let told = json!({"filters": ["log/**"], "retainAge": "7 d", "retainBytes": "64 MiB", "last": "topic"}).to_string();
    let made = ask(&hub, "PUT /v1/streams/log", "if-none-match: *\r\n", &told);
    assert_eq!(made.status, 201, "{made:?}");
    problem(&ask(&hub, "PUT /v1/streams/log", "if-none-match: *\r\n", &told), 412, "changed", "if-none-match");
    let shown = ask(&hub, "GET /v1/streams/log", "", "");
    assert_eq!(
        (&shown.json()["retainAge"], &shown.json()["filters"]),
        (&json!("1 w"), &json!(["log/**"])),
        "{shown:?}"
    );
    // What the command line shows is the same.
    let line = weft(&["stream", "info", "log", "--json", "-s", &hub.address]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&line).expect("JSON"), shown.json());
    assert_eq!(ask(&hub, "GET /v1/streams", "", "").json()["streams"][0]["name"], "log");

    // What was shown can be sent back, changed, if it is so still.
    let first = tag(&shown);
    let mut sent = shown.json();
    sent["maxEvent"] = json!(1_000);
    let altered = ask(&hub, "PUT /v1/streams/log", &format!("if-match: {first}\r\n"), &sent.to_string());
    assert_eq!((altered.status, &altered.json()["maxEvent"]), (200, &json!(1_000)), "{altered:?}");
    assert_ne!(tag(&altered), first);
    let stale = ask(&hub, "PATCH /v1/streams/log", &format!("if-match: {first}\r\n"), r#"{"maxEvent": 5}"#);
    problem(&stale, 412, "changed", "if-match");
    let altered =
        ask(&hub, "PATCH /v1/streams/log", &format!("if-match: {}\r\n", tag(&altered)), r#"{"maxEvent": null}"#);
    assert_eq!(
        (altered.status, &altered.json()["maxEvent"], &altered.json()["last"]),
        (200, &Value::Null, &json!("topic"))
    );
    problem(&ask(&hub, "PATCH /v1/streams/log", "", r#"{"retention": "interest"}"#), 409, "fixed", "retention");

    let published = ask(&hub, "POST /v1/topics/log/a", "weft-level: synced\r\n", "newest");
    assert_eq!(published.status, 200, "{published:?}");
    let last = ask(&hub, "GET /v1/streams/log/last?filter=log/*", "", "");
    assert_eq!(last.json()["values"][0]["payload"], "newest", "{last:?}");

    // Consumers.
    let one = "/v1/streams/log/consumers/c";
    problem(&ask(&hub, &format!("GET {one}"), "", ""), 404, "no_consumer", "");
    let made = ask(&hub, &format!("PUT {one}"), "", r#"{"ackWait": "5 s", "mode": "keyed", "where": "size > 3"}"#);
    assert_eq!(
        (made.status, &made.json()["mode"], &made.json()["ackWait"]),
        (200, &json!("keyed"), &json!("5 s")),
        "{made:?}"
    );
    assert_eq!(ask(&hub, &format!("PUT {one}"), "", r#"{"mode": "shared"}"#).json()["code"], "consumer_exists");
    problem(&ask(&hub, "PUT /v1/streams/log/consumers/d", "", r#"{"where": "size >"}"#), 400, "bad_predicate", "");
    let paused = ask(&hub, &format!("POST {one}/pause"), "", r#"{"for": "10 min"}"#);
    assert!(paused.json()["pausedUntil"].is_string(), "{paused:?}");
    assert_eq!(ask(&hub, &format!("POST {one}/resume"), "", "").json()["pausedUntil"], Value::Null);
    assert_eq!(ask(&hub, &format!("POST {one}/reset"), "", r#"{"from": "new"}"#).json()["lag"], 0);
    problem(&ask(&hub, &format!("POST {one}/move"), "", r#"{"to": "nowhere"}"#), 409, "not_a_home", "");
    assert_eq!(ask(&hub, "GET /v1/streams/log/consumers", "", "").json()["consumers"][0]["name"], "c");
    assert_eq!(ask(&hub, &format!("DELETE {one}"), "", "").status, 204);
    assert_eq!(ask(&hub, "GET /v1/streams/log/consumers", "", "").json(), json!({"consumers": []}));

    // What cannot be.
    problem(&ask(&hub, "PUT /v1/streams/x", "", r#"{"filter": ["a"]}"#), 400, "bad_body", "filter");
    problem(&ask(&hub, "PUT /v1/streams/x", "", "[[[["), 400, "bad_body", "JSON");
    problem(&ask(&hub, "PUT /v1/streams/X_y", "", "{}"), 400, "bad_name", "");
    problem(&ask(&hub, "POST /v1/streams/log", "", "{}"), 405, "method_not_allowed", "PATCH");
    problem(&ask(&hub, "GET /v1/streams/log?all=1", "", ""), 400, "bad_query", "all");
    problem(&ask(&hub, "GET /v1/streams/%ff", "", ""), 400, "bad_name", "UTF-8");
    let deep = ask(&hub, "PUT /v1/streams/x", "", &"[".repeat(200_000));
    problem(&deep, 400, "bad_body", "");
    // Nothing of it was made.
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let known = block_on(client.streams().list()).expect("a list");
    assert_eq!(
        known.iter().map(|stream| (stream.name(), stream.definition.last)).collect::<Vec<_>>(),
        [("log", LastValues::Topic)]
    );
    assert_eq!(ask(&hub, "DELETE /v1/streams/log", "if-match: \"another\"\r\n", "").status, 412);
    assert_eq!(ask(&hub, "DELETE /v1/streams/log", "", "").status, 204);
    assert_eq!(ask(&hub, "GET /v1/streams", "", "").json(), json!({"streams": []}));
}
