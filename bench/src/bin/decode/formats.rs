//! A flight as Protobuf, as FlatBuffers, and with fixed offsets.
#![forbid(unsafe_code)]

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Verifiable, Verifier, VerifierOptions};
use prost::Message;
use zerocopy::little_endian::{I16, U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::flight::{Flight, Wanted};

/// The Protobuf message, as protoc would have prost generate it.
#[derive(Clone, PartialEq, Message)]
struct FlightProto {
    #[prost(uint32, tag = "1")]
    year: u32,
    #[prost(uint32, tag = "2")]
    month: u32,
    #[prost(uint32, tag = "3")]
    day: u32,
    #[prost(sint32, optional, tag = "4")]
    dep_time: Option<i32>,
    #[prost(sint32, tag = "5")]
    sched_dep_time: i32,
    #[prost(sint32, optional, tag = "6")]
    dep_delay: Option<i32>,
    #[prost(sint32, optional, tag = "7")]
    arr_time: Option<i32>,
    #[prost(sint32, tag = "8")]
    sched_arr_time: i32,
    #[prost(sint32, optional, tag = "9")]
    arr_delay: Option<i32>,
    #[prost(string, tag = "10")]
    carrier: String,
    #[prost(uint32, tag = "11")]
    flight: u32,
    #[prost(string, tag = "12")]
    tailnum: String,
    #[prost(string, tag = "13")]
    origin: String,
    #[prost(string, tag = "14")]
    dest: String,
    #[prost(sint32, optional, tag = "15")]
    air_time: Option<i32>,
    #[prost(uint32, tag = "16")]
    distance: u32,
    #[prost(uint32, tag = "17")]
    hour: u32,
    #[prost(uint32, tag = "18")]
    minute: u32,
    #[prost(fixed64, tag = "19")]
    time_hour: u64,
}

pub(crate) fn protobuf(flight: &Flight<&str>) -> Option<Vec<u8>> {
    let wide = |value: Option<i16>| value.map(i32::from);
    let message = FlightProto {
        year: flight.year.into(),
        month: flight.month.into(),
        day: flight.day.into(),
        dep_time: wide(flight.dep_time),
        sched_dep_time: flight.sched_dep_time.into(),
        dep_delay: wide(flight.dep_delay),
        arr_time: wide(flight.arr_time),
        sched_arr_time: flight.sched_arr_time.into(),
        arr_delay: wide(flight.arr_delay),
        carrier: flight.carrier.into(),
        flight: flight.flight.into(),
        tailnum: flight.tailnum.into(),
        origin: flight.origin.into(),
        dest: flight.dest.into(),
        air_time: wide(flight.air_time),
        distance: flight.distance.into(),
        hour: flight.hour.into(),
        minute: flight.minute.into(),
        time_hour: flight.time()?,
    };
    Some(message.encode_to_vec())
}

pub(crate) fn read_protobuf(bytes: &[u8]) -> Option<Wanted> {
    let message = FlightProto::decode(bytes).ok()?;
    let delay = message.arr_delay.map(i16::try_from).transpose().ok()?;
    Some((u16::try_from(message.flight).ok()?, delay, *message.dest.as_bytes().first_chunk()?))
}

/// The FlatBuffers table: the slot of the nth field.
const fn slot(field: u16) -> u16 {
    4 + 2 * field
}
const ARR_DELAY: u16 = slot(8);
const FLIGHT: u16 = slot(10);
const DEST: u16 = slot(13);

pub(crate) fn flatbuffer(flight: &Flight<&str>) -> Option<Vec<u8>> {
    let mut builder = FlatBufferBuilder::new();
    let texts = [flight.carrier, flight.tailnum, flight.origin, flight.dest].map(|text| builder.create_string(text));
    let table = builder.start_table();
    builder.push_slot_always(slot(18), flight.time()?);
    for (field, text) in [9, 11, 12, 13].into_iter().zip(texts) {
        builder.push_slot_always(slot(field), text);
    }
    for (field, value) in [(0, flight.year), (10, flight.flight), (15, flight.distance)] {
        builder.push_slot_always(slot(field), value);
    }
    for (field, value) in [
        (3, flight.dep_time),
        (4, Some(flight.sched_dep_time)),
        (5, flight.dep_delay),
        (6, flight.arr_time),
        (7, Some(flight.sched_arr_time)),
        (8, flight.arr_delay),
        (14, flight.air_time),
    ] {
        if let Some(value) = value {
            builder.push_slot_always(slot(field), value);
        }
    }
    for (field, value) in [(1, flight.month), (2, flight.day), (16, flight.hour), (17, flight.minute)] {
        builder.push_slot_always(slot(field), value);
    }
    let root = builder.end_table(table);
    builder.finish_minimal(root);
    Some(builder.finished_data().to_vec())
}

/// What flatc generates for the verifier.
struct FlightTable;

impl Verifiable for FlightTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Result<(), flatbuffers::InvalidFlatbuffer> {
        let mut table = v.visit_table(pos)?;
        for field in [0, 10, 15] {
            table = table.visit_field::<u16>("number", slot(field), false)?;
        }
        for field in [1, 2, 16, 17] {
            table = table.visit_field::<u8>("number", slot(field), false)?;
        }
        for field in [3, 4, 5, 6, 7, 8, 14] {
            table = table.visit_field::<i16>("number", slot(field), false)?;
        }
        for field in [9, 11, 12, 13] {
            table = table.visit_field::<ForwardsUOffset<&str>>("text", slot(field), true)?;
        }
        table.visit_field::<u64>("time_hour", slot(18), false)?.finish();
        Ok(())
    }
}

