//! The queue against the promises of its module: by example, and by property
//! with judges that each catch a queue made wrong on purpose.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn lane(number: u8) -> Lane {
    Lane::new(number).expect("a lane")
}

fn waiting(number: u8, cost: usize) -> Waiting {
    Waiting { lane: lane(number), deadline: UnixNanos(0), order: 0, cost, events: 1 }
}

fn due(order: u64, deadline: u64) -> Waiting {
    Waiting { order, deadline: UnixNanos(deadline), ..waiting(4, 100) }
}

fn all<T>(queue: &mut LaneQueue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect()
}

#[test]
fn urgent_overtakes_bulk_at_once() {
    let mut queue = LaneQueue::default();
    for n in 0..100 {
        queue.push(waiting(7, 4 << 10), UnixNanos(1), n);
    }
    assert_eq!(queue.pop().map(|(_, n)| n), Some(0));
    // In the middle of the bulk lane's share of the round.
    queue.push(waiting(0, 100), UnixNanos(2), 1_000);
    assert_eq!(queue.pop().map(|(_, n)| n), Some(1_000));
    assert_eq!(all(&mut queue), (1..100).collect::<Vec<_>>());
}

#[test]
fn a_lane_that_stays_busy_does_not_starve_the_others() {
    let mut queue = LaneQueue::default();
    for n in 0..2_000 {
        queue.push(waiting(0, 1 << 10), UnixNanos(n), 0);
    }
    queue.push(waiting(7, 32 << 10), UnixNanos(1), 7);
    let place = all(&mut queue).iter().position(|lane| *lane == 7);
    assert_eq!(place, Some(512), "after the urgent lane's quantum of 512 KiB");
}

#[test]
fn lanes_share_by_their_quanta() {
    let mut queue = LaneQueue::default();
    let mut sent = [0usize; Lane::COUNT];
    for _ in 0..100_000 {
        for number in 0..8 {
            while queue.lane_len(lane(number)) < 2 {
                queue.push(waiting(number, 1_000), UnixNanos(1), ());
            }
        }
        let (taken, ()) = queue.pop().expect("there is always more");
        sent[taken.lane.index()] += taken.cost;
    }
    let total: usize = sent.iter().sum();
    for (index, bytes) in sent.iter().enumerate() {
        let share = (Lane::COUNT - index) as f64 / 36.0;
        assert!((*bytes as f64 / total as f64 - share).abs() < 0.01, "lane {index} got {bytes} of {total}");
    }
}

#[test]
fn a_block_larger_than_the_quantum_is_saved_up_for() {
    let mut queue = LaneQueue::new(LaneOptions { quantum: [10; 8], ..LaneOptions::default() });
    queue.push(waiting(7, 1_000), UnixNanos(1), 'b');
    for _ in 0..300 {
        queue.push(waiting(3, 5), UnixNanos(1), 's');
    }
    let place = all(&mut queue).iter().position(|c| *c == 'b');
    assert_eq!(place, Some(200), "a hundred rounds of ten bytes");
}

#[test]
fn the_earliest_deadline_goes_first_and_what_has_none_counts_as_due_at_the_horizon() {
    let mut queue = LaneQueue::default();
    let now = UnixNanos(1_000 * MS);
    queue.push(due(1, 0), now, "none");
    queue.push(due(2, 1_900 * MS), now, "late");
    queue.push(due(3, 1_100 * MS), now, "soon");
    queue.push(due(4, 9_999_000 * MS), now, "far");
    assert_eq!(queue.earliest_deadline(), Some(UnixNanos(1_100 * MS)));
    assert_eq!(all(&mut queue), ["soon", "late", "none", "far"]);
}

#[test]
fn a_deadline_does_not_overtake_what_its_producer_sent_before() {
    let mut queue = LaneQueue::default();
    let now = UnixNanos(1_000 * MS);
    queue.push(due(5, 0), now, "first");
    queue.push(due(5, 1_100 * MS), now, "second");
    queue.push(due(6, 1_200 * MS), now, "other");
    assert_eq!(all(&mut queue), ["other", "first", "second"]);
}

#[test]
fn what_has_expired_is_found_and_nothing_else() {
    let mut queue = LaneQueue::default();
    let now = UnixNanos(1_000 * MS);
    queue.push(due(1, 0), now, "none");
    queue.push(due(1, 1_010 * MS), now, "behind it");
    queue.push(Waiting { lane: lane(0), ..due(2, 1_020 * MS) }, now, "urgent");
    assert!(queue.take_expired(UnixNanos(1_010 * MS)).is_none(), "a deadline is in time until it is past");
    let mut expired = Vec::new();
    while let Some((_, item)) = queue.take_expired(UnixNanos(2_000 * MS)) {
        expired.push(item);
    }
    expired.sort_unstable();
    assert_eq!(expired, ["behind it", "urgent"]);
    assert_eq!((queue.len(), queue.bytes(), queue.events()), (1, 100, 1));
    assert_eq!(all(&mut queue), ["none"]);
}

