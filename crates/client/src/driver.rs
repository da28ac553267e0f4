//! The one thread of a client: it owns the network and drives the session.
//!
//! Inputs: the session (behind a lock that is held for moments), the network.
//! Bound per turn: [`READS`] reads; writes until the socket is full. When the
//! socket is full no more blocks are taken from the session; when the
//! receiving memory is used up nothing is read. It sleeps in the network's
//! `poll` and is woken by whoever gives the session something to do. Tasks are
//! woken while no lock is held.

use std::sync::{Arc, Mutex};
use std::task::Waker as TaskWaker;
use std::time::Duration;

use weft_base::{Clock, Mono, Now};
use weft_transport::{CloseReason, Network, ReadOutcome, Ready, Security, Waker};
use weft_wire::frame::ErrorCode;

use crate::line::Line;
use crate::login::LOOK;
use crate::options::ConnectOptions;
use crate::receive::Receiver;
use crate::session::{Action, Session, Write};
use crate::ticket::lock;

/// Reads in one turn, before acknowledgements and credit are written.
const READS: usize = 8;
/// Bytes taken from the session and not written yet, at most about this many.
const UNWRITTEN: usize = 512 << 10;
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

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The one to the hub.
    Main,
    /// While the client moves: the one to the other hub, and once it has moved
    /// the last of the old one.
    Side,
}

