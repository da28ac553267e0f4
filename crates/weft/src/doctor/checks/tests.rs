//! Each check with facts made up: what is sound finds nothing, and each thing that is
//! wrong finds that and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};

use super::all;
use crate::doctor::facts::{Certificate, Configured, DataFolder, Facts, KeyFile, Line, Machine, Other, Running};
use crate::doctor::finding::{Finding, Severity};

const DAY: u64 = 86_400_000_000_000;
const NOW: UnixNanos = UnixNanos(20_000 * DAY);

/// A machine and a hub with which nothing is wrong.
fn sound() -> Facts {
    let machine = Machine {
        memory: Some(ByteCount::mib(16_384)),
        cores: Some(8),
        swap: Some((ByteCount(0), ByteCount(0))),
        open_files: Some(65_536),
        huge_pages: Some(("madvise".to_owned(), "madvise".to_owned())),
        governors: vec![("performance".to_owned(), "intel_pstate".to_owned())],
        somaxconn: Some(4_096),
        tcp_buffers: Some((ByteCount::mib(32), ByteCount::mib(32))),
        udp_buffer: Some(ByteCount::mib(8)),
        clock_keeper: Some("chronyd".to_owned()),
        ..Machine::default()
    };
    let config = Configured {
        enforces: true,
        is_reachable: true,
        has_admins: true,
        has_data: true,
        has_links: true,
        quic_buffer: Some(ByteCount::mib(4)),
        memory: ByteCount::mib(2_560),
        arena: ByteCount::mib(256),
        files: 6_000,
        connections: 5_000,
        queues: vec![("socket_bytes", ByteCount::mib(1)), ("link_bytes", ByteCount::mib(40))],
        unsent: ByteCount::kib(64),
        windows: (ByteCount::mib(4), ByteCount::mib(32)),
        unconditioned_lanes: vec![0, 1, 2, 3],
        room: (ByteCount::mib(64), ByteCount::mib(1_024)),
        ..Configured::default()
    };
    let data = DataFolder {
        path: "/var/lib/weft".to_owned(),
        file_system: Some("ext4".to_owned()),
        mount_options: vec!["rw".to_owned(), "relatime".to_owned()],
        room: Some((ByteCount::mib(500_000), ByteCount::mib(1_000_000))),
        inodes: Some((900, 1_000)),
        mode: Some(0o40_750),
        write_cache: Some("write back".to_owned()),
        syncs: vec![Duration::from_micros(900); 63],
    };
    let counters = [("lane.0.published", 20_000), ("lane.4.published", 90_000), ("ledger.copies", 110_000)];
    let running = Running {
        name: "boston".to_owned(),
        counters: counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        others: vec![other(1_000_000, 3)],
        bad_links: Vec::new(),
        lines: vec![line(80, 32)],
    };
    Facts {
        machine: Some(machine),
        config: Some(config),
        data: Some(data),
        keys: vec![KeyFile { path: "boston.key".to_owned(), mode: 0o100_600 }],
        certificates: vec![certificate(100, 365)],
        running: Some(running),
        now: NOW,
    }
}

/// So many nanoseconds ahead, give or take so many milliseconds.
fn other(ahead_ns: i64, give_or_take: u64) -> Other {
    let give_or_take = Duration::from_millis(give_or_take);
    Other { name: "chicago".to_owned(), answered: true, ahead_ns, give_or_take }
}

fn line(rtt_ms: u64, window_mib: u64) -> Line {
    let (rtt, window) = (Duration::from_millis(rtt_ms), ByteCount::mib(window_mib));
    Line { peer: "chicago".to_owned(), rtt, window }
}

/// One that was made so many days ago for so many.
fn certificate(age: u64, whole: u64) -> Certificate {
    let begins = UnixNanos(NOW.0 - age * DAY);
    Certificate { path: "boston.pem".to_owned(), begins, ends: UnixNanos(begins.0 + whole * DAY) }
}

