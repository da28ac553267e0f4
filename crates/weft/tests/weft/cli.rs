//! The program as people use it: arguments in, stdout, stderr and exit codes
//! out, against a `weft hub` in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The longest that anything here may take; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn weft(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; answers exit code, stdout and stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    said(weft(args).output().expect("the program starts"))
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn fed(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = weft(args).stdin(Stdio::piped()).spawn().expect("the program starts");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("it reads");
    said(child.wait_with_output().expect("it ends"))
}

/// A hub in a process of its own; killed when the test is over, however it ends.
struct Hub {
    child: Child,
    address: String,
    /// Its second address for clients: where it gives shared memory, unless configured.
    shared: String,
    hubs: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Hub {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ready, log) = (folder.path().join("ready.json"), folder.path().join("log"));
        let log_file = fs::File::create(&log).expect("a log");
        let mut command = weft(&[&["hub"], args].concat());
        let mut child = command
            .arg("--ready-file")
            .arg(&ready)
            .env("TMPDIR", folder.path())
            .stderr(log_file)
            .spawn()
            .expect("the program starts");
        let value: Value = serde_json::from_str(&wait_for(&ready, &mut child, &log)).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (address, shared) = (text(&value["clients"][0]), text(&value["clients"][1]));
        Self { address, shared, hubs: text(&value["hubs"]), child, log, _folder: folder }
    }

    fn dev() -> Self {
        Self::start(&["--dev", "--port", "0"])
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a process") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the hub does not end; its log: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Every line of the log is a JSON object with the promised fields.
    fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let events: Vec<Value> = self.log().lines().map(parse).collect();
        assert!(events.iter().all(|e| e["ts"].is_string() && e["level"].is_string() && e["event"].is_string()));
        events
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(path: &Path, child: &mut Child, log: &Path) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        if let Some(status) = child.try_wait().expect("a process") {
            panic!("the hub ended with {status}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the hub is not ready: {}", fs::read_to_string(log).unwrap_or_default());
}

/// `weft sub`, ready to receive.
fn subscribe(args: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = weft(&[&["sub"], args].concat()).spawn().expect("the program starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("it says something");
    assert!(line.starts_with("subscribed to"), "{line}");
    (child, stderr)
}

#[test]
fn a_development_hub_serves_clients_of_this_host_by_shared_memory() {
    let hub = Hub::dev();
    let s = hub.shared.as_str();
    assert!(s.starts_with("shm:/") && s.ends_with("/hub.sock"), "{s}");
    let (mut killed, _) = subscribe(&["a/**", "-s", s]);
    let (subscriber, _) = subscribe(&["a/**", "-s", s, "--count", "2", "--format", "raw"]);
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    // From either kind of link to the other.
    assert_eq!(run(&["pub", "a/b", "hello", "-s", s]).0, 0);
    assert_eq!(run(&["pub", "a/b", "there", "-s", &hub.address]).0, 0);
    let (code, out, _) = said(subscriber.wait_with_output().expect("it ends"));
    assert_eq!((code, out.as_str()), (0, "hello\nthere\n"));
    assert_eq!(run(&["stream", "list", "-s", s]).0, 0);
}

#[test]
fn what_is_published_is_printed_in_every_format() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    let formats = ["human", "json", "raw"];
    let subscribers = formats.map(|format| subscribe(&["a/**", "-s", s, "--count", "2", "--format", format]).0);
    let (code, out, err) =
        run(&["pub", "a/b", "hello", "-s", s, "--key", "k", "--header", "h=v", "--lane", "0", "--deadline", "60000"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.starts_with("published 1 event at hub `dev-"), "{err}");
    assert_eq!(run(&["pub", "a/c", "there", "-s", s]).0, 0);
    let [human, json, raw] = subscribers.map(|child| {
        let (code, out, _) = said(child.wait_with_output().expect("it ends"));
        assert_eq!(code, 0);
        out
    });
    assert_eq!(human, "a/b  hello\na/c  there\n");
    assert_eq!(raw, "hello\nthere\n");
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["topic"], "a/b");
    assert_eq!((&first["payload"], &first["key"]), (&"hello".into(), &"k".into()));
    assert_eq!((&first["headers"]["h"], &first["lane"]), (&"v".into(), &0.into()));
    assert_eq!((&first["origin"]["sequence"], &first["hops"]), (&1.into(), &0.into()));
}

#[test]
fn a_stream_is_made_filled_from_lines_and_files_replayed_and_deleted() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    assert_eq!(run(&["stream", "create", "all", "t/**", "-s", s, "--retain-age", "30 d"]).0, 0);
    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    let (code, _, err) = fed(&["pub", "t/lines", "--lines", "--level", "synced", "--progress", "-s", s], &lines);
    assert_eq!(code, 0, "{err}");
    assert!(err.starts_with("published 1000 events"), "{err}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("event");
    fs::write(&file, [0, 255]).expect("a file");
    let path = file.display().to_string();
    assert_eq!(run(&["pub", "t/file", "--file", &path, "--level", "written", "-s", s]).0, 0);

    let (code, out, _) = run(&["stream", "replay", "all", "--format", "raw", "--filter", "t/lines", "-s", s]);
    assert_eq!((code, out), (0, lines));
    let (_, out, _) = run(&["stream", "replay", "all", "--from", "1001", "--format", "json", "-s", s]);
    let event: Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!((&event["payloadBase64"], &event["streamSequence"]), (&"AP8=".into(), &1001.into()));
    let (_, out, _) = run(&["sub", "**", "--stream", "all", "--from", "last", "--count", "1", "-s", s]);
    assert!(out.starts_with("t/file  "), "{out}");

    let (_, out, _) = run(&["stream", "info", "all", "--json", "-s", s]);
    let info: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&info["events"], &info["retainAge"]), (&1001.into(), &"30 d".into()));
    assert!(run(&["stream", "list", "-s", s]).1.contains("t/**"));
    let (_, out, _) = run(&["mesh", "show", "--json", "-s", s]);
    let mesh: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&mesh["counters"]["ledger.stored"], &mesh["hubs"][0]["reachable"]), (&1001.into(), &true.into()));
    assert_eq!(run(&["stream", "delete", "all", "-s", s]).0, 0);
    let (code, _, err) = run(&["stream", "info", "all", "-s", s]);
    assert_eq!(code, 1);
    assert!(err.contains("no_stream"), "{err}");
}

