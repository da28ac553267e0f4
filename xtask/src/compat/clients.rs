//! Clients of either program: publishers that count, and live events.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::judge::in_order;
use super::mesh::Mesh;
use super::process::connected_to;
use super::{Age, PATIENCE};
use crate::step::within;

/// Between two numbers of a publisher.
const PACE: Duration = Duration::from_millis(5);
/// Live events that must arrive at each mix of versions, from clients of each program.
const LIVE: u64 = 500;
/// The live event before those that count, and the one behind them.
const ENDS: [&str; 2] = ["begin", "end"];

/// A client that publishes numbers, one after the other, until it is told to stop.
pub(super) struct Feed {
    child: Option<Child>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<std::io::Result<u64>>>,
    topic: &'static str,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Feed {
    /// A client of this hub, and of the others when that is gone; its first number.
    pub(super) fn start(mesh: &Mesh, age: Age, hub: usize, topic: &'static str, first: u64) -> Result<Self> {
        let mut command = mesh.client_of_all(age, hub, ["pub", topic, "--lines", "--level", "synced"]);
        let log = mesh.folder().join(format!("publisher-{}.log", topic.replace('/', "-")));
        let log = File::options().append(true).create(true).open(log)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        let stop = Arc::<AtomicBool>::default();
        let stops = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut number = first;
            while !stops.load(Ordering::Acquire) {
                writeln!(input, "{number}")?;
                number += 1;
                std::thread::sleep(PACE);
            }
            Ok(number)
        });
        Ok(Self { child: Some(child), stop, writer: Some(writer), topic })
    }

    /// Waits until it is connected, and not to the hub at this port.
    pub(super) fn wait_until_elsewhere(&self, port: u16, until: Instant) -> Result<()> {
        let process = self.child.as_ref().map_or(0, Child::id);
        loop {
            let ports = connected_to(process);
            if !ports.is_empty() && !ports.contains(&port) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the publisher of {} finds no other hub", self.topic);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Answers the number that would have been next: those before it were acknowledged.
    pub(super) fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let written = self.writer.take().context("it was started")?.join();
        let child = self.child.take().context("it was started")?;
        let status = within(child, PATIENCE).with_context(|| format!("the publisher of {}", self.topic))?;
        ensure!(status.success(), "the publisher of {} ended with {status}: not all was acknowledged", self.topic);
        let written = written.map_err(|_| anyhow::anyhow!("a publisher's thread panicked"))?;
        written.with_context(|| format!("the publisher of {} took no more", self.topic))
    }
}

/// Live events from one end of the mesh to the other, from a client of one
/// program to one of the other; answers how many.
pub(super) fn live(mesh: &Mesh, from: Age) -> Result<u64> {
    let topic = format!("live/{}", from.name());
    let mut sub = mesh.client(from.other(), 2, ["sub", &topic, "--format", "raw"]);
    sub.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut sub = sub.spawn()?;
    let output = sub.stdout.take().context("a pipe")?;
    let (came, reader) = lines_of(output);
    let result = publish_live(mesh, from, &topic, &came);
    sub.kill()?;
    sub.wait()?;
    drop(came);
    let _ = reader.join();
    result
}

fn lines_of(output: ChildStdout) -> (mpsc::Receiver<String>, JoinHandle<()>) {
    let (lines, came) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut whole = BufReader::new(output).lines().map_while(Result::ok);
        let _ = whole.try_for_each(|line| lines.send(line));
    });
    (came, reader)
}

/// Publishes live events, and judges what comes.
fn publish_live(mesh: &Mesh, from: Age, topic: &str, came: &mpsc::Receiver<String>) -> Result<u64> {
    let [begin, end] = ENDS;
    let until = mesh.until();
    // Until one has come: a subscription is not live everywhere at once.
    while came.try_recv().is_err() {
        ensure!(Instant::now() < until, "nothing comes");
        mesh.ask(from, 0, ["pub", topic, begin])?;
    }
    let mut publish = mesh.client(from, 0, ["pub", topic, "--lines"]);
    publish.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut publish = publish.spawn()?;
    let input = publish.stdin.take().context("a pipe")?;
    let written = write_numbers(input, end);
    let status = within(publish, until.saturating_duration_since(Instant::now()))?;
    ensure!(status.success(), "the publisher ended with {status}");
    written?;
    let mut lines = Vec::new();
    loop {
        let line = came.recv_timeout(until.saturating_duration_since(Instant::now()));
        let line = line.with_context(|| format!("the last one does not come, {} have", lines.len()))?;
        if line == end {
            break;
        }
        lines.push(line);
    }
    let count = in_order(lines.iter().map(String::as_str).skip_while(|line| *line == begin))?;
    ensure!(count == LIVE, "{count} of {LIVE} came");
    Ok(count)
}

fn write_numbers(mut input: ChildStdin, end: &str) -> std::io::Result<()> {
    (0..LIVE).try_for_each(|number| writeln!(input, "{number}"))?;
    writeln!(input, "{end}")
}
