//! Layer 3: policies in Cedar, behind the trait `weft_govern::access::Judge`.
//!
//! [`Compiler`] reads the rules of a policy, or says what is wrong with them;
//! [`CedarJudge`] holds those of a whole state, finds the few that can have a
//! say in a question, and puts them to Cedar. What policies may speak of is
//! [`SCHEMA`]. A question may be about many topics at once (`orders/**`); it is
//! allowed only if each topic of it would be, by the algebra of filters.
//!
//! A thread that compiles or judges needs a stack of 2 MiB, as Rust's threads
//! have by default: Cedar goes down as deep as a rule nests, and [`NESTING`] and
//! [`DEPTH`] are chosen so that half of that is enough.
//!
//! Pure: no clock, file, thread or printing. Does not know how policies are kept
//! or replicated, how anybody logged in, or what a hub does with an answer.
#![forbid(unsafe_code)]

mod atoms;
mod can;
mod cases;
mod compile;
mod evaluate;
mod explain;
mod index;
mod judge;
mod limits;
mod lockout;
mod rewrite;
mod rule;
mod scan;

pub use can::{Can, Example, MAX_EXAMPLES, Subject};
pub use cases::{Case, Failure, Report};
pub use compile::{Compiled, Compiler, Flaw, SCHEMA, SchemaError, told};
pub use explain::{Explanation, Found, MAX_STEPS, Step};
pub use judge::{CedarJudge, MAX_NAMED};
pub use limits::{Limits, MAX_FLAWS, MAX_ID};
pub use scan::{CLAUSES, DEPTH, NESTING};
