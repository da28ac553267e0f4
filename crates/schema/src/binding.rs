//! Which subject's schemas hold for which topics.
//!
//! A subject is bound to filters of topics. The most specific filter that matches
//! a topic decides: of two, the one that the other includes. Two filters of
//! different subjects that meet, and of which neither includes the other, would
//! leave that open for some topic, so the second one is refused when it is made
//! ([`State::bind`]). Where documents were changed past that, the filter whose text
//! comes first counts, at every hub the same.
use std::collections::BTreeMap;

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
        for (other, there) in self.subjects.iter().filter(|(name, _)| name.as_str() != subject) {
            for theirs in there.topics.iter().filter_map(|text| Filter::parse(text).ok()) {
                if let Some(filter) = filters.iter().find(|filter| ambiguous(filter, &theirs)) {
                    let (filter, theirs) = (filter.as_str().to_owned(), theirs.as_str().to_owned());
                    return Err(BindError::Ambiguous { filter, theirs, subject: other.clone() });
                }
            }
        }
        let texts = filters.iter().map(|filter| filter.as_str().to_owned()).collect();
        Ok(self.bound(subject, texts, check, quarantine.map(str::to_owned))?)
    }
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