#[test]
fn a_broken_pipe_ends_quietly() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    assert_eq!(run(&["stream", "create", "all", "t", "-s", s]).0, 0);
    let lines = "x\n".repeat(50_000);
    assert_eq!(fed(&["pub", "t", "--lines", "--level", "written", "-s", s], &lines).0, 0);
    let mut child = weft(&["stream", "replay", "all", "-s", s]).spawn().expect("the program starts");
    let mut first = [0; 5];
    child.stdout.take().expect("stdout").read_exact(&mut first).expect("output");
    // The pipe is closed here, with most of the output unread.
    let (code, _, err) = said(child.wait_with_output().expect("it ends"));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn mistakes_have_exit_codes_and_say_what_to_do() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    for (args, code, part) in [
        (vec!["pub", "t", "-s", s], 2, "nothing to publish"),
        (vec!["pub", "t", "x", "--lane", "9", "-s", s], 2, "lane 9 is none"),
        (vec!["pub", "t", "x", "--header", "h", "-s", s], 2, "write NAME=VALUE"),
        (vec!["pub", "t", "x", "--level", "best", "-s", s], 2, "none, routed, written, synced, or homes:N"),
        (vec!["pub", "t", "x", "--tls-cert", "c", "-s", s], 2, "--tls-key"),
        (vec!["pub", "t/*", "x", "-s", s], 2, "wildcard"),
        (vec!["pub", "t", "x", "--residency", "E U", "-s", s], 2, "1 to 64 of a-z, 0-9 and -"),
        (vec!["mesh", "trace", "t/*", "--dry", "-s", s], 2, "wildcard"),
        (vec!["pub", "t", "x", "--level", "synced", "-s", s], 1, "weft stream create"),
        (vec!["pub", "t", "x", "-s", "127.0.0.1:1"], 1, "nobody listens"),
        (vec!["pub", "t", "x", "-s", "192.0.2.1:7411"], 1, "without TLS"),
        (vec!["sub", "a//b", "-s", s], 2, "empty"),
        (vec!["sub", "t", "--stream", "none", "--from", "first", "-s", s], 1, "no_stream"),
        (vec!["sub", "t", "--stream", "s", "--from", "yesterday", "-s", s], 2, "no place in a stream"),
        (vec!["hub"], 2, "--config"),
        (vec!["hub", "--config", "/nowhere/hub.toml"], 2, "cannot read the configuration"),
        (vec!["fly"], 2, "unrecognized subcommand"),
    ] {
        let (found, out, err) = run(&args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?} says: {err}");
    }
}

