//! What every implementation of keyed state must do, run over both, and what
//! the twin alone can be made to do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_keyed::{Batch, Keyed, KeyedError, LsmKeyed, LsmOptions, MAX_KEY, MemoryKeyed, Space, end_of};

fn put(keyed: &dyn Keyed, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(space, key, value);
    keyed.apply(batch).unwrap();
}

fn keys(keyed: &dyn Keyed, from: &[u8], below: &[u8], most: usize) -> Vec<Vec<u8>> {
    keyed.scan(Space::Last, from, below, most).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Runs the check over each implementation.
fn both(check: impl Fn(&dyn Keyed)) {
    check(&MemoryKeyed::new());
    let folder = tempfile::tempdir().unwrap();
    check(&LsmKeyed::open(folder.path(), LsmOptions::default()).unwrap());
}

#[test]
fn what_was_put_is_found_until_it_is_deleted() {
    both(|keyed| {
        assert_eq!(keyed.get(Space::Meta, b"a").unwrap(), None);
        put(keyed, Space::Meta, b"a", b"1");
        put(keyed, Space::Meta, b"a", b"2");
        put(keyed, Space::Meta, b"empty", b"");
        assert_eq!(keyed.get(Space::Meta, b"a").unwrap().unwrap(), b"2");
        assert_eq!(keyed.get(Space::Meta, b"empty").unwrap().unwrap(), b"");
        assert_eq!(keyed.get(Space::Last, b"a").unwrap(), None, "spaces are apart");
        let mut batch = Batch::new();
        batch.delete(Space::Meta, b"a".as_slice());
        batch.delete(Space::Meta, b"never there".as_slice());
        keyed.apply(batch).unwrap();
        assert_eq!(keyed.get(Space::Meta, b"a").unwrap(), None);
        keyed.sync().unwrap();
    });
}

#[test]
fn a_scan_gives_a_range_in_order_and_no_more_than_was_asked_for() {
    both(|keyed| {
        for key in [b"b1".as_slice(), b"a", b"b", b"b\xff\xff", b"c", b"b0"] {
            put(keyed, Space::Last, key, key);
        }
        put(keyed, Space::Cursors, b"b5", b"another space");
        assert_eq!(keys(keyed, b"b", &end_of(b"b"), 10), [b"b".as_slice(), b"b0", b"b1", b"b\xff\xff"]);
        assert_eq!(keys(keyed, b"b", &end_of(b"b"), 2), [b"b".as_slice(), b"b0"]);
        assert_eq!(keys(keyed, b"b1", b"", 10), [b"b1".as_slice(), b"b\xff\xff", b"c"]);
        assert_eq!(keys(keyed, b"", b"b", 10), [b"a"]);
        assert!(keys(keyed, b"c", b"a", 10).is_empty(), "an empty range");
        assert!(keys(keyed, b"a", b"a", 10).is_empty());
    });
}

#[test]
fn a_batch_is_applied_in_its_order_and_a_bad_one_not_at_all() {
    both(|keyed| {
        let mut batch = Batch::new();
        batch.put(Space::Meta, b"a".as_slice(), b"1".as_slice());
        batch.put(Space::Positions, b"a".as_slice(), b"2".as_slice());
        batch.delete(Space::Meta, b"a".as_slice());
        assert_eq!(batch.len(), 3);
        keyed.apply(batch).unwrap();
        assert_eq!(keyed.get(Space::Meta, b"a").unwrap(), None);
        assert_eq!(keyed.get(Space::Positions, b"a").unwrap().unwrap(), b"2");
        for key in [vec![], vec![7; MAX_KEY + 1]] {
            let mut bad = Batch::new();
            bad.put(Space::Meta, b"good".as_slice(), b"1".as_slice());
            bad.put(Space::Meta, key, b"1".as_slice());
            assert!(matches!(keyed.apply(bad), Err(KeyedError::TooLarge { .. })));
            assert_eq!(keyed.get(Space::Meta, b"good").unwrap(), None, "all or nothing");
        }
        keyed.apply(Batch::new()).unwrap();
    });
}

#[test]
fn what_was_applied_is_there_after_the_folder_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let keyed = LsmKeyed::open(folder.path(), LsmOptions::default()).unwrap();
    for n in 0..1_000_u64 {
        put(&keyed, Space::Producers, &n.to_be_bytes(), &[7; 100]);
    }
    drop(keyed);
    let keyed = LsmKeyed::open(folder.path(), LsmOptions::default()).unwrap();
    assert_eq!(keyed.scan(Space::Producers, b"", b"", usize::MAX).unwrap().len(), 1_000);
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = LsmKeyed::open(folder.path(), LsmOptions::default()).unwrap();
    let second = LsmKeyed::open(folder.path(), LsmOptions::default());
    assert!(matches!(second, Err(KeyedError::InUse { .. })), "{second:?}");
}

#[test]
fn a_crash_of_the_twin_costs_what_was_not_synced_and_no_half_batch() {
    let keyed = MemoryKeyed::new();
    put(&keyed, Space::Meta, b"a", b"1");
    keyed.sync().unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Meta, b"a".as_slice(), b"2".as_slice());
    batch.put(Space::Meta, b"b".as_slice(), b"2".as_slice());
    keyed.apply(batch).unwrap();
    put(&keyed, Space::Meta, b"c", b"3");
    assert_eq!(keyed.unsynced(), 2);
    keyed.crash(1);
    let value = |key: &[u8]| keyed.get(Space::Meta, key).unwrap();
    assert_eq!((value(b"a"), value(b"b"), value(b"c")), (Some(b"2".to_vec()), Some(b"2".to_vec()), None));
    put(&keyed, Space::Meta, b"d", b"4");
    keyed.crash(0);
    assert_eq!(value(b"d"), None);
}

#[test]
fn a_disk_that_fails_is_reported_and_nothing_is_applied() {
    let keyed = MemoryKeyed::new();
    keyed.fail_next(2);
    let mut batch = Batch::new();
    batch.put(Space::Meta, b"a".as_slice(), b"1".as_slice());
    assert!(matches!(keyed.apply(batch.clone()), Err(KeyedError::Io(_))));
    assert!(keyed.sync().is_err());
    assert_eq!(keyed.get(Space::Meta, b"a").unwrap(), None);
    keyed.apply(batch).unwrap();
    keyed.sync().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// Both agree with a map, whatever is put and deleted.
    #[test]
    fn both_do_as_a_map_does(changes in prop::collection::vec((0..4_u8, 0..3_u8, prop::option::of(any::<u16>())), 1..60)) {
        let mut map = BTreeMap::new();
        let folder = tempfile::tempdir().unwrap();
        let lsm = LsmKeyed::open(folder.path(), LsmOptions::default()).unwrap();
        let memory = MemoryKeyed::new();
        for (a, b, value) in changes {
            let key = vec![a, b];
            let value = value.map(|value| value.to_be_bytes().to_vec());
            for keyed in [&lsm as &dyn Keyed, &memory] {
                let mut batch = Batch::new();
                match &value {
                    Some(value) => batch.put(Space::Last, key.clone(), value.clone()),
                    None => batch.delete(Space::Last, key.clone()),
                }
                keyed.apply(batch).unwrap();
            }
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
        let expected: Vec<_> = map.into_iter().collect();
        prop_assert_eq!(&lsm.scan(Space::Last, b"", b"", 100).unwrap(), &expected);
        prop_assert_eq!(&memory.scan(Space::Last, b"", b"", 100).unwrap(), &expected);
    }
}
