//! `cargo xtask ci`: what must hold before a change lands, cheapest first.

use anyhow::Result;

use crate::{command, fuzz, test, tidy};

/// Formatting, lints, house rules, then exactly `cargo xtask test`.
///
/// # Errors
/// At the first of them that does not hold.
pub fn run() -> Result<()> {
    let mut formats = [command::cargo(), fuzz::cargo("fmt")];
    formats[0].args(["fmt", "--all"]);
    let plain = std::env::var_os("NO_COLOR").is_some() || std::env::var("CI").is_ok_and(|ci| ci == "true");
    for mut format in formats {
        format.arg("--check");
        if plain {
            // rustfmt colours its findings even where nobody sees colours.
            format.args(["--", "--color", "never"]);
        }
        command::run(&mut format)?;
    }
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
    // A workspace of its own, which nothing else builds.
    match fuzz::compiler() {
        true => command::run(fuzz::cargo("check").args(["--bins", "--locked"]))?,
        false => eprintln!("skipped: the fuzz targets, which need a C++ compiler"),
    }
    test::run(&[])
}
