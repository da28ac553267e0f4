//! The real file system: a full disk, a bit that flips in an open log, another
//! process, and threads.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weft_base::ByteCount;
use weft_log::fault::FaultFs;
use weft_log::fs::RealFs;
use weft_log::mmap::HEAD;
use weft_log::{AppendError, Log, LogOptions, OpenError, ReadError, Recovery};

use crate::common::*;

fn open_real(dir: &Path, options: LogOptions) -> (Log, Recovery) {
    open_in(Arc::new(RealFs), dir, options).unwrap()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_is_appended_is_there_after_opening_again() {
    let temporary = temporary();
    let dir = temporary.path().join("deep/down/stream");
    for round in 0..3 {
        let (mut log, recovery) = open_real(&dir, small());
        assert_eq!((recovery.blocks, recovery.damages, recovery.cut_bytes), (200 * round, 0, 0));
        let syncer = log.syncer();
        for _ in 0..10 {
            append(&mut log, 20);
            assert_eq!(syncer.sync().unwrap(), log.next());
        }
        assert_eq!(read_all(&mut log.reader(), 1).0.len() as u64, 200 * (round + 1));
        if round == 1 {
            log.close().unwrap();
        }
    }
    let (log, _) = open_real(&dir, small());
    log.delete().unwrap();
    assert!(!dir.exists() && dir.parent().unwrap().exists());
}

#[test]
fn default_segments_take_their_space_at_once() {
    use std::os::unix::fs::MetadataExt;
    let temporary = temporary();
    let (_log, _) = open_real(temporary.path(), LogOptions::default());
    let data = std::fs::metadata(temporary.path().join("0000000001.seg")).unwrap();
    assert_eq!(data.len(), 64 << 20);
    assert!(data.blocks() * 512 >= 64 << 20, "{} blocks", data.blocks());
}

#[test]
fn a_bit_that_flips_while_the_log_is_open_is_found_when_it_is_read() {
    let temporary = temporary();
    let (mut log, _) = open_real(temporary.path(), small());
    append(&mut log, 30);
    let len = block(1, 1, 100, 1).len();
    for (index, offset) in [(0, 300), (9, 0), (19, 130), (20, 44), (29, 8)] {
        let offset = HEAD + index * len + offset % len;
        let file = OpenOptions::new().read(true).write(true).open(temporary.path().join("0000000001.seg")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset as u64).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset as u64).unwrap();
    }
    let mut reader = log.reader();
    let error = reader.read(1, u64::MAX, 1).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { segment: 1, offset: 4096, from: 1, resume: 2, .. }), "{error}");
    let (served, damages) = read_all(&mut reader, 1);
    assert_eq!(damages, [(1, 2), (10, 11), (20, 22), (30, 31)]);
    assert_eq!(served.len(), 25);
    // From the middle, past damage that the index knows nothing of.
    assert_eq!(reader.read(15, u64::MAX, 1).unwrap().next().unwrap().first(), 15);
    assert_eq!(log.reader().read(25, u64::MAX, 1).unwrap().next().unwrap().first(), 25);
}

