//! Who takes part: servers with their files in the run's folder, and what each
//! of them has done when it acknowledges.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use weft_bench::nats::{self, Nats, Sync};
use weft_bench::redis_streams::{Fsync, RedisStreams};
use weft_bench::report::{Entrant, Report};
use weft_bench::streams::Streams;
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::{disk, kafka};

use crate::Arguments;

/// A server that can be measured, in one or two settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Weft.
    Weft,
    /// NATS `JetStream`, as it comes and with sync always.
    Jetstream,
    /// Redis Streams, with appendfsync everysec and always.
    Redis,
    /// Kafka, as it comes and with flush.messages=1; fetched when asked for.
    Kafka,
}

/// Those that take part unless others are asked for.
const DEFAULT: [Kind; 3] = [Kind::Weft, Kind::Jetstream, Kind::Redis];

/// A server in one setting: a row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Weft,
    Jetstream,
    JetstreamAlways,
    Redis,
    RedisAlways,
    Kafka,
    KafkaFlush,
}

impl Row {
    /// Its name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Weft => "Weft",
            Self::Jetstream => "JetStream, default",
            Self::JetstreamAlways => "JetStream, sync always",
            Self::Redis => "Redis, appendfsync everysec",
            Self::RedisAlways => "Redis, appendfsync always",
            Self::Kafka => "Kafka, default",
            Self::KafkaFlush => "Kafka, flush.messages=1",
        }
    }

    /// Whether what it acknowledges, or delivers, is on the disk.
    fn synced(self) -> &'static str {
        match self {
            Self::Weft => "yes, many events with one sync",
            Self::Jetstream => "no, every 2 minutes",
            Self::JetstreamAlways => "yes, each event",
            Self::Redis => "no, every second",
            Self::RedisAlways => "yes, many events with one sync",
            Self::Kafka => "no, left to the kernel",
            Self::KafkaFlush => "yes, each batch",
        }
    }

    fn client(self) -> &'static str {
        match self {
            Self::Weft => "raw, the native protocol",
            Self::Jetstream | Self::JetstreamAlways => "raw, the text protocol",
            Self::Redis | Self::RedisAlways => "raw, RESP 2",
            Self::Kafka | Self::KafkaFlush => "raw, Produce 3 and Fetch 4, fetches of 4 MiB",
        }
    }
}

/// A row with its server running.
pub(crate) struct Runner {
    pub(crate) row: Row,
    pub(crate) peer: Box<dyn Streams>,
}

/// All that take part.
pub(crate) struct Field {
    pub(crate) runners: Vec<Runner>,
    versions: Vec<(Row, String)>,
    disk: PathBuf,
}

impl Field {
    /// Starts every server; one that cannot be started is noted and left out.
    pub(crate) fn start(arguments: &Arguments, disk: &Path, report: &mut Report) -> Self {
        let mut field = Self { runners: Vec::new(), versions: Vec::new(), disk: disk.to_owned() };
        let mut kinds = if arguments.peers.is_empty() { DEFAULT.to_vec() } else { arguments.peers.clone() };
        kinds.extend(arguments.with.iter().filter(|kind| !kinds.contains(kind)).copied().collect::<Vec<_>>());
        for kind in kinds {
            if let Err(error) = field.add(kind) {
                report.missing.push(format!("{kind:?} was not measured: {error:#}"));
            }
        }
        for (row, version) in &field.versions {
            let (name, client) = (row.name().to_owned(), row.client().to_owned());
            report.peers.push(Entrant { name, version: version.clone(), client });
        }
        field
    }

    fn add(&mut self, kind: Kind) -> Result<()> {
        let folder = self.disk.clone();
        match kind {
            Kind::Weft => {
                let folder = folder.join("weft");
                std::fs::create_dir_all(&folder)?;
                let hub = Hub::in_folder(&folder)?;
                disk::check_real(&folder.join("data"))?;
                self.push(Row::Weft, concat!("weft ", env!("CARGO_PKG_VERSION")), Box::new(hub));
            }
            Kind::Jetstream => {
                let version = format!("nats-server {}", nats::VERSION);
                self.push(Row::Jetstream, &version, Box::new(Nats::jetstream(&folder, Sync::Default)?));
                self.push(Row::JetstreamAlways, &version, Box::new(Nats::jetstream(&folder, Sync::Always)?));
            }
            Kind::Redis => {
                for (row, fsync) in [(Row::Redis, Fsync::EverySecond), (Row::RedisAlways, Fsync::Always)] {
                    let redis = RedisStreams::start(&folder, fsync)?;
                    let version = redis.version().to_owned();
                    self.push(row, &version, Box::new(redis));
                }
            }
            Kind::Kafka => {
                let version = format!("Kafka {}, KRaft, one broker", kafka::VERSION);
                let [default, flush] = kafka::Kafka::start(&folder)?;
                self.push(Row::Kafka, &version, Box::new(default));
                self.push(Row::KafkaFlush, &version, Box::new(flush));
            }
        }
        Ok(())
    }

    fn push(&mut self, row: Row, version: &str, peer: Box<dyn Streams>) {
        self.runners.push(Runner { row, peer });
        self.versions.push((row, version.to_owned()));
    }

    /// The servers with their versions, clients and syncs.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(["row", "server", "synced before it acknowledges or delivers", "client"]);
        for (row, version) in &self.versions {
            table.row([row.name(), version, row.synced(), row.client()]);
        }
        table
    }

    /// Lets each of these rows do something once, on a disk that is quiet; one
    /// that fails is noted and takes no further part.
    pub(crate) fn each(
        &mut self,
        report: &mut Report,
        rows: &[Row],
        what: &str,
        mut one: impl FnMut(Row, &dyn Streams, &mut Report) -> Result<()>,
    ) -> Result<()> {
        let mut failed = Vec::new();
        for runner in self.runners.iter().filter(|runner| rows.contains(&runner.row)) {
            disk::settle(&self.disk)?;
            if let Err(error) = one(runner.row, runner.peer.as_ref(), report) {
                let line = format!("{}, {what}: {error:#}", runner.row.name());
                println!("missing: {line}");
                report.missing.push(line);
                failed.push(runner.row);
            }
        }
        self.runners.retain(|runner| !failed.contains(&runner.row));
        Ok(())
    }

    /// Whether Weft takes part.
    pub(crate) fn has_weft(&self) -> bool {
        self.runners.iter().any(|runner| runner.row == Row::Weft)
    }

    /// Where servers keep their files.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }
}
