//! Payloads that do not fit their schema, from the command line: put in quarantine
//! at the hub where they enter, looked at, and published again once the schema is
//! mended; and a schema that would break who reads is not applied.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use futures_lite::future::block_on;
use serde_json::Value;
use weft_client::{
    AckLevel, Client, Published, PublisherOptions, StartAt, StreamOptions, SubscribeOptions, Subscription,
};

use crate::common::voters::{Mesh, PATIENCE, text, weft};

/// The first version wants a number, which its publishers do not always have.
const FIRST: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}"#;
/// The mended one takes a text as well.
const MENDED: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":["integer","string"]}}}"#;

/// The documents of the subject `orders` with these versions.
fn documents(mesh: &Mesh, versions: &[&str], more: &str) -> String {
    let mut written = String::new();
    let mut listed = String::new();
    for (number, schema) in (1..).zip(versions) {
        let path = mesh.path("schema.json");
        fs::write(&path, schema).expect("a file");
        let checked = weft(&["schema", "check", "--json", &path.display().to_string()]);
        let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
        let print = checked["sha256"].as_str().expect("a fingerprint");
        written.push_str(&format!(
            "[[schema]]\nname = \"{number}\"\nformat = \"JSON\"\ntext = '{schema}'\nfingerprint = \"{print}\"\n"
        ));
        listed.push_str(&format!("[subject.versions.{number}]\nid = {number}\n"));
    }
    let subject = "[[subject]]\nname = \"orders\"\ntopics = [\"orders/**\"]\ncheck = \"quarantine\"\n\
                   quarantine = \"aside\"\n";
    mesh.documents("orders.toml", &format!("{more}{written}{subject}{listed}"))
}

fn counters(client: &Client) -> BTreeMap<String, u64> {
    block_on(client.mesh()).expect("a report").counters.into_iter().collect()
}

/// Waits until a hub checks by so many schemas.
fn until_schemas(client: &Client, count: u64) {
    let begun = Instant::now();
    while counters(client).get("schema.schemas") != Some(&count) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", counters(client));
    }
}

/// The payloads that come next, and what each says of where it came from.
fn next(subscription: &mut Subscription, count: usize) -> Vec<(String, Option<String>)> {
    let mut got = Vec::new();
    while got.len() < count {
        let delivery = block_on(subscription.next()).expect("more comes").expect("it goes on");
        for event in delivery.events() {
            let replayed = event.headers.get("weft-replayed").map(|value| String::from_utf8_lossy(value).into_owned());
            got.push((String::from_utf8_lossy(event.payload).into_owned(), replayed));
        }
    }
    got
}

