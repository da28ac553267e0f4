//! The origin's end of a guaranteed flow: holds blocks until the destination
//! has synced them, and sends them again when it must.
//!
//! ```text
//!        base          written        cursor         next
//!   synced |   written    |    sent     |   waiting   |
//!   -------+--------------+-------------+-------------+---->  block numbers
//! ```
//! Invariants: `base <= written <= next`, `base <= cursor <= next`, and the
//! queue holds exactly `base..next`. `cursor` is behind `next` only while
//! blocks wait to be sent (again): after a timeout, while the destination is
//! out of reach, or after it has restarted. A pass of sending again is paced by
//! acknowledgements: no more than `burst` blocks ahead of the last one written.

use std::collections::VecDeque;
use std::time::Duration;

use weft_base::bounded::Full;
use weft_base::{HubId, Mono};
use weft_wire::frame::{AckLevel, FlowEntry, FlowKind};

/// When a guaranteed flow sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetransmitOptions {
    /// The shortest wait for an acknowledgement. Must cover the append at the
    /// destination and its sync, which the round trip does not. Default 200 ms.
    pub floor: Duration,
    /// The longest wait, after doublings. Default 10 s.
    pub ceiling: Duration,
    /// Blocks sent again before an acknowledgement must come. Default 32.
    pub burst: u64,
}

impl Default for RetransmitOptions {
    fn default() -> Self {
        Self { floor: Duration::from_millis(200), ceiling: Duration::from_secs(10), burst: 32 }
    }
}

/// What became of a pushed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its number in the flow.
    pub number: u64,
    /// Send it now, together with the block's other entries. Otherwise earlier
    /// blocks must go first, and [`Sender::retransmit_due`] gives it in its turn.
    pub send: bool,
}

/// The state of one flow; `T` is a block with what the hub must remember of it.
#[derive(Debug)]
pub struct Sender<T> {
    options: RetransmitOptions,
    limit: usize,
    held: VecDeque<T>,
    incarnation: u32,
    base: u64,
    written: u64,
    cursor: u64,
    /// Below this, the owner of the block was told that it is written.
    told: u64,
    reachable: bool,
    timeout: Duration,
    /// When to go back. None while there is nothing to wait for.
    deadline: Option<Mono>,
    /// Timeouts since the last progress.
    attempts: u32,
    /// Nothing is sent before.
    not_before: Option<Mono>,
}

impl<T> Sender<T> {
    /// A flow that holds at most `limit` blocks (at least one), to a
    /// destination that is within reach.
    #[must_use]
    pub fn new(limit: usize, options: RetransmitOptions) -> Self {
        Self {
            timeout: options.floor,
            options,
            limit: limit.max(1),
            held: VecDeque::new(),
            incarnation: 0,
            base: 0,
            written: 0,
            cursor: 0,
            told: 0,
            reachable: true,
            deadline: None,
            attempts: 0,
            not_before: None,
        }
    }

    /// Takes a block into the flow.
    ///
    /// # Errors
    /// [`Full`] with the block, when `limit` blocks wait for the destination:
    /// the publisher is to be refused, or to wait.
    pub fn push(&mut self, item: T, now: Mono) -> Result<Pushed, Full<T>> {
        if self.held.len() >= self.limit {
            return Err(Full { item, limit: self.limit });
        }
        let number = self.next();
        self.held.push_back(item);
        let send = self.reachable && self.cursor == number && self.not_before.is_none_or(|at| at <= now);
        if send {
            self.cursor += 1;
            if self.deadline.is_none() {
                self.arm(now);
            }
        }
        Ok(Pushed { number, send })
    }

    /// The blocks that the destination has not synced, the oldest first.
    pub fn held(&self) -> impl Iterator<Item = &T> {
        self.held.iter()
    }

    /// The entry for block `number` of this flow, to `hub`.
    #[must_use]
    pub fn entry(&self, hub: HubId, number: u64, retransmit: bool) -> FlowEntry {
        FlowEntry {
            hub,
            incarnation: self.incarnation,
            kind: FlowKind::Guaranteed,
            retransmit,
            sequence: number,
            base: self.base,
        }
    }

