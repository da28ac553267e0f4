//! Properties of frames: each is read as it was written, has one encoding, and
//! no bytes make the decoder panic or name a place outside of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::between::ask_for_topics;
use common::{detour, encoded, entries, forward, frames};
use proptest::collection::vec;
use proptest::prelude::*;
use weft_base::{Epoch, HubId, SubscriptionId, UnixNanos};
use weft_wire::frame::*;

/// What must hold of any bytes.
fn check_hostile(bytes: &[u8]) {
    match Frame::decode(bytes) {
        Ok(frame) => assert_eq!(encoded(&frame), bytes, "{frame:?} has another encoding"),
        Err(error) => assert!(error.offset <= bytes.len(), "{error:?} of {} bytes", bytes.len()),
    }
    match peek(bytes, MAX_FRAME) {
        Ok(Peek::Frame { len }) => assert!(len <= bytes.len()),
        Ok(Peek::Need(total)) => assert!(total > bytes.len()),
        Err(error) => assert!(error.offset <= bytes.len()),
    }
    let _ = (peek_kind(bytes), publish_of(bytes));
}

#[test]
fn each_frame_is_read_as_it_was_written() {
    for frame in frames() {
        let bytes = encoded(&frame);
        assert!(bytes.len().is_multiple_of(8));
        assert_eq!(Frame::decode(&bytes).as_ref(), Ok(&frame));
        assert_eq!(peek(&bytes, MAX_FRAME), Ok(Peek::Frame { len: bytes.len() }));
        assert_eq!(peek_kind(&bytes), Some(frame.kind()));
    }
}

#[test]
fn a_question_for_topics_has_a_page_and_others_are_as_in_version_1() {
    let asked = Frame::Ask(ask_for_topics());
    let bytes = encoded(&asked);
    assert_eq!(Frame::decode(&bytes), Ok(asked));
    for len in 0..bytes.len() {
        assert!(Frame::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    // What it asks, in its first byte: who knows it not refuses it there, and says nothing.
    let mut unknown = bytes.clone();
    unknown[FRAME_HEADER] = 250;
    let error = Frame::decode(&unknown).unwrap_err();
    assert_eq!((error.clause, error.offset), (FrameClause::Value, FRAME_HEADER));
    // Of another question a page would be too much, and is not written.
    let mut other = bytes;
    other[FRAME_HEADER] = SeeWhat::Topic as u8;
    assert!(Frame::decode(&other).is_err());
    let without = Ask { what: SeeWhat::Topic, ..ask_for_topics() };
    let empty = Ask { page: TopicPage::default(), ..without };
    assert_eq!(encoded(&Frame::Ask(without)), encoded(&Frame::Ask(empty)));
    assert_eq!(encoded(&Frame::Ask(empty)).len(), 64, "61 bytes, padded");
}

#[test]
fn frames_are_cut_out_of_a_stream_of_bytes() {
    let mut stream = Vec::new();
    for frame in frames() {
        encode(&frame, &mut stream);
    }
    let mut rest = stream.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let Ok(Peek::Frame { len }) = peek(rest, MAX_FRAME) else { panic!("no frame at {}", rest.len()) };
        found.push(Frame::decode(&rest[..len]).unwrap());
        rest = &rest[len..];
    }
    assert_eq!(found, frames());
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for frame in frames() {
        let bytes = encoded(&frame);
        for len in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..len]).is_err(), "{len} bytes of {frame:?}");
            check_hostile(&bytes[..len]);
            let need = if len < FRAME_HEADER { FRAME_HEADER } else { bytes.len() };
            assert_eq!(peek(&bytes[..len], MAX_FRAME), Ok(Peek::Need(need)));
            // The same with a header that fits, so that the fields themselves end early.
            if len >= FRAME_HEADER && len.is_multiple_of(8) {
                let mut short = bytes[..len].to_vec();
                short[..4].copy_from_slice(&(len as u32).to_le_bytes());
                check_hostile(&short);
            }
        }
        let mut long = [bytes.as_slice(), &[0; 8]].concat();
        let len = long.len() as u32;
        long[..4].copy_from_slice(&len.to_le_bytes());
        assert!(Frame::decode(&long).is_err(), "eight bytes more than {frame:?}");
    }
}

