//! A private certificate authority: who holds its key decides who is of the mesh.
//!
//! Keys are ECDSA P-256. Everything comes and goes as PEM; the caller writes
//! the files, and keeps keys readable by their owner alone (mode 0600). The
//! authority's own key is needed only to issue, so it need not lie on any hub.

mod request;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, DnsName};
use weft_base::UnixNanos;

use crate::identity::{PeerKind, is_name, uri_of};

pub use self::request::Request;

/// The longest that a certificate may be valid: 100 years of 365 days.
pub const MAX_VALID_FOR: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The most host names and addresses in one certificate.
pub const MAX_HOSTS: usize = 64;
/// The most certificates on a list of what was revoked.
pub const MAX_REVOKED: usize = 100_000;
/// How long before its issue a certificate is valid already, for peers whose
/// clocks are behind the issuer's.
pub const EARLY: Duration = Duration::from_secs(300);

/// An authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// When its own certificate ends, in seconds since 1970.
    ends: u64,
}

/// A certificate and its key, PEM both.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, for everyone.
    pub certificate: String,
    /// Its key, a secret.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    // The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority. `name` is for people: it stands in its certificate's
    /// subject.
    ///
    /// # Errors
    /// [`CaError`]: the name or the time cannot be, or the key generator failed.
    pub fn create(name: &str, now: UnixNanos, valid_for: Duration) -> Result<Self, CaError> {
        if !is_name(name) {
            return Err(CaError::Name { name: name.to_owned() });
        }
        let key = KeyPair::generate()?;
        // Its key is in its name: of two authorities of one name, lists of what
        // was revoked are told apart by that.
        let subject = format!("weft authority {name} {}", fingerprint(key.public_key_raw()));
        let mut params = params_for(&subject, now, valid_for, u64::MAX)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Self::with(certificate, key)
    }

    /// The authority that was made before. Of several certificates, as they
    /// stand in a file while one authority takes the place of another, the one
    /// that the key belongs to.
    ///
    /// # Errors
    /// [`CaError`]: one of the two cannot be read, or the key is another's.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, CaError> {
        const END: &str = "-----END CERTIFICATE-----";
        let key = KeyPair::from_pem(key)?;
        for certificate in certificates.split_inclusive(END).filter(|part| part.ends_with(END)) {
            let der = certificate_of(certificate)?;
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(unreadable)?;
            if *parsed.public_key().subject_public_key.data == *key.public_key_raw() {
                return Self::with(format!("{}\n", certificate.trim_start()), key);
            }
        }
        Err(unreadable("no certificate there belongs to the key"))
    }

    fn with(certificate: String, key: KeyPair) -> Result<Self, CaError> {
        let der = certificate_of(&certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(unreadable)?;
        let ends = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { issuer, certificate, ends })
    }

    /// Its certificate, which every hub and client needs as `ca`.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Its key, a secret: who has it can issue.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate with a new key. `hosts` are the names and
    /// addresses that the holder is dialled at, needed where hubs are dialled
    /// without saying which hub is expected. It ends with the authority's own
    /// at the latest.
    ///
    /// # Errors
    /// [`CaError`], which says which part is wrong.
    pub fn issue(
        &self,
        kind: PeerKind,
        name: &str,
        hosts: &[&str],
        now: UnixNanos,
        valid_for: Duration,
    ) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        let params = self.params(kind, name, hosts, now, valid_for)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// What stands in a holder's certificate.
    fn params(
        &self,
        kind: PeerKind,
        name: &str,
        hosts: &[&str],
        now: UnixNanos,
        valid_for: Duration,
    ) -> Result<CertificateParams, CaError> {
        let usages = match kind {
            PeerKind::Hub => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            PeerKind::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            PeerKind::Anonymous | PeerKind::Guest => return Err(CaError::Anonymous),
        };
        if !is_name(name) {
            return Err(CaError::Name { name: name.to_owned() });
        }
        if hosts.len() > MAX_HOSTS {
            return Err(CaError::TooManyHosts { given: hosts.len() });
        }
        let mut params = params_for(&format!("{kind} {name}"), now, valid_for, self.ends)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(SanType::URI(uri_of(kind, name).try_into()?));
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if DnsName::try_from(*host).is_ok() => SanType::DnsName((*host).try_into()?),
                Err(_) => return Err(CaError::Host { host: (*host).to_owned() }),
            });
        }
        Ok(params)
    }
}

