//! Why keyed state could not be read or written.

use std::path::PathBuf;

use crate::{MAX_KEY, MAX_VALUE};

/// Why keyed state could not be read or written. What was acknowledged is not
/// lost by any of these: it lies in the logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedError {
    /// The disk refused.
    #[error("the keyed state: {0}; see that the disk has space and works, then restart the hub")]
    Io(#[source] std::io::Error),
    /// Another process has it open.
    #[error("the keyed state in {path} is in use by another process: stop that one, or use another folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It is not what was written. It can be made anew from the logs.
    #[error("the keyed state is damaged ({reason}): move its folder away, it is made anew from the logs")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A write failed earlier, so that nothing more is taken until it is opened again.
    #[error("the keyed state takes nothing more since a write failed: restart the hub once the disk works")]
    Stopped,
    /// It was applied, and the sync that was to make it durable failed.
    #[error("what was applied could not be synced to the disk: do it again, and see that the disk has space and works")]
    NotSynced,
    /// A key or a value beyond the bounds.
    #[error("a key of {key} bytes with a value of {value}: a key has 1 to {MAX_KEY}, a value at most {MAX_VALUE}")]
    TooLarge {
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
    },
}
