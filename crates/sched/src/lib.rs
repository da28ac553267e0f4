//! Layer 1: what goes next, where it runs, and how much of it at a time.
//!
//! * [`lanes`] orders what waits: eight lanes by weighted deficit, earliest
//!   deadline first inside a lane.
//! * [`control`] decides how stages run and what happens under too much load.
//!
//! Pure deciders and bounded collections: no socket, file, clock or thread, and
//! no knowledge of what is scheduled.
#![forbid(unsafe_code)]

pub mod control;
pub mod lanes;
