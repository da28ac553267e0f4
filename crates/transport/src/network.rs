//! The trait that every network implements, and the values that cross it.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::time::Duration;

use weft_base::sync::Arc;

use crate::identity::{Peer, TlsIdentity};
use crate::reason::CloseReason;

/// The most slices that one write takes.
pub const MAX_SLICES: usize = 64;

/// A link among those that one network has had; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkToken(pub u64);

/// A listener among those that one network has had; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerToken(pub u64);

/// How a link is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Not at all: for loopback addresses alone, any other is refused.
    Plain,
    /// Mutual TLS 1.3: both ends show a certificate and check the other's; but a client
    /// of [`Accept::AnyClients`] may show none ([`TlsIdentity::authority`]).
    Tls(Arc<TlsIdentity>),
}

/// Whose links a listener takes. Says nothing when the listener is
/// [`Security::Plain`], where nobody proves who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Hubs alone.
    Hubs,
    /// Clients alone.
    Clients,
    /// Clients alone, also such whose certificates the authority has named in another
    /// way than weft does ([`stranger_of`](crate::stranger_of)), or that show none
    /// ([`Peer::guest`]): who takes links decides what they may do.
    AnyClients,
    /// Both; the caller tells them apart by [`Peer::kind`].
    Both,
}

/// What [`Network::poll`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A peer dialled this listener, and the handshake, if any, is done.
    Accepted {
        /// The new link.
        link: LinkToken,
        /// Where it came in.
        listener: ListenerToken,
        /// Who the peer proved to be.
        peer: Peer,
    },
    /// A link that was dialled is up, and the handshake, if any, is done.
    /// With TLS 1.3 the far side may still refuse this side's certificate:
    /// then the link closes with [`CloseReason::RefusedByPeer`].
    Connected {
        /// The link that `dial` answered.
        link: LinkToken,
        /// Who the peer proved to be.
        peer: Peer,
    },
    /// There is something to read, or the end of the link to be found by a
    /// read. Said by each poll until a read answered `WouldBlock` or came back
    /// short, unless the link is paused.
    Readable(LinkToken),
    /// A write answered `WouldBlock` or took only a part, and now there is
    /// room. Said by each poll until a write takes all that it is offered, and
    /// once more after that, so that a caller that stopped early with more to
    /// write is called again. A link whose writes never met a limit is not
    /// reported. A caller that has nothing left to write after all says so
    /// with an empty write, which costs no system call.
    Writable(LinkToken),
    /// The link is gone; its token answers no more. Said at most once, and
    /// not when a read or a write has said it already.
    Closed {
        /// The link that is gone.
        link: LinkToken,
        /// Why.
        reason: CloseReason,
    },
    /// Somebody dialled this listener and was refused before there was a link:
    /// for the log and the counters, nothing is to be done.
    Refused {
        /// Where it came in.
        listener: ListenerToken,
        /// The peer's address.
        from: String,
        /// Why.
        reason: CloseReason,
    },
}

impl Ready {
    /// The link that it is about, if it is about one.
    #[must_use]
    pub const fn link(&self) -> Option<LinkToken> {
        match self {
            Self::Accepted { link, .. } | Self::Connected { link, .. } | Self::Closed { link, .. } => Some(*link),
            Self::Readable(link) | Self::Writable(link) => Some(*link),
            Self::Refused { .. } => None,
        }
    }
}

/// Why `link` ended, taken out of what waits to be reported, so that a read or
/// a write says it in the report's place.
pub(crate) fn take_end(queued: &mut Vec<Ready>, link: LinkToken) -> CloseReason {
    let at = queued.iter().position(|ready| ready.link() == Some(link) && matches!(ready, Ready::Closed { .. }));
    match at.map(|at| queued.remove(at)) {
        Some(Ready::Closed { reason, .. }) => reason,
        _ => CloseReason::NoSuchLink,
    }
}

/// What [`Network::read`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes stand at the front of the buffer; at least one, unless
    /// the buffer was empty.
    Bytes(usize),
    /// Nothing is there now; `Readable` will be reported.
    WouldBlock,
    /// All that the peer sent has been read, and the link is gone.
    Closed(CloseReason),
}

