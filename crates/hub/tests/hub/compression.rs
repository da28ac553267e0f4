//! Links whose blocks are compressed: what goes in comes out, by TCP and by
//! QUIC, in less on the line; and a hub that lies about it loses its link.

use std::sync::atomic::Ordering;

use crate::common::liar::Liar;
use crate::common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use crate::common::{Raw, build, payloads, start, stop};
use weft_base::{Lane, ProducerId};
use weft_hub::Hub;
use weft_pack::{Codec, Packer};
use weft_wire::block::BlockFields;
use weft_wire::frame::{self, AckLevel, ErrorCode, FlowEntry, FlowKind, Frame, OpenItem, Packed};

/// Whether a link goes by QUIC, and how many connections it has.
type Line = (bool, u8);
const TCP: Line = (false, 1);
const SEVERAL: Line = (false, 3);
const QUIC: Line = (true, 1);

/// Two hubs of which the second has dialled the first, by this line, and asks for
/// this; the first takes that.
fn pair((quic, connections): Line, wanted: Option<Codec>, taken: &[Codec]) -> (Hub, Hub) {
    let ca = authority();
    let mut listening = member(&ca, "chicago", "127.0.0.1:0", &[]);
    listening.hubs_also = vec!["quic:127.0.0.1:0".to_owned()];
    listening.packings = taken.to_vec();
    let listening = start(listening);
    let addr = listening.hub_addresses()[usize::from(quic)].clone();
    let mut dialling = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", addr)]);
    dialling.neighbours[0].packing = wanted;
    dialling.neighbours[0].connections = connections;
    (listening, start(dialling))
}

