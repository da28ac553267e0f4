//! Compaction by key: what is to go goes, everything else stays under its
//! sequence, and nobody who reads meanwhile notices.

use proptest::prelude::*;
use weft_base::ByteCount;
use weft_log::fault::FaultFs;
use weft_log::mmap::HEAD;
use weft_log::{ASKED, Log, LogOptions};
use weft_wire::block::Block;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

fn any_change() -> LogOptions {
    LogOptions { compact_percent: 0, ..small() }
}

fn filled(blocks: u64, events: u64) -> (FaultFs, Log) {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, any_change()).unwrap();
    for _ in 0..blocks {
        let next = log.next();
        log.append(&block(next, events, 100, next), at(1000)).unwrap();
    }
    log.syncer().sync().unwrap();
    (fs, log)
}

/// The sequences of the events that are there, each checked.
fn kept(log: &mut Log, from: u64) -> Vec<u64> {
    let mut kept = Vec::new();
    let each = |block: Block<'_>| {
        let block = Block::validate(block.bytes()).expect("a whole block");
        for (sequence, event) in (block.stream_sequence()..).zip(block.events()) {
            if !(block.is_compacted() && event.is_removed()) {
                assert!(event.payload.starts_with(&sequence.to_le_bytes()));
                kept.push(sequence);
            }
        }
    };
    log.for_each_block(from, each).unwrap();
    kept
}

/// Compacts to the end, and answers segments written, events and bytes gone.
fn compact(log: &mut Log, keep: impl Fn(u64) -> bool, budget: u64) -> (u64, u64, u64) {
    let mut sum = (0, 0, 0);
    loop {
        let told = log.compact(&mut |local, _, _| keep(local), ByteCount(budget)).unwrap();
        assert!(told.bytes <= budget + 2000 && told.damaged == 0, "{told:?}");
        sum = (sum.0 + told.segments, sum.1 + told.removed, sum.2 + told.freed);
        if told.done {
            return sum;
        }
    }
}

#[test]
fn a_call_asks_about_no_more_events_than_its_budget_allows() {
    let (_, mut log) = filled(200, 30);
    let (mut asked, mut most, mut done) = (0, 0, false);
    while !done {
        let before = asked;
        let mut keep = |_: u64, _: Block<'_>, _: usize| {
            asked += 1;
            true
        };
        done = log.compact(&mut keep, ByteCount(100 * ASKED)).unwrap().done;
        most = most.max(asked - before);
    }
    // A block is asked about as a whole.
    assert!((100..=129).contains(&most) && asked > 3_000, "{most} of {asked}");
}

#[test]
fn what_is_refused_goes_and_the_rest_stays_in_place_also_after_opening_again() {
    let (fs, mut log) = filled(200, 3);
    let sealed = {
        let mut reader = log.reader();
        let last = reader.read(600, u64::MAX, 1).unwrap().next().unwrap();
        let _ = last;
        reader.next()
    };
    assert_eq!(sealed, 601);
    let bytes = log.bytes();
    let stays = |local: u64| (local / 60).is_multiple_of(2) && !local.is_multiple_of(7);
    let (segments, removed, freed) = compact(&mut log, stays, 5000);
    assert!(segments > 3 && removed > 200 && freed > 20_000, "{segments} {removed} {freed}");
    assert_eq!(log.bytes(), bytes - freed);
    let all = kept(&mut log, 1);
    // What lies in the segment in use stays.
    let active = *all.iter().find(|local| !stays(**local)).unwrap();
    assert!(active > 500);
    assert_eq!(all, (1..=600).filter(|local| *local >= active || stays(*local)).collect::<Vec<_>>());
    // A second pass finds nothing to do.
    assert_eq!(compact(&mut log, stays, 1 << 20), (0, 0, 0));
    for from in 1..=600 {
        let found = log.reader().read(from, u64::MAX, 1).unwrap().next().unwrap();
        assert!(found.next() > from && Block::validate(&found).is_ok());
        assert!((from..found.first()).all(|gone| !stays(gone)));
    }
    assert_eq!(log.position(), [(1, 601)]);
    for check_all in [false, true] {
        let (log, recovery) = try_open(&fs.after_kill(), LogOptions { check_all, ..any_change() }).unwrap();
        assert_eq!((recovery.next, recovery.damages), (601, 0), "{:?}", recovery.damaged);
        assert_eq!(kept(&mut { log }, 1), all);
    }
    assert_eq!(log.append(&block(601, 1, 100, 1), at(0)).unwrap().home_sequence, 601);
    log.close().unwrap();
    let (mut log, recovery) = open(&fs.after_kill());
    assert_eq!((recovery.next, recovery.checked_bytes), (602, 0));
    assert_eq!(kept(&mut log, 1).len(), all.len() + 1);
}