/// What [`Network::write`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// So many bytes were taken, from the front. The network delivers them
    /// in order, or reports that the link closed.
    Bytes(usize),
    /// Nothing was taken; `Writable` will be reported.
    WouldBlock,
    /// Nothing was taken, and the link is gone.
    Closed(CloseReason),
}

/// What is known of a host before it is dialled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its addresses, the best first, in place of a look-up. None: it is looked up.
    pub at: &'a [IpAddr],
    /// How often it was dialled in vain: so many of its addresses are tried last.
    pub failures: usize,
}

/// Listeners and links, driven by one thread, never waiting but in `poll`.
///
/// Every implementation passes the same suite, `conformance`.
pub trait Network: Send {
    /// Listens at `addr` (`host:port`, `[v6]:port`; port 0 picks a free one;
    /// the machine's network also `shm:PATH`, see [`crate::shm`], and
    /// `quic:host:port`, see [`crate::quic`]) and answers the address as bound. Names are resolved here and now: do
    /// this at the start, not under load.
    ///
    /// # Errors
    /// [`ListenError`], which names the address and the remedy.
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError>;

    /// Begins to connect to `addr` (`host:port`) and answers at once; `poll`
    /// reports `Connected` or `Closed`, within the options' bound of time. Of a
    /// host with several addresses they are tried in turn, until a handshake is done.
    ///
    /// With TLS the peer must be a hub. When `expect` is given it must have
    /// that name, wherever it runs; when not, its certificate must name the
    /// host in `addr`.
    ///
    /// # Errors
    /// [`DialError`], for what is known to be impossible before trying.
    fn dial(&mut self, addr: &str, security: &Security, expect: Option<&str>) -> Result<LinkToken, DialError> {
        self.dial_known(addr, &Known::default(), security, expect)
    }

    /// [`Network::dial`], of a host of which something is known. Its certificate is
    /// held against the host in `addr` all the same. A network without names
    /// dials `addr`.
    ///
    /// # Errors
    /// [`DialError`], as for [`Network::dial`].
    fn dial_known(
        &mut self,
        addr: &str,
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError>;

    /// Waits until something is ready, the waker is used, or `timeout` passes
    /// (`None`: for ever), and puts what it found into `ready`, which is
    /// cleared first. May come back earlier with nothing.
    ///
    /// # Errors
    /// The system's polling itself failed; single links report otherwise.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Reads into `buf` what is there.
    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome;

    /// Writes from `bufs`, in order, as much as fits; of more than
    /// [`MAX_SLICES`] slices the first ones.
    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome;

    /// How many channels a link that is up has. Channels keep the bytes of
    /// different kinds of traffic apart: what is lost or unread on one holds up
    /// no other, bytes of different channels arrive in any order, and of what
    /// waits to be sent channel 0 goes first and the others take turns. Both
    /// ends of a link have the same number. [`Readable`](Ready::Readable) and
    /// [`Writable`](Ready::Writable) are said of a link when they are true of
    /// one of its channels, `Readable` only of those that are read
    /// ([`Network::read_channels`]).
    fn channels(&self, _link: LinkToken) -> usize {
        1
    }

    /// The caller reads all channels of this link from here on. Until then it
    /// reads channel 0 alone: what lies on the others is not reported, and
    /// does not keep the end of the link from being found.
    fn read_channels(&mut self, _link: LinkToken) {}

    /// Reads what came on one of the link's channels; [`Network::read`] is the
    /// same of channel 0. The end of the link is found by a read of any channel
    /// once there is nothing more on all that are read.
    fn read_on(&mut self, link: LinkToken, _channel: usize, buf: &mut [u8]) -> ReadOutcome {
        self.read(link, buf)
    }

    /// Writes to one of the link's channels; [`Network::write`] is the same of
    /// channel 0.
    fn write_on(&mut self, link: LinkToken, _channel: usize, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        self.write(link, bufs)
    }

    /// Stops reporting `Readable` for this link, so that a caller that cannot
    /// take more may wait in `poll`; the peer is slowed down in the end.
    fn pause(&mut self, link: LinkToken);

    /// Reports `Readable` again.
    fn resume(&mut self, link: LinkToken);

    /// Ends the link after delivering what was taken, within the options'
    /// bound of time. The token is gone at once and no event follows.
    fn close(&mut self, link: LinkToken);

    /// Stops listening. Links that came in there stay; handshakes that are
    /// not done end.
    fn close_listener(&mut self, listener: ListenerToken);

    /// The far side's address as text, while the link lives and is connected.
    fn remote_address(&self, link: LinkToken) -> Option<String>;

    /// How many links were closed and still deliver what they had taken. Who
    /// is about to end the process polls until there is none.
    fn closing(&self) -> usize;

    /// What makes `poll` return from another thread.
    fn waker(&self) -> Waker;
}

/// Makes [`Network::poll`] return, now or the next time it is called.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Makes `poll` return. Cheap while the polling thread is awake.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Why an address cannot be listened at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The text is not `host:port`, or the host has no address.
    #[error("cannot listen at `{address}`: {detail}; write `host:port`, for example `127.0.0.1:7411` or `[::]:7411`")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A socket cannot be made at this path.
    #[error(
        "cannot listen at `{address}`: {detail}; write `shm:PATH`, with a path in a folder that this user may write to"
    )]
    ShmPath {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Another hub listens at this path.
    #[error("`{address}` is in use: another hub listens there; stop it, or choose another path")]
    ShmInUse {
        /// What was given.
        address: String,
    },
    /// Plain text is for loopback alone.
    #[error(
        "will not listen at `{address}` without TLS: it can be reached from other machines; \
         give a certificate, or listen at 127.0.0.1 or [::1]"
    )]
    PlainBeyondLoopback {
        /// What was given.
        address: String,
    },
    /// Another socket has the port.
    #[error(
        "`{address}` is in use: another program listens there; \
         stop it (`ss -ltnp`, for QUIC `ss -lunp`, shows which it is), or choose another port"
    )]
    InUse {
        /// What was given.
        address: String,
    },
    /// The system does not let this process have the port.
    #[error("not allowed to listen at `{address}`: ports below 1024 need privileges; choose a port from 1024 to 65535")]
    NotAllowed {
        /// What was given.
        address: String,
    },
    /// No interface of this machine has the address.
    #[error("cannot listen at `{address}`: this machine has no such address; `ip address` lists those it has")]
    NotHere {
        /// What was given.
        address: String,
    },
    /// The certificate cannot be used.
    #[error("cannot listen at `{address}` with this certificate: {detail}")]
    Identity {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no QUIC without certificates.
    #[error("cannot listen at `{address}` without TLS, which QUIC always has: give a certificate, or listen by TCP")]
    QuicNeedsTls {
        /// What was given.
        address: String,
    },
    /// Anything else that the system says.
    #[error("cannot listen at `{address}`: {detail}")]
    Io {
        /// What was given.
        address: String,
        /// The system's words.
        detail: String,
    },
}

