//! Who may be at the far side: the chain and dates by webpki, then kind and name.

use std::sync::OnceLock;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, OtherError, RootCertStore};
use weft_base::sync::Arc;

use super::Blame;
use crate::identity::{Credentials, NameError, Peer, PeerKind, peer_of, stranger_of};
use crate::network::Accept;
use crate::reason::CloseReason;

/// The methods of rustls' verifiers that look at signatures: those of this
/// crate's one cryptography.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let provider = crate::tls::provider();
            rustls::crypto::verify_tls12_signature(message, cert, dss, &provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let provider = crate::tls::provider();
            rustls::crypto::verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            crate::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(crate) use signatures;

/// A reason of ours, carried through rustls, which answers the peer with the
/// alert `certificate_unknown`.
fn refuse(reason: CloseReason) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

fn named(certificate: &CertificateDer<'_>) -> Result<Peer, Error> {
    named_by(peer_of(certificate))
}

fn named_by(peer: Result<Peer, NameError>) -> Result<Peer, Error> {
    peer.map_err(|e| match e {
        NameError::NoIdentity => refuse(CloseReason::NoIdentity),
        NameError::Unreadable { .. } => Error::InvalidCertificate(CertificateError::BadEncoding),
    })
}

/// What looks at chains, dates and what was revoked, for one set of credentials:
/// made when it is first needed and then shared by all handshakes and links,
/// since making it reads all that was revoked.
#[derive(Default)]
pub(crate) struct Chains {
    dialling: OnceLock<Result<Arc<dyn ClientCertVerifier>, String>>,
    dialled: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl PartialEq for Chains {
    /// It follows from what it stands beside.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Chains {
    fn dialling(
        &self,
        mine: &Credentials,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let make = || {
            // An authority without a list has revoked nothing, and of a chain it is
            // the peer's own certificate that is looked up.
            let chain = WebPkiClientVerifier::builder_with_provider(mine.roots.clone(), provider.clone())
                .with_crls(mine.revoked.clone())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status();
            chain.build().map_err(|e| e.to_string())
        };
        self.dialling.get_or_init(make).clone()
    }

    fn dialled(&self, mine: &Credentials, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
        let make = || dialled(mine.roots.clone(), mine.revoked.clone(), provider);
        self.dialled.get_or_init(make).clone()
    }
}

/// What looks at the chain of a peer that is dialled.
fn dialled(
    roots: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .with_crls(revoked)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status();
    chain.build().map_err(|e| e.to_string())
}

/// Checks a peer that dialled this side.
#[derive(Debug)]
pub(crate) struct DiallingPeer {
    chain: Arc<dyn ClientCertVerifier>,
    accept: Accept,
    blame: Blame,
}

impl DiallingPeer {
    pub(crate) fn new(mine: &Credentials, accept: Accept, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        Ok(Self { chain: mine.chains.dialling(mine, provider)?, accept, blame: Blame::default() })
    }

    /// It keeps there why a peer was refused.
    pub(crate) fn blaming(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }

    /// The whole check: a peer of the kind that the listener takes.
    pub(crate) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Error> {
        self.chain.verify_client_cert(certificate, rest, now)?;
        let peer = match (named(certificate), self.accept) {
            (Err(_), Accept::AnyClients) => named_by(stranger_of(certificate))?,
            (peer, _) => peer?,
        };
        let expected = match (self.accept, peer.kind) {
            (Accept::Hubs, PeerKind::Client) => PeerKind::Hub,
            (Accept::Clients | Accept::AnyClients, PeerKind::Hub) => PeerKind::Client,
            _ => return Ok(peer),
        };
        Err(refuse(CloseReason::WrongKind { found: peer.kind, expected, name: peer.name }))
    }
}

impl ClientCertVerifier for DiallingPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.accept != Accept::AnyClients
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let checked = self.blame.keep(self.check(end_entity, intermediates, now));
        checked.map(|_| ClientCertVerified::assertion())
    }

    signatures!();
}

/// Checks a peer that this side dialled.
#[derive(Debug)]
pub(crate) struct DialledPeer {
    chain: Arc<WebPkiServerVerifier>,
    expect: Option<String>,
    blame: Blame,
}

impl DialledPeer {
    pub(crate) fn new(
        mine: &Credentials,
        expect: Option<&str>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        Ok(Self::of(mine.chains.dialled(mine, provider)?, expect))
    }

    /// One that has a certificate of these authorities, and not one of those
    /// that they have revoked.
    pub(crate) fn by(
        roots: Arc<RootCertStore>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        expect: Option<&str>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        Ok(Self::of(dialled(roots, revoked, provider)?, expect))
    }

    fn of(chain: Arc<WebPkiServerVerifier>, expect: Option<&str>) -> Self {
        Self { chain, expect: expect.map(str::to_owned), blame: Blame::default() }
    }

    /// It keeps there why a peer was refused.
    pub(crate) fn blaming(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }

    /// The whole check: a hub; of the expected name when there is one,
    /// otherwise with `host` among its host names and addresses.
    pub(crate) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Peer, Error> {
        // The chain, its dates and what was revoked first, the host last.
        let (chain, is_host) = match self.chain.verify_server_cert(certificate, rest, host, &[], now) {
            Ok(_) => (Ok(()), true),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => (Ok(()), false),
            // A client's certificate is not for serving; its name says so better.
            Err(
                e @ Error::InvalidCertificate(
                    CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
                ),
            ) => (Err(e), false),
            Err(e) => return Err(e),
        };
        let peer = named(certificate)?;
        if peer.kind != PeerKind::Hub {
            return Err(refuse(CloseReason::WrongKind { found: peer.kind, expected: PeerKind::Hub, name: peer.name }));
        }
        chain?;
        match &self.expect {
            Some(expected) if *expected != peer.name => {
                Err(refuse(CloseReason::WrongName { found: peer.name, expected: expected.clone() }))
            }
            None if !is_host => {
                Err(refuse(CloseReason::WrongHost { hub: peer.name, host: host.to_str().into_owned() }))
            }
            _ => Ok(peer),
        }
    }
}

impl ServerCertVerifier for DialledPeer {
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

    signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;
    use crate::identity::TlsIdentity;
    use std::time::Duration;
    use weft_base::{Clock, SystemClock};

    #[test]
    fn what_looks_at_chains_is_made_once_for_each_identity_and_anew_when_that_is_replaced() {
        let (now, day) = (SystemClock::new().now().wall, Duration::from_secs(86_400));
        let authority = Authority::create("test", now, day).expect("an authority");
        let identity = || {
            let issued = authority.issue(PeerKind::Hub, "a", &["localhost"], now, day).expect("a certificate");
            let ca = authority.certificate_pem();
            TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes()).expect("good")
        };
        let provider = crate::tls::provider();
        let dialling = |mine: &Credentials| DiallingPeer::new(mine, Accept::Hubs, &provider).expect("made").chain;
        let dialled = |mine: &Credentials, name| DialledPeer::new(mine, name, &provider).expect("made").chain;
        let own = identity();
        let mine = own.credentials();
        assert!(Arc::ptr_eq(&dialling(&mine), &dialling(&own.credentials())));
        assert!(Arc::ptr_eq(&dialled(&mine, None), &dialled(&own.credentials(), Some("b"))));
        own.replace(&identity()).expect("of the same name");
        assert!(!Arc::ptr_eq(&dialling(&mine), &dialling(&own.credentials())));
        assert!(!Arc::ptr_eq(&dialled(&mine, None), &dialled(&own.credentials(), None)));
    }
}
