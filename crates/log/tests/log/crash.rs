//! The power fails at every operation of a scripted run, and again at every
//! operation of the recovery that follows. The checker asks of what is found:
//!
//! * nothing is reported as damage (nothing was damaged);
//! * every event that was acknowledged as synced is there, unless retention
//!   removed it, in order, once, and is the event that was written;
//! * what is there is a beginning of what was appended, without holes.
//!
//! Three canaries must be caught by it: a hub that acknowledges before it
//! syncs, a disk that lies, and a hub that goes on after a failed sync.

use std::sync::Arc;

use weft_base::{ByteCount, Random};
use weft_log::fault::FaultFs;
use weft_log::{Keys, Log, LogOptions};
use weft_wire::block::Block;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN};

use crate::common::*;

/// What the outside world was told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// All below were appended, or were being appended.
    appended: u64,
    /// All below were acknowledged as synced.
    acknowledged: u64,
    /// All below may have been removed by retention.
    removed: u64,
    /// Events that do not stay may be gone.
    compacted: bool,
    /// It is encrypted.
    encrypted: bool,
}

/// When the scripted hub acknowledges.
#[derive(Clone, Copy, PartialEq)]
enum Hub {
    AfterSync,
    BeforeSync,
    /// After a failed sync it opens the log again and goes on.
    Reopening,
    /// After a failed sync it tries again and believes the second answer.
    Stubborn,
    /// It compacts as it goes.
    Compacting,
    /// The same with encryption.
    Encrypting,
}

impl Hub {
    fn compacts(self) -> bool {
        matches!(self, Hub::Compacting | Hub::Encrypting)
    }
}

/// What compaction keeps.
const fn stays(local: u64) -> bool {
    !local.is_multiple_of(3) && !(local / 32).is_multiple_of(3)
}

fn options() -> LogOptions {
    LogOptions { retain_bytes: Some(ByteCount::kib(36)), ..small() }
}

fn options_of(encrypted: bool) -> LogOptions {
    let keys = encrypted.then(|| Keys::parse(&"c4".repeat(32)).unwrap());
    LogOptions { keys, ..options() }
}

/// Appends and syncs in batches of different sizes until the script ends or
/// the power does.
fn script(fs: &FaultFs, hub: Hub, told: &mut Told) -> Option<()> {
    let mut random = Random::from_seed(7);
    for _opening in 0..3 {
        let options = || options_of(hub == Hub::Encrypting);
        let (mut log, recovery) = Log::open(Arc::new(fs.clone()), &dir(), options(), at(1000)).ok()?;
        told.appended = told.appended.max(recovery.next);
        told.acknowledged = told.acknowledged.max(log.synced());
        for _batch in 0..8 {
            for _block in 0..random.below(12) {
                let (next, events) = (log.next(), 1 + random.below(3));
                let size = 20 + random.below(400) as usize;
                match random.below(4) {
                    0 => {
                        // An atomic batch of three blocks.
                        told.appended = next + 3 * events;
                        let part = |at: u64, flags| flagged(next + at * events, events, size, flags);
                        let parts = [part(0, BATCH_OPEN), part(1, BATCH_OPEN), part(2, BATCH_LAST)];
                        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                        log.append_batch(&parts, at(1000)).ok()?;
                    }
                    1 => {
                        told.appended = next + events;
                        log.append_copy(&block(next, events, size, next), 9, next, at(1000)).ok()?;
                    }
                    _ => {
                        told.appended = next + events;
                        log.append(&block(next, events, size, next), at(1000)).ok()?;
                    }
                }
                // The power may fail between any two appends.
                fs.step().ok()?;
            }
            if hub == Hub::BeforeSync {
                told.acknowledged = log.next();
            }
            let synced = match (log.syncer().sync(), hub) {
                (Err(_), Hub::Reopening) => {
                    drop(log);
                    (log, _) = Log::open(Arc::new(fs.clone()), &dir(), options(), at(1000)).ok()?;
                    log.synced()
                }
                // A stubborn hub takes what a second call of the system would
                // answer, which is success.
                (Err(_), Hub::Stubborn) => log.next(),
                (synced, _) => synced.ok()?,
            };
            told.acknowledged = synced;
            log.retain(at(1000));
            told.removed = log.first();
            if hub.compacts() {
                log.compact(&mut |local, _, _| stays(local), ByteCount::kib(40)).ok()?;
            }
        }
        if random.chance(500) {
            log.close().ok()?;
        }
    }
    Some(())
}

