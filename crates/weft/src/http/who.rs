//! Who asks: what a connection and a request show becomes a principal, by the
//! documents of the state, as for the hub's own clients.
//!
//! What the header `Authorization` shows (`Basic`, `Bearer`) goes before the
//! certificate of the connection; where there is neither, it is nobody, which is let
//! in on loopback without TLS alone. Clients show the same with each request, and a
//! password is dear to check: a connection keeps who was let in, until the state is
//! another or the login's time is over. Must never log what was shown.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::oneshot;
use tokio::task::futures::TaskLocalFuture;
use weft_base::Clock;
use weft_govern::access::{Action, Ask, Method, Principal, Resource, Verdict};
use weft_govern::login::{Credentials, Knock, Login, MAX_BEARER, MAX_PASSWORD, Reason, Secret};
use weft_hub::govern::Aside;
use weft_transport::{Guest, PeerKind};
use zeroize::Zeroizing;

use super::Facts;
use super::answer::Refusal;

/// What is said to who has shown nothing.
const NOTHING_SHOWN: &str =
    "nothing was shown to log in: connect with a client's certificate, or send a password (Basic) or a token (Bearer)";
/// The longest name that is looked at.
const MAX_NAME: usize = 1_024;

tokio::task_local! {
    /// Of the request that is answered: whose it is, as soon as that is known.
    static ASKER: OnceCell<Arc<Principal>>;
}

/// The answer to a request, which knows whose it is as soon as that is known.
pub(super) type Asked<F> = TaskLocalFuture<OnceCell<Arc<Principal>>, F>;

/// Answers a request.
pub(super) fn asked<F: Future>(answer: F) -> Asked<F> {
    ASKER.scope(OnceCell::new(), answer)
}

/// Whose a request was that has been answered, if that became known.
pub(super) fn asker<F>(answered: Pin<&mut Asked<F>>) -> Option<Arc<Principal>> {
    answered.take_value()?.into_inner()
}

/// Who is at the far end of a connection.
pub(super) struct Caller {
    pub(super) from: SocketAddr,
    /// Over TLS.
    is_secured: bool,
    guest: Option<Mutex<Guest>>,
    known: Mutex<Option<Known>>,
}

/// Who was let in, and by what.
struct Known {
    /// The header, as it came; none: without one.
    shown: Option<Secret>,
    /// The version of the state that said so.
    version: u64,
    login: Arc<Login>,
}

impl Caller {
    /// Without TLS.
    pub(super) fn plain(from: SocketAddr) -> Self {
        Self { from, is_secured: false, guest: None, known: Mutex::default() }
    }

    /// Over TLS, with or without a certificate of its own.
    pub(super) fn secured(from: SocketAddr, guest: Option<Guest>) -> Self {
        Self { from, is_secured: true, guest: guest.map(Mutex::new), known: Mutex::default() }
    }

    /// Whether it came over TLS.
    pub(super) fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Whether somebody was let in over it.
    pub(super) fn was_let_in(&self) -> bool {
        locked(&self.known).is_some()
    }

    /// Whether its certificate still counts: it may have ended, or have been revoked.
    pub(super) fn check(&self, clock: &dyn Clock) -> Result<(), Refusal> {
        let Some(guest) = &self.guest else { return Ok(()) };
        let counts = locked(guest).check(clock);
        counts.map_err(|reason| Refusal::new(401, 40_101, format!("the certificate counts no more: {reason}")))
    }
}

/// What is held is whole at any time.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody, as far as was shown.
#[derive(Clone, Debug)]
pub(super) struct Someone {
    pub(super) principal: Arc<Principal>,
    /// What they have shown, and until when it counts.
    pub(super) login: Arc<Login>,
    /// From where.
    pub(super) from: SocketAddr,
    /// The hub's configuration names them.
    pub(super) is_administrator: bool,
}

impl Someone {
    fn of(login: &Arc<Login>, from: SocketAddr) -> Self {
        let is_administrator = login.principal.method == Method::Administrator;
        // It is asked twice where a handler asks again, and is the same.
        let _ = ASKER.try_with(|asker| asker.set(login.principal.clone()));
        Self { principal: login.principal.clone(), login: login.clone(), from, is_administrator }
    }
}