#[test]
fn a_segment_of_which_nothing_is_left_is_passed_over() {
    let (fs, mut log) = filled(300, 1);
    compact(&mut log, |local| !(20..250).contains(&local), 1 << 20);
    let expected: Vec<_> = (1..=300).filter(|local| !(20..250).contains(local)).collect();
    assert_eq!(kept(&mut log, 1), expected);
    let mut reader = log.reader();
    assert_eq!(reader.read(100, u64::MAX, 1).unwrap().next().unwrap().first(), 250);
    assert!(reader.read(100, 200, 1).unwrap().next().is_none(), "nothing is there below 200");
    log.close().unwrap();
    let (mut log, recovery) = open(&fs.after_kill());
    assert_eq!((recovery.damages, kept(&mut log, 1)), (0, expected));
    // Retention by age is not stopped by segments in which nothing is left.
    let options = LogOptions { retain_age: Some(std::time::Duration::from_nanos(1)), ..small() };
    drop(log);
    let (mut log, _) = try_open(&fs.after_kill(), options).unwrap();
    log.retain(at(1000));
    assert_eq!(log.first(), 301);
}

#[test]
fn who_reads_the_old_segment_goes_on_in_it() {
    let (_fs, mut log) = filled(100, 1);
    let mut reader = log.reader();
    let blocks: Vec<_> = reader.read(1, u64::MAX, 4000).unwrap().collect();
    let copies: Vec<Vec<u8>> = blocks.iter().map(|b| b.to_vec()).collect();
    compact(&mut log, |local| local > 50, 1 << 20);
    assert!(blocks.iter().zip(&copies).all(|(block, copy)| **block == **copy));
    // The reader goes on where it was: the old segment is let go with its end.
    let next = blocks.last().unwrap().next();
    let (mut served, mut from) = (Vec::new(), next);
    while from < log.next() {
        for found in reader.read(from, u64::MAX, 1000).unwrap() {
            served.push(found.first());
            from = found.next();
        }
    }
    assert!(served.is_sorted() && (51..=100).all(|local| served.contains(&local)));
}

#[test]
fn too_little_to_gain_changes_nothing() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 200);
    log.syncer().sync().unwrap();
    assert_eq!(compact(&mut log, |local| local % 20 != 0, 1 << 20), (0, 0, 0));
    assert!(compact(&mut log, |local| local % 4 != 0, 1 << 20).0 > 0);
}

#[test]
fn a_damaged_segment_stays_as_it_is_and_a_full_disk_too() {
    let (fs, log) = filled(200, 1);
    log.close().unwrap();
    let fs = fs.after_kill();
    fs.flip(&segment_path(2), HEAD + 300, 0).unwrap();
    let before = fs.get(&segment_path(2)).unwrap();
    let (mut log, _) = try_open(&fs, any_change()).unwrap();
    let told = log.compact(&mut |_, _, _| false, ByteCount::mib(1)).unwrap();
    assert!(told.done && told.damaged == 1 && told.segments > 1, "{told:?}");
    assert_eq!(fs.get(&segment_path(2)).unwrap(), before);
    drop(log);
    let (fs, mut log) = filled(200, 1);
    fs.set_capacity(1);
    let error = log.compact(&mut |_, _, _| false, ByteCount::mib(1)).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(kept(&mut log, 1).len(), 200);
    fs.set_capacity(1 << 30);
    assert!(compact(&mut log, |_| false, 1 << 20).0 > 0);
}

#[test]
fn the_end_of_a_batch_stays_as_a_shell() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, any_change()).unwrap();
    let parts = [1, 2, 3].map(|n| flagged(n, 1, 300, if n < 3 { BATCH_OPEN } else { BATCH_LAST }));
    log.append_batch(&[&parts[0], &parts[1], &parts[2]], at(0)).unwrap();
    append(&mut log, 100);
    log.syncer().sync().unwrap();
    compact(&mut log, |_| false, 1 << 20);
    let shell = log.reader().read(1, u64::MAX, 1).unwrap().next().unwrap();
    assert_eq!((shell.first(), shell.block().flags() & BATCH_LAST), (3, BATCH_LAST));
    assert!(shell.block().events().all(|event| event.is_removed()));
    assert_eq!(compact(&mut log, |_| false, 1 << 20), (0, 0, 0), "once is enough");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Passes with any budgets and any choices, each a part of the last one:
    /// what is kept is what was never refused.
    #[test]
    fn any_passes(seeds in prop::collection::vec((any::<u64>(), 200_u64..20_000), 1..5), events in 1_u64..5) {
        let (fs, mut log) = filled(150, events);
        let last = log.next();
        let mut stays: Vec<u64> = (1..last).collect();
        for (seed, budget) in seeds {
            let keeps = |local: u64| !(local ^ seed).count_ones().is_multiple_of(3);
            compact(&mut log, keeps, budget);
            let now = kept(&mut log, 1);
            let active = stays.iter().copied().find(|local| !keeps(*local) && now.binary_search(local).is_ok());
            let active = active.unwrap_or(last);
            stays.retain(|local| *local >= active || keeps(*local));
            prop_assert_eq!(&now, &stays);
        }
        let (mut again, recovery) = try_open(&fs.after_kill(), any_change()).unwrap();
        prop_assert_eq!((recovery.damages, recovery.next), (0, last));
        prop_assert_eq!(kept(&mut again, 1), stays);
    }
}

#[test]
fn who_verifies_goes_on_in_the_segment_that_compaction_put_there() {
    let (_, mut log) = filled(200, 3);
    log.verify_step(ByteCount(2000));
    compact(&mut log, |local| local % 7 != 0, 1 << 20);
    loop {
        let verified = log.verify_step(ByteCount(2000));
        assert_eq!(verified.damaged, []);
        if verified.done {
            break;
        }
    }
}
