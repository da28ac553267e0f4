//! Which hubs become a link: of one mesh, alike in what they must share, and of
//! versions that follow each other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::liar::Liar;
use crate::common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_base::{ByteCount, Lane, Way};
use weft_hub::options::PickOptions;
use weft_hub::{Hub, HubOptions};
use weft_pack::Codec;
use weft_transport::ca::Authority;
use weft_wire::block::Block;
use weft_wire::frame::{
    AckLevel, ErrorCode, Frame, LinkCredit, LinkOpen, MeshShow, OpenItem, Start, StreamDelete, StreamSpec,
};

/// Waits until a hub has refused so many links, by its own count.
fn refused(hub: &Hub, times: u64) {
    for _ in 0..4_000 {
        if hub.counters().links_disagreed.load(Ordering::Relaxed) >= times {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("{} has refused no link", hub.identity().name);
}

/// Two hubs, of which the second dials and differs, and are both right to refuse.
fn refuse_each_other(change: impl FnOnce(&mut HubOptions)) {
    let ca = authority();
    let first = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let mut options = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&first))]);
    change(&mut options);
    let second = start(options);
    refused(&first, 2);
    assert_eq!(first.counters().links.load(Ordering::Relaxed), 0);
    assert_eq!(second.counters().links.load(Ordering::Relaxed), 0);
    let mut client = Raw::connect(&first, 1);
    until(&mut client, "it is alone", |r| r.hubs.len() == 1);
    stop(second);
    stop(first);
}

#[test]
fn hubs_of_two_meshes_are_never_linked() {
    refuse_each_other(|options| options.mesh = "freight".to_owned());
}

#[test]
fn hubs_that_differ_in_what_they_must_share_are_never_linked() {
    refuse_each_other(|options| options.limits.frame = ByteCount::mib(2));
}

#[test]
fn the_refused_hub_is_told_which_mesh_or_which_setting_and_both_values() {
    let ca = authority();
    let hub = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let security = identity(&ca, "liar");
    let (mesh, other) = (OpenItem { tag: OpenItem::MESH, value: b"weft" }, b"freight");
    let frame_limit = OpenItem { tag: OpenItem::SETTING, value: b"limits.frame\x004096" };
    let other_mesh = vec![OpenItem { tag: OpenItem::MESH, value: other }];
    for (items, code, said) in [
        (other_mesh, ErrorCode::OTHER_MESH, "the mesh `freight`, this hub of `weft`"),
        (vec![mesh, frame_limit], ErrorCode::DISAGREE, "`limits.frame` is 4096 at the peer and 1048576 at this hub"),
        (vec![], ErrorCode::OTHER_MESH, "the mesh ``"),
    ] {
        let mut liar = Liar::connect(&hub, &security, 2);
        liar.send(&Frame::LinkOpen(LinkOpen { items }));
        let (granted, found, detail) = liar.closed_because();
        assert_eq!((granted, found), (0, code), "{detail}");
        assert!(detail.contains(said), "{detail}");
    }
    assert_eq!(hub.counters().links_disagreed.load(Ordering::Relaxed), 3);
    stop(hub);
}

#[test]
fn a_hub_that_does_not_say_what_it_is_before_anything_else_is_no_link() {
    let ca = authority();
    let hub = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let mut liar = Liar::connect(&hub, &identity(&ca, "liar"), 2);
    liar.send(&Frame::LinkCredit(LinkCredit { lane: Lane::DEFAULT, limit: 1 }));
    let (granted, code, detail) = liar.closed_because();
    assert_eq!((granted, code), (0, ErrorCode::UNEXPECTED), "{detail}");
    assert_eq!(hub.counters().links.load(Ordering::Relaxed), 0);
    stop(hub);
}

