//! What the decider knows, for people: `weft mesh show`.

use std::time::Duration;

use weft_base::{Epoch, HubId, Mono};

use crate::LinkId;

/// The mesh as one hub sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All hubs, this one among them, by id.
    pub hubs: Vec<HubReport>,
    /// All links that their hubs report, by their ends: one for each direction.
    pub links: Vec<LinkReport>,
    /// What was counted.
    pub counters: Counters,
}

/// A hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReport {
    /// Its id.
    pub id: HubId,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its record came without attributes: it speaks version 1 of the protocol,
    /// or only hubs that do pass its record on.
    pub is_bare: bool,
    /// It is about to stop.
    pub is_draining: bool,
    /// The newest life that was heard of.
    pub epoch: Epoch,
    /// Whether a path leads there.
    pub reachable: bool,
    /// Since when none does.
    pub lost: Option<Mono>,
    /// Links to cross; 0 for this hub itself and for one out of reach.
    pub hops: u8,
    /// The round trips on the way there, added up.
    pub rtt: Duration,
    /// Filters that live subscribers there want, after aggregation.
    pub live_filters: usize,
    /// Filters that streams there want, after aggregation.
    pub stream_filters: usize,
    /// Filters of groups that have members there, one for each group.
    pub group_filters: usize,
    /// The version of that interest; 0 when nothing is known of this life.
    pub interest_version: u64,
}

/// One direction of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// The hub that reports it.
    pub from: HubId,
    /// Its neighbour.
    pub to: HubId,
    /// The round trip, as reported.
    pub rtt: Duration,
    /// The configured cost; raised by [`SUSPECTED`](crate::SUSPECTED) or
    /// [`DOUBTED`](crate::DOUBTED) while the link is suspected, else by
    /// [`DRAINING`](crate::DRAINING) while `from` is about to stop.
    pub cost: u32,
    /// What is lost of its probes, as reported, in millionths.
    pub loss: u32,
    /// The price of a GB, as reported by `from`.
    pub price: u32,
    /// Whether the other end reports the link too, so that it is used.
    pub up: bool,
    /// Whether this hub holds it back, because it came and went too often.
    pub held: bool,
    /// The link, when it is one of this hub.
    pub link: Option<LinkId>,
}

/// What a decider counts. All of these stay low in a sound mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Links that were refused when they came up.
    pub links_refused: u64,
    /// Links that were closed later, with a reason.
    pub links_closed: u64,
    /// Records and digests that claim this hub's id in a later life, or another
    /// hub's id under another name; and refusals of such hubs anywhere in the mesh.
    pub conflicts: u64,
    /// Records, and frames of this hub, beyond a limit.
    pub refused: u64,
    /// Whole sets of filters that were asked for.
    pub sets_wanted: u64,
    /// Hubs that were out of reach for too long.
    pub hubs_forgotten: u64,
    /// Acknowledgements of flows that found no way.
    pub flow_acks_dropped: u64,
    /// Filters that nobody here wants any more and that stay told for a while,
    /// because they came and went too often: at present.
    pub filters_held: u64,
    /// Answers for receipts, or frames of them, that found no way back or were
    /// too many. They are asked for again.
    pub receipts_dropped: u64,
    /// Times that a link was suspected of being dead.
    pub suspicions: u64,
    /// Times that such a link was trusted again.
    pub recoveries: u64,
    /// Times that a link began to be held back, because it came and went too often.
    pub links_held: u64,
    /// Answers to pings that were never sent.
    pub strange_pongs: u64,
    /// Pings beyond what is answered.
    pub pings_damped: u64,
}
