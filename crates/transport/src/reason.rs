//! Why a link ended, in words that say what happened and what to do about it.

use std::io;

use crate::identity::PeerKind;

/// Why a link ended, or never came to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended the link in order.
    #[error("the peer closed the link")]
    PeerClosed,
    /// The connection ended without the end that TLS prescribes.
    #[error("the connection ended without a TLS close: the peer died, or something between cut it")]
    Truncated,
    /// The peer's system broke the connection.
    #[error("the connection was reset: the peer died or refused it")]
    Reset,
    /// The system gave up sending.
    #[error("the connection timed out: the peer or the path to it is gone")]
    TimedOut,
    /// Nobody listens there.
    #[error("nobody listens at `{address}`: check the address, and that the hub runs")]
    ConnectRefused {
        /// Where.
        address: String,
    },
    /// There is no way to it.
    #[error("`{address}` cannot be reached: {detail}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's words.
        detail: String,
    },
    /// No answer in time.
    #[error(
        "no connection to `{address}` within {millis} ms: the host is down, or a firewall drops what is sent there"
    )]
    ConnectTimedOut {
        /// Where.
        address: String,
        /// The bound that passed.
        millis: u64,
    },
    /// The name has no address.
    #[error("cannot find the address of `{host}`: {detail}; check the name and the resolver of this machine")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        detail: String,
    },
    /// A name turned out to be another machine's, and there is no TLS.
    #[error(
        "will not dial `{address}` without TLS: it is another machine; give a certificate, or dial 127.0.0.1 or [::1]"
    )]
    PlainBeyondLoopback {
        /// The address found.
        address: String,
    },
    /// The handshake was not done in time.
    #[error("the TLS handshake was not done within {millis} ms: the peer does not speak TLS, or the path is too slow")]
    HandshakeTimedOut {
        /// The bound that passed.
        millis: u64,
    },
    /// What came is not TLS.
    #[error("the peer does not speak TLS: it sent other bytes; give it a certificate, or use a port without TLS")]
    NotTls,
    /// The peer's TLS has nothing in common with this side's.
    #[error("no TLS in common with the peer: {detail}; TLS 1.3 is needed")]
    NoCommonTls {
        /// What differs.
        detail: String,
    },
    /// The peer showed no certificate.
    #[error("the peer showed no certificate: give it one, issued by the mesh's certificate authority")]
    NoCertificate,
    /// Another authority signed the peer's certificate.
    #[error(
        "the peer's certificate was not issued by the mesh's certificate authority: \
         issue one with `weft ca issue`, or correct the `ca` file"
    )]
    UnknownIssuer,
    /// The peer's certificate is past its time.
    #[error("the peer's certificate expired {seconds_ago} s ago: issue it a new one, or correct this machine's clock")]
    CertificateExpired {
        /// For how long.
        seconds_ago: u64,
    },
    /// The peer's certificate is not in its time yet.
    #[error(
        "the peer's certificate is valid only in {seconds} s: correct the clock of this machine or of the issuer's"
    )]
    CertificateNotYetValid {
        /// In how long.
        seconds: u64,
    },
    /// The authority has taken the peer's certificate back.
    #[error("the peer's certificate was revoked: issue it a new one, if it may have one")]
    CertificateRevoked,
    /// The peer's certificate carries no name of ours.
    #[error(
        "the peer's certificate has no weft name: it needs one URI \
         `spiffe://weft/hub/NAME` or `spiffe://weft/client/NAME`; issue one with `weft ca issue`"
    )]
    NoIdentity,
    /// A hub where a client was to be, or the other way round.
    #[error("the peer is a {found} (`{name}`), and here a {expected} is expected: use the other port or certificate")]
    WrongKind {
        /// What the peer is.
        found: PeerKind,
        /// What it should be.
        expected: PeerKind,
        /// Its name.
        name: String,
    },
    /// A hub, but another one.
    #[error("the peer is hub `{found}`, and hub `{expected}` is expected there: correct the address or the name")]
    WrongName {
        /// The peer's name.
        found: String,
        /// The name it should have.
        expected: String,
    },
    /// The certificate does not name the host that was dialled.
    #[error(
        "the certificate of hub `{hub}` does not name the host `{host}`: \
         dial it by a name in its certificate, give the hub's name, or issue one that names this host"
    )]
    WrongHost {
        /// The peer's name.
        hub: String,
        /// The host that was dialled.
        host: String,
    },
    /// Anything else that is wrong with the peer's certificate.
    #[error("the peer's certificate cannot be accepted: {detail}")]
    BadCertificate {
        /// What is wrong.
        detail: String,
    },
    /// The peer refused this side.
    #[error("the peer refused this side: {detail}")]
    RefusedByPeer {
        /// What its alert means.
        detail: String,
    },
    /// The peer broke the rules of TLS.
    #[error("TLS failed: {detail}")]
    Tls {
        /// What broke.
        detail: String,
    },
    /// Another user than the hub's came to its door of shared memory.
    #[error(
        "user {user} may not use this hub's shared memory, which is for the user that it runs as: \
         run the client as that user, or connect over TCP"
    )]
    OtherUser {
        /// The peer's user.
        user: u32,
    },
    /// The peer broke the protocol of the rings in shared memory.
    #[error("the ring in shared memory is broken: {detail}; the peer is faulty or hostile")]
    BrokenRing {
        /// What cannot be.
        detail: String,
    },
    /// The peer broke the rules of QUIC, or of the streams that a link has.
    #[error("the peer broke the rules of a link by QUIC: {detail}; it is faulty, hostile or of another version")]
    BrokenQuic {
        /// What it did.
        detail: String,
    },
    /// The limit of links was reached when the peer dialled.
    #[error("{limit} links are open, the limit: close some, or raise the limit of connections")]
    TooManyLinks {
        /// The limit.
        limit: usize,
    },
    /// The limit of links by shared memory was reached when the peer dialled.
    #[error(
        "{limit} links by shared memory are open, the limit: close some, connect over TCP, \
         or raise the limit (a hub's `limits.shm_sessions`)"
    )]
    TooManyShared {
        /// The limit.
        limit: usize,
    },
    /// The listener was closed while the handshake went on.
    #[error("the listener was closed")]
    ListenerClosed,
    /// The token is not that of a living link.
    #[error("there is no such link (it was closed before)")]
    NoSuchLink,
    /// Anything else that the system says.
    #[error("the connection failed: {detail}")]
    Io {
        /// The system's words.
        detail: String,
    },
}

