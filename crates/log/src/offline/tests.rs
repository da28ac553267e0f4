use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_base::{ByteCount, Epoch, HubId, Mono, Now, ProducerId, UnixNanos};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, block_len, stamp};

use super::*;
use crate::fault::FaultFs;
use crate::format::segment_name;
use crate::mmap::HEAD;
use crate::{Log, LogOptions};

const NOW: Now = Now { mono: Mono(1), wall: UnixNanos(1_000_000_000) };

fn options() -> LogOptions {
    LogOptions {
        segment: ByteCount::kib(16),
        index_every: ByteCount::kib(1),
        max_block: 8 << 10,
        ..LogOptions::default()
    }
}

/// Two events, the first of this number, with payloads that hardly have zeros.
fn block(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; block_len(4, [(0, 0, 100), (0, 0, 100)].into_iter())];
    let mut fields = BlockFields::new("test");
    (fields.producer, fields.first_sequence) = (ProducerId(7), number);
    let mut writer = BlockWriter::new(&mut bytes, &fields).unwrap();
    for event in 0..2 {
        let payload: Vec<u8> = (0..100).map(|i| (number + event + i) as u8 | 1).collect();
        writer.push(&EventFields { time: UnixNanos(5), payload: &payload, ..Default::default() }).unwrap();
    }
    writer.finish().unwrap();
    let ingested = UnixNanos(number);
    stamp(&mut bytes, &Stamp { origin: HubId(1), epoch: Epoch(1), block: number, sequence: number, ingested }).unwrap();
    bytes
}

fn here() -> PathBuf {
    PathBuf::from("/data/stream")
}

fn there() -> PathBuf {
    PathBuf::from("/data/other")
}

fn path(number: u64) -> PathBuf {
    here().join(segment_name(number))
}

/// A log of 100 blocks, 200 events, in several segments, closed.
fn fill(fs: &FaultFs, dir: &Path) {
    let (mut log, _) = Log::open(Arc::new(fs.clone()), dir, options(), NOW).unwrap();
    for number in (1..200).step_by(2) {
        log.append(&block(number), NOW).unwrap();
    }
    log.close().unwrap();
}

fn look(fs: &FaultFs) -> Survey {
    survey(fs, &here(), Options::default(), &mut |_| {}).unwrap()
}

/// All bytes of the files in the log's folder by name.
fn folder(fs: &FaultFs) -> Vec<(String, Vec<u8>)> {
    let mut names = fs.list(&here()).unwrap();
    names.sort();
    names.into_iter().filter_map(|name| fs.get(&here().join(&name)).ok().map(|bytes| (name, bytes))).collect()
}

fn closed(fs: &FaultFs) -> FaultFs {
    fs.after_kill()
}

#[test]
fn a_sound_log_is_counted_and_left_as_it_is() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    let before = folder(&fs);
    let mut told = 0;
    let found = survey(&fs, &here(), Options::default(), &mut |at| {
        assert_eq!(at.first, told * 2 + 1);
        told += 1;
    })
    .unwrap();
    assert!(found.is_sound(), "{:?}", found.findings);
    assert_eq!((found.first, found.next, found.events, found.blocks, told), (1, 201, 200, 100, 100));
    assert_eq!(found.position.iter().map(|p| p.1).collect::<Vec<_>>(), [201]);
    let used: Vec<_> = found.segments.iter().filter(|s| s.state == State::Used).collect();
    assert!(used.len() > 2);
    assert!(used.iter().all(|s| s.marked_bytes == Some(s.used_bytes)), "all of it is marked as synced");
    assert_eq!(folder(&fs), before);
}

#[test]
fn each_flipped_bit_is_found_where_it_is_and_costs_its_block_alone() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let size = block(1).len();
    for (block, at) in [(0, 20), (3, 140), (3, size - 9), (7, 4)] {
        let fs = closed(&fs);
        let offset = HEAD + block * size;
        fs.flip(&path(2), offset + at, 3).unwrap();
        let found = look(&fs);
        let [finding] = &found.findings[..] else { panic!("{:?}", found.findings) };
        assert_eq!((finding.segment, finding.offset, finding.kind), (2, offset as u64, Kind::Blocks));
        assert_eq!((finding.end, finding.events()), ((offset + size) as u64, Some(2)), "{finding}");
        assert_eq!(found.events, 198);
    }
}

