//! What a council promises, by example.

mod mesh;

use std::time::Duration;

use mesh::{Mesh, id, yes};
use weft_base::{Mono, Random};
use weft_consensus::{Command, Council, Kept, OpenError, Outcome, ProposeError, StorageError, Trouble};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn voters_that_start_together_found_one_cluster_and_any_hub_writes_and_reads() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"], 3, 1);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    assert_eq!(mesh.propose(0, "x=1"), yes());
    assert_eq!(mesh.propose(3, "x:1=2"), yes());
    assert_eq!(mesh.propose(1, "x:1=3"), Outcome::Done(b"no".to_vec()));
    for hub in 0..4 {
        assert_eq!(mesh.read(hub, "x"), Ok(Some("2".to_owned())), "at hub {hub}");
    }
    let clusters: Vec<u64> = mesh.hubs.iter().map(|hub| hub.council.as_ref().expect("runs").cluster()).collect();
    assert!(clusters[0] != 0 && clusters.iter().all(|cluster| *cluster == clusters[0]), "{clusters:?}");
    mesh.until("the fourth learns", |mesh| mesh.members(0).1.contains(&id("d")));
    assert_eq!(mesh.members(0).0, ["a", "b", "c"].map(id).into());
}

#[test]
fn a_single_voter_founds_at_once() {
    let mut mesh = Mesh::new(&["a"], 1, 2);
    assert_eq!(mesh.propose(0, "x=1"), yes());
    mesh.crash(0);
    mesh.start(0);
    assert_eq!(mesh.read(0, "x"), Ok(Some("1".to_owned())));
}

#[test]
fn a_voter_that_starts_later_is_waited_for_and_founds_nothing_of_its_own() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 3);
    for late in [0, 2] {
        let mut mesh = Mesh::new(&["a", "b", "c"], 3, 3 + late as u64);
        mesh.hubs[late].council = None;
        mesh.crash(late);
        mesh.run(SECOND * 20);
        assert_eq!(mesh.leader(), None);
        mesh.start(late);
        mesh.until("a leader", |mesh| mesh.leader().is_some());
        assert_eq!(mesh.propose(late, "x=1"), yes());
    }
    mesh.until("a leader", |mesh| mesh.leader().is_some());
}

#[test]
fn what_was_answered_is_there_after_the_power_failed_everywhere() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 4);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    for n in 0..20 {
        assert_eq!(mesh.propose(n % 3, &format!("k{n}={n}")), yes());
    }
    (0..3).for_each(|hub| mesh.crash(hub));
    (0..3).for_each(|hub| mesh.start(hub));
    for n in 0..20 {
        mesh.run(SECOND / 4);
        let value = mesh.read(n % 3, &format!("k{n}"));
        assert_eq!(value, Ok(Some(n.to_string())));
    }
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_reads_nothing_stale() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 5);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    assert_eq!(mesh.propose(0, "x=1"), yes());
    let old = mesh.leader().expect("leads");
    mesh.isolate(old);
    let other = (old + 1) % 3;
    let mut answer = mesh.propose(other, "x=2");
    while answer != yes() {
        answer = mesh.propose(other, "x=2");
    }
    assert_eq!(mesh.read(old, "x"), Err(Outcome::NoLeader), "it has no majority");
    let council = mesh.hubs[old].council.as_ref().expect("runs");
    assert!(council.age(mesh.now).is_none_or(|age| age > SECOND), "{:?}", council.age(mesh.now));
    mesh.heal();
    mesh.run(SECOND * 5);
    assert_eq!(mesh.read(old, "x"), Ok(Some("2".to_owned())));
    let council = mesh.hubs[old].council.as_ref().expect("runs");
    assert!(council.age(mesh.now).is_some_and(|age| age < SECOND), "{:?}", council.age(mesh.now));
}

