//! The destination's end of a guaranteed flow: one for each origin and lane.

use weft_base::Epoch;

/// What the destination does with a guaranteed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next in order: append it, acknowledge it once it is written.
    Accept,
    /// It came before: say again how far the flow is written and synced.
    Duplicate,
    /// One before it is missing: drop it, the origin goes back. Say again how
    /// far the flow is written and synced.
    Gap,
    /// Of an earlier life of the origin, or of a flow that was begun anew: drop it.
    Stale,
    /// This incarnation of the flow was refused: say the refusal again.
    Refused,
}

/// The state of one flow. Copy it freely: it is five numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// Life of the origin, incarnation of the flow.
    current: Option<(Epoch, u32)>,
    expected: u64,
    refused: bool,
}

impl Receiver {
    /// A flow of which nothing has come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A block has come: `origin` is the epoch of its stamp, the rest is its entry's.
    ///
    /// The first block of a flow that is not known here makes the state, from
    /// its `base`: all before it is synced here or was refused. A receiver that
    /// takes up a flow in the middle therefore waits for the base.
    pub fn accept(&mut self, origin: Epoch, incarnation: u32, base: u64, sequence: u64) -> Verdict {
        let flow = (origin, incarnation);
        if self.current.is_some_and(|current| flow < current) || base > sequence {
            return Verdict::Stale;
        }
        if self.current != Some(flow) {
            *self = Self { current: Some(flow), expected: base, refused: false };
        }
        if self.refused {
            return Verdict::Refused;
        }
        self.expected = self.expected.max(base);
        match sequence.cmp(&self.expected) {
            std::cmp::Ordering::Less => Verdict::Duplicate,
            std::cmp::Ordering::Greater => Verdict::Gap,
            std::cmp::Ordering::Equal => {
                self.expected += 1;
                Verdict::Accept
            }
        }
    }

    /// A block of this incarnation could not be stored: nothing after it may be
    /// stored either, or the order would break. The origin begins a new
    /// incarnation when it hears of it. Answers whether the incarnation is the
    /// current one.
    pub fn refuse(&mut self, origin: Epoch, incarnation: u32) -> bool {
        let is_current = self.current == Some((origin, incarnation));
        self.refused |= is_current;
        is_current
    }

    /// The number of the block that is accepted next.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// The life of the origin and the incarnation that the state is for.
    #[must_use]
    pub fn current(&self) -> Option<(Epoch, u32)> {
        self.current
    }
}
