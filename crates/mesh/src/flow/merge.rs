//! Where a live flow comes over two paths: of each block the first copy is taken,
//! and in the order of the numbers.
//!
//! On each path the copies come in order. So a block whose number is ahead waits
//! while the other path has not come so far, for it may bring what is missing; it
//! goes on with the gap counted once that path has passed the gap too, or after a
//! while, after which nobody waits for that path until it brings something again.
//! What has come is known by its number: a second copy is behind it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use weft_base::{Epoch, Mono};
use weft_wire::frame::PathCopy;

use super::LiveReceiver;

/// Blocks of one flow that wait at most; the first goes on when there is one more.
pub const MOST_WAITING: usize = 1024;

/// A copy that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// Over which of the paths.
    pub copy: PathCopy,
    /// The epoch of its stamp.
    pub origin: Epoch,
    /// Its entry's.
    pub incarnation: u32,
    /// Its entry's.
    pub sequence: u64,
    /// How many events it has.
    pub events: u64,
}

/// What becomes of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged<T> {
    /// It is the next to deliver.
    Next {
        /// The block.
        item: T,
        /// Events that are lost just before it.
        missed: u64,
        /// Which copy it is.
        copy: PathCopy,
    },
    /// The other copy came before it, or it is late.
    Duplicate(T),
}

impl<T> Merged<T> {
    /// The block.
    pub fn item(&self) -> &T {
        match self {
            Self::Next { item, .. } | Self::Duplicate(item) => item,
        }
    }
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    came: Came,
    since: Mono,
}

/// The state of a flow of which copies came over two paths, beside its [`LiveReceiver`].
#[derive(Debug)]
pub struct Merge<T> {
    /// The lives of both ends that the numbers are of.
    lives: Option<(Epoch, u32)>,
    /// The number behind the last that each path has brought.
    passed: [u64; 2],
    /// Whether a path may still bring what is missing.
    awaited: [bool; 2],
    waiting: BTreeMap<u64, Waiting<T>>,
}

impl<T> Merge<T> {
    /// A flow that came over one path so far.
    #[must_use]
    pub fn new(receiver: &LiveReceiver) -> Self {
        let passed = receiver.expected();
        Self { lives: receiver.lives(), passed: [passed; 2], awaited: [true; 2], waiting: BTreeMap::new() }
    }

    /// A copy has come. What goes on now is added to `out`, in order.
    pub fn came(&mut self, receiver: &mut LiveReceiver, came: Came, item: T, now: Mono, out: &mut Vec<Merged<T>>) {
        let lives = Some((came.origin, came.incarnation));
        if lives < self.lives {
            return out.push(Merged::Duplicate(item));
        }
        if lives > self.lives {
            self.release(receiver, out);
            (self.lives, self.passed, self.awaited) = (lives, [0; 2], [true; 2]);
        }
        let path = came.copy as usize;
        if let (Some(passed), Some(awaited)) = (self.passed.get_mut(path), self.awaited.get_mut(path)) {
            *passed = came.sequence.saturating_add(came.events).max(*passed);
            *awaited = true;
        }
        match self.waiting.entry(came.sequence) {
            Entry::Occupied(_) => out.push(Merged::Duplicate(item)),
            Entry::Vacant(place) => {
                place.insert(Waiting { item, came, since: now });
            }
        }
        self.pass(receiver, out);
        while self.waiting.len() > MOST_WAITING {
            self.pass_first(receiver, out);
            self.pass(receiver, out);
        }
    }

    /// What has waited for so long goes on, and nobody waits for the path that did
    /// not bring what is missing until it brings something.
    pub fn due(&mut self, receiver: &mut LiveReceiver, now: Mono, patience: Duration, out: &mut Vec<Merged<T>>) {
        while self.deadline(patience).is_some_and(|at| at <= now) {
            let first = self.waiting.keys().next().copied().unwrap_or_default();
            for (passed, awaited) in self.passed.iter().zip(&mut self.awaited) {
                *awaited &= *passed > first;
            }
            self.pass_first(receiver, out);
            self.pass(receiver, out);
        }
    }

    /// When [`due`](Self::due) has something to do.
    #[must_use]
    pub fn deadline(&self, patience: Duration) -> Option<Mono> {
        self.waiting.values().map(|waiting| waiting.since + patience).min()
    }

    /// All that waits goes on.
    pub fn release(&mut self, receiver: &mut LiveReceiver, out: &mut Vec<Merged<T>>) {
        while !self.waiting.is_empty() {
            self.pass_first(receiver, out);
        }
    }

    /// What waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().map(|waiting| &waiting.item)
    }

    /// Passes on what is next, and what is behind a gap that no path fills any more.
    fn pass(&mut self, receiver: &mut LiveReceiver, out: &mut Vec<Merged<T>>) {
        while let Some(first) = self.waiting.first_entry() {
            let came = first.get().came;
            let gap = receiver.ahead(came.origin, came.incarnation, came.sequence);
            let is_to_come = self.passed.iter().zip(self.awaited).any(|(at, awaited)| awaited && *at <= came.sequence);
            if gap.is_some_and(|gap| gap > 0) && is_to_come {
                return;
            }
            self.pass_first(receiver, out);
        }
    }

    fn pass_first(&mut self, receiver: &mut LiveReceiver, out: &mut Vec<Merged<T>>) {
        let Some((_, Waiting { item, came, .. })) = self.waiting.pop_first() else { return };
        let live = receiver.accept(came.origin, came.incarnation, came.sequence, came.events);
        out.push(if live.deliver {
            Merged::Next { item, missed: live.missed, copy: came.copy }
        } else {
            Merged::Duplicate(item)
        });
    }
}
