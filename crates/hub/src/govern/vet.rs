//! What only the program's crates know of documents: whether a policy can be
//! read, whether a schema can, whether an author would be locked out, and why
//! policies say what they say.

use std::sync::Arc;

use weft_govern::State;
use weft_govern::access::{Action, Ask, Fault, Principal};
use weft_govern::api::{Able, At, Explained, Whom};
use weft_topic::Filter;

/// Why a change is not proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Documents that cannot be.
    Faults(Vec<Fault>),
    /// The author could not change anything any more. In words.
    LockedOut(String),
}

/// Looks at a state that is to be, before the change that makes it is proposed, and
/// explains one that is. Called on the govern stage's thread, and may take as long
/// as compiling what is new: data does not wait for it, other changes at this hub do.
pub trait Vet: Send {
    /// Looks. `is_administrator`: the author may change things whatever the state
    /// says, and is not locked out by it.
    ///
    /// # Errors
    /// What stands against it.
    fn vet(
        &mut self,
        before: &Arc<State>,
        after: &Arc<State>,
        author: &Arc<Principal>,
        is_administrator: bool,
    ) -> Result<(), Objection>;

    /// Why policies of a state answer a question as they do: the same that a hub
    /// which decides by them would answer. May take as long as looking at each rule.
    fn explain(&mut self, state: &Arc<State>, ask: &Ask, at: &At) -> Explained;

    /// Whether somebody ever may do something to topics of a filter, likewise.
    ///
    /// # Errors
    /// Whom it is about cannot be told. In words.
    fn can(&mut self, state: &Arc<State>, whom: &Whom, action: Action, topics: &Filter) -> Result<Able, String>;
}
