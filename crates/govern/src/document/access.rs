//! Identities, who signs tokens, and policies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whom a login stands for. The resource's name is the principal's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Of which tenant; none: of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How it may log in; empty: not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Credential>,
    /// What it may use by itself, at each hub, within its tenant's quota.
    #[serde(default, skip_serializing_if = "crate::document::Quota::is_empty")]
    pub quota: crate::document::Quota,
    /// No login of it is taken any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// What shows that somebody is an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Credential {
    /// A client's certificate with this SPIFFE URI (`spiffe://domain/path`).
    Spiffe(String),
    /// A client's certificate of this name (its subject's common name).
    Subject(String),
    /// A token of this issuer for this subject (`sub`).
    Token {
        /// The resource `issuer/NAME`.
        issuer: String,
        /// The token's `sub`.
        subject: String,
    },
    /// A password, as its Argon2id hash in PHC form (`$argon2id$v=19$...`).
    Password(String),
}

/// Who signs tokens (JWT, RFC 7519) that are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What tokens have as `iss`.
    pub issuer: String,
    /// What tokens have, or have among others, as `aud`.
    pub audience: String,
    /// Where its keys come from.
    pub keys: Keys,
    /// The signatures taken, as RFC 7518 names them; asymmetric ones alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Tokens are good for principals of this tenant; none: of the mesh, or of
    /// what `tenant_claim` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The claim that names the tenant, among `tenants`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_claim: Option<String>,
    /// The tenants that the claim may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// The claim with the roles, a text or a list of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
    /// What a role of the claim is called here; others are left out. Empty:
    /// tokens give no roles but those of their identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
    /// By how many seconds clocks may differ: 60 where not said, at most 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway_seconds: Option<u64>,
    /// Numbers of tokens (`jti`) that are good no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
    /// Tokens that were issued before this time (seconds since 1970) are good no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Keys {
    /// A JWK set (RFC 7517), public keys alone.
    Jwks(serde_json::Value),
    /// An `https` address of one, asked again when it is old or a key is unknown.
    Url(String),
}

/// Rules of who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// In words, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The tenant that it is of, for whose principals and topics alone it may
    /// speak; none: of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The rules, in Cedar. Each has an `@id`.
    pub rules: String,
}
