//! The parts of the run: what is done in each, by whom, and beside which limit
//! of the machine, measured in the same rounds.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use weft_base::ByteCount;
use weft_bench::acked::{Durable, Load, fill, one_by_one, pipelined};
use weft_bench::latency::{Pace, open_loop_of};
use weft_bench::report::{CPU, Metric, Report};
use weft_bench::streams::{replay, shared};
use weft_bench::weft::Hub;
use weft_bench::{disk, machine};
use weft_load::latency::Latencies;

use crate::Arguments;
use crate::entrants::{Field, Row};

pub(crate) const ACKED: Metric = Metric { name: "acknowledged", unit: "events/s" };
pub(crate) const READ: Metric = Metric { name: "read", unit: "events/s" };
pub(crate) const BYTES: Metric = Metric { name: "the machine itself", unit: "bytes/s" };
pub(crate) const MICROS: Metric = Metric { name: "latency", unit: "µs" };
pub(crate) const RESIDENT: Metric = Metric { name: "resident memory", unit: "MiB" };

pub(crate) const SEQUENTIAL: &str = "sequential write, one sync at the end";
pub(crate) const LOOPBACK: &str = "loopback TCP, one way, writes of 64 KiB";
pub(crate) const GROWING: &str = "4 KiB appended to a growing file and fdatasync";
pub(crate) const WRITTEN: &str = "4 KiB into space written before and fdatasync";
pub(crate) const MACHINE: &str = "machine";
/// The percentiles of a table.
pub(crate) const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
/// The payloads that are published and read again, with the share of the events of each.
pub(crate) const PAYLOADS: [(&str, usize, u64); 2] = [("128 B", 128, 1), ("1 KiB", 1024, 4)];
/// How long a hub's memory is left alone before it is looked at.
const QUIET: Duration = Duration::from_secs(1);

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Many publishes on their way at once.
    Publish,
    /// One publish at a time.
    Single,
    /// A stream read again from its first event on.
    Replay,
    /// A group that acknowledges each event by itself.
    Group,
    /// A reader that has caught up.
    Live,
    /// A hub's memory as its stream grows.
    Memory,
}

impl Part {
    pub(crate) const ALL: [Self; 6] =
        [Self::Publish, Self::Single, Self::Replay, Self::Group, Self::Live, Self::Memory];

    /// Its figures' section in the report.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Single => "single",
            Self::Replay => "replay",
            Self::Group => "group",
            Self::Live => "live",
            Self::Memory => "memory",
        }
    }

    /// Measures it.
    pub(crate) fn run(self, arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
        match self {
            Self::Publish => publish(arguments, field, report),
            Self::Single => single(arguments, field, report),
            Self::Replay => replays(arguments, field, report),
            Self::Group => groups(arguments, field, report),
            Self::Live => live(arguments, field, report),
            Self::Memory => memory(arguments, field, report),
        }
    }

    /// Prints its tables.
    pub(crate) fn print(self, arguments: &Arguments, report: &Report) {
        let title = match self {
            Self::Publish => "Publishing, many on their way".to_owned(),
            Self::Single => "Publishing 128 B, one at a time".to_owned(),
            Self::Replay => "Reading a stream again, from its first event on".to_owned(),
            Self::Group => format!("Group of {}, 128 B, each event acknowledged by itself", arguments.members),
            Self::Live => format!("Live reader of a stream, {} events/s of 128 B", arguments.rate),
            Self::Memory => "A hub's memory as its stream grows".to_owned(),
        };
        println!("### {title}\n");
        let section = self.section();
        for (metric, lowest) in [(ACKED, false), (READ, false), (CPU, true), (MICROS, true), (RESIDENT, true)] {
            if !report.works(section, metric).is_empty() {
                println!("{}", report.table(section, metric, lowest));
            }
        }
        let limits = format!("{section}, {MACHINE}");
        for (metric, lowest) in [(BYTES, false), (MICROS, true)] {
            if !report.works(&limits, metric).is_empty() {
                println!("{}", report.table(&limits, metric, lowest));
            }
        }
    }

    /// The section of what the machine itself gave in this part's rounds.
    pub(crate) fn limits(self) -> String {
        format!("{}, {MACHINE}", self.section())
    }
}

/// Records the percentiles of one round.
fn percentiles(report: &mut Report, section: &str, row: &str, seen: &Latencies) {
    for (name, quantile) in PERCENTILES {
        report.record(section, name, row, MICROS, seen.at(quantile) as f64 / 1e3);
    }
}

