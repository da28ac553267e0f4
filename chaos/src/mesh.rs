//! The hubs of a run with their namespaces and lines, and what is done to them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use weft_chaos::hub::{Certificates, Config, Hub, VALID};
use weft_chaos::{Conditions, Line, Space};
use weft_client::ConnectOptions;

use crate::clock::{HubClock, Library};
use crate::faults::{Fault, SHORT, Strike, Trouble};
use crate::shape::Plan;

/// Where hubs listen in their namespaces.
const HUBS: u16 = 7_412;
const CLIENTS: &str = "127.0.0.1:7411";
/// What a line does when nothing is wrong with it.
const GOOD: Duration = Duration::from_millis(2);
/// Between probes of a link, which failover is measured in: the default.
pub(crate) const PROBE: Duration = Duration::from_millis(250);
/// So that lost links are dialled and used again, and certificates looked at, soon enough for a short run.
const SOON: &str = "redial_first = \"50 ms\"\nredial_most = \"1 s\"\nlink_hold = \"5 s\"\nidentity = \"1 s\"";

/// So that ledgers are held per class, too.
const CLASSES: &str =
    "[[ledger]]\nclass = \"live\"\ntopics = \"live/**\"\n\n[[ledger]]\nclass = \"two\"\ntopics = \"two/**\"\n\n";

/// What the folders of runs begin with; the process follows.
const FOLDERS: &str = "weft-chaos-";

/// Removes folders of runs that were killed: whose process is no more.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDERS).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Names of hubs, by number.
pub(crate) fn name(hub: usize) -> String {
    format!("hub-{}", char::from(b'a' + hub as u8))
}

/// All of it. Hubs go before the namespaces that they are in.
pub(crate) struct Mesh {
    pub(crate) hubs: Vec<Hub>,
    clocks: Vec<Option<HubClock>>,
    /// By hub: by how much its clock is off.
    shifts: Vec<i64>,
    certificates: Certificates,
    /// Whether the last hub that was to have a certificate that runs out has one.
    has_short: bool,
    /// By hub: the addresses at which others reach it.
    hosts: Vec<Vec<String>>,
    pub(crate) lines: Vec<Line>,
    pub(crate) spaces: Vec<Space>,
    plan: Plan,
    _folder: tempfile::TempDir,
}

