//! Blocks and frames that several tests use, one of each kind; no field has its default.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod between;

use weft_base::{Epoch, HubId, Lane, ProducerId, Residency, SubscriptionId, TenantId, UnixNanos, Way};
use weft_wire::block::{self, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::frame::{self, *};
use weft_wire::headers::{HeadersWriter, names};

pub(crate) use between::{detour, forward};

pub(crate) const TOPIC: &str = "flights/departed/JFK";

pub(crate) fn stamp() -> Stamp {
    Stamp {
        origin: HubId(0x1122_3344_5566_7788),
        epoch: Epoch(0x6500_0001),
        block: 9,
        sequence: 41,
        ingested: UnixNanos(1_357_034_400_000_000_123),
    }
}

pub(crate) fn fields() -> BlockFields<'static> {
    BlockFields {
        topic: TOPIC,
        lane: Lane::URGENT,
        flags: 0x0102_0304,
        schema: 0x0506_0708,
        producer: ProducerId(0x1112_1314_1516_1718),
        first_sequence: 1001,
        deadline: UnixNanos(1_357_034_460_000_000_000),
        tenant: TenantId(7),
        // As the vectors on disk were written before there was any other.
        residency: Residency::ANYWHERE,
    }
}

/// One event without key, headers or payload, nothing stamped: the smallest block.
pub(crate) fn smallest() -> Vec<u8> {
    write(&BlockFields::new("a"), &[EventFields::default()])
}

/// Three events with all there is, in all paddings.
pub(crate) fn full() -> Vec<u8> {
    let mut headers = Vec::new();
    let mut writer = HeadersWriter::new(&mut headers);
    writer.push(names::CE_TYPE, b"departed").unwrap();
    writer.push(names::TRACEPARENT, b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    let time = UnixNanos(1_357_034_400_000_000_000);
    let events = [
        EventFields { time, key: b"N14228", headers: &headers, payload: b"UA 1545 to IAH" },
        EventFields { time, key: b"N24211!!", headers: &[], payload: b"8 bytes." },
        EventFields { time: UnixNanos(0), key: &[], headers: &[], payload: &[0xff; 17] },
    ];
    write(&fields(), &events)
}

pub(crate) fn stamped() -> Vec<u8> {
    let mut bytes = full();
    block::stamp(&mut bytes, &stamp()).unwrap();
    bytes
}

pub(crate) fn in_stream() -> Vec<u8> {
    let mut bytes = stamped();
    let place = block::StreamPlace { local: 500_001, home: HubId(0xa).tag(), home_sequence: 400_001 };
    block::set_stream_place(&mut bytes, place).unwrap();
    bytes
}

pub(crate) fn write(fields: &BlockFields<'_>, events: &[EventFields<'_>]) -> Vec<u8> {
    let lengths = events.iter().map(|e| (e.key.len(), e.headers.len(), e.payload.len()));
    // Not zero before, as a used buffer is not.
    let mut bytes = vec![0xaa; block::block_len(fields.topic.len(), lengths)];
    let mut writer = BlockWriter::new(&mut bytes, fields).unwrap();
    for event in events {
        writer.push(event).unwrap();
    }
    let len = writer.finish().unwrap();
    assert_eq!(len, bytes.len(), "block_len is what the writer writes");
    bytes
}

/// The producer's and, where there is one, the hub's checksum written anew: for
/// blocks that break another rule than that of the checksums.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let checksum = block::producer_checksum(bytes);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    if bytes[64..128] != [0; 64] {
        let checksum = block::hub_checksum(bytes);
        bytes[124..128].copy_from_slice(&checksum.to_le_bytes());
    }
}

pub(crate) fn entries() -> [FlowEntry; 3] {
    [
        FlowEntry { hub: HubId(0xa1), incarnation: 2, kind: FlowKind::Live, retransmit: false, sequence: 77, base: 0 },
        FlowEntry {
            hub: HubId(0xa2),
            incarnation: 3,
            kind: FlowKind::Guaranteed,
            retransmit: true,
            sequence: 12,
            base: 5,
        },
        FlowEntry {
            hub: HubId(0xa3),
            incarnation: 2,
            kind: FlowKind::Group,
            retransmit: false,
            sequence: 78,
            base: 0x6772_6f75_7021,
        },
    ]
}

pub(crate) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::try_encode(frame, &mut bytes).unwrap();
    bytes
}