pub(crate) fn verify_flatbuffer(bytes: &[u8]) -> Option<&[u8]> {
    let options = VerifierOptions::default();
    ForwardsUOffset::<FlightTable>::run_verifier(&mut Verifier::new(&options, bytes), 0).ok()?;
    Some(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(crate) fn read_flatbuffer(bytes: &[u8]) -> Option<Wanted> {
    let table = u32::from_le_bytes(number(bytes, 0)?) as usize;
    let back = i32::from_le_bytes(number(bytes, table)?);
    let vtable = table.checked_add_signed((back as isize).checked_neg()?)?;
    let size = u16::from_le_bytes(number(bytes, vtable)?);
    let field = |slot: u16| -> Option<usize> {
        let offset = if slot < size { u16::from_le_bytes(number(bytes, vtable + usize::from(slot))?) } else { 0 };
        (offset != 0).then_some(table + usize::from(offset))
    };
    let flight = u16::from_le_bytes(number(bytes, field(FLIGHT)?)?);
    let delay = field(ARR_DELAY).and_then(|at| number(bytes, at)).map(i16::from_le_bytes);
    let text = field(DEST)?;
    let text = text + u32::from_le_bytes(number(bytes, text)?) as usize;
    Some((flight, delay, number(bytes, text + 4)?))
}

/// The payload in Weft's block: fixed offsets, as SBE has them. An absent
/// number is `i16::MIN`, an absent text is filled with zeros.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct FlightFixed {
    pub(crate) time_hour: U64,
    year: U16,
    flight: U16,
    distance: U16,
    dep_time: I16,
    sched_dep_time: I16,
    dep_delay: I16,
    arr_time: I16,
    sched_arr_time: I16,
    arr_delay: I16,
    air_time: I16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    carrier: [u8; 2],
    tailnum: [u8; 6],
    origin: [u8; 3],
    dest: [u8; 3],
}

fn fixed_text<const N: usize>(text: &str) -> [u8; N] {
    let mut fixed = [0; N];
    fixed.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    fixed
}

impl FlightFixed {
    pub(crate) fn of(flight: &Flight<&str>) -> Option<Self> {
        let optional = |value: Option<i16>| I16::new(value.unwrap_or(i16::MIN));
        Some(Self {
            time_hour: U64::new(flight.time()?),
            year: U16::new(flight.year),
            flight: U16::new(flight.flight),
            distance: U16::new(flight.distance),
            dep_time: optional(flight.dep_time),
            sched_dep_time: I16::new(flight.sched_dep_time),
            dep_delay: optional(flight.dep_delay),
            arr_time: optional(flight.arr_time),
            sched_arr_time: I16::new(flight.sched_arr_time),
            arr_delay: optional(flight.arr_delay),
            air_time: optional(flight.air_time),
            month: flight.month,
            day: flight.day,
            hour: flight.hour,
            minute: flight.minute,
            carrier: fixed_text(flight.carrier),
            tailnum: fixed_text(flight.tailnum),
            origin: fixed_text(flight.origin),
            dest: fixed_text(flight.dest),
        })
    }
}

pub(crate) fn read_fixed(payload: &[u8]) -> Option<Wanted> {
    let flight = FlightFixed::ref_from_bytes(payload).ok()?;
    let delay = flight.arr_delay.get();
    Some((flight.flight.get(), (delay != i16::MIN).then_some(delay), flight.dest))
}
