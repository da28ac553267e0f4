//! Links whose network has channels: each lane is read from its own, so that
//! bytes that are late on one hold up no other.
//!
//! Frames of lane `n` come on channel `n + 1`, control frames on channel 0, and
//! until the link stands only that is read. A goodbye may overtake what was sent
//! before it on other channels: the link ends when those have come to their end.

use weft_base::Lane;
use weft_ring::arena::Buffer;
use weft_transport::{CloseReason, LinkToken, Network as _};

use super::connection::Connection;
use super::{NetStage, Progress};
use crate::messages::SessionId;

/// A channel for control frames and one for each lane.
const CHANNELS: usize = Lane::COUNT + 1;

/// What a link received by channel.
#[derive(Default)]
pub(crate) struct Apart {
    /// Whose bytes are in the connection's own buffer.
    at: usize,
    /// The beginnings of frames of the other channels, and whether they lie in
    /// the reserve.
    parked: [Option<(Buffer, bool)>; CHANNELS],
    /// What was unpacked of the other channels and is not taken apart.
    unpacked: [Option<Buffer>; CHANNELS],
    /// The network has no more; what is here is still to be taken apart.
    pub(super) ended: Option<CloseReason>,
    /// What the peer said in its goodbye.
    parted: Option<String>,
}

impl Connection {
    /// Exchanges the buffer for that of another channel.
    fn turn_to(&mut self, channel: usize) {
        let Some(apart) = &mut self.apart else { return };
        if apart.at == channel {
            return;
        }
        let held = self.received.take().filter(|buffer| !buffer.filled().is_empty());
        if let Some(place) = apart.parked.get_mut(apart.at) {
            *place = held.map(|buffer| (buffer, self.on_reserve));
        }
        let unpacked = self.unpacked.take().filter(|buffer| !buffer.filled().is_empty());
        if let Some(place) = apart.unpacked.get_mut(apart.at) {
            *place = unpacked;
        }
        apart.at = channel;
        self.unpacked = apart.unpacked.get_mut(channel).and_then(Option::take);
        let (buffer, on_reserve) = match apart.parked.get_mut(channel).and_then(Option::take) {
            Some((buffer, on_reserve)) => (Some(buffer), on_reserve),
            None => (None, false),
        };
        (self.received, self.on_reserve) = (buffer, on_reserve);
    }
}

impl NetStage {
    /// The link stands: lanes go apart from now on, if its network can.
    pub(super) fn keep_lanes_apart(&mut self, id: SessionId, link: LinkToken) {
        if self.network.channels(link) < CHANNELS {
            return;
        }
        if let Some(connection) = self.connection(id) {
            connection.apart = Some(Box::default());
            connection.egress.keep_lanes_apart();
            self.network.read_channels(link);
        }
    }

    /// The peer of a link says that it ends it.
    pub(super) fn on_link_goodbye(&mut self, id: SessionId, detail: &str) {
        let said = format!("the peer said goodbye: {detail}");
        match self.connection(id).and_then(|connection| connection.apart.as_mut()) {
            Some(apart) => apart.parted = Some(said),
            None => self.end(id, &said),
        }
    }

    /// Reads each channel, a bounded share each.
    pub(super) fn read_apart(&mut self, id: SessionId) -> Progress {
        let (mut bytes, mut more) = (0, false);
        for channel in 0..CHANNELS {
            let Some(connection) = self.connection(id) else { return Progress::Ended };
            connection.turn_to(channel);
            match self.read_channel(id, channel) {
                Progress::Drained(n) => bytes += n,
                Progress::More(n) => (bytes, more) = (bytes + n, true),
                Progress::Ended => return Progress::Ended,
            }
        }
        let Some(connection) = self.connection(id) else { return Progress::Ended };
        connection.turn_to(0);
        let Some(apart) = &mut connection.apart else { return Progress::Drained(bytes) };
        match (&apart.ended, apart.parted.take()) {
            (Some(_), Some(said)) if !more => self.end(id, &said),
            (Some(reason), None) if !more => {
                let reason = reason.clone();
                self.lose(id, &reason);
            }
            (_, said) => {
                apart.parted = said;
                // What has ended is not reported again: the rest is looked for.
                return if more || apart.ended.is_some() { Progress::More(bytes) } else { Progress::Drained(bytes) };
            }
        }
        Progress::Ended
    }
}
