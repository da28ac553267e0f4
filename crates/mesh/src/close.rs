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
    /// The hub at the other end is in a new life, which has links of its own.
    #[error("the hub at the other end has started anew")]
    Superseded,
    /// The other end does not answer pings.
    #[error("no answer to pings for {seconds} s: the path between the hubs is broken, perhaps in one direction only")]
    Silent {
        /// For how long.
        seconds: u64,
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
            Self::BadInterest { .. } => ErrorCode::BAD_FRAME,
            Self::Superseded => ErrorCode::LEAVING,
            Self::Silent { .. } => ErrorCode::SILENT,
            Self::TooManyLinks { .. } | Self::TooManyHubs { .. } => ErrorCode::LIMIT,
        }
    }
}