fn found(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = sound();
    change(&mut facts);
    all(&facts)
}

/// The one finding of a change, by code and severity; what it says must have a remedy.
fn one(change: impl FnOnce(&mut Facts)) -> (&'static str, Severity) {
    match found(change).as_slice() {
        [Finding { severity, code, measured, remedy }] => {
            assert!(!measured.is_empty() && !remedy.is_empty(), "{code}");
            (code, *severity)
        }
        other => panic!("not one finding: {other:?}"),
    }
}

fn machine(facts: &mut Facts) -> &mut Machine {
    facts.machine.as_mut().expect("it is there")
}

fn config(facts: &mut Facts) -> &mut Configured {
    facts.config.as_mut().expect("it is there")
}

fn data(facts: &mut Facts) -> &mut DataFolder {
    facts.data.as_mut().expect("it is there")
}

fn running(facts: &mut Facts) -> &mut Running {
    facts.running.as_mut().expect("it is there")
}

fn counter(name: &str, n: u64) -> impl FnOnce(&mut Facts) {
    move |facts| running(facts).counters.push((name.to_owned(), n))
}

use Severity::{Harmful, Note, Warning};

#[test]
fn nothing_is_found_where_nothing_is_wrong_or_known() {
    assert_eq!(all(&sound()), []);
    assert_eq!(all(&Facts::default()), []);
    let unknown = Facts { machine: Some(Machine { in_container: true, ..Machine::default() }), ..sound() };
    let codes: Vec<&str> = all(&unknown).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["clock_of_host"], "what is not known is not held against anybody");
}

#[test]
fn memory_is_held_against_the_machine_and_the_control_group() {
    assert_eq!(one(|f| machine(f).memory = Some(ByteCount::mib(2_048))), ("memory_too_small", Harmful));
    assert_eq!(one(|f| machine(f).memory_limit = Some(ByteCount::mib(1_024))), ("memory_too_small", Harmful));
    assert_eq!(one(|f| machine(f).memory_limit = Some(ByteCount::mib(3_000))), ("memory_tight", Warning));
    let group = found(|f| machine(f).memory_limit = Some(ByteCount::mib(1_024)));
    assert!(group[0].measured.contains("the control group has 1"), "{group:?}");
    assert_eq!(
        found(|f| machine(f).memory_limit = Some(ByteCount::mib(60_000))),
        [],
        "a limit above the machine is none"
    );
    assert_eq!(one(|f| machine(f).swap = Some((ByteCount::mib(64), ByteCount(0)))), ("swap_there", Note));
    assert_eq!(one(|f| machine(f).swap = Some((ByteCount::mib(64), ByteCount(1)))), ("swap_in_use", Warning));
}

#[test]
fn cores_and_governors_are_held_against_what_is_configured() {
    assert_eq!(one(|f| config(f).cores = Some(9)), ("cores_beyond", Warning));
    assert_eq!(found(|f| config(f).cores = Some(8)), []);
    let few = |f: &mut Facts| (config(f).is_dedicated, machine(f).cores) = (true, Some(2));
    assert_eq!(one(few), ("dedicated_on_few_cores", Warning));
    assert_eq!(one(|f| machine(f).core_limit_milli = Some(500)), ("core_throttled", Warning));
    let governed = |governor: &str, driver: &str| {
        let by = vec![(governor.to_owned(), driver.to_owned())];
        found(|f| machine(f).governors = by).first().map(|finding| finding.severity)
    };
    assert_eq!(governed("ondemand", "acpi-cpufreq"), Some(Warning));
    assert_eq!(governed("powersave", "intel_pstate"), Some(Note));
    assert_eq!(governed("schedutil", "acpi-cpufreq"), None);
}

