//! Layer 1: keyed state on an LSM tree, with a twin for tests and simulations.
#![forbid(unsafe_code)]
