//! An endpoint of a simulated world, as a [`Network`].

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::time::Duration;

use weft_base::sync::Arc;

use super::SimWorld;
use super::pipe::Parcel;
use super::world::{ACCEPTED, Connection, DIALLED, End, Event, Listener, Phase, Side, World, ephemeral};
use crate::address::{Target, parse};
use crate::identity::TlsIdentity;
use crate::network::{
    Accept, DialError, Known, LinkToken, ListenError, ListenerToken, MAX_SLICES, Network, ReadOutcome, Ready, Security,
    Waker, WriteOutcome, take_end,
};
use crate::reason::CloseReason;

/// How long looking up a name that nobody has takes.
const NO_SUCH_HOST: Duration = Duration::from_millis(1);
/// The most that one parcel carries.
const MOST_PER_PARCEL: usize = 64 << 10;

/// An endpoint of a [`SimWorld`], on one host.
///
/// A poll never waits, whatever its timeout: time is the driver's. Dropping it
/// ends its program in order, as far as the system can: far sides see an end,
/// with TLS an improper one.
pub struct SimNetwork {
    world: SimWorld,
    id: u64,
}

impl SimNetwork {
    pub(super) const fn new(world: SimWorld, id: u64) -> Self {
        Self { world, id }
    }

    fn link(&self, world: &World, link: LinkToken) -> Option<(u64, Side, Phase)> {
        let (connection, side) = *world.endpoints.get(&self.id)?.links.get(&link)?;
        match world.phase(connection, side) {
            Phase::Connecting | Phase::Shaking if side == DIALLED => Some((connection, side, Phase::Connecting)),
            Phase::Up => Some((connection, side, Phase::Up)),
            _ => None,
        }
    }

    fn set_paused(&self, link: LinkToken, paused: bool) {
        self.world.with(|world| {
            let Some((connection, side, _)) = self.link(world, link) else { return };
            if let Some(end) = world.end(connection, side) {
                end.paused = paused;
            }
        });
    }

    /// Why a link that is gone ended, if nobody was told yet.
    fn end_of(&self, world: &mut World, link: LinkToken) -> CloseReason {
        match world.endpoints.get_mut(&self.id) {
            Some(endpoint) => take_end(&mut endpoint.ready, link),
            None => CloseReason::NoSuchLink,
        }
    }
}

impl Drop for SimNetwork {
    fn drop(&mut self) {
        self.world.with(|world| {
            world.catch_up();
            world.stop_endpoint(self.id);
        });
    }
}

