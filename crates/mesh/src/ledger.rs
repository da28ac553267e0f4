//! The ledger: what became of every copy of every event at one hub.
//!
//! Counted are *copies*: an event for one receiver (a subscription, a stream,
//! or a destination hub further on). An event that nobody wants counts as one
//! copy, dropped for [`DropReason::NoInterest`], so that it is not forgotten.
//! At any quiet moment `copies = delivered + stored + forwarded + dropped + in
//! flight`; [`Ledger::balance`] checks it. Nothing here counts by itself: each
//! stage of a hub keeps a ledger and the hub adds them up.

use std::array;
use std::ops::{AddAssign, Index, IndexMut};

/// Declares the closed list of drop reasons once: the enum, the names and the sentences.
macro_rules! drop_reasons {
    ($($name:ident = $code:literal, $text:literal, $doc:literal;)*) => {
        /// Why a copy of an event went no further. A closed list: a drop has
        /// one of these reasons or is a bug. Codes are never used again for
        /// something else.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $doc] $name = $code,)*
        }

        impl DropReason {
            /// All reasons, in the order of their codes.
            pub const ALL: [DropReason; [$($code,)*].len()] = [$(DropReason::$name,)*];
            /// Codes are below this: the length of a table by code. Some codes may be unused.
            pub const COUNT: usize = Self::ALL[Self::ALL.len() - 1] as usize + 1;

            /// The name that users see, for example in `weft mesh show`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }

            /// One sentence on when this happens.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$name => $doc,)* }
            }

            /// The reason of this code, as a gap frame carries it.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<DropReason> {
                match code { $($code => Some(DropReason::$name),)* _ => None }
            }
        }
    };
}

drop_reasons! {
    NoInterest = 0, "no_interest", "Nobody wants the event, here or at the hub it was sent to.";
    NoPath = 1, "no_path", "No path of links leads to the destination hub at present.";
    LinkLost = 2, "link_lost", "The link that carried the event, or was about to, ended first.";
    LinkFull = 3, "link_full", "The queue of the link that the event had to take is full.";
    SubscriberFull = 4, "subscriber_full", "The subscriber has no credit left and its queue is full.";
    SessionClosed = 5, "session_closed", "The subscriber's session ended before the event was written to it.";
    Duplicate = 6, "duplicate", "The hub had this block before.";
    Late = 7, "late", "The event came after later ones of its flow, from an earlier life of its origin, or behind the duplicate window.";
    Ttl = 8, "ttl", "The block passed more hubs than its limit allows.";
    Loop = 9, "loop", "The only way on is the link that the block came by.";
    Expired = 10, "expired", "The event's deadline passed before it was delivered.";
    StreamRefused = 11, "stream_refused", "The stream could not store the event, for example because the disk is full.";
    FlowFull = 12, "flow_full", "Too many blocks already wait for the destination hub to store them.";
    Invalid = 13, "invalid", "The block, or its entry for this hub, breaks the format.";
    Shutdown = 14, "shutdown", "The hub stopped before the event had left it.";
    Conflated = 15, "conflated", "A newer event of the same topic and key took its place in the subscriber's queue.";
    ShedOldest = 16, "shed_oldest", "The hub has more to do than it can, and the event had waited longest in a less urgent lane.";
    ShedNewest = 17, "shed_newest", "The hub has more to do than it can, and the event came last in a less urgent lane.";
    Spilled = 18, "spilled", "The subscriber's queue is full, and the event is in the stream that the subscription names for this.";
    WaitOverrun = 19, "wait_overrun", "The subscriber makes its publishers wait, and what was already under way did not fit its queue.";
    NoMember = 20, "no_member", "The group's last member at the hub that was to serve it has left, and no other hub has one.";
    CannotArrive = 23, "cannot_arrive", "The deadline is nearer than the way to the destination hub is long.";
    PeerBusy = 24, "peer_busy", "The stage that a message of another hub is for has too many waiting.";
    WrongLast = 25, "wrong_last", "The last sequence of the stream, or of the key, is not what the publisher expected.";
    BadBatch = 26, "bad_batch", "The atomic batch that the event is part of was not whole and sound.";
    Quota = 27, "quota", "The stream's tenant has stored all that it may.";
    Damaged = 29, "damaged", "The event lies damaged in the stream, and its consumer goes on behind it.";
    Removed = 30, "removed", "The stream's retention removed the event before its consumer had it.";
    StreamGone = 31, "stream_gone", "The event waited on disk for a stream whose homes do not have that stream any more.";
    Residency = 32, "residency", "The event may be only at hubs with its label, and no way over such hubs leads to the one that it is for.";
    LinkCrowded = 35, "link_crowded", "The event would have waited for a link that is behind, and the hub is short of memory for what waits.";
    MappedAway = 42, "mapped_away", "A rule of the hub's mapping drops this share of its topics on purpose.";
    Unmappable = 43, "unmappable", "A rule of the hub's mapping is for the topic and makes no valid topic of it, or there was no memory for that.";
    DuplicatePath = 45, "duplicate_path", "The event came over the other of two paths before; in no ledger, for it is no copy of its own.";
    Denied = 46, "denied", "No rule allows its publisher to publish it, or one forbids that, and nobody asked for an answer.";
    OverQuota = 47, "over_quota", "Its publisher publishes more than the quota of its tenant, or its own, and nobody asked for an answer.";
    Unfit = 48, "unfit", "Its payload is not of the schema of its topic, or that of another event of its block is not, and nobody asked for an answer.";
    Unkept = 49, "not_quarantined", "A payload of its block was to go to quarantine and could not be stored there, and nobody asked for an answer.";
}

