//! One link of this hub: is the other end there, and how far away is it?

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{Epoch, HubId, Mono};

use crate::costs::Loss;
use crate::filters::Change;
use crate::transfer::Transfer;

/// Steps of a hub's interest that come in over a link, in several frames. What
/// is of no use is followed to its end too, so that no later frame of it is
/// taken for a first one.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) epoch: Epoch,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// None: of no use.
    pub(crate) changes: Option<Vec<Change>>,
    /// When the last frame of it came.
    pub(crate) touched: Mono,
}

/// A link that is up, as the transport says.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) hub: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) cost: u32,
    /// Of the protocol: what the other end does not know is not sent to it.
    pub(crate) version: u16,
    /// When the last answer came, or the link came up.
    pub(crate) heard: Mono,
    /// Number of the ping under way, and when it left. One at a time: the
    /// transport loses nothing while the link is up.
    pub(crate) ping: Option<(u64, Mono)>,
    pub(crate) ping_next: Mono,
    pings: u64,
    /// Smoothed; none until the first answer. Until then the link carries no events.
    pub(crate) rtt: Option<Duration>,
    /// What of its probes is lost.
    pub(crate) loss: Loss,
    /// Of a GB, as this hub was told.
    pub(crate) price: u32,
    /// Long sets of filters on their way out, by the hub that they are of.
    pub(crate) transfers: BTreeMap<HubId, Transfer>,
    /// Those on their way in.
    pub(crate) incoming: BTreeMap<HubId, Incoming>,
    /// The transfer that had the last turn.
    pub(crate) served: HubId,
    /// Not before this may the next part of a transfer go.
    pub(crate) transfer_next: Mono,
}

impl Link {
    pub(crate) fn new(hub: HubId, epoch: Epoch, name: String, now: Mono) -> Self {
        Self {
            hub,
            epoch,
            name,
            cost: 0,
            version: weft_wire::frame::PROTOCOL_VERSION_LEAST,
            heard: now,
            ping: None,
            ping_next: now,
            pings: 0,
            rtt: None,
            loss: Loss::default(),
            price: 0,
            transfers: BTreeMap::new(),
            incoming: BTreeMap::new(),
            served: HubId(0),
            transfer_next: now,
        }
    }

    /// The number of the ping to send now.
    pub(crate) fn start_ping(&mut self, now: Mono, interval: Duration) -> u64 {
        self.pings += 1;
        self.ping = Some((self.pings, now));
        self.ping_next = now + interval;
        self.pings
    }

    /// An answer has come. Whether it was to the ping under way.
    pub(crate) fn on_pong(&mut self, number: u64, now: Mono) -> bool {
        let Some((_, sent)) = self.ping.filter(|(expected, _)| *expected == number) else { return false };
        self.ping = None;
        self.heard = now;
        let sample = now.since(sent);
        // RFC 6298: an eighth of what is new.
        self.rtt = Some(self.rtt.map_or(sample, |old| (old * 7 + sample) / 8));
        true
    }

    /// The round trip as records carry it: at least 1, so that no link is free.
    pub(crate) fn rtt_us(&self) -> Option<u32> {
        self.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1))
    }
}

/// Whether a round trip has changed so much that the others are to know: by a
/// quarter, and by more than half a millisecond.
pub(crate) fn has_shifted(reported_us: u32, measured_us: u32) -> bool {
    reported_us.abs_diff(measured_us) > (reported_us / 4).max(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_is_smoothed_and_strange_answers_are_ignored() {
        let mut link = Link::new(HubId(2), Epoch(1), String::new(), Mono(0));
        let number = link.start_ping(Mono(0), Duration::from_secs(1));
        assert!(!link.on_pong(number + 1, Mono(5)));
        assert_eq!(link.rtt_us(), None);
        assert!(link.on_pong(number, Mono(8_000_000)));
        assert!(!link.on_pong(number, Mono(9_000_000)), "one answer for each");
        assert_eq!(link.rtt_us(), Some(8_000));
        let number = link.start_ping(Mono(1_000_000_000), Duration::from_secs(1));
        assert!(link.on_pong(number, Mono(1_016_000_000)));
        assert_eq!(link.rtt_us(), Some(9_000));
    }

    #[test]
    fn small_shifts_are_kept_quiet() {
        assert!(!has_shifted(100, 599));
        assert!(has_shifted(100, 601));
        assert!(!has_shifted(80_000, 99_000));
        assert!(has_shifted(80_000, 101_000));
        assert!(has_shifted(80_000, 59_000));
    }
}
