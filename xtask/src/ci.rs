//! `cargo xtask ci`: what must hold before a change lands, cheapest first.

use anyhow::Result;

use crate::{command, test, tidy};

/// Formatting, lints, house rules, then exactly `cargo xtask test`.
///
/// # Errors
/// At the first of them that does not hold.
pub fn run() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    command::run(command::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    test::run(&[])
}
