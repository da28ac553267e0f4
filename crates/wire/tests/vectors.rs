//! Golden vectors: the bytes of a block in each of its states and of a frame of
//! each kind, compared byte for byte. Whoever writes Weft's format in another
//! language starts from `vectors/`.
//!
//! A difference here is a change of the format: it needs a new version, and the
//! old vectors stay. While nothing is released, `WEFT_BLESS=1 cargo test -p
//! weft-wire --test vectors` writes the files anew; the commit says why.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Once;

use weft_wire::block::Block;
use weft_wire::frame::{Frame, Kind};

/// In the clone that this runs in, which need not be the one it was built in.
fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo runs this").join("vectors")
}

/// Sixteen bytes a line, in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        for (place, byte) in line.iter().enumerate() {
            write!(text, "{}{byte:02x}", if place == 0 { "" } else { " " }).unwrap();
        }
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn blocks() -> Vec<(String, Vec<u8>)> {
    [
        ("block-smallest", common::smallest()),
        ("block-full", common::full()),
        ("block-stamped", common::stamped()),
        ("block-in-stream", common::in_stream()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn frames() -> Vec<(String, Vec<u8>)> {
    common::frames()
        .iter()
        .map(|frame| {
            (format!("frame-{:02}-{:?}", frame.kind() as u8, frame.kind()).to_lowercase(), common::encoded(frame))
        })
        .collect()
}

/// Frames that say something besides the one of their kind.
fn others() -> Vec<(String, Vec<u8>)> {
    vec![("frame-116-ask-topics".to_owned(), common::encoded(&Frame::Ask(common::between::ask_for_topics())))]
}

fn all() -> Vec<(String, Vec<u8>)> {
    blocks().into_iter().chain(frames()).chain(others()).collect()
}

/// The text of a vector's file; the first call writes all files, if asked to.
fn read(name: &str) -> String {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("WEFT_BLESS").is_some() {
            for (name, bytes) in all() {
                std::fs::write(folder().join(name).with_extension("hex"), hex(&bytes)).unwrap();
            }
        }
    });
    std::fs::read_to_string(folder().join(name).with_extension("hex")).unwrap()
}

#[test]
fn the_bytes_are_those_of_the_vectors() {
    let all = all();
    for (name, bytes) in &all {
        assert_eq!(hex(bytes), read(name), "{name}");
    }
    let names: BTreeSet<String> = all.iter().map(|(name, _)| format!("{name}.hex")).collect();
    let found: BTreeSet<String> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, names, "each vector has its file, and each file its vector");
}

#[test]
fn the_vectors_are_read_as_what_they_say() {
    for frame in common::frames() {
        let name = format!("frame-{:02}-{:?}", frame.kind() as u8, frame.kind()).to_lowercase();
        let bytes = unhex(&read(&name));
        assert_eq!(Frame::decode(&bytes), Ok(frame), "{name}");
    }
    let bytes = unhex(&read("frame-116-ask-topics"));
    assert_eq!(Frame::decode(&bytes), Ok(Frame::Ask(common::between::ask_for_topics())));
    let bytes = unhex(&read("block-in-stream"));
    let block = Block::validate(&bytes).unwrap();
    assert_eq!(block.topic(), common::TOPIC);
    assert_eq!(block.stamp(), Some(common::stamp()));
    assert_eq!(block.stream_sequence(), 500_001);
    assert_eq!(block.home(), Some((0xa, 400_001)));
    let payloads: Vec<_> = block.events().map(|event| event.payload).collect();
    assert_eq!(payloads, [b"UA 1545 to IAH".as_slice(), b"8 bytes.", &[0xff; 17]]);
}

#[test]
fn a_stream_of_no_tenant_is_what_it_was_in_version_1() {
    let frames = common::frames();
    let create =
        frames.iter().find_map(|frame| if let Frame::StreamCreate(create) = frame { Some(create) } else { None });
    let mut create = create.unwrap().clone();
    create.spec.tenant = "";
    let bytes = common::encoded(&Frame::StreamCreate(create));
    // What is behind the prefix of a mirror: how it is when no home can be reached, then
    // the number of the tenant, then the largest event, then padding.
    let mut end = b"flights/".to_vec();
    end.push(1);
    end.extend(0_u32.to_le_bytes());
    end.extend(65_536_u32.to_le_bytes());
    let at = bytes.windows(end.len()).rposition(|part| part == end);
    assert!(at.is_some_and(|at| bytes[at + end.len()..].iter().all(|byte| *byte == 0)), "{bytes:02x?}");
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    let kinds: Vec<Kind> = common::frames().iter().map(Frame::kind).collect();
    assert_eq!(kinds, Kind::ALL);
}

#[test]
fn a_changed_byte_would_be_seen() {
    let (name, mut bytes) = blocks().remove(0);
    bytes[16] ^= 1;
    assert_ne!(hex(&bytes), read(&name));
}
