//! Publishes that wait at their publisher's hub while no home of their stream
//! can be reached, over real sockets: a hub `here` with publishers, and the
//! stream's home, with a way between them that can be cut.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::stored::read;
use crate::common::ways::Way;
use crate::common::{Raw, Received, build, crashed, holding, start, stop};
use weft_base::{ByteCount, ProducerId};
use weft_hub::{Environment, Hub, HubOptions};
use weft_log::fault::FaultFs;
use weft_transport::ca::Authority;
use weft_wire::block::BlockFields;
use weft_wire::frame::{
    Ack, AckLevel, ErrorCode, Frame, StreamAlter, StreamDelete, StreamInfo, StreamSpec, Unreachable, publish_homes_head,
};

/// Who publishes in all of these tests.
const PRODUCER: u64 = 42;

fn here(ca: &Authority, data: &Path) -> HubOptions {
    let mut options = member(ca, "here", "127.0.0.1:0", &[]);
    options.data = Some(data.join("here"));
    options
}

/// The home, with a link to the hub at this address.
fn home(ca: &Authority, data: &Path, to: &str) -> Hub {
    let mut options = member(ca, "home", "127.0.0.1:0", &[("here", to.to_owned())]);
    options.data = Some(data.join("home"));
    start(options)
}

fn spec(unreachable: Unreachable) -> StreamSpec<'static> {
    let (filters, homes) = (vec!["t/**"], vec!["home"]);
    StreamSpec { name: "all", filters, homes, segment_bytes: 4 << 20, unreachable, ..StreamSpec::default() }
}

struct Pair {
    ca: Authority,
    data: tempfile::TempDir,
    here: Hub,
    way: Way,
    home: Hub,
}

impl Pair {
    /// Both, and a stream that is spooled for.
    fn new(change: impl FnOnce(&mut HubOptions)) -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().unwrap());
        let mut options = here(&ca, data.path());
        change(&mut options);
        let here = start(options);
        Self::with(ca, data, here)
    }

    fn with(ca: Authority, data: tempfile::TempDir, here: Hub) -> Self {
        let way = Way::to(link_addr(&here));
        let home = home(&ca, data.path(), &way.addr);
        let pair = Self { ca, data, here, way, home };
        pair.seen(true);
        let mut client = Raw::connect(&pair.here, 1);
        client.create_stream(spec(Unreachable::Spool));
        until(&mut client, "the stream is known", |r| r.hubs.iter().any(|h| h.name == "home" && h.interest > 0));
        pair
    }

    /// Waits until the home is seen to be within reach, or out of it.
    fn seen(&self, reachable: bool) {
        let mut client = Raw::connect(&self.here, 90);
        until(&mut client, "the home is seen, or missed", |r| {
            r.hubs.iter().any(|h| h.name == "home" && h.reachable) == reachable
        });
    }

    fn cut(&self, cut: bool) {
        self.way.cut(cut);
        self.seen(!cut);
    }

    /// The hub `here` is another one, which the home has a new way to.
    fn replace_here(self, image: &Path) -> Self {
        let Self { ca, data, here: old, way: _, home: old_home } = self;
        stop(old_home);
        stop(old);
        let fresh = start(here(&ca, image));
        let way = Way::to(link_addr(&fresh));
        way.cut(true);
        let home = home(&ca, data.path(), &way.addr);
        Self { ca, data, here: fresh, way, home }
    }

    fn stop(self) {
        stop(self.here);
        stop(self.home);
    }
}

/// The block of one event that this is the producer's sequence of, from 1.
fn block(n: u64) -> Vec<u8> {
    let fields = BlockFields { producer: ProducerId(PRODUCER), first_sequence: n, ..BlockFields::new("t/a") };
    build(&fields, &[&n.to_le_bytes()])
}

fn publish(client: &mut Raw, n: u64, level: AckLevel) -> Result<Ack, (ErrorCode, String)> {
    send(client, n, level, &block(n))
}

/// The next frame that is not about what a publish waits for.
fn heard(client: &mut Raw) -> Received {
    loop {
        let received = client.receive();
        if !matches!(received.frame(), Frame::WhyReport(_)) {
            return received;
        }
    }
}

fn send(client: &mut Raw, n: u64, level: AckLevel, block: &[u8]) -> Result<Ack, (ErrorCode, String)> {
    client.publish_block(n, level, block);
    match heard(client).frame() {
        Frame::Ack(ack) if ack.request == n => Ok(ack),
        Frame::Error(error) if error.request == n => Err((error.code, error.detail.to_owned())),
        other => panic!("no answer to {n}: {other:?}"),
    }
}

