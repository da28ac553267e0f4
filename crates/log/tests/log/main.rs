//! The log's tests, filed by concern; one program, since linking takes longer
//! than running.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod append_read;
mod common;
mod crash;
mod damage;
mod faults;
mod homes;
mod real;