#[test]
fn limits_of_the_system_are_held_against_those_of_the_hub() {
    assert_eq!(one(|f| machine(f).open_files = Some(1_024)), ("few_open_files", Harmful));
    assert_eq!(one(|f| machine(f).open_files = Some(4_096)), ("few_open_files", Warning));
    assert_eq!(one(|f| machine(f).somaxconn = Some(128)), ("short_backlog", Warning));
    let small = |f: &mut Facts| (machine(f).somaxconn, config(f).connections) = (Some(128), 100);
    assert_eq!(found(small), [], "a hub of few connections needs no long queue of them");
    let buffers = Some((ByteCount::mib(32), ByteCount::mib(1)));
    assert_eq!(one(|f| machine(f).tcp_buffers = buffers), ("small_tcp_buffers", Warning));
    assert_eq!(one(|f| machine(f).udp_buffer = Some(ByteCount::kib(208))), ("small_udp_buffers", Warning));
    let without = |f: &mut Facts| (machine(f).udp_buffer, config(f).quic_buffer) = (Some(ByteCount(1)), None);
    assert_eq!(found(without), []);
    let stalls = Some(("always".to_owned(), "always".to_owned()));
    assert_eq!(one(|f| machine(f).huge_pages = stalls), ("huge_pages_stall", Warning));
    assert_eq!(one(|f| config(f).arena = ByteCount::mib(2_048)), ("small_pages", Note));
}

#[test]
fn a_clock_that_nobody_keeps_is_told_and_in_a_container_it_is_the_hosts() {
    assert_eq!(one(|f| machine(f).clock_keeper = None), ("clock_not_kept", Warning));
    let inside = |f: &mut Facts| (machine(f).clock_keeper, machine(f).in_container) = (None, true);
    assert_eq!(one(inside), ("clock_of_host", Note));
}

#[test]
fn file_systems_that_do_not_keep_what_is_synced_are_told() {
    let on = |kind: &str| {
        let kind = Some(kind.to_owned());
        one(|f| data(f).file_system = kind)
    };
    assert_eq!(on("overlay"), ("data_in_container", Harmful));
    assert_eq!(on("nfs4"), ("data_over_network", Warning));
    assert_eq!(on("fuse.sshfs"), ("data_on_fuse", Warning));
    // In memory syncs are quick, and that is told once.
    let memory = |f: &mut Facts| {
        (data(f).file_system, data(f).syncs) = (Some("tmpfs".to_owned()), vec![Duration::from_micros(1); 9]);
    };
    assert_eq!(one(memory), ("data_in_memory", Harmful));
    let mounted = |option: &str| {
        let options = vec![option.to_owned()];
        one(|f| data(f).mount_options = options)
    };
    assert_eq!(mounted("nobarrier"), ("no_barriers", Harmful));
    assert_eq!(mounted("barrier=0"), ("no_barriers", Harmful));
    assert_eq!(mounted("sync"), ("mounted_sync", Warning));
    let library = Some("/usr/lib/libeatmydata.so".to_owned());
    assert_eq!(one(|f| machine(f).preloads_no_sync = library), ("sync_preloaded", Harmful));
}

#[test]
fn syncs_that_lie_are_slow_or_stall_are_told_apart() {
    let took = |micros: u64| one(|f| data(f).syncs = vec![Duration::from_micros(micros); 63]);
    assert_eq!(took(3), ("sync_lies", Harmful));
    assert_eq!(took(15_000), ("sync_slow", Warning));
    assert_eq!(took(150_000), ("sync_slow", Harmful));
    let stalls = |f: &mut Facts| *data(f).syncs.last_mut().expect("some") = Duration::from_secs(1);
    assert_eq!(one(stalls), ("sync_stalls", Warning));
    assert_eq!(found(|f| data(f).syncs = vec![Duration::from_micros(20); 63]), [], "a cache with a battery is no lie");
    assert_eq!(found(|f| data(f).syncs = Vec::new()), []);
}

