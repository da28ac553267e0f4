//! What of a producer's numbers, up to its last one, a stream has not.
//!
//! There are gaps where a publish was refused, and where a producer's numbers
//! went elsewhere: to other streams, or to other homes. Only a few are kept.
//! One more makes room: the oldest gap of numbers that never came is
//! forgotten, which are then taken for numbers that are there. Numbers that were
//! refused here are kept longest; when one of those gaps has to go, nobody can
//! tell what is there up to its end, and all that comes again of it is refused:
//! what is not there is never said to be.

/// Gaps kept per producer and lane.
pub(super) const GAPS: usize = 8;

/// Numbers that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    first: u64,
    last: u64,
    /// A publish of them was refused.
    refused: bool,
}

/// The gaps of one producer and lane, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    known: Vec<Gap>,
    /// Up to here one was forgotten that was refused; 0 for none.
    unsure: u64,
}

/// How a range of numbers stands to the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Falls {
    /// Into one: nothing of it is there.
    Into,
    /// Beside all: it is there.
    Beside,
    /// Into one with a part.
    Across,
    /// Nobody remembers.
    Unsure,
}

impl Gaps {
    pub(super) fn falls(&self, first: u64, last: u64) -> Falls {
        match self.known.iter().find(|gap| gap.first <= last && first <= gap.last) {
            Some(gap) if gap.first <= first && last <= gap.last => Falls::Into,
            Some(_) => Falls::Across,
            None if first <= self.unsure => Falls::Unsure,
            None => Falls::Beside,
        }
    }

    /// These are not there.
    pub(super) fn open(&mut self, first: u64, last: u64, refused: bool) {
        let mut new = Gap { first, last, refused };
        self.known.retain(|gap| {
            let joins = gap.first <= new.last.saturating_add(1) && new.first <= gap.last.saturating_add(1);
            if joins {
                new.first = new.first.min(gap.first);
                new.last = new.last.max(gap.last);
                new.refused |= gap.refused;
            }
            !joins
        });
        self.make_room();
        let place = self.known.partition_point(|gap| gap.first < new.first);
        self.known.insert(place, new);
    }

    /// These are there now.
    pub(super) fn close(&mut self, first: u64, last: u64) {
        while let Some(at) = self.known.iter().position(|gap| gap.first <= last && first <= gap.last) {
            let gap = self.known.remove(at);
            if gap.last > last {
                self.known.insert(at, Gap { first: last.saturating_add(1), ..gap });
            }
            if gap.first < first {
                self.make_room();
                let before = Gap { last: first.saturating_sub(1), ..gap };
                let place = self.known.partition_point(|gap| gap.first < before.first);
                self.known.insert(place, before);
            }
        }
    }

    fn make_room(&mut self) {
        if self.known.len() >= GAPS {
            let goes = self.known.iter().position(|gap| !gap.refused).unwrap_or(0);
            let gap = self.known.remove(goes);
            if gap.refused {
                self.unsure = self.unsure.max(gap.last);
            }
        }
    }

    /// Forgets them: nobody can tell what is there up to `upto`.
    pub(super) fn forget(&mut self, upto: u64) {
        *self = Self { known: Vec::new(), unsure: upto };
    }

    /// Whether some are kept.
    pub(super) fn has_some(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether there is nothing to be remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unsure == 0
    }

    /// As they are saved: up to where it is unsure, a bit for each that was
    /// refused, and the first and last number of each.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let refused = self.known.iter().enumerate().map(|(at, gap)| u64::from(gap.refused) << at).sum::<u64>();
        [self.unsure, refused].into_iter().chain(self.known.iter().flat_map(|gap| [gap.first, gap.last]))
    }

    /// Those that were saved; none of what is not in order.
    pub(super) fn of_numbers(numbers: &[u64]) -> Option<Self> {
        let ([unsure, refused], ranges) = numbers.split_first_chunk::<2>()?;
        let (ranges, rest) = ranges.as_chunks::<2>();
        let is_refused = |at: usize| refused >> at & 1 == 1;
        let gap = |(at, [first, last]): (usize, &[u64; 2])| Gap { first: *first, last: *last, refused: is_refused(at) };
        if !rest.is_empty() || ranges.len() > GAPS {
            return None;
        }
        let known: Vec<Gap> = ranges.iter().enumerate().map(gap).collect();
        let in_order = known.iter().all(|gap| gap.first <= gap.last) && known.is_sorted_by(|a, b| a.last < b.first);
        in_order.then_some(Self { known, unsure: *unsure })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_that_never_came_is_forgotten_first_and_what_was_refused_is_never_said_to_be_there() {
        let mut gaps = Gaps::default();
        gaps.open(10, 11, true);
        for n in 2..30 {
            gaps.open(n * 10, n * 10, false);
        }
        assert_eq!(gaps.known.len(), GAPS);
        assert_eq!(
            [gaps.falls(10, 11), gaps.falls(20, 20), gaps.falls(290, 290)],
            [Falls::Into, Falls::Beside, Falls::Into]
        );
        for n in 30..38 {
            gaps.open(n * 10, n * 10, true);
        }
        assert_eq!(gaps.known.len(), GAPS);
        assert_eq!(
            [gaps.falls(10, 11), gaps.falls(5, 5), gaps.falls(12, 12)],
            [Falls::Unsure, Falls::Unsure, Falls::Beside]
        );
    }

    proptest! {
        #[test]
        fn they_agree_with_a_set(steps in prop::collection::vec((any::<bool>(), 1_u64..40, 0_u64..5, any::<bool>()), 0..40)) {
            let (mut gaps, mut set) = (Gaps::default(), std::collections::BTreeSet::new());
            for (opens, first, more, refused) in steps {
                let range = first..=first + more;
                if opens {
                    // So few numbers that hardly ever one has to go.
                    gaps.open(first, first + more, refused);
                    set.extend(range);
                } else if gaps.falls(first, first + more) == Falls::Into {
                    gaps.close(first, first + more);
                    set.retain(|n| !range.contains(n));
                }
                prop_assert!(gaps.known.len() <= GAPS);
                prop_assert_eq!(Gaps::of_numbers(&gaps.numbers().collect::<Vec<_>>()), Some(gaps.clone()));
                if gaps.known.len() == GAPS {
                    break;
                }
                for n in 1..50 {
                    let expected = if set.contains(&n) { Falls::Into } else { Falls::Beside };
                    prop_assert_eq!(gaps.falls(n, n), expected, "{}", n);
                }
            }
        }
    }
}
