//! Three hubs in a line, of either program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::judge::Ledger;
use super::process::{bound, done, free_ports};
use super::{Age, PATIENCE, Programs, STALE};
use crate::step::within;
use crate::workspace;

pub(super) const NAMES: [&str; 3] = ["boston", "chicago", "denver"];
/// How long a present hub may drain: clients of version 1 stay until it is over.
const DRAIN: &str = "8 s";

/// The hubs, which end with this.
pub(super) struct Mesh {
    programs: Programs,
    folder: PathBuf,
    clients: [u16; 3],
    links: [u16; 3],
    hubs: [Option<Child>; 3],
    ages: [Age; 3],
    /// When the whole run must be over.
    end: Instant,
    patience: Duration,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for mut hub in self.hubs.iter_mut().filter_map(Option::take) {
            let _ = hub.kill();
            let _ = hub.wait();
        }
    }
}

impl Mesh {
    /// Starts them anew, in a folder that is empty then.
    pub(super) fn start(programs: Programs, ages: [Age; 3], end: Instant) -> Result<Self> {
        let folder = workspace::target().join("compat/mesh");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let [a, b, c, d, e, f] = free_ports()?;
        let (clients, links, hubs) = ([a, b, c], [d, e, f], [None, None, None]);
        let mut mesh = Self { programs, folder, clients, links, hubs, ages, end, patience: PATIENCE };
        let dir = mesh.folder.display().to_string();
        // By the earlier program: the later one must take its certificates.
        done(mesh.program(Age::Old).args(["ca", "init", "--dir", &dir]), mesh.until())?;
        for name in NAMES {
            done(mesh.program(Age::Old).args(["ca", "issue", "hub", name, "--dir", &dir]), mesh.until())?;
        }
        for (hub, age) in ages.into_iter().enumerate() {
            mesh.begin(hub, age)?;
        }
        Ok(mesh)
    }

    /// When what begins now must be over.
    pub(super) fn until(&self) -> Instant {
        self.end.min(Instant::now() + self.patience)
    }

    /// From now on nothing is waited for longer than this.
    pub(super) fn be_short(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn ages(&self) -> [Age; 3] {
        self.ages
    }

    pub(super) fn data(&self, hub: usize) -> PathBuf {
        self.at(hub, "data")
    }

    pub(super) fn client_port(&self, hub: usize) -> u16 {
        self.clients[hub]
    }

    /// A client of all hubs, of this one first.
    pub(super) fn client_of_all<'a>(
        &self,
        age: Age,
        hub: usize,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut command = self.client(age, hub, arguments);
        for other in (1..self.clients.len()).map(|place| (hub + place) % self.clients.len()) {
            command.args(["-s", &format!("127.0.0.1:{}", self.clients[other])]);
        }
        command
    }

    fn at(&self, hub: usize, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", NAMES[hub]))
    }

    /// One of the programs, in the mesh's folder.
    pub(super) fn program(&self, age: Age) -> Command {
        let mut command = bound(self.programs.of(age));
        command.current_dir(&self.folder);
        command
    }