#[test]
fn what_does_not_fit_is_not_overtaken() {
    let mut queue = LaneQueue::default();
    queue.push(waiting(1, 500), UnixNanos(1), "large");
    queue.push(waiting(2, 10), UnixNanos(1), "small");
    assert!(queue.pop_fitting(499).is_none());
    assert_eq!(queue.peek().map(|(waiting, item)| (waiting.cost, *item)), Some((500, "large")));
    assert_eq!(queue.pop_fitting(500).map(|(_, item)| item), Some("large"));
    assert_eq!(queue.pop_fitting(499).map(|(_, item)| item), Some("small"));
}

#[test]
fn shedding_takes_the_oldest_of_the_least_urgent() {
    let mut queue = LaneQueue::default();
    for (number, item) in [(6, 'a'), (2, 'b'), (6, 'c'), (2, 'd')] {
        queue.push(waiting(number, 8), UnixNanos(1), item);
    }
    let shed: Vec<char> = std::iter::from_fn(|| queue.take_oldest_of_least_urgent()).map(|(_, item)| item).collect();
    assert_eq!(shed, ['a', 'c', 'b', 'd']);
}

#[test]
fn a_queue_that_was_never_used_is_small() {
    assert!(size_of::<LaneQueue<u64>>() <= 160, "{}", size_of::<LaneQueue<u64>>());
}

#[test]
fn order_keys_differ_by_producer_and_topic() {
    let keys = [
        order_key(1, b"a/b"),
        order_key(2, b"a/b"),
        order_key(1, b"a/c"),
        order_key(1, b""),
        order_key(1, b"a/rather/long/topic/1"),
        order_key(1, b"a/rather/long/topic/2"),
    ];
    let distinct: std::collections::HashSet<u64> = keys.into_iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(order_key(7, b"x/y"), order_key(7, b"x/y"));
    let buckets: std::collections::HashSet<u64> =
        (0..256u32).map(|n| order_key(1, format!("sensor/{n}").as_bytes()) % 64).collect();
    assert!(buckets.len() > 48, "256 topics fall into {} of 64 buckets", buckets.len());
}

/// What the properties push and take.
#[derive(Clone, Debug)]
enum Step {
    Push {
        lane: u8,
        deadline: u64,
        order: u64,
        cost: usize,
    },
    Pop,
    Fitting(usize),
    Expired,
    Shed,
    /// Time goes on, or back.
    Clock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0..8u8, prop_oneof![Just(0), 1..4_000u64], 0..6u64, 0..5_000usize)
        .prop_map(|(lane, deadline, order, cost)| Step::Push { lane, deadline, order, cost });
    let step = prop_oneof![
        6 => push,
        3 => Just(Step::Pop),
        1 => (0..5_000usize).prop_map(Step::Fitting),
        1 => Just(Step::Expired),
        1 => Just(Step::Shed),
        1 => (-200..500i64).prop_map(Step::Clock),
    ];
    proptest::collection::vec(step, 1..400)
}

type Taken = (Waiting, u64);

/// Judge of order: per lane and order value, numbers leave as they were given.
fn in_order(taken: &[Taken]) -> Result<(), String> {
    let mut last: HashMap<(u8, u64), u64> = HashMap::new();
    for (waiting, number) in taken {
        if let Some(before) = last.insert((waiting.lane.get(), waiting.order), *number)
            && before > *number
        {
            return Err(format!("{number} left after {before} of lane {} order {}", waiting.lane, waiting.order));
        }
    }
    Ok(())
}

/// Judge of conservation: all that went in is in or came out, as it was, once.
fn conserved(queue: &LaneQueue<u64>, pushed: &[Waiting], out: &[Taken]) -> Result<(), String> {
    let mut left: HashMap<u64, Waiting> = pushed.iter().enumerate().map(|(n, w)| (n as u64, *w)).collect();
    for (waiting, number) in out {
        if left.remove(number) != Some(*waiting) {
            return Err(format!("{number} came out twice or changed"));
        }
    }
    let bytes: usize = left.values().map(|w| w.cost).sum();
    let events: u64 = left.values().map(|w| w.events).sum();
    let by_lane: usize = Lane::all().map(|lane| queue.lane_bytes(lane)).sum();
    let lens: usize = Lane::all().map(|lane| queue.lane_len(lane)).sum();
    let said = (queue.len(), queue.bytes(), queue.events(), by_lane, lens);
    if said != (left.len(), bytes, events, bytes, left.len()) {
        return Err(format!("the queue says {said:?} of {} items, {bytes} bytes, {events} events", left.len()));
    }
    Ok(())
}