#[test]
fn a_configuration_with_five_mistakes_gets_five_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("hub.toml");
    let text = "name = \"BIG\"\nregoin = \"x\"\nthreading = \"fast\"\n\
                [[clients]]\nlisten = \"7411\"\nplain = true\n[limits]\nframe = \"1 parsec\"\n[timers]\nhello = 5\n";
    fs::write(&config, text).expect("a file");
    let path = config.display().to_string();
    let (code, out, err) = run(&["hub", "--config", &path, "--check"]);
    assert_eq!((code, out.as_str()), (2, ""));
    for place in
        [":2:1: regoin", ":3:13: threading", ":5:10: clients.0.listen", ":8:9: limits.frame", ":10:9: timers.hello"]
    {
        assert!(err.contains(&format!("{path}{place}")), "{place} is not in:\n{err}");
    }
    assert!(err.contains("5 mistakes"), "{err}");

    fs::write(
        &config,
        "name = \"a\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n",
    )
    .expect("a file");
    let (code, out, _) = run(&["hub", "--config", &path, "--check"]);
    assert_eq!(code, 0);
    assert!(out.contains("frame = \"1 MiB\"") && out.contains("drain = \"5 s\""), "{out}");
}

#[test]
fn what_a_hub_cannot_have_is_named() {
    let hub = Hub::dev();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("hub.toml");
    let write = |listen: &str| {
        let text = format!(
            "name = \"a\"\ndata = \"data\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"{listen}\"\nplain = true\n"
        );
        fs::write(&config, text).expect("a file");
    };
    let path = config.display().to_string();
    write(hub.address.as_str());
    let (code, _, err) = run(&["hub", "--config", &path]);
    assert!(code == 1 && err.contains("is in use"), "{code} {err}");
    // What can be told without starting is told by `--check` as well.
    write("0.0.0.0:0");
    for args in [&["hub", "--config", &path][..], &["hub", "--config", &path, "--check"]] {
        let (code, _, err) = run(args);
        assert!(code == 2 && err.contains(":7:") && err.contains("without TLS"), "{code} {err}");
    }
    write("127.0.0.1:0");
    let _first = Hub::start(&["--config", &path]);
    let (code, _, err) = run(&["hub", "--config", &path]);
    assert_eq!(code, 1);
    assert!(err.contains("in use by"), "the folder of a hub that runs: {err}");
}

#[test]
fn the_first_signal_drains_and_ends_with_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut hub = Hub::dev();
        let s = hub.address.clone();
        let (subscriber, mut stderr) = subscribe(&["t", "-s", &s]);
        assert_eq!(run(&["pub", "t", "x", "-s", &s]).0, 0);
        hub.signal(signal);
        assert_eq!(hub.wait().code(), Some(0), "{}", hub.log());
        let names: Vec<String> = hub.events().iter().map(|e| e["event"].as_str().unwrap_or("").to_owned()).collect();
        for name in ["dev_hub", "hub_ready", "hub_draining", "hub_stopped"] {
            assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
        }
        // The subscriber was told, and tries again; it got what was published before.
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it says something");
        assert!(line.contains("shutdown"), "{line}");
        let mut subscriber = subscriber;
        subscriber.kill().expect("it runs");
        let (_, out, _) = said(subscriber.wait_with_output().expect("it ends"));
        assert_eq!(out, "t  x\n");
    }
}

