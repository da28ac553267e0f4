//! Prints what machine this is, for the head of every table.
fn main() {}
