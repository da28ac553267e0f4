//! Encryption at rest: nothing of a payload or topic is on the disk, every
//! changed bit and every record that was moved is damage, and keys rotate.

use std::path::Path;
use std::time::Duration;

use weft_base::ByteCount;
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::offline::{self, OfflineError, Options, Repair, Writer, WriterOptions};
use weft_log::{AppendError, Keys, KeysError, LogOptions, MAX_KEYS, OpenError};
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

pub(crate) const HEAD: usize = 4096;
pub(crate) const TRAILER: usize = 24;
/// Where the salt stands in a segment: twice, so many bytes.
const SALTS: [usize; 2] = [1536, 3584];
const SALT: usize = 40;

fn key(digit: char) -> String {
    String::from(digit).repeat(64)
}

fn keys(digits: &str) -> Keys {
    let lines: Vec<_> = digits.chars().map(key).collect();
    Keys::parse(&lines.join("\n")).unwrap()
}

pub(crate) fn with(digits: &str) -> LogOptions {
    LogOptions { keys: Some(keys(digits)), compact_percent: 0, ..small() }
}

pub(crate) fn segments(fs: &FaultFs) -> Vec<(u64, Vec<u8>)> {
    let number = |name: &String| name.strip_suffix(".seg").and_then(|n| n.parse::<u64>().ok());
    let mut numbers: Vec<u64> = fs.list(&dir()).unwrap().iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|n| (n, fs.read(&segment_path(n), usize::MAX).unwrap())).collect()
}

/// Where the records of a segment begin, and their lengths, by their headers.
pub(crate) fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (HEAD, Vec::new());
    while let Some(len) = bytes.get(at..at + 4).map(|l| u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize)
        && len > 0
    {
        found.push((at, len + TRAILER));
        at += len + TRAILER;
    }
    found
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn what_is_read_is_what_was_written_and_the_disk_holds_nothing_of_it() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 200);
    assert_eq!(read_all(&mut log.reader(), 1), ((1..=200).collect(), vec![]));
    log.syncer().sync().unwrap();
    log.close().unwrap();
    for (number, bytes) in segments(&fs) {
        assert!(!has(&bytes, b"test/events"), "the topic is in segment {number}");
        for (at, len) in records(&bytes) {
            let event = u64::from_le_bytes(bytes[at + 104..at + 112].try_into().unwrap());
            assert!(!has(&bytes[at + 128..at + len], &event.to_le_bytes()), "event {event} is in segment {number}");
            assert_eq!(bytes.get(at + 60..at + 64), Some(&[0; 4][..]), "a checksum of the plain text is in clear");
        }
    }
    for check_all in [false, true] {
        let options = LogOptions { check_all, ..with("a") };
        let (log, recovery) = try_open(&fs.after_kill(), options).unwrap();
        assert_eq!((recovery.damages, recovery.events), (0, 200));
        assert_eq!(read_all(&mut log.reader(), 1), ((1..=200).collect(), vec![]));
    }
}

#[test]
fn every_changed_bit_is_damage_and_never_served() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 5);
    log.close().unwrap();
    let (number, bytes) = segments(&fs).remove(0);
    let (start, len) = records(&bytes)[2];
    for at in (start..start + len).step_by(7) {
        let changed = fs.after_kill();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        changed.write(&segment_path(number), &flipped).unwrap();
        let (log, recovery) = try_open(&changed, LogOptions { check_all: true, ..with("a") }).unwrap();
        assert!(recovery.damages > 0, "byte {} of the record", at - start);
        let (served, damages) = read_all(&mut log.reader(), 1);
        assert_eq!((served, damages), (vec![1, 2, 4, 5], vec![(3, 4)]), "byte {} of the record", at - start);
    }
}