    /// The block of this number, while the flow holds it.
    pub fn at_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.held.get_mut(place)
    }

    /// The destination has written all before block `written`, and synced all
    /// before block `synced`. Calls `each` with every block that reached a level
    /// it had not reached before; at `Synced` it leaves the flow. Answers
    /// whether anything is new. What belongs to another incarnation, or to
    /// blocks that were never sent, is ignored.
    pub fn acked(
        &mut self,
        incarnation: u32,
        written: u64,
        synced: u64,
        now: Mono,
        mut each: impl FnMut(&T, AckLevel),
    ) -> bool {
        if incarnation != self.incarnation || written.max(synced) > self.next() {
            return false;
        }
        let written = written.max(synced);
        let progress = written > self.written || synced > self.base;
        if !progress {
            return false;
        }
        for number in self.told..written {
            if let Some(item) = self.at(number) {
                each(item, AckLevel::Written);
            }
        }
        self.told = self.told.max(written);
        self.written = self.written.max(written);
        while self.base < synced {
            if let Some(item) = self.held.pop_front() {
                each(&item, AckLevel::Synced);
            }
            self.base += 1;
        }
        self.cursor = self.cursor.max(self.written);
        self.attempts = 0;
        self.arm(now);
        true
    }

    /// The destination refused this incarnation: it has written all before
    /// block `written` and will store nothing after. Hands back the blocks that
    /// were not written, in order, and begins the next incarnation after them.
    /// Blocks that are written and not synced stay, and are sent again so that
    /// the destination has the new incarnation from its base.
    pub fn refused(
        &mut self,
        incarnation: u32,
        written: u64,
        synced: u64,
        now: Mono,
        each: impl FnMut(&T, AckLevel),
    ) -> Vec<T> {
        if incarnation != self.incarnation || written.max(synced) > self.next() {
            return Vec::new();
        }
        self.acked(incarnation, written, synced, now, each);
        // The destination may have restarted with less than it had written;
        // who was told "written" is not told "refused" later.
        let keep = self.told.max(self.written).saturating_sub(self.base);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(self.held.len());
        let refused: Vec<T> = self.held.drain(keep..).collect();
        self.begin_again(now);
        refused
    }

    /// The destination refused this incarnation because it is not for it to
    /// store: as [`Sender::refused`], but all that is not synced is handed back,
    /// to be sent elsewhere, with how many of it, the first, their owners were
    /// told are written. None when it is not this incarnation that was refused.
    pub fn give_back(
        &mut self,
        incarnation: u32,
        written: u64,
        synced: u64,
        now: Mono,
        each: impl FnMut(&T, AckLevel),
    ) -> Option<(Vec<T>, usize)> {
        if incarnation != self.incarnation || written.max(synced) > self.next() {
            return None;
        }
        self.acked(incarnation, written, synced, now, each);
        let told = usize::try_from(self.told.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let all = self.drain();
        self.begin_again(now);
        let told = told.min(all.len());
        Some((all, told))
    }

    /// Sends nothing before `at`: what is pushed waits.
    pub fn hold_off(&mut self, at: Mono) {
        self.not_before = Some(at);
    }

    /// The destination is in a new life, which has what was synced and nothing
    /// else: all that is held goes there again, in a new incarnation so that
    /// what the earlier life said late cannot be mistaken.
    pub fn restart(&mut self, now: Mono) {
        self.begin_again(now);
    }

    fn begin_again(&mut self, now: Mono) {
        self.incarnation = self.incarnation.wrapping_add(1);
        self.written = self.base;
        self.cursor = self.base;
        self.attempts = 0;
        self.arm(now);
    }

    /// The destination came within reach, or went out of it: call this with each
    /// `HubUp` and `HubDown`. On the way in, all that is not known to be written
    /// is sent again at once.
    pub fn set_reachable(&mut self, reachable: bool, now: Mono) {
        if reachable {
            self.cursor = self.written;
            self.attempts = 0;
        }
        self.reachable = reachable;
        self.arm(now);
    }

    /// Another way leads to the destination. Blocks whose acknowledgement is
    /// overdue are sent again at once, not when the ever longer pauses end.
    pub fn way_changed(&mut self, now: Mono) {
        if self.attempts > 0 {
            self.set_reachable(self.reachable, now);
        }
    }

    /// The measured round trip to the destination: the wait for an
    /// acknowledgement becomes twice that plus the floor.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.timeout = rtt.saturating_mul(2).saturating_add(self.options.floor).min(self.options.ceiling);
    }

    /// Blocks that are to be sent now, with their numbers; mark their entries
    /// `retransmit`. Call after each acknowledgement, change of reach, and when
    /// [`Sender::next_deadline`] has passed.
    pub fn retransmit_due(&mut self, now: Mono) -> impl Iterator<Item = (&T, u64)> {
        let waits = self.not_before.is_some_and(|at| at > now);
        if !waits {
            self.not_before = None;
        }
        if self.reachable && !waits && self.deadline.is_some_and(|at| at <= now) {
            self.attempts = self.attempts.saturating_add(1);
            if self.attempts > 1 {
                // Twice in vain: perhaps the destination has lost what it knew of
                // the flow. What it still has, it drops as duplicates.
                self.written = self.base;
            }
            // With everything written, one block is sent to be told of the sync.
            self.cursor = if self.written == self.next() { self.next().saturating_sub(1) } else { self.written };
            self.cursor = self.cursor.max(self.base);
            self.arm(now);
        }
        let from = self.cursor;
        let until = self.next().min(self.written.max(self.base).saturating_add(self.options.burst.max(1)));
        if self.reachable && !waits && from < until {
            self.cursor = until;
            if self.deadline.is_none() {
                self.arm(now);
            }
        }
        let (first, count) = if self.cursor > from { (from - self.base, self.cursor - from) } else { (0, 0) };
        self.held.iter().skip(first as usize).take(count as usize).zip(from..)
    }

    /// When [`Sender::retransmit_due`] has something to do, by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.not_before.filter(|_| self.reachable && !self.held.is_empty()).or(self.deadline)
    }

    fn arm(&mut self, now: Mono) {
        self.deadline = (self.reachable && !self.held.is_empty()).then(|| {
            let doubled = self.timeout.saturating_mul(1 << self.attempts.min(16));
            now + doubled.min(self.options.ceiling.max(self.timeout))
        });
    }

    fn at(&self, number: u64) -> Option<&T> {
        let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.held.get(index)
    }

    /// The lowest block not known to be synced: what is held begins here.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The number of the next block.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.held.len() as u64
    }

    /// All before this block is known to be written by the present life of the destination.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Grows at each refusal and at each new life of the destination.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// How many blocks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether no more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held.len() >= self.limit
    }

    /// Of how many blocks, the first that are held, the owner was told that they are written.
    #[must_use]
    pub fn told(&self) -> usize {
        usize::try_from(self.told.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    /// What is held, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.held.iter()
    }

    /// Gives up the flow: hands back all that is held, in order.
    pub fn drain(&mut self) -> Vec<T> {
        self.base = self.next();
        self.written = self.base;
        self.cursor = self.base;
        self.told = self.base;
        self.deadline = None;
        self.held.drain(..).collect()
    }
}