#[test]
fn garbage_costs_its_sender_the_session_and_nobody_else_anything() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    let (subscriber, _stderr) = subscribe(&["t", "-s", s, "--count", "1", "--format", "raw"]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[16, 0, 0, 0, 99, 0, 0, 0]] {
        let mut socket = TcpStream::connect(s).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.write_all(garbage).expect("it is read");
        socket.shutdown(std::net::Shutdown::Write).expect("no more");
        // The hub closes, with or without saying why.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert_eq!(run(&["pub", "t", "still here", "-s", s]).0, 0);
    let (code, out, _) = said(subscriber.wait_with_output().expect("it ends"));
    assert_eq!((code, out.as_str()), (0, "still here\n"));
    let events = hub.events();
    assert!(events.iter().any(|e| e["level"] == "warn" && e["correlationId"].is_string()), "{events:#?}");
}

#[test]
fn certificates_decide_who_may_speak() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ours, theirs) = (path("ours"), path("theirs"));
    for dir in [&ours, &theirs] {
        assert_eq!(run(&["ca", "init", "--dir", dir]).0, 0);
        assert_eq!(run(&["ca", "issue", "client", "alice", "--dir", dir]).0, 0);
    }
    assert_eq!(run(&["ca", "issue", "hub", "chicago", "--dir", &ours]).0, 0);
    assert_eq!(run(&["ca", "issue", "hub", "chicago", "--dir", &ours]).0, 1, "a key is not overwritten");
    let config = path("hub.toml");
    let text = "name = \"chicago\"\n[tls]\ncert = \"ours/chicago.pem\"\nkey = \"ours/chicago.key\"\nca = \"ours/ca.pem\"\n\
                [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nlisten = \"quic:127.0.0.1:0\"\n[hubs]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(&config, text).expect("a file");
    let hub = Hub::start(&["--config", &config]);
    let with = |dir: &str, address: &str, hub: &str| {
        let file = |name: &str| format!("{dir}/{name}");
        let (cert, key, ca) = (file("alice.pem"), file("alice.key"), file("ca.pem"));
        run(&["pub", "t", "x", "-s", address, "--hub", hub, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca])
    };
    let quic = &hub.shared;
    assert!(quic.starts_with("quic:127.0.0.1:"), "{quic}");
    for address in [&hub.address, quic] {
        let (code, _, err) = with(&ours, address, "chicago");
        assert_eq!(code, 0, "{address}: {err}");
    }
    for (dir, address, name, part) in [
        (&theirs, &hub.address, "chicago", "certificate authority"),
        (&ours, &hub.address, "boston", "boston"),
        (&theirs, quic, "chicago", "certificate authority"),
        (&ours, quic, "boston", "boston"),
        (&ours, &hub.hubs, "chicago", "client"),
    ] {
        let (code, _, err) = with(dir, address, name);
        assert_eq!(code, 1, "{name}");
        assert!(err.contains(part), "{part} is not in: {err}");
    }
    assert_eq!(run(&["pub", "t", "x", "-s", &hub.address]).0, 1, "without TLS");
}