/// Tells who asks, and whether they may.
pub(super) struct Who {
    aside: Arc<Aside>,
    admins: Vec<String>,
    anonymous: bool,
    clock: Arc<dyn Clock>,
}

impl Who {
    pub(super) fn new(facts: &Facts) -> Self {
        let Facts { aside, admins, anonymous, clock, .. } = facts;
        Self { aside: aside.clone(), admins: admins.clone(), anonymous: *anonymous, clock: clock.clone() }
    }

    /// Who asks.
    pub(super) async fn asks(&self, caller: &Caller, headers: &HeaderMap) -> Result<Someone, Refusal> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let header = all.next();
        if all.next().is_some() {
            return Err(Refusal::new(400, 400, "the header Authorization is there twice: send one"));
        }
        let version = self.aside.governed().version();
        let shown = header.map(|header| Secret::new(header.as_bytes().to_vec()));
        if let Some(known) = locked(&caller.known).as_ref()
            && known.version == version
            && known.shown == shown
            && known.login.expires.is_none_or(|end| end > self.clock.now().wall)
        {
            return Ok(Someone::of(&known.login, caller.from));
        }
        let credentials = match header {
            Some(header) => of_header(header)?,
            None => self.of_connection(caller)?,
        };
        let login = Arc::new(self.login(Knock { credentials, from: Some(caller.from.ip()) }).await?);
        let someone = Someone::of(&login, caller.from);
        *locked(&caller.known) = Some(Known { shown, version, login });
        Ok(someone)
    }

    /// What a connection shows by itself.
    fn of_connection(&self, caller: &Caller) -> Result<Credentials, Refusal> {
        if let Some(guest) = &caller.guest {
            let guest = locked(guest);
            let peer = guest.peer();
            let administers = peer.kind == PeerKind::Client && self.admins.contains(&peer.name);
            return Ok(Credentials::Certificate(Aside::certificate(peer, administers)));
        }
        if caller.is_secured || !self.anonymous {
            return Err(Refusal::new(401, 40_101, NOTHING_SHOWN));
        }
        Ok(Credentials::Nothing)
    }

    async fn login(&self, knock: Knock) -> Result<Login, Refusal> {
        let (reply, answer) = oneshot::channel();
        // Who has gone meanwhile hears nothing.
        let asked = self.aside.login(knock, Box::new(move |said| drop(reply.send(said))));
        asked.map_err(|error| Refusal::soon(503, 503, error.to_string()))?;
        let said = answer.await.map_err(|_| Refusal::soon(503, 503, "the hub is stopping: ask another"))?;
        said.map_err(|refusal| {
            let after = |after: Duration| Some(after.as_secs().max(1));
            let detail = refusal.detail;
            match refusal.reason {
                Reason::Bad | Reason::Expired => Refusal::new(401, 40_101, detail),
                Reason::Limited(time) => Refusal { retry: after(time), ..Refusal::new(429, 429, detail) },
                Reason::Unavailable(time) => Refusal { retry: after(time), ..Refusal::new(503, 503, detail) },
            }
        })
    }

    /// Whether somebody may do something to any of these; the answer is about the
    /// last where none is allowed. Who the hub's configuration names may.
    pub(super) async fn may(&self, who: &Someone, action: Action, any: Vec<Resource>) -> Result<(), Refusal> {
        if who.is_administrator || !self.aside.is_judged() {
            return Ok(());
        }
        let mut refused = None;
        for resource in any {
            let ask = Arc::new(Ask { principal: who.principal.clone(), action, resource, lane: None });
            let verdict = self.judged(ask.clone()).await?;
            if verdict.allowed {
                return Ok(());
            }
            refused = Some((ask, verdict));
        }
        let Some((ask, verdict)) = refused else { return Ok(()) };
        self.aside.denied(&ask, &verdict, who.from.to_string());
        let (name, action, resource) = (&who.principal, action.name(), &ask.resource);
        let rules = if verdict.rules.is_empty() { String::new() } else { format!(" [{}]", verdict.rules.join(", ")) };
        let message = format!(
            "{name} may not {action} {resource}: {}{rules} (version {} of the control state)",
            verdict.reason, verdict.version
        );
        let is_nobody = who.principal.method == Method::Anonymous;
        Err(if is_nobody { Refusal::new(401, 40_101, message) } else { Refusal::new(403, 40_301, message) })
    }

    async fn judged(&self, ask: Arc<Ask>) -> Result<Arc<Verdict>, Refusal> {
        let (reply, answer) = oneshot::channel();
        // Who has gone meanwhile hears nothing.
        let asked = self.aside.judge(ask, Box::new(move |verdict| drop(reply.send(verdict))));
        asked.map_err(|error| Refusal::soon(503, 503, error.to_string()))?;
        answer.await.map_err(|_| Refusal::soon(503, 503, "the hub is stopping: ask another"))
    }
}

