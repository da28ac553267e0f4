//! The file of counters, between processes: while its writer works, stands
//! still, and after it was killed; full, without a file, and of another version.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use weft_base::sync::atomic::Ordering;
use weft_base::{ByteCount, UnixNanos};
use weft_observe::layout::{Kind, MAX_NAME, Unit};
use weft_observe::place::{FILE, file_of};
use weft_observe::reading::{Datum, ReadError};
use weft_observe::scale::Scale;
use weft_observe::table::Backing;
use weft_observe::{Reading, Table, TableOptions};

fn options(folder: &Path) -> TableOptions {
    TableOptions {
        folder: Some(folder.to_owned()),
        memory: None,
        hub: "north".to_owned(),
        program: "0.1.0".to_owned(),
        process: std::process::id(),
        start: UnixNanos(1_000),
        ..TableOptions::default()
    }
}

fn datum<'a>(reading: &'a Reading, name: &str) -> &'a Datum {
    &reading.values.iter().find(|value| value.name == name).unwrap().datum
}

#[test]
fn what_is_written_is_read_with_names_units_and_ages() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::create(&options(folder.path()));
    let mut route = table.beat_of("stage.route");
    let published = table.counter("ledger.published", Unit::Events, Some(&route));
    let depth = table.gauge("stage.route.depth", Unit::Blocks, None);
    let mut wait = table.histogram("stage.route.wait", Unit::Nanoseconds, Scale::NANOS, Some(&route));
    table.beat(UnixNanos(5_000));
    route.beat(UnixNanos(4_000));
    published.fetch_add(7, Ordering::Relaxed);
    depth.store(3, Ordering::Relaxed);
    wait.record_many(900, 7);

    let reading = Reading::of_file(&folder.path().join(FILE)).unwrap();
    assert_eq!((reading.hub.as_str(), reading.program.as_str()), ("north", "0.1.0"));
    assert_eq!(
        (reading.process, reading.start, reading.beat),
        (std::process::id(), UnixNanos(1_000), UnixNanos(5_000))
    );
    assert!(!reading.ended && reading.left_out == 0 && reading.unknown == 0);
    let shown: Vec<_> =
        reading.values.iter().map(|v| (v.name.as_str(), v.unit, v.age(UnixNanos(6_000)).as_nanos())).collect();
    assert_eq!(
        shown,
        [
            ("stage.route", Unit::UnixNanoseconds, 2_000),
            ("ledger.published", Unit::Events, 2_000),
            ("stage.route.depth", Unit::Blocks, 1_000),
            ("stage.route.wait", Unit::Nanoseconds, 2_000),
        ]
    );
    assert_eq!(*datum(&reading, "stage.route"), Datum::Beat(UnixNanos(4_000)));
    assert_eq!(*datum(&reading, "ledger.published"), Datum::Counter(7));
    assert_eq!(*datum(&reading, "stage.route.depth"), Datum::Gauge(3));
    assert_eq!(*datum(&reading, "stage.route.wait"), Datum::Histogram(wait.viewer().snapshot()));
    let mut own = Vec::new();
    table.each(|name, kind, look| own.push((name.to_owned(), kind, look.number(), look.snapshot().is_some())));
    assert_eq!(own.first().unwrap(), &("ledger.published".to_owned(), Kind::Counter, 7, false));
    assert_eq!(own.last().unwrap(), &("stage.route.wait".to_owned(), Kind::Histogram, 0, true));
    table.end(UnixNanos(9_000));
    assert!(Reading::of_file(&folder.path().join(FILE)).unwrap().ended);
}

#[test]
fn who_comes_again_goes_on_and_two_do_not_write_one_histogram() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::create(&options(folder.path()));
    let one = table.counter("a", Unit::Events, None);
    table.counter("a", Unit::Events, None).fetch_add(2, Ordering::Relaxed);
    assert_eq!(one.load(Ordering::Relaxed), 2);
    let mut first = table.histogram("h", Unit::Nanoseconds, Scale::NANOS, None);
    first.record(1);
    let mut second = table.histogram("h", Unit::Nanoseconds, Scale::NANOS, None);
    second.record(2);
    assert_eq!((second.viewer().snapshot().count(), table.left_out()), (1, 1), "has one of its own");
    drop(first);
    let again = table.histogram("h", Unit::Nanoseconds, Scale::NANOS, None);
    assert_eq!((again.viewer().snapshot().largest(), table.left_out()), (1, 1), "goes on where the first ended");
    assert!(!table.gauge("a", Unit::Events, None).is_mapped(), "is a counter already");
    assert_eq!(table.left_out(), 2);
}

