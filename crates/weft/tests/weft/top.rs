//! `weft top`: what a hub is seen to do, as text and on a terminal, which is as it was
//! before once it is left.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Hub, Running};

const PATIENCE: Duration = Duration::from_secs(60);

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output().expect("the program starts")
}

#[test]
fn all_views_are_printed_once_for_scripts() {
    let hub = Hub::start();
    let published = weft(&["pub", "orders/1", "one", "--server", &hub.address]);
    assert!(published.status.success(), "{published:?}");
    let end = Instant::now() + PATIENCE;
    // A hub adds up what its stages count some times a second.
    let text = loop {
        let output = weft(&["top", "--once", "--server", &hub.address]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        if text.contains("no_interest") {
            break text;
        }
        assert!(Instant::now() < end, "{text}");
    };
    assert!(text.starts_with("mesh by ") && text.contains("1/1 hubs, 0/0 links, ledger balanced at 1 of 1"), "{text}");
    for view in ["\nHubs\nHUB ", "\nLinks\nFROM ", "\nStages\nHUB ", "\nDrops\nHUB ", "\nAlerts\nSINCE "] {
        assert!(text.contains(view), "{view:?}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let none = weft(&["top", "--server", &hub.address]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("--once"), "{none:?}");
}

/// Waits for what a terminal is told.
fn shown(path: &Path, what: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        if text.contains(what) {
            return text;
        }
        assert!(Instant::now() < end, "{what:?} does not come: {text:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts it on a terminal of `script`, of util-linux, once it shows something: what has
/// the terminal, the log of it, and the process. `first`: what its shell does before.
fn started(hub: &Hub, name: &str, first: &str) -> (Running, PathBuf, Pid) {
    let (pid, log) = (hub.folder.path().join(format!("{name}.pid")), hub.folder.path().join(name));
    let program = env!("CARGO_BIN_EXE_weft");
    let top = format!("{first} echo $$ > {}; exec {program} top --server {}", pid.display(), hub.address);
    let line = format!("stty cols 120 rows 30; sh -c '{top}'; stty -a; echo left");
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--command", &line]).arg(&log).env("TERM", "xterm").env("SHELL", "/bin/sh");
    let script = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("`script` of util-linux");
    let script = Running(script);
    // Only cells that change are written, so no more than a word stands together.
    let before = shown(&log, "balanced");
    assert!(before.contains("\u{1b}[?1049h") && !before.contains("\u{1b}[?1049l"), "{before:?}");
    let process = fs::read_to_string(&pid).expect("its number").trim().parse().expect("a number");
    (script, log, Pid::from_raw(process).expect("a process"))
}

/// How it leaves its terminal when it is told to.
fn visit(hub: &Hub, name: &str, leave: impl FnOnce(&mut Running, Pid)) {
    let (mut script, log, process) = started(hub, name, "");
    leave(&mut script, process);
    let after = shown(&log, "left\r\n");
    let (_, rest) = after.split_once("\u{1b}[?1049l").expect("the other screen is left");
    // Lines, and the keys that are pressed are seen.
    let has = |flag: &str| rest.split([' ', ';', '\r', '\n']).any(|word| word == flag);
    assert!(has("icanon") && has("echo") && has("isig"), "{rest:?}");
    assert!(rest.contains("\u{1b}[?25h") || after.contains("\u{1b}[?25h"), "the cursor is there: {after:?}");
}

#[test]
fn a_terminal_is_as_it_was_after_a_key_and_after_a_signal() {
    let hub = Hub::start();
    visit(&hub, "key", |script, _| {
        script.0.stdin.as_mut().expect("a pipe").write_all(b"q").expect("it is pressed");
    });
    visit(&hub, "signal", |_, process| kill_process(process, Signal::TERM).expect("it is there"));
}

#[test]
fn it_ends_with_its_terminal_also_where_nobody_is_told() {
    let hub = Hub::start();
    for (name, first) in [("told", "trap - HUP;"), ("not-told", "trap \"\" HUP;")] {
        let (script, _, process) = started(&hub, name, first);
        drop(script);
        let end = Instant::now() + PATIENCE;
        // It is over too where nobody has asked for its exit yet.
        let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(Instant::now() < end, "{name}: it goes on without a terminal");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
