//! What rustls reports, in words of ours.

use rustls::{AlertDescription, CertificateError, Error};

use crate::reason::CloseReason;

/// The reason behind an error. `first` says that nothing of the peer's was
/// understood yet, and then bytes that make no sense are not TLS at all.
pub(crate) fn reason_of(error: &Error, first: bool) -> CloseReason {
    match error {
        Error::InvalidMessage(_) if first => CloseReason::NotTls,
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => CloseReason::NoCertificate,
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(what) => CloseReason::NoCommonTls { detail: format!("{what:?}") },
        other => CloseReason::Tls { detail: other.to_string() },
    }
}

/// What the far side makes of the alert that such an error sends it.
pub(crate) fn seen_by_peer(error: &Error) -> CloseReason {
    of_alert(match error {
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        _ => AlertDescription::HandshakeFailure,
    })
}

fn of_certificate(error: &CertificateError) -> CloseReason {
    match error {
        CertificateError::Other(other) => match other.0.downcast_ref::<CloseReason>() {
            Some(reason) => reason.clone(),
            None => CloseReason::BadCertificate { detail: other.to_string() },
        },
        // An authority of the same name but with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CloseReason::UnknownIssuer,
        CertificateError::Revoked => CloseReason::CertificateRevoked,
        CertificateError::ExpiredContext { time, not_after } => {
            CloseReason::CertificateExpired { seconds_ago: time.as_secs().saturating_sub(not_after.as_secs()) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            CloseReason::CertificateNotYetValid { seconds: not_before.as_secs().saturating_sub(time.as_secs()) }
        }
        other => CloseReason::BadCertificate { detail: other.to_string() },
    }
}

/// What the far side's alert means.
pub(crate) fn of_alert(alert: AlertDescription) -> CloseReason {
    let detail = match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "this side's certificate was not issued by its certificate authority; \
             both ends need certificates of one authority"
        }
        AlertDescription::CertificateExpired => {
            "by its clock, this side's certificate has expired or is not valid yet; \
             issue a new one, or correct the clocks"
        }
        AlertDescription::CertificateRevoked => {
            "this side's certificate is on its list of those that were revoked; issue a new one, if it may have one"
        }
        AlertDescription::CertificateUnknown => {
            "this side's certificate is genuine, but its name or kind (hub or client) is not the one expected there; \
             check which port this is and which certificate is configured"
        }
        AlertDescription::CertificateRequired => "it needs a certificate from this side; configure one",
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "it has no TLS version or cipher in common with this side; TLS 1.3 is needed"
        }
        other => return CloseReason::RefusedByPeer { detail: format!("its TLS alert is {other:?}") },
    };
    CloseReason::RefusedByPeer { detail: detail.to_owned() }
}
