//! Publishing by HTTP, at real hubs: what is published is what the library's clients
//! receive, and what is refused says why and when to come again.

use std::io::Write as _;
use std::time::Instant;

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use weft_client::{Client, ConnectOptions, OnFull, SubscribeOptions};
use weft_wire::headers::Headers;

use crate::common::Hub;
use crate::common::http::{Answer, ask, ask_tls, connect, raw, read, tls};
use crate::common::voters::{GROUNDED, Mesh, PATIENCE};

/// A hub by itself, where everybody may do everything.
pub(crate) fn hub(more: &str) -> Hub {
    hub_of("", more)
}

/// The same, with these settings of `[http]`.
fn hub_of(http: &str, more: &str) -> Hub {
    let config = format!(
        "name = \"alone\"\ndata = \"data\"\n{more}[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n{http}\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n"
    );
    Hub::configured(&config)
}

/// Publishes a body to a path below `/v1/topics/`, with these headers.
fn post(hub: &Hub, topic: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /v1/topics/{topic} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    raw(connect(&hub.http), &[head.as_bytes(), body].concat())
}

/// What `/livez` or `/readyz` answers.
fn probe(hub: &Hub, path: &str) -> u16 {
    raw(connect(&hub.http), format!("GET /{path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").as_bytes()).status
}

/// It is a problem of this status and code.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    assert_eq!((&answer.json()["code"], &answer.json()["status"]), (&json!(code), &json!(status)), "{answer:?}");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer:?}");
}

#[test]
fn what_is_published_by_http_is_received_with_its_key_and_trace_by_the_native_client() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let hub = hub("");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("flights/**", SubscribeOptions::default())).expect("it subscribes");
    let headers = format!("weft-key: B6 725\r\nweft-lane: 1\r\ntraceparent: {TRACE}\r\nx-request-id: mine-7\r\n");
    let answer = post(&hub, "flights/departed/Z%C3%BCrich", &headers, b"\x00\xff any bytes");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["level"], "routed", "{answer:?}");
    assert!(answer.json()["event"].as_str().is_some_and(|event| event.starts_with("alone/")), "{answer:?}");
    assert!(answer.head.contains("x-request-id: mine-7"), "{answer:?}");
    let delivery = block_on(taken.next()).expect("the client is open").expect("an event");
    assert_eq!(delivery.topic(), "flights/departed/Z\u{fc}rich");
    let event = delivery.events().next().expect("an event");
    assert_eq!((event.key, event.payload), (&b"B6 725"[..], &b"\x00\xff any bytes"[..]));
    assert_eq!(event.headers.get("traceparent"), Some(TRACE.as_bytes()));
    drop(delivery);

    // At no level nothing is promised; an id is made where there is none.
    let answer = post(&hub, "flights/x", "weft-level: none\r\n", b"");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.head.contains("x-request-id: "), "{answer:?}");
    let delivery = block_on(taken.next()).expect("the client is open").expect("an event");
    assert_eq!(delivery.events().next().map(|event| event.payload), Some(&b""[..]));
}

#[test]
fn what_is_no_event_is_refused_and_says_what_is_wrong() {
    let hub = hub("");
    for topic in ["a//b", "a/%2A", "a/**", "%ff"] {
        problem(&post(&hub, topic, "", b"x"), 400, "bad_topic");
    }
    for header in ["weft-lane: 9", "weft-level: soon", "weft-deadline: x", "weft-lane: 1\r\nweft-lane: 2"] {
        let answer = post(&hub, "a", &format!("{header}\r\n"), b"x");
        problem(&answer, 400, "bad_header");
        assert!(answer.body.contains("weft-l") || answer.body.contains("weft-d"), "{answer:?}");
    }
    // The connection may be cut before all of it was sent, and the answer with it.
    let long = post(&hub, "a", "", &vec![b'x'; 3 << 20]);
    assert!([0, 413].contains(&long.status), "{long:?}");
    // No stream takes it.
    problem(&post(&hub, "a", "weft-level: synced\r\n", b"x"), 409, "no_stream");
    let unknown = raw(connect(&hub.http), b"GET /v1/nothing HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    problem(&unknown, 404, "not_found");
    // Until a hub that is alone leads, it knows nobody.
    let begun = Instant::now();
    while ask(&hub.http, "PUT", "/config", r#"{"compatibility": "NONE"}"#).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "nobody leads");
    }
    problem(&post(&hub, "a", "authorization: Bearer x.y.z\r\n", b"x"), 401, "unauthenticated");
    // A voucher is no token for anybody outside.
    problem(&post(&hub, "a", "authorization: Bearer weft-voucher:x\r\n", b"x"), 401, "unauthenticated");
    assert_eq!(post(&hub, "a", "", b"x").status, 200, "the others go on");
}

#[test]
fn requests_at_once_share_one_session_and_each_is_answered() {
    let hub = hub("");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|n| {
                scope.spawn({
                    let hub = &hub;
                    move || post(hub, &format!("a/{n}"), "", b"x").status
                })
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("it ends")).collect()
    });
    assert_eq!(statuses, vec![200; 16]);
    let shown = crate::common::voters::weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
    let counters = serde_json::from_slice::<serde_json::Value>(&shown).expect("JSON")["counters"].clone();
    assert_eq!(counters["sessions.clients"], 2, "the one of HTTP, and who asks: {counters}");
}

