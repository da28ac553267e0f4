//! Streams as they lie on disk: `weft log` and backup and restore, with the
//! program as people use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use serde_json::Value;
use weft_client::{AckLevel, Client, ConnectOptions, PublisherOptions, StartAt, StreamOptions, SubscribeOptions};

/// The longest that anything here may take; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn weft(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; answers exit code, stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = weft(arguments).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Keys, and the variable of the environment in which every hub here has them.
const KEYS: &str = "WEFT_TEST_STORAGE_KEYS";
const KEY: &str = "9f3c55d1a0b7e2846cfe01928374655ab3c2d1e0f9a8b7c6d5e4f3021a2b3c4d";

fn configure(folder: &Path, name: &str, more: &str) -> PathBuf {
    let config = folder.join(format!("{name}.toml"));
    let listen = "[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    fs::write(&config, format!("name = \"{name}\"\ndata = \"{name}\"\n{listen}{more}")).expect("the configuration");
    config
}

/// Whether a file below a folder holds this text.
fn holds(folder: &Path, what: &str) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| match entry.path() {
        path if path.is_dir() => holds(&path, what),
        path => fs::read(path).expect("a file").windows(what.len()).any(|window| window == what.as_bytes()),
    })
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// A hub over a data folder; killed when the test is over.
struct Hub {
    child: Child,
    address: String,
}

impl Hub {
    fn start(folder: &Path, name: &str) -> Self {
        Self::start_with(folder, name, "")
    }