/// Three hubs in a line, the last one of an older version: events, streams and
/// acknowledgements cross the border.
#[test]
fn a_mesh_in_which_one_hub_speaks_the_version_before_carries_everything() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let middle = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let to_middle = [("chicago", link_addr(&middle))];
    let east = start(member(&ca, "new-york", "127.0.0.1:0", &to_middle));
    let mut older = member(&ca, "los-angeles", "127.0.0.1:0", &to_middle);
    older.data = Some(data.path().to_owned());
    older.protocol_most = 1;
    let west = start(older);

    let mut listener = Raw::connect(&west, 1);
    listener.subscribe(1, "live/**");
    let spec = StreamSpec { name: "all", filters: vec!["kept/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    let mut admin = Raw::connect(&west, 9);
    admin.create_stream(spec);
    let mut publisher = Raw::connect(&east, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "los-angeles", 2));
    let mut between = Raw::connect(&middle, 4);
    for (counter, version) in [("link.new-york.version", 2), ("link.los-angeles.version", 1)] {
        until(&mut between, counter, |r| r.counters.iter().any(|c| c.name == counter && c.value == version));
    }
    for n in 0..20u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "live/x", &[&[n]]);
        publisher.publish_acked(100 + u64::from(n), AckLevel::Synced, "kept/x", &[&[n]]);
    }
    for n in 0..20u8 {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!((deliver.hops, crate::common::payloads(deliver.block)), (2, vec![vec![n]]));
    }
    let mut reader = Raw::connect(&east, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    for n in 0..20u8 {
        assert_eq!(reader.delivered(), [[n]]);
    }
    for hub in [east, west, middle] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}