/// Publishes these at `Synced`; answers at which levels they were acknowledged.
fn levels(client: &mut Raw, numbers: impl IntoIterator<Item = u64>) -> Vec<AckLevel> {
    numbers.into_iter().map(|n| publish(client, n, AckLevel::Synced).unwrap().level).collect()
}

/// All events of the stream at its home, once it has so many.
fn all(home: &Hub, count: usize) -> Vec<u64> {
    numbers(read(home, count))
}

fn numbers(payloads: Vec<Vec<u8>>) -> Vec<u64> {
    payloads.iter().map(|payload| u64::from_le_bytes(payload[..8].try_into().unwrap())).collect()
}

fn counter(hub: &Hub, name: &str) -> u64 {
    hub.counters().list().into_iter().find(|(known, _)| known == name).unwrap().1
}

/// Waits until nothing waits on disk, and sees that all is accounted for.
fn drained(hub: &Hub) {
    let mut client = Raw::connect(hub, 92);
    until(&mut client, "the spool is empty", |r| {
        let of = |name: &str| r.counters.iter().find(|counter| counter.name == name).unwrap().value;
        of("in_flight.spool") == 0 && of("ledger.in_flight") == 0
    });
    hub.counters().ledger().balance().unwrap();
}

fn info(client: &mut Raw) -> (ErrorCode, String) {
    client.send(&Frame::StreamInfo(StreamInfo { request: 7, name: "all" }));
    match client.receive().frame() {
        Frame::Error(error) => (error.code, error.detail.to_owned()),
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn what_is_published_while_the_home_is_away_outlives_the_hub_and_is_in_the_stream_once_in_order() {
    let pair = Pair::new(|_| {});
    let mut live = Raw::connect(&pair.here, 2);
    live.subscribe(1, "t/**");
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, 1..4), [AckLevel::Synced; 3]);
    pair.cut(true);
    assert_eq!(levels(&mut client, 4..9), [AckLevel::Spooled; 5]);
    assert_eq!(publish(&mut client, 9, AckLevel::Routed).unwrap().level, AckLevel::Routed);
    let ack = publish(&mut client, 10, AckLevel::Written).unwrap();
    assert_eq!((ack.level, ack.home_sequence, ack.homes), (AckLevel::Spooled, 0, 0));
    assert_eq!(numbers(live.drain()), (1..11).collect::<Vec<u64>>(), "live subscribers do not wait for the home");
    let (code, said) = info(&mut client);
    assert!(code == ErrorCode::UNREACHABLE && said.contains("7 events"), "{code} {said}");
    // Killed, and started again where nobody can tell it of the stream.
    let image = crashed(pair.data.path());
    let pair = pair.replace_here(image.path());
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, [10, 11]), [AckLevel::Spooled; 2], "and what has no answer comes again");
    let mut n = 200;
    (12..=n).for_each(|n| client.publish_block(n, AckLevel::Synced, &block(n)));
    for _ in 12..=n {
        assert!(matches!(heard(&mut client).frame(), Frame::Ack(ack) if ack.level == AckLevel::Spooled));
    }
    let mut listener = Raw::connect(&pair.home, 3);
    listener.subscribe(1, "t/**");
    pair.cut(false);
    // What is published goes behind what waits, then to the home again.
    loop {
        n += 1;
        if publish(&mut client, n, AckLevel::Synced).unwrap().level == AckLevel::Synced {
            break;
        }
    }
    assert_eq!(all(&pair.home, n as usize), (1..=n).collect::<Vec<u64>>());
    let mut got: Vec<u64> = (4..=n).flat_map(|_| numbers(listener.delivered())).collect();
    got.extend(numbers(listener.drain()));
    assert_eq!(got, (4..=n).collect::<Vec<u64>>(), "live ones get what they missed, once");
    drained(&pair.here);
    assert_eq!(counter(&pair.here, "spool.bytes"), 0);
    pair.stop();
}

