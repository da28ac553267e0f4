//! The client's side of a session, without I/O: frames in, frames out.
//!
//! ```text
//!           pause over            connected              Welcome
//! Waiting ------------> Dialling -----------> Greeting ----------> Up
//!    ^                      |                     |                 |
//!    +----------------------+---------------------+-----------------+  lost
//!                                                     close() ------+--> Parting --> Ended
//! ```
//!
//! The driver owns the network and the clock. It calls [`Session::turn`] for
//! what is to be done and written, and hands in what happened. The async face
//! calls the rest. Nothing here waits, and tasks to wake are only collected:
//! whoever holds the lock wakes them after letting go of it.

mod aside;
mod backoff;
mod calls;
mod consume;
mod face;
mod incoming;
mod moving;
mod publish;
mod requests;
mod seen;
mod subscribe;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use weft_base::{Epoch, HubId, Lane, Mono, Random};
use weft_wire::frame::{self, ErrorCode, Frame};
use zeroize::Zeroizing;

pub(crate) use self::backoff::Backoff;
use self::calls::Calls;
pub(crate) use self::calls::{Arrived, CallQueue, CallSpec};
pub use self::consume::Membership;
pub(crate) use self::consume::{ConsumeSpec, Consumers, HandoutQueue, Opened, Saying, Settling, Taken};
use self::moving::{Moving, Place};
pub(crate) use self::publish::{BlockAck, BlockTicket, Gathered, Outgoing, Publishing, Sealed, Spec, Window};
pub use self::publish::{OPEN_TOPICS, Terms};
pub(crate) use self::requests::{RequestTicket, Requests};
pub(crate) use self::subscribe::{SubscribeTicket, Subscriptions};
use self::timers::Timers;
use crate::error::{CallError, ConnectError};
use crate::options::ConnectOptions;
use crate::ticket::Ticket;
use crate::why::Told;

/// The versions of the protocol that are spoken.
const VERSIONS: std::ops::RangeInclusive<u16> = frame::PROTOCOL_VERSION_LEAST..=frame::PROTOCOL_VERSION;
/// What the client says it is.
const SOFTWARE: &str = concat!("weft-client/", env!("CARGO_PKG_VERSION"));
/// How long a hub may take from the connection to its `Welcome`.
const GREETING: Duration = Duration::from_secs(10);
/// A session that lasted this long was a success: the next pause is short again.
const LASTED: Duration = Duration::from_secs(1);
/// Ids of subscriptions and requests start here, those of publishes at 1, so
/// that the answers to them, which share one kind of frame, cannot be mixed up.
const FIRST_ID: u64 = 1 << 63;

/// The hub at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubInfo {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What it runs.
    pub software: String,
    /// Its id.
    pub id: HubId,
    /// Its life.
    pub epoch: Epoch,
    /// The address at which it was reached.
    pub address: String,
    /// It asks who its clients are, and takes something newer from those that are in.
    pub asks_logins: bool,
}

impl HubInfo {
    fn of(welcome: &frame::Welcome<'_>, address: &str) -> Self {
        Self {
            name: welcome.name.to_owned(),
            region: welcome.region.to_owned(),
            software: welcome.software.to_owned(),
            id: welcome.hub,
            epoch: welcome.epoch,
            address: address.to_owned(),
            asks_logins: welcome.features & frame::feature::LOGINS != 0,
        }
    }
}

/// How a client stands with its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There was no connection yet.
    Connecting,
    /// There is a connection.
    Connected(HubInfo),
    /// The connection was lost and is being made anew.
    Reconnecting {
        /// Why the last connection, or attempt, ended.
        reason: String,
        /// Attempts that failed since.
        failures: u32,
    },
    /// The client is closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Mono },
    Dialling,
    Greeting { deadline: Mono },
    Up { since: Mono },
    Parting { deadline: Mono },
    Ended,
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connect to this address.
    Dial(String),
    /// Connect to this address, which a hub has named, where another hub of this name is.
    DialPlace { address: String, name: String },
    /// Make a second connection to this address, and to a hub of this name if there is one.
    DialAside { address: String, name: Option<String> },
    /// The second connection is the first one from now on, and the other way round.
    Promote,
    /// Close the second connection.
    DropAside,
    /// Close the connection once what is queued is written.
    Disconnect,
    /// There is nothing more to do, ever, once what is queued is written.
    Stop,
}

