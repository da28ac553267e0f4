//! Hubs in a line of three: the one in the middle is chosen to serve a group
//! when it has no member any more; messages between stages cross it.

use std::collections::VecDeque;

use weft_base::{ByteCount, Epoch, Lane, Residency, UnixNanos, Way};
use weft_mesh::flow::{LiveSender, RetransmitOptions};
use weft_mesh::{Command, Event, GroupKey, HubInfo, LinkId, Mesh, MeshOptions, StreamDef};
use weft_ring::arena::ArenaOptions;
use weft_topic::{Filter, Topic};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{self, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::frame::Frame;
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::reply::ReplyAddress;

use super::*;
use weft_ring::mpsc;
use weft_wire::peer::Service;

mod apart;
mod control;
mod order;

const FIRST: HubId = HubId(1);
const MIDDLE: HubId = HubId(2);
const LAST: HubId = HubId(3);

/// What the hubs know when the last one has a member of `workers`, or not.
fn routes_of_all(has_member: bool) -> [Arc<weft_mesh::Routes>; 3] {
    routes_with(has_member, &[])
}

/// The same, when hubs (by place) keep streams of these names and numbers, which take all in.
fn routes_with(has_member: bool, streams: &[(usize, &str, u64)]) -> [Arc<weft_mesh::Routes>; 3] {
    routes_over(MeshOptions::default(), has_member, streams)
}

fn routes_over(options: MeshOptions, has_member: bool, streams: &[(usize, &str, u64)]) -> [Arc<weft_mesh::Routes>; 3] {
    let at = |millis: u64| Now { mono: Mono(millis * 1_000_000), wall: UnixNanos(millis * 1_000_000) };
    let info = |id: HubId| HubInfo {
        id,
        name: format!("hub-{id}"),
        region: String::new(),
        labels: Vec::new(),
        epoch: Epoch(1),
    };
    let mut hubs = [FIRST, MIDDLE, LAST].map(|id| Mesh::new(options, info(id), id.0));
    let mut wire: VecDeque<(usize, LinkId, Vec<u8>)> = VecDeque::new();
    let clock = std::cell::Cell::new(0);
    let tell = |hubs: &mut [Mesh; 3], hub: usize, event: Event<'_>, wire: &mut VecDeque<_>| {
        let mut commands = Vec::new();
        // What a hub tells comes together, so each change has its own time.
        clock.set(clock.get() + 10);
        hubs[hub].apply(event, at(clock.get()), &mut commands);
        for command in commands {
            // Link 1 is between the first two, link 2 between the last two.
            if let Command::Send { link, bytes } = command {
                let peer = if link.0 as usize == hub { hub - 1 } else { hub + 1 };
                wire.push_back((peer, link, bytes));
            }
        }
    };
    for (hub, peer, link) in [(0, MIDDLE, 1), (1, FIRST, 1), (1, LAST, 2), (2, MIDDLE, 2)] {
        let HubInfo { id, name, region, epoch, .. } = info(peer);
        let up = Event::LinkUp { link: LinkId(link), hub: id, epoch, name, region, version: 2, cost: 0 };
        tell(&mut hubs, hub, up, &mut wire);
    }
    if has_member {
        let filter = Filter::parse("jobs/*").expect("a filter");
        tell(&mut hubs, 2, Event::Member { add: true, group: "workers".into(), filter, weight: 1 }, &mut wire);
    }
    for (hub, name, id) in streams {
        let def = StreamDef { name: (*name).into(), id: *id, role: 0, unreachable: 0, consistency: 0 };
        let event = Event::Stream { add: true, def: def.into(), filter: Filter::everything() };
        tell(&mut hubs, *hub, event, &mut wire);
    }
    while let Some((hub, link, bytes)) = wire.pop_front() {
        let mut rest = bytes.as_slice();
        while let Ok(frame::Peek::Frame { len }) = frame::peek(rest, usize::MAX) {
            let (one, later) = rest.split_at(len);
            rest = later;
            let frame = Frame::decode(one).expect("a frame of a decider");
            tell(&mut hubs, hub, Event::Frame { link, frame: &frame }, &mut wire);
        }
    }
    hubs.each_ref().map(Mesh::routes)
}