#[test]
fn room_is_held_against_segments_and_the_spool() {
    let all = ByteCount::mib(1_000_000);
    let left = |mib: u64| one(|f| data(f).room = Some((ByteCount::mib(mib), all)));
    assert_eq!(left(100), ("disk_full", Harmful));
    assert_eq!(left(50_000), ("disk_nearly_full", Warning));
    let small = |f: &mut Facts| data(f).room = Some((ByteCount::mib(900), ByteCount::mib(1_000)));
    assert_eq!(one(small), ("disk_nearly_full", Warning), "the spool has no room");
    assert_eq!(one(|f| data(f).inodes = Some((10, 1_000))), ("few_files_left", Warning));
    assert_eq!(found(|f| data(f).inodes = Some((0, 0))), [], "a file system without a number of files");
    assert_eq!(one(|f| data(f).mode = Some(0o40_777)), ("data_writable_by_all", Harmful));
}

#[test]
fn a_hub_that_is_open_to_all_is_harmful_once_others_reach_it() {
    assert_eq!(one(|f| config(f).enforces = false), ("open_to_all", Harmful));
    let local = |f: &mut Facts| (config(f).enforces, config(f).is_reachable) = (false, false);
    assert_eq!(one(local), ("open_on_loopback", Note));
    assert_eq!(one(|f| config(f).has_admins = false), ("no_admins", Note));
    let closed = |f: &mut Facts| (config(f).has_admins, config(f).has_data) = (false, false);
    assert_eq!(one(closed), ("closed_to_all", Warning));
}

#[test]
fn queues_that_only_add_latency_are_told_with_how_much() {
    let long = found(|f| config(f).queues.push(("publish_bytes", ByteCount::mib(256))));
    assert_eq!(long.len(), 1, "{long:?}");
    assert!(long[0].code == "long_queue" && long[0].measured.contains("2147 ms"), "{long:?}");
    assert_eq!(one(|f| config(f).unsent = ByteCount::mib(4)), ("urgent_waits", Warning));
    assert_eq!(one(|f| config(f).unconditioned_lanes = (0..8).collect()), ("overload_unbounded", Warning));
    assert_eq!(one(|f| running(f).lines = vec![line(1, 32)]), ("long_window", Warning));
    assert_eq!(found(|f| running(f).lines = vec![line(0, 4)]), [], "there must be room for some frames");
}

#[test]
fn keys_that_others_read_are_told_by_who_they_are() {
    let mode = |mode: u32| one(|f| f.keys[0].mode = mode);
    assert_eq!(mode(0o100_644), ("key_readable", Harmful));
    assert_eq!(mode(0o100_640), ("key_readable_by_group", Warning));
    assert_eq!(found(|f| f.keys[0].mode = 0o100_400), []);
}

#[test]
fn certificates_are_told_before_they_end() {
    let made = |age: u64, whole: u64| {
        found(|f| f.certificates = vec![certificate(age, whole)])
            .first()
            .map(|finding| (finding.code, finding.severity))
    };
    assert_eq!(made(365, 365), Some(("certificate_ended", Harmful)));
    assert_eq!(made(360, 365), Some(("certificate_ends_soon", Harmful)));
    assert_eq!(made(300, 365), Some(("certificate_ends_soon", Warning)));
    assert_eq!(made(200, 365), None);
    assert_eq!(made(1, 3), None, "one that is made for days is not near its end all the time");
    let later = |f: &mut Facts| f.certificates[0].begins = UnixNanos(NOW.0 + DAY);
    assert_eq!(one(later), ("certificate_not_yet", Harmful));
    let renewed = found(|f| (f.certificates, config(f).renews) = (vec![certificate(300, 365)], true));
    assert!(renewed[0].remedy.contains("renewal_failed"), "{renewed:?}");
}

#[test]
fn one_lane_for_everything_is_told_once_enough_was_published() {
    let lanes = |zero: u64, four: u64| {
        let counters = [("lane.0.published", zero), ("lane.4.published", four)];
        let counters = counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        found(|f| running(f).counters = counters).first().map(|finding| finding.code)
    };
    assert_eq!(lanes(0, 50_000), Some("one_lane"));
    assert_eq!(lanes(0, 500), None);
    assert_eq!(lanes(5_000, 50_000), None);
    assert_eq!(lanes(0, 0), None);
}

