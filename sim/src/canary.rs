//! Faults put in on purpose, one for each checker.

use crate::Check;

/// A fault that a checker must report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Hubs send every block back over the link that it came by as well, and do
    /// not cut duplicates.
    BackOut,
    /// Hubs hand a block to each subscriber twice.
    DeliverTwice,
    /// Hubs keep a block back now and then and deliver it after the next one.
    OutOfOrder,
    /// A link loses an event now and then, without a cut.
    LostEvent,
    /// Receivers forget to count what they missed.
    UncountedGap,
    /// A hub drops events for which there is no path, and does not count them.
    UncountedDrop,
    /// Links lose events that neither end counts as lost.
    UncountedLoss,
    /// A hub loses an event between a link and its counts.
    LostCrossing,
    /// Steps of interest are lost, and digests too.
    LostDelta,
    /// A home says that a block is synced when it is not even appended.
    EarlyAck,
    /// A home appends what a producer sends again.
    NoDeduplication,
    /// A hub goes on with the routes of its first moments.
    StaleRoutes,
    /// Two hubs have one name.
    TwoOfOneName,
    /// A hub serves a group itself and sends the block to another hub besides.
    GroupTwice,
    /// A hub that is to serve a group hands a block to nobody now and then.
    GroupUnserved,
    /// Hubs say that they go by what they have only heard.
    EarlyReceipt,
    /// Hubs reckon with other weights than they were given.
    OtherWeights,
    /// A link goes on breaking when nothing is wrong with it any more.
    Restless,
    /// Hubs take new routes over seconds late.
    LateRoutes,
    /// Blocks are handed over a minute after they were published.
    SlowDelivery,
    /// A hub tells its neighbours everything, all the time.
    Talkative,
    /// Hubs send what is bound to a label as they send everything.
    LabelIgnored,
    /// Hubs that are about to stop do not say so.
    SilentDrain,
    /// Hubs choose a way for each block, and not for its topic.
    WayByBlock,
    /// Hubs take both copies of what comes over two paths. Runs with two paths.
    PathWindowOff,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 25] = [
        Self::BackOut,
        Self::DeliverTwice,
        Self::OutOfOrder,
        Self::LostEvent,
        Self::UncountedGap,
        Self::UncountedDrop,
        Self::UncountedLoss,
        Self::LostCrossing,
        Self::LostDelta,
        Self::EarlyAck,
        Self::NoDeduplication,
        Self::StaleRoutes,
        Self::TwoOfOneName,
        Self::GroupTwice,
        Self::GroupUnserved,
        Self::EarlyReceipt,
        Self::OtherWeights,
        Self::Restless,
        Self::LateRoutes,
        Self::SlowDelivery,
        Self::Talkative,
        Self::LabelIgnored,
        Self::SilentDrain,
        Self::WayByBlock,
        Self::PathWindowOff,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BackOut => "back-out",
            Self::DeliverTwice => "deliver-twice",
            Self::OutOfOrder => "out-of-order",
            Self::LostEvent => "lost-event",
            Self::UncountedGap => "uncounted-gap",
            Self::UncountedDrop => "uncounted-drop",
            Self::UncountedLoss => "uncounted-loss",
            Self::LostCrossing => "lost-crossing",
            Self::LostDelta => "lost-delta",
            Self::EarlyAck => "early-ack",
            Self::NoDeduplication => "no-deduplication",
            Self::StaleRoutes => "stale-routes",
            Self::TwoOfOneName => "two-of-one-name",
            Self::GroupTwice => "group-twice",
            Self::GroupUnserved => "group-unserved",
            Self::EarlyReceipt => "early-receipt",
            Self::OtherWeights => "other-weights",
            Self::Restless => "restless",
            Self::LateRoutes => "late-routes",
            Self::SlowDelivery => "slow-delivery",
            Self::Talkative => "talkative",
            Self::LabelIgnored => "label-ignored",
            Self::SilentDrain => "silent-drain",
            Self::WayByBlock => "way-by-block",
            Self::PathWindowOff => "path-window-off",
        }
    }

    /// The canary of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Canary> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }

    /// The checker that must report it.
    #[must_use]
    pub const fn caught_by(self) -> Check {
        match self {
            Self::BackOut => Check::CrossedTwice,
            Self::DeliverTwice | Self::PathWindowOff => Check::DeliveredTwice,
            Self::OutOfOrder => Check::Order,
            Self::LostEvent => Check::Missing,
            Self::UncountedGap => Check::FlowBalance,
            Self::UncountedDrop => Check::Ledger,
            Self::UncountedLoss => Check::LinkBalance,
            Self::LostCrossing => Check::LinkEnds,
            Self::LostDelta => Check::Interest,
            Self::EarlyAck => Check::Acknowledged,
            Self::NoDeduplication => Check::Stored,
            Self::StaleRoutes | Self::OtherWeights => Check::Routes,
            Self::TwoOfOneName => Check::Identity,
            Self::GroupTwice => Check::SharedTwice,
            Self::GroupUnserved => Check::Unserved,
            Self::EarlyReceipt => Check::Receipt,
            Self::Restless => Check::Convergence,
            Self::LateRoutes => Check::Failover,
            Self::SlowDelivery => Check::Latency,
            Self::Talkative => Check::Control,
            Self::LabelIgnored => Check::Residency,
            Self::SilentDrain => Check::Transit,
            Self::WayByBlock => Check::Ways,
        }
    }
}
