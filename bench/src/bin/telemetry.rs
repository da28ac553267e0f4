//! What it costs that a hub is seen: with histograms, a scraper of `/metrics`, one
//! block in a hundred traced and everything sent to a receiver of OTLP, beside a hub
//! with none of it. `cargo xtask bench telemetry`
#![forbid(unsafe_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use clap::Parser;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::work::{Load, Peer, throughput};
use weft_bench::{machine, process};

/// What telemetry costs.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured, in turns; the table shows medians.
    #[arg(long, default_value_t = 21)]
    runs: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Payload sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 128, 1024])]
    payload: Vec<usize>,
}

/// What a hub with telemetry must do at least of what one without does.
const GOAL: f64 = 0.97;
/// Between two looks of the scraper.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);
/// Only a mistake takes so long.
const LONG: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    let folder = |name: &str| -> Result<_> {
        let path = scratch.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let receiver = Collector::start()?;
    let off = Hub::configured("telemetry off", &folder("off")?, "log = \"error\"\n", "[see]\nhistograms = false\n")?;
    let seen = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\nplain = true\nmetrics = \"loopback\"\n[see]\nhistograms = true\n\
         [telemetry.otlp]\nendpoint = \"http://{}\"\nprotocol = \"http\"\nsample = 0.01\nlogs = true\n",
        receiver.address
    );
    let at_on = folder("on")?;
    let on = Hub::configured("telemetry on", &at_on, "log = \"info\"\n", &seen)?;
    let scraper = Scraper::start(Hub::http(&at_on)?);
    println!("{}", machine::line());
    println!(
        "one publisher to one subscriber over TCP on loopback, whatever goes through; on: histograms, /metrics read \
         every {} s, 1 % of blocks traced and sent with the log by OTLP over HTTP, to a receiver that throws them \
         away in the benchmark's process; off: none of it; medians of {} pairs of runs of {} s in turns (smallest to \
         largest)\n",
        SCRAPED_EVERY.as_secs(),
        arguments.runs,
        arguments.seconds
    );
    let mut head = vec!["delivered events/s".to_owned()];
    head.extend(arguments.payload.iter().map(|payload| format!("{payload} B")));
    let mut table = Table::new(head);
    let sizes = arguments.payload.len();
    // Of each payload: of the hub without and with.
    let mut rates = [vec![Runs::new(); sizes], vec![Runs::new(); sizes]];
    let mut times = rates.clone();
    let mut ratios = vec![Runs::new(); sizes];
    for (column, &payload) in arguments.payload.iter().enumerate() {
        let load = |seconds: f64| Load {
            payload,
            time: Duration::from_secs_f64(seconds),
            window: 4 << 20,
            window_events: 49_152,
            publishers: 1,
            subscribers: 1,
        };
        for hub in [&off, &on] {
            throughput(hub, "bench/telemetry", &load(0.5))?;
        }
        for turn in 0..arguments.runs {
            let mut pair = [0.0; 2];
            // Neither is always the first of its pair.
            for row in [turn % 2, 1 - turn % 2] {
                scraper.works.store(row == 1, Ordering::Relaxed);
                let done = throughput([&off, &on][row], "bench/telemetry", &load(arguments.seconds))?;
                pair[row] = done.rate;
                rates[row][column].push(done.rate);
                times[row][column].push(done.server_cpu * 1e3);
            }
            ratios[column].push(pair[1] / pair[0]);
        }
    }
    for (hub, rates) in [&off, &on].into_iter().zip(&rates) {
        table.row([hub.name().to_owned()].into_iter().chain(rates.iter().map(with_range)));
    }
    let ratio = |ratio: &Runs| {
        let (met, [low, high]) = (ratio.median() >= GOAL, [ratio.min(), ratio.max()]);
        let met = if met { "met" } else { "**missed**" };
        format!("{:.3} ({low:.2} to {high:.2}) {met}", ratio.median())
    };
    table.row([format!("on / off of a pair (goal {GOAL})")].into_iter().chain(ratios.iter().map(ratio)));
    for (hub, times) in [&off, &on].into_iter().zip(&times) {
        let name = format!("{}: the hub's processor time, ns an event", hub.name());
        table.row([name].into_iter().chain(times.iter().map(with_range)));
    }
    println!("{table}");
    let (pages, bytes) = (scraper.stop()?, receiver.bytes.load(Ordering::Relaxed));
    // Who is not read and sends nothing costs nothing.
    ensure!(pages > 0, "/metrics was never read");
    ensure!(bytes > 0, "the receiver of OTLP got nothing");
    println!("/metrics was read {pages} times; the receiver got {} MB", short(bytes as f64 / 1e6));
    Ok(())
}

/// Takes what is sent, and throws it away.
struct Collector {
    address: String,
    bytes: Arc<AtomicU64>,
}

impl Collector {
    /// On a thread of its own, until the program ends.
    fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let bytes = Arc::<AtomicU64>::default();
        let count = bytes.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serve(listener, count)));
        Ok(Self { address, bytes })
    }
}

async fn serve(listener: std::net::TcpListener, bytes: Arc<AtomicU64>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let taken = move |body: Bytes| {
        bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        async { "" }
    };
    let router = TowerToHyperService::new(Router::<()>::new().fallback(taken));
    loop {
        let (socket, _) = listener.accept().await?;
        let service = router.clone();
        tokio::spawn(async move {
            // Who goes away has gone.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// Reads `/metrics` again and again, while it is to.
struct Scraper {
    works: Arc<AtomicBool>,
    stop: Sender<()>,
    thread: JoinHandle<Result<u64>>,
}

impl Scraper {
    fn start(at: String) -> Self {
        let works = Arc::<AtomicBool>::default();
        let (stop, stopped) = channel();
        let wanted = works.clone();
        let thread = std::thread::spawn(move || scrape(&at, &wanted, &stopped));
        Self { works, stop, thread }
    }

    /// How many pages it read.
    fn stop(self) -> Result<u64> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the scraper panicked"))?
    }
}

fn scrape(at: &str, wanted: &AtomicBool, stopped: &Receiver<()>) -> Result<u64> {
    let mut pages = 0;
    while stopped.recv_timeout(SCRAPED_EVERY) == Err(RecvTimeoutError::Timeout) {
        if !wanted.load(Ordering::Relaxed) {
            continue;
        }
        let mut socket = TcpStream::connect(at).with_context(|| format!("nobody listens on {at}"))?;
        socket.set_read_timeout(Some(LONG))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        socket.read_to_end(&mut page)?;
        ensure!(page.starts_with(b"HTTP/1.1 200"), "/metrics answers {}", String::from_utf8_lossy(&page));
        pages += 1;
    }
    Ok(pages)
}
