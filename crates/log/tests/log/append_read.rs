//! Appending, reading, retention and deleting, on a file system that does what
//! it should.

use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::{AppendError, LogOptions, OpenError, ReadError, SyncError};

use crate::common::*;

#[test]
fn what_is_appended_is_read_in_order_across_segments_and_openings() {
    let fs = FaultFs::new();
    for opening in 0..4 {
        let (mut log, recovery) = open(&fs);
        assert_eq!((recovery.first, recovery.next), (1, 1 + 100 * opening));
        assert_eq!((recovery.blocks, recovery.events), (100 * opening, 100 * opening));
        assert_eq!((recovery.damages, recovery.cut_bytes), (0, 0), "{:?}", recovery.damaged);
        append(&mut log, 100);
        let expected: Vec<u64> = (1..=100 * (opening + 1)).collect();
        assert_eq!(read_all(&mut log.reader(), 1), (expected, vec![]));
        assert_eq!(log.syncer().sync().unwrap(), log.next());
        assert_eq!(log.synced(), log.next());
    }
}

#[test]
fn sequences_count_events_and_a_read_begins_with_the_block_that_holds_the_one_asked_for() {
    let (mut log, _) = open(&FaultFs::new());
    for first in [1, 11, 21] {
        log.append(&block(first, 10, 16, 0), at(0)).unwrap();
    }
    assert_eq!((log.first(), log.next(), log.synced()), (1, 31, 1));
    let mut reader = log.reader();
    let mut firsts =
        |from, upto, max| -> Vec<u64> { reader.read(from, upto, max).unwrap().map(|b| b.first()).collect() };
    assert_eq!(firsts(1, 31, usize::MAX), [1, 11, 21]);
    assert_eq!(firsts(15, 31, usize::MAX), [11, 21]);
    assert_eq!(firsts(20, 31, 0), [11], "at least one");
    assert_eq!(firsts(1, 30, usize::MAX), [1, 11], "the last one holds an event that was not asked for");
    assert_eq!(firsts(21, 21, usize::MAX), []);
    assert_eq!(firsts(31, u64::MAX, usize::MAX), [], "nothing yet");
    assert_eq!(firsts(99, u64::MAX, usize::MAX), []);
    let len = block(1, 10, 16, 0).len();
    assert_eq!(firsts(1, 31, 2 * len), [1, 11]);
    assert_eq!(firsts(1, 31, 2 * len - 1), [1]);
}

#[test]
fn a_reader_goes_on_from_any_place_to_any_place() {
    let (mut log, _) = open(&FaultFs::new());
    append(&mut log, 300);
    let mut reader = log.reader();
    for from in (1..=300).rev().chain([1, 300, 150, 151, 149, 2]) {
        let found = reader.read(from, u64::MAX, 1).unwrap().next().unwrap();
        assert_eq!(found.first(), from);
    }
}

#[test]
fn the_copy_differs_from_the_block_only_in_its_place_in_the_stream() {
    let (mut log, _) = open(&FaultFs::new());
    let original = block(1, 3, 50, 9);
    log.append(&block(0, 1, 50, 9), at(0)).unwrap();
    log.append(&original, at(0)).unwrap();
    let stored = log.reader().read(2, u64::MAX, 1).unwrap().next().unwrap();
    let mut expected = original;
    let place = weft_wire::block::StreamPlace { local: 2, home: 1, home_sequence: 2 };
    weft_wire::block::set_stream_place(&mut expected, place).unwrap();
    assert_eq!(*stored, *expected);
    assert!(stored.as_ptr().addr().is_multiple_of(8), "payloads are read in place");
}

#[test]
fn a_time_is_found_though_clocks_differ() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    // Times 10, 20, 30 … but every third is 15 behind.
    let time = |n: u64| 10 * n - if n.is_multiple_of(3) { 15 } else { 0 };
    for n in 1..=200 {
        log.append(&block(n, 1, 100, time(n)), at(0)).unwrap();
    }
    for round in 0..2 {
        let mut reader = log.reader();
        for wanted in 0..2010 {
            let expected = (1..=200).find(|n| time(*n) >= wanted).unwrap_or(201);
            assert_eq!(reader.seek_time(UnixNanos(wanted)), expected, "time {wanted}");
        }
        if round == 0 {
            log.close().unwrap();
            log = open(&fs).0;
        }
    }
}

#[test]
fn for_each_block_sees_all_from_there_on() {
    let (mut log, _) = open(&FaultFs::new());
    append(&mut log, 200);
    let mut seen = Vec::new();
    log.for_each_block(50, |block| seen.push(block.stream_sequence())).unwrap();
    assert_eq!(seen, (50..=200).collect::<Vec<_>>());
}

