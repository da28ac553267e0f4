//! Which of n buckets a key is in: jump consistent hashing (Lamping and Veach
//! 2014). No table, and from n to n + 1 buckets only one key in n + 1 moves, all
//! of them to the new bucket. The last bucket is the one that goes.
//!
//! Stages find the shard of a topic so, and mappings the partition of a key;
//! the latter are seen outside, so that what is answered here never changes.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn the_hash_is_that_of_the_paper() {
        // The vectors that implementations of the paper in other languages test with.
        let of = |key, buckets| jump(key, buckets);
        assert_eq!([of(0, 1), of(0, 60), of(1, 1), of(42, 57), of(0xDEAD_10CC, 1)], [0, 0, 0, 43, 0]);
        assert_eq!([of(0xDEAD_10CC, 666), of(256, 1_024), of(u64::MAX, 0)], [361, 520, 0]);
    }

    #[test]
    fn one_more_bucket_takes_its_share_and_moves_nothing_else() {
        let mut random = Random::from_seed(1);
        let keys: Vec<u64> = (0..40_000).map(|_| random.next_u64()).collect();
        for n in 1..16_u32 {
            let moved: Vec<u32> =
                keys.iter().filter(|&&k| jump(k, n) != jump(k, n + 1)).map(|&k| jump(k, n + 1)).collect();
            assert!(moved.iter().all(|&to| to == n), "a key moved between old buckets");
            let share = keys.len() / (n as usize + 1);
            assert!(moved.len().abs_diff(share) < share / 10, "{n}: {} moved, {share} expected", moved.len());
        }
    }
}
