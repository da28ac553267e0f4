//! Taking events out of a block: what a log does that is compacted by key.

use zerocopy::FromBytes;

use super::layout::{COMPACTED, EVENT_HEADER_LEN, EventHeader, HEADER_LEN, Header, PRODUCER_CHECKSUM};
use super::{Block, Event, pad8, producer_checksum};

/// What is left of a removed event: no key, no headers, no payload, and a time
/// that no event has. See [`Event::is_removed`].
const REMOVED: [u8; EVENT_HEADER_LEN] = {
    let mut bytes = [0; EVENT_HEADER_LEN];
    let mut at = 8;
    while at < EVENT_HEADER_LEN {
        bytes[at] = 0xff;
        at += 1;
    }
    bytes
};

/// Writes a valid block without the events that `keep` refuses into `out`,
/// after what is in it. In their place stand 16 bytes each, so that the others
/// keep their sequences; the block gets the flag [`COMPACTED`] and its checksum
/// anew. `keep` is asked with each event's place in the block; not about those
/// that were removed before.
pub fn compact(block: &Block<'_>, mut keep: impl FnMut(usize, &Event<'_>) -> bool, out: &mut Vec<u8>) {
    let bytes = block.bytes();
    let start = out.len();
    let events = HEADER_LEN + pad8(block.topic().len());
    out.extend_from_slice(bytes.get(..events).unwrap_or(bytes));
    let mut rest = bytes.get(events..).unwrap_or_default();
    for (at, event) in block.events().enumerate() {
        let Ok((head, _)) = EventHeader::ref_from_prefix(rest) else { break };
        let parts = [head.key_len.get().into(), head.headers_len.get().into(), head.payload_len.get() as usize];
        let len = EVENT_HEADER_LEN + parts.into_iter().map(pad8).sum::<usize>();
        let Some((event_bytes, after)) = rest.split_at_checked(len) else { break };
        let removed = block.is_compacted() && event.is_removed();
        out.extend_from_slice(if !removed && keep(at, &event) { event_bytes } else { &REMOVED });
        rest = after;
    }
    let Some(written) = out.get_mut(start..) else { return };
    let len = written.len() as u32;
    if let Ok((head, _)) = Header::mut_from_prefix(written) {
        head.producer.length.set(len);
        head.producer.flags.set(head.producer.flags.get() | COMPACTED);
    }
    let checksum = producer_checksum(written).to_le_bytes();
    if let Some(place) = written.get_mut(PRODUCER_CHECKSUM..PRODUCER_CHECKSUM + 4) {
        place.copy_from_slice(&checksum);
    }
}

#[cfg(test)]
mod tests {
    use weft_base::{Epoch, HubId, UnixNanos};

    use super::*;
    use crate::block::{BlockFields, BlockWriter, EventFields, Stamp, block_len, stamp};

    #[test]
    fn the_others_keep_their_places_and_bytes_and_the_block_is_whole() {
        let payloads: Vec<Vec<u8>> = (0..5).map(|n| vec![n as u8; 3 * n]).collect();
        let mut bytes = vec![0; block_len(3, payloads.iter().map(|p| (2, 0, p.len())))];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a/b")).unwrap();
        for payload in &payloads {
            writer.push(&EventFields { time: UnixNanos(9), key: b"ke", payload, ..Default::default() }).unwrap();
        }
        writer.finish().unwrap();
        let entry = Stamp { origin: HubId(1), epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
        stamp(&mut bytes, &entry).unwrap();
        let mut once = vec![7; 3];
        compact(&Block::validate(&bytes).unwrap(), |at, _| at != 1, &mut once);
        let first = Block::validate(&once[3..]).expect("a whole block");
        assert!(first.is_compacted() && first.stamp() == Some(entry));
        // Twice, which asks no more about what is gone.
        let (mut twice, mut asked) = (Vec::new(), Vec::new());
        let keep = |at, _: &Event<'_>| {
            asked.push(at);
            at != 4
        };
        compact(&first, keep, &mut twice);
        assert_eq!(asked, [0, 2, 3, 4]);
        let block = Block::validate(&twice).expect("a whole block");
        assert_eq!(block.event_count(), 5);
        for (at, event) in block.events().enumerate() {
            let gone = at == 1 || at == 4;
            assert_eq!(event.is_removed(), gone, "{at}");
            assert!(gone || (event.payload == payloads[at] && event.key == b"ke"), "{at}");
        }
        assert!(twice.len() < once.len() && once.len() - 3 < bytes.len());
    }
}