impl ListenError {
    /// What the system's error while binding to `addr` means.
    pub(crate) fn of_bind(addr: &str, error: &io::Error) -> Self {
        let address = addr.to_owned();
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { address },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address },
            _ => Self::Io { address, detail: error.to_string() },
        }
    }
}

/// Why a link cannot even be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text is not `host:port`.
    #[error("cannot dial `{address}`: {detail}; write `host:port`, for example `hub.example.org:7411`")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no socket with such a path.
    #[error("cannot dial `{address}`: {detail}; write `shm:PATH`, the path as in the hub's configuration")]
    ShmPath {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Plain text is for loopback alone.
    #[error(
        "will not dial `{address}` without TLS: it is another machine; \
         give a certificate, or dial 127.0.0.1 or [::1]"
    )]
    PlainBeyondLoopback {
        /// What was given.
        address: String,
    },
    /// The limit of links is reached.
    #[error(
        "cannot dial `{address}`: {limit} links are open, the limit; close some, or raise the limit of connections"
    )]
    TooManyLinks {
        /// What was given.
        address: String,
        /// The limit.
        limit: usize,
    },
    /// The certificate cannot be used.
    #[error("cannot dial `{address}` with this certificate: {detail}")]
    Identity {
        /// What was given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no QUIC without certificates.
    #[error("cannot dial `{address}` without TLS, which QUIC always has: give a certificate, or dial by TCP")]
    QuicNeedsTls {
        /// What was given.
        address: String,
    },
    /// Anything else that the system says.
    #[error("cannot dial `{address}`: {detail}")]
    Io {
        /// What was given.
        address: String,
        /// The system's words.
        detail: String,
    },
}
