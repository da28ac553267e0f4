//! The same flight as JSON, Protobuf, FlatBuffers and in Weft's block: what it
//! costs a consumer to get at three fields of it. `cargo xtask bench decode`
//!
//! What is measured: from an event's bytes to three of its fields (flight
//! number, arrival delay, destination), as the format's library has it done for
//! bytes that came over a network: JSON and Protobuf are parsed into a
//! structure, FlatBuffers are verified, a Weft block is validated, which
//! includes its checksum (the others have none). Second, bytes that were
//! checked before, for the two formats that can be read in place.
//!
//! Bytes per event are those of the payload for JSON, Protobuf and FlatBuffers;
//! for Weft they include the whole envelope (topic, lane, producer, sequences,
//! times, key, checksums), which the others leave to the broker's protocol.
//!
//! FlatBuffers' table is built with the crate's builder and verified with its
//! verifier, as flatc's code does. Fields are read by an accessor written here,
//! with bounds checks, where flatc's code would use unchecked reads.
#![forbid(unsafe_code)]

mod flight;
mod formats;

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use weft_base::UnixNanos;
use weft_bench::alloc::{Counting, counted};
use weft_bench::machine;
use weft_bench::stats::{Runs, with_range};
use weft_bench::table::Table;
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields};
use zerocopy::IntoBytes;

use flight::{Flight, Wanted, flights};
use formats::{FlightFixed, flatbuffer, protobuf, read_fixed, read_flatbuffer, read_protobuf, verify_flatbuffer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The topic of every block.
const TOPIC: &str = "flights/departed";
/// How many flights are read in turn: few enough to stay in the first cache in every format.
const FLIGHTS: usize = 64;

/// The same flight in several formats.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run reads, in milliseconds.
    #[arg(long, default_value_t = 200)]
    milliseconds: u64,
}

/// Bytes at an address that is a multiple of 8, as a receive buffer's are.
struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

/// The flights in blocks of `per_block` events.
fn blocks(flights: &[Flight<&str>], per_block: usize) -> Result<Vec<Aligned>> {
    let block = |flights: &[Flight<&str>]| -> Result<Aligned> {
        let payload = size_of::<FlightFixed>();
        let room = block::block_len(TOPIC.len(), flights.iter().map(|flight| (flight.tailnum.len(), 0, payload)));
        let mut words = vec![0_u64; room / 8];
        let mut writer = BlockWriter::new(words.as_mut_bytes(), &BlockFields::new(TOPIC))?;
        for flight in flights {
            let fixed = FlightFixed::of(flight).context("a time")?;
            let time = UnixNanos(fixed.time_hour.get());
            let key = flight.tailnum.as_bytes();
            writer.push(&EventFields { time, key, headers: &[], payload: fixed.as_bytes() })?;
        }
        let len = writer.finish()?;
        Ok(Aligned { words, len })
    };
    flights.chunks(per_block).map(block).collect()
}

fn read_block(block: &Block<'_>, all: &mut impl FnMut(Option<Wanted>)) {
    block.events().for_each(|event| all(read_fixed(event.payload)));
}

/// Takes what is wanted of one flight after the other.
type Taker<'a> = dyn FnMut(Option<Wanted>) + 'a;

/// A way to read all flights, handing over what is wanted of each.
struct Format {
    name: &'static str,
    bytes_per_event: f64,
    read: Box<dyn Fn(&mut Taker<'_>)>,
}

/// A format with one buffer for each flight.
fn single(name: &'static str, all: Vec<Vec<u8>>, read: fn(&[u8]) -> Option<Wanted>) -> Format {
    let bytes_per_event = all.iter().map(Vec::len).sum::<usize>() as f64 / all.len() as f64;
    let read = Box::new(move |wanted: &mut Taker<'_>| {
        all.iter().for_each(|bytes| wanted(read(black_box(bytes))));
    });
    Format { name, bytes_per_event, read }
}

/// Weft's blocks, of `per_block` events each.
fn weft(name: &'static str, flights: &[Flight<&str>], per_block: usize, validate: bool) -> Result<Format> {
    let all = blocks(flights, per_block)?;
    let bytes_per_event = all.iter().map(|block| block.len).sum::<usize>() as f64 / flights.len() as f64;
    let read = Box::new(move |mut wanted: &mut Taker<'_>| {
        for bytes in &all {
            let bytes = black_box(bytes.bytes());
            let block = if validate { Block::validate(bytes).ok() } else { Some(Block::trusted(bytes)) };
            match block {
                Some(block) => read_block(&block, &mut wanted),
                None => wanted(None),
            }
        }
    });
    Ok(Format { name, bytes_per_event, read })
}

