//! A disk that is full, slow or failing, and folders that are not ours.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Clock, ManualClock, Mono, Now, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::{AppendError, Log, LogOptions, OpenError, SyncError};
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

const SEGMENT: u64 = 16 << 10;

/// A log on a disk of this many segments, appended to until it is full.
fn full_log(segments: u64) -> (FaultFs, weft_log::Log) {
    let fs = FaultFs::new();
    fs.set_capacity(segments * SEGMENT + 100);
    let (mut log, _) = open(&fs);
    for n in 1.. {
        match log.append(&block(n, 1, 100, n), at(1000)) {
            Ok(_) => {}
            Err(AppendError::DiskFull { need: SEGMENT, .. }) => return (fs, log),
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!()
}

fn later(millis: u64) -> Now {
    Now { mono: Mono(at(1000).mono.0 + millis * 1_000_000), wall: at(1000).wall }
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers_with_the_space() {
    let (fs, mut log) = full_log(3);
    let next = log.next();
    let refused = log.append(&block(next, 1, 100, 0), at(1000)).unwrap_err().to_string();
    assert!(refused.contains("/data/stream") && refused.contains("free some space"), "{refused}");
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..next).collect::<Vec<_>>());
    assert_eq!(log.syncer().sync().unwrap(), next, "what was appended can be synced");
    fs.set_capacity(6 * SEGMENT);
    // The disk is asked again 100 ms after it refused.
    assert!(log.append(&block(next, 1, 100, 0), later(99)).is_err());
    assert_eq!(log.append(&block(next, 1, 100, 0), later(100)).unwrap().first, next);
    append(&mut log, 60);
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..next + 61).collect::<Vec<_>>());
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let options = weft_log::LogOptions { retain_bytes: Some(weft_base::ByteCount(SEGMENT)), ..small() };
    let (mut log, _) = try_open(&full_log(3).0.after_kill(), options).unwrap();
    let next = log.next();
    assert!(log.append(&block(next, 1, 100, 0), later(0)).is_err());
    assert!(log.retain(later(0)) > 0);
    // The writer removes the files itself when it needs the space …
    assert!(log.append(&block(next, 1, 100, 0), later(100)).is_err());
    // … and has it the next time.
    assert_eq!(log.append(&block(next, 1, 100, 0), later(200)).unwrap().first, next);
}

#[test]
fn a_log_on_a_full_disk_opens_and_reads() {
    let (fs, log) = full_log(3);
    let next = log.next();
    drop(log);
    let (mut log, recovery) = open(&fs.after_kill());
    assert_eq!((recovery.next, recovery.damages), (next, 0));
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..next).collect::<Vec<_>>());
    assert!(matches!(log.append(&block(next, 1, 100, 0), at(1000)), Err(AppendError::DiskFull { .. })));
    // A new log too; it cannot take anything.
    let fs = FaultFs::new();
    fs.set_capacity(100);
    let (mut log, _) = open(&fs);
    assert!(matches!(log.append(&block(1, 1, 100, 0), at(1000)), Err(AppendError::DiskFull { .. })));
    fs.set_capacity(SEGMENT + 100);
    append_at(&mut log, later(100));
}

fn append_at(log: &mut weft_log::Log, now: Now) {
    let next = log.next();
    assert_eq!(log.append(&block(next, 1, 100, 0), now).unwrap().first, next);
}

#[test]
fn after_a_failed_sync_nothing_more_is_synced_or_appended_until_it_is_opened_again() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 5);
    let syncer = log.syncer();
    assert_eq!(syncer.sync().unwrap(), 6);
    append(&mut log, 5);
    fs.fail_sync(0);
    let failed = syncer.sync().unwrap_err();
    assert!(matches!(failed, SyncError::Failed { segment: 1, .. }), "{failed}");
    // The system would now say that all is well.
    let failed = syncer.sync().unwrap_err();
    assert!(matches!(&failed, SyncError::Poisoned { why } if why.contains("segment 1")), "{failed}");
    let refused = log.append(&block(11, 1, 100, 0), at(1000)).unwrap_err();
    assert!(refused.to_string().contains("open it again"), "{refused}");
    assert_eq!((log.synced(), log.next()), (6, 11));
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..=10).collect::<Vec<_>>(), "reads go on");
    assert!(matches!(log.close(), Err(SyncError::Poisoned { .. })));
    // Opened again in the same process: what was in doubt is written anew.
    let (mut log, recovery) = open(&fs);
    assert_eq!((recovery.next, log.synced()), (11, 11));
    assert!(matches!(syncer.sync(), Err(SyncError::Closed)), "the old handle is of no use");
    append(&mut log, 1);
    drop(log);
    for seed in 0..20 {
        assert!(open(&fs.after_crash(seed)).1.next >= 11, "seed {seed}");
    }
}

