//! Between hubs: how much may be sent, and whose publishers are to wait.

use weft_base::{Epoch, HubId, Lane};

use super::codec::{Reader, Writer, wire_enum};
use super::{FrameError, MAX_FILTER};

/// How much may be sent on one lane of this link, of `Forward` frames, since
/// the link came up. A lane of which nothing was said has no credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCredit {
    /// The lane.
    pub lane: Lane,
    /// Bytes in all, those already sent among them. Never less than before.
    pub limit: u64,
}

impl LinkCredit {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self { lane: r.one_of("lane", Lane::new)?, limit: r.u64("limit")? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.lane.get());
        w.u64(self.limit);
    }
}

wire_enum! {
    /// How a subscription that makes publishers wait stands.
    GateState {
        /// It takes events.
        Open = 0,
        /// It is behind: what it subscribes to is to be held back.
        Closed = 1,
        /// It has ended.
        Gone = 2,
    }
}

/// A subscription that makes its publishers wait, and how it stands; flooded.
/// Of one subscription the greatest version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure<'a> {
    /// The hub of the subscription.
    pub hub: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// The subscription's number there.
    pub gate: u64,
    /// Counts what was said of it.
    pub version: u64,
    /// How it stands.
    pub state: GateState,
    /// How long its oldest event had waited when this was said, in milliseconds.
    pub behind_ms: u64,
    /// What it subscribes to, canonical.
    pub filter: &'a str,
    /// The subscriber's name, for people.
    pub subscriber: &'a str,
    /// The hub's name, for people.
    pub name: &'a str,
}

impl<'a> Pressure<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            gate: r.u64("gate")?,
            version: r.u64("version")?,
            state: r.one_of("state", GateState::from_number)?,
            behind_ms: r.u64("behind_ms")?,
            filter: r.text("filter", MAX_FILTER)?,
            subscriber: r.name("subscriber")?,
            name: r.name("name")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u64(self.gate);
        w.u64(self.version);
        w.u8(self.state as u8);
        w.u64(self.behind_ms);
        w.text("filter", self.filter, MAX_FILTER);
        w.name("subscriber", self.subscriber);
        w.name("name", self.name);
    }
}