    /// A client of this hub, with these arguments.
    pub(super) fn client<'a>(&self, age: Age, hub: usize, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.program(age);
        command.args(arguments).args(["-s", &format!("127.0.0.1:{}", self.clients[hub])]);
        command
    }

    /// Runs such a client to its end; answers what it printed.
    pub(super) fn ask<'a>(&self, age: Age, hub: usize, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        done(&mut self.client(age, hub, arguments), self.until())
    }

    fn configuration(&self, hub: usize, age: Age) -> String {
        let name = NAMES[hub];
        let (client, link) = (self.clients[hub], self.links[hub]);
        let mut text = format!("name = \"{name}\"\ndata = \"{name}.data\"\n");
        if age == Age::New {
            // What the earlier program does not know must be gone when it is set back.
            text += &format!("drain_on_stop = \"{DRAIN}\"\nadvertise_clients = [\"127.0.0.1:{client}\"]\n");
        }
        text += &format!(
            "[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n[[clients]]\nlisten = \
             \"127.0.0.1:{client}\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:{link}\"\n[timers]\nredial_most = \
             \"200 ms\"\nhome_patience = \"120 s\"\n"
        );
        if let Some(before) = hub.checked_sub(1) {
            let (link, name) = (self.links[before], NAMES[before]);
            text += &format!("[[neighbours]]\naddr = \"127.0.0.1:{link}\"\nname = \"{name}\"\n");
        }
        if self.programs.of(age) == self.programs.of(Age::New) {
            // The clients here show nothing, which the earlier program takes as it is. By the
            // program: a present one that is taken for an earlier one must get so far.
            text += "[control]\nenforce = false\n";
        }
        text
    }

    /// Starts a hub that does not run, and waits until it serves.
    pub(super) fn begin(&mut self, hub: usize, age: Age) -> Result<()> {
        self.ages[hub] = age;
        let (ready, toml, log) = (self.at(hub, "ready"), self.at(hub, "toml"), self.at(hub, "log"));
        let _ = fs::remove_file(&ready);
        fs::write(&toml, self.configuration(hub, age))?;
        let said = fs::File::options().append(true).create(true).open(&log)?;
        let mut command = self.program(age);
        command.arg("hub").arg("--config").arg(&toml).arg("--ready-file").arg(&ready);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn();
        let child = self.hubs[hub].insert(child.context("cannot start `setpriv`: install util-linux")?);
        let until = self.end.min(Instant::now() + self.patience);
        while !ready.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ({}) ended with {status}: see {}", NAMES[hub], age.name(), log.display());
            }
            ensure!(Instant::now() < until, "{} is not ready in time", NAMES[hub]);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops a hub in good order; answers how many seconds a present one drained.
    pub(super) fn stop(&mut self, hub: usize) -> Result<String> {
        let child = self.hubs[hub].take().context("it runs")?;
        let pid = Pid::from_raw(child.id().try_into()?).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        let begun = Instant::now();
        let status = within(child, self.until().saturating_duration_since(begun))?;
        ensure!(status.success(), "{} ended with {status}", NAMES[hub]);
        if self.ages[hub] == Age::Old {
            return Ok("-".to_owned());
        }
        let log = fs::read_to_string(self.at(hub, "log"))?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // A stream that is written to all the time may lack a copy at the end, which comes later.
        let mut left = lines.filter(|line| line["event"] == "hub_left");
        ensure!(left.next().is_some(), "{} does not say that it has drained", NAMES[hub]);
        Ok(format!("{:.1} s", begun.elapsed().as_secs_f64()))
    }

    /// Waits until each hub can reach all others, by links of the right versions.
    pub(super) fn wait_until_whole(&self) -> Result<()> {
        let until = self.until();
        for (hub, name) in NAMES.into_iter().enumerate() {
            let mut reached_since = None;
            loop {
                let said = self.ask(self.ages[hub], hub, ["mesh", "show", "--json"]);
                let seen: Value = said.ok().and_then(|said| serde_json::from_str(&said).ok()).unwrap_or_default();
                let hubs = seen["hubs"].as_array().map_or(&[][..], Vec::as_slice);
                let reached = hubs.iter().filter(|hub| hub["reachable"] == true).count();
                if reached == NAMES.len() {
                    let Some(wrong) = self.wrong_link(hub, &seen["counters"]) else { break };
                    let since = *reached_since.get_or_insert_with(Instant::now);
                    ensure!(since.elapsed() < STALE, "{wrong}");
                } else {
                    reached_since = None;
                }
                ensure!(Instant::now() < until, "{name} does not reach all hubs: {seen}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The ledger of a hub's present life, as the hub says it.
    pub(super) fn ledger(&self, hub: usize) -> Result<Ledger> {
        let said = self.ask(self.ages[hub], hub, ["mesh", "show", "--json"])?;
        let said: Value = serde_json::from_str(&said)?;
        Ledger::of(&said["counters"]).with_context(|| NAMES[hub])
    }

    /// A link that does not speak what both its ends do; earlier hubs do not say.
    fn wrong_link(&self, hub: usize, counters: &Value) -> Option<String> {
        let age = self.ages[hub];
        let others = (0..NAMES.len()).filter(|other| age == Age::New && hub.abs_diff(*other) == 1);
        others.into_iter().find_map(|other| {
            let common = age.version().min(self.ages[other].version());
            let said = &counters[format!("link.{}.version", NAMES[other])];
            let (one, other) = (NAMES[hub], NAMES[other]);
            (*said != common).then(|| format!("the link of {one} and {other} speaks version {said}, not {common}"))
        })
    }
}
