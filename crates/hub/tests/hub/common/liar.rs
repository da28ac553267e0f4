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
        let (written, len) = self.write(frame);
        assert!(matches!(written, WriteOutcome::Bytes(n) if n == len), "{written:?}");
    }

    fn write(&mut self, frame: &Frame<'_>) -> (WriteOutcome, usize) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        (self.network.write(self.link, &[IoSlice::new(&bytes)]), bytes.len())
    }

    /// The credit that the hub grants to begin with, and why it closes.
    pub fn closed_because(&mut self) -> (u64, ErrorCode, String) {
        let mut granted = 0;
        self.receive_until(|frame| match frame {
            Frame::LinkCredit(credit) => {
                granted += credit.limit;
                None
            }
            Frame::Goodbye(goodbye) => Some((granted, goodbye.code, goodbye.detail.to_owned())),
            _ => None,
        })
    }

    /// Reads what the hub sends until one frame is it. Pings are answered: so far it is honest.
    pub fn receive_until<T>(&mut self, mut is_it: impl FnMut(&Frame<'_>) -> Option<T>) -> T {
        let (mut ready, mut frames) = (Vec::new(), 0);
        loop {
            while let Ok(Peek::Frame { len }) = frame::peek(&self.received, frame::MAX_FRAME) {
                // Aligned, as blocks are read in place.
                let mut words = vec![0_u64; len.div_ceil(8)];
                let bytes = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
                bytes[..len].iter_mut().zip(self.received.drain(..len)).for_each(|(to, byte)| *to = byte);
                let frame = Frame::decode(&bytes[..len]).expect("the hub sends sound frames");
                frames += 1;
                assert!(frames < 200, "it is none of so many frames, of which the last is {frame:?}");
                if let Some(found) = is_it(&frame) {
                    return found;
                }
                match frame {
                    // The hub may be closing by now, which the frames behind say.
                    Frame::Ping(frame::Ping { id, time }) => {
                        let _ = self.write(&Frame::Pong(frame::Pong { id, time }));
                    }
                    Frame::Goodbye(_) => panic!("the hub closes: {frame:?}"),
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