fn publish(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const ROWS: [Row; 7] =
        [Row::Weft, Row::Jetstream, Row::JetstreamAlways, Row::Redis, Row::RedisAlways, Row::Kafka, Row::KafkaFlush];
    let (part, time) = (Part::Publish, Duration::from_secs_f64(arguments.seconds));
    for (work, payload, _) in PAYLOADS {
        let load = Load { payload, batch: arguments.batch, window: arguments.window, time };
        for round in 0..=arguments.rounds {
            let counts = round > 0;
            disk::settle(field.disk())?;
            let rate = disk::sequential(field.disk(), 512 << 20)?;
            if counts {
                report.record(&part.limits(), work, SEQUENTIAL, BYTES, rate);
            }
            field.each(report, &ROWS, work, |row, peer, report| {
                let acked = pipelined(peer, "publish", &load)?;
                if counts {
                    report.record(part.section(), work, row.name(), ACKED, acked.rate);
                    report.record(part.section(), work, row.name(), CPU, acked.server_cpu);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn single(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const ROWS: [Row; 7] =
        [Row::Weft, Row::Jetstream, Row::JetstreamAlways, Row::Redis, Row::RedisAlways, Row::Kafka, Row::KafkaFlush];
    let (part, time) = (Part::Single, Duration::from_secs_f64(arguments.seconds / 2.0));
    for round in 0..=arguments.rounds {
        let counts = round > 0;
        disk::settle(field.disk())?;
        let written = disk::sync_times(field.disk(), 4096, time)?;
        let growing = disk::append_times(field.disk(), 4096, time)?;
        if counts {
            percentiles(report, &part.limits(), GROWING, &growing);
            percentiles(report, &part.limits(), WRITTEN, &written);
        }
        field.each(report, &ROWS, "one at a time", |row, peer, report| {
            let seen = one_by_one(peer, "single", 128, time)?;
            if counts {
                percentiles(report, part.section(), row.name(), &seen);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// How streams are filled.
fn filling(arguments: &Arguments, payload: usize) -> Load {
    Load { payload, batch: arguments.batch, window: arguments.window, time: Duration::ZERO }
}

fn replays(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const ROWS: [Row; 4] = [Row::Weft, Row::Jetstream, Row::RedisAlways, Row::Kafka];
    let part = Part::Replay;
    for (work, payload, share) in PAYLOADS {
        let mut filled = BTreeMap::new();
        field.each(report, &ROWS, "filled", |row, peer, _| {
            let events = if row == Row::RedisAlways { arguments.redis_events } else { arguments.events };
            let events = fill(peer, "replay", &filling(arguments, payload), events / share)?;
            filled.insert(row.name(), events);
            Ok(())
        })?;
        for round in 0..=arguments.rounds {
            // The first round brings the files into memory.
            let counts = round > 0;
            let rate = machine::loopback(64 << 10, Duration::from_secs(1))?;
            if counts {
                report.record(&part.limits(), work, LOOPBACK, BYTES, rate);
            }
            field.each(report, &ROWS, work, |row, peer, report| {
                let events = filled.get(row.name()).copied().unwrap_or(0);
                let rate = replay(peer, "replay", payload, events)?;
                if counts {
                    report.record(part.section(), work, row.name(), READ, rate);
                }
                Ok(())
            })?;
        }
        field.each(report, &ROWS, "deleted", |_, peer, _| peer.close("replay"))?;
    }
    Ok(())
}

fn groups(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const ROWS: [Row; 4] = [Row::Weft, Row::Jetstream, Row::Redis, Row::RedisAlways];
    let part = Part::Group;
    for round in 0..=arguments.rounds {
        field.each(report, &ROWS, "a group", |row, peer, report| {
            let events = fill(peer, "shared", &filling(arguments, 128), arguments.group_events)?;
            let rate = shared(peer, "shared", arguments.members, events)?;
            peer.close("shared")?;
            if round > 0 {
                report.record(part.section(), "128 B", row.name(), READ, rate);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn live(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const ROWS: [Row; 4] = [Row::Weft, Row::Jetstream, Row::Kafka, Row::KafkaFlush];
    let part = Part::Live;
    let pace = Pace {
        rate: arguments.rate,
        payload: 128,
        warm_up: Duration::from_millis(500),
        time: Duration::from_secs_f64(1.5 * arguments.seconds),
        spin: false,
    };
    for round in 0..=arguments.rounds {
        field.each(report, &ROWS, "a live reader", |row, peer, report| {
            let (mut publisher, mut reader) = peer.live("live", pace.payload)?;
            let seen = open_loop_of(row.name(), &mut *publisher, &mut *reader, &pace)?;
            drop((publisher, reader));
            peer.close("live")?;
            if round > 0 {
                percentiles(report, part.section(), row.name(), &seen);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The columns of the memory's table.
pub(crate) const LENGTHS: [&str; 2] = ["1×", "4×"];
/// It depends on how much of the segment in use is filled, which is mapped.
const ALL_RESIDENT: &str = "Weft, with the mapped pages of files";
pub(crate) const OWN_RESIDENT: &str = "Weft, its own";

/// A fresh hub for each round, whose stream grows to four times its length.
fn memory(arguments: &Arguments, field: &Field, report: &mut Report) -> Result<()> {
    if !field.has_weft() {
        return Ok(());
    }
    let load = filling(arguments, 1024);
    let unit = ByteCount::mib(arguments.memory_mib).0 / load.payload as u64;
    for _ in 0..arguments.rounds {
        let folder = tempfile::tempdir_in(field.disk())?;
        let hub = Hub::in_folder(folder.path())?;
        for (column, events) in LENGTHS.into_iter().zip([unit, 3 * unit]) {
            fill(&hub, "memory", &load, events)?;
            thread::sleep(QUIET);
            let (resident, _) = hub.server().memory()?;
            let own = hub.server().private_memory()?;
            for (row, bytes) in [(ALL_RESIDENT, resident), (OWN_RESIDENT, own)] {
                report.record(Part::Memory.section(), column, row, RESIDENT, bytes as f64 / f64::from(1 << 20));
            }
        }
    }
    Ok(())
}
