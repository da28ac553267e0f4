//! The wakers of stages, explored by loom: a stage that sleeps misses no work,
//! and neither does one that moves to another thread.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p weft-ring --release --test loom_waker`
#![cfg(loom)]

mod explore;

use explore::{canary, explore, explore_with_canaries, must_fail};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use weft_ring::edges::E10;
use weft_ring::waker::StageWaker;

#[test]
fn a_stage_that_looked_once_more_before_its_sleep_misses_no_work() {
    explore_with_canaries(
        || {
            let waker = StageWaker::parking();
            let work = Arc::new(AtomicBool::new(false));
            let (others, theirs) = (waker.clone(), work.clone());
            let giver = thread::spawn(move || {
                theirs.store(true, Ordering::Release);
                others.wake();
            });
            while !work.load(Ordering::Acquire) {
                waker.announce();
                if !work.load(Ordering::Acquire) {
                    waker.sleep(std::time::Duration::MAX);
                }
                waker.awake();
            }
            giver.join().unwrap();
        },
        &[E10],
    );
}

/// A stage moves from a thread that stays awake to one that sleeps by seat 1,
/// while somebody gives it work. Loom finds it when it sleeps beside its work.
fn move_while_work_comes(hand_over_first: bool) {
    let seats: std::sync::Arc<[StageWaker]> = std::sync::Arc::from([StageWaker::parking(), StageWaker::parking()]);
    let waker = StageWaker::parking();
    waker.seat(&seats, 0);
    let work = Arc::new(AtomicBool::new(false));
    let (others, theirs) = (waker.clone(), work.clone());
    let giver = thread::spawn(move || {
        theirs.store(true, Ordering::Release);
        others.wake();
    });
    let handed = Arc::new(AtomicBool::new(false));
    let (old_seats, gives) = (seats.clone(), handed.clone());
    let old = thread::spawn(move || {
        if !hand_over_first {
            waker.move_to(1);
        }
        gives.store(true, Ordering::Release);
        old_seats[1].wake();
        if hand_over_first {
            waker.move_to(1);
        }
    });
    // As the runner does: the stage is taken in first, then there is a look at
    // its work, and one more behind the announcement.
    let done = || handed.load(Ordering::Acquire) && work.load(Ordering::Acquire);
    while !done() {
        seats[1].announce();
        if !done() {
            seats[1].sleep(std::time::Duration::MAX);
        }
        seats[1].awake();
    }
    giver.join().unwrap();
    old.join().unwrap();
}

#[test]
fn a_stage_that_moves_to_another_thread_misses_no_work() {
    const FIRST: &str = "the order of the hand-over";
    if canary().as_deref() == Some(FIRST) {
        return explore(|| move_while_work_comes(true));
    }
    explore_with_canaries(|| move_while_work_comes(false), &[E10]);
    if canary().is_none() {
        must_fail("a_stage_that_moves_to_another_thread_misses_no_work", FIRST);
    }
}
