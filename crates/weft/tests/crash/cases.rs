//! The matrix: one row for each fault and level.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use weft_base::Random;

use crate::clock::TestClock;
use crate::hub::{Hub, run};
use crate::load::{LEVELS, Load, STREAM, Verdict};
use crate::mount::LazyDisk;
use crate::reader::{LEVEL, Read, Reader};

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How often each fault strikes.
    pub(crate) rounds: u64,
    /// Events that are acknowledged at each level between two strikes, at least.
    pub(crate) events: u64,
    /// What all chance comes from.
    pub(crate) seed: u64,
}

/// What a fault leaves of each level: routed, written, synced.
type Promise = [bool; 3];
/// A dead process leaves what the system has.
const PROCESS: Promise = [false, true, true];
/// A dead machine leaves what the disk has.
const MACHINE: Promise = [false, false, true];

/// A fault and what came of it.
pub(crate) struct Case {
    pub(crate) fault: &'static str,
    pub(crate) rounds: u64,
    promise: Promise,
    pub(crate) verdict: Verdict,
    /// What a durable consumer got meanwhile, where there was one.
    read: Option<Read>,
    /// What else is wrong, in words.
    pub(crate) complaints: Vec<String>,
}

impl Case {
    fn new(fault: &'static str, rounds: u64, promise: Promise, verdict: Verdict) -> Self {
        Self { fault, rounds, promise, verdict, read: None, complaints: Vec::new() }
    }

    /// What is wrong, if anything.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.complaints.clone();
        for ((count, (_, level)), promised) in self.verdict.counts.iter().zip(LEVELS).zip(self.promise) {
            if promised && count.lost > 0 {
                wrong.push(format!("{} events acknowledged at {level} are lost", count.lost));
            }
            if count.repeated > 0 {
                wrong.push(format!("{} events at {level} are there twice", count.repeated));
            }
            if count.disordered > 0 {
                wrong.push(format!("{} events at {level} are out of order", count.disordered));
            }
        }
        if self.verdict.foreign > 0 {
            wrong.push(format!("{} events were served that nobody published so", self.verdict.foreign));
        }
        wrong.into_iter().map(|text| format!("{}: {text}", self.fault)).collect()
    }
}

/// The table's head.
pub(crate) const HEAD: &str = "| fault | times | level | published | acknowledged | recovered | lost | may lose | twice | consumed | again |\n\
                               |---|---:|---|---:|---:|---:|---:|---|---:|---:|---:|";

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, ((count, (_, level)), promised)) in
            self.verdict.counts.iter().zip(LEVELS).zip(self.promise).enumerate()
        {
            let line_end = if at > 0 { "\n" } else { "" };
            let (fault, rounds) = (self.fault, self.rounds);
            let may = if promised { "nothing" } else { "yes" };
            write!(
                f,
                "{line_end}| {fault} | {rounds} | {level} | {} | {} | {} | {} | {may} | {} |",
                count.published, count.acknowledged, count.recovered, count.lost, count.repeated
            )?;
            match self.read.filter(|_| at == LEVEL) {
                Some(read) => write!(f, " {} | {} |", read.events, read.again)?,
                None => write!(f, " | |")?,
            }
        }
        Ok(())
    }
}

/// `weft log verify` of the hub's stream; the hub is stopped.
fn verify(hub: &Hub) -> Option<String> {
    let (good, text) = run(&["log", "verify", &hub.stream(STREAM).to_string_lossy()]);
    (!good).then(|| format!("`weft log verify` says: {text}"))
}

/// Publishers and a reader at work on a hub.
struct Work {
    load: Load,
    reader: Option<Reader>,
}

impl Work {
    fn start(hub: &Hub) -> Self {
        Self { load: Load::start(hub), reader: Some(Reader::start(hub)) }
    }

    /// Without a reader: where what was on disk is lost, its position means nothing.
    fn unread(hub: &Hub) -> Self {
        Self { load: Load::start(hub), reader: None }
    }
}

