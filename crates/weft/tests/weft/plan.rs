//! Plans of a running mesh: what is foretold is what happens; what goes wrong is put back.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Hub, Running};

const HUBS: [&str; 3] = ["new-york", "chicago", "los-angeles"];

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A line of three hubs, with an operator and somebody who is none.
struct Mesh {
    folder: tempfile::TempDir,
    hubs: Vec<Hub>,
}

impl Mesh {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().display().to_string();
        assert!(weft(&["ca", "init", "--dir", &dir]).status.success());
        for (kind, name) in
            HUBS.map(|hub| ("hub", hub)).into_iter().chain([("client", "operator"), ("client", "guest")])
        {
            assert!(weft(&["ca", "issue", kind, name, "--dir", &dir]).status.success(), "{name}");
        }
        let mut mesh = Self { folder, hubs: Vec::new() };
        let chicago = mesh.hub("chicago", None);
        let east = mesh.hub("new-york", Some(&chicago.hubs));
        let west = mesh.hub("los-angeles", Some(&chicago.hubs));
        mesh.hubs = vec![east, chicago, west];
        mesh.until("all are linked", |show| reachable(show) == 3);
        mesh
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self, name: &str) -> String {
        self.path().join(format!("{name}.toml")).display().to_string()
    }

    fn hub(&self, name: &str, neighbour: Option<&String>) -> Hub {
        let mut text = format!(
            "name = \"{name}\"\ndata = \"{name}\"\nadmins = [\"operator\"]\n\
             [tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
             [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\n[hubs]\nlisten = \"127.0.0.1:0\"\n\
             [timers]\nredial_first = \"10 ms\"\nredial_most = \"100 ms\"\n"
        );
        if let Some(addr) = neighbour {
            text.push_str(&format!("[[neighbours]]\naddr = \"{addr}\"\nname = \"chicago\"\n"));
        }
        fs::write(self.config(name), text).expect("a file");
        Hub::start_with(&["--config", &self.config(name)])
    }

    /// A command at New York, as this client.
    fn run_as(&self, client: &str, args: &[&str]) -> Output {
        let file = |name: String| self.path().join(name).display().to_string();
        let (cert, key) = (file(format!("{client}.pem")), file(format!("{client}.key")));
        let tls =
            ["-s", &self.hubs[0].address, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &file("ca.pem".into())];
        weft(&[args, &tls].concat())
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_as("operator", args)
    }

    fn show(&self) -> Value {
        let shown = self.run(&["mesh", "show", "--json"]);
        serde_json::from_slice(&shown.stdout).unwrap_or_else(|_| panic!("{}", text(&shown.stderr)))
    }

    /// Looks until the mesh is so.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        let mut last = Value::Null;
        while Instant::now() < until {
            last = self.show();
            if is_so(&last) {
                return;
            }
        }
        panic!("it never came to this: {what}: {last}");
    }

    /// Writes a plan, with the addresses of all hubs.
    fn plan(&self, changes: &str) -> String {
        let hubs = HUBS.iter().zip(&self.hubs);
        let hubs: String =
            hubs.map(|(name, hub)| format!("[[hub]]\nname = \"{name}\"\naddr = \"{}\"\n", hub.address)).collect();
        let path = self.path().join("plan.toml");
        fs::write(&path, format!("{changes}\n{hubs}")).expect("a file");
        path.display().to_string()
    }

    /// Los Angeles is linked with New York instead of Chicago.
    fn moved(&self) -> String {
        self.plan(&format!(
            "[[add]]\nfrom = \"new-york\"\nto = \"los-angeles\"\naddr = \"{}\"\n\
             [[remove]]\nbetween = [\"chicago\", \"los-angeles\"]\n",
            self.hubs[2].hubs
        ))
    }

    fn apply(&self, plan: &str) -> Output {
        self.run(&["mesh", "apply", plan, "--watch", "0s", "--settle", "20s"])
    }
}

fn reachable(show: &Value) -> usize {
    show["hubs"].as_array().expect("hubs").iter().filter(|hub| hub["reachable"] == true).count()
}