impl Mesh {
    /// Starts all hubs; lines that come late are cut. Answers what is left out, too.
    pub(crate) fn start(plan: &Plan, program: &Path, quic: bool, seed: u64) -> Result<(Self, Option<String>)> {
        sweep();
        let prefix = format!("{FOLDERS}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let certificates = Certificates::make(&folder.path().join("tls"))?;
        let (library, left_out) = match Library::make(folder.path()) {
            Ok(library) => (Some(library), None),
            Err(why) => (None, Some(format!("clock changes: {why:#}"))),
        };
        let spaces: Result<Vec<Space>> = (0..plan.regions.len()).map(|hub| Space::make(&name(hub))).collect();
        let spaces = spaces?;
        let mut lines = Vec::new();
        for (number, &(a, b)) in plan.lines.iter().enumerate() {
            let conditions = Conditions { cut: plan.late.contains(&number), ..Conditions::delay(GOOD) };
            lines.push(Line::new([&spaces[a], &spaces[b]], number as u16, conditions, seed ^ (number as u64) << 32)?);
        }
        let network = if quic { "quic:" } else { "" };
        let (mut hubs, mut clocks, mut all_hosts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, region) in plan.regions.iter().enumerate() {
            let (mut neighbours, mut hosts) = (Vec::new(), Vec::new());
            for (&(a, b), line) in plan.lines.iter().zip(&lines) {
                if a == number {
                    neighbours.push((format!("{network}{}:{HUBS}", line.address(1)), name(b)));
                    hosts.push(line.address(0).to_string());
                }
                if b == number {
                    hosts.push(line.address(1).to_string());
                }
            }
            let config = Config {
                name: name(number),
                region: (*region).to_owned(),
                clients: CLIENTS.into(),
                hubs: format!("{network}0.0.0.0:{HUBS}"),
                neighbours,
                link: String::new(),
                more: format!("{CLASSES}[timers]\nprobe = \"{} ms\"\n{SOON}\n", PROBE.as_millis()),
            };
            certificates.hub(&config.name, &hosts, VALID)?;
            let home = folder.path().join(&config.name);
            let mut hub = Hub::new(program, &home, &config, &certificates)?;
            let clock = library.as_ref().map(|library| HubClock::give(library, &mut hub, &home)).transpose()?;
            hub.start(Some(&spaces[number])).with_context(|| name(number))?;
            hubs.push(hub);
            clocks.push(clock);
            all_hosts.push(hosts);
        }
        let mesh = Self {
            shifts: vec![0; hubs.len()],
            hubs,
            clocks,
            certificates,
            has_short: false,
            hosts: all_hosts,
            lines,
            spaces,
            plan: plan.clone(),
            _folder: folder,
        };
        Ok((mesh, left_out))
    }

    /// How clients connect to their hub, for long enough to survive any fault here.
    pub(crate) fn connect() -> ConnectOptions {
        let mut options = ConnectOptions::new(CLIENTS);
        options.connect_for = Duration::from_secs(60);
        options.retry_first = Duration::from_millis(5);
        options.retry_most = Duration::from_millis(100);
        options.quiet = Duration::from_secs(1);
        options
    }

    /// Whom and what, in words.
    pub(crate) fn describe(&self, fault: Fault) -> String {
        match fault {
            Fault::Line(line, trouble) => format!("{}: {trouble}", self.line_name(line)),
            Fault::Hub(hub, strike) => format!("{}: {strike}", name(hub)),
        }
    }

    /// A line, by its ends.
    pub(crate) fn line_name(&self, line: usize) -> String {
        let (a, b) = self.plan.lines[line];
        format!("line {}–{}", name(a), name(b))
    }

    /// A fault begins.
    pub(crate) fn begin(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Line(line, trouble) => {
                let line = &self.lines[line];
                match trouble {
                    Trouble::Delay(ms) => line.both(|c| c.delay = GOOD + Duration::from_millis(ms)),
                    Trouble::Jitter(ms) => line.both(|c| c.jitter = Duration::from_millis(ms)),
                    Trouble::Loss(ppm) => line.both(|c| c.loss_ppm = ppm),
                    Trouble::Cap(bits) => line.both(|c| (c.rate, c.queue) = (Some(bits), 64 << 10)),
                    Trouble::Cut => line.both(|c| c.cut = true),
                    Trouble::CutFrom(end) => line.one(end, |c| c.cut = true),
                }
            }
            Fault::Hub(hub, Strike::Kill) => self.hubs[hub].kill(),
            Fault::Hub(hub, Strike::Hold) => self.hubs[hub].hold(),
            Fault::Hub(hub, Strike::Clock(seconds)) => self.shift(hub, seconds)?,
            Fault::Hub(hub, Strike::Expire) => {
                self.hubs[hub].kill();
                self.certify(hub, SHORT)?;
                self.has_short = true;
                if let Err(error) = self.start_again(hub) {
                    self.has_short = false;
                    // On a machine with much else to do it may have run out before the hub looked at it.
                    self.certify(hub, VALID)?;
                    self.start_again(hub).context(error)?;
                }
            }
        }
        Ok(())
    }

    /// A fault is over.
    pub(crate) fn end(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Line(line, _) => self.heal(line),
            Fault::Hub(hub, Strike::Kill) => self.start_again(hub)?,
            // It sees by itself that the files are others.
            Fault::Hub(hub, Strike::Expire) => self.certify(hub, VALID)?,
            Fault::Hub(hub, Strike::Hold) => self.hubs[hub].go_on(),
            Fault::Hub(hub, Strike::Clock(_)) => self.shift(hub, 0)?,
        }
        Ok(())
    }

    /// A line is good again.
    pub(crate) fn heal(&self, line: usize) {
        self.lines[line].both(|c| *c = Conditions::delay(GOOD));
    }

    fn start_again(&mut self, hub: usize) -> Result<()> {
        self.hubs[hub].start(Some(&self.spaces[hub])).with_context(|| format!("{}, again", name(hub)))
    }

    fn certify(&self, hub: usize, valid_for: Duration) -> Result<()> {
        self.certificates.hub(&name(hub), &self.hosts[hub], valid_for)
    }

    /// The hubs on lines to this one that must see that its certificate has run out: of which the clocks are right.
    pub(crate) fn witnesses(&self, hub: usize) -> Vec<usize> {
        let ends = self.plan.lines.iter().filter(|(a, b)| *a == hub || *b == hub);
        ends.map(|(a, b)| a + b - hub).filter(|other| self.has_short && self.shifts[*other] == 0).collect()
    }

    fn shift(&mut self, hub: usize, seconds: i64) -> Result<()> {
        self.shifts[hub] = seconds;
        self.clocks[hub].as_ref().map_or(Ok(()), |clock| clock.shift(seconds))
    }

    /// Hubs that ended although nobody killed them, with their last words.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (number, hub) in self.hubs.iter_mut().enumerate() {
            if let Some(status) = hub.ended() {
                found.push(format!("{} ended by itself with {status}; it said:\n{}", name(number), hub.said(10)));
            }
        }
        found
    }
}
