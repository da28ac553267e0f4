//! The fence between tenants: which topics somebody may use at all, before any
//! policy is asked.
//!
//! A principal of a tenant may use what the tenant owns, and what its owner
//! exports to it for that action and it imports. Of a filter all topics must be
//! of one owner's filter. What nobody owns, and what is reserved, is for those
//! of no tenant; but what was put in quarantine of a tenant's own events it may read.
//! Passing the fence allows nothing yet: policies do.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use weft_topic::Filter;

use crate::access::{Action, Ask, Fault, Resource};
use crate::document::{self, Export, Import, Tenant};
use crate::inspect::{is_quarantine_of, quarantine_filter};
use crate::owners::{Owned, Owners, Steps, is_ownable, is_reserved};
use crate::{Key, Kind, State};

/// Steps spent on finding whose some of the topics are, for the reason of a refusal.
const STEPS: usize = 4_096;
/// Most filters that a reason names.
const NAMED: usize = 4;

/// Why the fence does not let somebody through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceReason {
    /// Reserved topics are the hubs' own.
    #[error("`{0}` is reserved (`_` in front): take a topic that the tenant owns")]
    Reserved(Filter),
    /// Nobody owns any of it.
    #[error("no tenant owns `{0}`: add it to the topics of the tenant, or use one that it owns")]
    Unowned(Filter),
    /// Some of it may be used, and not all.
    #[error("`{asked}` is wider than what may be used: ask for {}", list(.allowed))]
    TooWide {
        /// What was asked for.
        asked: Filter,
        /// The widest filters that may be used and have some of it.
        allowed: Vec<Filter>,
    },
    /// It is another tenant's.
    #[error("`{asked}` is {}of tenant `{owner}`{}", if *.partly { "partly " } else { "" }, remedy(.missing, .asked))]
    Foreign {
        /// What was asked for.
        asked: Filter,
        /// The owner.
        owner: Arc<str>,
        /// Whether the owner has a part of it alone.
        partly: bool,
        /// What is missing.
        missing: Missing,
    },
}

/// What keeps somebody from the topics of another tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The owner's export; the import is there.
    Export,
    /// The own import; the export is there.
    Import,
    /// Both.
    Both,
    /// The owner exports it, but not for this action.
    Action(Action),
}

fn remedy(missing: &Missing, asked: &Filter) -> String {
    match missing {
        Missing::Export => ", which exports it to nobody here: ask there for an export".to_owned(),
        Missing::Import => format!(", which exports it: add an import of `{asked}`"),
        Missing::Both => ": ask there for an export, and add an import".to_owned(),
        Missing::Action(action) => {
            format!(", which does not export it for `{}`: ask there for that action", action.name())
        }
    }
}

fn list(filters: &[Filter]) -> String {
    let texts: Vec<String> = filters.iter().map(|filter| format!("`{filter}`")).collect();
    texts.join(" or ")
}

#[derive(Clone, Debug)]
struct Exported {
    filter: Filter,
    /// Empty: to all.
    to: Vec<String>,
    actions: Vec<Action>,
}

/// Who may use which topics by ownership, exports and imports.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    owners: Owners,
    owned: BTreeMap<Arc<str>, Vec<Filter>>,
    /// By owner.
    exports: BTreeMap<String, Vec<Exported>>,
    /// By who uses them, then by owner.
    imports: BTreeMap<String, BTreeMap<String, Vec<Filter>>>,
}

