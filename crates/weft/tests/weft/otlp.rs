//! Traces and logs at a real OpenTelemetry Collector, over two hubs, in clear and by TLS.
//!
//! Needs the collector, which `cargo xtask test` builds of its own modules into the
//! target folder (`crates/weft/tests/otel`): `cargo xtask test --only OpenTelemetry`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use serde_json::Value;
use weft_client::{Client, ConnectOptions, SubscribeOptions};

use crate::common::voters::{text, weft};
use crate::common::{Hub, free_port};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The collector. Killed at the end.
struct Collector {
    child: Child,
    grpc: u16,
    http: u16,
    file: PathBuf,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collector {
    /// `is_secured`: by TLS, with a certificate of the folder's authority.
    fn start(folder: &Path, is_secured: bool) -> Self {
        let (grpc, http, file) = (free_port(), free_port(), folder.join("got.jsonl"));
        let dir = folder.display().to_string();
        let tls = if is_secured {
            let issued = weft(&["ca", "issue", "hub", "receiver", "--host", "localhost", "--dir", &dir]);
            assert!(issued.status.success(), "{}", text(&issued.stderr));
            format!("\n        tls:\n          cert_file: {dir}/receiver.pem\n          key_file: {dir}/receiver.key")
        } else {
            String::new()
        };
        let config = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: 127.0.0.1:{grpc}{tls}\n      http:\n        endpoint: \
             127.0.0.1:{http}{tls}\nexporters:\n  file:\n    path: {}\n    flush_interval: 100ms\nservice:\n  telemetry:\n    metrics:\n      \
             level: none\n  pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [file]\n    logs:\n      \
             receivers: [otlp]\n      exporters: [file]\n",
            file.display()
        );
        let path = folder.join("collector.yaml");
        fs::write(&path, config).expect("a file");
        let program = std::env::var("WEFT_OTEL_COLLECTOR").expect("run it by `cargo xtask test --only OpenTelemetry`");
        let log = fs::File::create(folder.join("collector.log")).expect("a file");
        let mut command = Command::new(program);
        command.arg("--config").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the collector starts");
        Self { child, grpc, http, file }
    }

