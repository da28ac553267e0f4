//! A hub in a process of its own, and what can be done to it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weft_client::ConnectOptions;

use crate::clock::TestClock;

/// The longest that anything here may take; only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The program with these arguments.
pub(crate) fn weft(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end; answers whether it succeeded, and all that it printed.
pub(crate) fn run(arguments: &[&str]) -> (bool, String) {
    let output = weft(arguments).output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A hub whose data lies in a folder of choice; killed when this is dropped.
pub(crate) struct Hub {
    child: Option<Child>,
    address: String,
    folder: PathBuf,
    pub(crate) data: PathBuf,
    clock: Option<TestClock>,
}

impl Hub {
    /// Starts one. `folder` is for its configuration and log.
    pub(crate) fn start(folder: &Path, data: &Path) -> Self {
        Self::start_with(folder, data, None)
    }

    /// Starts one whose clock can be set.
    pub(crate) fn start_with(folder: &Path, data: &Path, clock: Option<TestClock>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let text = format!(
            "name = \"crash\"\ndata = \"{}\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"{address}\"\nplain = true\n",
            data.display()
        );
        fs::write(folder.join("hub.toml"), text).expect("the configuration");
        let mut hub = Self { child: None, address, folder: folder.to_owned(), data: data.to_owned(), clock };
        hub.again();
        hub
    }

    fn ready(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    /// How often its log has an event of this name.
    pub(crate) fn logged(&self, event: &str) -> usize {
        let name = format!("\"event\":\"{event}\"");
        self.log().lines().filter(|line| line.contains(&name)).count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Starts it again, and waits until it is ready.
    pub(crate) fn again(&mut self) {
        let _ = fs::remove_file(self.ready());
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let (config, ready) = (self.folder.join("hub.toml"), self.ready());
        let mut command = weft(&["--log", "info", "hub", "--config"]);
        command.arg(config).arg("--ready-file").arg(&ready).stdout(Stdio::null()).stderr(log);
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        let mut child = command.spawn().expect("the program starts");
        until("the hub is ready", || {
            if let Some(status) = child.try_wait().expect("a process") {
                panic!("the hub ended with {status}; its log:\n{}", self.log());
            }
            ready.exists()
        });
        self.child = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32)).expect("a process");
        kill_process(id, signal).expect("it is there");
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("it can be waited for");
        }
    }

    /// Stops it cleanly.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("a process");
        until("the hub stops", || child.try_wait().expect("a process").is_some());
    }

    /// Holds the process for so long.
    pub(crate) fn freeze(&self, time: Duration) {
        self.signal(Signal::STOP);
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        self.signal(Signal::CONT);
    }

    /// Sets its clock back by so much; zero sets it right.
    pub(crate) fn set_back(&self, by: Duration) {
        self.clock.as_ref().expect("it was started with a clock").set_back(by);
    }

    /// The folder of a stream.
    pub(crate) fn stream(&self, name: &str) -> PathBuf {
        self.data.join("streams").join(name)
    }

    /// How to connect to it, for long enough to survive any fault here.
    pub(crate) fn connect(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new(self.address.clone());
        options.connect_for = PATIENCE;
        options.retry_first = Duration::from_millis(5);
        options.retry_most = Duration::from_millis(50);
        options.quiet = Duration::from_secs(1);
        options
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("the end of the hub's log, the newest first:\n{}", tail.join("\n"));
        }
        self.kill();
    }
}