#[test]
fn a_slow_sync_keeps_nobody_from_appending_and_reading() {
    let fs = FaultFs::new();
    let clock = ManualClock::at(UnixNanos(0));
    let (mut log, _) = open(&fs);
    fs.slow_syncs(clock.clone(), Duration::from_secs(3));
    append(&mut log, 3);
    assert_eq!(log.syncer().commit().unwrap(), 4);
    assert_eq!(clock.now().mono, Mono(3_000_000_000), "one sync for three appends");
    append(&mut log, 1);
    assert_eq!(read_all(&mut log.reader(), 1).0, [1, 2, 3, 4]);
    assert_eq!(clock.now().mono, Mono(3_000_000_000), "neither waits for the disk");
}

#[test]
fn a_disk_that_turns_read_only_in_the_middle_of_a_commit_is_told_and_reads_go_on() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 60);
    // Two segments are to be synced: it turns read-only between them.
    fs.read_only_at(fs.operations() + 1);
    let error = log.syncer().sync().unwrap_err();
    let SyncError::Failed { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(error.to_string().contains("check the disk"), "{error}");
    assert_eq!(log.synced(), 1, "nothing is told to be on the disk");
    assert!(matches!(log.append(&block(61, 1, 100, 0), at(0)), Err(AppendError::Poisoned { .. })));
    assert_eq!(read_all(&mut log.reader(), 1).0.len(), 60);
    drop(log);
    assert!(try_open(&fs, small()).is_err(), "a log cannot be opened for writing there");
    let (log, recovery) = open(&fs.after_kill());
    assert_eq!((recovery.next, log.synced(), recovery.damages), (61, 61, 0));
}

#[test]
fn a_clock_that_is_set_back_a_day_removes_nothing_and_hides_nothing() {
    const DAY: u64 = 24 * 3600;
    let fs = FaultFs::new();
    let options = LogOptions { retain_age: Some(Duration::from_secs(60)), ..small() };
    let (mut log, _) = Log::open(Arc::new(fs.clone()), &dir(), options.clone(), at(10 * DAY)).unwrap();
    let nanos = |seconds: u64| seconds * 1_000_000_000;
    let add = |log: &mut Log, now: u64| {
        for _ in 0..100 {
            let next = log.next();
            log.append(&block(next, 1, 100, nanos(now)), at(now)).unwrap();
        }
        log.syncer().sync().unwrap();
    };
    add(&mut log, 10 * DAY);
    add(&mut log, 9 * DAY);
    assert_eq!(log.retain(at(9 * DAY + 30)), 0, "nothing is a minute old");
    assert_eq!(log.reader().seek_time(UnixNanos(nanos(9 * DAY))), 1, "all before are older");
    assert_eq!(log.reader().seek_time(UnixNanos(nanos(10 * DAY) + 1)), 201);
    log.close().unwrap();
    let (mut log, recovery) = Log::open(Arc::new(fs.clone()), &dir(), options, at(8 * DAY)).unwrap();
    assert_eq!((recovery.next, recovery.damages), (201, 0));
    add(&mut log, 8 * DAY);
    assert_eq!(log.retain(at(8 * DAY)), 0);
    assert_eq!(read_all(&mut log.reader(), 1).0.len(), 300);
    // Put right again, what is too old goes.
    assert!(log.retain(at(10 * DAY + 61)) > 0);
    assert_eq!(log.first(), 301);
}

#[test]
fn with_nothing_new_the_disk_is_not_asked_and_for_the_mark_once() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 3);
    let syncer = log.syncer();
    syncer.commit().unwrap();
    let before = fs.operations();
    for _ in 0..10 {
        assert_eq!(syncer.commit().unwrap(), 4);
    }
    assert_eq!(fs.operations(), before);
    for _ in 0..10 {
        syncer.settle().unwrap();
    }
    assert_eq!(fs.operations(), before + 1);
    append(&mut log, 1);
    fs.fail_sync(0);
    syncer.commit().unwrap_err();
    assert!(matches!(syncer.settle(), Err(SyncError::Poisoned { .. })));
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let fs = FaultFs::new();
    let format = dir().join("FORMAT");
    fs.put(&format, b"weft-log 4\n".to_vec());
    let error = try_open(&fs, small()).unwrap_err();
    assert!(matches!(error, OpenError::NewerVersion { found: 4, supported: 3, .. }), "{error}");
    assert_eq!((fs.operations(), fs.list(&dir()).unwrap().len()), (0, 1));
    // A segment alone may be newer as well.
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 100);
    log.close().unwrap();
    let fs = fs.after_kill();
    let newer = newer_header(fs.get(&segment_path(2)).unwrap());
    fs.put(&segment_path(2), newer.clone());
    let error = try_open(&fs, small()).unwrap_err();
    assert!(error.to_string().contains("0000000002.seg` has format version 4"), "{error}");
    assert_eq!(fs.get(&segment_path(2)).unwrap(), newer);
}