/// Something for each [`DropReason`]. An array of its own kind, because std's
/// have no `Default` beyond 32 elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByReason<T>([T; DropReason::COUNT]);

impl<T> ByReason<T> {
    /// Each element, in the order of the reasons' codes; unused codes too.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T: Default> Default for ByReason<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| T::default()))
    }
}

// The index is an enum's code and below COUNT by construction.
impl<T> Index<DropReason> for ByReason<T> {
    type Output = T;

    fn index(&self, reason: DropReason) -> &T {
        &self.0[reason as usize]
    }
}

impl<T> IndexMut<DropReason> for ByReason<T> {
    fn index_mut(&mut self, reason: DropReason) -> &mut T {
        &mut self.0[reason as usize]
    }
}

/// The counts of one hub, or of one of its stages. Plain numbers: add freely,
/// check with [`Ledger::balance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Events that entered the mesh here, from a client or a gateway.
    pub published: u64,
    /// Copies that came from other hubs: events times entries of their frames.
    pub received: u64,
    /// Copies made here: one for each receiver of an event that entered or
    /// arrived, at least one for each event.
    pub copies: u64,
    /// Copies written to the session of a live subscription.
    pub delivered: u64,
    /// Copies appended to a stream of this hub, or found to be there already.
    pub stored: u64,
    /// Copies written to a link, for a hub further on. A guaranteed copy counts
    /// here when its destination has acknowledged it, not at each sending.
    pub forwarded: u64,
    /// Copies dropped, by reason.
    pub dropped: ByReason<u64>,
    /// Copies in a queue of this hub, or unacknowledged by their destination.
    pub in_flight: u64,
}

impl Ledger {
    /// Counts `copies` copies as dropped.
    pub fn drop(&mut self, reason: DropReason, copies: u64) {
        self.dropped[reason] += copies;
    }

