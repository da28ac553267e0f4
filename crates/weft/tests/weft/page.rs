//! The dashboard's page and what it asks, at real hubs: what flows is seen, streams are
//! browsed, who may not observe the mesh is told so, and what somebody wrote into topics
//! and payloads comes as text.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weft_client::{AckLevel, Client, ConnectOptions, PublisherOptions, StreamOptions, SubscribeOptions};

use crate::common::Hub;
use crate::common::http::{Answer, ask, ask_tls, connect, raw, raw_tls, tls};
use crate::common::voters::{Mesh, PATIENCE, weft};

/// A topic that would be a script, if it were not text.
const HOSTILE: &str = "flights/<script>alert(1)<";

/// A hub by itself, where everybody may do everything.
fn hub() -> Hub {
    let config = "name = \"alone\"\nlocation = [40.64, -73.78]\ndata = \"data\"\n\
                  [http]\nlisten = \"127.0.0.1:0\"\nplain = true\n[control]\nenforce = false\n\
                  [[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    Hub::configured(config)
}

fn get(hub: &Hub, path: &str) -> Answer {
    ask(&hub.http, "GET", path, "")
}

/// What a path answers, once it is what is wanted.
fn until(hub: &Hub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = get(hub, path);
        if answer.status == 200 && wanted(&answer.json()) {
            return answer.json();
        }
        assert!(begun.elapsed() < PATIENCE, "{path} never is: {answer:?}");
    }
}

