//! The conformance suite over real sockets and over memory, and tests of what
//! is QUIC's alone.

mod channels;
mod hostile;
mod lines;
mod loss;
mod memory;

use std::any::Any;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quinn_proto::Endpoint;
use weft_base::sync::Arc;
use weft_base::{ByteCount, Clock, Instants, ManualClock};

use super::{QuicOptions, config, target_of};
use crate::conformance::{Limits, Rig, START, authority, issue};
use crate::identity::PeerKind;
use crate::network::{Accept, Security, Waker};
use crate::tcp::{TcpNetwork, TcpOptions};
use crate::tls::Blame;

/// How far each turn moves the clock: QUIC's own timers must go on.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Small windows, so that links fill soon; and no idle end, because checks move
/// the clock by hours at once.
pub(super) fn options(limits: &Limits) -> QuicOptions {
    QuicOptions {
        links: limits.connections,
        window: ByteCount::kib(256),
        idle: Duration::from_secs(100_000),
        keep_alive: Duration::ZERO,
        retry_from: Some(limits.handshakes),
        ..QuicOptions::default()
    }
}

/// Endpoints on loopback.
struct Loopback {
    clock: ManualClock,
}

impl Loopback {
    fn new() -> Self {
        Self { clock: ManualClock::at(START) }
    }
}

/// The first datagrams of a handshake that goes no further.
pub(super) fn first_flight(clock: &ManualClock, to: SocketAddr) -> Vec<Vec<u8>> {
    let ca = authority("test", START);
    let Security::Tls(identity) = issue(&ca, &ca, PeerKind::Hub, "silent", &[], START) else { panic!("no identity") };
    let limits = Limits::default();
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let client = config::client(&options(&limits), &identity, None, &clock, Blame::default()).unwrap();
    let mut endpoint = Endpoint::new(config::endpoint(&identity), None, false, None);
    let now = Instants::new().at(clock.now().mono);
    let (_, mut connection) = endpoint.connect(now, client, to, "127.0.0.1").unwrap();
    let mut flight = Vec::new();
    loop {
        let mut out = Vec::new();
        match connection.poll_transmit(now, 1, &mut out) {
            Some(_) => flight.push(out),
            None => return flight,
        }
    }
}

impl Rig for Loopback {
    type Net = TcpNetwork;

    fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    fn secure(&self) -> bool {
        true
    }

    fn knows_plain(&self) -> bool {
        false
    }

    fn endpoint(&mut self, _name: &str, limits: Limits) -> TcpNetwork {
        let options = TcpOptions {
            connections: limits.connections,
            handshakes: limits.handshakes,
            handshake_timeout: limits.handshake_timeout,
            dial_timeout: limits.dial_timeout,
            linger: limits.linger,
            quic: options(&limits),
            ..TcpOptions::default()
        };
        TcpNetwork::new(options, Arc::new(self.clock.clone())).unwrap()
    }

    fn address(&self, _name: &str) -> String {
        "quic:127.0.0.1:0".to_owned()
    }

    fn nobody(&mut self, _name: &str) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        format!("quic:{}", socket.local_addr().unwrap())
    }

    fn host(&self, _name: &str) -> String {
        "127.0.0.1".to_owned()
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        let to: SocketAddr = target_of(address).unwrap().parse().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for datagram in first_flight(&self.clock, to) {
            socket.send_to(&datagram, to).unwrap();
        }
        Box::new(socket)
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        let thread = std::thread::spawn(move || waker.wake());
        Box::new(move || thread.join().unwrap())
    }

    fn step(&mut self) {
        self.clock.advance(TICK);
    }
}

mod loopback {
    crate::conformance_tests!(super::Loopback::new());
}

mod datagrams {
    crate::conformance_tests!(super::memory::InMemory::new());
}

#[test]
fn the_feature_alone_decides_whether_the_module_does_the_handshakes_and_packets_of_quic() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
    let ca = authority("test", START);
    let Security::Tls(identity) = issue(&ca, &ca, PeerKind::Hub, "a", &[], START) else { panic!("no identity") };
    let wanted = cfg!(feature = "fips");
    // What rustls answers holds for the keys of QUIC's packets too.
    for accept in [Accept::Hubs, Accept::Clients, Accept::AnyClients] {
        let listens = config::server_tls(&identity, accept, &clock, Blame::default()).unwrap();
        assert_eq!(listens.fips(), wanted, "of a listener for {accept:?}");
    }
    let dials = config::client_tls(&identity, Some("b"), &clock, Blame::default()).unwrap();
    assert_eq!(dials.fips(), wanted);
}
