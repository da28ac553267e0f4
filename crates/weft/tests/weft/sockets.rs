//! WebSockets at real hubs: events by credit, settling and publishing, and that who
//! does not read, or sends what it should not, is ended and harms nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client as begin};
use weft_client::{AckLevel, Client, ConnectOptions, ConsumerOptions, StreamOptions};

use crate::common::Hub;
use crate::common::http::{Answer, connect, raw, tls};
use crate::common::voters::{Mesh, PATIENCE};
use crate::consume::{client, counts, hub, narrow, publish};

/// A socket, at its client's end.
struct Socket<S>(WebSocket<S>);

fn open(hub: &Hub) -> Socket<TcpStream> {
    over(connect(&hub.http))
}

fn over<S: Read + Write>(stream: S) -> Socket<S> {
    let request = Request::builder()
        .uri("ws://hub/v1/ws")
        .header("host", "hub")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "weft")
        .header("sec-websocket-key", generate_key())
        .body(())
        .expect("a request");
    let (socket, answer) = begin(request, stream).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.headers()["sec-websocket-protocol"], "weft");
    assert!(answer.headers().contains_key("x-request-id"), "{answer:?}");
    Socket(socket)
}

impl<S: Read + Write> Socket<S> {
    fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).expect("it is taken");
    }

    /// The next message; what it says otherwise is passed over.
    fn next(&mut self) -> Result<Value, Option<(CloseCode, String)>> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(frame)) => {
                    return Err(frame.map(|frame| (frame.code, frame.reason.to_string())));
                }
                Ok(_) => {}
                Err(_) => return Err(None),
            }
        }
    }

    /// The next message of this kind; others are given to `meanwhile`.
    #[track_caller]
    fn of(&mut self, op: &str, mut meanwhile: impl FnMut(Value)) -> Value {
        loop {
            match self.next() {
                Ok(message) if message["op"] == op => return message,
                Ok(message) => meanwhile(message),
                Err(close) => panic!("no {op}: {close:?}"),
            }
        }
    }

    #[track_caller]
    fn only(&mut self, op: &str) -> Value {
        self.of(op, |other| panic!("{other} and no {op}"))
    }

    #[track_caller]
    fn events(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.only("event")).collect()
    }

    /// How the hub ends it.
    fn ended(&mut self) -> Option<(CloseCode, String)> {
        loop {
            if let Err(close) = self.next() {
                return close;
            }
        }
    }
}

fn payloads(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"]["payload"].as_str().expect("a payload")).collect()
}

#[test]
fn events_come_by_credit_and_no_more_and_what_is_published_is_answered_in_order() {
    let hub = hub("");
    let mut socket = open(&hub);
    socket.send(json!({"op": "subscribe", "id": "s", "topic": "a/**", "credit": 2}));
    assert_eq!(socket.only("subscribed"), json!({"op": "subscribed", "id": "s"}));
    for n in 0..20 {
        let event = json!({"topic": format!("a/{n}"), "payload": n.to_string(), "key": "k", "headers": {"x": "y"}});
        socket.send(json!({"op": "publish", "id": format!("p{n}"), "event": event, "level": "routed"}));
    }
    let mut events = Vec::new();
    for _ in 0..20 {
        let published = socket.of("published", |event| events.push(event));
        assert_eq!((&published["status"], &published["level"]), (&json!(200), &json!("routed")), "{published}");
    }
    // All of them are published; what is granted comes, and nothing else.
    socket.send(json!({"op": "credit", "id": "none", "events": 1}));
    let error = socket.of("error", |event| events.push(event));
    assert_eq!((&error["code"], &error["id"]), (&json!("no_subscription"), &json!("none")));
    while events.len() < 2 {
        events.push(socket.only("event"));
    }
    assert_eq!(payloads(&events), ["0", "1"]);
    assert_eq!((&events[0]["event"]["key"], &events[0]["event"]["headers"]), (&json!("k"), &json!({"x": "y"})));
    socket.send(json!({"op": "credit", "id": "s", "events": 3}));
    assert_eq!(payloads(&socket.events(3)), ["2", "3", "4"]);
    // Another one, as CloudEvents; the first has no credit, and hears nothing.
    socket.send(json!({"op": "subscribe", "id": "c", "topic": "b", "format": "cloudevents", "credit": 9}));
    assert_eq!(socket.only("subscribed")["id"], "c");
    publish(&client(&hub), "b", &["x"], AckLevel::Routed);
    let event = socket.only("event");
    assert_eq!(
        (&event["id"], &event["event"]["specversion"], &event["event"]["data"]),
        (&json!("c"), &json!("1.0"), &json!("x"))
    );
    socket.send(json!({"op": "unsubscribe", "id": "s"}));
    assert_eq!(socket.only("ended")["code"], "unsubscribed");
    socket.send(json!({"op": "publish", "id": "bad", "event": {"topic": "a//b"}}));
    let refused = socket.only("published");
    assert_eq!(
        (&refused["status"], &refused["code"], &refused["id"]),
        (&json!(400), &json!("bad_topic"), &json!("bad"))
    );
    counts(&hub, "http.listeners", |listeners| listeners == 1);
    counts(&hub, "http.connections", |connections| connections == 1);
    drop(socket);
    counts(&hub, "http.listeners", |listeners| listeners == 0);
    counts(&hub, "http.connections", |connections| connections == 0);
}

