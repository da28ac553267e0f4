//! Faults put in on purpose, one at least for each check.

use super::Check;

/// A fault that a check must report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Disks say that they synced, and do nothing.
    BrokenSync,
    /// Homes answer that it is synced when it is only appended.
    EarlyAck,
    /// Homes answer that two have it when only one has.
    LonelyAck,
    /// Homes append what a producer sends again.
    NoDeduplication,
    /// Sessions deliver out of order.
    DisorderedSessions,
    /// A home takes copies whatever is missing before them.
    SkippedCheck,
    /// Consumers are handed what is not on the disk yet.
    EarlyServe,
    /// A home that starts knows nothing of its consumers.
    ForgottenConsumers,
    /// A home keeps an old state of a consumer in the place of the new one.
    OldState,
    /// A consumer settles by itself, now and then.
    LostDelivery,
    /// A counter counts twice.
    Miscount,
    /// A keyed consumer shares without regard to keys.
    NoKeys,
    /// A read is answered from what was there a while ago.
    StaleRead,
    /// A home answers readers that know more than it has.
    ReadBack,
    /// A home says that it took copies which it dropped.
    DroppedCopies,
    /// A home keeps the first copy of a consumer for ever.
    OldCopies,
    /// A home that takes a consumer over forgets what was with members.
    Unflagged,
    /// A home that takes a consumer over settles one event too many.
    TakenTooFar,
    /// Homes do not look at tokens.
    NoFence,
    /// A home does not hear that a consumer runs elsewhere.
    DeafSeat,
    /// A home that drains stops before the others have what it has.
    HastyDrain,
    /// Homes give seats to those that drain as to all others.
    KeptSeats,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 22] = [
        Self::BrokenSync,
        Self::EarlyAck,
        Self::LonelyAck,
        Self::NoDeduplication,
        Self::DisorderedSessions,
        Self::SkippedCheck,
        Self::EarlyServe,
        Self::ForgottenConsumers,
        Self::OldState,
        Self::LostDelivery,
        Self::Miscount,
        Self::NoKeys,
        Self::StaleRead,
        Self::ReadBack,
        Self::DroppedCopies,
        Self::OldCopies,
        Self::Unflagged,
        Self::TakenTooFar,
        Self::NoFence,
        Self::DeafSeat,
        Self::HastyDrain,
        Self::KeptSeats,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokenSync => "broken-sync",
            Self::EarlyAck => "early-ack",
            Self::LonelyAck => "lonely-ack",
            Self::NoDeduplication => "no-deduplication",
            Self::DisorderedSessions => "disordered-sessions",
            Self::SkippedCheck => "skipped-check",
            Self::EarlyServe => "early-serve",
            Self::ForgottenConsumers => "forgotten-consumers",
            Self::OldState => "old-state",
            Self::LostDelivery => "lost-delivery",
            Self::Miscount => "miscount",
            Self::NoKeys => "no-keys",
            Self::StaleRead => "stale-read",
            Self::ReadBack => "read-back",
            Self::DroppedCopies => "dropped-copies",
            Self::OldCopies => "old-copies",
            Self::Unflagged => "unflagged",
            Self::TakenTooFar => "taken-too-far",
            Self::NoFence => "no-fence",
            Self::DeafSeat => "deaf-seat",
            Self::HastyDrain => "hasty-drain",
            Self::KeptSeats => "kept-seats",
        }
    }

    /// The canary of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Canary> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }

    /// The check that must report it.
    #[must_use]
    pub const fn caught_by(self) -> Check {
        match self {
            Self::BrokenSync | Self::EarlyAck => Check::Lost,
            Self::LonelyAck => Check::Homes,
            Self::NoDeduplication => Check::Duplicate,
            Self::DisorderedSessions => Check::Order,
            Self::EarlyServe => Check::Served,
            Self::ForgottenConsumers => Check::Redelivered,
            Self::OldState => Check::Position,
            Self::OldCopies => Check::Copied,
            Self::Unflagged => Check::Flagged,
            Self::NoFence => Check::Fenced,
            Self::DeafSeat => Check::Seat,
            Self::HastyDrain | Self::KeptSeats => Check::Drained,
            Self::LostDelivery | Self::TakenTooFar => Check::Undelivered,
            Self::Miscount => Check::Conservation,
            Self::NoKeys => Check::KeyOrder,
            Self::StaleRead => Check::Strong,
            Self::ReadBack => Check::Monotonic,
            Self::SkippedCheck | Self::DroppedCopies => Check::Eventual,
        }
    }
}
