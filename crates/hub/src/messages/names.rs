//! What messages between stages name: sessions, subscriptions, streams, requests and
//! flows. All of them are small and copied; none says that what it names is there.

use weft_base::{Epoch, HubId, Lane, Residency, SubscriptionId, Way};
use weft_wire::block::Block;
use weft_wire::frame::AckLevel;

/// A session of this hub, with a client or with another hub: the slot in the
/// net stage's table in the low half, the slot's generation in the high half,
/// so that a message to a session that is gone meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

impl SessionId {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    pub(crate) fn slot(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// A live subscription of a session of this hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    pub(crate) session: SessionId,
    pub(crate) subscription: SubscriptionId,
}

/// A stream of this hub, by its place in the append stage's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamSlot(pub(crate) u32);

/// To whom the net stage owes the answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) session: SessionId,
    pub(crate) id: u64,
    /// The level asked for, at least `Routed`.
    pub(crate) level: AckLevel,
    /// The origin sequence that the acknowledgement names.
    pub(crate) sequence: u64,
    /// Whether the hub had seen this block before.
    pub(crate) duplicate: bool,
    /// To how many live receivers it was sent.
    pub(crate) receivers: u32,
    /// With level `Homes`: how many must have it; 0 otherwise.
    pub(crate) homes: u8,
    /// Where it entered its stream: none before it has, or when it went to several.
    pub(crate) place: Option<Named>,
}

/// The name of an event in the mesh: the home at which it entered its stream,
/// and that home's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) home: HubId,
    pub(crate) sequence: u64,
}

/// The flow of guaranteed blocks that a block came by, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowKey {
    pub(crate) origin: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) lane: Lane,
    pub(crate) residency: Residency,
    pub(crate) way: Way,
}

impl FlowKey {
    /// Without the life of the origin.
    pub(crate) fn flow(&self) -> FlowTo {
        FlowTo { hub: self.origin, lane: self.lane, residency: self.residency, way: self.way }
    }
}

/// A flow between this hub and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowTo {
    pub(crate) hub: HubId,
    pub(crate) lane: Lane,
    pub(crate) residency: Residency,
    pub(crate) way: Way,
}

impl FlowTo {
    /// The flow to, or from, a hub that a stamped block is of.
    pub(crate) fn of(hub: HubId, block: Block<'_>) -> Self {
        Self { hub, lane: block.lane(), residency: block.residency(), way: block.way() }
    }

    /// All with one hub.
    pub(crate) fn all_of(hub: HubId) -> std::ops::RangeInclusive<Self> {
        let first = Self { hub, lane: Lane::URGENT, residency: Residency::ANYWHERE, way: Way::MAIN };
        first..=Self { hub, lane: Lane::BULK, residency: Residency(u32::MAX), way: Way(u8::MAX) }
    }
}

/// Whom the append stage tells that a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// Nobody asked.
    None,
    /// A client of this hub.
    Client(Request),
    /// The hub where the block entered the mesh.
    Flow { key: FlowKey, incarnation: u32, number: u64 },
}

impl Completion {
    /// The same, of a block that was there before.
    pub(crate) fn duplicate(self) -> Self {
        match self {
            Self::Client(request) => Self::Client(Request { duplicate: true, ..request }),
            other => other,
        }
    }
}