/// What is to be written, in order.
#[derive(Debug)]
pub(crate) enum Write {
    Control(Vec<u8>),
    Publish(Outgoing),
}

/// The session. See the module's document.
#[derive(Debug)]
pub(crate) struct Session {
    options: ConnectOptions,
    state: State,
    random: Random,
    backoff: Backoff,
    /// Attempts so far; says which address is next.
    attempts: usize,
    /// The address of the connection that is, or is being made.
    address: String,
    /// What is shown to log in.
    shown: Zeroizing<Vec<u8>>,
    /// Places that a hub has named, to be tried before the addresses.
    hints: VecDeque<Place>,
    /// How often hints were taken since the last session.
    hinted: u32,
    /// The client is on its way to another hub.
    moving: Option<Box<Moving>>,
    /// Of the first connection: why each address failed in this round.
    reasons: Vec<String>,
    connect_until: Mono,
    connected: Arc<Ticket<Result<(), ConnectError>>>,
    was_connected: bool,
    /// Since when a connection that was lost is being made anew.
    lost_since: Option<Mono>,
    /// Why no connection is made any more.
    gave_up: Option<String>,
    publishing: Publishing,
    subscriptions: Subscriptions,
    consumers: Consumers,
    timers: Timers,
    requests: Requests,
    calls: Calls,
    /// What the hub says that publishes wait for.
    told: Told,
    next_id: u64,
    control: Vec<u8>,
    heard: Mono,
    asked: bool,
    closing: Option<Mono>,
    closed: Arc<Ticket<bool>>,
    status: Status,
    status_version: u64,
    status_waiting: Vec<Waker>,
    actions: Vec<Action>,
    wake: Vec<Waker>,
    hurry: bool,
    /// The driver sleeps until then, or until it is woken.
    asleep_until: Option<Mono>,
    /// The socket takes no more at present.
    blocked: bool,
    /// All that was handed out has been written.
    all_written: bool,
}

