//! Streams of several hubs under every fault, sized for CI. More:
//! `cargo run --release -p weft-sim -- --streams --seeds 10000`.

use weft_sim::streams::{Canary, Tally, run};

const SEEDS: u64 = if cfg!(debug_assertions) { 60 } else { 1000 };

#[test]
fn streams_keep_their_promises_under_every_fault() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(more) => tally += more,
            Err(failure) => panic!("{failure}"),
        }
    }
    let Tally { acknowledged, repeated, crashes, kills, flips, cuts, disks, jumps, .. } = tally;
    let Tally { redelivered, dead, reads, copied, takeovers, moved, sent_away, fenced, drains, drained, .. } = tally;
    let all = [acknowledged, repeated, crashes, kills, flips, cuts, disks, jumps, redelivered, dead, reads, copied];
    let moves = [takeovers, moved, sent_away, fenced, drains, drained];
    assert!(all.iter().chain(&moves).all(|count| *count > 10), "something never happens: {tally:#?}");
}

#[test]
fn the_same_seed_does_the_same() {
    let text = |seed| format!("{:?}", run(seed, None));
    (0..3).for_each(|seed| assert_eq!(text(seed), text(seed)));
}

#[test]
fn every_check_of_streams_finds_its_canary() {
    for canary in Canary::ALL {
        let found = (0..200)
            .any(|seed| run(seed, Some(canary)).is_err_and(|failure| failure.violation.check == canary.caught_by()));
        assert!(found, "{canary:?} is not found by {:?}", canary.caught_by());
    }
}
