//! Recording, counting and beating allocate nothing once the names are given.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use allocation_counter::measure;
use weft_base::UnixNanos;
use weft_base::sync::atomic::Ordering;
use weft_observe::layout::Unit;
use weft_observe::scale::Scale;
use weft_observe::{Recorder, Table, TableOptions};

#[test]
fn recording_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = TableOptions { folder: Some(folder.path().to_owned()), memory: None, ..TableOptions::default() };
    let table = Table::create(&options);
    let mut beat = table.beat_of("stage.route");
    let mut mapped = table.histogram("stage.route.wait", Unit::Nanoseconds, Scale::NANOS, Some(&beat));
    let mut own = Recorder::own(Scale::NANOS);
    let count = table.counter("ledger.published", Unit::Events, Some(&beat));
    let counted = measure(|| {
        for n in 0..10_000_u64 {
            beat.beat(UnixNanos(n));
            mapped.record(n * n * n);
            own.record_many(n, 3);
            count.fetch_add(1, Ordering::Relaxed);
            table.beat(UnixNanos(n));
        }
    });
    assert_eq!(counted.count_total, 0);
    let seen = measure(|| drop(own.viewer().snapshot()));
    assert!(seen.count_total > 0, "it sees what allocates");
}
