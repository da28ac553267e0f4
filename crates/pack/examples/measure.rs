//! What packing does to a link's blocks, and what it costs: events from a file,
//! a line each, in frames as they go between hubs, in batches as a link packs
//! them. `cargo run --release -p weft-pack --example measure [FILE]`
//!
//! One core; the median of seven rounds over all batches.

use std::time::{Duration, Instant};

use weft_base::HubId;
use weft_pack::{Codec, Packer};
use weft_wire::block::{BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{FlowEntry, FlowKind, forward_head};

const FILE: &str = "examples/flights/flights-2013-01-01_03.csv";
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| FILE.to_owned());
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let lines: Vec<&str> = text.lines().skip(1).collect();
    println!("{file}: {} events of {} bytes on average", lines.len(), text.len() / lines.len().max(1));
    println!(
        "| events a block, bytes a batch | | of the bytes | packed, MB/s | unpacked, MB/s |\n|---|---|--:|--:|--:|"
    );
    for (events, most) in [(1, 1), (1, 8 << 10), (1, 64 << 10), (20, 64 << 10)] {
        let batches = batches(&lines, events, most)?;
        let plain: usize = batches.iter().map(Vec::len).sum();
        for codec in Codec::ALL {
            let (len, packing, unpacking) = measure(codec, &batches)?;
            let rate = |time: Duration| plain as f64 / 1e6 / time.as_secs_f64();
            println!(
                "| {events}, {} | {} | {:.0} % | {:.0} | {:.0} |",
                plain / batches.len(),
                codec.name(),
                len as f64 * 100.0 / plain as f64,
                rate(packing),
                rate(unpacking)
            );
        }
    }
    Ok(())
}

/// Frames of so many events each, together up to so many bytes.
fn batches(lines: &[&str], events: usize, most: usize) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    let mut room = vec![0; 64 << 10];
    for (number, group) in lines.chunks(events).enumerate() {
        let fields =
            BlockFields { first_sequence: (number * events) as u64 + 1, ..BlockFields::new("flights/departed/JFK") };
        let mut writer = BlockWriter::new(&mut room, &fields)?;
        for line in group {
            writer.push(&EventFields { payload: line.as_bytes(), ..EventFields::default() })?;
        }
        let len = writer.finish()?;
        let sequence = (number * events) as u64;
        let (hub, kind) = (HubId::of_name("chicago"), FlowKind::Live);
        let entry = FlowEntry { hub, incarnation: 1, kind, retransmit: false, sequence, base: 0 };
        let mut frame = Vec::new();
        forward_head(&[entry], 8, len, &mut frame)?;
        frame.extend_from_slice(&room[..len]);
        match batches.last_mut().filter(|batch| batch.len() + frame.len() <= most) {
            Some(batch) => batch.extend_from_slice(&frame),
            None => batches.push(frame),
        }
    }
    Ok(batches)
}

/// Bytes of all batches once packed, and how long packing and unpacking all of them take.
fn measure(codec: Codec, batches: &[Vec<u8>]) -> Result<(usize, Duration, Duration), Box<dyn std::error::Error>> {
    let mut packer = Packer::new();
    let (mut packing, mut unpacking, mut total) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let mut packed: Vec<Vec<u8>> = batches.iter().map(|batch| vec![0; codec.bound(batch.len())]).collect();
        let begun = Instant::now();
        for (batch, out) in batches.iter().zip(&mut packed) {
            let len = packer.pack(codec, batch, out).ok_or("no room")?;
            out.truncate(len);
        }
        packing.push(begun.elapsed());
        total = packed.iter().map(Vec::len).sum();
        let mut plain: Vec<Vec<u8>> = batches.iter().map(|batch| vec![0; batch.len()]).collect();
        let begun = Instant::now();
        for (bytes, out) in packed.iter().zip(&mut plain) {
            packer.unpack(codec, bytes, out)?;
        }
        unpacking.push(begun.elapsed());
        if plain != batches {
            return Err("it did not come back".into());
        }
    }
    packing.sort();
    unpacking.sort();
    Ok((total, packing[ROUNDS / 2], unpacking[ROUNDS / 2]))
}
