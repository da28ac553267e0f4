//! Consuming by HTTP, at real hubs: what is published by the library's clients is what
//! comes, and who does not read, or may not, holds up nobody.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weft_client::{
    AckLevel, Client, ConnectOptions, ConsumeOptions, ConsumerOptions, EventFields, HeadersWriter, PublisherOptions,
    StreamOptions, SubscribeOptions,
};

use crate::common::Hub;
use crate::common::http::{Answer, ask, ask_tls, connect, raw, tls};
use crate::common::sse::{Event, Listener};
use crate::common::voters::{Mesh, PATIENCE, weft};

/// A hub by itself, where everybody may do everything.
pub(crate) fn hub(http: &str) -> Hub {
    let config = format!(
        "name = \"alone\"\ndata = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n{http}\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n"
    );
    Hub::configured(&config)
}

pub(crate) fn client(hub: &Hub) -> Client {
    block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects")
}

/// Publishes, and waits until the hub, and its streams, have it.
pub(crate) fn publish(client: &Client, topic: &str, payloads: &[&str], level: AckLevel) {
    block_on(async {
        let publisher = client.publisher(PublisherOptions::level(level));
        let mut under_way = Vec::new();
        for payload in payloads {
            under_way.push(publisher.publish(topic, payload.as_bytes()).await.expect("it is taken"));
        }
        for acknowledgement in under_way {
            acknowledgement.await.expect("it is acknowledged");
        }
    });
}

fn counters(hub: &Hub) -> Value {
    let shown = weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
    serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"].clone()
}

/// Waits until a counter is what it has to be.
#[track_caller]
pub(crate) fn counts(hub: &Hub, name: &str, wanted: impl Fn(u64) -> bool) {
    let begun = Instant::now();
    while !wanted(counters(hub)[name].as_u64().expect("a number")) {
        assert!(begun.elapsed() < PATIENCE, "{name}: {}", counters(hub));
    }
}

/// It is a problem of this status and code.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    assert_eq!((&answer.json()["code"], &answer.json()["status"]), (&json!(code), &json!(status)), "{answer:?}");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer:?}");
}

fn get(hub: &Hub, path: &str, headers: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n{headers}\r\n");
    raw(connect(&hub.http), head.as_bytes())
}

#[test]
fn who_listens_hears_what_is_published_with_all_that_it_carries_and_shares_one_subscription() {
    let hub = hub("heartbeat = \"200 ms\"\n");
    let mut listeners: Vec<_> = (0..20).map(|_| Listener::open(&hub.http, "/v1/topics/flights/**", "")).collect();
    for head in listeners.iter().map(|listener| &listener.head) {
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("x-request-id: "), "{head}");
    }
    assert!(listeners[0].hears_a_comment(), "a heartbeat");
    let client = client(&hub);
    let before = counters(&hub)["ledger.delivered"].as_u64().expect("a number");
    let mut headers = Vec::new();
    let mut writer = HeadersWriter::new(&mut headers);
    writer.push("traceparent", b"00-1").expect("a header");
    writer.push("raw", b"\xff").expect("a header");
    block_on(async {
        let publisher = client.publisher(PublisherOptions::default());
        let event = EventFields { key: b"B6 725", headers: &headers, payload: b"line\none", ..EventFields::default() };
        publisher
            .publish_event("flights/departed/Z\u{fc}rich", event)
            .await
            .expect("it is taken")
            .await
            .expect("it is there");
        let event = EventFields { payload: b"\x00\xff", ..EventFields::default() };
        publisher.publish_event("flights/x", event).await.expect("it is taken").await.expect("it is there");
    });
    for listener in &mut listeners {
        let first = listener.data();
        assert_eq!((&first["topic"], &first["key"]), (&json!("flights/departed/Z\u{fc}rich"), &json!("B6 725")));
        assert_eq!((&first["payload"], &first["hub"]), (&json!("line\none"), &json!("alone")));
        assert_eq!(first["headers"], json!({"traceparent": "00-1"}));
        assert_eq!(first["headers_base64"], json!({"raw": "/w=="}));
        assert!(first["id"].as_str().is_some_and(|id| id.starts_with("alone/")), "{first}");
        assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{first}");
        let second = listener.data();
        assert_eq!((&second["payload_base64"], second.get("payload")), (&json!("AP8="), None));
    }
    // One subscription for all of them: each event was delivered once.
    let after = counters(&hub)["ledger.delivered"].as_u64().expect("a number");
    assert_eq!(after - before, 2);
    counts(&hub, "http.listeners", |listeners| listeners == 20);
    drop(listeners);
    counts(&hub, "http.listeners", |listeners| listeners == 0);
}

