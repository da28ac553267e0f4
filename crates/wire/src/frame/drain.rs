//! The end of a hub that its clients are told of before it comes: where they may
//! go instead, and what an operator asks for and is told.

use super::codec::{Reader, Writer, wire_enum};
use super::{FrameError, MAX_CLIENT_ADDRESS, MAX_PLACES};

/// A hub at which a client may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The hub's name, which its certificate has.
    pub name: &'a str,
    /// Where it takes clients; at most [`MAX_CLIENT_ADDRESS`] bytes.
    pub address: &'a str,
}

/// The hub is about to stop, or takes no new clients: go on elsewhere. Sent in a
/// session of version 2, and before the `Goodbye` to a `Hello` of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// For how long the session is still served, in milliseconds.
    pub within_ms: u32,
    /// Where to, the best first; none when the hub knows of none, and the client
    /// has its own list. At most [`MAX_PLACES`].
    pub places: Vec<Place<'a>>,
}

impl<'a> Redirect<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            within_ms: r.u32("within_ms")?,
            places: r.list("places", MAX_PLACES, 4, |r| {
                Ok(Place { name: r.name("name")?, address: r.text("address", MAX_CLIENT_ADDRESS)? })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.within_ms);
        w.list("places", &self.places, MAX_PLACES, |w, place| {
            w.name("name", place.name);
            w.text("address", place.address, MAX_CLIENT_ADDRESS);
        });
    }
}

/// The client goes in good order: no event is to be routed to it any more, and
/// what waits for it is still delivered. Answered by [`Goodbye`](super::Goodbye)
/// once nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave;

impl Leave {
    #[expect(clippy::unnecessary_wraps, reason = "as all other frames")]
    pub(super) fn read(_: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self)
    }

    pub(super) fn write(self, _: &mut Writer<'_>) {}
}

wire_enum! {
    /// What an operator wants of a drain.
    DrainAction {
        /// To know how it stands.
        Ask = 0,
        /// To begin it.
        Begin = 1,
        /// To end it: the hub goes on.
        Cancel = 2,
    }
}

wire_enum! {
    /// How a hub stands.
    DrainState {
        /// It does its work.
        Serving = 0,
        /// Its clients are told to go, one after the other.
        Draining = 1,
        /// It is empty, or out of time, and about to stop.
        Stopping = 2,
    }
}

/// An operator's word about a drain; answered by [`DrainReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Chosen by the client.
    pub request: u64,
    /// What is wanted.
    pub action: DrainAction,
    /// With [`DrainAction::Begin`]: how long it may take, in milliseconds; 0
    /// for as long as the hub is configured to.
    pub within_ms: u32,
}

impl Drain {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            action: r.one_of("action", DrainAction::from_number)?,
            within_ms: r.u32("within_ms")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u8(self.action as u8);
        w.u32(self.within_ms);
    }
}

/// How a hub stands that sends its clients elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainStatus {
    /// Whether it does.
    pub state: DrainState,
    /// How much of its time is left, in milliseconds.
    pub left_ms: u32,
    /// Clients that were there when it began.
    pub clients: u32,
    /// Clients that were told where to go.
    pub told: u32,
    /// Clients that went in good order.
    pub moved: u32,
    /// Clients that are still there, of which those of protocol version 1 stay to the end.
    pub left: u32,
    /// Consumers that still run here and could run elsewhere.
    pub consumers: u32,
    /// Streams with events that not all other homes within reach have on disk yet.
    pub streams: u32,
}

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// The request.
    pub request: u64,
    /// What there is to say.
    pub status: DrainStatus,
}

impl DrainReport {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let status = DrainStatus {
            state: r.one_of("state", DrainState::from_number)?,
            left_ms: r.u32("left_ms")?,
            clients: r.u32("clients")?,
            told: r.u32("told")?,
            moved: r.u32("moved")?,
            left: r.u32("left")?,
            consumers: r.u32("consumers")?,
            streams: r.u32("streams")?,
        };
        Ok(Self { request: r.id(), status })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let DrainStatus { state, left_ms, clients, told, moved, left, consumers, streams } = self.status;
        w.id(self.request);
        w.u8(state as u8);
        [left_ms, clients, told, moved, left, consumers, streams].into_iter().for_each(|number| w.u32(number));
    }
}