/// Opens what a crash left and judges it.
fn check(fs: &FaultFs, told: Told) -> Result<(), String> {
    let options = || options_of(told.encrypted);
    let opened = Log::open(Arc::new(fs.clone()), &dir(), options(), at(1000));
    let (mut log, recovery) = opened.map_err(|e| format!("not opened: {e}"))?;
    if recovery.damages > 0 {
        return Err(format!("damage reported: {:?}", recovery.damaged));
    }
    let Told { appended, acknowledged, removed, .. } = told;
    if log.first() > removed.max(1) {
        return Err(format!("begins at {}, only {removed} was removed", log.first()));
    }
    if log.next() < acknowledged || log.next() > appended.max(1) {
        return Err(format!("ends at {}, {acknowledged} was acknowledged, {appended} appended", log.next()));
    }
    let mut expected = log.first();
    let (mut wrong, mut open) = (None, false);
    let each = |block: Block<'_>| {
        let first = block.stream_sequence();
        // Only compaction leaves blocks out.
        if first < expected || (expected..first).any(|gone| !told.compacted || stays(gone)) {
            wrong = Some(expected);
        }
        for (sequence, event) in (first..).zip(block.events()) {
            let removed = block.is_compacted() && event.is_removed();
            if removed && (stays(sequence) || !told.compacted) {
                wrong = Some(sequence);
            }
            if !removed && !event.payload.starts_with(&sequence.to_le_bytes()) {
                wrong = Some(sequence);
            }
        }
        expected = first + u64::from(block.event_count());
        open = block.flags() & BATCH_OPEN != 0;
    };
    log.for_each_block(log.first(), each).map_err(|e| e.to_string())?;
    if wrong.is_some() || expected > log.next() || (expected..log.next()).any(|gone| !told.compacted || stays(gone)) {
        return Err(format!("wrong at {wrong:?}, or {expected} is not {}", log.next()));
    }
    if open {
        return Err(format!("ends at {expected} with a part of a batch"));
    }
    // It goes on, and what it found counts as synced.
    let next = log.next();
    log.append(&block(next, 1, 100, 0), at(1000)).map_err(|e| e.to_string())?;
    if log.synced() != next || log.syncer().sync().map_err(|e| e.to_string())? != next + 1 {
        return Err("does not go on".to_owned());
    }
    // The next opening finds nothing to say.
    drop(log);
    let again = Log::open(Arc::new(fs.after_kill()), &dir(), options(), at(1000));
    let (_, again) = again.map_err(|e| format!("not opened again: {e}"))?;
    if (again.next, again.damages, again.cut_bytes) != (next + 1, 0, 0) {
        return Err(format!("opened again: {again:?}"));
    }
    Ok(())
}

/// The run with the power cut before operation `stop`; `prepare` sets faults.
fn run_until(stop: u64, hub: Hub, prepare: &dyn Fn(&FaultFs)) -> (FaultFs, Told) {
    let fs = FaultFs::new();
    prepare(&fs);
    fs.stop_at(stop);
    let mut told = Told { compacted: hub.compacts(), encrypted: hub == Hub::Encrypting, ..Told::default() };
    script(&fs, hub, &mut told);
    (fs, told)
}

fn operations(hub: Hub, prepare: &dyn Fn(&FaultFs)) -> u64 {
    let (fs, _) = run_until(u64::MAX, hub, prepare);
    fs.operations()
}

