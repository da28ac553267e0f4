//! Frames that carry blocks between hubs, as a hub writes them, and a question that
//! hubs ask each other.

use weft_base::{Epoch, HubId, ProducerId};
use weft_wire::frame::{self, Ask, FlowEntry, PathCopy, SeeWhat, TopicPage};

use super::{TOPIC, entries};

/// A `Forward` frame as a hub writes it.
pub(crate) fn forward(entries: &[FlowEntry], ttl: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::forward_head(entries, ttl, block.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(block);
    bytes
}

/// A `Detour` frame as a hub writes it, over two hubs.
pub(crate) fn detour(copy: PathCopy, ttl: u8, block: &[u8]) -> Vec<u8> {
    let entry = entries()[0];
    let mut bytes = Vec::new();
    frame::detour_head((ttl, copy), &[HubId(0xa0), entry.hub], &[entry], block.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(block);
    bytes
}

/// A question for topics, which has fields that others have not.
pub(crate) fn ask_for_topics() -> Ask<'static> {
    Ask {
        request: 20,
        what: SeeWhat::Topics,
        wait_ms: 1_000,
        topic: "flights/**",
        origin: HubId(0),
        epoch: Epoch(0),
        producer: ProducerId(0),
        sequence: 0,
        page: TopicPage { search: "JFK", after: TOPIC, most: 100 },
    }
}
