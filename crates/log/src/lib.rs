//! The append-only log of blocks
