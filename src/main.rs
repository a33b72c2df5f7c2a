//! The `mirror-bundle` program.
fn main() {}
