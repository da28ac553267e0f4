//! What the stages say to each other: one closed enum per inbox.
//!
//! Each stage has one inbox, a bounded ring with several producers. Who may
//! wait for whom keeps the rings free of circles: the net stage always empties
//! its inbox; the others wait for room before they take the next message.
//!
//! ```text
//! net  -> admit, route, append, conductor, consume; judge, login, inspect, govern and audit (which net never waits for)
//! admit -> route, net
//! route -> append, net
//! consume -> net, append
//! append -> net, consume, inspect, audit, replicate, conductor   (what it owes the conductor is state, not a queue)
//! replicate -> route, append
//! conductor -> net, route
//! judge -> net
//! login -> net
//! govern -> net, route; audit (which it never waits for)
//! inspect -> net, append   (it always empties its inbox)
//! audit -> append   (one block at a time, which append answers)
//! ```

mod names;

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Residency, Way};
use weft_log::LogBlock;
use weft_mesh::ledger::DropReason;
use weft_mesh::{Life, StreamDef, Why};
use weft_ring::arena::{BlockMut, BlockRef};
use weft_stream::replica::Position;
use weft_topic::Filter;
use weft_topic::mapping::Mappings;
use weft_wire::frame::{Ack, AckLevel, ErrorCode, FLOW_ENTRY_LEN, FlowPlace, LinkCounted, LiveScope, OnFull};
use weft_wire::peer::Service;

pub(crate) use self::names::{Completion, FlowKey, FlowTo, Named, Request, SessionId, StreamSlot, Target};
pub(crate) use crate::append::{Author, Internal};
use crate::append::{AwaitedLevel, StreamSpec};
pub(crate) use crate::dial::Dial;
use crate::gate::Gate;
use crate::govern::{Judged, LoggedIn};
use crate::inspect::Inspected;
use crate::options::{HubOptions, Neighbour};
use crate::replicate::CopyBatch;
use crate::see::crossing::Marked;
use crate::see::look::Look;
use crate::see::topics::TopicsLook;
use crate::spool::{FromSpool, Round, SpoolPlace, SpooledStream};

/// A block from a client of this hub.
pub(crate) struct Publish {
    pub(crate) session: SessionId,
    /// The request that the answer names.
    pub(crate) id: u64,
    pub(crate) level: AckLevel,
    /// With level `Homes`: how many.
    pub(crate) homes: u8,
    pub(crate) block: BlockMut,
    /// Whether an admit stage has checked it.
    pub(crate) checked: bool,
    /// When it came from the socket.
    pub(crate) since: Mono,
    /// It comes from another hub's client, by a tunnel, because this hub is a home of its stream.
    pub(crate) far: bool,
    /// A rule of the mapping drops it.
    pub(crate) dropped: bool,
}

/// A publish for the home of its stream, to go through the session's tunnel.
pub(crate) struct FarPublish {
    pub(crate) session: SessionId,
    pub(crate) home: HubId,
    /// How often this tunnel was lost, as far as the route stage has heard: what
    /// it sent before it heard of the last time is lost too.
    pub(crate) round: u32,
    /// Names it in the tunnel.
    pub(crate) number: u64,
    pub(crate) level: AckLevel,
    pub(crate) homes: u8,
    /// Not stamped: the home does that.
    pub(crate) block: BlockRef,
}

/// What a home answers to a publish: an acknowledgement, or why not and when to try again.
pub(crate) type FarAnswer = Result<Ack, (ErrorCode, u32, String)>;

/// What becomes of publishes that went through tunnels.
pub(crate) enum FarSaid {
    /// The home has answered one.
    Answered { session: SessionId, number: u64, answer: Box<FarAnswer> },
    /// The tunnel is lost, with all that was sent in rounds before this one.
    Lost { session: SessionId, home: HubId, round: u32 },
    /// The session has ended.
    Gone { session: SessionId },
}

