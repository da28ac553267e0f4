//! How much a hub takes at most: of everything, a bound.

use std::time::Duration;

use weft_base::ByteCount;
use weft_stream::intake::BatchLimits;
use weft_transport::shm;

/// The bounds. Each names what happens at the bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients that a draining hub sends elsewhere in a second, at least; more where its time would not be enough.
    pub drain_rate: u32,
    /// What all of it may come to together: a hub whose limits reckon to more does not start.
    pub memory: ByteCount,
    /// The largest frame taken from a peer; a larger one closes the session with an error.
    pub frame: ByteCount,
    /// The arena that blocks live in; when it is used up publishes are refused until blocks are given back.
    pub arena: ByteCount,
    /// Sessions of clients and links together; one more is refused.
    pub sessions: usize,
    /// Sessions of this hub's clients at streams of other hubs, and of other hubs'
    /// clients at streams here: this many of each; one more is refused.
    pub tunnels: usize,
    /// Bytes under way in each direction of such a session.
    pub tunnel_bytes: ByteCount,
    /// Subscriptions of one session; one more is refused with an error.
    pub subscriptions_per_session: usize,
    /// Subscriptions of the whole hub; one more is refused with an error.
    pub subscriptions: usize,
    /// Live subscriptions of all sessions of one name together, the certificate's; one more is refused (`interest`).
    pub subscriptions_per_name: usize,
    /// Live subscriptions that the sessions of one name make and end each second, ten seconds' worth at once; beyond it new ones are refused (`churn`).
    pub interest_changes: u64,
    /// Other hubs of the mesh; one more is taken in only when one that is out of reach can be forgotten.
    pub hubs: usize,
    /// Receipts that clients wait for at a time, all together; one more is refused.
    pub receipts: usize,
    /// Events that wait for one subscriber; beyond it, the subscription's policy decides.
    pub subscriber_events: usize,
    /// Bytes that wait for one subscriber; beyond it, the subscription's policy decides.
    pub subscriber_bytes: ByteCount,
    /// Blocks that wait for all subscribers, and for credit of all links, together; beyond it a subscriber's policy decides as if its own bound were reached. An eighth as many besides may be on their way to members of consumers, and beyond that they wait in their streams.
    pub waiting_blocks: usize,
    /// Keys that subscriptions with the policy `conflate` tell apart, all together; beyond it the oldest block of one that wants more is dropped.
    pub conflate_keys: usize,
    /// Blocks of one publisher that the hub holds back, in bytes, while a subscriber makes it wait; beyond it the publisher is not read.
    pub held_bytes: ByteCount,
    /// Bytes of one lane that another hub may have under way to this one at first, at least four times `frame` whatever this says; what it has beyond that waits there.
    pub link_window: ByteCount,
    /// What that may grow to on a long line that carries more; all windows together grow by at most a quarter of `arena`.
    pub link_window_most: ByteCount,
    /// Connections that this hub takes for one link to another, from 1 to 8; a hub that dials with more in mind makes do with these.
    pub link_connections: usize,
    /// Bytes that may wait for one link: a tenth of it in each of the eight lanes for the other hub's credit, and a fifth for the socket. Beyond it live copies are dropped (`link_full`), and copies for streams stay where they were published. While the hub is short of memory it is 128 KiB per lane (`link_crowded`).
    pub link_bytes: ByteCount,
    /// Failures in a row (dials, refused handshakes, links that die young) after which a neighbour is dialled at the slowest rate alone, until a link has lasted.
    pub dial_failures: u32,
    /// Links that other hubs have dialled because this one is near, or of another region than they are; one more is refused, and they pick another hub.
    pub picked_links: usize,
    /// Bytes queued for one client's socket; live blocks beyond it wait per subscriber.
    pub socket_bytes: ByteCount,
    /// Bytes that the system may hold of a TCP connection and not have sent yet: what is urgent waits for no more than that.
    pub unsent_bytes: ByteCount,
    /// Blocks that a publisher may have unacknowledged, told to it at the start; a publisher that exceeds it is refused.
    pub publish_blocks: u32,
    /// Bytes that a publisher may have unacknowledged, told to it at the start.
    pub publish_bytes: ByteCount,
    /// Blocks on their way to a stream at another hub, per hub and lane; beyond it publishes are refused.
    pub flow_blocks: usize,
    /// Slots of each ring between two stages, and of the route stage's rings for the eight lanes together; a stage whose next ring is full waits.
    pub ring_slots: usize,
    /// Topics whose route is remembered; beyond it the memory starts anew. Half as many topics that sessions publish, a quarter as many of one: beyond it who asks for them is told that some are missing.
    pub topics: usize,
    /// Producers whose last sequence is remembered; beyond it the older half is forgotten.
    pub producers: usize,
    /// The same for each stream.
    pub stream_producers: usize,
    /// Of each stream with several homes and each mirror: producers whose events are known, to tell copies that are here under another name; beyond it the older half is forgotten.
    pub replica_producers: usize,
    /// Bytes of streams that other homes may have under way to this hub, together; they wait there.
    pub replica_bytes: ByteCount,
    /// Hubs that may copy one stream from here at a time; one more waits.
    pub replica_readers: usize,
    /// Last values of each stream that are kept in memory; others are read from disk.
    pub stream_last_values: usize,
    /// Atomic batches whose blocks are not all there; one more is refused.
    pub open_batches: usize,
    /// Blocks of one atomic batch; a longer one is refused.
    pub batch_blocks: usize,
    /// Bytes of one atomic batch; a larger one is refused. They lie in the arena.
    pub batch_bytes: ByteCount,
    /// Delayed events that wait at this hub; one more is refused.
    pub scheduled: usize,
    /// How far ahead an event may be delayed; one that is further is refused.
    pub schedule_ahead: Duration,
    /// Bytes of publishes that wait on disk here for streams whose homes cannot be reached; one more is refused.
    pub spool_bytes: ByteCount,
    /// Streams that this hub does so for; publishes for another one are refused while its homes cannot be reached.
    pub spool_streams: usize,
    /// Bytes that the streams of one tenant hold on this hub, 0 for any number; beyond it they take nothing more. Looked at once a second.
    pub tenant_stream_bytes: ByteCount,
    /// Streams; one more is refused.
    pub streams: usize,
    /// Consumers of the hub's streams; one more is refused.
    pub consumers: usize,
    /// Consumers of one stream; one more is refused.
    pub consumers_per_stream: usize,
    /// Events of all consumers that are handed out and not settled; beyond it nothing new is handed out. A consumer may ask for as many at most.
    pub in_flight: usize,
    /// Clients by shared memory; one more is refused.
    pub shm_sessions: usize,
    /// Each of the two rings of a client by shared memory, rounded up to a power of two; a full one makes its writer wait.
    pub shm_ring: ByteCount,
}

