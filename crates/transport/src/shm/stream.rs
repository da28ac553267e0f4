//! A client's side with calls that wait, for programs that do one thing at a
//! time, such as the raw clients of the benchmarks.

use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, send};
use weft_ring::bytes::{Broken, Moved, Reader, Writer};

use super::hello::{Joining, join};
use super::mapping::{Mapping, Ring, Way};

/// How long the hub may take to answer.
const JOIN: Duration = Duration::from_secs(10);

/// A link to a hub of this host, used like a socket of std.
///
/// Reads and writes wait in the system, and only when there is nothing to read
/// or no room. A read answers 0 once the hub has ended the link and all that it
/// had sent is read.
#[derive(Debug)]
pub struct ShmStream {
    socket: UnixStream,
    reader: Reader<Ring>,
    writer: Writer<Ring>,
    ended: bool,
}

impl ShmStream {
    /// Connects to the hub whose socket is at `path` (without `shm:`).
    ///
    /// # Errors
    /// Nobody listens there, this user may not, or what listens is no hub.
    pub fn connect(path: &str) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(JOIN))?;
        let (file, ring) = match join(&socket, RecvFlags::empty())? {
            Joining::Joined(file, ring) => (file, ring),
            Joining::Waiting => return Err(io::ErrorKind::TimedOut.into()),
        };
        socket.set_read_timeout(None)?;
        let mapping = Mapping::open(file, ring)?;
        Ok(Self {
            socket,
            reader: Reader::new(Ring::new(mapping.clone(), Way::ToClient)),
            writer: Writer::new(Ring::new(mapping, Way::ToHub)),
            ended: false,
        })
    }

    /// How long a read or write waits before it answers `WouldBlock`; none for
    /// ever.
    ///
    /// # Errors
    /// The time is zero.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    fn moved(&self, moved: Result<Moved, Broken>) -> io::Result<usize> {
        let moved = moved.map_err(broken)?;
        if moved.wake {
            // It fails when the hub has wake-ups to read, or is gone.
            let _ = send(&self.socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        Ok(moved.bytes)
    }

    /// Waits until the hub says something, or ends the link.
    fn wait(&mut self) -> io::Result<()> {
        match self.socket.read(&mut [0; 256]) {
            Ok(n) => self.ended |= n == 0,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => self.ended = true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

fn broken(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, broken)
}

impl Read for ShmStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let ended = self.ended;
            let moved = self.reader.read(buf);
            let bytes = self.moved(moved)?;
            if bytes > 0 || ended || buf.is_empty() {
                return Ok(bytes);
            }
            if self.reader.may_sleep().map_err(broken)? {
                self.wait()?;
                self.reader.awake();
            }
        }
    }
}

impl Write for ShmStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            if self.ended {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let moved = self.writer.write(bufs);
            let bytes = self.moved(moved)?;
            if bytes > 0 || bufs.iter().all(|buf| buf.is_empty()) {
                return Ok(bytes);
            }
            if self.writer.may_sleep().map_err(broken)? {
                self.wait()?;
                self.writer.awake();
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
