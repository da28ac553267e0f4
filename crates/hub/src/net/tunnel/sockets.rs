//! The sockets of the net stage: the network's, several of those as one, and
//! those whose other end is a tunnel. A connection does not know which it has.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono};
use weft_ring::arena::BlockRef;
use weft_transport::{
    Accept, CloseReason, DialError, Known, LinkToken, ListenError, ListenerToken, Network, ReadOutcome, Ready,
    Security, Waker, WriteOutcome,
};
use weft_wire::frame::ErrorCode;

use super::message::{Said, What};
use super::near::Near;
use super::pipe::Pipe;
use crate::Identity;
use crate::net::bundles::{Bundles, Part};

/// Tokens from here on are tunnels: no network counts so far.
const FIRST: u64 = 1 << 63;

/// This hub's end of a tunnel whose client is at another hub.
pub(super) struct Far {
    /// The client's hub, in which of its lives, and the tunnel's number there.
    pub(super) peer: HubId,
    pub(super) epoch: Epoch,
    pub(super) tunnel: u64,
    pub(super) pipe: Pipe,
    /// What came and was not read.
    pub(super) inbox: VecDeque<BlockRef>,
    /// Events that are bound to a label went through it.
    pub(super) confined: bool,
}

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) to: HubId,
    /// It may have events that are bound to a label.
    pub(super) confined: bool,
    pub(super) bytes: Vec<u8>,
}

/// The tunnels of a hub, both kinds.
pub(in crate::net) struct Tunnels {
    pub(super) far: BTreeMap<LinkToken, Far>,
    pub(super) by_peer: BTreeMap<(HubId, u64), LinkToken>,
    pub(in crate::net) near: Near,
    /// Messages on their way out.
    pub(super) out: Vec<Outgoing>,
    /// Ends with something to send.
    pub(super) dirty: Vec<LinkToken>,
    pub(super) next_tick: Mono,
    next_link: u64,
    pub(super) now: Mono,
}

impl Tunnels {
    /// Whether there is no tunnel.
    pub(super) fn are_none(&self) -> bool {
        self.far.is_empty() && self.near.is_empty() && self.out.is_empty()
    }

    /// Makes this hub's end for a client of another hub.
    pub(super) fn open_far(&mut self, peer: HubId, epoch: Epoch, tunnel: u64, window: usize) -> LinkToken {
        let link = LinkToken(self.next_link);
        self.next_link += 1;
        let pipe = Pipe::new(window, self.now);
        self.far.insert(link, Far { peer, epoch, tunnel, pipe, inbox: VecDeque::new(), confined: false });
        self.by_peer.insert((peer, tunnel), link);
        link
    }

    /// Forgets an end without a word.
    pub(super) fn forget_far(&mut self, link: LinkToken) -> Option<Far> {
        let far = self.far.remove(&link)?;
        self.by_peer.remove(&(far.peer, far.tunnel));
        Some(far)
    }

    pub(super) fn say(&mut self, to: HubId, said: &Said<'_>) {
        self.out.push(Outgoing { to, confined: false, bytes: said.encode() });
    }

    /// Puts what ends have to send into messages.
    pub(super) fn pump(&mut self) {
        for link in std::mem::take(&mut self.dirty) {
            let Some(far) = self.far.get_mut(&link) else { continue };
            while let Some((at, bytes)) = far.pipe.next(self.now) {
                let what = What::Data { at, bytes: &bytes };
                let bytes = Said { by_home: true, tunnel: far.tunnel, what }.encode();
                self.out.push(Outgoing { to: far.peer, confined: far.confined, bytes });
            }
            if far.pipe.owes_word() {
                let word = far_word(far, self.now);
                self.out.push(word);
            }
        }
        self.near.pump(self.now, &mut self.out);
    }
}

/// How far an end is.
pub(super) fn far_word(far: &mut Far, now: Mono) -> Outgoing {
    let (taken, sent) = far.pipe.word(now);
    let bytes = Said { by_home: true, tunnel: far.tunnel, what: What::Word { taken, sent } }.encode();
    Outgoing { to: far.peer, confined: false, bytes }
}

/// All sockets.
pub(in crate::net) struct Sockets {
    inner: Box<dyn Network>,
    pub(in crate::net) tunnels: Tunnels,
    /// Links of several connections.
    pub(in crate::net) bundles: Bundles,
}

impl Sockets {
    pub(in crate::net) fn new(inner: Box<dyn Network>, me: &Identity) -> Self {
        let mut near = Near::default();
        near.names.insert(me.id, me.name.clone());
        let tunnels = Tunnels {
            far: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            near,
            out: Vec::new(),
            dirty: Vec::new(),
            next_tick: Mono(0),
            next_link: FIRST,
            now: Mono(0),
        };
        Self { inner, tunnels, bundles: Bundles::default() }
    }