/// Runs the steps; answers what was pushed and what came out, each time with
/// whether it came by a pop, which must keep order.
fn run(steps: &[Step], queue: &mut LaneQueue<u64>) -> (Vec<Waiting>, Vec<Taken>) {
    let (mut pushed, mut out, mut now) = (Vec::new(), Vec::new(), 1_000i64);
    for step in steps {
        let at = UnixNanos(now as u64 * MS);
        match step {
            Step::Push { lane: number, deadline, order, cost } => {
                let deadline = UnixNanos(deadline * MS);
                let w = Waiting { lane: lane(*number), deadline, order: *order, cost: *cost, events: *cost as u64 % 7 };
                queue.push(w, at, pushed.len() as u64);
                pushed.push(w);
            }
            Step::Pop => out.extend(queue.pop()),
            Step::Fitting(budget) => {
                if let Some(taken) = queue.pop_fitting(*budget) {
                    assert!(taken.0.cost <= *budget);
                    out.push(taken);
                }
            }
            Step::Expired => {
                // All that a naive look finds, and no more.
                let gone: Vec<u64> = out.iter().map(|(_, n)| *n).collect();
                let expected = (0..pushed.len() as u64)
                    .filter(|n| !gone.contains(n))
                    .filter(|n| (1..at.0).contains(&pushed[*n as usize].deadline.0))
                    .count();
                let found: Vec<Taken> = std::iter::from_fn(|| queue.take_expired(at)).collect();
                assert!(found.iter().all(|(w, _)| w.deadline < at && w.deadline.0 != 0));
                assert_eq!(found.len(), expected);
                out.extend(found);
            }
            Step::Shed => out.extend(queue.take_oldest_of_least_urgent()),
            Step::Clock(by) => now = (now + by).max(1),
        }
    }
    (pushed, out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn everything_is_conserved_and_all_that_expired_is_found(steps in steps()) {
        let mut queue = LaneQueue::default();
        let (pushed, mut out) = run(&steps, &mut queue);
        prop_assert_eq!(conserved(&queue, &pushed, &out), Ok(()));
        out.extend(std::iter::from_fn(|| queue.pop()));
        prop_assert_eq!(out.len(), pushed.len());
        prop_assert_eq!(conserved(&queue, &pushed, &out), Ok(()));
    }

    #[test]
    fn one_order_key_never_changes_its_order_under_any_deadlines(steps in steps()) {
        // What has expired leaves out of turn; here nothing is asked for that.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Expired)).collect();
        let mut queue = LaneQueue::default();
        let (_, mut out) = run(&steps, &mut queue);
        out.extend(std::iter::from_fn(|| queue.pop()));
        prop_assert_eq!(in_order(&out), Ok(()));
    }

    /// Between two of its sends, a lane that has something waits for no more than
    /// the others' quanta of the rounds it needs, and one item each beyond them.
    #[test]
    fn no_lane_starves(costs in proptest::collection::vec((0..8u8, 1..200_000usize), 1..600), watched in 0..8u8) {
        let options = LaneOptions::default();
        let mut queue = LaneQueue::new(options);
        for (n, (number, cost)) in costs.iter().enumerate() {
            queue.push(waiting(*number, *cost), UnixNanos(n as u64), n);
        }
        prop_assert_eq!(starved(&mut queue, &options, lane(watched), |queue| queue.pop()), Ok(()));
    }
}

/// Judge of starvation: takes all by `next` and checks what `watched` waited for.
fn starved<T>(
    queue: &mut LaneQueue<T>,
    options: &LaneOptions,
    watched: Lane,
    mut next: impl FnMut(&mut LaneQueue<T>) -> Option<(Waiting, T)>,
) -> Result<(), String> {
    const MOST: usize = 200_000;
    let others: usize = options.quantum.iter().map(|q| *q as usize).sum();
    let rounds = MOST.div_ceil(options.quantum[watched.index()] as usize) + 1;
    let bound = rounds * others + Lane::COUNT * MOST;
    let mut waited = 0;
    while let Some((taken, _)) = next(queue) {
        if taken.lane == watched {
            waited = 0;
        } else if queue.lane_len(watched) > 0 {
            waited += taken.cost;
        }
        if waited > bound {
            return Err(format!("lane {watched} waited for {waited} bytes, more than {bound}"));
        }
    }
    Ok(())
}

#[test]
fn every_judge_catches_a_queue_made_wrong() {
    // Order: the shedding end taken for the sending end of a queue that has deadlines out of order.
    let wrong = [(due(5, 9), 1), (due(5, 3), 0)];
    assert!(in_order(&wrong).is_err());
    // Conservation: one item too few, one changed.
    let mut queue = LaneQueue::default();
    queue.push(waiting(1, 10), UnixNanos(1), 0u64);
    assert!(conserved(&queue, &[], &[]).is_err());
    assert!(conserved(&queue, &[waiting(1, 11)], &[]).is_err());
    assert!(conserved(&queue, &[waiting(1, 10)], &[]).is_ok());
    // Starvation: strict priority, which is what quanta without a bound come to.
    let strict = LaneOptions { quantum: [u32::MAX; 8], ..LaneOptions::default() };
    let mut queue = LaneQueue::new(strict);
    queue.push(waiting(7, 10), UnixNanos(1), 0);
    for _ in 0..100 {
        queue.push(waiting(0, 200_000), UnixNanos(1), 0);
    }
    assert!(starved(&mut queue, &LaneOptions::default(), Lane::BULK, |queue| queue.pop()).is_err());
}
