//! A client of a few lines that speaks the native protocol over a plain
//! socket, so that the hub is tested against bytes and not against our client.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod consumers;
pub mod inspector;
pub mod judge;
pub mod liar;
pub mod mesh;
pub mod stored;
pub mod triangle;
pub mod ways;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use weft_base::{Epoch, HubId, ProducerId, SubscriptionId, UnixNanos};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};
use weft_transport::Security;
use weft_wire::block::{Block, BlockFields, BlockWriter, EventFields};
use weft_wire::frame::{self, AckLevel, Frame, OnFull, Peek, Start, StreamCreate, StreamSpec, Subscribe};
use weft_wire::reply::ReplyAddress;

/// A test that waits this long has failed: nothing here is slow by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// The files as they are now, as a hub that is killed leaves them.
pub fn crashed(data: &std::path::Path) -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).expect("a folder that can be copied");
        for entry in std::fs::read_dir(from).expect("a folder that can be copied") {
            let entry = entry.expect("a folder that can be copied");
            let to = to.join(entry.file_name());
            if entry.file_type().expect("a folder that can be copied").is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).expect("a folder that can be copied");
            }
        }
    }
    let image = tempfile::tempdir().expect("a folder that can be copied");
    copy(data, image.path());
    image
}

/// A hub for clients on loopback, keeping streams in `data` if given.
pub fn options(name: &str, data: Option<&std::path::Path>) -> HubOptions {
    let mut options = HubOptions::new(name);
    options.clients.push(Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain });
    options.data = data.map(std::path::Path::to_owned);
    // Some tests end while a client has not read all that was written to it.
    options.timers.drain = Duration::from_millis(300);
    options
}

pub fn start(options: HubOptions) -> Hub {
    Hub::start(options).expect("the hub starts")
}

pub fn stop(hub: Hub) {
    hub.drain();
    hub.wait_drained();
    hub.stop().expect("no stage failed");
}

/// All files below a folder that hold these bytes.
pub fn holding(folder: &std::path::Path, what: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holding(&path, what));
        } else if std::fs::read(&path).expect("a file").windows(what.len()).any(|window| window == what) {
            found.push(path);
        }
    }
    found
}

/// A frame that came, owned.
#[derive(Clone, Debug)]
pub struct Received {
    bytes: Vec<u64>,
    len: usize,
}

impl Received {
    pub fn frame(&self) -> Frame<'_> {
        Frame::decode(self.bytes()).expect("the hub sends sound frames")
    }

    pub fn bytes(&self) -> &[u8] {
        let (_, bytes, _) = as_bytes(&self.bytes);
        &bytes[..self.len]
    }
}

fn as_bytes(words: &[u64]) -> (&[u8], &[u8], &[u8]) {
    (&[], zerocopy::IntoBytes::as_bytes(words), &[])
}

/// A connection to a hub, over TCP unless another stream is given.
pub struct Raw<S = TcpStream> {
    pub socket: S,
    /// Where replies to this session go.
    pub address: ReplyAddress,
    producer: ProducerId,
    next: u64,
    /// Handouts that came while something else was waited for.
    pub late: std::collections::VecDeque<Received>,
}

impl Raw {
    /// Connects without a word.
    pub fn dial(hub: &Hub) -> Self {
        let socket = TcpStream::connect(&hub.client_addresses()[0]).expect("the hub listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        socket.set_nodelay(true).expect("so can this");
        let address = ReplyAddress { hub: HubId(0), session: 0 };
        Self { socket, address, producer: ProducerId(0), next: 1, late: std::collections::VecDeque::new() }
    }

    /// Connects and says hello, as this producer.
    pub fn connect(hub: &Hub, producer: u64) -> Self {
        Self::over(Self::dial(hub).socket, hub, producer)
    }

    /// Likewise, under a name.
    pub fn connect_as(hub: &Hub, producer: u64, name: &str) -> Self {
        Self::over_as(Self::dial(hub).socket, hub, producer, name)
    }
}

impl<S: Read + Write> Raw<S> {
    /// Says hello on a stream to the hub, as this producer.
    pub fn over(socket: S, hub: &Hub, producer: u64) -> Self {
        Self::over_as(socket, hub, producer, "test")
    }

