//! One side of a link: its two rings and its socket, never waiting.
//!
//! What it knows of each ring is kept as for a socket: there may be more until
//! a read or a write met the end. From then on the owner looks at the ring at
//! each poll ([`End::look`]); that costs a load, so it does so for a while, and
//! for all before it sleeps announces that the peer must wake it ([`End::doze`]).

use std::io::{self, IoSlice, Read};

use mio::net::UnixStream;
use rustix::net::{SendFlags, send};
use weft_base::sync::Arc;
use weft_ring::bytes::{Broken, Reader, Writer};

use super::hello;
use super::mapping::{Mapping, Ring, Way};

/// How often a ring is looked at in vain before its peer is asked to wake us.
const LOOKS: u8 = 64;

/// How many reads of the socket one event is worth. What a peer sends beyond
/// that is left for the next: only a hostile one has so much to say.
const DRAINS: usize = 4;

/// What is known of a ring at this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// There may be something for us.
    Ready,
    /// There was nothing so many looks ago.
    Waiting(u8),
    /// The peer wakes us when there is something.
    Dozing,
}

/// One side of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) socket: UnixStream,
    reader: Reader<Ring>,
    writer: Writer<Ring>,
    read: Known,
    write: Known,
    /// The socket has ended: what is in the ring is all there will be.
    ended: bool,
    /// The peer broke the protocol of the rings.
    broken: Option<Broken>,
    /// Whether the owner's list of rings to look at has it.
    pub(crate) watched: bool,
}

/// What stops a read or write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing there, or no room.
    WouldBlock,
    /// The peer has ended the link, and all is read.
    Ended,
    /// The peer broke the protocol of the rings.
    Broken(Broken),
}

impl End {
    /// The hub's side: makes the memory and hands it over.
    pub(super) fn of_hub(socket: UnixStream, ring: usize) -> io::Result<Self> {
        let (file, mapping) = Mapping::create(ring)?;
        hello::invite(&socket, &file, ring)?;
        Ok(Self::new(socket, &mapping, Way::ToHub, Way::ToClient))
    }

    /// The client's side, with the file that the hub handed over.
    ///
    /// # Errors
    /// The file is not what a hub makes, or cannot be mapped.
    pub(crate) fn of_client(socket: UnixStream, file: std::os::fd::OwnedFd, ring: usize) -> io::Result<Self> {
        let mapping = Mapping::open(file, ring)?;
        Ok(Self::new(socket, &mapping, Way::ToClient, Way::ToHub))
    }

    fn new(socket: UnixStream, mapping: &Arc<Mapping>, read: Way, write: Way) -> Self {
        Self {
            socket,
            reader: Reader::new(Ring::new(mapping.clone(), read)),
            writer: Writer::new(Ring::new(mapping.clone(), write)),
            // The peer may have been quicker: the first look tells.
            read: Known::Waiting(0),
            write: Known::Ready,
            ended: false,
            broken: None,
            watched: false,
        }
    }

    /// Whether there may be something to read, or the end to be found.
    pub(crate) fn readable(&self) -> bool {
        self.read == Known::Ready
    }

    /// Whether there may be room.
    pub(crate) fn writable(&self) -> bool {
        self.write == Known::Ready
    }

    /// Whether the socket has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the owner is to look at it at each poll.
    pub(crate) fn wants_look(&self) -> bool {
        matches!(self.read, Known::Waiting(_)) || matches!(self.write, Known::Waiting(_))
    }

