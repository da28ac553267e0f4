//! Who a peer is: names and dates out of certificates, and this side's own
//! certificate, key and authority.

use std::fmt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use weft_base::UnixNanos;
use weft_base::sync::Arc;
use x509_parser::extensions::GeneralName;

/// The longest name of a hub or client in a certificate, in bytes.
pub const MAX_NAME: usize = 255;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// A hub, by its certificate.
    Hub,
    /// A client, by its certificate.
    Client,
    /// Nobody knows: there was no TLS.
    Anonymous,
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::Client => "client",
            Self::Anonymous => "anonymous peer",
        })
    }
}

/// Who is at the far side of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// Its name; empty when it is anonymous.
    pub name: String,
    /// When its certificate ends. The network closes the link then.
    pub expires: Option<UnixNanos>,
}

impl Peer {
    /// A peer that proved nothing.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: PeerKind::Anonymous, name: String::new(), expires: None }
    }
}

/// Whether `name` can stand in a certificate: letters, digits, `.`, `-`, `_`,
/// 1 to [`MAX_NAME`] of them (the alphabet of a SPIFFE path, and of file names).
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// The URI that names a hub or a client in a certificate.
#[must_use]
pub fn uri_of(kind: PeerKind, name: &str) -> String {
    format!("spiffe://weft/{kind}/{name}")
}

/// Reads kind, name and end out of a certificate. Checks nothing else: the
/// chain and the dates are the verifier's.
///
/// # Errors
/// [`NameError`], when it is not a certificate, or has no weft name, or two.
pub fn peer_of(certificate: &CertificateDer<'_>) -> Result<Peer, NameError> {
    let bad = |detail: String| NameError::Unreadable { detail };
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|e| bad(e.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|e| bad(e.to_string()))?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://"),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(NameError::NoIdentity) };
    let (kind, name) = uri.strip_prefix("weft/").and_then(|rest| rest.split_once('/')).ok_or(NameError::NoIdentity)?;
    let kind = match kind {
        "hub" => PeerKind::Hub,
        "client" => PeerKind::Client,
        _ => return Err(NameError::NoIdentity),
    };
    if !is_name(name) {
        return Err(NameError::NoIdentity);
    }
    // A date before 1970 has long passed; zero would mean "none".
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let expires = UnixNanos(seconds.saturating_mul(1_000_000_000).max(1));
    Ok(Peer { kind, name: name.to_owned(), expires: Some(expires) })
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It cannot be parsed.
    #[error("not an X.509 certificate: {detail}")]
    Unreadable {
        /// The parser's words.
        detail: String,
    },
    /// It has no weft name, or more than one SPIFFE name.
    #[error("it needs exactly one SPIFFE URI, `spiffe://weft/hub/NAME` or `spiffe://weft/client/NAME`")]
    NoIdentity,
}

/// This side's certificate, its key, and the authority that peers are checked
/// against.
pub struct TlsIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) roots: Arc<RootCertStore>,
    me: Peer,
}

impl TlsIdentity {
    /// Reads the three files, PEM each: the certificate (with intermediate
    /// ones after it, if there are any), its key, and the authority's
    /// certificates.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the remedy.
    pub fn from_pem_files(cert: &Path, key: &Path, ca: &Path) -> Result<Self, IdentityError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|e| IdentityError::Read { path: path.display().to_string(), detail: e.to_string() })
        };
        Self::from_pem(&read(cert)?, &read(key)?, &read(ca)?)
    }

    /// The same, from the files' content.
    ///
    /// # Errors
    /// [`IdentityError`], which says which part is wrong and the remedy.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        let certificates = |part: &'static str, pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, IdentityError> {
            let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match list {
                Ok(list) if list.is_empty() => Err(IdentityError::NoCertificate { part }),
                Ok(list) => Ok(list),
                Err(e) => Err(IdentityError::NotPem { part, detail: e.to_string() }),
            }
        };
        let chain = certificates("certificate", cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| IdentityError::Key { detail: e.to_string() })?;
        let mut roots = RootCertStore::empty();
        for root in certificates("authority", ca)? {
            roots.add(root).map_err(|e| IdentityError::Unusable { part: "authority", detail: e.to_string() })?;
        }
        let me = match chain.first() {
            Some(first) => peer_of(first)?,
            None => return Err(IdentityError::NoCertificate { part: "certificate" }),
        };
        crate::tls::check_key(&chain, &key)?;
        Ok(Self { chain, key, roots: Arc::new(roots), me })
    }

    /// Who this certificate says that this side is, and until when.
    #[must_use]
    pub fn me(&self) -> &Peer {
        &self.me
    }
}

impl fmt::Debug for TlsIdentity {
    // The key stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Why certificate, key and authority cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {detail}")]
    Read {
        /// The file.
        path: String,
        /// The system's words.
        detail: String,
    },
    /// A file is not PEM.
    #[error("the {part} is not PEM: {detail}")]
    NotPem {
        /// Which of the three.
        part: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// A file has no certificate in it.
    #[error("the {part} file has no `BEGIN CERTIFICATE` in it: check that the files are not exchanged")]
    NoCertificate {
        /// Which of the three.
        part: &'static str,
    },
    /// The key cannot be used.
    #[error("the key cannot be used: {detail}; a PEM file with one `BEGIN PRIVATE KEY` is needed")]
    Key {
        /// What is wrong.
        detail: String,
    },
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate: check that the files are of one issue")]
    KeyMismatch,
    /// A certificate cannot be used.
    #[error("the {part} cannot be used: {detail}")]
    Unusable {
        /// Which of the three.
        part: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The certificate names nobody.
    #[error("the certificate names nobody: {0}; issue one with `weft ca issue`")]
    Name(#[from] NameError),
}