impl Authority {
    /// A list of what was revoked (RFC 5280, section 5): what is on the `list`
    /// before it, if there is one, and these certificates, PEM all. Valid for
    /// as long as the authority itself; a newer one takes its place.
    ///
    /// # Errors
    /// [`CaError`]: a certificate is another authority's, or cannot be read.
    pub fn revoke(&self, list: Option<&str>, certificates: &[&str], now: UnixNanos) -> Result<String, CaError> {
        let seconds = now.0 / 1_000_000_000;
        let time = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        if seconds >= self.ends {
            return Err(CaError::Ended { seconds_ago: seconds - self.ends });
        }
        let mut number = 0;
        let mut revoked = BTreeMap::new();
        if let Some(list) = list {
            let der = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).map_err(unreadable)?;
            let (_, parsed) = x509_parser::parse_x509_crl(&der).map_err(unreadable)?;
            let digits = parsed.crl_number().map(ToString::to_string);
            number = digits.and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
            for entry in parsed.iter_revoked_certificates() {
                let since = u64::try_from(entry.revocation_date.timestamp()).unwrap_or(0);
                revoked.insert(entry.raw_serial().to_vec(), since);
            }
        }
        let root = certificate_of(&self.certificate)?;
        let (_, root) = x509_parser::parse_x509_certificate(&root).map_err(unreadable)?;
        for certificate in certificates {
            let der = certificate_of(certificate)?;
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(unreadable)?;
            if parsed.issuer().as_raw() != root.subject().as_raw() {
                return Err(CaError::NotOurs { subject: parsed.subject().to_string() });
            }
            revoked.entry(parsed.raw_serial().to_vec()).or_insert(seconds);
        }
        if revoked.len() > MAX_REVOKED {
            return Err(CaError::TooManyRevoked { given: revoked.len() });
        }
        let entry = |(serial, since): (Vec<u8>, u64)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: time(since),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: time(seconds.saturating_sub(EARLY.as_secs())),
            next_update: time(self.ends),
            crl_number: SerialNumber::from(number.saturating_add(1)),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

/// The first half of a key's SHA-256, in hexadecimal.
fn fingerprint(key: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The first certificate of a PEM file.
fn certificate_of(pem: &str) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> CaError {
    CaError::Unreadable { detail: error.to_string() }
}

/// What all certificates have: a subject, and their time.
fn params_for(subject: &str, now: UnixNanos, valid_for: Duration, end: u64) -> Result<CertificateParams, CaError> {
    if valid_for < Duration::from_secs(1) || valid_for > MAX_VALID_FOR {
        return Err(CaError::ValidFor { seconds: valid_for.as_secs() });
    }
    let now = now.0 / 1_000_000_000;
    if now >= end {
        return Err(CaError::Ended { seconds_ago: now - end });
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(EARLY.as_secs()));
    params.not_after = epoch + Duration::from_secs((now + valid_for.as_secs()).min(end));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    Ok(params)
}

/// Why the authority cannot do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A name that cannot stand in a certificate.
    #[error("`{}` cannot be a name: letters, digits, `.`, `-` and `_` can, 1 to 255 of them", name.escape_default())]
    Name {
        /// What was given.
        name: String,
    },
    /// Neither a host name nor an address.
    #[error("`{}` is neither a host name nor an IP address", host.escape_default())]
    Host {
        /// What was given.
        host: String,
    },
    /// More hosts than fit.
    #[error("{given} hosts are too many for one certificate: at most {MAX_HOSTS}")]
    TooManyHosts {
        /// How many were given.
        given: usize,
    },
    /// A time that cannot be.
    #[error("a certificate cannot be valid for {seconds} s: from 1 s to {} s can", MAX_VALID_FOR.as_secs())]
    ValidFor {
        /// What was given.
        seconds: u64,
    },
    /// The authority's own time is over.
    #[error("the authority's own certificate expired {seconds_ago} s ago: make a new authority")]
    Ended {
        /// For how long.
        seconds_ago: u64,
    },
    /// Certificates are for hubs and clients.
    #[error("a certificate is for a hub or a client: an anonymous peer has none")]
    Anonymous,
    /// A certificate that is to be revoked is another authority's.
    #[error("the certificate of `{subject}` was not issued by this authority: revoke it with its own")]
    NotOurs {
        /// Whose it is.
        subject: String,
    },
    /// A list of what was revoked got too long.
    #[error("{given} certificates are too many for one list, at most {MAX_REVOKED}: make a new authority")]
    TooManyRevoked {
        /// How many there would be.
        given: usize,
    },
    /// A certificate, a key or a list cannot be read.
    #[error("the PEM cannot be read: {detail}; check that the files are not exchanged")]
    Unreadable {
        /// What is wrong.
        detail: String,
    },
    /// What asks for a certificate is no request, or not one for a key of ours.
    #[error(
        "the request for a certificate cannot be used: {detail}; make a key on the curve P-256 and a PKCS #10 request with it"
    )]
    Request {
        /// What is wrong.
        detail: String,
    },
    /// The library that makes certificates failed.
    #[error("making the certificate failed: {detail}")]
    Library {
        /// Its words.
        detail: String,
    },
}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library { detail: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityError, TlsIdentity};

    const NOW: UnixNanos = UnixNanos(1_900_000_000_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_it_issues_names_the_holder_and_the_end() {
        let ca = Authority::create("test", NOW, DAY * 10).unwrap();
        let issued = ca.issue(PeerKind::Hub, "new-york", &["hub.example.org", "10.0.0.1", "::1"], NOW, DAY).unwrap();
        let identity = TlsIdentity::from_pem(
            issued.certificate.as_bytes(),
            issued.key.as_bytes(),
            ca.certificate_pem().as_bytes(),
        )
        .unwrap();
        let me = identity.me();
        assert_eq!((me.kind, me.name.as_str()), (PeerKind::Hub, "new-york"));
        assert_eq!(me.expires, Some(UnixNanos(NOW.0 + DAY.as_nanos() as u64)));
    }

    #[test]
    fn it_comes_back_from_its_files() {
        let made = Authority::create("test", NOW, DAY).unwrap();
        let read = Authority::from_pem(made.certificate_pem(), &made.key_pem()).unwrap();
        assert_eq!(read.certificate_pem(), made.certificate_pem());
        // A holder's certificate ends with the authority's.
        let issued = read.issue(PeerKind::Client, "a", &[], NOW, DAY * 5).unwrap();
        let pem = issued.certificate.as_bytes();
        let identity = TlsIdentity::from_pem(pem, issued.key.as_bytes(), made.certificate_pem().as_bytes()).unwrap();
        assert_eq!(identity.me().expires, Some(UnixNanos(NOW.0 + DAY.as_nanos() as u64)));
        let late = UnixNanos(NOW.0 + 2 * DAY.as_nanos() as u64);
        assert_eq!(read.issue(PeerKind::Client, "a", &[], late, DAY), Err(CaError::Ended { seconds_ago: 86_400 }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ca = Authority::create("test", NOW, DAY).unwrap();
        let issue = |kind, name, hosts: &[&str], valid| ca.issue(kind, name, hosts, NOW, valid).map(|_| ());
        let long = "x".repeat(256);
        for name in ["", "a/b", "a b", "ü", &long] {
            assert_eq!(issue(PeerKind::Hub, name, &[], DAY), Err(CaError::Name { name: name.to_owned() }));
        }
        assert_eq!(issue(PeerKind::Anonymous, "a", &[], DAY), Err(CaError::Anonymous));
        assert_eq!(issue(PeerKind::Hub, "a", &["a b"], DAY), Err(CaError::Host { host: "a b".to_owned() }));
        assert_eq!(issue(PeerKind::Hub, "a", &["x"; 65], DAY), Err(CaError::TooManyHosts { given: 65 }));
        assert_eq!(issue(PeerKind::Hub, "a", &[], Duration::ZERO), Err(CaError::ValidFor { seconds: 0 }));
        assert!(matches!(issue(PeerKind::Hub, "a", &[], Duration::MAX), Err(CaError::ValidFor { .. })));
        assert!(matches!(Authority::from_pem("x", "y"), Err(CaError::Library { .. })));
    }

    #[test]
    fn a_list_of_what_was_revoked_grows_and_is_the_authoritys_own() {
        let ca = Authority::create("test", NOW, DAY).unwrap();
        let other = Authority::create("other", NOW, DAY).unwrap();
        let issued = |ca: &Authority, name| ca.issue(PeerKind::Hub, name, &[], NOW, DAY).unwrap();
        let (one, two) = (issued(&ca, "a"), issued(&ca, "b"));
        let first = ca.revoke(None, &[&one.certificate], NOW).unwrap();
        let second = ca.revoke(Some(&first), &[&two.certificate, &one.certificate], NOW).unwrap();
        let load = |list: &str, by: &Issued, root: &str| {
            let (cert, key) = (by.certificate.as_bytes(), by.key.as_bytes());
            TlsIdentity::from_pem_revoking(cert, key, root.as_bytes(), Some(list.as_bytes()))
        };
        for (list, len) in [(&first, 1), (&second, 2)] {
            let der = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
            let (_, parsed) = x509_parser::parse_x509_crl(&der).unwrap();
            assert_eq!(parsed.iter_revoked_certificates().count(), len);
            assert_eq!(parsed.crl_number().map(ToString::to_string), Some(len.to_string()));
            assert!(load(list, &one, ca.certificate_pem()).is_ok());
        }
        let foreign = issued(&other, "c").certificate;
        assert!(matches!(ca.revoke(None, &[&foreign], NOW), Err(CaError::NotOurs { .. })));
        assert!(matches!(ca.revoke(Some("x"), &[], NOW), Err(CaError::Unreadable { .. })));
        let late = UnixNanos(NOW.0 + DAY.as_nanos() as u64);
        assert!(matches!(ca.revoke(None, &[], late), Err(CaError::Ended { .. })));
        let theirs = other.revoke(None, &[], NOW).unwrap();
        assert!(load(&theirs, &one, ca.certificate_pem()).is_err(), "another authority's");
        let cut = first.replacen("MII", "AAA", 1);
        let part = "revocation list";
        assert!(
            matches!(load(&cut, &one, ca.certificate_pem()), Err(IdentityError::Unusable { part: p, .. }) if p == part)
        );
    }

    #[test]
    fn a_list_of_the_authority_before_does_not_stand_for_the_one_after_it() {
        let [old, new] = [(); 2].map(|()| Authority::create("weft", NOW, DAY).unwrap());
        let gone = old.issue(PeerKind::Hub, "gone", &[], NOW, DAY).unwrap();
        let list = old.revoke(None, &[&gone.certificate], NOW).unwrap();
        let mine = new.issue(PeerKind::Hub, "a", &[], NOW, DAY).unwrap();
        let roots = format!("{}{}", old.certificate_pem(), new.certificate_pem());
        let (cert, key) = (mine.certificate.as_bytes(), mine.key.as_bytes());
        let identity =
            TlsIdentity::from_pem_revoking(cert, key, roots.as_bytes(), Some(list.as_bytes())).unwrap().credentials();
        let check = |issued: &Issued| {
            let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
            let verifier = crate::tls::DialledPeer::new(&identity, None, &crate::tls::provider()).unwrap();
            let host = rustls::pki_types::ServerName::try_from("b").unwrap();
            verifier.check(&certificate, &[], &host, crate::tls::unix_time(NOW)).map(|peer| peer.name)
        };
        let peer = new.issue(PeerKind::Hub, "b", &["b"], NOW, DAY).unwrap();
        assert_eq!(check(&peer).unwrap(), "b");
        assert!(check(&gone).is_err());
    }

    #[test]
    fn an_identity_is_replaced_by_its_own_name_alone() {
        let ca = Authority::create("test", NOW, DAY * 10).unwrap();
        let load = |kind, name, days: u32| {
            let issued = ca.issue(kind, name, &[], NOW, DAY * days).unwrap();
            let root = ca.certificate_pem().as_bytes();
            TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), root).unwrap()
        };
        let (a, longer) = (load(PeerKind::Hub, "a", 1), load(PeerKind::Hub, "a", 2));
        for other in [load(PeerKind::Hub, "b", 1), load(PeerKind::Client, "a", 1)] {
            let before = (a.me(), a.generation());
            assert!(matches!(a.replace(&other), Err(IdentityError::OtherPeer { .. })));
            assert_eq!((a.me(), a.generation()), before);
        }
        a.replace(&longer).unwrap();
        assert_eq!((a.me(), a.generation()), (longer.me(), 1));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_named() {
        let ca = Authority::create("test", NOW, DAY).unwrap();
        let one = ca.issue(PeerKind::Hub, "a", &[], NOW, DAY).unwrap();
        let two = ca.issue(PeerKind::Hub, "b", &[], NOW, DAY).unwrap();
        let root = ca.certificate_pem();
        let load = |cert: &str, key: &str, ca: &str| {
            TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes(), ca.as_bytes()).map(|_| ()).unwrap_err()
        };
        assert_eq!(load(&one.certificate, &two.key, root), IdentityError::KeyMismatch);
        assert_eq!(load(&one.key, &one.certificate, root), IdentityError::NoCertificate { part: "certificate" });
        assert!(matches!(load(&one.certificate, "", root), IdentityError::Key { .. }));
        assert_eq!(load(&one.certificate, &one.key, ""), IdentityError::NoCertificate { part: "authority" });
        // The authority's own certificate names no hub and no client.
        assert!(matches!(load(root, &ca.key_pem(), root), IdentityError::Name(_)));
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }
}
