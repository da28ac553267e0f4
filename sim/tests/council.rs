//! Councils under every fault, sized for CI. More:
//! `cargo run --release -p weft-sim -- --shape council --seeds 10000`.

use weft_sim::council::{Canary, Tally, run};

const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 1000 };

#[test]
fn councils_keep_their_promises_under_every_fault() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(more) => tally += more,
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{tally:#?}");
    let Tally { done, unknown, no_leader, reads, crashes, kills, lost_disks, failed_disks, cuts, .. } = tally;
    let all = [done, unknown, no_leader, reads, crashes, kills, lost_disks, failed_disks, cuts];
    let more = [tally.elections, tally.voters, tally.lost, tally.searched];
    assert!(all.iter().chain(&more).all(|count| *count > 10), "something never happens: {tally:#?}");
    assert!(tally.unsettled * 100 <= tally.searched, "too much is not searched: {tally:#?}");
}

#[test]
fn the_same_seed_does_the_same() {
    let text = |seed| format!("{:?}", run(seed, None));
    (0..3).for_each(|seed| assert_eq!(text(seed), text(seed)));
}

#[test]
fn every_check_of_councils_finds_its_canary() {
    for canary in Canary::ALL {
        let found = (0..200).any(|seed| {
            run(seed, Some(canary)).is_err_and(|failure| canary.caught_by().contains(&failure.violation.check))
        });
        assert!(found, "{canary:?} is not found by {:?}", canary.caught_by());
    }
}
