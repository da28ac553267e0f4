//! The hub: stages wired together, sessions, streams and the conductor
