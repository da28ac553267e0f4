//! Opening reads little, and what it does not read is found to be damaged by
//! those who read it; side files are believed only where they fit, and never
//! cost an event; a log of the version before is taken over.

use proptest::prelude::*;
use weft_base::ByteCount;
use weft_log::fault::FaultFs;
use weft_log::format::side_name;
use weft_log::fs::Fs;
use weft_log::mmap::HEAD;
use weft_log::{Damage, Log, LogOptions};

use crate::common::*;

fn filled(blocks: u64) -> (FaultFs, Log) {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    for _ in 0..blocks / 10 {
        append(&mut log, 10);
        log.syncer().sync().unwrap();
    }
    (fs, log)
}

fn sides(fs: &FaultFs) -> Vec<String> {
    let mut names: Vec<_> = fs.list(&dir()).unwrap().into_iter().filter(|name| name.ends_with(".idx")).collect();
    names.sort();
    names
}

#[test]
fn after_closing_no_block_is_read_and_after_a_kill_those_of_the_last_segment() {
    let (fs, log) = filled(600);
    let killed = fs.after_kill();
    let (after_kill, recovery) = open(&killed);
    assert!(recovery.checked_bytes > 0 && recovery.checked_bytes < 2 * (16 << 10), "{recovery:?}");
    assert_eq!((recovery.next, recovery.blocks, recovery.events), (601, 600, 600));
    assert_eq!(read_all(&mut after_kill.reader(), 1).0.len(), 600);
    log.close().unwrap();
    for _ in 0..2 {
        let (mut log, recovery) = open(&fs.after_kill());
        assert_eq!((recovery.checked_bytes, recovery.next, recovery.blocks), (0, 601, 600));
        assert_eq!(log.position(), [(1, 601)]);
        assert_eq!(read_all(&mut log.reader(), 1).0.len(), 600);
        append(&mut log, 20);
        assert_eq!(read_all(&mut log.reader(), 590).0.len(), 31);
    }
}

#[test]
fn what_is_appended_after_a_clean_opening_is_not_taken_for_nothing() {
    let (fs, log) = filled(100);
    log.close().unwrap();
    let (mut log, _) = open(&fs);
    append(&mut log, 3);
    drop(log);
    assert_eq!(open(&fs.after_kill()).1.next, 104, "killed before any sync");
    let (mut log, _) = open(&fs.after_kill());
    append(&mut log, 3);
    log.syncer().commit().unwrap();
    drop(log);
}

#[test]
fn a_side_file_that_is_gone_or_damaged_or_another_segments_costs_a_reading_and_nothing_else() {
    let (fs, log) = filled(300);
    log.close().unwrap();
    let names = sides(&fs);
    assert!(names.len() > 4, "{names:?}");
    for name in &names {
        let path = dir().join(name);
        let other = fs.get(&dir().join(if *name == names[0] { &names[1] } else { &names[0] })).unwrap();
        for wrong in [None, Some(Vec::new()), Some(vec![7; 90]), Some(other)] {
            let fs = fs.after_kill();
            match wrong {
                None => fs.remove(&path).unwrap(),
                Some(bytes) => fs.put(&path, bytes),
            }
            let (log, recovery) = open(&fs);
            assert_eq!((recovery.next, recovery.blocks, recovery.damages), (301, 300, 0), "{name}");
            assert!(recovery.checked_bytes > 0 && recovery.checked_bytes < 16 << 10, "only that segment");
            assert_eq!(read_all(&mut log.reader(), 1).0.len(), 300);
            log.close().unwrap();
            assert_eq!(open(&fs.after_kill()).1.checked_bytes, 0, "it was made anew");
        }
    }
}

#[test]
fn a_side_file_without_its_segment_and_what_a_crash_left_half_written_go() {
    let (fs, log) = filled(100);
    log.close().unwrap();
    let left = ["0000000099.idx", "0000000001.tmp", "0000000002.new"];
    for name in left {
        fs.put(&dir().join(name), vec![1; 100]);
    }
    fs.put(&dir().join("notes.tmp"), vec![1]);
    open(&fs).0.close().unwrap();
    let names = fs.list(&dir()).unwrap();
    assert!(left.iter().all(|name| !names.contains(&(*name).to_owned())) && names.contains(&"notes.tmp".to_owned()));
}

#[test]
fn damage_that_opening_did_not_look_for_is_found_by_reading_and_by_verifying() {
    let (fs, log) = filled(300);
    log.close().unwrap();
    let fs = fs.after_kill();
    let len = block(1, 1, 100, 1).len();
    for (segment, index) in [(1, 3), (3, 0)] {
        fs.flip(&segment_path(segment), HEAD + index * len + 20, 2).unwrap();
    }
    let (mut log, recovery) = open(&fs);
    assert_eq!((recovery.damages, recovery.checked_bytes), (0, 0));
    let (served, damages) = read_all(&mut log.reader(), 1);
    assert_eq!((served.len(), damages.len(), damages[0]), (298, 2, (4, 5)));
    for budget in [1, 1000, 1 << 20] {
        let (mut found, mut steps, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let step = log.verify_step(ByteCount(budget));
            assert!(step.bytes <= budget + 2 * len as u64, "{step:?}");
            bytes += step.bytes;
            found.extend(step.damaged);
            steps += 1;
            if step.done {
                break;
            }
        }
        let places: Vec<_> = found.iter().map(|Damage { segment, offset, .. }| (*segment, *offset)).collect();
        assert_eq!(places, [(1, (HEAD + 3 * len) as u64), (3, HEAD as u64)], "budget {budget}");
        assert_eq!(bytes, (300 * len) as u64);
        assert!(steps as u64 >= bytes / (budget + 2 * len as u64));
    }
}

