//! What waits, by lane and deadline.
