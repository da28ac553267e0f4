//! Which bucket of a histogram a value is in. Values below 32 have a bucket
//! each; above, each power of two is cut into 32 equal buckets, so that a bucket
//! is at most 1/32 of its lowest value wide. The idea is Gil Tene's
//! HdrHistogram; the arithmetic is written down in [`Scale::index`].
//!
//! Never loses a value: what is beyond the top is counted in the last bucket.

/// How values are cut into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Each power of two has 2 to the power of this many buckets.
    fine: u8,
    /// Values below 2 to the power of this are told apart.
    top: u8,
}

impl Scale {
    /// Nanoseconds from 1 to 2^42 (73 minutes), within 1/32: 1,216 buckets, 9.5 KiB.
    pub const NANOS: Self = Self { fine: 5, top: 42 };

    /// A scale of another program, from a file; `None` when it makes no sense or
    /// has more than 2^14 buckets.
    #[must_use]
    pub fn of(fine: u8, top: u8) -> Option<Self> {
        let scale = Self { fine, top };
        (fine <= 10 && top > fine && top <= 63 && scale.buckets() <= 1 << 14).then_some(scale)
    }

    /// What [`Scale::of`] makes it of.
    #[must_use]
    pub const fn parts(self) -> (u8, u8) {
        (self.fine, self.top)
    }

    /// How many buckets there are.
    #[must_use]
    pub const fn buckets(self) -> usize {
        ((self.top - self.fine + 1) as usize) << self.fine
    }

    /// The first value that is not told apart from larger ones.
    #[must_use]
    pub const fn limit(self) -> u64 {
        1 << self.top
    }

    /// The bucket of a value.
    ///
    /// With f fine bits and k the place of the value's highest bit, it is
    /// `value` where k <= f, else `(k - f) << f` plus the highest f + 1 bits.
    #[must_use]
    #[inline]
    pub const fn index(self, value: u64) -> usize {
        let value = if value < self.limit() { value } else { self.limit() - 1 };
        // At least 1 << fine, so that there is a highest bit and no underflow.
        let high = 63 - (value | (1 << self.fine)).leading_zeros();
        let shift = high - self.fine as u32;
        ((shift as usize) << self.fine) + (value >> shift) as usize
    }

    /// The lowest and the highest value of a bucket; the last bucket also counts
    /// everything above.
    #[must_use]
    pub const fn range(self, index: usize) -> (u64, u64) {
        let last = self.buckets() - 1;
        let index = if index < last { index } else { last };
        // The first two runs of 2^fine buckets are one wide.
        let run = index >> self.fine;
        let shift = if run < 2 { 0 } else { run - 1 };
        let low = ((index - (shift << self.fine)) as u64) << shift;
        (low, low + (1 << shift) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_lie_side_by_side_from_nothing_to_the_limit() {
        for scale in [Scale::NANOS, Scale::of(0, 1).unwrap(), Scale::of(3, 63).unwrap(), Scale::of(8, 32).unwrap()] {
            let mut next = 0;
            for index in 0..scale.buckets() {
                let (low, high) = scale.range(index);
                assert_eq!(low, next, "{scale:?}, bucket {index}");
                assert_eq!((scale.index(low), scale.index(high)), (index, index), "{scale:?}");
                next = high + 1;
            }
            assert_eq!(next, scale.limit(), "{scale:?}");
            assert_eq!(scale.index(u64::MAX), scale.buckets() - 1);
        }
    }

    #[test]
    fn scales_that_make_no_sense_are_refused() {
        assert_eq!(Scale::of(5, 42), Some(Scale::NANOS));
        for (fine, top) in [(0, 0), (5, 5), (6, 5), (0, 64), (11, 40), (10, 63), (255, 255)] {
            assert_eq!(Scale::of(fine, top), None, "{fine}, {top}");
        }
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_which_is_narrow(value in (0..64_u32).prop_flat_map(|bits| 0..=u64::MAX >> bits)) {
            let (low, high) = Scale::NANOS.range(Scale::NANOS.index(value));
            if value < Scale::NANOS.limit() {
                prop_assert!(low <= value && value <= high);
                prop_assert!(high - low <= low / 32);
            } else {
                prop_assert_eq!(high, Scale::NANOS.limit() - 1);
            }
        }
    }
}
