//! Files that lie: each is refused with the place, or read, in bounded time and
//! memory, and never panics.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::LazyLock;

use proptest::prelude::*;
use weft_base::{ByteCount, UnixNanos};
use weft_observe::layout::Unit;
use weft_observe::place::FILE;
use weft_observe::reading::ReadError;
use weft_observe::scale::Scale;
use weft_observe::{Reading, Table, TableOptions};

/// Where the entries begin, in words, and how many words each has.
const ENTRIES: usize = 512;

/// A good file with a beat, a counter and a histogram.
fn good() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::create(&TableOptions {
        folder: Some(folder.path().to_owned()),
        memory: None,
        hub: "north".to_owned(),
        process: 1,
        start: UnixNanos(1),
        entries: 4,
        room: ByteCount::kib(12),
        ..TableOptions::default()
    });
    let beat = table.beat_of("beat");
    let _ = table.counter("count", Unit::Events, Some(&beat));
    table.histogram("wait", Unit::Nanoseconds, Scale::NANOS, Some(&beat)).record(5);
    std::fs::read(folder.path().join(FILE)).unwrap()
}

fn with(mut bytes: Vec<u8>, at: usize, value: u64) -> Vec<u8> {
    bytes[at * 8..at * 8 + 8].copy_from_slice(&value.to_ne_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap())
}

#[test]
fn each_lie_is_refused_with_its_place() {
    let good = good();
    assert_eq!(Reading::of_bytes(&good).unwrap().values.len(), 3);
    let histogram = ENTRIES + 2 * 16;
    let first = word(&good, histogram);
    let byte = |at: usize, value: u8| {
        let mut bytes = first.to_le_bytes();
        bytes[at] = value;
        u64::from_le_bytes(bytes)
    };
    let place = word(&good, histogram + 1);
    let lies = [
        ("room beyond the end", 5, 9_000),
        ("room beyond what may be", 5, u64::MAX),
        ("more entries than room", 6, 5),
        ("a process of 64 bits", 3, u64::MAX),
        ("a hub's name too long", 10, 129),
        ("a hub's name of control characters", 16, 0x1b),
        ("a name too long", histogram, byte(2, 113)),
        ("no name", histogram, byte(2, 0)),
        ("a scale of no sense", histogram, byte(4, 1)),
        ("a scale too large", histogram, byte(4, 63)),
        ("another kind's length", histogram, byte(0, 1)),
        ("a beat that is none", histogram, byte(6, 1)),
        ("a beat that is not there", histogram, byte(6, 200)),
        ("before the values", histogram + 1, place & !0xFFFF_FFFF),
        ("beyond the end", histogram + 1, place | 0xFFFF_FFFF),
        ("a name that is no UTF-8", histogram + 2, 0xFF),
    ];
    for (what, at, value) in lies {
        let refused = Reading::of_bytes(&with(good.clone(), at, value));
        assert!(matches!(refused, Err(ReadError::Damaged { .. })), "{what}: {refused:?}");
    }
}

#[test]
fn what_is_no_file_of_counters_or_of_another_version_is_told_from_it() {
    let good = good();
    assert!(matches!(Reading::of_bytes(&[]), Err(ReadError::Magic)));
    assert!(matches!(Reading::of_bytes(&vec![0; 8192]), Err(ReadError::Magic)));
    assert!(matches!(Reading::of_bytes(&with(good.clone(), 1, 2)), Err(ReadError::Version(2))));
    for len in [16, 24, 4095, good.len() - 8] {
        assert!(matches!(Reading::of_bytes(&good[..len]), Err(ReadError::Length { .. })), "{len}");
    }
    let longer = [good.clone(), vec![0; 8]].concat();
    assert!(matches!(Reading::of_bytes(&longer), Err(ReadError::Length { .. })));
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("empty", &[][..]), ("short", &good[..100])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Reading::of_file(&path), Err(ReadError::Length { .. })), "{name}");
    }
    // Neither a folder nor a pipe that nobody writes to, which is not waited for.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [folder.path(), &pipe] {
        assert!(matches!(Reading::of_file(path), Err(ReadError::Magic)), "{}", path.display());
    }
    assert!(matches!(Reading::of_file(&folder.path().join("none")), Err(ReadError::File { .. })));
}

#[test]
fn kinds_of_a_newer_writer_are_passed_over_and_counted() {
    let good = good();
    let count = ENTRIES + 16;
    let newer = with(good.clone(), count, word(&good, count) & !0xFF | 99);
    let reading = Reading::of_bytes(&newer).unwrap();
    assert_eq!((reading.values.len(), reading.unknown), (2, 1));
}

#[test]
fn values_that_overlap_cannot_make_a_small_file_cost_much() {
    let mut bytes = good();
    // The room for four entries, all of them the one histogram.
    for entry in 0..4 {
        for word in 0..16 {
            let (from, to) = ((ENTRIES + 32 + word) * 8, (ENTRIES + entry * 16 + word) * 8);
            bytes.copy_within(from..from + 8, to);
        }
        let first = word(&bytes, ENTRIES + entry * 16) | 0xFFFF << 48;
        bytes = with(bytes, ENTRIES + entry * 16, first);
    }
    let refused = Reading::of_bytes(&with(bytes, 6, 4));
    assert!(matches!(refused, Err(ReadError::Damaged { rule: "values must not overlap", .. })), "{refused:?}");
}

proptest! {
    #[test]
    fn whatever_words_are_changed_it_is_read_or_refused(
        changes in prop::collection::vec((0..640_usize, any::<u64>(), 0..64_u32), 1..8)
    ) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(good);
        let mut bytes = GOOD.clone();
        for (at, value, shift) in changes {
            bytes = with(bytes, at, value >> shift);
        }
        if let Ok(reading) = Reading::of_bytes(&bytes) {
            prop_assert!(reading.values.len() <= 4);
        }
    }
}
