//! The synchronisation edges of this crate, by label.
//!
//! An edge is a pair of places in two threads: what the first wrote before its
//! end of the edge, the second sees after its own end. Both places take their
//! memory ordering from the same constant here, so that the label stands at
//! both ends, and so that the loom tests can weaken one edge at a time and see
//! that loom notices (`tests/loom.rs`): an edge whose loss no test notices is
//! either superfluous or untested.
//!
//! | Edge | First end | Second end | What it hands over |
//! |---|---|---|---|
//! | E1 | spsc: producer stores a stamp (and `tail`) | consumer loads the stamp (or `tail`) | the items before it |
//! | E2 | spsc: consumer stores `head` | producer loads `head` | the places before `head`, moved out of |
//! | E3 | spsc: producer's drop stores `finished` | consumer loads `finished` | the last `tail` |
//! | E4 | mpsc: producer stores a slot's stamp | consumer loads the stamp | the item in the slot |
//! | E5 | mpsc: consumer stores `head` | producer loads `head` | the slots before `head`, moved out of |
//! | E6 | mpsc: a producer's drop lowers `producers` | consumer loads `producers` | the stamps that it stored |
//! | E7 | broadcast: producer stores `tail` | consumer loads `tail` | the items before `tail` |
//! | E8 | broadcast: consumer stores its cursor | producer loads the cursors | the slots before it, no longer read |
//! | E9 | broadcast: producer's drop stores `finished` | consumer loads `finished` | the last `tail` |
//! | E10 | sleeper: announces sleep, fence, looks for work | waker: publishes work, fence, looks for a sleeper | one of the two sees the other |
//! | E11 | arena: a handle's drop lowers `refs` | the last handle's drop | the bytes are no longer read or written |
//! | E12 | arena: a returned slot is pushed on the free list | a lend pops it | the slot and its bytes |
//! | E13 | the first end of E11 | arena: `Buffer::reclaim` loads `refs` | as E11 |
//! | E14 | bytes: writer stores `tail` | reader loads `tail` | the bytes before it |
//! | E15 | bytes: reader stores `head` | writer loads `head` | the bytes before `head`, copied |
//! | E16 | bytes: either end announces sleep, fence, looks at the other's position | the other publishes its position, fence, looks for a sleeper | one of the two sees the other |

use weft_base::sync::atomic::{Ordering, fence};

/// One edge of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge(u8);

/// Items of an spsc ring become visible.
pub const E1: Edge = Edge(1);
/// Room of an spsc ring becomes visible.
pub const E2: Edge = Edge(2);
/// The end of an spsc ring's producer.
pub const E3: Edge = Edge(3);
/// Items of an mpsc ring become visible.
pub const E4: Edge = Edge(4);
/// Room of an mpsc ring becomes visible.
pub const E5: Edge = Edge(5);
/// The end of an mpsc ring's producers.
pub const E6: Edge = Edge(6);
/// Items of a broadcast ring become visible.
pub const E7: Edge = Edge(7);
/// Room of a broadcast ring becomes visible.
pub const E8: Edge = Edge(8);
/// The end of a broadcast ring's producer.
pub const E9: Edge = Edge(9);
/// Going to sleep against waking up.
pub const E10: Edge = Edge(10);
/// The last handle of a buffer follows all others.
pub const E11: Edge = Edge(11);
/// A buffer changes hands through the free list.
pub const E12: Edge = Edge(12);
/// A buffer is found to have no handles left but its own.
pub const E13: Edge = Edge(13);
/// Bytes of a ring between processes become visible.
pub const E14: Edge = Edge(14);
/// Room of a ring between processes becomes visible.
pub const E15: Edge = Edge(15);
/// Going to sleep against waking up, between processes.
pub const E16: Edge = Edge(16);

#[cfg(loom)]
thread_local! {
    // loom runs all threads of a model on the thread that called it.
    static WEAKENED: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
}

/// Takes the ordering away from one edge, for canaries; none gives it back.
#[cfg(loom)]
pub fn weaken(edge: Option<Edge>) {
    WEAKENED.set(edge.map_or(0, |edge| edge.0));
}

impl Edge {
    #[cfg(not(loom))]
    #[inline(always)]
    const fn whole(self) -> bool {
        true
    }

    #[cfg(loom)]
    fn whole(self) -> bool {
        WEAKENED.get() != self.0
    }

    /// The ordering of the first end.
    #[inline(always)]
    pub(crate) fn release(self) -> Ordering {
        if self.whole() { Ordering::Release } else { Ordering::Relaxed }
    }

    /// The ordering of the second end.
    #[inline(always)]
    pub(crate) fn acquire(self) -> Ordering {
        if self.whole() { Ordering::Acquire } else { Ordering::Relaxed }
    }

    /// The fence at either end of an edge on which each side writes one place
    /// and then reads the other's.
    #[inline(always)]
    pub(crate) fn fence(self) {
        fence(if self.whole() { Ordering::SeqCst } else { Ordering::AcqRel });
    }
}