/// The middle hub's stage, and what it sends to the net stage.
fn stage(has_member: bool) -> (RouteStage, mpsc::Consumer<ToNet>) {
    let [_, routes, _] = routes_of_all(has_member);
    stage_of(MIDDLE, routes, PeerOutlets::default())
}

fn stage_of(id: HubId, routes: Arc<weft_mesh::Routes>, peers: PeerOutlets) -> (RouteStage, mpsc::Consumer<ToNet>) {
    let waker = StageWaker::parking();
    let (_, inbox) = crate::inbox::rings(64);
    let (to_net, net) = mpsc::ring(64);
    let (to_append, _append) = mpsc::ring(64);
    let identity = crate::Identity {
        id,
        epoch: Epoch(1),
        life: weft_mesh::Life::default(),
        name: format!("hub-{id}"),
        region: String::new(),
        labels: Vec::new(),
    };
    let table = RouteTable { version: 1, ..RouteTable::empty(routes) };
    let arena = ArenaOptions { initial: ByteCount::mib(1), ..ArenaOptions::default() };
    let stage = RouteStage::new(RouteParts {
        inbox,
        net: Outbox::new(&to_net, &waker),
        append: Outbox::new(&to_append, &waker),
        snapshot: Arc::new(ArcSwap::from_pointee(table)),
        identity: Arc::new(identity),
        counters: Arc::default(),
        options: Arc::new(HubOptions::new("hub-2")),
        peers,
        arena: Arena::new(arena).expect("memory"),
        waker,
        load: Load::new(),
        spool: SpoolStart::default(),
    });
    (stage, net)
}

