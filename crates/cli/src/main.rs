//! The `sessile` command.
fn main() {}
