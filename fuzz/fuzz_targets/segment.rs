//! A log's segments: the input is taken as a segment's content as it is, and as
//! changes to segments that a log wrote. Opening and reading must never panic,
//! nor serve a block that is not whole, or under another sequence than its own;
//! and appending must go on.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use weft_base::{ByteCount, Epoch, HubId, Now, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::format::segment_name;
use weft_log::mmap::HEAD;
use weft_log::{Log, LogOptions, ReadError, Recovery};
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields, Stamp};

const SEGMENT: usize = 8 << 10;
const SEGMENTS: u64 = 3;

fn options() -> LogOptions {
    LogOptions {
        // What opening reports is held against all that is served.
        check_all: true,
        segment: ByteCount(SEGMENT as u64),
        index_every: ByteCount(512),
        max_block: 2048,
        ..LogOptions::default()
    }
}

fn path(number: u64) -> PathBuf {
    Path::new("/log").join(segment_name(number))
}

/// A block of one event that says its number.
fn block(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a")).expect("a topic");
    let payload = number.to_le_bytes().repeat(1 + number as usize % 40);
    writer.push(&EventFields { payload: &payload, ..Default::default() }).expect("a small event");
    let len = writer.finish().expect("an event");
    bytes.truncate(len);
    let entry =
        Stamp { origin: HubId(1), epoch: Epoch(1), block: number, sequence: number, ingested: UnixNanos(number) };
    block::stamp(&mut bytes, &entry).expect("a stamp");
    bytes
}

fn append(log: &mut Log) {
    let next = log.next();
    let first = log.append(&block(next), Now::default()).expect("room for a block").first;
    assert_eq!(first, next);
}

/// Segments as a log leaves them: synced, but the last few blocks.
fn written() -> &'static FaultFs {
    static WRITTEN: OnceLock<FaultFs> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let fs = FaultFs::new();
        let (mut log, _) =
            Log::open(Arc::new(fs.clone()), Path::new("/log"), options(), Now::default()).expect("a log");
        while fs.get(&path(SEGMENTS)).is_err() || log.bytes() < (2 * SEGMENT + HEAD + 2000) as u64 {
            append(&mut log);
            if log.next() % 5 == 0 {
                log.syncer().sync().expect("a disk in order");
            }
        }
        drop(log);
        fs.after_kill()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => as_it_is(rest, false),
        1 => as_it_is(rest, true),
        _ => changed(rest),
    }
});

/// The input as blocks of one segment, behind a right header or none. Its first
/// blocks are sealed, so that what is behind the checksums is reached.
fn as_it_is(data: &[u8], with_header: bool) {
    let fs = written().after_kill();
    let mut segment = vec![0; SEGMENT];
    if with_header {
        segment[..64].copy_from_slice(&fs.get(&path(1)).expect("the first segment")[..64]);
    }
    let room = &mut segment[HEAD..];
    let len = data.len().min(room.len());
    room[..len].copy_from_slice(&data[..len]);
    seal(room, len);
    fs.put(&path(1), segment);
    judge(&fs, |_, _| {});
}

/// Makes blocks of what could be some: length, magic and checksums are right.
fn seal(bytes: &mut [u8], len: usize) {
    let mut at = 0;
    for sequence in 1.. {
        let Some(block) = bytes[at..len.max(at)].get_mut(..) else { return };
        if block.len() < 152 {
            return;
        }
        let length = 152 + usize::from(block[0]) * 8 % (block.len() - 151);
        let block = &mut block[..length & !7];
        let len = block.len() as u32;
        block[..4].copy_from_slice(&len.to_le_bytes());
        block[4..7].copy_from_slice(b"WF\x01");
        block[7] &= 7;
        block[46..48].fill(0);
        block[50..60].fill(0);
        let checksum = block::producer_checksum(block);
        block[60..64].copy_from_slice(&checksum.to_le_bytes());
        block[76..80].fill(0);
        // Mostly the sequence that is next.
        if block[64] % 4 > 0 {
            block[104..112].copy_from_slice(&u64::to_le_bytes(sequence));
        }
        block[112..124].fill(0);
        let checksum = block::hub_checksum(block);
        block[124..128].copy_from_slice(&checksum.to_le_bytes());
        at += block.len();
    }
}

