//! What a machine needs that is of no mesh yet: a token that says whom to trust,
//! and a connection to one hub that is made with it.
//!
//! A connection here is for one short conversation off the data path: it waits,
//! on the thread that uses it, and ends at a time that was set when it began.

mod talk;
mod token;

pub use talk::{Doorkeeper, Talk};
pub use token::{Fingerprint, SecretHash, Token, TokenError, TokenSecret};
