//! Who a peer is: names and dates out of certificates, and this side's own
//! certificate, key and authority, which may be replaced while they are in use.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use weft_base::UnixNanos;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_base::sync::{Arc, Mutex, MutexGuard};
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use crate::tls::Chains;

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
    /// Nobody knows: it showed no certificate, over TLS that was protected by this
    /// side's alone.
    Guest,
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::Client => "client",
            Self::Anonymous => "anonymous peer",
            Self::Guest => "peer without a certificate",
        })
    }
}

/// Who is at the far side of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// Its name; empty when it has shown no certificate.
    pub name: String,
    /// The common name of its certificate's subject, if it has one.
    pub subject: Option<String>,
    /// When its certificate ends. The network closes the link then.
    pub expires: Option<UnixNanos>,
}

impl Peer {
    /// A peer that proved nothing.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: PeerKind::Anonymous, name: String::new(), subject: None, expires: None }
    }

    /// One that showed no certificate, over TLS.
    #[must_use]
    pub fn guest() -> Self {
        Self { kind: PeerKind::Guest, ..Self::anonymous() }
    }
}

/// The longest SPIFFE ID (SPIFFE-ID, section 2.3), or subject, that is looked at.
const MAX_STRANGER: usize = 2_048;

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
    let subject = subject_of(&parsed);
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
    Ok(Peer { kind, name: name.to_owned(), subject, expires: Some(end_of(&parsed)) })
}

/// A client whose certificate has no name of weft's: it is called by its SPIFFE ID,
/// which is the one URI that there may be (X.509-SVID, section 2), or else `CN=` and
/// its subject's common name. Neither is a [name](is_name).
///
/// # Errors
/// [`NameError`], when it is not a certificate, an authority's, has several URIs, one
/// of weft's that is wrong, or nothing that names anybody.
pub fn stranger_of(certificate: &CertificateDer<'_>) -> Result<Peer, NameError> {
    let bad = |detail: String| NameError::Unreadable { detail };
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|e| bad(e.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|e| bad(e.to_string()))?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let subject = subject_of(&parsed);
    if parsed.is_ca() {
        return Err(NameError::NoIdentity);
    }
    let name = match (uris.next(), uris.next()) {
        (Some(uri), None) if uri.starts_with("spiffe://") && !uri.starts_with("spiffe://weft/") => uri.to_owned(),
        (None, None) => format!("CN={}", subject.as_deref().ok_or(NameError::NoIdentity)?),
        _ => return Err(NameError::NoIdentity),
    };
    if name.len() > MAX_STRANGER {
        return Err(NameError::NoIdentity);
    }
    Ok(Peer { kind: PeerKind::Client, name, subject, expires: Some(end_of(&parsed)) })
}

/// The common name of a certificate's subject, where there is exactly one.
fn subject_of(parsed: &x509_parser::certificate::X509Certificate<'_>) -> Option<String> {
    let mut names = parsed.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let name = name.as_str().ok()?;
    (!name.is_empty() && name.len() <= MAX_STRANGER && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

fn end_of(parsed: &x509_parser::certificate::X509Certificate<'_>) -> UnixNanos {
    // A date before 1970 has long passed; zero would mean "none".
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    UnixNanos(seconds.saturating_mul(1_000_000_000).max(1))
}

/// The host names and addresses in a certificate; none when it cannot be read.
pub(crate) fn hosts_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

/// Whether a list of what was revoked says that it is this authority's.
fn is_list_of(list: &CertificateRevocationListDer<'_>, authority: &CertificateDer<'_>) -> bool {
    let list = x509_parser::parse_x509_crl(list);
    let authority = x509_parser::parse_x509_certificate(authority);
    matches!((list, authority), (Ok((_, l)), Ok((_, a))) if l.issuer().as_raw() == a.subject().as_raw())
}

fn beginning_of(certificate: &CertificateDer<'static>) -> Option<UnixNanos> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_before.timestamp()).ok()?;
    Some(UnixNanos(seconds.saturating_mul(1_000_000_000)))
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

/// The files of an identity, PEM each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, with intermediate ones after it, if there are any.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority's certificates.
    pub ca: PathBuf,
    /// What the authority has revoked (RFC 5280, section 5), if there is such a list.
    pub crl: Option<PathBuf>,
}

impl IdentityFiles {
    /// Reads the files, and nothing of them is kept but what they say.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the remedy.
    pub fn load(&self) -> Result<TlsIdentity, IdentityError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|e| IdentityError::Read { path: path.display().to_string(), detail: e.to_string() })
        };
        let (cert, key, ca) = (read(&self.cert)?, Zeroizing::new(read(&self.key)?), read(&self.ca)?);
        let revoked = self.crl.as_deref().map(read).transpose()?;
        let identity = TlsIdentity::from_pem_revoking(&cert, &key, &ca, revoked.as_deref())?;
        Ok(TlsIdentity { files: Some(Files::Own(self.clone())), ..identity })
    }
}