#[test]
fn a_hub_that_was_away_for_long_catches_up_by_a_snapshot_in_parts_over_a_bad_line() {
    let mut mesh = Mesh::with(&["a", "b", "c"], 3, 6, |options| {
        options.limits.log_entries = 32;
        options.limits.message = weft_base::ByteCount::kib(4);
    });
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    let away = (mesh.leader().expect("leads") + 1) % 3;
    let near = (away + 1) % 3;
    mesh.crash(away);
    for n in 0..120 {
        assert_eq!(mesh.propose(near, &format!("k{n}={}", "v".repeat(2000))), yes());
    }
    mesh.loss = 50;
    mesh.start(away);
    mesh.until("it catches up", |mesh| mesh.keys(away).values.len() == 120);
    assert_eq!(mesh.keys(away), mesh.keys(near));
    assert!(mesh.longest > 3 << 10, "there were long messages");
}

#[test]
fn a_hub_that_was_never_there_before_begins_with_a_snapshot() {
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], 3, 18, |options| {
        options.limits.log_entries = 16;
        options.limits.message = weft_base::ByteCount::kib(4);
    });
    mesh.crash(3);
    mesh.hubs[3].disk = weft_consensus::disk::FaultDisk::new();
    for n in 0..60 {
        assert_eq!(mesh.propose(0, &format!("k{n}={}", "v".repeat(500))), yes());
    }
    mesh.start(3);
    // It was told nothing before: its first message is part of a snapshot.
    mesh.until("it has all", |mesh| mesh.keys(3) == mesh.keys(0));
}

#[test]
fn hubs_that_name_different_leaders_to_each_other_do_not_greet_without_end() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"], 5, 19);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    let leader = mesh.leader().expect("leads");
    // Each half keeps its own opinion for a while; then all of them talk.
    mesh.isolate(leader);
    mesh.run(SECOND * 5);
    let before = mesh.sent;
    mesh.heal();
    mesh.run(SECOND * 10);
    assert!(mesh.sent - before < 5 * 4 * 10 * 10, "{} messages in ten seconds", mesh.sent - before);
}

#[test]
fn a_leader_that_starts_again_in_its_term_reads_nothing_older_than_it_answered() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 20);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    for n in 0..20 {
        let leader = loop {
            mesh.run(SECOND / 10);
            if let Some(leader) = mesh.leader() {
                break leader;
            }
        };
        if mesh.propose(leader, &format!("x={n}")) != yes() {
            continue;
        }
        mesh.crash(leader);
        mesh.start(leader);
        if let Ok(value) = mesh.read(leader, "x") {
            assert_eq!(value, Some(n.to_string()));
        }
    }
}

#[test]
fn a_proposal_longer_than_a_message_goes_in_parts_both_ways_and_elects_nobody() {
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], 3, 7, |options| {
        options.limits.message = weft_base::ByteCount::kib(4);
    });
    mesh.delay = Duration::from_millis(60);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    let leader = mesh.leader();
    let long = "v".repeat(200 << 10);
    assert_eq!(mesh.propose(3, &format!("x={long}")), yes(), "from a learner, over 100 round trips in all");
    mesh.until("all have it", |mesh| (0..4).all(|hub| mesh.keys(hub).values.get("x") == Some(&long)));
    assert_eq!(mesh.leader(), leader);
    let terms = mesh.hubs[0].commands.iter().filter(|command| matches!(command, Command::Leader { hub: Some(_), .. }));
    assert_eq!(terms.count(), 1, "{:?}", mesh.hubs[0].commands);
}

#[test]
fn voters_are_changed_by_an_operator_from_any_hub_and_the_old_ones_may_go() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"], 3, 8);
    mesh.until("all take part", |mesh| mesh.leader().is_some() && mesh.members(0).1.len() == 2);
    assert_eq!(mesh.propose(0, "x=1"), yes());
    assert_eq!(mesh.set_voters(4, &["c", "d", "e"]), Outcome::Voters);
    mesh.run(SECOND * 2);
    mesh.crash(0);
    mesh.crash(1);
    mesh.run(SECOND * 5);
    assert_eq!(mesh.propose(4, "x:1=2"), yes());
    assert_eq!(mesh.members(4).0, ["c", "d", "e"].map(id).into());
    assert!(matches!(mesh.set_voters(4, &["c", "nobody"]), Outcome::Refused(why) if why.contains("takes no part")));
    assert!(matches!(mesh.set_voters(4, &[]), Outcome::Refused(_)));
}

