//! Events by HTTP into NATS: Benthos, a program that is much used as such a bridge, with
//! its inputs and outputs for the two (`bench/bridge`, built by Go when it is asked for),
//! before a NATS server. With NATS core, which has no acknowledgements, it answers when its
//! publish was given to its connection; with JetStream when that has acknowledged it.
//!
//! <https://github.com/redpanda-data/benthos>

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::jetstream;
use crate::nats::{Nats, Sync};
use crate::process::{self, Server};

/// What is published to in NATS.
const SUBJECT: &str = "bench";

/// A running bridge, and its server.
#[derive(Debug)]
pub struct Bridge {
    _bridge: Server,
    _nats: Nats,
    address: String,
    name: String,
    _folder: TempDir,
}

impl Bridge {
    /// Starts both; what is posted to `path` is published, to a stream in memory where it
    /// is to be acknowledged.
    pub fn start(path: &str, is_acknowledged: bool) -> Result<Self> {
        let (program, version) = program()?;
        let folder = tempfile::tempdir()?;
        let (nats, output, to) = if is_acknowledged {
            let nats = Nats::jetstream(folder.path(), Sync::Default)?;
            jetstream::in_memory(&nats, SUBJECT)?;
            (nats, "nats_jetstream", "JetStream")
        } else {
            (Nats::core()?, "nats", "NATS core")
        };
        let address = format!("127.0.0.1:{}", process::free_port()?);
        let own = process::free_port()?;
        let config = folder.path().join("bridge.yaml");
        let text = format!(
            "http: {{ address: \"127.0.0.1:{own}\" }}\nlogger: {{ level: ERROR }}\n\
             input: {{ http_server: {{ address: \"{address}\", path: \"{path}\", allowed_verbs: [ POST ] }} }}\n\
             output: {{ {output}: {{ urls: [ \"nats://{}\" ], subject: {SUBJECT}, max_in_flight: 1024 }} }}\n",
            nats.address()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config);
        let mut bridge = Server::start("bridge", &mut command, folder.path())?;
        bridge.wait_ready(|| TcpStream::connect(&address).ok())?;
        let name = format!("Benthos {version} to {to} {}", crate::nats::VERSION);
        Ok(Self { _bridge: bridge, _nats: nats, address, name, _folder: folder })
    }

    /// Where it takes events.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The program, built from `bench/bridge` of the working folder, and Benthos's version.
fn program() -> Result<(PathBuf, String)> {
    let source = PathBuf::from("bench/bridge");
    let module = std::fs::read_to_string(source.join("go.mod")).context("run this in the project's folder")?;
    let version = module.split("benthos/v4 v").nth(1).and_then(|rest| rest.split_whitespace().next());
    let version = version.context("bench/bridge/go.mod names no version of Benthos")?.to_owned();
    let program = process::target_folder()?.join("peers").join(format!("benthos-{version}"));
    if !program.exists() {
        eprintln!("building Benthos {version}, which takes a minute");
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(std::path::absolute(&program)?).arg(".").current_dir(source);
        let status = command.status().context("cannot start go: install Go 1.21 or newer")?;
        ensure!(status.success(), "{command:?} ended with {status}");
    }
    Ok((program, version))
}