#[test]
fn without_the_key_nothing_is_opened_and_nothing_changes() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 100);
    log.syncer().sync().unwrap();
    drop(log);
    let before = segments(&fs);
    for options in [small(), with("b")] {
        let error = try_open(&fs, options).unwrap_err();
        assert!(matches!(error, OpenError::NoKey { .. }), "{error}");
        assert!(error.to_string().contains("key_file") && !error.to_string().contains(&key('a')), "{error}");
    }
    assert_eq!(segments(&fs), before);
    let surveyed = offline::survey(&fs, &dir(), Options::default(), &mut |_| {});
    assert!(matches!(surveyed, Err(OfflineError::NoKey { .. })));
    let keys = keys("ba");
    let mut events = 0;
    let options = Options { keys: Some(&keys), ..Options::default() };
    let survey = offline::survey(&fs, &dir(), options, &mut |at| {
        assert_eq!(at.block.topic(), "test/events");
        events += at.block.event_count();
    });
    assert!(survey.unwrap().is_sound());
    assert_eq!(events, 100);
}

#[test]
fn keys_are_taken_as_they_are_meant_and_never_shown() {
    let two = Keys::parse(&format!("# old\n\n{}\n{}\n", key('a'), key('b'))).unwrap();
    assert_eq!(format!("{two:?}"), "Keys(2)");
    for (text, why) in [
        (String::new(), "there is no key"),
        ("abc".to_owned(), "line 1"),
        (format!("{}\n{}", key('a'), key('g')), "line 2"),
        (format!("{}\n{}", key('a'), key('A')), "line 2 repeats"),
        (format!("{}0", key('a')), "line 1"),
        (key('é'), "line 1"),
    ] {
        let error = Keys::parse(&text).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains(&key('a')), "{error}");
    }
    let many: Vec<String> = (0..=MAX_KEYS).map(|n| format!("{n:064x}")).collect();
    assert_eq!(Keys::parse(&many.join("\n")), Err(KeysError::TooMany));
    assert!(Keys::parse(&many[1..].join("\n")).is_ok());
    assert!(!format!("{:?}", with("ab")).contains(&key('a')), "options are shown, keys are not");
}

#[test]
fn keys_rotate_and_plain_segments_stay_readable() {
    let fs = FaultFs::new();
    let mut expected = 0;
    for options in [small(), with("a"), with("ba"), with("cba")] {
        let (mut log, recovery) = try_open(&fs, options).unwrap();
        assert_eq!((recovery.damages, recovery.next), (0, expected + 1));
        append(&mut log, 30);
        expected += 30;
        assert_eq!(read_all(&mut log.reader(), 1), ((1..=expected).collect(), vec![]));
        log.close().unwrap();
    }
    assert!(matches!(try_open(&fs, with("cb")), Err(OpenError::NoKey { .. })));
    // Compaction writes with the first key, so that the others can go.
    let (mut log, _) = try_open(&fs, with("cba")).unwrap();
    append(&mut log, 1);
    log.syncer().sync().unwrap();
    while !log.compact(&mut |local, _, _| local % 2 == 0 || local == 121, ByteCount::mib(1)).unwrap().done {}
    let kept: Vec<u64> = (1..=121).filter(|local| local % 2 == 0 || *local == 121).collect();
    assert_eq!(read_all(&mut log.reader(), 1).0, kept);
    log.close().unwrap();
    let (log, recovery) = try_open(&fs, LogOptions { check_all: true, ..with("c") }).unwrap();
    assert_eq!(recovery.damages, 0);
    assert_eq!(read_all(&mut log.reader(), 1).0, kept);
    assert!(segments(&fs).iter().all(|(_, bytes)| !has(bytes, b"test/events")));
}

#[test]
fn the_format_version_says_that_there_is_encryption() {
    let fs = FaultFs::new();
    let format = |fs: &FaultFs| String::from_utf8(fs.read(&dir().join("FORMAT"), 64).unwrap()).unwrap();
    let (mut log, _) = open(&fs);
    append(&mut log, 1);
    log.close().unwrap();
    assert_eq!(format(&fs), "weft-log 2\n");
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    assert_eq!(format(&fs), "weft-log 2\n", "until there is an encrypted segment");
    append(&mut log, 1);
    log.close().unwrap();
    assert_eq!(format(&fs), "weft-log 3\n");
}

