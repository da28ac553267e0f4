//! The log beside its disk and its memory: appending with and without group
//! commit, reading, opening. `cargo xtask bench log`
//!
//! Blocks of 64 KiB full of 128-byte events, and for comparison blocks of one
//! such event. Every figure is the median of the rounds, each in a new folder.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use weft_base::{Clock, Epoch, HubId, Now, ProducerId, SystemClock};
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::{disk, machine, process};
use weft_log::fs::RealFs;
use weft_log::{Log, LogOptions};
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields, Stamp, stamp};

const EVENT: usize = 128;

/// The log beside its disk and its memory.
#[derive(Parser)]
struct Arguments {
    /// Mebibytes appended in a run.
    #[arg(long, default_value_t = 256)]
    mib: usize,
    /// Rounds; the table shows their medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A stamped block of at most `bytes`, full of events; and how many.
fn block(bytes: usize) -> Result<(Vec<u8>, u64)> {
    let mut buffer = vec![0; bytes];
    let mut fields = BlockFields::new("flights/departed/JFK/LAX/B6");
    fields.producer = ProducerId(1);
    let mut writer = BlockWriter::new(&mut buffer, &fields)?;
    // Bytes that no disk would compress.
    let payload: [u8; EVENT] = std::array::from_fn(|i| (i * 167 + 13) as u8);
    let event = EventFields { payload: &payload, ..Default::default() };
    writer.push(&event)?;
    while writer.push(&event).is_ok() {}
    let events = writer.event_count();
    let len = writer.finish()?;
    buffer.truncate(len);
    let ingested = SystemClock::new().now().wall;
    stamp(&mut buffer, &Stamp { origin: HubId(1), epoch: Epoch(1), block: 1, sequence: 1, ingested })?;
    Ok((buffer, events.into()))
}

/// What is appended in a run.
struct Work {
    block: Vec<u8>,
    events: u64,
    blocks: u64,
}

impl Work {
    fn new(block_bytes: usize, total: usize) -> Result<Self> {
        let (block, events) = block(block_bytes)?;
        let blocks = (total / block.len()) as u64;
        Ok(Self { block, events, blocks })
    }

    fn total_events(&self) -> u64 {
        self.events * self.blocks
    }

    fn total_bytes(&self) -> f64 {
        self.block.len() as f64 * self.blocks as f64
    }
}

fn open(folder: &Path, options: LogOptions) -> Result<Log> {
    Ok(Log::open(Arc::new(RealFs), folder, options, SystemClock::new().now())?.0)
}

fn append_all(log: &mut Log, work: &Work) -> Result<()> {
    for _ in 0..work.blocks {
        log.append(&work.block, Now::default())?;
    }
    Ok(())
}

/// Seconds of appending while nothing is synced; with a second thread that
/// makes segments ready, or without.
fn unsynced(folder: &Path, work: &Work, prepared: bool) -> Result<f64> {
    let mut log = open(folder, LogOptions::default())?;
    let (syncer, done) = (log.syncer(), AtomicBool::new(!prepared));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                syncer.prepare();
            }
        });
        let start = Instant::now();
        let result = append_all(&mut log, work);
        let time = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        result.map(|()| time)
    })
}

/// Seconds of appending with group commit in a second thread, until all is on
/// the disk, and how many syncs that took. At most `window` bytes are not yet
/// synced, as publishers' credit would have it.
fn committed(folder: &Path, work: &Work, window: u64) -> Result<(f64, u64)> {
    let mut log = open(folder, LogOptions::default())?;
    let (syncer, target, syncs) = (log.syncer(), work.total_events() + 1, AtomicU64::new(0));
    let most = (window / work.block.len() as u64).max(1) * work.events;
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| -> Result<()> {
            let mut synced = 1;
            while synced < target {
                let before = std::mem::replace(&mut synced, syncer.commit()?);
                // A call that found nothing new asks nothing of the disk.
                syncs.fetch_add(u64::from(synced > before), Ordering::Relaxed);
                syncer.prepare();
            }
            Ok(())
        });
        let start = Instant::now();
        for _ in 0..work.blocks {
            while log.next() - log.synced() > most && !sync.is_finished() {
                std::thread::yield_now();
            }
            log.append(&work.block, Now::default())?;
        }
        sync.join().map_err(|_| anyhow::anyhow!("the syncer panicked"))??;
        Ok((start.elapsed().as_secs_f64(), syncs.load(Ordering::Relaxed)))
    })
}

/// Times of appending one block and syncing it, one at a time.
fn one_by_one(folder: &Path, work: &Work, time: Duration) -> Result<weft_load::latency::Latencies> {
    let mut log = open(folder, LogOptions::default())?;
    let (syncer, mut times, end) = (log.syncer(), weft_load::latency::Latencies::new(), Instant::now() + time);
    while Instant::now() < end {
        let start = Instant::now();
        log.append(&work.block, Now::default())?;
        syncer.commit()?;
        times.record(u64::try_from(start.elapsed().as_nanos())?);
        syncer.prepare();
    }
    Ok(times)
}

