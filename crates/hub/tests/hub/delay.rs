//! Delayed events, over real sockets, under a time of day that the tests set.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::common::consumers::spec as consumer;
use crate::common::stored::{answer, publish, read};
use crate::common::{Raw, crashed, holding, options, stop};
use weft_base::{Clock, Now, ProducerId, Random, SystemClock, UnixNanos};
use weft_hub::{Environment, Hub, HubOptions, StartError};
use weft_keyed::{Batch, Entry, Keyed, KeyedError, MemoryKeyed, Space};
use weft_log::fault::FaultFs;
use weft_wire::block::layout::{CONDITIONAL, DELAYED};
use weft_wire::block::{BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{
    ErrorCode, Frame, LastGet, Start, StreamCreate, StreamDelete, StreamInfo, StreamSpec, publish_homes_head,
};
use weft_wire::headers::{HeadersWriter, names};

const HOUR: i64 = 3_600_000_000_000;

/// The machine's clock, whose time of day is set at will.
#[derive(Clone)]
struct Shifted {
    system: SystemClock,
    by: Arc<AtomicI64>,
}

impl Shifted {
    fn new() -> Self {
        Self { system: SystemClock::new(), by: Arc::default() }
    }

    /// Sets the time of day so much from what it truly is.
    fn shift(&self, by: i64) {
        self.by.store(by, Ordering::Relaxed);
    }

    /// So many nanoseconds from now, unshifted.
    fn in_time(&self, by: i64) -> u64 {
        self.system.now().wall.0.saturating_add_signed(by)
    }
}

impl Clock for Shifted {
    fn now(&self) -> Now {
        let now = self.system.now();
        Now { wall: UnixNanos(now.wall.0.saturating_add_signed(self.by.load(Ordering::Relaxed))), ..now }
    }
}

fn start(options: HubOptions, clock: &Shifted) -> Hub {
    let environment = Environment { clock: Arc::new(clock.clone()), ..Environment::of_machine(&options).unwrap() };
    let hub = Hub::start_in(options, environment).unwrap();
    create(&mut Raw::connect(&hub, 1));
    hub
}

fn hub(data: &Path, clock: &Shifted) -> Hub {
    start(options("hub", Some(data)), clock)
}

fn create(client: &mut Raw) {
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(spec);
}

/// A block of one event that is due then.
fn delayed(first: u64, due: u64, payload: &[u8]) -> Vec<u8> {
    with(first, DELAYED, &[(names::DELIVER_AT, &due.to_le_bytes())], payload)
}

fn with(first: u64, flags: u32, headers: &[(&str, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut writer = HeadersWriter::new(&mut kept);
    headers.iter().for_each(|(name, value)| writer.push(name, value).unwrap());
    let fields = BlockFields { flags, producer: ProducerId(42), first_sequence: first, ..BlockFields::new("t/a") };
    let mut bytes = vec![0; 256 << 10];
    let mut block = BlockWriter::new(&mut bytes, &fields).unwrap();
    block.push(&EventFields { headers: &kept, payload, ..EventFields::default() }).unwrap();
    let len = block.finish().unwrap();
    bytes.truncate(len);
    bytes
}

/// The next sequence of the stream, what is on disk, and what is said of its state.
fn report(client: &mut Raw) -> (u64, u64, String) {
    client.send(&Frame::StreamInfo(StreamInfo { request: 9_999, name: "all" }));
    match client.receive().frame() {
        Frame::StreamReports(list) => (list.reports[0].next, list.reports[0].synced, list.reports[0].state.to_owned()),
        other => panic!("no report: {other:?}"),
    }
}

fn next(client: &mut Raw) -> u64 {
    report(client).0
}

/// Waits until so much is on the stream's disk.
fn reach(client: &mut Raw, sequence: u64) {
    while report(client).1 < sequence {}
    assert_eq!(next(client), sequence);
}

fn last_values(client: &mut Raw) -> usize {
    let asked = LastGet { request: 77, stream: "all", filter: "**", key: b"", has_key: false, most: 0 };
    client.send(&Frame::LastGet(asked));
    let mut found = 0;
    loop {
        match client.receive().frame() {
            Frame::Found(_) => found += 1,
            Frame::Done(_) => return found,
            other => panic!("not a last value: {other:?}"),
        }
    }
}

#[test]
fn a_delayed_event_is_seen_by_nobody_before_it_is_due_and_then_by_all_once() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut live = Raw::connect(&running, 3);
    live.subscribe(1, "t/**");
    let mut reader = Raw::connect(&running, 4);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    let mut member = Raw::connect(&running, 5);
    member.create_consumer(consumer("c"));
    member.consume(1, "c");
    let mut client = Raw::connect(&running, 42);
    let later = delayed(1, clock.in_time(HOUR), b"later");
    let ack = publish(&mut client, 1, &later).unwrap();
    assert_eq!((ack.home_sequence, ack.duplicate), (0, false), "it has no place yet");
    assert!(publish(&mut client, 2, &later).unwrap().duplicate);
    publish(&mut client, 3, &with(2, 0, &[], b"now")).unwrap();
    assert!(publish(&mut client, 4, &later).unwrap().duplicate, "also after what was published after it");
    assert_eq!(live.delivered(), [b"now"]);
    assert_eq!(reader.delivered(), [b"now"]);
    assert_eq!(member.handed_all(1), [(1, b"now".to_vec())]);
    assert_eq!(last_values(&mut client), 1);
    let (next, _, state) = report(&mut client);
    assert_eq!(next, 2);
    assert!(state.contains("1 delayed, the next due in 3"), "{state}");
    assert!(live.drain().is_empty() && reader.drain().is_empty());
    clock.shift(2 * HOUR);
    reach(&mut client, 3);
    assert_eq!(live.delivered(), [b"later"]);
    assert_eq!(reader.delivered(), [b"later"]);
    assert_eq!(member.handed_all(1), [(2, b"later".to_vec())]);
    assert!(publish(&mut client, 5, &later).unwrap().duplicate);
    reach(&mut client, 3);
    assert_eq!(report(&mut client).2, "");
    assert!(live.drain().is_empty(), "once");
    running.counters().ledger().balance().unwrap();
    stop(running);
}

#[test]
fn the_earliest_comes_first_and_of_one_time_what_came_first() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut live = Raw::connect(&running, 3);
    live.subscribe(1, "t/**");
    let mut client = Raw::connect(&running, 42);
    let due = clock.in_time(HOUR);
    let order = [30, 10, 20, 10, 20, 10, 0_u8];
    for (n, minutes) in (1..).zip(order) {
        let at = due + u64::from(minutes) * 60_000_000_000;
        publish(&mut client, n, &delayed(n, at, &[minutes, n as u8])).unwrap();
    }
    clock.shift(3 * HOUR);
    reach(&mut client, 8);
    let expected = [[0, 7], [10, 2], [10, 4], [10, 6], [20, 3], [20, 5], [30, 1]];
    assert_eq!(read(&running, 7), expected);
    assert_eq!(live.drain(), expected);
    stop(running);
}

#[test]
fn kills_at_any_time_leave_each_event_once_in_the_stream() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    // The first is due last: what is done after it is known one by one.
    for n in 0..200_u8 {
        let due = clock.in_time(if n == 0 { 9 * HOUR } else { HOUR + i64::from(n % 3) });
        publish(&mut client, 1, &delayed(u64::from(n) + 1, due, &[n])).unwrap();
    }
    let mut images = vec![crashed(data.path())];
    clock.shift(2 * HOUR);
    // While they go into the stream, and when all but one are there.
    for stage in [2, 60, 120, 200] {
        while report(&mut client).1 < stage {}
        images.push(crashed(data.path()));
    }
    stop(running);
    images.push(crashed(data.path()));
    // Without keyed state the logs say it all.
    let bare = crashed(data.path());
    std::fs::remove_dir_all(bare.path().join("keyed")).unwrap();
    images.push(bare);
    for image in images {
        clock.shift(2 * HOUR);
        for round in 0..3 {
            let running = hub(image.path(), &clock);
            let mut client = Raw::connect(&running, 42);
            let expected = if round < 2 { 199 } else { 200 };
            clock.shift(if round < 2 { 2 } else { 20 } * HOUR);
            reach(&mut client, expected + 1);
            let mut all: Vec<u8> = read(&running, expected as usize).concat();
            all.sort_unstable();
            let from = if round < 2 { 1 } else { 0 };
            assert_eq!(all, (from..200).collect::<Vec<u8>>(), "round {round}");
            assert!(publish(&mut client, 1, &delayed(7, clock.in_time(0), &[6])).unwrap().duplicate);
            let again = crashed(image.path());
            stop(running);
            // Killed right after, it is so too.
            let running = hub(again.path(), &clock);
            reach(&mut Raw::connect(&running, 43), expected + 1);
            stop(running);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_a_day_delays_and_loses_nothing() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    publish(&mut client, 1, &delayed(1, clock.in_time(HOUR), b"x")).unwrap();
    clock.shift(-24 * HOUR);
    publish(&mut client, 2, &delayed(2, clock.in_time(2 * HOUR), b"y")).unwrap();
    clock.shift(-22 * HOUR);
    assert_eq!(next(&mut client), 1);
    stop(running);
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    assert_eq!(next(&mut client), 1);
    clock.shift(90 * 60 * 1_000_000_000);
    reach(&mut client, 2);
    // Back again: what is there stays, once.
    clock.shift(-24 * HOUR);
    assert_eq!(next(&mut client), 2);
    clock.shift(3 * HOUR);
    reach(&mut client, 3);
    assert_eq!(read(&running, 2), [b"x", b"y"]);
    stop(running);
}

#[test]
fn what_cannot_be_delayed_is_refused_and_says_why() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let mut few = options("hub", Some(data.path()));
    few.limits.scheduled = 2;
    few.limits.schedule_ahead = std::time::Duration::from_secs(24 * 3_600);
    let running = start(few, &clock);
    let mut client = Raw::connect(&running, 42);
    let soon = clock.in_time(HOUR);
    let mut refused = |block: &[u8]| publish(&mut client, 1, block).unwrap_err();
    let (code, detail) = refused(&delayed(1, clock.in_time(25 * HOUR), b"far"));
    assert_eq!(code, ErrorCode::BAD_DELAY);
    assert!(detail.contains("limits.schedule_ahead"), "{detail}");
    let headers: [(&str, &[u8]); 2] = [(names::DELIVER_AT, &soon.to_le_bytes()), (names::EXPECT_LAST, &[0; 8])];
    assert_eq!(refused(&with(2, DELAYED | CONDITIONAL, &headers, b"if")).0, ErrorCode::BAD_DELAY);
    assert_eq!(refused(&with(3, DELAYED, &[], b"no header")).0, ErrorCode::BAD_CONDITION);
    publish(&mut client, 2, &delayed(4, soon, b"1")).unwrap();
    publish(&mut client, 3, &delayed(5, soon, b"2")).unwrap();
    let (code, detail) = publish(&mut client, 4, &delayed(6, soon, b"3")).unwrap_err();
    assert_eq!(code, ErrorCode::BAD_DELAY);
    assert!(detail.contains("limits.scheduled"), "{detail}");
    assert!(publish(&mut client, 5, &delayed(5, soon, b"2")).unwrap().duplicate, "what came again takes no room");
    clock.shift(2 * HOUR);
    reach(&mut client, 3);
    publish(&mut client, 7, &delayed(6, clock.in_time(4 * HOUR), b"3")).unwrap();
    client.send(&Frame::StreamDelete(StreamDelete { request: 8, name: "all" }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    assert!(!data.path().join("streams/all").exists(), "its schedule goes with it");
    assert_eq!(publish(&mut client, 9, &delayed(7, soon, b"4")).unwrap_err().0, ErrorCode::NO_STREAM);
    create(&mut client);
    clock.shift(6 * HOUR);
    assert_eq!(next(&mut client), 1);
    publish(&mut client, 10, &delayed(8, soon, b"past")).unwrap();
    reach(&mut client, 2);
    assert_eq!(read(&running, 1), [b"past"]);
    running.counters().ledger().balance().unwrap();
    stop(running);
}

#[test]
fn several_homes_are_not_promised_for_what_waits_at_one() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    client.send(&Frame::StreamDelete(StreamDelete { request: 1, name: "all" }));
    assert!(matches!(client.receive().frame(), Frame::Done(_)));
    let homes = vec!["hub", "far"];
    let spec =
        StreamSpec { name: "two", filters: vec!["t/**"], homes, segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.send(&Frame::StreamCreate(StreamCreate { request: 2, spec }));
    // It is made here, though not at the other home, which is not there.
    assert!(matches!(client.receive().frame(), Frame::Error(_)));
    let block = delayed(1, clock.in_time(HOUR), b"later");
    let head = publish_homes_head(3, 2, block.len());
    std::io::Write::write_all(&mut client.socket, &[head.as_slice(), &block].concat()).unwrap();
    let (code, detail) = answer(&mut client, 3).unwrap_err();
    assert!(code == ErrorCode::BAD_DELAY && detail.contains("waits at one home"), "{code:?} {detail}");
    publish(&mut client, 4, &block).unwrap();
    stop(running);
}

#[test]
fn the_space_of_what_is_done_comes_back() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    let large = vec![7; 200 << 10];
    for n in 1..=100 {
        publish(&mut client, n, &delayed(n, clock.in_time(HOUR), &large)).unwrap();
    }
    let segments = || {
        let files = std::fs::read_dir(data.path().join("streams/all/schedule")).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".seg"));
        names.sort();
        names
    };
    let oldest = segments().remove(0);
    clock.shift(2 * HOUR);
    reach(&mut client, 101);
    while segments().contains(&oldest) {
        client.round_trip();
    }
    stop(running);
    let running = hub(data.path(), &clock);
    reach(&mut Raw::connect(&running, 43), 101);
    stop(running);
}