#[test]
fn a_stream_goes_on_behind_a_position_and_a_consumer_loses_nothing_where_credit_or_the_socket_ends() {
    let hub = hub("");
    let client = client(&hub);
    let streams = client.streams();
    block_on(streams.create(&StreamOptions::new("log", "log"))).expect("a stream");
    block_on(streams.consumers("log").create(&ConsumerOptions::new("c"))).expect("a consumer");
    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    publish(&client, "log", &all, AckLevel::Synced);

    let mut socket = open(&hub);
    socket.send(json!({"op": "subscribe", "id": "r", "stream": "log", "from": "first", "credit": 4}));
    socket.only("subscribed");
    let read = socket.events(4);
    assert_eq!(payloads(&read), all[..4]);
    let position = read[2]["position"].as_str().expect("a position").to_owned();
    drop(socket);
    let mut socket = open(&hub);
    socket.send(json!({"op": "subscribe", "id": "r", "stream": "log", "position": position, "credit": 100}));
    socket.only("subscribed");
    assert_eq!(payloads(&socket.events(7)), all[3..]);
    socket.send(json!({"op": "unsubscribe", "id": "r"}));
    socket.only("ended");

    socket.send(json!({"op": "subscribe", "id": "c", "stream": "log", "consumer": "c", "credit": 4}));
    socket.only("subscribed");
    let taken = socket.events(4);
    let receipt = |event: &Value| event["event"]["receipt"].as_str().expect("a receipt").to_owned();
    let ack: Vec<String> = taken[..3].iter().map(receipt).collect();
    socket.send(json!({"op": "settle", "id": "c", "ack": ack, "nack": [receipt(&taken[3])], "confirm": true}));
    assert_eq!(socket.only("settled"), json!({"op": "settled", "id": "c", "settled": 4, "stale": []}));
    // What was given back comes again with the rest.
    socket.send(json!({"op": "credit", "id": "c", "events": 7}));
    let mut again = socket.events(7);
    again.sort_by_key(|event| event["event"]["payload"].to_string());
    assert_eq!(payloads(&again), all[3..]);
    assert_eq!((&again[0]["event"]["attempt"], &again[1]["event"]["attempt"]), (&json!(2), &json!(1)));
    let ack: Vec<String> = again[..5].iter().map(receipt).collect();
    socket.send(json!({"op": "settle", "id": "c", "ack": ack}));
    assert_eq!(socket.only("settled")["settled"], 5);
    // What a socket had and did not settle goes to others when it ends.
    drop(socket);
    let mut socket = open(&hub);
    socket.send(json!({"op": "subscribe", "id": "c", "stream": "log", "consumer": "c", "credit": 9}));
    socket.only("subscribed");
    let mut rest = socket.events(2);
    rest.sort_by_key(|event| event["event"]["payload"].to_string());
    assert_eq!(payloads(&rest), all[8..]);
    let ack: Vec<String> = rest.iter().map(receipt).collect();
    socket.send(json!({"op": "settle", "id": "c", "ack": ack, "confirm": true}));
    assert_eq!(socket.only("settled")["settled"], 2);
    let begun = Instant::now();
    while block_on(streams.consumers("log").info("c")).expect("a report").lag > 0 {
        assert!(begun.elapsed() < PATIENCE, "not all is settled");
    }
    for (what, code) in [
        (json!({"stream": "none"}), "no_stream"),
        (json!({"stream": "log", "consumer": "none"}), "no_consumer"),
        (json!({"topic": "a//b"}), "bad_filter"),
    ] {
        let mut subscribe = what;
        (subscribe["op"], subscribe["id"]) = (json!("subscribe"), json!("x"));
        socket.send(subscribe);
        let ended = socket.only("ended");
        assert_eq!((&ended["id"], &ended["code"]), (&json!("x"), &json!(code)), "{ended}");
    }
}

