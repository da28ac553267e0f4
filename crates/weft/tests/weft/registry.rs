//! The schema registry by HTTP, at real hubs: what Confluent's clients ask, what is
//! no request, and who may. Its Python client is in `registry_confluent.rs`.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::common::Hub;
use crate::common::http::{Answer, ask, ask_tls, connect, raw, read, request, tls};
use crate::common::voters::{Mesh, PATIENCE, text, weft};

/// A hub by itself, which keeps its schemas.
fn hub(more: &str) -> Hub {
    hub_with(&format!("data = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n{more}"))
}

fn hub_with(config: &str) -> Hub {
    let clients = "[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    let hub = Hub::configured(&format!("name = \"alone\"\n{config}{clients}"));
    // A hub that is alone leads at once, or nearly so.
    if config.contains("data =") {
        let begun = Instant::now();
        while ask(&hub.http, "PUT", "/config", r#"{"compatibility": "BACKWARD"}"#).status == 503 {
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
        }
    }
    hub
}

fn schema(text: &str) -> String {
    json!({ "schema": text }).to_string()
}

fn record(fields: &[&str]) -> String {
    let fields: Vec<Value> = fields.iter().map(|name| json!({"name": name, "type": "string", "default": ""})).collect();
    json!({"type": "record", "name": "Order", "fields": fields}).to_string()
}

