//! Bits that flip on disk: reported with segment and offset, never served, and
//! nothing but the block they are in is lost.

use std::ops::Range;

use proptest::prelude::*;
use weft_log::fault::FaultFs;
use weft_log::mmap::HEAD;
use weft_log::{Damage, Fate, Log, LogOptions, Recovery};

use crate::common::{append, at, block, read_all, segment_path, small, try_open};

/// Opening that looks at everything.
fn open(fs: &FaultFs) -> (Log, Recovery) {
    try_open(fs, LogOptions { check_all: true, ..small() }).unwrap()
}

/// A log with these blocks, closed in good order.
fn closed_log(blocks: u64) -> FaultFs {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, blocks);
    log.close().unwrap();
    fs.after_kill()
}

/// The length of each block of [`append`].
fn block_len() -> usize {
    block(1, 1, 100, 1).len()
}

fn blocks_per_segment() -> u64 {
    ((16 << 10) - HEAD as u64) / block_len() as u64
}

/// Opens it, reads everything, and answers what was found and served.
fn reopen(fs: &FaultFs) -> (Recovery, Vec<u64>, Vec<(u64, u64)>) {
    let (mut log, recovery) = open(fs);
    let (served, damages) = read_all(&mut log.reader(), log.first());
    // What is appended afterwards is served too.
    let next = log.next();
    append(&mut log, 40);
    let (after, _) = read_all(&mut log.reader(), next);
    assert_eq!(after, (next..next + 40).collect::<Vec<_>>());
    (recovery, served, damages)
}

fn without(range: Range<u64>, all: u64) -> Vec<u64> {
    (1..=all).filter(|n| !range.contains(n)).collect()
}

#[test]
fn every_flipped_bit_of_a_block_costs_that_block_and_is_reported_where_it_begins() {
    let fs = closed_log(20);
    let len = block_len();
    // The first, one between, and the last: after it nothing valid follows.
    for (index, sequence) in [(0, 1), (9, 10), (19, 20)] {
        let start = HEAD + index * len;
        // Each byte, with bits in turn.
        for offset in start..start + len {
            let broken = fs.after_kill();
            broken.flip(&segment_path(1), offset, (offset % 8) as u8).unwrap();
            let (recovery, served, damages) = reopen(&broken);
            assert_eq!(served, without(sequence..sequence + 1, 20), "bit at {offset}");
            assert_eq!(damages, [(sequence, sequence + 1)], "bit at {offset}");
            let Damage { segment, offset: at, .. } = &recovery.damaged[0];
            assert_eq!((*segment, *at, recovery.damages), (1, start as u64, 1), "bit at {offset}");
            assert_eq!((recovery.next, recovery.blocks, recovery.cut_bytes), (21, 19, 0), "bit at {offset}");
        }
    }
}

#[test]
fn an_event_is_there_or_damage_or_retention_took_it() {
    for damaged in [10, 20] {
        let broken = closed_log(20);
        broken.flip(&segment_path(1), HEAD + (damaged as usize - 1) * block_len() + 130, 3).unwrap();
        let (mut log, _) = open(&broken);
        append(&mut log, 1);
        log.set_floor(3);
        let (mut reader, home) = (log.reader(), small().home);
        for sequence in 1..20 {
            let fate = match sequence {
                1 | 2 => Fate::Removed,
                _ if sequence == damaged => Fate::Damaged,
                _ => Fate::Whole { local: sequence },
            };
            assert_eq!(reader.fate(home, sequence).unwrap(), fate, "{sequence}");
        }
    }
}

/// Found by a simulation of streams: a block of 256 bytes claimed 768, where
/// another block began, and the two between were lost with it. A length is
/// believed now when its events lead to that block too.
#[test]
fn a_flipped_length_that_leads_to_a_later_block_costs_no_more_than_its_own() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    for number in 1..=20 {
        log.append(&block(number, 1, 96, number), at(1000)).unwrap();
    }
    assert_eq!(block(1, 1, 96, 1).len(), 256);
    log.close().unwrap();
    let broken = fs.after_kill();
    broken.flip(&segment_path(1), HEAD + 4 * 256 + 1, 1).unwrap();
    let (_, served, damages) = reopen(&broken);
    assert_eq!((served, damages), (without(5..6, 20), vec![(5, 6)]));
}

