//! Why QUIC ended a link, in words of ours.

use quinn_proto::{ConnectionError, TransportErrorCode, VarInt};
use rustls::AlertDescription;

use crate::reason::CloseReason;
use crate::tls::of_alert;

/// The far side has read all, or lets go of what it was sent.
pub(super) const DONE: VarInt = VarInt::from_u32(0);
/// What was taken could not be delivered within the bound of time.
pub(super) const GAVE_UP: VarInt = VarInt::from_u32(1);
/// The process ends without closing its links.
pub(super) const GONE: VarInt = VarInt::from_u32(2);
/// The peer broke the rules of a link.
pub(super) const BROKEN: VarInt = VarInt::from_u32(3);

const REFUSED: u64 = 0x2;
const BY_APPLICATION: u64 = 0xc;
const CRYPTO: u64 = 0x100;

/// The alert in a code of QUIC, if it is one.
fn alert_of(code: TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code).checked_sub(CRYPTO)?;
    u8::try_from(code).ok().map(AlertDescription::from)
}

/// What an error means on a link to `address`. `blamed` is what a verifier of
/// this side said, `whole` that all streams of the peer had come to their end.
pub(super) fn reason_of(
    error: &ConnectionError,
    blamed: Option<CloseReason>,
    address: &str,
    whole: bool,
) -> CloseReason {
    match error {
        ConnectionError::TransportError(error) => match (alert_of(error.code), blamed) {
            (Some(_), Some(reason)) => reason,
            (Some(AlertDescription::CertificateRequired), None) => CloseReason::NoCertificate,
            (Some(AlertDescription::NoApplicationProtocol), None) => {
                CloseReason::NoCommonTls { detail: "the peer speaks another protocol over QUIC".to_owned() }
            }
            (Some(_), None) => CloseReason::Tls { detail: error.reason.clone() },
            (None, _) => CloseReason::BrokenQuic { detail: error.to_string() },
        },
        ConnectionError::ConnectionClosed(close) => match (alert_of(close.error_code), u64::from(close.error_code)) {
            (Some(alert), _) => of_alert(alert),
            (None, REFUSED) => CloseReason::RefusedByPeer {
                detail: "it takes no further links now: its limit of connections is reached".to_owned(),
            },
            (None, BY_APPLICATION) => CloseReason::ConnectRefused { address: address.to_owned() },
            (None, _) => CloseReason::RefusedByPeer { detail: format!("it ended the connection with {close}") },
        },
        ConnectionError::ApplicationClosed(close) if close.error_code == DONE && whole => CloseReason::PeerClosed,
        ConnectionError::ApplicationClosed(close) if close.error_code == BROKEN => CloseReason::RefusedByPeer {
            detail: format!("by its account this side broke the rules of a link: {close}"),
        },
        ConnectionError::ApplicationClosed(_) => CloseReason::Truncated,
        ConnectionError::Reset => CloseReason::Reset,
        ConnectionError::TimedOut => CloseReason::TimedOut,
        ConnectionError::VersionMismatch => {
            CloseReason::NoCommonTls { detail: "the peer speaks no version of QUIC that this side does".to_owned() }
        }
        ConnectionError::LocallyClosed => CloseReason::NoSuchLink,
        ConnectionError::CidsExhausted => CloseReason::Io { detail: error.to_string() },
    }
}
