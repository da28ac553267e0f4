//! The conformance suite over the simulation, and tests of its faults.

use std::any::Any;

use super::*;
use crate::conformance::{Limits, Rig, START};
use crate::network::{Network, Security, Waker};

/// Endpoints of one world, one host each.
pub(crate) struct Simulated {
    world: SimWorld,
    secure: bool,
    silent: usize,
}

impl Simulated {
    pub(crate) fn new(secure: bool) -> Self {
        let path = SimPath { jitter: Duration::from_micros(300), ..SimPath::default() };
        let options = SimOptions { path, ..SimOptions::default() };
        Self { world: SimWorld::new(7, START, options), secure, silent: 0 }
    }
}

impl Rig for Simulated {
    type Net = SimNetwork;

    fn clock(&self) -> ManualClock {
        self.world.clock()
    }

    fn secure(&self) -> bool {
        self.secure
    }

    fn endpoint(&mut self, name: &str, limits: Limits) -> SimNetwork {
        let limits = SimLimits {
            connections: limits.connections,
            handshakes: limits.handshakes,
            handshake_timeout: limits.handshake_timeout,
            dial_timeout: limits.dial_timeout,
            linger: limits.linger,
        };
        self.world.endpoint(name, limits)
    }

    fn address(&self, name: &str) -> String {
        format!("{name}:0")
    }

    fn nobody(&mut self, name: &str) -> String {
        format!("{name}:9")
    }

    fn host(&self, name: &str) -> String {
        name.to_owned()
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        self.silent += 1;
        let mut net = self.world.endpoint(&format!("silent{}", self.silent), SimLimits::default());
        net.dial(address, &Security::Plain, None).unwrap();
        Box::new(net)
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        let thread = std::thread::spawn(move || waker.wake());
        Box::new(move || thread.join().unwrap())
    }

    fn step(&mut self) {
        // Bounds of time are the checks' to reach.
        self.world.step_within(Duration::from_millis(100));
    }
}

mod plain {
    crate::conformance_tests!(super::Simulated::new(false));
}

mod tls {
    crate::conformance_tests!(super::Simulated::new(true));
}

mod faults;
mod swarm;