impl Limits {
    /// The bounds of atomic batches, which may take so long.
    pub(crate) fn batches(&self, time: Duration) -> BatchLimits {
        BatchLimits { open: self.open_batches, blocks: self.batch_blocks, bytes: self.batch_bytes.as_usize(), time }
    }

    /// The window of links, in bytes: a frame must fit also while a half of it is not said again.
    pub(crate) fn window_of_links(&self) -> u64 {
        self.link_window.0.max(self.frame.0.saturating_mul(4))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain_rate: 100,
            memory: ByteCount::mib(2560),
            frame: ByteCount::mib(1),
            arena: ByteCount::mib(256),
            sessions: 4_096,
            tunnels: 256,
            tunnel_bytes: ByteCount::kib(128),
            subscriptions_per_session: 10_000,
            subscriptions: 250_000,
            subscriptions_per_name: 250_000,
            interest_changes: 20_000,
            hubs: 256,
            receipts: 1_024,
            subscriber_events: 65_536,
            subscriber_bytes: ByteCount::mib(8),
            waiting_blocks: 524_288,
            conflate_keys: 65_536,
            held_bytes: ByteCount::mib(1),
            link_window: ByteCount::mib(4),
            link_window_most: ByteCount::mib(32),
            link_connections: super::MAX_LINK_CONNECTIONS as usize,
            link_bytes: ByteCount::mib(40),
            dial_failures: 5,
            picked_links: 16,
            socket_bytes: ByteCount::mib(1),
            unsent_bytes: weft_transport::UNSENT,
            publish_blocks: 256,
            publish_bytes: ByteCount::mib(16),
            flow_blocks: 4_096,
            ring_slots: 4_096,
            topics: 65_536,
            producers: 65_536,
            stream_producers: 4_096,
            replica_producers: 1_024,
            replica_bytes: ByteCount::mib(32),
            replica_readers: 64,
            stream_last_values: 1_024,
            open_batches: 64,
            batch_blocks: 1_024,
            batch_bytes: ByteCount::mib(8),
            scheduled: 1_000_000,
            schedule_ahead: Duration::from_secs(365 * 24 * 60 * 60),
            spool_bytes: ByteCount::mib(1024),
            spool_streams: 256,
            tenant_stream_bytes: ByteCount(0),
            streams: 256,
            consumers: 1_024,
            consumers_per_stream: 256,
            in_flight: 262_144,
            shm_sessions: 64,
            shm_ring: shm::DEFAULT_RING,
        }
    }
}
