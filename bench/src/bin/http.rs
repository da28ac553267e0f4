//! Publishing by HTTP beside bridges to NATS and a bare handler of the same framework:
//! events a second over connections that stay, and how long each request takes.
//! `cargo xtask bench http`
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use clap::Parser;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use weft_bench::bridge::Bridge;
use weft_bench::latency::percentiles;
use weft_bench::process::Server;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::{machine, process};
use weft_load::latency::Latencies;

/// Publishing by HTTP.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured, in turns; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Payload bytes of an event.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Connections that stay, with one request under way on each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Threads that serve, of the hub's server and of the bare handler alike; as many
    /// as a hub takes by itself where nothing is said.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4)))]
    threads: usize,
    /// Serves as the bare handler, and says where in this file.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

/// What the hub must do at least of what a bridge does.
const GOAL: f64 = 2.0;
/// The connections at which the goal counts.
const GOAL_AT: usize = 64;
/// What is published to.
const PATH: &str = "/v1/topics/bench/http";
/// The longest that an answer may take; only a mistake takes so long.
const LONG: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(ready) = &arguments.serve {
        return serve(ready, arguments.threads);
    }
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    let (hub, at_hub) = Hub::with_http(scratch.path(), arguments.threads)?;
    let (bare, at_bare) = bare(scratch.path(), arguments.threads)?;
    let (handed, acknowledged) = (Bridge::start(PATH, false)?, Bridge::start(PATH, true)?);
    println!("{}", machine::line());
    println!(
        "POST {PATH} of {} B over HTTP/1.1 on loopback without TLS, connections that stay, one request under \
         way on each, from one thread; the hub answers at level `routed`; the bare handler is axum's on hyper and reads the \
         body; hub and bare handler serve with {} threads, each with a runtime for itself, and bridge and \
         server take the processors that they like; to NATS core it answers when the event was handed to \
         its connection, to JetStream, a stream in memory, when that has acknowledged it; nobody \
         subscribes; nothing is synced; medians of {} runs of {} s in turns (smallest to largest)\n",
        arguments.payload, arguments.threads, arguments.runs, arguments.seconds
    );
    let mut table =
        Table::new(["connections", "who", "requests/s", "p50 / p99 / p99.9 / p99.99 µs", "the hub does", "goal"]);
    let all = [
        (handed.name(), handed.address()),
        (acknowledged.name(), acknowledged.address()),
        ("bare axum", &at_bare),
        ("Weft", &at_hub),
    ];
    for &count in &arguments.connections {
        let mut measured = all.map(|_| (Runs::new(), Latencies::new()));
        for _ in 0..arguments.runs {
            for ((_, at), (runs, latencies)) in all.iter().zip(&mut measured) {
                let (rate, taken) = run(at, count, &arguments)?;
                runs.push(rate);
                latencies.merge(&taken);
            }
        }
        let hub = measured[3].0.median();
        for (n, ((name, _), (runs, latencies))) in all.iter().zip(&measured).enumerate() {
            let ratio = hub / runs.median();
            let does = if n < 3 { format!("{ratio:.2} times as much") } else { String::new() };
            let goal = match (n, count, ratio >= GOAL) {
                (0 | 1, GOAL_AT, true) => "met",
                (0 | 1, GOAL_AT, false) => "**missed**",
                _ => "",
            };
            table.row([
                count.to_string(),
                (*name).to_owned(),
                with_range(runs),
                percentiles(latencies),
                does,
                goal.to_owned(),
            ]);
            println!("{count} connections, {name}: {}", short(runs.median()));
        }
    }
    println!("\n{table}");
    println!("goal: at least {GOAL} times each bridge at {GOAL_AT} connections");
    drop((hub, bare));
    Ok(())
}

/// A bare handler in a process of its own, and where it is.
fn bare(folder: &Path, threads: usize) -> Result<(Server, String)> {
    let ready = folder.join("bare");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--serve").arg(&ready).arg("--threads").arg(threads.to_string());
    let mut server = Server::start("bare", &mut command, folder)?;
    let address = server.wait_ready(|| {
        let text = std::fs::read_to_string(&ready).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    })?;
    Ok((server, address))
}

