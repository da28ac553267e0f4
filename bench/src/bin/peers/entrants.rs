//! Who takes part: servers that are started, asked to do something, and
//! started anew when they failed.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use weft_bench::library::Library;
use weft_bench::mosquitto::Mosquitto;
use weft_bench::nats::Nats;
use weft_bench::process;
use weft_bench::redis::Redis;
use weft_bench::report::{Entrant, Report};
use weft_bench::table::Table;
use weft_bench::weft::Hub;
use weft_bench::work::Peer;
use weft_bench::zenoh::Zenoh;

use crate::Arguments;

/// A peer that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Weft with the raw client.
    Weft,
    /// Weft with the raw client, over shared memory.
    WeftShm,
    /// Weft with its client library.
    WeftLibrary,
    /// Weft with its client library, over shared memory.
    WeftLibraryShm,
    /// NATS core.
    Nats,
    /// Redis publish and subscribe.
    Redis,
    /// Mosquitto, MQTT 3.1.1 at QoS 0.
    Mosquitto,
    /// Zenoh through a router; built when asked for.
    Zenoh,
}

/// Those that take part unless others are asked for.
const DEFAULT: [Kind; 6] = [Kind::Weft, Kind::WeftShm, Kind::WeftLibrary, Kind::Nats, Kind::Redis, Kind::Mosquitto];

impl Kind {
    fn start(self, disk: &Path) -> Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Weft => Box::new(Hub::start(disk)?),
            Self::WeftShm => Box::new(Hub::over_shared_memory(disk)?),
            Self::WeftLibrary => Box::new(Library::new(Hub::start(disk)?, "Weft, client library")),
            Self::WeftLibraryShm => {
                Box::new(Library::new(Hub::over_shared_memory(disk)?, "Weft, client library, shared memory"))
            }
            Self::Nats => Box::new(Nats::core()?),
            Self::Redis => Box::new(Redis::start()?),
            Self::Mosquitto => Box::new(Mosquitto::start()?),
            Self::Zenoh => Box::new(Zenoh::start()?),
        })
    }

    /// Whether it takes part in what is measured of servers: with the client
    /// library it would be the same server again.
    pub(crate) fn is_server(self) -> bool {
        !matches!(self, Self::WeftLibrary | Self::WeftLibraryShm)
    }

    /// Whether there is a raw client, which alone can do the odd things.
    pub(crate) fn is_raw(self) -> bool {
        self.is_server() && self != Self::Zenoh
    }

    fn client(self) -> &'static str {
        match self {
            Self::Weft | Self::WeftShm => "raw, the native protocol",
            Self::WeftLibrary | Self::WeftLibraryShm => "weft-client",
            Self::Nats => "raw, the text protocol",
            Self::Redis => "raw, RESP 2, replies to the publisher off",
            Self::Zenoh => "Zenoh's crate, callbacks",
            Self::Mosquitto => "raw, MQTT 3.1.1 at QoS 0",
        }
    }
}

/// One peer, with its server running.
pub(crate) struct Runner {
    pub(crate) kind: Kind,
    pub(crate) peer: Box<dyn Peer>,
}

/// All that take part.
pub(crate) struct Field {
    pub(crate) runners: Vec<Runner>,
    disk: PathBuf,
}

impl Field {
    /// Starts every peer; one that cannot be started is noted and left out.
    pub(crate) fn start(arguments: &Arguments, report: &mut Report) -> Result<Self> {
        let mut field = Self { runners: Vec::new(), disk: process::target_folder()? };
        let mut kinds = if arguments.peers.is_empty() { DEFAULT.to_vec() } else { arguments.peers.clone() };
        kinds.extend(arguments.with.iter().filter(|kind| !kinds.contains(kind)).copied().collect::<Vec<_>>());
        for kind in kinds {
            match kind.start(&field.disk) {
                Ok(peer) => {
                    let (name, version) = (peer.name().to_owned(), peer.version());
                    report.peers.push(Entrant { name, version, client: kind.client().to_owned() });
                    field.runners.push(Runner { kind, peer });
                }
                Err(error) => report.missing.push(format!("{kind:?} was not measured: {error:#}")),
            }
        }
        Ok(field)
    }

    /// The peers with their versions and clients.
    pub(crate) fn versions(&self, report: &Report) -> Table {
        let mut table = Table::new(["peer", "server", "client"]);
        for entrant in &report.peers {
            table.row([&entrant.name, &entrant.version, &entrant.client]);
        }
        table
    }

    /// Lets every peer do something once; one that fails is noted, and its
    /// server is started anew so that the next thing finds it well.
    pub(crate) fn each(
        &mut self,
        report: &mut Report,
        what: &str,
        wanted: impl Fn(Kind) -> bool,
        mut one: impl FnMut(&dyn Peer, &mut Report) -> Result<()>,
    ) {
        for runner in self.runners.iter_mut().filter(|runner| wanted(runner.kind)) {
            let Err(error) = one(runner.peer.as_ref(), report) else { continue };
            note(report, format!("{what}: {error:#}"));
            match runner.kind.start(&self.disk) {
                Ok(peer) => runner.peer = peer,
                Err(error) => note(report, format!("{} did not start again: {error:#}", runner.peer.name())),
            }
        }
    }

    /// The same, each on a server that is started for it and stopped behind it.
    pub(crate) fn each_fresh(
        &self,
        report: &mut Report,
        what: &str,
        wanted: impl Fn(Kind) -> bool,
        mut one: impl FnMut(&dyn Peer, &mut Report) -> Result<()>,
    ) {
        for runner in self.runners.iter().filter(|runner| wanted(runner.kind)) {
            let done = runner.kind.start(&self.disk).and_then(|peer| one(peer.as_ref(), report));
            if let Err(error) = done {
                note(report, format!("{what}: {error:#}"));
            }
        }
    }

    /// Whether this one takes part.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.runners.iter().any(|runner| runner.kind == kind)
    }

    /// Where servers keep their files.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }
}

/// Says and keeps what went wrong.
pub(crate) fn note(report: &mut Report, what: String) {
    println!("missing: {what}");
    report.missing.push(what);
}
