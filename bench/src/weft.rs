//! Weft: the real program as a server, and a raw client of its native protocol.
//!
//! The raw client does what a client library must and no more: it says hello,
//! keeps its producer's sequence, and gives each block a right checksum. What
//! it writes was built beforehand; per block it changes the sequence and counts
//! the checksum anew.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use weft_base::checksum::crc32c_of_two;
use weft_base::{Epoch, HubId, ProducerId, Random, SubscriptionId, UnixNanos};
use weft_wire::block::{HEADER_LEN, block_len, event_len};
use weft_wire::frame::{
    AckLevel, FRAME_HEADER, Frame, Hello, Kind, MAX_FRAME, OnFull, PROTOCOL_VERSION, Peek, Role, Start, StreamCreate,
    StreamDelete, StreamSpec, Subscribe as SubscribeFrame, encode, peek, peek_kind, publish_head,
};
use weft_wire::{Block, BlockFields, BlockWriter, EventFields};

use crate::acked::{self, Acks, Durable};
use crate::nats::{BATCH, CHUNK};
use crate::process::Server;
use crate::work::{Peer, Publish, Subscribe};

/// Offsets in a block of what the raw client changes: see `weft_wire::block`.
const FIRST_SEQUENCE: usize = 24;
const CHECKSUM: usize = 60;
/// Bytes of a block that a throughput run fills.
const BLOCK: usize = 32 << 10;

/// A running hub with nobody but the benchmark.
#[derive(Debug)]
pub struct Hub {
    server: Server,
    address: String,
    _folder: TempDir,
}

impl Hub {
    /// Starts `weft hub --dev` with its data in a new folder under `disk`.
    pub fn start(disk: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(disk)?;
        let ready = folder.path().join("ready.json");
        let mut command = Command::new(program()?);
        command.args(["hub", "--dev", "--port", "0", "--ready-file"]).arg(&ready);
        // A development hub keeps its data in the temporary folder.
        command.env("TMPDIR", folder.path());
        let mut server = Server::start("weft", &mut command, folder.path())?;
        let address = server.wait_ready(|| {
            let text = std::fs::read_to_string(&ready).ok()?;
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(value.get("clients")?.get(0)?.as_str()?.to_owned())
        })?;
        Ok(Self { server, address, _folder: folder })
    }
}

impl Hub {
    /// Where it listens for clients.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn subscribe(&self, key: &str, on_full: OnFull) -> Result<Connection> {
        let mut connection = Connection::open(&self.address)?;
        connection.send(&Frame::Subscribe(SubscribeFrame {
            id: SubscriptionId(1),
            filter: key,
            stream: "",
            start: Start::New,
            credit_events: u64::MAX,
            credit_bytes: u64::MAX,
            on_full,
            group: "",
            spill: "",
            weight: 1,
        }))?;
        connection.answer(|frame| matches!(frame, Frame::Subscribed(_)))?;
        Ok(connection)
    }
}

/// The program, beside this one in the target folder.
fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.parent().context("this program lies in no folder")?.join("weft");
    ensure!(program.exists(), "there is no {}; build it with `cargo build --profile dist -p weft`", program.display());
    Ok(program)
}

impl Peer for Hub {
    fn name(&self) -> &str {
        "Weft"
    }

    fn version(&self) -> String {
        concat!("weft ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Publisher::new(Connection::open(&self.address)?, key, payload)?))
    }

    fn subscriber(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.subscribe(key, OnFull::Disconnect)?))
    }

    fn sleeper(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.subscribe(key, OnFull::DropOldest)?))
    }
}

