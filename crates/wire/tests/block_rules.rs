//! Each rule of the block, broken one at a time: the right clause is named, at
//! the byte where it is. And the writer's limits, just inside and just outside.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{full, in_stream, reseal, smallest, stamp, stamped, write};
use weft_base::{Epoch, HubId, Residency, UnixNanos, Way};
use weft_wire::block::{
    self, Block, BlockError, BlockFields, BlockWriter, Clause, EventFields, HEADER_LEN, MAX_BLOCK, MAX_EVENTS,
    MIN_BLOCK, Stamp, StampError, StreamPlace, WriteError,
};
use weft_wire::headers::HeaderError;

/// Where the first event of a block of [`common::TOPIC`] starts: 20 bytes of topic, padded.
const EVENTS: usize = HEADER_LEN + 24;
/// The first event's key, and its headers.
const KEY: usize = EVENTS + 16;
const HEADERS: usize = KEY + 8;

fn refusal(bytes: &[u8]) -> (Clause, usize) {
    let BlockError { clause, offset, .. } = Block::validate(bytes).expect_err("broken");
    (clause, offset)
}

/// Changes a full, stamped block, and seals it again.
fn broken(change: impl FnOnce(&mut [u8])) -> (Clause, usize) {
    let mut bytes = in_stream();
    Block::validate(&bytes).unwrap();
    change(&mut bytes);
    reseal(&mut bytes);
    refusal(&bytes)
}

#[test]
fn a_block_says_what_was_written() {
    let bytes = full();
    let block = Block::validate(&bytes).unwrap();
    let fields = common::fields();
    assert_eq!(block.topic(), fields.topic);
    assert_eq!(block.lane(), fields.lane);
    assert_eq!(block.flags(), fields.flags);
    assert_eq!(block.schema(), fields.schema);
    assert_eq!(block.producer(), fields.producer);
    assert_eq!(block.first_sequence(), fields.first_sequence);
    assert_eq!(block.deadline(), fields.deadline);
    assert_eq!(block.tenant(), fields.tenant);
    assert_eq!(block.event_count(), 3);
    assert_eq!(block.len(), bytes.len());
    assert_eq!(block::peek_len(&bytes), u32::try_from(bytes.len()).ok());
    assert_eq!(block.stamp(), None);
    assert_eq!(block.stream_sequence(), 0);
    let first = block.events().next().unwrap();
    assert_eq!(first.time, UnixNanos(1_357_034_400_000_000_000));
    assert_eq!(first.key, b"N14228");
    assert_eq!(first.headers.get("ce-type"), Some(&b"departed"[..]));
    assert_eq!(first.headers.iter().count(), 2);
    assert_eq!(first.headers.get("ce-id"), None);
    assert_eq!(first.payload, b"UA 1545 to IAH");
}

#[test]
fn the_header_keeps_its_rules() {
    assert_eq!(broken(|b| b[0] ^= 8), (Clause::Length, 0));
    assert_eq!(broken(|b| b[4] = 0), (Clause::Magic, 4));
    assert_eq!(broken(|b| b[6] = 2), (Clause::Version, 6));
    assert_eq!(broken(|b| b[7] = 8), (Clause::Lane, 7));
    assert_eq!(broken(|b| b[44..48].fill(0)), (Clause::EventCount, 44));
    assert_eq!(broken(|b| b[46] = 1), (Clause::EventCount, 44));
    assert_eq!(broken(|b| b[24..32].fill(0xff)), (Clause::Sequence, 24));
    for at in (50..52).chain(56..60) {
        assert_eq!(broken(|b| b[at] = 1).0, Clause::Reserved, "byte {at}");
    }
    assert_eq!(broken(|b| b[48..50].fill(0)), (Clause::TopicLength, 48));
    assert_eq!(broken(|b| b[48..50].copy_from_slice(&1025_u16.to_le_bytes())), (Clause::TopicLength, 48));
    assert_eq!(broken(|b| b[48..50].copy_from_slice(&1000_u16.to_le_bytes())), (Clause::TopicLength, 48));
    assert_eq!(broken(|b| b[HEADER_LEN + 3] = 0xff), (Clause::TopicUtf8, HEADER_LEN + 3));
    assert_eq!(broken(|b| b[HEADER_LEN + 22] = 1), (Clause::Padding, HEADER_LEN + 22));
}