#[test]
fn a_repair_without_another_copy_keeps_the_bytes_and_the_rest_of_the_log() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    let offset = HEAD + 2 * block(1).len();
    fs.flip(&path(2), offset + 150, 3).unwrap();
    let before = folder(&fs);
    let plan = Repair::plan(&fs, &here(), None, None).unwrap();
    assert_eq!(plan.steps().len(), 1);
    assert_eq!(folder(&fs), before, "a plan changes nothing");
    let done = plan.apply(NOW.wall).unwrap();
    assert_eq!(done, Done { lost: 2, quarantined: 1, ..Done::default() });
    assert_eq!(folder(&fs), before, "what is damaged stays where it is");
    let kept = fs.get(&here().join(QUARANTINE).join(format!("0000000002-{offset}.bytes"))).unwrap();
    assert_eq!(kept, fs.get(&path(2)).unwrap()[offset..offset + block(1).len()]);
    let found = look(&fs);
    assert!(found.is_sound() && found.findings[0].noted, "it is known now");
    assert!(Repair::plan(&fs, &here(), None, None).unwrap().steps().is_empty());
    fs.flip(&path(2), offset + 151, 3).unwrap();
    assert!(!look(&fs).is_sound(), "what changed since is not what was noted");
}

#[test]
fn a_repair_from_another_copy_brings_every_event_back() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    fill(&fs, &there());
    let fs = closed(&fs);
    let whole = folder(&fs);
    let size = block(1).len();
    // Two blocks in a row, a header, a last block that is blank, and a first one.
    fs.flip(&path(2), HEAD + 2 * size + 150, 3).unwrap();
    fs.flip(&path(2), HEAD + 3 * size + 150, 3).unwrap();
    fs.flip(&path(2), 9, 3).unwrap();
    fs.flip(&path(1), HEAD + 1, 0).unwrap();
    let found = look(&fs);
    assert_eq!((found.findings.len(), found.events), (3, 194), "{:?}", found.findings);
    let done = Repair::plan(&fs, &here(), Some(&there()), None).unwrap().apply(NOW.wall).unwrap();
    assert_eq!((done.restored, done.lost), (6, 0));
    let found = look(&fs);
    assert!(found.is_sound() && found.findings.is_empty(), "{:?}", found.findings);
    let blocks = |folder: Vec<(String, Vec<u8>)>| -> Vec<Vec<u8>> {
        let segments = folder.into_iter().filter(|(name, _)| name.ends_with(".seg"));
        segments.map(|(_, bytes)| bytes[HEAD..].to_vec()).collect()
    };
    assert!(blocks(folder(&fs)) == blocks(whole), "byte for byte");
    let (log, recovery) = Log::open(Arc::new(fs.clone()), &here(), options(), NOW).unwrap();
    assert_eq!((recovery.damages, recovery.events, log.next()), (0, 200, 201));
}

#[test]
fn a_segment_that_is_gone_comes_back_from_another_copy() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    fill(&fs, &there());
    let fs = closed(&fs);
    fs.remove(&path(2)).unwrap();
    let found = look(&fs);
    let [finding] = &found.findings[..] else { panic!("{:?}", found.findings) };
    assert_eq!((finding.kind, finding.segment), (Kind::Missing, 1));
    let missing = finding.events().unwrap();
    let done = Repair::plan(&fs, &here(), Some(&there()), None).unwrap().apply(NOW.wall).unwrap();
    assert_eq!((done.restored, done.rewritten), (missing, 1));
    assert!(look(&fs).is_sound());
    let (mut log, recovery) = Log::open(Arc::new(fs.clone()), &here(), options(), NOW).unwrap();
    assert_eq!((recovery.damages, recovery.events), (0, 200));
    assert_eq!(log.append(&block(201), NOW).unwrap().first, 201, "and it goes on");
}

