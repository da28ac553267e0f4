//! Links whose network has channels: each lane is read from its own, so that
//! bytes that are late on one hold up no other.
//!
//! Control frames come on channel 0, and until the link stands only that is
//! read. Where there are as many channels as by QUIC, frames of lane `n` come on
//! channel `n + 1`; where the channels are the connections of a link of several,
//! lanes are dealt out to them in turn, the first to the first. A goodbye may
//! overtake what was sent before it on other channels: the link ends when those
//! have come to their end.

use std::time::Duration;

use weft_base::Lane;
use weft_ring::arena::Buffer;
use weft_transport::{CloseReason, LinkToken, Network as _};

use super::NetStage;
use super::connection::Connection;
use super::read::Progress;
use crate::messages::SessionId;

/// A channel for control frames and one for each lane: no link has more.
const CHANNELS: usize = Lane::COUNT + 1;
/// How long the rest of a link of several connections is read after one of them
/// has ended: by then a peer that ends the link has ended them all.
pub(super) const LATE: Duration = Duration::from_secs(1);

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
    /// Of how many connections the link is, where those are its channels; else 0.
    pub(super) connections: usize,
    /// One of them has ended, and why.
    pub(super) broken: Option<String>,
    /// Sweeps since something came, by channel.
    pub(super) silent: [u32; CHANNELS],
}

impl Apart {
    /// Whether what is taken apart came on one of several connections, and not on the first.
    pub(super) fn is_on_further(&self) -> bool {
        self.connections > 1 && self.at > 0
    }

    /// What came before on another channel than the first.
    pub(super) fn park(&mut self, channel: usize, received: Option<(Buffer, bool)>) {
        if let Some(place) = self.parked.get_mut(channel) {
            *place = received;
        }
    }
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
        let channels = self.network.channels(link);
        if channels < 2 {
            return;
        }
        let connections = self.network.bundles.count(link).unwrap_or(0);
        if let Some(connection) = self.connection(id) {
            connection.apart = Some(Box::new(Apart { connections, ..Apart::default() }));
            connection.egress.keep_lanes_apart(channels);
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
        let Some(link) = self.connection(id).map(|connection| connection.link) else { return Progress::Ended };
        for channel in 0..self.network.channels(link).min(CHANNELS) {
            let Some(connection) = self.connection(id) else { return Progress::Ended };
            connection.turn_to(channel);
            let progress = self.read_channel(id, channel);
            if !matches!(progress, Progress::Drained(0)) {
                self.heard_on(id, channel);
            }
            match progress {
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
