//! The SDKs of CloudEvents for Python and JavaScript, unchanged: what they publish
//! by HTTP, and what they read of what the mesh hands out, live, of a stream, and by
//! long poll; and the document of the
//! API, before a public checker of OpenAPI.
//!
//! Need Python, Node and packages from their indexes, which `cargo xtask test`
//! installs into the target folder: `cargo xtask test --only SDK`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_lite::future::block_on;
use serde_json::{Value, json};
use weft_client::{Client, ConnectOptions, ConsumerOptions, StreamOptions, SubscribeOptions};
use weft_cloudevents::{CloudEvent, Defaults, Delivered, TOPIC};

use crate::common::http::ask;
use crate::common::voters::text;
use crate::events::hub;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdks");

/// What a script prints, given this.
fn run(program: &str, script: &str, arguments: &[&str], input: &Value) -> Value {
    let program = std::env::var(program).expect("run it by `cargo xtask test --only SDK`");
    let mut command = Command::new(program);
    command.arg(format!("{FOLDER}/{script}")).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What an SDK publishes is what it reads again, with all attributes: of who listens
/// live, of who reads the stream, of who takes by long poll, and, in both modes, of
/// what a native client has received.
fn through_the_mesh(program: &str, script: &str) {
    let hub = hub("");
    let client = block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects");
    let mut taken = block_on(client.subscribe("sdk", SubscribeOptions::default())).expect("it subscribes");
    let streams = client.streams();
    block_on(streams.create(&StreamOptions::new("sdk", "sdk"))).expect("a stream");
    block_on(streams.consumers("sdk").create(&ConsumerOptions::new("sdk"))).expect("a consumer");
    let exchanged = run(program, script, &["exchange", &format!("http://{}", hub.http)], &Value::Null);
    let sent = &exchanged["sent"];
    let count = sent.as_array().expect("events").len();
    assert_eq!(count, 6);
    for how in ["live", "stream", "polled"] {
        assert_eq!(&exchanged[how], sent, "{how}");
    }
    // What was taken is settled by what came with it.
    assert_eq!(exchanged["settled"], json!({"settled": count, "stale": []}));
    let mut messages = [Vec::new(), Vec::new()];
    while messages[0].len() < count {
        let delivery = block_on(taken.next()).expect("the client is open").expect("events");
        for event in delivery.events() {
            assert_eq!(event.key, b"B6725");
            let (key, headers, payload) = (event.key, event.headers, event.payload);
            let delivered = Delivered { topic: delivery.topic(), key, headers, payload, passing: &[] };
            let defaults = Defaults { id: "none", source: "none", time: "2000-01-01T00:00:00Z" };
            let event = CloudEvent::of_event(&delivered, &defaults);
            assert_eq!(event.attribute(TOPIC), Some("sdk"));
            let message = |headers: Value, body: &[u8]| json!({"headers": headers, "body": STANDARD.encode(body)});
            let structured = json!({"content-type": weft_cloudevents::STRUCTURED});
            messages[0].push(message(structured, event.to_structured().as_bytes()));
            let headers = event.to_binary().into_iter().map(|(name, value)| (name, Value::from(value)));
            messages[1].push(message(headers.collect(), event.data()));
        }
    }
    for messages in messages {
        assert_eq!(&run(program, script, &["read"], &messages.into()), sent);
    }
}

#[test]
#[ignore = "needs the checker: cargo xtask test --only SDK"]
fn the_document_of_the_api_passes_a_public_checker_of_openapi() {
    let hub = hub("");
    let answer = ask(&hub.http, "GET", "/v1/openapi.json", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(run("WEFT_SDK_PYTHON", "openapi.py", &[], &document), json!("ok"));
    // A checker that takes anything would prove nothing.
    let mut broken = document;
    broken["paths"]["/v1/batch"]["post"]["responses"] = json!([]);
    assert_ne!(run("WEFT_SDK_PYTHON", "openapi.py", &[], &broken), json!("ok"));
}

#[test]
#[ignore = "needs the SDK: cargo xtask test --only SDK"]
fn what_the_sdk_for_python_publishes_it_reads_again() {
    through_the_mesh("WEFT_SDK_PYTHON", "sdk.py");
}

#[test]
#[ignore = "needs the SDK: cargo xtask test --only SDK"]
fn what_the_sdk_for_javascript_publishes_it_reads_again() {
    through_the_mesh("WEFT_SDK_NODE", "sdk.mjs");
}
