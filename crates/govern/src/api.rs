//! What clients ask of the control state and what they are answered: the JSON in
//! the frames `Govern` and `Governed`.
//!
//! Closed: a request or a field that is not known is refused, so that nobody is
//! answered something else than was asked. Every body has at most [`MAX_BODY`]
//! bytes; what is longer comes in pages ([`Export::after`]) or is sent in several
//! changes ([`crate::plan::Plan::parts`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::{Fault, Principal};
use crate::json;
use crate::machine::Authored;
use crate::plan::{Counts, Prune, Wanted};
use crate::{ChangeId, Expect, Key, Kind, State};

mod explain;

pub use explain::{
    Able, AbleExample, AskCan, At, Explain, Explained, ExplainedStep, MAX_LABELS, Named, Who, Whom, Word, captured,
};

/// Most bytes of a request's or an answer's body.
pub const MAX_BODY: usize = (1 << 20) - 4096;
/// Bytes of a page of an export after which no more documents are put on it. A
/// page has at least one, so that the largest document, of which each byte may be
/// two in an answer, still fits.
const PAGE: usize = 256 << 10;
/// Most faults told at once.
pub const MAX_FAULTS: usize = 100;
/// Most bytes of a text in an answer.
const TEXT: usize = 2 << 10;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Change the state.
    Apply(Apply),
    /// The documents.
    Export(Export),
    /// How the state is, and who keeps it.
    Show(Show),
    /// Whether somebody may do something, and why.
    Explain(Explain),
    /// Whether somebody ever may do something to topics of a filter.
    Can(AskCan),
    /// Who the client is to the hub.
    Whoami,
    /// Have others vote.
    Voters(Voters),
}

/// A change. Planned by the hub against the newest state, vetted, and made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Drawn by the client; the same for the same change sent again.
    pub id: ChangeId,
    /// Documents that are to be, JSON.
    #[serde(default)]
    pub puts: Vec<(Key, Arc<str>)>,
    /// What is to be no more.
    #[serde(default)]
    pub deletes: Vec<Key>,
    /// What else is to be no more unless it is in `puts`.
    #[serde(default)]
    pub prune: Option<Prune>,
    /// What the client saw, where it looked before.
    #[serde(default)]
    pub expects: Vec<Expect>,
    /// Only say what would be.
    #[serde(default)]
    pub dry_run: bool,
}

impl Apply {
    /// What is wanted, for [`Plan::of`](crate::plan::Plan::of).
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let Self { puts, deletes, prune, expects, .. } = self.clone();
        Wanted { puts, deletes, prune, expects }
    }
}

/// The documents of a state, in order of key, in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// Of these kinds; none: of all.
    pub kinds: Vec<Kind>,
    /// Of this tenant; none: of all, and of none.
    pub tenant: Option<String>,
    /// Those after this key: where the page before ended.
    pub after: Option<Key>,
    /// Of this version: that of the first page. If the state is of another by
    /// now, the answer is [`Refusal::Moved`].
    pub version: Option<u64>,
    /// The state as the voters have it, not as this hub happens to.
    pub fresh: bool,
}

/// How the state is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Show {
    /// As [`Export::fresh`].
    pub fresh: bool,
}

/// Who is to vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voters {
    /// Names of hubs, all that are to vote.
    pub voters: Vec<String>,
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// To [`Request::Apply`].
    Applied(Applied),
    /// To [`Request::Export`].
    Exported(Exported),
    /// To [`Request::Show`], and to [`Request::Voters`] once it is so.
    Shown(Shown),
    /// To [`Request::Explain`].
    Explained(Explained),
    /// To [`Request::Can`].
    Able(Able),
    /// To [`Request::Whoami`].
    You(You),
    /// To any: it cannot be, and nothing was changed.
    Refused(Refusal),
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// Of the state after it, or of a dry run: of the state that was looked at.
    pub version: u64,
    /// What was changed, or would be.
    pub counts: Counts,
    /// As [`Plan::shown`](crate::plan::Plan::shown) has it.
    pub shown: String,
    /// It came before, and was made then.
    #[serde(default)]
    pub repeated: bool,
    /// Nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// Of the state.
    pub version: u64,
    /// Keys, the versions of their last changes, and documents.
    pub items: Vec<(Key, u64, Arc<str>)>,
    /// Ask again with this in [`Export::after`] for more; none: that was all.
    #[serde(default)]
    pub next: Option<Key>,
}

/// How the state is, and who keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The hub that answers.
    pub hub: String,
    /// Of the state that it has.
    pub version: u64,
    /// How long ago that was known to be the others'; none: never since it started.
    pub age_ms: Option<u64>,
    /// Why the hub takes no part any more and goes by the state that it has, if it
    /// has stopped for good: its disk failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Who made the state this version, if that is remembered.
    pub last: Option<Authored>,
    /// How many resources there are, by kind.
    pub resources: BTreeMap<String, usize>,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Who leads; none: nobody that it knows of.
    pub leader: Option<String>,
    /// The term of the leader.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<Member>,
    /// Who learns.
    pub learners: Vec<Member>,
    /// Members beyond those listed.
    #[serde(default)]
    pub more: usize,
}

