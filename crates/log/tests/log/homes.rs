//! Events of several homes in one log: their names, positions as vectors, and
//! atomic batches and floors as far as they concern what is there.

use weft_log::fault::FaultFs;
use weft_log::{AppendError, Log, ReadError};
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

/// A log in which the events of three homes alternate, those of home 9 with
/// gaps; also each event's home and home sequence.
fn mixed(fs: &FaultFs, events: u64) -> (Log, Vec<(u32, u64)>) {
    let (mut log, _) = open(fs);
    let (mut names, mut of_nine) = (Vec::new(), 1);
    while log.next() <= events {
        let next = log.next();
        let count = 1 + next % 3;
        let bytes = block(next, count, 60, next);
        let (home, first) = match next % 5 {
            0 | 1 => (1, log.append(&bytes, at(0)).unwrap().home_sequence),
            2 | 3 => (9, log.append_copy(&bytes, 9, of_nine, at(0)).unwrap().home_sequence),
            _ => (4, {
                let position = log.position();
                let due = position.iter().find(|p| p.0 == 4).map_or(1, |p| p.1);
                log.append_copy(&bytes, 4, due, at(0)).unwrap().home_sequence
            }),
        };
        if home == 9 {
            of_nine = first + count + 2;
        }
        names.extend((first..first + count).map(|sequence| (home, sequence)));
    }
    (log, names)
}

fn vector(names: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let mut vector = std::collections::BTreeMap::new();
    for (home, sequence) in names {
        vector.insert(*home, sequence + 1);
    }
    vector.into_iter().collect()
}

#[test]
fn each_place_has_its_vector_and_each_name_its_place_also_after_reopening() {
    let fs = FaultFs::new();
    let (mut log, names) = mixed(&fs, 400);
    for round in 0..3 {
        assert_eq!(log.position(), vector(&names), "round {round}");
        let mut reader = log.reader();
        for local in 1..=log.next() {
            assert_eq!(reader.position_at(local).unwrap(), vector(&names[..local as usize - 1]), "at {local}");
        }
        for home in [1, 4, 9, 77] {
            for wanted in 1..200 {
                let found = names.iter().position(|(of, sequence)| *of == home && *sequence >= wanted);
                let found = found.map(|at| at as u64 + 1);
                assert_eq!(reader.find(home, wanted).unwrap(), found, "home {home}, sequence {wanted}");
            }
        }
        let read: Vec<_> = {
            let mut read = Vec::new();
            let mut from = 1;
            while from < log.next() {
                for found in reader.read(from, u64::MAX, 4096).unwrap() {
                    let (home, first) = found.home();
                    read.extend((0..found.next() - found.first()).map(|i| (home, first + i)));
                    from = found.next();
                }
            }
            read
        };
        assert_eq!(read, names);
        if round == 0 {
            log.close().unwrap();
            log = open(&fs).0;
        } else if round == 1 {
            log.syncer().sync().unwrap();
            drop(log);
            log = open(&fs.after_crash(3)).0;
        }
    }
}

#[test]
fn a_copy_of_what_is_there_is_refused_and_says_what_is_next() {
    let (mut log, _) = open(&FaultFs::new());
    log.append_copy(&block(1, 3, 60, 1), 9, 5, at(0)).unwrap();
    for there in [1, 5, 7] {
        let error = log.append_copy(&block(1, 3, 60, 1), 9, there, at(0)).unwrap_err();
        assert!(matches!(error, AppendError::AlreadyThere { home: 9, next: 8, .. }), "{error}");
    }
    for (home, sequence) in [(0, 1), (9, 0), (9, u64::MAX)] {
        let error = log.append_copy(&block(1, 3, 60, 1), home, sequence, at(0)).unwrap_err();
        assert!(matches!(error, AppendError::NoHome { .. }), "{error}");
    }
    assert_eq!(log.next(), 4);
    log.append_copy(&block(4, 3, 60, 1), 9, 20, at(0)).unwrap();
    // Its own events of an earlier life come back, and it goes on after them.
    log.append_copy(&block(7, 1, 60, 1), 1, 40, at(0)).unwrap();
    assert_eq!(log.append(&block(8, 1, 60, 1), at(0)).unwrap().home_sequence, 41);
    assert_eq!(log.position(), [(1, 42), (9, 23)]);
}

