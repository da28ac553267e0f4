//! The audit log of real hubs: a denial shows who, what and by which rule, the chain
//! goes on after a crash, and whatever is done to a log is found.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::common::voters::{AUDITORS, GROUNDED, Mesh, PATIENCE, text, weft};

/// Besides them, the operator does what is tried here.
const KEEPERS: &str = r#"
[[policy]]
name = "keepers"
rules = '''
@id("keep")
permit (principal == User::"operator", action in [Action::"administer", Action::"publish"], resource);
'''
"#;

/// The hub that is looked at.
const HUB: usize = 1;

fn mesh() -> Mesh {
    let mesh = Mesh::start_with("enforce = true\n");
    mesh.apply(0, &mesh.documents("policies.toml", &[GROUNDED, AUDITORS, KEEPERS].concat()), &[]);
    mesh
}

/// The records of the hub's log, as they are in it.
fn raw(mesh: &Mesh) -> String {
    let begun = Instant::now();
    loop {
        let output = mesh.run(HUB, &["audit", "read", "--raw"]);
        if output.status.success() {
            return text(&output.stdout);
        }
        // The policy may not be there yet, nor the stream.
        assert!(begun.elapsed() < PATIENCE, "{}", text(&output.stderr));
    }
}

/// The first event of the log of which this is true, once it is there.
fn event(mesh: &Mesh, wanted: impl Fn(&Value) -> bool) -> Value {
    mesh.audited(HUB, HUB, wanted)
}

/// What a check of the log says: of one that is whole.
fn verified(mesh: &Mesh, more: &[&str]) -> Value {
    let output = mesh.run(HUB, &[&["audit", "verify", "--json"], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Has the guest publish where no rule allows it.
fn denied(mesh: &Mesh, topic: &str) {
    let begun = Instant::now();
    loop {
        let output = mesh.run_as("guest", HUB, &["pub", topic, "x"]);
        // Until the policies are here, all is denied by none of them.
        if text(&output.stderr).contains("desk/grounded") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", text(&output.stderr));
    }
}

/// The files of the hub's log.
fn segments(mesh: &Mesh) -> Vec<PathBuf> {
    let folder = mesh.path("chicago/streams/weft-audit-chicago");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the log")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[test]
fn a_denial_shows_who_what_and_the_rule_and_the_chain_goes_on_after_a_crash() {
    let mesh = mesh();
    denied(&mesh, "flights/departed/JFK");
    let found = event(&mesh, |event| event["rules"][0] == "desk/grounded");
    assert_eq!((&found["who"], &found["action"]), (&"guest".into(), &"publish".into()), "{found}");
    assert_eq!(
        (&found["resource"], &found["allowed"]),
        (&"topic `flights/departed/JFK`".into(), &false.into()),
        "{found}"
    );
    assert_eq!(found["method"], "certificate", "{found}");
    assert!(found["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{found}");
    assert!(found["version"].as_u64().is_some_and(|version| version > 0) && found["session"].is_u64(), "{found}");
    event(&mesh, |event| event["action"] == "login" && event["who"] == "guest" && event["allowed"] == true);
    event(&mesh, |event| event["action"] == "start");

    // What is done, with the rule that allows it; and what only the hub does.
    let made = mesh.run(HUB, &["stream", "create", "own", "own/**"]);
    let refused = text(&made.stderr);
    assert!(!made.status.success() && refused.contains("may not subscribe"), "{refused}");
    let deleted = mesh.run(HUB, &["stream", "delete", "weft-audit-chicago"]);
    assert!(text(&deleted.stderr).contains("the hub keeps this stream itself"), "{}", text(&deleted.stderr));
    event(&mesh, |event| {
        event["resource"] == "the audit log" && event["who"] == "operator" && event["allowed"] == false
    });
    let forged = mesh.run(HUB, &["pub", "_audit/chicago", "x"]);
    assert_eq!(forged.status.code(), Some(1), "{}", text(&forged.stderr));

    let before = verified(&mesh, &[]);
    let head = before["head"].as_str().expect("a hash").to_owned();
    mesh.kill(HUB);
    mesh.begin(HUB);
    denied(&mesh, "flights/departed/LAX");
    event(&mesh, |event| event["resource"] == "topic `flights/departed/LAX`");
    let after = verified(&mesh, &["--from-hash", &head]);
    assert!(after["records"].as_u64() > before["records"].as_u64(), "{before} {after}");
    assert_eq!((&after["first"], &after["skipped"]), (&0.into(), &0.into()), "one chain over both lives: {after}");
    let starts = raw(&mesh).matches("\"action\":\"start\"").count();
    assert_eq!(starts, 2);

    // For people, and from another hub.
    let shown = mesh.run(0, &["audit", "read", "--of", "chicago", "--denied"]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("denied   guest (certificate) from 127.0.0.1:") && shown.contains("by desk/grounded"),
        "{shown}"
    );
}

#[test]
fn whatever_is_done_to_a_log_is_found() {
    let mesh = mesh();
    denied(&mesh, "flights/departed/JFK");
    event(&mesh, |event| event["rules"][0] == "desk/grounded");
    let head = verified(&mesh, &[])["head"].as_str().expect("a hash").to_owned();
    let records = raw(&mesh);
    let check = |records: &str, more: &[&str]| {
        let file = mesh.documents("records.jsonl", records);
        weft(&[&["audit", "verify", "--file", &file], more].concat())
    };
    let whole = check(&records, &["--from-hash", &head]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    // The canaries: a letter altered, a record taken out, the end cut off.
    let altered = records.replacen("\"who\":\"guest\"", "\"who\":\"gueth\"", 1);
    assert_ne!(altered, records);
    let cut: Vec<&str> = records.lines().collect();
    let without: String =
        cut.iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n")).collect();
    let shorter: String = cut.iter().take(cut.len() / 2).map(|line| format!("{line}\n")).collect();
    for (bad, more, says) in [
        (&altered, &[][..], "was altered"),
        (&without, &[][..], "records are missing"),
        (&shorter, &["--from-hash", &head][..], "the end was cut off or written anew"),
    ] {
        let output = check(bad, more);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(says), "{says}: {said}");
    }

    // On the hub's own disk, while it is down.
    mesh.kill(HUB);
    let mut tampered = false;
    for path in segments(&mesh) {
        let mut bytes = fs::read(&path).expect("a segment");
        let from = b"flights/departed/JFK";
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
            bytes[at..at + from.len()].copy_from_slice(b"flights/departed/LHR");
            tampered = true;
        }
        fs::write(&path, bytes).expect("a segment");
    }
    assert!(tampered, "the record is in a segment");
    mesh.begin(HUB);
    let begun = Instant::now();
    let said = loop {
        let output = mesh.run(HUB, &["audit", "verify", "--from-hash", &head]);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{}", text(&output.stdout));
        // Until the hub answers.
        if ["records are missing", "was altered", "cannot be read", "written anew"]
            .iter()
            .any(|says| said.contains(says))
        {
            break said;
        }
        assert!(begun.elapsed() < PATIENCE, "{said}");
    };
    println!("{said}");
}
