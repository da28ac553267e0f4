//! A raw connection to a hub, over TCP, TLS or shared memory: a hello, frames out,
//! and frames in that are counted where they were read.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use weft_base::{Epoch, HubId, ProducerId, Random};
use weft_transport::{ShmStream, shm};
use weft_wire::Block;
use weft_wire::frame::{
    FRAME_HEADER, Frame, Hello, Kind, MAX_FRAME, PROTOCOL_VERSION, Peek, Role, encode, peek, peek_kind,
};

use crate::fixed::PATIENCE;
use crate::nats::CHUNK;
use crate::work::{Subscribe, time_of};

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Shm(Box<ShmStream>),
}

impl Wire {
    fn open(address: &str) -> Result<Self> {
        if let Some(path) = shm::path_of(address) {
            let stream = ShmStream::connect(path).with_context(|| format!("cannot connect to {address}"))?;
            stream.set_timeout(Some(PATIENCE))?;
            return Ok(Self::Shm(Box::new(stream)));
        }
        Ok(Self::Tcp(crate::fixed::connect(address)?))
    }

    /// TLS with this side's certificate, to a hub at an IP address.
    pub(super) fn open_tls(address: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        let socket = crate::fixed::connect(address)?;
        let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
        let session = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    /// Another handle of the same socket; there is none of TLS or shared memory.
    pub(super) fn try_clone(&self) -> Result<TcpStream> {
        match self {
            Self::Tcp(socket) => Ok(socket.try_clone()?),
            Self::Tls(_) => bail!("a link with TLS cannot be shared by two threads"),
            Self::Shm(_) => bail!("a link over shared memory cannot be shared by two threads"),
        }
    }
}

impl Read for Wire {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Shm(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Shm(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(_) | Self::Shm(_) => Ok(()),
        }
    }
}

/// A raw connection: a socket, and what was read but not yet understood.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Wire,
    pub(super) producer: ProducerId,
    /// Blocks and bytes of them that the hub lets be unacknowledged.
    pub(super) window: (u64, u64),
    buffer: Vec<u8>,
    /// The bytes `start..end` of the buffer are not yet understood.
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects, says hello, and waits for the welcome.
    pub(super) fn open(address: &str) -> Result<Self> {
        Self::over(Wire::open(address)?)
    }

    /// Says hello over what is connected, and waits for the welcome.
    pub(super) fn over(socket: Wire) -> Result<Self> {
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
    pub(super) fn send(&mut self, frame: &Frame<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        Ok(self.socket.write_all(&bytes)?)
    }

    /// Reads frames until the one that is waited for; an error or the end of the session is an error.
    pub(super) fn answer(&mut self, mut wanted: impl FnMut(&Frame<'_>) -> bool) -> Result<()> {
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
    pub(super) fn read(&mut self) -> Result<()> {
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
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
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
                each(time_of(event.payload)?);
            }
        }
        Ok(())
    }
}