/// The first failure of the checker over all stops and these many seeds.
fn first_failure(hub: Hub, seeds: u64, prepare: &dyn Fn(&FaultFs)) -> Option<String> {
    (0..=operations(hub, prepare)).find_map(|stop| {
        let (fs, told) = run_until(stop, hub, prepare);
        // Other seeds at each stop, so that chance is not the same everywhere.
        (stop * seeds..(stop + 1) * seeds).find_map(|seed| {
            let failed = check(&fs.after_crash(seed), told).err();
            failed.map(|why| format!("stopped at {stop}, seed {seed}: {why} ({told:?})"))
        })
    })
}

#[test]
fn after_a_crash_at_any_operation_everything_acknowledged_is_there() {
    assert!(operations(Hub::AfterSync, &|_| {}) > 200);
    assert_eq!(first_failure(Hub::AfterSync, 4, &|_| {}), None);
}

#[test]
fn after_a_kill_at_any_operation_everything_appended_is_there() {
    for stop in 0..=operations(Hub::AfterSync, &|_| {}) {
        let (fs, told) = run_until(stop, Hub::AfterSync, &|_| {});
        let (log, _) = Log::open(Arc::new(fs.after_kill()), &dir(), options(), at(1000)).unwrap();
        assert!(log.next() >= told.acknowledged && log.synced() == log.next(), "stopped at {stop}");
        drop(log);
        check(&fs.after_kill(), told).unwrap_or_else(|why| panic!("stopped at {stop}: {why}"));
        // What a killed process left in memory is on the disk once it was opened.
        let killed = fs.after_kill();
        let (log, _) = Log::open(Arc::new(killed.clone()), &dir(), options(), at(1000)).unwrap();
        let told = Told { acknowledged: log.next(), ..told };
        drop(log);
        check(&killed.after_crash(stop), told).unwrap_or_else(|why| panic!("stopped at {stop}, crashed: {why}"));
    }
}

/// A publisher that was not acknowledged sends the same block again. When it
/// lands where the lost one was, what a torn tail held beyond must not follow.
#[test]
fn nothing_of_a_torn_tail_comes_back_behind_a_block_that_is_appended_again() {
    let fs = FaultFs::new();
    let (mut log, _) = open(&fs);
    append(&mut log, 3);
    log.syncer().sync().unwrap();
    append(&mut log, 60);
    drop(log);
    let mut torn = 0;
    for seed in 0..40 {
        let crashed = fs.after_crash(seed);
        let (mut log, recovery) = open(&crashed);
        torn += u64::from(recovery.cut_bytes > 0);
        append(&mut log, 1);
        drop(log);
        let again = open(&crashed.after_kill()).1;
        assert_eq!((again.next, again.cut_bytes), (recovery.next + 1, 0), "seed {seed}");
    }
    assert!(torn > 10, "{torn}");
}

#[test]
fn recovery_may_be_interrupted_at_any_operation() {
    let mut interrupted = 0;
    for stop in (0..=operations(Hub::AfterSync, &|_| {})).step_by(3) {
        let (fs, told) = run_until(stop, Hub::AfterSync, &|_| {});
        for seed in [2 * stop, 2 * stop + 1] {
            for second in 0.. {
                let crashed = fs.after_crash(seed);
                crashed.stop_at(second);
                if Log::open(Arc::new(crashed.clone()), &dir(), options(), at(1000)).is_ok() {
                    break;
                }
                interrupted += 1;
                if let Err(why) = check(&crashed.after_crash(1000 * seed + second), told) {
                    panic!("stopped at {stop}, seed {seed}, recovery stopped at {second}: {why} ({told:?})");
                }
            }
        }
    }
    assert!(interrupted > 300, "{interrupted}");
}

#[test]
fn after_failed_syncs_and_a_reopening_everything_acknowledged_is_there() {
    for failing in [1, 9] {
        let prepare = move |fs: &FaultFs| fs.fail_sync(failing);
        assert_eq!(first_failure(Hub::Reopening, 1, &prepare), None, "sync {failing} fails");
    }
}

