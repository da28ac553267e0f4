//! What a rule may say of a resource: that it is in a filter, or a tenant's.
//!
//! An ask may be about many topics at once (a filter with wildcards), and then
//! "is it in this filter?" has two answers: all of it is ([`Hold::Must`]), or
//! some of it is ([`Hold::May`]). Rules are compiled so that each question asks
//! for the one that keeps it sound (`rewrite.rs`); here is what the questions
//! are, and which of them hold for an ask, by the algebra of filters.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use weft_govern::access::Resource;
use weft_topic::{Filter, InterestSet};

/// Which of the two answers is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hold {
    /// It holds of all that is asked for.
    Must,
    /// It holds of some of it.
    May,
}

impl Hold {
    /// What is asked for within a `!` or an `unless`.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Hold::Must => Hold::May,
            Hold::May => Hold::Must,
        }
    }

    /// The type of the entities that stand for it in compiled rules. Policies
    /// cannot name it: the schema does not have it.
    pub(crate) const fn entity(self) -> &'static str {
        match self {
            Hold::Must => "Must",
            Hold::May => "May",
        }
    }
}

/// A question about a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Atom {
    /// Is it in this filter?
    Filter(Filter),
    /// Does it belong to this tenant?
    Owner(Arc<str>),
    /// Does it belong to the principal's tenant?
    Own,
}

impl Atom {
    /// The name of its entity, of type [`Hold::entity`].
    pub(crate) fn id(&self) -> String {
        match self {
            Atom::Filter(filter) => format!("f:{filter}"),
            Atom::Owner(tenant) => owner_id(tenant),
            Atom::Own => "own".into(),
        }
    }
}

/// The name of the entity that stands for "belongs to this tenant".
pub(crate) fn owner_id(tenant: &str) -> String {
    format!("t:{tenant}")
}

/// Whether a filter, or a topic, is in the mesh's own space.
pub(crate) fn is_reserved(filter: &Filter) -> bool {
    filter.as_str().starts_with('_')
}

/// Whether all of `asked` is in `named`. The mesh's own topics are in filters
/// alone that name their first level.
pub(crate) fn covers(named: &Filter, asked: &Filter) -> bool {
    named.includes(asked) && (is_reserved(named) || !is_reserved(asked))
}

/// Many filters with a number each, and which of them hold for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    all: Vec<(Filter, u32)>,
    /// For topics: the positions in `all`.
    topics: InterestSet<u32>,
    /// For filters with wildcards: positions by the levels before the first one.
    by_prefix: BTreeMap<Box<str>, Vec<u32>>,
}

/// The numbers of what holds, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Of all that is asked for.
    pub(crate) must: BTreeSet<u32>,
    /// Of some of it; `must` is within it.
    pub(crate) may: BTreeSet<u32>,
}

impl Filters {
    pub(crate) fn insert(&mut self, filter: &Filter, number: u32) {
        let Ok(position) = u32::try_from(self.all.len()) else { return };
        self.topics.insert(filter, position);
        self.by_prefix.entry(prefix(filter).into()).or_default().push(position);
        self.all.push((filter.clone(), number));
    }

    /// The numbers of the filters that include `asked`, and of those that meet it.
    pub(crate) fn holding(&self, asked: &Filter) -> Holding {
        let mut out = Holding::default();
        let mut look = |position: u32, meets: Option<bool>| {
            let Some((named, number)) = self.all.get(position as usize) else { return };
            if meets.unwrap_or_else(|| named.intersects(asked)) {
                out.may.insert(*number);
                if covers(named, asked) {
                    out.must.insert(*number);
                }
            }
        };
        if let Some(topic) = asked.as_topic() {
            self.topics.for_each_match(topic, |position| look(*position, Some(true)));
            return out;
        }
        // Of two filters that meet, the levels before the first wildcard of one
        // begin those of the other.
        let prefix = prefix(asked);
        let mut shorter = Some(prefix);
        while let Some(text) = shorter {
            for position in self.by_prefix.get(text).into_iter().flatten() {
                look(*position, None);
            }
            shorter = if text.is_empty() { None } else { Some(text.rfind('/').map_or("", |at| &text[..at])) };
        }
        let from = if prefix.is_empty() { String::from("\u{0}") } else { format!("{prefix}/") };
        for (text, positions) in self.by_prefix.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded)) {
            if !prefix.is_empty() && !text.starts_with(&from) {
                break;
            }
            for position in positions {
                look(*position, None);
            }
        }
        out
    }

    /// What holds for a resource: for a stream, for what it captures.
    pub(crate) fn of_resource(&self, resource: &Resource) -> Holding {
        match resource {
            Resource::Topic(filter) => self.holding(filter),
            Resource::Stream { filters, .. } => {
                let mut parts = filters.iter().map(|filter| self.holding(filter));
                let Some(mut out) = parts.next() else { return Holding::default() };
                for part in parts {
                    out.must.retain(|number| part.must.contains(number));
                    out.may.extend(part.may);
                }
                out
            }
            Resource::Schema(_) | Resource::Tenant(_) | Resource::Mesh => Holding::default(),
        }
    }
}

/// The levels before the first wildcard.
fn prefix(filter: &Filter) -> &str {
    let text = filter.as_str();
    let mut end = 0;
    for level in filter.levels() {
        if level == "*" || level == "**" {
            break;
        }
        end += level.len() + 1;
    }
    text.get(..end.saturating_sub(1).min(text.len())).unwrap_or_default()
}
