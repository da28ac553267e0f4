//! A FlatBuffers payload is read where it was received: in a block, in a
//! `Deliver` frame, in a receive buffer that is aligned to 8. Every field lies
//! inside that buffer, at an address that suits its type.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use flatbuffers::{FlatBufferBuilder, Verifiable, Verifier, VerifierOptions};
use weft_base::{SubscriptionId, UnixNanos};
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{self, Frame, Peek};
use zerocopy::{FromBytes, IntoBytes};

/// Slots of the table that flatc would make of
/// `table Flight { scheduled: ulong; flight: ushort; distance: double; carrier: string; }`.
const SCHEDULED: u16 = 4;
const FLIGHT: u16 = 6;
const DISTANCE: u16 = 8;
const CARRIER: u16 = 10;

fn flight() -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let carrier = builder.create_string("UA");
    let table = builder.start_table();
    builder.push_slot_always(SCHEDULED, 1_357_034_400_000_000_000_u64);
    builder.push_slot_always(DISTANCE, 1400.0_f64);
    builder.push_slot_always(CARRIER, carrier);
    builder.push_slot_always(FLIGHT, 1545_u16);
    let root = builder.end_table(table);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

/// What flatc generates for the crate's verifier: which fields there are. It
/// checks bounds, not addresses; the test does.
struct Flight;

impl Verifiable for Flight {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Result<(), flatbuffers::InvalidFlatbuffer> {
        v.visit_table(pos)?
            .visit_field::<u64>("scheduled", SCHEDULED, true)?
            .visit_field::<u16>("flight", FLIGHT, true)?
            .visit_field::<f64>("distance", DISTANCE, true)?
            .visit_field::<flatbuffers::ForwardsUOffset<&str>>("carrier", CARRIER, true)?
            .finish();
        Ok(())
    }
}

fn verify(payload: &[u8]) -> Result<(), flatbuffers::InvalidFlatbuffer> {
    let options = VerifierOptions::default();
    flatbuffers::ForwardsUOffset::<Flight>::run_verifier(&mut Verifier::new(&options, payload), 0)
}

fn number<const N: usize>(payload: &[u8], at: usize) -> [u8; N] {
    *payload[at..].first_chunk().unwrap()
}

/// Where the table's field lies in the payload.
fn place(payload: &[u8], slot: u16) -> usize {
    let table = u32::from_le_bytes(number(payload, 0)) as usize;
    let vtable = table.checked_add_signed(-(i32::from_le_bytes(number(payload, table)) as isize)).unwrap();
    table + usize::from(u16::from_le_bytes(number(payload, vtable + usize::from(slot))))
}

/// A receive buffer with a frame at `start`: aligned to 8, as the hub's and the client's are.
fn received(start: usize) -> (Vec<u64>, usize) {
    let payload = flight();
    let event = EventFields { time: UnixNanos(1), key: b"N14228", headers: &[], payload: &payload };
    let mut buffer = vec![0_u64; 128];
    let bytes = buffer.as_mut_bytes();
    let at = start + frame::FRAME_HEADER;
    let mut writer = BlockWriter::new(&mut bytes[at..], &BlockFields::new("flights/departed/JFK")).unwrap();
    writer.push(&event).unwrap();
    writer.push(&EventFields { key: b"N1", ..event }).unwrap();
    let len = writer.finish().unwrap();
    block::stamp(&mut bytes[at..at + len], &common::stamp()).unwrap();
    bytes[start..at].copy_from_slice(&frame::deliver_head(SubscriptionId(1), len, 2));
    (buffer, start + frame::FRAME_HEADER + len)
}

fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr().addr()
}

#[test]
fn fields_are_read_where_they_were_received() {
    // At the front, and behind another frame.
    for start in [0, 40] {
        let (buffer, end) = received(start);
        let bytes = buffer.as_bytes();
        assert_eq!(address(bytes) % 8, 0);
        let Ok(Peek::Frame { len }) = frame::peek(&bytes[start..end], frame::MAX_FRAME) else { panic!("a frame") };
        let Ok(Frame::Deliver(deliver)) = Frame::decode(&bytes[start..start + len]) else { panic!("a deliver") };
        let block = Block::validate(deliver.block).unwrap();
        assert_eq!(block.events().count(), 2);
        for event in block.events() {
            let payload = event.payload;
            verify(payload).unwrap();
            let inside = address(bytes)..address(bytes) + bytes.len();
            for (slot, size) in [(SCHEDULED, 8), (FLIGHT, 2), (DISTANCE, 8), (CARRIER, 4)] {
                let field = address(payload) + place(payload, slot);
                assert!(inside.contains(&field) && inside.contains(&(field + size - 1)), "slot {slot}");
                assert_eq!(field % size, 0, "slot {slot} is aligned");
            }
            // References, not copies: an aligned reference of the field's own type.
            let scheduled = u64::ref_from_prefix(&payload[place(payload, SCHEDULED)..]).unwrap().0;
            assert_eq!(*scheduled, 1_357_034_400_000_000_000);
            assert!(inside.contains(&std::ptr::from_ref(scheduled).addr()));
            let distance = f64::ref_from_prefix(&payload[place(payload, DISTANCE)..]).unwrap().0;
            assert_eq!(*distance, 1400.0);
            let flight = u16::ref_from_prefix(&payload[place(payload, FLIGHT)..]).unwrap().0;
            assert_eq!(*flight, 1545);
            let carrier = place(payload, CARRIER);
            let carrier = carrier + u32::from_le_bytes(number(payload, carrier)) as usize;
            let carrier = &payload[carrier + 4..carrier + 4 + u32::from_le_bytes(number(payload, carrier)) as usize];
            assert_eq!(carrier, b"UA");
            assert!(inside.contains(&address(carrier)));
        }
    }
}

/// The canary: at an address that is not aligned, the same payload cannot be
/// borrowed as its fields' types.
#[test]
fn an_unaligned_payload_would_be_seen() {
    let payload = flight();
    let mut buffer = vec![0_u64; 32];
    let bytes = buffer.as_mut_bytes();
    bytes[4..4 + payload.len()].copy_from_slice(&payload);
    let unaligned = &bytes[4..4 + payload.len()];
    verify(unaligned).unwrap();
    assert!(u64::ref_from_prefix(&unaligned[place(unaligned, SCHEDULED)..]).is_err());
}