fn newer_header(mut segment: Vec<u8>) -> Vec<u8> {
    segment[8..12].copy_from_slice(&4_u32.to_le_bytes());
    let crc = weft_base::checksum::crc32c(&segment[..60]);
    segment[60..64].copy_from_slice(&crc.to_le_bytes());
    segment
}

#[test]
fn a_second_hub_is_refused_until_the_first_is_done() {
    let fs = FaultFs::new();
    let (log, _) = open(&fs);
    let (syncer, reader) = (log.syncer(), log.reader());
    let error = try_open(&fs, small()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }) && error.to_string().contains("stop it"), "{error}");
    drop(log);
    open(&fs);
    // Handles that are left do not hold it.
    assert!(matches!(syncer.sync(), Err(SyncError::Closed)));
    assert_eq!(reader.next(), 1);
}

#[test]
fn a_folder_that_is_no_log_is_refused() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 1);
    log.close().unwrap();
    fs.remove(&dir().join("FORMAT")).unwrap();
    let error = try_open(&fs, small()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    fs.put(&dir().join("FORMAT"), b"something else".to_vec());
    let error = try_open(&fs, small()).unwrap_err();
    assert!(matches!(error, OpenError::BadFormat { .. }), "{error}");
    fs.put(&dir().join("FORMAT"), b"weft-log 1\n".to_vec());
    assert_eq!(open(&fs).1.next, 2);
}

#[test]
fn a_file_too_short_for_a_segment_was_never_one() {
    for len in [0, 1, 4096] {
        let fs = FaultFs::new();
        let (mut log, _) = open(&fs);
        append(&mut log, 20);
        log.close().unwrap();
        let fs = fs.after_kill();
        fs.put(&segment_path(7), vec![0; len]);
        let (mut log, recovery) = open(&fs);
        assert_eq!((recovery.next, recovery.damages), (21, 0));
        append(&mut log, 200);
        drop(log);
        let (log, recovery) = open(&fs.after_kill());
        assert_eq!((recovery.next, recovery.damages), (221, 0), "{:?}", recovery.damaged);
        assert_eq!(read_all(&mut log.reader(), 1).0.len(), 220);
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_what_was_there() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 5);
    fs.fail_writes(Some(std::io::ErrorKind::Other));
    let refused = log.append(&block(6, 1, 100, 6), at(0)).unwrap_err();
    assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
    fs.fail_writes(None);
    // Nobody knows what else the disk did with it.
    assert!(log.append(&block(6, 1, 100, 6), at(0)).is_err() && log.syncer().sync().is_err());
    assert_eq!(read_all(&mut log.reader(), 1).0, [1, 2, 3, 4, 5]);
    drop(log);
    let after = fs.after_kill();
    let (mut log, _) = open(&after);
    assert_eq!(log.append(&block(6, 1, 100, 6), at(0)).unwrap().first, 6, "half a block lies there");
    drop(log);
    let (log, recovery) = open(&after.after_kill());
    assert_eq!((read_all(&mut log.reader(), 1).0, recovery.damages), (vec![1, 2, 3, 4, 5, 6], 0));
}

#[test]
fn a_batch_with_a_bad_block_leaves_nothing_behind_the_last_one() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 30);
    let (whole, mut bad) = (flagged(31, 1, 100, BATCH_OPEN), flagged(32, 1, 100, BATCH_LAST));
    // Never stamped by a hub.
    bad[64..128].fill(0);
    assert!(log.append_batch(&[&whole, &bad], at(0)).is_err());
    // Does not fit here, and so begins the next segment under the same sequence.
    assert_eq!(log.append(&block(31, 1, 6000, 31), at(0)).unwrap().first, 31);
    assert_eq!(log.syncer().commit().unwrap(), 32);
    drop(log);
    let (log, recovery) = open(&fs.after_kill());
    assert_eq!((recovery.damages, read_all(&mut log.reader(), 1).0), (0, (1..=31).collect()));
}
