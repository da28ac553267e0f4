//! The crash matrix: real hubs, real publishers at every level of
//! acknowledgement, and faults of process, machine and disk. Acknowledged
//! events must be in the stream afterwards, once, in order, as they were
//! published, as far as their level promises.
//!
//! A small run is part of the tests; `cargo xtask crash-matrix` prints the
//! table, with `--full` of a long run. Where the machine has no FUSE, the
//! faults that need a disk of our own are left out, and said to be.

mod cases;
mod clock;
mod disk;
mod hub;
mod load;
mod mount;
mod reader;

use cases::{Case, HEAD, Size};
use mount::LazyDisk;

/// What `cargo xtask crash-matrix` asks for: `small` or `full`.
const ASKED: &str = "WEFT_CRASH_MATRIX";

fn size() -> Size {
    let seed = std::env::var("WEFT_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    match std::env::var(ASKED).as_deref() {
        Ok("full") => Size { rounds: 25, events: 1_000, seed },
        _ => Size { rounds: 3, events: 300, seed },
    }
}

/// Prints a case's rows, and fails if anything is wrong with it.
fn show(cases: &[Case]) {
    let rows: Vec<_> = cases.iter().map(Case::to_string).collect();
    println!("{HEAD}\n{}", rows.join("\n"));
    let wrong: Vec<_> = cases.iter().flat_map(Case::wrong).collect();
    assert!(wrong.is_empty(), "seed {}:\n{}", size().seed, wrong.join("\n"));
}

fn has_fuse() -> bool {
    LazyDisk::is_possible().inspect_err(|why| println!("left out: {why}")).is_ok()
}

#[test]
fn a_killed_or_frozen_hub_loses_nothing_that_was_written() {
    show(&[cases::killed(size()), cases::frozen(Size { rounds: 1, ..size() })]);
}

#[test]
fn a_clock_set_back_a_day_loses_nothing_that_was_written() {
    match cases::clock_set_back(size()) {
        Ok(case) => show(&[case]),
        Err(why) => println!("left out: {why}"),
    }
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_synced() {
    if has_fuse() {
        show(&[cases::powerless(size(), false)]);
    }
}

#[test]
fn a_full_a_read_only_and_a_slow_disk_lose_nothing_that_was_acknowledged() {
    if has_fuse() {
        show(&[cases::full(size()), cases::read_only(size()), cases::slow(size())]);
    }
}

#[test]
fn flipped_bits_are_found_not_served_and_repaired() {
    show(&[cases::flipped(size(), false)]);
}

#[test]
fn canary_a_disk_that_lies_about_its_syncs_is_caught() {
    if has_fuse() {
        let case = cases::powerless(size(), true);
        println!("{HEAD}\n{case}");
        assert!(!case.wrong().is_empty(), "nothing was missed, so a broken sync of our own would pass too");
    }
}

#[test]
fn canary_damage_that_no_checksum_shows_is_caught() {
    let case = cases::flipped(size(), true);
    let wrong = case.wrong();
    assert!(wrong.iter().any(|text| text.contains("nobody published so")), "a skipped check would pass: {wrong:?}");
}

#[test]
fn keyed_state_that_was_synced_survives_a_power_cut() {
    use weft_keyed::{Batch, Keyed, LsmKeyed, LsmOptions, Space};
    if !has_fuse() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = LazyDisk::mount(&folder.path().join("disk")).expect("FUSE");
    let path = disk.path.join("keyed");
    for round in 0..8_u64 {
        let keyed = LsmKeyed::open(&path, LsmOptions::default()).expect("it opens");
        for before in 0..round {
            let kept = keyed.get(Space::Positions, &before.to_be_bytes()).expect("it is read");
            assert!(kept.is_some(), "what was synced in round {before} is gone in round {round}");
        }
        let mut batch = Batch::new();
        batch.put(Space::Positions, round.to_be_bytes(), *b"synced");
        keyed.apply(batch).expect("it is written");
        keyed.sync().expect("it is synced");
        disk.disk().cut_after(0);
        drop(keyed);
        disk.restart(round).expect("the disk is mounted again");
    }
}
