//! A hub is drained under load: its clients go on at other hubs, what was
//! acknowledged arrives once and in order, seats and members of groups move, and
//! the process ends with 0.
//!
//! Three real hubs in processes of their own, each linked with the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use weft_client::{
    AckLevel, Client, ConnectOptions, ConsumerOptions, LiveAt, PublisherOptions, StreamOptions, SubscribeOptions,
};

use crate::common::{Hub, free_port};

const NAMES: [&str; 3] = ["boston", "chicago", "denver"];
/// The one that is drained: the least of the homes has the seats, and this is it.
fn drained() -> usize {
    let id = |i: &usize| weft_base::HubId::of_name(NAMES[*i]);
    (0..3).min_by_key(id).expect("three")
}

fn weft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(args).output().expect("the program starts")
}

/// Three hubs, their ports and their authority.
struct Mesh {
    folder: tempfile::TempDir,
    /// For clients in plain text and for operators.
    clients: [[u16; 2]; 3],
    hubs: Vec<Hub>,
}

impl Mesh {
    /// With more of their configuration, and of its timers.
    fn start(more: &str, timers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |file: &str| folder.path().join(file).display().to_string();
        let dir = folder.path().display().to_string();
        let done = |args: &[&str]| {
            let output = weft(args);
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        done(&["ca", "init", "--dir", &dir]);
        NAMES.iter().for_each(|name| done(&["ca", "issue", "hub", name, "--dir", &dir]));
        ["anna", "bob"].iter().for_each(|name| done(&["ca", "issue", "client", name, "--dir", &dir]));
        let clients: [[u16; 2]; 3] = std::array::from_fn(|_| [free_port(), free_port()]);
        let links: [u16; 3] = std::array::from_fn(|_| free_port());
        let mut hubs = Vec::new();
        for (i, name) in NAMES.iter().enumerate() {
            let [plain, tls] = clients[i];
            let mut text = format!(
                "name = \"{name}\"\ndata = \"data-{name}\"\nadmins = [\"anna\"]\n\
                 advertise_clients = [\"127.0.0.1:{plain}\"]\n{more}\n\
                 [tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
                 [[clients]]\nlisten = \"127.0.0.1:{plain}\"\nplain = true\n[[clients]]\nlisten = \"127.0.0.1:{tls}\"\n\
                 [hubs]\nlisten = \"127.0.0.1:{}\"\n[timers]\nredial_most = \"200 ms\"\n{timers}\n\
                 [control]\nenforce = false\n",
                links[i]
            );
            for j in 0..i {
                text += &format!("[[neighbours]]\naddr = \"127.0.0.1:{}\"\nname = \"{}\"\n", links[j], NAMES[j]);
            }
            let config = at(&format!("{name}.toml"));
            fs::write(&config, text).expect("a file");
            hubs.push(Hub::start_with(&["--config", &config]));
        }
        for hub in &hubs {
            hub.wait_for_events(2, "hub_up", "");
        }
        Self { folder, clients, hubs }
    }

    /// A client of this hub that knows of no other.
    fn client(&self, hub: usize) -> Client {
        let mut options = ConnectOptions::new(format!("127.0.0.1:{}", self.clients[hub][0]));
        options.connect_for = Duration::from_secs(30);
        block_on(Client::connect(options)).expect("the hub answers")
    }

    /// Something that an operator says to a hub.
    fn operate(&self, hub: usize, who: &str, args: &[&str]) -> Output {
        let file = |end: &str| self.folder.path().join(format!("{who}.{end}")).display().to_string();
        let (cert, key) = (file("pem"), file("key"));
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let server = format!("localhost:{}", self.clients[hub][1]);
        let common = ["-s", &server, "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca];
        weft(&[&["hub"], args, &common].concat())
    }

    fn signal(&self, hub: usize, signal: Signal) {
        let pid = Pid::from_raw(self.hubs[hub].child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    /// The exit code of a hub, which ends in time.
    fn exit(&mut self, hub: usize) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if let Some(status) = self.hubs[hub].child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("it does not end: {}", self.hubs[hub].log());
    }
}

/// Publishes numbers to a topic, one after the other, until it is told to stop.
struct Publisher {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    thread: Option<JoinHandle<u64>>,
}

impl Publisher {
    fn start(client: &Client, topics: &'static [&'static str], level: AckLevel) -> Self {
        let (stop, acked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = std::thread::spawn({
            let (client, stop, acked) = (client.clone(), stop.clone(), acked.clone());
            move || {
                let publisher = client.publisher(PublisherOptions::level(level));
                let mut number = 0u64;
                block_on(async {
                    while !stop.load(Ordering::Acquire) {
                        for topic in topics {
                            let event = publisher.publish(topic, &number.to_le_bytes()).await.expect("it is taken");
                            event.await.expect("it is acknowledged");
                        }
                        number += 1;
                        acked.store(number, Ordering::Release);
                    }
                });
                number
            }
        });
        Self { stop, acked, thread: Some(thread) }
    }

    fn wait_for_more(&self, more: u64) {
        let least = self.acked.load(Ordering::Acquire) + more;
        while self.acked.load(Ordering::Acquire) < least {
            assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the publisher gave up");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Answers how many were acknowledged: all.
    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("once").join().expect("it did not panic")
    }
}

/// Numbers that came, by topic.
type Counts = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// A thread that takes what comes until it is told to stop.
struct Taker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Taker {
    /// `take` answers whether there was something.
    fn start(mut take: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stops = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stops.load(Ordering::Acquire) {
                if !take() {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("once").join().expect("it did not panic");
    }
}

/// Takes live events.
fn collect(client: &Client, filter: &str, options: SubscribeOptions) -> (Taker, Counts) {
    let mut subscription = block_on(client.subscribe(filter, options)).expect("a subscription");
    let receipt = block_on(subscription.live(&LiveAt::All, Duration::from_secs(30))).expect("a receipt");
    assert!(receipt.met, "{receipt:?}");
    let counts = Counts::default();
    let taken = counts.clone();
    let taker = Taker::start(move || {
        let Some(delivery) = subscription.try_next() else { return false };
        let delivery = delivery.expect("it stands");
        assert_eq!(delivery.gap().events, 0, "nothing is dropped");
        assert!(!delivery.gap().reconnected, "and nothing may be missing");
        let mut counts = taken.lock().expect("no panic");
        let numbers = counts.entry(delivery.topic().to_owned()).or_default();
        numbers.extend(delivery.events().map(|event| number(event.payload)));
        true
    });
    (taker, counts)
}

/// What came of a topic, to several.
fn came(counts: &[&Counts], topic: &str) -> Vec<u64> {
    let of = |counts: &&Counts| counts.lock().expect("no panic").get(topic).cloned().unwrap_or_default();
    counts.iter().flat_map(of).collect()
}

/// Waits until it is true.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("the test's own payload"))
}

#[test]
fn a_hub_that_is_drained_under_load_loses_nothing_and_moves_everybody() {
    let mut mesh = Mesh::start("", "");
    let middle = drained();
    let [first, second] = [(middle + 1) % 3, (middle + 2) % 3];
    let (inside, outside) = (mesh.client(middle), mesh.client(first));
    let member = mesh.client(second);

    // A stream with homes at two hubs: its consumers run at the one that will be drained.
    let homes = vec![NAMES[middle].to_owned(), NAMES[first].to_owned()];
    let stream = StreamOptions { homes, ..StreamOptions::new("kept", "kept/**") };
    block_on(inside.streams().create(&stream)).expect("a stream");
    let consumer = block_on(inside.streams().consumer("kept", &ConsumerOptions::new("c"))).expect("a consumer");
    let seat = |client: &Client| block_on(client.streams().consumers("kept").info("c")).expect("a report").seat;
    assert_eq!(seat(&outside), NAMES[middle]);

    let (mut plain, live) = collect(&inside, "live/**", SubscribeOptions::default());
    let group = || SubscribeOptions { group: Some("g".to_owned()), ..SubscribeOptions::default() };
    let (mut one, shared_inside) = collect(&inside, "shared/**", group());
    let (mut other, shared_outside) = collect(&member, "shared/**", group());
    let handed = Arc::new(Mutex::new(BTreeMap::<u64, u32>::new()));
    let mut consumes = Taker::start({
        let (mut consumer, handed) = (consumer, handed.clone());
        move || {
            let Some(message) = consumer.try_next() else { return false };
            let message = message.expect("it stands");
            let mut counts = handed.lock().expect("no panic");
            let times = counts.entry(number(message.payload())).or_default();
            *times += 1;
            assert!(*times == 1 || message.redelivered(), "what comes again says so");
            // One that was handed out before the move may be another's by now.
            let _ = message.ack();
            true
        }
    });

    let mut publishers = [
        Publisher::start(&inside, &["live/inside", "shared/inside"], AckLevel::Routed),
        Publisher::start(&outside, &["live/outside", "shared/outside"], AckLevel::Routed),
        Publisher::start(&inside, &["kept/inside"], AckLevel::Synced),
    ];
    publishers.iter().for_each(|publisher| publisher.wait_for_more(50));

    // Nobody but an administrator may.
    let refused = mesh.operate(middle, "bob", &["drain"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admins"), "{refused:?}");

    // It ends as soon as all have gone.
    let drained = mesh.operate(middle, "anna", &["drain", "--within", "120s"]);
    let said = format!("{}{}", String::from_utf8_lossy(&drained.stdout), String::from_utf8_lossy(&drained.stderr));
    assert!(drained.status.success(), "{said}{}", mesh.hubs[middle].log());
    assert!(said.contains("1 of 1 clients moved"), "{said}");
    assert_eq!(mesh.exit(middle), Some(0), "{}", mesh.hubs[middle].log());
    mesh.hubs[middle].wait_for_events(1, "hub_left", "\"left\":0");

    // Everything goes on at the other hubs.
    publishers.iter().for_each(|publisher| publisher.wait_for_more(50));
    let counts = publishers.each_mut().map(Publisher::stop);
    assert!(inside.hub().is_some_and(|hub| hub.name != NAMES[middle]), "{:?}", inside.status());
    assert_eq!(seat(&outside), NAMES[first]);

    let whole = |count: u64| (0..count).collect::<Vec<u64>>();
    let of = [("inside", counts[0]), ("outside", counts[1])];
    let has_come = |counts: &[&Counts], kind: &str| {
        of.iter().all(|(end, count)| came(counts, &format!("{kind}/{end}")).len() as u64 >= *count)
    };
    wait_until("all live events", || has_come(&[&live], "live"));
    wait_until("all of the group", || has_come(&[&shared_inside, &shared_outside], "shared"));
    wait_until("all of the stream", || handed.lock().expect("no panic").len() as u64 >= counts[2]);
    [&mut plain, &mut one, &mut other, &mut consumes].into_iter().for_each(Taker::stop);
    for (end, count) in of {
        assert_eq!(came(&[&live], &format!("live/{end}")), whole(count), "{end}: once each and in order");
        let mut all = came(&[&shared_inside, &shared_outside], &format!("shared/{end}"));
        all.sort_unstable();
        assert_eq!(all, whole(count), "{end}: one member gets each");
    }
    let all: BTreeSet<u64> = handed.lock().expect("no panic").keys().copied().collect();
    assert_eq!(all, whole(counts[2]).into_iter().collect());
    for client in [inside, outside, member] {
        assert!(block_on(client.close()));
    }
}

#[test]
fn a_drain_is_taken_back_and_a_signal_to_stop_drains_where_that_is_configured() {
    let mut mesh = Mesh::start("drain_on_stop = \"30 s\"", "");
    let middle = drained();
    // One that does not go keeps the hub from being empty.
    let stays = ConnectOptions {
        follow_redirects: false,
        ..ConnectOptions::new(format!("127.0.0.1:{}", mesh.clients[middle][0]))
    };
    let stays = block_on(Client::connect(stays)).expect("the hub answers");
    let begun = mesh.operate(middle, "anna", &["drain", "--within", "300s", "--no-wait"]);
    assert!(begun.status.success(), "{begun:?}");
    mesh.hubs[middle].wait_for_events(1, "hub_leaving", "");
    // Who comes now is turned away to another hub.
    let turned = mesh.client(middle);
    assert!(turned.hub().is_some_and(|hub| hub.name != NAMES[middle]), "{:?}", turned.status());
    // By the operator's word and by a signal: the next signal is the first again. It
    // was the second for the program, which stopped without sending anybody elsewhere.
    for times in 1..=2 {
        let undrained = mesh.operate(middle, "anna", &["undrain"]);
        assert!(undrained.status.success(), "{undrained:?}");
        mesh.hubs[middle].wait_for_events(times, "hub_stays", "");
        if times == 1 {
            mesh.signal(middle, Signal::TERM);
            mesh.hubs[middle].wait_for_events(2, "hub_leaving", "");
        }
    }
    let welcome = mesh.client(middle);
    assert!(welcome.hub().is_some_and(|hub| hub.name == NAMES[middle]), "{:?}", welcome.status());
    assert!(block_on(stays.close()));

    mesh.signal(middle, Signal::TERM);
    let there = block_on(async {
        loop {
            let status = welcome.status();
            match welcome.hub() {
                Some(hub) if hub.name != NAMES[middle] => break hub.name,
                _ => drop(welcome.status_other_than(&status).await),
            }
        }
    });
    assert!(NAMES.contains(&there.as_str()));
    assert_eq!(mesh.exit(middle), Some(0), "{}", mesh.hubs[middle].log());
    mesh.hubs[middle].wait_for_events(3, "hub_leaving", "");
    for client in [turned, welcome] {
        assert!(block_on(client.close()));
    }
}

/// Found by looking: nothing waited for the other homes of the hub's streams, so
/// the last acknowledged events could be out of reach once it had stopped.
#[test]
fn a_hub_stops_once_the_other_homes_have_copied_what_was_acknowledged() {
    const COUNT: u64 = 100;
    // A process that does not run for a while keeps its links.
    let mut mesh = Mesh::start("", "link_silence = \"120 s\"");
    let middle = drained();
    let other = (middle + 1) % 3;
    let inside = mesh.client(middle);
    let homes = vec![NAMES[middle].to_owned(), NAMES[other].to_owned()];
    let stream = StreamOptions { homes, ..StreamOptions::new("kept", "kept/**") };
    block_on(inside.streams().create(&stream)).expect("a stream");
    let publish = |options, topic, number: u64| {
        let event = block_on(inside.publisher(options).publish(topic, &number.to_le_bytes())).expect("it is taken");
        block_on(event).expect("it is acknowledged");
    };
    publish(PublisherOptions::homes(2), "kept/before", 0);

    // From now on the other home copies nothing.
    mesh.signal(other, Signal::STOP);
    (0..COUNT).for_each(|number| publish(PublisherOptions::level(AckLevel::Synced), "kept/last", number));
    assert!(block_on(inside.close()));
    let ask = |mesh: &Mesh| mesh.operate(middle, "anna", &["drain", "--within", "600s", "--no-wait"]);
    let begun = ask(&mesh);
    assert!(begun.status.success(), "{begun:?}");
    wait_until("a stream that is not copied", || {
        let said = ask(&mesh);
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "it has stopped: {said:?} {}", mesh.hubs[middle].log());
        text.contains("0 left") && text.contains("1 streams to copy")
    });

    mesh.signal(other, Signal::CONT);
    assert_eq!(mesh.exit(middle), Some(0), "{}", mesh.hubs[middle].log());
    mesh.hubs[middle].wait_for_events(1, "hub_empty", "\"streams\":0");
    let outside = mesh.client(other);
    let mut kept = block_on(outside.streams().read("kept").filter("kept/last").open()).expect("a subscription");
    let mut numbers = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while (numbers.len() as u64) < COUNT {
        assert!(Instant::now() < until, "not all is there: {numbers:?}");
        let Some(delivery) = kept.try_next() else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        numbers.extend(delivery.expect("it stands").events().map(|event| number(event.payload)));
    }
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    assert!(block_on(outside.close()));
}
