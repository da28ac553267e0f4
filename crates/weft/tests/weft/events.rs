//! Publishing by HTTP, at real hubs: what is published is what the library's clients
//! receive, and what is refused says why and when to come again.

use std::fs;
use std::time::Instant;

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use weft_client::{Client, ConnectOptions, SubscribeOptions};

use crate::common::Hub;
use crate::common::http::{Answer, ask, ask_tls, connect, raw, tls};
use crate::common::voters::{GROUNDED, Mesh, PATIENCE};

/// A hub by itself, where everybody may do everything.
fn hub(more: &str) -> Hub {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let path = folder.join("hub.toml");
    let config = format!(
        "name = \"alone\"\ndata = \"data\"\n{more}[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n"
    );
    fs::write(&path, config).expect("a file");
    Hub::start_with(&["--config", &path.display().to_string()])
}

/// Publishes a body to a path below `/v1/topics/`, with these headers.
fn post(hub: &Hub, topic: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /v1/topics/{topic} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    raw(connect(&hub.http), &[head.as_bytes(), body].concat())
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
            assert!(answer.head.contains("retry-after: "), "{answer:?}");
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
