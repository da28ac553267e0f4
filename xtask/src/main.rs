//! Tools of the project.
fn main() {}
