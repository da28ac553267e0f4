//! Webhooks of a real hub, to servers that behave as badly as servers do.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weft_client::{
    AckLevel, Client, ConnectOptions, EventFields, HeadersWriter, PublisherOptions, StartAt, StreamOptions,
};

use crate::common::Hub;
use crate::common::voters::{PATIENCE, weft};

const SECRET: &[u8] = b"a secret of thirty-two bytes....";

/// What a target was sent.
#[derive(Clone, Debug)]
struct Sent {
    head: String,
    body: Vec<u8>,
}

impl Sent {
    fn header(&self, name: &str) -> String {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.and_then(|line| line.split_once(": ")).map_or_else(String::new, |(_, value)| value.trim().to_owned())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A server that says what it is told to, one answer for each request, and then 204.
/// `hang` in the place of an answer: it says nothing until the other end gives up.
struct Target {
    port: u16,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Target {
    fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let (answers, known) = (Arc::new(Mutex::new(answers)), sent.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(socket), answers, known) = (socket, answers.clone(), known.clone()) else { return };
                std::thread::spawn(move || talk(socket, &answers, &known));
            }
        });
        Self { port, sent }
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().expect("whole").clone()
    }

    fn wait(&self, count: usize) -> Vec<Sent> {
        let begun = Instant::now();
        while self.sent().len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} came", self.sent().len());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.sent()
    }
}

fn talk(mut socket: TcpStream, answers: &Mutex<VecDeque<String>>, sent: &Mutex<Vec<Sent>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, length, start) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            break (head.to_owned(), length.unwrap_or(0_usize), head.len() + 4);
        }
        match socket.read(&mut buffer) {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    };
    while bytes.len() < start + length {
        match socket.read(&mut buffer) {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    sent.lock().expect("whole").push(Sent { head, body: bytes[start..].to_vec() });
    let answer = answers.lock().expect("whole").pop_front().unwrap_or_else(|| "204 No Content\r\n".to_owned());
    if answer == "hang" {
        // Until the other end gives up.
        let _ = socket.read(&mut buffer);
        return;
    }
    let _ = socket.write_all(format!("HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[webhook]]\nname = \"{name}\"\nstream = \"orders\"\nurl = \"{url}\"\nsecret = \"secret\"\n\
         retry_first = \"10 ms\"\nretry_most = \"50 ms\"\n{more}"
    )
}

/// The configuration of a hub with these webhooks.
fn write(folder: &Path, hooks: &str) -> PathBuf {
    let path = folder.join("hub.toml");
    let config = format!(
        "name = \"alone\"\ndata = \"data\"\n[control]\nenforce = false\n\
         [[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n{hooks}"
    );
    fs::write(&path, config).expect("a file");
    path
}

/// A hub with a stream, which is there before its webhooks find it.
fn hub(hooks: &str) -> (Hub, Client) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), hooks);
    fs::write(folder.path().join("secret"), format!("whsec_{}\n", STANDARD.encode(SECRET))).expect("a file");
    let hub = Hub::start_in(folder, &["--config", &path.display().to_string()]);
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    block_on(client.streams().create(&StreamOptions::new("orders", "orders/**"))).expect("a stream");
    (hub, client)
}

fn publish(client: &Client, payload: &str, headers: &[(&str, &[u8])]) {
    let mut encoded = Vec::new();
    let mut writer = HeadersWriter::new(&mut encoded);
    for (name, value) in headers {
        writer.push(name, value).expect("a header");
    }
    block_on(async {
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
        let event = EventFields { headers: &encoded, payload: payload.as_bytes(), ..EventFields::default() };
        publisher.publish_event("orders/eu", event).await.expect("taken").await.expect("on disk");
    });
}

fn counter(hub: &Hub, name: &str) -> u64 {
    let shown = weft(&["mesh", "show", "--json", "-s", &hub.address]).stdout;
    serde_json::from_slice::<Value>(&shown).expect("JSON")["counters"][name].as_u64().expect("a number")
}

