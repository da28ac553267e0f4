//! The session against scripted frames: no network, no thread, a clock that is
//! moved by hand.

mod connection;
mod consuming;
mod hub;
mod moving;
mod publishing;
mod publishing_on_terms;
mod subscribing;

use std::task::{Context, Poll, Wake};

use weft_base::{ByteCount, Now, Residency, SubscriptionId, TenantId, UnixNanos};
use weft_ring::arena::{Arena, ArenaOptions, BlockRef};
use weft_topic::Filter;
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::frame::AckLevel;

use super::*;
use crate::delivery::Queue;
use crate::error::PublishError;
use crate::options::{Order, SubscribeOptions};
use crate::ticket::Ticket;

/// A session, what it wrote, and what the hub says to it.
struct Bench {
    session: Session,
    now: Mono,
    arena: Arena,
    /// Frames written and not looked at.
    written: Vec<Vec<u8>>,
    actions: Vec<Action>,
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// The outcome, if the ticket has one.
fn outcome<T: Clone>(ticket: &Ticket<T>) -> Option<T> {
    match ticket.poll(&mut Context::from_waker(&Waker::from(Arc::new(Nobody)))) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// A publish that was written: request, level and block.
struct Published {
    request: u64,
    level: AckLevel,
    bytes: Vec<u8>,
}

impl Published {
    fn block(&self) -> Block<'_> {
        Block::validate(&self.bytes).expect("a block that is right")
    }

    fn payloads(&self) -> Vec<String> {
        self.block().events().map(|e| String::from_utf8_lossy(e.payload).into_owned()).collect()
    }
}

fn options() -> ConnectOptions {
    ConnectOptions {
        addresses: vec!["a:1".to_owned(), "b:2".to_owned()],
        in_flight_blocks: 16,
        ..ConnectOptions::new("")
    }
}

fn spec(level: AckLevel) -> Spec {
    Spec {
        lane: Lane::DEFAULT,
        level,
        schema: 0,
        tenant: TenantId(0),
        linger: Duration::from_millis(1),
        block: 4096,
        order: Order::Publisher,
        deadline: None,
        homes: 0,
        ttl: None,
        producer: None,
        residency: Residency::ANYWHERE,
    }
}

impl Bench {
    fn new(options: ConnectOptions) -> Self {
        let arena =
            Arena::new(ArenaOptions { initial: ByteCount::kib(64), ..ArenaOptions::default() }).expect("memory");
        let session = Session::new(options, Random::from_seed(1), Mono(0));
        Self { session, now: Mono(0), arena, written: Vec::new(), actions: Vec::new() }
    }

    /// Connected, with a hub that allows 4 blocks unacknowledged.
    fn up() -> Self {
        let mut bench = Self::new(options());
        bench.connect(4, 1 << 20);
        bench
    }

    /// From waiting to up.
    fn connect(&mut self, window: u32, max_frame: u32) {
        self.pass(Duration::from_secs(10));
        assert!(matches!(self.actions.pop(), Some(Action::Dial(_))), "it dials");
        self.session.connected(self.now);
        self.turn();
        assert_eq!(self.kinds(), [frame::Kind::Hello]);
        self.written.clear();
        self.welcome(window, max_frame);
    }

    fn welcome(&mut self, window: u32, max_frame: u32) {
        self.hear(&Frame::Welcome(frame::Welcome {
            version: 1,
            features: 0,
            max_frame,
            hub: HubId(7),
            epoch: Epoch(3),
            session: 1,
            name: "chicago",
            region: "us",
            software: "test",
            publish_window_blocks: window,
            publish_window_bytes: 1 << 30,
        }));
        self.turn();
    }

    /// Time passes, without the hub falling silent.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.session.heard = self.now;
        self.turn();
    }

    /// One turn of a driver whose socket takes everything.
    fn turn(&mut self) {
        for _ in 0..2 {
            let mut out = Vec::new();
            self.actions.extend(self.session.turn(self.now, &mut out, 1 << 20, true));
            for write in out {
                match write {
                    Write::Control(bytes) => self.written.extend(split(&bytes)),
                    Write::Publish(outgoing) => {
                        self.written.push([outgoing.head.as_slice(), outgoing.block.bytes()].concat());
                        self.session.written(outgoing.block);
                    }
                }
            }
        }
        self.session.take_wakers();
    }

    fn kinds(&self) -> Vec<frame::Kind> {
        self.written.iter().map(|bytes| Frame::decode(bytes).expect("a frame").kind()).collect()
    }

    /// The publishes written since the last look; other frames are dropped.
    fn published(&mut self) -> Vec<Published> {
        let written = std::mem::take(&mut self.written);
        let publish = |bytes: Vec<u8>| match Frame::decode(&bytes).expect("a frame") {
            Frame::Publish(p) => Some(Published { request: p.request, level: p.level, bytes: p.block.to_vec() }),
            _ => None,
        };
        written.into_iter().filter_map(publish).collect()
    }