    /// Makes several connections one link, known by the first, with a channel for each.
    pub(in crate::net) fn bind(&mut self, first: LinkToken, others: impl Iterator<Item = LinkToken>) {
        self.bundles.bind(first, others);
    }
}

impl Network for Sockets {
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        self.inner.listen(addr, security, accept)
    }

    fn dial_known(
        &mut self,
        addr: &str,
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        self.inner.dial_known(addr, known, security, expect)
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.inner.poll(timeout, ready)
    }

    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome {
        if link.0 < FIRST {
            return self.inner.read(link, buf);
        }
        let Some(far) = self.tunnels.far.get_mut(&link) else { return ReadOutcome::Closed(CloseReason::NoSuchLink) };
        let mut read = 0;
        while let Some(front) = far.inbox.front_mut()
            && let Some(room) = buf.get_mut(read..)
            && !room.is_empty()
        {
            let n = front.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..n), front.get(..n)) {
                to.copy_from_slice(from);
            }
            read += n;
            if n == front.len() {
                far.inbox.pop_front();
            } else {
                *front = front.slice(n..);
            }
        }
        if read == 0 {
            return ReadOutcome::WouldBlock;
        }
        far.pipe.passed_on(read);
        self.tunnels.dirty.push(link);
        ReadOutcome::Bytes(read)
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        if link.0 < FIRST {
            return self.inner.write(link, bufs);
        }
        let Some(far) = self.tunnels.far.get_mut(&link) else { return WriteOutcome::Closed(CloseReason::NoSuchLink) };
        let mut written = 0;
        for slice in bufs {
            let n = slice.len().min(far.pipe.room());
            far.pipe.write(slice.get(..n).unwrap_or_default());
            written += n;
            if n < slice.len() {
                break;
            }
        }
        if written == 0 {
            return WriteOutcome::WouldBlock;
        }
        self.tunnels.dirty.push(link);
        WriteOutcome::Bytes(written)
    }

    fn channels(&self, link: LinkToken) -> usize {
        match self.bundles.count(link) {
            Some(count) => count,
            None if link.0 < FIRST => self.inner.channels(link),
            None => 1,
        }
    }

    fn read_channels(&mut self, link: LinkToken) {
        if link.0 < FIRST && self.bundles.count(link).is_none() {
            self.inner.read_channels(link);
        }
    }

    fn read_on(&mut self, link: LinkToken, channel: usize, buf: &mut [u8]) -> ReadOutcome {
        let part = match self.bundles.part(link, channel) {
            Part::None if link.0 < FIRST => return self.inner.read_on(link, channel, buf),
            Part::None => return self.read(link, buf),
            Part::Ended => return ReadOutcome::WouldBlock,
            Part::AllEnded => return ReadOutcome::Closed(CloseReason::NoSuchLink),
            Part::Goes(part) => part,
        };
        match self.inner.read(part, buf) {
            // The end of the link is that of the last.
            ReadOutcome::Closed(reason) => match self.bundles.ended(part, &reason) {
                Some((_, true)) => ReadOutcome::WouldBlock,
                _ => ReadOutcome::Closed(reason),
            },
            outcome => outcome,
        }
    }

    fn write_on(&mut self, link: LinkToken, channel: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        let part = match self.bundles.part(link, channel) {
            Part::None if link.0 < FIRST => return self.inner.write_on(link, channel, bufs),
            Part::None => return self.write(link, bufs),
            // The link ends soon; until then what comes by the others is taken.
            Part::Ended | Part::AllEnded => return WriteOutcome::WouldBlock,
            Part::Goes(part) => part,
        };
        match self.inner.write(part, bufs) {
            WriteOutcome::Closed(reason) => {
                self.bundles.ended(part, &reason);
                WriteOutcome::WouldBlock
            }
            outcome => outcome,
        }
    }

    fn pause(&mut self, link: LinkToken) {
        if link.0 < FIRST {
            self.bundles.parts(link).into_iter().for_each(|part| self.inner.pause(part));
        }
    }

    fn resume(&mut self, link: LinkToken) {
        if link.0 < FIRST {
            self.bundles.parts(link).into_iter().for_each(|part| self.inner.resume(part));
        }
    }

    fn close(&mut self, link: LinkToken) {
        if link.0 < FIRST {
            self.bundles.parts(link).into_iter().for_each(|part| self.inner.close(part));
            return self.bundles.forget(link);
        }
        // What was written before goes first.
        self.tunnels.pump();
        if let Some(far) = self.tunnels.forget_far(link) {
            let what = What::Close { code: ErrorCode::MOVED, detail: "the home has ended the session" };
            self.tunnels.say(far.peer, &Said { by_home: true, tunnel: far.tunnel, what });
        }
    }

    fn close_listener(&mut self, listener: ListenerToken) {
        self.inner.close_listener(listener);
    }

    fn remote_address(&self, link: LinkToken) -> Option<String> {
        if link.0 < FIRST { self.inner.remote_address(link) } else { None }
    }

    fn closing(&self) -> usize {
        self.inner.closing()
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}
