//! Some seeds in each run of the tests; `cargo run --release -p weft-sim --
//! --seeds 1000` runs more. A failure prints its seed and plan: run it again
//! with `--seeds 1 --first SEED`.

use weft_sim::{Canary, Plan, Report, Shape, Tally, run, run_seed};

const SEEDS: u64 = 40;
/// Enough for each canary; most are caught by the first seed.
const CANARY_SEEDS: u64 = 10;

#[test]
fn forty_meshes_keep_their_promises() {
    let mut report = Report::default();
    for seed in 0..SEEDS {
        let plan = Plan::of_seed(seed);
        let outcome = run(&plan, None);
        if let Err(violation) = &outcome {
            panic!("{violation}\n{plan}");
        }
        report.add(&plan, outcome);
    }
    println!("{report}");
    assert_eq!(report.rows.len(), Shape::ALL.len(), "every shape has its turn");
    let (mut tally, mut failovers) = (Tally::default(), [0; 2]);
    for row in report.rows.values() {
        tally += row.tally;
        row.failovers.iter().for_each(|one| failovers[usize::from(one.noticed)] += 1);
    }
    // What is never reached is not tested.
    let Tally {
        expected,
        bound,
        spread,
        shared,
        served,
        missed,
        dropped,
        stored,
        retransmitted,
        repairs,
        faults,
        around,
        receipts,
        kept,
        ..
    } = tally;
    for (what, count) in [
        ("deliveries that had to happen", expected),
        ("deliveries of what is bound to a label", bound),
        ("copies that took another way than the main one", spread),
        ("blocks handed to members of groups", shared),
        ("blocks of which a member had to get one", served),
        ("events missed", missed),
        ("copies dropped", dropped),
        ("blocks stored", stored),
        ("blocks sent again", retransmitted),
        ("sets asked for", repairs),
        ("faults", faults),
        ("ways around a hub that drains", around),
        ("hubs at which receipts say that a subscription is live", receipts),
        ("blocks that receipts promised to a subscriber", kept),
    ] {
        assert!(count > SEEDS, "only {count} {what} in {SEEDS} meshes");
    }
    assert!(failovers.iter().all(|count| *count > SEEDS / 10), "only {failovers:?} cuts with another path there");
}

#[test]
fn meshes_keep_their_promises_with_the_urgent_lane_on_two_paths() {
    let (mut tally, seeds) = (Tally::default(), SEEDS / 5);
    for seed in 0..seeds {
        let plan = Plan { two_paths: true, ..Plan::of_seed(seed) };
        tally += run(&plan, None).unwrap_or_else(|violation| panic!("{violation}\n{plan}")).tally;
    }
    assert!(tally.second > seeds * 10, "only {} second copies in {seeds} meshes", tally.second);
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 0..3 {
        let tally = || run_seed(seed, None).map_err(|failure| failure.to_string());
        assert_eq!(tally(), tally());
    }
}

#[test]
fn every_checker_catches_its_canary() {
    for canary in Canary::ALL {
        let caught = (0..CANARY_SEEDS).find_map(|seed| run_seed(seed, Some(canary)).err());
        let caught = caught.unwrap_or_else(|| panic!("{} is not caught in {CANARY_SEEDS} seeds", canary.name()));
        assert_eq!(caught.violation.check, canary.caught_by());
    }
}