#[test]
fn what_the_other_copy_has_not_whole_is_not_half_taken() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    fill(&fs, &there());
    let fs = closed(&fs);
    let at = HEAD + 2 * block(1).len();
    fs.flip(&path(2), at + 150, 3).unwrap();
    fs.flip(&there().join(segment_name(2)), at + 151, 3).unwrap();
    let plan = Repair::plan(&fs, &here(), Some(&there()), None).unwrap();
    assert!(plan.steps()[0].contains("of its 2 events the other folder has 0"), "{:?}", plan.steps());
    assert_eq!(plan.apply(NOW.wall).unwrap().lost, 2);
}

#[test]
fn without_format_nothing_is_lost_and_a_repair_writes_it() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    fs.remove(&here().join("FORMAT")).unwrap();
    let found = look(&fs);
    assert_eq!((found.format, found.events, found.is_sound()), (Format::Missing, 200, false));
    Repair::plan(&fs, &here(), None, None).unwrap().apply(NOW.wall).unwrap();
    assert!(look(&fs).is_sound());
}

#[test]
fn a_segment_of_which_nothing_can_be_placed_is_moved_and_kept() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    fs.flip(&path(1), 9, 3).unwrap();
    fs.flip(&path(1), HEAD + 9, 3).unwrap();
    let was = fs.get(&path(1)).unwrap();
    assert_eq!(look(&fs).findings[0].kind, Kind::Segment);
    let done = Repair::plan(&fs, &here(), None, None).unwrap().apply(NOW.wall).unwrap();
    assert_eq!(done.quarantined, 1);
    assert_eq!(fs.get(&here().join(QUARANTINE).join("0000000001-0.bytes")).unwrap(), was);
    assert!(look(&fs).is_sound());
}

#[test]
fn a_torn_tail_is_no_finding_and_is_left_to_the_hub() {
    let fs = FaultFs::new();
    let (mut log, _) = Log::open(Arc::new(fs.clone()), &here(), options(), NOW).unwrap();
    log.append(&block(1), NOW).unwrap();
    log.syncer().sync().unwrap();
    for number in [3, 5, 7] {
        log.append(&block(number), NOW).unwrap();
    }
    drop(log);
    for seed in 0..64 {
        let fs = fs.after_crash(seed);
        let before = folder(&fs);
        let found = look(&fs);
        assert!(found.findings.is_empty(), "seed {seed}: {:?}", found.findings);
        assert!((3..=9).contains(&found.next), "seed {seed}");
        assert_eq!(folder(&fs), before);
        let next = found.next;
        let (log, _) = Log::open(Arc::new(fs), &here(), options(), NOW).unwrap();
        assert_eq!(log.next(), next, "seed {seed}: the hub sees the same end");
    }
}

#[test]
fn a_repair_that_loses_power_at_any_step_can_be_done_again() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    fill(&fs, &there());
    let fs = closed(&fs);
    fs.flip(&path(2), HEAD + 150, 3).unwrap();
    fs.flip(&path(1), HEAD + 150, 3).unwrap();
    for stop in 0.. {
        let cut = fs.after_crash(stop);
        cut.stop_at(stop);
        let plan = Repair::plan(&cut, &here(), Some(&there()), None);
        let whole = plan.and_then(|plan| plan.apply(NOW.wall)).is_ok();
        for seed in 0..4 {
            let after = cut.after_crash(seed);
            let found = look(&after);
            assert!(found.events >= 196, "stop {stop} seed {seed}: {:?}", found.findings);
            Repair::plan(&after, &here(), Some(&there()), None).unwrap().apply(NOW.wall).unwrap();
            let found = look(&after);
            assert!(found.is_sound() && found.events == 200, "stop {stop} seed {seed}: {:?}", found.findings);
        }
        if whole {
            return;
        }
    }
}

