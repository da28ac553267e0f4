//! Questions about access, and their answers: whether somebody may do something
//! and why, and whether they ever may. Who answers is behind a trait of the hub's
//! (`weft_hub::govern::Vet`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_base::UnixNanos;
use weft_topic::Filter;

use crate::access::{Action, Method, Place, Principal, Resource};
use crate::document::{self, Credential, Identity, Stream};
use crate::{Key, Kind, State};

/// Labels of a place that a question may name; more are not looked at.
pub const MAX_LABELS: usize = 64;

/// A question of access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Who would do it; none: the client itself.
    #[serde(default)]
    pub who: Option<Who>,
    /// What.
    pub action: Action,
    /// To what.
    pub resource: Named,
    /// In which lane, 0 to 7, of a publish.
    #[serde(default)]
    pub lane: Option<u8>,
    /// Where and when, if not at the hub that is asked, now.
    #[serde(default, skip_serializing_if = "At::is_here")]
    pub at: At,
}

/// Where and when; what is not said is as at the hub that is asked, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct At {
    /// The hub's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its labels, at most [`MAX_LABELS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// In seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl At {
    /// Whether it is at the hub that is asked, now.
    #[must_use]
    pub fn is_here(&self) -> bool {
        *self == Self::default()
    }

    /// The place, where that of the hub that is asked is `here`; and the time.
    #[must_use]
    pub fn of(&self, here: &Place, now: UnixNanos) -> (Place, UnixNanos) {
        let text = |said: &Option<String>, own: &Arc<str>| said.as_deref().map_or_else(|| own.clone(), Arc::from);
        let labels = self.labels.as_ref().map(|labels| {
            let labels: BTreeSet<&str> = labels.iter().take(MAX_LABELS).map(String::as_str).collect();
            labels.into_iter().map(Arc::from).collect()
        });
        let place = Place {
            hub: text(&self.hub, &here.hub),
            region: text(&self.region, &here.region),
            labels: labels.unwrap_or_else(|| here.labels.clone()),
        };
        (place, self.seconds.map_or(now, |seconds| UnixNanos(seconds.saturating_mul(1_000_000_000))))
    }
}

/// Somebody a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Who {
    /// The resource `identity/NAME`.
    Identity(String),
    /// Somebody as described.
    Principal(Principal),
}

impl Who {
    /// Somebody by the identity of a state, or as described.
    ///
    /// # Errors
    /// There is no such identity, or nobody can log in as it. In words.
    pub fn resolve(&self, state: &State) -> Result<Principal, String> {
        let name = match self {
            Who::Principal(principal) => return Ok(principal.clone()),
            Who::Identity(name) => name,
        };
        let key = Key::new(Kind::Identity, name).map_err(|error| error.to_string())?;
        let Some(item) = state.get(&key) else {
            return Err(format!("there is no {key}: `weft export --kind identity` lists them, or describe who it is"));
        };
        let identity: Identity = document::read(&item.document).map_err(|error| format!("{key}: {error}"))?;
        if identity.disabled {
            return Err(format!("{key} is disabled: nobody logs in as it"));
        }
        let roles: BTreeSet<&str> = identity.roles.iter().map(String::as_str).collect();
        Ok(Principal {
            tenant: identity.tenant.as_deref().map(Arc::from),
            name: Arc::from(name.as_str()),
            roles: roles.into_iter().map(Arc::from).collect(),
            method: match identity.logins.first() {
                Some(Credential::Token { .. }) => Method::Token,
                Some(Credential::Password(_)) => Method::Password,
                Some(Credential::Spiffe(_) | Credential::Subject(_)) | None => Method::Certificate,
            },
        })
    }
}

/// What a question is about, by name; the hub knows what a stream captures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Named {
    /// All topics of a filter.
    Topic(String),
    /// A stream.
    Stream(String),
    /// A subject of schemas.
    Schema(String),
    /// A tenant.
    Tenant(String),
    /// The mesh.
    Mesh,
}

