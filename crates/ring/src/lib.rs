//! Bounded rings, the stage runner and the block arena
