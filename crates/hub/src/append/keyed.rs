//! The hub's keyed state in `DATA/keyed`: opened, and begun anew when it is
//! damaged, because nothing of it is the only copy of anything.

use std::path::Path;
use std::sync::Arc;

use weft_base::Epoch;
use weft_keyed::{Keyed, KeyedError, LsmKeyed, LsmOptions};

use super::FolderError;

/// Opens the keyed state of the data folder, or begins it anew; answers
/// whether it had to.
pub(crate) fn open(root: &Path, epoch: Epoch) -> Result<(Arc<dyn Keyed>, bool), FolderError> {
    let path = root.join("keyed");
    match LsmKeyed::open(&path, LsmOptions::default()) {
        Ok(keyed) => Ok((Arc::new(keyed), false)),
        Err(error @ (KeyedError::InUse { .. } | KeyedError::Io(_))) => Err(FolderError::Keyed { path, source: error }),
        Err(error) => anew(root, epoch, &error).map(|keyed| (keyed, true)),
    }
}

/// Begins anew. What was there, and cannot be read, is set aside under a name
/// that says so, for whoever wants to look at it; nobody has it open.
pub(crate) fn anew(root: &Path, epoch: Epoch, error: &dyn std::error::Error) -> Result<Arc<dyn Keyed>, FolderError> {
    let path = root.join("keyed");
    let aside = root.join(format!("keyed.damaged-{}", epoch.0));
    tracing::error!(code = "keyed_damaged", error = %error, aside = %aside.display(), "begun anew; set aside");
    let io = |source| FolderError::Io { path: aside.clone(), source };
    std::fs::rename(&path, &aside).map_err(io)?;
    let opened = LsmKeyed::open(&path, LsmOptions::default());
    opened.map(|keyed| Arc::new(keyed) as _).map_err(|source| FolderError::Keyed { path, source })
}