impl Named {
    /// The name of a resource.
    #[must_use]
    pub fn of(resource: &Resource) -> Self {
        match resource {
            Resource::Topic(filter) => Named::Topic(filter.as_str().to_owned()),
            Resource::Stream { name, .. } => Named::Stream(name.to_string()),
            Resource::Schema(subject) => Named::Schema(subject.to_string()),
            Resource::Tenant(name) => Named::Tenant(name.to_string()),
            Resource::Mesh => Named::Mesh,
        }
    }

    /// The resource of a name; `captures` says what a stream captures.
    ///
    /// # Errors
    /// The filter is none. In words.
    pub fn resource(&self, captures: impl FnOnce(&str) -> Arc<[Filter]>) -> Result<Resource, String> {
        Ok(match self {
            Named::Topic(text) => {
                Resource::Topic(Filter::parse(text).map_err(|error| format!("the filter `{text}`: {error}"))?)
            }
            Named::Stream(name) => Resource::Stream { name: name.as_str().into(), filters: captures(name) },
            Named::Schema(subject) => Resource::Schema(subject.as_str().into()),
            Named::Tenant(name) => Resource::Tenant(name.as_str().into()),
            Named::Mesh => Resource::Mesh,
        })
    }
}

/// What a stream captures as the documents of a state want it; nothing of one that
/// is not among them.
#[must_use]
pub fn captured(state: &State, stream: &str) -> Arc<[Filter]> {
    let item = Key::new(Kind::Stream, stream).ok().and_then(|key| state.get(&key).cloned());
    let stream = item.and_then(|item| document::read::<Stream>(&item.document).ok());
    let topics = stream.map(|stream| stream.topics).unwrap_or_default();
    topics.iter().filter_map(|topics| Filter::parse(topics).ok()).collect()
}

/// Whether somebody ever may do something to topics of a filter, one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskCan {
    /// Whom it is about.
    pub whom: Whom,
    /// What.
    pub action: Action,
    /// To topics of this filter.
    pub topics: String,
}

/// Whom a question about more than one is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Whom {
    /// Somebody.
    Somebody(Who),
    /// All principals that a tenant has or may have.
    Tenant(String),
    /// All of a role, of a tenant or of none.
    Role {
        /// The tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
        /// The role's name.
        role: String,
    },
}

/// Whether somebody ever may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// No topic, whenever and wherever. Certain.
    #[default]
    Never,
    /// Some of them, some topics or sometimes, as far as can be told.
    Sometimes,
    /// All of them, all topics, at any time and place. Certain.
    Always,
}

impl Word {
    /// The word, as JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Word::Never => "never",
            Word::Sometimes => "sometimes",
            Word::Always => "always",
        }
    }
}

/// Whether somebody ever may do something to topics of a filter, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Able {
    /// Of the state that says so.
    pub version: u64,
    /// Whether.
    pub can: Word,
    /// Of [`Word::Always`]: the rules that permit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Of [`Word::Never`]: why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Of [`Word::Sometimes`]: what is possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<AbleExample>,
    /// What may stand against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub but: Vec<String>,
}

/// Something that is possible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbleExample {
    /// By which rule.
    pub rule: String,
    /// For which of the topics: what is in all of these filters.
    pub topics: Vec<String>,
    /// For whom, and under which conditions, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
}

/// Why something is allowed or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// Whether it is.
    pub allowed: bool,
    /// Of the state that says so.
    pub version: u64,
    /// Whether the hub that answers decides by it. Otherwise everybody may do
    /// everything there.
    #[serde(default)]
    pub enforced: bool,
    /// In a sentence.
    pub reason: String,
    /// The rules that decided.
    #[serde(default)]
    pub rules: Vec<String>,
    /// What was looked at, in order.
    #[serde(default)]
    pub steps: Vec<ExplainedStep>,
    /// Rules that were looked at and are not told of, since there were too many.
    #[serde(default)]
    pub untold: usize,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainedStep {
    /// `administrators`, `fence`, `policy`, or a rule as `document/id`.
    pub what: String,
    /// `permit` or `forbid`, of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// In which line of its document a rule begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What came of it, a word of the judge's.
    pub result: String,
    /// In words.
    pub words: String,
    /// What would have to hold for the rule to apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}
