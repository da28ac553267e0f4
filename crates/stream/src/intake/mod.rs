//! What a stream takes in: which blocks it has had before, which meet what
//! their publishers expect, and which belong together.
//!
//! Pure: the caller looks up what was saved, appends and answers. All of it can
//! be made anew from the stream's log; what is saved stands for the log up to
//! one local sequence, so that after a crash only the blocks from there on are
//! read. Where the two disagree the log is right.

mod asked;
mod batch;
mod gaps;
mod last;
mod window;

pub use asked::{Asked, BatchPart, Malformed, SPECIAL, is_expired};
pub use batch::{Batches, Faulty, Limits as BatchLimits, Put};
pub use last::{Last, LastTable};
pub use window::{Noted, Place, Saved, Window};
