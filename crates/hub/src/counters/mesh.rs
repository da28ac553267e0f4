//! What the mesh's decider counts, and what it knows of other hubs: put here by the
//! conductor now and then, so that it is seen from outside too.

use super::counts;

counts! {
    /// Counters since the hub's start; gauges where the doc says so.
    MeshCounts {
        /// Links that were refused when they came up.
        links_refused = "mesh.links_refused",
        /// Links that were closed later, with a reason.
        links_closed = "mesh.links_closed",
        /// Hubs that are not who they say.
        conflicts = "mesh.conflicts",
        /// Records, and frames of this hub, beyond a limit.
        refused = "mesh.refused",
        /// Whole sets of filters that were asked for.
        sets_wanted = "mesh.sets_wanted",
        /// Hubs that were out of reach for too long.
        hubs_forgotten = "mesh.hubs_forgotten",
        /// Acknowledgements of flows that found no way.
        flow_acks_dropped = "mesh.flow_acks_dropped",
        /// Answers for receipts that found no way back or were too many.
        receipts_dropped = "mesh.receipts_dropped",
        /// Gauge: filters that nobody here wants any more and that stay told for a while.
        filters_held = "mesh.filters_held",
        /// Times that a link was suspected of being dead.
        suspicions = "mesh.suspicions",
        /// Times that such a link was trusted again.
        recoveries = "mesh.recoveries",
        /// Times that a link began to be held back, because it came and went too often.
        links_held = "mesh.links_held",
        /// Answers to pings that were never sent.
        strange_pongs = "mesh.strange_pongs",
        /// Pings beyond what is answered.
        pings_damped = "mesh.pings_damped",
        /// Gauge: hubs that are known, this one among them.
        hubs = "mesh.hubs",
        /// Gauge: of them, those that can be reached.
        hubs_reachable = "mesh.hubs_reachable",
        /// Gauge: filters of live subscriptions that all hubs together have told.
        live_filters = "interest.live_filters",
        /// Gauge: filters of streams that all hubs together have told.
        stream_filters = "interest.stream_filters",
        /// Gauge: filters of groups that all hubs together have told.
        group_filters = "interest.group_filters",
    }
}