fn kept<T: ?Sized>(value: Box<T>) -> &'static T {
    Box::leak(value)
}

fn bare_ack(to: HubId, to_epoch: Epoch) -> FlowAck {
    let (written, synced, refused, places) = (2, 1, ErrorCode::NONE, Vec::new());
    FlowAck { to, from: HubId(0xa2), to_epoch, lane: Lane::URGENT, incarnation: 1, written, synced, refused, places }
}

/// A frame of each kind, in order of number.
pub(crate) fn frames() -> Vec<Frame<'static>> {
    let block: &'static [u8] = kept(full().into());
    let stamped: &'static [u8] = kept(stamped().into());
    let forward: &'static [u8] = kept(forward(&entries(), 6, stamped).into());
    let detour: &'static [u8] = kept(detour(PathCopy::Second, 62, stamped).into());
    let hub = HubId(0x0102_0304_0506_0708);
    let epoch = Epoch(0x0a0b_0c0d);
    let id = SubscriptionId(0x21);
    let spec = StreamSpec {
        name: "flights",
        id: 0x1718,
        filters: vec!["flights/*/JFK/**", "**"],
        retain_bytes: 1 << 30,
        retain_age_ms: 86_400_000,
        retain_events: 1_000_000,
        segment_bytes: 64 << 20,
        retention: Retention::WorkQueue,
        compact: true,
        tombstone_age_ms: 3_600_000,
        last: LastValues::Key,
        dedup_window_ms: 7_200_000,
        consistency: Consistency::Eventual,
        homes: vec!["new-york", "zürich"],
        mirror_of: "departures",
        mirror_prefix: ("departed/", "flights/"),
        unreachable: Unreachable::Spool,
        tenant: "airport",
        max_event: 65_536,
    };
    let report = StreamReport {
        spec: spec.clone(),
        home: "new-york",
        role: StreamRole::Mirror,
        first: 1,
        next: 2700,
        synced: 2699,
        bytes: 345_678,
        position: vec![(hub, 2600), (HubId(2), 101)],
        state: "copies from zürich",
    };
    let altered = spec.clone();
    let mut all = vec![
        Frame::Hello(Hello {
            version_min: 1,
            version_max: 2,
            role: Role::Hub,
            features: 0x8000_0000_0000_0001,
            max_frame: 1 << 20,
            hub,
            epoch,
            name: "new-york",
            region: "us-east",
            software: "weft/0.1.0",
            producer: ProducerId(0x99),
            token: b"secret",
        }),
        Frame::Welcome(Welcome {
            version: 1,
            features: 1,
            max_frame: 1 << 20,
            hub,
            epoch,
            session: 12,
            name: "zürich",
            region: "eu",
            software: "weft/0.1.0",
            publish_window_blocks: 256,
            publish_window_bytes: 1 << 24,
        }),
        Frame::Ping(Ping { id: 3, time: 123_456_789 }),
        Frame::Pong(Pong { id: 3, time: 123_456_789 }),
        Frame::Goodbye(Goodbye { code: ErrorCode::SHUTDOWN, detail: "the hub is stopping" }),
        Frame::Error(ErrorFrame {
            request: 4,
            code: ErrorCode::OVERLOADED,
            retry_after_ms: 250,
            detail: "the queue is full",
        }),
        Frame::Publish(Publish { request: 5, level: AckLevel::Homes, homes: 3, block }),
        Frame::Ack(Ack {
            request: 5,
            level: AckLevel::Written,
            origin: hub,
            epoch,
            sequence: 41,
            duplicate: true,
            receivers: 3,
            home: HubId(2),
            home_sequence: 77,
            homes: 2,
        }),
        Frame::Subscribe(Subscribe {
            id,
            filter: "flights/*/JFK/**",
            stream: "flights",
            start: Start::Sequence(17),
            credit_events: 1000,
            credit_bytes: u64::MAX,
            on_full: OnFull::Disconnect,
            group: "board",
            weight: 3,
            spill: "overflow",
            position: vec![(0xa1, 18), (0xb2, 7)],
        }),
        Frame::Subscribed(Subscribed { id, start_sequence: 17, live: true }),
        Frame::Unsubscribe(Unsubscribe { id }),
        Frame::Unsubscribed(Unsubscribed { id }),
        Frame::Deliver(Deliver { id, hops: 3, block: stamped }),
        Frame::Gap(Gap { id, events: 40, reason: 4 }),
        Frame::Credit(Credit { id, events: 500, bytes: 1 << 16 }),
        Frame::StreamCreate(StreamCreate { request: 6, spec }),
        Frame::StreamDelete(StreamDelete { request: 7, name: "flights" }),
        Frame::StreamInfo(StreamInfo { request: 8, name: "flights" }),
        Frame::StreamList(StreamList { request: 9 }),
        Frame::StreamReports(StreamReports { request: 9, reports: vec![report] }),
        Frame::Done(Done { request: 7 }),
        Frame::MeshShow(MeshShow { request: 10 }),
        Frame::MeshReport(MeshReport {
            request: 10,
            me: hub,
            hubs: vec![HubReport {
                name: "new-york",
                region: "us-east",
                id: hub,
                epoch,
                reachable: true,
                hops: 2,
                rtt_ns: 81_000_000,
                interest: 12,
            }],
            links: vec![LinkReport { from: hub, to: HubId(2), rtt_ns: 81_000_000, cost: 10, up: true }],
            counters: vec![CounterReport { name: "published", value: 2699 }],
        }),
    ];
    all.extend([
        Frame::Why(Why { request: 11 }),
        Frame::WhyReport(WhyReport {
            request: 11,
            limit: Limit::Subscriber,
            name: "board",
            hub: "chicago",
            filter: "flights/**",
            behind_ms: 1_700,
            blocks: 256,
        }),
        Frame::Profile(Profile { request: 12, seconds: 10, hertz: 99 }),
        Frame::ProfileReport(ProfileReport {
            request: 12,
            took_us: 10_000_000,
            samples: 990,
            allocations: 2,
            allocated_bytes: 4_096,
            live_bytes: 1 << 20,
            stacks: vec![ProfileStack { frames: "weft-hub;run;read", samples: 512 }],
        }),
    ]);
    all.push(Frame::decode(forward).unwrap());
    all.extend([
        Frame::LinkState(LinkState { record: record() }),
        Frame::Interest(Interest {
            hub,
            epoch,
            from_version: 3,
            to_version: 5,
            changes: vec![
                InterestChange {
                    add: true,
                    kind: InterestKind::Stream,
                    filter: "flights/**",
                    group: "",
                    weight: 0,
                    stream: StreamInterest { name: "flights", id: 0xf1, role: 1, unreachable: 1, consistency: 2 },
                },
                InterestChange {
                    add: false,
                    kind: InterestKind::Live,
                    filter: "a/*",
                    group: "",
                    weight: 0,
                    stream: StreamInterest::default(),
                },
                InterestChange {
                    add: true,
                    kind: InterestKind::Group,
                    filter: "a/*",
                    group: "board",
                    weight: 7,
                    stream: StreamInterest::default(),
                },
            ],
            more: true,
        }),
        Frame::Digest(Digest {
            entries: vec![DigestEntry { hub, epoch, link_version: 8, interest_version: 5, interest_hash: 0xfeed }],
        }),
        Frame::Want(Want { entries: vec![WantEntry { hub, have_link_version: 7, have_interest_version: 3 }] }),
        Frame::FlowAck(FlowAck {
            to: hub,
            from: HubId(0xa2),
            to_epoch: epoch,
            lane: Lane::BULK,
            incarnation: 3,
            written: 12,
            synced: 11,
            refused: ErrorCode::DISK_FULL,
            places: vec![FlowPlace { number: 11, home: 0x0506_0708, home_sequence: 40 }],
        }),
        Frame::LinkCredit(LinkCredit { lane: Lane::BULK, limit: 1 << 22 }),
        Frame::Pressure(Pressure {
            hub,
            epoch,
            gate: 5,
            version: 3,
            state: GateState::Closed,
            behind_ms: 1_200,
            filter: "flights/**",
            subscriber: "board",
            name: "chicago",
        }),
    ]);
    all.extend(consumer_frames(stamped));
    all.extend([
        Frame::LastGet(LastGet {
            request: 13,
            stream: "flights",
            filter: "flights/*/JFK",
            key: b"N14228",
            has_key: true,
            most: 10,
        }),
        Frame::Found(Found { request: 13, event: 2, block: stamped }),
        Frame::AwaitLevel(AwaitLevel {
            request: 14,
            stream: "flights",
            home: hub,
            home_sequence: 77,
            level: AckLevel::Homes,
            homes: 2,
        }),
        Frame::StreamAlter(StreamAlter { request: 15, spec: altered }),
        Frame::Packed(Packed { codec: 2, lane: Lane::BULK, frames: 3, plain: 4_096, bytes: &[0xa5; 21] }),
        Frame::Govern(Govern { request: 22, body: b"{\"show\":{}}" }),
        Frame::Governed(Governed { request: 22, body: &[0x7b; 19] }),
        Frame::ReceiptAsk(ReceiptAsk { hub, epoch, round: 3, version: 9 }),
        Frame::ReceiptAck(ReceiptAck {
            to: hub,
            epoch,
            round: 3,
            entries: vec![ReceiptEntry { hub: HubId(0xa2), epoch: Epoch(4), state: LiveState::Behind }],
        }),
        Frame::LiveAsk(LiveAsk {
            request: 16,
            subscription: SubscriptionId(0x21),
            topic: "",
            scope: LiveScope::Named,
            count: 0,
            timeout_ms: 5_000,
            hubs: vec!["chicago", "newark"],
        }),
        Frame::LiveReport(LiveReport {
            request: 16,
            met: false,
            hubs: vec![LiveLine { name: "newark", epoch: Epoch(5), state: LiveState::OutOfReach }],
        }),
        Frame::Record(Record { record: record(), attributes: attributes() }),
        Frame::BoundAck(BoundAck { residency: Residency::of(&["eu"]), ack: bare_ack(hub, epoch) }),
        Frame::WayAck(WayAck { way: Way(3), residency: Residency::of(&["eu"]), ack: bare_ack(hub, epoch) }),
        Frame::decode(detour).unwrap(),
        Frame::Ask(Ask {
            request: 18,
            what: SeeWhat::Event,
            wait_ms: 1_000,
            topic: "",
            origin: hub,
            epoch,
            producer: ProducerId(0),
            sequence: 2_699,
            page: TopicPage::default(),
        }),
        Frame::Told(Told {
            request: 18,
            more: true,
            hubs: vec![HubTold {
                hub,
                name: "chicago",
                answered: true,
                took_ns: 81_000_000,
                ahead_ns: -2_000_000,
                facts: vec![Fact { name: facts::SENT_TO, text: "newark", value: 1 }],
            }],
        }),
        Frame::WhyNot(WhyNot {
            request: 19,
            wait_ms: 1_000,
            from: hub,
            topic: "flights/departed/JFK/LAX/B6",
            subscriber: "board@los-angeles",
        }),
        Frame::LinkLedger(LinkLedger { lane: Lane::BULK, blocks: 7, columns: 0x0102_0304, events: vec![40, 0, 3] }),
        Frame::LinkCounted(LinkCounted { lane: Lane::BULK, blocks: 7, events: 43 }),
        Frame::LinkOpen(LinkOpen {
            items: vec![
                OpenItem { tag: OpenItem::MESH, value: "flüge".as_bytes() },
                OpenItem { tag: OpenItem::SETTING, value: b"limits.frame\x001048576" },
                OpenItem { tag: OpenItem::CONNECTIONS, value: &[8, 4, 1, 7, 0, 0, 0, 0, 0, 0, 0] },
                OpenItem { tag: 65_000, value: b"of a later version" },
            ],
        }),
        Frame::Conflict(Conflict {
            hub,
            epoch,
            code: ErrorCode::CLONED,
            ttl: 32,
            name: "new-york",
            by: "zürich",
            detail: "two hubs run on copies of one data folder",
        }),
        Frame::Redirect(Redirect {
            within_ms: 30_000,
            places: vec![
                Place { name: "newark", address: "newark.example.org:7411" },
                Place { name: "chicago", address: "quic:[::1]:7411" },
            ],
        }),
        Frame::Leave(Leave),
        Frame::Drain(Drain { request: 19, action: DrainAction::Begin, within_ms: 60_000 }),
        Frame::DrainReport(DrainReport {
            request: 19,
            status: DrainStatus {
                state: DrainState::Draining,
                left_ms: 12_345,
                clients: 8,
                told: 6,
                moved: 4,
                left: 3,
                consumers: 2,
                streams: 1,
            },
        }),
        Frame::Join(Join {
            request: 19,
            token: 0xfeed_f00d_0102_0304,
            secret: &[0xa5; 32],
            name: "boston",
            csr: &[0x30, 0x82, 1, 0],
            hosts: vec!["boston.example.org", "::1"],
        }),
        Frame::Joined(Joined {
            request: 19,
            certificate: "-----BEGIN CERTIFICATE-----\n",
            authority: "-----BEGIN CERTIFICATE-----\n",
            mesh: "flüge",
            neighbours: vec![JoinNeighbour { name: "new-york", address: "[::1]:7412" }],
            settings: vec![JoinSetting { name: "limits.frame", value: 1 << 20 }],
        }),
        Frame::DigestSum(DigestSum { sums: (1..=DIGEST_SUMS as u64).collect() }),
        Frame::Survey(Survey { request: 19 }),
        Frame::Change(Change {
            request: 20,
            trial: 7,
            step: 2,
            seconds: 60,
            what: ChangeWhat::Link,
            peer: "chicago",
            addr: "10.0.0.2:7500",
            cost: 500,
            price: AS_IT_IS,
            labels: vec!["eu", "gdpr"],
        }),
        Frame::Trial(Trial { request: 21, trial: 7, step: 2, seconds: 60, act: TrialAct::Undo }),
        Frame::Changes(Changes {
            request: 21,
            changes: vec![ChangeLine { trial: 7, step: 1, kept: true, by: "ops", what: "labels: eu" }],
        }),
    ]);
    all
}

