//! Listening as browsers do, many at a time: server-sent events of a hub beside NATS by
//! WebSocket, at fixed rates: how late each listener has each event, and what it costs the
//! server. `cargo xtask bench listen`
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use futures_lite::future::block_on;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::task::LocalSet;
use weft_bench::latency::percentiles;
use weft_bench::nats::Nats;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::work::Peer;
use weft_bench::{machine, process};
use weft_client::{AckLevel, Client, ConnectOptions, PublisherOptions};
use weft_load::latency::Latencies;
use weft_load::pace::Pace;

/// Listening as browsers do.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured, in turns; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long each run publishes, in seconds; the first tenth is not recorded.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Payload bytes of an event, at least the 20 of its time.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Who listens, each over a connection of its own.
    #[arg(long, default_value_t = 1_000)]
    listeners: usize,
    /// Events a second, each to every listener.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 100])]
    rates: Vec<u64>,
    /// Measures NATS alone.
    #[arg(long)]
    peer_only: bool,
}

/// What is published to.
const TOPIC: &str = "bench";
/// Before the time in a payload.
const MARK: &[u8] = b"due:";
/// Digits of a time, in nanoseconds since the run began.
const DIGITS: usize = 16;
/// The longest that anything may take; only a mistake takes so long.
const LONG: Duration = Duration::from_secs(30);

/// What publishes a payload at once.
type Publish = Box<dyn FnMut(&[u8]) -> Result<()> + Send>;

/// A server to which browsers listen.
trait Served {
    fn name(&self) -> &'static str;
    /// One who listens from now on.
    fn listener(&self) -> Result<TcpStream>;
    /// One who publishes by the server's own protocol.
    fn publisher(&self) -> Result<Publish>;
    /// Processor time used so far, in seconds.
    fn used(&self) -> Result<f64>;
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let least = MARK.len() + DIGITS;
    ensure!(arguments.payload >= least, "a payload has at least {least} bytes");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    let mut all: Vec<Box<dyn Served>> = vec![Box::new(BySocket::start()?)];
    if !arguments.peer_only {
        all.push(Box::new(ByEvents::start(scratch.path(), arguments.listeners)?));
    }
    println!("{}", machine::line());
    println!(
        "{} listeners, each over a connection of its own on loopback without TLS, all read by one thread; one \
         publisher of {} B by the server's own protocol; times count from when an event was due; nothing is \
         synced; medians of {} runs of {} s in turns (smallest to largest)\n",
        arguments.listeners, arguments.payload, arguments.runs, arguments.seconds
    );
    let mut table =
        Table::new(["events/s", "who", "p50 / p99 / p99.9 / p99.99 µs", "the server's processor, µs a delivery"]);
    for &rate in &arguments.rates {
        let mut measured: Vec<_> = all.iter().map(|_| (Latencies::new(), Runs::new())).collect();
        for _ in 0..arguments.runs {
            for (served, (latencies, costs)) in all.iter().zip(&mut measured) {
                let (taken, cost) = run(&**served, rate, &arguments)
                    .with_context(|| format!("{} at {rate} events a second", served.name()))?;
                latencies.merge(&taken);
                costs.push(cost);
            }
        }
        for (served, (latencies, costs)) in all.iter().zip(&measured) {
            println!("{rate} events a second, {}: {} µs a delivery", served.name(), short(costs.median()));
            table.row([rate.to_string(), served.name().to_owned(), percentiles(latencies), with_range(costs)]);
        }
    }
    println!("\n{table}\nevery listener had every event");
    Ok(())
}

