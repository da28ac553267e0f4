//! `weft schema` as people use it: files in, answers and exit codes out.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ONE: &str = r#"{"type":"record","name":"Flight","fields":[{"name":"number","type":"string"}]}"#;
const TWO: &str = r#"{"type":"record","name":"Flight","fields":[{"name":"number","type":"string"},
    {"name":"gate","type":["null","string"],"default":null}]}"#;
const THREE: &str = r#"{"type":"record","name":"Flight","fields":[{"name":"number","type":"string"},
    {"name":"seats","type":"int"}]}"#;

/// Runs the program in a folder; answers exit code, stdout and stderr.
fn schema(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let output = command.current_dir(folder).arg("schema").args(args).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    folder
}

#[test]
fn files_are_checked_by_their_format_and_what_is_wrong_is_said() {
    let proto = b"syntax = \"proto3\"; message Flight { string number = 1; }";
    let json = br#"{"type":"object","required":["number"]}"#;
    let files: [(&str, &[u8]); 4] =
        [("a.avsc", ONE.as_bytes()), ("a.proto", proto), ("a.json", json), ("wrong.avsc", b"{\"type\":\"recrod\"}")];
    let folder = folder(&files);
    let (code, out, err) = schema(folder.path(), &["check", "a.avsc", "a.proto", "a.json"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}{err}");
    for format in ["AVRO", "PROTOBUF", "JSON"] {
        assert!(out.contains(&format!(": {format}, sha256 ")), "{out}");
    }
    let (code, out, err) = schema(folder.path(), &["check", "--json", "a.avsc", "wrong.avsc"]);
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(code, 1, "{err}");
    assert_eq!((objects[0]["format"].as_str(), objects[1]["file"].as_str()), (Some("AVRO"), Some("wrong.avsc")));
    assert!(objects[1]["refused"].is_string() && err.contains("1 of 2"), "{out}{err}");
    let (code, _, err) = schema(folder.path(), &["check", "missing.txt"]);
    assert_eq!(code, 1, "{err}");
    let (code, out, err) = schema(folder.path(), &["check", "--format", "protobuf", "a.avsc"]);
    assert_eq!(code, 1, "{out}{err}");
}

/// What `weft check` says of a folder's documents; nothing where they are right.
fn documents(folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let output = command.current_dir(folder).args(["check", "d.toml"]).output().expect("the program starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    match output.status.code() {
        Some(0) => String::new(),
        code => {
            assert_eq!(code, Some(2), "{said}");
            said
        }
    }
}

#[test]
fn schemas_among_documents_are_vetted_without_a_hub_as_a_hub_does_with_file_line_and_column() {
    let print = |folder: &Path, file: &str| {
        let (_, out, err) = schema(folder, &["check", "--json", file]);
        let checked: Value = serde_json::from_str(&out).expect(&err);
        checked["sha256"].as_str().expect("a fingerprint").to_owned()
    };
    let folder = folder(&[("1.avsc", ONE.as_bytes()), ("2.avsc", TWO.as_bytes()), ("3.avsc", THREE.as_bytes())]);
    let of_schema = |id: u32| {
        let print = print(folder.path(), &format!("{id}.avsc"));
        format!("[[schema]]\nname = \"{id}\"\nformat = \"AVRO\"\nfile = \"{id}.avsc\"\nfingerprint = \"{print}\"\n")
    };
    let said = |text: String| {
        fs::write(folder.path().join("d.toml"), text).expect("a file");
        documents(folder.path())
    };
    let [one, two, three] = [1, 2, 3].map(of_schema);
    let subject = |versions: &str| format!("[[subject]]\nname = \"flights\"\ntopics = [\"flights/**\"]\n{versions}");
    let versions = "[subject.versions]\n1 = { id = 1 }\n";
    assert_eq!(said(format!("{one}{two}{}2 = {{ id = 2 }}\n", subject(versions))), "");
    // By the subject's level the next version cannot follow.
    let wrong = said(format!("{}2 = {{ id = 3 }}\n{one}{three}", subject(versions)));
    assert!(wrong.contains("d.toml:6:1: subject/flights: version 2 does not go with version 1 (BACKWARD)"), "{wrong}");
    // Another text than the fingerprint says.
    let wrong = said(one.replace("1.avsc", "2.avsc"));
    assert!(wrong.contains("d.toml:5:1: schema/1: fingerprint: that of the text is "), "{wrong}");
    // A name that the registry would take for another one.
    let wrong = said(format!("{one}{}", subject(versions).replace("\"flights\"", "\"a@b\"")));
    assert!(wrong.contains("d.toml:6:1: ") && wrong.contains("that of the subject `a@b` is `a@40b`"), "{wrong}");
    // No schema, in a file of its own and in the table.
    fs::write(folder.path().join("1.avsc"), "{\n  \"type\": oops}").expect("a file");
    let wrong = said(one.clone());
    assert!(wrong.contains("1.avsc:2:11: schema/1: text: "), "{wrong}");
    let table = one.replace("file = \"1.avsc\"", "text = '''\n{\"type\":\n \"recrod\"}'''");
    let wrong = said(table);
    assert!(wrong.contains("d.toml:5:1: schema/1: text: "), "{wrong}");
    // More than is allowed, and a reference to what is not there.
    let deep = format!("{}\"int\"{}", "{\"type\":\"array\",\"items\":".repeat(400), "}".repeat(400));
    fs::write(folder.path().join("1.avsc"), deep).expect("a file");
    let wrong = said(one.clone());
    assert!(wrong.contains("1.avsc:1:") && wrong.contains(": schema/1: text: "), "{wrong}");
    let refers = format!("{one}[[schema.references]]\nname = \"x\"\nsubject = \"gone\"\nversion = 1\n");
    fs::write(folder.path().join("1.avsc"), ONE).expect("a file");
    let wrong = said(refers);
    assert!(wrong.contains("1.avsc:1:1: schema/1: text: ") && wrong.contains("of subject 'gone'"), "{wrong}");
}

#[test]
fn payloads_are_checked_as_a_hub_does_also_behind_a_serialisers_prefix() {
    let good = [4_u8, b'B', b'6'];
    let framed = [&[0, 0, 0, 0, 1][..], &good].concat();
    let files: [(&str, &[u8]); 4] =
        [("a.avsc", ONE.as_bytes()), ("good", &good), ("framed", &framed), ("cut", &good[..2])];
    let folder = folder(&files);
    let (code, out, _) = schema(folder.path(), &["validate", "--schema", "a.avsc", "good"]);
    assert_eq!((code, out.as_str()), (0, "good: valid\n"));
    let (code, out, _) = schema(folder.path(), &["validate", "--schema", "a.avsc", "--confluent", "framed"]);
    assert_eq!((code, out.as_str()), (0, "framed: valid\n"));
    let (code, out, err) = schema(folder.path(), &["validate", "--schema", "a.avsc", "good", "cut", "framed"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("good: valid\ncut: ") && err.contains("2 of 3"), "{out}{err}");
}

#[test]
fn a_new_version_may_follow_or_not_by_the_level_that_is_asked_for() {
    let files: [(&str, &[u8]); 3] =
        [("1.avsc", ONE.as_bytes()), ("2.avsc", TWO.as_bytes()), ("3.avsc", THREE.as_bytes())];
    let folder = folder(&files);
    let (code, out, _) = schema(folder.path(), &["compatible", "--level", "full", "--new", "2.avsc", "1.avsc"]);
    assert_eq!((code, out.as_str()), (0, "2.avsc may follow\n"));
    // A field without a default cannot be read from what was written without it.
    let (code, out, err) = schema(folder.path(), &["compatible", "--new", "3.avsc", "1.avsc", "2.avsc"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("3.avsc cannot read 2.avsc: ") && !out.contains("3.avsc cannot read 1.avsc"), "{out}");
    let transitive = ["compatible", "--level", "backward-transitive", "--new", "3.avsc", "1.avsc", "2.avsc"];
    let (_, out, _) = schema(folder.path(), &transitive);
    assert!(out.contains("3.avsc cannot read 1.avsc"), "{out}");
    let (code, out, _) = schema(folder.path(), &["compatible", "--level", "forward", "--new", "3.avsc", "1.avsc"]);
    assert_eq!((code, out.as_str()), (0, "3.avsc may follow\n"));
}
