//! What homes tell each other of consumers.

use serde::{Deserialize, Serialize};
use weft_base::HubId;

use super::State;

/// Which of two states of a consumer is the newer one: later lives have greater
/// generations; of two lives that began apart with the same, the home decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The upper half of the life's tokens.
    pub generation: u32,
    /// The tag of the home where it ran.
    pub home: u32,
    /// Rises with each copy of one life; the upper half with each start of the
    /// hub, which may have less after it than it had told before.
    pub number: u64,
}

impl Version {
    /// Whether both are of one life.
    #[must_use]
    pub fn is_same_life(&self, other: &Self) -> bool {
        (self.generation, self.home) == (other.generation, other.home)
    }
}

/// The home where a consumer is to run while that can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// Rises with each change, so that the last one counts; 0 when nobody ever
    /// asked.
    pub number: u64,
    /// The hub's name; empty for none.
    pub home: String,
}

impl Preference {
    /// The hub.
    #[must_use]
    pub fn hub(&self) -> Option<HubId> {
        (!self.home.is_empty()).then(|| HubId::of_name(&self.home))
    }

    /// Takes the other one if it is newer; answers whether that changed it.
    pub(super) fn learn(&mut self, other: &Self) -> bool {
        let is_newer = *self < *other;
        if is_newer {
            self.clone_from(other);
        }
        is_newer
    }
}

/// A consumer's state at its seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy<D> {
    /// The stream.
    pub stream: u64,
    /// Its name there.
    pub name: String,
    /// Which state.
    pub version: Version,
    /// The name of the home where it ran.
    pub seat: String,
    /// Where it is to run.
    pub preference: Preference,
    /// What it is.
    pub definition: D,
    /// How far it is.
    pub state: State,
}

/// Where a consumer is to run, for those who route to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefers {
    /// The stream.
    pub stream: u64,
    /// The consumer.
    pub name: String,
    /// Where.
    pub preference: Preference,
}

/// What homes tell each other, and other hubs, of consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told<D> {
    /// A consumer's state; `ask` is that of the [`Told::Ask`] it answers, 0 when
    /// it is told unasked.
    Copy {
        /// What it answers.
        ask: u64,
        /// The state.
        copy: Box<Copy<D>>,
    },
    /// The last state of a consumer that is handed over: run it.
    Give(Box<Copy<D>>),
    /// Hand a consumer over, or say what you have of it.
    Want {
        /// The stream.
        stream: u64,
        /// The consumer.
        name: String,
    },
    /// A consumer was deleted, with all versions up to this one.
    Gone {
        /// The stream.
        stream: u64,
        /// The consumer.
        name: String,
        /// Its last generation.
        generation: u32,
    },
    /// Say all that you have of the streams of both of us.
    Ask {
        /// Names the question.
        ask: u64,
    },
    /// That was all: so many copies.
    All {
        /// The question.
        ask: u64,
        /// How many.
        copies: u64,
    },
    /// All consumers that have a preferred home, as far as the sender knows.
    Prefer(Vec<Prefers>),
}
