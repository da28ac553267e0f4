//! Certificates for keys that were made elsewhere: who asks keeps the key and
//! sends a request (PKCS #10), of which the authority takes the public key and
//! nothing else. Who the certificate is for is said by whoever checked that.

use std::time::Duration;

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use weft_base::UnixNanos;
use zeroize::Zeroizing;

use super::{Authority, CaError, certificate_of};
use crate::identity::PeerKind;

/// Bytes of a point on the curve P-256, uncompressed.
const P256_POINT: usize = 65;

/// A key that was made here, and the request for its certificate.
pub struct Request {
    csr: Vec<u8>,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for Request {
    // The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("csr", &self.csr.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// A new key and the request for it.
    ///
    /// # Errors
    /// [`CaError::Library`]: the key generator failed.
    pub fn create() -> Result<Self, CaError> {
        Self::with(&KeyPair::generate()?)
    }

    /// The request for a key that is there already, PEM: to renew its certificate.
    ///
    /// # Errors
    /// [`CaError::Library`]: the key cannot be read.
    pub fn of_key(key: &str) -> Result<Self, CaError> {
        Self::with(&KeyPair::from_pem(key)?)
    }

    fn with(key: &KeyPair) -> Result<Self, CaError> {
        let csr = CertificateParams::default().serialize_request(key)?;
        Ok(Self { csr: csr.der().to_vec(), key: Zeroizing::new(key.serialize_pem()) })
    }

    /// The request, DER: for the authority.
    #[must_use]
    pub fn csr(&self) -> &[u8] {
        &self.csr
    }

    /// The key, PEM: a secret, for this machine alone.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }
}

impl Authority {
    /// Issues a certificate, PEM, for the key of a request, whose signature
    /// shows that whoever made it has the key. What else the request says is
    /// not looked at. Otherwise as [`Authority::issue`].
    ///
    /// # Errors
    /// [`CaError`], which says which part is wrong.
    pub fn sign(
        &self,
        csr: &[u8],
        (kind, name): (PeerKind, &str),
        hosts: &[&str],
        now: UnixNanos,
        valid_for: Duration,
    ) -> Result<String, CaError> {
        let malformed = |detail: String| CaError::Request { detail };
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(|e| malformed(e.to_string()))?;
        let key = &request.public_key;
        // Where the signature's kind does not fix the curve, the length does.
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || rcgen::PublicKeyData::der_bytes(key).len() != P256_POINT {
            return Err(malformed("its key is none on the curve P-256".to_owned()));
        }
        let params = self.params(kind, name, hosts, now, valid_for)?;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// Its certificate, DER.
    ///
    /// # Errors
    /// [`CaError::Unreadable`]: it is not PEM.
    pub fn certificate_der(&self) -> Result<CertificateDer<'static>, CaError> {
        certificate_of(&self.certificate)
    }

    /// What pins this authority: see [`Fingerprint`](crate::joining::Fingerprint).
    ///
    /// # Errors
    /// [`CaError::Unreadable`]: its certificate is not PEM.
    pub fn fingerprint(&self) -> Result<crate::joining::Fingerprint, CaError> {
        Ok(crate::joining::Fingerprint::of(&self.certificate_der()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::TlsIdentity;

    const NOW: UnixNanos = UnixNanos(1_900_000_000_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_key_made_elsewhere_gets_a_certificate_for_the_name_that_was_checked() {
        let ca = Authority::create("test", NOW, DAY * 10).unwrap();
        let request = Request::create().unwrap();
        let certificate = ca.sign(request.csr(), (PeerKind::Hub, "boston"), &["10.0.0.1"], NOW, DAY).unwrap();
        let identity = TlsIdentity::from_pem(
            certificate.as_bytes(),
            request.key_pem().as_bytes(),
            ca.certificate_pem().as_bytes(),
        )
        .unwrap();
        assert_eq!((identity.me().kind, identity.me().name.as_str()), (PeerKind::Hub, "boston"));
        assert!(!format!("{request:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_a_request_says_of_itself_does_not_count() {
        let ca = Authority::create("test", NOW, DAY * 10).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["evil.example.org".to_owned()]).unwrap();
        wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let csr = wish.serialize_request(&key).unwrap();
        let pem = ca.sign(csr.der(), (PeerKind::Hub, "boston"), &[], NOW, DAY).unwrap();
        let der = certificate_of(&pem).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(!parsed.is_ca());
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1, "{names:?}");
    }

    #[test]
    fn requests_that_are_none_and_keys_of_other_kinds_are_refused() {
        let ca = Authority::create("test", NOW, DAY).unwrap();
        let sign = |csr: &[u8]| ca.sign(csr, (PeerKind::Hub, "a"), &[], NOW, DAY).map(|_| ());
        let good = Request::create().unwrap();
        assert_eq!(sign(good.csr()), Ok(()));
        let mut flipped = good.csr().to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for bad in [&[][..], b"csr", &good.csr()[..40], &flipped] {
            assert!(matches!(sign(bad), Err(CaError::Request { .. })), "{bad:02x?}");
        }
        for kind in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(kind).unwrap();
            let csr = CertificateParams::default().serialize_request(&key).unwrap();
            assert!(matches!(sign(csr.der()), Err(CaError::Request { .. })), "{kind:?}");
        }
    }
}