    fn bytes(&self, bytes: &[u8]) -> BlockRef {
        self.arena.copy_of(bytes).expect("memory")
    }

    /// The hub says this.
    fn hear(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        let bytes = self.bytes(&bytes);
        self.session.frame(bytes, self.now);
        self.turn();
    }

    fn ack(&mut self, request: u64, sequence: u64) {
        self.hear(&Frame::Ack(frame::Ack {
            request,
            level: AckLevel::Routed,
            origin: HubId(7),
            epoch: Epoch(3),
            sequence,
            duplicate: false,
            receivers: 0,
            home: HubId(0),
            home_sequence: 0,
            homes: 0,
        }));
    }

    fn refuse(&mut self, request: u64, code: ErrorCode) {
        self.hear(&Frame::Error(frame::ErrorFrame { request, code, retry_after_ms: 20, detail: "because" }));
    }

    fn publish(&mut self, topic: &str, payload: &str) -> Arc<BlockTicket> {
        self.publish_as(&spec(AckLevel::Routed), topic, payload).expect("room").expect("a ticket")
    }

    fn publish_as(
        &mut self,
        spec: &Spec,
        topic: &str,
        payload: &str,
    ) -> Result<Option<Arc<BlockTicket>>, PublishError> {
        let event = EventFields { time: UnixNanos(1), payload: payload.as_bytes(), ..EventFields::default() };
        let now = Now { mono: self.now, wall: UnixNanos(self.now.0) };
        self.session.publish_on_terms(spec, topic, &event, &Terms::default(), now).map(|(ticket, _)| ticket)
    }

    /// Subscribes; the hub accepts.
    fn subscribe(&mut self, filter: &str, options: SubscribeOptions, start: u64) -> (SubscriptionId, Arc<Queue>) {
        let live = options.stream.is_none();
        let (id, queue, ticket) = self.session.subscribe(Filter::parse(filter).expect("a filter"), options, false);
        self.turn();
        self.hear(&Frame::Subscribed(frame::Subscribed { id, start_sequence: start, live }));
        assert_eq!(outcome(&ticket), Some(Ok(start)));
        (id, queue)
    }

    /// The hub delivers a block.
    fn deliver(&mut self, id: SubscriptionId, block: &[u8]) {
        let bytes = [frame::deliver_head(id, block.len(), 1).as_slice(), block].concat();
        let bytes = self.bytes(&bytes);
        self.session.frame(bytes, self.now);
        self.turn();
    }

    fn lose(&mut self) {
        self.session.lost(self.now, "a test");
        self.written.clear();
        self.actions.clear();
    }
}

/// Takes frames apart that were written together.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Ok(frame::Peek::Frame { len }) = frame::peek(bytes, frame::MAX_FRAME) {
        frames.push(bytes[..len].to_vec());
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "whole frames alone");
    frames
}

/// A stamped block of events, with their producer's and their stream's first sequence.
fn block(topic: &str, payloads: &[&str], produced: u64, stream: u64) -> Vec<u8> {
    block_in(Lane::DEFAULT, UnixNanos(0), topic, payloads, produced, stream)
}

/// The same, in this lane and with this deadline, of a producer of that lane.
fn block_in(lane: Lane, deadline: UnixNanos, topic: &str, payloads: &[&str], produced: u64, stream: u64) -> Vec<u8> {
    let mut buf = vec![0; 4096];
    let producer = weft_base::ProducerId(8 | u64::from(lane.get()));
    let fields = BlockFields { lane, deadline, producer, first_sequence: produced, ..BlockFields::new(topic) };
    let mut writer = BlockWriter::new(&mut buf, &fields).expect("room");
    for payload in payloads {
        writer.push(&EventFields { payload: payload.as_bytes(), ..EventFields::default() }).expect("room");
    }
    let len = writer.finish().expect("events");
    buf.truncate(len);
    let stamp = Stamp { origin: HubId(7), epoch: Epoch(3), block: 1, sequence: produced, ingested: UnixNanos(5) };
    weft_wire::block::stamp(&mut buf, &stamp).expect("a stamp");
    if stream > 0 {
        let place = weft_wire::block::StreamPlace { local: stream, home: 7, home_sequence: stream };
        weft_wire::block::set_stream_place(&mut buf, place).expect("a sequence");
    }
    buf
}

/// What waits in a subscription's queue: payloads, and what is missing before them.
fn received(queue: &Queue) -> Vec<(Vec<String>, crate::delivery::Gap)> {
    let payloads = |delivery: &crate::delivery::Delivery| {
        delivery.events().map(|e| String::from_utf8_lossy(e.payload).into_owned()).collect()
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut got = Vec::new();
    while let Poll::Ready(Some(Ok(delivery))) = queue.poll_below(&mut cx, u64::MAX) {
        got.push((payloads(&delivery), delivery.gap()));
    }
    got
}