#[test]
fn what_does_not_fit_counts_on_in_no_file_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::create(&TableOptions { entries: 2, room: ByteCount(64), ..options(folder.path()) });
    let long = "n".repeat(MAX_NAME + 1);
    for name in ["", "a\u{1b}[2Jb", &long] {
        assert!(!table.counter(name, Unit::Events, None).is_mapped(), "{name:?}");
    }
    assert!(table.counter(&long[1..], Unit::Events, None).is_mapped());
    assert!(table.counter("b", Unit::Events, None).is_mapped());
    let third = table.counter("c", Unit::Events, None);
    third.fetch_add(1, Ordering::Relaxed);
    assert_eq!((third.is_mapped(), third.load(Ordering::Relaxed), table.left_out()), (false, 1, 4));
    let reading = Reading::of_file(&folder.path().join(FILE)).unwrap();
    assert_eq!((reading.values.len(), reading.left_out), (2, 4));

    let small = Table::create(&TableOptions { entries: 64, room: ByteCount(64), ..options(folder.path()) });
    let fitting = (0..9).filter(|n| {
        small.histogram(&format!("h{n}"), Unit::Nanoseconds, Scale::NANOS, None).record(1);
        small.left_out() <= *n
    });
    assert!(fitting.count() < 9, "there is no room for so many histograms");
}

#[test]
fn without_a_file_it_counts_on_and_says_why() {
    let table = Table::create(&options(Path::new("/proc/no/such/folder")));
    let Backing::Own(Some(why)) = table.backing() else { panic!("{:?}", table.backing()) };
    assert!(why.contains("no other process") && why.contains("free"), "{why}");
    let count = table.counter("a", Unit::Events, None);
    count.fetch_add(1, Ordering::Relaxed);
    table.histogram("h", Unit::Nanoseconds, Scale::NANOS, None).record(1);
    let mut seen = 0;
    table.each(|_, _, look| seen += look.number() + look.snapshot().map_or(0, |snapshot| snapshot.count()));
    assert_eq!((seen, table.left_out()), (2, 0));
    let none = Table::create(&TableOptions { folder: None, ..TableOptions::default() });
    assert_eq!(none.backing(), &Backing::Own(None));
}

#[test]
fn a_full_disk_is_an_error_at_the_start_and_leaves_nothing_behind() {
    // No file system has this much room for one of them; asked for in small, a
    // limit of the process on the length of files stands for the full disk.
    let folder = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let line = format!("trap '' XFSZ; ulimit -f 8; exec {} --exact a_child_that_writes --nocapture", exe.display());
    let mut child = Command::new("sh");
    child.args(["-c", &line]).env("WEFT_OBSERVE_CHILD", folder.path()).stdin(Stdio::null());
    let said = String::from_utf8(child.output().unwrap().stdout).unwrap();
    assert!(said.contains("backing: Own(Some("), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_new_table_takes_the_old_ones_place_and_readers_of_the_old_one_go_on() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let with = |start| TableOptions {
        memory: Some(memory.path().to_owned()),
        start: UnixNanos(start),
        ..options(folder.path())
    };
    let first = Table::create(&with(1));
    let Backing::Memory(path) = first.backing() else { panic!("{:?}", first.backing()) };
    assert!(path.starts_with(memory.path()) && path.exists());
    first.counter("a", Unit::Events, None).fetch_add(1, Ordering::Relaxed);
    let link = folder.path().join(FILE);
    assert_eq!(Reading::of_file(&link).unwrap().start, UnixNanos(1));
    let second = Table::create(&with(2));
    assert_eq!(Reading::of_file(&link).unwrap().start, UnixNanos(2));
    assert!(!path.exists(), "the old one is gone");
    assert_eq!(std::fs::read_dir(memory.path()).unwrap().count(), 1);
    first.counter("a", Unit::Events, None).fetch_add(1, Ordering::Relaxed);
    drop(second);
    let on_disk = Table::create(&options(folder.path()));
    assert!(matches!(on_disk.backing(), Backing::Disk(_) | Backing::Memory(_)));
    assert!(Reading::of_file(&link).is_ok() && !link.is_symlink());
}

#[test]
fn what_hubs_left_that_are_gone_with_their_folder_is_removed_by_the_next_one_and_nothing_else() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let start = |folder: &Path, start| {
        let (start, memory) = (UnixNanos(start), Some(memory.path().to_owned()));
        let table = Table::create(&TableOptions { memory, start, ..options(folder) });
        let Backing::Memory(path) = table.backing() else { panic!("{:?}", table.backing()) };
        let path = path.clone();
        (table, path)
    };
    let [gone, dead, alive] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let (of_gone, left) = start(gone.path(), 1);
    let (of_dead, to_read) = start(dead.path(), 2);
    let (of_alive, in_use) = start(alive.path(), 3);
    let strange = memory.path().join("weft-1-1.weftstat");
    std::fs::write(&strange, "of somebody else").unwrap();
    drop((of_gone, of_dead));
    gone.close().unwrap();
    let alive = alive.keep();
    std::fs::remove_dir_all(&alive).unwrap();
    let next = tempfile::tempdir().unwrap();
    let (_next, own) = start(next.path(), 4);
    assert!(!left.exists(), "its folder is gone");
    assert!(to_read.exists(), "its folder leads to it: somebody may want to know why it died");
    assert!(in_use.exists() && own.exists() && strange.exists());
    drop(of_alive);
}

