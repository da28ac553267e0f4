//! The bounds on what is on its way: the client's own, and those that a hub grants.

use weft_wire::frame::Welcome;

/// The bounds on what is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) blocks: usize,
    pub(crate) bytes: usize,
}

impl Window {
    /// What a hub grants.
    pub(crate) fn of(welcome: &Welcome<'_>) -> Self {
        Self {
            blocks: welcome.publish_window_blocks as usize,
            bytes: usize::try_from(welcome.publish_window_bytes).unwrap_or(usize::MAX),
        }
    }

    /// Whether a block of `len` bytes fits beside what is used of `window`.
    /// One block always goes, however small the window is.
    pub(super) fn has_room(self, len: usize, window: Window) -> bool {
        self.blocks == 0 || (self.blocks < window.blocks && self.bytes + len <= window.bytes)
    }
}
