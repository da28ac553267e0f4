//! Certificates for machines that join: a door of its own beside the hub, which
//! takes one request per connection, from who has a token or a certificate to
//! be renewed. It has threads of its own and shares nothing with the hub's
//! stages but counters, so that a flood there costs events nothing.
//!
//! Only a hub that is given the authority's key has one; see `[issue]` in
//! `examples/hub.toml`.

mod desk;
mod options;
pub(crate) mod talk;
pub(crate) mod tokens;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use weft_base::Clock;
use weft_hub::Counters;
use weft_login::Attempts;
use weft_login::attempts::network_of;
use weft_transport::CloseReason;
use weft_transport::joining::Doorkeeper;
use weft_wire::ErrorCode;

use self::desk::Desk;
pub(crate) use self::desk::Facts;
pub(crate) use self::options::{IssueOptions, authority_of};

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How long a conversation may take, from the connection to its end.
const TIME: Duration = Duration::from_secs(10);
/// Addresses whose tries are told apart.
const TOLD_APART: usize = 1024;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn of(code: ErrorCode, detail: String) -> Self {
        Self { code, detail }
    }
}

/// The door, open until it is dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    room: Arc<Room>,
    listening: Option<JoinHandle<()>>,
}

/// What all conversations share.
struct Room {
    desk: Desk,
    door: Doorkeeper,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    attempts: Mutex<Attempts<IpAddr>>,
    most: usize,
    inside: AtomicUsize,
    closed: AtomicBool,
}

impl Issuer {
    /// Opens the door.
    ///
    /// # Errors
    /// The authority cannot be used, or the address is taken.
    pub(crate) fn open(options: &IssueOptions, facts: Facts, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(&options.listen)
            .with_context(|| format!("cannot listen on issue.listen, `{}`", options.listen))?;
        let address = listener.local_addr().context("the address of issue.listen")?;
        let counters = facts.counters.clone();
        let door = Doorkeeper::new(facts.identity.clone(), &options.authority, clock.clone())?;
        let room = Arc::new(Room {
            door,
            desk: Desk::new(options, facts)?,
            clock,
            counters,
            attempts: Mutex::new(Attempts::new(options.attempts, TOLD_APART)),
            most: options.connections,
            inside: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let shared = room.clone();
        let listening = std::thread::Builder::new()
            .name("weft-issue".to_owned())
            .spawn(move || listen(&listener, &shared))
            .context("the system gives no thread")?;
        Ok(Self { address, room, listening: Some(listening) })
    }

    /// Where it is, as bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.room.closed.store(true, Ordering::Release);
        // Wakes who listens: a connection is all that it waits for.
        let mut here = self.address;
        if here.ip().is_unspecified() {
            here.set_ip(if here.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        if TcpStream::connect_timeout(&here, Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.listening.take()
        {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, room: &Arc<Room>) {
    loop {
        let accepted = listener.accept();
        if room.closed.load(Ordering::Acquire) {
            return;
        }
        let Ok((socket, from)) = accepted else {
            // Out of descriptors, most likely: others must close some first.
            std::thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        let (from_where, now) = (network_of(from.ip()), room.clock.now().mono);
        let may = room.attempts.lock().unwrap_or_else(PoisonError::into_inner).take(&from_where, now).is_ok();
        let seat = may.then(|| Seat::take(room)).flatten();
        let Some(seat) = seat else {
            // Nothing is said: saying it would take the time that there is not.
            count(&room.counters.joins_limited);
            continue;
        };
        let spawned =
            std::thread::Builder::new().name("weft-issuing".to_owned()).spawn(move || seat.converse(socket, from));
        if spawned.is_err() {
            count(&room.counters.joins_limited);
        }
    }
}

/// One of the places for conversations, given back when it is dropped.
struct Seat(Arc<Room>);

impl Seat {
    fn take(room: &Arc<Room>) -> Option<Self> {
        let seat = Self(room.clone());
        // Dropping it gives the place back, also where there was none.
        let before = room.inside.fetch_add(1, Ordering::AcqRel);
        (before < room.most).then_some(seat)
    }

    fn converse(&self, socket: TcpStream, from: SocketAddr) {
        let room = &self.0;
        match room.door.accept(socket, TIME) {
            Ok(talk) => room.desk.serve(talk, from, room.clock.now().wall),
            // Who only looked whether somebody listens.
            Err(CloseReason::PeerClosed | CloseReason::Truncated | CloseReason::Reset) => {}
            Err(reason) => {
                count(&room.counters.joins_strangers);
                tracing::warn!(code = "join_refused", %from, why = %reason, "a connection to join was refused");
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}
