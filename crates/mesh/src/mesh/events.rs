//! What a mesh is told, and what it asks for.

use std::sync::Arc;

use weft_base::{Epoch, HubId, Lane, Mono, Residency, Way};
use weft_topic::Filter;
use weft_wire::frame::{ErrorCode, FlowAck, FlowPlace, Frame, GateState};

use super::{LiveAt, ReceiptLine};
use crate::{CloseReason, LinkId, LinkNotice, StreamDef};

/// What happens to the decider.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A link is up: both ends know who the other is.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The hub at the other end.
        hub: HubId,
        /// Its life.
        epoch: Epoch,
        /// Its name.
        name: String,
        /// Its region.
        region: String,
        /// The version of the protocol that both ends speak: what one of them
        /// does not know is not sent.
        version: u16,
        /// What this end adds to the measured round trip, in microseconds:
        /// routes avoid links with a high cost.
        cost: u32,
    },
    /// What this end adds to the round trip of a link is another from now on.
    LinkCost {
        /// The link.
        link: LinkId,
        /// In microseconds.
        cost: u32,
    },
    /// This hub has other labels from now on.
    Labels(Vec<String>),
    /// What a GB costs on a link, as this hub was told; 0 until it is said.
    LinkPrice {
        /// The link.
        link: LinkId,
        /// In any unit that all hubs of the mesh use, such as cents.
        price: u32,
    },
    /// A link has ended.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// Something has come by a link, whatever it was: a sign of life. To be said
    /// before a `Tick` for what came since the last one; frames that are handed
    /// over need no such word.
    Heard {
        /// The link.
        link: LinkId,
        /// When.
        at: Mono,
    },
    /// A control frame has come: `LinkState`, `Record`, `Interest`, `Digest`,
    /// `DigestSum`, `Want`, `FlowAck`, `BoundAck`, `WayAck`, `Pressure`, `Conflict`, `ReceiptAsk`,
    /// `ReceiptAck`, `Ping` or `Pong`. Others are ignored.
    Frame {
        /// The link that it came by.
        link: LinkId,
        /// The frame.
        frame: &'a Frame<'a>,
    },
    /// A subscriber of this hub begins or ceases to want a filter. Counted: two
    /// that begin need two that cease.
    Interest {
        /// Whether it begins.
        add: bool,
        /// What.
        filter: Filter,
    },
    /// A stream of this hub begins or ceases to take in what matches a filter.
    /// Counted likewise. One that takes in nothing is told with
    /// [`StreamDef::name_only`].
    Stream {
        /// Whether it begins.
        add: bool,
        /// The stream, and what the hub is to it.
        def: Arc<StreamDef>,
        /// What it takes in.
        filter: Filter,
    },
    /// A subscription of this hub that makes its publishers wait is new, has
    /// turned, or has ended.
    Gate {
        /// Its number: never used again in this life of the hub.
        gate: u64,
        /// How it stands.
        state: GateState,
        /// How long its oldest event has waited, in milliseconds.
        behind_ms: u64,
        /// What it subscribes to.
        filter: Filter,
        /// The subscriber's name.
        subscriber: String,
    },
    /// A member of a group joins or leaves at this hub.
    Member {
        /// Whether it joins.
        add: bool,
        /// The group's name, 1 to 255 bytes.
        group: Arc<str>,
        /// What the member wants.
        filter: Filter,
        /// Its weight, the same when it leaves as when it joined.
        weight: u16,
    },
    /// This hub has something to say on a guaranteed flow that ends here.
    FlowAck {
        /// Where the flow's events may be.
        residency: Residency,
        /// The way that its blocks take.
        way: Way,
        /// What it has to say.
        ack: FlowAck,
    },
    /// Every block that this hub routes from here on goes by what
    /// [`Mesh::routes`] answers now. Other hubs take its word for it.
    RoutesPublished,
    /// This hub is about to stop, or is not after all: others route around it,
    /// where they can, and serve elsewhere what can be served elsewhere.
    Draining {
        /// Which of the two.
        draining: bool,
    },
    /// Somebody waits until this hub's interest, as it is now, is live.
    Receipt {
        /// Its number: not in use.
        receipt: u64,
        /// Where.
        at: LiveAt,
        /// For how long.
        until: Mono,
    },
    /// Nobody waits for this receipt any more.
    ReceiptGone {
        /// Its number.
        receipt: u64,
    },
    /// Time has passed: due when [`Mesh::next_deadline`] is.
    Tick,
}

/// What the decider wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send encoded frames, in order, ahead of events. Frames of one link that
    /// are lost while it stays up are repaired by digests, in time.
    Send {
        /// The link to send on.
        link: LinkId,
        /// One or more whole frames.
        bytes: Vec<u8>,
    },
    /// [`Mesh::routes`] answers a new snapshot.
    RoutesChanged,
    /// A hub can be reached, in this life of it. Flows to it go on; those to an
    /// earlier life start again. Comes after the `RoutesChanged` that knows the way.
    HubUp {
        /// The hub.
        hub: HubId,
        /// Its life.
        epoch: Epoch,
    },
    /// A hub can no longer be reached, or not in the life it was up in.
    HubDown(HubId),
    /// How far a guaranteed flow of this hub has got.
    FlowAcked {
        /// The destination that says it.
        hub: HubId,
        /// The flow's lane.
        lane: Lane,
        /// Where the flow's events may be.
        residency: Residency,
        /// The way that its blocks take.
        way: Way,
        /// The flow's incarnation.
        incarnation: u32,
        /// All blocks before this number are written there.
        written: u64,
        /// All blocks before this number are on its disk.
        synced: u64,
        /// Why the flow is refused from `written` on; [`ErrorCode::NONE`] when it is not.
        refused: ErrorCode,
        /// Where newly written blocks entered their streams.
        places: Vec<FlowPlace>,
    },
    /// How a subscription of another hub stands that makes its publishers wait.
    /// `Gone` is said once, also when the hub itself is gone.
    Gate {
        /// The hub.
        hub: HubId,
        /// The subscription's number there.
        gate: u64,
        /// How it stands.
        state: GateState,
        /// How long its oldest event had waited when this was said, in milliseconds.
        behind_ms: u64,
        /// What it subscribes to.
        filter: Filter,
        /// The subscriber's name.
        subscriber: String,
        /// The hub's name.
        name: String,
    },
    /// This hub's interest, as it was when the receipt was asked for, is live
    /// where it was to be, or cannot be, or time is up.
    Receipt {
        /// The receipt's number, which is free again.
        receipt: u64,
        /// Whether it is live where it was to be.
        met: bool,
        /// The hubs, by name: those that were named, or all that are known.
        hubs: Vec<ReceiptLine>,
    },
    /// A hub was refused somewhere in the mesh, because it is not who it says or
    /// is so twice. Said once of each.
    Conflict {
        /// The name that it claims.
        name: String,
        /// The epoch of the one that was refused.
        epoch: Epoch,
        /// Why.
        code: ErrorCode,
        /// The hub that refused it.
        by: String,
        /// Why, for people.
        detail: String,
    },
    /// Something about a link that people are to know; nothing is to be done.
    LinkNotice {
        /// The link.
        link: LinkId,
        /// The name of the hub at its other end.
        name: String,
        /// What.
        notice: LinkNotice,
    },
    /// Close a link. For the decider it has ended with this; the `LinkDown` that
    /// follows is ignored.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Why: for the other end, and the log.
        reason: CloseReason,
    },
}
