//! Receipts: at which hubs a subscription is live. Between hubs a question that
//! is flooded and answers that are gathered on its way back; between a client
//! and its hub a request and its answer.

use weft_base::{Epoch, HubId, SubscriptionId};

use super::codec::{Reader, Writer, wire_enum};
use super::{FrameClause, FrameError, MAX_FILTER, MAX_LIST};

/// The most hubs that a client can name in one [`LiveAsk`].
pub const MAX_LIVE_HUBS: usize = 64;

wire_enum! {
    /// How a subscription stands at a hub.
    LiveState {
        /// What is published there from now on reaches the subscriber, or is
        /// counted as dropped with a reason.
        Live = 0,
        /// The hub is there and has not taken the interest in yet.
        Behind = 1,
        /// The hub has a limit that does not let the interest in.
        Limit = 2,
        /// The hub speaks a version of the protocol without receipts.
        OldVersion = 3,
        /// No path leads to the hub.
        OutOfReach = 4,
        /// Nothing was heard of the hub, or of the way there, for too long.
        Suspect = 5,
        /// The hub is within reach, and its answer did not come in time.
        TimedOut = 6,
        /// The hub has no interest in the topic: only of a question by topic.
        NoInterest = 7,
    }
}

wire_enum! {
    /// Where a subscription is to be live.
    LiveScope {
        /// At the hub that is asked.
        Here = 0,
        /// At so many hubs, the one that is asked among them.
        Count = 1,
        /// At all hubs within reach.
        All = 2,
        /// At the hubs that are named.
        Named = 3,
    }
}

/// Which hubs have this hub's interest at this version, or a later one, in the
/// routes that they go by? Flooded over links that know receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptAsk {
    /// Who asks.
    pub hub: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// Counts its questions in that life.
    pub round: u64,
    /// The version of its interest.
    pub version: u64,
}

impl ReceiptAsk {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self { hub: r.hub("hub")?, epoch: r.epoch("epoch")?, round: r.u64("round")?, version: r.u64("version")? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u64(self.round);
        w.u64(self.version);
    }
}

/// What one hub answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// The hub.
    pub hub: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// How the interest stands there.
    pub state: LiveState,
}

/// Answers to a [`ReceiptAsk`], of one hub or of several, on their way back by
/// the links that the question came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptAck {
    /// Who asked.
    pub to: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// The question's number.
    pub round: u64,
    /// The answers.
    pub entries: Vec<ReceiptEntry>,
}

impl ReceiptAck {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            to: r.hub("to")?,
            epoch: r.epoch("epoch")?,
            round: r.u64("round")?,
            entries: r.list("entries", MAX_LIST, 13, |r| {
                Ok(ReceiptEntry {
                    hub: r.hub("hub")?,
                    epoch: r.epoch("epoch")?,
                    state: r.one_of("state", LiveState::from_number)?,
                })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.to.0);
        w.u32(self.epoch.0);
        w.u64(self.round);
        w.list("entries", &self.entries, MAX_LIST, |w, entry| {
            w.u64(entry.hub.0);
            w.u32(entry.epoch.0);
            w.u8(entry.state as u8);
        });
    }
}

/// Where is a subscription live, or which hubs want a topic? Answered by
/// [`LiveReport`] once it is live where it is to be, or when time is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAsk<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// A subscription of this session; 0 asks which hubs want `topic`, which is
    /// answered at once.
    pub subscription: SubscriptionId,
    /// With `subscription` 0: the topic; empty otherwise.
    pub topic: &'a str,
    /// Where.
    pub scope: LiveScope,
    /// With [`LiveScope::Count`]: at how many hubs; 0 otherwise.
    pub count: u32,
    /// How long to wait, in milliseconds.
    pub timeout_ms: u32,
    /// With [`LiveScope::Named`]: the hubs, at most [`MAX_LIVE_HUBS`]; empty otherwise.
    pub hubs: Vec<&'a str>,
}

impl<'a> LiveAsk<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let ask = Self {
            request: r.id(),
            subscription: SubscriptionId(r.u64("subscription")?),
            topic: r.text("topic", MAX_FILTER)?,
            scope: r.one_of("scope", LiveScope::from_number)?,
            count: r.u32("count")?,
            timeout_ms: r.u32("timeout_ms")?,
            hubs: r.list("hubs", MAX_LIVE_HUBS, 2, |r| r.name("hub"))?,
        };
        if (ask.subscription.0 == 0) == ask.topic.is_empty() {
            return r.refuse(FrameClause::Value, "topic", ask.topic.len() as u64);
        }
        if (ask.scope == LiveScope::Count) != (ask.count > 0) {
            return r.refuse(FrameClause::Value, "count", ask.count.into());
        }
        if (ask.scope == LiveScope::Named) == ask.hubs.is_empty() {
            return r.refuse(FrameClause::Value, "hubs", ask.hubs.len() as u64);
        }
        Ok(ask)
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.subscription.0);
        w.text("topic", self.topic, MAX_FILTER);
        w.u8(self.scope as u8);
        w.u32(self.count);
        w.u32(self.timeout_ms);
        w.list("hubs", &self.hubs, MAX_LIVE_HUBS, |w, hub| w.name("hub", hub));
    }
}

/// One hub of a [`LiveReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLine<'a> {
    /// The hub's name.
    pub name: &'a str,
    /// The life of the hub that this is true of; 0 when it is not known.
    pub epoch: Epoch,
    /// How the subscription stands there.
    pub state: LiveState,
}

/// The answer to [`LiveAsk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveReport<'a> {
    /// The request.
    pub request: u64,
    /// Whether it is live where it was to be.
    pub met: bool,
    /// The hubs that are known, or were named.
    pub hubs: Vec<LiveLine<'a>>,
}

impl<'a> LiveReport<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            met: r.bool("met")?,
            hubs: r.list("hubs", MAX_LIST, 7, |r| {
                Ok(LiveLine {
                    name: r.name("name")?,
                    epoch: r.epoch("epoch")?,
                    state: r.one_of("state", LiveState::from_number)?,
                })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.bool(self.met);
        w.list("hubs", &self.hubs, MAX_LIST, |w, hub| {
            w.name("name", hub.name);
            w.u32(hub.epoch.0);
            w.u8(hub.state as u8);
        });
    }
}