fn formats(flights: &[Flight<&'static str>]) -> Result<Vec<Format>> {
    let json = flights.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let proto: Vec<_> = flights.iter().map(protobuf).collect::<Option<_>>().context("a time")?;
    let flat: Vec<_> = flights.iter().map(flatbuffer).collect::<Option<_>>().context("a time")?;
    Ok(vec![
        single("JSON, serde_json, texts copied", json.clone(), |bytes| {
            serde_json::from_slice::<Flight<String>>(bytes).ok()?.wanted()
        }),
        single("JSON, serde_json, texts borrowed", json, |bytes| {
            serde_json::from_slice::<Flight<&str>>(bytes).ok()?.wanted()
        }),
        single("Protobuf, prost", proto, read_protobuf),
        single("FlatBuffers, verified", flat.clone(), |bytes| read_flatbuffer(verify_flatbuffer(bytes)?)),
        weft("Weft, block of 1, validated", flights, 1, true)?,
        weft("Weft, block of 64, validated", flights, FLIGHTS, true)?,
        single("FlatBuffers, verified before", flat, read_flatbuffer),
        weft("Weft, block of 1, validated before", flights, 1, false)?,
        weft("Weft, block of 64, validated before", flights, FLIGHTS, false)?,
    ])
}

/// Everything that a format reads, once.
fn collect(format: &Format) -> Vec<Option<Wanted>> {
    let mut all = Vec::new();
    (format.read)(&mut |wanted| all.push(wanted));
    all
}

fn pass(format: &Format) -> u64 {
    let mut sum = 0;
    (format.read)(&mut |wanted| {
        if let Some((flight, delay, dest)) = wanted {
            sum += u64::from(flight) + u64::from(delay.unwrap_or(0).unsigned_abs()) + u64::from(dest[0]);
        }
    });
    sum
}

/// How long this thread has run: what others do on the machine is not counted.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds per event over about `time`.
fn measure(format: &Format, time: Duration) -> f64 {
    let start = thread_time();
    let mut passes = 0_u64;
    loop {
        for _ in 0..16 {
            black_box(pass(format));
        }
        passes += 16;
        let spent = thread_time() - start;
        if spent >= time {
            return spent.as_nanos() as f64 / (passes * FLIGHTS as u64) as f64;
        }
    }
}

/// Bytes a second of validating a block of 64 KiB with events of 128 bytes, in GB.
fn validation(time: Duration) -> Result<f64> {
    let mut words = vec![0_u64; (64 << 10) / 8];
    let mut writer = BlockWriter::new(words.as_mut_bytes(), &BlockFields::new(TOPIC))?;
    while writer.push(&EventFields { payload: &[7; 128], ..EventFields::default() }).is_ok() {}
    let len = writer.finish()?;
    let bytes = &words.as_bytes()[..len];
    let start = thread_time();
    let mut rounds = 0_u64;
    while thread_time() - start < time {
        for _ in 0..64 {
            ensure!(Block::validate(black_box(bytes)).is_ok(), "what was written is a block");
        }
        rounds += 64;
    }
    Ok(rounds as f64 * len as f64 / (thread_time() - start).as_secs_f64() / 1e9)
}

fn main() -> Result<()> {
    let Arguments { runs, milliseconds } = Arguments::parse();
    let time = Duration::from_millis(milliseconds);
    let mut flights = flights()?;
    flights.truncate(FLIGHTS);
    let formats = formats(&flights)?;
    let expected: Vec<_> = flights.iter().map(Flight::wanted).collect();
    for format in &formats {
        ensure!(collect(format) == expected, "{} does not read what the file says", format.name);
    }
    println!("{}", machine::line());
    println!(
        "{FLIGHTS} flights of 19 fields, {} bytes each with fixed offsets; three fields read: \
         flight number, arrival delay, destination. Median of {runs} runs (fastest to slowest) of \
         {milliseconds} ms of the thread's time, formats in turn, data in the first cache. Weft's bytes include the envelope \
         (topic, key, times, sequences, checksums), and validating includes its checksum.\n",
        size_of::<FlightFixed>(),
    );
    let mut results = vec![Runs::new(); formats.len()];
    let mut validated = Runs::new();
    for _ in 0..runs {
        for (format, results) in formats.iter().zip(&mut results) {
            results.push(measure(format, time));
        }
        validated.push(validation(time)?);
    }
    let mut table = Table::new(["format", "ns per event", "allocations per event", "bytes per event"]);
    for (format, results) in formats.iter().zip(&results) {
        let (_, allocated) = counted(|| pass(format));
        table.row([
            format.name.to_owned(),
            with_range(results),
            format!("{:.1}", allocated.count as f64 / FLIGHTS as f64),
            format!("{:.0}", format.bytes_per_event),
        ]);
    }
    println!("{table}");
    println!("validating a block of 64 KiB with events of 128 bytes: {} GB/s", with_range(&validated));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_reads_the_same_of_every_flight() {
        let all = flights().unwrap();
        assert_eq!(all.len(), 2699);
        assert!(all.iter().any(|flight| flight.arr_delay.is_none()), "some were cancelled");
        for flights in all.chunks(FLIGHTS) {
            let expected: Vec<_> = flights.iter().map(Flight::wanted).collect();
            assert!(expected.iter().all(Option::is_some));
            for format in formats(flights).unwrap() {
                assert_eq!(collect(&format), expected, "{}", format.name);
            }
        }
    }

    #[test]
    fn weft_and_flatbuffers_allocate_nothing_and_the_counter_counts() {
        let flights = flights().unwrap();
        for format in formats(&flights[..FLIGHTS]).unwrap() {
            let (_, allocated) = counted(|| pass(&format));
            let in_place = format.name.starts_with("Weft") || format.name.ends_with("before");
            assert!(allocated.count == 0 || !in_place, "{} allocates {}", format.name, allocated.count);
            assert!(allocated.count > 0 || !format.name.ends_with("copied"), "texts are copied");
        }
    }

    #[test]
    fn times_are_those_of_the_file() {
        // 2013-01-01T10:00:00Z, by `date -d`.
        assert_eq!(flights().unwrap()[0].time(), Some(1_357_034_400_000_000_000));
    }
}
