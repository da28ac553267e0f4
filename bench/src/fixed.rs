//! A subscriber's socket on which every message has the same length: same
//! topic, same payload size. It counts by length, and checks the bytes around
//! the payload of every message, so that nothing else is taken for one.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::nats::CHUNK;
use crate::work::{Subscribe, time_of};

/// How long a socket waits before what it waits for counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Connects for a raw client: no delay, and no waiting for ever.
pub fn connect(address: &str) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Messages of one length.
#[derive(Debug)]
pub struct Messages {
    socket: TcpStream,
    /// What stands before each payload, and how many of its bytes are the same in all messages.
    head: Vec<u8>,
    same: usize,
    /// Bytes of a whole message, and of its payload.
    size: usize,
    payload: usize,
    buffer: Vec<u8>,
    /// Bytes that are read and not yet a whole message.
    end: usize,
}

impl Messages {
    /// Each message is `head`, `payload` bytes, and `tail` bytes more.
    #[must_use]
    pub fn new(socket: TcpStream, head: Vec<u8>, payload: usize, tail: usize) -> Self {
        let (size, same) = (head.len() + payload + tail, head.len());
        Self { socket, head, same, size, payload, buffer: vec![0; CHUNK.max(4 * size)], end: 0 }
    }

    /// Messages of many topics of one length: only what stands before the topic is the same.
    #[must_use]
    pub fn same_up_to(mut self, same: usize) -> Self {
        self.same = same.min(self.head.len());
        self
    }

    /// Waits for bytes, and hands out the payload of each message in them; answers how many there were.
    fn read(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let read = self.socket.read(&mut self.buffer[self.end..]).context("waited in vain for messages")?;
        ensure!(read > 0, "the server closed the connection");
        self.end += read;
        let whole = self.end - self.end % self.size;
        for message in self.buffer[..whole].chunks_exact(self.size) {
            let (head, rest) = message.split_at(self.head.len());
            ensure!(
                head[..self.same] == self.head[..self.same],
                "not a message: {}",
                String::from_utf8_lossy(&message[..self.size.min(80)])
            );
            each(&rest[..self.payload])?;
        }
        self.buffer.copy_within(whole..self.end, 0);
        self.end -= whole;
        Ok((whole / self.size) as u64)
    }
}

impl Subscribe for Messages {
    fn count(&mut self) -> Result<u64> {
        self.read(|_| Ok(()))
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.read(|payload| {
            each(time_of(payload)?);
            Ok(())
        })?;
        Ok(())
    }
}

/// Frames that are sent again and again, and frames that carry times.
#[derive(Debug)]
pub struct Frames {
    socket: TcpStream,
    head: Vec<u8>,
    payload: usize,
    tail: &'static [u8],
    batch: Vec<u8>,
    events: u64,
    stamped: Vec<u8>,
}

impl Frames {
    /// Each frame is `head`, `payload` bytes, and `tail`.
    #[must_use]
    pub fn new(socket: TcpStream, head: Vec<u8>, payload: usize, tail: &'static [u8]) -> Self {
        let event = [&head[..], &vec![b'x'; payload], tail].concat();
        let events = (crate::nats::BATCH / event.len()).max(1);
        let batch = event.repeat(events);
        Self { socket, head, payload, tail, batch, events: events as u64, stamped: Vec::new() }
    }
}

impl crate::work::Publish for Frames {
    fn batch(&mut self) -> Result<u64> {
        std::io::Write::write_all(&mut self.socket, &self.batch)?;
        Ok(self.events)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        self.stamped.clear();
        for time in times {
            self.stamped.extend_from_slice(&self.head);
            self.stamped.extend_from_slice(&time.to_le_bytes());
            self.stamped.resize(self.stamped.len() + self.payload - 8, b'x');
            self.stamped.extend_from_slice(self.tail);
        }
        Ok(std::io::Write::write_all(&mut self.socket, &self.stamped)?)
    }
}

/// One frame each for many topics, sent in turn.
#[derive(Debug)]
pub struct Spread {
    socket: TcpStream,
    all: Vec<u8>,
    frame: usize,
    at: usize,
}

/// Events of a batch to many topics.
const SPREAD: usize = 250;

impl Spread {
    /// Each frame is one of `heads` (all of one length), `payload` bytes, and `tail`.
    #[must_use]
    pub fn new(socket: TcpStream, heads: impl Iterator<Item = Vec<u8>>, payload: usize, tail: &[u8]) -> Self {
        let (mut all, mut frame) = (Vec::new(), 1);
        for head in heads {
            let before = all.len();
            all.extend_from_slice(&head);
            all.resize(all.len() + payload, b'x');
            all.extend_from_slice(tail);
            frame = all.len() - before;
        }
        Self { socket, all, frame, at: 0 }
    }
}

impl crate::work::Publish for Spread {
    fn batch(&mut self) -> Result<u64> {
        let end = (self.at + SPREAD * self.frame).min(self.all.len());
        let frames = &self.all[self.at..end];
        std::io::Write::write_all(&mut self.socket, frames)?;
        self.at = if end == self.all.len() { 0 } else { end };
        Ok((frames.len() / self.frame) as u64)
    }

    fn stamped(&mut self, _times: &[u64]) -> Result<()> {
        anyhow::bail!("a publisher to many topics carries no times")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = connect(&listener.local_addr().unwrap().to_string()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn messages_are_counted_across_reads() {
        let (near, mut far) = pair();
        let mut messages = Messages::new(near, b"HEAD ".to_vec(), 8, 2);
        let one = [b"HEAD ", &7_u64.to_le_bytes()[..], b"\r\n"].concat();
        far.write_all(&one.repeat(2)[..20]).unwrap();
        let mut seen = Vec::new();
        messages.times(&mut |time| seen.push(time)).unwrap();
        far.write_all(&one.repeat(2)[20..]).unwrap();
        messages.times(&mut |time| seen.push(time)).unwrap();
        assert_eq!(seen, [7, 7]);
    }

    #[test]
    fn anything_else_is_not_counted_as_a_message() {
        let (near, mut far) = pair();
        let mut messages = Messages::new(near, b"HEAD ".to_vec(), 8, 2);
        far.write_all(b"-ERR too slow, b").unwrap();
        assert!(messages.count().is_err());
    }
}
