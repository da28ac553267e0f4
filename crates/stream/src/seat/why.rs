//! Why a consumer is not served here, or not moved.

use weft_base::HubId;

/// Why a consumer cannot be served here now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Waits {
    /// A home that can be reached has not answered.
    #[error("home {0} of the stream has not said yet how far the consumer is")]
    Unheard(HubId),
    /// Another home is its seat.
    #[error("home {0} of the stream serves the consumer")]
    At(HubId),
    /// Another home still runs it.
    #[error("home {0} of the stream hands the consumer over")]
    Wanted(HubId),
    /// It is about to run at another home.
    #[error("the consumer moves to home {0} of the stream")]
    Leaving(HubId),
    /// What is known of it does not fit this hub.
    #[error("the consumer cannot be taken over here: see the hub's log")]
    Refused,
}

/// Why a consumer was not moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// It is moving already.
    #[error("the consumer is on its way to another home: ask again when it is there")]
    Moving,
    /// The hub is no other home of the stream that can be reached now.
    #[error("`{0}` cannot be reached now: the consumer stays where it is")]
    Unreachable(String),
    /// The home did not take it in time.
    #[error("`{0}` did not take the consumer over in time: it stays where it is")]
    TimedOut(String),
}
