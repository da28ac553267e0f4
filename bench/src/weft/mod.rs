//! Weft: the real program as a server, and a raw client of its native protocol.
//!
//! The raw client does what a client library must and no more: it says hello,
//! keeps its producer's sequence, and gives each block a right checksum. What
//! it writes was built beforehand; per block it changes the sequence and counts
//! the checksum anew.

mod chain;
mod connection;
mod durable;
mod governed;
mod publish;
mod streams;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use weft_base::{Lane, SubscriptionId};
use weft_wire::frame::{Frame, OnFull, Start, Subscribe as SubscribeFrame};

pub use self::chain::Chain;
use self::connection::Connection;
pub use self::governed::Governed;
use self::publish::{Publisher, Spread};
use crate::process::Server;
use crate::work::{Peer, Publish, Subscribe};

/// Subscriptions asked for before their answers are read.
const SUBSCRIBE_AT_ONCE: usize = 500;

/// A running hub with nobody but the benchmark.
#[derive(Debug)]
pub struct Hub {
    server: Server,
    name: &'static str,
    address: String,
    /// Of a hub whose files are thrown away.
    _folder: Option<TempDir>,
}

impl Hub {
    /// Starts `weft hub --dev` with its data in a new folder under `disk`; clients reach it over TCP.
    pub fn start(disk: &Path) -> Result<Self> {
        Self::named("Weft", disk, |address| !address.starts_with("shm:"))
    }

    /// The same, over shared memory.
    pub fn over_shared_memory(disk: &Path) -> Result<Self> {
        Self::named("Weft, shared memory", disk, |address| address.starts_with("shm:"))
    }

    /// Starts a hub whose configuration, data and log are in `folder`, and stay there.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        Self::configured("Weft", folder, "", "")
    }

    /// The same, which answers by HTTP too, without TLS, with so many threads, and where.
    pub fn with_http(folder: &Path, threads: usize) -> Result<(Self, String)> {
        let http = format!("[http]\nlisten = \"127.0.0.1:0\"\nplain = true\nthreads = {threads}\n");
        let hub = Self::configured("Weft", folder, "", &http)?;
        Ok((hub, Self::http(folder)?))
    }

    /// The same with these keys, and these tables, in its configuration.
    pub fn configured(name: &'static str, folder: &Path, keys: &str, tables: &str) -> Result<Self> {
        let config = folder.join("hub.toml");
        let text = format!(
            "name = \"bench\"\ndata = \"data\"\n{keys}[control]\nenforce = false\n\
             [[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n{tables}"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program()?);
        command.arg("hub").arg("--config").arg(&config);
        Self::run(name, command, folder, None, |_| true)
    }

    /// Where the hub of this folder answers by HTTP.
    pub fn http(folder: &Path) -> Result<String> {
        let ready: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("ready.json"))?)?;
        Ok(ready["http"].as_str().context("the hub does not answer by HTTP")?.to_owned())
    }

    fn named(name: &'static str, disk: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let folder = tempfile::tempdir_in(disk)?;
        let mut command = Command::new(program()?);
        command.args(["hub", "--dev", "--port", "0"]);
        // A development hub keeps its data in the temporary folder.
        command.env("TMPDIR", folder.path());
        let path = folder.path().to_owned();
        Self::run(name, command, &path, Some(folder), wanted)
    }

    fn run(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        thrown_away: Option<TempDir>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let ready = folder.join("ready.json");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        command.arg("--ready-file").arg(&ready);
        let mut server = Server::start("weft", &mut command, folder)?;
        let addresses: Vec<String> = server.wait_ready(|| {
            let text = std::fs::read_to_string(&ready).ok()?;
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            serde_json::from_value(value.get("clients")?.clone()).ok()
        })?;
        let address = addresses.into_iter().find(|address| wanted(address));
        let address =
            address.with_context(|| format!("the hub has no address for {name}: is its folder's path too long?"))?;
        Ok(Self { server, name, address, _folder: thrown_away })
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same hub, with publishers in this lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> InLane<'_> {
        InLane { hub: self, lane }
    }

    fn publish(&self, key: &str, payload: usize, lane: Lane) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Publisher::new(Connection::open(&self.address)?, key, payload, lane, publish::ONE)?))
    }

    fn subscribe<S: AsRef<str>>(&self, keys: &[S], on_full: OnFull) -> Result<Connection> {
        subscribe(Connection::open(&self.address)?, keys, on_full)
    }
}

/// Subscribes to these topics, with more credit than will ever be used.
fn subscribe<S: AsRef<str>>(mut connection: Connection, keys: &[S], on_full: OnFull) -> Result<Connection> {
    let mut number = 0;
    // Not all at once: neither side must wait for the other to read.
    for some in keys.chunks(SUBSCRIBE_AT_ONCE) {
        for key in some {
            number += 1;
            connection.send(&Frame::Subscribe(SubscribeFrame {
                id: SubscriptionId(number),
                filter: key.as_ref(),
                stream: "",
                start: Start::New,
                credit_events: u64::MAX,
                credit_bytes: u64::MAX,
                on_full,
                group: "",
                spill: "",
                position: Vec::new(),
                weight: 1,
            }))?;
        }
        let mut left = some.len();
        connection.answer(|frame| {
            left -= usize::from(matches!(frame, Frame::Subscribed(_)));
            left == 0
        })?;
    }
    Ok(connection)
}

/// The program, beside this one in the target folder.
///
/// # Errors
/// It is not there: it has to be built first.
pub fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.parent().context("this program lies in no folder")?.join("weft");
    ensure!(program.exists(), "there is no {}; build it with `cargo build --profile dist -p weft`", program.display());
    Ok(program)
}

impl Peer for Hub {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> String {
        concat!("weft ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        self.publish(key, payload, Lane::DEFAULT)
    }

    fn subscriber(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.subscribe(&[key], OnFull::Disconnect)?))
    }

    fn sleeper(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.subscribe(&[key], OnFull::DropOldest)?))
    }

    fn watch(&self, keys: &[String], _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.subscribe(keys, OnFull::Disconnect)?))
    }

    fn spread(&self, keys: &[String], payload: usize) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Spread::new(Connection::open(&self.address)?, keys, payload)?))
    }
}

/// A hub whose publishers are in one lane.
#[derive(Debug)]
pub struct InLane<'a> {
    hub: &'a Hub,
    lane: Lane,
}

impl Peer for InLane<'_> {
    fn name(&self) -> &str {
        self.hub.name
    }

    fn version(&self) -> String {
        self.hub.version()
    }

    fn server(&self) -> Option<&Server> {
        self.hub.server()
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        self.hub.publish(key, payload, self.lane)
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        self.hub.subscriber(key, payload)
    }
}