/// Serves for ever: connections go to its threads in turns.
fn serve(ready: &Path, threads: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    std::fs::write(ready, format!("{}\n", listener.local_addr()?))?;
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (give, taken) = unbounded_channel();
            std::thread::spawn(move || work(taken));
            give
        })
        .collect();
    for (socket, worker) in listener.incoming().zip(workers.iter().cycle()) {
        let socket = socket?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        worker.send(socket).context("a thread ended")?;
    }
    Ok(())
}

/// Serves what a thread is given.
fn work(mut taken: UnboundedReceiver<TcpStream>) -> Result<()> {
    async fn answer(body: Bytes) -> ([(axum::http::HeaderName, &'static str); 1], String) {
        ([(CONTENT_TYPE, "application/json")], format!("{{\"bytes\":{}}}", body.len()))
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = TowerToHyperService::new(Router::<()>::new().route("/v1/topics/{*topic}", post(answer)));
        while let Some(socket) = taken.recv().await {
            let socket = TokioIo::new(tokio::net::TcpStream::from_std(socket)?);
            let service = router.clone();
            // Who goes away has gone.
            tokio::spawn(async move { http1::Builder::new().serve_connection(socket, service).await });
        }
        Ok(())
    })
}

/// A connection with a request under way.
struct Busy {
    socket: TcpStream,
    began: Instant,
    buffer: Vec<u8>,
}

/// Requests a second over so many connections, and how long each took, in nanoseconds.
fn run(at: &str, count: usize, arguments: &Arguments) -> Result<(f64, Latencies)> {
    let payload = "x".repeat(arguments.payload);
    let length = payload.len();
    let request = format!("POST {PATH} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n{payload}");
    let mut all = (0..count)
        .map(|_| {
            let socket = TcpStream::connect(at).with_context(|| format!("nobody listens on {at}"))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(LONG))?;
            Ok(Busy { socket, began: Instant::now(), buffer: Vec::new() })
        })
        .collect::<Result<Vec<_>>>()?;
    // What is new is not measured: logins, sessions, memory.
    let warm = Duration::from_secs_f64(arguments.seconds / 10.0);
    rounds(&mut all, &request, warm)?;
    rounds(&mut all, &request, Duration::from_secs_f64(arguments.seconds))
}

/// All connections in turn: an answer is read, and the next request sent at once.
fn rounds(all: &mut [Busy], request: &str, time: Duration) -> Result<(f64, Latencies)> {
    let (mut latencies, mut answers) = (Latencies::new(), 0_u64);
    let began = Instant::now();
    for busy in &mut *all {
        busy.send(request)?;
    }
    loop {
        let is_over = began.elapsed() >= time;
        for busy in &mut *all {
            busy.answer()?;
            latencies.record(u64::try_from(busy.began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            answers += 1;
            if !is_over {
                busy.send(request)?;
            }
        }
        if is_over {
            return Ok((answers as f64 / began.elapsed().as_secs_f64(), latencies));
        }
    }
}

impl Busy {
    fn send(&mut self, request: &str) -> Result<()> {
        self.began = Instant::now();
        self.socket.write_all(request.as_bytes())?;
        Ok(())
    }

    /// Reads one answer, which must be good.
    fn answer(&mut self) -> Result<()> {
        self.buffer.clear();
        loop {
            let mut part = [0; 4096];
            let read = self.socket.read(&mut part)?;
            ensure!(read > 0, "the server hung up");
            self.buffer.extend_from_slice(&part[..read]);
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            if !head.starts_with("HTTP/1.1 200") {
                bail!("an answer is not good: {}", String::from_utf8_lossy(&self.buffer));
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            });
            let length: usize = length.context("an answer has no length")?.trim().parse()?;
            if self.buffer.len() >= end + 4 + length {
                return Ok(());
            }
        }
    }
}
