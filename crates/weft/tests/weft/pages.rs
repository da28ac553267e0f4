//! Completions, man pages, and what is deployed with the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output().expect("it starts")
}

#[test]
fn each_shell_gets_completions_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = weft(&["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{shell}");
        assert!(text.contains("doctor") && text.contains("ready-file"), "{shell}: {text}");
    }
    assert_eq!(weft(&["completions", "csh"]).status.code(), Some(2));
    // Where there is a bash it takes them.
    let completions = weft(&["completions", "bash"]).stdout;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weft.bash");
    fs::write(&file, completions).expect("a file");
    if let Ok(output) = Command::new("bash").arg("-n").arg(&file).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man/man1");
    let output = weft(&["man", &pages.display().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for page in ["weft.1", "weft-hub.1", "weft-hub-reload.1", "weft-doctor.1", "weft-stream-create.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}

/// The configuration in the manifests is one that a hub starts with.
#[test]
fn the_configuration_of_the_manifests_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display().to_string();
    assert!(weft(&["ca", "init", "--dir", &at]).status.success());
    assert!(weft(&["ca", "issue", "hub", "weft-0", "--dir", &at]).status.success());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/weft.yaml");
    let text = fs::read_to_string(manifest).expect("it is there");
    let (_, rest) = text.split_once("  hub.toml: |\n").expect("a configuration");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let config: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    let config = config.replace("WEFT_NAME", "weft-0").replace("/run/weft/hub", "weft-0").replace("/run/weft/", "");
    let file = folder.path().join("hub.toml");
    fs::write(&file, config).expect("a file");
    let output = weft(&["hub", "--config", &file.display().to_string(), "--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("dns:weft-hubs:7412"));
}
