//! Who a client is, where the hub asks: what it shows goes to the login stage, and
//! the client waits, unread, until the answer is there or its time is over.

use std::sync::Arc;
use std::time::Duration;

use weft_base::UnixNanos;
use weft_govern::access::Method;
use weft_govern::login::{Certificate, Credentials, Knock, Login, Reason, Refusal, Secret};
use weft_transport::{LinkToken, Network as _, Peer, PeerKind};
use weft_wire::frame::{self, ErrorCode, Frame};
use weft_wire::shown::Shown;

use super::connection::Role;
use super::{NetStage, SessionId};
use crate::counters::add;
use crate::govern::{LoggedIn, ToLogin};

/// How long a client waits for its answer: longer than keys take to be fetched, and
/// shorter than clients wait for a `Welcome`.
const PATIENCE: Duration = Duration::from_secs(9);

/// What a client is told that has shown nothing.
const NOTHING_SHOWN: &str = "nothing was shown to log in: connect with a certificate (--tls-cert, --tls-key, --tls-ca), \
                             a token (--token-file) or a password (--user, --password-file); for development, \
                             `enforce = false` in `[control]` of the hub's configuration lets in who is on its host";

/// A client that waits for who it is.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Who is at the far side of the connection.
    pub(super) peer: Peer,
    /// The version of the protocol that both speak.
    pub(super) version: u16,
    /// What it calls itself.
    pub(super) name: String,
    pub(super) is_admin: bool,
}

impl NetStage {
    /// Whether it is asked who clients are.
    pub(super) fn asks_who(&self) -> bool {
        self.out.login.is_some()
    }

    /// Asks who a client is; it waits.
    pub(super) fn ask_login(&mut self, id: SessionId, waiting: Waiting, token: &[u8]) {
        let (peer, is_admin) = (waiting.peer.clone(), waiting.is_admin);
        let deadline = self.now.mono + PATIENCE;
        let Some(connection) = self.connection(id) else { return };
        (connection.role, connection.deadline) = (Role::AwaitLogin(Box::new(waiting)), deadline);
        connection.login_asked = true;
        let link = connection.link;
        match self.knock(link, &peer, is_admin, token) {
            Ok(knock) => self.push_login(id, knock),
            Err(refusal) => {
                tracing::warn!(code = "login_refused", session = id.0, log = refusal.log, "a login is refused");
                self.refuse_login(id, &refusal);
            }
        }
    }

    /// A client that is in shows something newer.
    pub(super) fn on_renewed_login(&mut self, id: SessionId, token: &[u8]) {
        let Some(connection) = self.connection(id) else { return };
        if connection.tunnelled || connection.login.is_none() {
            let detail = "a client says hello once, where it is not asked who it is";
            return self.violate(id, ErrorCode::UNEXPECTED, detail);
        }
        if std::mem::replace(&mut connection.login_asked, true) {
            let detail = "the last one is not answered yet: wait for that";
            return self.refuse_renewal(id, ErrorCode::LOGIN_LIMITED, 1_000, detail);
        }
        let link = connection.link;
        // What its certificate says was told before.
        match self.knock(link, &Peer::anonymous(), false, token) {
            Ok(knock) => self.push_login(id, knock),
            Err(refusal) => self.on_logged_in(LoggedIn::Answer { session: id, answer: Err(refusal) }),
        }
    }

    fn push_login(&mut self, id: SessionId, knock: Knock) {
        let has_room = self.out.login.as_mut().is_some_and(|login| login.has_room(1));
        let Some(login) = self.out.login.as_mut().filter(|_| has_room) else {
            let refusal = Refusal {
                reason: Reason::Unavailable(Duration::from_secs(1)),
                detail: "more clients log in than can be checked: try again in 1 s".to_owned(),
                log: "more clients log in than can be checked".to_owned(),
            };
            return self.on_logged_in(LoggedIn::Answer { session: id, answer: Err(refusal) });
        };
        login.push(ToLogin::Ask { session: id, knock: Box::new(knock) });
    }

    /// What a client shows.
    fn knock(&self, link: LinkToken, peer: &Peer, is_admin: bool, token: &[u8]) -> Result<Knock, Refusal> {
        let refuse = |detail: &str| Refusal { reason: Reason::Bad, detail: detail.to_owned(), log: detail.to_owned() };
        let credentials = match Shown::decode(token).map_err(|e| refuse(&e.to_string()))? {
            Shown::Bearer(token) => Credentials::Bearer(Secret::new(token.to_vec())),
            Shown::Password { name, password } => {
                Credentials::Password { name: name.to_owned(), password: Secret::new(password.to_vec()) }
            }
            Shown::Nothing if peer.kind == PeerKind::Client => Credentials::Certificate(certificate_of(peer, is_admin)),
            Shown::Nothing if self.options.anonymous && peer.kind == PeerKind::Anonymous => Credentials::Nothing,
            Shown::Nothing => {
                return Err(refuse(NOTHING_SHOWN));
            }
        };
        let from = self.network.remote_address(link).and_then(|address| address.parse().ok());
        Ok(Knock { credentials, from: from.map(|address: std::net::SocketAddr| address.ip()) })
    }

