//! A relay that knows nothing: a thread that copies bytes from one socket to
//! another. What it takes is what any broker takes on this machine at least.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::nats::{BATCH, CHUNK};
use crate::process::Server;
use crate::work::{Peer, Publish, Subscribe, time_of};

/// A relay between one subscriber and one publisher at a time.
#[derive(Debug, Default)]
pub struct Relay {
    /// The far end of the connected subscriber, for the next publisher.
    waiting: Mutex<Option<TcpStream>>,
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for socket in [&near, &far] {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    }
    Ok((near, far))
}

impl Peer for Relay {
    fn name(&self) -> &str {
        "a bare relay of bytes"
    }

    fn version(&self) -> String {
        String::new()
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn publisher(&self, _key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        let (near, mut from) = pair()?;
        let waiting = self.waiting.lock().map_err(|_| anyhow!("a thread panicked"))?.take();
        let mut to = waiting.context("the relay wants its subscriber first")?;
        // Ends when either side is dropped.
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while let Ok(read) = from.read(&mut buffer) {
                if read == 0 || to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        });
        Ok(Box::new(Half::publisher(near, payload)))
    }

    fn subscriber(&self, _key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        let (near, far) = pair()?;
        *self.waiting.lock().map_err(|_| anyhow!("a thread panicked"))? = Some(far);
        Ok(Box::new(Half::subscriber(near, payload)))
    }
}

/// Either end: events are payloads, one after the other, with nothing around them.
pub(crate) struct Half {
    socket: TcpStream,
    payload: usize,
    batch: Vec<u8>,
    /// Bytes of `batch` that are read and not yet a whole event.
    end: usize,
}

impl Half {
    /// One that writes.
    pub(crate) fn publisher(socket: TcpStream, payload: usize) -> Self {
        Self { socket, payload, batch: vec![b'x'; (BATCH / payload).max(1) * payload], end: 0 }
    }

    /// One that reads.
    pub(crate) fn subscriber(socket: TcpStream, payload: usize) -> Self {
        Self { socket, payload, batch: vec![0; CHUNK], end: 0 }
    }

    /// Reads, and answers how many bytes of whole events there are.
    fn read(&mut self) -> Result<usize> {
        let read = self.socket.read(&mut self.batch[self.end..])?;
        ensure!(read > 0, "the relay closed the connection");
        self.end += read;
        Ok(self.end - self.end % self.payload)
    }

    fn consume(&mut self, bytes: usize) {
        self.batch.copy_within(bytes..self.end, 0);
        self.end -= bytes;
    }
}

impl Publish for Half {
    fn batch(&mut self) -> Result<u64> {
        self.socket.write_all(&self.batch)?;
        Ok((self.batch.len() / self.payload) as u64)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        for times in times.chunks(self.batch.len() / self.payload) {
            for (event, time) in self.batch.chunks_exact_mut(self.payload).zip(times) {
                event[..8].copy_from_slice(&time.to_le_bytes());
            }
            self.socket.write_all(&self.batch[..times.len() * self.payload])?;
        }
        Ok(())
    }
}

impl Subscribe for Half {
    fn count(&mut self) -> Result<u64> {
        let whole = self.read()?;
        self.consume(whole);
        Ok((whole / self.payload) as u64)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        let whole = self.read()?;
        for event in self.batch[..whole].chunks_exact(self.payload) {
            each(time_of(event)?);
        }
        self.consume(whole);
        Ok(())
    }
}
