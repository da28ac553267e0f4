//! The published SBE schema says what the code does: every field of the code is
//! in the schema at the same offset and with the same size, and no other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::mem::offset_of;

use weft_wire::block::layout::{EventHeader, HubLine, ProducerLine};
use weft_wire::block::{EVENT_HEADER_LEN, MAGIC, MAX_EVENTS, MAX_TOPIC, VERSION};

const SCHEMA: &str = include_str!("../weft-block.sbe.xml");

/// Name, offset and size of a field.
type Field = (String, usize, usize);

fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! fields {
    ($structure:ident: $($field:ident),+) => {
        vec![$((
            stringify!($field).to_owned(),
            offset_of!($structure, $field),
            size_of_field(|s: &$structure| &s.$field),
        )),+]
    };
}

fn of_the_code(name: &str) -> Vec<Field> {
    match name {
        "producer_line" => fields!(ProducerLine: length, magic, version, lane, flags, schema, producer, first_sequence,
            deadline, tenant, event_count, topic_len, reserved_50, residency, reserved_56, checksum),
        "hub_line" => fields!(HubLine: origin, epoch, way, block, sequence, ingested, stream_sequence,
            home_sequence, home, checksum),
        "event_header" => fields!(EventHeader: payload_len, key_len, headers_len, time),
        other => panic!("the schema describes `{other}`, which the code does not have"),
    }
}

fn size_of_primitive(name: &str) -> usize {
    match name {
        "uint8" => 1,
        "uint16" => 2,
        "uint32" => 4,
        "uint64" => 8,
        other => panic!("`{other}` is no primitive type that the block uses"),
    }
}

/// Name and fields of each composite.
fn of_the_schema(text: &str) -> Vec<(String, Vec<Field>)> {
    let document = roxmltree::Document::parse(text).unwrap();
    let attribute = |node: &roxmltree::Node<'_, '_>, name: &str| {
        node.attribute(name).unwrap_or_else(|| panic!("{} has no {name}", node.tag_name().name())).to_owned()
    };
    document
        .descendants()
        .filter(|node| node.has_tag_name("composite"))
        .map(|composite| {
            let fields = composite
                .children()
                .filter(|child| child.is_element())
                .map(|field| {
                    assert!(field.has_tag_name("type"), "a field is a type");
                    let size = size_of_primitive(&attribute(&field, "primitiveType"));
                    (attribute(&field, "name"), attribute(&field, "offset").parse().unwrap(), size)
                })
                .collect();
            (attribute(&composite, "name"), fields)
        })
        .collect()
}

fn differences(text: &str) -> Vec<String> {
    of_the_schema(text)
        .into_iter()
        .filter(|(name, fields)| *fields != of_the_code(name))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn schema_and_code_say_the_same() {
    let names: Vec<String> = of_the_schema(SCHEMA).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["producer_line", "hub_line", "event_header"]);
    assert_eq!(differences(SCHEMA), [""; 0]);
}

#[test]
fn fields_fill_their_structures() {
    for (name, size) in [("producer_line", 64), ("hub_line", 64), ("event_header", EVENT_HEADER_LEN)] {
        let mut end = 0;
        for (field, offset, len) in of_the_code(name) {
            assert_eq!(offset, end, "{name}.{field} follows the field before it");
            assert!(offset.is_multiple_of(len), "{name}.{field} is aligned");
            end = offset + len;
        }
        assert_eq!(end, size, "{name}");
    }
}

#[test]
fn the_schema_names_the_codes_numbers() {
    let document = roxmltree::Document::parse(SCHEMA).unwrap();
    let field = |name: &str| document.descendants().find(|node| node.attribute("name") == Some(name)).unwrap();
    assert_eq!(document.root_element().attribute("byteOrder"), Some("littleEndian"));
    assert_eq!(document.root_element().attribute("version"), Some(VERSION.to_string().as_str()));
    assert_eq!(field("magic").attribute("description"), Some(format!("{MAGIC:#x}").as_str()));
    assert_eq!(field("event_count").attribute("maxValue"), Some(MAX_EVENTS.to_string().as_str()));
    assert_eq!(field("topic_len").attribute("maxValue"), Some(MAX_TOPIC.to_string().as_str()));
    assert_eq!(field("lane").attribute("maxValue"), Some("7"));
}

#[test]
fn a_moved_field_would_be_seen() {
    let moved = SCHEMA.replace(
        r#"name="deadline" primitiveType="uint64" offset="32""#,
        r#"name="deadline" primitiveType="uint64" offset="40""#,
    );
    assert_ne!(moved, SCHEMA);
    assert_eq!(differences(&moved), ["producer_line"]);
    let narrowed =
        SCHEMA.replace(r#"name="key_len" primitiveType="uint16""#, r#"name="key_len" primitiveType="uint8""#);
    assert_eq!(differences(&narrowed), ["event_header"]);
}