/// Ends the load, judges the stream and the reader, and has the stopped hub's
/// folder verified.
fn conclude(mut hub: Hub, work: Work, fault: &'static str, rounds: u64, promise: Promise) -> Case {
    let published = work.load.finish();
    let verdict = published.judge(&hub);
    let read = work.reader.map(|reader| reader.finish(&verdict.held[LEVEL]));
    hub.stop();
    let mut case = Case::new(fault, rounds, promise, verdict);
    case.read = read;
    let anew = hub.logged("keyed_damaged");
    if anew > 0 {
        println!("{fault}: the hub began its keyed state anew {anew} times");
    }
    case.complaints.extend(verify(&hub));
    case
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(crate) fn killed(size: Size) -> Case {
    let folder = folder();
    let mut hub = Hub::start(folder.path(), &folder.path().join("data"));
    let work = Work::start(&hub);
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        hub.kill();
        hub.again();
    }
    work.load.advance(size.events);
    conclude(hub, work, "kill -9", size.rounds, PROCESS)
}

pub(crate) fn frozen(size: Size) -> Case {
    let folder = folder();
    let hub = Hub::start(folder.path(), &folder.path().join("data"));
    let work = Work::start(&hub);
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        // Longer than the client waits for a word.
        hub.freeze(Duration::from_millis(3_500));
    }
    work.load.advance(size.events);
    conclude(hub, work, "SIGSTOP for 3.5 s, SIGCONT", size.rounds, PROCESS)
}

/// The clock set back a day while the hub runs, and again at its next start.
pub(crate) fn clock_set_back(size: Size) -> Result<Case, String> {
    let day = Duration::from_secs(86_400);
    let folder = folder();
    let clock = TestClock::make(folder.path())?;
    let mut hub = Hub::start_with(folder.path(), &folder.path().join("data"), Some(clock));
    let work = Work::start(&hub);
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        hub.set_back(day);
        work.load.advance(size.events);
        hub.kill();
        hub.again();
        work.load.advance(size.events);
        hub.set_back(Duration::ZERO);
    }
    work.load.advance(size.events);
    Ok(conclude(hub, work, "clock set back a day, kill -9", size.rounds, PROCESS))
}

/// Power cuts at any operation of the disk; `lie` makes its syncs lie.
pub(crate) fn powerless(size: Size, lie: bool) -> Case {
    let folder = folder();
    let mut disk = LazyDisk::mount(&folder.path().join("disk")).expect("FUSE");
    let mut random = Random::from_seed(size.seed);
    let mut hub = Hub::start(folder.path(), &disk.path.join("data"));
    let work = if lie { Work::unread(&hub) } else { Work::start(&hub) };
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        disk.disk().faults.lie = lie;
        disk.disk().cut_after(random.below(200));
        crate::hub::until("the power is cut", || disk.disk().is_off());
        hub.kill();
        disk.restart(random.next_u64()).expect("the disk is mounted again");
        disk.disk().faults.lie = false;
        hub.again();
    }
    work.load.advance(size.events);
    conclude(hub, work, if lie { "power cut, a disk that lies" } else { "power cut" }, size.rounds, MACHINE)
}

pub(crate) fn full(size: Size) -> Case {
    let folder = folder();
    let disk = LazyDisk::mount(&folder.path().join("disk")).expect("FUSE");
    let hub = Hub::start(folder.path(), &disk.path.join("data"));
    let work = Work::start(&hub);
    let mut refused = 0;
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        {
            let mut disk = disk.disk();
            disk.faults.capacity = Some(disk.used());
        }
        refused += 1;
        work.load.refused(2, refused);
        disk.disk().faults.capacity = None;
    }
    work.load.advance(size.events);
    conclude(hub, work, "disk full", size.rounds, PROCESS)
}

pub(crate) fn read_only(size: Size) -> Case {
    let folder = folder();
    let disk = LazyDisk::mount(&folder.path().join("disk")).expect("FUSE");
    let mut hub = Hub::start(folder.path(), &disk.path.join("data"));
    let work = Work::start(&hub);
    for _ in 0..size.rounds {
        work.load.advance(size.events);
        let before = disk.disk().operations;
        disk.disk().faults.read_only = true;
        crate::hub::until("something was to be written", || disk.disk().operations > before);
        // The way out of a failed sync is a restart.
        hub.kill();
        disk.disk().faults.read_only = false;
        hub.again();
    }
    work.load.advance(size.events);
    conclude(hub, work, "read-only file system, then a restart", size.rounds, MACHINE)
}

