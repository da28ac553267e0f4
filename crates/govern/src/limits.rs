//! How much a state and a change may hold.

/// Bounds of changes and of the state. **The same at all hubs of a mesh**, since
/// the machine answers by them: the program takes the default, tests smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one document. A larger one: the change is refused.
    pub document: usize,
    /// Bytes of one change as it is replicated. A larger one is refused.
    pub change: usize,
    /// Resources of a state. Beyond: the change is refused, delete others first.
    pub resources: usize,
    /// Bytes of all documents and their keys. Beyond: the change is refused.
    pub state: usize,
    /// Changes whose answers are remembered, so that one that comes again has no
    /// second effect. The oldest is forgotten first.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { document: 256 << 10, change: 4 << 20, resources: 50_000, state: 256 << 20, remembered: 4_096 }
    }
}
