//! Who a client is: what it shows, and the answer.
//!
//! A hub asks when a session begins, when the client shows something newer, and,
//! of sessions that go on, whenever the state changes. Who answers is behind the
//! trait [`Door`]: it takes its time (passwords, keys that must be fetched first)
//! without holding up whoever asks, and takes no more than it has room for.
//!
//! Must never show a secret: neither in `Debug`, nor in a refusal.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};

use crate::State;
use crate::access::{Fault, Principal};

/// The longest token (JWT), in bytes.
pub const MAX_BEARER: usize = 16 << 10;
/// The longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// What is known of a client's certificate, whose chain was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its SPIFFE ID: the one URI among its alternative names (X.509-SVID, section
    /// 2). None where there is none, or more than one.
    pub spiffe: Option<String>,
    /// The common name of its subject.
    pub subject: Option<String>,
    /// The name that the mesh's own authority gave it (`spiffe://weft/client/NAME`).
    pub own: Option<String>,
    /// It is named in `admins` of the hub's own configuration.
    pub administers: bool,
    /// When it ends.
    pub expires: Option<UnixNanos>,
}

/// What a client shows. The memory of secrets is wiped by who made it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing, on a connection where that is allowed.
    Nothing,
    /// The certificate of its connection alone.
    Certificate(Certificate),
    /// A signed token (JWT).
    Bearer(Secret),
    /// A name and a password.
    Password {
        /// Whose.
        name: String,
        /// The password.
        password: Secret,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Certificate(certificate) => f.debug_tuple("Certificate").field(certificate).finish(),
            Self::Bearer(secret) => f.debug_tuple("Bearer").field(secret).finish(),
            Self::Password { name, password } => {
                f.debug_struct("Password").field("name", name).field("password", password).finish()
            }
        }
    }
}

/// Bytes that nobody is to see, wiped when they are let go.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<Vec<u8>>);

impl Secret {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret bytes", self.0.len())
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// What the client shows.
    pub credentials: Credentials,
    /// From where it is connected; none where it is of this host by shared memory.
    pub from: Option<IpAddr>,
}

/// What a login stands on; it is over when that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Nothing.
    Nothing,
    /// A certificate's SPIFFE ID, of which an identity says that it is it.
    Spiffe(Arc<str>),
    /// A certificate's subject, of which an identity says that it is it.
    Subject(Arc<str>),
    /// The name that the mesh's own authority gave it, of which no identity speaks.
    Own(Arc<str>),
    /// A token.
    Token(Box<TokenFacts>),
    /// A password: the hash that it fits to.
    Password(Arc<str>),
}

/// What of a token is needed to tell whether it still counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenFacts {
    /// The resource `issuer/NAME`.
    pub issuer: Arc<str>,
    /// Its `sub`.
    pub subject: Arc<str>,
    /// Its number, `jti`.
    pub number: Option<Arc<str>>,
    /// When it was issued, in seconds since 1970.
    pub issued: Option<u64>,
    /// What its claim says of the tenant.
    pub tenant: Option<Arc<str>>,
    /// What its claim says of roles.
    pub roles: Arc<[Arc<str>]>,
}

/// Somebody is who they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub principal: Arc<Principal>,
    /// Until when; none: without end.
    pub expires: Option<UnixNanos>,
    /// By what.
    pub proof: Proof,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What was shown proves nothing. Does not say what of it is wrong.
    Bad,
    /// Too many tries: again after this time.
    Limited(Duration),
    /// It was good, and is no more.
    Expired,
    /// It cannot be told now: again after this time.
    Unavailable(Duration),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of what kind.
    pub reason: Reason,
    /// For the client; tells nothing that helps to guess.
    pub detail: String,
    /// For the hub's log: what is wrong. Without secrets.
    pub log: String,
}

/// An answer.
pub type Answer = Result<Login, Refusal>;

/// Who answers.
///
/// Nothing of it blocks: what takes longer goes on elsewhere, and is answered later.
pub trait Door: Send {
    /// Takes a state in the place of the one before. What of it cannot be
    /// understood is named in the answer, and nobody is let in by it.
    fn learn(&mut self, state: &State) -> Vec<Fault>;

    /// Takes a question, to be answered under this number. `None`: later.
    fn ask(&mut self, number: u64, knock: Knock, now: Now) -> Option<Answer>;

    /// What else was found out since, in the order in which that was.
    fn answers(&mut self, now: Now, found: &mut Vec<(u64, Answer)>);

    /// Nobody waits for this answer any more.
    fn forget(&mut self, number: u64);

    /// Whether a login still stands by the state learned last. The time is not
    /// looked at.
    ///
    /// # Errors
    /// [`Refusal`]: it does not, and why.
    fn stands(&self, login: &Login) -> Result<(), Refusal>;

    /// When [`Door::answers`] is to be called next, though nobody has asked anything.
    fn next_look(&self) -> Option<Mono>;

    /// Calls this, from any thread, whenever [`Door::answers`] may have something.
    fn wake_with(&mut self, wake: Arc<dyn Fn() + Send + Sync>);
}
