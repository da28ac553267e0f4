//! The conformance suite over shared memory, and tests of what is its alone.

mod crash;
mod door;
mod hostile;

use std::any::Any;

use tempfile::TempDir;
use weft_base::sync::Arc;
use weft_base::{ByteCount, ManualClock};

use crate::conformance::{Limits, Rig, START};
use crate::network::Waker;
use crate::{TcpNetwork, TcpOptions};

/// The most links that come in at one endpoint.
const MOST: usize = 100;

/// Endpoints whose sockets lie in one folder, with small rings so that links
/// fill soon.
pub(crate) struct Shared {
    clock: ManualClock,
    folder: TempDir,
    paths: std::cell::Cell<usize>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { clock: ManualClock::at(START), folder: tempfile::tempdir().unwrap(), paths: std::cell::Cell::new(0) }
    }

    fn path(&self) -> String {
        self.paths.set(self.paths.get() + 1);
        self.folder.path().join(format!("{}.sock", self.paths.get())).display().to_string()
    }
}

impl Rig for Shared {
    type Net = TcpNetwork;

    fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    fn secure(&self) -> bool {
        false
    }

    fn endpoint(&mut self, _name: &str, limits: Limits) -> TcpNetwork {
        let options = TcpOptions {
            connections: limits.connections,
            handshakes: limits.handshakes,
            handshake_timeout: limits.handshake_timeout,
            dial_timeout: limits.dial_timeout,
            linger: limits.linger,
            shm_ring: ByteCount::kib(64),
            shm_links: MOST,
            ..TcpOptions::default()
        };
        TcpNetwork::new(options, Arc::new(self.clock.clone())).unwrap()
    }

    fn address(&self, _name: &str) -> String {
        format!("shm:{}", self.path())
    }

    fn nobody(&mut self, _name: &str) -> String {
        format!("shm:{}", self.path())
    }

    fn host(&self, _name: &str) -> String {
        "127.0.0.1".to_owned()
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        Box::new(std::os::unix::net::UnixStream::connect(super::path_of(address).unwrap()).unwrap())
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        let thread = std::thread::spawn(move || waker.wake());
        Box::new(move || thread.join().unwrap())
    }

    fn step(&mut self) {}
}

crate::conformance_tests!(Shared::new());