/// What the hub counts of its link to `peer`.
fn counted(hub: &Hub, peer: &str, what: &str) -> u64 {
    let name = format!("link.{peer}.{what}");
    hub.counters().list().into_iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

fn line(lane: Lane, number: u64) -> Vec<u8> {
    let late = number % 17;
    let text = format!(
        "{{\"lane\":{},\"number\":{number},\"carrier\":\"UA\",\"origin\":\"JFK\",\"late\":{late}}}",
        lane.get()
    );
    text.repeat(20).into_bytes()
}

fn block(lane: Lane, number: u64) -> Vec<u8> {
    let producer = ProducerId(8 | u64::from(lane.get()));
    build(&BlockFields { lane, producer, first_sequence: number, ..BlockFields::new("t/x") }, &[&line(lane, number)])
}

#[test]
fn what_is_compressed_arrives_as_it_was_in_the_order_of_its_lane_and_takes_less_of_the_line() {
    const EACH: u64 = 40;
    let lines = [TCP, SEVERAL, QUIC].into_iter().flat_map(|line| Codec::ALL.map(|codec| (line, codec)));
    for (line_of, codec) in lines {
        let (chicago, new_york) = pair(line_of, Some(codec), &Codec::ALL);
        let mut listener = Raw::connect(&chicago, 1);
        listener.subscribe(1, "t/**");
        // And the other way: the side that was dialled compresses, too.
        let mut back = Raw::connect(&new_york, 3);
        back.subscribe(1, "back");
        let mut publisher = Raw::connect(&new_york, 2);
        until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
        until(&mut listener, "the interest arrives", |r| knows_interest(r, "new-york", 1));
        for number in 1..=EACH {
            for lane in Lane::all() {
                publisher.publish_block(number * 100 + u64::from(lane.get()), AckLevel::Routed, &block(lane, number));
            }
        }
        listener.publish(1, AckLevel::None, "back", &[&line(Lane::DEFAULT, 0)]);
        assert_eq!(back.delivered(), [line(Lane::DEFAULT, 0)]);
        let mut last = [0; Lane::COUNT];
        for _ in 0..EACH * Lane::COUNT as u64 {
            let received = listener.receive();
            let Frame::Deliver(deliver) = received.frame() else { panic!("not a delivery: {:?}", received.frame()) };
            let lane = weft_wire::block::Block::trusted(deliver.block).lane();
            for got in payloads(deliver.block) {
                last[lane.index()] += 1;
                assert!(got == line(lane, last[lane.index()]), "lane {}", lane.get());
            }
        }
        assert_eq!(last, [EACH; Lane::COUNT]);
        for _ in 0..EACH * Lane::COUNT as u64 {
            assert!(matches!(publisher.receive().frame(), Frame::Ack(_)));
        }
        let [plain, wire] = ["bytes_out", "wire_out"].map(|what| counted(&new_york, "chicago", what));
        assert!(wire * 2 < plain, "{codec:?} by {line_of:?}: {wire} of {plain} bytes");
        assert_eq!([plain, wire], ["bytes_in", "wire_in"].map(|what| counted(&chicago, "new-york", what)));
        assert!(counted(&chicago, "new-york", "wire_out") < counted(&chicago, "new-york", "bytes_out"));
        for (hub, peer) in [(&chicago, "new-york"), (&new_york, "chicago")] {
            assert_eq!(counted(hub, peer, "compression"), u64::from(codec.number()));
            hub.counters().ledger().balance().expect("every copy is accounted for");
        }
        stop(new_york);
        stop(chicago);
    }
}

#[test]
fn a_link_is_not_compressed_unless_asked_for_and_taken_and_by_version_two() {
    let plain = |(chicago, new_york): (Hub, Hub)| {
        let mut listener = Raw::connect(&chicago, 1);
        listener.subscribe(1, "t/**");
        let mut publisher = Raw::connect(&new_york, 2);
        until(&mut publisher, "the interest arrives", |r| knows_interest(r, "chicago", 1));
        publisher.publish_block(1, AckLevel::Routed, &block(Lane::DEFAULT, 1));
        assert_eq!(listener.delivered(), [line(Lane::DEFAULT, 1)]);
        assert_eq!(counted(&new_york, "chicago", "compression"), 0);
        let [plain, wire] = ["bytes_in", "wire_in"].map(|what| counted(&chicago, "new-york", what));
        assert!(plain == wire && plain > 0, "{plain} {wire}");
        stop(new_york);
        stop(chicago);
    };
    plain(pair(TCP, None, &Codec::ALL));
    plain(pair(TCP, Some(Codec::Zstd), &[Codec::Lz4]));
    let ca = authority();
    let chicago = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let mut old = member(&ca, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&chicago))]);
    (old.protocol_most, old.neighbours[0].packing) = (1, Some(Codec::Lz4));
    plain((chicago, start(old)));
}

/// A block for the hub `chicago` as the hub `liar` would send it.
fn forward(lane: Lane, payload: &[u8]) -> Vec<u8> {
    let entry = FlowEntry {
        hub: weft_base::HubId::of_name("chicago"),
        incarnation: 1,
        kind: FlowKind::Live,
        retransmit: false,
        sequence: 0,
        base: 0,
    };
    let block = build(&BlockFields { lane, ..BlockFields::new("t/x") }, &[payload]);
    let mut frame = Vec::new();
    frame::forward_head(&[entry], 8, block.len(), &mut frame).expect("one entry");
    frame.extend_from_slice(&block);
    frame
}