#[test]
fn what_is_no_block_or_too_large_is_refused_and_changes_nothing() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 1);
    let good = block(2, 1, 100, 0);
    let mut longer = good.clone();
    longer.extend([0; 8]);
    let mut unstamped = good.clone();
    unstamped[64..128].fill(0);
    for bad in [&[][..], &good[..good.len() - 8], &good[..3], &longer, &unstamped, &[0; 256]] {
        let error = log.append(bad, at(0)).unwrap_err();
        assert!(matches!(error, AppendError::NotABlock { .. }), "{error}");
    }
    let error = log.append(&block(2, 1, 9000, 0), at(0)).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { limit: 8192, .. }), "{error}");
    append(&mut log, 1);
    drop(log);
    assert_eq!(open(&fs.after_kill()).1.blocks, 2);
}

#[test]
fn retention_by_size_removes_the_oldest_segments_and_a_held_block_stays_readable() {
    let fs = FaultFs::new();
    let options = LogOptions { retain_bytes: Some(ByteCount::kib(40)), ..small() };
    let (mut log, _) = try_open(&fs, options).unwrap();
    append(&mut log, 30);
    let mut reader = log.reader();
    let held = reader.read(1, u64::MAX, 1).unwrap().next().unwrap();
    let copy = held.to_vec();
    append(&mut log, 300);
    let before = log.bytes();
    let removed = log.retain(at(1000));
    assert!(removed > 3 && log.bytes() <= 40 << 10 && log.bytes() < before);
    assert_eq!(log.retain(at(1000)), 0);
    let first = log.first();
    let gone = reader.read(first - 1, u64::MAX, 1).unwrap_err();
    assert!(matches!(gone, ReadError::Gone { first: f } if f == first), "{gone}");
    assert_eq!(read_all(&mut reader, first).0, (first..=330).collect::<Vec<_>>());
    assert!(fs.list(&dir()).unwrap().contains(&"0000000001.seg".to_owned()), "only the syncer removes files");
    log.syncer().sync().unwrap();
    assert!(!fs.list(&dir()).unwrap().contains(&"0000000001.seg".to_owned()));
    assert_eq!(*held, *copy);
    drop(log);
    assert_eq!(open(&fs.after_kill()).1.first, first);
}

#[test]
fn retention_by_age_may_empty_the_log_but_never_forgets_the_sequence() {
    let fs = FaultFs::new();
    let options = LogOptions { retain_age: Some(Duration::from_secs(60)), ..small() };
    let (mut log, _) = try_open(&fs, options.clone()).unwrap();
    for n in 1..=200 {
        log.append(&block(n, 1, 100, at(n).wall.0), at(n)).unwrap();
    }
    log.syncer().sync().unwrap();
    assert_eq!(log.retain(at(60)), 0);
    let removed = log.retain(at(200));
    assert!(removed > 0 && log.first() <= 140 && log.first() > 60, "{removed} {}", log.first());
    log.retain(at(10_000));
    assert_eq!((log.first(), log.next()), (201, 201));
    // Without a commit, which would sync the new segment's header too.
    log.syncer().prepare();
    // The names of the removed files may be back after a crash, or not.
    drop(log);
    for seed in 0..20 {
        let (mut log, recovery) = try_open(&fs.after_crash(seed), options.clone()).unwrap();
        assert_eq!((recovery.next, recovery.damages), (201, 0), "{:?}", recovery.damaged);
        log.retain(at(10_000));
        assert_eq!(log.first(), 201);
        append(&mut log, 1);
    }
}

#[test]
fn a_deleted_log_leaves_nothing_but_other_peoples_files() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 300);
    let syncer = log.syncer();
    log.delete().unwrap();
    assert!(matches!(syncer.sync(), Err(SyncError::Closed)));
    assert!(fs.list(&dir()).is_err(), "{:?}", fs.list(&dir()));
    let (mut log, recovery) = open(&fs);
    assert_eq!(recovery.next, 1);
    append(&mut log, 3);
    fs.put(&dir().join("notes.txt"), b"mine".to_vec());
    log.delete().unwrap();
    assert_eq!(fs.list(&dir()).unwrap(), ["notes.txt"]);
}

#[test]
fn options_that_cannot_work_are_all_named() {
    let options = LogOptions { segment: ByteCount(5000), index_every: ByteCount(0), max_block: 1 << 30, ..small() };
    let error = try_open(&FaultFs::new(), options).unwrap_err();
    assert!(matches!(error, OpenError::BadOptions { .. }));
    let text = error.to_string();
    for name in ["max_block", "segment", "index_every"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn options_may_change_from_one_opening_to_the_next() {
    let fs = FaultFs::new();
    let sizes = [16_u64, 64, 20, 32].map(|kib| LogOptions { segment: ByteCount::kib(kib), ..small() });
    for (n, options) in sizes.into_iter().enumerate() {
        let (mut log, recovery) = try_open(&fs, options).unwrap();
        assert_eq!((recovery.blocks, recovery.damages), (200 * n as u64, 0));
        append(&mut log, 200);
        log.syncer().sync().unwrap();
    }
}
