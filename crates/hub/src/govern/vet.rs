//! What only the program's crates know of documents: whether a policy can be
//! read, whether a schema can, and whether an author would be locked out.

use std::sync::Arc;

use weft_govern::State;
use weft_govern::access::{Fault, Principal};

/// Why a change is not proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Documents that cannot be.
    Faults(Vec<Fault>),
    /// The author could not change anything any more. In words.
    LockedOut(String),
}

/// Looks at a state that is to be, before the change that makes it is proposed.
/// Called on the govern stage's thread, and may take as long as compiling what is
/// new: data does not wait for it, other changes at this hub do.
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
}
