//! Publishing by HTTP beside a bare handler of the same framework: events a second
//! over connections that stay, and how long each request takes. `cargo xtask bench http`
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
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
    /// Serves as the bare handler, and says where in this file.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

/// What the hub must do at least of what the bare handler does.
const GOAL: f64 = 0.7;
/// The connections at which the goal counts.
const GOAL_AT: usize = 64;
/// The longest that an answer may take; only a mistake takes so long.
const LONG: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(ready) = &arguments.serve {
        return serve(ready);
    }
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    let (hub, at_hub) = Hub::with_http(scratch.path())?;
    let (bare, at_bare) = bare(scratch.path())?;
    println!("{}", machine::line());
    println!(
        "POST /v1/topics/bench/http of {} B over HTTP/1.1 on loopback without TLS, connections that stay, one request under \
         way on each, from one thread; level `routed`; the bare handler is axum's on hyper with a runtime of one \
         thread, as the hub's server is, and reads the body; medians of {} runs of {} s in turns (smallest to largest)\n",
        arguments.payload, arguments.runs, arguments.seconds
    );
    let mut table = Table::new([
        "connections",
        "who",
        "requests/s",
        "p50 / p99 / p99.9 / p99.99 µs",
        "of the bare handler",
        "goal",
    ]);
    for &count in &arguments.connections {
        let mut measured = [(Runs::new(), Latencies::new()), (Runs::new(), Latencies::new())];
        for _ in 0..arguments.runs {
            for (at, (runs, latencies)) in [&at_bare, &at_hub].into_iter().zip(&mut measured) {
                let (rate, taken) = run(at, count, &arguments)?;
                runs.push(rate);
                latencies.merge(&taken);
            }
        }
        let [(bare, at_bare), (hub, at_hub)] = &measured;
        let ratio = hub.median() / bare.median();
        let goal = match (count, ratio >= GOAL) {
            (GOAL_AT, true) => "met",
            (GOAL_AT, false) => "**missed**",
            _ => "",
        };
        let share = format!("{:.0} %", ratio * 100.0);
        table.row([
            count.to_string(),
            "bare axum".into(),
            with_range(bare),
            percentiles(at_bare),
            String::new(),
            String::new(),
        ]);
        table.row([count.to_string(), "Weft".into(), with_range(hub), percentiles(at_hub), share, goal.to_owned()]);
        println!("{count} connections: {} of the hub, {} bare", short(hub.median()), short(bare.median()));
    }
    println!("\n{table}");
    println!("goal: at least {:.0} % of the bare handler at {GOAL_AT} connections", GOAL * 100.0);
    drop((hub, bare));
    Ok(())
}

/// A bare handler in a process of its own, and where it is.
fn bare(folder: &Path) -> Result<(Server, String)> {
    let ready = folder.join("bare");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--serve").arg(&ready);
    let mut server = Server::start("bare", &mut command, folder)?;
    let address = server.wait_ready(|| {
        let text = std::fs::read_to_string(&ready).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    })?;
    Ok((server, address))
}

/// Serves for ever.
fn serve(ready: &Path) -> Result<()> {
    async fn taken(body: Bytes) -> ([(axum::http::HeaderName, &'static str); 1], String) {
        ([(CONTENT_TYPE, "application/json")], format!("{{\"bytes\":{}}}", body.len()))
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        std::fs::write(ready, format!("{}\n", listener.local_addr()?))?;
        let router = TowerToHyperService::new(Router::<()>::new().route("/v1/topics/{*topic}", post(taken)));
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let service = router.clone();
            tokio::spawn(async move {
                // Who goes away has gone.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                Ok::<_, Infallible>(())
            });
        }
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
    let request =
        format!("POST /v1/topics/bench/http HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n{payload}");
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
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer has no length")?.trim().parse()?;
            if self.buffer.len() >= end + 4 + length {
                return Ok(());
            }
        }
    }
}
