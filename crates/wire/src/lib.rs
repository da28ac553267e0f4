//! The block, the frames of the native protocol and of links: layout and codec
