//! Which hubs a hub links to by itself, and where it begins.

use std::time::Duration;

use weft_mesh::{MAX_ADDRESS, PickOptions};

/// The most addresses to begin with.
pub const MAX_SEEDS: usize = 64;
/// The most links that may be picked.
const MOST: usize = 64;

/// What is wrong with the table `[pick]`.
pub(super) fn violations(pick: Option<&PickOptions>, seeds: &[String], found: &mut Vec<(&'static str, String)>) {
    if seeds.len() > MAX_SEEDS || seeds.iter().any(|seed| seed.len() > MAX_ADDRESS) {
        found.push(("pick.seeds", format!("at most {MAX_SEEDS} addresses of {MAX_ADDRESS} bytes")));
    }
    let Some(PickOptions { most, probe, settle, .. }) = pick else { return };
    if !(1..=MOST).contains(most) {
        found.push(("pick.most", format!("{most} is not possible: 1 to {MOST}")));
    }
    if *probe < Duration::from_millis(10) {
        found.push(("pick.probe", format!("{probe:?} is too short: at least 10 ms")));
    }
    if *settle < Duration::from_millis(100) {
        found.push(("pick.settle", format!("{settle:?} is too short: at least 100 ms")));
    }
}