#[test]
fn every_changed_byte_is_refused_or_read_as_what_it_says() {
    for frame in frames() {
        let bytes = encoded(&frame);
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                check_hostile(&changed);
                assert_ne!(Frame::decode(&changed).as_ref(), Ok(&frame), "byte {at} means nothing");
            }
        }
    }
}

#[test]
fn heads_built_apart_make_the_same_frames() {
    let block = common::stamped();
    let id = SubscriptionId(0x0102_0304_0506_0708);
    let deliver = [deliver_head(id, block.len(), 9).as_slice(), &block].concat();
    assert_eq!(Frame::decode(&deliver), Ok(Frame::Deliver(Deliver { id, hops: 9, block: &block })));
    let publish = [publish_head(77, AckLevel::Written, block.len()).as_slice(), &block].concat();
    let expected = Publish { request: 77, level: AckLevel::Written, homes: 0, block: &block };
    assert_eq!(Frame::decode(&publish), Ok(Frame::Publish(expected)));
    assert_eq!(publish_of(&publish[..FRAME_HEADER]), Ok((77, AckLevel::Written, 0)));
    assert_eq!(publish_of(&deliver).unwrap_err().clause, FrameClause::Kind);
    let publish = [publish_homes_head(78, 3, block.len()).as_slice(), &block].concat();
    let expected = Publish { request: 78, level: AckLevel::Homes, homes: 3, block: &block };
    assert_eq!(Frame::decode(&publish), Ok(Frame::Publish(expected)));
    let found = [found_head(79, 2, block.len()).as_slice(), &block].concat();
    assert_eq!(Frame::decode(&found), Ok(Frame::Found(Found { request: 79, event: 2, block: &block })));
    let bytes = forward(&entries(), 5, &block);
    let Ok(Frame::Forward(decoded)) = Frame::decode(&bytes) else { panic!("a forward") };
    assert_eq!((decoded.ttl, decoded.entry_count(), decoded.block), (5, 3, block.as_slice()));
    assert!(decoded.entries().eq(entries()));
    let at = bytes.len() - block.len();
    assert!(at.is_multiple_of(8), "the block is aligned in the frame");
}

#[test]
fn the_head_of_a_handout_is_built_apart_and_its_runs_are_in_order() {
    let block = common::stamped();
    let id = SubscriptionId(9);
    let mut head = vec![1];
    for count in 1..4 {
        let runs = &common::runs()[..count];
        handout_head(id, 17, 3, runs, block.len(), &mut head).unwrap();
        assert_eq!(head.len(), handout_head_len(count));
        assert!(head.len().is_multiple_of(8), "the block is aligned in the frame");
        let bytes = [head.as_slice(), &block].concat();
        let expected = Handout { id, first: 17, attempt: 3, runs, block: &block };
        assert_eq!(Frame::decode(&bytes), Ok(Frame::Handout(expected)));
    }
    let many = vec![Run::new(0, 1); MAX_HANDOUT_RUNS + 1];
    let refused: [&[Run]; 5] =
        [&[], &many, &[Run::new(3, 0)], &[Run::new(3, 2), Run::new(5, 1)], &[Run::new(65_535, 1)]];
    for runs in refused {
        assert_eq!(handout_head(id, 17, 3, runs, block.len(), &mut head), Err(BadRuns { count: runs.len() }));
        assert!(head.is_empty());
        let bytes = encoded(&Frame::Handout(Handout { id, first: 17, attempt: 3, runs, block: &block }));
        assert!(Frame::decode(&bytes).is_err(), "{} runs", runs.len());
    }
    for (first, attempt) in [(0, 1), (1, 0)] {
        let runs = common::runs();
        let bytes = encoded(&Frame::Handout(Handout { id, first, attempt, runs, block: &block }));
        assert_eq!(clause(&bytes).0, FrameClause::Value);
    }
}