impl Fence {
    /// Learns who owns what. What cannot be understood is told, and opens nothing.
    #[must_use]
    pub fn learn(state: &State) -> (Self, Vec<Fault>) {
        let (mut fence, mut faults) = (Self::default(), Vec::new());
        each(state, Kind::Tenant, &mut faults, |key, tenant: Tenant| {
            let name: Arc<str> = key.name().into();
            let mut filters = Vec::new();
            for text in &tenant.topics {
                let filter = Filter::parse(text).map_err(|error| error.to_string())?;
                if !is_ownable(&filter) || is_reserved(&filter) {
                    return Err(format!("`{filter}` cannot be owned"));
                }
                fence.owners.insert(&name, &filter);
                filters.push(filter);
            }
            fence.owned.insert(name, filters);
            Ok(())
        });
        each(state, Kind::Export, &mut faults, |_, export: Export| {
            let filter = Filter::parse(&export.topics).map_err(|error| error.to_string())?;
            let actions = export.actions.iter().filter_map(|name| Action::parse(name)).collect();
            let exported = Exported { filter, to: export.to, actions };
            fence.exports.entry(export.tenant).or_default().push(exported);
            Ok(())
        });
        each(state, Kind::Import, &mut faults, |_, import: Import| {
            let filter = Filter::parse(&import.topics).map_err(|error| error.to_string())?;
            fence.imports.entry(import.tenant).or_default().entry(import.from).or_default().push(filter);
            Ok(())
        });
        (fence, faults)
    }

    /// Why a question is refused before policies are asked, if it is. A stream is
    /// open to a tenant when all that it captures is. Schemas, tenants and the mesh
    /// have no fence: of these, policies alone decide.
    #[must_use]
    pub fn refuses(&self, ask: &Ask) -> Option<String> {
        let tenant = ask.principal.tenant.as_deref();
        let refusal = |filter: &Filter| self.allows(tenant, ask.action, filter).err();
        match &ask.resource {
            Resource::Topic(asked) => {
                refusal(asked).map(|reason| format!("`{}` may not {}: {reason}", ask.principal, ask.action.name()))
            }
            Resource::Stream { name, filters } => filters.iter().find_map(refusal).map(|reason| {
                format!("`{}` may not {} the stream `{name}`: {reason}", ask.principal, ask.action.name())
            }),
            Resource::Schema(_) | Resource::Tenant(_) | Resource::Mesh => None,
        }
    }

    /// Whether somebody of a tenant, or of none, may do something to all topics
    /// of a filter, as far as the fence has a say.
    ///
    /// # Errors
    /// Why not, and what is missing.
    pub fn allows(&self, tenant: Option<&str>, action: Action, asked: &Filter) -> Result<(), FenceReason> {
        let Some(tenant) = tenant else { return Ok(()) };
        if is_reserved(asked) {
            let is_own = reads(action) && is_quarantine_of(tenant, asked);
            return if is_own { Ok(()) } else { Err(FenceReason::Reserved(asked.clone())) };
        }
        // The topics of two tenants are apart: who covers it is the only one who can.
        match self.owners.covering(asked) {
            Some(owned) if *owned.tenant == *tenant => Ok(()),
            Some(owned) => self.opened(tenant, owned, action, asked),
            None => Err(self.why_not(tenant, action, asked)),
        }
    }

    /// Whether some topics of a filter may be used: false means that none may.
    #[must_use]
    pub fn allows_some(&self, tenant: Option<&str>, action: Action, asked: &Filter) -> bool {
        let Some(tenant) = tenant else { return true };
        if is_reserved(asked) {
            let own = Filter::parse(&quarantine_filter(Some(tenant), "**"));
            return reads(action) && own.is_ok_and(|own| own.intersects(asked));
        }
        self.usable(tenant, action).any(|(one, other)| one.intersects(asked) && other.intersects(asked))
    }

    /// The owner of all topics of a filter.
    #[must_use]
    pub fn owner(&self, asked: &Filter) -> Option<&Arc<str>> {
        self.owners.covering(asked).map(|owned| &owned.tenant)
    }