    /// The login stage has something to say.
    pub(super) fn on_logged_in(&mut self, said: LoggedIn) {
        match said {
            LoggedIn::Answer { session, answer } => {
                let Some(connection) = self.connection(session).filter(|c| !c.closing) else { return };
                connection.login_asked = false;
                match (connection.role.clone(), answer) {
                    (Role::AwaitLogin(waiting), Ok(login)) => self.on_known(session, *waiting, login),
                    (Role::AwaitLogin(_), Err(refusal)) => self.refuse_login(session, &refusal),
                    (Role::Client, Ok(login)) => connection.login = Some(login),
                    // What it has shown before still counts.
                    (Role::Client, Err(refusal)) => {
                        let (code, after) = code_of(&refusal.reason);
                        self.refuse_renewal(session, code, after, &refusal.detail);
                    }
                    _ => {}
                }
            }
            LoggedIn::Over { session, refusal } => {
                if self.connection(session).is_some_and(|c| matches!(c.role, Role::Client)) {
                    add(&self.counters.govern.login_over, 1);
                    if let Some(who) = self.connection(session).and_then(|connection| connection.principal.clone()) {
                        self.note_login(session, &who, false, &format!("the session is ended: {}", refusal.log));
                    }
                    self.goodbye(session, ErrorCode::LOGIN_EXPIRED, &refusal.detail);
                }
            }
        }
    }

    fn on_known(&mut self, id: SessionId, waiting: Waiting, login: Arc<Login>) {
        add(&self.counters.govern.logged_in, 1);
        // The hub may have begun to drain meanwhile.
        if login.principal.method != Method::Administrator && self.turns_away(id, waiting.version) {
            return;
        }
        self.let_in(id, waiting, Some(login));
        // What it has sent behind its hello is reported by nobody.
        if let Some(connection) = self.connection(id)
            && !std::mem::replace(&mut connection.readable, true)
        {
            self.reading.push_back(id);
        }
    }

    /// Turns a client away.
    fn refuse_login(&mut self, id: SessionId, refusal: &Refusal) {
        let counted = match refusal.reason {
            Reason::Limited(_) => &self.counters.govern.login_limited,
            Reason::Unavailable(_) => &self.counters.govern.login_unavailable,
            Reason::Bad | Reason::Expired => &self.counters.govern.login_refused,
        };
        add(counted, 1);
        let name = match self.connection(id).map(|connection| &connection.role) {
            Some(Role::AwaitLogin(waiting)) if waiting.peer.name.is_empty() => waiting.name.clone(),
            Some(Role::AwaitLogin(waiting)) => waiting.peer.name.clone(),
            _ => String::new(),
        };
        self.note_unproved(id, &name, &refusal.log);
        let (code, _) = code_of(&refusal.reason);
        self.goodbye(id, code, &refusal.detail);
    }

    /// A session goes on as it was; its client is told why.
    fn refuse_renewal(&mut self, id: SessionId, code: ErrorCode, retry_after_ms: u32, detail: &str) {
        let Some(connection) = self.connection(id) else { return };
        let error = frame::ErrorFrame { request: 0, code, retry_after_ms, detail };
        frame::encode(&Frame::Error(error), connection.egress.control());
        self.mark_dirty(id);
    }

    /// A connection of a client has ended.
    pub(super) fn end_login(&mut self, id: SessionId, was_asked: bool) {
        if let Some(login) = self.out.login.as_mut().filter(|_| was_asked) {
            login.push(ToLogin::Gone { session: id });
        }
    }
}

/// The code of a reason, and after how many milliseconds to try again.
fn code_of(reason: &Reason) -> (ErrorCode, u32) {
    let millis = |after: &Duration| u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1);
    match reason {
        Reason::Bad => (ErrorCode::BAD_LOGIN, 0),
        Reason::Limited(after) => (ErrorCode::LOGIN_LIMITED, millis(after)),
        Reason::Expired => (ErrorCode::LOGIN_EXPIRED, 0),
        Reason::Unavailable(after) => (ErrorCode::LOGIN_UNAVAILABLE, millis(after)),
    }
}

/// What is known of a client's certificate.
pub(crate) fn certificate_of(peer: &Peer, administers: bool) -> Certificate {
    // One of another authority's naming is called by its whole SPIFFE ID, or by its subject.
    let is_own = weft_transport::is_name(&peer.name);
    let spiffe = match is_own {
        true => Some(weft_transport::uri_of(PeerKind::Client, &peer.name)),
        false => Some(peer.name.clone()).filter(|name| name.starts_with("spiffe://")),
    };
    Certificate {
        spiffe,
        subject: peer.subject.clone(),
        own: is_own.then(|| peer.name.clone()),
        administers,
        expires: peer.expires.filter(|end| *end != UnixNanos(0)),
    }
}