#[test]
fn a_pass_ends_though_the_log_grows_faster_than_it_is_checked() {
    let (_fs, mut log) = filled(300);
    let mut steps = 0;
    // A block of it at a time, while ten more come.
    while !log.verify_step(ByteCount(1)).done {
        append(&mut log, 10);
        log.syncer().sync().unwrap();
        steps += 1;
        assert!(steps < 1_000, "it does not end");
    }
    assert!(steps >= 300, "what was there is checked: {steps}");
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let (fs, log) = filled(3000);
    let mut reader = log.reader();
    for from in (1..3000).step_by(7) {
        reader = log.reader();
        assert!(reader.read(from, u64::MAX, 1).unwrap().next().is_some());
        assert!(reader.position_at(from).is_ok());
        assert!(log.indexes() <= 9, "{}", log.indexes());
    }
    drop(reader);
    log.close().unwrap();
    let (log, _) = open(&fs.after_kill());
    assert_eq!(log.indexes(), 1, "none but that of the segment in use");
    for from in (1..3000).rev().step_by(5) {
        assert!(log.reader().read(from, u64::MAX, 1).unwrap().next().is_some());
    }
    assert!(log.indexes() <= 9, "{}", log.indexes());
}

#[test]
fn a_log_of_the_version_before_is_read_and_taken_over_by_the_first_block() {
    let fs = FaultFs::new();
    let files: [(&str, &[u8]); 4] = [
        ("FORMAT", include_bytes!("v1/FORMAT")),
        ("0000000001.seg", include_bytes!("v1/0000000001.seg")),
        ("0000000002.seg", include_bytes!("v1/0000000002.seg")),
        ("0000000003.seg", include_bytes!("v1/0000000003.seg")),
    ];
    for (name, bytes) in files {
        fs.put(&dir().join(name), bytes.to_vec());
    }
    let format = |fs: &FaultFs| String::from_utf8(fs.get(&dir().join("FORMAT")).unwrap()).unwrap();
    for _ in 0..2 {
        let (log, recovery) = open(&fs);
        assert_eq!((recovery.next, recovery.blocks, recovery.damages), (101, 100, 0));
        assert_eq!(log.position(), [(1, 101)], "they are this home's, under the sequences they have");
        assert_eq!(log.reader().find(1, 50).unwrap(), Some(50));
        let found = log.reader().read(30, u64::MAX, 1).unwrap().next().unwrap();
        assert_eq!((found.home(), found.block().home()), ((1, 30), None));
        log.close().unwrap();
        assert_eq!(format(&fs), "weft-log 1\n", "reading changes nothing");
    }
    let (mut log, _) = open(&fs);
    // Without room for the new version nothing is appended.
    fs.set_capacity(0);
    assert!(log.append(&block(101, 1, 100, 1), at(0)).is_err());
    fs.set_capacity(1 << 30);
    append(&mut log, 100);
    assert_eq!(format(&fs), "weft-log 2\n");
    assert_eq!(read_all(&mut log.reader(), 1).0, (1..=200).collect::<Vec<_>>());
    log.close().unwrap();
    let (log, recovery) = open(&fs.after_crash(4));
    assert_eq!((recovery.next, recovery.damages), (201, 0));
    assert_eq!(log.reader().position_at(90).unwrap(), [(1, 90)]);
}

#[test]
fn own_sequences_are_never_given_out_twice() {
    // All of it gone by age, so that only the header of an empty segment knows.
    let fs = FaultFs::new();
    let options = LogOptions { retain_age: Some(std::time::Duration::from_secs(10)), ..small() };
    let (mut log, _) = try_open(&fs, options.clone()).unwrap();
    log.append_copy(&block(1, 4, 100, 1), 9, 1, at(1000)).unwrap();
    log.append(&block(5, 1, 100, 1), at(1000)).unwrap();
    log.retain(at(1000));
    assert_eq!((log.first(), log.next()), (6, 6));
    log.syncer().prepare();
    drop(log);
    for fs in [fs.after_kill(), fs.after_crash(1), fs.after_crash(2)] {
        let (mut log, _) = try_open(&fs, options.clone()).unwrap();
        if log.next() == 6 {
            assert_eq!(log.append(&block(6, 1, 100, 1), at(1000)).unwrap().home_sequence, 2);
        }
    }
    // The last block is damaged: its sequence was given out.
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 9);
    log.close().unwrap();
    let fs = fs.after_kill();
    fs.flip(&segment_path(1), HEAD + 8 * block(1, 1, 100, 1).len() + 70, 0).unwrap();
    let (mut log, _) = try_open(&fs, LogOptions { check_all: true, ..small() }).unwrap();
    assert_eq!(log.append(&block(10, 1, 100, 1), at(1000)).unwrap().home_sequence, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a side file says, opening does not panic, serves nothing but
    /// what was written, and the segments stay as they are.
    #[test]
    fn any_bytes_in_side_files(at in 0_usize..2000, value in any::<u8>(), which in 0_usize..3, cut in any::<bool>()) {
        let (fs, log) = filled(120);
        log.close().unwrap();
        let fs = fs.after_kill();
        let path = dir().join(side_name(which as u64 + 1));
        let mut bytes = fs.get(&path).unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= value }
        fs.put(&path, bytes);
        let (log, recovery) = open(&fs);
        prop_assert_eq!((recovery.next, recovery.damages), (121, 0));
        prop_assert_eq!(read_all(&mut log.reader(), 1).0.len(), 120);
    }
}
