//! Who owns which topics, so that an owner is found without asking all of them.
//!
//! A tree by level. Filters of owners have `**` at their end only, so that each
//! is one path; two of them have topics in common only if their paths go
//! together, which a walk finds level by level. Nothing here is deeper than a
//! filter has levels; a walk counts its steps and stops at a bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_topic::Filter;

/// A filter with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    /// The tenant.
    pub(crate) tenant: Arc<str>,
    /// Of its topics.
    pub(crate) filter: Filter,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: BTreeMap<Box<str>, Node>,
    star: Option<Box<Node>>,
    /// Filters that end here.
    exact: Vec<Owned>,
    /// Filters that end here with `**`.
    rest: Vec<Owned>,
}

/// The owners of topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    root: Node,
}

/// Whether a filter can be an owner's: `**` at its end or not at all.
pub(crate) fn is_ownable(filter: &Filter) -> bool {
    filter.levels().rev().skip(1).all(|level| level != "**")
}

/// Whether all topics of a filter are reserved.
pub(crate) fn is_reserved(filter: &Filter) -> bool {
    filter.levels().next().is_some_and(|level| level.starts_with('_'))
}

/// The steps that a walk may still take.
pub(crate) struct Steps(pub(crate) usize);

impl Steps {
    fn one(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

impl Owners {
    /// Adds one of [`is_ownable`].
    pub(crate) fn insert(&mut self, tenant: &Arc<str>, filter: &Filter) {
        let mut node = &mut self.root;
        let owned = Owned { tenant: tenant.clone(), filter: filter.clone() };
        for level in filter.levels() {
            node = match level {
                "**" => return node.rest.push(owned),
                "*" => node.star.get_or_insert_default(),
                literal => node.literals.entry(literal.into()).or_default(),
            };
        }
        node.exact.push(owned);
    }

    /// The filter that has all topics of `asked`, if there is one.
    pub(crate) fn covering(&self, asked: &Filter) -> Option<&Owned> {
        let levels: Vec<&str> = asked.levels().collect();
        covering(&self.root, &levels, asked)
    }

    /// A filter that has some topic in common with `asked`, of which `wanted` is
    /// true; none also where `steps` are used up.
    pub(crate) fn meeting(&self, asked: &Filter, wanted: &dyn Fn(&Owned) -> bool, steps: &mut Steps) -> Option<&Owned> {
        let levels: Vec<&str> = asked.levels().collect();
        meeting(&self.root, &levels, wanted, steps)
    }
}

/// Only what may have all of `asked` is looked at: a literal takes no wildcard.
fn covering<'a>(node: &'a Node, levels: &[&str], asked: &Filter) -> Option<&'a Owned> {
    let whole = |owned: &&Owned| owned.filter.includes(asked);
    if let Some(owned) = node.rest.iter().find(whole) {
        return Some(owned);
    }
    let Some((level, after)) = levels.split_first() else { return node.exact.iter().find(whole) };
    if *level == "**" {
        // Of `**/b` each topic has a level: `*/**` has them all.
        return covering(node.star.as_deref()?, levels, asked);
    }
    let literal = if *level == "*" { None } else { node.literals.get(*level) };
    literal.and_then(|next| covering(next, after, asked)).or_else(|| covering(node.star.as_deref()?, after, asked))
}

