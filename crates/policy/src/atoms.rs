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
    /// The numbers of those that were put in once. Not a bit each: there may be as many
    /// sets of filters as numbers, and each has few of them.
    known: BTreeSet<u32>,
    /// For topics: the positions in `all`.
    topics: InterestSet<u32>,
    /// For filters with wildcards: positions by the levels before the first one.
    by_prefix: BTreeMap<Box<str>, Vec<u32>>,
}

/// Numbers, a bit each: a question about all topics has nearly all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    bits: Vec<u64>,
    len: usize,
}

impl Numbers {
    pub(crate) fn insert(&mut self, number: u32) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word)
            && *bits & bit == 0
        {
            *bits |= bit;
            self.len += 1;
        }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|bits| bits & (1 << (number % 64)) != 0)
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.bits.iter().zip(0_u32..).flat_map(|(bits, word)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(word * 64 + bit)
            })
        })
    }

    /// Those that are in both.
    fn and(&self, other: &Self) -> Self {
        let mut both = Self::default();
        self.iter().filter(|number| other.contains(*number)).for_each(|number| both.insert(number));
        both
    }
}

/// The numbers of what holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    /// Of all that is asked for.
    pub(crate) must: Numbers,
    /// Of some of it; `must` is within it.
    pub(crate) may: Numbers,
}

impl Holding {
    /// What holds of more filters.
    pub(crate) fn join(&mut self, other: &Self) {
        other.must.iter().for_each(|number| self.must.insert(number));
        other.may.iter().for_each(|number| self.may.insert(number));
    }
}

impl Filters {
    /// As [`Filters::insert`], of one that may be there by this number.
    pub(crate) fn insert_once(&mut self, filter: &Filter, number: u32) {
        if self.known.insert(number) {
            self.insert(filter, number);
        }
    }

    pub(crate) fn insert(&mut self, filter: &Filter, number: u32) {
        let Ok(position) = u32::try_from(self.all.len()) else { return };
        self.topics.insert(filter, position);
        self.by_prefix.entry(prefix(filter).into()).or_default().push(position);
        self.all.push((filter.clone(), number));
    }

    /// The numbers of the filters that include `asked`, and of those that meet it.
    pub(crate) fn holding(&self, asked: &Filter) -> Holding {
        let mut out = Holding::default();
        let mut look = |position: u32, meets: bool, may_cover: bool| {
            let Some((named, number)) = self.all.get(position as usize) else { return };
            if meets || self::meets(named, asked) {
                out.may.insert(*number);
                if may_cover && covers(named, asked) {
                    out.must.insert(*number);
                }
            }
        };
        if let Some(topic) = asked.as_topic() {
            self.topics.for_each_match(topic, |position| look(*position, true, true));
            return out;
        }
        // Of two filters that meet, the levels before the first wildcard of one
        // begin those of the other.
        let prefix = prefix(asked);
        let mut shorter = Some(prefix);
        while let Some(text) = shorter {
            for position in self.by_prefix.get(text).into_iter().flatten() {
                look(*position, false, true);
            }
            shorter = if text.is_empty() { None } else { Some(text.rfind('/').map_or("", |at| &text[..at])) };
        }
        // Those that name more levels than were asked for: they cover none of it, and
        // where all below was asked for they all have topics of it.
        let is_all_below = asked.levels().last() == Some("**")
            && asked.levels().filter(|level| matches!(*level, "*" | "**")).count() == 1;
        let from = if prefix.is_empty() { String::from("\u{0}") } else { format!("{prefix}/") };
        for (text, positions) in self.by_prefix.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded)) {
            if !prefix.is_empty() && !text.starts_with(&from) {
                break;
            }
            for position in positions {
                look(*position, is_all_below, false);
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
                    out.must = out.must.and(&part.must);
                    part.may.iter().for_each(|number| out.may.insert(number));
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

/// Whether two filters have a topic in common: level by level as far as that tells,
/// which it does of nearly all, and otherwise by the algebra, which costs more.
fn meets(one: &Filter, other: &Filter) -> bool {
    let (mut left, mut right) = (one.levels(), other.levels());
    loop {
        let is_last = match (left.next(), right.next()) {
            (None, None) => return true,
            // At the end it takes whatever is left of the other one.
            (Some("**"), _) => left.next().is_none(),
            (_, Some("**")) => right.next().is_none(),
            (None, _) | (_, None) => return false,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => continue,
            _ => return false,
        };
        return is_last || one.intersects(other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_filter() -> impl Strategy<Value = Filter> {
        let level = prop::sample::select(vec!["a", "b", "_c", "*", "*", "**"]);
        prop::collection::vec(level, 1..6).prop_filter_map("a filter", |levels| Filter::parse(&levels.join("/")).ok())
    }

    proptest! {
        #[test]
        fn what_holds_of_many_filters_is_what_the_algebra_says_of_each(
            named in prop::collection::vec(any_filter(), 0..40),
            asked in prop::collection::vec(any_filter(), 1..3),
        ) {
            let mut filters = Filters::default();
            for (number, filter) in (60_u32..).zip(&named) {
                filters.insert(filter, number);
            }
            let resource = Resource::Stream { name: "s".into(), filters: asked.clone().into() };
            let holding = filters.of_resource(&resource);
            let all = |holds: &dyn Fn(&Filter) -> bool| -> BTreeSet<u32> {
                (60_u32..).zip(&named).filter(|(_, filter)| holds(filter)).map(|(number, _)| number).collect()
            };
            let may = all(&|named| asked.iter().any(|asked| named.intersects(asked)));
            let must = all(&|named| asked.iter().all(|asked| covers(named, asked)));
            prop_assert_eq!(holding.may.iter().collect::<BTreeSet<_>>(), may.clone());
            prop_assert_eq!(holding.must.iter().collect::<BTreeSet<_>>(), must);
            prop_assert_eq!(holding.may.len(), may.len());
            prop_assert!((0..200).all(|number| holding.may.contains(number) == may.contains(&number)));
        }
    }
}
