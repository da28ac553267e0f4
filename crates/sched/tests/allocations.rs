//! In steady state a lane queue allocates nothing, with and without deadlines.
//! Counted per thread, because the test harness's own thread allocates when it likes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use weft_base::{Lane, UnixNanos};
use weft_sched::lanes::{LaneQueue, Waiting};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: needed to count; everything is passed on to the system's allocator.
// The counter has a constant initialiser and no destructor, so it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
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
