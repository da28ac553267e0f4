//! What the consume stage is told.

use std::path::PathBuf;
use std::sync::Arc;

use weft_base::sync::atomic::AtomicBool;
use weft_log::LogReader;
use weft_ring::arena::BlockRef;

use super::definition::{Begin, Definition};
use super::outflow::Outflow;
use crate::messages::{SessionId, StreamSlot, Target};
use crate::see::look::Look;

/// Inbox of the consume stage.
pub(crate) enum ToConsume {
    /// Make a consumer.
    Create { session: SessionId, id: u64, stream: String, definition: Box<Definition> },
    /// Delete a consumer.
    Delete { session: SessionId, id: u64, stream: String, name: String },
    /// Report one consumer of a stream, or all.
    Report { session: SessionId, id: u64, stream: String, name: String },
    /// Steer a consumer.
    Control { session: SessionId, id: u64, stream: String, name: String, action: Action },
    /// A session wants to be a member of a consumer.
    Open(Box<Open>),
    /// A member takes so many events and bytes more.
    Credit { target: Target, events: u64, bytes: u64 },
    /// A whole `Settle` frame of a session, decoded before.
    Settle { session: SessionId, frame: BlockRef },
    /// A member leaves.
    Close { target: Target },
    /// A session has ended.
    CloseSession { session: SessionId },
    /// There is room again for what goes to a session.
    Room { session: SessionId },
    /// A stream exists now.
    StreamUp(Box<StreamUp>),
    /// A stream is gone, with all that it held.
    StreamDown { slot: StreamSlot },
    /// A dead letter is on disk, or why it is not.
    Stored { ticket: u64, refused: Option<String> },
    /// Somebody asks how a subscriber stands.
    Look(Box<Look>),
}

/// What is done to a consumer.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Nothing is handed out until then, in milliseconds since 1970; 0 until it
    /// is resumed.
    Pause(u64),
    Resume,
    Reset(Begin),
    /// It is to run at the home of this name.
    Move(String),
}

/// A session wants to be a member of a consumer.
pub(crate) struct Open {
    pub(crate) target: Target,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    /// The name of the client.
    pub(crate) name: String,
    pub(crate) credit_events: u64,
    pub(crate) credit_bytes: u64,
    pub(crate) outflow: Arc<Outflow>,
}

/// A stream that consumers can have.
pub(crate) struct StreamUp {
    pub(crate) slot: StreamSlot,
    pub(crate) name: String,
    /// The same at all its homes.
    pub(crate) id: u64,
    /// Where its files lie.
    pub(crate) dir: PathBuf,
    pub(crate) reader: LogReader,
    /// Whether it has consumers: then the append stage wakes the consume stage
    /// when more of it is on disk.
    pub(crate) watched: Arc<AtomicBool>,
    /// What its consumers have not settled must be kept, and what all have may
    /// go: the append stage wants to know how far they are.
    pub(crate) floors: Floors,
}

/// What the consumers of a stream say about what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floors {
    /// Nothing.
    None,
    /// What all of them have settled goes; without any, everything does.
    Interest,
    /// What all of them have settled goes; without any, nothing does.
    WorkQueue,
}
