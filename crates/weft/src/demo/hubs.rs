//! The demo's hubs: real processes of this same program, linked by mutual TLS
//! with certificates made on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use weft_client::{Client, ConnectOptions, Security, TlsIdentity};
use weft_transport::PeerKind;

use super::flights::{HUBS, HubIndex};
use super::line::Line;
use crate::commands::ca;

/// How long a hub may take to start.
const START: Duration = Duration::from_secs(10);
/// How long a hub may take to stop in good order.
const STOP: Duration = Duration::from_secs(8);
/// For how many days the demo's certificates are valid.
const DAYS: u32 = 7;
/// The name in the certificate of the demo's clients.
pub(crate) const CLIENT: &str = "demo";
/// The hub in the middle of the line, to which the others connect.
pub(crate) const MIDDLE: HubIndex = 1;

/// The three hubs. Dropping it ends those that still run.
pub(crate) struct Hubs {
    folder: PathBuf,
    hubs: Vec<Hub>,
    /// From the first hub to the middle one, where the tour cuts it.
    line: Option<Line>,
}

struct Hub {
    child: Option<Child>,
    /// Addresses, from the first start on fixed.
    clients: String,
    hubs: String,
    http: String,
}

impl Hubs {
    /// Makes certificates and configurations in `folder` and starts the hubs,
    /// the middle one first; with a line that can be cut from the first hub to it.
    pub(crate) fn start(folder: &Path, with_line: bool) -> anyhow::Result<Self> {
        let tls = folder.join("tls");
        ca::init(&tls, "weft-demo", DAYS)?;
        for hub in &HUBS {
            ca::issue(&tls, &tls, PeerKind::Hub, hub.name, &["localhost", "127.0.0.1"], DAYS)?;
        }
        ca::issue(&tls, &tls, PeerKind::Client, CLIENT, &[], DAYS)?;
        let port = || "127.0.0.1:0".to_owned();
        let anywhere = || Hub { child: None, clients: port(), hubs: port(), http: port() };
        let mut hubs = Self { folder: folder.to_owned(), hubs: HUBS.iter().map(|_| anywhere()).collect(), line: None };
        hubs.start_one(MIDDLE)?;
        if with_line {
            hubs.line = Some(Line::to(&hubs.hubs[MIDDLE].hubs)?);
        }
        for index in (0..HUBS.len()).filter(|index| *index != MIDDLE) {
            hubs.start_one(index)?;
        }
        Ok(hubs)
    }

    /// Starts a hub, for the first time or again, and waits until it is ready.
    pub(crate) fn start_one(&mut self, index: HubIndex) -> anyhow::Result<()> {
        let name = HUBS[index].name;
        let home = self.folder.join(name);
        fs::create_dir_all(&home)?;
        let (config, ready, log) = (home.join("hub.toml"), home.join("ready.json"), home.join("log.jsonl"));
        fs::write(&config, self.config(index))?;
        let _ = fs::remove_file(&ready);
        let log_file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg("hub").arg("--config").arg(&config).arg("--ready-file").arg(&ready);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        let mut child = command.spawn().context("cannot start a hub's process")?;
        let addresses = wait_ready(&mut child, &ready, name, &log);
        let hub = &mut self.hubs[index];
        hub.child = Some(child);
        [hub.clients, hub.hubs, hub.http] = addresses?;
        Ok(())
    }

    fn config(&self, index: HubIndex) -> String {
        let (place, hub) = (&HUBS[index], &self.hubs[index]);
        let tls = self.folder.join("tls");
        let file = |name: String| tls.join(name).display().to_string();
        let mut text = format!(
            "name = {:?}\nregion = {:?}\nlocation = [{:?}, {:?}]\ndata = \"data\"\nadmins = [{CLIENT:?}]\n\n\
             [tls]\ncert = {:?}\nkey = {:?}\nca = {:?}\n\n\
             [control]\nenforce = false\n\n[http]\nlisten = {:?}\nplain = true\n\n[[clients]]\nlisten = {:?}\n\n[hubs]\nlisten = {:?}\n\n\
             [timers]\nredial_first = \"50 ms\"\nredial_most = \"500 ms\"\n",
            place.name,
            place.region,
            place.latitude,
            place.longitude,
            file(format!("{}.pem", place.name)),
            file(format!("{}.key", place.name)),
            file("ca.pem".to_owned()),
            hub.http,
            hub.clients,
            hub.hubs,
        );
        if index != MIDDLE {
            let line = self.line.as_ref().filter(|_| index == 0);
            let addr = line.map_or(&self.hubs[MIDDLE].hubs, |line| &line.address);
            let name = HUBS[MIDDLE].name;
            text.push_str(&format!("\n[[neighbours]]\naddr = {addr:?}\nname = {name:?}\n"));
        }
        text
    }

