//! What waits, by lane and deadline.
//!
//! A [`LaneQueue`] holds items in eight lanes and says which goes next. Between
//! lanes it is deficit round robin (Shreedhar and Varghese, 1996) with the urgent
//! lanes first in each round, as DRR++ serves its latency-critical flows (MacGregor
//! and Shi, 2000): in a round every lane may send its quantum of bytes, and of the
//! lanes that still may, the most urgent does. So what is urgent overtakes at
//! once, and a lane that has something to send gets its quantum in every round.
//! Inside a lane the earliest deadline goes first, without ever changing the order
//! of one producer's events on one topic; see [`Waiting::order`].
//!
//! Never bounds itself: whoever pushes looks at [`LaneQueue::bytes`] and
//! [`LaneQueue::events`] first and decides what happens at the bound. Allocates
//! while it grows and not after.

mod lane;
#[cfg(test)]
mod tests;

use std::time::Duration;

use weft_base::{Lane, UnixNanos};

use self::lane::LaneState;

/// How lanes share, and how deadlines count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneOptions {
    /// Bytes that each lane may send in a round, the most urgent lane first; 0
    /// counts as 1. With all lanes busy a lane's share is its part of the sum.
    /// The default is 64 KiB for lane 7, 128 KiB for lane 6, up to 512 KiB for lane 0.
    pub quantum: [u32; Lane::COUNT],
    /// An item without a deadline, or with a later one, is ordered as if it were
    /// due this long after it came, so that nothing waits in its lane for ever.
    /// The default is 1 s.
    pub horizon: Duration,
}

impl Default for LaneOptions {
    fn default() -> Self {
        let mut quantum = [0; Lane::COUNT];
        for (lane, bytes) in quantum.iter_mut().enumerate() {
            *bytes = ((Lane::COUNT - lane) as u32) * (64 << 10);
        }
        Self { quantum, horizon: Duration::from_secs(1) }
    }
}

/// What the queue knows of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its priority.
    pub lane: Lane,
    /// After this it is of no use; 0 for never.
    pub deadline: UnixNanos,
    /// Items of one lane with equal values leave in the order in which they came,
    /// whatever their deadlines: a hash of producer and topic ([`order_key`]).
    /// Values that are equal in their lowest six bits are kept in order too.
    pub order: u64,
    /// What it costs to send, in bytes.
    pub cost: usize,
    /// The events in it.
    pub events: u64,
}

