//! What it costs to check a payload of about 256 bytes in each format, beside the
//! library that checks it or builds a value of it, where there is one:
//! `cargo run --release -p weft-schema --example wire_formats`
//!
//! One core; the median of seven rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use prost_reflect::{DescriptorPool, DynamicMessage};
use weft_schema::avro::AvroSchema;
use weft_schema::flatbuffers::FlatBuffers;
use weft_schema::json::JsonSchema;
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
    json(&limits)?;
    avro(&limits)?;
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

const JSON: &str = r#"{"type":"object","required":["id","customer","lines"],"properties":{"id":{"type":"integer"},
    "customer":{"type":"string","maxLength":64},"express":{"type":"boolean"},"lines":{"type":"array","items":{"type":"object",
    "required":["sku","count"],"properties":{"sku":{"type":"string"},"count":{"type":"integer","minimum":1},"price":{"type":"number"}}}}}}"#;

fn json(limits: &SchemaLimits) -> Result<(), Box<dyn std::error::Error>> {
    let schema = JsonSchema::compile(&Source::alone(JSON), limits)?;
    let lines: Vec<String> =
        (0..4).map(|line| format!(r#"{{"sku":"sku-00000{line}","count":{},"price":{line}.5}}"#, line + 1)).collect();
    let text = format!(
        r#"{{"id":1234567890,"customer":"customer-0012345","express":true,"lines":[{}],"note":"leave it at the door"}}"#,
        lines.join(",")
    );
    let bytes = text.as_bytes();
    schema.check(Payload::of(bytes)).map_err(|violation| violation.to_string())?;
    println!("json, {} bytes", bytes.len());
    report("checked", || drop(black_box(schema.check(Payload::of(black_box(bytes))))));
    let library = jsonschema::validator_for(&serde_json::from_str(JSON)?)?;
    report("parsed by serde_json and checked by jsonschema", || {
        let value: Option<serde_json::Value> = serde_json::from_slice(black_box(bytes)).ok();
        black_box(value.is_some_and(|value| library.is_valid(&value)));
    });
    Ok(())
}

const AVRO: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"customer","type":"string"},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},
    {"name":"count","type":"int"},{"name":"price","type":"double"}]}}}]}"#;

fn avro(limits: &SchemaLimits) -> Result<(), Box<dyn std::error::Error>> {
    let schema = AvroSchema::compile(&Source::alone(AVRO), limits)?;
    // Zigzag: the id 1, a customer of 16 bytes, then ten lines and the end of them.
    let mut datum = vec![2, 32];
    datum.extend(b"customer-0012345");
    datum.push(20);
    for line in 0..10_u8 {
        datum.push(20);
        datum.extend(b"sku-00000");
        datum.extend([b'0' + line, 2]);
        datum.extend((f64::from(line) * 1.5).to_le_bytes());
    }
    datum.push(0);
    let bytes = datum.as_slice();
    schema.check(Payload::of(bytes)).map_err(|violation| violation.to_string())?;
    println!("avro, {} bytes", bytes.len());
    report("checked", || drop(black_box(schema.check(Payload::of(black_box(bytes))))));
    let parsed = apache_avro::Schema::parse_str(AVRO)?;
    let library = GenericDatumReader::builder(&parsed).build()?;
    report("read by apache-avro", || {
        drop(black_box(library.read_value(&mut black_box(bytes))));
    });
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
