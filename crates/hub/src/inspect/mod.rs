//! Payloads are checked where they enter the mesh ([ADR 43](../../../../docs/adr/0043-payloads-are-checked-in-a-stage-of-their-own.md)).
//!
//! What is checked by is made of the control state by the program
//! (`weft_govern::inspect`), in a stage of its own ([`LearnStage`]) that data
//! never waits for. The net stage looks up whether a topic is checked, keeps the
//! answer, and sends what is to be checked through the inspect stage
//! ([`InspectStage`]); everything else goes on as if none of this were there.

mod counts;
mod learn;
mod letter;
mod lines;
mod stage;
mod wiring;

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_govern::access::Principal;
use weft_govern::inspect::Inspector;
use weft_ring::arena::BlockMut;
use weft_wire::frame::AckLevel;

pub use self::counts::SchemaCounts;
pub(crate) use self::wiring::Inspectorate;
use crate::messages::SessionId;

/// By what payloads are checked; none before the first state was learned.
#[derive(Default)]
pub(crate) struct Inspection {
    pub(crate) inspector: Option<Arc<dyn Inspector>>,
}

/// The same, shared by who makes it and who goes by it.
pub(crate) type Shared = Arc<ArcSwap<Inspection>>;

/// Who has a turn: a tenant, or a session of somebody without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Payer {
    Tenant(Arc<str>),
    Session(SessionId),
}

/// A block that is to be checked, or that comes behind one that is.
pub(crate) struct Work {
    pub(crate) session: SessionId,
    pub(crate) payer: Payer,
    pub(crate) who: Option<Arc<Principal>>,
    pub(crate) request: u64,
    pub(crate) asked: (AckLevel, u8),
    /// What the topic is called in the mesh, by all that rules may make of it;
    /// none: it is not checked, and only keeps its place.
    pub(crate) topics: Option<Arc<[Box<str>]>>,
    pub(crate) block: BlockMut,
    /// What it counts for, however short it becomes.
    pub(crate) bytes: u64,
}

/// Inbox of the inspect stage.
pub(crate) enum ToInspect {
    Block(Box<Work>),
    /// Of what was to be put in quarantine: it is on disk, or why it never will be.
    Stored {
        ticket: u64,
        refused: Option<String>,
    },
}

/// What becomes of a block.
pub(crate) enum Fate {
    /// It goes on, without what went to quarantine. `checked`: its format was looked at.
    Pass { checked: bool },
    /// It does not go on, with the reason.
    Reject(String),
    /// All of it is in quarantine.
    Quarantined,
    /// It was to go there, and could not.
    Unkept(String),
}

/// A block that was checked.
pub(crate) struct Inspected {
    pub(crate) work: Box<Work>,
    pub(crate) fate: Fate,
}