#[test]
fn a_hub_that_drains_takes_no_events_and_says_when_to_come_again() {
    let mut hub = hub("");
    assert_eq!(post(&hub, "a", "", b"x").status, 200);
    assert_eq!((probe(&hub, "livez"), probe(&hub, "readyz")), (200, 200));
    // Who does not leave by itself holds the drain up.
    let options = ConnectOptions { follow_redirects: false, ..ConnectOptions::new(hub.address.clone()) };
    let client = block_on(Client::connect(options)).expect("it connects");
    let pid = Pid::from_raw(hub.child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::USR1).expect("it is there");
    let begun = Instant::now();
    loop {
        let answer = post(&hub, "a", "", b"x");
        if answer.status == 503 {
            problem(&answer, 503, "draining");
            let id = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
            hub.wait_for_events(1, "request_failed", &format!("\"correlationId\":\"{}\"", id.expect("an id").trim()));
            assert!(answer.head.contains("retry-after: "), "{answer:?}");
            // Nobody sends it more, and nobody starts it again.
            assert_eq!((probe(&hub, "livez"), probe(&hub, "readyz")), (200, 503));
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(begun.elapsed() < PATIENCE, "it never drains");
    }
    // Taken back, events are taken again.
    kill_process(pid, Signal::USR2).expect("it is there");
    while post(&hub, "a", "", b"x").status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it never goes on");
    }
    assert_eq!(probe(&hub, "readyz"), 200);
    drop(client);
    kill_process(pid, Signal::TERM).expect("it is there");
    assert!(hub.child.wait().expect("it ends").success(), "{}", hub.log());
}

#[test]
fn rules_decide_who_publishes_by_http_and_a_quota_says_when_there_is_room() {
    let mesh = Mesh::start_with("enforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let guest = tls(&mesh.path(""), Some("guest"), &["http/1.1"]);
    let nobody = tls(&mesh.path(""), None, &["http/1.1"]);
    let at = mesh.http(0);
    let (guest, at) = (&guest, &at);
    let post = move |who: &_, topic: &str| ask_tls(at, who, "POST", &format!("/v1/topics/{topic}"), "x");
    problem(&post(&nobody, "flights/1"), 401, "unauthenticated");
    mesh.apply(1, &mesh.documents("rules.toml", GROUNDED), &[]);
    let begun = Instant::now();
    loop {
        let answer = post(guest, "flights/1");
        if answer.status == 200 {
            break;
        }
        problem(&answer, 403, "denied");
        assert!(begun.elapsed() < PATIENCE, "the rule is not in force: {answer:?}");
    }
    let denied = post(guest, "flights/departed/1");
    problem(&denied, 403, "denied");
    assert!(denied.body.contains("desk/grounded"), "{denied:?}");

    let identity = "[[identity]]\nname = \"guest\"\nlogins = [{spiffe = \"spiffe://weft/client/guest\"}]\n\
                    quota = {publish_bytes = 100}\n";
    mesh.apply(1, &mesh.documents("quota.toml", identity), &[]);
    // More than a second's worth at once cannot wait for its turn.
    let large = "x".repeat(2_000);
    let limited = loop {
        let answer = ask_tls(at, guest, "POST", "/v1/topics/flights/1", &large);
        if answer.status == 429 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "the quota is not in force: {answer:?}");
    };
    problem(&limited, 429, "over_quota");
    let after = limited.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    assert!(after.and_then(|after| after.trim().parse::<u64>().ok()) >= Some(1), "{limited:?}");
}