#[test]
fn damage_in_what_waits_is_found_before_it_is_due() {
    let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
    let running = hub(data.path(), &clock);
    let mut client = Raw::connect(&running, 42);
    for n in 1..=3 {
        publish(&mut client, n, &delayed(n, clock.in_time(HOUR), &[7; 100 << 10])).unwrap();
    }
    stop(running);
    let segment = data.path().join("streams/all/schedule/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[150 << 10] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut often = options("hub", Some(data.path()));
    often.storage.verify = weft_base::ByteCount::mib(1024);
    let running = start(often, &clock);
    let mut client = Raw::connect(&running, 43);
    let mut told = String::new();
    while !told.contains("of what is delayed 0000000001.seg is damaged") {
        told = report(&mut client).2;
    }
    assert!(told.starts_with("2 delayed"), "{told}");
    // The others come, and once.
    clock.shift(2 * HOUR);
    reach(&mut client, 3);
    assert_eq!(read(&running, 2).len(), 2);
    stop(running);
}

/// Keyed state of the machine that loses its power: each write is a step of it.
struct Powered {
    keyed: Arc<MemoryKeyed>,
    fs: FaultFs,
}

impl Keyed for Powered {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KeyedError> {
        self.keyed.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError> {
        self.keyed.scan(space, from, below, most)
    }

    fn apply(&self, batch: Batch) -> Result<(), KeyedError> {
        self.fs.step().map_err(KeyedError::Io)?;
        self.keyed.apply(batch)
    }

    fn sync(&self) -> Result<(), KeyedError> {
        self.fs.step().map_err(KeyedError::Io)?;
        self.keyed.sync()
    }
}

/// A machine, and what its power cuts leave of it.
struct Machine {
    fs: FaultFs,
    keyed: Arc<MemoryKeyed>,
    clock: Shifted,
    random: Random,
}

impl Machine {
    fn start(&self) -> Result<Hub, StartError> {
        let options = options("hub", Some(Path::new("/data")));
        let keyed = Powered { keyed: self.keyed.clone(), fs: self.fs.clone() };
        let environment = Environment {
            clock: Arc::new(self.clock.clone()),
            fs: Arc::new(self.fs.clone()),
            keyed: Some(Arc::new(keyed)),
            ..Environment::of_machine(&options).unwrap()
        };
        Hub::start_in(options, environment)
    }

    /// The power goes before one of the next steps.
    fn cut_within(&mut self, steps: u64) {
        self.fs.stop_at(self.fs.operations() + self.random.below(steps));
    }

    /// Waits until all that is due is in the stream, or the power is gone.
    fn watch(&self, hub: &Hub) -> u64 {
        let mut client = Raw::connect(hub, 43);
        loop {
            let (next, synced, state) = report(&mut client);
            if self.fs.step().is_err() || (next == synced && !state.contains("delayed")) {
                return next;
            }
        }
    }

    /// The hub is gone, and the power too.
    fn comes_back(&mut self, hub: Option<Hub>) {
        if let Some(hub) = hub {
            stop(hub);
        }
        self.fs = self.fs.after_crash(self.random.next_u64());
        let kept = self.random.below(self.keyed.unsynced() as u64 + 1);
        self.keyed.crash(kept as usize);
    }
}

/// Two power cuts, while events are published and become due, and while they
/// are recovered: what is wrong then, if anything.
fn cut_twice(seed: u64, lies: bool) -> Result<(), String> {
    let random = Random::from_seed(seed);
    let mut machine = Machine { fs: FaultFs::new(), keyed: Arc::default(), clock: Shifted::new(), random };
    let running = machine.start().unwrap();
    let mut client = Raw::connect(&running, 42);
    create(&mut client);
    if lies {
        machine.fs.lie();
    }
    machine.cut_within(70);
    let mut acked = Vec::new();
    for n in 1..=12 {
        machine.clock.shift(n as i64 / 4 * 2 * HOUR);
        let due = machine.clock.in_time(if n % 2 == 0 { HOUR } else { 3 * HOUR });
        if publish(&mut client, n, &delayed(n, due, &n.to_le_bytes())).is_ok() {
            acked.push(n.to_le_bytes().to_vec());
        }
    }
    drop(client);
    machine.watch(&running);
    machine.comes_back(Some(running));
    machine.cut_within(40);
    let running = machine.start().ok();
    if let Some(hub) = &running {
        machine.watch(hub);
    }
    machine.comes_back(running);
    let running = machine.start().map_err(|error| error.to_string())?;
    let count = machine.watch(&running) as usize - 1;
    let mut found = if count == 0 { Vec::new() } else { read(&running, count) };
    stop(running);
    found.sort();
    let twice = found.windows(2).any(|pair| pair[0] == pair[1]);
    let lost = acked.iter().filter(|event| !found.contains(event)).count();
    if twice || lost > 0 { Err(format!("{lost} of {} lost, found {found:?}", acked.len())) } else { Ok(()) }
}

#[test]
fn power_cuts_at_any_step_leave_each_event_that_was_acknowledged_once_in_the_stream() {
    for seed in 0..4 {
        assert_eq!(cut_twice(seed, false), Ok(()), "seed {seed}");
    }
}

#[test]
fn canary_a_disk_that_lies_about_its_syncs_loses_delayed_events() {
    assert!((0..3).any(|seed| cut_twice(seed, true).is_err()));
}

/// The twin without keys shows that the search finds what is there.
#[test]
fn what_waits_is_encrypted_as_the_stream_is() {
    let secret: &[u8] = b"forty-two million in unmarked bills";
    for keys in [None, Some(weft_log::Keys::parse(&"1f".repeat(32)).unwrap())] {
        let (data, clock) = (tempfile::tempdir().unwrap(), Shifted::new());
        let start = || {
            let mut options = options("hub", Some(data.path()));
            options.storage.keys = keys.clone();
            start(options, &clock)
        };
        let folders = |what: &[u8]| {
            let mut found = holding(data.path(), what);
            found.iter_mut().for_each(|path| assert!(path.pop()));
            found.sort();
            found.into_iter().map(|path| path.strip_prefix(data.path()).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (all, schedule) = (Path::new("streams/all"), Path::new("streams/all/schedule"));
        let clear = |folders: &[&'static Path]| if keys.is_none() { folders.to_vec() } else { vec![] };
        let running = start();
        let mut client = Raw::connect(&running, 42);
        publish(&mut client, 1, &delayed(1, clock.in_time(HOUR), secret)).unwrap();
        stop(running);
        assert_eq!(folders(secret), clear(&[schedule]));
        let running = start();
        let mut client = Raw::connect(&running, 42);
        publish(&mut client, 2, &with(2, 0, &[], secret)).unwrap();
        clock.shift(2 * HOUR);
        reach(&mut client, 3);
        assert_eq!(read(&running, 2), [secret, secret]);
        assert_eq!(last_values(&mut client), 1);
        stop(running);
        assert_eq!(folders(secret), clear(&[all, schedule]));
    }
}