/// What follows the whole block does not vouch for it then: what the damaged
/// one before it still says must do.
#[test]
fn two_damaged_blocks_do_not_cost_the_one_between() {
    let fs = closed_log(20);
    let len = block_len();
    // Length, magic, count, stream sequence, and a payload.
    let places = [0, 1, 4, 5, 44, 104, 105, 170];
    for (one, other) in places.into_iter().flat_map(|one| places.map(|other| (one, other))) {
        for bit in 0..8 {
            let broken = fs.after_kill();
            broken.flip(&segment_path(1), HEAD + 4 * len + one, bit).unwrap();
            broken.flip(&segment_path(1), HEAD + 6 * len + other, 7 - bit).unwrap();
            let (_, served, damages) = reopen(&broken);
            let whole: Vec<u64> = (1..=20).filter(|n| ![5, 7].contains(n)).collect();
            assert_eq!((served, damages), (whole, vec![(5, 6), (7, 8)]), "{one}, {other}, bit {bit}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_header_page_costs_nothing() {
    let fs = closed_log(3 * blocks_per_segment());
    let all: Vec<u64> = (1..=3 * blocks_per_segment()).collect();
    for (segment, offset) in [1, 2, 3].into_iter().flat_map(|s| (0..HEAD).map(move |o| (s, o))) {
        // Beyond header and marks, one byte in a hundred will do.
        if offset > 64 && !(512..544).contains(&offset) && !(1024..1056).contains(&offset) && offset % 100 != 0 {
            continue;
        }
        let broken = fs.after_kill();
        broken.flip(&segment_path(segment), offset, 3).unwrap();
        let (recovery, served, damages) = reopen(&broken);
        assert_eq!((served, damages), (all.clone(), vec![]), "segment {segment} byte {offset}");
        let in_header = offset < 64;
        assert_eq!(recovery.damages, u64::from(in_header), "segment {segment} byte {offset}: {:?}", recovery.damaged);
    }
}

#[test]
fn damage_is_reported_the_same_at_each_opening() {
    let fs = closed_log(100);
    fs.flip(&segment_path(1), HEAD + 3 * block_len() + 200, 0).unwrap();
    let first = open(&fs).1;
    let second = open(&fs.after_kill()).1;
    assert_eq!((first.damages, &first), (1, &second));
    assert!(first.damaged[0].to_string().starts_with("0000000001.seg is damaged at byte "), "{}", first.damaged[0]);
}

#[test]
fn after_a_power_failure_a_flipped_bit_in_what_was_synced_is_still_damage() {
    let per = blocks_per_segment();
    let all = 3 * per + 10;
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, all);
    log.syncer().commit().unwrap();
    drop(log);
    // The newest mark was written to memory alone, and may be lost. The last
    // block is then the one place where damage looks like a torn tail.
    for seed in 0..8 {
        for sequence in [1, per, per + 1, 2 * per, 3 * per, 3 * per + 1, all - 1] {
            let (segment, index) = ((sequence - 1) / per + 1, (sequence - 1) % per);
            let broken = fs.after_crash(seed);
            broken.flip(&segment_path(segment), HEAD + index as usize * block_len() + 170, 1).unwrap();
            let (recovery, served, damages) = reopen(&broken);
            assert_eq!(served, without(sequence..sequence + 1, all), "seed {seed}, {sequence}");
            assert_eq!((damages.len(), recovery.damages, recovery.cut_bytes), (1, 1, 0), "seed {seed}, {sequence}");
        }
    }
}

/// As a disk does it that said a write was done and dropped it.
#[test]
fn synced_blocks_that_read_as_zeros_are_damage_even_at_the_end() {
    let all = 30;
    for lost in 1..=all {
        let fs = closed_log(all);
        let mut bytes = fs.get(&segment_path(1)).unwrap();
        bytes[HEAD + (lost as usize - 1) * block_len()..].fill(0);
        fs.put(&segment_path(1), bytes);
        let (recovery, served, damages) = reopen(&fs);
        assert_eq!((served, damages), (without(lost..all + 1, all), vec![(lost, all + 1)]), "from {lost} on");
        assert_eq!((recovery.damages, recovery.next, recovery.cut_bytes), (1, all + 1, 0));
    }
}

#[test]
fn neighbours_that_are_both_damaged_cost_both() {
    let fs = closed_log(20);
    for index in [4, 5] {
        fs.flip(&segment_path(1), HEAD + index * block_len() + 1, 0).unwrap();
    }
    let (_, served, damages) = reopen(&fs);
    assert_eq!((served, damages), (without(5..7, 20), vec![(5, 7)]));
}

#[test]
fn a_block_inside_a_payload_is_not_taken_for_one_of_the_log() {
    // The log holds copies of its own blocks as payloads.
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 10);
    for n in 11..=20 {
        let inner = {
            let mut inner = block(n + 1, 1, 100, 0);
            let place = weft_wire::block::StreamPlace { local: n + 1, home: 1, home_sequence: n + 1 };
            weft_wire::block::set_stream_place(&mut inner, place).unwrap();
            inner
        };
        log.append(&with_payload(n, &inner), at(0)).unwrap();
    }
    append(&mut log, 10);
    log.close().unwrap();
    let outer = with_payload(1, &block(1, 1, 100, 0)).len();
    for at in 0..outer {
        let broken = fs.after_kill();
        broken.flip(&segment_path(1), HEAD + 10 * block_len() + 4 * outer + at, 5).unwrap();
        let (log, recovery) = open(&broken);
        let mut served = Vec::new();
        log.for_each_block(1, |b| served.push(b.stream_sequence())).unwrap();
        assert_eq!(served, without(15..16, 30), "byte {at}: {:?}", recovery.damaged);
    }
}

fn with_payload(number: u64, payload: &[u8]) -> Vec<u8> {
    use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, stamp};
    let mut bytes = vec![0; 4096];
    let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a/b")).unwrap();
    writer.push(&EventFields { payload, ..Default::default() }).unwrap();
    let len = writer.finish().unwrap();
    bytes.truncate(len);
    let ingested = weft_base::UnixNanos(1);
    let origin = weft_base::HubId(1);
    let entry = Stamp { origin, epoch: weft_base::Epoch(1), block: number, sequence: number, ingested };
    stamp(&mut bytes, &entry).unwrap();
    bytes
}

