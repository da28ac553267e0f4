//! Blocks: the input is taken as a block as it is, as one with right checksums,
//! so that the rules behind them are reached, and as instructions for a writer.
//! What is accepted must be exactly what a writer makes of what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_wire::block::layout::TRACED;
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields, HEADER_LEN};
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::trace::{BlockTrace, TraceContext};

fuzz_target!(|data: &[u8]| {
    as_it_is(data);
    sealed(data);
    written(data);
});

fn as_it_is(data: &[u8]) {
    match Block::validate(data) {
        Ok(block) => round_trip(&block),
        Err(error) => assert!(error.offset <= data.len(), "{error} is outside of {} bytes", data.len()),
    }
    // Trusted wrongly: any answer, but no panic, and nothing from outside.
    let block = Block::trusted(data);
    let _ = (block.lane(), block.topic().len(), block.stamp(), block.deadline(), block.tenant());
    let read: usize =
        block.events().map(|event| event.key.len() + event.payload.len() + event.headers.iter().count()).sum();
    assert!(read <= data.len());
    let _ = BlockTrace::of(block);
    if let Some(context) = TraceContext::parse(data) {
        assert_eq!(TraceContext::parse(context.header().as_bytes()), Some(context));
    }
}

/// The input with all that a fuzzer guesses late or never: length, magic,
/// reserved bytes, checksums.
fn sealed(data: &[u8]) {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8).max(HEADER_LEN + 24), 0);
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..7].copy_from_slice(b"WF\x01");
    bytes[7] &= 7;
    bytes[46..48].fill(0);
    bytes[50..52].fill(0);
    bytes[56..60].fill(0);
    let checksum = block::producer_checksum(&bytes);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    if bytes[64..72] == [0; 8] {
        bytes[64..128].fill(0);
    } else {
        let checksum = block::hub_checksum(&bytes);
        bytes[124..128].copy_from_slice(&checksum.to_le_bytes());
    }
    match Block::validate(&bytes) {
        Ok(block) => round_trip(&block),
        Err(error) => assert!(error.offset <= bytes.len(), "{error}"),
    }
}

/// A writer that is given what was read writes the same bytes.
fn round_trip(block: &Block<'_>) {
    // The writer flags what has a trace context; one of before did not.
    let mut contexts = block.events().map(|event| event.headers.get(names::TRACEPARENT));
    if block.flags() & TRACED == 0 && contexts.any(|context| context.is_some()) {
        return;
    }
    let fields = BlockFields {
        topic: block.topic(),
        lane: block.lane(),
        flags: block.flags(),
        schema: block.schema(),
        producer: block.producer(),
        first_sequence: block.first_sequence(),
        deadline: block.deadline(),
        tenant: block.tenant(),
        residency: block.residency(),
    };
    let mut again = vec![0x55; block.len()];
    let mut headers = Vec::new();
    let mut writer = BlockWriter::new(&mut again, &fields).expect("the topic of a valid block");
    for event in block.events() {
        let mut out = HeadersWriter::new(&mut headers);
        for (name, value) in event.headers {
            out.push(name, value).expect("a header of a valid block");
        }
        let event = EventFields { time: event.time, key: event.key, headers: &headers, payload: event.payload };
        writer.push(&event).expect("an event of a valid block");
    }
    assert_eq!(writer.finish(), Ok(block.len()));
    let mut bytes = block.bytes().to_vec();
    if let Some(stamp) = block.stamp() {
        block::stamp_for(&mut again, &stamp, block.way()).expect("the stamp of a valid block");
        let (home, home_sequence) = block.home().unwrap_or_default();
        let place = block::StreamPlace { local: block.stream_sequence(), home, home_sequence };
        if (place.local, place.home, place.home_sequence) != (0, 0, 0) {
            block::set_stream_place(&mut again, place).expect("the place of a valid block");
            // What is in a stream is written without a way.
            block::forget_way(&mut bytes).expect("it is stamped");
        }
    }
    assert!(again == bytes, "a block has one encoding");
}

/// The input as lengths and bytes of events: what a writer takes is valid.
fn written(data: &[u8]) {
    let mut buf = [0x55; 4096];
    let Some((&[room, topic_len], mut rest)) = data.split_first_chunk() else { return };
    let topic = "t".repeat(usize::from(topic_len));
    let room = usize::from(room) * 16;
    let Ok(mut writer) = BlockWriter::new(&mut buf[..room], &BlockFields::new(&topic)) else { return };
    let mut payloads = Vec::new();
    while let Some((&[key, headers, payload], tail)) = rest.split_first_chunk() {
        let lengths = [key, headers, payload].map(usize::from);
        let Some((bytes, tail)) = tail.split_at_checked(lengths.iter().sum()) else { break };
        rest = tail;
        let (key, bytes) = bytes.split_at(lengths[0]);
        let (headers, payload) = bytes.split_at(lengths[1]);
        let before = writer.len();
        match writer.push(&EventFields { key, headers, payload, ..EventFields::default() }) {
            Ok(()) => payloads.push((key, payload)),
            Err(_) => assert_eq!(writer.len(), before, "a refused event leaves nothing"),
        }
    }
    let Ok(len) = writer.finish() else { return };
    let block = Block::validate(&buf[..len]).expect("what a writer wrote");
    assert!(block.events().map(|event| (event.key, event.payload)).eq(payloads));
}