    /// The count of one reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason]
    }

    /// The count of all reasons.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Copies of which it is known what became of them.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let Ledger { delivered, stored, forwarded, in_flight, .. } = *self;
        // A gauge that is being written may be below zero for a moment.
        [stored, forwarded, self.dropped_in_all(), in_flight].into_iter().fold(delivered, u64::wrapping_add)
    }

    /// Whether every copy is accounted for.
    ///
    /// # Errors
    /// [`Imbalance`], with both sides.
    pub fn balance(&self) -> Result<(), Imbalance> {
        let Ledger { copies, delivered, stored, forwarded, in_flight, .. } = *self;
        let dropped = self.dropped_in_all();
        let accounted = self.accounted();
        if accounted == copies {
            return Ok(());
        }
        Err(Imbalance { copies, accounted, delivered, stored, forwarded, dropped, in_flight })
    }

    /// Each count by name, for reports: the fields first, then
    /// `dropped.<reason>` for each reason.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, Option<DropReason>, u64)> + '_ {
        [
            ("published", self.published),
            ("received", self.received),
            ("copies", self.copies),
            ("delivered", self.delivered),
            ("stored", self.stored),
            ("forwarded", self.forwarded),
            ("in_flight", self.in_flight),
        ]
        .into_iter()
        .map(|(name, value)| (name, None, value))
        .chain(DropReason::ALL.into_iter().map(|reason| ("dropped", Some(reason), self.dropped_for(reason))))
    }
}

impl AddAssign<&Ledger> for Ledger {
    fn add_assign(&mut self, other: &Ledger) {
        self.published += other.published;
        self.received += other.received;
        self.copies += other.copies;
        self.delivered += other.delivered;
        self.stored += other.stored;
        self.forwarded += other.forwarded;
        self.in_flight += other.in_flight;
        for reason in DropReason::ALL {
            self.dropped[reason] += other.dropped[reason];
        }
    }
}

/// A ledger whose two sides differ: events were lost or made up uncounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ledger does not balance: {copies} copies were made, {accounted} are accounted for \
     (delivered {delivered}, stored {stored}, forwarded {forwarded}, dropped {dropped}, in flight {in_flight})"
)]
pub struct Imbalance {
    /// Copies made.
    pub copies: u64,
    /// Copies accounted for: the sum of what follows.
    pub accounted: u64,
    /// Copies delivered.
    pub delivered: u64,
    /// Copies stored.
    pub stored: u64,
    /// Copies forwarded.
    pub forwarded: u64,
    /// Copies dropped, for all reasons.
    pub dropped: u64,
    /// Copies in flight.
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_until_one_copy_is_missing() {
        let mut ledger = Ledger { copies: 6, delivered: 1, stored: 1, forwarded: 1, in_flight: 1, ..Ledger::default() };
        ledger.drop(DropReason::NoPath, 2);
        assert_eq!(ledger.balance(), Ok(()));
        ledger.delivered -= 1;
        let error = ledger.balance().expect_err("one is missing");
        assert_eq!(error.accounted, 5);
        assert!(error.to_string().contains("6 copies were made, 5 are accounted for"), "{error}");
    }

    #[test]
    fn ledgers_of_stages_add_up() {
        // The route stage makes a copy that the net stage delivers.
        let route = Ledger { published: 1, copies: 1, ..Ledger::default() };
        let mut hub = Ledger { delivered: 1, ..Ledger::default() };
        assert!(hub.balance().is_err());
        hub += &route;
        assert_eq!(hub.balance(), Ok(()));
    }

    #[test]
    fn what_is_kept_by_reason_is_counted_for_that_reason_alone() {
        let mut counts = ByReason::<u64>::default();
        for (reason, n) in DropReason::ALL.into_iter().zip(1..) {
            counts[reason] += n;
        }
        assert!(DropReason::ALL.into_iter().zip(1..).all(|(reason, n)| counts[reason] == n));
        let n = DropReason::ALL.len() as u64;
        assert_eq!(counts.iter().sum::<u64>(), n * (n + 1) / 2, "codes that are not used count nothing");
    }

    #[test]
    fn reasons_are_a_closed_list_with_fixed_codes() {
        assert!(DropReason::ALL.is_sorted_by(|a, b| (*a as u8) < *b as u8), "the last code is the highest");
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_code(reason as u8), Some(reason));
        }
        assert_eq!(DropReason::from_code(DropReason::COUNT as u8), None);
        assert_eq!(DropReason::WaitOverrun.name(), "wait_overrun");
        assert_eq!(Ledger::default().counters().count(), 7 + DropReason::ALL.len());
    }
}
