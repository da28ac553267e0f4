//! Which shard of a stage serves a topic, and how topics move when shards come
//! and go without a block overtaking another of its topic.
//!
//! The shard is found by jump consistent hashing (Lamping and Veach 2014): no
//! table, and from n to n + 1 shards only one topic in n + 1 moves, all of them
//! to the new shard. The last shard is the one that goes.
//!
//! A topic that moves must not have blocks in its old and its new shard at
//! once. [`Handover`] sees to that with a barrier per old shard, in the ring
//! that the blocks go through, behind all that was sent before:
//!
//! 1. [`Handover::resize`] begins an epoch and names the shards that lose
//!    topics; the caller sends each a barrier with the epoch.
//! 2. Blocks of topics that stay go on as ever. Those of topics that move are
//!    held ([`Route::Hold`]), in one queue per old shard, in order.
//! 3. A shard that comes to the barrier has served everything before it, and
//!    says so: [`Handover::passed`]. Now its held blocks go to their new
//!    shards, in order, and so do those that come meanwhile, behind them.
//! 4. [`Handover::flushed`] says that a held queue is empty: these topics go
//!    straight to their new shard.
//!
//! Whoever sends to the shards has a `Handover` of its own; order is kept per
//! sender and topic. The caller bounds the held queues: when one is full it
//! stops taking, as for a full ring. What a shard remembers by something other
//! than the topic (a producer's last sequence, say) does not move with a
//! topic, and belongs before the shards.

/// The most shards of one stage.
pub const MAX_SHARDS: u32 = 64;

/// The bucket of `key` among `buckets`: Lamping and Veach, "A fast, minimal
/// memory, consistent hash algorithm" (2014). Zero buckets count as one.
#[must_use]
pub fn jump(key: u64, buckets: u32) -> u32 {
    let (mut key, mut bucket, mut next) = (key, 0_i64, 0_i64);
    while next < i64::from(buckets.max(1)) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let scale = (1_i64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * scale) as i64;
    }
    bucket as u32
}

/// Where a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this shard.
    To(u32),
    /// Into the held queue of this old shard, behind what is there.
    Hold(u32),
}

/// Moves topics between shards, for one sender. See the module for the steps.
#[derive(Clone, Debug)]
pub struct Handover {
    epoch: u64,
    /// Shards before the move that is under way, or the same as `shards`.
    before: u32,
    shards: u32,
    /// Old shards that have not come to the barrier, as bits.
    ahead: u64,
    /// Old shards whose held queue is not empty, as bits.
    held: u64,
}

impl Handover {
    /// A sender to `shards` shards, 1 to [`MAX_SHARDS`]; what is beyond is cut.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        let shards = shards.clamp(1, MAX_SHARDS);
        Self { epoch: 0, before: shards, shards, ahead: 0, held: 0 }
    }

    /// The shards that topics are, or are being, spread over.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Whether topics are on the move. No other move begins meanwhile.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.ahead | self.held != 0
    }

    /// Begins a move to `shards` shards (1 to [`MAX_SHARDS`]) and answers its
    /// epoch and the shards that a barrier must be sent to, as bits: the
    /// lowest is shard 0. None while a move is under way, and when nothing
    /// changes: ask again later.
    pub fn resize(&mut self, shards: u32) -> Option<(u64, u64)> {
        let shards = shards.clamp(1, MAX_SHARDS);
        if self.is_moving() || shards == self.shards {
            return None;
        }
        // More shards: each may lose topics. Fewer: those that go lose all, and
        // the others none.
        let old = bits(self.shards);
        let losing = if shards > self.shards { old } else { old & !bits(shards) };
        self.epoch += 1;
        (self.before, self.shards) = (self.shards, shards);
        (self.ahead, self.held) = (losing, losing);
        Some((self.epoch, losing))
    }

    /// Where the next block of a topic with this hash goes.
    #[inline]
    #[must_use]
    pub fn route(&self, key: u64) -> Route {
        let target = jump(key, self.shards);
        if self.held != 0 {
            let old = jump(key, self.before);
            if old != target && self.held & (1 << old) != 0 {
                return Route::Hold(old);
            }
        }
        Route::To(target)
    }

    /// The shard that a held block of a topic with this hash goes to.
    #[must_use]
    pub fn target(&self, key: u64) -> u32 {
        jump(key, self.shards)
    }

    /// A shard has come to the barrier of `epoch`. Answers whether its held
    /// blocks may go now; false for an answer of another epoch.
    pub fn passed(&mut self, shard: u32, epoch: u64) -> bool {
        let bit = 1_u64.checked_shl(shard).unwrap_or(0);
        if epoch != self.epoch || self.ahead & bit == 0 {
            return false;
        }
        self.ahead &= !bit;
        true
    }

    /// The held queue of a shard that has passed is empty.
    pub fn flushed(&mut self, shard: u32) {
        let bit = 1_u64.checked_shl(shard).unwrap_or(0);
        debug_assert!(self.ahead & bit == 0, "shard {shard} is flushed before it has passed the barrier");
        self.held &= !(bit & !self.ahead);
    }
}

/// The lowest `n` bits.
fn bits(n: u32) -> u64 {
    1_u64.checked_shl(n).map_or(u64::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests;
