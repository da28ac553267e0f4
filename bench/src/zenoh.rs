//! Zenoh: a router and clients in a program of its own, `bench/zenoh`, which is
//! built when it is asked for and does the work of the benchmarks over Zenoh's
//! crate. Only the whole runs can be asked for; it has no raw client.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weft_load::latency::Latencies;

use crate::latency::Pace;
use crate::process::{self, Server};
use crate::work::{Delivered, Load, Peer, Publish, Subscribe};

/// A running router.
#[derive(Debug)]
pub struct Zenoh {
    program: PathBuf,
    server: Server,
    address: String,
    version: String,
    _folder: TempDir,
}

impl Zenoh {
    /// Starts a router; its program is built if it is not there, which takes minutes.
    pub fn start() -> Result<Self> {
        let (program, version) = program()?;
        let folder = tempfile::tempdir()?;
        let address = format!("127.0.0.1:{}", process::free_port()?);
        let mut command = Command::new(&program);
        let mut server = Server::start("zenoh", command.args(["router", &address]), folder.path())?;
        server.wait_ready(|| TcpStream::connect(&address).ok())?;
        Ok(Self { program, server, address, version, _folder: folder })
    }

    /// Lets the program do something, and reads what it gave.
    fn ask<T: DeserializeOwned>(&self, task: &str, what: &impl Serialize) -> Result<T> {
        let mut command = Command::new(&self.program);
        command.args([task, &self.address, &self.server.pid().to_string(), &serde_json::to_string(what)?]);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("Zenoh's program, task {task}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("what Zenoh's program gave for {task}"))
    }
}

/// The program, built from `bench/zenoh` of the working folder, and Zenoh's version.
fn program() -> Result<(PathBuf, String)> {
    let folder = PathBuf::from("bench/zenoh");
    let target = process::target_folder()?.join("zenoh");
    let lock = std::fs::read_to_string(folder.join("Cargo.lock")).context("run this in the project's folder")?;
    let version = lock.split("name = \"zenoh\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let program = target.join("release/weft-bench-zenoh");
    eprintln!("building Zenoh; the first time this takes minutes");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "--locked", "--target-dir"]).arg(&target).current_dir(&folder);
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "bench/zenoh does not build");
    Ok((program, format!("zenoh {}, a router in its own process", version.unwrap_or("?"))))
}

impl Peer for Zenoh {
    fn name(&self) -> &str {
        "Zenoh"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, _key: &str, _payload: usize) -> Result<Box<dyn Publish>> {
        bail!("this is not measured of Zenoh")
    }

    fn subscriber(&self, _key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        bail!("this is not measured of Zenoh")
    }

    fn deliver(&self, _key: &str, load: &Load) -> Result<Delivered> {
        self.ask("deliver", load)
    }

    fn open_loop(&self, _key: &str, pace: &Pace) -> Result<Latencies> {
        let pairs: Vec<(u64, u64)> = self.ask("open-loop", pace)?;
        Ok(Latencies::from_pairs(&pairs))
    }

    fn round_trips(&self, _key: &str, payload: usize, time: Duration) -> Result<Latencies> {
        let pairs: Vec<(u64, u64)> = self.ask("round-trips", &(payload, time))?;
        Ok(Latencies::from_pairs(&pairs))
    }
}
