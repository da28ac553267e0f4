//! Histograms against the sorted list of what was recorded, and what a reader
//! on another thread may see.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use weft_observe::scale::Scale;
use weft_observe::snapshot::SHOWN;
use weft_observe::{Recorder, Snapshot};

fn recorded(values: &[u64]) -> Snapshot {
    let mut recorder = Recorder::own(Scale::NANOS);
    values.iter().for_each(|value| recorder.record(*value));
    recorder.viewer().snapshot()
}

/// Values of all sizes, as often small as large.
fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((0..64_u32).prop_flat_map(|bits| 0..=u64::MAX >> bits), 1..300)
}

/// Why `got` is not what may be answered where `exact` is true.
fn fault(exact: u64, got: u64) -> Option<String> {
    let most = if exact < Scale::NANOS.limit() { exact.saturating_add(exact / 32) } else { u64::MAX };
    (got < exact.min(Scale::NANOS.limit()) || got > most).then(|| format!("{got} instead of {exact}"))
}

fn check(values: &[u64], snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    prop_assert_eq!(snapshot.count(), values.len() as u64);
    let parts = SHOWN.iter().map(|(_, parts)| *parts).chain([0, 1, 2_500, 10_000, 20_000]);
    for parts in parts {
        let place = (values.len() as u64 * u64::from(parts.min(10_000))).div_ceil(10_000).max(1);
        let exact = sorted[place as usize - 1];
        let got = snapshot.quantile(parts).unwrap();
        prop_assert_eq!(fault(exact, got), None, "at {} of 10,000", parts);
    }
    Ok(())
}

proptest! {
    #[test]
    fn quantiles_are_never_below_the_true_one_and_at_most_a_32nd_above(values in values()) {
        let snapshot = recorded(&values);
        check(&values, &snapshot)?;
        prop_assert_eq!(snapshot.largest(), *values.iter().max().unwrap());
        prop_assert_eq!(snapshot.sum(), values.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value)));
    }

    #[test]
    fn merged_histograms_are_that_of_all_values(one in values(), other in values()) {
        let mut merged = recorded(&one);
        merged.merge(&recorded(&other)).unwrap();
        prop_assert_eq!(merged, recorded(&[one, other].concat()));
    }

    #[test]
    fn an_interval_has_what_was_recorded_in_it(before in values(), within in values()) {
        let mut recorder = Recorder::own(Scale::NANOS);
        before.iter().for_each(|value| recorder.record(*value));
        let earlier = recorder.viewer().snapshot();
        within.iter().for_each(|value| recorder.record(*value));
        let interval = recorder.viewer().snapshot().since(&earlier).unwrap();
        let exact = recorded(&within);
        prop_assert_eq!(interval.counts(), exact.counts());
        prop_assert_eq!(interval.sum(), exact.sum());
        check(&within, &interval)?;
        prop_assert_eq!(fault(*within.iter().max().unwrap(), interval.largest()), None);
    }

    #[test]
    fn a_value_recorded_many_times_at_once_is_recorded_that_often(value: u64, times in 0..50_u64) {
        let mut recorder = Recorder::own(Scale::NANOS);
        recorder.record_many(value, times);
        prop_assert_eq!(recorder.viewer().snapshot(), recorded(&vec![value; times as usize]));
    }
}

#[test]
fn the_checker_of_quantiles_sees_what_is_too_low_and_too_high() {
    assert_eq!(fault(1_000, 1_031), None);
    assert!(fault(1_000, 999).is_some() && fault(1_000, 1_032).is_some() && fault(31, 32).is_some());
}

#[test]
fn nothing_recorded_has_no_quantiles() {
    let empty = recorded(&[]);
    assert_eq!(empty, Snapshot::empty(Scale::NANOS));
    assert_eq!((empty.quantile(5_000), empty.mean(), empty.largest()), (None, None, 0));
    assert_eq!(recorded(&[1, 2]).since(&recorded(&[1, 2])).unwrap(), empty);
}

#[test]
fn histograms_of_other_scales_are_not_put_together() {
    let mut other = Snapshot::empty(Scale::of(3, 40).unwrap());
    assert!(other.merge(&recorded(&[1])).is_err() && other.since(&recorded(&[1])).is_err());
    assert_eq!(other, Snapshot::empty(Scale::of(3, 40).unwrap()));
}

#[test]
fn a_writer_begun_anew_shows_nothing_instead_of_less_than_nothing() {
    let interval = recorded(&[5]).since(&recorded(&[5, 5, 900])).unwrap();
    assert_eq!((interval.count(), interval.quantile(9_900)), (0, None));
}

#[test]
fn a_reader_never_sees_a_count_shrink_and_in_the_end_sees_all() {
    const ALL: u64 = 200_000;
    let mut recorder = Recorder::own(Scale::NANOS);
    let viewer = recorder.viewer();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Values that fill both halves of a word, so that a torn one would show.
            (0..ALL).for_each(|n| recorder.record((n % 7) << 33 | (n % 5)));
            done.store(true, Ordering::Release);
        });
        let mut last = viewer.snapshot();
        loop {
            let is_last = done.load(Ordering::Acquire);
            let next = viewer.snapshot();
            assert!(next.counts().iter().zip(last.counts()).all(|(next, last)| next >= last));
            assert!(next.count() <= ALL && next.largest() >= last.largest() && next.sum() >= last.sum());
            assert!(next.largest() >> 33 <= 6 && next.largest() & 0xFFFF_FFFF <= 4);
            last = next;
            if is_last {
                break;
            }
        }
        let all: Vec<u64> = (0..ALL).map(|n| (n % 7) << 33 | (n % 5)).collect();
        assert_eq!(last, recorded(&all));
        // The thread sanitizer sees an end that was waited for, and not that of a scope.
        writer.join().unwrap();
    });
}
