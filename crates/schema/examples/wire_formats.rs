//! What it costs to check a payload of about 256 bytes, in Protobuf and in
//! FlatBuffers, beside the library that builds a message of it:
//! `cargo run --release -p weft-schema --example wire_formats`
//!
//! One core; the median of seven rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prost_reflect::{DescriptorPool, DynamicMessage};
use weft_schema::flatbuffers::FlatBuffers;
use weft_schema::protobuf::Protobuf;
use weft_schema::{Compiled, Payload, SchemaLimits, Source};

const ROUNDS: usize = 7;
const EACH: u32 = 200_000;

const TEXT: &str = r#"syntax = "proto3"; package shop; message Order {
    uint64 id = 1; string customer = 2; repeated Line lines = 3; map<string, string> labels = 4;
    double weight = 5; bool express = 6; repeated sint64 numbers = 7;
    message Line { string sku = 1; uint32 count = 2; double price = 3; } }"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = SchemaLimits::default();
    let schema = Protobuf::compile(&Source::alone(TEXT), &limits)?;
    let payload = order();
    let bytes = payload.as_slice();
    schema.check(Payload::of(bytes)).map_err(|violation| violation.to_string())?;
    println!("protobuf, {} bytes", bytes.len());
    report("checked", || drop(black_box(schema.check(Payload::of(black_box(bytes))))));
    let descriptor = descriptor()?;
    report("decoded by prost-reflect", || {
        drop(black_box(DynamicMessage::decode(descriptor.clone(), black_box(bytes))));
    });
    let binary = include_bytes!("../src/flatbuffers/golden/order.bfbs");
    let buffer = include_bytes!("../src/flatbuffers/golden/order.bin").as_slice();
    let schema = FlatBuffers::from_binary(binary, &limits)?;
    schema.check(Payload::of(buffer)).map_err(|violation| violation.to_string())?;
    println!("flatbuffers, {} bytes", buffer.len());
    report("verified", || drop(black_box(schema.check(Payload::of(black_box(buffer))))));
    Ok(())
}

fn report(what: &str, mut work: impl FnMut()) {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..EACH).for_each(|_| work());
            start.elapsed() / EACH
        })
        .collect();
    rounds.sort();
    println!("  {what}: {} ns", rounds.get(ROUNDS / 2).copied().unwrap_or_default().as_nanos());
}

/// The bytes of an order with five lines.
fn order() -> Vec<u8> {
    let mut out = vec![0x08, 0xd2, 0x85, 0xd8, 0xcc, 0x04, 0x12, 16];
    out.extend(b"customer-0012345");
    for line in 0..5_u8 {
        let mut inner = vec![0x0a, 10];
        inner.extend(b"sku-00000");
        inner.push(b'0' + line);
        inner.extend([0x10, 100 + line, 0x19]);
        inner.extend((f64::from(line) * 1.5).to_le_bytes());
        out.extend([0x1a, inner.len() as u8]);
        out.extend(inner);
    }
    for label in ["region", "channel"] {
        let mut inner = vec![0x0a, label.len() as u8];
        inner.extend(label.as_bytes());
        inner.extend([0x12, 8]);
        inner.extend(b"eu-west1");
        out.extend([0x22, inner.len() as u8]);
        out.extend(inner);
    }
    out.push(0x29);
    out.extend(12.5_f64.to_le_bytes());
    out.extend([0x30, 1, 0x3a, 30]);
    (0..10).for_each(|_| out.extend([0x80, 0x81, 0x02]));
    out
}

/// The same schema for the library.
fn descriptor() -> Result<prost_reflect::MessageDescriptor, Box<dyn std::error::Error>> {
    let file = protox::file::File::from_source("order.proto", TEXT)?;
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(file.file_descriptor_proto().clone())?;
    pool.get_message_by_name("shop.Order").ok_or_else(|| "there is no order".into())
}
