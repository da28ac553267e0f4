//! The Rust client of a Weft hub
