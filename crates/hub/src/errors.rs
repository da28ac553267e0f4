//! Why a hub does not start, does not take something, or did not end well.

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The options contradict themselves or the limits.
    #[error("the hub cannot start:{}", .0.iter().map(|(field, why)| format!("\n  {field}: {why}")).collect::<String>())]
    Options(Vec<(&'static str, String)>),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] weft_transport::ListenError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] crate::append::FolderError),
    /// The buffers cannot be had.
    #[error("the memory for blocks cannot be had (limits.arena): {0}")]
    Arena(#[from] weft_ring::arena::ArenaError),
    /// The control state that the hub has cannot be used.
    #[error("the control state cannot be used: {0}")]
    Control(String),
    /// The system refused a thread, or entropy.
    #[error("the system refused: {0}")]
    System(String),
}

/// The hub's control stage has more to do than it can.
#[derive(Debug, thiserror::Error)]
#[error("the hub has no room for another message: try again in a moment")]
pub struct BusyError;

/// A stage had panicked.
#[derive(Debug, thiserror::Error)]
#[error("a stage of the hub failed: {0}; this is a bug, please report it with the log")]
pub struct StopError(pub(crate) String);