#[test]
fn names_that_are_added_while_it_is_read_are_seen_whole_or_not_yet() {
    const ALL: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let table = Table::create(&options(folder.path()));
    let path = folder.path().join(FILE);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..ALL as u64 {
                table.counter(&format!("link.{n}.events_out"), Unit::Events, None).store(n, Ordering::Relaxed);
            }
        });
        let mut last = 0;
        while last < ALL {
            let reading = Reading::of_file(&path).unwrap();
            assert!(reading.values.len() >= last);
            for (n, value) in reading.values.iter().enumerate() {
                assert_eq!((value.name.as_str(), value.unit), (format!("link.{n}.events_out").as_str(), Unit::Events));
                // The last of them may not be counted yet.
                assert!([Datum::Counter(0), Datum::Counter(n as u64)].contains(&value.datum), "{value:?}");
            }
            last = reading.values.len();
        }
        // The thread sanitizer sees an end that was waited for, and not that of a scope.
        writer.join().unwrap();
    });
}

/// Not a test: what the others start, a process that writes until it is killed.
#[test]
fn a_child_that_writes() {
    let Some(folder) = std::env::var_os("WEFT_OBSERVE_CHILD") else { return };
    let table = Table::create(&options(Path::new(&folder)));
    println!("backing: {:?}", table.backing());
    if matches!(table.backing(), Backing::Own(_)) {
        return;
    }
    let count = table.counter("turns", Unit::Number, None);
    let mut took = table.histogram("took", Unit::Nanoseconds, Scale::NANOS, None);
    // Ends when the other side closes its end, should it fail before it kills.
    let reads = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    println!("it writes");
    while !reads.is_finished() {
        took.record(1_000);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_hub_is_read_while_it_works_while_it_hangs_and_after_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_that_writes", "--nocapture"])
        .env("WEFT_OBSERVE_CHILD", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("it writes")), "the child did not begin");
    let path = folder.path().join(FILE);
    let turns = |reading: &Reading| match (datum(reading, "turns"), datum(reading, "took")) {
        (Datum::Counter(turns), Datum::Histogram(took)) => {
            assert!(took.quantile(9_999).is_none_or(|value| value == 1_000));
            (*turns, took.count())
        }
        other => panic!("{other:?}"),
    };
    // It works: what is read grows.
    let mut last = turns(&Reading::of_process(child.id()).unwrap());
    let first = last;
    while last.0 < first.0 + 1_000 {
        let next = turns(&Reading::of_file(&path).unwrap());
        assert!(next.0 >= last.0 && next.1 >= last.1);
        last = next;
    }
    // It hangs: what is read is what it left.
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    // All of its threads: the first may stand while another still runs.
    let stands = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let state = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).unwrap();
        threads.map(|thread| state(thread.unwrap())).all(|state| state.contains(") T "))
    };
    while !stands() {
        std::thread::yield_now();
    }
    let hung = turns(&Reading::of_process(child.id()).unwrap());
    // The histogram is written first.
    assert!(hung.0 >= last.0 && (hung.0..=hung.0 + 1).contains(&hung.1), "{hung:?}");
    assert_eq!(turns(&Reading::of_file(&path).unwrap()), hung);
    signal("-KILL");
    assert!(!child.wait().unwrap().success());
    let dead = Reading::of_file(&path).unwrap();
    assert_eq!((turns(&dead), dead.ended), (hung, false));
}

#[test]
fn a_process_without_counters_is_told_so() {
    let error = file_of(u32::MAX).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let error = Reading::of_process(child.id()).unwrap_err();
    assert!(matches!(error, ReadError::File { .. }), "{error}");
    drop(child.stdin.take());
    child.wait().unwrap();
}