#[track_caller]
fn counts(hub: &Hub, name: &str, wanted: impl Fn(u64) -> bool) {
    let begun = Instant::now();
    while !wanted(counter(hub, name)) {
        assert!(begun.elapsed() < PATIENCE, "{name} is {}: {}", counter(hub, name), hub.log());
    }
}

/// The dead letters of the stream: payload, and why.
fn dead(client: &Client, count: usize) -> Vec<(String, String)> {
    block_on(async {
        let mut found = Vec::new();
        let begun = Instant::now();
        let mut reading = loop {
            match client.streams().read("orders-dead").from(StartAt::First).open().await {
                Ok(reading) => break reading,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        };
        while found.len() < count {
            let delivery = reading.next().await.expect("the client is open").expect("events");
            for event in delivery.events() {
                let reason: Vec<String> =
                    event.headers.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
                found.push((String::from_utf8_lossy(event.payload).into_owned(), reason.join(" ")));
            }
        }
        found
    })
}

#[test]
fn what_a_webhook_sends_is_signed_and_comes_in_order_through_failures_of_its_target() {
    let target = Target::start(&[
        "500 Internal Server Error\r\n",
        "503 Service Unavailable\r\nretry-after: 0\r\n",
        "204 No Content\r\n",
        "429 Too Many Requests\r\n",
    ]);
    let url = format!("http://127.0.0.1:{}/hook?of=7", target.port);
    let (hub, client) = hub(&webhook("billing", &url, "allow_local = true\nconcurrency = 1\n"));
    for n in 0..10 {
        let total = format!("{{\"total\": {n}}}");
        publish(&client, &total, &[("ce-type", b"placed"), ("content-type", b"application/json")]);
    }
    let sent = target.wait(13);
    let totals: Vec<u64> = sent.iter().map(|sent| sent.json()["data"]["total"].as_u64().expect("a number")).collect();
    assert_eq!(totals, [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], "in order, and again until it is taken");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    for sent in &sent {
        assert!(sent.head.starts_with("POST /hook?of=7 HTTP/1.1"), "{}", sent.head);
        assert!(sent.header("content-type").starts_with("application/cloudevents+json"), "{}", sent.head);
        let (id, at) = (sent.header("webhook-id"), sent.header("webhook-timestamp"));
        let signed = [format!("{id}.{at}.").as_bytes(), &sent.body].concat();
        let tag = sent.header("webhook-signature");
        let tag = STANDARD.decode(tag.strip_prefix("v1,").expect("a version")).expect("base64");
        hmac::verify(&key, &signed, &tag).expect("the signature fits");
        assert_eq!((&sent.json()["type"], &sent.json()["specversion"]), (&"placed".into(), &"1.0".into()));
        assert_eq!(sent.json()["id"], id);
    }
    let ids: Vec<String> = sent.iter().map(|sent| sent.header("webhook-id")).collect();
    assert!(ids[0] == ids[1] && ids[0] == ids[2] && ids[2] != ids[3], "{ids:?}");
    counts(&hub, "webhooks.sent", |sent| sent == 10);
    assert_eq!((counter(&hub, "webhooks.failed"), counter(&hub, "webhooks.given_up")), (3, 0));
    // All of it is settled.
    let begun = Instant::now();
    while block_on(client.streams().consumers("orders").info("webhook-billing")).expect("a report").lag > 0 {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn a_target_that_hangs_or_redirects_is_given_up_and_holds_up_no_other() {
    let hanging = Target::start(&["hang"; 64]);
    let well = Target::start(&[]);
    let secrets = Target::start(&[]);
    let location = format!("302 Found\r\nlocation: http://127.0.0.1:{}/admin\r\n", secrets.port);
    let redirecting = Target::start(&[location.as_str(); 64]);
    let port = crate::common::free_port();
    let url = |port: u16| format!("http://127.0.0.1:{port}/");
    let few = "allow_local = true\ntries = 2\n";
    let short = format!("{few}timeout = \"1 s\"\n");
    let hooks = [
        webhook("hangs", &url(hanging.port), &short),
        webhook("redirects", &url(redirecting.port), few),
        webhook("itself", &url(port), few),
        webhook("local", "https://localhost:9/", "tries = 1\n"),
        webhook("well", &url(well.port), "allow_local = true\n"),
        format!("[http]\nlisten = \"127.0.0.1:{port}\"\nplain = true\n"),
    ];
    let (hub, client) = hub(&hooks.concat());
    publish(&client, "x", &[]);
    assert_eq!(well.wait(1)[0].json()["data"], "x");
    let letters = dead(&client, 4);
    for why in ["timeout", "redirects are not followed", "is this hub itself", "loopback or link-local"] {
        assert!(letters.iter().any(|(payload, reason)| payload == "x" && reason.contains(why)), "{why}: {letters:?}");
    }
    counts(&hub, "webhooks.given_up", |given_up| given_up == 4);
    assert!(letters.iter().any(|(_, reason)| reason.contains("webhook hangs: 2 tries")), "{letters:?}");
    assert_eq!((redirecting.sent().len(), secrets.sent().len()), (2, 0));
    assert!(hanging.sent().len() <= 2, "a try may be over before all of it has come, and none is made too many");
    // Nothing of the hub's own was asked for.
    assert_eq!(counter(&hub, "http.connections") + counter(&hub, "http.requests"), 0);
    // Many failures in a row: it is left alone, and said so.
    for _ in 0..4 {
        publish(&client, "y", &[]);
    }
    hub.wait_for_events(1, "webhook_failing", "redirects");
    hub.wait_for_events(1, "webhook_failing", "\"latencyMs\":");
    assert_eq!(well.wait(5).len(), 5);
}

#[test]
fn webhooks_are_taken_while_the_hub_runs_and_what_is_wrong_changes_nothing() {
    let targets = [Target::start(&[]), Target::start(&[]), Target::start(&[])];
    let url = |of: usize| format!("http://127.0.0.1:{}/", targets[of].port);
    let told = |of: usize| -> Vec<String> {
        targets[of].sent().iter().map(|sent| sent.json()["data"].as_str().expect("text").to_owned()).collect()
    };
    let one = |name: &str, of: usize| webhook(name, &url(of), "allow_local = true\nconcurrency = 1\n");
    let (hub, client) = hub(&one("first", 0));
    let reload = |hooks: &str, count: usize, code: &str, text: &str| {
        write(hub.folder.path(), hooks);
        kill_process(Pid::from_raw(hub.child.id() as i32).expect("a process"), Signal::HUP).expect("it is there");
        hub.wait_for_events(count, code, text);
    };
    publish(&client, "1", &[]);
    targets[0].wait(1);
    // Another takes its place, and reads the stream from its beginning.
    reload(&one("second", 1), 1, "config_taken", "webhook");
    publish(&client, "2", &[]);
    targets[1].wait(2);
    assert_eq!((told(0), told(1)), (vec!["1".to_owned()], vec!["1".to_owned(), "2".to_owned()]));
    // Changed, it goes on where it was.
    reload(&one("second", 2), 2, "config_taken", "webhook");
    publish(&client, "3", &[]);
    targets[2].wait(1);
    // Wrong: all stays as it was.
    let wrong = one("second", 0).replace("secret = \"secret\"", "secret = \"none\"");
    reload(&[wrong.as_str(), &one("first", 0)].concat(), 1, "config_unusable", "the secret in");
    reload(&one("second", 0).replace("[[webhook]]", "[[webhooks]]"), 2, "config_unusable", "");
    publish(&client, "4", &[]);
    targets[2].wait(2);
    // More than there is room for wait; the others go on.
    let many: String = (0..6).map(|n| one(&format!("more-{n}"), 0)).collect();
    reload(&many, 1, "config_waits", "webhook");
    publish(&client, "5", &[]);
    targets[2].wait(3);
    // None, and then the first again, which goes on where it was as well.
    reload("", 3, "config_taken", "webhook");
    publish(&client, "6", &[]);
    reload(&one("first", 0), 4, "config_taken", "webhook");
    targets[0].wait(6);
    assert_eq!(told(0), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!((told(1), told(2)), (vec!["1".to_owned(), "2".to_owned()], ["3", "4", "5"].map(str::to_owned).into()));
}
