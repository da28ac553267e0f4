//! Which hubs become a link: of one mesh, alike in what they must share, and of
//! versions that follow each other.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::liar::Liar;
use common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use common::{Raw, start, stop};
use weft_base::{ByteCount, Lane};
use weft_hub::{Hub, HubOptions};
use weft_wire::frame::{AckLevel, ErrorCode, Frame, LinkCredit, LinkOpen, OpenItem, Start, StreamCreate, StreamSpec};

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

/// Three hubs in a line, the one in the middle of an older version: events,
/// streams and acknowledgements cross it.
#[test]
fn a_mesh_in_which_one_hub_speaks_the_version_before_carries_everything() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let mut older = member(&ca, "chicago", "127.0.0.1:0", &[]);
    older.protocol_most = 1;
    let middle = start(older);
    let to_middle = [("chicago", link_addr(&middle))];
    let east = start(member(&ca, "new-york", "127.0.0.1:0", &to_middle));
    let mut keeper = member(&ca, "los-angeles", "127.0.0.1:0", &to_middle);
    keeper.data = Some(data.path().to_owned());
    keeper.neighbours.push(weft_hub::options::Neighbour { addr: link_addr(&east), name: None, cost: 1_000_000_000 });
    let west = start(keeper);

    let mut listener = Raw::connect(&west, 1);
    listener.subscribe(1, "live/**");
    let spec = StreamSpec { name: "all", filters: vec!["kept/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    let mut admin = Raw::connect(&west, 9);
    admin.send(&Frame::StreamCreate(StreamCreate { request: 1, spec }));
    assert!(matches!(admin.receive().frame(), Frame::Done(_)));
    let mut publisher = Raw::connect(&east, 2);
    until(&mut publisher, "the interest arrives", |r| knows_interest(r, "los-angeles", 2));
    until(&mut publisher, "the cheaper way by the older hub is found", |r| {
        r.hubs.iter().any(|hub| hub.name == "los-angeles" && hub.hops == 2)
    });
    for (counter, version) in [("link.chicago.version", 1), ("link.los-angeles.version", 2)] {
        until(&mut publisher, counter, |r| r.counters.iter().any(|c| c.name == counter && c.value == version));
    }
    for n in 0..20u8 {
        publisher.publish_acked(u64::from(n), AckLevel::Routed, "live/x", &[&[n]]);
        publisher.publish_acked(100 + u64::from(n), AckLevel::Synced, "kept/x", &[&[n]]);
    }
    for n in 0..20u8 {
        let received = listener.receive();
        let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
        assert_eq!((deliver.hops, common::payloads(deliver.block)), (2, vec![vec![n]]), "by way of the older hub");
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
