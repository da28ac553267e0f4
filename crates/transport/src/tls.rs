//! TLS 1.3 with both sides' certificates checked, by rustls.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use weft_base::sync::Arc;

use crate::identity::IdentityError;

/// The one cryptography used, named so that no other can slip in by a feature.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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
