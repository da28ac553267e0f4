//! Layer 2: the deciders of streams, pure: no disk, clock, thread or socket.
//!
//! [`intake`] decides what a stream takes in; [`consumer`] decides who gets which event of a stream and until when it is
//! done, [`seat`] at which of its homes that is decided; [`predicate`] which events somebody wants, beside their topics;
//! [`replica`] what is copied between homes, and [`heal`] how damage is repaired from them.
#![forbid(unsafe_code)]

pub mod consumer;
pub mod heal;
pub mod intake;
pub mod predicate;
pub mod replica;
pub mod seat;
