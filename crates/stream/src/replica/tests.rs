//! Replicas in a small world: whatever happens, homes converge.

use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, Now, UnixNanos};

use super::world::{Breakage, World};
use super::{
    Command, Entries, Event, FoundBlocks, Message, Position, Replica, Settings, Source, Stored, Unreadable, Want,
};

const MS: Duration = Duration::from_millis(1);

/// A life of some homes; answers what went wrong.
fn live(seed: u64, homes: usize, steps: usize, breakage: Breakage) -> (World, Vec<String>) {
    let mut world = World::new(homes, seed, breakage);
    let homes = homes as u64;
    let mut sent: Vec<(u64, u64, u32)> = Vec::new();
    for _ in 0..steps {
        let at = world.below(homes) as usize;
        match world.below(23) {
            0..9 => {
                let (producer, span) = (1 + world.below(4), 1 + world.below(3) as u32);
                if let Some(number) = world.publish(at, producer, span) {
                    sent.push((producer, number, span));
                }
            }
            // It heard nothing, and tries elsewhere.
            9..11 if !sent.is_empty() => {
                let back = world.below(sent.len().min(6) as u64) as usize;
                if let Some((producer, number, span)) = sent.get(sent.len() - 1 - back).copied() {
                    let _ = world.publish_again(at, producer, number, span);
                }
            }
            11..16 => world.sync(at),
            16 => world.crash(at),
            17..19 => world.restart(at),
            19 => world.turn_edge(),
            20 => world.refuse(at, true),
            21 => world.refuse(at, false),
            _ => {}
        }
        let pause = world.below(200) as u32;
        world.advance(MS * pause);
        let found = world.check();
        if !found.is_empty() {
            return (world, found);
        }
    }
    world.heal();
    for _ in 0..60 {
        (0..world.homes()).for_each(|at| world.sync(at));
        world.advance(MS * 1_000);
    }
    let mut found = world.check();
    found.extend(world.missing());
    found.extend(
        (0..world.homes())
            .filter(|at| !world.held_everywhere(*at))
            .map(|at| format!("home {at} was not told who holds its events")),
    );
    (world, found)
}

#[test]
fn homes_converge_through_cuts_crashes_and_publishing_elsewhere() {
    let mut copied = 0;
    for seed in 0..40 {
        let homes = 2 + (seed % 4) as usize;
        let (world, found) = live(seed, homes, 80, Breakage::None);
        assert!(found.is_empty(), "seed {seed}, {homes} homes: {found:#?}");
        copied += (0..homes).filter_map(|at| world.report(at)).map(|report| report.counts.copied).sum::<u64>();
    }
    assert!(copied > 1_500, "the world must be alive: {copied}");
}

/// Whether some seed is caught with this wrong.
fn is_caught(breakage: Breakage) -> bool {
    (0..400).any(|seed| !live(seed, 2 + (seed % 4) as usize, 80, breakage).1.is_empty())
}

#[test]
fn a_home_that_says_synced_too_early_is_caught() {
    assert!(is_caught(Breakage::SaysSyncedTooEarly));
}

#[test]
fn a_home_that_stores_what_is_there_under_another_name_is_caught() {
    assert!(is_caught(Breakage::NoLookForDuplicates));
}

#[test]
fn a_home_that_tells_duplicates_by_the_last_number_is_caught() {
    assert!(is_caught(Breakage::HighWaterMark));
}

#[test]
fn a_log_that_takes_what_follows_a_refusal_is_caught() {
    assert!(is_caught(Breakage::TakesBehindRefused));
}

fn settle(world: &mut World) {
    for _ in 0..20 {
        (0..world.homes()).for_each(|at| world.sync(at));
        world.advance(MS * 1_000);
    }
}

#[test]
fn what_is_damaged_at_one_home_is_fetched_from_another_and_what_nobody_has_is_counted() {
    let mut world = World::new(3, 5, Breakage::None);
    world.publish(0, 1, 3);
    settle(&mut world);
    world.isolate(2, true);
    world.publish(0, 1, 3);
    world.publish(1, 2, 2);
    for _ in 0..8 {
        world.sync(0);
        world.sync(1);
        world.advance(MS * 1_000);
    }
    let before = world.events(2);
    world.damage(0);
    world.isolate(2, false);
    world.heal();
    settle(&mut world);
    assert_eq!((before, world.missing(), world.check()), (3, vec![], vec![]));
    let lost = |world: &World| world.report(2).map(|report| report.counts.lost);
    assert_eq!(lost(&world), Some(0));
    // Now only the damaged log has it: the stream goes on without, and says so.
    world.isolate(0, true);
    world.publish(0, 1, 2);
    (0..4).for_each(|_| world.sync(0));
    world.damage(0);
    world.publish(0, 1, 1);
    (0..4).for_each(|_| world.sync(0));
    world.heal();
    settle(&mut world);
    assert_eq!((lost(&world), world.events(2), world.check()), (Some(2), 9, vec![]));
}

