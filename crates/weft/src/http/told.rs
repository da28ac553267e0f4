//! What the log says of requests that were refused or failed: which, whose, why as far
//! as the status says it, and how long it took. Of others it says nothing; those are
//! counted ([`super::tally`]).
//!
//! `correlationId` is the request's own id, which stands in its answer too. Must never
//! say what was shown to log in, nor what stands behind the `?`.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode};
use weft_govern::access::Principal;

/// The most that is told of a path, in bytes.
const LONGEST: usize = 256;
/// Paths at which a refusal is an answer as good as any.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// A request that was answered.
pub(super) struct Told<'a> {
    pub(super) status: StatusCode,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) from: IpAddr,
    /// Whose it was, if that became known.
    pub(super) asker: Option<&'a Principal>,
}

impl Told<'_> {
    /// Says what there is to say of it, and how long it `took`, which is asked for only then.
    pub(super) fn say(&self, id: &HeaderValue, took: impl FnOnce() -> Duration) {
        let is_refused =
            matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
        if PROBES.contains(&self.path) || !(is_refused || self.status.is_server_error()) {
            return;
        }
        let correlation_id = id.to_str().unwrap_or_default();
        let tenant_id = self.asker.and_then(|asker| asker.tenant.as_deref());
        let principal = self.asker.map(ToString::to_string);
        let (principal, status, from) = (principal.as_deref(), self.status.as_u16(), self.from);
        let (method, path) = (self.method.as_str(), beginning(self.path));
        let latency_ms = u64::try_from(took().as_millis()).unwrap_or(u64::MAX);
        if is_refused {
            tracing::info!(
                code = "request_refused",
                correlation_id,
                tenant_id,
                principal,
                method,
                path,
                status,
                %from,
                latency_ms,
                "a request by HTTP was refused"
            );
        } else {
            tracing::warn!(
                code = "request_failed",
                correlation_id,
                tenant_id,
                principal,
                method,
                path,
                status,
                %from,
                latency_ms,
                "a request by HTTP failed, or was put off"
            );
        }
    }
}

/// The beginning of a path, whole characters of it.
fn beginning(path: &str) -> &str {
    path.get(..path.floor_char_boundary(LONGEST)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_the_beginning_is_told() {
        assert_eq!(beginning("/v1/topics/a"), "/v1/topics/a");
        let long = format!("/{}", "é".repeat(LONGEST));
        let told = beginning(&long);
        assert!(told.len() <= LONGEST && told.len() > LONGEST - 4 && long.starts_with(told));
    }
}