/// A raw connection: a socket, and what was read but not yet understood.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    producer: ProducerId,
    /// Blocks and bytes of them that the hub lets be unacknowledged.
    window: (u64, u64),
    buffer: Vec<u8>,
    /// The bytes `start..end` of the buffer are not yet understood.
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects, says hello, and waits for the welcome.
    pub fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let producer = ProducerId(Random::from_entropy()?.next_u64().max(1));
        let mut connection = Self { socket, producer, window: (0, 0), buffer: vec![0; CHUNK], start: 0, end: 0 };
        connection.send(&Frame::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            role: Role::Client,
            features: 0,
            max_frame: MAX_FRAME as u32,
            hub: HubId(0),
            epoch: Epoch(0),
            name: "bench",
            region: "",
            software: "weft-bench",
            producer,
            token: b"",
        }))?;
        let mut window = (0, 0);
        connection.answer(|frame| {
            let Frame::Welcome(welcome) = frame else { return false };
            window = (welcome.publish_window_blocks.into(), welcome.publish_window_bytes);
            true
        })?;
        connection.window = window;
        Ok(connection)
    }

    /// Writes a control frame.
    pub fn send(&mut self, frame: &Frame<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        Ok(self.socket.write_all(&bytes)?)
    }

    /// Reads frames until the one that is waited for; an error or the end of the session is an error.
    pub fn answer(&mut self, mut wanted: impl FnMut(&Frame<'_>) -> bool) -> Result<()> {
        loop {
            while let Some(bytes) = self.next()? {
                let frame = Frame::decode(bytes).context("the hub's answer")?;
                if wanted(&frame) {
                    return Ok(());
                }
                if let Frame::Error(_) | Frame::Goodbye(_) = frame {
                    bail!("the hub says {frame:?}");
                }
            }
            self.read()?;
        }
    }

    /// Waits for bytes and reads what there is.
    fn read(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if let Ok(Peek::Need(length)) = peek(&self.buffer[..self.end], MAX_FRAME)
            && length > self.buffer.len()
        {
            self.buffer.resize(length.next_power_of_two(), 0);
        }
        let read = self.socket.read(&mut self.buffer[self.end..]).context("waited in vain for the hub")?;
        ensure!(read > 0, "the hub closed the connection");
        self.end += read;
        Ok(())
    }

    /// The next whole frame in the buffer.
    #[inline]
    fn next(&mut self) -> Result<Option<&[u8]>> {
        match peek(&self.buffer[self.start..self.end], MAX_FRAME)? {
            Peek::Need(_) => Ok(None),
            Peek::Frame { len } => {
                self.start += len;
                Ok(Some(&self.buffer[self.start - len..self.start]))
            }
        }
    }

    /// The next delivered block; an event that the hub dropped is an error.
    #[inline]
    fn delivered(&mut self) -> Result<Option<Block<'_>>> {
        let Some(frame) = self.next()? else { return Ok(None) };
        match peek_kind(frame) {
            Some(Kind::Deliver) => Ok(Some(Block::trusted(&frame[FRAME_HEADER..]))),
            _ => bail!("not a delivery: {:?}", Frame::decode(frame)?),
        }
    }
}

impl Subscribe for Connection {
    fn count(&mut self) -> Result<u64> {
        self.read()?;
        let mut events = 0;
        while let Some(block) = self.delivered()? {
            events += u64::from(block.event_count());
        }
        Ok(events)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.read()?;
        while let Some(block) = self.delivered()? {
            for event in block.events() {
                each(crate::work::time_of(event.payload)?);
            }
        }
        Ok(())
    }
}

/// `Publish` frames that are sent again and again with other sequences.
struct Prebuilt {
    /// All frames, one behind the other.
    bytes: Vec<u8>,
    /// Bytes of one frame.
    frame: usize,
    /// Events of one frame.
    events: u64,
}

impl Prebuilt {
    /// `frames` frames of a block of `events` events each.
    fn new(key: &BlockFields<'_>, payload: usize, events: usize, level: AckLevel, frames: usize) -> Result<Self> {
        let mut block = vec![0; block_len(key.topic.len(), (0..events).map(|_| (0, 0, payload)))];
        let mut writer = BlockWriter::new(&mut block, key)?;
        let payload = vec![b'x'; payload];
        for _ in 0..events {
            writer.push(&EventFields { time: UnixNanos(1), key: b"", headers: b"", payload: &payload })?;
        }
        let length = writer.finish()?;
        let frame = [&publish_head(0, level, length)[..], &block[..length]].concat();
        Ok(Self { bytes: frame.repeat(frames), frame: frame.len(), events: events as u64 })
    }