#[test]
fn what_a_settle_says_makes_sense() {
    let with = |verb, delay_ms, reason, ranges: &[SettleRange]| {
        let settle = Settle { id: SubscriptionId(1), request: 0, token: 1, verb, delay_ms, reason, ranges };
        Frame::decode(&encoded(&Frame::Settle(settle))).map_err(|error| (error.clause, error.field)).map(drop)
    };
    let one = [SettleRange::new(1, 1)];
    assert_eq!(with(Verb::Ack, 0, "", &one), Ok(()));
    assert_eq!(with(Verb::Term, 0, "poison", &one), Ok(()));
    assert_eq!(with(Verb::Ack, 1, "", &one), Err((FrameClause::Reserved, "delay_ms")));
    assert_eq!(with(Verb::Progress, 0, "why", &one), Err((FrameClause::Reserved, "reason")));
    assert_eq!(with(Verb::Ack, 0, "", &[]), Err((FrameClause::ListLength, "ranges")));
    for (first, count) in [(0, 1), (1, 0), (u64::MAX, 1)] {
        assert_eq!(with(Verb::Ack, 0, "", &[SettleRange::new(first, count)]), Err((FrameClause::Value, "ranges")));
    }
    let many = vec![SettleRange::new(1, 1); MAX_SETTLE_RANGES + 1];
    let settle =
        Settle { id: SubscriptionId(1), request: 0, token: 1, verb: Verb::Ack, delay_ms: 0, reason: "", ranges: &many };
    assert_eq!(try_encode(&Frame::Settle(settle), &mut Vec::new()).unwrap_err().field, "ranges");
}

#[test]
fn a_forward_has_1_to_4096_entries() {
    let block = common::stamped();
    let mut out = vec![1];
    assert_eq!(forward_head(&[], 1, block.len(), &mut out), Err(TooMany { count: 0 }));
    assert!(out.is_empty());
    let many = vec![entries()[1]; MAX_FLOW_ENTRIES + 1];
    assert_eq!(forward_head(&many, 1, block.len(), &mut out), Err(TooMany { count: 4097 }));
    let bytes = forward(&many[1..], 1, &block);
    let Ok(Frame::Forward(decoded)) = Frame::decode(&bytes) else { panic!("a forward") };
    assert_eq!(decoded.entries().count(), MAX_FLOW_ENTRIES);
}

#[test]
fn a_detour_names_its_hubs_and_is_for_the_last() {
    let block = common::stamped();
    let entry = entries()[0];
    let mut out = vec![1];
    let mut head =
        |hubs: &[HubId], entries: &[FlowEntry]| detour_head((9, PathCopy::First), hubs, entries, block.len(), &mut out);
    let far: Vec<HubId> = (1..MAX_DETOUR_HUBS as u64).map(HubId).chain([entry.hub]).collect();
    assert_eq!(head(&far, &vec![entry; MAX_DETOUR_ENTRIES]), Ok(()));
    assert_eq!(head(&[], &[entry]), Err(TooLong { hubs: 0, entries: 1 }));
    assert_eq!(head(&[entry.hub], &[]), Err(TooLong { hubs: 1, entries: 0 }));
    assert_eq!(head(&[entry.hub, HubId(5)], &[entry]), Err(TooLong { hubs: 2, entries: 1 }), "for another hub");
    assert_eq!(head(&[&far[..], &far[..]].concat(), &[entry]), Err(TooLong { hubs: 128, entries: 1 }));
    assert_eq!(head(&far, &vec![entry; MAX_FLOW_ENTRIES]), Err(TooLong { hubs: 64, entries: MAX_FLOW_ENTRIES }));
    assert!(out.is_empty());

    let bytes = detour(PathCopy::Second, 62, &block);
    let Ok(Frame::Detour(decoded)) = Frame::decode(&bytes) else { panic!("a detour") };
    assert_eq!((decoded.ttl, decoded.copy, decoded.block), (62, PathCopy::Second, block.as_slice()));
    assert!(decoded.hubs().eq([HubId(0xa0), entry.hub]) && decoded.entries().eq([entry]));
    assert!((bytes.len() - block.len()).is_multiple_of(8), "the block is aligned in the frame");
    let broken = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        clause(&bytes)
    };
    assert_eq!(broken(16, 0), (FrameClause::ListLength, "entries", 16));
    assert_eq!(broken(20, 0), (FrameClause::ListLength, "hubs", 20));
    assert_eq!(broken(20, 65), (FrameClause::ListLength, "hubs", 20));
    assert_eq!(broken(21, 2).1, "copy");
    assert_eq!(broken(22, 1), (FrameClause::Reserved, "reserved", 22));
    assert_eq!(broken(32, 7), (FrameClause::Value, "entries", 40), "an entry is for another hub than the last");
}