    /// With more in the configuration.
    fn start_with(folder: &Path, name: &str, more: &str) -> Self {
        let config = configure(folder, name, more);
        let ready = folder.join(format!("{name}.ready"));
        let _ = fs::remove_file(&ready);
        let mut command = weft(&["--log", "warn", "hub", "--config"]);
        command.arg(&config).arg("--ready-file").arg(&ready).env(KEYS, KEY);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the program starts");
        let end = Instant::now() + PATIENCE;
        loop {
            let said: Option<Value> = fs::read_to_string(&ready).ok().and_then(|t| serde_json::from_str(&t).ok());
            if let Some(address) = said.as_ref().and_then(|value| value["clients"][0].as_str()) {
                return Self { address: address.to_owned(), child };
            }
            assert!(child.try_wait().expect("a process").is_none() && Instant::now() < end, "the hub does not start");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn connect(&self) -> Client {
        block_on(Client::connect(ConnectOptions::new(self.address.clone()))).expect("the hub answers")
    }

    /// Publishes so many events to `t/a`, synced.
    fn publish(&self, from: u64, count: u64) {
        let client = self.connect();
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
        block_on(async {
            let mut waiting = Vec::new();
            for number in from..from + count {
                let payload = format!("event {number}, of which nothing may be lost");
                waiting.push(publisher.publish("t/a", payload.as_bytes()).await.expect("it is taken"));
            }
            for one in waiting {
                one.await.expect("it is acknowledged");
            }
            client.close().await;
        });
    }

    fn create(&self, stream: &str) {
        let client = self.connect();
        block_on(async {
            client.streams().create(&StreamOptions::new(stream, "t/**")).await.expect("a stream");
            client.close().await;
        });
    }

    /// All blocks of a stream, as they come over the wire.
    fn blocks(&self, stream: &str) -> Vec<Vec<u8>> {
        let client = self.connect();
        block_on(async {
            let end = client.streams().info(stream).await.expect("a report").synced;
            let replay = SubscribeOptions::stream(stream, StartAt::First);
            let mut events = client.subscribe("**", replay).await.expect("a subscription");
            let (mut blocks, mut next) = (Vec::new(), 1);
            while next < end {
                let delivery = events.next().await.expect("there is more").expect("it can be read");
                next = delivery.stream_sequence() + u64::from(delivery.event_count());
                blocks.push(delivery.block().bytes().to_vec());
            }
            client.close().await;
            blocks
        })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Flips a bit in the first block's payload.
fn damage(stream: &Path) -> PathBuf {
    let path = stream.join("0000000001.seg");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[4096 + 180] ^= 4;
    fs::write(&path, bytes).expect("it can be written");
    path
}

#[test]
fn a_stream_is_inspected_verified_and_repaired_where_it_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let stream = folder.path().join("one/streams/all");
    let hub = Hub::start(folder.path(), "one");
    hub.create("all");
    hub.publish(0, 50);
    // In use it can be looked at, and not be repaired.
    let (code, out, err) = run(&["log", "verify", &text(&folder.path().join("one"))]);
    assert!(code == 0 && out.contains("all: 50 events") && out.contains("sound"), "{code} {out} {err}");
    let (code, _, err) = run(&["log", "repair", &text(&stream), "--apply"]);
    assert!(code == 1 && err.contains("in use"), "{code} {err}");
    drop(hub);
    let copy = folder.path().join("copy");
    copy_folder(&stream, &copy);
    let (code, out, _) = run(&["log", "inspect", &text(&stream), "--json"]);
    let value: Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == 0 && value["events"] == 50 && value["sound"] == true && value["inUse"] == false, "{out}");
    let (_, out, _) = run(&["log", "inspect", &text(&stream), "--blocks"]);
    assert!(out.contains("t/a") && out.contains("position"), "{out}");

    let segment = damage(&stream);
    let damaged = fs::read(&segment).expect("a segment");
    let (code, out, err) = run(&["log", "verify", &text(&stream)]);
    assert!(code == 1 && out.contains("0000000001.seg byte 4096") && err.contains("not sound"), "{out} {err}");
    let (code, out, _) = run(&["log", "repair", &text(&stream), "--from", &text(&copy)]);
    assert!(code == 0 && out.contains("would do") && out.contains("nothing was changed"), "{out}");
    assert!(fs::read(&segment).expect("a segment") == damaged, "a dry run changes nothing");
    let (code, out, err) = run(&["log", "repair", &text(&stream), "--from", &text(&copy), "--apply"]);
    assert!(code == 0 && out.contains("0 given up"), "{out} {err}");
    let (mended, whole) = (fs::read(&segment).expect("a segment"), fs::read(copy.join("0000000001.seg")).expect("one"));
    let differs = mended.iter().zip(&whole).skip(4096).position(|(a, b)| a != b);
    assert_eq!((differs, mended.len()), (None, whole.len()), "{out}");
    let (code, out, _) = run(&["log", "verify", &text(&stream)]);
    assert!(code == 0, "{out}");
    assert_eq!(Hub::start(folder.path(), "one").blocks("all").len() as u64, value["blocks"]);
}

#[test]
fn what_waits_to_enter_a_stream_is_inspected_verified_and_repaired_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, stream) = (text(&folder.path().join("one")), folder.path().join("one/streams/all"));
    let hub = Hub::start(folder.path(), "one");
    hub.create("all");
    hub.publish(0, 5);
    for n in 0..3 {
        let later = format!("later {n}");
        let args = ["pub", "t/a", &later, "--after", "1h", "--level", "synced", "--server", &hub.address];
        let (code, out, err) = run(&args);
        assert!(code == 0, "{out} {err}");
    }
    let (code, out, err) = run(&["log", "verify", &data]);
    assert!(code == 0 && out.contains("all/schedule: 3 events"), "{out} {err}");
    drop(hub);
    let copy = folder.path().join("copy");
    fs::create_dir_all(copy.join("schedule")).expect("a folder");
    for at in ["", "schedule"] {
        for entry in fs::read_dir(stream.join(at)).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), copy.join(at).join(entry.file_name())).expect("a copy");
        }
    }
    damage(&stream.join("schedule"));
    let schedule = text(&stream.join("schedule"));
    for dir in [&data, &text(&stream), &schedule] {
        let (code, out, err) = run(&["log", "verify", dir]);
        let told = out.contains("all/schedule: 0000000001.seg byte 4096") && !out.contains("stream.json");
        assert!(code == 1 && told && err.contains("not sound: all/schedule;"), "{out} {err}");
    }
    let (code, out, _) = run(&["log", "inspect", &data, "--blocks"]);
    assert!(code == 0 && out.contains("stream all/schedule in"), "{out}");
    let (code, out, err) = run(&["log", "repair", &text(&stream), "--from", &text(&copy), "--apply"]);
    assert!(code == 0 && out.contains("all/schedule: 1 events restored, 0 given up"), "{out} {err}");
    let (code, out, _) = run(&["log", "verify", &data]);
    assert!(code == 0, "{out}");
}

