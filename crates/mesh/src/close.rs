//! Why the decider has a link closed.

use weft_base::Epoch;
use weft_wire::frame::ErrorCode;

/// Why a link is to be closed: tell the other end, and count it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other end has this hub's own id.
    #[error("the hub at the other end has this hub's id: give each hub a name of its own")]
    OwnId,
    /// Two hubs with different names claim one id.
    #[error("the hub calls itself `{heard}`, but the mesh knows its id as `{known}`: rename one of them")]
    TwoNames {
        /// The name known first.
        known: String,
        /// The other one.
        heard: String,
    },
    /// The mesh knows of a later life of the hub at the other end.
    #[error(
        "the hub's epoch {} is older than {}, which the mesh has heard of: two hubs have one name, or its clock \
         went back; stop one of them, or start it again later", heard.0, known.0
    )]
    OldEpoch {
        /// The newest epoch known.
        known: Epoch,
        /// The epoch of the hub at the other end.
        heard: Epoch,
    },
    /// The data folder of a hub is known under another name.
    #[error(
        "the hub `{heard}` runs on the data folder of the hub `{known}`: give it its name back, or start it once \
         with `weft hub --new-instance`"
    )]
    Renamed {
        /// The folder's hub.
        known: String,
        /// What it is called now.
        heard: String,
    },
    /// A copy of a hub's data folder runs, and so does the hub, or another copy.
    #[error(
        "two hubs run on copies of the data folder of `{name}`: stop one of them; a copy that is to stay needs \
         another name, and to be started once with `weft hub --new-instance`"
    )]
    Cloned {
        /// The name.
        name: String,
    },
    /// A hub's data folder is one of an earlier time.
    #[error(
        "the data folder of `{name}` was set back: this is its start {heard}, and the mesh has seen start {known}; \
         what it forgot may be missing from its streams: if it is to go on so, start it once with \
         `weft hub --new-instance`"
    )]
    RolledBack {
        /// The hub.
        name: String,
        /// The latest start that was seen.
        known: u64,
        /// The one that it says.
        heard: u64,
    },
    /// Another hub of this name, with a data folder of its own, is in the mesh.
    #[error("another hub named `{name}`, with another data folder, is in the mesh: rename one, or stop that one first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The hub at the other end is in a new life, which has links of its own.
    #[error("the hub at the other end has started anew")]
    Superseded,
    /// Nothing is heard from the other end, or never an answer to pings.
    #[error("no answer to pings for {seconds} s: the path between the hubs is broken, perhaps in one direction only")]
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// The other end sends pings, or answers to no ping, without end.
    #[error(
        "a flood of {what}: at most 200 pings a second are answered, and an answer needs a ping; mend the other hub"
    )]
    Flood {
        /// Of what.
        what: &'static str,
    },
    /// This hub has as many links as it may have.
    #[error("the limit of {limit} links is reached: raise it, or link through another hub")]
    TooManyLinks {
        /// The limit.
        limit: usize,
    },
    /// This hub knows as many hubs as it may know, and all are within reach.
    #[error("the limit of {limit} hubs is reached: raise it on every hub of the mesh")]
    TooManyHubs {
        /// The limit.
        limit: usize,
    },
    /// The other end sent a filter that is none.
    #[error("a filter of another hub's interest is refused: {detail}")]
    BadInterest {
        /// What is wrong with it.
        detail: String,
    },
}

impl CloseReason {
    /// The code for the `Goodbye` frame.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::OwnId | Self::TwoNames { .. } | Self::OldEpoch { .. } => ErrorCode::IDENTITY,
            Self::Cloned { .. } => ErrorCode::CLONED,
            Self::RolledBack { .. } => ErrorCode::ROLLED_BACK,
            Self::Renamed { .. } => ErrorCode::RENAMED,
            Self::NameTaken { .. } => ErrorCode::NAME_TAKEN,
            Self::BadInterest { .. } => ErrorCode::BAD_FRAME,
            Self::Superseded => ErrorCode::LEAVING,
            Self::Silent { .. } => ErrorCode::SILENT,
            Self::Flood { .. } => ErrorCode::LINK_FLOOD,
            Self::TooManyLinks { .. } | Self::TooManyHubs { .. } => ErrorCode::LIMIT,
        }
    }
}
