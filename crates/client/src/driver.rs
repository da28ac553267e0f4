//! The one thread of a client: it owns the network and drives the session.
//!
//! Inputs: the session (behind a lock that is held for moments), the network.
//! Bound per turn: [`READS`] reads; writes until the socket is full. When the
//! socket is full no more blocks are taken from the session; when the
//! receiving memory is used up nothing is read. It sleeps in the network's
//! `poll` and is woken by whoever gives the session something to do. Tasks are
//! woken while no lock is held.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::task::Waker as TaskWaker;
use std::time::Duration;

use weft_base::{Clock, Now};
use weft_transport::{CloseReason, LinkToken, Network, ReadOutcome, Ready, Waker, WriteOutcome};
use weft_wire::frame::ErrorCode;

use crate::options::ConnectOptions;
use crate::receive::Receiver;
use crate::session::{Action, Session, Write};
use crate::ticket::lock;

/// Reads in one turn, before acknowledgements and credit are written.
const READS: usize = 8;
/// Bytes taken from the session and not written yet, at most about this many.
const UNWRITTEN: usize = 512 << 10;
/// Slices of one write; a block takes two.
const SLICES: usize = 64;
/// When the receiving memory is used up: how soon to look again.
const STARVED: Duration = Duration::from_millis(2);

/// How long a closed connection may take to deliver what it had taken.
const PARTING: Duration = Duration::from_secs(1);

/// What the async face and the driver share.
pub(crate) struct Shared {
    session: Mutex<Session>,
    clock: Arc<dyn Clock>,
    waker: Waker,
}

impl Shared {
    pub(crate) fn new(session: Session, clock: Arc<dyn Clock>, waker: Waker) -> Self {
        Self { session: Mutex::new(session), clock, waker }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Works on the session, then wakes whom that concerns.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        let (answer, tasks, driver) = {
            let mut session = lock(&self.session);
            let answer = work(&mut session);
            (answer, session.take_wakers(), session.must_wake_driver())
        };
        if driver {
            self.waker.wake();
        }
        tasks.into_iter().for_each(TaskWaker::wake);
        answer
    }
}

/// Tells the session that its thread is over, also when the thread panics: who
/// waits for something gets an answer.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.with(Session::stopped);
    }
}

