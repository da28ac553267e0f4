//! Links by QUIC, beside those of TCP: see [`crate::quic`]. They have the same
//! poll and the same limits, and a table of their own.

use std::io;
use std::net::SocketAddr;

use mio::Registry;
use mio::event::Event;
use weft_base::Clock;
use weft_base::sync::Arc;

use super::listen::first_of;
use super::{TcpNetwork, TcpOptions};
use crate::address::Target;
use crate::network::{Accept, DialError, Known, LinkToken, ListenError, ListenerToken, Security};
use crate::quic::{Quic, Shared, UdpPorts};

pub(super) fn engine(options: &TcpOptions, registry: Registry, clock: Arc<dyn Clock>) -> Quic<UdpPorts> {
    let shared = Shared {
        connections: options.connections,
        handshakes: options.handshakes,
        handshake_timeout: options.handshake_timeout,
        dial_timeout: options.dial_timeout,
        linger: options.linger,
        unsent: options.unsent,
    };
    let ports = UdpPorts::new(registry, options.quic.socket_buffer.as_usize());
    Quic::new(ports, options.quic.clone(), shared, clock)
}

impl TcpNetwork {
    pub(super) fn listen_by_quic(
        &mut self,
        addr: &str,
        target: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let Security::Tls(identity) = security else {
            return Err(ListenError::QuicNeedsTls { address: addr.to_owned() });
        };
        let at = first_of(addr, target)?;
        self.quic.listen(addr, at, identity, accept)
    }

    pub(super) fn dial_by_quic(
        &mut self,
        (addr, target): (&str, Target),
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let address = || addr.to_owned();
        let Security::Tls(identity) = security else { return Err(DialError::QuicNeedsTls { address: address() }) };
        self.quic.others = self.links.len();
        let link = self.quic.dial(addr, &target.host(), known.failures, identity, expect)?;
        match target.addresses(known.at) {
            Ok(all) => self.quic.resolved(link, Ok(all)),
            Err((host, port)) => self.resolver.ask(link.0, (host, port)),
        }
        Ok(link)
    }

    /// The system says something of a port of QUIC's.
    pub(super) fn quic_event(&mut self, event: &Event) {
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        self.quic.signalled(event.token().0 as u64, readable, event.is_writable());
    }

    /// The resolver answered for a link by QUIC that may be gone since.
    pub(super) fn quic_resolved(&mut self, key: u64, answer: io::Result<Vec<SocketAddr>>) {
        self.quic.resolved(LinkToken(key), answer);
    }
}
