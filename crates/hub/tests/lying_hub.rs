//! A hub with a sound certificate that lies about credit loses its link, with
//! the reason, and nobody else notices.

mod common;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Raw, mesh, start, stop};
use weft_base::{Clock, Epoch, HubId, Lane, ProducerId, SystemClock};
use weft_hub::Hub;
use weft_transport::{LinkToken, Network, ReadOutcome, Ready, Security, TcpNetwork, TcpOptions, WriteOutcome};
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame, LinkCredit, Peek};

/// The far end of a link, driven by the test.
struct Liar {
    network: TcpNetwork,
    link: LinkToken,
    received: Vec<u8>,
}

impl Liar {
    /// Dials the hub and says hello as the hub `liar`.
    fn connect(hub: &Hub, security: &Security) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut network = TcpNetwork::new(TcpOptions::default(), clock).expect("a network");
        let link = network.dial(&mesh::link_addr(hub), security, None).expect("an address");
        let mut ready = Vec::new();
        loop {
            network.poll(Some(Duration::from_secs(20)), &mut ready).expect("a poll");
            match ready.drain(..).find(|event| !matches!(event, Ready::Readable(_) | Ready::Writable(_))) {
                Some(Ready::Connected { .. }) => break,
                Some(other) => panic!("not connected: {other:?}"),
                None => {}
            }
        }
        let mut liar = Self { network, link, received: Vec::new() };
        liar.send(&Frame::Hello(frame::Hello {
            version_min: 1,
            version_max: 1,
            role: frame::Role::Hub,
            features: 0,
            max_frame: 1 << 20,
            hub: HubId::of_name("liar"),
            epoch: Epoch(1),
            name: "liar",
            region: "nowhere",
            software: "test",
            producer: ProducerId(0),
            token: &[],
        }));
        liar
    }

    fn send(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        let written = self.network.write(self.link, &[IoSlice::new(&bytes)]);
        assert!(matches!(written, WriteOutcome::Bytes(n) if n == bytes.len()), "{written:?}");
    }

    /// The credit that the hub grants to begin with, and why it closes.
    fn closed_because(&mut self) -> (u64, ErrorCode, String) {
        let (mut granted, mut ready) = (0, Vec::new());
        loop {
            while let Ok(Peek::Frame { len }) = frame::peek(&self.received, frame::MAX_FRAME) {
                let bytes: Vec<u8> = self.received.drain(..len).collect();
                match Frame::decode(&bytes).expect("the hub sends sound frames") {
                    Frame::LinkCredit(credit) => granted += credit.limit,
                    Frame::Goodbye(goodbye) => return (granted, goodbye.code, goodbye.detail.to_owned()),
                    _ => {}
                }
            }
            let mut room = [0; 4_096];
            match self.network.read(self.link, &mut room) {
                ReadOutcome::Bytes(n) => self.received.extend_from_slice(&room[..n]),
                ReadOutcome::WouldBlock => {
                    self.network.poll(Some(Duration::from_secs(20)), &mut ready).expect("a poll");
                }
                ReadOutcome::Closed(reason) => panic!("closed without a word: {reason}"),
            }
        }
    }
}

#[test]
fn credit_that_overflows_or_is_taken_back_costs_the_link_and_says_why() {
    let ca = mesh::authority();
    let hub = start(mesh::member(&ca, "chicago", "127.0.0.1:0", &[]));
    let security = mesh::identity(&ca, "liar");
    let mut subscriber = Raw::connect(&hub, 1);
    subscriber.subscribe(1, "t");
    let mut publisher = Raw::connect(&hub, 2);
    let lies: [&[u64]; 3] = [&[u64::MAX], &[1 << 20, 1 << 19], &[1 << 30, (1 << 41) + (1 << 30)]];
    for (round, lie) in lies.into_iter().enumerate() {
        let mut liar = Liar::connect(&hub, &security);
        for limit in lie {
            liar.send(&Frame::LinkCredit(LinkCredit { lane: Lane::DEFAULT, limit: *limit }));
        }
        let (granted, code, detail) = liar.closed_because();
        assert_eq!(granted, 8 * (4 << 20), "a window for each lane");
        assert_eq!(code, ErrorCode::BAD_CREDIT);
        assert!(detail.contains("credit of lane 4"), "{detail}");
        assert_eq!(hub.counters().violations.load(Ordering::Relaxed), round as u64 + 1, "it is counted");
        publisher.publish_acked(round as u64, AckLevel::Routed, "t", &[b"x"]);
        assert_eq!(subscriber.delivered(), [b"x".to_vec()]);
    }
    hub.counters().ledger().balance().expect("every copy is accounted for");
    stop(hub);
}
