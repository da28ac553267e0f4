//! Who asks to do what to what, and the answer.
//!
//! A session asks when it first uses a topic, a stream or another resource. The
//! answer holds for the version of the state that it names, and where it hangs
//! on the time of day until that changes. Nothing is allowed that no rule allows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_base::{Lane, UnixNanos};
use weft_topic::Filter;

use crate::State;

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Not at all: on loopback, at a hub in development.
    Anonymous,
    /// By a client's certificate.
    Certificate,
    /// By a signed token (JWT).
    Token,
    /// By a name and a password.
    Password,
    /// By a certificate that the hub's own configuration names as an administrator's.
    Administrator,
}

impl Method {
    /// The name, as policies and the audit log have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::Anonymous => "anonymous",
            Method::Certificate => "certificate",
            Method::Token => "token",
            Method::Password => "password",
            Method::Administrator => "administrator",
        }
    }
}

/// Who acts. Fixed when a session begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The tenant; none for those who belong to no tenant (operators of the mesh).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    /// The name, unique within the tenant.
    pub name: Arc<str>,
    /// The roles, in order of name, without repetition.
    pub roles: Arc<[Arc<str>]>,
    /// How it was proved.
    pub method: Method,
}

impl fmt::Display for Principal {
    /// `tenant/name`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "{tenant}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Publish to a topic.
    Publish,
    /// Subscribe to what is live of a filter, or read it in a stream.
    Subscribe,
    /// Publish a request, and get the replies.
    Request,
    /// Answer requests to topics of a filter.
    Reply,
    /// Read a stream, or be a member of a consumer of it.
    Consume,
    /// Make, alter, delete.
    Administer,
    /// See how things are.
    Observe,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 7] = [
        Action::Publish,
        Action::Subscribe,
        Action::Request,
        Action::Reply,
        Action::Consume,
        Action::Administer,
        Action::Observe,
    ];

    /// The name, as policies have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
            Action::Request => "request",
            Action::Reply => "reply",
            Action::Consume => "consume",
            Action::Administer => "administer",
            Action::Observe => "observe",
        }
    }

    /// The action of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// To what it is to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// All topics of a filter; a filter without wildcards is one topic.
    Topic(Filter),
    /// A stream, with the filters of what it captures.
    Stream {
        /// Its name.
        name: Arc<str>,
        /// What it captures.
        filters: Arc<[Filter]>,
    },
    /// A subject of schemas.
    Schema(Arc<str>),
    /// A tenant, with all that belongs to it.
    Tenant(Arc<str>),
    /// The mesh: its hubs, links, and what is of no tenant.
    Mesh,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Topic(filter) => write!(f, "topic `{}`", filter.as_str()),
            Resource::Stream { name, .. } => write!(f, "stream `{name}`"),
            Resource::Schema(subject) => write!(f, "schema `{subject}`"),
            Resource::Tenant(name) => write!(f, "tenant `{name}`"),
            Resource::Mesh => f.write_str("the mesh"),
        }
    }
}

/// Where it is asked: what is the same for all questions of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hub's name.
    pub hub: Arc<str>,
    /// Its region.
    pub region: Arc<str>,
    /// Its labels, in order.
    pub labels: Arc<[Arc<str>]>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Who.
    pub principal: Arc<Principal>,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// In which lane, of a publish.
    pub lane: Option<Lane>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The version of the state that says so.
    pub version: u64,
    /// Until when it holds, where it hangs on the time.
    pub until: Option<UnixNanos>,
    /// The rules that decided, in order of name: those that forbid it, or else
    /// those that allow it. Empty where none does.
    pub rules: Arc<[Arc<str>]>,
    /// In plain words why, for who asked; says what to do of a refusal.
    pub reason: Arc<str>,
}

/// Who answers.
///
/// Answers depend on the state last learned, the question, the place and the
/// time alone. May take up to a millisecond: hubs ask on a thread of its own and
/// keep the answers.
pub trait Judge: Send {
    /// Takes a state in the place of the one before. What of it cannot be
    /// understood (vetting lets no such thing in, but versions differ) is named
    /// in the answer, and counts as a rule that forbids whatever it speaks of,
    /// or everything where that cannot be told.
    fn learn(&mut self, state: &State) -> Vec<Fault>;

    /// The version of the state learned last.
    fn version(&self) -> u64;

    /// Answers.
    fn judge(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Verdict;
}

/// Something in a document that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize)]
#[error("{key}: {what}")]
pub struct Fault {
    /// Which document, as `kind/name`.
    pub key: String,
    /// What is wrong, and what to do.
    pub what: String,
}
