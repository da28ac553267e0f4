//! What the log's tests share: blocks that tell what they are, and a log whose
//! set-up takes no lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_base::{ByteCount, Epoch, HubId, Mono, Now, ProducerId, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::{Log, LogOptions, LogReader, OpenError, ReadError, Recovery};
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields, Stamp, block_len, stamp};

/// A stamped block of `events` events whose first is number `first` of the
/// test; each payload is that number, over and over, `size` bytes of it.
pub(crate) fn block(first: u64, events: u64, size: usize, time: u64) -> Vec<u8> {
    build(first, events, size, time, 0)
}

/// The same with flags.
pub(crate) fn flagged(first: u64, events: u64, size: usize, flags: u32) -> Vec<u8> {
    build(first, events, size, first, flags)
}

fn build(first: u64, events: u64, size: usize, time: u64, flags: u32) -> Vec<u8> {
    let topic = "test/events";
    let mut bytes = vec![0; block_len(topic.len(), (0..events).map(|_| (0, 0, size)))];
    let mut fields = BlockFields::new(topic);
    fields.producer = ProducerId(7);
    fields.first_sequence = first;
    fields.flags = flags;
    let mut writer = BlockWriter::new(&mut bytes, &fields).unwrap();
    for number in first..first + events {
        // Copied as a whole: byte by byte it was a good part of the tests' time.
        let payload = number.to_le_bytes().repeat(size.div_ceil(8));
        let fields = EventFields { time: UnixNanos(time), payload: &payload[..size], ..Default::default() };
        writer.push(&fields).unwrap();
    }
    writer.finish().unwrap();
    let ingested = UnixNanos(time);
    stamp(&mut bytes, &Stamp { origin: HubId(1), epoch: Epoch(1), block: first + 1, sequence: first + 1, ingested })
        .unwrap();
    bytes
}

/// A point in time, both clocks at `seconds`.
pub(crate) fn at(seconds: u64) -> Now {
    let nanos = seconds * 1_000_000_000;
    Now { mono: Mono(nanos), wall: UnixNanos(nanos) }
}

/// Small segments, so that a test sees many.
pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment: ByteCount::kib(16),
        index_every: ByteCount::kib(1),
        max_block: 8 << 10,
        ..LogOptions::default()
    }
}

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data/stream")
}

pub(crate) fn segment_path(number: u64) -> PathBuf {
    dir().join(weft_log::format::segment_name(number))
}

pub(crate) fn open(fs: &FaultFs) -> (Log, Recovery) {
    try_open(fs, small()).unwrap()
}

pub(crate) fn try_open(fs: &FaultFs, options: LogOptions) -> Result<(Log, Recovery), OpenError> {
    open_in(Arc::new(fs.clone()), &dir(), options)
}

pub(crate) fn open_in(fs: Arc<dyn Fs>, dir: &Path, options: LogOptions) -> Result<(Log, Recovery), OpenError> {
    Log::open(fs, dir, options, at(1000))
}

/// Appends `events` blocks of one event of 100 bytes, numbered from the log's
/// next sequence on: event number = sequence.
pub(crate) fn append(log: &mut Log, blocks: u64) {
    for _ in 0..blocks {
        let next = log.next();
        let appended = log.append(&block(next, 1, 100, next), at(1000)).unwrap();
        assert_eq!((appended.first, appended.next, appended.home_sequence), (next, next + 1, next));
    }
}

/// Everything that can be read from `from` on: the sequences served, and the
/// damages met, as (from, resume). Checks that each block is whole, and that
/// its events are the ones that were written under that sequence.
pub(crate) fn read_all(reader: &mut LogReader, from: u64) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut served, mut damages, mut from) = (Vec::new(), Vec::new(), from);
    while from < reader.next() {
        let before = from;
        match reader.read(from, u64::MAX, 1000) {
            Ok(blocks) => {
                for found in blocks {
                    let block = Block::validate(&found).expect("a served block is whole");
                    assert_eq!(block.stream_sequence(), found.first());
                    for (event, sequence) in block.events().zip(found.first()..) {
                        assert!(
                            event.payload.starts_with(&sequence.to_le_bytes()),
                            "sequence {sequence} is another event"
                        );
                        served.push(sequence);
                    }
                    assert_eq!(found.next(), found.first() + u64::from(block.event_count()));
                    from = found.next();
                }
                assert!(from > before, "nothing served, nothing reported at {from}");
            }
            Err(ReadError::Damaged { resume, from: lost, .. }) => {
                assert!(resume > from && lost <= from, "{lost} {from} {resume}");
                damages.push((lost, resume));
                from = resume;
            }
            Err(other) => panic!("{other}"),
        }
    }
    (served, damages)
}