#[test]
fn compaction_may_be_cut_short_at_any_operation() {
    let fs = run_until(u64::MAX, Hub::Compacting, &|_| {}).0;
    let (mut log, _) = Log::open(Arc::new(fs), &dir(), options(), at(1000)).unwrap();
    let mut gone = 0;
    log.for_each_block(1, |block| gone += u64::from(block.is_compacted())).unwrap();
    assert!(gone > 0, "some were written anew");
    // There is something to remove in a second pass.
    assert!(log.compact(&mut |_, _, _| false, ByteCount::mib(1)).unwrap().segments > 0);
    assert_eq!(first_failure(Hub::Compacting, 2, &|_| {}), None);
}

#[test]
fn an_encrypted_log_may_be_cut_short_at_any_operation() {
    let (fs, told) = run_until(u64::MAX, Hub::Encrypting, &|_| {});
    assert!(told.acknowledged > 100);
    let (mut log, _) = Log::open(Arc::new(fs), &dir(), options_of(true), at(1000)).unwrap();
    let mut gone = 0;
    log.for_each_block(1, |block| gone += u64::from(block.is_compacted())).unwrap();
    assert!(gone > 0, "some were written anew");
    assert!(log.compact(&mut |_, _, _| false, ByteCount::mib(1)).unwrap().segments > 0);
    assert_eq!(first_failure(Hub::Encrypting, 1, &|_| {}), None);
}

#[test]
fn a_file_system_that_turns_read_only_at_any_operation_loses_nothing_acknowledged() {
    let mut refused = 0;
    for stop in (0..=operations(Hub::Reopening, &|_| {})).step_by(2) {
        let (fs, told) = run_until(u64::MAX, Hub::Reopening, &move |fs| fs.read_only_at(stop));
        refused += u64::from(told.acknowledged < 200);
        for after in [fs.after_kill(), fs.after_crash(stop)] {
            check(&after, told).unwrap_or_else(|why| panic!("read-only from {stop}: {why} ({told:?})"));
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn canary_a_batch_that_is_appended_block_by_block_is_caught() {
    let caught = (0..200).find(|seed| {
        let fs = FaultFs::new();
        let (mut log, _) = Log::open(Arc::new(fs.clone()), &dir(), options(), at(1000)).unwrap();
        let told = Told { appended: 4, acknowledged: 1, ..Told::default() };
        for (next, last) in [(1, false), (2, false), (3, true)] {
            // Without the flag the log cannot know that more belongs to it.
            let flags = if last { BATCH_LAST } else { 0 };
            log.append(&flagged(next, 1, 3000, flags), at(1000)).unwrap();
        }
        drop(log);
        let crashed = fs.after_crash(*seed);
        let (log, _) = Log::open(Arc::new(crashed.clone()), &dir(), options(), at(1000)).unwrap();
        let part = (2..4).contains(&log.next());
        drop(log);
        check(&crashed, told).unwrap();
        part
    });
    assert!(caught.is_some(), "crashes do tear what is not a batch");
}

#[test]
fn canary_a_hub_that_acknowledges_before_syncing_is_caught() {
    let caught = first_failure(Hub::BeforeSync, 2, &|_| {}).expect("a hub that acknowledges too early");
    assert!(caught.contains("was acknowledged"), "{caught}");
}

#[test]
fn canary_a_disk_that_lies_is_caught() {
    assert!(first_failure(Hub::AfterSync, 2, &FaultFs::lie).is_some());
}

#[test]
fn canary_a_hub_that_believes_a_second_sync_is_caught() {
    let caught = (1..30).find_map(|failing| first_failure(Hub::Stubborn, 2, &move |fs| fs.fail_sync(failing)));
    assert!(caught.expect("a hub that goes on after a failed sync").contains("was acknowledged"));
}
