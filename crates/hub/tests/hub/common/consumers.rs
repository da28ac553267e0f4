//! Consumers as the tests of the hub make and use them, in raw frames.

use weft_base::SubscriptionId;
use weft_hub::Hub;
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{
    AckLevel, Consume, ConsumerAction, ConsumerControl, ConsumerCreate, ConsumerDelete, ConsumerInfo, ConsumerMode,
    ConsumerSpec, Consuming, ErrorCode, Frame, Replay, Settle, SettleRange, Start, StreamSpec, Verb,
};

use super::{Raw, Received, options, start};

/// Events that were handed out: their sequences and payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    pub id: u64,
    pub attempt: u32,
    pub events: Vec<(u64, Vec<u8>)>,
}

impl Handed {
    /// Of a frame.
    pub fn of(received: &Received) -> Self {
        let Frame::Handout(handout) = received.frame() else { panic!("not a handout: {:?}", received.frame()) };
        let block = Block::validate(handout.block).expect("the hub hands out sound blocks");
        assert_eq!(block.stream_sequence(), handout.first);
        let mut events = Vec::new();
        for run in handout.runs {
            let wanted = block.events().skip(run.from().into()).take(run.count().into());
            let first = handout.first + u64::from(run.from());
            events.extend(wanted.zip(first..).map(|(event, sequence)| (sequence, event.payload.to_vec())));
        }
        Self { id: handout.id.0, attempt: handout.attempt, events }
    }

    pub fn sequences(&self) -> Vec<u64> {
        self.events.iter().map(|(sequence, _)| *sequence).collect()
    }
}

/// A consumer that takes all and never gives up, with an ack wait that no test reaches.
pub fn spec(name: &str) -> ConsumerSpec<'_> {
    ConsumerSpec {
        name,
        filters: vec![],
        predicate: "",
        start: Start::First,
        mode: ConsumerMode::Shared,
        ack_wait_ms: 600_000,
        max_deliver: 0,
        backoff_ms: vec![],
        max_in_flight: 0,
        replay: Replay::Full,
        dead_letters: true,
        dead_stream: "",
        inactive_ms: 0,
    }
}

/// A hub with the stream `all` of `t/**`.
pub fn with_stream(data: &std::path::Path) -> Hub {
    with_stream_in(options("hub", Some(data)))
}

/// The same with options of the caller's.
pub fn with_stream_in(options: weft_hub::HubOptions) -> Hub {
    let hub = start(options);
    let mut client = Raw::connect(&hub, 1);
    let spec = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(spec);
    hub
}

/// Publishes events of one byte each to `t/a`, a block each.
pub fn fill(hub: &Hub, range: std::ops::Range<u8>) {
    let mut publisher = Raw::connect(hub, u64::from(range.start) + 10);
    for n in range {
        publisher.publish_acked(u64::from(n) + 1, AckLevel::Synced, "t/a", &[&[n]]);
    }
}

/// A block of one event with these flags and headers.
pub fn block_with(topic: &str, flags: u32, headers: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0u64; 1 << 10];
    let bytes = zerocopy::IntoBytes::as_mut_bytes(buffer.as_mut_slice());
    let mut writer = BlockWriter::new(bytes, &BlockFields { flags, ..BlockFields::new(topic) }).expect("it fits");
    writer.push(&EventFields { headers, payload: &[0], ..EventFields::default() }).expect("room");
    let len = writer.finish().expect("there is an event");
    bytes[..len].to_vec()
}

/// A block of events with these keys, whose payloads are their places.
pub fn keyed_block(topic: &str, keys: &[&[u8]]) -> Vec<u8> {
    let mut buffer = vec![0u64; (1 << 20) / 8];
    let bytes = zerocopy::IntoBytes::as_mut_bytes(buffer.as_mut_slice());
    let mut writer = BlockWriter::new(bytes, &BlockFields::new(topic)).expect("the topic fits");
    for (place, key) in keys.iter().enumerate() {
        writer.push(&EventFields { key, payload: &[place as u8], ..EventFields::default() }).expect("room");
    }
    let len = writer.finish().expect("there is an event");
    bytes[..len].to_vec()
}

impl Raw {
    pub fn done(&mut self, request: u64) {
        let answer = self.receive();
        assert!(matches!(answer.frame(), Frame::Done(done) if done.request == request), "{:?}", answer.frame());
    }

    pub fn refused(&mut self) -> (u64, ErrorCode, String) {
        match self.receive().frame() {
            Frame::Error(error) => (error.request, error.code, error.detail.to_owned()),
            other => panic!("not an error: {other:?}"),
        }
    }