#[test]
fn another_process_is_refused() {
    let temporary = temporary();
    let (log, _) = open_real(temporary.path(), small());
    // flock(1) is another process; its exit code 9 says that it did not get it.
    let flock = |log: &str| {
        let lock = temporary.path().join("LOCK");
        let status = Command::new("flock").args(["-n", "-E", "9"]).arg(lock).arg("true").status();
        status.map(|s| s.code()).unwrap_or_else(|e| panic!("flock(1) is part of util-linux: {e}, {log}"))
    };
    assert_eq!(flock("open"), Some(9));
    let error = open_in(Arc::new(RealFs), temporary.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(log);
    assert_eq!(flock("dropped"), Some(0));
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(size: &str) -> Option<Self> {
        let temporary = temporary();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", size, "weft-test"]).arg(temporary.path()).output();
        mount.is_ok_and(|o| o.status.success()).then_some(Self(temporary))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_appends_and_recovers() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        println!("SKIPPED: mounting a tmpfs is not allowed here");
        return;
    };
    let other = disk.0.path().join("other");
    std::fs::write(&other, vec![1; 300 << 10]).unwrap();
    let dir = disk.0.path().join("stream");
    let options = LogOptions { segment: ByteCount::kib(128), ..small() };
    let (mut log, _) = open_real(&dir, options.clone());
    let syncer = log.syncer();
    let mut refused = 0;
    let mut now = at(1000);
    for n in 1..5000 {
        now.mono.0 += 10_000_000;
        match log.append(&block(log.next(), 1, 100, n), now) {
            Ok(_) => assert_eq!(refused, 0),
            Err(AppendError::DiskFull { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        if n % 50 == 0 {
            assert_eq!(syncer.sync().unwrap(), log.next());
        }
    }
    assert!(refused > 100);
    let next = log.next();
    assert_eq!(read_all(&mut log.reader(), 1).0.len() as u64, next - 1);
    std::fs::remove_file(&other).unwrap();
    now.mono.0 += 200_000_000;
    assert_eq!(log.append(&block(next, 1, 100, 0), now).unwrap().first, next);
    append(&mut log, 100);
    drop(log);
    let (_, recovery) = open_real(&dir, options);
    assert_eq!((recovery.next, recovery.damages), (next + 101, 0));
}

#[test]
fn readers_and_syncer_keep_up_with_the_writer() {
    let temporary = temporary();
    keep_up(open_real(temporary.path(), kept()).0);
}

/// ThreadSanitizer does not see what the system writes into a file. Here the
/// writer writes to memory, so it sees who reads that too early.
#[test]
fn readers_and_syncer_keep_up_with_a_writer_to_memory() {
    keep_up(try_open(&FaultFs::new(), kept()).unwrap().0);
}

fn kept() -> LogOptions {
    LogOptions { retain_bytes: Some(ByteCount::kib(256)), ..small() }
}

/// One writer, one syncer, two readers at the tail and one that starts over
/// and over.
fn keep_up(mut log: Log) {
    let total = 4000;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let syncer = log.syncer();
        scope.spawn(|| {
            let syncer = syncer;
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let synced = syncer.sync().unwrap();
                assert!(synced >= last);
                last = synced;
            }
            assert_eq!(syncer.sync().unwrap(), total + 1);
        });
        for _ in 0..2 {
            let mut reader = log.reader();
            scope.spawn(move || {
                let mut from = 1;
                while from <= total {
                    let upto = if from % 2 == 0 { reader.synced() } else { u64::MAX };
                    match reader.read(from, upto, 5000) {
                        Ok(blocks) => from = blocks.map(|b| check(&b)).last().unwrap_or(from),
                        Err(ReadError::Gone { first }) => from = first,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        let mut reader = log.reader();
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let from = reader.first();
                match reader.read(from, u64::MAX, usize::MAX) {
                    Ok(blocks) => assert!(blocks.map(|b| check(&b)).is_sorted()),
                    Err(ReadError::Gone { first }) => assert!(first > from),
                    Err(other) => panic!("{other}"),
                }
                let _ = reader.seek_time(weft_base::UnixNanos(from + 10));
            }
        });
        for n in 1..=total {
            append(&mut log, 1);
            if n % 100 == 0 {
                log.retain(at(1000));
            }
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!((log.next(), log.synced()), (total + 1, total + 1));
}

/// Checks a block's content, and answers the sequence after it.
fn check(found: &weft_log::LogBlock) -> u64 {
    let payload = found.block().events().next().unwrap().payload;
    assert!(payload.starts_with(&found.first().to_le_bytes()));
    found.next()
}

/// Bytes beyond the end of a mapped file are like a sector that cannot be read:
/// touching them kills the process.
#[test]
fn what_cannot_be_read_is_an_error_though_a_block_begins_before_it() {
    let temporary = temporary();
    let dir = temporary.path();
    let options = || LogOptions { max_block: 6000, ..small() };
    let (mut log, _) = open_real(dir, options());
    for n in 1..=9 {
        log.append(&block(n, 1, 5000, n), at(n)).unwrap();
    }
    log.close().unwrap();
    let (mut log, _) = open_real(dir, options());
    for segment in [1, 3] {
        let file = OpenOptions::new().write(true).open(dir.join(format!("{segment:010}.seg"))).unwrap();
        file.set_len(2 * HEAD as u64).unwrap();
    }
    let mut reader = log.reader();
    // One in a full segment, one in that which an earlier life wrote last.
    for sequence in [1, 2, 5, 6] {
        let read = reader.read(sequence, u64::MAX, 1).map(|blocks| blocks.count());
        let readable = (3..5).contains(&sequence);
        assert_eq!(read.is_ok(), readable, "{sequence}: {read:?}");
    }
    let mut damaged = 0;
    loop {
        let verified = log.verify_step(ByteCount(1));
        damaged += verified.damaged.len();
        if verified.done {
            break;
        }
    }
    assert_eq!(damaged, 2);
}