    /// Kills a hub's process as a power cut does (SIGKILL, to that process alone).
    pub(crate) fn kill(&mut self, index: HubIndex) -> anyhow::Result<()> {
        if let Some(mut child) = self.hubs[index].child.take() {
            child.kill().context("cannot kill a hub's process")?;
            child.wait().context("cannot wait for a hub's process")?;
        }
        Ok(())
    }

    /// Cuts the line between the first hub and the middle one, or mends it.
    pub(crate) fn cut(&self, is_cut: bool) {
        match &self.line {
            Some(line) if is_cut => line.cut(),
            Some(line) => line.mend(),
            None => {}
        }
    }

    /// The process ids, for those who want to look or kill by themselves.
    pub(crate) fn pid(&self, index: HubIndex) -> Option<u32> {
        self.hubs[index].child.as_ref().map(Child::id)
    }

    /// Where clients reach a hub.
    pub(crate) fn address(&self, index: HubIndex) -> &str {
        &self.hubs[index].clients
    }

    /// Where a hub's dashboard is, which shows the whole mesh.
    pub(crate) fn dashboard(&self, index: HubIndex) -> String {
        format!("http://{}/ui/", self.hubs[index].http)
    }

    /// The folder of certificates.
    pub(crate) fn tls(&self) -> PathBuf {
        self.folder.join("tls")
    }

    /// A client of a hub, with the demo's certificate.
    pub(crate) async fn connect(&self, index: HubIndex, name: &str) -> anyhow::Result<Client> {
        let tls = self.tls();
        let (cert, key) = (tls.join(format!("{CLIENT}.pem")), tls.join(format!("{CLIENT}.key")));
        let identity = TlsIdentity::from_pem_files(&cert, &key, &tls.join("ca.pem"))?;
        let options = ConnectOptions {
            hub: Some(HUBS[index].name.to_owned()),
            security: Security::Tls(Arc::new(identity)),
            name: name.to_owned(),
            connect_for: Duration::from_secs(5),
            retry_most: Duration::from_millis(300),
            ..ConnectOptions::new(self.address(index))
        };
        Client::connect(options).await.with_context(|| format!("hub `{}`", HUBS[index].name))
    }

    /// Stops all hubs in good order (SIGTERM), or, if that takes too long, at once.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        let mut late = Vec::new();
        for hub in &self.hubs {
            if let Some(child) = &hub.child {
                terminate(child);
            }
        }
        let until = Instant::now() + STOP;
        for (hub, place) in self.hubs.iter_mut().zip(&HUBS) {
            let Some(mut child) = hub.child.take() else { continue };
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            match child.try_wait() {
                Ok(Some(status)) if status.success() => {}
                Ok(Some(status)) => late.push(format!("hub `{}` ended with {status}", place.name)),
                _ => {
                    late.push(format!("hub `{}` did not stop within {} s", place.name, STOP.as_secs()));
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        }
        late
    }
}

impl Drop for Hubs {
    fn drop(&mut self) {
        for child in self.hubs.iter_mut().filter_map(|hub| hub.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks a process to stop.
fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // A process that is gone already needs no signal.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Waits for the file in which a hub says where it listens.
fn wait_ready(child: &mut Child, ready: &Path, name: &str, log: &Path) -> anyhow::Result<[String; 3]> {
    let until = Instant::now() + START;
    loop {
        if let Ok(text) = fs::read_to_string(ready) {
            let value: Value = serde_json::from_str(&text)?;
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let all = [&value["clients"][0], &value["hubs"], &value["http"]].map(text);
            let [Some(clients), Some(hubs), Some(http)] = all else {
                bail!("the hub's ready file does not say where it listens");
            };
            return Ok([clients, hubs, http]);
        }
        let last =
            || fs::read_to_string(log).ok().and_then(|log| log.lines().last().map(str::to_owned)).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            bail!("hub `{name}` ended with {status}: {}", last());
        }
        if Instant::now() > until {
            let _ = child.kill();
            bail!("hub `{name}` was not ready within {} s: {}", START.as_secs(), last());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