#[test]
fn a_voter_that_lost_its_disk_comes_back_as_another_member_and_does_not_vote_until_it_has_the_log() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 9);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    assert_eq!(mesh.propose(0, "x=1"), yes());
    let lost = (mesh.leader().expect("leads") + 1) % 3;
    let before = mesh.hubs[lost].council.as_ref().expect("runs").member();
    mesh.crash(lost);
    mesh.hubs[lost].disk = weft_consensus::disk::FaultDisk::new();
    mesh.start(lost);
    let after = mesh.hubs[lost].council.as_ref().expect("runs").member();
    assert!(before.hub == after.hub && before.instance != after.instance);
    mesh.until("it is told", |mesh| {
        let trouble = Command::Trouble(Trouble::LostDisk { hub: after.hub });
        mesh.hubs.iter().any(|hub| hub.commands.contains(&trouble))
    });
    mesh.until("it has the state", |mesh| mesh.keys(lost).values.contains_key("x"));
    mesh.run(SECOND * 10);
    // It votes again: with one of the others gone there is still a majority.
    mesh.crash((lost + 1) % 3);
    mesh.run(SECOND * 5);
    assert_eq!(mesh.propose(lost, "x:1=2"), yes());
}

#[test]
fn founders_that_lost_their_disk_do_not_found_again() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 10);
    mesh.until("a leader", |mesh| mesh.leader().is_some());
    assert_eq!(mesh.propose(1, "x=1"), yes());
    let cluster = mesh.hubs[1].council.as_ref().expect("runs").cluster();
    mesh.crash(0);
    mesh.hubs[0].disk = weft_consensus::disk::FaultDisk::new();
    mesh.start(0);
    mesh.until("it is back", |mesh| mesh.keys(0).values.contains_key("x"));
    assert_eq!(mesh.hubs[0].council.as_ref().expect("runs").cluster(), cluster);
}

#[test]
fn voters_with_different_lists_found_nothing_and_say_so() {
    let mut mesh = Mesh::new(&["a", "b", "c"], 3, 11);
    for hub in 0..3 {
        mesh.crash(hub);
    }
    mesh.hubs[2].options.voters = vec!["a".into(), "c".into()];
    (0..3).for_each(|hub| mesh.start(hub));
    mesh.run(SECOND * 20);
    assert_eq!(mesh.leader(), None);
    assert!(mesh.hubs[0].commands.contains(&Command::Trouble(Trouble::OtherVoters { hub: id("c") })));
}

#[test]
fn a_learner_that_is_gone_for_long_is_taken_off_and_comes_back() {
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], 3, 12, |options| options.forget = SECOND * 30);
    mesh.until("it learns", |mesh| mesh.leader().is_some() && mesh.members(0).1.contains(&id("d")));
    mesh.crash(3);
    mesh.run(SECOND * 40);
    assert!(mesh.members(0).1.is_empty(), "{:?}", mesh.members(0));
    mesh.start(3);
    mesh.until("it is back", |mesh| mesh.members(0).1.contains(&id("d")));
    assert_eq!(mesh.propose(3, "x=1"), yes());
}

#[test]
fn the_log_stays_small() {
    let mut mesh = Mesh::with(&["a"], 1, 13, |options| {
        options.limits.log_bytes = weft_base::ByteCount::kib(300);
    });
    for n in 0..40 {
        assert_eq!(mesh.propose(0, &format!("x={n}{}", "v".repeat(100 << 10))), yes());
    }
    mesh.crash(0);
    mesh.start(0);
    assert!(mesh.read(0, "x").is_ok_and(|value| value.is_some_and(|value| value.starts_with("39v"))));
    assert!(mesh.keys(0).applied == 40);
}