#[test]
fn a_way_that_comes_and_goes_and_hubs_that_are_killed_leave_each_event_once_in_order() {
    let mut pair = Pair::new(|_| {});
    let mut images = Vec::new();
    let mut client = Raw::connect(&pair.here, PRODUCER);
    let mut n = 0;
    let mut both = [0, 0];
    for round in 0..6 {
        pair.way.cut(round % 2 == 0);
        // While it is found out, and afterwards.
        for _ in 0..20 {
            n += 1;
            client.publish_block(n, AckLevel::Synced, &block(n));
        }
        pair.seen(round % 2 == 1);
        for _ in 0..20 {
            match heard(&mut client).frame() {
                Frame::Ack(ack) => both[usize::from(ack.level == AckLevel::Spooled)] += 1,
                other => panic!("not an acknowledgement: {other:?}"),
            }
        }
        if round == 3 {
            images.push(crashed(pair.data.path()));
            let Pair { ca, data, here, way, home: old } = pair;
            stop(old);
            let home = home(&ca, data.path(), &way.addr);
            pair = Pair { ca, data, here, way, home };
        }
    }
    assert!(both[1] > 0, "{both:?}");
    pair.cut(false);
    assert_eq!(all(&pair.home, n as usize), (1..=n).collect::<Vec<u64>>());
    drained(&pair.here);
    // The hub is killed, and what it had on disk earlier is there again: what the
    // home has is not taken for new.
    let pair = pair.replace_here(images[0].path());
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, [n + 1]), [AckLevel::Spooled]);
    pair.cut(false);
    drained(&pair.here);
    assert_eq!(all(&pair.home, n as usize + 1), (1..=n + 1).collect::<Vec<u64>>());
    pair.stop();
}

#[test]
fn a_producer_that_goes_on_at_another_hub_loses_nothing_and_nothing_comes_twice() {
    let pair = Pair::new(|_| {});
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, [1, 2]), [AckLevel::Synced; 2]);
    pair.cut(true);
    assert_eq!(levels(&mut client, [3, 4, 5]), [AckLevel::Spooled; 3]);
    // Its connection is lost before it hears of the last one.
    let mut elsewhere = Raw::connect(&pair.home, PRODUCER);
    assert_eq!(levels(&mut elsewhere, [5, 6]), [AckLevel::Synced; 2]);
    pair.cut(false);
    assert_eq!(all(&pair.home, 6), [1, 2, 5, 6, 3, 4], "by the last number alone 3 and 4 were there");
    drained(&pair.here);
    assert_eq!(all(&pair.home, 6).len(), 6);
    // Whatever is published again is there.
    assert!((3..7).all(|n| publish(&mut elsewhere, n, AckLevel::Synced).unwrap().duplicate));
    pair.stop();
}

#[test]
fn what_cannot_be_spooled_is_refused_and_says_why() {
    let pair = Pair::new(|options| options.limits.spool_bytes = ByteCount::mib(1));
    pair.cut(true);
    let mut client = Raw::connect(&pair.here, PRODUCER);
    let large = |n: u64| {
        let fields = BlockFields { producer: ProducerId(PRODUCER), first_sequence: n, ..BlockFields::new("t/a") };
        build(&fields, &[&[&n.to_le_bytes()[..], &[7; 300_000]].concat()])
    };
    for n in 1..4 {
        assert_eq!(send(&mut client, n, AckLevel::Synced, &large(n)).unwrap().level, AckLevel::Spooled);
    }
    let (code, said) = send(&mut client, 4, AckLevel::Synced, &large(4)).unwrap_err();
    assert!(code == ErrorCode::SPOOL_FULL && said.contains("limits.spool_bytes"), "{code} {said}");
    // By two homes it cannot be had here.
    client.send_bytes(&publish_homes_head(5, 2, block(5).len()));
    client.send_bytes(&block(5));
    let received = client.receive();
    let Frame::Error(error) = received.frame() else { panic!("not an error: {:?}", received.frame()) };
    assert!(error.code == ErrorCode::UNREACHABLE && error.detail.contains("not spooled"), "{error:?}");
    assert_eq!(counter(&pair.here, "spool.refused"), 1);
    pair.cut(false);
    assert_eq!(all(&pair.home, 3), [1, 2, 3]);
    drained(&pair.here);
    pair.stop();
}

