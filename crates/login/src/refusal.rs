//! What is said of a refusal: to the client as little as it needs to put it right
//! without learning what exists, to the hub's log what is wrong.

use std::time::Duration;

use weft_govern::login::{Reason, Refusal};

/// What was shown proves nothing.
pub(crate) fn bad(log: impl Into<String>) -> Refusal {
    let detail = "what was shown to log in is not good here: check token, name and password, or certificate; \
                  the hub's log has the reason";
    Refusal { reason: Reason::Bad, detail: detail.to_owned(), log: log.into() }
}

/// Too many tries.
pub(crate) fn limited(after: Duration, log: impl Into<String>) -> Refusal {
    let detail = format!("too many logins have failed: try again in {} s", after.as_secs() + 1);
    Refusal { reason: Reason::Limited(after), detail, log: log.into() }
}

/// It was good once.
pub(crate) fn expired(detail: &str, log: impl Into<String>) -> Refusal {
    Refusal { reason: Reason::Expired, detail: detail.to_owned(), log: log.into() }
}

/// It cannot be told now.
pub(crate) fn unavailable(after: Duration, log: impl Into<String>) -> Refusal {
    let detail = "logins of this kind cannot be checked just now: try again; the hub's log has the reason";
    Refusal { reason: Reason::Unavailable(after), detail: detail.to_owned(), log: log.into() }
}