/// The links that both ends report, each once.
fn links(show: &Value) -> Vec<String> {
    let links = show["links"].as_array().expect("links").iter().filter(|link| link["up"] == true);
    let mut links: Vec<String> = links
        .map(|link| (link["from"].as_str().expect("a hub"), link["to"].as_str().expect("a hub")))
        .filter(|(from, to)| from < to)
        .map(|(from, to)| format!("{from} {to}"))
        .collect();
    links.sort();
    links
}

const LINE: [&str; 2] = ["chicago los-angeles", "chicago new-york"];
const MOVED: [&str; 2] = ["chicago new-york", "los-angeles new-york"];

#[test]
fn a_plan_is_foretold_applied_kept_and_dropped() {
    let mut mesh = Mesh::start();
    let plan = mesh.moved();
    let foretold = mesh.run(&["mesh", "plan", &plan, "--json"]);
    let foretold: Value =
        serde_json::from_slice(&foretold.stdout).unwrap_or_else(|_| panic!("{}", text(&foretold.stderr)));
    let way = |from: &str, to: &str| {
        let ways = foretold["ways"].as_array().expect("ways");
        ways.iter().find(|way| way["from"] == from && way["to"] == to).map(|way| way["after"]["hubs"].clone())
    };
    assert_eq!(way("new-york", "los-angeles"), Some(serde_json::json!(["los-angeles"])));
    assert_eq!(way("chicago", "los-angeles"), Some(serde_json::json!(["new-york", "los-angeles"])));
    assert_eq!(links(&mesh.show()), LINE, "a plan changes nothing");

    let guest = mesh.run_as("guest", &["mesh", "apply", &plan]);
    assert!(!guest.status.success() && text(&guest.stderr).contains("admins"), "{}", text(&guest.stderr));
    mesh.until("nothing is changed", |show| links(show) == LINE);

    let applied = mesh.apply(&plan);
    assert!(applied.status.success(), "{}{}", text(&applied.stdout), text(&applied.stderr));
    assert!(text(&applied.stdout).contains("6 of 6 ways are as foretold"), "{}", text(&applied.stdout));
    assert_eq!(links(&mesh.show()), MOVED);

    // A hub that starts again goes by what was kept.
    let address = mesh.hubs[1].hubs.clone();
    drop(mesh.hubs.remove(2));
    let west = mesh.hub("los-angeles", Some(&address));
    west.wait_for_events(1, "changes_overlay", "has no link with chicago");
    let listed = weft(&["hub", "--config", &mesh.config("los-angeles"), "--changes"]);
    assert!(text(&listed.stdout).contains("has no link with chicago, by operator"), "{}", text(&listed.stdout));
    drop(west);
    assert!(weft(&["hub", "--config", &mesh.config("los-angeles"), "--drop-changes"]).status.success());
    let listed = weft(&["hub", "--config", &mesh.config("los-angeles"), "--changes"]);
    assert!(listed.status.success() && listed.stdout.is_empty());
}

