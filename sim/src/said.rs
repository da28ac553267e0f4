//! What hubs, clients and links hand each other in a run: values in the place of bytes.

use std::rc::Rc;

use weft_base::{Epoch, HubId, Lane, Mono, Residency, Way};
use weft_mesh::{CloseReason, GroupKey, LinkId, ReceiptLine};
use weft_wire::frame::{FlowEntry, PathCopy};

/// A block, as far as a mesh looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) lane: Lane,
    pub(crate) topic: String,
    pub(crate) events: u64,
    /// Where it may be.
    pub(crate) residency: Residency,
    /// The way that it takes.
    pub(crate) way: Way,
    /// Some stream takes it.
    pub(crate) kept: bool,
    /// The producer and its sequence, when the block must be stored.
    pub(crate) produced: Option<Produced>,
    /// Bytes of each event.
    pub(crate) size: u64,
    pub(crate) published: Mono,
}

/// What a client hands its hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) topic: &'a str,
    pub(crate) lane: Lane,
    pub(crate) events: u64,
    pub(crate) size: u64,
    pub(crate) produced: Option<Produced>,
}

/// The stamp of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockId {
    pub(crate) origin: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
}

/// What a producer calls its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Produced {
    pub(crate) producer: usize,
    pub(crate) sequence: u64,
}

/// What crosses a link.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Encoded frames.
    Control(Vec<u8>),
    /// A block with its entries, and the hubs that it names, if it does.
    Forward { block: Rc<Block>, entries: Vec<FlowEntry>, ttl: u8, named: Option<Named> },
}

/// The way of a copy that names the hubs on it: those that it has still to come to.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) copy: PathCopy,
    pub(crate) hubs: Vec<HubId>,
}

impl Message {
    /// The copies that count on links: second ones do not.
    pub(crate) fn live_copies(&self) -> u64 {
        match self {
            Self::Forward { named: Some(Named { copy: PathCopy::Second, .. }), .. } | Self::Control(_) => 0,
            Self::Forward { block, entries, .. } => {
                entries.iter().filter(|entry| entry.kind.is_best_effort()).count() as u64 * block.events
            }
        }
    }
}

/// A live flow between two lives, to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FlowId {
    pub(crate) origin: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) destination: HubId,
    pub(crate) life: Epoch,
    pub(crate) lane: Lane,
    pub(crate) residency: Residency,
    pub(crate) way: Way,
}

/// A live flow at one of its ends: the hub at the other, the lane, where its events
/// may be, and the way that they take.
pub(crate) type FlowOf = (HubId, Lane, Residency, Way);

/// What a hub does to the world.
#[derive(Debug)]
pub(crate) enum Effect {
    Send {
        link: LinkId,
        message: Message,
    },
    Close {
        link: LinkId,
        reason: CloseReason,
    },
    /// A live block was handed to a subscriber.
    Delivered {
        client: usize,
        block: Rc<Block>,
    },
    /// A block was handed to a member of a group.
    Shared {
        group: GroupKey,
        client: usize,
        block: Rc<Block>,
    },
    /// Events were sent on a live flow.
    Sent {
        flow: FlowId,
        events: u64,
    },
    /// Events of a live flow were taken in, and so many before them were missed.
    Taken {
        flow: FlowId,
        events: u64,
        missed: u64,
    },
    /// A home says that it has synced a block.
    Synced {
        home: HubId,
        produced: Produced,
    },
    /// The way to some hub is another than before: of all events, or of those alone
    /// that are bound to a label, which may go over links that others do not.
    PathsChanged {
        all: bool,
    },
    /// A client is told where its subscription is live.
    Receipt {
        client: usize,
        hubs: Vec<ReceiptLine>,
    },
}