#[test]
fn a_segment_that_is_missing_costs_what_was_in_it() {
    use weft_log::fs::Fs;
    let per = blocks_per_segment();
    for missing in 1..=3_u64 {
        let fs = closed_log(4 * per);
        fs.remove(&segment_path(missing)).unwrap();
        let (recovery, served, _) = reopen(&fs);
        let lost = (missing - 1) * per + 1..missing * per + 1;
        assert_eq!(served, without(lost, 4 * per));
        // Without the first, the log begins later: so it would be after retention.
        assert_eq!(recovery.damages, u64::from(missing > 1), "{:?}", recovery.damaged);
    }
}

#[test]
fn a_segment_of_garbage_costs_what_was_in_it() {
    let per = blocks_per_segment();
    for garbled in 1..=4_u64 {
        let fs = closed_log(4 * per + 2);
        fs.put(
            &segment_path(garbled),
            (0..16 << 10).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        );
        let (recovery, served, _) = reopen(&fs);
        assert_eq!(served, without((garbled - 1) * per + 1..garbled * per + 1, 4 * per + 2));
        assert!(recovery.damages > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any number of flipped bits: what is served is what was written, in
    /// order, and lost is what was hit, or between two that were: when nothing
    /// is left that leads to such a block, nothing vouches for it.
    #[test]
    fn any_flipped_bits(flips in prop::collection::vec((1_u64..=3, HEAD..16 << 10, 0_u8..8), 1..6)) {
        let blocks = 3 * blocks_per_segment();
        let fs = closed_log(blocks);
        let mut hit = std::collections::BTreeSet::new();
        for (segment, offset, bit) in flips {
            fs.flip(&segment_path(segment), offset, bit).unwrap();
            let block = (offset - HEAD) as u64 / block_len() as u64;
            hit.insert((segment - 1) * (blocks_per_segment() + 1) + block);
        }
        let (recovery, served, _) = reopen(&fs);
        prop_assert!(served.is_sorted_by(|a, b| a < b));
        for sequence in (1..=blocks).filter(|sequence| !served.contains(sequence)) {
            // Behind a segment's last block comes what it left free.
            let block = (sequence - 1) + (sequence - 1) / blocks_per_segment();
            let between = block > 0 && hit.contains(&(block - 1)) && hit.contains(&(block + 1));
            prop_assert!(hit.contains(&block) || between, "{sequence} is lost, hit were {hit:?}");
        }
        prop_assert_eq!(recovery.next, blocks + 1);
    }
}