/// Sends a body to a path, with these headers.
fn send(hub: &Hub, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    raw(connect(&hub.http), head.as_bytes())
}

#[test]
fn of_a_batch_each_event_has_its_own_result_and_a_bad_one_hides_no_others() {
    let hub = hub("");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("a/**", SubscribeOptions::default())).expect("it subscribes");
    let lines = "{\"topic\":\"a/1\",\"key\":\"k\",\"payload\":{\"z\":1.0},\"headers\":{\"x\":\"y\"}}\n{\"topic\":\n\
                 {\"topic\":\"a//2\",\"payload\":1}\n{\"topic\":\"a/3\",\"payload_base64\":\"AP8=\"}\n";
    let answer = send(&hub, "/v1/batch", "content-type: application/x-ndjson\r\n", lines);
    assert_eq!(answer.status, 207, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["published"], &body["failed"]), (&json!(2), &json!(2)), "{body}");
    let codes: Vec<_> = (0..4).map(|n| body["results"][n]["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "bad_json", "bad_topic", ""], "{body}");
    let mut got = Vec::new();
    while got.len() < 2 {
        let delivery = block_on(taken.next()).expect("the client is open").expect("events");
        let header = |headers: Headers<'_>| headers.get("x").map(<[u8]>::to_vec);
        got.extend(delivery.events().map(|event| (event.key.to_vec(), event.payload.to_vec(), header(event.headers))));
    }
    assert_eq!(got[0], (b"k".to_vec(), b"{\"z\":1.0}".to_vec(), Some(b"y".to_vec())));
    assert_eq!(got[1], (Vec::new(), b"\x00\xff".to_vec(), None));
    // Where none was published, the first one's reason is the answer's.
    let none = send(&hub, "/v1/batch", "", r#"[{"topic":"a//1"},{"topic":"a//2"}]"#);
    problem(&none, 400, "bad_topic");
    assert_eq!(none.json()["results"][1]["status"], 400, "{none:?}");
    problem(&send(&hub, "/v1/batch", "", "[{}"), 400, "bad_json");
    problem(&send(&hub, "/v1/batch", "content-type: text/plain\r\n", "x"), 415, "bad_format");
    assert_eq!(send(&hub, "/v1/batch", "", "[]").status, 200);
    let many = format!("[{}]", vec!["{\"topic\":\"b\"}"; 1_001].join(","));
    problem(&send(&hub, "/v1/batch", "", &many), 413, "too_many");
    let most = format!("[{}]", vec!["{\"topic\":\"b\"}"; 1_000].join(","));
    assert_eq!(send(&hub, "/v1/batch", "", &most).json()["published"], 1_000);
}

#[test]
fn cloudevents_of_each_mode_are_the_same_event_to_a_native_client() {
    let hub = hub("");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("a", SubscribeOptions::default())).expect("it subscribes");
    let text = r#"{"specversion":"1.0","id":"7","source":"/a","type":"t","subject":"Zürich","partitionkey":"k",
                   "datacontenttype":"application/json","data":{"b":1.0,"a":[ ]}}"#;
    let binary = "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /a\r\nce-type: t\r\nce-subject: Z%C3%BCrich\r\n\
                  ce-partitionkey: k\r\ncontent-type: application/json\r\n";
    let structured = "content-type: application/cloudevents+json; charset=utf-8\r\n";
    assert_eq!(send(&hub, "/v1/topics/a", structured, text).status, 200);
    assert_eq!(send(&hub, "/v1/topics/a", binary, r#"{"b":1.0,"a":[ ]}"#).status, 200);
    let batched = "content-type: application/cloudevents-batch+json\r\n";
    let answer = send(&hub, "/v1/topics/a", batched, &format!("[{text},{{}}]"));
    assert_eq!((answer.status, &answer.json()["results"][1]["code"]), (207, &json!("bad_cloudevent")), "{answer:?}");
    let mut got = Vec::new();
    while got.len() < 3 {
        let delivery = block_on(taken.next()).expect("the client is open").expect("events");
        for event in delivery.events() {
            let headers: std::collections::BTreeMap<String, Vec<u8>> =
                event.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            got.push((event.key.to_vec(), headers, event.payload.to_vec()));
        }
    }
    assert_eq!((&got[1], &got[2]), (&got[0], &got[0]));
    assert_eq!((&*got[0].0, &*got[0].2), (&b"k"[..], &br#"{"b":1.0,"a":[ ]}"#[..]));
    assert_eq!(got[0].1["ce-subject"], "Zürich".as_bytes());
    assert_eq!(got[0].1["content-type"], b"application/json");
    let broken = send(&hub, "/v1/topics/a", structured, &text.replace("\"1.0\"", "\"0.3\""));
    problem(&broken, 400, "bad_cloudevent");
    assert!(broken.body.contains("specversion"), "{broken:?}");
    problem(&send(&hub, "/v1/topics/a", "ce-id: 7\r\n", "x"), 400, "bad_cloudevent");
    problem(&send(&hub, "/v1/topics/a", "content-type: application/cloudevents+avro\r\n", "x"), 415, "bad_format");
}

#[test]
fn a_request_with_a_key_has_one_effect_and_is_answered_the_same_again() {
    let hub = hub("");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("a/**", SubscribeOptions::default())).expect("it subscribes");
    let key = "idempotency-key: \"order-7\"\r\n";
    let first = send(&hub, "/v1/topics/a/1", key, "one");
    assert_eq!(first.status, 200, "{first:?}");
    assert!(!first.head.contains("idempotent-replayed"), "{first:?}");
    let again = send(&hub, "/v1/topics/a/1", key, "one");
    assert_eq!((again.status, &again.body), (200, &first.body), "{again:?}");
    assert!(again.head.contains("idempotent-replayed: true"), "{again:?}");
    problem(&send(&hub, "/v1/topics/a/1", key, "two"), 422, "key_in_use");
    problem(&send(&hub, "/v1/topics/a/2", key, "one"), 422, "key_in_use");
    problem(&send(&hub, "/v1/topics/a/1", "idempotency-key: a b\r\n", "one"), 400, "bad_header");
    // What had no effect frees its key.
    let other = "idempotency-key: order-8\r\n";
    problem(&send(&hub, "/v1/topics/a//1", other, "one"), 400, "bad_topic");
    assert_eq!(send(&hub, "/v1/topics/a/3", other, "three").status, 200);
    // Many at once: one effect, whoever is first.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || send(&hub, "/v1/batch", "idempotency-key: order-9\r\n", r#"[{"topic":"a/4","payload":"four"}]"#);
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().expect("it ends").status).collect()
    });
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert_eq!(send(&hub, "/v1/topics/a/5", "", "five").status, 200);
    let mut got = Vec::new();
    while got.last().is_none_or(|last| last != b"five") {
        let delivery = block_on(taken.next()).expect("the client is open").expect("events");
        got.extend(delivery.events().map(|event| event.payload.to_vec()));
    }
    assert_eq!(got, [&b"one"[..], b"three", b"four", b"five"]);
}