#[test]
fn idle_restarts_make_no_segments() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 1);
    log.close().unwrap();
    for _ in 0..3 {
        let (log, _) = try_open(&fs, with("a")).unwrap();
        assert_eq!(log.next(), 2);
        log.close().unwrap();
    }
    assert_eq!(segments(&fs).len(), 1);
    assert!(segments(&fs)[0].1.len() < 8192, "what is not used any more is given back");
}

#[test]
fn a_backup_can_be_encrypted_and_fills_the_hole_of_an_encrypted_log() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 20);
    let other = Path::new("/backup");
    let options = WriterOptions { segment: 16 << 10, compacted: false, keys: Some(keys("a")) };
    let mut writer = Writer::open(&fs, other, options).unwrap();
    log.for_each_block(1, |block| writer.push(block.bytes()).unwrap()).unwrap();
    writer.finish().unwrap();
    log.close().unwrap();
    let (number, mut bytes) = segments(&fs).remove(0);
    let (start, _) = records(&bytes)[4];
    let salt = bytes[1536..1576].to_vec();
    bytes[start + 200] ^= 1;
    fs.write(&segment_path(number), &bytes).unwrap();
    let keys = keys("a");
    let plan = Repair::plan(&fs, &dir(), Some(other), Some(&keys)).unwrap();
    let done = plan.apply(at(2000).wall).unwrap();
    assert_eq!((done.restored, done.rewritten), (1, 1));
    let (_, bytes) = segments(&fs).remove(0);
    assert_ne!(bytes[1536..1576], salt[..], "the same salt for other bytes");
    let (log, recovery) = try_open(&fs, LogOptions { check_all: true, ..with("a") }).unwrap();
    assert_eq!(recovery.damages, 0);
    assert_eq!(read_all(&mut log.reader(), 1), ((1..=20).collect(), vec![]));
}

/// A closed log of one segment with these records.
fn closed(key: &str, count: u64) -> (FaultFs, u64, Vec<u8>) {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with(key)).unwrap();
    append(&mut log, count);
    log.close().unwrap();
    let (number, bytes) = segments(&fs).remove(0);
    (fs, number, bytes)
}

/// What is served of a segment that was changed, and which damage is met.
fn served(fs: &FaultFs, number: u64, bytes: &[u8]) -> (Vec<u64>, Vec<(u64, u64)>) {
    let changed = fs.after_kill();
    changed.write(&segment_path(number), bytes).unwrap();
    let (log, _) = try_open(&changed, with("a")).unwrap();
    read_all(&mut log.reader(), 1)
}

#[test]
fn a_record_that_was_moved_is_damage() {
    let (fs, number, bytes) = closed("a", 6);
    let at = records(&bytes);
    let ((second, len), (third, _)) = (at[1], at[2]);
    assert_eq!(served(&fs, number, &bytes), ((1..=6).collect(), vec![]));
    // Within its segment: as it is, and with its sequence made to fit.
    for renamed in [false, true] {
        let mut moved = bytes.clone();
        moved.copy_within(second..second + len, third);
        if renamed {
            // The header's checksum is not needed to be told: it is the tag that fails.
            moved[third..third + 128].copy_from_slice(&bytes[third..third + 128]);
        }
        assert_eq!(served(&fs, number, &moved), (vec![1, 2, 4, 5, 6], vec![(3, 4)]), "{renamed}");
    }
    // From another log with the same key, to the same place.
    let (_, _, other) = closed("a", 6);
    assert_eq!(other[second..second + 128], bytes[second..second + 128], "the headers are the same");
    let mut moved = bytes.clone();
    moved[second..second + len].copy_from_slice(&other[second..second + len]);
    assert_eq!(served(&fs, number, &moved), (vec![1, 3, 4, 5, 6], vec![(2, 3)]));
}

