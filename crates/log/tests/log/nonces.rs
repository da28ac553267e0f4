//! No nonce is used twice under one key, whatever a crash leaves: a watch over
//! all that was ever written, which finds a nonce that is used twice.
//!
//! A nonce is used twice when other bytes lie under a salt and a sequence than
//! lay there before, so the watch keeps the first ones it sees.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use proptest::prelude::*;
use weft_base::ByteCount;
use weft_log::AppendError;
use weft_log::fault::FaultFs;
use weft_log::fs::Fs;
use weft_log::offline::{Options, Writer, WriterOptions, survey};
use weft_wire::block::Block;

use crate::common::*;
use crate::crypt::{HEAD, TRAILER, records, segments, with};

/// What was written under each salt and sequence.
#[derive(Default)]
struct Written(BTreeMap<(Vec<u8>, u64), Vec<u8>>);

impl Written {
    /// Takes in what the system holds now.
    fn look(&mut self, fs: &FaultFs) -> Result<(), String> {
        for (number, bytes) in segments(fs) {
            let salt = &bytes[1552..1568];
            if bytes[1536..1544] != *b"WEFTSALT" {
                // Made ahead of need.
                assert!(bytes[HEAD..].iter().all(|byte| *byte == 0), "segment {number} has no salt");
                continue;
            }
            for (at, len) in records(&bytes) {
                let record = bytes.get(at..at + len).ok_or("a record that is cut")?;
                let sequence = sequence_of(record);
                let before = self.0.entry((salt.to_vec(), sequence)).or_insert_with(|| record.to_vec());
                if before != record {
                    return Err(format!("sequence {sequence} was sealed twice under one salt, in segment {number}"));
                }
            }
        }
        Ok(())
    }
}

fn sequence_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[104..112].try_into().unwrap())
}

/// The key of a segment and the nonce of a record, by the format's description
/// and nothing else of the crate.
fn cipher(segment: &[u8]) -> LessSafeKey {
    let secret = Salt::new(HKDF_SHA256, &segment[1552..1568]).extract(&[0xaa; 32]);
    LessSafeKey::new(UnboundKey::from(secret.expand(&[b"weft segment"], &AES_256_GCM).unwrap()))
}

fn nonce(record: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&sequence_of(record).to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[test]
fn a_record_is_what_the_format_says() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 3);
    let stored = log.reader().read(2, 3, 1).unwrap().next().unwrap().to_vec();
    let (_, segment) = segments(&fs).remove(0);
    let (at, len) = records(&segment)[1];
    let (header, sealed) = segment[at..at + len].split_at(128);
    assert_eq!(len, stored.len() + TRAILER);
    let mut text = sealed.to_vec();
    let text = cipher(&segment).open_in_place(nonce(header), Aad::from(header), &mut text).unwrap();
    assert_eq!(text[..text.len() - 8], stored[128..]);
    assert_eq!(text[text.len() - 8..text.len() - 4], stored[60..64]);
    assert!(Block::validate(&stored).is_ok());
}

#[test]
fn canary_a_nonce_that_is_used_twice_is_seen() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 5);
    let mut written = Written::default();
    written.look(&fs).unwrap();
    append(&mut log, 5);
    written.look(&fs).unwrap();
    log.close().unwrap();
    // What a log does that goes on in the segment of an earlier life: another
    // block, whole, under the sequence of one that was lost.
    let (number, mut segment) = segments(&fs).remove(0);
    let (at, len) = records(&segment)[6];
    let cipher = cipher(&segment);
    let (header, rest) = segment[at..at + len].split_at_mut(128);
    let (text, tag) = rest.split_at_mut(len - 128 - 16);
    text.fill(7);
    let sealed = cipher.seal_in_place_separate_tag(nonce(header), Aad::from(&*header), text).unwrap();
    tag.copy_from_slice(sealed.as_ref());
    fs.write(&segment_path(number), &segment).unwrap();
    let seen = written.look(&fs).unwrap_err();
    assert!(seen.contains("sequence 7 was sealed twice"), "{seen}");
}