    /// Copies what is there into `buf`, which is not empty.
    #[inline]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        match self.reader.read(buf) {
            Ok(moved) if moved.bytes == 0 && self.ended => Err(self.broken.take().map_or(Stop::Ended, Stop::Broken)),
            Ok(moved) if moved.bytes == 0 => {
                if self.read == Known::Ready {
                    self.read = Known::Waiting(0);
                }
                Err(Stop::WouldBlock)
            }
            Ok(moved) => {
                if moved.wake {
                    self.wake();
                }
                self.set_read(moved.bytes == buf.len() || self.ended);
                Ok(moved.bytes)
            }
            Err(broken) => Err(Stop::Broken(broken)),
        }
    }

    /// Takes from `slices` as much as there is room for; `offered` is their sum
    /// and not zero. Once the peer has ended the link there is no room: the end
    /// is found by a read, after what the peer had published.
    #[inline]
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>], offered: usize) -> Result<usize, Stop> {
        if self.ended {
            self.write = Known::Dozing;
            return Err(Stop::WouldBlock);
        }
        match self.writer.write(slices) {
            Ok(moved) => {
                if moved.wake {
                    self.wake();
                }
                if moved.bytes == offered {
                    self.set_write();
                } else if self.write == Known::Ready {
                    self.write = Known::Waiting(0);
                }
                if moved.bytes == 0 { Err(Stop::WouldBlock) } else { Ok(moved.bytes) }
            }
            Err(broken) => Err(self.fail(broken)),
        }
    }

    /// A write found the ring broken. What the peer published is of no use
    /// either, so the link is over at once.
    fn fail(&mut self, broken: Broken) -> Stop {
        self.ended = true;
        Stop::Broken(broken)
    }

    fn set_read(&mut self, more: bool) {
        if self.read == Known::Dozing {
            self.reader.awake();
        }
        self.read = if more { Known::Ready } else { Known::Waiting(0) };
    }

    fn set_write(&mut self) {
        if self.write == Known::Dozing {
            self.writer.awake();
        }
        self.write = Known::Ready;
    }

    /// Looks at the rings that it waits for. One that was looked at often
    /// enough is left to the peer, who wakes us.
    pub(crate) fn look(&mut self) {
        self.advance(|looks| looks < LOOKS);
    }

    /// Has the peer wake us for whatever we wait for, unless it is there
    /// already. Before the owner sleeps.
    pub(crate) fn doze(&mut self) {
        self.advance(|_| false);
    }

    fn advance(&mut self, go_on: impl Fn(u8) -> bool) {
        if let Known::Waiting(looks) = self.read {
            let waits = if go_on(looks) {
                self.reader.available().map(|bytes| (bytes == 0).then_some(Known::Waiting(looks + 1)))
            } else {
                self.reader.may_sleep().map(|sleeps| sleeps.then_some(Known::Dozing))
            };
            self.read = self.settle(waits);
        }
        if let Known::Waiting(looks) = self.write {
            let waits = if go_on(looks) {
                self.writer.has_room().map(|room| (!room).then_some(Known::Waiting(looks + 1)))
            } else {
                self.writer.may_sleep().map(|sleeps| sleeps.then_some(Known::Dozing))
            };
            self.write = self.settle(waits);
        }
    }

    /// What is known after a look. What is broken is found by the next read.
    fn settle(&mut self, waits: Result<Option<Known>, Broken>) -> Known {
        match waits {
            Ok(waits) => waits.unwrap_or(Known::Ready),
            Err(broken) => {
                self.broken = Some(broken);
                self.ended = true;
                self.read = Known::Ready;
                Known::Ready
            }
        }
    }

    /// The socket said something: a wake-up, or its end.
    pub(crate) fn signalled(&mut self, closed: bool) {
        let mut bytes = [0; 256];
        for _ in 0..DRAINS {
            match self.socket.read(&mut bytes) {
                Ok(0) => self.ended = true,
                Ok(n) if n == bytes.len() => continue,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // The peer is gone, with wake-ups of ours that it did not read.
                Err(_) => self.ended = true,
            }
            break;
        }
        // Whatever the socket still holds, nothing follows its end.
        self.ended |= closed;
        if self.ended {
            // A read finds the end, after what was published before it.
            self.read = Known::Ready;
            return;
        }
        for known in [&mut self.read, &mut self.write] {
            if *known == Known::Dozing {
                *known = Known::Waiting(0);
            }
        }
        self.look();
    }

    /// Wakes the peer, who sleeps.
    #[cold]
    fn wake(&self) {
        // It fails when the socket is full of wake-ups that the peer has not
        // read, or the peer is gone; neither needs another one.
        let _ = send(&self.socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}
