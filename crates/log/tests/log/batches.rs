//! Atomic batches: all of one is there or nothing, whatever is cut where.

use weft_log::fault::FaultFs;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

/// Ten blocks that are synced, then a batch of four that is not.
fn with_batch() -> FaultFs {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 10);
    log.syncer().sync().unwrap();
    let parts = [11, 13, 15, 17].map(|n| flagged(n, 2, 300, if n < 17 { BATCH_OPEN } else { BATCH_LAST }));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let mut reader = log.reader();
    assert_eq!(reader.next(), 11);
    log.append_batch(&parts, at(0)).unwrap();
    assert_eq!(reader.next(), 19, "published at once");
    assert_eq!(read_all(&mut reader, 11).0.len(), 8);
    fs
}

#[test]
fn a_batch_is_there_or_not_after_a_crash() {
    let fs = with_batch();
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..200 {
        let (log, recovery) = open(&fs.after_crash(seed));
        *seen.entry(log.next()).or_insert(0) += 1;
        assert_eq!(recovery.damages, 0);
        assert_eq!(log.position(), [(1, log.next())]);
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [11, 19], "{seen:?}");
}

#[test]
fn a_batch_cut_short_at_any_byte_is_cut_whole() {
    let whole = with_batch().after_kill();
    let bytes = whole.get(&segment_path(1)).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let batch = 4 * flagged(1, 2, 300, 0).len();
    for cut in (end.next_multiple_of(8) - batch..end).step_by(8) {
        let fs = whole.after_kill();
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        fs.put(&segment_path(1), torn);
        let (mut log, recovery) = open(&fs);
        assert_eq!((log.next(), recovery.blocks, recovery.damages), (11, 10, 0), "cut at {cut}");
        // What was cut does not come back.
        append(&mut log, 2);
        drop(log);
        assert_eq!(open(&fs.after_kill()).1.next, 13);
    }
    assert_eq!(open(&whole).1.next, 19);
}

#[test]
fn a_batch_that_fills_the_segment_goes_to_the_next_one_whole() {
    let (mut log, _) = open(&FaultFs::new());
    append(&mut log, 40);
    let parts = [41, 42, 43].map(|n| flagged(n, 1, 3000, if n < 43 { BATCH_OPEN } else { BATCH_LAST }));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    log.append_batch(&parts, at(0)).unwrap();
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..=43).collect::<Vec<_>>());
}

#[test]
fn damage_in_a_batch_that_was_synced_costs_its_block_only() {
    let fs = with_batch();
    let (log, _) = open(&fs.after_kill());
    drop(log);
    let fs = {
        let fs = fs.after_kill();
        open(&fs).0.close().unwrap();
        fs.after_kill()
    };
    let bytes = fs.get(&segment_path(1)).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    fs.flip(&segment_path(1), end, 1).unwrap();
    let all = weft_log::LogOptions { check_all: true, ..small() };
    let (log, recovery) = try_open(&fs, all).unwrap();
    assert_eq!((recovery.damages, log.next()), (1, 19), "{:?}", recovery.damaged);
    assert_eq!(read_all(&mut log.reader(), 1), ((1..17).collect(), vec![(17, 19)]));
}
