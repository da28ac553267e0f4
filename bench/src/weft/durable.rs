//! Durable publishing: blocks whose acknowledgement says that they are synced.

use std::io::Write;
use std::net::TcpStream;

use anyhow::{Result, bail};
use weft_wire::BlockFields;
use weft_wire::block::{HEADER_LEN, block_len};
use weft_wire::frame::{AckLevel, Frame, StreamCreate, StreamDelete, StreamSpec};

use super::Hub;
use super::connection::Connection;
use super::publish::{ONE, Prebuilt};
use crate::acked::{self, Acks, Durable};
use crate::process::Server;

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
        let connection = self.create(key)?;
        let fields = BlockFields { producer: connection.producer, ..BlockFields::new(key) };
        let block = Prebuilt::new(&fields, payload, batch, AckLevel::Synced, 1, ONE)?;
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

impl Hub {
    /// Makes a stream of the topic of its name.
    pub(super) fn create(&self, key: &str) -> Result<Connection> {
        let mut connection = Connection::open(&self.address)?;
        let spec = StreamSpec { name: key, filters: vec![key], ..StreamSpec::default() };
        connection.send(&Frame::StreamCreate(StreamCreate { request: 1, spec }))?;
        connection.answer(|frame| matches!(frame, Frame::Done(done) if done.request == 1))?;
        Ok(connection)
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