fn meeting<'a>(
    node: &'a Node,
    levels: &[&str],
    wanted: &dyn Fn(&Owned) -> bool,
    steps: &mut Steps,
) -> Option<&'a Owned> {
    if !steps.one() {
        return None;
    }
    // Whatever follows, some topic has it.
    if let Some(owned) = node.rest.iter().find(|owned| wanted(owned)) {
        return Some(owned);
    }
    let Some((level, after)) = levels.split_first() else { return node.exact.iter().find(|owned| wanted(owned)) };
    let star = node.star.as_deref();
    match *level {
        "**" => {
            if let Some(found) = meeting(node, after, wanted, steps) {
                return Some(found);
            }
            let next = star.into_iter().chain(node.literals.values());
            next.into_iter().find_map(|next| meeting(next, levels, wanted, steps))
        }
        "*" => star.into_iter().chain(node.literals.values()).find_map(|next| meeting(next, after, wanted, steps)),
        literal => {
            let next = node.literals.get(literal).into_iter().chain(star);
            next.into_iter().find_map(|next| meeting(next, after, wanted, steps))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(levels: &[u8], rest: bool) -> Option<Filter> {
        let names = levels.iter().map(|level| ["a", "b", "*"][usize::from(level % 3)]);
        let text: Vec<_> = names.chain(rest.then_some("**")).collect();
        Filter::parse(&text.join("/")).ok()
    }

    fn owned() -> impl Strategy<Value = Option<Filter>> {
        (prop::collection::vec(any::<u8>(), 0..4), any::<bool>()).prop_map(|(levels, rest)| filter(&levels, rest))
    }

    fn asked() -> impl Strategy<Value = Option<Filter>> {
        let level = prop::sample::select(vec!["a", "b", "c", "*", "**"]);
        prop::collection::vec(level, 1..5).prop_map(|levels| Filter::parse(&levels.join("/")).ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn owners_are_found_that_asking_each_would_find(
            filters in prop::collection::vec(owned(), 0..12),
            asked in asked(),
        ) {
            let Some(asked) = asked else { return Ok(()) };
            let filters: Vec<Filter> = filters.into_iter().flatten().collect();
            let mut owners = Owners::default();
            for (number, filter) in filters.iter().enumerate() {
                prop_assert!(is_ownable(filter));
                owners.insert(&number.to_string().into(), filter);
            }
            let found = owners.covering(&asked);
            prop_assert_eq!(found.is_some(), filters.iter().any(|filter| filter.includes(&asked)));
            prop_assert!(found.is_none_or(|owned| owned.filter.includes(&asked)));
            for not in 0..filters.len() {
                let other = |owned: &Owned| *owned.tenant != *not.to_string();
                let found = owners.meeting(&asked, &other, &mut Steps(100_000));
                let naive = filters.iter().enumerate().any(|(number, f)| number != not && f.intersects(&asked));
                prop_assert_eq!(found.is_some(), naive);
                prop_assert!(found.is_none_or(|owned| owned.filter.intersects(&asked)));
            }
        }
    }

    #[test]
    fn what_can_be_owned_has_its_rest_at_the_end() {
        let ownable = |text: &str| is_ownable(&Filter::parse(text).unwrap());
        assert!(ownable("a") && ownable("**") && ownable("*/a/**") && ownable("a/*/**"));
        assert!(!ownable("**/a") && !ownable("a/**/b") && !ownable("**/a/**"));
    }

    #[test]
    fn an_owner_among_many_is_found_in_few_steps() {
        let mut owners = Owners::default();
        for tenant in 0..1_000 {
            for number in 0..8 {
                let text = format!("mesh/t{tenant}/{number}/**");
                owners.insert(&format!("t{tenant}").into(), &Filter::parse(&text).unwrap());
            }
        }
        let steps = |asked: &str| {
            let mut steps = Steps(1_000_000);
            let found = owners.meeting(&Filter::parse(asked).unwrap(), &|_| true, &mut steps);
            (found.map(|owned| owned.tenant.to_string()), 1_000_000 - steps.0)
        };
        assert_eq!(steps("mesh/t777/3/x"), (Some("t777".to_owned()), 4));
        assert_eq!(steps("mesh/none/**"), (None, 2));
        assert!(matches!(steps("**"), (Some(_), ..10)));
        let mut few = Steps(10);
        assert!(owners.meeting(&Filter::parse("*/*/*").unwrap(), &|_| false, &mut few).is_none());
        assert_eq!(few.0, 0);
    }
}