/// Half of a record lies there, and its sequence is given to another block.
#[test]
fn after_a_write_that_failed_its_sequence_is_sealed_in_another_segment() {
    // Also where a log in clear would go on, since it may write over that.
    for error in [ErrorKind::StorageFull, ErrorKind::Other] {
        let fs = FaultFs::new();
        let (mut log, _) = try_open(&fs, with("a")).unwrap();
        append(&mut log, 5);
        fs.fail_writes(Some(error));
        assert!(matches!(log.append(&block(60, 1, 100, 60), at(0)), Err(AppendError::Poisoned { .. })));
        fs.fail_writes(None);
        assert!(matches!(log.append(&block(61, 1, 100, 61), at(0)), Err(AppendError::Poisoned { .. })));
        drop(log);
        let fs = fs.after_kill();
        let (number, segment) = segments(&fs).remove(0);
        let (half, _) = records(&segment)[5];
        assert_eq!(sequence_of(&segment[half..]), 6, "it lies there");
        let (mut log, recovery) = try_open(&fs, with("a")).unwrap();
        assert_eq!((recovery.next, recovery.damages), (6, 0));
        append(&mut log, 1);
        let (after, segment) = segments(&fs).remove(1);
        assert!(after > number && sequence_of(&segment[HEAD..]) == 6);
        assert_eq!(read_all(&mut log.reader(), 1), ((1..=6).collect(), vec![]));
    }
}

/// The offline writer takes nothing more either.
#[test]
fn a_backup_of_which_a_write_failed_takes_nothing_more() {
    let fs = FaultFs::new();
    let (mut log, _) = try_open(&fs, with("a")).unwrap();
    append(&mut log, 3);
    let mut blocks = Vec::new();
    log.for_each_block(1, |block| blocks.push(block.bytes().to_vec())).unwrap();
    let options = || WriterOptions { segment: 16 << 10, compacted: false, keys: with("a").keys };
    let other = Path::new("/backup");
    let mut writer = Writer::open(&fs, other, options()).unwrap();
    writer.push(&blocks[0]).unwrap();
    fs.fail_writes(Some(ErrorKind::StorageFull));
    assert!(writer.push(&blocks[1]).is_err());
    fs.fail_writes(None);
    assert!(writer.push(&blocks[1]).is_err());
    drop(writer);
    let mut writer = Writer::open(&fs, other, options()).unwrap();
    assert_eq!(writer.next(), Some(2));
    blocks[1..].iter().for_each(|block| writer.push(block).unwrap());
    writer.finish().unwrap();
    let keys = with("a").keys;
    let look = Options { keys: keys.as_ref(), ..Options::default() };
    let found = survey(&fs, other, look, &mut |_| {}).unwrap();
    assert!(found.is_sound() && found.events == 3 && found.segments.len() == 2, "{found:?}");
}

/// How a life of the log ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Killed,
    PowerCut,
    /// The power is cut at this operation of the next life's opening.
    CutAgain(u64),
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Closed), Just(End::Killed), Just(End::PowerCut), (0_u64..12).prop_map(End::CutAgain)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_nonce_is_used_twice_whatever_a_crash_leaves(
        seed: u64,
        lives in prop::collection::vec((0_u64..60, 0_u64..60, any_end(), any::<bool>()), 2..6),
    ) {
        let mut fs = FaultFs::new();
        let mut written = Written::default();
        let mut label = 1_000_000;
        for (life, (synced, unsynced, end, compacts)) in lives.into_iter().enumerate() {
            let (mut log, recovery) = try_open(&fs, with("a")).unwrap();
            prop_assert_eq!(recovery.damages, 0);
            for (count, sync) in [(synced, true), (unsynced, false)] {
                for _ in 0..count {
                    // Never the same bytes at a sequence.
                    label += 1;
                    log.append(&block(label, 1, 100, label), at(1000)).unwrap();
                }
                if sync {
                    log.syncer().sync().unwrap();
                }
            }
            // What the system has in memory is what may have been on the disk.
            written.look(&fs).unwrap();
            if compacts {
                while !log.compact(&mut |local, _, _| local % 3 > 0, ByteCount::kib(40)).unwrap().done {
                    written.look(&fs).unwrap();
                }
                written.look(&fs).unwrap();
            }
            fs = match end {
                End::Closed => {
                    log.close().unwrap();
                    fs.after_kill()
                }
                End::Killed => fs.after_kill(),
                End::PowerCut => fs.after_crash(seed ^ life as u64),
                End::CutAgain(operation) => {
                    let crashed = fs.after_crash(seed ^ life as u64);
                    crashed.stop_at(operation);
                    let _ = try_open(&crashed, with("a"));
                    crashed.after_crash(seed ^ operation)
                }
            };
        }
        prop_assert!(try_open(&fs, with("a")).is_ok());
    }
}
