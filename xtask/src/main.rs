//! Everything repeated: setup, test, ci, bench, tidy.
fn main() {}
