//! The documents, by kind, as their JSON has them.
//!
//! Unknown fields are refused, so that a misspelt one is not taken for a rule
//! that is not there. What one document alone cannot tell (whether a tenant
//! exists, whether the topics of two are apart) is checked with the state.

mod access;
mod tenant;

pub use access::{Credential, Identity, Issuer, Keys, Policy};
pub use tenant::{Export, Import, Quota, Tenant};
