//! What is counted of deciding who may do what, for `weft mesh show`.

use crate::counters::counts;

counts! {
    /// Counters since the hub's start; gauges where the doc says so.
    GovernCounts {
        /// Gauge: the version of the state that is decided by.
        version = "govern.version",
        /// Gauge: documents of it that are not understood, each of which forbids what it speaks of.
        faults = "govern.faults",
        /// Questions that sessions have asked.
        asked = "govern.asked",
        /// Answers, of those or anew, that something is not allowed.
        denied = "govern.denied",
        /// Answers of questions in use that are another since the state or the time has changed.
        turned = "govern.turned",
        /// Gauge: questions whose answers are in use.
        in_use = "govern.in_use",
        /// Gauge: of them, those to be answered anew since the state has changed.
        stale = "govern.stale",
        /// Gauge: sessions that wait for an answer, or for their quota.
        waiting = "govern.waiting",
        /// Blocks that were not let in because it is not allowed.
        denied_blocks = "govern.denied_blocks",
        /// Blocks that were not let in because of a quota.
        over_quota_blocks = "govern.over_quota_blocks",
        /// Times that a session waited for its quota.
        quota_waits = "govern.quota_waits",
        /// Subscriptions and memberships that were ended because they are not allowed any more.
        ended = "govern.ended",
        /// Records of the audit log that are on the disk.
        audit_records = "audit.records",
        /// Records that were lost because there was no room for them.
        audit_lost = "audit.lost",
        /// Times that records could not be stored and were tried again.
        audit_failures = "audit.failures",
        /// Gauge: records that wait for the disk.
        audit_pending = "audit.pending",
        /// Logins that were good, of clients that became sessions.
        logged_in = "logins.taken",
        /// Logins refused: what was shown proves nothing, or is over.
        login_refused = "logins.refused",
        /// Logins refused unseen: too many had failed.
        login_limited = "logins.limited",
        /// Logins that could not be told: keys that cannot be had, or too many at a time.
        login_unavailable = "logins.unavailable",
        /// Sessions ended because their token or certificate was over, or their identity changed.
        login_over = "logins.over",
    }
}
