//! What a hub measures, where others can see it: histograms, and a file of
//! counters that is mapped into memory, so that another process reads it while
//! the hub hangs or after it was killed.
//!
//! * [`scale`]: which bucket a value is in; [`snapshot`]: counts that were
//!   read, merged, subtracted, and their quantiles.
//! * [`recorder`]: the one writer of a histogram.
//! * [`table`]: the file as its writer sees it; [`reading`]: as everybody else does.
//!   [`layout`] is what both agree on.
//!
//! Does not know what is counted, who counts, or how it is shown. Nothing here
//! waits, logs or has a thread. What does not fit is kept in memory of the
//! process alone, counted, and said ([`table::Table::left_out`]).
//!
//! # How a hub's counters move here
//! A [`table::Value`] is a word of the file that dereferences to `AtomicU64`, and
//! its default is a word of its own. So a field `AtomicU64` becomes a field
//! `Value`, and neither who adds to it nor who reads it changes: one pointer more
//! is followed per access, and no instruction is added that locks. What is
//! stamped with [`table::Beat::beat`] once per turn of a stage tells readers how
//! old that stage's values are.
#![deny(unsafe_code)]

mod mapping;
pub mod recorder;
pub mod scale;
pub mod snapshot;

#[cfg(not(loom))]
pub mod layout;
#[cfg(not(loom))]
pub mod place;
#[cfg(not(loom))]
pub mod reading;
#[cfg(not(loom))]
pub mod table;

#[cfg(not(loom))]
pub use self::reading::Reading;
pub use self::recorder::Recorder;
pub use self::snapshot::Snapshot;
#[cfg(not(loom))]
pub use self::table::{Beat, Table, TableOptions, Value};