#[test]
fn the_page_is_served_by_the_program_alone_and_lets_nothing_in_from_elsewhere() {
    let hub = hub();
    let page = get(&hub, "/ui/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{page:?}");
    assert!(page.head.contains("x-content-type-options: nosniff"), "{page:?}");
    let files: Vec<&str> = page.body.split('"').filter_map(|part| part.strip_prefix("./")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let answer = get(&hub, &format!("/ui/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.head.contains("etag: "), "{file}");
    }
    assert_eq!(get(&hub, "/ui").status, 308);
    let typed = b"GET / HTTP/1.1\r\nhost: hub\r\naccept: text/html,*/*;q=0.8\r\nconnection: close\r\n\r\n";
    let browser = raw(connect(&hub.http), typed);
    assert!(browser.status == 303 && browser.head.contains("location: /ui/"), "{browser:?}");
    assert_eq!(get(&hub, "/").body, "{}", "a client of the registry");
    assert_eq!(get(&hub, "/ui/..%2fCargo.toml").status, 404);
}

#[test]
fn what_flows_is_seen_as_rates_of_the_hub_and_over_time() {
    let hub = hub();
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("flights/**", SubscribeOptions::default())).expect("it subscribes");
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
    let first = until(&hub, "/v1/mesh/live", |_| true);
    assert_eq!(first["mesh"]["me"], "alone", "{first}");
    assert_eq!(first["mesh"]["hubs"][0]["place"], json!([40.64, -73.78]), "{first}");
    assert_eq!(first["alerts"], json!([]), "{first}");
    let seen = &first["seen"];
    let after = format!("/v1/mesh/live?mesh={}&look={}&turn={}", seen["mesh"], seen["look"], seen["turn"]);
    let begun = Instant::now();
    loop {
        block_on(async { publisher.publish("flights/1", b"x").await.expect("taken").await.expect("published") });
        let delivery = block_on(taken.next()).expect("open").expect("an event");
        assert_eq!(delivery.event_count(), 1);
        let now = until(&hub, &after, |now| now["seen"]["look"] != seen["look"]);
        let rates = &now["rates"]["hubs"][0];
        if rates[1].as_f64() > Some(0.0) && rates[2].as_f64() > Some(0.0) {
            assert_eq!((&now["alerts"], &now["mesh"]), (&Value::Null, &Value::Null), "seen already: {now}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no rates: {now}");
    }
    // A hub that has just started, on a machine with much to do, may not say it in time at first.
    let is_said = |over: &Value| over["series"][0]["values"].as_array().is_some_and(|v| v.iter().any(Value::is_number));
    let over = until(&hub, "/v1/mesh/history?what=waits", is_said);
    assert_eq!((&over["hub"], &over["series"][0]["unit"]), (&json!("alone"), &json!("µs")), "{over}");
    let one = until(&hub, "/v1/mesh/hubs/alone", |_| true);
    assert!(one["counters"]["ledger.published"].as_u64() >= Some(1), "{one}");
    assert!(
        one["stages"].as_array().is_some_and(|stages| stages.iter().any(|stage| stage["name"] == "route")),
        "{one}"
    );
    let ledger = until(&hub, "/v1/mesh/ledger", |_| true);
    assert_eq!((&ledger["hubs"][0]["hub"], &ledger["hubs"][0]["imbalance"]), (&json!("alone"), &json!(0)), "{ledger}");
    let topic = until(&hub, "/v1/mesh/topics/flights%2F1", |_| true);
    assert_eq!(topic["hubs"][0]["subscriptions"], 1, "{topic}");
}

#[test]
fn a_stream_is_browsed_replayed_and_followed_and_what_is_hostile_comes_as_text() {
    let hub = hub();
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    block_on(client.streams().create(&StreamOptions::new("all", "flights/**"))).expect("it is made");
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
    let publish = |topic: &str, payload: &[u8]| {
        block_on(async { publisher.publish(topic, payload).await.expect("taken").await.expect("published") })
    };
    for n in 1..=25 {
        publish("flights/1", format!("{{\"n\":{n}}}").as_bytes());
    }
    publish(HOSTILE, b"<script>alert(1)</script>");
    let streams = until(&hub, "/v1/mesh/streams", |_| true);
    let row = streams["items"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "all"));
    assert_eq!(row.map(|row| &row["homes"][0]["next"]), Some(&json!(27)), "{streams}");
    let page = until(&hub, "/v1/mesh/streams/all/events?from=1&limit=20", |_| true);
    assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(20), &json!("21")), "{page}");
    assert_eq!(page["items"][6]["payload"]["kind"], "json", "{page}");
    let rest = until(&hub, "/v1/mesh/streams/all/events?from=21&limit=20", |_| true);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(6), &Value::Null), "{rest}");
    let last = &rest["items"][5];
    assert_eq!((&last["topic"], &last["payload"]["kind"]), (&json!(HOSTILE), &json!("text")), "{last}");
    let id = last["id"].as_str().expect("a name").replace('/', "%2F");
    let seen = until(&hub, &format!("/v1/mesh/where?event={id}"), |_| true);
    let facts = seen["hubs"][0]["facts"].as_array().expect("facts");
    assert!(facts.iter().any(|fact| fact["name"] == "stored" && fact["value"] == 1), "{seen}");
    let replay = get(&hub, "/v1/mesh/streams/all/replay?from=24");
    assert!(replay.head.contains("content-type: text/event-stream"), "{replay:?}");
    assert_eq!(replay.body.matches("event: event").count(), 3, "{replay:?}");

    let mut socket = connect(&hub.http);
    socket.write_all(b"GET /v1/mesh/tail?filter=flights/** HTTP/1.1\r\nhost: h\r\n\r\n").expect("sent");
    let mut came = String::new();
    let mut buffer = [0; 4096];
    while !came.contains("\"topic\":\"flights/2\"") {
        publish("flights/2", b"now");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
        if let Ok(read @ 1..) = socket.read(&mut buffer) {
            came.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
    assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    for (path, status) in [
        ("streams/none", 404),
        ("streams/none/events", 404),
        ("streams/all/events?from=x", 400),
        ("tail?filter=a//b", 400),
        ("where?event=nonsense", 400),
        ("hubs/none", 404),
        ("links/a/b", 404),
        ("documents/none", 404),
        ("topics/a%2F%2Fb", 400),
        ("nothing", 404),
        ("%ff", 400),
        ("history?what=none", 400),
    ] {
        let answer = get(&hub, &format!("/v1/mesh/{path}"));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
    }
    // Who follows holds up no hub that is to stop: it is ended with the last chunk, not cut.
    let pid = Pid::from_raw(hub.child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::USR1).expect("it is there");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    while !came.ends_with("\r\n0\r\n\r\n") {
        let read = socket.read(&mut buffer).expect("it ends");
        assert!(read > 0, "it was cut: {came}");
        came.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

/// A request without a body and with these headers.
fn head(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n")
        .into_bytes()
}

/// A password's hash, by the program.
fn hash_of(password: &str, mesh: &Mesh) -> String {
    let file = mesh.documents("password.txt", password);
    let made = weft(&["identity", "hash", &file]);
    assert!(made.status.success(), "{made:?}");
    crate::common::voters::text(&made.stdout).trim().to_owned()
}

#[test]
fn who_may_not_observe_the_mesh_is_told_so_and_who_logs_in_may_by_a_cookie() {
    let mesh = Mesh::start_with("enforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let guest = tls(&mesh.path(""), Some("guest"), &["http/1.1"]);
    let nobody = tls(&mesh.path(""), None, &["http/1.1"]);
    let at = mesh.http(0);
    assert_eq!(ask_tls(&at, &nobody, "GET", "/ui/", "").status, 200, "the files say nothing of the mesh");
    assert_eq!(ask_tls(&at, &nobody, "GET", "/v1/mesh/me", "").status, 401);
    let documents = format!(
        "[[identity]]\nname = \"anna\"\nlogins = [{{password = \"{}\"}}]\n[[policy]]\nname = \"see\"\nrules = '''\n\
         @id(\"anna\")\npermit (principal == User::\"anna\", action == Action::\"observe\", resource);\n'''\n",
        hash_of("sesame", &mesh)
    );
    mesh.apply(1, &mesh.documents("see.toml", &documents), &[]);
    let begun = Instant::now();
    let denied = loop {
        let answer = ask_tls(&at, &guest, "GET", "/v1/mesh/live", "");
        if answer.status == 403 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    };
    assert!(denied.json()["detail"].as_str().is_some_and(|text| text.contains("observe")), "{denied:?}");
    for path in ["/v1/mesh/topics", "/v1/mesh/topics/flights%2F1"] {
        assert_eq!(ask_tls(&at, &guest, "GET", path, "").status, 403, "who publishes: {path}");
    }
    assert_eq!(ask_tls(&at, &guest, "GET", "/v1/mesh/me", "").json()["principal"]["name"], "guest");

    // Of another site nothing is taken, whatever it shows.
    let basic = "authorization: Basic YW5uYTpzZXNhbWU=\r\n";
    let foreign = head("POST", "/v1/mesh/login", &format!("{basic}sec-fetch-site: cross-site\r\n"));
    assert_eq!(raw_tls(&at, &nobody, &foreign).status, 403);
    let wrong = head("POST", "/v1/mesh/login", "authorization: Basic YW5uYTp3cm9uZw==\r\n");
    assert_eq!(raw_tls(&at, &nobody, &wrong).status, 401);
    let answer = loop {
        let answer = raw_tls(&at, &nobody, &head("POST", "/v1/mesh/login", basic));
        if answer.status == 200 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    };
    let set = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(["httponly", "samesite=strict", "secure"].iter().all(|part| set.contains(part)), "{set}");
    let cookie = format!("cookie: {}\r\n", set.split(';').next().expect("a pair"));
    let live = raw_tls(&at, &nobody, &head("GET", "/v1/mesh/live", &cookie));
    assert_eq!((live.status, live.json()["mesh"]["hubs"].as_array().map(Vec::len)), (200, Some(3)), "{live:?}");
    let me = raw_tls(&at, &nobody, &head("GET", "/v1/mesh/me", &cookie));
    assert_eq!((&me.json()["principal"]["name"], &me.json()["method"]), (&json!("anna"), &json!("password")));
    assert_eq!(raw_tls(&at, &nobody, &head("DELETE", "/v1/mesh/login", &cookie)).status, 200);
    assert_eq!(raw_tls(&at, &nobody, &head("GET", "/v1/mesh/me", &cookie)).status, 401);
}

/// Two hubs with a link, each with a page.
fn linked(folder: &Path) -> (Hub, Hub) {
    let dir = folder.display().to_string();
    assert!(weft(&["ca", "init", "--dir", &dir]).status.success());
    let start = |name: &str, more: &str| {
        assert!(weft(&["ca", "issue", "hub", name, "--dir", &dir]).status.success(), "{name}");
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "name = \"{name}\"\ndata = \"{name}-data\"\n[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n\
             ca = \"ca.pem\"\n[control]\nenforce = false\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
             [[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:0\"\n{more}"
        );
        std::fs::write(&config, text).expect("a file");
        Hub::start_with(&["--config", &config.display().to_string()])
    };
    let east = start("east", "");
    let west = start("west", &format!("[[neighbours]]\naddr = \"{}\"\nname = \"east\"\n", east.hubs));
    (east, west)
}

#[test]
fn who_publishes_is_seen_at_the_other_hub_by_pages_and_goes_with_its_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let (east, west) = linked(folder.path());
    let publish = |hub: &Hub, name: &str, topics: &[&str]| {
        let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()).name(name))).expect("a session");
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
        for topic in topics {
            block_on(async { publisher.publish(topic, b"x").await.expect("taken").await.expect("published") });
        }
        client
    };
    let gate = publish(&east, "gate-1", &["flights/1", HOSTILE, "flights/1"]);
    let _desk = publish(&west, "<b>desk</b>", &["flights/1", "orders/1"]);
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a page").iter();
        items.map(|row| row["topic"].as_str().expect("a name").to_owned()).collect()
    };
    let at = |page: &Value, row: usize, by: usize| {
        let by = &page["items"][row]["publishers"][by];
        (by["hub"].clone(), by["client"].clone(), by["events"].clone())
    };
    let (by_gate, by_desk) =
        ((json!("east"), json!("gate-1"), json!(2)), (json!("west"), json!("<b>desk</b>"), json!(1)));
    for hub in [&east, &west] {
        let all = until(hub, "/v1/mesh/topics", |page| names(page) == ["flights/1", HOSTILE, "orders/1"]);
        assert_eq!((at(&all, 0, 0), at(&all, 0, 1)), (by_gate.clone(), by_desk.clone()), "{all}");
        assert_eq!((&all["next"], &all["silent"], &all["untold"]), (&Value::Null, &json!([]), &json!(0)), "{all}");
        assert!(all["items"][0]["publishers"][0]["last"].as_u64() > Some(1_700_000_000_000), "{all}");
        let page = until(hub, "/v1/mesh/topics?limit=1", |_| true);
        assert_eq!((names(&page), &page["next"]), (vec!["flights/1".to_owned()], &json!("flights/1")));
        let page = until(hub, "/v1/mesh/topics?search=s%2F1&after=flights%2F1", |_| true);
        assert_eq!((names(&page), &page["next"]), (vec!["orders/1".to_owned()], &Value::Null));
        let one = until(hub, "/v1/mesh/topics/flights%2F1", |_| true);
        assert_eq!(one["publishers"].as_array().map(Vec::len), Some(2), "{one}");
        assert_eq!((&one["publishers"][1]["client"], &one["more"]), (&json!("<b>desk</b>"), &json!(0)), "{one}");
    }
    let told = weft(&["mesh", "topics", "flights/*", "-s", &west.address]);
    let text = String::from_utf8(told.stdout).expect("text");
    assert!(told.status.success() && text.contains("gate-1") && !text.contains("orders/1"), "{text}");
    let told = weft(&["mesh", "topics", "--search", "orders", "--json", "-s", &east.address]);
    let page: Value = serde_json::from_slice(&told.stdout).expect("an object");
    assert_eq!((names(&page), at(&page, 0, 0)), (vec!["orders/1".to_owned()], by_desk.clone()), "{page}");
    for bad in ["?limit=0", "?limit=201", "?before=a", "?search=%ff"] {
        assert_eq!(get(&east, &format!("/v1/mesh/topics{bad}")).status, 400, "{bad}");
    }

    block_on(gate.close());
    let left = until(&west, "/v1/mesh/topics", |page| names(page) == ["flights/1", "orders/1"]);
    assert_eq!((at(&left, 0, 0), at(&left, 0, 1).0), (by_desk, Value::Null), "{left}");
    drop(east);
    until(&west, "/v1/mesh/topics", |page| page["silent"] == json!(["east"]) && names(page).len() == 2);
}
