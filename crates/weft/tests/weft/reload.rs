//! The configuration of a running hub is read again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::common::Hub;

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output().expect("it starts")
}

fn issue(folder: &Path, name: &str) {
    let at = folder.display().to_string();
    assert!(weft(&["ca", "issue", "hub", name, "--dir", &at]).status.success());
}

/// A hub's configuration, with more above its tables and below them.
fn write(folder: &Path, name: &str, above: &str, below: &str) -> PathBuf {
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\n{above}\n[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
         [hubs]\nlisten = \"127.0.0.1:0\"\n{below}"
    );
    fs::write(&path, text).expect("a file");
    path
}

fn start(path: &Path) -> Hub {
    Hub::start_with(&["--config", &path.display().to_string()])
}

fn tell(hub: &Hub) {
    let pid = Pid::from_raw(hub.child.id() as i32).expect("a process");
    kill_process(pid, Signal::HUP).expect("it is there");
}

/// `weft sub` in a process of its own.
struct Subscriber(Child);

impl Subscriber {
    fn start(hub: &Hub, filter: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["sub", filter, "--server", &hub.address]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::piped()).spawn().expect("it starts"))
    }

    /// The first line that it says.
    fn says(&mut self) -> String {
        let mut line = String::new();
        let stderr = self.0.stderr.take().expect("stderr");
        BufReader::new(stderr).read_line(&mut line).expect("it says something");
        line
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_hub_takes_neighbours_limits_and_the_level_of_its_log_and_tells_what_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert!(weft(&["ca", "init", "--dir", &folder.display().to_string()]).status.success());
    for name in ["boston", "chicago", "denver"] {
        issue(folder, name);
    }
    let chicago = start(&write(folder, "chicago", "", ""));
    let denver = start(&write(folder, "denver", "", ""));
    let neighbour = |hub: &Hub, more: &str| format!("[[neighbours]]\naddr = \"{}\"\n{more}", hub.hubs);
    let path = write(folder, "boston", "", &neighbour(&chicago, ""));
    let boston = start(&path);
    boston.wait_for_events(1, "link_up", "chicago");
    assert!(!boston.log().contains("\"level\":\"debug\""), "{}", boston.log());

    // Another neighbour in the place of the first, one subscription less, and a region.
    let below = format!("{}\n[limits]\nsubscriptions = 1\n", neighbour(&denver, "cost = 7\n"));
    write(folder, "boston", "log = \"debug\"\nregion = \"eu\"", &below);
    let pid = boston.child.id().to_string();
    let told = weft(&["hub", "reload", "--config", &path.display().to_string(), "--pid", &pid]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    boston.wait_for_events(1, "config_taken", "limits.subscriptions log neighbours");
    boston.wait_for_events(1, "config_waits", "\"keys\":\"region\"");
    boston.wait_for_events(1, "link_up", "denver");
    boston.wait_for_events(1, "link_down", "chicago");
    chicago.wait_for_events(1, "link_down", "boston");
    let shown = weft(&["mesh", "show", "--server", &boston.address]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let cost = shown.lines().find(|line| line.starts_with("boston -> denver"));
    assert!(cost.is_some_and(|line| line.split_whitespace().any(|word| word == "7")), "{shown}");

    // And back: the link with the first is dialled again, and the level is as it was.
    write(folder, "boston", "", &neighbour(&chicago, ""));
    tell(&boston);
    boston.wait_for_events(2, "link_up", "chicago");
    boston.wait_for_events(2, "link_down", "");
    // The same once more is nothing.
    tell(&boston);
    boston.wait_for_events(1, "config_same", "");
}

#[test]
fn limits_that_were_taken_hold_for_what_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert!(weft(&["ca", "init", "--dir", &folder.display().to_string()]).status.success());
    issue(folder, "boston");
    let path = write(folder, "boston", "", "");
    let boston = start(&path);
    let mut first = Subscriber::start(&boston, "a/**");
    assert!(first.says().contains("subscribed"));
    write(folder, "boston", "", "[limits]\nsubscriptions = 1\n");
    tell(&boston);
    boston.wait_for_events(1, "config_taken", "limits.subscriptions");
    let said = Subscriber::start(&boston, "b/**").says();
    assert!(said.contains("limit"), "{said}");
    write(folder, "boston", "", "");
    tell(&boston);
    boston.wait_for_events(2, "config_taken", "limits.subscriptions");
    let said = Subscriber::start(&boston, "b/**").says();
    assert!(said.contains("subscribed"), "{said}");
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert!(weft(&["ca", "init", "--dir", &folder.display().to_string()]).status.success());
    issue(folder, "boston");
    let path = write(folder, "boston", "", "");
    let boston = start(&path);
    write(folder, "boston", "log = \"debug\"\nregoin = \"eu\"", "");
    // The command says so, and asks nothing of the hub.
    let pid = boston.child.id().to_string();
    let told = weft(&["hub", "reload", "--config", &path.display().to_string(), "--pid", &pid]);
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("regoin is not known"), "{told:?}");
    assert!(!boston.log().contains("config_unusable"), "{}", boston.log());
    tell(&boston);
    boston.wait_for_events(1, "config_unusable", "regoin");
    // What would be taken alone is more than the memory that the hub keeps.
    write(folder, "boston", "log = \"debug\"", "[limits]\nmemory = \"64 GiB\"\nsubscriptions = 30000000\n");
    tell(&boston);
    boston.wait_for_events(1, "config_unusable", "limits.memory");
    assert!(
        !boston.log().contains("\"level\":\"debug\"") && !boston.log().contains("config_taken"),
        "{}",
        boston.log()
    );
}
