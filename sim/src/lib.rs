//! A deterministic simulator of a mesh, and its checkers