#[test]
fn a_stream_that_is_deleted_meanwhile_costs_what_is_spooled_and_that_is_counted() {
    let pair = Pair::new(|o| (o.timers.home_patience, o.timers.spool_gone) = (Duration::ZERO, Duration::ZERO));
    pair.cut(true);
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, 1..6), [AckLevel::Spooled; 5]);
    let mut there = Raw::connect(&pair.home, 1);
    there.send(&Frame::StreamDelete(StreamDelete { request: 1, name: "all" }));
    assert!(matches!(there.receive().frame(), Frame::Done(_)));
    pair.cut(false);
    drained(&pair.here);
    assert_eq!(counter(&pair.here, "ledger.dropped.stream_gone"), 5);
    assert_eq!(publish(&mut client, 6, AckLevel::Synced).unwrap_err().0, ErrorCode::NO_STREAM);
    pair.stop();
}

#[test]
fn a_stream_that_is_altered_to_refuse_gets_what_is_spooled_and_spools_no_more() {
    let pair = Pair::new(|options| options.timers.home_patience = Duration::ZERO);
    pair.cut(true);
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, 1..4), [AckLevel::Spooled; 3]);
    let mut there = Raw::connect(&pair.home, 1);
    there.send(&Frame::StreamAlter(StreamAlter { request: 1, spec: spec(Unreachable::Refuse) }));
    assert!(matches!(there.receive().frame(), Frame::Done(_)));
    pair.cut(false);
    assert_eq!(all(&pair.home, 3), [1, 2, 3]);
    drained(&pair.here);
    let mut n = 4;
    while publish(&mut client, n, AckLevel::Synced).unwrap().level == AckLevel::Spooled {
        n += 1;
    }
    pair.cut(true);
    assert_eq!(publish(&mut client, n + 1, AckLevel::Synced).unwrap_err().0, ErrorCode::UNREACHABLE);
    pair.stop();
}

#[test]
fn a_hub_without_a_disk_refuses_and_a_full_one_loses_nothing_that_it_answered() {
    let pair = Pair::new(|options| (options.data, options.timers.home_patience) = (None, Duration::ZERO));
    pair.cut(true);
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(publish(&mut client, 1, AckLevel::Synced).unwrap_err().0, ErrorCode::UNREACHABLE);
    pair.stop();

    let (ca, data) = (authority(), tempfile::tempdir().unwrap());
    let (fs, options) = (Arc::new(FaultFs::new()), here(&ca, data.path()));
    let environment = Environment {
        fs: fs.clone(),
        keyed: Some(Arc::new(weft_keyed::MemoryKeyed::new())),
        ..Environment::of_machine(&options).unwrap()
    };
    let pair = Pair::with(ca, data, Hub::start_in(options, environment).unwrap());
    pair.cut(true);
    let mut client = Raw::connect(&pair.here, PRODUCER);
    assert_eq!(levels(&mut client, [1]), [AckLevel::Spooled]);
    fs.set_capacity(1);
    let (mut n, fields) = (2, BlockFields { producer: ProducerId(PRODUCER), ..BlockFields::new("t/a") });
    let said = loop {
        let payload = [&u64::to_le_bytes(n)[..], &[7; 500_000]].concat();
        let block = build(&BlockFields { first_sequence: n, ..fields }, &[&payload]);
        match send(&mut client, n, AckLevel::Synced, &block) {
            Ok(ack) => assert_eq!(ack.level, AckLevel::Spooled),
            Err(refusal) => break refusal,
        }
        n += 1;
    };
    assert!(said.0 == ErrorCode::DISK_FULL && said.1.contains("spool"), "{said:?}");
    pair.cut(false);
    assert_eq!(all(&pair.home, n as usize - 1), (1..n).collect::<Vec<u64>>());
    drained(&pair.here);
    pair.stop();
}

/// The twin without keys shows that the search finds what is there.
#[test]
fn what_is_spooled_is_encrypted_with_the_hubs_keys() {
    let secret: &[u8] = b"forty-two million in unmarked bills";
    for keys in [None, Some(weft_log::Keys::parse(&"1f".repeat(32)).unwrap())] {
        let in_clear = keys.is_none();
        let pair = Pair::new(|options| options.storage.keys = keys);
        pair.cut(true);
        let mut client = Raw::connect(&pair.here, PRODUCER);
        let fields = BlockFields { producer: ProducerId(PRODUCER), first_sequence: 1, ..BlockFields::new("t/a") };
        let ack = send(&mut client, 1, AckLevel::Synced, &build(&fields, &[secret])).unwrap();
        assert_eq!(ack.level, AckLevel::Spooled);
        let found = holding(&pair.data.path().join("here"), secret);
        assert_eq!(found.len(), usize::from(in_clear), "{found:?}");
        pair.stop();
    }
}