#[test]
fn a_step_that_makes_the_mesh_worse_puts_all_back() {
    let mesh = Mesh::start();
    // Somebody publishes to a subscriber that the plan cuts off.
    let west = &mesh.hubs[2];
    let file = |name: &str| mesh.path().join(name).display().to_string();
    let (cert, key, ca) = (file("guest.pem"), file("guest.key"), file("ca.pem"));
    let subscriber = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["sub", "t/**", "-s", &west.address, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca])
        .stdout(std::process::Stdio::null())
        .spawn();
    let _subscriber = Running(subscriber.expect("it starts"));
    // Refused until the publisher's hub knows that it is wanted there.
    let until = Instant::now() + Duration::from_secs(60);
    while !mesh.run(&["pub", "t/1", "x", "--require", "los-angeles"]).status.success() {
        assert!(Instant::now() < until, "the filter is never known");
    }
    let plan = mesh.plan("cuts_off = [\"los-angeles\"]\n[[remove]]\nbetween = [\"chicago\", \"los-angeles\"]\n");
    // While it is cut off, what is published has no path.
    let out = fs::File::create(mesh.path().join("out")).expect("a file");
    let error = fs::File::create(mesh.path().join("err")).expect("a file");
    let (operator, operators) = (file("operator.pem"), file("operator.key"));
    let apply = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["mesh", "apply", &plan, "--watch", "2s", "--settle", "20s", "-s", &mesh.hubs[0].address])
        .args(["--tls-cert", &operator, "--tls-key", &operators, "--tls-ca", &ca])
        .stdout(out)
        .stderr(error)
        .spawn();
    let mut apply = Running(apply.expect("it starts"));
    let status = loop {
        assert!(mesh.run(&["pub", "t/1", "x"]).status.success());
        if let Some(status) = apply.0.try_wait().expect("a process") {
            break status;
        }
    };
    let told = fs::read_to_string(mesh.path().join("err")).expect("a file");
    assert!(!status.success() && told.contains("no path leads there at hub `new-york`"), "{told}");
    assert!(told.contains("all steps are put back"), "{told}");
    mesh.until("the mesh is as it was", |show| links(show) == LINE && reachable(show) == 3);
    for (name, hub) in HUBS.iter().zip(&mesh.hubs).skip(1) {
        hub.wait_for_events(1, "changes_undone", "asked");
        let listed = weft(&["hub", "--config", &mesh.config(name), "--changes"]);
        assert!(listed.status.success() && listed.stdout.is_empty(), "nothing is kept");
    }
}

#[test]
fn a_hub_that_dies_in_mid_apply_has_all_put_back() {
    let mut mesh = Mesh::start();
    let plan = mesh.moved();
    let file = |name: &str| mesh.path().join(name).display().to_string();
    let (cert, key, ca) = (file("operator.pem"), file("operator.key"), file("ca.pem"));
    let error = fs::File::create(mesh.path().join("err")).expect("a file");
    let apply = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["mesh", "apply", &plan, "--watch", "2s", "--settle", "2s", "-s", &mesh.hubs[0].address])
        .args(["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca])
        .stdout(std::process::Stdio::null())
        .stderr(error)
        .spawn();
    let mut apply = Running(apply.expect("it starts"));
    mesh.hubs[0].wait_for_events(1, "change_on_trial", "los-angeles");
    drop(mesh.hubs.remove(2));
    assert!(!apply.0.wait().expect("a process").success());
    let told = fs::read_to_string(mesh.path().join("err")).expect("a file");
    assert!(told.contains("nothing was changed: "), "{told}");
    mesh.hubs[0].wait_for_events(1, "changes_undone", "");
    let listed = weft(&["hub", "--config", &mesh.config("new-york"), "--changes"]);
    assert!(listed.status.success() && listed.stdout.is_empty());
    // It comes back, and is linked as its configuration says.
    let address = mesh.hubs[1].hubs.clone();
    let west = mesh.hub("los-angeles", Some(&address));
    mesh.hubs.push(west);
    mesh.until("the mesh is as it was", |show| links(show) == LINE && reachable(show) == 3);
}

#[test]
fn what_nobody_confirms_in_time_hubs_put_back_by_themselves() {
    let mesh = Mesh::start();
    let plan = mesh.moved();
    let file = |name: &str| mesh.path().join(name).display().to_string();
    let (cert, key, ca) = (file("operator.pem"), file("operator.key"), file("ca.pem"));
    let apply = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["mesh", "apply", &plan, "--watch", "0s", "--settle", "1s", "--trial", "4s"])
        .args(["-s", &mesh.hubs[0].address, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let apply = Running(apply.expect("it starts"));
    mesh.hubs[0].wait_for_events(1, "change_on_trial", "los-angeles");
    drop(apply);
    for hub in [&mesh.hubs[0], &mesh.hubs[2]] {
        hub.wait_for_events(1, "changes_undone", "not confirmed in time");
    }
    mesh.until("the mesh is as it was", |show| links(show) == LINE && reachable(show) == 3);
}
