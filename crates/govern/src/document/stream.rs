//! Streams that there are to be.

use serde::{Deserialize, Serialize};

/// A stream. The resource's name is the stream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// In words, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whose it is; none: the mesh's. What a tenant's stream captures, the tenant owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it captures, 1 to 64 filters; empty for a mirror that takes all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Names of the hubs that keep it; of a mirror: where the copies are.
    pub homes: Vec<String>,
    /// Bytes kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<u64>,
    /// Seconds kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_seconds: Option<u64>,
    /// Events kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_events: Option<u64>,
    /// What it keeps within those bounds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: Retention,
    /// The size of its files in bytes; none: the hub's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// Whether only the newest event of each topic and key is kept for good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compact: bool,
    /// With `compact`: seconds that a tombstone is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone_seconds: Option<u64>,
    /// Which last values it keeps at hand.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last: LastValues,
    /// Seconds that a silent producer is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_seconds: Option<u64>,
    /// What its readers may see.
    #[serde(default, skip_serializing_if = "is_default")]
    pub consistency: Consistency,
    /// The stream that it is a read-only copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_of: Option<String>,
    /// Of a mirror: the beginning of topics that is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_from: Option<String>,
    /// Of a mirror: by what it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_to: Option<String>,
    /// What becomes of publishes while no home can be reached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unreachable: Unreachable,
    /// The largest event it takes, in bytes: key, headers and payload together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_event: Option<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident: $($(#[doc = $each:literal])+ $(#[$default:meta])? $variant:ident = $word:literal,)+) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $each])+ $(#[$default])? #[serde(rename = $word)] $variant,)+
        }
    };
}

words! {
    /// What a stream keeps within its bounds.
    Retention:
    /// All that the bounds allow.
    #[default] Limits = "limits",
    /// What some durable consumer has not settled.
    Interest = "interest",
    /// What is not settled, each event by one consumer.
    WorkQueue = "work-queue",
}

words! {
    /// Which last values a stream keeps at hand.
    LastValues:
    /// None.
    Off = "off",
    /// Of each topic.
    #[default] Topic = "topic",
    /// Of each topic and key.
    Key = "key",
}

words! {
    /// What readers of a stream may see.
    Consistency:
    /// Never older than what they saw before.
    #[default] Monotonic = "monotonic",
    /// What all homes that can be reached have on disk.
    Strong = "strong",
    /// What the nearest home has.
    Eventual = "eventual",
}

words! {
    /// What becomes of publishes while no home can be reached.
    Unreachable:
    /// They are refused.
    #[default] Refuse = "refuse",
    /// They wait on the disk of the publisher's hub.
    Spool = "spool",
}
