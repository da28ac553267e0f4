//! Whether what clients saw of one key is what one copy of it, asked by one
//! client at a time, could have answered (linearizability: M. Herlihy, J. Wing,
//! 1990).
//!
//! The search takes an operation that began before the first end of the others,
//! tries its effect, and goes on with the rest (J. Wing, C. Gong, 1993); a set of
//! operations that was tried with the same value before is not tried again
//! (G. Lowe, 2017). It is bounded: after [`STEPS`] it answers that it does not
//! know, which the judge counts.

use std::collections::BTreeSet;

use super::machine::Act;

/// The most operations of one key.
pub(super) const MOST: usize = 128;
const STEPS: u64 = 400_000;

/// What a client asked of a key and was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) act: Act,
    /// When it was asked.
    pub(super) begun: u64,
    /// When it was told; `None` if it never was, so it may happen at any time
    /// since, or never.
    pub(super) ended: Option<u64>,
    /// What a read saw; whether a swap took place.
    pub(super) seen: Option<u64>,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Order,
    NoOrder,
    TooMuch,
}

/// The value after an act, if it is what was seen.
fn effect(operation: &Operation, value: u64) -> Option<u64> {
    match (operation.act, operation.seen) {
        (Act::Read, Some(seen)) => (seen == value).then_some(value),
        (Act::Read, None) => Some(value),
        (Act::Write(new), _) => Some(new),
        (Act::Swap(old, new), seen) => {
            let takes_place = value == old;
            let is_so = seen.is_none_or(|seen| (seen == 1) == takes_place);
            is_so.then_some(if takes_place { new } else { value })
        }
    }
}

/// Looks for an order of these operations on a key that is 0 at first.
pub(super) fn search(operations: &[Operation]) -> Found {
    if operations.len() > MOST {
        return Found::TooMuch;
    }
    let must: u128 = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.ended.is_some())
        .fold(0, |set, (number, _)| set | 1 << number);
    let (mut tried, mut steps) = (BTreeSet::new(), 0);
    let mut open = vec![(0_u128, 0_u64)];
    while let Some((done, value)) = open.pop() {
        if done & must == must {
            return Found::Order;
        }
        if !tried.insert((done, value)) {
            continue;
        }
        let rest = || operations.iter().enumerate().filter(|(number, _)| done & (1 << number) == 0);
        // Nothing may go before what had ended when it began.
        let first_end = rest().filter_map(|(_, operation)| operation.ended).min().unwrap_or(u64::MAX);
        for (number, operation) in rest().filter(|(_, operation)| operation.begun <= first_end) {
            steps += 1;
            if steps > STEPS {
                return Found::TooMuch;
            }
            if let Some(next) = effect(operation, value) {
                open.push((done | 1 << number, next));
            }
        }
    }
    Found::NoOrder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(act: Act, begun: u64, ended: u64, seen: u64) -> Operation {
        Operation { act, begun, ended: Some(ended), seen: Some(seen) }
    }

    #[test]
    fn what_one_copy_could_have_answered_has_an_order_and_what_it_could_not_has_none() {
        let write = operation(Act::Write(1), 10, 20, 1);
        let read = |begun, ended, seen| operation(Act::Read, begun, ended, seen);
        assert_eq!(search(&[write.clone(), read(21, 22, 1)]), Found::Order);
        assert_eq!(search(&[write.clone(), read(21, 22, 0)]), Found::NoOrder, "stale");
        assert_eq!(search(&[write.clone(), read(15, 16, 0), read(17, 18, 1)]), Found::Order);
        assert_eq!(search(&[write.clone(), read(15, 16, 1), read(17, 18, 0)]), Found::NoOrder, "back");
        let swaps = [operation(Act::Swap(0, 1), 1, 9, 1), operation(Act::Swap(0, 2), 1, 9, 1)];
        assert_eq!(search(&swaps), Found::NoOrder, "both took place");
        assert_eq!(search(&swaps[..1]), Found::Order);
    }

    #[test]
    fn what_was_never_told_may_have_happened_late_or_never() {
        let lost = Operation { act: Act::Write(1), begun: 1, ended: None, seen: None };
        let read = |begun, ended, seen| operation(Act::Read, begun, ended, seen);
        assert_eq!(search(&[lost.clone(), read(5, 6, 0), read(7, 8, 1)]), Found::Order);
        assert_eq!(search(&[lost.clone(), read(5, 6, 0)]), Found::Order);
        assert_eq!(search(&[lost, read(5, 6, 1), read(7, 8, 0)]), Found::NoOrder);
    }

    #[test]
    fn the_search_agrees_with_trying_all_orders() {
        let mut random = weft_base::Random::from_seed(7);
        let mut orders = [0; 2];
        for _ in 0..2000 {
            let operations: Vec<Operation> = (0..5)
                .map(|_| {
                    let begun = random.below(10);
                    let act = match random.below(3) {
                        0 => Act::Read,
                        1 => Act::Write(random.below(2)),
                        _ => Act::Swap(random.below(2), random.below(2)),
                    };
                    let ended = (!random.chance(200)).then(|| begun + 1 + random.below(6));
                    Operation { act, begun, ended, seen: ended.map(|_| random.below(2)) }
                })
                .collect();
            let naive = any_order(&operations, &mut Vec::new());
            assert_eq!(search(&operations) == Found::Order, naive, "{operations:?}");
            orders[usize::from(naive)] += 1;
        }
        assert!(orders.iter().all(|count| *count > 100), "{orders:?}");
    }

    /// All sequences of some of the operations that contain all that ended.
    fn any_order(operations: &[Operation], taken: &mut Vec<usize>) -> bool {
        let is_whole = operations.iter().enumerate().all(|(n, it)| it.ended.is_none() || taken.contains(&n));
        let in_time = |a: usize, b: usize| operations[b].ended.is_none_or(|end| operations[a].begun <= end);
        let ordered = taken.iter().enumerate().all(|(at, a)| taken[at + 1..].iter().all(|b| in_time(*a, *b)));
        let value = taken.iter().try_fold(0, |value, n| effect(&operations[*n], value));
        if !ordered || value.is_none() {
            return false;
        }
        if is_whole {
            return true;
        }
        (0..operations.len()).any(|next| {
            if taken.contains(&next) {
                return false;
            }
            taken.push(next);
            let found = any_order(operations, taken);
            taken.pop();
            found
        })
    }
}
