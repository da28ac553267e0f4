//! TLS 1.3 by rustls over aws-lc, with both sides' certificates checked; clients may
//! show none where whoever listens says so.
//!
//! Neither side resumes sessions: each link begins with a full handshake, so
//! that certificate, name and date are checked each time. A link costs one
//! handshake in its life, which is long.

mod blame;
mod errors;
mod trust;
mod verify;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use std::time::Duration;
use weft_base::sync::Arc;
use weft_base::{Clock, UnixNanos};

use crate::identity::{Credentials, IdentityError, TlsIdentity};
use crate::network::Accept;

pub(crate) use blame::Blame;
pub(crate) use errors::{of_alert, reason_of, seen_by_peer};
#[cfg(any(test, feature = "conformance"))]
pub(crate) use trust::LOOKS;
pub(crate) use trust::{Gatekeeper, InUse, Trust};
pub(crate) use verify::{Chains, DialledPeer, DiallingPeer, signatures};

/// The one cryptography used, named so that no other can slip in by a feature.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Whether TLS and QUIC are done by aws-lc's module for FIPS 140-3, which has tested
/// itself, with nothing but what that allows: so they are in builds with the feature
/// `fips`, and in no others. Whether NIST has certified the module's version is not
/// known here.
#[must_use]
pub fn is_fips() -> bool {
    provider().fips()
}

/// The injected clock, as rustls asks for the time.
struct WallTime(Arc<dyn Clock>);

impl std::fmt::Debug for WallTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallTime")
    }
}

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now().wall))
    }
}

pub(crate) fn time_provider(clock: &Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(WallTime(clock.clone()))
}

pub(crate) fn unix_time(at: UnixNanos) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(at.0))
}

/// What a listener's handshakes need.
pub(crate) fn server_config(
    identity: &TlsIdentity,
    accept: Accept,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, String> {
    blaming_server_config(identity, accept, clock, Blame::default()).map(Arc::new)
}

/// The same, which keeps why a peer was refused.
pub(crate) fn blaming_server_config(
    identity: &TlsIdentity,
    accept: Accept,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<ServerConfig, String> {
    let provider = provider();
    let identity = identity.credentials();
    let key = identity.key.as_ref().ok_or("whoever listens needs a certificate: make one with `weft ca issue`")?;
    let verifier = DiallingPeer::new(&identity, accept, &provider)?.blaming(blame);
    let mut config = ServerConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), key.clone_key())
        .map_err(|e| e.to_string())?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// A handshake with the hub at `host`, to be begun.
pub(crate) fn client(
    identity: &TlsIdentity,
    host: &str,
    expect: Option<&str>,
    clock: &Arc<dyn Clock>,
) -> Result<ClientConnection, String> {
    let host = ServerName::try_from(host.to_owned()).map_err(|e| format!("`{host}`: {e}"))?;
    let config = client_config(identity, expect, clock, Blame::default())?;
    ClientConnection::new(Arc::new(config), host).map_err(|e| e.to_string())
}

/// What the handshake with a hub that is dialled needs; it keeps why that was
/// refused.
pub(crate) fn client_config(
    identity: &TlsIdentity,
    expect: Option<&str>,
    clock: &Arc<dyn Clock>,
    blame: Blame,
) -> Result<ClientConfig, String> {
    let provider = provider();
    let identity = identity.credentials();
    let verifier = DialledPeer::new(&identity, expect, &provider)?.blaming(blame);
    let config = ClientConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &identity.key {
        Some(key) => {
            config.with_client_auth_cert(identity.chain.clone(), key.clone_key()).map_err(|e| e.to_string())?
        }
        None => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Whether the key can sign and belongs to the certificate.
pub(crate) fn check_key(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), IdentityError> {
    let signer = provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|e| IdentityError::Key { detail: e.to_string() })?;
    match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => Err(IdentityError::KeyMismatch),
        // Unknown: this kind of key cannot tell; the handshake will.
        Err(rustls::Error::InconsistentKeys(_)) => Ok(()),
        Err(e) => Err(IdentityError::Unusable { part: "certificate", detail: e.to_string() }),
    }
}

/// Whether the lists of what was revoked can be read.
pub(crate) fn check_revoked(credentials: &Credentials) -> Result<(), IdentityError> {
    let unusable = |detail| IdentityError::Unusable { part: "revocation list", detail };
    DialledPeer::new(credentials, None, &provider()).map(|_| ()).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;
    use crate::identity::PeerKind;
    use rustls::{CipherSuite, NamedGroup};
    use weft_base::SystemClock;

    /// Hands each side what the other has written, until neither has more to say.
    fn shake_hands(client: &mut ClientConnection, server: &mut rustls::ServerConnection) {
        while client.is_handshaking() || server.is_handshaking() {
            let (mut sent, mut answered) = (Vec::new(), Vec::new());
            client.write_tls(&mut sent).expect("into memory");
            server.read_tls(&mut sent.as_slice()).expect("of memory");
            server.process_new_packets().expect("taken");
            server.write_tls(&mut answered).expect("into memory");
            assert!(!sent.is_empty() || !answered.is_empty(), "both wait for the other");
            client.read_tls(&mut answered.as_slice()).expect("of memory");
            client.process_new_packets().expect("taken");
        }
    }

    #[test]
    fn the_feature_alone_decides_whether_the_module_does_each_handshake() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (now, day) = (clock.now().wall, Duration::from_secs(86_400));
        let authority = Authority::create("test", now, day).expect("an authority");
        let identity = |kind, name: &str| {
            let issued = authority.issue(kind, name, &["localhost"], now, day).expect("a certificate");
            let ca = authority.certificate_pem();
            TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes()).expect("good")
        };
        let wanted = cfg!(feature = "fips");
        assert_eq!(is_fips(), wanted);
        let hub = identity(PeerKind::Hub, "a");
        for (accept, peer) in
            [(Accept::Hubs, PeerKind::Hub), (Accept::Clients, PeerKind::Client), (Accept::AnyClients, PeerKind::Client)]
        {
            let config = server_config(&hub, accept, &clock).expect("it can be used");
            assert_eq!(config.fips(), wanted, "of a listener for {accept:?}");
            let dials = identity(peer, "b");
            let config_of_client = client_config(&dials, Some("a"), &clock, Blame::default()).expect("it can be used");
            assert_eq!(config_of_client.fips(), wanted, "of a dial as {peer:?}");
            let mut client = client(&dials, "localhost", Some("a"), &clock).expect("it can be used");
            let mut server = rustls::ServerConnection::new(config).expect("it can be used");
            shake_hands(&mut client, &mut server);
            assert_eq!((client.fips(), server.fips()), (wanted, wanted), "of a handshake as {peer:?}");
        }
    }

    #[test]
    fn with_the_module_nothing_is_offered_that_it_does_not_allow() {
        let provider = provider();
        let suites: Vec<_> = provider.cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        let others = (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, NamedGroup::X25519);
        assert_eq!((suites.contains(&others.0), groups.contains(&others.1)), (!is_fips(), !is_fips()));
        // What both kinds of build have, so that they can be linked with each other.
        assert!(suites.contains(&CipherSuite::TLS13_AES_256_GCM_SHA384), "{suites:?}");
        assert!(suites.contains(&CipherSuite::TLS13_AES_128_GCM_SHA256), "{suites:?}");
        for group in [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1, NamedGroup::secp384r1] {
            assert!(groups.contains(&group), "{groups:?}");
        }
    }
}
