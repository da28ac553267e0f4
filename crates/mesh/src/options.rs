//! What a mesh decider is told when it is made: who it is, its limits and its timers.

use std::time::Duration;

use weft_base::{Epoch, HubId};

use crate::{Spreading, Weights};

/// The most hubs of a mesh that one decider can be told to know: a block for
/// all of them, live and guaranteed, still fits the entries of one frame.
pub const MAX_HUBS: usize = weft_wire::frame::MAX_FLOW_ENTRIES / 2;

/// The most labels of a hub.
pub const MAX_LABELS: usize = 16;
/// The most labels, and sets of several, that a hub finds ways for.
pub const MAX_WAYS: usize = 2 * MAX_LABELS;
/// The longest label, in bytes.
pub const MAX_LABEL: usize = 64;

/// The hub that the decider decides for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubInfo {
    /// Its id. Must be the id of its name for all hubs to agree on it.
    pub id: HubId,
    /// Its name, unique in the mesh, at most 255 bytes.
    pub name: String,
    /// Its region: a label, at most 255 bytes.
    pub region: String,
    /// Its labels: at most [`MAX_LABELS`], of 1 to [`MAX_LABEL`]
    /// bytes. What is more or longer is left out.
    pub labels: Vec<String>,
    /// This life of it: must be greater than that of each earlier life.
    pub epoch: Epoch,
}

/// Bounds of what is remembered, and what happens at each. Local to a hub,
/// though meshes are easier to understand when all hubs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Other hubs, at most [`MAX_HUBS`]. Default 256. At the bound, a hub that is
    /// out of reach is forgotten to make room; when all are within reach, a new
    /// hub is not taken in: its link is closed, its records are ignored and
    /// counted, and nothing is sent to it.
    pub hubs: usize,
    /// Links of this hub. Default 64. At the bound, a new link is closed.
    pub links: usize,
    /// Filters in the interest of one hub, for each kind. Default 1,048,576,
    /// about 200 bytes each. Beyond it the hub counts as interested in
    /// everything (`**`): it may get events that it then drops as `no_interest`,
    /// and misses none. It is exact again when its set has shrunk to half.
    pub filters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hubs: 256, links: 64, filters: 1 << 20 }
    }
}

/// How often and how long. Local to a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between pings on each link: the interval that suspicion counts in. Default 250 ms.
    pub ping: Duration,
    /// A link from which nothing was heard for this long is closed, and one whose
    /// pings were not answered for three times as long. Default 5 s.
    pub silence: Duration,
    /// Between digests to each neighbour, give or take a quarter. Default 5 s.
    pub digest: Duration,
    /// Between records of this hub when nothing changes. Default 30 s.
    pub refresh: Duration,
    /// A record that was not renewed for this long no longer counts. Must be
    /// several times the others' `refresh`. Default 120 s.
    pub record_age: Duration,
    /// How long the interest of a hub out of reach is kept, so that what it
    /// misses counts as dropped for `no_path`. Default 60 s.
    pub interest_retention: Duration,
    /// The least time between two records that differ in round trips alone. Default 10 s.
    pub rtt_hold: Duration,
    /// Changes of this hub's interest that come closer together than this are
    /// told in one. Default 5 ms.
    pub interest_batch: Duration,
    /// Each change that is told puts off the next telling by this, all together
    /// by a second at most: who changes more tells more in one, and what comes and
    /// goes meanwhile is not told. Default 50 µs: 20,000 changes a second.
    pub interest_each: Duration,
    /// Of the penalty of a filter that comes and goes. Default 15 s.
    pub damp_half_life: Duration,
    /// The longest that a filter stays told that comes and goes and is not wanted
    /// any more; zero: such filters are not damped. Default 60 s.
    pub damp_most: Duration,
    /// Of the penalty of a neighbour whose link comes and goes. Default 15 s.
    pub flap_half_life: Duration,
    /// The longest that such a link counts as suspect after its last loss; zero:
    /// it never does. Default 60 s.
    pub flap_most: Duration,
    /// Between two frames of a long set of filters on one link, of at most 32
    /// KiB each. Default 2 ms: 16 MiB/s.
    pub transfer_pace: Duration,
    /// The least time between two rounds of questions for receipts. Default 10 ms.
    pub receipt_pace: Duration,
    /// A round is repeated after twice this while somebody waits, then after
    /// four times, up to 32 times. Default 100 ms.
    pub receipt_retry: Duration,
    /// How long answers are gathered at each hub on their way. Default 1 ms.
    pub receipt_gather: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ping: Duration::from_millis(250),
            silence: Duration::from_secs(5),
            digest: Duration::from_secs(5),
            refresh: Duration::from_secs(30),
            record_age: Duration::from_secs(120),
            interest_retention: Duration::from_secs(60),
            rtt_hold: Duration::from_secs(10),
            interest_batch: Duration::from_millis(5),
            interest_each: Duration::from_micros(50),
            damp_half_life: Duration::from_secs(15),
            damp_most: Duration::from_secs(60),
            flap_half_life: Duration::from_secs(15),
            flap_most: Duration::from_secs(60),
            transfer_pace: Duration::from_millis(2),
            receipt_pace: Duration::from_millis(10),
            receipt_retry: Duration::from_millis(100),
            receipt_gather: Duration::from_millis(1),
        }
    }
}

/// All options of a decider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshOptions {
    /// Bounds.
    pub limits: Limits,
    /// Intervals.
    pub timers: Timers,
    /// What links cost. The same at all hubs of a mesh.
    pub weights: Weights,
    /// How blocks are spread over ways. The same at all hubs of a mesh.
    pub spreading: Spreading,
    /// Whether two paths are asked for ([`Routes::two_paths`](crate::Routes::two_paths)):
    /// routes then keep the mesh as a graph. Local to a hub.
    pub two_paths: bool,
}
