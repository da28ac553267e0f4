//! In steady state a lane queue allocates nothing, with and without deadlines.
//! Counted per thread, because the test harness's own thread allocates when it likes.

use allocation_counter::measure;
use weft_base::{Lane, UnixNanos};
use weft_sched::lanes::{LaneQueue, Waiting};

fn allocations(f: impl FnOnce()) -> u64 {
    measure(f).count_total
}

/// Fills and empties the queue many times: by sending, by expiry and by shedding.
fn turns(queue: &mut LaneQueue<u64>, deadlines: bool) {
    for turn in 0..500u64 {
        let now = 1_000_000_000 + turn * 1_000;
        for n in 0..200u64 {
            let deadline = if deadlines && n % 3 > 0 { now + n % 17 * 300 } else { 0 };
            let waiting = Waiting {
                lane: Lane::new((n % 8) as u8).unwrap_or_default(),
                deadline: UnixNanos(deadline),
                order: n,
                cost: 1_000,
                events: 3,
            };
            queue.push(waiting, UnixNanos(now), n);
        }
        while queue.take_expired(UnixNanos(now + 1_500)).is_some() {}
        queue.take_oldest_of_least_urgent();
        while queue.pop().is_some() {}
    }
}

#[test]
fn a_lane_queue_in_steady_state_allocates_nothing() {
    // The counter sees what it should.
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))), 1);
    let mut queue = LaneQueue::default();
    for deadlines in [false, true] {
        assert!(allocations(|| turns(&mut queue, deadlines)) > 0, "it grows at first");
        assert_eq!(allocations(|| turns(&mut queue, deadlines)), 0, "with deadlines: {deadlines}");
    }
}