    /// Makes a consumer; asked again while the homes have not heard each other.
    pub fn create_consumer(&mut self, spec: ConsumerSpec<'_>) {
        for _ in 0..4_000 {
            self.send(&Frame::ConsumerCreate(ConsumerCreate { request: 2, stream: "all", spec: spec.clone() }));
            match self.receive().frame() {
                Frame::Done(done) if done.request == 2 => return,
                Frame::Error(error) if error.code == ErrorCode::UNREACHABLE => {
                    std::thread::park_timeout(std::time::Duration::from_millis(5));
                }
                other => panic!("not made: {other:?}"),
            }
        }
        panic!("the homes never heard each other");
    }

    pub fn delete_consumer(&mut self, name: &str) {
        self.send(&Frame::ConsumerDelete(ConsumerDelete { request: 3, stream: "all", name }));
    }

    /// Asks to be a member with this credit in events.
    pub fn ask_to_consume(&mut self, id: u64, consumer: &str, credit: u64) {
        self.send(&Frame::Consume(Consume {
            id: SubscriptionId(id),
            stream: "all",
            consumer,
            credit_events: credit,
            credit_bytes: u64::MAX,
        }));
    }

    /// A member with all the credit there is: its token, and what is redelivered.
    pub fn consume(&mut self, id: u64, consumer: &str) -> Consuming {
        self.consume_some(id, consumer, u64::MAX)
    }

    pub fn consume_some(&mut self, id: u64, consumer: &str, credit: u64) -> Consuming {
        self.ask_to_consume(id, consumer, credit);
        match self.receive().frame() {
            Frame::Consuming(consuming) if consuming.id.0 == id => consuming,
            other => panic!("not consuming: {other:?}"),
        }
    }

    pub fn handed(&mut self) -> Handed {
        match self.late.pop_front() {
            Some(received) => Handed::of(&received),
            None => Handed::of(&self.receive()),
        }
    }

    /// What is handed out until so many events have come: sequences and payloads.
    pub fn handed_all(&mut self, count: usize) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.handed().events);
        }
        assert_eq!(all.len(), count);
        all
    }

    pub fn settle(&mut self, request: u64, id: u64, token: u64, verb: Verb, ranges: &[(u64, u32)]) {
        self.settle_with(request, id, token, verb, 0, "", ranges);
    }

    #[allow(clippy::too_many_arguments, reason = "as many as the frame has")]
    pub fn settle_with(
        &mut self,
        request: u64,
        id: u64,
        token: u64,
        verb: Verb,
        delay_ms: u64,
        reason: &str,
        ranges: &[(u64, u32)],
    ) {
        let ranges: Vec<_> = ranges.iter().map(|(first, count)| SettleRange::new(*first, *count)).collect();
        let id = SubscriptionId(id);
        self.send(&Frame::Settle(Settle { id, request, token, verb, delay_ms, reason, ranges: &ranges }));
    }

    /// Acknowledges and waits until that is on disk.
    pub fn ack_synced(&mut self, id: u64, token: u64, ranges: &[(u64, u32)]) {
        self.settle(77, id, token, Verb::Ack, ranges);
        self.done(77);
    }

    /// The same for one event, while more may be handed out: that is kept for later.
    pub fn ack_synced_while_handed(&mut self, id: u64, token: u64, sequence: u64) {
        self.settle(78, id, token, Verb::Ack, &[(sequence, 1)]);
        loop {
            let received = self.receive();
            match received.frame() {
                Frame::Done(done) => return assert_eq!(done.request, 78),
                Frame::Handout(_) => self.late.push_back(received),
                other => panic!("neither: {other:?}"),
            }
        }
    }

    pub fn control(&mut self, name: &str, action: ConsumerAction, value: u64, start: Start) {
        self.send(&Frame::ConsumerControl(ConsumerControl {
            request: 4,
            stream: "all",
            name,
            action,
            value,
            start,
            home: "",
        }));
        self.done(4);
    }

    /// The answer to a question after one consumer, or all.
    pub fn ask_about(&mut self, name: &str) -> Received {
        self.send(&Frame::ConsumerInfo(ConsumerInfo { request: 5, stream: "all", name }));
        self.receive()
    }

    /// Nothing was sent to it that is not there already: what comes before the answer to a ping.
    pub fn nothing(&mut self) {
        self.send(&Frame::Ping(weft_wire::frame::Ping { id: 9, time: 0 }));
        let answer = self.receive();
        assert!(matches!(answer.frame(), Frame::Pong(_)), "{:?}", answer.frame());
    }
}