/// The value of [`Waiting::order`] for a producer's events on a topic. Equal for
/// equal arguments in this process; of the topic it reads at most 24 bytes.
#[must_use]
pub fn order_key(producer: u64, topic: &[u8]) -> u64 {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(topic.iter().skip(at)) {
            *to = *from;
        }
        u64::from_le_bytes(bytes)
    };
    let mut hash = producer ^ (topic.len() as u64) << 56;
    for at in [0, topic.len() / 2, topic.len().saturating_sub(8)] {
        // A multiplication by an odd constant and a fold: enough to spread 64 buckets.
        hash = (hash ^ word(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    hash
}

/// Items by lane: weighted deficit round robin over eight lanes, earliest
/// deadline first inside a lane. See the module.
#[derive(Debug)]
pub struct LaneQueue<T> {
    options: LaneOptions,
    /// A lane that was never used takes no memory: a hub has a queue per subscription.
    lanes: [Option<Box<LaneState<T>>>; Lane::COUNT],
    /// A bit for each lane that holds something.
    busy: u8,
    /// How many items were ever pushed: the tie between equal deadlines.
    pushed: u64,
    len: usize,
    bytes: usize,
    events: u64,
}

impl<T> Default for LaneQueue<T> {
    fn default() -> Self {
        Self::new(LaneOptions::default())
    }
}

impl<T> LaneQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(options: LaneOptions) -> Self {
        Self { options, lanes: Default::default(), busy: 0, pushed: 0, len: 0, bytes: 0, events: 0 }
    }

    /// Adds an item that comes at `now`.
    pub fn push(&mut self, waiting: Waiting, now: UnixNanos, item: T) {
        let index = waiting.lane.index();
        let quantum = self.quantum(index);
        let horizon = u64::try_from(self.options.horizon.as_nanos()).unwrap_or(u64::MAX);
        let state = self.lanes[index].get_or_insert_with(|| Box::new(LaneState::new(quantum)));
        state.push(waiting, self.pushed, now.0.saturating_add(horizon), item);
        self.busy |= 1 << index;
        self.pushed += 1;
        self.len += 1;
        self.bytes += waiting.cost;
        self.events += waiting.events;
    }

    /// Takes what goes next.
    pub fn pop(&mut self) -> Option<(Waiting, T)> {
        self.pop_fitting(usize::MAX)
    }

    /// Takes what goes next, unless it costs more than `budget` bytes. What is
    /// urgent and does not fit is not overtaken.
    pub fn pop_fitting(&mut self, budget: usize) -> Option<(Waiting, T)> {
        let (index, cost) = self.select()?;
        if cost > budget {
            return None;
        }
        let state = self.lanes[index].as_mut()?;
        state.deficit -= cost.max(1);
        let taken = state.pop();
        self.settle(index, taken)
    }

    /// Takes what goes next of one lane, whatever the others' turns: for who
    /// has a way out for each lane.
    pub fn pop_of(&mut self, lane: Lane) -> Option<(Waiting, T)> {
        let taken = self.lanes[lane.index()].as_mut()?.pop();
        self.settle(lane.index(), taken)
    }

    /// What [`LaneQueue::pop`] would take.
    pub fn peek(&mut self) -> Option<(&Waiting, &T)> {
        let (index, _) = self.select()?;
        self.lanes[index].as_mut()?.peek()
    }

    /// Takes an item whose deadline is before `now`, from any lane; constant time
    /// when there is none. What it drops costs its lane nothing.
    pub fn take_expired(&mut self, now: UnixNanos) -> Option<(Waiting, T)> {
        for index in bits(self.busy) {
            let Some(state) = self.lanes[index].as_mut() else { continue };
            if let Some(expired) = state.take_expired(now) {
                return self.settle(index, Some(expired));
            }
        }
        None
    }

    /// The earliest deadline of all that waits: when [`LaneQueue::take_expired`]
    /// has something next.
    pub fn earliest_deadline(&mut self) -> Option<UnixNanos> {
        bits(self.busy).filter_map(|index| self.lanes[index].as_mut()?.earliest_deadline()).min()
    }

    /// Takes, from the least urgent lane that holds something, the item that its
    /// lane would send next: without deadlines the oldest, and always the oldest
    /// of its [`Waiting::order`]. For shedding.
    pub fn take_oldest_of_least_urgent(&mut self) -> Option<(Waiting, T)> {
        let index = self.busy.checked_ilog2()? as usize;
        let taken = self.lanes[index].as_mut()?.pop();
        self.settle(index, taken)
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The cost of all that waits, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events in all that waits.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many items wait in a lane.
    #[must_use]
    pub fn lane_len(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].as_ref().map_or(0, |state| state.len())
    }

    /// The cost of what waits in a lane, in bytes.
    #[must_use]
    pub fn lane_bytes(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].as_ref().map_or(0, |state| state.bytes)
    }

    /// The lane that goes next and the cost of its next item.
    fn select(&mut self) -> Option<(usize, usize)> {
        if self.busy == 0 {
            return None;
        }
        loop {
            // How many rounds until some lane has saved enough for its next item.
            let mut rounds = usize::MAX;
            for index in bits(self.busy) {
                let quantum = self.quantum(index);
                let Some(state) = self.lanes[index].as_mut() else { continue };
                let Some(cost) = state.peek().map(|(waiting, _)| waiting.cost) else { continue };
                let need = cost.max(1).saturating_sub(state.deficit);
                if need == 0 {
                    return Some((index, cost));
                }
                rounds = rounds.min(need.div_ceil(quantum));
            }
            if rounds == usize::MAX {
                debug_assert!(false, "a busy lane holds something");
                return None;
            }
            for index in 0..Lane::COUNT {
                let quantum = self.quantum(index);
                let is_busy = self.busy & (1 << index) != 0;
                if let Some(state) = &mut self.lanes[index] {
                    // An idle lane saves nothing up: it begins the round with its quantum.
                    state.deficit =
                        if is_busy { state.deficit.saturating_add(rounds.saturating_mul(quantum)) } else { quantum };
                }
            }
        }
    }

    fn quantum(&self, index: usize) -> usize {
        self.options.quantum[index].max(1) as usize
    }

    /// Counts off what was taken from a lane.
    fn settle(&mut self, index: usize, taken: Option<(Waiting, T)>) -> Option<(Waiting, T)> {
        let (waiting, item) = taken?;
        self.len -= 1;
        self.bytes -= waiting.cost;
        self.events -= waiting.events;
        let quantum = self.quantum(index);
        if let Some(state) = self.lanes[index].as_mut()
            && state.len() == 0
        {
            state.deficit = state.deficit.min(quantum);
            self.busy &= !(1 << index);
        }
        Some((waiting, item))
    }
}

/// The numbers of the bits that are set, the lowest first.
fn bits(mut mask: u8) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(index)
    })
}
