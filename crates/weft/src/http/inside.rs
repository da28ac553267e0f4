//! Sessions of the hub's own, by which an area does what a caller asks for: one for
//! each principal, over shared memory, so that policies, quotas, flow control and
//! the audit log apply to who asks by HTTP as to any other client.
//!
//! A session begins by a voucher ([`Vouchers`]) and has the principal, the proof and
//! the end of the login that it was made for; it is made anew where the hub has
//! ended it, or where its caller has logged in with what lasts longer. All requests
//! of a principal share it, so that their events share blocks.
//!
//! Bounded: `[http] sessions`. One that nobody uses ends after [`IDLE`], or after
//! [`SPARE`] where another principal needs its place; where none can end, the answer
//! is 503. Each session has a thread and 3 connections' worth of descriptors. While
//! the hub sends its clients elsewhere there are none, and the answer is 503.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use weft_base::{ByteCount, Clock, Mono};
use weft_client::{Client, ConnectError, ConnectOptions};
use weft_govern::access::Principal;
use weft_govern::login::Login;

use super::problem::Problem;
use crate::login::Vouchers;

/// How long a session stays that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// How long it stays at least, where another needs its place.
const SPARE: Duration = Duration::from_secs(1);
/// How long it may take to begin one.
const CONNECT: Duration = Duration::from_secs(5);
/// The memory of one for what it receives, which is the least that there can be.
const RECEIVE: ByteCount = ByteCount::mib(16);

/// How sessions are made.
#[derive(Clone)]
pub(crate) struct Way {
    /// Where the hub takes them, `shm:PATH`.
    pub(crate) address: String,
    /// What they show.
    pub(crate) vouchers: Arc<Vouchers>,
}

/// All sessions.
pub(super) struct Inside {
    way: Way,
    most: usize,
    clock: Arc<dyn Clock>,
    leaving: Arc<AtomicBool>,
    places: Mutex<BTreeMap<Arc<Principal>, Place>>,
}

/// The place of a principal.
struct Place {
    session: Arc<Session>,
    used: Mono,
}

/// The session of a principal, once there is one.
#[derive(Default)]
struct Session(tokio::sync::Mutex<Option<Made>>);

/// A session that was begun.
struct Made {
    login: Login,
    client: Client,
    /// What the hub is called.
    hub: Arc<str>,
}

/// A session in use, which does not end meanwhile.
pub(super) struct Lease {
    client: Client,
    hub: Arc<str>,
    #[allow(dead_code, reason = "held")]
    session: Arc<Session>,
}

impl Lease {
    /// The session.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What its hub is called.
    pub(super) fn hub(&self) -> &Arc<str> {
        &self.hub
    }
}

impl Inside {
    /// None yet; so many at a time. `leaving`: the hub sends its clients elsewhere.
    pub(super) fn new(way: Way, most: usize, clock: Arc<dyn Clock>, leaving: Arc<AtomicBool>) -> Self {
        Self { way, most, clock, leaving, places: Mutex::default() }
    }

    /// Whether the hub sends its clients elsewhere, as it is told.
    pub(super) fn leaving(&self) -> Arc<AtomicBool> {
        self.leaving.clone()
    }

    /// The session of who has logged in so.
    ///
    /// # Errors
    /// [`Problem`]: there is none now, and when to come again.
    pub(super) async fn session(&self, login: &Login) -> Result<Lease, Problem> {
        if self.is_leaving() {
            return Err(Problem::soon(503, "draining", "the hub is about to stop: send it to another hub", 5));
        }
        let session = self.place(&login.principal)?;
        // Others of the principal wait here while the first makes it.
        let mut now = session.0.lock().await;
        if let Some(Made { login: made, client, hub }) = &*now
            && lasts(made, login)
            && client.is_connected()
        {
            return Ok(Lease { client: client.clone(), hub: hub.clone(), session: session.clone() });
        }
        // Who uses the one before still has it.
        *now = None;
        // Its state is large, and most requests find a session.
        let client = Box::pin(self.connect(login)).await?;
        let hub: Arc<str> = client.hub().map(|hub| hub.name).unwrap_or_default().into();
        *now = Some(Made { login: login.clone(), client: client.clone(), hub: hub.clone() });
        drop(now);
        Ok(Lease { client, hub, session })
    }

