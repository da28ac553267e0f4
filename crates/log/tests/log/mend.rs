//! Repair under the readers: what is damaged is filled with exactly what was
//! there, in its place, or stays as it is; a power cut at any step leaves the
//! one or the other.

use std::collections::BTreeSet;
use std::path::Path;

use weft_base::{ByteCount, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::mmap::HEAD;
use weft_log::offline::{Options, survey};
use weft_log::{Hole, Log, LogReader, Look, MendError};

use crate::common::*;

const BLOCKS: u64 = 200;
const NOW: UnixNanos = UnixNanos(7);

/// A log on a disk in whose first segment a bit of the block with this
/// sequence is flipped, and all its blocks as another home has them.
fn damaged(sequence: u64) -> (FaultFs, Vec<Vec<u8>>) {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, BLOCKS);
    let blocks: Vec<Vec<u8>> = {
        let mut reader = log.reader();
        let found = reader.read(1, u64::MAX, usize::MAX).unwrap();
        found.map(|block| block.to_vec()).collect()
    };
    assert_eq!(blocks.len() as u64, BLOCKS);
    log.close().unwrap();
    let fs = fs.after_kill();
    fs.flip(&segment_path(1), HEAD + (sequence as usize - 1) * blocks[0].len() + 130, 2).unwrap();
    (fs, blocks)
}

fn the_hole(log: &Log) -> Hole {
    let Look::Holes(holes) = log.mender().look(1) else { panic!("no damage is seen") };
    let [hole] = holes.as_slice() else { panic!("{holes:?}") };
    hole.clone()
}

fn missing(hole: &Hole, blocks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    (hole.first..hole.next).map(|n| blocks[n as usize - 1].clone()).collect()
}

fn served(reader: &mut LogReader) -> Vec<u64> {
    read_all(reader, 1).0
}

fn all() -> Vec<u64> {
    (1..=BLOCKS).collect()
}

#[test]
fn what_is_damaged_is_filled_in_its_place_under_its_readers() {
    let (fs, blocks) = damaged(20);
    let (log, recovery) = open(&fs);
    assert_eq!(recovery.damages, 0, "opening did not read it");
    let mender = log.mender();
    assert_eq!(mender.suspects(), BTreeSet::new());
    // This reader stands in the old segment, before what is damaged.
    let mut early = log.reader();
    let held = early.read(19, 20, 1).unwrap().next().unwrap();
    let mut reader = log.reader();
    let (before, damages) = read_all(&mut reader, 1);
    assert_eq!((before.len() as u64, damages), (BLOCKS - 1, vec![(20, 21)]));
    assert_eq!((mender.suspects(), mender.suspects()), (BTreeSet::from([1]), BTreeSet::new()));
    let hole = the_hole(&log);
    assert_eq!((hole.first, hole.next, hole.bytes()), (20, 21, blocks[0].len() as u64));
    assert_eq!(hole.held, [(1, 20, 21)]);
    mender.mend(&hole, missing(&hole, &blocks), NOW).unwrap();
    assert_eq!(mender.look(1), Look::Whole);
    assert_eq!(read_all(&mut early, 20).0, (20..=BLOCKS).collect::<Vec<_>>(), "it is led to the new segment");
    assert_eq!(served(&mut reader), all());
    assert_eq!(*held, *blocks[18], "what somebody holds stays");
    assert!(matches!(mender.mend(&hole, missing(&hole, &blocks), NOW), Err(MendError::Changed { .. })));
    let quarantined =
        fs.get(Path::new("/data/stream/quarantine").join(format!("0000000001-{}.bytes", hole.offset)).as_path());
    assert_eq!(quarantined.unwrap().len() as u64, hole.bytes());
    let verified = log.reader().fate(1, 20).unwrap();
    assert_eq!(verified, weft_log::Fate::Whole { local: 20 });
    log.close().unwrap();
    let fs = fs.after_kill();
    let survey = survey(&fs, &dir(), Options::default(), &mut |_| {}).unwrap();
    assert!(survey.is_sound() && survey.findings.is_empty(), "{survey:?}");
    let (mut log, recovery) = open(&fs);
    assert_eq!((recovery.events, recovery.damages), (BLOCKS, 0));
    assert_eq!(served(&mut log.reader()), all());
    append(&mut log, 3);
}

