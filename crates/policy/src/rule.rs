//! A compiled rule: what it is about, at a glance, and its condition for Cedar.

use std::sync::Arc;

use cedar_policy::{Expression, pst};
use weft_govern::access::{Action, Resource};

use crate::atoms::Atom;

/// Whom a rule is about, by its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// Anybody.
    Any,
    /// One, as `tenant/name` or `name`.
    User(Arc<str>),
    /// Those with a role, as `tenant/role` or `role`.
    Role(Arc<str>),
    /// Those of a tenant.
    Tenant(Arc<str>),
    /// Nobody: the scope contradicts itself.
    Nobody,
}

/// The types of resources, as the schema has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Type {
    Topic,
    Stream,
    Schema,
    Tenant,
    Mesh,
}

impl Type {
    pub(crate) const ALL: [Type; 5] = [Type::Topic, Type::Stream, Type::Schema, Type::Tenant, Type::Mesh];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Type::Topic => "Topic",
            Type::Stream => "Stream",
            Type::Schema => "Schema",
            Type::Tenant => "Tenant",
            Type::Mesh => "Mesh",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn of(resource: &Resource) -> Self {
        match resource {
            Resource::Topic(_) => Type::Topic,
            Resource::Stream { .. } => Type::Stream,
            Resource::Schema(_) => Type::Schema,
            Resource::Tenant(_) => Type::Tenant,
            Resource::Mesh => Type::Mesh,
        }
    }
}

/// The name of the one entity of type `Mesh`.
pub(crate) const MESH: &str = "mesh";

/// What a rule is about, by its scope: all of these together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct What {
    /// Of this type alone.
    pub(crate) kind: Option<Type>,
    /// In this filter, or this tenant's.
    pub(crate) within: Option<Atom>,
    /// The one of this name, of the type in `kind`; not for topics.
    pub(crate) name: Option<Arc<str>>,
}

/// The actions of a rule, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actions(pub(crate) u8);

impl Actions {
    pub(crate) const ALL: Self = Self(0x7f);

    pub(crate) fn of(actions: impl IntoIterator<Item = Action>) -> Self {
        Self(actions.into_iter().fold(0, |bits, action| bits | Self::bit(action)))
    }

    pub(crate) const fn has(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }

    const fn bit(action: Action) -> u8 {
        1 << action as u8
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// `document/id`.
    pub(crate) name: Arc<str>,
    /// Where it begins in its document, from 1.
    pub(crate) line: u32,
    /// The tenant of its document.
    pub(crate) fence: Option<Arc<str>>,
    /// It forbids; otherwise it permits.
    pub(crate) forbids: bool,
    pub(crate) who: Who,
    pub(crate) actions: Actions,
    pub(crate) what: What,
    /// All that it asks of resources, the scope included; in order, each once.
    pub(crate) atoms: Box<[Atom]>,
    /// The rule as it was written, for explanations.
    pub(crate) text: Box<str>,
    /// What it asks beside its scope, as Cedar has it.
    pub(crate) clauses: Box<[pst::Clause]>,
    /// Scope and clauses, compiled.
    pub(crate) condition: Expression,
    /// It reads `context.time` or `context.now`.
    pub(crate) reads_time: bool,
    /// It reads `context.now`.
    pub(crate) reads_now: bool,
}

impl Rule {
    /// `permit` or `forbid`.
    pub(crate) const fn effect(&self) -> &'static str {
        if self.forbids { "forbid" } else { "permit" }
    }
}