/// Inbox of the route stage.
pub(crate) enum ToRoute {
    /// A block from a client of this hub.
    Publish(Publish),
    /// A whole `Forward` frame from another hub, and when it came from the socket.
    Forward { link: SessionId, from: HubId, since: Mono, frame: BlockMut },
    /// How far another hub has stored what this hub's flow to it carries.
    FlowAcked(FlowSaid),
    /// What the other end of a link has sent on a lane before this.
    Marked { link: SessionId, from: HubId, marked: Box<Marked> },
    /// A link has ended.
    LinkGone { link: SessionId },
    /// There is a snapshot with other ways: what is overdue is to try them.
    WaysChanged,
    /// A client asks what its publishes wait for.
    Why { session: SessionId, id: u64, unanswered: u32 },
    /// A hub can be reached (again), in this life of it.
    HubUp { hub: HubId, epoch: Epoch, name: String },
    /// A hub cannot be reached any more.
    HubDown { hub: HubId },
    /// A stage of this hub has something to say to a service of another hub;
    /// `confined`: with events that may be only at hubs with a label that both
    /// hubs carry.
    Peer { to: HubId, service: Service, confined: bool, bytes: Vec<u8> },
    /// A stream has taken a block of this hub's clients that live subscribers are to have only now.
    Release { block: BlockRef },
    /// A request met so many receivers that are gone.
    Unanswered { request: BlockRef, receivers: u64 },
    /// Of publishes that went to their home through a tunnel.
    Far(FarSaid),
    /// A block that waited on disk here, for its stream's home.
    Spooled(Box<FromSpool>),
    /// Nothing waits on disk for a stream, of so many messages that said to keep something.
    SpoolEmpty { stream: u64, taken: u64 },
    /// Little is left of it, in this round.
    SpoolLow { stream: u64, round: u32 },
}

/// What a stage said to the same service at this hub, in one message.
#[derive(Clone, Debug)]
pub(crate) struct PeerMessage {
    /// The hub that says it.
    pub(crate) from: HubId,
    /// In which of its lives.
    pub(crate) epoch: Epoch,
    pub(crate) bytes: BlockRef,
}

/// What a service hears from other hubs, and of them.
#[derive(Clone, Debug)]
pub(crate) enum FromPeer {
    /// A message: some may be missing, those that come are in order.
    Message(PeerMessage),
    /// The hub can be reached (again), in this life of it.
    Up { hub: HubId, epoch: Epoch, name: String },
    /// The hub cannot be reached any more: what is on its way may be lost.
    Down { hub: HubId },
}

/// How far another hub says that it has stored a flow from here.
pub(crate) struct FlowSaid {
    pub(crate) hub: HubId,
    pub(crate) lane: Lane,
    pub(crate) residency: Residency,
    pub(crate) way: Way,
    pub(crate) incarnation: u32,
    pub(crate) written: u64,
    pub(crate) synced: u64,
    pub(crate) refused: ErrorCode,
    pub(crate) places: Vec<FlowPlace>,
}

impl FlowSaid {
    /// The flow.
    pub(crate) fn flow(&self) -> FlowTo {
        FlowTo { hub: self.hub, lane: self.lane, residency: self.residency, way: self.way }
    }
}

