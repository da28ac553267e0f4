//! `weft stat`: a hub is read from outside, while it works, while it is stopped,
//! and after it was killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::Hub;

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output().expect("the program starts")
}

/// What is said on stderr by a command that fails.
fn refused(args: &[&str]) -> String {
    let output = weft(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn stat(which: &str) -> Value {
    let output = weft(&["stat", which, "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Asks until it is so.
fn until(which: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let said = stat(which);
        if is_so(&said) {
            return said;
        }
        assert!(Instant::now() < end, "{said}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(hub: &Hub, signal: Signal) {
    let process = Pid::from_child(&hub.child);
    kill_process(process, signal).expect("it is there");
}

/// The data folder of a hub for development, of its log.
fn data_of(hub: &Hub) -> PathBuf {
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("\"dev_hub\"")).expect("it says so");
    let line: Value = serde_json::from_str(line).expect("JSON");
    PathBuf::from(line["folder"].as_str().expect("a folder")).join("data")
}

#[test]
fn a_hub_is_read_while_it_works_while_it_is_stopped_and_when_it_is_dead() {
    let mut hub = Hub::start();
    let (process, data) = (hub.child.id().to_string(), data_of(&hub).display().to_string());
    let published = weft(&["pub", "orders/1", "one", "--server", &hub.address]);
    assert!(published.status.success(), "{published:?}");
    let count = |said: &Value| said["counters"]["ledger.published"].as_u64();
    let said = until(&process, |said| count(said) == Some(1));
    assert_eq!((said["state"].as_str(), said["pid"].as_u64()), (Some("runs"), Some(hub.child.id().into())));
    let shown = String::from_utf8(weft(&["stat", &data]).stdout).expect("text");
    assert!(shown.contains("runs: ") && shown.contains("ledger.published"), "{shown}");
    assert!(!shown.contains("ledger.stored") && !shown.contains("control.alarms"), "what is 0 is not shown: {shown}");
    let watched = weft(&["stat", &process, "--json", "--watch", "100 ms", "--times", "2", "--only", "ledger."]);
    let lines: Vec<Value> =
        watched.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 2, "{watched:?}");
    assert!(lines[0]["perSecond"].is_null() && lines[1]["perSecond"]["ledger.published"].is_number(), "{lines:?}");
    assert!(lines[1]["counters"].as_object().expect("counters").keys().all(|name| name.starts_with("ledger.")));

    signal(&hub, Signal::STOP);
    let said = until(&process, |said| said["state"] == "stopped");
    assert_eq!(count(&said), Some(1));
    let again = weft(&["stat", &data]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("is stopped (SIGSTOP or a debugger)"), "{again:?}");

    signal(&hub, Signal::KILL);
    hub.child.wait().expect("it ends");
    let said = stat(&data);
    assert_eq!((said["state"].as_str(), count(&said)), (Some("dead"), Some(1)));
    let nobody = refused(&["stat", &process]);
    assert!(nobody.contains("/maps cannot be read"), "{nobody}");
    // As the hub would have.
    fs::remove_dir_all(PathBuf::from(data).parent().expect("a folder")).expect("it goes");
}

#[test]
fn a_hub_that_ended_in_good_order_is_told_from_one_that_died() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, data) = (folder.path().join("hub.toml"), folder.path().join("data"));
    let text = format!(
        "name = \"alone\"\ndata = \"{}\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n",
        data.display()
    );
    fs::write(&config, text).expect("it is written");
    let mut hub = Hub::start_with(&["--config", &config.display().to_string()]);
    let data = data.display().to_string();
    assert_eq!(stat(&data)["state"], "runs");
    signal(&hub, Signal::TERM);
    assert!(hub.child.wait().expect("it ends").success(), "{}", hub.log());
    assert_eq!(stat(&data)["state"], "ended");
    let shown = weft(&["stat", &data, "--watch", "--times", "9"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("ended in good order"), "{shown:?}");
}

#[test]
fn what_is_no_file_of_counters_or_was_cut_or_damaged_is_refused_with_what_to_do() {
    let hub = Hub::start();
    let file = data_of(&hub).join("counters.weftstat");
    let bytes = fs::read(&file).expect("it is read");
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("it is written");
        refused(&["stat", &path.display().to_string()])
    };
    assert!(of("empty", b"").contains("has 0"), "too short");
    assert!(of("cut", &bytes[..bytes.len() / 2]).contains("the file says that it has"));
    assert!(of("other", &vec![7; bytes.len()]).contains("no file of counters"));
    let mut damaged = bytes.clone();
    // The length of the first value.
    damaged[512 * 8 + 12] = 9;
    let said = of("damaged", &damaged);
    assert!(said.contains("the file is damaged: word 513"), "{said}");
    let mut newer = bytes;
    newer[8] = 2;
    assert!(of("newer", &newer).contains("use the `weft` of the hub that wrote it"));
    assert!(refused(&["stat", &folder.path().display().to_string()]).contains("counters.weftstat cannot be read"));
    // A process that is no hub.
    let own = std::process::id().to_string();
    assert!(refused(&["stat", &own]).contains("has no file of counters"), "{own}");
}