#[test]
fn without_its_description_a_stream_is_kept_and_gets_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let stream = folder.path().join("one/streams/all");
    let hub = Hub::start(folder.path(), "one");
    hub.create("all");
    hub.publish(0, 5);
    let blocks = hub.blocks("all");
    drop(hub);
    fs::remove_file(stream.join("stream.json")).expect("it was there");
    fs::remove_file(stream.join("FORMAT")).expect("it was there");
    // The hub leaves it alone.
    drop(Hub::start(folder.path(), "one"));
    let (code, out, _) = run(&["log", "verify", &text(&stream)]);
    assert!(code == 1 && out.contains("stream.json is missing") && out.contains("FORMAT is missing"), "{out}");
    let (_, out, _) = run(&["log", "repair", &text(&stream), "--apply"]);
    assert!(out.contains("name it with --filter"), "{out}");
    let (code, out, err) = run(&["log", "repair", &text(&stream), "--filter", "t/**", "--apply"]);
    assert!(code == 0, "{out} {err}");
    assert!(Hub::start(folder.path(), "one").blocks("all") == blocks, "all of it is there again");
}

#[test]
fn a_backup_of_a_running_hubs_stream_is_restored_with_every_sequence_and_stamp() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = text(&folder.path().join("backup"));
    let hub = Hub::start(folder.path(), "one");
    hub.create("all");
    hub.publish(0, 300);
    let to = |hub: &Hub| run(&["stream", "backup", "all", "--to", &backup, "--server", &hub.address]);
    let (code, out, err) = to(&hub);
    assert!(code == 0 && out.contains("300 events more"), "{out} {err}");
    hub.publish(300, 200);
    let (code, out, err) = to(&hub);
    assert!(code == 0 && out.contains("200 events more") && out.contains("now 500 events"), "{out} {err}");
    let (code, out, _) = run(&["log", "verify", &backup]);
    assert!(code == 0 && out.contains("500 events"), "{out}");
    hub.create("other");
    let (code, _, err) = run(&["stream", "backup", "other", "--to", &backup, "--server", &hub.address]);
    assert!(code == 1 && err.contains("of the stream `all`"), "{err}");
    let blocks = hub.blocks("all");
    let restore = |data: &Path, more: &[&str]| {
        let data = text(data);
        run(&[&["stream", "restore", &backup, "--data", &data], more].concat())
    };
    let (code, _, err) = restore(&folder.path().join("one"), &["--name", "again"]);
    assert!(code == 1 && err.contains("in use by a hub"), "{err}");
    drop(hub);
    let (code, _, err) = restore(&folder.path().join("one"), &[]);
    assert!(code == 1 && err.contains("is there already"), "{err}");
    // Into another hub, and under another name into the same.
    for (hub, name, more) in [("two", "all", &[][..]), ("one", "again", &["--name", "again"])] {
        let (code, out, err) = restore(&folder.path().join(hub), more);
        assert!(code == 0 && out.contains("500 events"), "{out} {err}");
        let hub = Hub::start(folder.path(), hub);
        assert!(hub.blocks(name) == blocks, "byte for byte, with sequences and stamps");
        hub.publish(500, 1);
        assert_eq!(hub.blocks(name).len(), blocks.len() + 1, "and it goes on");
    }
}

#[test]
fn a_stream_that_is_lost_comes_back_from_its_backup_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = text(&folder.path().join("backup"));
    let hub = Hub::start(folder.path(), "one");
    hub.create("all");
    hub.publish(0, 10);
    let (code, _, err) = run(&["stream", "backup", "all", "--to", &backup, "--server", &hub.address]);
    assert_eq!(code, 0, "{err}");
    let kept = hub.blocks("all").len();
    hub.publish(10, 10);
    drop(hub);
    fs::remove_dir_all(folder.path().join("one/streams/all")).expect("it was there");
    let (code, _, err) = run(&["stream", "restore", &backup, "--data", &text(&folder.path().join("one"))]);
    assert_eq!(code, 0, "{err}");
    let hub = Hub::start(folder.path(), "one");
    assert_eq!(hub.blocks("all").len(), kept);
    hub.publish(20, 1);
    assert_eq!(hub.blocks("all").len(), kept + 1, "what was kept, and what was published since");
}