    /// Gives the frames the requests from `request` on, their blocks the
    /// sequences from `sequence` on and the checksums that go with them; answers the events.
    fn stamp(&mut self, request: u64, sequence: u64) -> u64 {
        let mut stamped = 0;
        for (request, frame) in (request..).zip(self.bytes.chunks_exact_mut(self.frame)) {
            frame[8..16].copy_from_slice(&request.to_le_bytes());
            let block = &mut frame[FRAME_HEADER..];
            block[FIRST_SEQUENCE..FIRST_SEQUENCE + 8].copy_from_slice(&(sequence + stamped).to_le_bytes());
            let checksum = crc32c_of_two(&block[..CHECKSUM], &block[HEADER_LEN..]);
            block[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
            stamped += self.events;
        }
        stamped
    }
}

/// How many events of this payload a block of [`BLOCK`] bytes holds.
fn per_block(topic: &str, payload: usize) -> usize {
    let free = BLOCK - FRAME_HEADER - block_len(topic.len(), std::iter::empty());
    (free / event_len(0, 0, payload)).max(1)
}

struct Publisher {
    connection: Connection,
    topic: String,
    payload: Vec<u8>,
    sequence: u64,
    batch: Prebuilt,
    stamped: Vec<u8>,
}

impl Publisher {
    fn new(connection: Connection, topic: &str, payload: usize) -> Result<Self> {
        let fields = BlockFields { producer: connection.producer, ..BlockFields::new(topic) };
        let events = per_block(topic, payload);
        let batch = Prebuilt::new(&fields, payload, events, AckLevel::None, BATCH.div_ceil(BLOCK.max(payload)))?;
        Ok(Self {
            connection,
            topic: topic.to_owned(),
            payload: vec![b'x'; payload],
            sequence: 1,
            batch,
            stamped: vec![0; 256 << 10],
        })
    }
}

impl Publish for Publisher {
    fn batch(&mut self) -> Result<u64> {
        let events = self.batch.stamp(0, self.sequence);
        self.sequence += events;
        self.connection.socket.write_all(&self.batch.bytes)?;
        Ok(events)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        let fields = BlockFields {
            producer: self.connection.producer,
            first_sequence: self.sequence,
            ..BlockFields::new(&self.topic)
        };
        let (head, room) = self.stamped.split_at_mut(FRAME_HEADER);
        let mut writer = BlockWriter::new(room, &fields)?;
        for time in times {
            self.payload[..8].copy_from_slice(&time.to_le_bytes());
            writer.push(&EventFields { time: UnixNanos(1), key: b"", headers: b"", payload: &self.payload })?;
        }
        let length = writer.finish()?;
        head.copy_from_slice(&publish_head(0, AckLevel::None, length));
        self.sequence += times.len() as u64;
        Ok(self.connection.socket.write_all(&self.stamped[..FRAME_HEADER + length])?)
    }
}

impl Durable for Hub {
    fn name(&self) -> &str {
        "Weft, every ack after fdatasync"
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn window(&self, payload: usize, batch: usize) -> Result<u64> {
        let (blocks, bytes) = Connection::open(&self.address)?.window;
        let block = block_len(HEADER_LEN, (0..batch).map(|_| (0, 0, payload)));
        Ok(blocks.min(bytes / block as u64) * batch as u64)
    }

    fn open(&self, key: &str, payload: usize, batch: usize) -> Result<(Box<dyn acked::Send>, Box<dyn Acks>)> {
        let mut connection = Connection::open(&self.address)?;
        let spec = StreamSpec { name: key, filters: vec![key], retain_bytes: 0, retain_age_ms: 0, segment_bytes: 0 };
        connection.send(&Frame::StreamCreate(StreamCreate { request: 1, spec }))?;
        connection.answer(|frame| matches!(frame, Frame::Done(done) if done.request == 1))?;
        let fields = BlockFields { producer: connection.producer, ..BlockFields::new(key) };
        let block = Prebuilt::new(&fields, payload, batch, AckLevel::Synced, 1)?;
        let socket = connection.socket.try_clone()?;
        let events = block.events;
        Ok((
            Box::new(SyncedSender { socket, block, sequence: 1, request: 2 }),
            Box::new(SyncedAcks { connection, events }),
        ))
    }

    fn close(&self, key: &str) -> Result<()> {
        let mut connection = Connection::open(&self.address)?;
        connection.send(&Frame::StreamDelete(StreamDelete { request: 1, name: key }))?;
        connection.answer(|frame| matches!(frame, Frame::Done(done) if done.request == 1))
    }
}

struct SyncedSender {
    socket: TcpStream,
    block: Prebuilt,
    sequence: u64,
    request: u64,
}

impl acked::Send for SyncedSender {
    fn send(&mut self) -> Result<u64> {
        let events = self.block.stamp(self.request, self.sequence);
        self.socket.write_all(&self.block.bytes)?;
        self.request += 1;
        self.sequence += events;
        Ok(events)
    }
}

struct SyncedAcks {
    connection: Connection,
    /// Events per block, hence per acknowledgement.
    events: u64,
}

impl Acks for SyncedAcks {
    fn acked(&mut self) -> Result<u64> {
        self.connection.read()?;
        let mut events = 0;
        while let Some(bytes) = self.connection.next()? {
            match Frame::decode(bytes)? {
                Frame::Ack(ack) if ack.level == AckLevel::Synced && !ack.duplicate => events += self.events,
                other => bail!("the hub says {other:?}"),
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prebuilt_block_is_valid_with_every_sequence() {
        let fields = BlockFields { producer: ProducerId(7), ..BlockFields::new("bench/a") };
        let mut blocks = Prebuilt::new(&fields, 128, 100, AckLevel::Synced, 2).unwrap();
        for (request, sequence) in [(0, 1), (2, 201), (4, u64::MAX / 2)] {
            assert_eq!(blocks.stamp(request, sequence), 200);
            for (number, frame) in (0..).zip(blocks.bytes.chunks_exact(blocks.frame)) {
                let Frame::Publish(publish) = Frame::decode(frame).unwrap() else { panic!("not a publish") };
                let read = Block::validate(publish.block).unwrap();
                let expected = (request + number, sequence + 100 * number, 100);
                assert_eq!((publish.request, read.first_sequence(), read.event_count()), expected);
            }
        }
    }
}