#[test]
fn a_subscriber_that_is_behind_makes_events_429_until_it_has_caught_up() {
    let hub = hub("[limits]\nsubscriber_events = 16\n");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let options = SubscribeOptions { credit_events: 1, ..SubscribeOptions::default().on_full(OnFull::Wait) };
    let mut taken = block_on(client.subscribe("a/**", options)).expect("it subscribes");
    let begun = Instant::now();
    let limited = loop {
        let answer = post(&hub, "a/1", "weft-level: none\r\n", b"x");
        if answer.status != 202 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing holds it up");
    };
    problem(&limited, 429, "window");
    assert!(limited.body.contains("subscriber"), "{limited:?}");
    let after = limited.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let after: u64 = after.and_then(|after| after.trim().parse().ok()).expect("a time");
    assert!((1..=30).contains(&after), "{limited:?}");
    problem(&send(&hub, "/v1/batch", "", r#"[{"topic":"a/1"},{"topic":"a/2"}]"#), 429, "window");
    // As it reads, events are taken again.
    let reader = std::thread::spawn(move || while block_on(taken.next()).is_some_and(|next| next.is_ok()) {});
    while post(&hub, "a/1", "", b"x").status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it never recovers");
    }
    block_on(client.close());
    reader.join().expect("it ends");
}

#[test]
fn each_answer_has_an_id_and_pages_of_other_origins_do_nothing_unless_they_are_named() {
    let hub = hub_of("cors_origins = [\"https://app.example\"]\n", "");
    let ask = |method: &str, path: &str, headers: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n{headers}\r\nx"
        );
        raw(connect(&hub.http), head.as_bytes())
    };
    for (method, path) in [("POST", "/v1/topics/a"), ("POST", "/v1/topics/a//b"), ("GET", "/v1/nothing"), ("GET", "/x")]
    {
        let answer = ask(method, path, "x-request-id: mine-7\r\n");
        assert!(answer.head.contains("x-request-id: mine-7"), "{path}: {answer:?}");
        assert!(ask(method, path, "").head.contains("x-request-id: "), "{path}");
    }
    assert_eq!(ask("GET", "/v1/nothing", "x-request-id: mine-8\r\n").json()["requestId"], "mine-8");
    let foreign = ask("POST", "/v1/topics/a", "origin: https://other.example\r\n");
    problem(&foreign, 403, "denied");
    assert!(!foreign.head.contains("access-control-allow-origin"), "{foreign:?}");
    assert_eq!(ask("POST", "/v1/topics/a", "origin: http://localhost\r\n").status, 200, "its own");
    let named = ask("POST", "/v1/topics/a", "origin: https://app.example\r\n");
    assert_eq!(named.status, 200, "{named:?}");
    assert!(named.head.contains("access-control-allow-origin: https://app.example"), "{named:?}");
    let asked = "origin: https://app.example\r\naccess-control-request-method: POST\r\n";
    let told = ask("OPTIONS", "/v1/topics/a", asked);
    assert!(told.status == 204 && told.head.contains("access-control-allow-methods: "), "{told:?}");
}