/// Where an identity came from.
enum Files {
    Own(IdentityFiles),
    /// The authority's certificates alone.
    Authority(PathBuf),
}

impl Files {
    fn load(&self) -> Result<TlsIdentity, IdentityError> {
        match self {
            Self::Own(files) => files.load(),
            Self::Authority(path) => TlsIdentity::authority_of_file(path),
        }
    }
}

/// What stands in the files of an identity at one time.
pub(crate) struct Credentials {
    /// Empty, and no key, for who shows no certificate.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Option<PrivateKeyDer<'static>>,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) revoked: Vec<CertificateRevocationListDer<'static>>,
    me: Peer,
    begins: UnixNanos,
    pub(crate) chains: Chains,
}

/// This side's certificate, its key, and the authority that peers are checked
/// against. All of it may be [replaced](TlsIdentity::replace) at any time:
/// handshakes that begin then use the new, and links whose peer the new would
/// not let in are closed.
pub struct TlsIdentity {
    current: Mutex<Arc<Credentials>>,
    /// How often it was replaced.
    generation: AtomicU64,
    /// Where it came from.
    files: Option<Files>,
}

impl TlsIdentity {
    /// Reads the three files; see [`IdentityFiles`], which also takes a list of
    /// what was revoked.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the remedy.
    pub fn from_pem_files(cert: &Path, key: &Path, ca: &Path) -> Result<Self, IdentityError> {
        IdentityFiles { cert: cert.to_owned(), key: key.to_owned(), ca: ca.to_owned(), crl: None }.load()
    }