    /// Likewise, under a name.
    pub fn over_as(socket: S, hub: &Hub, producer: u64, name: &str) -> Self {
        let address = ReplyAddress { hub: HubId(0), session: 0 };
        let mut raw =
            Self { socket, address, producer: ProducerId(producer), next: 1, late: std::collections::VecDeque::new() };
        raw.hello_as(name, 1, 1);
        match raw.receive().frame() {
            Frame::Welcome(welcome) => {
                assert_eq!(welcome.name, hub.identity().name);
                raw.address = ReplyAddress { hub: welcome.hub, session: welcome.session };
            }
            other => panic!("not a welcome: {other:?}"),
        }
        raw
    }

    pub fn hello(&mut self, version_min: u16, version_max: u16) {
        self.hello_as("test", version_min, version_max);
    }

    pub fn hello_as(&mut self, name: &str, version_min: u16, version_max: u16) {
        self.send(&Frame::Hello(frame::Hello {
            version_min,
            version_max,
            role: frame::Role::Client,
            features: 0,
            max_frame: 1 << 20,
            hub: HubId(0),
            epoch: Epoch(0),
            name,
            region: "",
            software: "test",
            producer: self.producer,
            token: &[],
        }));
    }

    pub fn send(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        self.socket.write_all(&bytes).expect("the hub reads");
    }

    pub fn subscribe_with<'a>(&mut self, id: u64, filter: &'a str, change: impl FnOnce(&mut Subscribe<'a>)) {
        let mut subscribe = Subscribe {
            id: SubscriptionId(id),
            filter,
            stream: "",
            start: Start::New,
            credit_events: u64::MAX,
            credit_bytes: u64::MAX,
            on_full: OnFull::DropOldest,
            group: "",
            spill: "",
            position: Vec::new(),
            weight: 1,
        };
        change(&mut subscribe);
        self.send(&Frame::Subscribe(subscribe));
    }

    /// Subscribes with all the credit there is, and waits until that is live.
    pub fn subscribe(&mut self, id: u64, filter: &str) {
        self.subscribe_with(id, filter, |_| {});
        assert!(matches!(self.receive().frame(), Frame::Subscribed(s) if s.id.0 == id));
    }

    /// Subscribes as a member of a group, and waits until that is live.
    pub fn join<'a>(&mut self, id: u64, filter: &'a str, group: &'a str, weight: u16) {
        self.subscribe_with(id, filter, |s| (s.group, s.weight) = (group, weight));
        assert!(matches!(self.receive().frame(), Frame::Subscribed(s) if s.id.0 == id));
    }

    /// Has a stream made.
    pub fn create_stream(&mut self, spec: StreamSpec<'_>) {
        self.send(&Frame::StreamCreate(StreamCreate { request: 1, spec }));
        let answer = self.receive();
        assert!(matches!(answer.frame(), Frame::Done(done) if done.request == 1), "{:?}", answer.frame());
    }

