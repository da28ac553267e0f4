//! The mesh with all that ways are found by and what is wanted where, as an
//! operator's tools ask a hub for it before they change anything.
//!
//! Answered by [`Told`](super::Told) with facts about every hub that is known,
//! several times of a hub that there is much to say of; [`surveyed`] lists their
//! names. A hub out of reach stands there as one that did not answer.

use super::FrameError;
use super::codec::{Reader, Writer};
use super::native::numbers;

numbers! {
    /// Asks for the mesh as this hub sees it; answered by [`Told`](super::Told).
    Survey {
        /// Chosen by the client.
        request: u64,
    }
}

/// The names of facts that answer a [`Survey`]. Each stands in what is said of
/// the hub that it is about; of the asked hub's mesh in what is said of itself.
pub mod surveyed {
    /// The hub's region.
    pub const REGION: &str = "region";
    /// One of its labels.
    pub const LABEL: &str = "label";
    /// It speaks version 1 of the protocol.
    pub const BARE: &str = "bare";
    /// It is about to stop; the costs of its links are raised for it.
    pub const DRAINING: &str = "draining";
    /// So many links lead there.
    pub const HOPS: &str = "hops";
    /// A link that it reports, by the name of the hub at the other end, and its
    /// cost. [`RTT`], [`LOSS`], [`PRICE`] follow, and [`DOWN`] when the other end
    /// does not report it.
    pub const LINK: &str = "link";
    /// In microseconds.
    pub const RTT: &str = "link.rtt_us";
    /// In millionths.
    pub const LOSS: &str = "link.loss";
    /// Of a GB.
    pub const PRICE: &str = "link.price";
    /// It does not count.
    pub const DOWN: &str = "link.down";
    /// A filter that its clients or streams want.
    pub const WANTS: &str = "wants";
    /// So many more that are not told.
    pub const WANTS_MORE: &str = "wants.more";
    /// How much round trips count.
    pub const WEIGHT_RTT: &str = "weight.rtt";
    /// How much loss counts.
    pub const WEIGHT_LOSS: &str = "weight.loss";
    /// How much prices count.
    pub const WEIGHT_PRICE: &str = "weight.price";
}