#[test]
fn clocks_are_held_against_what_is_surely_wrong() {
    let skew = |ahead_ns: i64, give_or_take: u64| {
        let others = vec![other(ahead_ns, give_or_take)];
        found(|f| running(f).others = others).first().map(|finding| (finding.code, finding.severity))
    };
    assert_eq!(skew(2_000_000_000, 10), Some(("clock_skew", Harmful)));
    assert_eq!(skew(-200_000_000, 10), Some(("clock_skew", Warning)));
    assert_eq!(skew(200_000_000, 180), None, "it may be the way");
    assert_eq!(skew(i64::MIN, 0), Some(("clock_skew", Harmful)));
    assert_eq!(one(|f| running(f).others[0].answered = false), ("hub_silent", Warning));
    assert_eq!(one(|f| running(f).bad_links.push("a -> b is down".to_owned())), ("link_bad", Warning));
}

#[test]
fn counters_of_a_running_hub_say_what_is_at_its_end() {
    let named = |name: &str, n: u64| one(counter(name, n));
    assert_eq!(named("ledger.alarms", 1), ("ledger_alarm", Harmful));
    assert_eq!(named("log.repair_failed", 1), ("damage", Harmful));
    assert_eq!(named("audit.lost", 1), ("audit_lost", Harmful));
    assert_eq!(named("control.stopped", 1), ("control_stopped", Harmful));
    assert_eq!(named("arena.starved_turns", 1), ("arena_full", Warning));
    assert_eq!(named("certificate.renewal_failed", 1), ("renewal_failed", Warning));
    assert_eq!(named("links.disagreed", 1), ("links_disagree", Warning));
    assert_eq!(named("ledger.dropped.queue_full", 5_000), ("drops", Warning));
    assert_eq!(found(counter("ledger.dropped.no_interest", 5_000)), [], "nobody wanted them");
    let stage = |depth: u64, wait: u64, busy: u64, shards: u64| {
        let gauges = [("depth", depth), ("wait_us", wait), ("busy_permille", busy), ("shards", shards)];
        let gauges = gauges.map(|(what, n)| (format!("stage.admit.{what}"), n));
        found(|f| running(f).counters.extend(gauges)).first().map(|finding| finding.code)
    };
    assert_eq!(stage(0, 0, 950, 1), Some("stage_saturated"));
    assert_eq!(stage(0, 0, 950, 2), None, "two shards work half of the time");
    assert_eq!(stage(900, 80_000, 500, 1), Some("stage_waits"));
    assert_eq!(stage(0, 80_000, 500, 1), None, "nothing waits any more");
    assert_eq!(stage(1, 3_600_000_000, 4, 1), None, "an idle stage's wait is reckoned from next to no work");
}

#[test]
fn the_worst_comes_first_and_each_code_is_documented() {
    let worst = found(|f| {
        machine(f).swap = Some((ByteCount::mib(64), ByteCount(0)));
        machine(f).open_files = Some(4_096);
        config(f).enforces = false;
    });
    let severities: Vec<Severity> = worst.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Harmful, Warning, Note]);
    let document = include_str!("../../../../../docs/operating.md");
    let sources =
        [include_str!("machine.rs"), include_str!("settings.rs"), include_str!("disk.rs"), include_str!("running.rs")];
    // What is found is the first text in each call.
    let calls = sources.iter().flat_map(|source| ["harmful(", "warning(", "note("].map(|call| (*source, call)));
    let mut codes: BTreeSet<&str> = calls
        .flat_map(|(source, call)| source.split(call).skip(1))
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    let grown = include_str!("running.rs").split("grown(").skip(1);
    codes.extend(grown.filter_map(|rest| rest.split('"').nth(3)));
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(document.contains(&format!("`{code}`")), "{code} is not in docs/operating.md");
    }
}
