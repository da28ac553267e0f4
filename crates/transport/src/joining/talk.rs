//! A connection over TLS 1.3 that is waited for, for one conversation: dialled
//! by a machine that has a token, or a certificate to be renewed, and taken in
//! by the hub that issues.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DistinguishedName, Error, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned,
};
use weft_base::sync::Arc;
use weft_base::{Clock, Mono};

use super::{Fingerprint, Token};
use crate::identity::{Peer, TlsIdentity, hosts_of, peer_of};
use crate::network::Accept;
use crate::reason::CloseReason;
use crate::tls::{self, Blame, DialledPeer, DiallingPeer};

/// A connection whose far end was checked. Reads and writes wait, until the
/// time that was set for all of it.
pub struct Talk {
    stream: Side,
    /// Who is at the far end; `None` when it showed no certificate.
    peer: Option<Peer>,
    /// The host names and addresses in that certificate.
    hosts: Vec<String>,
    blame: Blame,
}

enum Side {
    Dialling(Box<StreamOwned<ClientConnection, Timed>>),
    Dialled(Box<StreamOwned<ServerConnection, Timed>>),
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Talk {
    /// Dials the hub that made the token. What is said goes to that hub and to
    /// nobody else: it has shown its name, by a certificate of the authority
    /// that the token pins.
    ///
    /// # Errors
    /// [`CloseReason`]: it cannot be reached, or is not that hub.
    pub fn dial(address: &str, token: &Token, clock: &Arc<dyn Clock>, within: Duration) -> Result<Self, CloseReason> {
        let blame = Blame::kept();
        let config = config_of_token(token, clock, blame.clone())?;
        Self::dial_with(address, config, blame, clock, within)
    }

    /// Dials a hub of the mesh, as which this side shows its certificate; of
    /// this name if there is one.
    ///
    /// # Errors
    /// [`CloseReason`]: it cannot be reached, or one refused the other.
    pub fn dial_as(
        address: &str,
        (identity, hub): (&TlsIdentity, Option<&str>),
        clock: &Arc<dyn Clock>,
        within: Duration,
    ) -> Result<Self, CloseReason> {
        let blame = Blame::kept();
        let config = tls::client_config(identity, hub, clock, blame.clone()).map_err(unusable)?;
        Self::dial_with(address, config, blame, clock, within)
    }

    fn dial_with(
        address: &str,
        mut config: ClientConfig,
        blame: Blame,
        clock: &Arc<dyn Clock>,
        within: Duration,
    ) -> Result<Self, CloseReason> {
        let until = clock.now().mono + within;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| CloseReason::Resolve { host: host.to_owned(), detail: e.to_string() })?;
        let found = address
            .to_socket_addrs()
            .map_err(|e| CloseReason::Resolve { host: host.to_owned(), detail: e.to_string() })?;
        let mut last = CloseReason::Resolve { host: host.to_owned(), detail: "the name has no address".to_owned() };
        for target in found {
            let Some(left) = left(clock, until) else { break };
            match TcpStream::connect_timeout(&target, left) {
                Ok(socket) => {
                    config.resumption = Resumption::disabled();
                    let connection =
                        ClientConnection::new(Arc::new(config), name).map_err(|e| tls::reason_of(&e, false))?;
                    let socket = Timed { socket, clock: clock.clone(), until };
                    let stream = Side::Dialling(Box::new(StreamOwned::new(connection, socket)));
                    return Self { stream, peer: None, hosts: Vec::new(), blame }.shake_hands();
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = CloseReason::ConnectRefused { address: target.to_string() }
                }
                Err(error) => {
                    last = CloseReason::Unreachable { address: target.to_string(), detail: error.to_string() }
                }
            }
        }
        Err(last)
    }

