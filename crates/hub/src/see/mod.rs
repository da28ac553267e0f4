//! What a hub keeps so that it can say where every event went: its ledger by
//! class of topics, what crossed its links, and a window of the blocks that
//! crossed it last.
//!
//! Every stage counts through an [`Account`](account::Account) of the block in
//! hand, which adds to the hub's ledger, to that of the block's class and to
//! the block's record. Written without locks and without allocation; each of
//! the three is a few relaxed additions, and nothing where it is not configured.

pub(crate) mod account;
pub(crate) mod alarm;
pub(crate) mod business;
pub(crate) mod classes;
pub(crate) mod crossing;
pub(crate) mod facts;
pub(crate) mod lag;
pub(crate) mod look;
mod options;
pub(crate) mod topics;
pub(crate) mod trace;
pub(crate) mod watch;
pub(crate) mod window;

pub use business::{MAX_METRICS, MAX_VALUES, Metric};
pub use lag::{ConsumerLag, Lags, MAX_CONSUMERS};
pub use options::{LedgerClass, MAX_CLASSES, SeeOptions};
pub use trace::collect::{Collector, Kind, Span, Value};
pub use trace::{TraceCounts, TraceOptions};
