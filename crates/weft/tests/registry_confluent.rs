//! Confluent's Python client, unchanged, against the registry of a hub; and what its
//! serialisers wrote, read by the hub's own decoder.
//!
//! Needs Python and packages from its index, which `cargo xtask test` installs into
//! the target folder: `cargo xtask test --only Confluent`.

#[path = "weft/common/mod.rs"]
mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_schema::protobuf::MessageIndexes;
use weft_schema::registry::{Cache, RegistryLimits, State};
use weft_schema::{Payload, prefix};

use crate::common::Hub;
use crate::common::http::{ask, ask_tls, tls};
use crate::common::voters::{text, weft};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/registry/confluent.py");

/// What the script says that was written, by name: the schema's id and the bytes.
fn wrote(arguments: &[&str]) -> Value {
    let python = std::env::var("WEFT_CONFLUENT_PYTHON").expect("run it by `cargo xtask test --only Confluent`");
    let output = Command::new(python).arg(SCRIPT).args(arguments).output().expect("Python starts");
    println!("{}", text(&output.stderr));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// Each payload has the prefix of its schema, and the registry's validator of that
/// schema takes what follows; with a byte less it does not.
fn look_at(wrote: &Value, exported: &Value) {
    let mut state = State::new(RegistryLimits::default());
    for resource in exported["resources"].as_array().expect("resources") {
        let (kind, name) = resource["key"].as_str().and_then(|key| key.split_once('/')).expect("a key");
        let document = &resource["document"];
        let document: Value =
            document.as_str().map_or_else(|| document.clone(), |d| serde_json::from_str(d).expect("JSON"));
        state.put(kind, name, Some(&document)).expect("it is read");
    }
    let mut cache = Cache::default();
    let mut places = Vec::new();
    for (name, one) in wrote.as_object().expect("an object") {
        let all = bytes(one["bytes"].as_str().expect("digits"));
        let (id, rest) = prefix::split(&all).expect("a prefix");
        assert_eq!(Value::from(id), one["id"], "{name}");
        let schema = cache.schema(&state, id).expect("it is there");
        let (message, payload) = if name.starts_with("protobuf") {
            let (indexes, payload) = MessageIndexes::read(rest).expect("indexes");
            places.push((name.clone(), indexes.as_slice().to_vec()));
            (indexes.as_slice().to_vec(), payload)
        } else {
            (Vec::new(), rest)
        };
        let of = |bytes| Payload { bytes, message: &message };
        schema.check(of(payload)).unwrap_or_else(|violation| panic!("{name}: {violation}"));
        let cut = payload.split_last().expect("it has bytes").1;
        assert!(schema.check(of(cut)).is_err(), "{name} without its last byte");
    }
    places.sort();
    let wanted = [("protobuf_inner", vec![1, 0]), ("protobuf_ping", vec![1]), ("protobuf_pong", vec![0])];
    assert_eq!(places, wanted.map(|(name, place)| (name.to_owned(), place)));
}

fn exported(hub: &Hub, more: &[&str]) -> Value {
    let output = weft(&[&["export", "--json", "-s", &hub.address], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn start(folder: &Path, config: &str) -> Hub {
    let path = folder.join("hub.toml");
    fs::write(&path, config).expect("a file");
    Hub::start_with(&["--config", &path.display().to_string()])
}

fn until(mut good: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !good() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody leads");
    }
}

#[test]
#[ignore = "needs Confluent's client: cargo xtask test --only Confluent"]
fn confluents_client_registers_evolves_and_is_refused_and_its_payloads_are_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "name = \"alone\"\ndata = \"data\"\n[control]\nenforce = false\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
                  [[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    let hub = start(folder.path(), config);
    until(|| ask(&hub.http, "PUT", "/config", r#"{"compatibility": "BACKWARD"}"#).status == 200);
    let wrote = wrote(&[&format!("http://{}", hub.http)]);
    look_at(&wrote, &exported(&hub, &[]));
}

/// A hub with TLS that decides by policies, with an operator, `anna`.
fn secured() -> (tempfile::TempDir, Hub) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    assert!(weft(&["ca", "init", "--dir", &dir]).status.success());
    for (kind, name) in [("hub", "alone"), ("client", "anna")] {
        assert!(weft(&["ca", "issue", kind, name, "--dir", &dir]).status.success());
    }
    let config = "name = \"alone\"\ndata = \"data\"\nadmins = [\"anna\"]\n[tls]\ncert = \"alone.pem\"\nkey = \"alone.key\"\n\
                  ca = \"ca.pem\"\n[control]\nenforce = true\n[http]\nlisten = \"127.0.0.1:0\"\n\
                  [[clients]]\nlisten = \"127.0.0.1:0\"\n";
    let hub = start(folder.path(), config);
    let anna = tls(folder.path(), Some("anna"), &[]);
    until(|| ask_tls(&hub.http, &anna, "PUT", "/config", r#"{"compatibility": "BACKWARD"}"#).status == 200);
    (folder, hub)
}

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// What the program needs to be the operator.
fn as_anna(folder: &Path) -> Vec<String> {
    let files = [("--tls-cert", "anna.pem"), ("--tls-key", "anna.key"), ("--tls-ca", "ca.pem")];
    files.into_iter().flat_map(|(option, name)| [option.to_owned(), file(folder, name)]).collect()
}

#[test]
#[ignore = "needs Confluent's client: cargo xtask test --only Confluent"]
fn confluents_client_does_the_same_over_tls_with_a_clients_certificate() {
    let (folder, hub) = secured();
    let file = |name: &str| file(folder.path(), name);
    let wrote = wrote(&[
        &format!("https://{}", hub.http),
        &format!("ssl.ca.location={}", file("ca.pem")),
        &format!("ssl.certificate.location={}", file("anna.pem")),
        &format!("ssl.key.location={}", file("anna.key")),
    ]);
    let anna = as_anna(folder.path());
    let anna: Vec<&str> = anna.iter().map(String::as_str).collect();
    look_at(&wrote, &exported(&hub, &anna));
    // Who made it is kept.
    let shown = weft(&[&["control", "show", "--json", "-s", &hub.address], &anna[..]].concat());
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert!(shown["author"].as_str().is_some_and(|author| author.contains("anna")), "{shown}");
}

#[test]
#[ignore = "needs Confluent's client: cargo xtask test --only Confluent"]
fn confluents_client_does_the_same_with_a_password_where_a_policy_lets_it() {
    let (folder, hub) = secured();
    let mut hash = Command::new(env!("CARGO_BIN_EXE_weft"));
    hash.args(["identity", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hash = hash.spawn().expect("the program starts");
    hash.stdin.take().expect("a pipe").write_all(b"of-the-shop").expect("it reads");
    let hash = text(&hash.wait_with_output().expect("it ends").stdout);
    let documents = format!(
        "[[identity]]\nname = \"shop\"\nlogins = [{{ password = \"{}\" }}]\n\
         [[policy]]\nname = \"shop\"\nrules = '@id(\"all\") permit (principal == User::\"shop\", action, resource);'\n",
        hash.trim()
    );
    let path = file(folder.path(), "shop.toml");
    fs::write(&path, documents).expect("a file");
    let anna = as_anna(folder.path());
    let anna: Vec<&str> = anna.iter().map(String::as_str).collect();
    let applied = weft(&[&["apply", &path, "-s", &hub.address], &anna[..]].concat());
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let wrote = wrote(&[
        &format!("https://{}", hub.http),
        &format!("ssl.ca.location={}", file(folder.path(), "ca.pem")),
        "basic.auth.user.info=shop:of-the-shop",
    ]);
    look_at(&wrote, &exported(&hub, &anna));
}
