//! One link of this hub: who is at the other end, and what is under way to it.

use std::collections::BTreeMap;

use weft_base::{Epoch, HubId, Mono};

use crate::costs::Loss;
use crate::filters::Change;
use crate::health::Health;
use crate::transfer::Transfer;

/// Steps of a hub's interest that come in over a link, in several frames. What
/// is of no use is followed to its end too, so that no later frame of it is
/// taken for a first one.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) epoch: Epoch,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// None: of no use.
    pub(crate) changes: Option<Vec<Change>>,
    /// When the last frame of it came.
    pub(crate) touched: Mono,
}

/// A link that is up, as the transport says.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) hub: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) cost: u32,
    /// Of the protocol: what the other end does not know is not sent to it.
    pub(crate) version: u16,
    pub(crate) health: Health,
    /// What of its probes is lost.
    pub(crate) loss: Loss,
    /// Of a GB, as this hub was told.
    pub(crate) price: u32,
    /// Long sets of filters on their way out, by the hub that they are of.
    pub(crate) transfers: BTreeMap<HubId, Transfer>,
    /// Those on their way in.
    pub(crate) incoming: BTreeMap<HubId, Incoming>,
    /// The transfer that had the last turn.
    pub(crate) served: HubId,
    /// Not before this may the next part of a transfer go.
    pub(crate) transfer_next: Mono,
}

impl Link {
    pub(crate) fn new(hub: HubId, epoch: Epoch, name: String, now: Mono) -> Self {
        Self {
            hub,
            epoch,
            name,
            cost: 0,
            version: weft_wire::frame::PROTOCOL_VERSION_LEAST,
            health: Health::new(now),
            loss: Loss::default(),
            price: 0,
            transfers: BTreeMap::new(),
            incoming: BTreeMap::new(),
            served: HubId(0),
            transfer_next: now,
        }
    }

    /// Whether both directions were seen to work: until then it carries no events.
    pub(crate) fn works(&self) -> bool {
        self.health.rtt().is_some()
    }

    /// The round trip as records carry it: at least 1, so that no link is free.
    pub(crate) fn rtt_us(&self) -> Option<u32> {
        self.health.rtt().map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1))
    }
}

/// What a link's cost is raised by in the record of a hub that suspects it, in
/// microseconds: about 18 minutes, so that every other way is better. Hubs that
/// know nothing of suspicion reckon with it all the same.
pub const SUSPECTED: u32 = 1 << 30;
/// What it is raised by in the record of the hub at the other end, once that
/// has heard of it: both directions are to be avoided, and neither end may take
/// the other's echo for a suspicion.
pub const DOUBTED: u32 = 1 << 29;
/// What the cost of all links of a hub is raised by in its record while it
/// drains, in microseconds: about four minutes. So ways lead over it only where
/// there is no other, and still to it (RFC 6987 calls such a router a stub). Less
/// than [`SUSPECTED`] with any cost that may be configured, for which it must
/// not be taken; and a hub that drains is better than a link that is suspected.
pub const DRAINING: u32 = 1 << 28;
/// The most that a link's cost may be configured to.
pub const MOST_COST: u32 = DOUBTED - 1;

/// Whether a round trip has changed so much that the others are to know: by a
/// quarter, and by more than half a millisecond.
pub(crate) fn has_shifted(reported_us: u32, measured_us: u32) -> bool {
    reported_us.abs_diff(measured_us) > (reported_us / 4).max(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shifts_are_kept_quiet() {
        assert!(!has_shifted(100, 599));
        assert!(has_shifted(100, 601));
        assert!(!has_shifted(80_000, 99_000));
        assert!(has_shifted(80_000, 101_000));
        assert!(has_shifted(80_000, 59_000));
    }
}