#[test]
fn the_lag_is_measured_from_the_sources_own_end_and_silence_is_seen() {
    let mut world = World::new(2, 9, Breakage::None);
    settle(&mut world);
    world.refuse(1, true);
    world.publish(0, 1, 3);
    world.sync(0);
    settle(&mut world);
    let report = world.report(1).expect("it runs");
    assert_eq!((report.sources[0].lag, report.position.len()), (3, 0));
    assert!(report.counts.refused > 0);
    world.crash(0);
    world.advance(MS * 5_000);
    let report = world.report(1).expect("it runs");
    assert!(!report.sources[0].up && report.sources[0].heard >= Some(MS * 5_000), "{report:?}");
}

/// A log of blocks of one event each, some of them damaged.
struct Blocks(Vec<(u32, u64)>, Vec<u64>);

impl Source for Blocks {
    fn first(&self) -> u64 {
        1
    }

    fn position_at(&mut self, local: u64) -> Result<Position, Unreadable> {
        Ok(self.0.iter().take(local as usize - 1).map(|(home, sequence)| (*home, sequence + 1)).collect())
    }

    fn read(&mut self, from: u64, upto: u64, each: &mut dyn FnMut(Stored<'_>) -> bool) -> Result<u64, Unreadable> {
        for local in from..upto {
            if self.1.contains(&local) {
                return if local > from { Ok(local) } else { Err(Unreadable::Damaged { resume: local + 1 }) };
            }
            let (home, sequence) = self.0[local as usize - 1];
            let bytes = &[local as u8; 40];
            if !each(Stored {
                first: local,
                next: local + 1,
                home,
                sequence,
                span: 1,
                more: false,
                withheld: false,
                bytes,
            }) {
                return Ok(local);
            }
        }
        Ok(upto)
    }
}

#[test]
fn who_asks_for_events_by_name_gets_those_that_are_there_in_parts() {
    let events: Vec<(u32, u64)> = (0..60).map(|n| (1 + n % 3, 1 + u64::from(n / 3))).collect();
    let held: Position = events.iter().map(|(home, sequence)| (*home, sequence + 1)).collect();
    let settings = Settings { answer: 200, ..Settings::new(5, "all", 1) };
    let now = Now { mono: Mono(0), wall: UnixNanos(0) };
    let mut replica = Replica::new(settings, held, 61, Epoch(1), 1);
    let mut source = Blocks(events, vec![20, 33]);
    let upto: Position = [(1, 14), (3, 12)].into_iter().collect();
    let mut from: Position = [(1, 6), (3, 9)].into_iter().collect();
    let (mut got, mut parts) = (Vec::new(), 0);
    loop {
        let want = Want { stream: 5, asker: 9, request: parts, name: "", from: from.clone(), upto: upto.clone() };
        let bytes = Message::Want(want).encode();
        let message = Message::decode(&bytes).expect("a message");
        let mut out = Vec::new();
        replica.apply(Event::Message { from: HubId(2), message: &message }, now, &mut out);
        while out.is_empty() {
            assert!(replica.has_readers(), "it goes on until there is an answer");
            assert!(replica.serve(&mut source, now, &mut out) > 0);
        }
        let [Command::Send { to: HubId(2), bytes }] = out.as_slice() else { panic!("{out:?}") };
        let Ok(Message::Found(FoundBlocks { stream: 9, request, done, through, entries })) = Message::decode(bytes)
        else {
            panic!("not an answer")
        };
        assert_eq!(request, parts);
        got.extend(Entries::new(entries).map(|entry| (entry.home, entry.sequence)));
        parts += 1;
        if done {
            break;
        }
        assert!(through.covers(&from) && through != from, "it comes forward");
        from = through;
    }
    assert!(parts > 1);
    let lost = [(20 - 1, ()), (33 - 1, ())].map(|(at, ())| source.0[at]);
    let wanted = |(home, sequence): &(u32, u64)| match home {
        1 => (6..14).contains(sequence),
        3 => (9..12).contains(sequence),
        _ => false,
    };
    let expected: Vec<(u32, u64)> = source.0.iter().filter(|e| wanted(e) && !lost.contains(e)).copied().collect();
    assert_eq!(got, expected);
    assert!(!replica.has_readers());
}
