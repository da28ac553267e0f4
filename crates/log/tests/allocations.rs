//! Appending and reading allocate nothing once the segment is there.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use allocation_counter::measure;
use weft_base::{ByteCount, Epoch, HubId, Now, UnixNanos};
use weft_log::fs::RealFs;
use weft_log::{Keys, Log, LogOptions};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, Stamp, stamp};

fn block() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a/b")).unwrap();
    while writer.push(&EventFields { payload: &[7; 100], ..Default::default() }).is_ok() {}
    let len = writer.finish().unwrap();
    bytes.truncate(len);
    let entry = Stamp { origin: HubId(1), epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
    stamp(&mut bytes, &entry).unwrap();
    bytes
}

#[test]
fn appending_and_reading_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { segment: ByteCount::mib(8), ..LogOptions::default() };
    let (mut log, _) = Log::open(Arc::new(RealFs), folder.path(), options, Now::default()).unwrap();
    let mut reader = log.reader();
    let block = block();
    // The first checksum of a process may set tables up.
    log.append(&block, Now::default()).unwrap();
    let blocks = reader.read(1, u64::MAX, usize::MAX).unwrap().count();
    assert_eq!(blocks, 1);
    let counted = measure(|| {
        for _ in 0..1000 {
            let from = log.append(&block, Now::default()).unwrap().first;
            let found = reader.read(from, u64::MAX, usize::MAX).unwrap().next().unwrap();
            assert_eq!(found.first(), from);
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(measure(|| drop(std::hint::black_box(vec![1]))).count_total, 1, "the counter counts");
}

/// What is encrypted is read into memory of its own: one block, and its handle.
#[test]
fn appending_encrypted_allocates_nothing_and_reading_no_more_than_the_block() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Some(Keys::parse(&"1f".repeat(32)).unwrap());
    let options = LogOptions { segment: ByteCount::mib(8), keys, ..LogOptions::default() };
    let (mut log, _) = Log::open(Arc::new(RealFs), folder.path(), options, Now::default()).unwrap();
    let mut reader = log.reader();
    let block = block();
    log.append(&block, Now::default()).unwrap();
    let appended = measure(|| {
        for _ in 0..1000 {
            log.append(&block, Now::default()).unwrap();
        }
    });
    assert_eq!(appended.count_total, 0);
    let read = measure(|| assert_eq!(reader.read(1, u64::MAX, usize::MAX).unwrap().count(), 1001));
    assert_eq!(read.count_total, 2002);
    assert_eq!(read.count_max, 2, "of a block that was dropped nothing stays");
}
