//! Receipts: at which hubs a subscription is live, and which hubs want a topic.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use weft_base::{Epoch, SubscriptionId};
use weft_wire::frame::{self, Frame, LiveAsk, LiveScope};

pub use weft_wire::frame::{LiveState, MAX_LIVE_HUBS};

use crate::client::Handle;
use crate::error::RequestError;
use crate::report::Reply;

/// Where a subscription is to be live, or a topic is to be wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LiveAt {
    /// At the hub that this client is connected to.
    #[default]
    Here,
    /// At so many hubs, at least 1: for a subscription, this one among them.
    Hubs(u32),
    /// At all hubs within reach; a topic: at all that want it, and at least one.
    All,
    /// At the hubs of these names: at most [`MAX_LIVE_HUBS`].
    Named(Vec<String>),
}

impl LiveAt {
    /// Whether it can be asked for.
    ///
    /// # Errors
    /// [`RequestError::Invalid`]: what is wrong with it.
    pub fn check(&self) -> Result<(), RequestError> {
        let detail = match self {
            Self::Hubs(0) => "0 hubs are none: ask for at least 1".to_owned(),
            Self::Named(names) if names.is_empty() || names.len() > MAX_LIVE_HUBS => {
                format!("{} hubs are named: name 1 to {MAX_LIVE_HUBS}", names.len())
            }
            _ => return Ok(()),
        };
        Err(RequestError::Invalid { detail })
    }
}

impl fmt::Display for LiveAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("its own hub"),
            Self::Hubs(1) => f.write_str("1 hub"),
            Self::Hubs(count) => write!(f, "{count} hubs"),
            Self::All => f.write_str("all hubs within reach"),
            Self::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// How a subscription stands at one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    /// The hub's name.
    pub hub: String,
    /// The life of the hub that this is true of; 0 when the hub is not known.
    pub epoch: Epoch,
    /// How.
    pub state: LiveState,
}

impl ReceiptLine {
    /// Its state in words.
    #[must_use]
    pub fn state(&self) -> &'static str {
        reason(self.state)
    }
}

/// Where a subscription is live.
///
/// What is published at a hub that is listed as live, from then on, reaches the
/// subscription or is counted as dropped, with a reason. That ends with the
/// connection of the subscriber, with the life of either hub, and when the two
/// hubs were out of each other's reach for longer than the publisher's hub keeps
/// interest (`mesh.interest_retention`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it is live where it was to be.
    pub met: bool,
    /// The hubs that were named, or all that are known, by name.
    pub hubs: Vec<ReceiptLine>,
}

impl Receipt {
    pub(crate) fn of(report: &frame::LiveReport<'_>) -> Self {
        let line = |line: &frame::LiveLine<'_>| ReceiptLine {
            hub: line.name.to_owned(),
            epoch: line.epoch,
            state: line.state,
        };
        Self { met: report.met, hubs: report.hubs.iter().map(line).collect() }
    }

    /// The hubs where it is live.
    pub fn live(&self) -> impl Iterator<Item = &str> {
        self.hubs.iter().filter(|line| line.state == LiveState::Live).map(|line| line.hub.as_str())
    }

    /// The hubs where it is not, and why.
    pub fn missing(&self) -> impl Iterator<Item = &ReceiptLine> {
        self.hubs.iter().filter(|line| line.state != LiveState::Live)
    }

    /// The hubs where it is not live, for people.
    #[must_use]
    pub fn shortfall(&self) -> String {
        let missing: Vec<String> = self.missing().map(|line| format!("{}: {}", line.hub, reason(line.state))).collect();
        if missing.is_empty() { format!("live at {} hubs", self.live().count()) } else { missing.join("; ") }
    }
}

/// A state in words.
fn reason(state: LiveState) -> &'static str {
    match state {
        LiveState::Live => "live",
        LiveState::Behind => "it has not taken the interest in yet",
        LiveState::Limit => "a limit of it does not let the interest in",
        LiveState::OldVersion => "it speaks an old version of the protocol, without receipts",
        LiveState::OutOfReach => "out of reach",
        LiveState::Suspect => "suspect: nothing was heard of it, or of the way there, for too long",
        LiveState::TimedOut => "no answer in time",
        LiveState::NoInterest => "it has no interest in the topic",
    }
}

/// Asks the hub where a subscription is live, or who wants a topic.
pub(crate) async fn ask(
    handle: &Handle,
    of: Result<SubscriptionId, &str>,
    at: &LiveAt,
    within: Duration,
) -> Result<Receipt, RequestError> {
    at.check()?;
    let (scope, count) = match at {
        LiveAt::Here => (LiveScope::Here, 0),
        LiveAt::Hubs(count) => (LiveScope::Count, *count),
        LiveAt::All => (LiveScope::All, 0),
        LiveAt::Named(_) => (LiveScope::Named, 0),
    };
    let hubs = match at {
        LiveAt::Named(names) => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let timeout_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
    let (subscription, topic) = (of.unwrap_or(SubscriptionId(0)), of.err().unwrap_or(""));
    let ticket = handle.0.with(|session| {
        session.request(|request, out| {
            let asked = LiveAsk { request, subscription, topic, scope, count, timeout_ms, hubs };
            frame::try_encode(&Frame::LiveAsk(asked), out).map_err(|e| RequestError::Invalid { detail: e.to_string() })
        })
    })?;
    match poll_fn(|cx| ticket.poll(cx)).await? {
        Reply::Live(receipt) => Ok(*receipt),
        _ => Err(RequestError::Unexpected { expected: "where it is live" }),
    }
}
