//! What is configured of issuing, `[issue]`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_transport::Authority;
use zeroize::Zeroizing;

/// Issuing, as configured.
#[derive(Clone, Debug)]
pub(crate) struct IssueOptions {
    /// Where those who join connect, `HOST:PORT`.
    pub(crate) listen: String,
    /// The authority, with its key.
    pub(crate) authority: Arc<Authority>,
    /// The file with the mesh's authorities, which those who join get.
    pub(crate) ca: PathBuf,
    /// How long a certificate is valid.
    pub(crate) valid_for: Duration,
    /// Conversations at a time.
    pub(crate) connections: usize,
    /// Tries a minute from one address.
    pub(crate) attempts: u32,
}

/// The authority of these files: the certificates of `ca`, one of which is of
/// the key, which nobody but its owner may read.
pub(crate) fn authority_of(ca: &Path, key: &Path) -> Result<Authority, String> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |path: &Path, e: std::io::Error| format!("`{}` cannot be read: {e}", path.display());
    let mode = fs::metadata(key).map_err(|e| failed(key, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = key.display();
        return Err(format!("`{path}` is the authority's key and others can read it: `chmod 600 {path}`"));
    }
    let key_pem = Zeroizing::new(fs::read_to_string(key).map_err(|e| failed(key, e))?);
    let certificates = fs::read_to_string(ca).map_err(|e| failed(ca, e))?;
    Authority::from_pem(&certificates, &key_pem)
        .map_err(|e| format!("`{}` with the certificates of `{}`: {e}", key.display(), ca.display()))
}
