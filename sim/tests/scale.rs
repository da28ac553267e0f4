//! What interest costs in a large mesh, in virtual time: a smaller size of
//! `weft-sim --scale`, held against bounds.

use weft_sim::scale::{ScaleOptions, run};

#[test]
fn a_hundred_hubs_with_ten_thousand_filters_keep_to_the_bounds() {
    let options = ScaleOptions { hubs: 100, filters: 10_000, cover: 8, neighbours: 4, churn: 200, seconds: 1, seed: 7 };
    let report = run(options);
    println!("{report}");
    assert!(report.diameters() <= 3.0, "a filter is live everywhere within three diameters: {report}");
    assert!(report.receipt[1] <= report.diameter * 4, "and a receipt says so within four: {report}");
    // A question over each link both ways, and an answer or some over each link of the tree.
    assert!(report.frames_of_receipt <= 20 * options.hubs as u64, "{report}");
    assert!(report.rest[0] <= 16 << 10, "at rest: {report}");
    assert!(report.churn[0] <= report.rest[0] + 400 * options.churn, "under churn: {report}");
}

#[test]
fn control_grows_no_worse_than_linearly_with_neighbours() {
    let with = |neighbours| {
        let options = ScaleOptions { hubs: 40, filters: 400, cover: 4, neighbours, churn: 100, seconds: 1, seed: 7 };
        let report = run(options);
        [report.rest[0], report.churn[0]]
    };
    let (few, many) = (with(2), with(8));
    // What comes by one link goes out by the others: by 1 of 2, by 7 of 8.
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= few * 7 * 11 / 10, "{many} bytes a second with 8 neighbours, {few} with 2");
    }
}