/// The input as changes: each sets, clears, copies or drops a range.
fn changed(data: &[u8]) {
    let fs = written().after_kill();
    let mut segments: Vec<Vec<u8>> = (1..=SEGMENTS).map(|n| fs.get(&path(n)).expect("a written segment")).collect();
    for change in data.chunks_exact(8) {
        let &[kind, number, to_low, to_high, from_low, from_high, len, value] = change else { return };
        let number = u64::from(number) % SEGMENTS;
        let at = |low, high| usize::from(u16::from_le_bytes([low, high])) % SEGMENT;
        let (to, from, len) = (at(to_low, to_high), at(from_low, from_high), usize::from(len) * 8);
        let source = segments[from % segments.len()].clone();
        let segment = &mut segments[number as usize];
        let to = to..(to + len).min(segment.len()).max(to);
        match kind % 6 {
            0 => segment[to.start] ^= value,
            1 => segment[to].fill(value),
            2 => segment[to].fill(0),
            3 => {
                let from = from..(from + to.len()).min(source.len());
                segment[to.start..to.start + from.len()].copy_from_slice(&source[from]);
            }
            4 => segment.clone_from(&source),
            _ => {
                // A page that was never written.
                let page = to.start & !4095;
                segment[page..page + 4096].fill(0);
            }
        }
    }
    for (number, segment) in (1..).zip(segments) {
        fs.put(&path(number), segment);
    }
    // Whatever was changed, what is served is what was written.
    judge(&fs, |sequence, block| {
        let payload = block.events().next().expect("one event").payload;
        assert!(payload.starts_with(&sequence.to_le_bytes()), "sequence {sequence} is another event");
    });
}

/// Opens, reads everything in every way, and appends; twice, since the first
/// opening repairs.
fn judge(fs: &FaultFs, each: impl Fn(u64, Block<'_>)) {
    let mut before: Option<(u64, Recovery)> = None;
    for _ in 0..2 {
        let opened = Log::open(Arc::new(fs.clone()), Path::new("/log"), options(), Now::default());
        let Ok((mut log, recovery)) = opened else { return };
        assert_eq!((log.first(), log.next(), log.synced()), (recovery.first, recovery.next, recovery.next));
        if let Some((next, damages)) = before {
            assert_eq!((recovery.next, recovery.cut_bytes), (next, 0), "opening again finds the same: {recovery:?}");
            assert!(recovery.damages <= damages.damages, "new damage: {recovery:?} was {damages:?}");
        }
        let (mut reader, mut from, mut served) = (log.reader(), log.first(), 0);
        while from < log.next() {
            let start = from;
            match reader.read(from, u64::MAX, 600) {
                Ok(blocks) => {
                    for found in blocks {
                        let block = Block::validate(&found).expect("a served block is whole");
                        assert_eq!((block.stream_sequence(), found.first()), (from, from));
                        each(from, block);
                        served += u64::from(block.event_count());
                        from = found.next();
                    }
                }
                Err(ReadError::Damaged { resume, .. }) => from = resume,
                Err(other) => panic!("{other}"),
            }
            assert!(from > start, "stuck at {start}");
        }
        assert_eq!((from, served), (log.next(), recovery.events), "{recovery:?}");
        for sequence in (log.first()..log.next()).rev().step_by(7) {
            if let Ok(mut blocks) = reader.read(sequence, u64::MAX, 1) {
                let found = blocks.next().expect("at least one");
                assert!(found.first() <= sequence && sequence < found.next());
            }
        }
        let _ = reader.seek_time(UnixNanos(recovery.next / 2));
        if log.next() < u64::MAX / 2 {
            append(&mut log);
        }
        before = Some((log.next(), recovery));
    }
}