/// The host and port that an address names, seen from `here`.
fn target(address: &str, here: &str) -> Result<(String, u16), String> {
    let (host, port) = match parse(address)? {
        Target::Address(address) => (address.ip().to_string(), address.port()),
        Target::Name(host, port) => (host, port),
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Ok((if is_here { here.to_owned() } else { host }, port))
}

fn identity_of(security: &Security) -> Option<Arc<TlsIdentity>> {
    match security {
        Security::Plain => None,
        Security::Tls(identity) => Some(identity.clone()),
    }
}

impl Network for SimNetwork {
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let address = addr.to_owned();
        self.world.with(|world| {
            world.catch_up();
            let Some(endpoint) = world.endpoints.get_mut(&self.id) else {
                return Err(ListenError::Io { address, detail: "the host is switched off".to_owned() });
            };
            let (host, asked) = match target(addr, &endpoint.host) {
                Ok(target) => target,
                Err(detail) => return Err(ListenError::Address { address, detail }),
            };
            if host != endpoint.host {
                return Err(ListenError::NotHere { address });
            }
            let taken = |port| endpoint.listeners.values().any(|listener| listener.port == port);
            let port = if asked == 0 { (20_000..u16::MAX).find(|port| !taken(*port)).unwrap_or(0) } else { asked };
            if taken(port) {
                return Err(ListenError::InUse { address });
            }
            endpoint.next_token += 1;
            let token = ListenerToken(endpoint.next_token);
            let identity = identity_of(security);
            if let Some(identity) = &identity {
                world.identities.add(identity);
            }
            endpoint.listeners.insert(token, Listener { port, identity, accept });
            Ok((token, format!("{host}:{port}")))
        })
    }

    fn dial_known(
        &mut self,
        addr: &str,
        _: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let address = addr.to_owned();
        self.world.with(|world| {
            world.catch_up();
            let Some(endpoint) = world.endpoints.get(&self.id) else {
                return Err(DialError::Io { address, detail: "the host is switched off".to_owned() });
            };
            let (here, limits) = (endpoint.host.clone(), endpoint.limits);
            let (host, port) = match target(addr, &here) {
                Ok(target) => target,
                Err(detail) => return Err(DialError::Address { address, detail }),
            };
            let identity = identity_of(security);
            if identity.is_none() && host != here && !world.options.plain_anywhere {
                return Err(DialError::PlainBeyondLoopback { address });
            }
            if endpoint.links.len() >= limits.connections {
                return Err(DialError::TooManyLinks { address, limit: limits.connections });
            }
            if let Some(identity) = &identity {
                world.identities.add(identity);
            }
            let connection = world.id();
            let link = world.token(self.id, connection, DIALLED);
            let known = world.hosts.contains_key(&host);
            let shared = Connection {
                ends: [End::new(self.id, link, identity), End::new(0, LinkToken(0), None)],
                hosts: [here, host.clone()],
                port,
                expect: expect.map(str::to_owned),
                listener: None,
                accept: Accept::Both,
                early: Vec::new(),
            };
            world.connections.insert(connection, shared);
            if known {
                world.bound(connection, DIALLED, Phase::Connecting, limits.dial_timeout);
                world.send(connection, ACCEPTED, Parcel::Syn);
            } else {
                let reason = CloseReason::Resolve { host, detail: "no host has this name".to_owned() };
                world.schedule(world.time + NO_SUCH_HOST, Event::Fail { connection, reason });
            }
            Ok(link)
        })
    }

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        self.world.with(|world| {
            world.catch_up();
            let window = world.options.window.as_usize();
            let Some(endpoint) = world.endpoints.get_mut(&self.id) else { return };
            ready.append(&mut endpoint.ready);
            for (link, (connection, side)) in &endpoint.links {
                let Some(shared) = world.connections.get_mut(connection) else { continue };
                let [dialled, accepted] = &mut shared.ends;
                let (end, far) = if *side == DIALLED { (dialled, accepted) } else { (accepted, dialled) };
                if end.phase != Phase::Up {
                    continue;
                }
                if !end.paused && (!end.inward.unread.is_empty() || end.inward.end.is_some()) {
                    ready.push(Ready::Readable(*link));
                }
                if end.report.poll(far.inward.used < window) {
                    ready.push(Ready::Writable(*link));
                }
            }
        });
        Ok(())
    }

    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome {
        self.world.with(|world| {
            world.catch_up();
            let (connection, side) = match self.link(world, link) {
                Some((connection, side, Phase::Up)) => (connection, side),
                Some(_) => return ReadOutcome::WouldBlock,
                None => return ReadOutcome::Closed(self.end_of(world, link)),
            };
            if buf.is_empty() {
                return ReadOutcome::Bytes(0);
            }
            let most = part(world, buf.len());
            let Some(end) = world.end(connection, side) else { return ReadOutcome::WouldBlock };
            let n = end.inward.take(&mut buf[..most]);
            if n > 0 {
                world.tell_room(connection, side, n);
                return ReadOutcome::Bytes(n);
            }
            let Some(reason) = end.inward.end.clone() else { return ReadOutcome::WouldBlock };
            if reason == CloseReason::PeerClosed {
                world.send(connection, 1 - side, Parcel::Fin { proper: true });
            }
            world.forget(connection, side);
            ReadOutcome::Closed(reason)
        })
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        self.world.with(|world| {
            world.catch_up();
            let (connection, side) = match self.link(world, link) {
                Some((connection, side, Phase::Up)) => (connection, side),
                Some(_) => return WriteOutcome::WouldBlock,
                None => return WriteOutcome::Closed(self.end_of(world, link)),
            };
            let slices = bufs.get(..MAX_SLICES).unwrap_or(bufs);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            let broken = world.end(connection, side).and_then(|end| end.inward.end.clone());
            if let Some(reason) = broken.filter(|reason| *reason != CloseReason::PeerClosed && offered > 0) {
                world.forget(connection, side);
                return WriteOutcome::Closed(reason);
            }
            let window = world.options.window.as_usize();
            let whole = part(world, offered);
            let Some(far) = world.end(connection, 1 - side) else { return WriteOutcome::WouldBlock };
            let taken = whole.min(window.saturating_sub(far.inward.used));
            far.inward.used += taken;
            let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let mut left = taken;
            while left > 0 {
                let parcel: Vec<u8> = bytes.by_ref().take(left.min(MOST_PER_PARCEL)).collect();
                left -= parcel.len();
                world.send(connection, 1 - side, Parcel::Data(parcel));
            }
            if let Some(end) = world.end(connection, side) {
                end.report.wrote(taken, offered, bufs.len() <= MAX_SLICES);
            }
            if taken == 0 && offered > 0 { WriteOutcome::WouldBlock } else { WriteOutcome::Bytes(taken) }
        })
    }

    fn pause(&mut self, link: LinkToken) {
        self.set_paused(link, true);
    }

    fn resume(&mut self, link: LinkToken) {
        self.set_paused(link, false);
    }

    fn close(&mut self, link: LinkToken) {
        self.world.with(|world| {
            world.catch_up();
            if let Some(endpoint) = world.endpoints.get_mut(&self.id) {
                endpoint.ready.retain(|ready| ready.link() != Some(link));
            }
            if let Some((connection, side, _)) = self.link(world, link) {
                world.close(connection, side);
            }
        });
    }

    fn close_listener(&mut self, listener: ListenerToken) {
        self.world.with(|world| {
            world.catch_up();
            world.close_listener(self.id, listener);
        });
    }

    fn remote_address(&self, link: LinkToken) -> Option<String> {
        self.world.with(|world| {
            let (connection, side, phase) = self.link(world, link)?;
            let shared = world.connections.get(&connection).filter(|_| phase == Phase::Up)?;
            Some(match side {
                DIALLED => format!("{}:{}", shared.hosts[ACCEPTED], shared.port),
                _ => format!("{}:{}", shared.hosts[DIALLED], ephemeral(connection)),
            })
        })
    }

    fn closing(&self) -> usize {
        self.world.with(|world| {
            world.catch_up();
            let Some(endpoint) = world.endpoints.get(&self.id) else { return 0 };
            let phases = endpoint.links.values().map(|(connection, side)| world.phase(*connection, *side));
            phases.filter(|phase| *phase == Phase::Closing).count()
        })
    }

    /// A poll never sleeps here, so there is nothing to wake.
    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }
}

/// How much of `len` bytes moves at once: all, or by chance a part.
fn part(world: &mut World, len: usize) -> usize {
    let partial = world.options.partial;
    if len > 1 && partial > 0 && world.random.chance(partial) {
        1 + world.random.below(len as u64 - 1) as usize
    } else {
        len
    }
}
