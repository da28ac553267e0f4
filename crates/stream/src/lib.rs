//! Layer 2: the deciders of streams, pure: no disk, clock, thread or socket.
#![forbid(unsafe_code)]
