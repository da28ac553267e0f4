//! Three hubs that vote on the control state, each in a process of its own, with
//! an operator and a guest.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use serde_json::Value;
use weft_client::{Client, ConnectOptions, Security, TlsIdentity};

use super::line::Line;
use super::{Hub, free_port};

pub const VOTERS: [&str; 3] = ["new-york", "chicago", "los-angeles"];

/// The longest that anything here may take; only a failure takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The guest publishes flights, but none that has departed.
pub const GROUNDED: &str = r#"
[[policy]]
name = "desk"
rules = '''
@id("publish")
permit (principal == User::"guest", action == Action::"publish", resource in TopicFilter::"flights/**");

@id("grounded")
forbid (principal, action == Action::"publish", resource in TopicFilter::"flights/departed/**");
'''
"#;

/// The operator reads audit logs.
pub const AUDITORS: &str = r#"
[[policy]]
name = "auditors"
rules = '''
@id("read")
permit (principal == User::"operator", action in [Action::"consume", Action::"subscribe", Action::"observe"],
  resource in TopicFilter::"_audit/**");
'''
"#;

pub fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).output().expect("the program starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Three voters that are all linked, with an operator and somebody who is none.
pub struct Mesh {
    folder: tempfile::TempDir,
    pub clients: [u16; 3],
    links: [u16; 3],
    /// From each hub to those before it, which it dials.
    lines: [Vec<Line>; 3],
    /// What the configuration of each says besides.
    more: &'static str,
    hubs: [Mutex<Option<Hub>>; 3],
}

impl Mesh {
    pub fn start() -> Self {
        Self::start_with("enforce = false\n")
    }

    /// With more in each one's configuration.
    pub fn start_with(more: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().display().to_string();
        assert!(weft(&["ca", "init", "--dir", &dir]).status.success());
        let names = VOTERS.map(|hub| ("hub", hub)).into_iter().chain([("client", "operator"), ("client", "guest")]);
        for (kind, name) in names {
            assert!(weft(&["ca", "issue", kind, name, "--dir", &dir]).status.success(), "{name}");
        }
        let ports = || [free_port(), free_port(), free_port()];
        let links = ports();
        let lines = [0, 1, 2].map(|hub| links[..hub].iter().map(|port| Line::to(*port)).collect());
        let mesh = Self { folder, clients: ports(), links, lines, more, hubs: Default::default() };
        for hub in 0..3 {
            mesh.begin(hub);
        }
        mesh
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn begin(&self, hub: usize) {
        let name = VOTERS[hub];
        let mut config = format!(
            "name = \"{name}\"\ndata = \"{name}\"\nadmins = [\"operator\"]\n\
             [tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
             [[clients]]\nlisten = \"127.0.0.1:{}\"\n[hubs]\nlisten = \"127.0.0.1:{}\"\n\
             [timers]\nredial_first = \"10 ms\"\nredial_most = \"100 ms\"\n\
             [control]\nvoters = {VOTERS:?}\nheartbeat = \"100 ms\"\nelection_least = \"400 ms\"\nelection_most = \"800 ms\"\n{}",
            self.clients[hub], self.links[hub], self.more
        );
        for (line, other) in self.lines[hub].iter().zip(VOTERS) {
            config.push_str(&format!("[[neighbours]]\naddr = \"127.0.0.1:{}\"\nname = \"{other}\"\n", line.port));
        }
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, config).expect("a file");
        let started = Hub::start_with(&["--config", &path.display().to_string()]);
        *self.hubs[hub].lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
    }

    /// Where a hub answers by HTTP.
    pub fn http(&self, hub: usize) -> String {
        let hub = self.hubs[hub].lock().unwrap_or_else(PoisonError::into_inner);
        hub.as_ref().map(|hub| hub.http.clone()).expect("it runs")
    }

    /// The lines of a hub to the others.
    fn lines_of(&self, hub: usize) -> impl Iterator<Item = &Line> {
        let to_it = self.lines.iter().filter_map(move |lines| lines.get(hub));
        self.lines[hub].iter().chain(to_it)
    }

    /// Parts a hub from the others, until it is mended.
    pub fn cut(&self, hub: usize) {
        self.lines_of(hub).for_each(Line::cut);
    }

    pub fn mend(&self, hub: usize) {
        self.lines_of(hub).for_each(Line::mend);
    }

    /// As kill -9 does.
    pub fn kill(&self, hub: usize) {
        self.hubs[hub].lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A session of the guest at a hub.
    pub fn guest(&self, hub: usize) -> Client {
        let (cert, key, ca) = (self.path("guest.pem"), self.path("guest.key"), self.path("ca.pem"));
        let identity = TlsIdentity::from_pem_files(&cert, &key, &ca).expect("it was issued");
        let security = Security::Tls(Arc::new(identity));
        let options = ConnectOptions { security, ..ConnectOptions::new(format!("127.0.0.1:{}", self.clients[hub])) };
        block_on(Client::connect(options)).expect("the guest is known")
    }

    /// A command at a hub, as this client.
    pub fn run_as(&self, client: &str, hub: usize, args: &[&str]) -> Output {
        let file = |name: String| self.path(&name).display().to_string();
        let (cert, key) = (file(format!("{client}.pem")), file(format!("{client}.key")));
        let address = format!("127.0.0.1:{}", self.clients[hub]);
        let tls = ["-s", &address, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &file("ca.pem".into())];
        weft(&[args, &tls].concat())
    }

    pub fn run(&self, hub: usize, args: &[&str]) -> Output {
        self.run_as("operator", hub, args)
    }

    pub fn documents(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    pub fn apply(&self, hub: usize, documents: &str, more: &[&str]) -> Value {
        let output = self.run(hub, &[&["apply", documents, "--json"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stdout)))
    }

    pub fn export(&self, hub: usize) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.run(hub, &["export", "--json"]);
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("JSON");
            }
            assert!(Instant::now() < until, "{}", text(&output.stderr));
        }
    }

    /// The first event of a hub's audit log of which this is true, once it is there;
    /// read at the hub `at`.
    pub fn audited(&self, at: usize, of: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.run(at, &["audit", "read", "--raw", "--of", VOTERS[of]]);
            let records = text(&output.stdout);
            let records = records.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let mut events = records.map(|record| record["line"]["entry"]["event"].clone());
            if let Some(found) = events.find(|event| wanted(event)) {
                return found;
            }
            // A policy may not be there yet, nor the log.
            assert!(Instant::now() < until, "it is not there: {}{}", text(&output.stdout), text(&output.stderr));
        }
    }

    /// The hub that leads, once one does.
    pub fn leader(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            for hub in 0..3 {
                let output = self.run(hub, &["control", "show", "--json"]);
                let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                if let Some(leader) = VOTERS.iter().position(|name| shown["leader"] == *name) {
                    return leader;
                }
            }
        }
        panic!("nobody ever leads")
    }
}