fn record() -> LinkStateRecord<'static> {
    LinkStateRecord {
        hub: HubId(0x0102_0304_0506_0708),
        epoch: Epoch(0x0a0b_0c0d),
        version: 8,
        name: "new-york",
        region: "us-east",
        links: vec![LinkStateLink { peer: HubId(2), rtt_us: 81_000, cost: 10 }],
    }
}

fn attributes() -> Attributes<'static> {
    let mut bytes = Vec::new();
    push_attribute(&mut bytes, attribute::LABELS, b"\x02us");
    push_attribute(&mut bytes, 60_000, b"unknown");
    Attributes::parse(bytes.leak()).unwrap()
}

pub(crate) fn runs() -> &'static [Run] {
    kept(vec![Run::new(0, 1), Run::new(2, 1), Run::new(9, 300)].into())
}

fn consumer_frames(block: &'static [u8]) -> Vec<Frame<'static>> {
    let id = SubscriptionId(0x22);
    let spec = ConsumerSpec {
        name: "board",
        filters: vec!["flights/*/JFK/**", "**"],
        predicate: "headers[\"ce-type\"] == \"departed\"",
        start: Start::Sequence(17),
        mode: ConsumerMode::Keyed,
        ack_wait_ms: 30_000,
        max_deliver: 5,
        backoff_ms: vec![100, 1_000],
        max_in_flight: 1_000,
        replay: Replay::Original,
        dead_letters: true,
        dead_stream: "graveyard",
        inactive_ms: 86_400_000,
    };
    let report = ConsumerReport {
        spec: spec.clone(),
        floor: 17,
        next: 40,
        lag: 2_000,
        in_flight: 23,
        redelivered: 3,
        dead: 2,
        expired: 1,
        members: vec![MemberReport { name: "chicago", token: 7, in_flight: 23 }],
        paused_until: 1_357_034_400_000,
        seat: "new-york",
    };
    let ranges: &'static [SettleRange] = kept(vec![SettleRange::new(17, 3), SettleRange::new(5, 1)].into());
    vec![
        Frame::ConsumerCreate(ConsumerCreate { request: 13, stream: "flights", spec }),
        Frame::ConsumerDelete(ConsumerDelete { request: 14, stream: "flights", name: "board" }),
        Frame::ConsumerInfo(ConsumerInfo { request: 15, stream: "flights", name: "board" }),
        Frame::ConsumerReports(ConsumerReports { request: 15, reports: vec![report] }),
        Frame::Consume(Consume {
            id,
            stream: "flights",
            consumer: "board",
            credit_events: 1000,
            credit_bytes: u64::MAX,
        }),
        Frame::Consuming(Consuming { id, token: 7, redeliver: 2 }),
        Frame::Handout(Handout { id, first: 500_001, attempt: 2, runs: runs(), block }),
        Frame::Settle(Settle {
            id,
            request: 16,
            token: 7,
            verb: Verb::Nack,
            delay_ms: 250,
            reason: "the board is off",
            ranges,
        }),
        Frame::ConsumerControl(ConsumerControl {
            request: 17,
            stream: "flights",
            name: "board",
            action: ConsumerAction::Reset,
            value: 0,
            start: Start::First,
            home: "",
        }),
    ]
}