/// Inbox of the net stage.
pub(crate) enum ToNet {
    /// Another configuration, as far as a running hub takes one; its neighbours are
    /// those of all places, in their order.
    Options(Arc<HubOptions>),
    /// For the tunnel.
    Peer(FromPeer),
    /// A block for live subscriptions.
    Deliver { targets: Arc<[Target]>, block: BlockRef, hops: u8 },
    /// A block for another hub.
    Forward { link: SessionId, forward: Forward },
    /// The other end of a link is to know what came up to a mark of it.
    Counted { link: SessionId, counted: LinkCounted },
    /// A publish has reached what it asked for (one of its destinations has).
    Acked(Request),
    /// A block whose payloads were checked.
    Inspected(Box<Inspected>),
    /// A publish for the home of its stream.
    Far(Box<FarPublish>),
    /// The home has acknowledged it.
    FarAcked { session: SessionId, ack: Box<Ack> },
    /// A publish goes to `parts` destinations, each of which will be acknowledged apart.
    Expect { session: SessionId, id: u64, parts: u32 },
    /// A publish, or another request, is refused.
    Refused { session: SessionId, id: u64, code: ErrorCode, retry_after_ms: u32, detail: String },
    /// The peer broke the protocol: tell it why and close.
    Close { session: SessionId, code: ErrorCode, detail: String },
    /// Encoded control frames for a session.
    Control { session: SessionId, bytes: Vec<u8> },
    /// A subscription to a stream is open and starts here.
    Opened { target: Target, stream: StreamSlot, from: u64 },
    /// The stream that a live subscription spills to is there.
    SpillFound { target: Target, stream: StreamSlot, filter: Filter },
    /// The route stage has taken so many bytes of a lane of a link.
    Taken { link: SessionId, lane: Lane, bytes: u64 },
    /// The session publishes what has to wait, and is not read; or is again.
    Hold { session: SessionId, held: bool },
    /// A subscription could not be made.
    SubscribeRefused { target: Target, code: ErrorCode, detail: String },
    /// Blocks of a stream that the net stage asked for.
    Fetched { target: Target, fetched: Fetched },
    /// The stream of a subscription that had reached the end has grown.
    Grown { target: Target },
    /// Where clients may go, the nearest first.
    Places(Vec<weft_mesh::ClientPlace>),
    /// Dial a hub, which was so often in vain.
    Dial { dial: Dial, peer: Arc<Neighbour>, failures: u32 },
    /// Events of a block for a member of a consumer.
    Handout { target: Target, head: Head, block: LogBlock },
    /// A session could not become, or is no more, a member of a consumer.
    MemberEnded { target: Target, code: ErrorCode, detail: String },
    /// Somebody asks how a subscriber stands.
    Look(Box<Look>),
    /// What is known of it.
    Looked(Box<Look>),
    /// Somebody asks who publishes what.
    Topics(Box<TopicsLook>),
    /// Whether a session may do something, as it asked or anew.
    Judged(Box<Judged>),
    /// Who a client is, or that its login is over.
    LoggedIn(Box<LoggedIn>),
    /// At which homes consumers are to run, all that are known to prefer one.
    Preferences(Arc<std::collections::BTreeMap<weft_stream::seat::Id, weft_stream::seat::Preference>>),
}

/// A block on its way out over a link.
pub(crate) struct Forward {
    pub(crate) head: Head,
    pub(crate) block: BlockRef,
    /// Live copies in it, an event for a destination hub being one: they count
    /// as forwarded when written, as dropped when the link goes first.
    pub(crate) live_copies: u64,
    /// Events of a second copy, on a path of its own: in no ledger. Else 0.
    pub(crate) second: u64,
    /// A copy is for a stream: the block is sent whatever its deadline.
    pub(crate) guaranteed: bool,
}

impl Forward {
    /// The frame's bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.bytes().len() + self.block.len()
    }
}

/// How many bytes a head holds without memory of its own: three destinations.
const INLINE: usize = 24 + 3 * FLOW_ENTRY_LEN;

/// The bytes before a block: frame header and flow entries, or runs.
pub(crate) enum Head {
    Few { len: u8, bytes: [u8; INLINE] },
    Many(Box<[u8]>),
}

impl Head {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut few = [0; INLINE];
        match few.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self::Few { len: bytes.len() as u8, bytes: few }
            }
            None => Self::Many(bytes.into()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Few { len, bytes } => &bytes[..usize::from(*len)],
            Self::Many(bytes) => bytes,
        }
    }
}

/// What a read of a stream found.
pub(crate) struct Fetched {
    pub(crate) blocks: Vec<LogBlock>,
    /// Where to go on.
    pub(crate) next: u64,
    /// There is no more at present; `Grown` follows when there is.
    pub(crate) end: bool,
    /// Events before that which cannot be served, and why: the subscriber is told.
    pub(crate) lost: Option<(u64, DropReason)>,
    /// Why nothing more can be read, for the subscriber.
    pub(crate) failed: Option<(ErrorCode, String)>,
}

