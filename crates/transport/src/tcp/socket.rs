//! A connection's socket, and what the system last said of it.

use std::io::{self, IoSlice, Read, Write};

use mio::net::TcpStream;

/// One socket. Reads and writes answer `WouldBlock` without a system call when
/// the system has nothing to say since it last answered so.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// The system may have bytes: set by its event, cleared by the read that
    /// found no more.
    pub(super) readable: bool,
    /// The system may have room: the same, for writes.
    pub(super) writable: bool,
    /// The peer has ended its side, so no event announces the end any more.
    pub(super) peer_ended: bool,
}

impl Socket {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, readable: false, writable: false, peer_ended: false }
    }
}

impl Read for Socket {
    /// One system call, unless a signal interrupts it. A short read means that
    /// there is no more now, and the system will announce what comes later:
    /// that saves the call that would only answer so.
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            match self.stream.read(buf) {
                Ok(n) => {
                    self.readable = n == buf.len() || n == 0 || self.peer_ended;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.readable = false;
                    return Err(e);
                }
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    /// One system call, unless a signal interrupts it. A short write means
    /// that there is no more room now.
    #[inline]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        loop {
            match self.stream.write_vectored(bufs) {
                Ok(n) => {
                    self.writable = n == offered;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.writable = false;
                    return Err(e);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