/// What the header `Authorization` shows (RFC 7617, RFC 6750).
fn of_header(header: &HeaderValue) -> Result<Credentials, Refusal> {
    let bad = || {
        let text = "the header Authorization is neither `Basic`, of a name and a password, nor `Bearer`, of a token";
        Refusal::new(401, 40_101, text)
    };
    let text = header.to_str().map_err(|_| bad())?;
    let (scheme, shown) = text.split_once(' ').ok_or_else(bad)?;
    let shown = shown.trim();
    if scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_BEARER).contains(&shown.len()) {
        return Ok(Credentials::Bearer(Secret::new(shown.as_bytes().to_vec())));
    }
    if !scheme.eq_ignore_ascii_case("basic") || shown.len() > 2 * (MAX_NAME + MAX_PASSWORD) {
        return Err(bad());
    }
    let pair = Zeroizing::new(STANDARD.decode(shown).map_err(|_| bad())?);
    let colon = pair.iter().position(|byte| *byte == b':').ok_or_else(bad)?;
    let (name, password) = pair.split_at(colon);
    let name = std::str::from_utf8(name).ok().filter(|name| (1..=MAX_NAME).contains(&name.len())).ok_or_else(bad)?;
    let password = password.get(1..).unwrap_or_default();
    if password.len() > MAX_PASSWORD {
        return Err(bad());
    }
    Ok(Credentials::Password { name: name.to_owned(), password: Secret::new(password.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> Option<Credentials> {
        of_header(&HeaderValue::from_bytes(header.as_bytes()).expect("a header")).ok()
    }

    #[test]
    fn names_and_passwords_and_tokens_are_read_and_nothing_else() {
        let password = |name: &str, password: &str| {
            let password = Secret::new(password.as_bytes().to_vec());
            Some(Credentials::Password { name: name.to_owned(), password })
        };
        assert_eq!(shown("Basic YW5uYTpzZWNyZXQ="), password("anna", "secret"));
        assert_eq!(shown("basic YW5uYTphOmI6Yw=="), password("anna", "a:b:c"), "a password may have colons");
        assert_eq!(shown("Basic YW5uYTo="), password("anna", ""));
        assert_eq!(shown("Bearer a.b.c"), Some(Credentials::Bearer(Secret::new(b"a.b.c".to_vec()))));
        let long = format!("Basic {}", STANDARD.encode(format!("anna:{}", "x".repeat(2_000))));
        let token = format!("Bearer {}", "x".repeat(20_000));
        let name = format!("Basic {}", STANDARD.encode(format!("{}:x", "n".repeat(1_100))));
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic !!",
            "Basic YW5uYQ==",
            "Basic OnNlY3JldA==",
            "Basic /w==",
            "Bearer ",
            "Digest x",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
        for bad in [long, token, name] {
            assert_eq!(shown(&bad), None);
        }
    }

    #[test]
    fn what_was_shown_stands_in_no_words() {
        let credentials = shown("Basic YW5uYTpodW50ZXI=").expect("it is read");
        assert!(!format!("{credentials:?}").contains("hunter"));
    }
}