#[test]
fn an_encrypted_stream_is_worked_on_with_its_keys_and_with_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    let (keys, wrong) = (at("storage.keys"), at("wrong.keys"));
    fs::write(&keys, format!("# ours\n{KEY}\n")).expect("a file");
    fs::write(&wrong, "11".repeat(32)).expect("a file");
    mode(&keys, 0o600);
    mode(&wrong, 0o400);
    let (keys, wrong) = (text(&keys), text(&wrong));
    let payload = "of which nothing may be lost";
    let (sealed, plain, stream) = (text(&at("sealed")), text(&at("plain")), text(&at("one/streams/all")));

    let small = "[streams]\nsegment = \"4 MiB\"\n[storage]\nkey_file = \"storage.keys\"\n";
    let hub = Hub::start_with(folder.path(), "one", small);
    hub.create("all");
    hub.publish(0, 50);
    let blocks = hub.blocks("all");
    let backup = |to: &str, more: &[&str]| {
        run(&[&["stream", "backup", "all", "--server", &hub.address, "--to", to], more].concat())
    };
    let (code, out, err) = backup(&sealed, &["--key-file", &keys]);
    assert!(code == 0 && out.contains("50 events more"), "{out} {err}");
    assert_eq!(backup(&plain, &[]).0, 0);
    let (code, _, err) = backup(&sealed, &[]);
    assert!(code == 1 && err.contains("--key-file"), "one that is encrypted goes on with its key: {err}");
    drop(hub);
    assert!(!holds(&at("one"), payload) && !holds(&at("sealed"), payload));
    assert!(holds(&at("plain"), payload), "the search finds what is there");

    let data = text(&at("two"));
    let commands: [&[&str]; 5] = [
        &["log", "inspect", &stream],
        &["log", "inspect", &stream, "--blocks"],
        &["log", "verify", &stream],
        &["log", "repair", &stream, "--apply"],
        &["stream", "restore", &sealed, "--data", &data],
    ];
    for command in commands {
        for more in [&[][..], &["--key-file", &wrong]] {
            let (code, out, err) = run(&[command, more].concat());
            assert!(code == 1 && err.contains("is encrypted with the key"), "{command:?} {more:?}: {code} {out} {err}");
            assert!(err.contains("--key-file") && !err.contains(KEY), "{err}");
        }
        mode(&at("storage.keys"), 0o640);
        let (code, _, err) = run(&[command, &["--key-file", &keys]].concat());
        assert!(
            code == 2 && err.contains("others can read it") && err.contains("chmod 600"),
            "{command:?}: {code} {err}"
        );
        mode(&at("storage.keys"), 0o600);
        if command[1] == "restore" {
            continue;
        }
        let (code, out, err) = run(&[command, &["--key-file", &keys]].concat());
        assert!(code == 0 && !out.contains(KEY) && !err.contains(KEY), "{command:?}: {code} {out} {err}");
        assert_eq!(out.contains("t/a"), command.contains(&"--blocks"), "{out}");
    }
    copy_folder(Path::new(&stream), &at("copy"));
    damage(Path::new(&stream));
    let with = |command: &[&str]| run(&[command, &["--key-file", &keys]].concat());
    assert_eq!(with(&["log", "verify", &stream]).0, 1);
    let (code, out, err) = with(&["log", "repair", &stream, "--from", &text(&at("copy")), "--apply"]);
    assert!(code == 0 && out.contains("0 given up"), "{out} {err}");
    assert_eq!(with(&["log", "verify", &stream]).0, 0);
    assert!(!holds(&at("one"), payload), "nor in what was repaired or put into quarantine");

    // A hub lacks the key, or others can read it: it does not start.
    mode(&at("storage.keys"), 0o644);
    for (more, why) in [("", "is encrypted with the key"), ("[storage]\nkey_file = \"storage.keys\"\n", "chmod 600")] {
        let config = text(&configure(folder.path(), "one", more));
        let (code, out, err) = run(&["hub", "--config", &config]);
        assert!(code != 0 && (out + &err).contains(why), "{code}");
    }
    let (code, _, err) = with(&["stream", "restore", &sealed, "--data", &data]);
    assert!(code == 2 && err.contains("chmod 600"), "{err}");
    mode(&at("storage.keys"), 0o600);
    let (code, out, err) = with(&["stream", "restore", &sealed, "--data", &data]);
    assert!(code == 0 && out.contains("50 events"), "{out} {err}");
    for name in ["one", "two"] {
        let hub = Hub::start_with(folder.path(), name, &format!("[storage]\nkey_env = {KEYS:?}\n"));
        assert!(hub.blocks("all") == blocks, "byte for byte");
        hub.publish(50, 1);
        assert_eq!(hub.blocks("all").len(), blocks.len() + 1);
        drop(hub);
        assert!(!holds(&at(name), payload));
    }
}