#[test]
fn a_batch_that_is_none_is_refused() {
    let (mut log, _) = open(&FaultFs::new());
    let open = flagged(1, 1, 60, BATCH_OPEN);
    let last = flagged(2, 1, 60, BATCH_LAST);
    let (both, none) = (flagged(1, 1, 60, BATCH_OPEN | BATCH_LAST), block(1, 1, 60, 1));
    for bad in [&[][..], &[&open], &[&open, &open], &[&last, &last], &[&both], &[&open, &none], &[&none, &last]] {
        let bad: Vec<&[u8]> = bad.iter().map(|b| b.as_slice()).collect();
        let error = log.append_batch(&bad, at(0)).unwrap_err();
        assert!(matches!(error, AppendError::BadBatch { .. }), "{error}");
    }
    assert!(matches!(log.append(&open, at(0)), Err(AppendError::BadBatch { .. })));
    assert!(matches!(log.append_copy(&open, 3, 3, at(0)), Err(AppendError::BadBatch { .. })));
    let large = flagged(1, 1, 7000, BATCH_OPEN);
    let error = log.append_batch(&[&large, &large, &last], at(0)).unwrap_err();
    assert!(matches!(error, AppendError::BatchTooLarge { limit: 12288, .. }), "{error}");
    assert_eq!(log.next(), 1);
    let appended = log.append_batch(&[&open, &open, &last], at(0)).unwrap();
    assert_eq!((appended.first, appended.next, appended.home_sequence), (1, 4, 1));
    let appended = log.append_copied_batch(&[(&open, 7), (&last, 9)], 5, at(0)).unwrap();
    assert_eq!((appended.first, appended.next, appended.home_sequence), (4, 6, 7));
    assert_eq!(log.position(), [(1, 4), (5, 10)]);
}

#[test]
fn what_is_below_the_floor_is_gone_at_once_and_its_segments_with_the_next_retention() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 200);
    log.syncer().sync().unwrap();
    let files = fs_files(&fs);
    log.set_floor(100);
    log.set_floor(50);
    assert_eq!(log.first(), 100);
    let gone = log.reader().read(99, u64::MAX, 1).map(|_| ()).unwrap_err();
    assert!(matches!(gone, ReadError::Gone { first: 100 }), "{gone}");
    assert_eq!(read_all(&mut log.reader(), 100).0.len(), 101);
    assert!(log.retain(at(1000)) > 0);
    log.syncer().prepare();
    assert!(fs_files(&fs) < files && log.first() == 100);
    // All of it, also the segment in use; a floor beyond the end is the end.
    log.set_floor(1000);
    assert!(log.retain(at(1000)) > 0);
    assert_eq!((log.first(), log.next()), (201, 201));
    assert_eq!(log.retain(at(1000)), 0, "an empty segment stays");
    append(&mut log, 5);
    assert_eq!(read_all(&mut log.reader(), 201).0.len(), 5);
}

#[test]
fn retention_by_count_keeps_at_least_so_many_events() {
    let (mut log, _) = try_open(&FaultFs::new(), weft_log::LogOptions { retain_events: Some(100), ..small() }).unwrap();
    for _ in 0..20 {
        append(&mut log, 30);
        log.retain(at(0));
        let kept = log.next() - log.first();
        assert!(kept >= 100.min(log.next() - 1) && kept < 100 + 60, "{kept}");
    }
}

fn fs_files(fs: &FaultFs) -> usize {
    weft_log::fs::Fs::list(fs, &dir()).unwrap().iter().filter(|name| name.ends_with(".seg")).count()
}
