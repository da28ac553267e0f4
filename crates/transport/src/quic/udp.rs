//! Datagrams by the machine's UDP sockets, polled by mio. Several at a time
//! where the system can (segmentation both ways), by quinn-udp.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockRef;

use super::engine::MARK;
use super::port::{Arrival, DatagramPort, Outgoing, Ports};

/// Makes UDP sockets, registered under [`MARK`] and the site's key.
pub(crate) struct UdpPorts {
    registry: Registry,
    /// The size that the system is asked for, of each of a socket's buffers.
    buffer: usize,
}

impl UdpPorts {
    pub(crate) const fn new(registry: Registry, buffer: usize) -> Self {
        Self { registry, buffer }
    }

    fn make(&self, at: SocketAddr, to: Option<SocketAddr>, site: u64) -> io::Result<UdpPort> {
        let mut socket = UdpSocket::bind(at)?;
        // A system that gives less costs speed and nothing else.
        let _ = SockRef::from(&socket).set_recv_buffer_size(self.buffer);
        let _ = SockRef::from(&socket).set_send_buffer_size(self.buffer);
        if let Some(to) = to
            && cfg!(target_os = "linux")
        {
            // So the system says when nobody listens there. Elsewhere a
            // connected socket refuses to be told where to send.
            socket.connect(to)?;
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let token = Token((site | MARK) as usize);
        self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(UdpPort { socket, state })
    }
}

impl Ports for UdpPorts {
    type Port = UdpPort;

    fn bind(&mut self, at: SocketAddr, site: u64) -> io::Result<UdpPort> {
        self.make(at, None, site)
    }

    fn towards(&mut self, to: SocketAddr, site: u64) -> io::Result<UdpPort> {
        let any = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        self.make(any, Some(to), site)
    }

    fn gone(&mut self, mut port: UdpPort) {
        // Closing the descriptor ends the registration as well.
        let _ = self.registry.deregister(&mut port.socket);
    }
}

/// One socket.
pub(crate) struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl DatagramPort for UdpPort {
    fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn send(&mut self, out: &Outgoing<'_>) -> io::Result<()> {
        let transmit = Transmit {
            destination: out.to,
            ecn: EcnCodepoint::from_bits(out.ecn),
            contents: out.bytes,
            segment_size: out.segment,
            src_ip: out.from,
        };
        // Through mio, which must know of a `WouldBlock` on some systems.
        self.socket.try_io(|| self.state.try_send(UdpSockRef::from(&self.socket), &transmit))
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<Arrival> {
        let mut meta = [RecvMeta::default()];
        let mut slices = [IoSliceMut::new(buf)];
        let count = self.socket.try_io(|| self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut meta))?;
        let [meta] = meta;
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
        Ok(Arrival { from: meta.addr, to: meta.dst_ip, ecn, len: meta.len, stride: meta.stride })
    }

    fn segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}
