//! Frames that carry blocks between hubs, as a hub writes them.

use weft_base::HubId;
use weft_wire::frame::{self, FlowEntry, PathCopy};

use super::entries;

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