#[test]
fn who_never_reads_is_ended_however_much_it_granted_and_others_get_everything() {
    const EVENTS: usize = 300;
    let hub = hub("heartbeat = \"2 s\"\n");
    let mut idle = over(narrow(&hub.http));
    idle.send(json!({"op": "subscribe", "id": "s", "topic": "load", "credit": 1 << 30}));
    idle.only("subscribed");
    let mut well = open(&hub);
    well.send(json!({"op": "subscribe", "id": "s", "topic": "load", "credit": 1 << 30}));
    well.only("subscribed");
    let payload = "x".repeat(32 << 10);
    let client = client(&hub);
    for n in 0..EVENTS {
        publish(&client, "load", &[&payload], AckLevel::Routed);
        // Who reads has each before the next, whoever else does not read.
        assert_eq!(well.only("event")["event"]["payload"], payload.as_str(), "event {n}");
    }
    let begun = Instant::now();
    loop {
        // Who reads answers pings by that.
        publish(&client, "load", &["x"], AckLevel::Routed);
        well.only("event");
        let shown = crate::common::voters::weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
        let counters = &serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"];
        if counters["http.listeners"] == 1 && counters["http.connections"] == 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never ended: {counters}");
    }
    // Nothing more than was on its way comes, and no farewell.
    assert_eq!(idle.ended(), None);
}