    /// All that it wrote, one request in each line.
    fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Spans of the trace, by hub and name.
    fn spans(&self) -> BTreeMap<(String, String), Value> {
        let mut found = BTreeMap::new();
        let got = self.got();
        for resource in got.iter().flat_map(|request| list(&request["resourceSpans"])) {
            let hub = attribute(&resource["resource"], "service.instance.id");
            for span in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
                if span["traceId"] == TRACE {
                    let name = span["name"].as_str().unwrap_or_default().to_owned();
                    assert!(found.insert((hub.clone(), name), span.clone()).is_none(), "twice: {span}");
                }
            }
        }
        found
    }

    /// The names of log events, by hub.
    fn logs(&self) -> Vec<(String, String)> {
        let got = self.got();
        let mut found = Vec::new();
        for resource in got.iter().flat_map(|request| list(&request["resourceLogs"])) {
            let hub = attribute(&resource["resource"], "service.instance.id");
            for record in list(&resource["scopeLogs"]).iter().flat_map(|scope| list(&scope["logRecords"])) {
                found.push((hub.clone(), record["eventName"].as_str().unwrap_or_default().to_owned()));
            }
        }
        found
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn attribute(of: &Value, name: &str) -> String {
    let found = list(&of["attributes"]).iter().find(|attribute| attribute["key"] == name);
    found.and_then(|attribute| attribute["value"]["stringValue"].as_str()).unwrap_or_default().to_owned()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(folder: &Path, name: &str, endpoint: &str, protocol: &str, more: &str) -> Hub {
    let dir = folder.display().to_string();
    assert!(weft(&["ca", "issue", "hub", name, "--dir", &dir]).status.success());
    let config = format!(
        "name = \"{name}\"\ndata = \"{name}-data\"\n[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:0\"\n\
         [telemetry.otlp]\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\nsample = 0.0\nlogs = true\nevery = \"100 ms\"\n\
         {more}"
    );
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, config).expect("a file");
    Hub::start_with(&["--config", &path.display().to_string()])
}

/// A publish over two hubs, with a stream at the first and a subscriber at the second.
fn over_two_hubs(protocol: &str, is_secured: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    assert!(weft(&["ca", "init", "--dir", &dir]).status.success());
    let collector = Collector::start(folder.path(), is_secured);
    let port = if protocol == "grpc" { collector.grpc } else { collector.http };
    let (endpoint, ca) = if is_secured {
        (format!("https://localhost:{port}"), "ca = \"ca.pem\"\n")
    } else {
        (format!("http://127.0.0.1:{port}"), "")
    };
    let west = start(folder.path(), "west", &endpoint, protocol, ca);
    let neighbour = format!("{ca}[[neighbours]]\naddr = \"{}\"\nname = \"west\"\n", west.hubs);
    let east = start(folder.path(), "east", &endpoint, protocol, &neighbour);
    let made = weft(&["stream", "create", "kept", "flights/**", "-s", &east.address]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let options = ConnectOptions::new(west.address.clone()).name("board");
    let client = block_on(Client::connect(options)).expect("a hub");
    let mut subscription =
        block_on(client.subscribe("flights/**", SubscribeOptions::default())).expect("it subscribes");
    let header = format!("traceparent=00-{TRACE}-{PARENT}-01");
    let publish = ["pub", "flights/1", "x", "--level", "synced", "--require", "west", "--header", &header, "-s"];
    until("it is published", || weft(&[&publish[..], &[&east.address]].concat()).status.success());
    let delivery = block_on(subscription.next()).expect("one comes").expect("it is delivered");
    let context = client.trace_context(&delivery).expect("it belongs to a trace");
    let wanted = [
        ("east", vec!["acknowledge", "append", "hop", "link", "route", "sync"]),
        ("west", vec!["deliver", "hop", "route"]),
    ];
    let wanted: Vec<_> = wanted
        .iter()
        .flat_map(|(hub, names)| names.iter().map(|name| ((*hub).to_owned(), (*name).to_owned())))
        .collect();
    until("all spans are there", || collector.spans().len() >= wanted.len());
    let spans = collector.spans();
    assert_eq!(spans.keys().cloned().collect::<Vec<_>>(), wanted);
    let of = |hub: &str, name: &str| &spans[&(hub.to_owned(), name.to_owned())];
    assert_eq!(of("east", "hop")["parentSpanId"], PARENT, "the publisher");
    assert_eq!(of("west", "hop")["parentSpanId"], of("east", "link")["spanId"], "the link that it came by");
    for ((hub, name), span) in spans.iter().filter(|((_, name), _)| name != "hop") {
        assert_eq!(span["parentSpanId"], of(hub, "hop")["spanId"], "{name} of {hub}");
    }
    let delivered = of("west", "deliver")["spanId"].as_str().expect("an id");
    assert_eq!(context.header(), format!("00-{TRACE}-{delivered}-01"), "what its consumer goes on with");
    assert_eq!(attribute(of("east", "hop"), "messaging.destination.name"), "flights/1");
    until("log events are there", || {
        let logs = collector.logs();
        ["east", "west"].iter().all(|hub| logs.contains(&((*hub).to_owned(), "hub_up".to_owned())))
    });
}

#[test]
#[ignore = "needs the collector: cargo xtask test --only OpenTelemetry"]
fn a_collector_gets_all_spans_of_a_publish_over_two_hubs_by_grpc() {
    over_two_hubs("grpc", false);
    over_two_hubs("grpc", true);
}

#[test]
#[ignore = "needs the collector: cargo xtask test --only OpenTelemetry"]
fn a_collector_gets_all_spans_of_a_publish_over_two_hubs_by_http() {
    over_two_hubs("http", false);
    over_two_hubs("http", true);
}