#[test]
fn who_sends_slowly_or_too_much_loses_its_place_and_others_go_on() {
    // As long as somebody else may be held up by a busy machine.
    let hub = hub_of("patience = \"5 s\"\nidle = \"5 s\"\nhead = \"8 KiB\"\nbody = \"2 KiB\"\nbatch = 2\n", "");
    let half = |text: &str| {
        let mut socket = connect(&hub.http);
        socket.write_all(text.as_bytes()).expect("it is taken");
        socket
    };
    // Heads and bodies that do not end, of some that stay for as long as they may.
    let heads: Vec<_> = (0..8).map(|_| half("POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\nx-slow: ")).collect();
    let bodies: Vec<_> =
        (0..8).map(|_| half("POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\ncontent-length: 9\r\n\r\nhalf")).collect();
    let chunked = half("POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal");
    assert_eq!(post(&hub, "a", "", b"x").status, 200, "others go on");
    for body in bodies.into_iter().chain([chunked]) {
        let answer = read(body);
        assert!([408, 503].contains(&answer.status), "{answer:?}");
        assert!(answer.head.contains("x-request-id: "), "{answer:?}");
    }
    for head in heads {
        assert_eq!(read(head).status, 0, "it never asked");
    }
    let huge = format!("x-huge: {}\r\n", "h".repeat(9_000));
    assert_eq!(post(&hub, "a", &huge, b"x").status, 431);
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(post(&hub, "a", &many, b"x").status, 431);
    problem(&post(&hub, "a", "", &[b'x'; 2_049]), 413, "too_large");
    let chunks = format!(
        "POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n801\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x801)
    );
    problem(&raw(connect(&hub.http), chunks.as_bytes()), 413, "too_large");
    problem(&send(&hub, "/v1/batch", "", "[1,2,3]"), 413, "too_many");
    for nonsense in [
        "POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/topics/a HTTP/1.1\r\nhost: hub\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "POST /v1/topics/a HTTP/9.1\r\n\r\n",
        "\0\0\0\0",
    ] {
        assert!([0, 400].contains(&raw(connect(&hub.http), nonsense.as_bytes()).status), "{nonsense:?}");
    }
    assert_eq!(post(&hub, "a", "traceparent: ../../etc\r\ntracestate: \x01\r\n", b"x").status, 400, "no header");
    assert_eq!(post(&hub, "a", "traceparent: ../../etc\r\n", b"x").status, 200, "the trace is left out");
}