#[test]
fn one_copy_of_a_salt_is_enough_and_the_other_is_mended() {
    let (fs, number, bytes) = closed("a", 6);
    let keys = keys("a");
    for slot in SALTS {
        for at in [slot, slot + 9, slot + 20, slot + SALT - 8] {
            let mut half = bytes.clone();
            half[at] ^= 1;
            assert_eq!(served(&fs, number, &half), ((1..=6).collect(), vec![]), "byte {at}");
            let changed = fs.after_kill();
            changed.write(&segment_path(number), &half).unwrap();
            let options = Options { keys: Some(&keys), ..Options::default() };
            let look = |fs: &FaultFs| offline::survey(fs, &dir(), options, &mut |_| {}).unwrap();
            let found = look(&changed);
            assert!(!found.is_sound() && found.events == 6, "byte {at}: {:?}", found.findings);
            Repair::plan(&changed, &dir(), None, Some(&keys)).unwrap().apply(at_time()).unwrap();
            assert!(look(&changed).is_sound(), "byte {at}: {:?}", look(&changed).findings);
            assert_eq!(segments(&changed)[0].1[slot..slot + SALT], bytes[slot..slot + SALT]);
        }
    }
}

fn at_time() -> weft_base::UnixNanos {
    at(2000).wall
}

#[test]
fn with_both_copies_of_a_salt_gone_nothing_is_served_and_nothing_goes() {
    let (fs, number, bytes) = closed("a", 6);
    let other = Path::new("/backup");
    fs.create_dir(other).unwrap();
    for name in fs.list(&dir()).unwrap() {
        fs.write(&other.join(&name), &fs.read(&dir().join(&name), usize::MAX).unwrap()).unwrap();
    }
    let mut gone = bytes.clone();
    for slot in SALTS {
        gone[slot + 16] ^= 1;
    }
    fs.write(&segment_path(number), &gone).unwrap();
    // Nobody takes it for a log without encryption.
    assert!(matches!(try_open(&fs, small()), Err(OpenError::NoKey { id: 0, .. })));
    let opened = fs.after_kill();
    let (mut log, _) = try_open(&opened, LogOptions { check_all: true, ..with("a") }).unwrap();
    assert_eq!(log.next(), 7);
    assert_eq!(read_all(&mut log.reader(), 1), (vec![], vec![(1, 7)]));
    append(&mut log, 2);
    log.close().unwrap();
    let end = records(&bytes).last().map_or(HEAD, |(at, len)| at + len);
    assert!(segments(&opened)[0].1[HEAD..end] == bytes[HEAD..end], "what cannot be read stays");
    // From a backup all of it comes back, under a salt of its own.
    let keys = keys("a");
    let done = Repair::plan(&fs, &dir(), Some(other), Some(&keys)).unwrap().apply(at_time()).unwrap();
    assert_eq!((done.restored, done.lost), (6, 0));
    let (log, recovery) = try_open(&fs, LogOptions { check_all: true, ..with("a") }).unwrap();
    assert_eq!((recovery.damages, read_all(&mut log.reader(), 1).0), (0, (1..=6).collect()));
    assert!(!has(&segments(&fs)[0].1, b"test/events"));
}

#[test]
fn a_repair_of_a_segment_that_lost_its_first_page_writes_nothing_in_clear() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 200);
    let other = Path::new("/backup");
    // A backup without encryption fills it all the same.
    let options = WriterOptions { segment: 16 << 10, compacted: false, keys: None };
    let mut writer = Writer::open(&fs, other, options).unwrap();
    log.for_each_block(1, |block| writer.push(block.bytes()).unwrap()).unwrap();
    writer.finish().unwrap();
    log.close().unwrap();
    assert!(has(&fs.read(&other.join("0000000002.seg"), usize::MAX).unwrap(), b"test/events"));
    let (number, mut bytes) = segments(&fs).remove(1);
    bytes[..HEAD].fill(0);
    fs.write(&segment_path(number), &bytes).unwrap();
    let keys = keys("a");
    for _ in 0..2 {
        Repair::plan(&fs, &dir(), Some(other), Some(&keys)).unwrap().apply(at_time()).unwrap();
    }
    for (number, bytes) in segments(&fs) {
        assert!(!has(&bytes, b"test/events"), "segment {number}");
    }
    let (log, recovery) = try_open(&fs, LogOptions { check_all: true, ..with("a") }).unwrap();
    assert_eq!((recovery.damages, read_all(&mut log.reader(), 1)), (0, ((1..=200).collect(), vec![])));
}

