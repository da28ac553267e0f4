//! Why a verifier refused a peer, for those who see no more of rustls than an
//! alert's number: QUIC's state machine keeps of an error only that.

use rustls::Error;
use weft_base::sync::{Arc, Mutex};

use super::reason_of;
use crate::reason::CloseReason;

/// Where verifiers leave the reason of a refusal. One that was made by
/// `default` keeps nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blame(Option<Arc<Mutex<Option<CloseReason>>>>);

impl Blame {
    /// One that keeps the last reason.
    pub(crate) fn kept() -> Self {
        Self(Some(Arc::new(Mutex::new(None))))
    }

    /// Keeps why `checked` failed, if it did.
    pub(crate) fn keep<T>(&self, checked: Result<T, Error>) -> Result<T, Error> {
        if let (Err(error), Some(place)) = (&checked, &self.0)
            && let Ok(mut reason) = place.lock()
        {
            *reason = Some(reason_of(error, false));
        }
        checked
    }

    /// The last reason since the last call. Handshakes go on one at a time, so
    /// whoever asks after each step knows whose it is.
    pub(crate) fn take(&self) -> Option<CloseReason> {
        self.0.as_ref()?.lock().ok()?.take()
    }
}