    async fn connect(&self, login: &Login) -> Result<Client, Problem> {
        let voucher = self.way.vouchers.mint(login);
        let voucher = voucher.map_err(|error| Problem::soon(503, "sessions", error.to_string(), 1))?;
        let options = ConnectOptions {
            name: "http".to_owned(),
            // A voucher counts once: what is lost is made anew here.
            reconnect_for: Some(Duration::ZERO),
            follow_redirects: false,
            close_within: SPARE,
            receive_memory: RECEIVE,
            ..ConnectOptions::new(self.way.address.clone())
        };
        match timeout(CONNECT, Client::connect(options.token(voucher.to_vec()))).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(ConnectError::Refused { refusal, .. })) => Err(Problem::of_session(&refusal)),
            Ok(Err(error)) => Err(Problem::soon(503, "sessions", error.to_string(), 1)),
            Err(_) => Err(Problem::soon(503, "sessions", "the hub does not begin a session: try again later", 1)),
        }
    }

    /// The place of a principal, which is made if there is room.
    fn place(&self, who: &Arc<Principal>) -> Result<Arc<Session>, Problem> {
        let now = self.clock.now().mono;
        let mut places = self.places();
        if let Some(place) = places.get_mut(who) {
            place.used = now;
            return Ok(place.session.clone());
        }
        if places.len() >= self.most {
            let spare = places.iter().filter(|(_, place)| place.is_over(SPARE, now));
            let Some(oldest) = spare.min_by_key(|(_, place)| place.used).map(|(who, _)| who.clone()) else {
                let text = format!("{} others use the hub by HTTP, the limit (http.sessions)", self.most);
                return Err(Problem::soon(503, "sessions", text, 1));
            };
            places.remove(&oldest);
        }
        let session = Arc::<Session>::default();
        places.insert(who.clone(), Place { session: session.clone(), used: now });
        Ok(session)
    }

    /// Whether the hub sends its clients elsewhere.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Ends what nobody uses any more; called every second.
    pub(super) fn tend(&self) {
        let now = self.clock.now().mono;
        let idle = if self.is_leaving() { Duration::ZERO } else { IDLE };
        self.places().retain(|_, place| !place.is_over(idle, now));
    }

    /// Each change is whole.
    fn places(&self) -> MutexGuard<'_, BTreeMap<Arc<Principal>, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether nobody uses it, for so long.
    fn is_over(&self, idle: Duration, now: Mono) -> bool {
        Arc::strong_count(&self.session) == 1 && self.used + idle <= now
    }
}

/// Whether a session of one login does for another of the same principal: it does
/// not end before.
fn lasts(made: &Login, login: &Login) -> bool {
    match (made.expires, login.expires) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(made), Some(login)) => made >= login,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use weft_base::{Now, UnixNanos};
    use weft_govern::access::Method;
    use weft_govern::login::Proof;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Now {
            let nanos = self.0.load(Ordering::Relaxed);
            Now { mono: Mono(nanos), wall: UnixNanos(nanos) }
        }
    }

    fn who(name: &str) -> Arc<Principal> {
        Arc::new(Principal { tenant: None, name: name.into(), roles: Arc::new([]), method: Method::Token })
    }

    fn inside(most: usize) -> (Inside, Arc<Hand>) {
        let hand = Arc::new(Hand::default());
        let vouchers = Arc::new(Vouchers::new(hand.clone()));
        let way = Way { address: "shm:/nowhere".to_owned(), vouchers };
        (Inside::new(way, most, hand.clone(), Arc::default()), hand)
    }

    #[test]
    fn one_place_more_than_may_be_is_refused_until_another_is_not_used() {
        let (inside, hand) = inside(2);
        let second = |n: u64| hand.0.store(n * 1_000_000_000, Ordering::Relaxed);
        let anna = inside.place(&who("anna")).expect("a place");
        drop(inside.place(&who("bob")).expect("another"));
        let refused = inside.place(&who("carl")).err().expect("no more");
        assert_eq!((refused.status, refused.retry), (503, Some(1)));
        assert!(Arc::ptr_eq(&anna, &inside.place(&who("anna")).expect("its own")));
        second(1);
        drop(inside.place(&who("carl")).expect("bob's, who has gone"));
        second(2);
        let _dora = inside.place(&who("dora")).expect("carl's");
        second(100);
        assert!(inside.place(&who("bob")).is_err(), "what is used stays");
        inside.tend();
        assert_eq!(inside.places().len(), 2);
        drop(anna);
        inside.tend();
        assert_eq!(inside.places().len(), 1);
    }

    #[test]
    fn a_session_does_for_logins_that_end_no_later() {
        let login = |expires: Option<u64>| Login {
            principal: who("anna"),
            expires: expires.map(UnixNanos),
            proof: Proof::Nothing,
        };
        for (made, other, does) in [
            (None, None, true),
            (None, Some(5), true),
            (Some(5), Some(5), true),
            (Some(5), Some(4), true),
            (Some(5), Some(6), false),
            (Some(5), None, false),
        ] {
            assert_eq!(lasts(&login(made), &login(other)), does, "{made:?} {other:?}");
        }
    }
}
