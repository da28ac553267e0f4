//! The log's tests, filed by concern; one program, since linking takes longer
//! than running.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod append_read;
mod batches;
mod common;
mod compaction;
mod crash;
mod crypt;
mod damage;
mod fast_start;
mod faults;
mod homes;
mod mend;
mod nonces;
mod real;