    /// Who is at the far end; `None` when it showed no certificate.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The host names and addresses in the certificate that the far end showed.
    #[must_use]
    pub fn peer_hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Tells the far end that nothing follows.
    pub fn end(mut self) {
        match &mut self.stream {
            Side::Dialling(stream) => stream.conn.send_close_notify(),
            Side::Dialled(stream) => stream.conn.send_close_notify(),
        }
        // Whether it hears that makes no difference any more.
        let _ = self.flush();
    }

    /// Why a read or a write of it failed, in words of this crate.
    #[must_use]
    pub fn why(&self, error: &io::Error) -> CloseReason {
        if let Some(reason) = self.blame.take() {
            return reason;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => tls::reason_of(error, true),
            None => CloseReason::of_io(error),
        }
    }

    fn shake_hands(mut self) -> Result<Self, CloseReason> {
        let done = match &mut self.stream {
            Side::Dialling(stream) => {
                let StreamOwned { conn, sock } = &mut **stream;
                conn.complete_io(sock).map(|_| ())
            }
            Side::Dialled(stream) => {
                let StreamOwned { conn, sock } = &mut **stream;
                conn.complete_io(sock).map(|_| ())
            }
        };
        if let Err(error) = done {
            return Err(self.why(&error));
        }
        let chain = match &self.stream {
            Side::Dialling(stream) => stream.conn.peer_certificates(),
            Side::Dialled(stream) => stream.conn.peer_certificates(),
        };
        // The verifiers have read the same name there.
        if let Some(certificate) = chain.and_then(<[_]>::first) {
            (self.peer, self.hosts) = (peer_of(certificate).ok(), hosts_of(certificate));
        }
        Ok(self)
    }
}

impl Read for Talk {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Side::Dialling(stream) => stream.read(buf),
            Side::Dialled(stream) => stream.read(buf),
        }
    }
}

impl Write for Talk {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Side::Dialling(stream) => stream.write(buf),
            Side::Dialled(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Side::Dialling(stream) => stream.flush(),
            Side::Dialled(stream) => stream.flush(),
        }
    }
}

/// Takes connections in at the hub that issues.
pub struct Doorkeeper {
    identity: Arc<TlsIdentity>,
    /// What pins the authority, DER, sent behind the hub's own certificate: the
    /// dialling side may have nothing but its fingerprint.
    authority: CertificateDer<'static>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorkeeper").finish_non_exhaustive()
    }
}