const SMALL: WriterOptions = WriterOptions { segment: 16 << 10, compacted: false, keys: None };

/// All blocks of a log, in order.
fn blocks_of(fs: &FaultFs, dir: &Path) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    survey(fs, dir, Options::default(), &mut |at| blocks.push(at.block.bytes().to_vec())).unwrap();
    blocks
}

#[test]
fn a_copy_keeps_every_block_as_it_is_and_a_hub_goes_on_with_it() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    // As after retention: it does not begin at 1.
    let blocks = blocks_of(&fs, &here())[10..].to_vec();
    let mut writer = Writer::open(&fs, &there(), SMALL).unwrap();
    assert_eq!(writer.next(), None);
    for block in &blocks[..40] {
        writer.push(block).unwrap();
    }
    assert!(matches!(writer.push(&blocks[3]), Err(WriteError::OutOfOrder { first: 27, next: 101 })));
    assert!(matches!(Writer::open(&fs, &there(), SMALL), Err(OfflineError::InUse { .. })));
    writer.finish().unwrap();
    let mut writer = Writer::open(&fs, &there(), SMALL).unwrap();
    assert_eq!(writer.next(), Some(101), "it goes on where it was");
    blocks[40..].iter().for_each(|block| writer.push(block).unwrap());
    writer.finish().unwrap();
    let fs = closed(&fs);
    assert!(blocks_of(&fs, &there()) == blocks);
    let found = survey(&fs, &there(), Options::default(), &mut |_| {}).unwrap();
    assert!(found.is_sound() && (found.first, found.next) == (21, 201), "{:?}", found.findings);
    let (mut log, recovery) = Log::open(Arc::new(fs.clone()), &there(), options(), NOW).unwrap();
    assert_eq!((recovery.damages, recovery.cut_bytes, log.first()), (0, 0, 21));
    assert_eq!(log.append(&block(201), NOW).unwrap().first, 201);
}

#[test]
fn a_copy_that_loses_power_goes_on_from_what_was_synced() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    let blocks = blocks_of(&fs, &here());
    for stop in (0..60).step_by(3) {
        let cut = fs.after_crash(stop);
        cut.stop_at(stop);
        let copy = |fs: &FaultFs| -> Result<(), WriteError> {
            let mut writer = Writer::open(fs, &there(), SMALL)?;
            let from = writer.next().unwrap_or(1) as usize / 2;
            blocks[from..].iter().try_for_each(|block| writer.push(block))?;
            Ok(writer.finish()?)
        };
        let _ = copy(&cut);
        let after = cut.after_crash(stop + 1);
        copy(&after).unwrap();
        let copied = blocks_of(&after, &there());
        assert_eq!((copied.len(), copied == blocks), (100, true), "stop {stop}");
        let found = survey(&after, &there(), Options::default(), &mut |_| {}).unwrap();
        assert!(found.is_sound(), "stop {stop}: {:?}", found.findings);
    }
}

#[test]
fn a_log_of_which_no_block_is_left_comes_back_by_its_sequences() {
    let fs = FaultFs::new();
    for dir in [here(), there()] {
        let (mut log, _) = Log::open(Arc::new(fs.clone()), &dir, options(), NOW).unwrap();
        log.append(&block(1), NOW).unwrap();
        log.close().unwrap();
    }
    let fs = closed(&fs);
    let whole = fs.get(&path(1)).unwrap();
    fs.flip(&path(1), HEAD + 150, 3).unwrap();
    let done = Repair::plan(&fs, &here(), Some(&there()), None).unwrap().apply(NOW.wall).unwrap();
    assert_eq!((done.restored, done.lost), (2, 0));
    assert!(fs.get(&path(1)).unwrap()[HEAD..] == whole[HEAD..]);
}