#[test]
fn packed_blocks_that_are_not_what_they_say_cost_the_link_are_counted_and_nobody_else_notices() {
    let ca = authority();
    let hub = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let security = identity(&ca, "liar");
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 2);
    let pack = |plain: &[u8]| {
        let mut out = vec![0; Codec::Lz4.bound(plain.len())];
        let len = Packer::new().pack(Codec::Lz4, plain, &mut out).expect("room");
        out.truncate(len);
        out
    };
    let frames = [forward(Lane::BULK, &[0; 900]), forward(Lane::BULK, &[0; 900])].concat();
    let ping = {
        let mut bytes = Vec::new();
        frame::encode(&Frame::Ping(frame::Ping { id: 1, time: 1 }), &mut bytes);
        [frames.clone(), bytes].concat()
    };
    let (good, bomb, with_ping) = (pack(&frames), pack(&vec![0; 2 << 20]), pack(&ping));
    let sound = Packed { codec: 1, lane: Lane::BULK, frames: 2, plain: frames.len() as u32, bytes: &good };
    let cut = &good[..good.len() - 3];
    let lies = [
        (Some(1), Packed { codec: 2, ..sound }, "packed by codec 2, and lz4 was agreed on"),
        (None, sound, "packed by codec 1, and no packing was agreed on"),
        (Some(1), Packed { plain: sound.plain + 8, ..sound }, "were announced"),
        (Some(1), Packed { plain: sound.plain - 8, ..sound }, "the bytes are no lz4"),
        (Some(1), Packed { bytes: cut, ..sound }, "the bytes are no lz4"),
        (Some(1), Packed { plain: 2 << 20, bytes: &bomb, ..sound }, "at most 1048576 are taken (limits.frame)"),
        (Some(1), Packed { plain: 1 << 20, bytes: &bomb, ..sound }, "the bytes are no lz4"),
        (Some(1), Packed { lane: Lane::URGENT, ..sound }, "whose lane is not the one announced"),
        (Some(1), Packed { frames: 1, ..sound }, "more was packed than the frames announced"),
        (Some(1), Packed { frames: 3, ..sound }, "no whole number of frames"),
        (Some(1), Packed { frames: 3, plain: ping.len() as u32, bytes: &with_ping, ..sound }, "carries no block"),
    ];
    for (round, (asked, packed, why)) in lies.into_iter().enumerate() {
        let mut liar = Liar::connect(&hub, &security, 2);
        let mesh = OpenItem { tag: OpenItem::MESH, value: b"weft" };
        let packing = asked.map(|codec: u8| [codec, 6]);
        let items = packing.iter().map(|value| OpenItem { tag: OpenItem::PACKING, value }).chain([mesh]).collect();
        liar.send(&Frame::LinkOpen(frame::LinkOpen { items }));
        liar.send(&Frame::Packed(packed));
        let (_, code, detail) = liar.closed_because();
        assert_eq!(code, ErrorCode::BAD_PACKED, "{detail}");
        assert!(detail.contains(why), "{why}: {detail}");
        assert_eq!(hub.counters().packed_refused.load(Ordering::Relaxed), round as u64 + 1);
        publisher.publish_acked(round as u64, AckLevel::Routed, "t", &[b"x"]);
        assert_eq!(subscriber.delivered(), [b"x".to_vec()]);
    }
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}

#[test]
fn a_block_that_was_changed_before_it_was_packed_is_refused_by_its_checksum_as_any_other() {
    let ca = authority();
    let hub = start(member(&ca, "chicago", "127.0.0.1:0", &[]));
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t/**");
    let mut liar = Liar::connect(&hub, &identity(&ca, "liar"), 2);
    let items =
        vec![OpenItem { tag: OpenItem::MESH, value: b"weft" }, OpenItem { tag: OpenItem::PACKING, value: &[1, 2] }];
    liar.send(&Frame::LinkOpen(frame::LinkOpen { items }));
    let mut plain = forward(Lane::BULK, &[0; 900]);
    *plain.last_mut().expect("bytes") ^= 1;
    let mut out = vec![0; Codec::Lz4.bound(plain.len())];
    let len = Packer::new().pack(Codec::Lz4, &plain, &mut out).expect("room");
    let packed = Packed { codec: 1, lane: Lane::BULK, frames: 1, plain: plain.len() as u32, bytes: &out[..len] };
    liar.send(&Frame::Packed(packed));
    let (_, code, detail) = liar.closed_because();
    assert_eq!(code.name(), Some("bad_block"), "{detail}");
    stop(hub);
}