/// Seconds of reading all of a log, of walking its events, of opening it with
/// everything checked, after a kill, and after a clean stop.
fn read(folder: &Path, work: &Work) -> Result<[f64; 5]> {
    let mut log = open(folder, LogOptions::default())?;
    append_all(&mut log, work)?;
    let mut times = [0.0; 5];
    for (at, walk) in [(0, false), (1, true)] {
        let (mut reader, mut from, mut sum) = (log.reader(), 1, 0);
        let start = Instant::now();
        while from < reader.next() {
            for found in reader.read(from, u64::MAX, 256 << 10)? {
                if walk {
                    sum += Block::trusted(&found).events().map(|e| u64::from(e.payload[0])).sum::<u64>();
                }
                from = found.next();
            }
        }
        times[at] = start.elapsed().as_secs_f64();
        ensure!(!walk || sum > 0);
    }
    let syncer = log.syncer();
    syncer.commit()?;
    // As the sync stage does from time to time.
    for _ in 0..work.total_bytes() as u64 / (64 << 20) {
        syncer.prepare();
    }
    drop(log);
    for (at, check_all) in [(3, false), (4, false), (2, true)] {
        let start = Instant::now();
        let log = open(folder, LogOptions { check_all, ..LogOptions::default() })?;
        times[at] = start.elapsed().as_secs_f64();
        ensure!(log.next() == work.total_events() + 1);
        log.close()?;
    }
    Ok(times)
}

/// The runs of one figure, all of the same work.
#[derive(Default)]
struct Figures {
    bytes: Runs,
    events: Runs,
}

impl Figures {
    fn push(&mut self, work: &Work, seconds: f64) {
        self.bytes.push(work.total_bytes() / seconds);
        self.events.push(work.total_events() as f64 / seconds);
    }

    fn row(&self, table: &mut Table, name: &str) {
        table.row([name.to_owned(), with_range(&self.events), format!("{}B/s", short(self.bytes.median()))]);
    }
}

const NAMES: [&str; 10] = [
    "append 64 KiB blocks, not synced, prepared by the syncer",
    "append 64 KiB blocks, not synced, on its own",
    "append blocks of one event, not synced, prepared by the syncer",
    "append 64 KiB blocks, group commit, 1 MiB in flight",
    "append 64 KiB blocks, group commit, 8 MiB in flight",
    "append blocks of one event, group commit, 1 MiB in flight",
    "read 64 KiB blocks, checked",
    "read 64 KiB blocks, checked, every event looked at",
    "read 1 KiB blocks, checked",
    "open, everything checked",
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let total = arguments.mib << 20;
    let (large, small) = (Work::new(64 << 10, total)?, Work::new(256 + EVENT, total / 4)?);
    let medium = Work::new(1024, total)?;
    ensure!(small.events == 1);
    let target = process::target_folder()?;
    let mut figures: [Figures; NAMES.len()] = std::array::from_fn(|_| Figures::default());
    let (mut syncs, mut single) = ([Runs::new(), Runs::new(), Runs::new()], Vec::new());
    let (mut sequential, mut disk_syncs) = (Runs::new(), Vec::new());
    let (mut killed, mut closed) = (Runs::new(), Runs::new());
    for _ in 0..arguments.rounds {
        let fresh = || tempfile::tempdir_in(&target);
        figures[0].push(&large, unsynced(fresh()?.path(), &large, true)?);
        figures[1].push(&large, unsynced(fresh()?.path(), &large, false)?);
        figures[2].push(&small, unsynced(fresh()?.path(), &small, true)?);
        for (at, work, window) in [(3, &large, 1 << 20), (4, &large, 8 << 20), (5, &small, 1 << 20)] {
            let (seconds, count) = committed(fresh()?.path(), work, window)?;
            figures[at].push(work, seconds);
            syncs[at - 3].push(count as f64 / seconds);
        }
        let times = read(fresh()?.path(), &large)?;
        for (at, seconds) in [(6, times[0]), (7, times[1]), (9, times[2])] {
            figures[at].push(&large, seconds);
        }
        killed.push(times[3] * 1e3);
        closed.push(times[4] * 1e3);
        figures[8].push(&medium, read(fresh()?.path(), &medium)?[0]);
        single.push(one_by_one(fresh()?.path(), &large, Duration::from_secs(1))?);
        sequential.push(disk::sequential(fresh()?.path(), total)?);
        disk_syncs.push(disk::sync_times(fresh()?.path(), large.block.len(), Duration::from_secs(1))?);
    }
    println!("{}", machine::line());
    let copy = machine::memory_copy(total, Duration::from_secs(1));
    println!("memory: copy of {} MiB {}B/s", arguments.mib, short(copy));
    println!("disk: sequential write with fdatasync at the end {}B/s", with_range(&sequential));
    let times = |runs: &[weft_load::latency::Latencies]| {
        let of = |q| runs.iter().map(|h| h.at(q) as f64 / 1e3).collect::<Runs>().median();
        format!("p50 {:.0} µs, p99 {:.0} µs", of(0.5), of(0.99))
    };
    println!("disk: write of 64 KiB and fdatasync, space written before: {}", times(&disk_syncs));
    println!("log: append of 64 KiB and commit, one at a time: {}\n", times(&single));
    let mut table = Table::new(["log", "128 B events/s", "block bytes"]);
    for (name, figures) in NAMES.iter().zip(&figures) {
        figures.row(&mut table, name);
    }
    println!("{table}");
    println!("open: {:.1} ms after a kill, {:.1} ms after a clean stop", killed.median(), closed.median());
    let [one, eight, few] = syncs.map(|runs| short(runs.median()));
    println!("syncs/s with group commit: {one} at 1 MiB, {eight} at 8 MiB, {few} with blocks of one event");
    Ok(())
}
