//! How long a hub waits.

use std::time::Duration;

/// The timers of links and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How long a peer may take from the connection to its first frame.
    pub hello: Duration,
    /// Between probes of each link: one that is silent for about two of these is suspected, and other ways are used.
    pub probe: Duration,
    /// A link from which nothing was heard for so long is given up.
    pub link_silence: Duration,
    /// The longest that a link which came and went too often is avoided after its last loss, until it has lasted; zero: it never is.
    pub link_hold: Duration,
    /// How long a link must last for failures before it to be forgotten, and for the circuit of its neighbour to close.
    pub link_stable: Duration,
    /// The first pause before a lost link is dialled again; doubles, with full jitter.
    pub redial_first: Duration,
    /// The longest such pause.
    pub redial_most: Duration,
    /// After how long without any link a hub that is known from before is dialled; zero: only neighbours are.
    pub alone: Duration,
    /// How long a stopping hub flushes to its sessions before it closes them.
    pub drain: Duration,
    /// How long clients have to go to other hubs when the hub drains, unless the operator says otherwise.
    pub drain_clients: Duration,
    /// How often the program looks whether the files of the hub's identity have
    /// changed; zero: only when it is told to.
    pub identity: Duration,
    /// How long all homes of a stream may be out of reach before publishes for it
    /// are refused; until then they wait at the publisher's hub.
    pub home_patience: Duration,
    /// How long the interest of a hub out of reach is kept: what is published for it meanwhile counts as dropped (`no_path`), after that nobody knows of it.
    pub interest_retention: Duration,
    /// The longest that a filter stays told to the mesh that comes and goes and is not wanted any more; zero: such filters are not damped.
    pub interest_damping: Duration,
    /// How long all homes of a stream are within reach and do not have it before what waits on disk here for it is given up.
    pub spool_gone: Duration,
    /// How long consumers' positions wait to be written together; what is lost with them is handed out again.
    pub positions: Duration,
    /// Keyed state that nobody waits for, such as those positions, is synced at most so often, and at the latest so long after it was written.
    pub keyed_syncs: Duration,
    /// How long an atomic batch may take from its first block to its last; one that takes longer is refused.
    pub batch: Duration,
    /// How long what happens to a consumer of a stream with several homes waits until the other homes are told; what is lost with it is handed out again.
    pub consumer_copies: Duration,
    /// How often two hubs that copy a stream say that they are there.
    pub replica_keep_alive: Duration,
    /// After such a silence a source is asked anew, and shown as silent.
    pub replica_timeout: Duration,
    /// The longest pause between two such tries; each is a random part of a pause that doubles.
    pub replica_backoff: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(5),
            probe: Duration::from_millis(250),
            link_silence: Duration::from_secs(5),
            link_hold: Duration::from_secs(60),
            link_stable: Duration::from_secs(10),
            redial_first: Duration::from_millis(100),
            redial_most: Duration::from_secs(10),
            alone: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            drain_clients: Duration::from_secs(30),
            identity: Duration::from_secs(10),
            home_patience: Duration::from_secs(10),
            interest_retention: Duration::from_secs(60),
            interest_damping: Duration::from_secs(60),
            spool_gone: Duration::from_secs(60 * 60),
            positions: Duration::from_millis(50),
            keyed_syncs: Duration::from_secs(1),
            batch: Duration::from_secs(10),
            consumer_copies: Duration::from_millis(100),
            replica_keep_alive: Duration::from_secs(1),
            replica_timeout: Duration::from_secs(3),
            replica_backoff: Duration::from_secs(30),
        }
    }
}