#[test]
fn what_does_not_fit_lies_in_quarantine_until_the_schema_is_mended_and_is_then_published_once() {
    let mesh = Mesh::start();
    mesh.leader();
    mesh.apply(0, &documents(&mesh, &[FIRST], ""), &[]);
    // Published at one hub, delivered at another, and stored at a third.
    let (publishing, reading, keeping) = (mesh.guest(1), mesh.guest(2), mesh.guest(0));
    until_schemas(&publishing, 1);
    let stream = StreamOptions::new("orders", "orders/**");
    block_on(keeping.streams().create(&stream)).expect("a stream");
    let mut subscription =
        block_on(reading.subscribe("orders/**", SubscribeOptions::default())).expect("a subscription");
    let at = "new-york,chicago,los-angeles".split(',').map(str::to_owned).collect();
    block_on(subscription.live(&weft_client::LiveAt::Named(at), PATIENCE)).expect("it is live");

    let publisher = publishing.publisher(PublisherOptions::level(AckLevel::Synced));
    let published = |topic: &str, payload: &str| -> Published {
        block_on(async { publisher.publish(topic, payload.as_bytes()).await?.await }).expect("it is safe")
    };
    assert!(!published("orders/1", r#"{"id":1}"#).is_in_quarantine());
    assert!(published("orders/2", r#"{"id":"two"}"#).is_in_quarantine());
    assert!(!published("orders/3", r#"{"id":3}"#).is_in_quarantine());
    assert!(published("orders/4", r#"{"number":4}"#).is_in_quarantine());
    let fits = |got: Vec<(String, Option<String>)>| got.into_iter().map(|(payload, _)| payload).collect::<Vec<_>>();
    assert_eq!(fits(next(&mut subscription, 2)), [r#"{"id":1}"#, r#"{"id":3}"#]);

    let list = || {
        let output = mesh.run_as("guest", 1, &["schema", "quarantine", "list", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let listed = list();
    let first = listed.first().expect("something is there");
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!((first["stream"].as_str(), first["sequence"].as_u64()), (Some("aside-chicago"), Some(1)));
    assert_eq!((first["topic"].as_str(), first["by"].as_str()), (Some("orders/2"), Some("guest")));
    assert_eq!((first["subject"].as_str(), first["version"].as_u64()), (Some("orders"), Some(1)));
    assert_eq!((first["at"].as_str(), first["rule"].as_str()), (Some("/id"), Some("type")));
    let shown = mesh.run_as("guest", 1, &["schema", "quarantine", "show", "aside-chicago", "1"]);
    assert!(text(&shown.stdout).contains(r#"payload  {"id":"two"}"#), "{}", text(&shown.stdout));

    // Too early: nothing of it fits yet, and nothing is lost or put there again.
    let replay = || {
        let output = mesh.run_as("guest", 1, &["schema", "replay"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let early = replay();
    assert!(early.contains("0 published, 0 were published before, 2 still do not fit"), "{early}");
    assert_eq!(list().len(), 2);

    mesh.apply(2, &documents(&mesh, &[FIRST, MENDED], ""), &[]);
    until_schemas(&publishing, 2);
    let mended = replay();
    assert!(mended.contains("1 published, 0 were published before, 1 still do not fit"), "{mended}");
    let again = replay();
    assert!(again.contains("0 published, 0 were published before, 1 still do not fit"), "{again}");
    let left = list();
    assert_eq!(left.iter().map(|one| one["topic"].as_str()).collect::<Vec<_>>(), [Some("orders/4")]);
    assert!(!published("orders/5", r#"{"id":"five"}"#).is_in_quarantine());
    let replayed = next(&mut subscription, 2);
    assert_eq!(
        replayed,
        [(r#"{"id":"two"}"#.to_owned(), Some("aside-chicago/1".to_owned())), (r#"{"id":"five"}"#.to_owned(), None)],
        "once"
    );
    let read = SubscribeOptions::stream("orders", StartAt::First);
    let mut stored = block_on(keeping.subscribe("**", read)).expect("the stream is there");
    assert_eq!(fits(next(&mut stored, 4)), [r#"{"id":1}"#, r#"{"id":3}"#, r#"{"id":"two"}"#, r#"{"id":"five"}"#]);

    // Each copy of each event has ended somewhere.
    let begun = Instant::now();
    loop {
        let found = counters(&publishing);
        let of = |name: &str| found.get(name).copied().unwrap_or_default();
        let all = |prefix: &str| found.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, n)| n).sum::<u64>();
        let ended = of("ledger.delivered") + of("ledger.stored") + of("ledger.forwarded") + all("ledger.dropped.");
        if ended == of("ledger.copies") && all("in_flight.") == 0 {
            assert_eq!((of("schema.quarantined"), of("ledger.dropped.not_quarantined")), (2, 0));
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
    }
}

#[test]
fn a_schema_that_breaks_consumers_is_not_applied_and_the_refusal_counts_them() {
    let mesh = Mesh::start();
    mesh.leader();
    let readers = "[[reader]]\nname = \"billing-eu\"\nsubject = \"orders\"\nversion = 1\nconsumer = \"billing\"\nregion = \"eu\"\n\
                   [[reader]]\nname = \"search-us\"\nsubject = \"orders\"\nversion = 1\nconsumer = \"search\"\nregion = \"us\"\n";
    mesh.apply(0, &documents(&mesh, &[FIRST], readers), &[]);
    let before = mesh.export(1);
    let refused = mesh.run(1, &["apply", &documents(&mesh, &[FIRST, MENDED], readers)]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("version 2 breaks 2 consumers in 2 regions: billing (eu), search (us)"), "{said}");
    assert_eq!(mesh.export(1), before, "nothing was changed");
    // Once they declare that they read the new version, it may come with that.
    let newer = readers.replace("version = 1", "version = 2");
    mesh.apply(1, &documents(&mesh, &[FIRST, MENDED], &newer), &[]);
}