    /// The same, from the files' content.
    ///
    /// # Errors
    /// [`IdentityError`], which says which part is wrong and the remedy.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        Self::from_pem_revoking(cert, key, ca, None)
    }

    /// The same, with the authority's list of what it has revoked. One whose
    /// time is over still counts: it is better than none.
    ///
    /// # Errors
    /// [`IdentityError`], which says which part is wrong and the remedy.
    pub fn from_pem_revoking(
        cert: &[u8],
        key: &[u8],
        ca: &[u8],
        revoked: Option<&[u8]>,
    ) -> Result<Self, IdentityError> {
        let chain = certificates("certificate", cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| IdentityError::Key { detail: e.to_string() })?;
        let authorities = certificates("authority", ca)?;
        let roots = roots_of(&authorities)?;
        let me = match chain.first() {
            // A client may be named by its authority in another way.
            Some(first) => peer_of(first).or_else(|e| stranger_of(first).map_err(|_| e))?,
            None => return Err(IdentityError::NoCertificate { part: "certificate" }),
        };
        let part = "revocation list";
        let revoked = match revoked.map(|pem| CertificateRevocationListDer::pem_slice_iter(pem).collect()) {
            None => Vec::new(),
            Some(Ok(list)) => list,
            Some(Err::<Vec<_>, _>(e)) => return Err(IdentityError::NotPem { part, detail: e.to_string() }),
        };
        if !revoked.iter().all(|list| authorities.iter().any(|authority| is_list_of(list, authority))) {
            let detail = "it is of an authority that is not in the authority's file".to_owned();
            return Err(IdentityError::Unusable { part, detail });
        }
        crate::tls::check_key(&chain, &key)?;
        let begins = chain.first().and_then(beginning_of).unwrap_or(UnixNanos(0));
        let credentials = Credentials { chain, key: Some(key), roots, revoked, me, begins, chains: Chains::default() };
        crate::tls::check_revoked(&credentials)?;
        Ok(Self::of(credentials))
    }

    /// For a client that shows no certificate of its own and logs in otherwise: only
    /// who it dials is checked, against this authority, PEM.
    ///
    /// # Errors
    /// [`IdentityError`], which says what is wrong and the remedy.
    pub fn authority(ca: &[u8]) -> Result<Self, IdentityError> {
        let roots = roots_of(&certificates("authority", ca)?)?;
        let (me, begins) = (Peer::guest(), UnixNanos(0));
        let (chain, revoked, chains) = (Vec::new(), Vec::new(), Chains::default());
        Ok(Self::of(Credentials { chain, key: None, roots, revoked, me, begins, chains }))
    }

    /// The same, from the authority's file.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file and the remedy.
    pub fn authority_of_file(ca: &Path) -> Result<Self, IdentityError> {
        let read = std::fs::read(ca);
        let pem = read.map_err(|e| IdentityError::Read { path: ca.display().to_string(), detail: e.to_string() })?;
        Ok(Self { files: Some(Files::Authority(ca.to_owned())), ..Self::authority(&pem)? })
    }

    fn of(credentials: Credentials) -> Self {
        Self { current: Mutex::new(Arc::new(credentials)), generation: AtomicU64::new(0), files: None }
    }

    /// Who this certificate says that this side is, and until when.
    #[must_use]
    pub fn me(&self) -> Peer {
        self.credentials().me.clone()
    }

    /// From when this certificate is valid.
    #[must_use]
    pub fn begins(&self) -> UnixNanos {
        self.credentials().begins
    }

    /// Reads the files that it came from again, and puts what stands there now
    /// in its place; answers whether that is something new. Does nothing for
    /// one that came from no files.
    ///
    /// # Errors
    /// [`IdentityError`]: what stands there cannot be used. Nothing changes then.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let Some(files) = &self.files else { return Ok(false) };
        let new = files.load()?;
        if new.credentials() == self.credentials() {
            return Ok(false);
        }
        self.replace(&new).map(|()| true)
    }

    /// Puts another identity of the same name in the place of this one, for all
    /// who hold it.
    ///
    /// # Errors
    /// [`IdentityError::OtherPeer`]: the other is somebody else's. Nothing changes then.
    pub fn replace(&self, by: &Self) -> Result<(), IdentityError> {
        let new = by.credentials();
        let mut current = self.lock();
        let is_same = |a: &Peer, b: &Peer| a.kind == b.kind && a.name == b.name;
        if !is_same(&current.me, &new.me) {
            let name = |peer: &Peer| format!("{} `{}`", peer.kind, peer.name);
            return Err(IdentityError::OtherPeer { found: name(&new.me), expected: name(&current.me) });
        }
        *current = new;
        drop(current);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What it is now, for who is not to learn of replacements.
    #[cfg(test)]
    pub(crate) fn as_it_is(&self) -> Self {
        Self { current: Mutex::new(self.credentials()), generation: AtomicU64::new(0), files: None }
    }

    /// Counts how often it was replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What counts now.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Credentials>> {
        // Nothing can go wrong while it is held.
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn certificates(part: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match list {
        Ok(list) if list.is_empty() => Err(IdentityError::NoCertificate { part }),
        Ok(list) => Ok(list),
        Err(e) => Err(IdentityError::NotPem { part, detail: e.to_string() }),
    }
}

fn roots_of(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    for root in authorities.iter().cloned() {
        roots.add(root).map_err(|e| IdentityError::Unusable { part: "authority", detail: e.to_string() })?;
    }
    Ok(Arc::new(roots))
}

impl PartialEq for Credentials {
    // The name and the time stand in the certificate.
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
            && self.key == other.key
            && self.roots.roots == other.roots.roots
            && self.revoked == other.revoked
    }
}

// Keys stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("me", &self.me).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("me", &self.me()).finish_non_exhaustive()
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
        /// Which of them.
        part: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// A file has no certificate in it.
    #[error("the {part} file has no `BEGIN CERTIFICATE` in it: check that the files are not exchanged")]
    NoCertificate {
        /// Which of them.
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
        /// Which of them.
        part: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The certificate names nobody.
    #[error("the certificate names nobody: {0}; issue one with `weft ca issue`")]
    Name(#[from] NameError),
    /// An identity cannot become somebody else's while it is in use.
    #[error("the new certificate is for {found}, the one in use for {expected}: a new name needs a restart")]
    OtherPeer {
        /// Who the new one names.
        found: String,
        /// Who it has to name.
        expected: String,
    },
}