#[test]
fn requests_have_limits_and_an_end() {
    let mut mesh = Mesh::with(&["a", "b"], 2, 14, |options| {
        options.limits.requests = 3;
        options.limits.proposal = weft_base::ByteCount(100);
        options.limits.request_bytes = weft_base::ByteCount(120);
    });
    mesh.crash(1);
    let now = mesh.now;
    let council = mesh.hubs[0].council.as_mut().expect("runs");
    assert_eq!(council.propose(1, &[b'x'; 100], now), Ok(()));
    assert!(matches!(council.propose(2, &[b'x'; 101], now), Err(ProposeError::TooLarge { bytes: 101, .. })));
    assert!(matches!(council.propose(2, &[b'x'; 100], now), Err(ProposeError::Full { .. })), "by bytes");
    assert_eq!(council.read(1, now), Err(ProposeError::Twice(1)));
    assert_eq!((council.read(2, now), council.read(3, now)), (Ok(()), Ok(())));
    assert_eq!(council.read(4, now), Err(ProposeError::Full { requests: 3 }), "by count");
    mesh.hubs[0].wake = Some(now);
    mesh.run(SECOND * 6);
    for request in 1..=3 {
        assert_eq!(mesh.answer(0, request), Some(&Outcome::NoLeader));
    }
}

#[test]
fn a_control_state_of_another_hub_or_folder_is_refused() {
    let mut mesh = Mesh::new(&["a", "b"], 2, 15);
    mesh.crash(0);
    mesh.hubs[0].options.folder = 99;
    assert!(matches!(mesh.try_start(0), Err(OpenError::Foreign { found, .. }) if found == "a"));
}

#[test]
fn a_disk_that_fails_stops_the_council_with_its_reason() {
    let mut mesh = Mesh::new(&["a"], 1, 16);
    assert_eq!(mesh.propose(0, "x=1"), yes());
    mesh.hubs[0].disk.fail_after(0);
    assert_eq!(mesh.propose(0, "x=2"), Outcome::Unknown);
    let stopped = |command: &Command| matches!(command, Command::Stopped { why } if why.contains("the disk fails"));
    assert!(mesh.hubs[0].commands.iter().any(stopped), "{:?}", mesh.hubs[0].commands);
    let now = mesh.now;
    let council = mesh.hubs[0].council.as_mut().expect("runs");
    assert_eq!(council.read(77, now), Err(ProposeError::Stopped));
}

#[test]
fn a_damaged_file_is_told_and_never_taken_for_an_empty_one() {
    let mut mesh = Mesh::new(&["a"], 1, 17);
    for n in 0..50 {
        assert_eq!(mesh.propose(0, &format!("k{n}={n}")), yes());
    }
    mesh.crash(0);
    let (mut told, mut whole) = (0, Vec::new());
    mesh.hubs[0].disk.alter(|bytes| whole = bytes.clone());
    let mut random = Random::from_seed(17);
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    for _ in 0..100 {
        let at = used[random.below(used.len() as u64) as usize];
        mesh.hubs[0].disk.alter(|bytes| {
            bytes.clone_from(&whole);
            bytes[at] ^= 1 << (at % 8);
        });
        match mesh.try_start(0) {
            Err(OpenError::Storage(StorageError::Damaged(_) | StorageError::Disk(_) | StorageError::Format { .. })) => {
                told += 1
            }
            Err(other) => panic!("byte {at}: {other}"),
            // A page that is not used any more.
            Ok(()) => {
                assert_eq!(mesh.read(0, "k49"), Ok(Some("49".to_owned())), "byte {at}");
                mesh.hubs[0].council = None;
            }
        }
    }
    assert!(told > 4, "{told} of 100");
}

#[test]
fn a_real_file_keeps_it_and_is_open_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.redb");
    let open = || {
        let storage = Box::new(Kept::open(&path)?);
        let options = weft_consensus::Options::of("a", 1, &["a"]);
        Council::open(options, storage, mesh::Keys::default(), Mono(0), Random::from_seed(1))
    };
    let mut council = open().expect("opens");
    assert_eq!(open().err(), Some(OpenError::Storage(StorageError::Busy)));
    let mut out = Vec::new();
    let mut now = Mono(0);
    council.propose(1, b"x=1", now).expect("taken");
    while !out.contains(&Command::Answered { request: 1, outcome: yes() }) {
        now = council.step(now, &mut out).expect("goes on");
    }
    drop(council);
    let council = open().expect("opens again");
    drop(council);
    std::fs::write(&path, b"not a database, but long enough to be looked at").expect("writes");
    let error = open().err().expect("refused");
    assert!(matches!(error, OpenError::Storage(StorageError::Damaged(_))), "{error}");
}