    /// The topics of all tenants, in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &Filter)> {
        self.owned.iter().flat_map(|(tenant, filters)| filters.iter().map(move |filter| (tenant, filter)))
    }

    fn imports_of(&self, tenant: &str, owner: &str) -> &[Filter] {
        self.imports.get(tenant).and_then(|by_owner| by_owner.get(owner)).map_or(&[], Vec::as_slice)
    }

    fn exports_to<'a>(&'a self, tenant: &'a str, owner: &str) -> impl Iterator<Item = &'a Exported> {
        let exports = self.exports.get(owner).map_or(&[][..], Vec::as_slice);
        exports.iter().filter(move |export| export.to.is_empty() || export.to.iter().any(|to| to == tenant))
    }

    fn opened(&self, tenant: &str, owned: &Owned, action: Action, asked: &Filter) -> Result<(), FenceReason> {
        let is_imported = self.imports_of(tenant, &owned.tenant).iter().any(|import| import.includes(asked));
        let (mut is_exported, mut for_action) = (false, false);
        for export in self.exports_to(tenant, &owned.tenant).filter(|export| export.filter.includes(asked)) {
            is_exported = true;
            for_action |= export.actions.contains(&action);
        }
        let missing = match (is_exported, for_action, is_imported) {
            (_, true, true) => return Ok(()),
            (true, false, _) => Missing::Action(action),
            (_, true, false) => Missing::Import,
            (false, _, true) => Missing::Export,
            (false, _, false) => Missing::Both,
        };
        Err(FenceReason::Foreign { asked: asked.clone(), owner: owned.tenant.clone(), partly: false, missing })
    }

    /// What a tenant may use: topics that are in both of each two filters.
    fn usable<'a>(&'a self, tenant: &'a str, action: Action) -> impl Iterator<Item = (&'a Filter, &'a Filter)> {
        let owned = self.owned.get(tenant).map_or(&[][..], Vec::as_slice);
        let imported = self.imports.get(tenant).into_iter().flatten().flat_map(move |(owner, imports)| {
            let exports = self.exports_to(tenant, owner).filter(move |export| export.actions.contains(&action));
            exports.flat_map(move |export| imports.iter().map(move |import| (&export.filter, import)))
        });
        owned.iter().map(|filter| (filter, filter)).chain(imported)
    }

    fn why_not(&self, tenant: &str, action: Action, asked: &Filter) -> FenceReason {
        let mut allowed: Vec<Filter> = Vec::new();
        for (one, other) in self.usable(tenant, action).take(STEPS) {
            // Of two filters the narrower, where one is.
            let narrow = if one.includes(other) { other } else { one };
            if one.intersects(asked) && other.intersects(asked) && !allowed.iter().any(|known| known.includes(narrow)) {
                allowed.retain(|known| !narrow.includes(known));
                allowed.push(narrow.clone());
            }
            if allowed.len() > NAMED {
                break;
            }
        }
        allowed.truncate(NAMED);
        let asked = asked.clone();
        if !allowed.is_empty() {
            return FenceReason::TooWide { asked, allowed };
        }
        match self.owners.meeting(&asked, &|_| true, &mut Steps(STEPS)) {
            Some(owned) => {
                FenceReason::Foreign { asked, owner: owned.tenant.clone(), partly: true, missing: Missing::Both }
            }
            None => FenceReason::Unowned(asked),
        }
    }
}

/// Whether an action only reads what lies in a stream, or looks at it.
const fn reads(action: Action) -> bool {
    matches!(action, Action::Consume | Action::Subscribe | Action::Observe)
}

/// Reads all documents of a kind; what cannot be read or taken is told.
fn each<T: DeserializeOwned>(
    state: &State,
    kind: Kind,
    faults: &mut Vec<Fault>,
    mut take: impl FnMut(&Key, T) -> Result<(), String>,
) {
    for (key, item) in state.of_kind(kind) {
        let read = document::read(&item.document).map_err(|error| error.to_string());
        if let Err(what) = read.and_then(|document| take(key, document)) {
            faults.push(Fault { key: key.to_string(), what });
        }
    }
}

#[cfg(test)]
mod tests;