pub(crate) fn slow(size: Size) -> Case {
    let folder = folder();
    let disk = LazyDisk::mount(&folder.path().join("disk")).expect("FUSE");
    disk.disk().faults.slow = Duration::from_millis(100);
    let mut hub = Hub::start(folder.path(), &disk.path.join("data"));
    let work = Work::start(&hub);
    for _ in 0..size.rounds {
        work.load.advance(size.events / 4);
        hub.kill();
        hub.again();
    }
    work.load.advance(size.events / 4);
    conclude(hub, work, "each sync takes 100 ms, kill -9", size.rounds, PROCESS)
}

/// Flips bits of a stopped hub's segments, below what was synced. Answers how
/// many. With `forge` the checksums are made right again, which no check can see.
fn flip(stream: &Path, random: &mut Random, count: u64, forge: bool) {
    use weft_wire::block::{Block, peek_len, producer_checksum};
    let path = stream.join("0000000001.seg");
    let mut bytes = fs::read(&path).expect("a segment");
    let mut blocks = Vec::new();
    let mut at = 4096;
    while let Some(len) = bytes.get(at..).and_then(peek_len).map(|len| len as usize)
        && bytes.get(at..at + len).is_some_and(|block| Block::validate(block).is_ok())
    {
        blocks.push((at, len));
        at += len;
    }
    random.shuffle(&mut blocks);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a segment");
    for (at, len) in blocks.into_iter().take(count as usize) {
        // In the last event's payload.
        let place = at + len - 16 + random.below(8) as usize;
        bytes[place] ^= 1 << random.below(8);
        if forge {
            let sum = producer_checksum(&bytes[at..at + len]);
            bytes[at + 60..at + 64].copy_from_slice(&sum.to_le_bytes());
        }
        file.write_all_at(&bytes[at..at + len], at as u64).expect("it can be written");
    }
    file.sync_all().expect("it can be synced");
}

/// Flipped bits while the hub is stopped: found by `weft log verify`, not
/// served, and repaired from a copy. `forge`: bits that no check can see.
pub(crate) fn flipped(size: Size, forge: bool) -> Case {
    let folder = folder();
    let mut hub = Hub::start(folder.path(), &folder.path().join("data"));
    let load = Load::start(&hub);
    load.advance(size.events * 2);
    let published = load.finish();
    hub.stop();
    let (stream, copy) = (hub.stream(STREAM), folder.path().join("copy"));
    fs::create_dir(&copy).expect("a folder");
    for entry in fs::read_dir(&stream).expect("a folder").flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
    }
    let mut complaints = Vec::new();
    complaints.extend(verify(&hub));
    flip(&stream, &mut Random::from_seed(size.seed), size.rounds, forge);
    if !forge && verify(&hub).is_none() {
        complaints.push("`weft log verify` does not see the flipped bits".to_owned());
    }
    hub.again();
    let damaged = published.judge(&hub);
    hub.stop();
    if damaged.foreign > 0 {
        complaints.push(format!("{} events were served that nobody published so", damaged.foreign));
    }
    let lost: u64 = damaged.counts.iter().map(|count| count.lost).sum();
    if lost == 0 && !forge {
        complaints.push("damaged events were served".to_owned());
    }
    if lost != damaged.told {
        complaints.push(format!("{lost} events are not served, and the subscriber was told of {}", damaged.told));
    }
    let path = stream.to_string_lossy().into_owned();
    let (good, text) = run(&["log", "repair", &path, "--from", &copy.to_string_lossy(), "--apply"]);
    if !good {
        complaints.push(format!("`weft log repair` says: {text}"));
    }
    hub.again();
    let verdict = published.judge(&hub);
    hub.stop();
    complaints.extend(verify(&hub));
    let mut case = Case::new("flipped bits, repair from a copy", size.rounds, [true; 3], verdict);
    // What was only routed may not have come to the stream at all.
    case.promise[0] = false;
    case.complaints = complaints;
    case
}