fn clause(bytes: &[u8]) -> (FrameClause, &'static str, usize) {
    let error = Frame::decode(bytes).expect_err("broken");
    (error.clause, error.field, error.offset)
}

#[test]
fn refusals_name_rule_field_and_place() {
    let ping = encoded(&Frame::Ping(Ping { id: 1, time: 2 }));
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = ping.clone();
        change(&mut bytes);
        clause(&bytes)
    };
    assert_eq!(clause(&[]), (FrameClause::Truncated, "header", 0));
    assert_eq!(broken(|b| b[0] = 23), (FrameClause::Length, "length", 0));
    assert_eq!(broken(|b| b[0] = 8), (FrameClause::Length, "length", 0));
    assert_eq!(broken(|b| b[0] = 32), (FrameClause::Length, "length", 0));
    assert_eq!(broken(|b| b[2] = 0x20), (FrameClause::TooLarge, "length", 0));
    assert_eq!(broken(|b| b[4] = 0), (FrameClause::Kind, "kind", 4));
    assert_eq!(broken(|b| b[5] = 1), (FrameClause::Flags, "flags", 5));
    assert_eq!(broken(|b| b[7] = 1), (FrameClause::Reserved, "reserved", 6));
    let goodbye = |detail| encoded(&Frame::Goodbye(Goodbye { code: ErrorCode::NONE, detail }));
    let mut bytes = goodbye("weft");
    bytes[8] = 1;
    assert_eq!(clause(&bytes), (FrameClause::Id, "id", 8));
    let mut bytes = goodbye("weft");
    bytes[22] = 0xff;
    assert_eq!(clause(&bytes), (FrameClause::TextUtf8, "detail", 22));
    let mut bytes = goodbye("we");
    bytes[23] = 1;
    assert_eq!(clause(&bytes), (FrameClause::Reserved, "padding", 23));
    let mut bytes = goodbye("weft");
    bytes[18] = 5;
    assert_eq!(clause(&bytes), (FrameClause::Truncated, "detail", 20));
    bytes[19] = 5;
    assert_eq!(clause(&bytes), (FrameClause::TextLength, "detail", 18));
    let mut bytes = encoded(&Frame::Want(Want { entries: vec![] }));
    bytes[16] = 1;
    assert_eq!(clause(&bytes), (FrameClause::ListLength, "entries", 16));
    let mut bytes =
        encoded(&Frame::Publish(Publish { request: 1, level: AckLevel::None, homes: 0, block: &common::full() }));
    bytes[5] = 4;
    assert_eq!(clause(&bytes), (FrameClause::Flags, "level", 5));
    bytes[5] = 0;
    bytes[16] ^= 8;
    assert_eq!(clause(&bytes), (FrameClause::BlockLength, "block", 16));
    let error = Frame::decode(&bytes).unwrap_err();
    assert_eq!((error.code().0, error.code().name()), (512 + 13, Some("bad_frame")));
}

