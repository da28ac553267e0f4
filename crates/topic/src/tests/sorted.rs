//! The persistent sorted set against the standard library's.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::sorted::{Entry, Probe, Sorted};

#[derive(Clone)]
struct Number(u32);

impl Entry for Number {
    type Mark = u32;

    fn mark(&self) -> u32 {
        self.0
    }
}

impl Probe<Number> for u32 {
    fn place(&self, entry: &Number) -> Ordering {
        entry.0.cmp(self)
    }

    fn place_mark(&self, mark: &u32) -> Ordering {
        mark.cmp(self)
    }
}

fn same(set: &Sorted<Number>, model: &BTreeSet<u32>) {
    set.check_shape().unwrap();
    assert!(set.iter().map(|entry| entry.0).eq(model.iter().copied()));
    let mut each = Vec::new();
    set.for_each(&mut |entry| each.push(entry.0));
    assert!(each.iter().eq(model.iter()));
    assert_eq!(set.only().map(|entry| entry.0), model.first().copied().filter(|_| model.len() == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Grows and shrinks a set by runs of numbers, up or down or at random, so
    /// that it takes on all its forms; clones must stay as they were.
    #[test]
    fn a_set_is_as_the_standard_one(
        runs in prop::collection::vec((any::<bool>(), 0..4096u32, 1..900u32, 0..3u8), 1..10),
    ) {
        let (mut set, mut model) = (Sorted::default(), BTreeSet::new());
        let mut snapshots = Vec::new();
        for (add, start, len, order) in runs {
            for n in 0..len {
                let number = match order {
                    0 => start + n,
                    1 => (start + 900).saturating_sub(n),
                    _ => n.wrapping_mul(2_654_435_761) >> 20,
                };
                if add {
                    prop_assert_eq!(set.insert(&number, Number(number)), model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(&number), model.remove(&number));
                }
                let there = model.contains(&number);
                prop_assert_eq!(set.find(&number).map(|entry| entry.0), there.then_some(number));
                prop_assert_eq!(set.find_mut(&number).map(|entry| entry.0), there.then_some(number));
            }
            same(&set, &model);
            snapshots.push((set.clone(), model.clone()));
        }
        snapshots.iter().for_each(|(set, model)| same(set, model));
        for number in model {
            prop_assert!(set.remove(&number));
        }
        same(&set, &BTreeSet::new());
        prop_assert!(matches!(set, Sorted::Few(_)));
    }
}