#[test]
fn the_end_of_a_segment_is_filled_too_and_the_verifier_names_it() {
    let per_segment = ((16 << 10) - HEAD) as u64 / block(1, 1, 100, 1).len() as u64;
    let (fs, blocks) = damaged(per_segment);
    let (log, _) = open(&fs);
    let mut verifier = log.verifier();
    let verified = verifier.step(ByteCount::mib(1));
    assert_eq!((verified.damaged.len(), log.mender().suspects()), (1, BTreeSet::from([1])));
    let hole = the_hole(&log);
    assert_eq!((hole.first, hole.next), (per_segment, per_segment + 1));
    log.mender().mend(&hole, missing(&hole, &blocks), NOW).unwrap();
    assert_eq!(served(&mut log.reader()), all());
}

#[test]
fn what_is_not_exactly_what_was_there_is_refused_and_nothing_changes() {
    let (fs, blocks) = damaged(20);
    let (log, _) = open(&fs);
    let (mender, hole) = (log.mender(), the_hole(&log));
    let mut longer = block(20, 1, 200, 20);
    let place = weft_wire::block::StreamPlace { local: 20, home: 1, home_sequence: 20 };
    weft_wire::block::set_stream_place(&mut longer, place).unwrap();
    let mut flipped = blocks[19].clone();
    flipped[140] ^= 1;
    let (right, next) = (blocks[19].clone(), blocks[20].clone());
    let wrong = [vec![], vec![next.clone()], vec![right.clone(), next], vec![longer], vec![flipped]];
    for blocks in wrong {
        let refused = mender.mend(&hole, blocks, NOW);
        assert!(matches!(refused, Err(MendError::Other { segment: 1, .. })), "{refused:?}");
    }
    let gone = Hole { segment: 77, ..hole.clone() };
    assert!(matches!(mender.mend(&gone, vec![right], NOW), Err(MendError::Changed { segment: 77 })));
    assert_eq!(the_hole(&log), hole);
    assert_eq!(fs.list(&dir()).unwrap().iter().filter(|name| name.contains("quarantine")).count(), 0);
    // The segment in use is left alone, and so is one that retention took out.
    assert!(matches!(mender.look(log.reader().next() / 10), Look::Whole));
    let last = fs.list(&dir()).unwrap().into_iter().filter(|name| name.ends_with(".seg")).count() as u64;
    assert!((last - 1..=last).any(|number| matches!(mender.look(number), Look::Not(_))));
}

#[test]
fn a_power_cut_at_any_step_of_a_repair_leaves_the_log_as_it_was_or_repaired() {
    let run = |stop: Option<u64>| {
        let (fs, blocks) = damaged(20);
        let (log, _) = open(&fs);
        let hole = the_hole(&log);
        let begun = fs.operations();
        if let Some(stop) = stop {
            fs.stop_at(begun + stop);
        }
        let mended = log.mender().mend(&hole, missing(&hole, &blocks), NOW);
        let steps = fs.operations() - begun;
        drop(log);
        (fs, blocks, mended, steps)
    };
    let (_, _, whole, steps) = run(None);
    whole.unwrap();
    assert!(steps > 8, "a repair has steps: {steps}");
    let (mut as_it_was, mut repaired) = (0, 0);
    for stop in 0..=steps {
        for seed in 0..3 {
            let (fs, blocks, mended, _) = run(Some(stop));
            let fs = fs.after_crash(seed);
            let (log, _) = open(&fs);
            let found = served(&mut log.reader());
            let left_over = fs.list(&dir()).unwrap().into_iter().any(|name| name.ends_with(".mend"));
            assert!(!left_over, "stopped at {stop}");
            if found == all() {
                repaired += 1;
                continue;
            }
            assert!(mended.is_err(), "stopped at {stop}: it was told to be repaired");
            assert_eq!(found, all().into_iter().filter(|n| *n != 20).collect::<Vec<_>>(), "stopped at {stop}");
            as_it_was += 1;
            let hole = the_hole(&log);
            log.mender().mend(&hole, missing(&hole, &blocks), NOW).unwrap();
            assert_eq!(served(&mut log.reader()), all(), "repaired after all");
        }
    }
    assert!(as_it_was > 0 && repaired > 0, "{as_it_was} and {repaired}");
}