/// A hub that has a copy of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub hub: String,
    /// Entries that it is behind, where the hub that answers knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
}

/// Who a client is to its hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct You {
    /// Who.
    pub principal: Principal,
    /// Whether the hub's own configuration names it as an administrator.
    pub is_administrator: bool,
    /// The hub.
    pub hub: String,
    /// Of the state by which it decides.
    pub version: u64,
}

/// Why a request cannot be. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// Documents that cannot be.
    Faults {
        /// Which and why, at most [`MAX_FAULTS`].
        faults: Vec<Fault>,
        /// How many more there are.
        more: usize,
    },
    /// Somebody else changed what the client had seen: look again.
    Conflict {
        /// The resource.
        key: Key,
        /// The version that was seen; none: it was not there.
        expected: Option<u64>,
        /// The version that it has; none: it is not there.
        found: Option<u64>,
        /// Who made it so, if that is remembered.
        by: Option<Authored>,
    },
    /// The client could not change anything any more after it.
    LockedOut {
        /// In words, with what to do.
        why: String,
    },
    /// The state is of another version than the pages before: begin again.
    Moved {
        /// Of the state now.
        version: u64,
    },
}

impl Refusal {
    /// Of faults, the first [`MAX_FAULTS`].
    #[must_use]
    pub fn of_faults(mut faults: Vec<Fault>) -> Self {
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        for fault in &mut faults {
            cut(&mut fault.what);
        }
        Refusal::Faults { faults, more }
    }
}

/// A body that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Larger than a body may be.
    #[error("the body has {0} bytes, of which {MAX_BODY} are allowed: ask for less, or change it in several steps")]
    TooLarge(usize),
    /// Not one of the closed list, or not JSON.
    #[error("this is nothing that is understood: {0}: a newer weft may know it")]
    Unreadable(String),
}

impl Request {
    /// Its body.
    ///
    /// # Errors
    /// It is too large.
    pub fn encode(&self) -> Result<Vec<u8>, BodyError> {
        encode(self)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`]; in time and memory of the order of the bytes.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        decode(body)
    }

    /// Whether it changes something.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Request::Apply(apply) => !apply.dry_run,
            Request::Voters(_) => true,
            Request::Export(_) | Request::Show(_) | Request::Explain(_) | Request::Can(_) | Request::Whoami => false,
        }
    }

    /// Whether the hub answers by what it has, without asking others.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Request::Export(export) => !export.fresh,
            Request::Show(show) => !show.fresh,
            Request::Explain(_) | Request::Can(_) | Request::Whoami => true,
            Request::Apply(_) | Request::Voters(_) => false,
        }
    }
}

impl Answer {
    /// Its body.
    ///
    /// # Errors
    /// It is too large, which those made here never are.
    pub fn encode(&self) -> Result<Vec<u8>, BodyError> {
        encode(self)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        decode(body)
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BodyError> {
    let body = serde_json::to_vec(value).map_err(|e| BodyError::Unreadable(e.to_string()))?;
    if body.len() > MAX_BODY { Err(BodyError::TooLarge(body.len())) } else { Ok(body) }
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyError> {
    if body.len() > MAX_BODY {
        return Err(BodyError::TooLarge(body.len()));
    }
    let unreadable = |mut error: String| {
        cut(&mut error);
        BodyError::Unreadable(error)
    };
    let text = std::str::from_utf8(body).map_err(|e| unreadable(e.to_string()))?;
    json::bound(text).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_str(text).map_err(|e| unreadable(e.to_string()))
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT));
}

/// A page of an export: what `wanted` asks for and `may_see` lets out.
///
/// # Errors
/// [`Refusal::Moved`].
pub fn export(state: &State, wanted: &Export, may_see: impl Fn(&Key, &str) -> bool) -> Result<Exported, Refusal> {
    if wanted.version.is_some_and(|version| version != state.version()) {
        return Err(Refusal::Moved { version: state.version() });
    }
    let mut page = Exported { version: state.version(), items: Vec::new(), next: None };
    let mut bytes = 0;
    let of_kind = |key: &Key| wanted.kinds.is_empty() || wanted.kinds.contains(&key.kind());
    let of_tenant =
        |key: &Key, document: &str| wanted.tenant.as_deref().is_none_or(|t| crate::plan::is_of(key, document, t));
    for (key, item) in state.after(wanted.after.as_ref()) {
        if !of_kind(key) || !of_tenant(key, &item.document) || !may_see(key, &item.document) {
            continue;
        }
        let more = item.document.len() + key.name().len() + 64;
        if bytes > 0 && bytes + more > PAGE {
            page.next = page.items.last().map(|(key, _, _)| key.clone());
            break;
        }
        bytes += more;
        page.items.push((key.clone(), item.version, item.document.clone()));
    }
    Ok(page)
}

#[cfg(test)]
mod tests;
