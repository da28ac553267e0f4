//! Tenants, what they may use, and what they share.

use serde::{Deserialize, Serialize};

/// Somebody to whom topics belong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// In words, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The filters of its topics. Those of two tenants have no topic in common.
    pub topics: Vec<String>,
    /// What all of it may use together, at each hub.
    #[serde(skip_serializing_if = "Quota::is_empty")]
    pub quota: Quota,
}

/// What somebody may use at each hub; what is not said is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Events published a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_events: Option<u64>,
    /// Bytes published a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_bytes: Option<u64>,
    /// Events delivered a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_events: Option<u64>,
    /// Bytes delivered a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_bytes: Option<u64>,
    /// Connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Subscriptions at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u64>,
    /// Bytes published and not acknowledged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_bytes: Option<u64>,
    /// Bytes that streams hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
}

impl Quota {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Topics that a tenant lets another use. The name of the resource is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Who owns them.
    pub tenant: String,
    /// Which: within what the tenant owns.
    pub topics: String,
    /// To whom; empty: to every tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// For which actions, by name, of `publish`, `subscribe`, `request`, `reply`, `consume`.
    pub actions: Vec<String>,
}

/// Topics of another tenant that a tenant wants to use: an export and an import
/// that both cover a topic open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Who wants to use them.
    pub tenant: String,
    /// Who owns them.
    pub from: String,
    /// Which.
    pub topics: String,
}
