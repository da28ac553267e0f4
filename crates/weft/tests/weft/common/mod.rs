//! A hub in a process of its own, for the tests of the program.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod http;
pub mod line;
pub mod sse;
pub mod tokens;
pub mod voters;

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A command that is killed at the end, also of a test that fails.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Killed at the end.
pub struct Hub {
    pub child: Child,
    pub address: String,
    /// Where it takes links.
    pub hubs: String,
    /// Where it answers by HTTP, if it does.
    pub http: String,
    pub folder: tempfile::TempDir,
}

impl Hub {
    /// One for development.
    pub fn start() -> Self {
        Self::start_with(&["--dev", "--port", "0"])
    }

    /// One with a configuration, which lies in the hub's folder as `hub.toml`.
    pub fn configured(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub.toml");
        fs::write(&path, config).expect("a file");
        Self::start_in(folder, &["--config", &path.display().to_string()])
    }

    pub fn start_with(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), args)
    }

    /// What the hub leaves when it is killed goes with the folder.
    pub fn start_in(folder: tempfile::TempDir, args: &[&str]) -> Self {
        let ready = folder.path().join("ready.json");
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.arg("hub").args(args).arg("--ready-file").arg(&ready).env("TMPDIR", folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let mut hub = Self { child, address: String::new(), hubs: String::new(), http: String::new(), folder };
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Ok(text) = fs::read_to_string(&ready) {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                value["clients"][0].as_str().expect("an address").clone_into(&mut hub.address);
                value["hubs"].as_str().unwrap_or_default().clone_into(&mut hub.hubs);
                value["http"].as_str().unwrap_or_default().clone_into(&mut hub.http);
                return hub;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the hub is not ready: {}", hub.log());
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log has so many events with this code and this text.
    pub fn wait_for_events(&self, count: usize, code: &str, text: &str) {
        let code = format!("\"{code}\"");
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if self.log().lines().filter(|line| line.contains(&code) && line.contains(text)).count() >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no {count} of {code} with `{text}`: {}", self.log());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on, below those that the system gives to
/// connections (Linux: from 32768 on), so that a hub that is started again finds
/// it free. No two calls of one test program get the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const PORTS: std::ops::Range<u16> = 10_000..20_000;
    // Tests that run at the same time begin at different places.
    let first = std::process::id() as usize;
    let tried = PORTS.map(|_| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut ports = tried.filter_map(|at| PORTS.clone().nth(at % PORTS.len()));
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}