/// Inbox of the append stage.
pub(crate) enum ToAppend {
    /// Append a block to these streams of this hub. `spooled`: it waited on disk
    /// where it entered the mesh.
    Append { streams: Arc<[StreamSlot]>, block: BlockRef, completion: Completion, spooled: bool },
    /// A block of a flow is for a stream that this hub has not: nothing behind it is taken.
    RefuseFlow { key: FlowKey, incarnation: u32 },
    /// Keep a block for the homes of these streams, which cannot be reached.
    Spool { streams: Arc<[u64]>, block: BlockRef, completion: Completion },
    /// Homes have these blocks of spools on disk.
    SpoolDone(Vec<SpoolPlace>),
    /// Send from a spool, from its beginning, or do not.
    SpoolRound(Round),
    /// The stream of a spool is no more.
    SpoolGone { stream: u64 },
    /// Which streams are spooled for.
    SpoolKnown(Vec<SpooledStream>),
    /// Say that a stream cannot be reached, and what is spooled for it.
    SpoolReport { session: SessionId, id: u64, stream: String, detail: String },
    /// A block of a flow came again: say again how far the flow is stored.
    SayAgain { key: FlowKey, incarnation: u32 },
    /// Open a subscription to a stream.
    Open {
        target: Target,
        stream: String,
        start: weft_wire::frame::Start,
        /// Where it goes on, per home; empty: at `start`.
        position: Vec<(u32, u64)>,
        filter: Filter,
    },
    /// Read on for a subscription.
    Fetch { target: Target, stream: StreamSlot, from: u64, max_bytes: usize },
    /// Find the stream that a live subscription spills to.
    FindSpill { target: Target, stream: String, filter: Filter },
    /// A subscription has ended.
    CloseSubscription { target: Target },
    /// A session has ended.
    CloseSession { session: SessionId },
    /// Make a stream.
    Create { session: SessionId, id: u64, spec: StreamSpec },
    /// Delete a stream and all that it holds.
    Delete { session: SessionId, id: u64, name: String },
    /// Change a stream's definition.
    Alter { session: SessionId, id: u64, spec: StreamSpec },
    /// Find last values.
    LastGet(LastAsked),
    /// Answer once what was published before has reached a higher level.
    AwaitLevel { session: SessionId, asked: Box<AwaitedLevel> },
    /// Append what entered at other homes, all or from some block on none.
    AppendCopies { slot: StreamSlot, batch: Box<CopyBatch> },
    /// Another home has on its disk what entered here, below this home sequence.
    HomesSynced { slot: StreamSlot, hub: HubId, upto: u64 },
    /// What a home has on its disk, of every home; told while somebody waits for it.
    HomesHold { slot: StreamSlot, hub: HubId, end: Box<Position> },
    /// Report one stream, or all.
    Report { session: SessionId, id: u64, name: Option<String> },
    /// Append a block that the hub itself has made.
    Internal(Internal),
    /// All below this is settled by the consumers of a stream that keeps no more than they want; `unwanted`:
    /// it has none that this home knows of.
    Floor { slot: StreamSlot, floor: u64, unwanted: bool },
}

/// A request for last values.
pub(crate) struct LastAsked {
    pub(crate) session: SessionId,
    pub(crate) id: u64,
    pub(crate) stream: String,
    pub(crate) filter: Filter,
    pub(crate) key: Option<Vec<u8>>,
    /// 0: as many as the hub gives.
    pub(crate) most: u32,
}

