//! `weft doctor` with real files, a real disk and a real hub.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::common::Hub;

/// Runs it with `--json`; its exit code, what it found by code, and stderr.
fn doctor(args: &[&str]) -> (i32, Vec<(String, String)>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let output = command.args(["doctor", "--json"]).args(args).stdin(Stdio::null()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.iter().map(|finding| (text(&finding["code"]), text(&finding["severity"])));
    (output.status.code().unwrap_or(-1), found.collect(), stderr)
}

fn has(found: &[(String, String)], code: &str, severity: &str) -> bool {
    found.iter().any(|(known, how)| known == code && how == severity)
}

fn ca(folder: &Path, args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let status = command.arg("ca").args(args).arg("--dir").arg(folder).stderr(Stdio::null()).status();
    assert!(status.expect("it starts").success(), "{args:?}");
}

/// A configuration with a certificate, and more.
fn configured(folder: &Path, more: &str) -> String {
    let config = folder.join("hub.toml");
    let text = format!(
        "name = \"boston\"\nadmins = [\"operator\"]\ndata = \"data\"\n[tls]\ncert = \"boston.pem\"\nkey = \"boston.key\"\n\
         ca = \"ca.pem\"\n{more}"
    );
    fs::write(&config, text).expect("a file");
    config.display().to_string()
}

#[test]
fn a_configuration_that_is_open_with_a_key_that_all_can_read_is_harmful() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    ca(folder, &["init"]);
    ca(folder, &["issue", "hub", "boston"]);
    let listens = "[[clients]]\nlisten = \"0.0.0.0:7411\"\n";
    let sound = configured(folder, &format!("[control]\nenforce = true\n{listens}"));
    let (_, found, said) = doctor(&["--config", &sound]);
    let of_files = ["open_to_all", "key_readable", "key_readable_by_group", "certificate_ends_soon", "no_admins"];
    assert!(!found.iter().any(|(code, _)| of_files.contains(&code.as_str())), "{found:?} {said}");
    // The folder is not made by looking at it.
    assert!(!folder.join("data").exists());
    assert_eq!(
        fs::read_dir(folder).expect("a folder").filter(|e| e.as_ref().is_ok_and(|e| e.path().is_file())).count(),
        5
    );

    let key = folder.join("boston.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is there");
    let open =
        configured(folder, &format!("[control]\nenforce = false\n[limits]\nunsent_bytes = \"8 MiB\"\n{listens}"));
    let (code, found, said) = doctor(&["--config", &open]);
    assert_eq!(code, 4, "{found:?} {said}");
    assert!(has(&found, "open_to_all", "harmful") && has(&found, "key_readable", "harmful"), "{found:?}");
    assert!(has(&found, "urgent_waits", "warning"), "{found:?}");
    assert!(said.contains("something is harmful"), "{said}");
}

#[test]
fn mistakes_end_it_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("hub.toml");
    let plain = "name = \"boston\"\n[[clients]]\nlisten = \"0.0.0.0:7411\"\nplain = true\nporl = 7\n";
    fs::write(&config, plain).expect("a file");
    let (code, found, said) = doctor(&["--config", &config.display().to_string()]);
    assert_eq!((code, found.len()), (2, 0), "{said}");
    assert!(said.contains("hub.toml:4:") && said.contains("only loopback addresses go without TLS"), "{said}");
    assert!(said.contains("hub.toml:5:") && said.contains("porl"), "{said}");
}

#[test]
fn a_running_hub_is_asked_for_its_lanes() {
    let hub = Hub::start();
    let bench = |lane: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["bench", "--server", &hub.address, "--seconds", "1", "--rate", "15000", "--size", "16"]);
        let output = command.args(["--lane", lane]).stdin(Stdio::null()).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (_, before, _) = doctor(&["--server", &hub.address]);
    assert!(!before.iter().any(|(code, _)| code == "one_lane"), "nothing was published: {before:?}");
    bench("4");
    let (code, found, said) = doctor(&["--server", &hub.address]);
    assert!(has(&found, "one_lane", "warning") && (3..=4).contains(&code), "{code} {found:?} {said}");
    bench("1");
    let (_, found, _) = doctor(&["--server", &hub.address]);
    assert!(!found.iter().any(|(code, _)| code == "one_lane"), "two lanes are in use: {found:?}");
}

#[test]
fn a_hub_that_does_not_answer_is_an_error_and_its_machine_is_looked_at() {
    let port = super::common::free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["doctor", "--server", &format!("127.0.0.1:{port}")]);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let [told, said] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no hub"), "{said}");
    assert!(told.contains("unknown  the hub: ") && told.contains(" not known\n"), "{told}");
    assert!(!told.contains("the machine:"), "it was looked at: {told}");
}