#[test]
fn topics_are_mapped_by_a_hub_as_the_test_of_its_file_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("hub.toml").display().to_string();
    let text = "name = \"chicago\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n\
                [[mapping]]\nname = \"region\"\nfrom = \"orders/*/**\"\nto = \"eu/{partition(8, 1)}/{1}/{rest}\"\n\
                [[mapping]]\nfrom = \"gone/**\"\nto = [{ topic = \"{rest}\", weight = 3 }, { drop = true }]\n\
                [[mapping]]\nfrom = \"never/**\"\nto = \"{rest}\"\n";
    fs::write(&config, text).expect("a file");
    let (code, out, err) = run(&["mapping", "test", "--config", &config, "orders/alice/placed", "bills"]);
    assert_eq!(code, 0, "{err}");
    for part in ["by rule 1 region, from `orders/*/**`:\n    eu/1/alice/placed\n", "bills\n    stays as it is"] {
        assert!(out.contains(part), "{part} is not in: {out}");
    }
    let (code, out, err) = run(&["mapping", "test", "--json", "--config", &config, "gone", "orders//"]);
    assert!(code == 1 && err.contains("2 of 2 topics would be refused"), "{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines[0]["to"][0]["refused"].is_string() && lines[0]["to"][1]["dropped"] == true, "{out}");
    assert!(lines[1]["refused"].is_string(), "{out}");
    let (code, out, _) = run(&["mapping", "test", "--request", "--config", &config, "orders/alice"]);
    assert!(code == 0 && out.contains("stays as it is"), "{out}");

    let hub = Hub::start(&["--config", &config]);
    let (code, _, err) = run(&["pub", "orders/alice/placed", "x", "-s", &hub.address]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&["pub", "never", "x", "-s", &hub.address]);
    assert!(code == 1 && err.contains("unmappable"), "{err}");
    let (code, out, err) = run(&["mesh", "trace", "orders/alice/placed", "--dry", "-s", &hub.address]);
    assert!(code == 0 && out.contains("mapped there to eu/1/alice/placed\n"), "{out}{err}");
    let (_, out, _) = run(&["mesh", "trace", "gone/x", "--dry", "-s", &hub.address]);
    assert!(out.contains("mapped there to x (75 %), dropped (25 %); what follows is for the largest"), "{out}");
    let (_, out, _) = run(&["mesh", "show", "--json", "-s", &hub.address]);
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(shown["counters"]["mapping.region.matched"], 1, "{out}");
    assert_eq!(shown["counters"]["mapping.3.refused"], 1, "{out}");

    // Rules that are wrong change nothing; others are taken at once.
    let dry = || run(&["mesh", "trace", "orders/bob", "--dry", "-s", &hub.address]).1;
    for (rules, told, expected) in [
        (text.replace("partition(8, 1)", "partition(8, 3)"), "config_unusable", "eu/5/bob"),
        (text.replace("eu/", "us/"), "mapping_changed", "us/5/bob"),
    ] {
        fs::write(&config, rules).expect("a file");
        hub.signal(Signal::HUP);
        let until = Instant::now() + PATIENCE;
        while !hub.log().contains(told) {
            assert!(Instant::now() < until, "{told} is not in {}", hub.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut out = dry();
        while !out.contains(expected) && Instant::now() < until {
            out = dry();
        }
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn a_busy_hub_is_profiled_while_it_runs_and_over_its_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let (life, now) = (folder.path().join("life.svg"), folder.path().join("now.svg"));
    let path = |path: &Path| path.display().to_string();
    let mut hub = Hub::start(&["--dev", "--port", "0", "--profile", &path(&life)]);
    // A life is one profile, and there can be one at a time.
    let (code, _, stderr) = run(&["profile", "-s", &hub.address, "--seconds", "1", "-o", &path(&now)]);
    assert_eq!(code, 1);
    assert!(stderr.contains("being taken already"), "{stderr}");
    hub.signal(Signal::TERM);
    assert!(hub.wait().success());
    let events = hub.events();
    let told = |code: &str| events.iter().any(|event| event["event"] == code);
    assert!(told("profile_written") == life.exists() && (life.exists() || told("profile_empty")));

    let hub = Hub::dev();
    let mut publisher =
        weft(&["pub", "t", "--lines", "-s", &hub.address]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut lines = publisher.stdin.take().expect("stdin");
    let feeder = std::thread::spawn(move || while lines.write_all(&b"a line of an event\n".repeat(500)).is_ok() {});
    // On a machine that is busy with other work the hub may do nothing for a second.
    let graph = (0..20).find_map(|_| {
        let (code, stdout, stderr) =
            run(&["profile", "-s", &hub.address, "--seconds", "1", "--hertz", "999", "-o", &path(&now)]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("allocations of"), "{stdout}");
        fs::read_to_string(&now).ok()
    });
    let graph = graph.expect("it is busy");
    assert!(graph.contains("<svg") && graph.contains("weft-hub"), "{graph}");
    publisher.kill().expect("it is there");
    publisher.wait().expect("it ends");
    feeder.join().expect("no panic");
}

#[test]
fn requests_are_answered_by_a_command_and_groups_share_events() {
    let hub = Hub::dev();
    let s = hub.address.as_str();
    let (code, _, said) = run(&["request", "sum", "1 2", "-s", s]);
    assert_eq!(code, 1, "nobody is there");
    assert!(said.contains("no responders"), "{said}");
    // Each says on its standard error that it is there.
    let started = |args: &[&str]| {
        let mut child = weft(args).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert!(line.contains("at hub"), "{line}");
        (child, lines)
    };
    let exec = "read a b; echo $((a + b)) on $WEFT_TOPIC";
    let (mut adder, _lines) = started(&["reply", "sum", "--group", "adders", "--exec", exec, "--count", "1", "-s", s]);
    assert_eq!(run(&["request", "sum", "1 2", "-s", s]).1, "3 on sum\n");
    assert!(adder.wait().expect("it ends").success());
    let (mut echo, _lines) = started(&["reply", "echo/*", "--echo", "--count", "1", "-s", s]);
    assert_eq!(run(&["request", "echo/a", "hello", "--until-end", "--deadline", "20s", "-s", s]).1, "hello\n");
    assert!(echo.wait().expect("it ends").success());

    let member = |weight: &str, count: &str| {
        started(&[
            "sub", "jobs/*", "--group", "workers", "--weight", weight, "--count", count, "--format", "raw", "-s", s,
        ])
    };
    let ((heavy, _a), (light, _b)) = (member("3", "9"), member("1", "3"));
    let jobs: String = (0..12).map(|n| format!("{n}\n")).collect();
    // A block of its own for each, because a block goes to one member as a whole.
    for job in jobs.lines() {
        assert_eq!(run(&["pub", "jobs/a", job, "-s", s]).0, 0);
    }
    let mut all = String::new();
    for member in [heavy, light] {
        let (code, text, _) = said_of(member);
        assert_eq!(code, 0);
        all.push_str(&text);
    }
    let mut numbers: Vec<u32> = all.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "each to one of them");
}

fn said_of(child: Child) -> (i32, String, String) {
    said(child.wait_with_output().expect("it ends"))
}

#[test]
fn receipts_are_printed_and_what_is_not_wanted_is_not_published() {
    let hub = Hub::dev();
    let at = ["-s", hub.address.as_str()];
    let (code, _, stderr) = run(&[&["pub", "a/b", "x", "--require", "1"], &at[..]].concat());
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("`a/b` is not wanted at 1 hub (nobody wants it)"), "{stderr}");
    let asked = ["sub", "a/*", "--live-at", "2", "--receipt-timeout", "100ms"];
    let (code, _, stderr) = run(&[&asked, &at[..]].concat());
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("`a/*` is not live at 2 hubs: live at 1 hubs"), "{stderr}");

    let mut sub =
        weft(&[&["sub", "a/*", "--live-at", "all", "--count", "1"], &at[..]].concat()).spawn().expect("it starts");
    let mut lines = BufReader::new(sub.stderr.take().expect("stderr")).lines();
    let told: Vec<String> = lines.by_ref().map_while(Result::ok).take(3).collect();
    assert!(told[1].starts_with("  ") && told[1].ends_with(" live"), "{told:?}");
    assert_eq!(told[2], "live at all hubs within reach");
    let (code, _, stderr) = run(&[&["pub", "a/b", "x", "--require", "all"], &at[..]].concat());
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, _) = said(sub.wait_with_output().expect("it ends"));
    assert_eq!((code, stdout.as_str()), (0, "a/b  x\n"));
    let (code, _, stderr) = run(&[&["sub", "a", "--live-at", "New York"], &at[..]].concat());
    assert_eq!(code, 2, "{stderr}");
}