#[test]
fn a_copy_of_a_compacted_stream_has_its_gaps_and_is_sound() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    let mut writer = Writer::open(&fs, &there(), WriterOptions { compacted: true, ..SMALL }).unwrap();
    let blocks: Vec<_> = blocks_of(&fs, &here()).into_iter().step_by(3).collect();
    blocks.iter().for_each(|block| writer.push(block).unwrap());
    writer.finish().unwrap();
    let fs = closed(&fs);
    let found = survey(&fs, &there(), Options::default(), &mut |_| {}).unwrap();
    assert!(found.is_sound(), "{:?}", found.findings);
    assert!(blocks_of(&fs, &there()) == blocks && found.segments.len() == 2, "{:?}", found.segments);
    let (log, recovery) = Log::open(Arc::new(fs.clone()), &there(), options(), NOW).unwrap();
    assert_eq!((recovery.damages, log.next()), (0, 201));
}

#[test]
fn a_side_file_that_is_wrong_is_found_taken_away_and_made_anew() {
    let fs = FaultFs::new();
    fill(&fs, &here());
    let fs = closed(&fs);
    let side = here().join(crate::format::side_name(1));
    let bytes = fs.get(&side).unwrap();
    fs.flip(&side, bytes.len() / 2, 1).unwrap();
    assert_eq!(look(&fs).findings[0].kind, Kind::Side);
    Repair::plan(&fs, &here(), None, None).unwrap().apply(NOW.wall).unwrap();
    assert!(look(&fs).is_sound() && fs.get(&side).is_err());
    Log::open(Arc::new(fs.clone()), &here(), options(), NOW).unwrap().0.close().unwrap();
    assert_eq!(fs.get(&side).unwrap(), bytes);
}

#[test]
fn another_homes_copy_fills_holes_though_its_order_is_another() {
    let fs = FaultFs::new();
    let open =
        |dir: &Path, home: u32| Log::open(Arc::new(fs.clone()), dir, LogOptions { home, ..options() }, NOW).unwrap().0;
    let (mut one, mut two) = (open(&here(), 1), open(&there(), 2));
    // Home 1 takes in odd blocks, home 2 even ones; each copies the other's later.
    let of = |home: u64, at: u64| block(1 + 2 * (2 * at + home - 1));
    for at in 0..40 {
        one.append(&of(1, at), NOW).unwrap();
        two.append(&of(2, at), NOW).unwrap();
        if at % 8 == 7 {
            for late in at - 7..=at {
                one.append_copy(&of(2, late), 2, 1 + 2 * late, NOW).unwrap();
                two.append_copy(&of(1, late), 1, 1 + 2 * late, NOW).unwrap();
            }
        }
    }
    one.close().unwrap();
    two.close().unwrap();
    let fs = closed(&fs);
    let whole = folder(&fs);
    let size = block(1).len();
    // One of its own, the last of its own and the first of the other's, and one of the other's.
    for at in [2, 7, 8, 12] {
        fs.flip(&path(1), HEAD + at * size + 150, 3).unwrap();
    }
    assert_eq!(look(&fs).findings.len(), 3);
    let done = Repair::plan(&fs, &here(), Some(&there()), None).unwrap().apply(NOW.wall).unwrap();
    assert_eq!((done.restored, done.lost), (8, 0));
    let found = look(&fs);
    assert!(found.is_sound(), "{:?}", found.findings);
    assert_eq!(found.position, [(1, 81), (2, 81)]);
    // All but the hole over both homes, whose order may be the other home's, is as it was.
    let rest = |fs: &FaultFs| fs.get(&path(1)).unwrap()[HEAD + 9 * size..].to_vec();
    let before = &whole.iter().find(|(name, _)| *name == segment_name(1)).unwrap().1;
    assert!(rest(&fs) == before[HEAD + 9 * size..]);
    assert!(fs.get(&path(1)).unwrap()[HEAD..HEAD + 7 * size] == before[HEAD..HEAD + 7 * size]);
    let (log, recovery) = Log::open(Arc::new(fs.clone()), &here(), options(), NOW).unwrap();
    assert_eq!((recovery.damages, log.next(), log.position()), (0, 161, vec![(1, 81), (2, 81)]));
}