#[test]
fn a_stream_goes_on_exactly_behind_the_last_event_that_was_had() {
    let hub = hub("");
    let client = client(&hub);
    block_on(client.streams().create(&StreamOptions::new("log", "log/**"))).expect("a stream");
    let payloads: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    // They share a block, which is not split on its way.
    publish(&client, "log/a", &payloads, AckLevel::Synced);
    let mut first = Listener::open(&hub.http, "/v1/streams/log/events?from=first", "");
    let had: Vec<Event> = (0..4).map(|_| first.next().expect("an event")).collect();
    assert_eq!(had.iter().map(|event| event.json()["payload"].clone()).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!(had[3].json()["sequence"], 4, "{had:?}");
    drop(first);
    let last = format!("last-event-id: {}\r\n", had[3].id);
    let mut again = Listener::open(&hub.http, "/v1/streams/log/events?from=first", &last);
    let next: Vec<Value> = (0..6).map(|_| again.data()["payload"].clone()).collect();
    assert_eq!(next, ["4", "5", "6", "7", "8", "9"]);
    // It goes on with what is added, by another topic too.
    publish(&client, "log/b", &["later"], AckLevel::Synced);
    assert_eq!(again.data()["payload"], "later");
    drop(again);
    let path = format!("/v1/streams/log/events?position={}&filter=log%2Fb", had[0].id);
    let mut filtered = Listener::open(&hub.http, &path, "");
    let only = filtered.data();
    assert_eq!((&only["topic"], &only["payload"]), (&json!("log/b"), &json!("later")));

    problem(&get(&hub, "/v1/streams/none/events", ""), 404, "no_stream");
    problem(&get(&hub, "/v1/streams/log/events?from=soon", ""), 400, "bad_query");
    problem(&get(&hub, "/v1/streams/log/events?filter=a//b", ""), 400, "bad_filter");
    for position in ["7", "x:1", "00000000:1", "0000a1b2:99999999999999999999"] {
        problem(&get(&hub, "/v1/streams/log/events", &format!("last-event-id: {position}\r\n")), 400, "bad_position");
    }
}

#[test]
fn events_are_handed_out_as_cloudevents_to_who_listens_reads_and_takes_as_such() {
    let hub = hub("");
    let client = client(&hub);
    block_on(client.streams().create(&StreamOptions::new("log", "log/**"))).expect("a stream");
    block_on(client.streams().consumers("log").create(&ConsumerOptions::new("c"))).expect("a consumer");
    let mut live = Listener::open(&hub.http, "/v1/topics/log/**?format=cloudevents", "");
    let mut own = Listener::open(&hub.http, "/v1/topics/log/**?format=weft", "");
    publish(&client, "log/a", &["line\none", "two"], AckLevel::Synced);
    let post = "POST /v1/topics/log/b HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 10\r\n\
                content-type: application/json\r\nce-specversion: 1.0\r\nce-id: 7\r\nce-source: /s\r\nce-type: t\r\n\
                ce-weftreceipt: forged\r\nweft-level: synced\r\n\r\n{\"a\"\n:\r\n1}";
    assert_eq!(raw(connect(&hub.http), post.as_bytes()).status, 200);
    assert_eq!(own.data()["payload"], "line\none");
    let heard: Vec<Value> = (0..3).map(|_| live.data()).collect();
    let [first, _, third] = &heard[..] else { panic!("{heard:?}") };
    for (name, value) in [("specversion", "1.0"), ("type", "weft.event"), ("subject", "log/a"), ("data", "line\none")] {
        assert_eq!(first[name], value, "{first}");
    }
    let id = first["id"].as_str().expect("an id");
    let found = weft(&["mesh", "where", id, "-s", &hub.address, "--json"]);
    assert!(found.status.success(), "{id}: {found:?}");
    let as_sent = json!({
        "specversion": "1.0", "id": "7", "source": "/s", "type": "t", "datacontenttype": "application/json",
        "wefttopic": "log/b", "data": {"a": 1},
    });
    assert_eq!(third, &as_sent);
    // Of a stream with its place there, and of a consumer with its receipt too.
    let mut read = Listener::open(&hub.http, "/v1/streams/log/events?from=first&format=cloudevents", "");
    let path = "/v1/streams/log/consumers/c/messages?wait=20s";
    let accept = "accept: application/cloudevents-batch+json\r\n";
    let mut taken = Vec::new();
    while taken.len() < 3 {
        let answer = get(&hub, path, accept);
        assert!(answer.head.contains("content-type: application/cloudevents-batch+json"), "{answer:?}");
        taken.extend(answer.json().as_array().expect("a batch").clone());
    }
    for (at, (heard, taken)) in heard.iter().zip(&taken).enumerate() {
        let event = read.next().expect("an event");
        assert!(!event.id.is_empty(), "{event:?}");
        let mut wanted = heard.clone();
        wanted["weftstream"] = json!("log");
        wanted["weftsequence"] = json!((at + 1).to_string());
        assert_eq!(event.json(), wanted);
        wanted["weftattempt"] = json!("1");
        wanted["weftreceipt"] = taken["weftreceipt"].clone();
        assert_eq!(taken, &wanted);
    }
    let receipts: Vec<&Value> = taken.iter().map(|taken| &taken["weftreceipt"]).collect();
    let body = json!({"ack": receipts, "confirm": true}).to_string();
    let settled = ask(&hub.http, "POST", "/v1/streams/log/consumers/c/settle", &body);
    assert_eq!(settled.json(), json!({"settled": 3, "stale": []}));
    assert_eq!(get(&hub, "/v1/streams/log/consumers/c/messages", accept).body, "[]");
    problem(&get(&hub, "/v1/topics/log/**?format=xml", ""), 400, "bad_query");
    problem(&get(&hub, path, "accept: application/cloudevents+json\r\n"), 406, "not_acceptable");
}

/// A connection that takes little before it is read.
pub(crate) fn narrow(address: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a size");
    let address: std::net::SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("it connects");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket
}

#[test]
fn who_never_reads_is_ended_at_its_bound_and_the_others_get_everything() {
    const EVENTS: u64 = 1_000;
    let hub = hub("listener_bytes = \"2 MiB\"\nheartbeat = \"1 min\"\n");
    let mut well = Listener::open(&hub.http, "/v1/topics/load/**", "");
    let mut idle = Listener::over(narrow(&hub.http), "/v1/topics/load/**", "");
    let mut behind = Listener::over(narrow(&hub.http), "/v1/topics/load/**?on_full=drop-oldest", "");
    let client = client(&hub);
    let payload = "x".repeat(32 << 10);
    let publisher = client.publisher(PublisherOptions::default());
    for n in 0..EVENTS {
        block_on(async { publisher.publish("load/a", payload.as_bytes()).await.expect("taken").await }).expect("there");
        // Who reads has each before the next, whoever else does not read.
        assert_eq!(well.data()["payload"], payload.as_str(), "event {n}");
    }
    counts(&hub, "http.listeners_slow", |slow| slow == 1);
    counts(&hub, "http.listeners", |listeners| listeners == 2);
    // Its connection was cut: what is on its way still comes, and then nothing.
    while idle.next().is_some() {}
    // Who is content with what is newest is told how much it missed.
    let (mut had, mut missed) = (0, 0);
    while had + missed < EVENTS {
        let event = behind.next().expect("it is not ended");
        match event.kind.as_str() {
            "" => had += 1,
            "gap" => missed += event.json()["events"].as_u64().expect("a number"),
            _ => panic!("{event:?}"),
        }
    }
    assert!(missed > 0 && had + missed == EVENTS, "{had} {missed}");
    assert_eq!(counters(&hub)["http.listeners_missed"], missed);
}

#[test]
fn what_cannot_be_listened_to_is_refused_and_no_more_listen_than_may() {
    let hub = hub("listeners = 4\nmembers = 4\n");
    problem(&get(&hub, "/v1/topics/a//b", ""), 400, "bad_filter");
    problem(&get(&hub, "/v1/topics/%ff", ""), 400, "bad_name");
    problem(&get(&hub, "/v1/topics/a?on_full=burst", ""), 400, "bad_query");
    problem(&get(&hub, "/v1/topics/a?max=3", ""), 400, "bad_query");
    problem(&get(&hub, "/v1/topics/a", "accept: application/json\r\n"), 406, "not_acceptable");
    problem(&get(&hub, "/v1/topics/_secret/a", ""), 401, "forbidden");
    let mut listeners: Vec<_> = (0..3).map(|n| Listener::open(&hub.http, &format!("/v1/topics/a{n}"), "")).collect();
    // Three quarters are for one principal.
    let one_more = get(&hub, "/v1/topics/a", "");
    problem(&one_more, 429, "listeners");
    assert!(one_more.head.contains("retry-after: "), "{one_more:?}");
    listeners.pop();
    counts(&hub, "http.listeners", |listeners| listeners == 2);
    let mut last = Listener::open(&hub.http, "/v1/topics/**", "");
    publish(&client(&hub), "b", &["x"], AckLevel::Routed);
    assert_eq!(last.data()["topic"], "b");
    // A half of a request is nobody who listens.
    let mut half = connect(&hub.http);
    half.write_all(b"GET /v1/topics/a HTTP/1.1\r\nhost: hub\r\n").expect("it is sent");
    drop(half);
    assert_eq!(counters(&hub)["http.listeners"], 3);
}

#[test]
fn a_hub_that_drains_tells_who_listens_to_go_on_elsewhere() {
    let hub = hub("");
    let options = ConnectOptions { follow_redirects: false, ..ConnectOptions::new(hub.address.clone()) };
    let stays = block_on(Client::connect(options)).expect("it connects");
    let mut listener = Listener::open(&hub.http, "/v1/topics/**", "");
    let pid = Pid::from_raw(hub.child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::USR1).expect("it is there");
    let end = listener.next().expect("an event");
    assert_eq!((end.kind.as_str(), &end.json()["code"]), ("end", &json!("draining")));
    assert_eq!(listener.next(), None);
    problem(&get(&hub, "/v1/topics/**", ""), 503, "draining");
    drop(stays);
}

/// The messages of a poll.
#[track_caller]
fn messages(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["messages"].as_array().cloned().expect("a list")
}

#[test]
fn what_a_consumer_hands_out_by_long_poll_is_settled_by_its_receipts() {
    const POLL: &str = "/v1/streams/jobs/consumers/workers/messages";
    const SETTLE: &str = "/v1/streams/jobs/consumers/workers/settle";
    let hub = hub("");
    let client = client(&hub);
    let streams = client.streams();
    block_on(streams.create(&StreamOptions::new("jobs", "jobs/**"))).expect("a stream");
    block_on(streams.consumers("jobs").create(&ConsumerOptions::new("workers"))).expect("a consumer");
    problem(&get(&hub, "/v1/streams/jobs/consumers/none/messages", ""), 404, "no_consumer");
    problem(&get(&hub, "/v1/streams/none/consumers/workers/messages", ""), 404, "no_stream");
    problem(&get(&hub, &format!("{POLL}?max=0"), ""), 400, "bad_query");
    problem(&get(&hub, &format!("{POLL}?wait=1+year"), ""), 400, "bad_query");
    problem(&ask(&hub.http, "POST", SETTLE, r#"{"ack": ["1-1"]}"#), 409, "no_member");
    assert_eq!(messages(&get(&hub, POLL, "")), Vec::<Value>::new(), "nothing is there");

    // Who waits gets what comes, at once.
    let waiting = std::thread::scope(|scope| {
        let poll = scope.spawn(|| get(&hub, &format!("{POLL}?max=10&wait=25s"), ""));
        publish(&client, "jobs/a", &["1", "2", "3"], AckLevel::Synced);
        poll.join().expect("it ends")
    });
    let mut got = messages(&waiting);
    while got.len() < 3 {
        got.extend(messages(&get(&hub, &format!("{POLL}?max=10&wait=5s"), "")));
    }
    let payloads: Vec<_> = got.iter().map(|message| message["payload"].clone()).collect();
    assert_eq!(payloads, ["1", "2", "3"]);
    assert_eq!((&got[0]["attempt"], &got[0]["sequence"], &got[0]["topic"]), (&json!(1), &json!(1), &json!("jobs/a")));
    let receipt = |n: usize| got[n]["receipt"].as_str().expect("a receipt").to_owned();
    let said = json!({"ack": [receipt(0)], "nack": [receipt(1)], "term": [receipt(2)], "reason": "broken"});
    let settled = ask(&hub.http, "POST", SETTLE, &said.to_string());
    assert_eq!(settled.json(), json!({"settled": 3, "stale": []}), "{settled:?}");

    // What was given back comes again, and is done for good.
    let again = messages(&get(&hub, &format!("{POLL}?wait=20s"), ""));
    assert_eq!((again.len(), &again[0]["payload"], &again[0]["attempt"]), (1, &json!("2"), &json!(2)), "{again:?}");
    let said = json!({"ack": [again[0]["receipt"]], "confirm": true});
    assert_eq!(ask(&hub.http, "POST", SETTLE, &said.to_string()).json()["settled"], 1);
    // What was terminated counts once its dead letter is stored.
    let begun = Instant::now();
    loop {
        let report = block_on(streams.consumers("jobs").info("workers")).expect("a report");
        if (report.lag, report.in_flight, report.dead) == (0, 0, 1) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{report:?}");
    }
    assert_eq!(messages(&get(&hub, POLL, "")), Vec::<Value>::new());
    // A token of another membership.
    let stale = ask(&hub.http, "POST", SETTLE, r#"{"ack": ["999999-1"]}"#);
    assert_eq!(stale.json(), json!({"settled": 0, "stale": ["999999-1"]}), "{stale:?}");
    for body in ["", "[]", r#"{"ack": [7]}"#, r#"{"ack": ["x"]}"#, r#"{"all": true}"#] {
        problem(&ask(&hub.http, "POST", SETTLE, body), 400, "bad_body");
    }
}

#[test]
fn what_a_member_that_nobody_uses_has_not_settled_goes_to_others_at_once() {
    let hub = hub("lease = \"300 ms\"\n");
    let client = client(&hub);
    let streams = client.streams();
    block_on(streams.create(&StreamOptions::new("jobs", "jobs/**"))).expect("a stream");
    let options = ConsumerOptions::new("workers").ack_wait(Duration::from_secs(3_600));
    block_on(streams.consumers("jobs").create(&options)).expect("a consumer");
    publish(&client, "jobs/a", &["1"], AckLevel::Synced);
    let path = "/v1/streams/jobs/consumers/workers/messages?member=a&wait=20s";
    let mut held = messages(&get(&hub, path, ""));
    assert_eq!(held.len(), 1);
    // Its ack wait is an hour: only that the member has left hands it out again.
    let mut member = block_on(streams.consumers("jobs").open("workers", ConsumeOptions::default())).expect("a member");
    let message = block_on(member.next()).expect("the client is open").expect("a message");
    assert_eq!((message.payload(), message.attempt()), (&b"1"[..], 2));
    message.ack().expect("it is settled");
    let said = json!({"ack": [held.remove(0)["receipt"]]}).to_string();
    let late = ask(&hub.http, "POST", "/v1/streams/jobs/consumers/workers/settle?member=a", &said);
    problem(&late, 409, "no_member");
}

#[test]
fn a_request_is_answered_by_its_responder_or_says_why_it_is_not() {
    let hub = hub("");
    let client = client(&hub);
    problem(&ask(&hub.http, "POST", "/v1/requests/sum/a", "1 2"), 404, "no_responders");
    let mut responder = block_on(client.respond("sum/*", SubscribeOptions::default())).expect("a responder");
    let answering = std::thread::spawn(move || {
        let mut never = Vec::new();
        block_on(async {
            while let Some(Ok(request)) = responder.next().await {
                match request.topic() {
                    "sum/end" => return,
                    "sum/never" => never.push(request),
                    _ => {
                        let trace = request.header("traceparent").unwrap_or_default().to_vec();
                        let reply = [b"<script> ", request.payload(), b" ", &trace].concat();
                        request.finish(&reply).await.expect("it is sent");
                    }
                }
            }
        });
    });
    let post = |topic: &str, headers: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "POST /v1/requests/{topic} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        raw(connect(&hub.http), head.as_bytes())
    };
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = post("sum/a", &format!("traceparent: {trace}\r\n"), "1 2");
    assert_eq!((answer.status, answer.body), (200, format!("<script> 1 2 {trace}")), "{:?}", answer.head);
    // A browser takes it for no page.
    for header in ["content-type: application/octet-stream", "x-content-type-options: nosniff", "sandbox"] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    problem(&post("sum/never", "weft-deadline: 100\r\n", ""), 504, "timed_out");
    problem(&post("sum/a", "weft-deadline: 60000\r\n", ""), 400, "bad_header");
    problem(&post("a//b", "", ""), 400, "bad_topic");
    let _ = post("sum/end", "weft-deadline: 100\r\n", "");
    answering.join().expect("it ends");
}

#[test]
fn rules_decide_who_listens_and_a_rule_that_is_taken_back_ends_it() {
    const READERS: &str = "[[policy]]\nname = \"readers\"\nrules = '''\n@id(\"read\")\n\
        permit (principal == User::\"guest\", action == Action::\"subscribe\", resource in TopicFilter::\"flights/**\");\n'''\n";
    let mesh = Mesh::start_with("enforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let guest = tls(&mesh.path(""), Some("guest"), &["http/1.1"]);
    let nobody = tls(&mesh.path(""), None, &["http/1.1"]);
    let at = mesh.http(0);
    problem(&ask_tls(&at, &nobody, "GET", "/v1/topics/flights/**", ""), 401, "unauthenticated");
    problem(&ask_tls(&at, &guest, "GET", "/v1/topics/flights/**", ""), 403, "denied");
    mesh.apply(0, &mesh.documents("readers.toml", READERS), &[]);
    problem(&ask_tls(&at, &guest, "GET", "/v1/topics/other/**", ""), 403, "denied");
    // Once the rule is in force, the answer goes on until it is gone.
    let listening = std::thread::spawn({
        let (at, guest) = (at.clone(), guest.clone());
        move || {
            let begun = Instant::now();
            loop {
                let answer = ask_tls(&at, &guest, "GET", "/v1/topics/flights/**", "");
                if answer.status == 200 || begun.elapsed() > PATIENCE {
                    return answer;
                }
            }
        }
    });
    let begun = Instant::now();
    let listens = || {
        let shown = mesh.run(0, &["mesh", "show", "--json"]).stdout;
        serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"]["http.listeners"] == 1
    };
    while !listens() {
        assert!(begun.elapsed() < PATIENCE, "nobody listens");
    }
    mesh.apply(0, &mesh.documents("readers.toml", &READERS.replace("flights/**", "other/**")), &[]);
    let answer = listening.join().expect("it ends");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("event: end") && answer.body.contains("denied"), "{answer:?}");
}
