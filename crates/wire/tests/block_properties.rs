//! Properties of blocks over random ones: what is written is read, one flipped
//! bit is refused wherever it is, and no bytes at all make the reader panic.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use proptest::collection::vec;
use proptest::prelude::*;
use weft_base::{Epoch, HubId, Lane, ProducerId, Residency, TenantId, UnixNanos};
use weft_wire::block::{self, Block, BlockFields, EventFields, Stamp};
use weft_wire::headers::{Headers, HeadersWriter};

#[derive(Clone, Debug)]
struct OwnedEvent {
    time: u64,
    key: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct OwnedBlock {
    topic: String,
    lane: u8,
    numbers: (u32, u32, u32),
    producer: u64,
    first_sequence: u64,
    deadline: u64,
    events: Vec<OwnedEvent>,
    stamp: Option<Stamp>,
}

fn event() -> impl Strategy<Value = OwnedEvent> {
    let header = ("[!-~]{1,12}", vec(any::<u8>(), 0..12));
    (any::<u64>(), vec(any::<u8>(), 0..20), vec(header, 0..3), vec(any::<u8>(), 0..80))
        .prop_map(|(time, key, headers, payload)| OwnedEvent { time, key, headers, payload })
}

fn any_stamp() -> impl Strategy<Value = Stamp> {
    (1..=u64::MAX, any::<u32>(), 1..=u64::MAX, 1..u64::MAX / 2, any::<u64>()).prop_map(
        |(origin, epoch, block, sequence, ingested)| Stamp {
            origin: HubId(origin),
            epoch: Epoch(epoch),
            block,
            sequence,
            ingested: UnixNanos(ingested),
        },
    )
}

fn any_block() -> impl Strategy<Value = OwnedBlock> {
    let line = (any::<(u32, u32, u32)>(), any::<u64>(), 0..u64::MAX / 2, any::<u64>());
    ("\\PC{1,40}", 0..8u8, line, vec(event(), 1..8), proptest::option::of(any_stamp())).prop_map(
        |(topic, lane, (numbers, producer, first_sequence, deadline), events, stamp)| OwnedBlock {
            topic,
            lane,
            numbers,
            producer,
            first_sequence,
            deadline,
            events,
            stamp,
        },
    )
}

impl OwnedBlock {
    fn fields(&self) -> BlockFields<'_> {
        BlockFields {
            topic: &self.topic,
            lane: Lane::new(self.lane).unwrap(),
            flags: self.numbers.0,
            schema: self.numbers.1,
            producer: ProducerId(self.producer),
            first_sequence: self.first_sequence,
            deadline: UnixNanos(self.deadline),
            tenant: TenantId(self.numbers.2),
            residency: Residency(self.numbers.2.rotate_left(7)),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<Vec<u8>> = self.events.iter().map(|event| encode_headers(&event.headers)).collect();
        let events: Vec<EventFields<'_>> = self
            .events
            .iter()
            .zip(&headers)
            .map(|(event, headers)| EventFields {
                time: UnixNanos(event.time),
                key: &event.key,
                headers,
                payload: &event.payload,
            })
            .collect();
        let mut bytes = common::write(&self.fields(), &events);
        if let Some(stamp) = &self.stamp {
            block::stamp(&mut bytes, stamp).unwrap();
        }
        bytes
    }
}

fn encode_headers(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = HeadersWriter::new(&mut bytes);
    for (name, value) in headers {
        writer.push(name, value).unwrap();
    }
    bytes
}

/// Reads all there is, as a hub does with bytes that it validated before.
fn read_all(bytes: &[u8]) -> usize {
    let block = Block::trusted(bytes);
    let _ = (block.lane(), block.topic(), block.stamp(), block.stream_sequence(), block.deadline());
    block.events().map(|event| event.key.len() + event.payload.len() + event.headers.iter().count()).sum()
}

/// Validates bytes of which nothing is known.
fn check_hostile(bytes: &[u8]) {
    if let Err(error) = Block::validate(bytes) {
        assert!(error.offset <= bytes.len(), "{error:?} of {} bytes", bytes.len());
    }
    read_all(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_written_is_read(owned in any_block()) {
        let bytes = owned.bytes();
        let block = Block::validate(&bytes).unwrap();
        prop_assert_eq!(block.topic(), &owned.topic);
        prop_assert_eq!(block.producer().0, owned.producer);
        prop_assert_eq!(block.first_sequence(), owned.first_sequence);
        prop_assert_eq!(block.stamp(), owned.stamp);
        prop_assert_eq!(block.event_count() as usize, owned.events.len());
        prop_assert_eq!(block.events().count(), owned.events.len());
        for (event, owned) in block.events().zip(&owned.events) {
            prop_assert_eq!(event.time.0, owned.time);
            prop_assert_eq!(event.key, &owned.key);
            prop_assert_eq!(event.payload, &owned.payload);
            let headers: Vec<_> = event.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
            prop_assert_eq!(&headers, &owned.headers);
        }
    }

    #[test]
    fn a_flipped_bit_is_refused(owned in any_block(), place in any::<prop::sample::Index>()) {
        let mut bytes = owned.bytes();
        let bit = place.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = Block::validate(&bytes).unwrap_err();
        prop_assert!(error.offset <= bytes.len());
        read_all(&bytes);
    }

    #[test]
    fn truncated_blocks_are_refused(owned in any_block(), place in any::<prop::sample::Index>()) {
        let bytes = owned.bytes();
        let short = &bytes[..place.index(bytes.len())];
        prop_assert!(Block::validate(short).is_err());
        check_hostile(short);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        check_hostile(&bytes);
    }

    /// With the checksums right, the rules behind them are reached.
    #[test]
    fn hostile_blocks_never_panic(
        owned in any_block(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = owned.bytes();
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        common::reseal(&mut bytes);
        check_hostile(&bytes);
    }

    #[test]
    fn random_headers_never_panic(bytes in vec(any::<u8>(), 0..60)) {
        let read = Headers::trusted(&bytes).iter().count();
        match Headers::validate(&bytes) {
            Ok(headers) => {
                let all: Vec<_> = headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
                prop_assert_eq!(all.len(), read);
                prop_assert_eq!(encode_headers(&all), bytes);
            }
            Err(error) => prop_assert!(error.offset() <= bytes.len()),
        }
    }
}

#[test]
fn every_flipped_bit_of_these_blocks_is_refused() {
    for bytes in [common::smallest(), common::full(), common::stamped(), common::in_stream()] {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Block::validate(&flipped).is_err(), "bit {bit} of {}", bytes.len());
        }
    }
}

/// The canary: a checker that does not look at the checksums takes flipped bits.
#[test]
fn without_the_checksums_flipped_bits_pass() {
    let bytes = common::full();
    let passed = (0..bytes.len() * 8)
        .filter(|bit| {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            common::reseal(&mut flipped);
            Block::validate(&flipped).is_ok()
        })
        .count();
    assert!(passed > bytes.len(), "{passed} flips pass when sealed again");
}
