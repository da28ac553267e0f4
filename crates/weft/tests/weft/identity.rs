//! Certificates of running hubs are replaced, revoked and end, without a restart.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::Hub;

fn ca(folder: &Path, args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let status = command.arg("ca").args(args).arg("--dir").arg(folder).status().expect("the program starts");
    assert!(status.success(), "{args:?}");
}

/// A new certificate in the place of the old one.
fn issue(folder: &Path, name: &str) {
    for file in [format!("{name}.pem"), format!("{name}.key")] {
        let _ = fs::remove_file(folder.join(file));
    }
    ca(folder, &["issue", "hub", name]);
}

fn start(folder: &Path, name: &str, more: &str) -> Hub {
    let config = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\n[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\ncrl = \"crl.pem\"\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:0\"\n\
         [timers]\nidentity = \"0 s\"\nredial_most = \"100 ms\"\n{more}"
    );
    fs::write(&config, text).expect("a file");
    Hub::start_with(&["--config", &config.display().to_string()])
}

fn tell(hub: &Hub) {
    let pid = Pid::from_raw(hub.child.id() as i32).expect("a process");
    kill_process(pid, Signal::HUP).expect("it is there");
}

#[test]
fn identities_are_replaced_and_revoked_while_hubs_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    ca(folder, &["init"]);
    for name in ["boston", "chicago", "gone"] {
        issue(folder, name);
    }
    // A list that revokes nobody who runs.
    ca(folder, &["revoke", &folder.join("gone.pem").display().to_string()]);
    let boston = start(folder, "boston", "");
    let neighbour = format!("[[neighbours]]\naddr = \"{}\"\nname = \"boston\"\n", boston.hubs);
    let chicago = start(folder, "chicago", &neighbour);
    boston.wait_for_events(1, "hub_up", "");

    // Its certificate is taken back: the link ends, and does not come again.
    let chicagos = folder.join("chicago.pem");
    ca(folder, &["revoke", &chicagos.display().to_string()]);
    tell(&boston);
    boston.wait_for_events(1, "identity_replaced", "boston");
    boston.wait_for_events(1, "link_down", "\"peer\":\"chicago\"");
    boston.wait_for_events(1, "hub_down", "\"hub\":\"chicago\"");
    chicago.wait_for_events(1, "dial_failed", "revoked");

    // What cannot be used is told, and changes nothing.
    fs::rename(&chicagos, folder.join("away.pem")).expect("it is there");
    tell(&chicago);
    chicago.wait_for_events(1, "identity_unusable", "chicago.pem");
    issue(folder, "chicago");
    tell(&chicago);
    chicago.wait_for_events(1, "identity_replaced", "chicago");
    boston.wait_for_events(2, "hub_up", "");
}