/// A request from the first hub for the group `workers`, which the middle one is to serve.
fn request(ttl: u8) -> Vec<u8> {
    let mut headers = Vec::new();
    let reply_to = ReplyAddress { hub: FIRST, session: 7 }.topic(9);
    HeadersWriter::new(&mut headers).push(names::REPLY_TO, reply_to.as_bytes()).expect("it fits");
    let fields = BlockFields { flags: REQUEST, ..BlockFields::new("jobs/a") };
    let mut block = vec![0; 1024];
    let mut writer = BlockWriter::new(&mut block, &fields).expect("it fits");
    writer.push(&EventFields { headers: &headers, payload: b"?", ..EventFields::default() }).expect("it fits");
    let len = writer.finish().expect("an event");
    block.truncate(len);
    let stamp = Stamp { origin: FIRST, epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
    block::stamp(&mut block, &stamp).expect("it has none");
    let entry = LiveSender::new(Epoch(1)).group_entry(MIDDLE, 1, GroupKey::of_name("workers"));
    let mut bytes = Vec::new();
    frame::forward_head(&[entry], ttl, block.len(), &mut bytes).expect("one entry");
    bytes.extend_from_slice(&block);
    bytes
}

/// Lets the stage have the request from link 1; answers the only frame that leaves, by which link.
fn sent(has_member: bool, ttl: u8) -> (u64, Vec<u8>, RouteStage) {
    let (mut stage, mut net) = stage(has_member);
    let bytes = request(ttl);
    let mut buffer = stage_buffer(bytes.len());
    buffer.extend(&bytes);
    stage.forward(SessionId(1), (HubId(0), Mono(0)), buffer.split_to(bytes.len()));
    let Some(ToNet::Forward { link, forward }) = net.pop() else { panic!("nothing is forwarded") };
    assert!(net.pop().is_none(), "once");
    (link.0, [forward.head.bytes(), &forward.block].concat(), stage)
}

fn stage_buffer(len: usize) -> weft_ring::arena::Buffer {
    let arena = Arena::new(ArenaOptions { initial: ByteCount::mib(1), ..ArenaOptions::default() }).expect("memory");
    arena.lend(len).expect("room")
}

#[test]
fn a_hub_whose_last_member_has_left_passes_the_block_on_to_one_that_has_some() {
    let (link, bytes, stage) = sent(true, INITIAL_TTL);
    let Ok(Frame::Forward(forward)) = Frame::decode(&bytes) else { panic!("not a forward") };
    let entries: Vec<FlowEntry> = forward.entries().collect();
    let passed = FlowEntry {
        hub: LAST,
        incarnation: 1,
        kind: FlowKind::Group,
        retransmit: true,
        sequence: 0,
        base: GroupKey::of_name("workers").0,
    };
    assert_eq!((link, forward.ttl, entries), (2, INITIAL_TTL - 1, vec![passed]));
    assert_eq!(stage.counters.ledger().dropped_in_all(), 0);
}

#[test]
fn without_any_member_left_the_drop_is_counted_and_the_requester_told() {
    let (link, bytes, stage) = sent(false, INITIAL_TTL);
    assert_eq!(stage.counters.ledger().dropped_for(DropReason::NoMember), 1);
    let Ok(Frame::Forward(forward)) = Frame::decode(&bytes) else { panic!("not a forward") };
    let mark = Block::validate(forward.block).expect("a sound block");
    assert_eq!((link, forward.entries().map(|entry| entry.hub).collect::<Vec<_>>()), (1, vec![FIRST]));
    assert_eq!(mark.topic(), ReplyAddress { hub: FIRST, session: 7 }.topic(9));
    let event = mark.events().next().expect("an event");
    assert_eq!(event.headers.get(names::REPLY), Some(names::REPLY_NO_RESPONDERS));
    assert_eq!((mark.lane(), mark.flags() & REQUEST), (Lane::DEFAULT, 0), "nobody answers a mark");
}

#[test]
fn what_a_hub_must_not_have_goes_no_further_and_is_counted() {
    let (mut stage, mut net) = stage(true);
    let residency = Residency::of(&["eu"]);
    let mut block = vec![0; 256];
    let mut writer =
        BlockWriter::new(&mut block, &BlockFields { residency, ..BlockFields::new("jobs/a") }).expect("it fits");
    writer.push(&EventFields::default()).expect("it fits");
    let len = writer.finish().expect("an event");
    block.truncate(len);
    let stamp = Stamp { origin: FIRST, epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
    block::stamp(&mut block, &stamp).expect("it has none");
    let mut bytes = Vec::new();
    let entry = |hub| LiveSender::new(Epoch(1)).entry(hub, 1);
    frame::forward_head(&[entry(MIDDLE), entry(LAST)], INITIAL_TTL, block.len(), &mut bytes).expect("two entries");
    bytes.extend_from_slice(&block);
    let mut buffer = stage_buffer(bytes.len());
    buffer.extend(&bytes);
    let lane = stage.forward(SessionId(1), (FIRST, Mono(0)), buffer.split_to(bytes.len()));
    assert!(lane.is_some() && net.pop().is_none(), "the link stays, and nothing leaves");
    let ledger = stage.counters.ledger();
    assert_eq!((ledger.copies, ledger.dropped_for(DropReason::Residency)), (2, 2));
    assert_eq!(get(&stage.counters.residency_refused), 1);
}

#[test]
fn an_acknowledgement_is_awaited_for_the_round_trip_of_the_way() {
    let [routes, ..] = routes_of_all(false);
    let rtt = routes.path(LAST).expect("a way").rtt;
    let waits = rtt * 2 + RetransmitOptions::default().floor;
    assert!(!rtt.is_zero());
    let to = FlowTo { hub: LAST, lane: Lane::DEFAULT, residency: Residency::ANYWHERE, way: Way::MAIN };
    let nanosecond = Duration::from_nanos(1);
    let held = || {
        let mut buffer = stage_buffer(64);
        buffer.extend(&[0; 64]);
        let (block, except, meant) = (buffer.split_to(64).freeze(), [].into(), [].into());
        flows::Held { block, events: 1, request: None, except, meant, since: Mono(0), in_vain: None, spooled: None }
    };
    // One that the way is known of from the start, and one that hears of it later.
    for later in [false, true] {
        let mut flows = flows::Flows::new(8, Epoch(1));
        let none = weft_mesh::Routes::alone(FIRST);
        if later {
            assert!(flows.send_guaranteed(to, held(), &none, Mono(0)).is_ok());
            flows.hub_down(LAST, Mono(0));
            flows.ways_changed(&none, &routes, Mono(0));
            flows.hub_up(LAST, Epoch(1), "hub-3".into(), Mono(0));
            flows.due(Mono(0));
            assert_eq!(flows.again.drain(..).count(), 1);
        } else {
            assert!(flows.send_guaranteed(to, held(), &routes, Mono(0)).is_ok());
        }
        flows.due(Mono(0) + (waits - nanosecond));
        assert_eq!(flows.again.len(), 0, "it may be on its way");
        flows.due(Mono(0) + waits);
        assert_eq!(flows.again.len(), 1);
    }
}

/// Three stages in a line, and the last one's inbox of replicas with `slots`.
struct Line {
    stages: [(RouteStage, mpsc::Consumer<ToNet>); 3],
    replica: mpsc::Consumer<FromPeer>,
    control: mpsc::Consumer<FromPeer>,
}

impl Line {
    fn new(slots: usize) -> Self {
        let (to_replica, replica) = mpsc::ring(slots);
        let (to_control, control) = mpsc::ring(slots);
        let waker = StageWaker::parking();
        let mut outlets = Some(PeerOutlets {
            replica: Some(Outbox::new(&to_replica, &waker)),
            control: Some(Outbox::new(&to_control, &waker)),
            ..PeerOutlets::default()
        });
        let mut index = 0;
        let stages = routes_of_all(false).map(|routes| {
            index += 1;
            let outlets = outlets.take_if(|_| index == 3).unwrap_or_default();
            stage_of(HubId(index), routes, outlets)
        });
        Self { stages, replica, control }
    }

    /// Carries what the stages forward to where it goes, until nothing is left.
    fn carry(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for hub in 0..3 {
                while let Some(message) = self.stages[hub].1.pop() {
                    let ToNet::Forward { link, forward } = message else { continue };
                    let peer = if link.0 as usize == hub { hub - 1 } else { hub + 1 };
                    let bytes = [forward.head.bytes(), &forward.block].concat();
                    let mut buffer = stage_buffer(bytes.len());
                    buffer.extend(&bytes);
                    self.stages[peer].0.forward(link, (HubId(0), Mono(0)), buffer.split_to(bytes.len()));
                    moved = true;
                }
            }
        }
    }
}

#[test]
fn messages_between_stages_cross_the_mesh_in_order_and_are_told_apart_from_events() {
    let mut line = Line::new(64);
    for n in 0..20u8 {
        let bytes = vec![n; usize::from(n) * 1_000];
        line.stages[0].0.on_message(ToRoute::Peer { to: LAST, service: Service::Replica, confined: false, bytes });
    }
    // The service is not there; no hub of this id is; too long.
    line.stages[0].0.on_message(ToRoute::Peer {
        to: LAST,
        service: Service::Consumers,
        confined: false,
        bytes: vec![1],
    });
    line.stages[0].0.on_message(ToRoute::Peer {
        to: HubId(9),
        service: Service::Replica,
        confined: false,
        bytes: vec![1],
    });
    line.stages[0].0.on_message(ToRoute::Peer {
        to: LAST,
        service: Service::Replica,
        confined: false,
        bytes: vec![0; 64 << 20],
    });
    line.carry();
    for n in 0..20u8 {
        let Some(FromPeer::Message(message)) = line.replica.pop() else { panic!("message {n} is missing") };
        assert_eq!((message.from, message.epoch), (FIRST, Epoch(1)));
        assert_eq!(&*message.bytes, vec![n; usize::from(n) * 1_000]);
    }
    assert!(line.replica.pop().is_none());
    let counters = &line.stages[2].0.counters;
    let received = crate::counters::get(&counters.peers_received);
    assert_eq!((received, counters.ledger().dropped_for(DropReason::NoInterest)), (20, 1));
    assert_eq!((counters.ledger().delivered, counters.ledger().received), (0, 0), "they are no events");
    let ledger = line.stages[0].0.counters.ledger();
    assert_eq!((ledger.dropped_for(DropReason::NoPath), ledger.dropped_for(DropReason::Invalid)), (1, 1));
    for (stage, _) in &line.stages {
        stage.counters.ledger().balance().expect("what is dropped is accounted for");
    }
}

#[test]
fn a_service_that_is_behind_loses_messages_counted_and_hears_of_every_hub() {
    let mut line = Line::new(4);
    for n in 0..9u8 {
        line.stages[0].0.on_message(ToRoute::Peer {
            to: LAST,
            service: Service::Replica,
            confined: false,
            bytes: vec![n],
        });
    }
    line.carry();
    line.stages[2].0.on_message(ToRoute::HubDown { hub: FIRST });
    assert_eq!(line.stages[2].0.counters.ledger().dropped_for(DropReason::PeerBusy), 5);
    let mut heard = Vec::new();
    for _ in 0..2 {
        while let Some(message) = line.replica.pop() {
            heard.push(matches!(message, FromPeer::Down { hub: FIRST }));
        }
        // What had no room follows with the next turn.
        line.stages[2].0.peers.outlets.replica.as_mut().expect("it has one").has_room(0);
    }
    assert_eq!(heard, [false, false, false, false, true]);
}

#[test]
fn a_message_that_is_lost_on_its_way_is_counted_and_is_no_event_that_is_missing() {
    let mut line = Line::new(4);
    let say = |line: &mut Line, n: u8| {
        line.stages[0].0.on_message(ToRoute::Peer {
            to: LAST,
            service: Service::Replica,
            confined: false,
            bytes: vec![n],
        });
    };
    say(&mut line, 0);
    line.carry();
    say(&mut line, 1);
    assert!(line.stages[0].1.pop().is_some(), "it is lost with its link");
    say(&mut line, 2);
    line.carry();
    let counters = &line.stages[2].0.counters;
    let [missed, messages, received] = [&counters.missed, &counters.peers_missed, &counters.peers_received]
        .map(|counter| crate::counters::get(counter));
    assert_eq!((missed, messages, received), (0, 1, 2));
}

#[test]
fn a_hub_that_is_chosen_for_one_stream_is_told_which_others_to_leave_out() {
    let [first, ..] = routes_with(false, &[(2, "far", 1), (2, "both", 2), (1, "both", 2)]);
    let mut table = RouteTable { version: 1, ..RouteTable::empty(first) };
    let topic = Topic::parse("t").expect("a topic");
    let remotes = |table: &RouteTable| -> Vec<(HubId, bool, Vec<u64>)> {
        let route = table.resolve(topic, Residency::ANYWHERE, &mut homes::Chosen::default());
        route.remote.iter().map(|remote| (remote.hub, remote.stream, remote.except.to_vec())).collect()
    };
    assert_eq!(remotes(&table), [(MIDDLE, true, vec![]), (LAST, true, vec![2])], "the nearer one takes the other");
    // This hub is a home of it as well: nobody else takes it.
    table.streams.insert(&Filter::everything(), table::LocalStream { slot: crate::messages::StreamSlot(0), id: 2 });
    assert_eq!(remotes(&table), [(LAST, true, vec![2])]);
    let arrived = Arc::new(table.resolve(topic, Residency::ANYWHERE, &mut homes::Chosen::default()));
    assert_eq!(arrived.streams.len(), 1);
    assert!(
        homes::without(&arrived, [2].into_iter()).streams.is_empty(),
        "and that is what a hub does that is told so"
    );
    assert_eq!(homes::without(&arrived, [9].into_iter()).streams, arrived.streams);
}

/// Who publishes with [`publish`].
const PRODUCER: weft_base::ProducerId = weft_base::ProducerId(5);

/// Which way that goes, where streams take it and there are the usual number of ways.
fn way_of_producer() -> Way {
    Way::of_producer(PRODUCER, weft_mesh::Spreading::default().ways)
}

/// A block of a client, that asks for something or does not.
fn publish(stage: &mut RouteStage, first_sequence: u64, flags: u32) {
    let (session, level, block) = (SessionId(1), AckLevel::Synced, block_of(first_sequence, flags));
    let since = Mono(0);
    let (far, dropped) = (false, false);
    let publish =
        crate::messages::Publish { session, id: 1, level, homes: 0, block, checked: true, since, far, dropped };
    stage.publish(publish);
}

fn block_of(first_sequence: u64, flags: u32) -> weft_ring::arena::BlockMut {
    let fields = BlockFields { flags, producer: PRODUCER, first_sequence, ..BlockFields::new("t") };
    let mut buffer = stage_buffer(1024);
    let mut writer = BlockWriter::new(buffer.spare_mut(), &fields).expect("it fits");
    writer.push(&EventFields { payload: b"x", ..EventFields::default() }).expect("it fits");
    let len = writer.finish().expect("an event");
    buffer.advance(len);
    buffer.split_to(len)
}

#[test]
fn what_is_held_takes_the_first_way_when_it_is_the_only_one_and_is_waited_for_when_there_are_more() {
    let streams = [(2, "far", 1)];
    let [many, ..] = routes_with(false, &streams);
    let spreading = weft_mesh::Spreading::NONE;
    let [one, ..] = routes_over(MeshOptions { spreading, ..MeshOptions::default() }, false, &streams);
    let way = way_of_producer();
    assert_ne!(way, Way::MAIN);
    let (mut stage, mut net) = stage_of(FIRST, many.clone(), PeerOutlets::default());
    let mut left = |stage: &mut RouteStage| -> Vec<Way> {
        stage.release(8);
        let way = |message| match message {
            ToNet::Forward { forward, .. } => Some(Block::trusted(&forward.block).way()),
            _ => None,
        };
        std::iter::from_fn(|| net.pop()).filter_map(way).collect()
    };
    let mut version = 1;
    let mut become_ = |stage: &mut RouteStage, routes: &Arc<weft_mesh::Routes>| {
        version += 1;
        stage.snapshot.store(Arc::new(RouteTable { version, ..RouteTable::empty(routes.clone()) }));
        stage.look_at_table();
    };
    publish(&mut stage, 1, 0);
    publish(&mut stage, 2, 0);
    assert_eq!(left(&mut stage), [way; 2], "a producer has one way");
    become_(&mut stage, &one);
    publish(&mut stage, 3, 0);
    assert_eq!(left(&mut stage), [Way::MAIN; 3], "a hub of version 1 refuses every other");
    become_(&mut stage, &many);
    publish(&mut stage, 4, 0);
    for (synced, leaves) in [(2, vec![]), (3, vec![way])] {
        assert_eq!(left(&mut stage), []);
        let (hub, lane, refused, residency) = (LAST, Lane::DEFAULT, ErrorCode::NONE, Residency::ANYWHERE);
        let (way, incarnation, written, places) = (Way::MAIN, 0, synced, vec![]);
        stage.flow_acked(&FlowSaid { hub, lane, residency, way, incarnation, written, synced, refused, places });
        assert_eq!(left(&mut stage), leaves, "{synced} on disk");
    }
    publish(&mut stage, 5, 0);
    assert_eq!(left(&mut stage), [way]);
}

#[test]
fn blocks_of_a_producer_go_by_the_flow_or_to_the_home_and_never_by_both_at_once() {
    use crate::messages::FarSaid;
    let [first, ..] = routes_with(false, &[(2, "far", 1)]);
    let (mut stage, mut net) = stage_of(FIRST, first, PeerOutlets::default());
    // What leaves: f by the flow, h for the home.
    let mut left = |stage: &mut RouteStage| -> String {
        stage.release(8);
        let name = |message| match message {
            ToNet::Forward { .. } => "f",
            ToNet::Far(_) => "h",
            _ => "",
        };
        std::iter::from_fn(|| net.pop()).map(name).collect()
    };
    let conditional = weft_wire::block::layout::CONDITIONAL;
    publish(&mut stage, 1, 0);
    publish(&mut stage, 2, conditional);
    publish(&mut stage, 3, conditional);
    publish(&mut stage, 4, 0);
    assert_eq!(left(&mut stage), "f");
    for (synced, leaves) in [(0, ""), (1, "hh")] {
        let (hub, lane, refused) = (LAST, Lane::DEFAULT, ErrorCode::NONE);
        stage.flow_acked(&FlowSaid {
            hub,
            lane,
            residency: Residency::ANYWHERE,
            way: way_of_producer(),
            incarnation: 0,
            written: 1,
            synced,
            refused,
            places: vec![],
        });
        assert_eq!(left(&mut stage), leaves, "{synced} on disk");
    }
    // The tunnel is lost: both go again, and nothing before them.
    let session = SessionId(1);
    stage.far_said(FarSaid::Lost { session, home: LAST, round: 1 });
    assert_eq!(left(&mut stage), "");
    stage.now.mono = Mono(1_000_000_000);
    stage.retry_away();
    assert_eq!(left(&mut stage), "hh");
    for (number, leaves) in [(1, ""), (2, "f")] {
        let answer = Box::new(Err((ErrorCode::WRONG_LAST, 0, String::new())));
        stage.far_said(FarSaid::Answered { session, number: (1 << 63) + number, answer });
        assert_eq!(left(&mut stage), leaves, "{number} answered");
    }
}

#[test]
fn what_a_hub_refuses_for_keeping_no_stream_of_it_goes_to_the_present_home_once_that_is_known() {
    let [routes, ..] = routes_with(false, &[(1, "moved", 1)]);
    let (mut stage, mut net) = stage_of(FIRST, routes, PeerOutlets::default());
    let mut left = |stage: &mut RouteStage| -> Vec<(HubId, u32, u64)> {
        stage.retransmit();
        let mut sent = Vec::new();
        while let Some(message) = net.pop() {
            match message {
                ToNet::Forward { forward, .. } => {
                    let bytes = [forward.head.bytes(), &forward.block].concat();
                    let Ok(Frame::Forward(forward)) = Frame::decode(&bytes) else { panic!("not a forward") };
                    sent.extend(forward.entries().map(|entry| (entry.hub, entry.incarnation, entry.sequence)));
                }
                ToNet::Acked(request) => sent.push((HubId(0), 0, request.id)),
                ToNet::Refused { code, .. } => sent.push((HubId(0), u32::from(code.0), 0)),
                _ => {}
            }
        }
        sent
    };
    let said = |hub, incarnation, upto, refused| {
        let (lane, written, synced) = (Lane::DEFAULT, upto, upto);
        let (residency, way) = (Residency::ANYWHERE, way_of_producer());
        FlowSaid { hub, lane, residency, way, incarnation, written, synced, refused, places: vec![] }
    };
    (1..=3).for_each(|n| publish(&mut stage, n, 0));
    assert_eq!(left(&mut stage), [(MIDDLE, 0, 0), (MIDDLE, 0, 1), (MIDDLE, 0, 2)]);
    stage.flow_acked(&said(MIDDLE, 0, 1, ErrorCode::NO_STREAM));
    assert_eq!(left(&mut stage), [(HubId(0), 0, 1)], "what it took is answered, the others wait");
    stage.now.mono = stage.flows.next_deadline().expect("the hub is asked again");
    assert_eq!(left(&mut stage), [(MIDDLE, 1, 3), (MIDDLE, 1, 4)]);
    // Now it is known here which hub keeps the stream.
    let [routes, ..] = routes_with(false, &[(2, "moved", 1)]);
    stage.table = Arc::new(RouteTable { version: 2, ..RouteTable::empty(routes) });
    stage.move_held();
    assert_eq!(left(&mut stage), [(LAST, 0, 0), (LAST, 0, 1)]);
    stage.flow_acked(&said(MIDDLE, 1, 3, ErrorCode::NO_STREAM));
    assert_eq!(left(&mut stage), [], "what the other says late is of nothing that it still holds");
    stage.flow_acked(&said(LAST, 0, 1, ErrorCode::NONE));
    assert_eq!(left(&mut stage), [(HubId(0), 0, 1)]);
    // One that says so for longer than publishes wait for homes is not asked for ever.
    stage.flow_acked(&said(LAST, 0, 1, ErrorCode::NO_STREAM));
    stage.now.mono = stage.now.mono + stage.patience;
    assert_eq!(left(&mut stage), [(LAST, 1, 2)]);
    stage.flow_acked(&said(LAST, 1, 2, ErrorCode::NO_STREAM));
    let no_stream = (HubId(0), u32::from(ErrorCode::NO_STREAM.0), 0);
    assert_eq!(left(&mut stage), [no_stream]);
    // The stream is gone everywhere.
    publish(&mut stage, 4, 0);
    left(&mut stage);
    let [routes, ..] = routes_with(false, &[]);
    stage.table = Arc::new(RouteTable { version: 3, ..RouteTable::empty(routes) });
    stage.move_held();
    stage.flow_acked(&said(LAST, 2, 3, ErrorCode::NO_STREAM));
    assert_eq!(left(&mut stage), [no_stream]);
    stage.counters.ledger().balance().expect("all is accounted for");
}