#[test]
fn oversized_frames_are_refused_from_their_header() {
    let head = publish_head(1, AckLevel::None, 1 << 20);
    assert_eq!(peek(&head, FRAME_HEADER + (1 << 20)), Ok(Peek::Need(FRAME_HEADER + (1 << 20))));
    let error = peek(&head[..4], FRAME_HEADER + (1 << 20) - 8).unwrap_err();
    assert_eq!(error.clause, FrameClause::TooLarge);
    assert_eq!(peek(&[], 16), Ok(Peek::Need(FRAME_HEADER)));
    assert_eq!(peek(&head[..3], 16), Ok(Peek::Need(FRAME_HEADER)));
    assert_eq!(peek(&[0xff; 16], MAX_FRAME).unwrap_err().clause, FrameClause::Length);
}

#[test]
fn what_is_too_long_is_cut_or_refused() {
    let mut out = vec![1, 2, 3];
    let long = "ü".repeat(MAX_TEXT);
    try_encode(&Frame::Goodbye(Goodbye { code: ErrorCode::NONE, detail: &long }), &mut out).unwrap();
    let Ok(Frame::Goodbye(goodbye)) = Frame::decode(&out[3..]) else { panic!("a goodbye") };
    assert_eq!(goodbye.detail.len(), MAX_TEXT, "cut at a character");
    let mut out = vec![1, 2, 3];
    let name = "n".repeat(MAX_NAME + 1);
    let refused = try_encode(&Frame::StreamInfo(StreamInfo { request: 1, name: &name }), &mut out);
    assert_eq!(refused, Err(EncodeError { field: "name", len: 256, limit: 255 }));
    assert_eq!(out, [1, 2, 3], "nothing is left of a refused frame");
    let filter = "f".repeat(MAX_FILTER);
    let change = InterestChange {
        add: true,
        kind: InterestKind::Live,
        filter: &filter,
        group: "",
        weight: 0,
        stream: StreamInterest::default(),
    };
    let interest = |count| {
        Frame::Interest(Interest {
            hub: HubId(1),
            epoch: Epoch(1),
            from_version: 0,
            to_version: 1,
            changes: vec![change; count],
            more: false,
        })
    };
    let fixed = encoded(&interest(0)).len();
    let most = (MAX_CONTROL_FRAME - fixed) / change.encoded_len();
    try_encode(&interest(most), &mut out).unwrap();
    let refused = try_encode(&interest(most + 1), &mut out).unwrap_err();
    assert_eq!((refused.field, refused.limit), ("frame", MAX_CONTROL_FRAME));
}

