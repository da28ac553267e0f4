//! The log's tests, filed by concern; one program, since linking takes longer
//! than running.

mod append_read;
mod common;
mod crash;
mod damage;
mod faults;
mod real;
