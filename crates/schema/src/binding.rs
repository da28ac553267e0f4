//! Which subject's schemas hold for which topics.
//!
//! A subject is bound to filters of topics. The most specific filter that matches
//! a topic decides: of two, the one that the other includes. Two filters of
//! different subjects that meet, and of which neither includes the other, would
//! leave that open for some topic, so the second one is refused when it is made
//! ([`State::bind`]). Where documents were changed past that, the filter whose text
//! comes first counts, at every hub the same.
use std::collections::{BTreeMap, BTreeSet};

pub use weft_govern::document::Check;
use weft_topic::{Filter, FilterError, InterestSet, Topic};

use crate::registry::{Change, RegistryError, State};

/// How many filters one subject may be bound to.
pub const MAX_FILTERS: usize = 64;

/// Why a subject cannot be bound so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// No filter.
    #[error("'{text}' is no filter of topics")]
    Filter {
        /// The text.
        text: String,
        /// Why.
        #[source]
        source: FilterError,
    },
    /// Too many of them.
    #[error("{count} filters for one subject, and at most {MAX_FILTERS} are allowed: use wider ones")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// It would be open which subject holds for some topics.
    #[error(
        "the filter '{filter}' and '{theirs}' of subject '{subject}' have topics in common, and neither includes the other: make one of them narrower"
    )]
    Ambiguous {
        /// The new filter.
        filter: String,
        /// The one that is there.
        theirs: String,
        /// Of which subject.
        subject: String,
    },
    /// Quarantine without a stream for it.
    #[error("payloads of subject '{subject}' are to go to quarantine, and no stream is named for it")]
    NoStream {
        /// The subject.
        subject: String,
    },
    /// There is nothing to check by.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl State {
    /// Binds a subject to the topics of these filters, in place of those that it
    /// was bound to. No filter unbinds it. `quarantine` is the stream where bad
    /// payloads go, if `check` says so.
    ///
    /// # Errors
    /// [`BindError`]; nothing is changed.
    pub fn bind(
        &self,
        subject: &str,
        topics: &[&str],
        check: Check,
        quarantine: Option<&str>,
    ) -> Result<Change<()>, BindError> {
        if check == Check::Quarantine && quarantine.is_none_or(str::is_empty) {
            return Err(BindError::NoStream { subject: crate::error::shortened(subject) });
        }
        if topics.len() > MAX_FILTERS {
            return Err(BindError::TooMany { count: topics.len() });
        }
        let mut filters = Vec::with_capacity(topics.len());
        for text in topics {
            let error = |source| BindError::Filter { text: crate::error::shortened(*text), source };
            filters.push(Filter::parse(text).map_err(error)?);
        }
        filters.sort();
        filters.dedup();
        if !filters.is_empty() {
            self.version(subject, "latest", false)?;
        }
        for filter in &filters {
            let mut of_others = self.bound.near(filter).filter(|(_, name)| name != subject);
            if let Some((theirs, other)) = of_others.find(|(theirs, _)| ambiguous(filter, theirs)) {
                let (filter, theirs) = (filter.as_str().to_owned(), theirs.as_str().to_owned());
                return Err(BindError::Ambiguous { filter, theirs, subject: other.clone() });
            }
        }
        let texts = filters.iter().map(|filter| filter.as_str().to_owned()).collect();
        Ok(self.bound(subject, texts, check, quarantine.map(str::to_owned))?)
    }
}

/// The filters that subjects are bound to, by the levels that they begin with
/// before the first wildcard: filters have topics in common only where those of one
/// begin with those of the other. So what may meet a filter is found without asking
/// all of them, unless most begin with wildcards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bound(BTreeMap<Vec<Box<str>>, BTreeSet<(Filter, String)>>);

impl Bound {
    pub(crate) fn insert(&mut self, text: &str, subject: &str) {
        if let Ok(filter) = Filter::parse(text) {
            self.0.entry(beginning(&filter)).or_default().insert((filter, subject.to_owned()));
        }
    }

