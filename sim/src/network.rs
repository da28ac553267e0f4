//! The network: links with a delay, sessions over them, and their faults.
//!
//! A session is what a transport gives: frames in order, both ways, until it
//! ends. A cut loses what is under way. If it is noticed, both ends see the
//! session end; if it is not, each end goes on until its own pings tell, and may
//! then keep half of a session while the other end already makes a new one.

use std::time::Duration;

use weft_base::{Epoch, Mono};

use crate::plan::PlannedLink;

/// A link, which may or may not have a session.
#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) ends: [usize; 2],
    pub(crate) cost: u32,
    pub(crate) price: u32,
    delay: Duration,
    /// By the end that sends: whether all is lost.
    pub(crate) is_cut: [bool; 2],
    /// How often each direction was cut: what left before the last cut is lost.
    cuts: [u64; 2],
    /// When the last message of each direction arrives: none overtakes another.
    last: [Mono; 2],
}

/// A session over a link. Its index is the `LinkId` at both ends.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) link: usize,
    /// The lives of the hubs at its ends.
    pub(crate) lives: [Epoch; 2],
    /// Whether each end still has it.
    pub(crate) is_open: [bool; 2],
}

impl SimLink {
    pub(crate) fn new(planned: &PlannedLink) -> Self {
        Self {
            ends: planned.ends,
            cost: planned.cost,
            price: planned.price,
            delay: planned.delay,
            is_cut: [false; 2],
            cuts: [0; 2],
            last: [Mono(0); 2],
        }
    }

    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// When a message that leaves now arrives, and the number that tells whether
    /// it was lost on the way; none when it is lost at once.
    pub(crate) fn send(&mut self, from: usize, now: Mono) -> Option<(Mono, u64)> {
        if self.is_cut[from] {
            return None;
        }
        self.last[from] = self.last[from].max(now + self.delay);
        Some((self.last[from], self.cuts[from]))
    }

    /// Whether a message that left with this number has arrived.
    pub(crate) fn arrives(&self, from: usize, cuts: u64) -> bool {
        self.cuts[from] == cuts
    }

    pub(crate) fn cut(&mut self, from: usize) {
        self.is_cut[from] = true;
        self.cuts[from] += 1;
    }

    pub(crate) fn mend(&mut self) {
        self.is_cut = [false; 2];
    }

    pub(crate) fn works(&self) -> bool {
        self.is_cut == [false; 2]
    }
}