/// Inbox of the conductor.
pub(crate) enum ToConductor {
    /// A link is up: both sides know each other.
    LinkUp {
        link: SessionId,
        hub: HubId,
        epoch: Epoch,
        name: String,
        region: String,
        /// Of the protocol.
        version: u16,
        /// The start of its data folder, as it says; of version 1 nothing is said.
        life: Option<Life>,
        /// What this hub dialled it for; `None`: the other one did.
        dial: Option<Dial>,
        /// Why the other hub picked it, as that says.
        picked: Option<Why>,
        heard: crate::net::link::Heard,
    },
    /// A link that was up has ended.
    LinkDown { link: SessionId, dial: Option<Dial>, reason: String },
    /// A hub could not be reached.
    DialFailed { dial: Dial, reason: String },
    /// The hub that was dialled is this one.
    DialledOwn { dial: Dial },
    /// A hub that was dialled to be measured has answered.
    Probed { hub: HubId, rtt: Duration },
    /// A control frame of the mesh.
    LinkFrame { link: SessionId, frame: BlockRef },
    /// A live subscription, with the answer it waits for, its gate if it has one, and its group if it shares.
    Subscribe { target: Target, filter: Filter, gate: Option<Arc<Gate>>, group: Option<Membership> },
    /// The gate of a subscription has closed or opened.
    GateTurned { target: Target, closed: bool, behind_ms: u64 },
    /// A live subscription ends by itself.
    Unsubscribe { target: Target },
    /// A session of a client is there, with the name that its subscriptions count under.
    SessionOpened { session: SessionId, name: String },
    /// A session of a client has ended.
    SessionClosed { session: SessionId },
    /// A session of a client goes: nothing more is routed to it.
    SessionLeaves { session: SessionId },
    /// The hub drains, or does not any more.
    Draining { draining: bool },
    /// A stream exists now; once it is routed to, `answer` gets `Done`.
    StreamUp { slot: StreamSlot, def: Arc<StreamDef>, filters: Vec<Filter>, answer: Option<(SessionId, u64)> },
    /// A stream is gone; likewise.
    StreamDown { slot: StreamSlot, answer: Option<(SessionId, u64)> },
    /// A stream has taken a block that live subscribers are to have only now.
    Release { block: BlockRef },
    /// A block that waited on disk here, for its stream's home.
    Spooled(Box<FromSpool>),
    /// Nothing waits on disk for a stream, of so many messages that said to keep something.
    SpoolEmpty { stream: u64, taken: u64 },
    /// Little is left of it, in this round.
    SpoolLow { stream: u64, round: u32 },
    /// How far a flow from another hub is stored here.
    FlowStored { key: FlowKey, incarnation: u32, written: u64, synced: u64, refused: ErrorCode, places: Vec<FlowPlace> },
    /// A client asks all hubs where events went.
    Ask { session: SessionId, frame: BlockRef },
    /// Another hub asks that, or answers.
    Seen { from: HubId, frame: BlockRef },
    /// An administrator changes the hub, or asks for its changes: the encoded frame.
    Change { session: SessionId, frame: BlockRef },
    /// A client asks for the mesh with all that ways are found by.
    Survey { session: SessionId, id: u64 },
    /// How a subscriber stands.
    Looked(Box<Look>),
    /// Who publishes what.
    Topics(Box<TopicsLook>),
    /// A client asks what the mesh looks like.
    MeshShow { session: SessionId, id: u64 },
    /// A client asks where a subscription is live, or who wants a topic.
    LiveAsk(Box<LiveAsked>),
    /// Other rules for what clients of this hub publish.
    Mapping(Box<Mappings>),
    /// Another configuration, as far as a running hub takes one.
    Reload(Arc<HubOptions>),
}

/// What a client asks of receipts.
#[derive(Debug)]
pub(crate) struct LiveAsked {
    pub(crate) session: SessionId,
    pub(crate) request: u64,
    /// The subscription; 0 with a topic.
    pub(crate) subscription: weft_base::SubscriptionId,
    pub(crate) topic: String,
    pub(crate) scope: LiveScope,
    pub(crate) count: u32,
    pub(crate) timeout: Duration,
    pub(crate) hubs: Vec<String>,
}

/// The group that a subscription shares its events with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group: Arc<str>,
    pub(crate) weight: u16,
}

/// What a client asked for when it subscribed.
pub(crate) struct SubscribeOptions {
    pub(crate) credit_events: u64,
    pub(crate) credit_bytes: u64,
    pub(crate) on_full: OnFull,
    /// Of one that makes its publishers wait.
    pub(crate) gate: Option<Arc<Gate>>,
}
