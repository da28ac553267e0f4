//! Layer 3: who a client is, by certificate, token or password.
//!
//! [`Logins`] learns the state (identities, issuers) and answers. What takes time
//! is not done here: a password is checked by a [`Check`] that whoever asks runs
//! where it likes, and an issuer's keys are fetched by whoever asks for
//! [`Logins::fetches`]. So this is pure: no socket, file, clock, thread.
//!
//! Everything from outside is bounded before it is looked at (a token in length
//! and depth, a set of keys in number, a hash in what it costs), tries are
//! limited, and what a refusal says to the client does not tell a name that
//! exists from one that does not. Secrets are neither shown nor logged.
//!
//! Does not know hubs, sessions, frames, or how the state is replicated.
#![forbid(unsafe_code)]

pub mod attempts;
mod identities;
mod issuer;
mod json;
mod keys;
mod logins;
mod password;
mod refusal;
mod token;

#[cfg(test)]
mod tests;

pub use attempts::Attempts;
pub use issuer::{Fetch, Limits};
pub use keys::{KeyError, KeySet, MAX_KEYS, MAX_SET};
pub use logins::{Begun, Logins, Pending};
pub use password::{Check, Hash, HashError};
pub use token::{TokenError, Unverified};