/// Two meshes of two hubs each work apart; then two hubs that link both start.
/// What follows reaches everybody once, though there are two ways.
#[test]
fn two_meshes_that_worked_apart_become_one_and_deliver_everything_once() {
    let ca = authority();
    let pair = |first: &str, second: &str| {
        let first = start(member(&ca, first, "127.0.0.1:0", &[]));
        let second = start(member(&ca, second, "127.0.0.1:0", &[(&first.identity().name.clone(), link_addr(&first))]));
        [first, second]
    };
    let [boston, new_york] = pair("boston", "new-york");
    let [dallas, houston] = pair("dallas", "houston");
    let mut listeners: Vec<Raw> = [&new_york, &houston].into_iter().map(|hub| Raw::connect(hub, 1)).collect();
    listeners.iter_mut().for_each(|listener| listener.subscribe(1, "t/**"));
    let mut publishers = [(&boston, 2, "new-york"), (&dallas, 3, "houston")].map(|(hub, producer, listener)| {
        let mut publisher = Raw::connect(hub, producer);
        until(&mut publisher, "its own mesh", |r| knows_interest(r, listener, 1));
        publisher.publish_acked(1, AckLevel::Routed, "t/apart", &[&[0]]);
        publisher
    });
    for listener in &mut listeners {
        assert_eq!(listener.delivered(), [[0]], "its own mesh's event");
    }
    let both = [("boston", link_addr(&boston)), ("dallas", link_addr(&dallas))];
    let bridges = ["memphis", "atlanta"].map(|name| start(member(&ca, name, "127.0.0.1:0", &both)));
    // A way that moves while events are under way may lose some: all links are up before.
    for hub in [&boston, &new_york, &dallas, &houston].into_iter().chain(&bridges) {
        let mut watcher = Raw::connect(hub, 4);
        until(&mut watcher, "all six links, as both of their ends report them", |r| r.links.len() == 12);
    }
    for publisher in &mut publishers {
        until(publisher, "one mesh", |r| knows_interest(r, "new-york", 1) && knows_interest(r, "houston", 1));
        until(publisher, "of six hubs", |r| r.hubs.iter().filter(|hub| hub.reachable).count() == 6);
        for n in 1..=50u8 {
            publisher.publish_acked(10 + u64::from(n), AckLevel::Routed, "t/together", &[&[n]]);
        }
    }
    for listener in &mut listeners {
        let mut heard: Vec<u8> = Vec::new();
        while heard.len() < 100 {
            heard.extend(listener.delivered().into_iter().flatten());
        }
        assert!(listener.drain().is_empty(), "nothing twice");
        heard.sort_unstable();
        let expected: Vec<u8> = (1..=50u8).flat_map(|n| [n, n]).collect();
        assert_eq!(heard, expected, "both publishers' events, each once");
    }
    for hub in [new_york, houston, boston, dallas].into_iter().chain(bridges) {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}

#[test]
fn a_hub_whose_neighbour_is_gone_comes_back_through_another_that_it_has_heard_of() {
    let ca = authority();
    let chicago = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let to_chicago = [("chicago", link_addr(&chicago))];
    let new_york = start(member(&ca, "new-york", "127.0.0.1:0", &to_chicago));
    let folder = tempfile::tempdir().expect("a folder");
    let boston = || {
        let mut options = member(&ca, "boston", "127.0.0.1:0", &to_chicago);
        options.data = Some(folder.path().to_owned());
        options.timers.alone = Duration::from_millis(50);
        start(options)
    };
    let reaches = |hub: &Hub, name: &str| {
        let mut client = Raw::connect(hub, 1);
        until(&mut client, name, |report| knows_interest(report, name, 0));
    };
    let first = boston();
    reaches(&first, "new-york");
    stop(chicago);
    reaches(&first, "new-york");
    reaches(&new_york, "boston");
    // A later life knows it from the disk: its configured neighbour never answers.
    stop(first);
    let second = boston();
    reaches(&second, "new-york");
    stop(second);
    stop(new_york);
}

/// A hub that picks its links, with the address of another if there is one.
fn picking(ca: &Authority, name: &str, region: &str, seeds: &[String]) -> HubOptions {
    let mut options = member(ca, name, "127.0.0.1:0", &[]);
    options.region = region.to_owned();
    options.seeds = seeds.to_vec();
    let (probe, settle) = (Duration::from_millis(20), Duration::from_millis(400));
    options.pick = Some(PickOptions { nearest: 1, probe, settle, ..PickOptions::default() });
    options.pick_packing = Some(Codec::Lz4);
    options.timers.alone = Duration::from_millis(50);
    options
}

/// Waits until each of these reaches so many others.
fn all_reach(hubs: &[Hub], others: usize) {
    for hub in hubs {
        let mut client = Raw::connect(hub, 1);
        until(&mut client, &format!("{} reaches {others}", hub.identity().name), |report| {
            report.hubs.iter().filter(|known| known.reachable && known.hops > 0).count() == others
        });
    }
}

/// Waits until one of these hubs counts something so named.
fn one_counts(hubs: &[Hub], name: &str) {
    let mut clients: Vec<Raw> = hubs.iter().map(|hub| Raw::connect(hub, 2)).collect();
    for request in 0..2_000 {
        for client in &mut clients {
            client.send(&Frame::MeshShow(MeshShow { request }));
            let answer = client.receive();
            let Frame::MeshReport(report) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
            if report.counters.iter().any(|counter| counter.name == name && counter.value > 0) {
                return;
            }
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("no hub has counted {name}");
}

/// Each hub knows one address, of the hub before it: a line. A circle has a link
/// more than that, so that one is picked.
#[test]
fn hubs_that_know_one_address_pick_their_links_and_outlive_that_hub() {
    let ca = authority();
    let mut hubs = vec![start(picking(&ca, "chicago", "west", &[]))];
    for (name, region) in [("boston", "east"), ("dallas", "west"), ("houston", "west"), ("new-york", "east")] {
        let seed = link_addr(hubs.last().expect("the one before"));
        hubs.push(start(picking(&ca, name, region, &[seed])));
    }
    all_reach(&hubs, 4);
    one_counts(&hubs, "picks.opened");
    one_counts(&hubs, "picks.probes");
    for hub in &hubs {
        let mut client = Raw::connect(hub, 3);
        until(&mut client, "all links are compressed, whoever dialled them", |report| {
            let mut links = report
                .counters
                .iter()
                .filter(|counter| counter.name.starts_with("link.") && counter.name.ends_with(".version"));
            links.all(|link| {
                let name = link.name.replace(".version", ".compression");
                report.counters.iter().any(|counter| counter.name == name && counter.value == 1)
            })
        });
    }
    // In the middle of the line that they began as.
    stop(hubs.remove(2));
    all_reach(&hubs, 3);
    for hub in hubs {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}

/// Of three hubs in the east one is next to the one in the west, at most one more
/// came by it, and the third is refused.
#[test]
fn a_hub_that_has_enough_links_refuses_others_that_pick_it_and_stays_in_the_mesh() {
    let ca = authority();
    let mut options = picking(&ca, "chicago", "west", &[]);
    (options.limits.picked_links, options.pick) = (0, None);
    let mut hubs = vec![start(options)];
    hubs.push(start(picking(&ca, "boston", "east", &[link_addr(&hubs[0])])));
    let seed = [link_addr(&hubs[1])];
    hubs.extend(["atlanta", "new-york"].map(|name| start(picking(&ca, name, "east", &seed))));
    all_reach(&hubs, 3);
    one_counts(&hubs[..1], "picks.refused");
    all_reach(&hubs, 3);
    hubs.into_iter().for_each(stop);
}

/// Each of two hubs has made a stream of the same name while they were apart.
#[test]
fn streams_of_one_name_that_were_made_apart_both_stay_and_are_told() {
    let ca = authority();
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let keeping = |name: &str, folder: &tempfile::TempDir, to: &[(&str, String)]| {
        let mut options = member(&ca, name, "127.0.0.1:0", to);
        options.data = Some(folder.path().to_owned());
        start(options)
    };
    let made = |hub: &Hub, payload: u8| {
        let spec =
            StreamSpec { name: "orders", filters: vec!["orders/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
        let mut admin = Raw::connect(hub, u64::from(payload));
        admin.create_stream(spec);
        admin.publish_acked(2, AckLevel::Synced, "orders/apart", &[&[payload]]);
    };
    let boston = keeping("boston", &folders[0], &[]);
    let alone = keeping("dallas", &folders[1], &[]);
    made(&boston, 10);
    made(&alone, 20);
    stop(alone);
    let dallas = keeping("dallas", &folders[1], &[("boston", link_addr(&boston))]);
    let collided = |hub: &Hub, streams: u64| {
        let mut watcher = Raw::connect(hub, 30);
        until(&mut watcher, "both are told", |report| {
            let found = report.counters.iter().find(|counter| counter.name == "collision.orders");
            found.map_or(0, |counter| counter.value) == streams
        });
    };
    collided(&boston, 2);
    collided(&dallas, 2);
    // What comes now is of both; what each had it has.
    let mut publisher = Raw::connect(&boston, 40);
    publisher.publish_acked(1, AckLevel::Synced, "orders/together", &[&[30]]);
    for (hub, first) in [(&boston, 10), (&dallas, 20)] {
        let mut reader = Raw::connect(hub, 50);
        reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("orders", Start::First));
        assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
        assert_eq!((reader.delivered(), reader.delivered()), (vec![vec![first]], vec![vec![30]]));
    }
    // A hub that keeps neither does not choose which one is to go.
    let austin = start(member(&ca, "austin", "127.0.0.1:0", &[("boston", link_addr(&boston))]));
    collided(&austin, 2);
    let delete = Frame::StreamDelete(StreamDelete { name: "orders", request: 1 });
    let mut admin = Raw::connect(&austin, 60);
    admin.send(&delete);
    let refused = admin.receive();
    assert!(matches!(refused.frame(), Frame::Error(e) if e.detail.contains("2 streams")), "{:?}", refused.frame());
    // One that keeps one of them deletes its own, and the other stays.
    let mut admin = Raw::connect(&dallas, 60);
    admin.send(&delete);
    assert!(matches!(admin.receive().frame(), Frame::Done(_)));
    for hub in [&boston, &dallas, &austin] {
        collided(hub, 0);
    }
    let mut reader = Raw::connect(&boston, 70);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("orders", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    assert_eq!(reader.delivered(), [[10]]);
    stop(austin);
    for hub in [&boston, &dallas] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
    }
    stop(dallas);
    stop(boston);
}

#[test]
fn clients_of_version_1_get_what_takes_another_way_than_the_first() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let middle = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let mut options = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&middle))]);
    options.data = Some(data.path().to_owned());
    let east = start(options);
    let spec = StreamSpec { name: "all", filters: vec!["**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    let mut admin = Raw::connect(&east, 9);
    admin.create_stream(spec);
    let mut listener = Raw::connect(&east, 1);
    listener.subscribe(1, "live/**");
    let mut asks = Raw::connect(&middle, 2);
    until(&mut asks, "the interest arrives", |r| knows_interest(r, "new-york", 2));
    // Of so many producers some take another way than the first.
    for n in 0..16u8 {
        let mut publisher = Raw::connect(&middle, 20 + u64::from(n));
        publisher.publish_acked(1, AckLevel::Synced, "live/x", &[&[n]]);
    }
    let way_of = |block: &[u8]| Block::validate(block).expect("a sound block").way();
    for n in 0..16u8 {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!((way_of(deliver.block), crate::common::payloads(deliver.block)), (Way::MAIN, vec![vec![n]]));
    }
    let mut reader = Raw::connect(&east, 3);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    for _ in 0..16 {
        let received = reader.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!(way_of(deliver.block), Way::MAIN, "as it lies on disk");
    }
    for hub in [east, middle] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}
