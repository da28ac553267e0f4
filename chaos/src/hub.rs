//! Real hubs with certificates: what their configuration says, and how their
//! processes are started, struck and watched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use weft_base::{Clock, SystemClock};
use weft_transport::PeerKind;
use weft_transport::ca::Authority;

use crate::space::{Space, bound};

/// How long a hub may take from its start until it serves, on a machine that has much else to do.
pub const START: Duration = Duration::from_secs(60);
/// How long it may take to end in good order.
const STOP: Duration = Duration::from_secs(20);
/// How long certificates are good for when nobody says anything.
pub const VALID: Duration = Duration::from_secs(7 * 86_400);

/// An authority, and the folder that its certificates are in.
pub struct Certificates {
    authority: Authority,
    folder: PathBuf,
}

impl Certificates {
    /// A new authority, in this folder.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let authority = Authority::create("weft-chaos", SystemClock::new().now().wall, VALID)?;
        fs::write(folder.join("ca.pem"), authority.certificate_pem())?;
        Ok(Self { authority, folder: folder.to_owned() })
    }

    /// A certificate for a hub of this name that is reached at these addresses;
    /// an earlier one is replaced, in one step.
    pub fn hub(&self, name: &str, hosts: &[String], valid_for: Duration) -> Result<()> {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let issued = self.authority.issue(PeerKind::Hub, name, &hosts, SystemClock::new().now().wall, valid_for)?;
        for (ending, text) in [("key", &issued.key), ("pem", &issued.certificate)] {
            let (new, path) = (self.folder.join("new"), self.folder.join(format!("{name}.{ending}")));
            fs::write(&new, text)?;
            fs::rename(&new, &path)?;
        }
        Ok(())
    }

    fn section(&self, name: &str) -> String {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let (cert, key, ca) = (file(&format!("{name}.pem")), file(&format!("{name}.key")), file("ca.pem"));
        format!("[tls]\ncert = {cert:?}\nkey = {key:?}\nca = {ca:?}\n\n")
    }
}

/// A hub's configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where clients connect, without TLS: of the loopback interface.
    pub clients: String,
    /// Where other hubs connect, with mutual TLS.
    pub hubs: String,
    /// Address and name of each hub that it keeps a link to.
    pub neighbours: Vec<(String, String)>,
    /// What else is said of the links to them, as it stands in the file.
    pub link: String,
    /// Further tables, as they stand in the file.
    pub more: String,
}

impl Config {
    fn text(&self, certificates: &Certificates) -> String {
        let Self { name, region, clients, hubs, neighbours, link, more } = self;
        let mut text = format!("name = {name:?}\nregion = {region:?}\ndata = \"data\"\n\n");
        text.push_str(&certificates.section(name));
        // Its clients are on this machine, and show nothing.
        text.push_str("[control]\nenforce = false\n\n");
        text.push_str(&format!("[[clients]]\nlisten = {clients:?}\nplain = true\n\n[hubs]\nlisten = {hubs:?}\n\n"));
        for (addr, name) in neighbours {
            text.push_str(&format!("[[neighbours]]\naddr = {addr:?}\nname = {name:?}\n{link}\n\n"));
        }
        text.push_str(more);
        text
    }
}

/// A hub's process, and its folder with configuration, data and log. Dropping it kills the process.
#[derive(Debug)]
pub struct Hub {
    program: PathBuf,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    clients: String,
    hubs: String,
}

impl Hub {
    /// Writes the configuration of a hub of this program into a new folder; starts nothing.
    pub fn new(program: &Path, folder: &Path, config: &Config, certificates: &Certificates) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("hub.toml"), config.text(certificates))?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            settings: Vec::new(),
            child: None,
            clients: config.clients.clone(),
            hubs: config.hubs.clone(),
        })
    }

    /// Has its process started with this variable of the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts its process, in a namespace or where this process is; waits until it serves.
    pub fn start(&mut self, space: Option<&Space>) -> Result<()> {
        let ready = self.folder.join("ready.json");
        let _ = fs::remove_file(&ready);
        let log = File::options().create(true).append(true).open(self.log_file())?;
        // Outside a namespace the thread that starts it may end before it.
        let mut command = if space.is_some() { bound(&self.program) } else { Command::new(&self.program) };
        command.args(["--log", "info", "hub", "--config"]).arg(self.folder.join("hub.toml"));
        command.arg("--ready-file").arg(&ready).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = match space {
            Some(space) => space.run(move || command.spawn())?,
            None => command.spawn(),
        };
        self.child = Some(child.with_context(|| format!("cannot start {}", self.program.display()))?);
        let end = Instant::now() + START;
        while Instant::now() < end {
            if let Some(status) = self.ended() {
                bail!("the hub ended with {status} before it served; it said:\n{}", self.said(20));
            }
            let text = fs::read_to_string(&ready).unwrap_or_default();
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                let address = |at: &serde_json::Value| at.as_str().unwrap_or_default().to_owned();
                self.clients = address(&value["clients"][0]);
                self.hubs = address(&value["hubs"]);
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the hub does not serve after {} s; it said:\n{}", START.as_secs(), self.said(20))
    }

    /// Where clients connect, once it has been started.
    #[must_use]
    pub fn clients(&self) -> &str {
        &self.clients
    }

    /// Where hubs connect, once it has been started.
    #[must_use]
    pub fn hubs(&self) -> &str {
        &self.hubs
    }

    /// Its process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How its process ended, if it has by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in good order; kills it when it takes too long. Answers whether it stopped by itself.
    pub fn stop(&mut self) -> bool {
        self.signal(Signal::TERM);
        let end = Instant::now() + STOP;
        while self.child.is_some() && self.ended().is_none() {
            if Instant::now() > end {
                self.kill();
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child = None;
        true
    }

    /// Holds its process (SIGSTOP) until [`go_on`](Self::go_on).
    pub fn hold(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a held process go on (SIGCONT).
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The file of its log, of all its lives.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("log.jsonl")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn said(&self, lines: usize) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
    }
}
