//! How fast a hub that starts anew relearns all interest of its mesh, and the
//! mesh that of its clients: several hub processes on this machine with many
//! filters. `cargo xtask bench interest`
//!
//! Each hub has clients with filters that no other includes. One hub is struck
//! with `kill -9` and started again; its clients connect again by themselves. It
//! is over when the hub says that it knows as much of every other as before, and
//! receipts say that its clients' filters are live at every hub.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_lite::future::block_on;
use weft_base::Epoch;
use weft_bench::process::Server;
use weft_bench::stats::{Runs, with_range};
use weft_bench::table::Table;
use weft_bench::{machine, process, weft::program};
use weft_client::{Client, ConnectOptions, LiveAt, Receipt, SubscribeOptions, Subscription};

/// A mesh of hub processes with many filters, one of which starts anew.
#[derive(Parser)]
struct Arguments {
    /// Hub processes: a ring, and a link across it from each second one.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(3..=64))]
    hubs: u64,
    /// Filters of all hubs together.
    #[arg(long, default_value_t = 100_000)]
    filters: u64,
    /// How often a hub is started anew; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Filters of one client: below the hub's limit for a session.
const PER_CLIENT: u64 = 5_000;
/// The most seconds that relearning may take.
const GOAL: f64 = 2.0;
/// Long enough that only a mistake meets it.
const LONG: Duration = Duration::from_secs(120);

/// A hub process, and where its clients and its neighbours find it.
struct Hub {
    name: String,
    folder: PathBuf,
    clients: String,
    server: Server,
}

/// A client with its subscriptions, of which the last was made last.
struct Loaded {
    client: Client,
    subscriptions: Vec<Subscription>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = program()?;
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    println!("{}\n", machine::line());
    let mut hubs = start_mesh(&program, scratch.path(), arguments.hubs)?;
    let each = arguments.filters / arguments.hubs;
    let names: Vec<String> = hubs.iter().map(|hub| hub.name.clone()).collect();
    let everywhere = LiveAt::Named(names);

    let begun = Instant::now();
    let clients = hubs.iter().map(|hub| load(hub, each)).collect::<Result<Vec<_>>>()?;
    for loaded in clients.iter().flatten() {
        live(loaded, &everywhere)?;
    }
    println!(
        "{} hubs, {} filters, live everywhere {:.2} s after the first was made\n",
        arguments.hubs,
        each * arguments.hubs,
        begun.elapsed().as_secs_f64()
    );
    let memory = hubs.iter().map(|hub| hub.server.private_memory()).collect::<std::io::Result<Vec<u64>>>()?;