impl Doorkeeper {
    /// For a hub with this identity, of this authority.
    ///
    /// # Errors
    /// [`CaError`](crate::CaError): the authority's certificate cannot be read.
    pub fn new(
        identity: Arc<TlsIdentity>,
        authority: &crate::Authority,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, crate::CaError> {
        Ok(Self { identity, authority: authority.certificate_der()?, clock })
    }

    /// Does the handshake with whoever connected. A certificate may be shown,
    /// and is then checked as that of a link is: of a hub, in its time, and not
    /// revoked.
    ///
    /// # Errors
    /// [`CloseReason`]: the other end is refused, or does not speak TLS, or not in time.
    pub fn accept(&self, socket: TcpStream, within: Duration) -> Result<Talk, CloseReason> {
        let until = self.clock.now().mono + within;
        let blame = Blame::kept();
        let config = self.config(blame.clone())?;
        let connection = ServerConnection::new(Arc::new(config)).map_err(|e| tls::reason_of(&e, false))?;
        let socket = Timed { socket, clock: self.clock.clone(), until };
        let stream = Side::Dialled(Box::new(StreamOwned::new(connection, socket)));
        Talk { stream, peer: None, hosts: Vec::new(), blame }.shake_hands()
    }

    fn config(&self, blame: Blame) -> Result<ServerConfig, CloseReason> {
        let identity = self.identity.credentials();
        let key = identity.key.as_ref().ok_or_else(|| unusable("a certificate is missing".to_owned()))?;
        let provider = tls::provider();
        let hubs = DiallingPeer::new(&identity, Accept::Hubs, &provider).map_err(unusable)?.blaming(blame);
        let mut chain = identity.chain.clone();
        chain.push(self.authority.clone());
        let mut config = ServerConfig::builder_with_details(provider, tls::time_provider(&self.clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| unusable(e.to_string()))?
            .with_client_cert_verifier(Arc::new(AnyoneOrHub(hubs)))
            .with_single_cert(chain, key.clone_key())
            .map_err(|e| unusable(e.to_string()))?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

/// What the handshake with the hub that made the token needs.
fn config_of_token(token: &Token, clock: &Arc<dyn Clock>, blame: Blame) -> Result<ClientConfig, CloseReason> {
    let verifier = PinnedPeer { authority: token.authority, hub: token.hub.clone(), blame };
    let config = ClientConfig::builder_with_details(tls::provider(), tls::time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| unusable(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn unusable(detail: String) -> CloseReason {
    CloseReason::Tls { detail }
}

/// What is left until then; `None` when it is past.
fn left(clock: &Arc<dyn Clock>, until: Mono) -> Option<Duration> {
    let now = clock.now().mono;
    (now < until).then(|| Duration::from_nanos(until.0 - now.0))
}

/// A socket that is waited for no longer than until then, however slowly the
/// far end sends.
struct Timed {
    socket: TcpStream,
    clock: Arc<dyn Clock>,
    until: Mono,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        left(&self.clock, self.until).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// A wait that a socket gave up ends as one that ran out, so that no caller
/// takes it for a reason to try again.
fn ended<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|e| if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e })
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        ended(self.socket.read(buf))
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        ended(self.socket.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Checks the hub that is dialled with a token: among the certificates that it
/// sends is the authority that the token pins, its own was issued by that, and
/// its name is the token's. At which address that is makes no difference.
#[derive(Debug)]
struct PinnedPeer {
    authority: Fingerprint,
    hub: String,
    blame: Blame,
}

impl PinnedPeer {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Peer, Error> {
        let pinned = rest.iter().find(|certificate| Fingerprint::of(certificate) == self.authority);
        let pinned = pinned.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let hub = Some(self.hub.as_str());
        let verifier = DialledPeer::by(Arc::new(roots), Vec::new(), hub, &tls::provider()).map_err(Error::General)?;
        verifier.check(certificate, rest, host, now)
    }
}

impl ServerCertVerifier for PinnedPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.blame.keep(self.check(end_entity, intermediates, server_name, now));
        checked.map(|_| ServerCertVerified::assertion())
    }

    tls::signatures!();
}

/// Takes in who shows no certificate; one that is shown must be a hub's.
#[derive(Debug)]
struct AnyoneOrHub(DiallingPeer);

impl ClientCertVerifier for AnyoneOrHub {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    tls::signatures!();
}

#[cfg(test)]
mod tests {
    use weft_base::SystemClock;

    use super::*;
    use crate::ca::Authority;
    use crate::identity::PeerKind;

    #[test]
    fn the_feature_alone_decides_whether_the_module_does_the_handshakes_of_joining() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (now, day) = (clock.now().wall, Duration::from_secs(86_400));
        let authority = Authority::create("test", now, day).expect("an authority");
        let issued = authority.issue(PeerKind::Hub, "a", &["localhost"], now, day).expect("a certificate");
        let ca = authority.certificate_pem();
        let own = TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes());
        let keeper = Doorkeeper::new(Arc::new(own.expect("good")), &authority, clock.clone()).expect("made");
        let pin = Fingerprint::of(&authority.certificate_der().expect("DER"));
        let token = Token::create("a", pin).expect("a token");
        let dials = config_of_token(&token, &clock, Blame::default()).expect("it can be used");
        let listens = keeper.config(Blame::default()).expect("it can be used");
        assert_eq!((dials.fips(), listens.fips()), (cfg!(feature = "fips"), cfg!(feature = "fips")));
    }
}
