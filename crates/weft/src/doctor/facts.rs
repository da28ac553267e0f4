//! What `weft doctor` goes by: plain values, so that each check can be tried with
//! made-up ones. What could not be found out is `None` and leads to no finding;
//! the collector says so apart.

use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};

/// All that was found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Of the machine that the doctor runs on, where the hub is or will be there.
    pub(crate) machine: Option<Machine>,
    /// Of the configuration.
    pub(crate) config: Option<Configured>,
    /// Of the folder of its data.
    pub(crate) data: Option<DataFolder>,
    /// Files that hold keys.
    pub(crate) keys: Vec<KeyFile>,
    /// Certificates.
    pub(crate) certificates: Vec<Certificate>,
    /// Of a running hub, and what others said to it.
    pub(crate) running: Option<Running>,
    /// What the clock said meanwhile.
    pub(crate) now: UnixNanos,
}

/// A machine, or what a container has of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Its memory.
    pub(crate) memory: Option<ByteCount>,
    /// What the control group may have of it.
    pub(crate) memory_limit: Option<ByteCount>,
    /// Cores that this process may run on.
    pub(crate) cores: Option<usize>,
    /// Thousandths of a core that the control group may use.
    pub(crate) core_limit_milli: Option<u64>,
    /// Of swap: what there is, and what is in use.
    pub(crate) swap: Option<(ByteCount, ByteCount)>,
    /// The soft limit of open files of this process, which a hub started from
    /// here would have.
    pub(crate) open_files: Option<u64>,
    /// `enabled` and `defrag` of transparent huge pages.
    pub(crate) huge_pages: Option<(String, String)>,
    /// The governors of its cores, each once, and what drives them.
    pub(crate) governors: Vec<(String, String)>,
    /// `net.core.somaxconn`.
    pub(crate) somaxconn: Option<u64>,
    /// The largest buffers that TCP gives a connection, to receive and to send.
    pub(crate) tcp_buffers: Option<(ByteCount, ByteCount)>,
    /// `net.core.rmem_max`: the most that a socket of UDP is given.
    pub(crate) udp_buffer: Option<ByteCount>,
    /// Which program keeps the clock, if one was found.
    pub(crate) clock_keeper: Option<String>,
    /// It is a container: its clock, among others, is its host's affair.
    pub(crate) in_container: bool,
    /// A library that makes syncs do nothing is loaded into what is started here.
    pub(crate) preloads_no_sync: Option<String>,
}

/// What a configuration comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured {
    /// Policies decide.
    pub(crate) enforces: bool,
    /// Some address for clients, or of HTTP, is not of this machine alone.
    pub(crate) is_reachable: bool,
    /// Somebody may administer.
    pub(crate) has_admins: bool,
    /// It keeps data.
    pub(crate) has_data: bool,
    /// It dials or takes links.
    pub(crate) has_links: bool,
    /// It does so by QUIC, with this buffer of each socket.
    pub(crate) quic_buffer: Option<ByteCount>,
    /// What its memory can come to.
    pub(crate) memory: ByteCount,
    /// `limits.arena`.
    pub(crate) arena: ByteCount,
    /// Files and sockets that it may have open, and what they are for.
    pub(crate) files: u64,
    /// Connections that may come at once.
    pub(crate) connections: u64,
    /// Cores that it takes itself to have: `stages.cores`.
    pub(crate) cores: Option<usize>,
    /// Each stage has a thread of its own.
    pub(crate) is_dedicated: bool,
    /// Queues by the key of their limit.
    pub(crate) queues: Vec<(&'static str, ByteCount)>,
    /// `limits.unsent_bytes`.
    pub(crate) unsent: ByteCount,
    /// `limits.link_window`, `limits.link_window_most`.
    pub(crate) windows: (ByteCount, ByteCount),
    /// Lanes for which nothing happens to publishes that wait too long.
    pub(crate) unconditioned_lanes: Vec<u8>,
    /// What the disk must have room for: a segment of a stream, and the spool.
    pub(crate) room: (ByteCount, ByteCount),
    /// The certificate renews itself.
    pub(crate) renews: bool,
}

/// The folder of a hub's data.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataFolder {
    /// Its path, or that of the nearest folder above it that is there.
    pub(crate) path: String,
    /// The type of its file system, as the mount table calls it.
    pub(crate) file_system: Option<String>,
    /// How it is mounted.
    pub(crate) mount_options: Vec<String>,
    /// Room that is left and all there is.
    pub(crate) room: Option<(ByteCount, ByteCount)>,
    /// Files that there may still be, and all.
    pub(crate) inodes: Option<(u64, u64)>,
    /// The mode of the folder.
    pub(crate) mode: Option<u32>,
    /// `write_cache` of the disk, as the system has it.
    pub(crate) write_cache: Option<String>,
    /// How long writing 4 KiB and syncing them took, each time; sorted.
    pub(crate) syncs: Vec<Duration>,
}

/// A file that holds a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    pub(crate) path: String,
    pub(crate) mode: u32,
}

/// A certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) path: String,
    pub(crate) begins: UnixNanos,
    pub(crate) ends: UnixNanos,
}

/// A running hub.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// Its counters, by name.
    pub(crate) counters: Vec<(String, u64)>,
    /// Other hubs, by what they said of themselves.
    pub(crate) others: Vec<Other>,
    /// Links that are down or suspected, by their ends.
    pub(crate) bad_links: Vec<String>,
    /// Links of this hub: the neighbour, the round trip, the window of a lane.
    pub(crate) lines: Vec<Line>,
}

/// Another hub.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) name: String,
    /// Whether it answered.
    pub(crate) answered: bool,
    /// How far its clock is ahead, in nanoseconds.
    pub(crate) ahead_ns: i64,
    /// By how much that may be wrong.
    pub(crate) give_or_take: Duration,
}

/// A link of the hub that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) peer: String,
    pub(crate) rtt: Duration,
    pub(crate) window: ByteCount,
}

impl Running {
    /// A counter; 0 when the hub does not have it.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

impl Machine {
    /// The memory that there is for the hub.
    pub(crate) fn usable_memory(&self) -> Option<ByteCount> {
        match (self.memory, self.memory_limit) {
            (Some(all), Some(limit)) => Some(all.min(limit)),
            (all, limit) => all.or(limit),
        }
    }

    /// The cores that there are for the hub, rounded up.
    pub(crate) fn usable_cores(&self) -> Option<usize> {
        let limit = self.core_limit_milli.map(|milli| milli.div_ceil(1_000).max(1) as usize);
        match (self.cores, limit) {
            (Some(all), Some(limit)) => Some(all.min(limit)),
            (all, limit) => all.or(limit),
        }
    }
}