impl CloseReason {
    /// A short name for counters, of letters and `_`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::ConnectRefused { .. } => "connect_refused",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectTimedOut { .. } => "connect_timed_out",
            Self::Resolve { .. } => "resolve",
            Self::PlainBeyondLoopback { .. } => "plain_beyond_loopback",
            Self::HandshakeTimedOut { .. } => "handshake_timed_out",
            Self::NotTls => "not_tls",
            Self::NoCommonTls { .. } => "no_common_tls",
            Self::NoCertificate => "no_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::CertificateExpired { .. } => "certificate_expired",
            Self::CertificateNotYetValid { .. } => "certificate_not_yet_valid",
            Self::CertificateRevoked => "certificate_revoked",
            Self::NoIdentity => "no_identity",
            Self::WrongKind { .. } => "wrong_kind",
            Self::WrongName { .. } => "wrong_name",
            Self::WrongHost { .. } => "wrong_host",
            Self::BadCertificate { .. } => "bad_certificate",
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::Tls { .. } => "tls",
            Self::OtherUser { .. } => "other_user",
            Self::BrokenRing { .. } => "broken_ring",
            Self::BrokenQuic { .. } => "broken_quic",
            Self::TooManyLinks { .. } => "too_many_links",
            Self::TooManyShared { .. } => "too_many_shared",
            Self::ListenerClosed => "listener_closed",
            Self::NoSuchLink => "no_such_link",
            Self::Io { .. } => "io",
        }
    }

    /// What the system's error on an open connection means.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io { detail: error.to_string() },
        }
    }

    /// What the system's error while connecting to `address` means.
    pub(crate) fn of_connect(address: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused { address: address.to_owned() },
            _ => Self::Unreachable { address: address.to_owned(), detail: error.to_string() },
        }
    }
}