#[test]
fn damage_is_left_to_the_offline_repair_which_has_a_new_salt() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 200);
    log.close().unwrap();
    let fs = fs.after_kill();
    let (number, bytes) = segments(&fs).remove(0);
    fs.flip(&segment_path(number), records(&bytes)[3].0 + 200, 1).unwrap();
    let (log, _) = try_open(&fs, LogOptions { check_all: true, ..with("a") }).unwrap();
    let weft_log::Look::Not(why) = log.mender().look(number) else { panic!("nothing else may be sealed there") };
    assert!(why.contains("weft log repair --from"), "{why}");
}

#[test]
fn what_encryption_adds_counts_where_there_is_a_limit() {
    let four_a_page = |first| block(first, 1, 840, first);
    assert_eq!(four_a_page(1).len() + TRAILER, 1024);
    let two_pages = |max_block| LogOptions { max_block, segment: ByteCount::kib(8), ..with("a") };
    let (mut log, _) = try_open(&FaultFs::new(), two_pages(4096 - TRAILER)).unwrap();
    for first in 1..=8 {
        log.append(&four_a_page(first), at(1000)).unwrap();
    }
    assert_eq!(log.bytes(), 2 * 8192, "segments are filled to the last byte");
    let parts: Vec<_> = (9..14).map(|n| flagged(n, 1, 840, if n < 13 { BATCH_OPEN } else { BATCH_LAST })).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let refused = log.append_batch(&parts, at(1000)).unwrap_err();
    assert!(matches!(refused, AppendError::BatchTooLarge { len: 5120, limit: 4096 }), "{refused}");
    let largest = block(9, 1, 4096 - TRAILER - 160, 9);
    assert_eq!(largest.len(), 4096 - TRAILER);
    assert_eq!(log.append(&largest, at(1000)).unwrap().first, 9);
    let refused = try_open(&FaultFs::new(), two_pages(4096 - TRAILER + 8)).unwrap_err();
    assert!(matches!(refused, OpenError::BadOptions { .. }), "{refused}");
}

#[test]
fn a_batch_is_sealed_block_by_block_and_read_as_one() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    let parts = [flagged(1, 2, 100, BATCH_OPEN), flagged(3, 1, 100, BATCH_OPEN), flagged(4, 3, 100, BATCH_LAST)];
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    assert_eq!(log.append_batch(&parts, at(1000)).unwrap().next, 7);
    // One that is refused half-way leaves nothing, and its sequences are given again.
    let unstamped = {
        let mut bytes = flagged(8, 1, 100, BATCH_LAST);
        bytes[64..128].fill(0);
        bytes
    };
    let bad: [&[u8]; 2] = [&flagged(7, 1, 100, BATCH_OPEN), &unstamped];
    let before = segments(&fs);
    assert!(matches!(log.append_batch(&bad, at(1000)), Err(AppendError::NotABlock { .. })));
    assert!(segments(&fs) == before, "not a byte of the first one, under whose sequence another will be sealed");
    append(&mut log, 1);
    assert_eq!(read_all(&mut log.reader(), 1), ((1..=7).collect(), vec![]));
    log.close().unwrap();
    let (log, recovery) = try_open(&fs, LogOptions { check_all: true, ..with("a") }).unwrap();
    assert_eq!((recovery.damages, read_all(&mut log.reader(), 1).0), (0, (1..=7).collect()));
}

#[test]
fn segments_that_earlier_lives_left_empty_hold_retention_up_no_longer_than_others() {
    let fs = FaultFs::new();
    let options = LogOptions { retain_age: Some(Duration::from_secs(1)), ..with("a") };
    // The first life begins a segment and writes nothing; the second writes.
    try_open(&fs, options.clone()).unwrap().0.close().unwrap();
    let (mut log, _) = try_open(&fs, options).unwrap();
    append(&mut log, 40);
    assert_eq!(log.first(), 1);
    log.retain(at(5000));
    assert_eq!(log.first(), 41);
}