    pub(crate) fn remove(&mut self, text: &str, subject: &str) {
        let Ok(filter) = Filter::parse(text) else { return };
        let beginning = beginning(&filter);
        if let Some(there) = self.0.get_mut(&beginning) {
            there.remove(&(filter, subject.to_owned()));
            if there.is_empty() {
                self.0.remove(&beginning);
            }
        }
    }

    /// All that may have a topic in common with `filter`, and their subjects.
    fn near(&self, filter: &Filter) -> impl Iterator<Item = &(Filter, String)> {
        let beginning = beginning(filter);
        let shorter: Vec<_> = (0..beginning.len()).filter_map(|n| self.0.get(beginning.get(..n)?)).collect();
        let longer = self.0.range(beginning.clone()..).take_while(move |(levels, _)| levels.starts_with(&beginning));
        shorter.into_iter().chain(longer.map(|(_, there)| there)).flatten()
    }
}

/// The levels before the first wildcard.
fn beginning(filter: &Filter) -> Vec<Box<str>> {
    filter.levels().take_while(|level| !matches!(*level, "*" | "**")).map(Into::into).collect()
}

/// Whether for some topic neither filter is the more specific one.
fn ambiguous(one: &Filter, other: &Filter) -> bool {
    one.intersects(other) && one.includes(other) == other.includes(one)
}

/// One filter's binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The filter.
    pub filter: Filter,
    /// The subject.
    pub subject: String,
    /// What is done with bad payloads.
    pub check: Check,
    /// The stream for those in quarantine.
    pub quarantine: Option<String>,
}

/// All bindings of a state, found by topic.
#[derive(Debug, Default)]
pub struct Bindings {
    all: BTreeMap<u32, Binding>,
    index: InterestSet<u32>,
}

impl Bindings {
    /// Those of `state`. Texts that are no filters are left out; `bind` makes none.
    pub fn of(state: &State) -> Self {
        let mut bindings = Self::default();
        let each = state
            .subjects
            .iter()
            .flat_map(|(name, subject)| subject.topics.iter().map(move |text| (name, subject, text)));
        let each = each.filter_map(|(name, subject, text)| Some((name, subject, Filter::parse(text).ok()?)));
        for (number, (name, subject, filter)) in (0_u32..).zip(each) {
            bindings.index.insert(&filter, number);
            bindings.all.insert(
                number,
                Binding { filter, subject: name.clone(), check: subject.check, quarantine: subject.quarantine.clone() },
            );
        }
        bindings
    }

    /// The binding that holds for a topic: the most specific one.
    pub fn find(&self, topic: Topic<'_>) -> Option<&Binding> {
        let mut best: Option<&Binding> = None;
        self.index.for_each_match(topic, |number| {
            let Some(one) = self.all.get(number) else { return };
            let better =
                best.is_none_or(|best| match (best.filter.includes(&one.filter), one.filter.includes(&best.filter)) {
                    (true, false) => true,
                    (false, true) => false,
                    _ => (&one.filter, &one.subject) < (&best.filter, &best.subject),
                });
            if better {
                best = Some(one);
            }
        });
        best
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "aa", "*", "**"]);
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn whatever_meets_a_filter_is_near_it(bound in prop::collection::vec(filter(), 1..20), gone in 0_usize..20, asked in filter()) {
            let Ok(asked) = Filter::parse(&asked) else { return Ok(()) };
            let mut index = Bound::default();
            for (number, text) in bound.iter().enumerate() {
                index.insert(text, &number.to_string());
            }
            if let Some(text) = bound.get(gone) {
                index.remove(text, &gone.to_string());
            }
            let near: BTreeSet<&(Filter, String)> = index.near(&asked).collect();
            for (number, text) in bound.iter().enumerate().filter(|(number, _)| *number != gone) {
                let Ok(filter) = Filter::parse(text) else { continue };
                if filter.intersects(&asked) {
                    prop_assert!(near.contains(&(filter, number.to_string())), "{text}");
                }
            }
            prop_assert!(near.iter().all(|(_, number)| *number != gone.to_string()));
        }
    }
}