/// The thread's own side.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    network: Box<dyn Network>,
    options: ConnectOptions,
    receiver: Receiver,
    link: Option<LinkToken>,
    /// What is to be written, in order, and how much of the first is.
    out: VecDeque<Write>,
    out_bytes: usize,
    written: usize,
    blocked: bool,
    readable: bool,
    starved: bool,
    stop: bool,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        network: Box<dyn Network>,
        options: ConnectOptions,
        receiver: Receiver,
    ) -> Self {
        Self {
            shared,
            network,
            options,
            receiver,
            link: None,
            out: VecDeque::new(),
            out_bytes: 0,
            written: 0,
            blocked: false,
            readable: false,
            starved: false,
            stop: false,
        }
    }

    /// Runs until the session says stop.
    pub(crate) fn run(mut self) {
        let _ending = Ending(self.shared.clone());
        let mut ready = Vec::new();
        let mut fresh = Vec::new();
        while !self.stop {
            self.turn(&mut fresh);
            if self.stop {
                break;
            }
            let timeout = self.timeout();
            if let Err(error) = self.network.poll(Some(timeout), &mut ready) {
                tracing::error!(code = "poll_failed", error = %error, "the client stops: the network cannot be polled");
                break;
            }
            for event in ready.drain(..) {
                self.on_ready(event);
            }
            self.read();
        }
        self.flush();
        if let Some(link) = self.link.take() {
            self.network.close(link);
            self.linger();
        }
    }

    fn turn(&mut self, fresh: &mut Vec<Write>) {
        let now = self.shared.now().mono;
        let room = if self.blocked { 0 } else { UNWRITTEN.saturating_sub(self.out_bytes) };
        let empty = self.out.is_empty();
        let actions = self.shared.with(|session| session.turn(now, fresh, room, empty));
        for write in fresh.drain(..) {
            self.out_bytes += len(&write);
            self.out.push_back(write);
        }
        if !self.blocked {
            self.flush();
        }
        for action in actions {
            match action {
                Action::Dial(address) => self.dial(&address),
                Action::Disconnect => {
                    self.flush();
                    if let Some(link) = self.link.take() {
                        self.network.close(link);
                    }
                    self.forget();
                }
                Action::Stop => self.stop = true,
            }
        }
    }

    fn timeout(&mut self) -> Duration {
        let now = self.shared.now().mono;
        let (blocked, empty) = (self.blocked, self.out.is_empty());
        let more = !blocked && !empty;
        let timeout = self.shared.with(|session| session.sleep(now, blocked, empty));
        match (more || (self.readable && !self.starved), self.starved) {
            (true, _) => Duration::ZERO,
            (false, true) => timeout.min(STARVED),
            (false, false) => timeout,
        }
    }

    fn dial(&mut self, address: &str) {
        self.forget();
        match self.network.dial(address, &self.options.security, self.options.hub.as_deref()) {
            Ok(link) => self.link = Some(link),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// The connection, if there was one, is over on this side.
    fn forget(&mut self) {
        self.link = None;
        self.out.clear();
        self.out_bytes = 0;
        self.written = 0;
        self.blocked = false;
        self.readable = false;
        self.starved = false;
        self.receiver.clear();
    }

    fn lost(&mut self, reason: &str) {
        self.forget();
        let now = self.shared.now().mono;
        self.shared.with(|session| session.lost(now, reason));
    }

    fn on_ready(&mut self, event: Ready) {
        match event {
            Ready::Connected { link, .. } if Some(link) == self.link => {
                let now = self.shared.now().mono;
                self.shared.with(|session| session.connected(now));
            }
            Ready::Readable(link) if Some(link) == self.link => self.readable = true,
            Ready::Writable(link) if Some(link) == self.link => self.blocked = false,
            Ready::Closed { link, reason } if Some(link) == self.link => self.on_closed(&reason),
            _ => {}
        }
    }

    fn on_closed(&mut self, reason: &CloseReason) {
        self.lost(&reason.to_string());
    }

    fn read(&mut self) {
        for _ in 0..READS {
            let Some(link) = self.link.filter(|_| self.readable) else { return };
            let Some(room) = self.receiver.room() else {
                if !self.starved {
                    tracing::warn!(
                        code = "receive_memory_full",
                        "reading waits: the application holds deliveries of all the memory that `receive_memory` allows"
                    );
                    self.network.pause(link);
                }
                self.starved = true;
                return;
            };
            if std::mem::take(&mut self.starved) {
                self.network.resume(link);
            }
            match self.network.read(link, room) {
                ReadOutcome::Bytes(n) => {
                    self.receiver.advance(n);
                    self.take_frames();
                }
                ReadOutcome::WouldBlock => {
                    self.readable = false;
                    return;
                }
                ReadOutcome::Closed(reason) => return self.on_closed(&reason),
            }
        }
    }

    /// Hands all whole frames to the session, under one lock.
    fn take_frames(&mut self) {
        let now = self.shared.now().mono;
        let receiver = &mut self.receiver;
        self.shared.with(|session| {
            loop {
                match receiver.next_frame() {
                    Ok(Some(frame)) => session.frame(frame, now),
                    Ok(None) => return,
                    Err(error) => return session.violated(ErrorCode(error.code().0), &error.to_string(), now),
                }
            }
        });
    }

    /// Writes until nothing is left or the socket takes no more.
    fn flush(&mut self) {
        while let Some(link) = self.link.filter(|_| !self.out.is_empty()) {
            let outcome = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = fill(&mut slices, &self.out, self.written);
                self.network.write(link, slices.get(..used).unwrap_or_default())
            };
            match outcome {
                WriteOutcome::Bytes(n) => self.advance(n),
                WriteOutcome::WouldBlock => {
                    self.blocked = true;
                    return;
                }
                WriteOutcome::Closed(reason) => return self.on_closed(&reason),
            }
        }
    }

    /// Counts written bytes off the queue.
    fn advance(&mut self, n: usize) {
        self.written += n;
        let mut done = Vec::new();
        while let Some(len) = self.out.front().map(len)
            && self.written >= len
        {
            self.written -= len;
            self.out_bytes -= len;
            if let Some(Write::Publish(outgoing)) = self.out.pop_front() {
                done.push(outgoing.block);
            }
        }
        if !done.is_empty() {
            self.shared.with(|session| done.into_iter().for_each(|block| session.written(block)));
        }
    }

    /// Lets the network deliver what it has taken from a link that is closed.
    fn linger(&mut self) {
        let mut ready = Vec::new();
        let until = self.shared.now().mono + PARTING;
        while self.network.closing() > 0 {
            let left = until.since(self.shared.now().mono);
            if left.is_zero() || self.network.poll(Some(left), &mut ready).is_err() {
                return;
            }
        }
    }
}

fn len(write: &Write) -> usize {
    match write {
        Write::Control(bytes) => bytes.len(),
        Write::Publish(outgoing) => outgoing.head.len() + outgoing.block.bytes().len(),
    }
}

/// Puts what is unwritten into `slices`; answers how many it took.
fn fill<'a>(slices: &mut [IoSlice<'a>; SLICES], out: &'a VecDeque<Write>, written: usize) -> usize {
    let mut used = 0;
    let mut skip = written;
    for write in out {
        let parts: [&[u8]; 2] = match write {
            Write::Control(bytes) => [bytes, &[]],
            Write::Publish(outgoing) => [&outgoing.head, outgoing.block.bytes()],
        };
        for part in parts {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if rest.is_empty() {
                continue;
            }
            let Some(slot) = slices.get_mut(used) else { return used };
            *slot = IoSlice::new(rest);
            used += 1;
        }
    }
    used
}