impl Session {
    pub(crate) fn new(options: ConnectOptions, mut random: Random, now: Mono) -> Self {
        let limit = Window {
            blocks: options.in_flight_blocks.max(1) as usize,
            bytes: options.in_flight_bytes.as_usize().max(1),
        };
        Self {
            state: State::Waiting { until: now },
            backoff: Backoff::new(options.retry_first, options.retry_most),
            attempts: 0,
            address: String::new(),
            shown: Zeroizing::default(),
            hints: VecDeque::new(),
            hinted: 0,
            moving: None,
            reasons: Vec::new(),
            connect_until: now + options.connect_for,
            connected: Ticket::new(),
            was_connected: false,
            lost_since: None,
            gave_up: None,
            publishing: Publishing::new(random.next_u64().max(8), limit),
            subscriptions: Subscriptions::default(),
            consumers: Consumers::default(),
            timers: Timers::default(),
            requests: Requests::default(),
            calls: Calls::default(),
            told: Told::default(),
            next_id: FIRST_ID,
            control: Vec::new(),
            heard: now,
            asked: false,
            closing: None,
            closed: Ticket::new(),
            status: Status::Connecting,
            status_version: 0,
            status_waiting: Vec::new(),
            actions: Vec::new(),
            wake: Vec::new(),
            hurry: false,
            asleep_until: None,
            blocked: false,
            all_written: true,
            options,
            random,
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    fn set_status(&mut self, status: Status) {
        self.status = status;
        self.status_version += 1;
        self.wake.append(&mut self.status_waiting);
    }

    /// One turn: what is due is done, what is to be written goes to `out` while
    /// its bytes stay under `room`. `empty`: all that was handed out before has
    /// been written. Answers what the driver is to do.
    pub(crate) fn turn(&mut self, now: Mono, out: &mut Vec<Write>, room: usize, empty: bool) -> Vec<Action> {
        self.asleep_until = None;
        self.all_written = empty;
        self.tick(now);
        if self.is_up() {
            self.consumers.flush(&mut self.control);
        }
        let mut bytes = self.control.len();
        if !self.control.is_empty() && !matches!(self.state, State::Waiting { .. } | State::Dialling) {
            out.push(Write::Control(std::mem::take(&mut self.control)));
        }
        if self.is_up() {
            let hurry = self.hurry || self.closing.is_some();
            self.publishing.seal_due(now, hurry);
            while bytes < room
                && !self.is_holding()
                && let Some(outgoing) = self.publishing.next_outgoing()
            {
                bytes += outgoing.block.bytes().len();
                out.push(Write::Publish(outgoing));
            }
            if self.publishing.is_idle() {
                self.hurry = false;
            }
            if !self.publishing.is_full() {
                self.publishing.take_waiting(&mut self.wake);
            }
        }
        self.all_written = empty && out.is_empty();
        std::mem::take(&mut self.actions)
    }

    /// The driver is about to sleep: for how long it may; zero when there is
    /// something to do at once. `blocked`: the socket takes no more; `empty`:
    /// all that was handed out has been written.
    pub(crate) fn sleep(&mut self, now: Mono, blocked: bool, empty: bool) -> Duration {
        self.blocked = blocked;
        self.all_written = empty;
        if empty && self.publishing.is_idle() {
            // Who waits for everything to be written has waited for this.
            self.publishing.take_waiting(&mut self.wake);
        }
        if self.wants_driver() {
            return Duration::ZERO;
        }
        let until = self.next_deadline();
        self.asleep_until = Some(until);
        until.since(now)
    }

    /// Whether the driver has something to do before the time it sleeps to.
    fn wants_driver(&mut self) -> bool {
        let hurry = self.hurry || self.closing.is_some();
        let sendable = self.is_up() && !self.blocked && !self.is_holding() && self.publishing.can_send(hurry);
        let control = !self.control.is_empty() && !matches!(self.state, State::Waiting { .. } | State::Dialling);
        let control = control || (self.is_up() && self.consumers.has_to_say());
        let part = self.closing.is_some() && self.is_up() && self.is_quiet();
        control || sendable || part || !self.actions.is_empty() || self.moves_on()
    }

    /// Whether a driver that sleeps must be woken for what has changed.
    pub(crate) fn must_wake_driver(&mut self) -> bool {
        let Some(until) = self.asleep_until else { return false };
        if self.wants_driver() || self.next_deadline() < until {
            self.asleep_until = None;
            return true;
        }
        false
    }

    fn next_deadline(&mut self) -> Mono {
        let far = Mono(u64::MAX);
        let own = match self.state {
            State::Waiting { until } => until,
            State::Dialling | State::Ended => far,
            State::Greeting { deadline } | State::Parting { deadline } => deadline,
            State::Up { .. } => {
                let quiet = self.heard + if self.asked { self.options.quiet * 3 } else { self.options.quiet };
                quiet.min(self.publishing.next_deadline().unwrap_or(far))
            }
        };
        let own = own.min(self.calls.next_deadline().unwrap_or(far));
        let own = own.min(self.publishing.next_expiry().unwrap_or(far));
        let own = own.min(self.timers.next_deadline().unwrap_or(far));
        let again = self.consumers.next_deadline().into_iter().chain(self.subscriptions.next_deadline()).min();
        let own = if self.is_up() { own.min(again.unwrap_or(far)) } else { own };
        let own = own.min(self.gives_up_at().unwrap_or(far));
        let own = own.min(self.move_deadline().unwrap_or(far));
        match self.closing {
            Some(deadline) if self.state != State::Ended => own.min(deadline),
            _ => own,
        }
    }

    /// When a lost connection counts as lost for good.
    fn gives_up_at(&self) -> Option<Mono> {
        Some(self.lost_since? + self.options.reconnect_for?)
    }

    /// No connection could be made anew in time: the client ends, and everybody who waits is told.
    fn give_up_reconnecting(&mut self, within: Duration) {
        let last = match &self.status {
            Status::Reconnecting { reason, .. } => reason.as_str(),
            _ => "",
        };
        let seconds = within.as_secs_f64();
        let why = format!("the connection to the hub was lost and could not be made again within {seconds} s: {last}");
        tracing::debug!(code = "gave_up", reason = %why, "the client ends");
        self.gave_up = Some(why);
        if !matches!(self.state, State::Waiting { .. }) {
            self.actions.push(Action::Disconnect);
        }
        self.end(false);
    }

    fn tick(&mut self, now: Mono) {
        if let (Some(within), Some(at)) = (self.options.reconnect_for, self.gives_up_at())
            && at <= now
            && self.state != State::Ended
        {
            return self.give_up_reconnecting(within);
        }
        self.calls.expire(now, &mut self.wake);
        self.publishing.expire(now, &mut self.wake);
        self.timers.expire(now, &mut self.wake);
        if self.is_up() {
            self.consumers.reopen(now, &mut self.control);
            self.subscriptions.reopen(now, &mut self.control);
        }
        self.tend_move(now);
        if let Some(deadline) = self.closing {
            let quiet = self.is_up() && self.is_quiet();
            let over = deadline <= now;
            if matches!(self.state, State::Up { .. }) && (quiet || over) {
                self.part(now, ErrorCode::LEAVING, "the client was closed");
                self.end(quiet);
            } else if over && self.state != State::Ended {
                self.end(false);
            }
        }
        match self.state {
            State::Waiting { until } if until <= now => {
                if let Some(Place { name, address }) = self.hints.pop_front() {
                    self.address.clone_from(&address);
                    self.state = State::Dialling;
                    self.actions.push(Action::DialPlace { address, name });
                    return;
                }
                let index = self.attempts % self.options.addresses.len().max(1);
                let Some(address) = self.options.addresses.get(index).cloned() else {
                    self.give_up(ConnectError::NoAddress);
                    return;
                };
                self.attempts += 1;
                self.address = address.clone();
                self.state = State::Dialling;
                self.actions.push(Action::Dial(address));
            }
            State::Greeting { deadline } if deadline <= now => {
                self.actions.push(Action::Disconnect);
                self.lost(now, "the hub does not answer: is this the address of a hub's listener for clients?");
            }
            State::Up { .. } => {
                let silent = now.since(self.heard);
                if silent >= self.options.quiet * 3 {
                    self.actions.push(Action::Disconnect);
                    self.lost(now, &format!("nothing was heard from the hub for {} ms", silent.as_millis()));
                } else if silent >= self.options.quiet && !self.asked {
                    self.asked = true;
                    frame::encode(&Frame::Ping(frame::Ping { id: 0, time: now.0 }), &mut self.control);
                }
            }
            State::Parting { deadline } if deadline <= now => self.state = State::Ended,
            _ => {}
        }
    }

    /// Nothing waits to be sealed, sent, acknowledged or answered.
    fn is_quiet(&self) -> bool {
        let said = !self.consumers.has_to_say();
        self.publishing.is_idle() && self.requests.is_empty() && self.calls.is_empty() && said && self.all_written
    }

    /// The connection is up: the client says hello.
    pub(crate) fn connected(&mut self, now: Mono) {
        if self.state != State::Dialling {
            return;
        }
        self.state = State::Greeting { deadline: now + GREETING };
        self.control.clear();
        let mut hello = Vec::new();
        self.hello(&mut hello);
        self.control = hello;
    }

    fn hello(&self, out: &mut Vec<u8>) {
        let hello = frame::Hello {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            role: frame::Role::Client,
            features: 0,
            max_frame: u32::try_from(self.options.max_frame.0).unwrap_or(u32::MAX),
            hub: HubId(0),
            epoch: Epoch(0),
            name: &self.options.name,
            region: "",
            software: SOFTWARE,
            producer: self.publishing.producer(Lane::URGENT),
            token: &self.shown,
        };
        frame::encode(&Frame::Hello(hello), out);
    }

    /// The connection has ended, or could not be made.
    pub(crate) fn lost(&mut self, now: Mono, reason: &str) {
        let state = self.state;
        self.stop_moving();
        self.control.clear();
        self.asked = false;
        match state {
            State::Ended | State::Waiting { .. } => return,
            State::Parting { .. } => {
                self.state = State::Ended;
                return;
            }
            State::Up { since } => {
                tracing::warn!(code = "connection_lost", address = %self.address, reason, "the connection is made anew");
                if now.since(since) >= LASTED {
                    self.backoff.reset();
                }
                self.subscriptions.lost();
                self.consumers.lost(&mut self.wake);
                self.requests.lost(&mut self.wake);
                self.end_calls(&CallError::ConnectionLost);
                self.told.clear();
            }
            State::Dialling | State::Greeting { .. } => {
                tracing::debug!(code = "connect_failed", address = %self.address, reason, "no connection");
            }
        }
        if self.was_connected {
            self.lost_since.get_or_insert(now);
            let until = now + self.backoff.next(&mut self.random);
            self.state = State::Waiting { until };
            let failures = self.backoff.failures().saturating_sub(1);
            self.set_status(Status::Reconnecting { reason: reason.to_owned(), failures });
            return;
        }
        self.reasons.push(format!("`{}`: {reason}", self.address));
        let until = if self.reasons.len() < self.options.addresses.len() || !self.hints.is_empty() {
            now
        } else {
            let reasons = std::mem::take(&mut self.reasons);
            let until = now + self.backoff.next(&mut self.random);
            if until > self.connect_until || self.connect_until <= now {
                return self.give_up(ConnectError::Unreachable { reasons });
            }
            until
        };
        self.state = State::Waiting { until };
    }

    /// The first connection will not be: the client ends.
    fn give_up(&mut self, error: ConnectError) {
        self.connected.complete(Err(error), &mut self.wake);
        self.end(true);
        self.state = State::Ended;
    }

    /// Says goodbye; the connection ends once that is written.
    fn part(&mut self, now: Mono, code: ErrorCode, detail: &str) {
        frame::encode(&Frame::Goodbye(frame::Goodbye { code, detail }), &mut self.control);
        self.state = State::Parting { deadline: now + LASTED };
    }

    /// Nothing is taken, delivered or answered any more.
    fn end(&mut self, clean: bool) {
        self.stop_moving();
        self.publishing.close(&mut self.wake);
        self.subscriptions.close(&mut self.wake);
        self.consumers.close(&mut self.wake);
        self.requests.close(&mut self.wake);
        self.end_calls(&CallError::Closed);
        self.connected.complete(Err(ConnectError::Closed), &mut self.wake);
        self.closed.complete(clean, &mut self.wake);
        self.set_status(Status::Closed);
        self.closing = None;
        self.lost_since = None;
        self.actions.push(Action::Stop);
        if !matches!(self.state, State::Parting { .. }) {
            self.state = State::Ended;
        }
    }

    /// The driver's thread is over, whatever the reason.
    pub(crate) fn stopped(&mut self) {
        if self.status != Status::Closed {
            self.end(false);
        }
        self.state = State::Ended;
    }

    /// A block that was written may be used for another.
    pub(crate) fn written(&mut self, block: Arc<Sealed>) {
        self.publishing.recycle(block);
    }

    /// The tasks to wake, once no lock is held.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }
}