/// A frame as a client has to send it: masked, here by zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(0x80 | u8::try_from(len).expect("short")),
        Ok(len) => frame.extend([&[0x80 | 126][..], &len.to_be_bytes()].concat()),
        Err(_) => frame.extend([&[0x80 | 127][..], &(payload.len() as u64).to_be_bytes()].concat()),
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn nonsense_over_a_socket_is_refused_by_name_or_ends_it_with_a_code_that_says_why() {
    let hub = hub("body = \"64 KiB\"\n");
    let mut socket = open(&hub);
    for (text, code) in
        [("", "bad_json"), ("[1", "bad_json"), ("{}", "bad_message"), (r#"{"id":"1","op":7}"#, "bad_message")]
    {
        socket.0.send(Message::text(text)).expect("it is taken");
        let error = socket.only("error");
        assert_eq!(error["code"], code, "{error}");
        assert!(error["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{error}");
    }
    for n in 0..33 {
        socket.send(json!({"op": "subscribe", "id": n.to_string(), "topic": "a"}));
    }
    let mut begun = 0;
    let error = socket.of("error", |_| begun += 1);
    assert_eq!((&error["code"], &error["id"]), (&json!("limit"), &json!("32")), "{error}");
    socket.send(json!({"op": "subscribe", "id": "0", "topic": "a"}));
    assert_eq!(socket.of("error", |_| begun += 1)["code"], "in_use");
    while begun < 32 {
        socket.only("subscribed");
        begun += 1;
    }
    socket.send(json!({"op": "credit", "id": "0", "events": 1 << 30}));
    socket.send(json!({"op": "credit", "id": "0", "events": 1 << 30}));
    assert_eq!(socket.only("error")["code"], "bad_credit");
    socket.send(json!({"op": "settle", "id": "0", "ack": ["1-1"]}));
    assert_eq!(socket.only("error")["code"], "no_subscription");

    let large = frame(0x81, &vec![b' '; (64 << 10) + 1]);
    let pieces: Vec<u8> = [frame(0x01, b"{"), (0..70).flat_map(|_| frame(0x00, &[b' '; 1024])).collect()].concat();
    for (name, bytes, code) in [
        ("bytes", frame(0x82, b"x"), CloseCode::Unsupported),
        ("a large frame", large, CloseCode::Size),
        ("a large message in pieces", pieces, CloseCode::Size),
        ("no UTF-8", frame(0x81, b"\xff"), CloseCode::Invalid),
        ("without a mask", vec![0x81, 2, b'{', b'}'], CloseCode::Protocol),
        ("a kind that there is not", frame(0x83, b"x"), CloseCode::Protocol),
        ("bits that are reserved", frame(0xf1, b"x"), CloseCode::Protocol),
        ("a ping in pieces", frame(0x09, b"x"), CloseCode::Protocol),
        ("a piece of nothing", frame(0x80, b"x"), CloseCode::Protocol),
    ] {
        let mut socket = open(&hub);
        // It may end before it has taken all of it.
        let _ = socket.0.get_mut().write_all(&bytes);
        match socket.ended() {
            Some((found, why)) => assert!(found == code && why.len() > 5, "{name}: {found} {why}"),
            // What was not read any more resets the connection, and the farewell with it.
            None => assert_eq!(code, CloseCode::Size, "{name}"),
        }
    }
    // And none of it has hurt anybody.
    socket.send(json!({"op": "publish", "id": "p", "event": {"topic": "a", "payload": "well"}}));
    let mut heard = Vec::new();
    assert_eq!(socket.of("published", |event| heard.push(event))["status"], 200);
    if heard.is_empty() {
        heard.push(socket.only("event"));
    }
    assert_eq!((&heard[0]["id"], &heard[0]["event"]["payload"]), (&json!("0"), &json!("well")));
    counts(&hub, "http.listeners", |listeners| listeners == 1);
}

#[test]
fn what_opens_no_socket_is_told_how_and_no_more_are_open_than_may_be() {
    let hub = hub("listeners = 4\ncors_origins = [\"https://app.example\"]\n");
    let ask = |headers: &str| -> Answer {
        let head = format!("GET /v1/ws HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n{headers}\r\n");
        raw(connect(&hub.http), head.as_bytes())
    };
    let plain = ask("");
    assert_eq!((plain.status, &plain.json()["code"]), (426, &json!("upgrade_required")), "{plain:?}");
    assert!(plain.head.contains("upgrade: websocket") && plain.head.contains("sec-websocket-version: 13"), "{plain:?}");
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(ask(&format!("{upgrade}sec-websocket-version: 8\r\n")).status, 426);
    let whole = format!("{upgrade}sec-websocket-version: 13\r\n");
    let foreign = ask(&format!("{whole}origin: https://other.example\r\n"));
    assert_eq!((foreign.status, &foreign.json()["code"]), (403, &json!("denied")), "{foreign:?}");
    let all: Vec<_> = (0..3).map(|_| open(&hub)).collect();
    // Three quarters are one principal's.
    let full = ask(&whole);
    assert_eq!((full.status, &full.json()["code"]), (429, &json!("listeners")), "{full:?}");
    assert!(full.head.contains("retry-after: "), "{full:?}");
    drop(all);
    counts(&hub, "http.listeners", |listeners| listeners == 0);
    let mut named = connect(&hub.http);
    let head = format!("GET /v1/ws HTTP/1.1\r\nhost: hub\r\n{whole}origin: https://app.example\r\n\r\n");
    named.write_all(head.as_bytes()).expect("it is taken");
    let mut status = [0; 12];
    named.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 101");
}

#[test]
fn a_hub_that_drains_and_a_rule_that_is_taken_back_end_what_they_concern() {
    let alone = hub("");
    let options = ConnectOptions { follow_redirects: false, ..ConnectOptions::new(alone.address.clone()) };
    let stays = block_on(Client::connect(options)).expect("it connects");
    let mut socket = open(&alone);
    socket.send(json!({"op": "subscribe", "id": "s", "topic": "**", "credit": 1}));
    socket.only("subscribed");
    let pid = Pid::from_raw(alone.child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::USR1).expect("it is there");
    let (code, why) = socket.ended().expect("a farewell");
    assert!(code == CloseCode::Away && why.starts_with("draining"), "{code} {why}");
    drop((socket, stays, alone));

    const READERS: &str = "[[policy]]\nname = \"readers\"\nrules = '''\n@id(\"read\")\n\
        permit (principal == User::\"guest\", action == Action::\"subscribe\", resource in TopicFilter::\"flights/**\");\n'''\n";
    let mesh = Mesh::start_with("enforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let secured = |name: Option<&str>| {
        let host = ServerName::try_from("127.0.0.1").expect("an address");
        let session = ClientConnection::new(tls(&mesh.path(""), name, &["http/1.1"]), host).expect("a session");
        StreamOwned::new(session, connect(&mesh.http(0)))
    };
    mesh.apply(0, &mesh.documents("readers.toml", READERS), &[]);
    let mut socket = over(secured(Some("guest")));
    let begun = Instant::now();
    loop {
        socket.send(json!({"op": "subscribe", "id": "f", "topic": "flights/**", "credit": 9}));
        match socket.next().expect("it stands") {
            message if message["op"] == "subscribed" => break,
            message => assert_eq!((&message["op"], &message["code"]), (&json!("ended"), &json!("denied")), "{message}"),
        }
        assert!(begun.elapsed() < PATIENCE, "the rule is not in force");
    }
    socket.send(json!({"op": "subscribe", "id": "o", "topic": "other/**", "credit": 9}));
    assert_eq!(socket.only("ended")["code"], "denied");
    socket.send(json!({"op": "publish", "id": "p", "event": {"topic": "flights/1"}}));
    assert_eq!(socket.only("published")["code"], "denied");
    // The rule is taken back: what it allowed ends, the socket does not.
    mesh.apply(0, &mesh.documents("readers.toml", &READERS.replace("flights/**", "other/**")), &[]);
    let ended = socket.only("ended");
    assert_eq!((&ended["id"], &ended["code"]), (&json!("f"), &json!("denied")), "{ended}");
    socket.send(json!({"op": "credit", "id": "f", "events": 1}));
    assert_eq!(socket.only("error")["code"], "no_subscription");
}