/// Every event to every listener: nanoseconds from when it was due until one had it, and
/// microseconds of the server's processor for a delivery.
fn run(served: &dyn Served, rate: u64, arguments: &Arguments) -> Result<(Latencies, f64)> {
    let sockets = (0..arguments.listeners).map(|_| served.listener()).collect::<Result<Vec<_>>>()?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let (pace, first) = (Pace::new(rate as f64, 0, 1), (time / 10).as_nanos() as u64);
    let total = pace.due_before(time.as_nanos() as u64);
    let (mut publish, mut payload) = (served.publisher()?, vec![b'x'; arguments.payload]);
    let (before, began) = (served.used()?, Instant::now());
    let publisher = thread::spawn(move || -> Result<()> {
        for due in (0..total).map(|number| pace.due(number)) {
            thread::sleep(Duration::from_nanos(due).saturating_sub(began.elapsed()));
            let mark = format!("due:{due:0DIGITS$}");
            payload[..mark.len()].copy_from_slice(mark.as_bytes());
            publish(&payload)?;
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let taken = LocalSet::new().block_on(&runtime, async {
        let latencies = Rc::new(RefCell::new(Latencies::new()));
        let hear = |socket| tokio::task::spawn_local(hear(socket, total, (began, first), latencies.clone()));
        let tasks: Vec<_> = sockets.into_iter().map(hear).collect();
        let heard = async {
            for task in tasks {
                task.await??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(time + LONG, heard).await.map_err(|_| anyhow!("events are missing"))??;
        anyhow::Ok(latencies.take())
    });
    let used = served.used()? - before;
    publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
    Ok((taken?, used * 1e6 / (total as f64 * arguments.listeners as f64)))
}

/// Reads until all events came, and records how late those were that were due from `first` on.
async fn hear(
    socket: TcpStream,
    total: u64,
    (began, first): (Instant, u64),
    latencies: Rc<RefCell<Latencies>>,
) -> Result<()> {
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::TcpStream::from_std(socket)?;
    let (mut bytes, mut seen) = (Vec::new(), 0);
    while seen < total {
        ensure!(socket.read_buf(&mut bytes).await? > 0, "the server hung up after {seen} events of {total}");
        // What a read brought has arrived by now.
        let now = began.elapsed().as_nanos() as u64;
        let mut latencies = latencies.borrow_mut();
        take_times(&mut bytes, |due| {
            seen += 1;
            if due >= first {
                latencies.record(now.saturating_sub(due));
            }
        })?;
    }
    ensure!(seen == total, "{seen} events came and {total} were published");
    Ok(())
}

/// Takes the times out of what was read, and leaves what may be the beginning of one.
fn take_times(bytes: &mut Vec<u8>, mut each: impl FnMut(u64)) -> Result<()> {
    let mut taken = 0;
    loop {
        let left = &bytes[taken..];
        let Some(mark) = left.windows(MARK.len()).position(|four| four == MARK) else {
            taken = bytes.len() - left.len().min(MARK.len() - 1);
            break;
        };
        let Some(digits) = left[mark + MARK.len()..].first_chunk::<DIGITS>() else {
            taken += mark;
            break;
        };
        each(std::str::from_utf8(digits)?.parse().context("a time is no number")?);
        taken += mark + MARK.len() + DIGITS;
    }
    bytes.drain(..taken);
    Ok(())
}

/// A connection that has said this and heard that.
fn connect(address: &str, words: &str, answer: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).with_context(|| format!("nobody listens on {address}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(LONG))?;
    say(&mut socket, words.as_bytes(), answer)?;
    Ok(socket)
}

/// Says something and reads until the answer to it stands in what came.
fn say(socket: &mut TcpStream, words: &[u8], answer: &str) -> Result<()> {
    socket.write_all(words)?;
    let (mut heard, mut part) = (Vec::new(), [0; 4096]);
    while !heard.windows(answer.len()).any(|some| some == answer.as_bytes()) {
        let read = socket.read(&mut part)?;
        ensure!(read > 0, "the server hung up; it said: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&part[..read]);
    }
    Ok(())
}

/// A hub, listened to by server-sent events.
struct ByEvents {
    hub: Hub,
    http: String,
}

impl ByEvents {
    fn start(folder: &std::path::Path, listeners: usize) -> Result<Self> {
        // Three quarters are one principal's.
        let places = (2 * listeners).max(8);
        let table = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\nplain = true\nconnections = {places}\n\
             connections_per_source = {places}\nlisteners = {places}\n"
        );
        let hub = Hub::configured("Weft", folder, "", &table)?;
        Ok(Self { hub, http: Hub::http(folder)? })
    }
}

impl Served for ByEvents {
    fn name(&self) -> &'static str {
        "Weft, server-sent events"
    }

    fn listener(&self) -> Result<TcpStream> {
        let ask = format!("GET /v1/topics/{TOPIC} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n");
        connect(&self.http, &ask, "\r\n\r\n")
    }

    fn publisher(&self) -> Result<Publish> {
        let client = block_on(Client::connect(ConnectOptions::new(self.hub.address()).name("bench")))?;
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
        Ok(Box::new(move |payload| {
            // The connection lives as long as its client.
            let _ = &client;
            drop(block_on(publisher.publish(TOPIC, payload))?);
            Ok(())
        }))
    }

    fn used(&self) -> Result<f64> {
        Ok(self.hub.server().context("the hub is no process")?.cpu_seconds()?)
    }
}

/// NATS, listened to by WebSocket, as its client for browsers does.
struct BySocket {
    nats: Nats,
    at: String,
}

impl BySocket {
    fn start() -> Result<Self> {
        let (nats, at) = Nats::with_websocket()?;
        Ok(Self { nats, at })
    }
}

impl Served for BySocket {
    fn name(&self) -> &'static str {
        "NATS core, WebSocket"
    }

    fn listener(&self) -> Result<TcpStream> {
        let upgrade = "GET / HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n";
        // The server's first words may come with its answer.
        let mut socket = connect(&self.at, upgrade, "\r\n\r\n")?;
        let words = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {TOPIC} 1\r\nPING\r\n");
        // A last frame of bytes, masked with zeros (RFC 6455, section 5.2).
        let length = u8::try_from(words.len()).ok().filter(|length| *length < 126).context("too many words")?;
        let frame = [&[0x82, 0x80 | length, 0, 0, 0, 0], words.as_bytes()].concat();
        say(&mut socket, &frame, "PONG\r\n")?;
        Ok(socket)
    }

    fn publisher(&self) -> Result<Publish> {
        let mut connection = self.nats.connect()?;
        Ok(Box::new(move |payload| {
            let head = format!("PUB {TOPIC} {}\r\n", payload.len());
            connection.write(&[head.as_bytes(), payload, b"\r\n"].concat())
        }))
    }

    fn used(&self) -> Result<f64> {
        Ok(self.nats.process().cpu_seconds()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_out_wherever_a_read_ended() {
        let text = b"data: {\"payload\":\"due:0000000000000007xx\"}\n\ndu due:0000000000000042";
        for cut in 0..text.len() {
            let (mut bytes, mut seen) = (Vec::new(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                bytes.extend_from_slice(part);
                take_times(&mut bytes, |due| seen.push(due)).unwrap();
            }
            assert_eq!(seen, [7, 42], "cut at {cut}");
        }
        assert!(take_times(&mut b"due:000000000000000x".to_vec(), |_| ()).is_err());
    }
}
