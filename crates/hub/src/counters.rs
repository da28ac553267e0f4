//! The hub's counters, written by its stages and read by anyone.
//!
//! A stage adds once per block, not per event. The ledger's side of them is
//! explained in `weft_mesh::ledger`; what is in flight is measured from the
//! queues themselves, so that the ledger's balance says something.

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_mesh::ledger::{DropReason, Ledger};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Counters since the hub's start; gauges where the doc says so.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)+
            /// Copies dropped, by [`DropReason`].
            pub dropped: [AtomicU64; DropReason::COUNT],
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            #[must_use]
            pub fn list(&self) -> Vec<(String, u64)> {
                let mut all = vec![$(($text.to_owned(), get(&self.$name))),+];
                for reason in DropReason::ALL {
                    all.push((format!("ledger.dropped.{}", reason.name()), get(&self.dropped[reason as usize])));
                }
                all
            }
        }
    };
}

counters! {
    /// Events taken from clients of this hub.
    published = "ledger.published",
    /// Events that other hubs sent here for this hub to deliver or store.
    arrived = "ledger.arrived",
    /// Live copies that came over a link for another hub.
    transit = "ledger.transit",
    /// Copies made: an event for one subscription, one stream or one destination hub.
    copies = "ledger.copies",
    /// Copies written to subscribers.
    delivered = "ledger.delivered",
    /// Copies appended to streams of this hub.
    stored = "ledger.stored",
    /// Copies written to links, or held by a stream at another hub.
    forwarded = "ledger.forwarded",
    /// Gauge: copies waiting for subscribers.
    waiting_subscribers = "in_flight.subscribers",
    /// Gauge: live copies waiting for links.
    waiting_links = "in_flight.links",
    /// Gauge: copies on their way to the append stage.
    waiting_append = "in_flight.append",
    /// Gauge: copies that a stream at another hub has not acknowledged yet.
    waiting_flows = "in_flight.flows",
    /// Blocks that came again from a producer and were not routed again.
    producer_duplicates = "duplicates.producer_blocks",
    /// Blocks that came again over a link and were cut.
    mesh_duplicates = "duplicates.mesh_blocks",
    /// Live events that a flow from another hub was short of.
    missed = "flow.missed",
    /// Guaranteed blocks sent again.
    retransmitted = "flow.retransmitted_blocks",
    /// Events read from streams for subscribers.
    replayed = "stream.replayed",
    /// Calls of fdatasync.
    syncs = "stream.syncs",
    /// Publishes refused with an error.
    refused = "publish.refused",
    /// Gauge: sessions with clients.
    clients = "sessions.clients",
    /// Gauge: sessions with hubs.
    links = "sessions.links",
    /// Sessions closed because the peer broke the protocol.
    violations = "sessions.violations",
    /// Connections refused or lost before they became a session.
    failed_handshakes = "sessions.failed_handshakes",
    /// Turns in which the arena had no buffer and nothing was read.
    starved = "arena.starved_turns",
}

/// Adds to a counter or gauge.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Takes from a gauge.
#[inline]
pub(crate) fn sub(gauge: &AtomicU64, n: u64) {
    gauge.fetch_sub(n, Ordering::Relaxed);
}

/// Reads a counter.
#[inline]
pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// Counts `n` copies as dropped.
    #[inline]
    pub(crate) fn drop_copies(&self, reason: DropReason, n: u64) {
        add(&self.dropped[reason as usize], n);
    }

    /// Copies that wait somewhere in this hub.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        [&self.waiting_subscribers, &self.waiting_links, &self.waiting_append, &self.waiting_flows]
            .into_iter()
            .map(get)
            .sum()
    }

    /// Copies that only this hub can bring to their end: all in flight but
    /// those that wait for a subscriber's credit or another hub's answer.
    pub(crate) fn in_flight_here(&self) -> u64 {
        get(&self.waiting_links) + get(&self.waiting_append)
    }

    /// The ledger at this moment; balanced when the hub is quiet.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger {
            published: get(&self.published),
            received: get(&self.arrived) + get(&self.transit),
            copies: get(&self.copies),
            delivered: get(&self.delivered),
            stored: get(&self.stored),
            forwarded: get(&self.forwarded),
            in_flight: self.in_flight(),
            ..Ledger::default()
        };
        for reason in DropReason::ALL {
            ledger.dropped[reason as usize] = get(&self.dropped[reason as usize]);
        }
        ledger
    }
}
