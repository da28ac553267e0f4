//! The pattern of a rule: a filter whose wildcards are captures.

use crate::filter::{Filter, FilterError};
use crate::grammar::{MAX_LEVELS, is_reserved};
use crate::topic::Topic;

/// Which topics a rule is for, and what of them its templates can use.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<str>,
    filter: Filter,
    /// Numbers of the levels, from 0, that are captured: capture 1 first.
    captured: Box<[u8]>,
    /// The number of the first level of the rest.
    rest: Option<u8>,
}

/// What a pattern captured of a topic.
#[derive(Clone, Copy)]
pub(crate) struct Captures<'a> {
    pub(crate) topic: &'a str,
    /// Where each level starts, and where one after the last would.
    starts: [u16; MAX_LEVELS + 1],
    levels: usize,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let filter = Filter::parse(text)?;
        if is_reserved(text) {
            return Err(PatternError::Reserved);
        }
        // The canonical form may have other levels than what was written.
        let (mut captured, mut rest) = (Vec::new(), None);
        for (number, level) in text.split('/').enumerate() {
            if rest.is_some() {
                return Err(PatternError::Inside { level: number });
            }
            // At most 64 levels.
            match level {
                "*" => captured.push(number as u8),
                "**" => rest = Some(number as u8),
                _ => {}
            }
        }
        Ok(Self { text: text.into(), filter, captured: captured.into(), rest })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How many captures there are.
    pub(crate) fn captures(&self) -> usize {
        self.captured.len()
    }

    pub(crate) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// The capture of this number, from 1, of a topic that matches.
    pub(crate) fn capture<'a>(&self, number: u8, of: &Captures<'a>) -> &'a str {
        let level = usize::from(number).checked_sub(1).and_then(|index| self.captured.get(index));
        level.map_or("", |&level| of.levels(usize::from(level), usize::from(level) + 1))
    }

    /// What the `**` stands for in a topic that matches: empty for no level.
    pub(crate) fn rest<'a>(&self, of: &Captures<'a>) -> &'a str {
        self.rest.map_or("", |first| of.levels(usize::from(first), of.levels))
    }
}

impl<'a> Captures<'a> {
    pub(crate) fn of(topic: Topic<'a>) -> Self {
        let topic = topic.as_str();
        let (mut starts, mut levels, mut start) = ([0; MAX_LEVELS + 1], 0, 0);
        for (level, next) in topic.split('/').zip(starts.iter_mut().skip(1)) {
            // A topic has at most 1,024 bytes.
            start += level.len() as u16 + 1;
            *next = start;
            levels += 1;
        }
        Self { topic, starts, levels }
    }

    /// The levels from one to before another, with what separates them.
    fn levels(&self, from: usize, to: usize) -> &'a str {
        match (self.starts.get(from), self.starts.get(to)) {
            (Some(&from), Some(&to)) if from < to => self.topic.get(from.into()..usize::from(to) - 1).unwrap_or(""),
            _ => "",
        }
    }
}

/// Why a text is no pattern of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is no filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A `**` that is not the last level.
    #[error("level {level} is a `**` that others follow, so that it is not clear what they capture: end with it")]
    Inside {
        /// Which level, from 1.
        level: usize,
    },
    /// The first level starts with an underscore.
    #[error("topics that start with `_` are the mesh's own and are not mapped: choose another first level")]
    Reserved,
}
