//! The conformance suite over real sockets, and tests of what is TCP's alone.

use std::any::Any;

use weft_base::ManualClock;

use super::*;
use crate::conformance::{Limits, Rig, START};

/// Endpoints on loopback, with small buffers so that links fill soon.
pub(crate) struct Loopback {
    clock: ManualClock,
    secure: bool,
}

impl Loopback {
    pub(crate) fn new(secure: bool) -> Self {
        Self { clock: ManualClock::at(START), secure }
    }
}

impl Rig for Loopback {
    type Net = TcpNetwork;

    fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    fn secure(&self) -> bool {
        self.secure
    }

    fn endpoint(&mut self, _name: &str, limits: Limits) -> TcpNetwork {
        let options = TcpOptions {
            connections: limits.connections,
            handshakes: limits.handshakes,
            handshake_timeout: limits.handshake_timeout,
            dial_timeout: limits.dial_timeout,
            linger: limits.linger,
            send_buffer: Some(ByteCount::kib(64)),
            receive_buffer: Some(ByteCount::kib(64)),
            unsent: None,
            shm_ring: ByteCount::kib(64),
            shm_links: 64,
            ..TcpOptions::default()
        };
        TcpNetwork::new(options, Arc::new(self.clock.clone())).unwrap()
    }

    fn address(&self, _name: &str) -> String {
        "127.0.0.1:0".to_owned()
    }

    fn nobody(&mut self, _name: &str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    fn host(&self, _name: &str) -> String {
        "127.0.0.1".to_owned()
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        Box::new(std::net::TcpStream::connect(address).unwrap())
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        let thread = std::thread::spawn(move || waker.wake());
        Box::new(move || thread.join().unwrap())
    }

    fn step(&mut self) {}
}

mod plain {
    crate::conformance_tests!(super::Loopback::new(false));
}

mod tls {
    crate::conformance_tests!(super::Loopback::new(true));
}

mod addresses;
mod cost;
mod hostile;