#[test]
fn the_whole_surface_answers_as_confluents_registry_does() {
    let hub = hub("");
    let ask = |method: &str, path: &str, body: &str| ask(&hub.http, method, path, body);
    let good = |method: &str, path: &str, body: &str| {
        let answer = ask(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert!(answer.head.contains("content-type: application/vnd.schemaregistry.v1+json"), "{answer:?}");
        answer.json()
    };
    let refused = |method: &str, path: &str, body: &str, status: u16, code: u64| {
        let answer = ask(method, path, body);
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}: {answer:?}");
    };
    assert_eq!(good("GET", "/", ""), json!({}));
    assert_eq!(good("GET", "/schemas/types", ""), json!(["JSON", "AVRO", "PROTOBUF", "FLATBUFFERS"]));
    assert_eq!(good("GET", "/contexts", ""), json!(["."]));
    assert_eq!(good("GET", "/subjects", ""), json!([]));
    assert_eq!(good("GET", "/config", "")["compatibilityLevel"], "BACKWARD");
    // Registered once, however often it is sent.
    let (one, two) = (schema(&record(&["id"])), schema(&record(&["id", "note"])));
    let versions = "/subjects/orders-value/versions";
    assert_eq!(good("POST", versions, &one)["id"], 1);
    assert_eq!(good("POST", versions, &one)["id"], 1);
    assert_eq!(good("POST", versions, &two), json!({"id": 2, "version": 2}));
    assert_eq!(good("POST", "/subjects/other%2Fvalue/versions", &one)["id"], 1);
    assert_eq!(good("GET", "/subjects/", ""), json!(["orders-value", "other/value"]));
    assert_eq!(good("GET", versions, ""), json!([1, 2]));
    assert_eq!(good("GET", "/schemas/ids/1", "")["schema"], record(&["id"]));
    assert_eq!(good("GET", "/schemas/ids/1/subjects", ""), json!(["orders-value", "other/value"]));
    assert_eq!(good("GET", "/schemas/ids/2/versions", ""), json!([{"subject": "orders-value", "version": 2}]));
    assert_eq!(good("GET", &format!("{versions}/latest"), "")["id"], 2);
    assert_eq!(good("POST", "/subjects/orders-value", &one)["version"], 1);
    // What does not go with the versions before is refused, and said.
    let other = schema(r#"{"type": "record", "name": "Order", "fields": [{"name": "n", "type": "long"}]}"#);
    refused("POST", versions, &other, 409, 409);
    let tried = good("POST", "/compatibility/subjects/orders-value/versions/latest?verbose=true", &other);
    assert_eq!(tried["is_compatible"], false);
    assert!(tried["messages"][0].as_str().is_some_and(|message| message.contains("version 2")), "{tried}");
    assert_eq!(good("PUT", "/config/orders-value", r#"{"compatibility": "NONE"}"#)["compatibility"], "NONE");
    assert_eq!(good("GET", "/config/orders-value", "")["compatibilityLevel"], "NONE");
    assert_eq!(good("POST", versions, &other)["version"], 3);
    assert_eq!(good("DELETE", "/config/orders-value", "")["compatibility"], "NONE");
    refused("GET", "/config/orders-value", "", 404, 40_408);
    // What others refer to stays.
    let reference = json!([{"name": "Order", "subject": "orders-value", "version": 2}]);
    let refers = json!({"schema": r#"{"type": "array", "items": "Order"}"#, "references": reference}).to_string();
    let id = good("POST", "/subjects/lists/versions", &refers)["id"].clone();
    assert_eq!(good("GET", &format!("{versions}/2/referencedby"), ""), json!([id]));
    refused("DELETE", &format!("{versions}/2"), "", 422, 42_206);
    // Deleted softly, then for good.
    assert_eq!(good("DELETE", &format!("{versions}/1"), ""), json!(1));
    assert_eq!(good("GET", versions, ""), json!([2, 3]));
    assert_eq!(good("GET", &format!("{versions}?deleted=true"), ""), json!([1, 2, 3]));
    assert_eq!(good("DELETE", "/subjects/lists", ""), json!([1]));
    assert_eq!(good("DELETE", "/subjects/lists?permanent=true", ""), json!([1]));
    refused("GET", "/subjects/lists/versions", "", 404, 40_401);
    // Read only.
    assert_eq!(good("PUT", "/mode/orders-value", r#"{"mode": "READONLY"}"#)["mode"], "READONLY");
    refused("POST", versions, &schema(&record(&["x"])), 422, 42_205);
    assert_eq!(good("GET", "/mode", "")["mode"], "READWRITE");
    // What is not there, and what is not for a path.
    refused("GET", "/schemas/ids/77", "", 404, 40_403);
    refused("GET", "/subjects/nobody/versions/1", "", 404, 40_401);
    refused("GET", &format!("{versions}/77"), "", 404, 40_402);
    refused("GET", &format!("{versions}/x"), "", 422, 42_202);
    refused("PUT", "/config", r#"{"compatibility": "SOMETIMES"}"#, 422, 42_203);
    refused("GET", "/nothing", "", 404, 404);
    refused("GET", "/subjects/a/b/c/d", "", 404, 404);
    refused("PATCH", "/subjects", "", 405, 405);
    // All of it lasts.
    let exported = weft(&["export", "--json", "-s", &hub.address]);
    assert!(text(&exported.stdout).contains("subject/orders-value"), "{}", text(&exported.stderr));
}

#[test]
fn what_is_no_request_is_refused_and_changes_nothing() {
    let hub = hub("");
    let versions = "/subjects/a/versions";
    assert_eq!(ask(&hub.http, "POST", versions, &schema("\"string\"")).status, 200);
    let before = text(&weft(&["export", "--json", "-s", &hub.address]).stdout);
    let deep = format!("{}\"string\"{}", r#"{"type": "array", "items": "#.repeat(2_000), "}".repeat(2_000));
    let bodies: [(&str, u16); 9] = [
        ("", 422),
        ("{", 422),
        ("[]", 422),
        ("\u{0}\u{1}\u{2}", 422),
        (r#"{"schema": 7}"#, 422),
        (r#"{"schema": ""}"#, 422),
        (r#"{"schema": "{"}"#, 422),
        (r#"{"schema": "x", "schemaType": "XML"}"#, 422),
        (&schema(&deep), 422),
    ];
    for (body, status) in bodies {
        let answer = ask(&hub.http, "POST", versions, body);
        assert_eq!((answer.status, answer.code()), (status, 42_201), "{}: {answer:?}", &body[..body.len().min(40)]);
    }
    // A name that no document can have, and escapes that are none.
    assert_eq!(ask(&hub.http, "POST", "/subjects/a%0Ab/versions", &schema("\"long\"")).code(), 42_208);
    assert_eq!(
        ask(&hub.http, "POST", &format!("/subjects/{}/versions", "x".repeat(500)), &schema("\"long\"")).code(),
        42_208
    );
    for path in ["/subjects/%ZZ/versions", "/subjects/%FF%FE/versions", "/subjects/%", "/../../etc/passwd"] {
        assert_eq!(ask(&hub.http, "POST", path, &schema("\"long\"")).status, 404, "{path}");
    }
    // Longer than is taken: known by its length, or as it comes.
    let long = vec![b' '; 10 << 20];
    let mut known = request("POST", versions, "");
    known =
        String::from_utf8(known).expect("text").replace("content-length: 0", "content-length: 10485760").into_bytes();
    known.extend_from_slice(&long);
    // The connection may be cut before all of it was sent, and the answer with it.
    assert!([0, 413].contains(&raw(connect(&hub.http), &known).status));
    let mut chunked =
        b"POST /subjects/a/versions HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for part in long.chunks(1 << 20) {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    assert!([0, 413].contains(&raw(connect(&hub.http), &chunked).status));
    // Heads.
    let head = |extra: &str| {
        raw(
            connect(&hub.http),
            format!("GET /subjects HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{extra}\r\n").as_bytes(),
        )
    };
    assert_eq!(head("").status, 200);
    assert_eq!(head(&format!("x: {}\r\n", "y".repeat(100_000))).status, 431);
    assert_eq!(head(&"x: y\r\n".repeat(1_000)).status, 431);
    assert_eq!(
        raw(connect(&hub.http), format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(200_000)).as_bytes()).status,
        431
    );
    let broken: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /subjects HTTP/9.9\r\n\r\n",
        b"POST /subjects/a/versions HTTP/1.1\r\nhost: h\r\ncontent-length: x\r\n\r\n",
        b"POST /subjects/a/versions HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}  ",
    ];
    for bytes in broken {
        let answer = raw(connect(&hub.http), bytes);
        assert_eq!(answer.status, 400, "{}: {answer:?}", text(bytes));
    }
    // What is shown and is nobody's is refused, also where nobody has to show anything.
    for shown in ["Basic YTpi", "Bearer x.y.z", "Digest x", "Basic", "Basic \u{e9}"] {
        let answer = head(&format!("authorization: {shown}\r\n"));
        assert_eq!(answer.status, 401, "{shown}: {answer:?}");
    }
    assert_eq!(head("authorization: Basic YTpi\r\nauthorization: Basic YTpj\r\n").status, 400);
    let after = text(&weft(&["export", "--json", "-s", &hub.address]).stdout);
    assert_eq!(before, after);
}

#[test]
fn who_writes_slowly_has_a_place_for_a_while_and_no_longer() {
    let hub = hub("connections = 4\nidle = \"300 ms\"\npatience = \"300 ms\"\n");
    let begun = Instant::now();
    // Where there is no place, the connection ends without an answer.
    let free = |hub: &Hub| ask(&hub.http, "GET", "/subjects", "").status == 200;
    let until_free = |what: &str| {
        while !free(&hub) {
            assert!(begun.elapsed() < PATIENCE, "{what} hold their places for ever");
        }
    };
    let slow: [&[u8]; 3] = [
        b"",
        b"GET /subjects HTTP/1.1\r\nhost: h\r\nx: ",
        b"POST /subjects/a/versions HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n{",
    ];
    for bytes in slow {
        until_free("those before");
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut socket = connect(&hub.http);
            socket.write_all(bytes).expect("it is taken");
            held.push(socket);
        }
        until_free(&text(bytes));
        // One that has its place still is told, or its connection ended.
        for socket in held {
            assert!([0, 408, 503].contains(&read(socket).status));
        }
    }
    // Who was turned away is counted, and who came too late, and nobody is left.
    let shown = || {
        let shown = weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
        serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"].clone()
    };
    let counters = shown();
    assert!(counters["http.turned_away"].as_u64() > Some(0), "{counters}");
    assert!(counters["http.late"].as_u64() > Some(0), "{counters}");
    while shown()["http.connections"] != 0 {
        assert!(begun.elapsed() < PATIENCE, "connections are open that nobody has");
    }
}

/// A connection from another address of this host.
fn connect_from(from: [u8; 4], address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of loopback");
    let to: SocketAddr = address.parse().expect("an address");
    socket.connect(&to.into()).expect("the server listens");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket
}

#[test]
fn one_source_has_its_connections_and_its_failures_and_leaves_the_others_theirs() {
    let hub = hub("connections_per_source = 2\nfailures_per_source = 3\n");
    let (other, begun) = ([127, 0, 0, 2], Instant::now());
    let good = request("GET", "/subjects", "");
    let count = |name: &str| {
        let shown = weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
        serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"][name].as_u64()
    };
    // Two that are kept, each with an answer, so that both have come in.
    let kept = String::from_utf8(good.clone()).expect("text").replace("connection: close", "connection: keep-alive");
    let mut held = Vec::new();
    while held.len() < 2 {
        let mut socket = connect(&hub.http);
        socket.write_all(kept.as_bytes()).expect("it is taken");
        // One that came before may not be gone yet.
        match socket.read(&mut [0; 12]) {
            Ok(1..) => held.push(socket),
            _ => assert!(begun.elapsed() < PATIENCE, "there is never a place"),
        }
    }
    assert_eq!(ask(&hub.http, "GET", "/subjects", "").status, 0, "closed without an answer");
    assert_eq!(raw(connect_from(other, &hub.http), &good).status, 200, "another source has its own");
    assert!(count("http.source_full") > Some(0));
    assert_eq!(count("http.turned_away"), Some(0));
    drop(held);
    while ask(&hub.http, "GET", "/subjects", "").status == 0 {
        assert!(begun.elapsed() < PATIENCE, "the places are never given back");
    }

    let bad = String::from_utf8(good.clone()).expect("text").replace("\r\n\r\n", "\r\nauthorization: Digest x\r\n\r\n");
    let try_from = |from: [u8; 4], bytes: &[u8]| raw(connect_from(from, &hub.http), bytes);
    let guesser = [127, 0, 0, 3];
    for _ in 0..3 {
        assert_eq!(try_from(guesser, bad.as_bytes()).status, 401);
    }
    for bytes in [bad.as_bytes(), &good] {
        let limited = try_from(guesser, bytes);
        assert_eq!((limited.status, limited.code()), (429, 429));
        assert!(limited.head.contains("\r\nretry-after: "), "{}", limited.head);
    }
    assert_eq!(try_from(other, &good).status, 200);
    assert_eq!(count("http.limited"), Some(2));
}

#[test]
fn a_hub_without_a_data_folder_says_that_it_keeps_no_schemas() {
    let hub = hub_with("[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n");
    let answer = ask(&hub.http, "GET", "/subjects", "");
    assert_eq!((answer.status, answer.code()), (501, 501));
    assert!(answer.body.contains("`data`"), "{answer:?}");
}

#[test]
fn a_request_under_way_is_answered_when_the_hub_stops_and_nothing_new_is_taken() {
    let mut hub = hub("");
    let mut socket = connect(&hub.http);
    let body = schema("\"string\"");
    let (first, rest) = body.split_at(5);
    let length = body.len();
    let head = format!("POST /subjects/a/versions HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{first}");
    socket.write_all(head.as_bytes()).expect("it is taken");
    // It has been read by the time that one behind it is answered.
    assert_eq!(ask(&hub.http, "GET", "/subjects", "").status, 200);
    let pid = hub.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let begun = Instant::now();
    while std::net::TcpStream::connect(&hub.http).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still listens");
    }
    socket.write_all(rest.as_bytes()).expect("it is taken");
    let answer = read(socket);
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(1)), "{answer:?}");
    assert!(hub.child.wait().expect("it ends").success(), "{}", hub.log());
}

const PLAIN: &str = "enforce = false\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n";

/// Asks until a leader is known.
fn settled(mesh: &Mesh) {
    let begun = Instant::now();
    while ask(&mesh.http(0), "PUT", "/config", r#"{"compatibility": "NONE"}"#).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "nobody leads");
    }
}

#[test]
fn who_registers_at_three_hubs_at_once_gets_versions_and_ids_without_holes_or_doubles() {
    const EACH: usize = 8;
    let mesh = Mesh::start_with(PLAIN);
    settled(&mesh);
    let answers: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let address = mesh.http(worker);
                scope.spawn(move || {
                    let register = |n: usize| loop {
                        let body = schema(&record(&[&format!("f{worker}x{n}")]));
                        let answer = ask(&address, "POST", "/subjects/busy/versions", &body);
                        if answer.status == 200 {
                            let body = answer.json();
                            // What was answered is here at once.
                            let found = ask(&address, "GET", &format!("/schemas/ids/{}", body["id"]), "");
                            assert_eq!(found.status, 200, "{found:?}");
                            return (body["id"].as_u64().expect("an id"), body["version"].as_u64().expect("a version"));
                        }
                        assert_eq!(answer.status, 503, "{answer:?}");
                    };
                    (0..EACH).map(register).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it ends")).collect()
    });
    let all = || 1..=3 * EACH as u64;
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), all().collect());
    assert_eq!(answers.iter().map(|(_, version)| *version).collect::<BTreeSet<_>>(), all().collect());
    let begun = Instant::now();
    for hub in 0..3 {
        let versions = || ask(&mesh.http(hub), "GET", "/subjects/busy/versions", "").json();
        while versions() != json!(all().collect::<Vec<_>>()) {
            assert!(begun.elapsed() < PATIENCE, "hub {hub} has {}", versions());
        }
    }
}

#[test]
fn without_a_leader_schemas_are_read_and_nothing_is_changed() {
    let mesh = Mesh::start_with(PLAIN);
    settled(&mesh);
    let versions = "/subjects/a/versions";
    assert_eq!(ask(&mesh.http(0), "POST", versions, &schema("\"string\"")).status, 200);
    mesh.kill(1);
    mesh.kill(2);
    let refused = ask(&mesh.http(0), "POST", versions, &schema("\"long\""));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    assert!([50_002, 50_003].contains(&refused.code()), "{refused:?}");
    assert_eq!(ask(&mesh.http(0), "GET", versions, "").json(), json!([1]));
    // Sent again it is made, once.
    mesh.begin(1);
    mesh.begin(2);
    let begun = Instant::now();
    let made = loop {
        let answer = ask(&mesh.http(0), "POST", versions, &schema("\"long\""));
        if answer.status != 503 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    };
    assert_eq!((made.status, &made.json()["version"]), (200, &json!(2)), "{made:?}");
    assert_eq!(ask(&mesh.http(0), "GET", versions, "").json(), json!([1, 2]));
}

#[test]
fn http_2_is_spoken_where_tls_agrees_on_it_and_many_requests_share_a_connection() {
    let mesh = Mesh::start_with("enforce = false\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let (address, config) = (mesh.http(0), tls(&mesh.path(""), Some("guest"), &["h2"]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answers = async {
        let socket = tokio::net::TcpStream::connect(&address).await.expect("it listens");
        let host = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("an address");
        let stream = tokio_rustls::TlsConnector::from(config).connect(host, socket).await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut waiting = Vec::new();
        for path in ["/subjects", "/schemas/types", "/nothing"].repeat(10) {
            client = client.ready().await.expect("there is room");
            let uri = format!("https://{address}{path}");
            let request = axum::http::Request::get(uri).body(()).expect("a request");
            waiting.push(client.send_request(request, true).expect("it is sent").0);
        }
        let mut statuses = Vec::new();
        for answer in waiting {
            statuses.push(answer.await.expect("an answer").status().as_u16());
        }
        statuses
    };
    assert_eq!(runtime.block_on(answers), [200, 200, 404].repeat(10));
}

const RULES: &str = r#"
[[policy]]
name = "schemas"
rules = '''
@id("own")
permit (principal == User::"guest", action in [Action::"administer", Action::"observe"], resource == Schema::"orders-value");

@id("look")
permit (principal == User::"guest", action == Action::"observe", resource == Schema::"paid-value");

@id("read")
permit (principal == User::"operator", action in [Action::"consume", Action::"subscribe", Action::"observe"],
  resource in TopicFilter::"_audit/**");
'''
"#;

#[test]
fn rules_say_who_may_register_and_who_has_shown_nothing_is_told_to_log_in() {
    let mesh = Mesh::start_with("enforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let folder = mesh.path("");
    let guest = tls(&folder, Some("guest"), &["http/1.1"]);
    let operator = tls(&folder, Some("operator"), &[]);
    let nobody = tls(&folder, None, &[]);
    let at = mesh.http(0);
    let ask = |as_who: &_, method: &str, path: &str, body: &str| ask_tls(&at, as_who, method, path, body);
    let orders = "/subjects/orders-value/versions";
    let string = schema("\"string\"");
    let begun = Instant::now();
    while ask(&operator, "POST", "/subjects/paid-value/versions", &string).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "nobody leads");
    }
    let told = |answer: Answer, status: u16, words: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(words), "{answer:?}");
        answer
    };
    let unknown = told(ask(&nobody, "GET", "/subjects", ""), 401, "certificate");
    assert!(unknown.head.contains("www-authenticate"), "{unknown:?}");
    told(ask(&guest, "POST", orders, &string), 403, "schema `orders-value`");
    mesh.apply(1, &mesh.documents("rules.toml", RULES), &[]);
    let begun = Instant::now();
    while ask(&guest, "POST", orders, &string).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the rule is not in force");
    }
    assert_eq!(ask(&guest, "GET", "/subjects/paid-value/versions/latest", "").status, 200);
    let denied = told(ask(&guest, "POST", "/subjects/paid-value/versions", &schema("\"long\"")), 403, "administer");
    assert_eq!(denied.code(), 40_301);
    told(ask(&guest, "PUT", "/config", r#"{"compatibility": "NONE"}"#), 403, "the mesh");
    told(ask(&guest, "GET", "/subjects", ""), 403, "observe");
    // All of it stands in the audit log of the hub that was asked, with who and from where.
    let noted = |action: &str, resource: &str, allowed: bool| {
        let event = mesh.audited(0, 0, |event| {
            (&event["who"], &event["action"], &event["allowed"]) == (&json!("guest"), &json!(action), &json!(allowed))
                && event["resource"].as_str().is_some_and(|noted| noted.contains(resource))
        });
        assert!(event["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1")), "{event}");
    };
    noted("login", "the hub", true);
    noted("administer", "schema `paid-value`", false);
    noted("administer", "subject/orders-value", true);
    // By its id, for who may see one of its subjects, and nobody was refused the others;
    // what formats there are, for all.
    assert_eq!(ask(&operator, "POST", "/subjects/all-value/versions", &string).status, 200);
    assert_eq!(ask(&guest, "GET", "/schemas/ids/1", "").status, 200);
    told(ask(&guest, "PUT", "/mode/all-value", r#"{"mode": "READONLY"}"#), 403, "all-value");
    noted("administer", "schema `all-value`", false);
    let log = text(&mesh.run(0, &["audit", "read"]).stdout);
    assert!(!log.contains("observe schema `all-value`"), "{log}");
    told(ask(&guest, "GET", "/schemas/ids/2", ""), 403, "the mesh");
    assert_eq!(ask(&guest, "GET", "/schemas/types", "").status, 200);
    // A rule that forbids is named.
    let forbids = RULES.replace(
        "@id(\"look\")",
        "@id(\"frozen\")\nforbid (principal, action == Action::\"administer\", resource == Schema::\"orders-value\");\n\n@id(\"look\")",
    );
    mesh.apply(2, &mesh.documents("forbids.toml", &forbids), &[]);
    let begun = Instant::now();
    loop {
        let answer = ask(&guest, "POST", orders, &schema("[\"null\", \"string\"]"));
        if answer.status == 403 {
            told(answer, 403, "schemas/frozen");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    }
}