/// The thread's own side.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    network: Box<dyn Network>,
    options: ConnectOptions,
    main: Line,
    side: Line,
    stop: bool,
    /// When the file with what is shown to log in is looked at next.
    next_look: Mono,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        network: Box<dyn Network>,
        options: ConnectOptions,
        receiver: Receiver,
    ) -> Self {
        let main = Line::new(receiver);
        Self { shared, network, options, main, side: Line::default(), stop: false, next_look: Mono(0) }
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
            self.read(End::Main);
            self.read(End::Side);
        }
        self.flush(End::Main);
        for end in [End::Main, End::Side] {
            self.close(end);
        }
        self.linger();
    }

    fn line(&mut self, end: End) -> &mut Line {
        match end {
            End::Main => &mut self.main,
            End::Side => &mut self.side,
        }
    }

    fn turn(&mut self, fresh: &mut Vec<Write>) {
        let now = self.shared.now().mono;
        let room = if self.main.blocked { 0 } else { UNWRITTEN.saturating_sub(self.main.out_bytes) };
        let empty = self.main.is_empty();
        let (actions, aside) = self.shared.with(|session| {
            let actions = session.turn(now, fresh, room, empty);
            (actions, session.take_aside())
        });
        // What is to be written is for the connections as they are from here on.
        if actions.contains(&Action::Promote) {
            std::mem::swap(&mut self.main, &mut self.side);
        }
        fresh.drain(..).for_each(|write| self.main.push(write));
        if !aside.is_empty() && self.side.link.is_some() {
            self.side.push(Write::Control(aside));
        }
        for end in [End::Main, End::Side] {
            if !self.line(end).blocked {
                self.flush(end);
            }
        }
        for action in actions {
            match action {
                Action::Dial(address) => self.dial(End::Main, &address, None),
                Action::DialPlace { address, name } => self.dial(End::Main, &address, Some(&name)),
                Action::DialAside { address, name } => self.dial(End::Side, &address, name.as_deref()),
                Action::Disconnect => {
                    self.flush(End::Main);
                    self.close(End::Main);
                }
                Action::DropAside => {
                    self.close(End::Side);
                    self.side.receiver = None;
                }
                Action::Promote => {}
                Action::Stop => self.stop = true,
            }
        }
    }

    /// Closes a connection and forgets what was of it.
    fn close(&mut self, end: End) {
        if let Some(link) = self.line(end).link.take() {
            self.network.close(link);
        }
        self.line(end).forget();
    }

    /// Takes what is shown to log in from its file, where it is in one.
    fn look_at_login(&mut self) {
        if !self.options.login.is_of_file() {
            return;
        }
        self.next_look = self.shared.now().mono + LOOK;
        match self.options.login.shown() {
            Ok(shown) => self.shared.with(|session| session.renew_login(shown)),
            Err(error) => {
                tracing::warn!(code = "login_file", error = %error, "what was read before is shown");
            }
        }
    }

    fn timeout(&mut self) -> Duration {
        let now = self.shared.now().mono;
        if self.main.link.is_some() && self.options.login.is_of_file() && self.next_look <= now {
            self.look_at_login();
        }
        let (blocked, empty) = (self.main.blocked, self.main.is_empty());
        let mut timeout = self.shared.with(|session| session.sleep(now, blocked, empty));
        if self.options.login.is_of_file() {
            timeout = timeout.min(LOOK);
        }
        if self.main.has_work() || self.side.has_work() {
            Duration::ZERO
        } else if self.main.starved || self.side.starved {
            timeout.min(STARVED)
        } else {
            timeout
        }
    }

    fn dial(&mut self, end: End, address: &str, name: Option<&str>) {
        self.line(end).forget();
        if self.line(end).receiver.is_none() {
            match Receiver::new(self.options.receive_memory, self.options.max_frame) {
                Ok(receiver) => self.line(end).receiver = Some(receiver),
                Err(error) => return self.lost(end, &error.to_string()),
            }
        }
        if let Security::Tls(identity) = &self.options.security
            && let Err(error) = identity.reload()
        {
            tracing::warn!(code = "identity_unusable", error = %error, "the certificate of before is shown");
        }
        let expect = name.or(self.options.hub.as_deref());
        match self.network.dial(address, &self.options.security, expect) {
            Ok(link) => self.line(end).link = Some(link),
            Err(error) => self.lost(end, &error.to_string()),
        }
    }

    fn lost(&mut self, end: End, reason: &str) {
        self.line(end).forget();
        let now = self.shared.now().mono;
        self.shared.with(|session| match end {
            End::Main => session.lost(now, reason),
            End::Side => session.lost_aside(now, reason),
        });
    }

    fn on_ready(&mut self, event: Ready) {
        let link = match &event {
            Ready::Connected { link, .. } | Ready::Closed { link, .. } => *link,
            Ready::Readable(link) | Ready::Writable(link) => *link,
            _ => return,
        };
        let end = match Some(link) {
            link if link == self.main.link => End::Main,
            link if link == self.side.link => End::Side,
            _ => return,
        };
        match event {
            Ready::Connected { .. } => {
                self.look_at_login();
                let now = self.shared.now().mono;
                self.shared.with(|session| match end {
                    End::Main => session.connected(now),
                    End::Side => session.connected_aside(now),
                });
            }
            Ready::Readable(_) => self.line(end).readable = true,
            Ready::Writable(_) => self.line(end).blocked = false,
            Ready::Closed { reason, .. } => self.on_closed(end, &reason),
            _ => {}
        }
    }

    fn on_closed(&mut self, end: End, reason: &CloseReason) {
        self.lost(end, &reason.to_string());
    }

    fn read(&mut self, end: End) {
        for _ in 0..READS {
            let Self { network, main, side, .. } = self;
            let line = if end == End::Main { main } else { side };
            let Some(link) = line.link.filter(|_| line.readable) else { return };
            let Some(receiver) = &mut line.receiver else { return };
            let Some(room) = receiver.room() else {
                if !line.starved {
                    tracing::warn!(
                        code = "receive_memory_full",
                        "reading waits: the application holds deliveries of all the memory that `receive_memory` allows"
                    );
                    network.pause(link);
                }
                line.starved = true;
                return;
            };
            if std::mem::take(&mut line.starved) {
                network.resume(link);
            }
            match network.read(link, room) {
                ReadOutcome::Bytes(n) => {
                    receiver.advance(n);
                    self.take_frames(end);
                }
                ReadOutcome::WouldBlock => {
                    line.readable = false;
                    return;
                }
                ReadOutcome::Closed(reason) => return self.on_closed(end, &reason),
            }
        }
    }

    /// Hands all whole frames to the session, under one lock.
    fn take_frames(&mut self, end: End) {
        let now = self.shared.now().mono;
        let Self { shared, main, side, .. } = self;
        let line = if end == End::Main { main } else { side };
        let Some(receiver) = &mut line.receiver else { return };
        shared.with(|session| {
            loop {
                match (receiver.next_frame(), end) {
                    (Ok(Some(frame)), End::Main) => session.frame(frame, now),
                    (Ok(Some(frame)), End::Side) => session.frame_aside(frame, now),
                    (Ok(None), _) => return,
                    (Err(error), End::Main) => {
                        return session.violated(ErrorCode(error.code().0), &error.to_string(), now);
                    }
                    (Err(error), End::Side) => return session.violated_aside(now, &error.to_string()),
                }
            }
        });
    }

    /// Writes until nothing is left or the socket takes no more.
    fn flush(&mut self, end: End) {
        let mut done = Vec::new();
        let Self { network, main, side, .. } = self;
        let line = if end == End::Main { main } else { side };
        let ended = line.flush(network.as_mut(), &mut done);
        if !done.is_empty() {
            self.shared.with(|session| done.into_iter().for_each(|outgoing| session.written(outgoing.block)));
        }
        if let Some(reason) = ended {
            self.on_closed(end, &reason);
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