    /// The payloads of all deliveries of one event that came before now.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        self.send(&Frame::Ping(frame::Ping { id: 8, time: 0 }));
        let mut all = Vec::new();
        loop {
            match self.receive().frame() {
                Frame::Deliver(deliver) => all.extend(payloads(deliver.block)),
                Frame::Pong(_) => return all,
                other => panic!("not a delivery: {other:?}"),
            }
        }
    }

    /// A block of these payloads with this producer's next sequences.
    pub fn block(&mut self, topic: &str, payloads: &[&[u8]]) -> Vec<u8> {
        let fields = BlockFields { producer: self.producer, first_sequence: self.next, ..BlockFields::new(topic) };
        self.next += payloads.len() as u64;
        build(&fields, payloads)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the hub reads");
    }

    pub fn publish_block(&mut self, request: u64, level: AckLevel, block: &[u8]) {
        self.socket.write_all(&frame::publish_head(request, level, block.len())).expect("the hub reads");
        self.socket.write_all(block).expect("the hub reads");
    }

    pub fn publish(&mut self, request: u64, level: AckLevel, topic: &str, payloads: &[&[u8]]) {
        let block = self.block(topic, payloads);
        self.publish_block(request, level, &block);
    }

    /// Publishes and waits for the acknowledgement.
    pub fn publish_acked(&mut self, request: u64, level: AckLevel, topic: &str, payloads: &[&[u8]]) {
        self.publish(request, level, topic, payloads);
        match self.receive().frame() {
            Frame::Ack(ack) => assert_eq!((ack.request, ack.level), (request, level)),
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }

    /// The next frame; panics when the hub closes or says nothing for long.
    pub fn receive(&mut self) -> Received {
        self.try_receive().expect("a frame comes")
    }

    /// The next frame; none when the hub has closed.
    pub fn try_receive(&mut self) -> Option<Received> {
        let mut head = [0; frame::FRAME_HEADER];
        self.socket.read_exact(&mut head).ok()?;
        let len = match frame::peek(&head, frame::MAX_FRAME).expect("a sound head") {
            Peek::Need(len) | Peek::Frame { len } => len,
        };
        let mut words = vec![0u64; len / 8];
        let bytes = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        bytes[..head.len()].copy_from_slice(&head);
        self.socket.read_exact(&mut bytes[head.len()..]).ok()?;
        Some(Received { bytes: words, len })
    }

    /// The payloads of the next delivery.
    pub fn delivered(&mut self) -> Vec<Vec<u8>> {
        let received = self.receive();
        match received.frame() {
            Frame::Deliver(deliver) => payloads(deliver.block),
            other => panic!("not a delivery: {other:?}"),
        }
    }

    /// Waits until the hub has handled all that was sent before.
    pub fn round_trip(&mut self) {
        self.send(&Frame::Ping(frame::Ping { id: 7, time: 0 }));
        loop {
            if let Frame::Pong(_) = self.receive().frame() {
                return;
            }
        }
    }

    /// Takes the frame that says why the hub closes, and sees it close.
    pub fn closed_because(&mut self) -> (frame::ErrorCode, String) {
        let mut why = None;
        while let Some(received) = self.try_receive() {
            if let Frame::Goodbye(goodbye) = received.frame() {
                why = Some((goodbye.code, goodbye.detail.to_owned()));
            }
        }
        why.expect("the hub says why it closes")
    }
}

pub fn build(fields: &BlockFields<'_>, payloads: &[&[u8]]) -> Vec<u8> {
    let mut buffer = vec![0u64; (1 << 20) / 8];
    let bytes = zerocopy::IntoBytes::as_mut_bytes(buffer.as_mut_slice());
    let mut writer = BlockWriter::new(bytes, fields).expect("the topic fits");
    for payload in payloads {
        let event = EventFields { time: UnixNanos(1), key: &[], headers: &[], payload };
        writer.push(&event).expect("the block has room");
    }
    let len = writer.finish().expect("there is an event");
    bytes[..len].to_vec()
}

/// One block in a lane, of producer 0.
pub fn build_in_lane(topic: &str, lane: weft_base::Lane, first_sequence: u64, payloads: &[&[u8]]) -> Vec<u8> {
    build(&BlockFields { lane, first_sequence, ..BlockFields::new(topic) }, payloads)
}

pub fn payloads(block: &[u8]) -> Vec<Vec<u8>> {
    let block = Block::validate(block).expect("the hub delivers sound blocks");
    block.events().map(|event| event.payload.to_vec()).collect()
}