#[test]
fn the_first_hub_binds_a_block_to_a_label_and_nobody_after_it() {
    let mut bytes = common::write(&common::fields(), &[EventFields::default()]);
    let eu = Residency::of(&["eu"]);
    block::set_residency(&mut bytes, eu).unwrap();
    let bound = Block::validate(&bytes).expect("its checksum is that of what it says now");
    assert_eq!(bound.residency(), eu);
    let stamp = Stamp { origin: HubId(1), epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
    block::stamp(&mut bytes, &stamp).unwrap();
    assert!(block::set_residency(&mut bytes, Residency::ANYWHERE).is_err());
    assert_eq!(Block::validate(&bytes).expect("as it was").residency(), eu);
}

#[test]
fn a_block_keeps_the_way_that_its_first_hub_gave_it_until_it_is_in_a_stream() {
    let mut bytes = full();
    block::stamp_for(&mut bytes, &stamp(), Way(5)).unwrap();
    assert_eq!(Block::validate(&bytes).unwrap().way(), Way(5));
    block::stamp_anew(&mut bytes, &Stamp { block: 9, ..stamp() }, Way(3)).unwrap();
    assert_eq!(Block::validate(&bytes).unwrap().way(), Way(3), "that hub may give it another");
    type Change = fn(&mut [u8]);
    let changes: [Change; 2] = [
        |bytes| block::set_stream_place(bytes, StreamPlace { local: 7, home: 1, home_sequence: 7 }).unwrap(),
        |bytes| block::forget_way(bytes).unwrap(),
    ];
    for change in changes {
        let mut plain = bytes.clone();
        change(&mut plain);
        assert_eq!(Block::validate(&plain).unwrap().way(), Way::MAIN, "neither in a stream nor for version 1");
    }
    let mut bytes = full();
    assert!(block::forget_way(&mut bytes).is_err(), "it has none yet");
    block::stamp(&mut bytes, &stamp()).unwrap();
    assert_eq!(Block::validate(&bytes).unwrap().way(), Way::MAIN);
}

#[test]
fn the_stamp_keeps_its_rules() {
    assert_eq!(broken(|b| b[64..72].fill(0)), (Clause::Stamp, 64));
    assert_eq!(broken(|b| b[80..88].fill(0)), (Clause::Stamp, 80));
    assert_eq!(broken(|b| b[88..96].fill(0)), (Clause::Stamp, 88));
    assert_eq!(broken(|b| b[88..96].fill(0xff)), (Clause::Sequence, 88));
    assert_eq!(broken(|b| b[104..112].fill(0xff)), (Clause::Sequence, 104));
    for half in [112..120, 120..124] {
        assert_eq!(broken(|b| b[half.clone()].fill(0)), (Clause::Home, 112), "bytes {half:?}");
    }
    assert_eq!(broken(|b| b[112..120].fill(0xff)), (Clause::Sequence, 112));
    assert_eq!(broken(|b| b[76] = 16), (Clause::Way, 76));
    for at in 77..80 {
        assert_eq!(broken(|b| b[at] = 1), (Clause::Way, 76), "byte {at}");
    }
}

#[test]
fn events_keep_their_rules() {
    assert_eq!(broken(|b| b[EVENTS + 2] = 1), (Clause::EventBounds, EVENTS));
    assert_eq!(broken(|b| b[EVENTS..EVENTS + 8].fill(0xff)), (Clause::EventBounds, EVENTS));
    assert_eq!(broken(|b| b[44] = 2).0, Clause::Trailing);
    assert_eq!(broken(|b| b[44] = 4).0, Clause::EventBounds);
    assert_eq!(broken(|b| b[KEY + 7] = 1), (Clause::Padding, KEY + 7));
    assert_eq!(broken(|b| b[HEADERS + 1] = 1), (Clause::Headers, HEADERS + 1));
    assert_eq!(broken(|b| b[HEADERS] = 0), (Clause::Headers, HEADERS + 4));
    assert_eq!(broken(|b| b[HEADERS] = 255), (Clause::Headers, HEADERS));
    assert_eq!(broken(|b| b[HEADERS + 4] = b' '), (Clause::Headers, HEADERS + 4));
    let mut last = stamped();
    let end = last.len();
    last[end - 1] = 1;
    reseal(&mut last);
    assert_eq!(refusal(&last), (Clause::Padding, end - 1));
}

#[test]
fn changes_after_sealing_are_told_from_malformed_blocks() {
    let mut bytes = stamped();
    bytes[EVENTS] ^= 1;
    assert_eq!(refusal(&bytes), (Clause::ProducerChecksum, 60));
    let mut bytes = stamped();
    bytes[100] ^= 1;
    assert_eq!(refusal(&bytes), (Clause::HubChecksum, 124));
}

#[test]
fn too_few_and_too_many_bytes_are_refused() {
    let bytes = full();
    assert_eq!(refusal(&[]), (Clause::Truncated, 0));
    assert_eq!(refusal(&bytes[..HEADER_LEN - 1]), (Clause::Truncated, HEADER_LEN - 1));
    for len in HEADER_LEN..bytes.len() {
        assert_eq!(refusal(&bytes[..len]), (Clause::Length, 0));
    }
    assert_eq!(refusal(&[bytes.as_slice(), &[0; 8]].concat()), (Clause::Length, 0));
    let mut short = smallest()[..MIN_BLOCK - 8].to_vec();
    short[0..4].copy_from_slice(&(MIN_BLOCK as u32 - 8).to_le_bytes());
    assert_eq!(refusal(&short), (Clause::Truncated, MIN_BLOCK - 8));
}

#[test]
fn every_clause_has_a_code_of_its_own_and_says_what_it_found() {
    let error = Block::validate(&[0; 200]).unwrap_err();
    assert_eq!(error.code().0, 256 + 4);
    assert_eq!(error.code().name(), Some("bad_block"));
    assert_eq!(error.to_string(), "block refused at byte 4, which is 0x0: a block has the magic number 0x4657");
}

#[test]
fn the_smallest_and_the_largest_block() {
    assert_eq!(smallest().len(), MIN_BLOCK);
    Block::validate(&smallest()).unwrap();
    let mut buf = vec![0; MAX_BLOCK + 64];
    let mut writer = BlockWriter::new(&mut buf, &BlockFields::new("a")).unwrap();
    let room = writer.room();
    assert_eq!(room, MAX_BLOCK - HEADER_LEN - 8);
    let refused = writer.push_with(UnixNanos(0), &[], &[], room - 15, |_| panic!("there is no room"));
    assert_eq!(refused, Err(WriteError::NoRoom { need: room + 8, left: room }));
    writer.push_with(UnixNanos(0), &[], &[], room - 16, |payload| payload.fill(7)).unwrap();
    assert_eq!(writer.finish(), Ok(MAX_BLOCK));
    Block::validate(&buf[..MAX_BLOCK]).unwrap();
    let mut longer = buf[..MAX_BLOCK + 8].to_vec();
    longer[..4].copy_from_slice(&(MAX_BLOCK as u32 + 8).to_le_bytes());
    assert_eq!(refusal(&longer), (Clause::TooLarge, 0));
}

#[test]
fn a_block_takes_65535_events() {
    let mut buf = vec![0; MAX_BLOCK];
    let mut writer = BlockWriter::new(&mut buf, &BlockFields::new("a")).unwrap();
    for _ in 0..MAX_EVENTS {
        writer.push(&EventFields::default()).unwrap();
    }
    assert_eq!(writer.push(&EventFields::default()), Err(WriteError::TooManyEvents));
    let len = writer.finish().unwrap();
    assert_eq!(Block::validate(&buf[..len]).unwrap().events().count(), MAX_EVENTS as usize);
}

#[test]
fn the_writer_refuses_what_would_be_refused() {
    let mut buf = [0; 512];
    let empty = BlockWriter::new(&mut buf, &BlockFields::new("")).unwrap_err();
    assert_eq!(empty, WriteError::TopicLength { len: 0 });
    let long = "a".repeat(1025);
    let error = BlockWriter::new(&mut buf, &BlockFields::new(&long)).unwrap_err();
    assert_eq!(error, WriteError::TopicLength { len: 1025 });
    let error = BlockWriter::new(&mut buf[..135], &BlockFields::new("a")).unwrap_err();
    assert_eq!(error, WriteError::NoRoom { need: 136, left: 135 });
    let fields = BlockFields { first_sequence: u64::MAX - 1, ..BlockFields::new("a") };
    let mut writer = BlockWriter::new(&mut buf, &fields).unwrap();
    let key = vec![0; 65_536];
    let event = EventFields::default();
    assert_eq!(writer.push(&EventFields { key: &key, ..event }), Err(WriteError::KeyTooLong { len: 65_536 }));
    let too_long = WriteError::Headers(HeaderError::TooLong { len: 65_536 });
    assert_eq!(writer.push(&EventFields { headers: &key, ..event }), Err(too_long));
    assert!(matches!(writer.push(&EventFields { headers: &[1], ..event }), Err(WriteError::Headers(_))));
    assert_eq!(writer.event_count(), 0);
    writer.push(&event).unwrap();
    assert_eq!(writer.push(&event), Err(WriteError::Sequence { first: u64::MAX - 1 }));
    assert_eq!(writer.set_first_sequence(u64::MAX), Err(WriteError::Sequence { first: u64::MAX }));
    writer.finish().unwrap();
    let writer = BlockWriter::new(&mut buf, &BlockFields::new("a")).unwrap();
    assert_eq!(writer.finish(), Err(WriteError::Empty));
}

#[test]
fn what_the_buffer_held_before_does_not_get_out() {
    let mut buf = [0xaa; 256];
    let mut writer = BlockWriter::new(&mut buf, &BlockFields::new("a")).unwrap();
    writer.push_with(UnixNanos(0), &[], &[], 11, |payload| payload[0] = 1).unwrap();
    let len = writer.finish().unwrap();
    let block = Block::validate(&buf[..len]).unwrap();
    assert_eq!(block.events().next().unwrap().payload, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_block_is_paused_and_resumed() {
    let event = EventFields { payload: b"one", ..EventFields::default() };
    let mut buf = [0; 512];
    let mut writer = BlockWriter::new(&mut buf, &common::fields()).unwrap();
    writer.push(&event).unwrap();
    let paused = writer.pause();
    assert_eq!((paused.event_count(), paused.len()), (1, EVENTS + 24));
    assert_eq!(BlockWriter::resume(&mut [0; 512], paused).unwrap_err(), WriteError::NotPausedHere);
    let mut writer = BlockWriter::new(&mut buf, &common::fields()).unwrap();
    writer.push(&event).unwrap();
    let paused = writer.pause();
    let mut writer = BlockWriter::resume(&mut buf, paused).unwrap();
    writer.push(&event).unwrap();
    writer.set_first_sequence(7).unwrap();
    let len = writer.finish().unwrap();
    let expected = BlockFields { first_sequence: 7, ..common::fields() };
    assert_eq!(buf[..len], write(&expected, &[event, event]));
}

#[test]
fn a_block_is_stamped_once() {
    let mut bytes = full();
    let place = |local| block::StreamPlace { local, home: 5, home_sequence: 7 };
    assert_eq!(block::set_stream_place(&mut bytes, place(1)), Err(StampError::NotStamped));
    for zero in [Stamp { origin: HubId(0), ..stamp() }, Stamp { block: 0, ..stamp() }, Stamp { sequence: 0, ..stamp() }]
    {
        assert!(matches!(block::stamp(&mut bytes, &zero), Err(StampError::Zero { .. })));
    }
    let last = Stamp { sequence: u64::MAX - 2, ..stamp() };
    assert_eq!(block::stamp(&mut bytes, &last), Err(StampError::Sequence { first: u64::MAX - 2, events: 3 }));
    assert_eq!(bytes, full(), "a refused stamp changes nothing");
    block::stamp(&mut bytes, &stamp()).unwrap();
    assert_eq!(Block::validate(&bytes).unwrap().stamp(), Some(stamp()));
    let again = block::stamp(&mut bytes, &stamp());
    assert_eq!(again, Err(StampError::AlreadyStamped { origin: stamp().origin }));
    for half in [block::StreamPlace { home: 0, ..place(12) }, block::StreamPlace { home_sequence: 0, ..place(12) }] {
        assert!(matches!(block::set_stream_place(&mut bytes, half), Err(StampError::Home { .. })));
    }
    assert_eq!(Block::validate(&bytes).unwrap().home(), None);
    block::set_stream_place(&mut bytes, place(12)).unwrap();
    let block = Block::validate(&bytes).unwrap();
    assert_eq!((block.stream_sequence(), block.home()), (12, Some((5, 7))));
    assert_eq!(bytes[..64], full()[..64], "the producer's line is as it was");
    assert_eq!(bytes[128..], full()[128..], "the events are as they were");
    assert_eq!(block::stamp(&mut [0; 127], &stamp()), Err(StampError::TooShort { len: 127 }));
}
