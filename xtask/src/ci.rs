//! `cargo xtask ci`: what must hold before a change lands, cheapest first.

use anyhow::Result;

use crate::{command, test, tidy};

/// Formatting, lints, house rules, then exactly `cargo xtask test`.
///
/// # Errors
/// At the first of them that does not hold.
pub fn run() -> Result<()> {
    let mut format = command::cargo();
    format.args(["fmt", "--all", "--check"]);
    if std::env::var_os("NO_COLOR").is_some() || std::env::var("CI").is_ok_and(|ci| ci == "true") {
        // rustfmt colours its findings even where nobody sees colours.
        format.args(["--", "--color", "never"]);
    }
    command::run(&mut format)?;
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
