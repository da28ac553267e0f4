//! What is counted of checking payloads, for `weft mesh show`.

use crate::counters::counts;

counts! {
    /// Counters since the hub's start; gauges where the doc says so.
    SchemaCounts {
        /// Gauge: the version of the state that is checked by.
        version = "schema.version",
        /// Gauge: schemas that are kept compiled.
        schemas = "schema.schemas",
        /// Schemas that were compiled.
        compiled = "schema.compiled",
        /// Gauge: documents that are not understood: payloads that they speak of do not fit.
        faults = "schema.faults",
        /// Events that were checked.
        checked = "schema.checked",
        /// Events that did not fit and passed, since their subject only warns.
        warned = "schema.warned",
        /// Blocks that were not let in because an event of theirs did not fit.
        rejected = "schema.rejected",
        /// Events that were put in quarantine.
        quarantined = "schema.quarantined",
        /// Blocks that were not let in because what of them did not fit could not be put in quarantine.
        unkept = "schema.unkept",
        /// Gauge: blocks that are being checked, or wait for it.
        waiting = "schema.waiting",
        /// Times that a session was not read, because too many blocks of it or of its tenant waited.
        held = "schema.held",
    }
}