    let (mut serves, mut knows, mut known) = (Runs::new(), Runs::new(), Runs::new());
    for round in 0..arguments.rounds {
        let at = round % hubs.len();
        let life = epoch(&clients[at][0])?;
        hubs[at].server.kill()?;
        let begun = Instant::now();
        hubs[at].server = start(&program, &hubs[at].folder.clone(), &hubs[at].name)?;
        serves.push(begun.elapsed().as_secs_f64());
        // Both at once: who waits for the one must not make the other look late.
        let (its, theirs) = thread::scope(|scope| -> Result<(f64, f64)> {
            let theirs = scope.spawn(|| -> Result<f64> {
                for loaded in &clients[at] {
                    reconnected(loaded, life)?;
                    live(loaded, &everywhere)?;
                }
                Ok(begun.elapsed().as_secs_f64())
            });
            knows_all(&hubs[at], arguments.hubs, each)?;
            let its = begun.elapsed().as_secs_f64();
            Ok((its, theirs.join().ok().context("a thread has panicked")??))
        })?;
        knows.push(its);
        known.push(theirs);
    }
    let goal = format!("< {GOAL}");
    let mut table = Table::new(["after kill -9 and start", "seconds", "goal"]);
    for (what, runs, goal) in [
        ("it serves", &serves, ""),
        ("it knows the interest of all other hubs", &knows, goal.as_str()),
        ("all hubs know that of its clients, by receipts", &known, goal.as_str()),
    ] {
        table.row([what.to_owned(), with_range(runs), goal.to_owned()]);
    }
    println!("{table}");
    let most = memory.iter().copied().max().unwrap_or(0) >> 20;
    println!("own memory of a hub: {most} MiB at most");
    let slowest = knows.median().max(known.median());
    println!("the goal of {GOAL} s is {}", if slowest < GOAL { "met" } else { "NOT met" });
    Ok(())
}

fn weft(program: &Path, arguments: &[&str], folder: &Path) -> Result<()> {
    let done = Command::new(program).args(arguments).current_dir(folder).output()?;
    ensure!(done.status.success(), "weft {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn start_mesh(program: &Path, folder: &Path, count: u64) -> Result<Vec<Hub>> {
    weft(program, &["ca", "init"], folder)?;
    let count = usize::try_from(count)?;
    let ports = (0..count * 2).map(|_| process::free_port()).collect::<std::io::Result<Vec<_>>>()?;
    let mut hubs = Vec::new();
    for at in 0..count {
        let name = format!("hub-{at}");
        weft(program, &["ca", "issue", "hub", &name], folder)?;
        let own = folder.join(&name);
        std::fs::create_dir(&own)?;
        let mut text = format!(
            "name = \"{name}\"\n[tls]\ncert = \"../{name}.pem\"\nkey = \"../{name}.key\"\nca = \"../ca.pem\"\n\
             [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:{}\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:{}\"\n",
            ports[at * 2],
            ports[at * 2 + 1]
        );
        let across = (at % 2 == 0 && count > 4).then_some((at + count / 2) % count);
        for neighbour in [(at + 1) % count].into_iter().chain(across) {
            text += &format!(
                "[[neighbours]]\naddr = \"127.0.0.1:{}\"\nname = \"hub-{neighbour}\"\n",
                ports[neighbour * 2 + 1]
            );
        }
        std::fs::write(own.join("hub.toml"), text)?;
        let server = start(program, &own, &name)?;
        hubs.push(Hub { name, folder: own, clients: format!("127.0.0.1:{}", ports[at * 2]), server });
    }
    Ok(hubs)
}

/// Starts a hub; answers when it serves.
fn start(program: &Path, folder: &Path, name: &str) -> Result<Server> {
    let ready = folder.join("ready.json");
    if ready.exists() {
        std::fs::remove_file(&ready)?;
    }
    let mut command = Command::new(program);
    command.args(["--log", "warn", "hub", "--config"]).arg(folder.join("hub.toml")).arg("--ready-file").arg(&ready);
    let mut server = Server::start(name, &mut command, folder)?;
    server.wait_ready(|| ready.exists().then_some(()))?;
    Ok(server)
}

/// Clients of a hub with so many filters together.
fn load(hub: &Hub, filters: u64) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for first in (0..filters).step_by(usize::try_from(PER_CLIENT)?) {
        let client = block_on(connect(hub))?;
        let mut subscriptions = Vec::new();
        for number in first..filters.min(first + PER_CLIENT) {
            let filter = format!("site/{}/sensor/{number}/*", hub.name);
            subscriptions.push(block_on(client.subscribe(&filter, SubscribeOptions::default()))?);
        }
        loaded.push(Loaded { client, subscriptions });
    }
    Ok(loaded)
}

async fn connect(hub: &Hub) -> Result<Client> {
    let mut options = ConnectOptions::new(&hub.clients).name("bench");
    (options.retry_first, options.retry_most) = (Duration::from_millis(10), Duration::from_millis(50));
    Client::connect(options).await.context("no hub")
}

fn epoch(loaded: &Loaded) -> Result<Epoch> {
    Ok(loaded.client.hub().context("the client is not connected")?.epoch)
}

/// Waits until the client is connected to a later life of its hub.
fn reconnected(loaded: &Loaded, life: Epoch) -> Result<()> {
    let end = Instant::now() + LONG;
    while loaded.client.hub().is_none_or(|hub| hub.epoch == life) {
        ensure!(Instant::now() < end, "the client does not come back");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until the client's filters are live at all of these hubs.
fn live(loaded: &Loaded, at: &LiveAt) -> Result<()> {
    // It comes after all others: what holds for it holds for them.
    let last = loaded.subscriptions.last().context("a client without subscriptions")?;
    let receipt: Receipt = block_on(last.live(at, LONG))?;
    ensure!(receipt.met, "not live everywhere: {}", receipt.shortfall());
    Ok(())
}

/// Waits until a hub knows so many filters of every other.
fn knows_all(hub: &Hub, hubs: u64, filters: u64) -> Result<()> {
    let client = block_on(connect(hub))?;
    let end = Instant::now() + LONG;
    loop {
        let report = block_on(client.mesh())?;
        let whole = report.hubs.iter().filter(|known| known.id != report.me && u64::from(known.interest) >= filters);
        if whole.count() as u64 == hubs - 1 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{} does not learn all interest", hub.name);
        thread::sleep(Duration::from_millis(5));
    }
}
