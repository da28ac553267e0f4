//! The far end of a link, driven by a test: a hub with a sound certificate that
//! says what the test has it say.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Clock, Epoch, HubId, ProducerId, SystemClock};
use weft_hub::Hub;
use weft_transport::{LinkToken, Network, ReadOutcome, Ready, Security, TcpNetwork, TcpOptions, WriteOutcome};
use weft_wire::frame::{self, ErrorCode, Frame, Peek};

use super::mesh::link_addr;

/// The far end of a link, driven by the test.
pub struct Liar {
    network: TcpNetwork,
    link: LinkToken,
    received: Vec<u8>,
}

impl Liar {
    /// Dials the hub and says hello as the hub `liar` that speaks versions up to this one.
    pub fn connect(hub: &Hub, security: &Security, version_max: u16) -> Self {
        Self::connect_as("liar", hub, security, version_max)
    }

    /// The same as a hub of another name.
    pub fn connect_as(name: &str, hub: &Hub, security: &Security, version_max: u16) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut network = TcpNetwork::new(TcpOptions::default(), clock).expect("a network");
        let link = network.dial(&link_addr(hub), security, None).expect("an address");
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
            version_max,
            role: frame::Role::Hub,
            features: 0,
            max_frame: 1 << 20,
            hub: HubId::of_name(name),
            epoch: Epoch(1),
            name,
            region: "nowhere",
            software: "test",
            producer: ProducerId(0),
            token: &[],
        }));
        liar
    }

    pub fn send(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        let written = self.network.write(self.link, &[IoSlice::new(&bytes)]);
        assert!(matches!(written, WriteOutcome::Bytes(n) if n == bytes.len()), "{written:?}");
    }

    /// The credit that the hub grants to begin with, and why it closes.
    pub fn closed_because(&mut self) -> (u64, ErrorCode, String) {
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