#[test]
fn a_token_is_not_shown() {
    let frames = frames();
    let Some(Frame::Hello(hello)) = frames.first() else { panic!("a hello") };
    let shown = format!("{hello:?}");
    assert!(shown.contains("6 bytes") && !shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}

fn any_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::New),
        Just(Start::First),
        Just(Start::Last),
        any::<u64>().prop_map(Start::Sequence),
        any::<u64>().prop_map(|time| Start::Time(UnixNanos(time))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..256), kind in 0..Kind::ALL.len()) {
        check_hostile(&bytes);
        // With a header that makes sense, the fields are reached.
        bytes.resize(bytes.len().next_multiple_of(8).max(FRAME_HEADER), 0);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4] = Kind::ALL[kind] as u8;
        bytes[5..16].fill(0);
        check_hostile(&bytes);
    }

    #[test]
    fn changed_frames_never_panic(
        which in 0..Kind::ALL.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = encoded(&frames()[which]);
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        check_hostile(&bytes);
    }

    #[test]
    fn subscriptions_are_read_as_written(
        id: u64, filter in "\\PC{0,60}", stream in "\\PC{0,30}", start in any_start(), credit: (u64, u64), on_full in 0..6u8,
        group in "\\PC{0,30}", weight: u16,
    ) {
        let subscribe = Frame::Subscribe(Subscribe {
            id: SubscriptionId(id),
            filter: &filter,
            stream: &stream,
            start,
            credit_events: credit.0,
            credit_bytes: credit.1,
            on_full: OnFull::from_number(on_full).unwrap(),
            group: &group,
            weight,
            spill: "",
            position: vec![(7, id), (9, 1)],
        });
        let bytes = encoded(&subscribe);
        prop_assert_eq!(Frame::decode(&bytes), Ok(subscribe));
    }

    #[test]
    fn interest_is_read_as_written(
        versions: (u64, u64), changes in vec((any::<bool>(), 0..3u8, "\\PC{0,20}", 1..u32::MAX), 0..40), more: bool,
    ) {
        let change = |(add, kind, filter, weight): &'_ (bool, u8, String, u32)| {
            let kind = InterestKind::from_number(*kind).unwrap();
            let (group, weight) = if kind == InterestKind::Group { ("board", *weight) } else { ("", 0) };
            (*add, kind, filter.clone(), group, weight)
        };
        let changes: Vec<_> = changes.iter().map(change).collect();
        let interest = Frame::Interest(Interest {
            hub: HubId(1),
            epoch: Epoch(2),
            from_version: versions.0,
            to_version: versions.1,
            changes: changes
                .iter()
                .map(|(add, kind, filter, group, weight)| InterestChange {
                    add: *add,
                    kind: *kind,
                    filter,
                    group,
                    weight: *weight,
                    stream: match kind {
                        InterestKind::Stream => StreamInterest { name: "s", id: 7, role: 1, unreachable: 1, consistency: 2 },
                        _ => StreamInterest::default(),
                    },
                })
                .collect(),
            more,
        });
        let bytes = encoded(&interest);
        prop_assert_eq!(Frame::decode(&bytes), Ok(interest));
    }

    #[test]
    fn settles_are_read_as_written(
        id: u64, request: u64, token: u64, verb in 0..4u8, raw in vec((1..u64::MAX / 2, 1..u32::MAX), 1..60),
    ) {
        let ranges: Vec<_> = raw.into_iter().map(|(first, count)| SettleRange::new(first, count)).collect();
        let verb = Verb::from_number(verb).unwrap();
        let delay_ms = if verb == Verb::Nack { token } else { 0 };
        let reason = if matches!(verb, Verb::Nack | Verb::Term) { "no" } else { "" };
        let settle =
            Frame::Settle(Settle { id: SubscriptionId(id), request, token, verb, delay_ms, reason, ranges: &ranges });
        let bytes = encoded(&settle);
        prop_assert_eq!(Frame::decode(&bytes), Ok(settle));
    }

    #[test]
    fn flow_entries_are_read_as_written(
        raw in vec((any::<u64>(), any::<u32>(), 0..3u8, any::<bool>(), any::<u64>(), any::<u64>()), 1..50), ttl: u8,
    ) {
        let entries: Vec<FlowEntry> = raw
            .into_iter()
            .map(|(hub, incarnation, kind, retransmit, sequence, base)| {
                let kind = FlowKind::from_number(kind).unwrap();
                let sequence = if kind == FlowKind::Group && retransmit { 0 } else { sequence };
                let base = if kind == FlowKind::Live { 0 } else { base };
                FlowEntry { hub: HubId(hub), incarnation, kind, retransmit, sequence, base }
            })
            .collect();
        let bytes = forward(&entries, ttl, &common::smallest());
        let Ok(Frame::Forward(decoded)) = Frame::decode(&bytes) else { panic!("a forward") };
        prop_assert!(decoded.entries().eq(entries));
        prop_assert_eq!(decoded.ttl, ttl);
    }

    #[test]
    fn what_is_said_of_connections_is_read_as_written_and_of_what_is_too_short_nothing(
        most: u8, asked: u8, index: u8, number: u64, later in vec(any::<u8>(), 0..9), cut in 0..Connections::BYTES,
    ) {
        let said = Connections { most, asked, index, number };
        let bytes = [&said.encode()[..], &later].concat();
        prop_assert_eq!(Connections::decode(&bytes), Some(said), "more bytes are a later version's");
        prop_assert_eq!(Connections::decode(&bytes[..cut]), None);
    }
}
