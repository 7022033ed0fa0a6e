//! `cargo xtask test`: sets up, then runs every test. The runner's summary is the last thing said.

use std::time::UNIX_EPOCH;

use anyhow::Result;

use crate::{command, guest, setup};

/// Runs the workspace's tests. As root, the end-to-end tests run twice by themselves: as root
/// and as the test user.
///
/// # Errors
/// When setting up fails or a test does, with the test runner's exit code.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run(setup::For::Tests)?;
    command::run(command::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments))
}

/// How many cases of each property the slow tests make up.
const CASES: &str = "100000";

/// Runs the tests that boot an emulated machine, and each property on many cases that no run had
/// before. A failure prints the case.
///
/// # Errors
/// When setting up fails or a test does, with the test runner's exit code.
pub fn run_slow(arguments: &[String]) -> Result<()> {
    setup::run(setup::For::Slow)?;
    let seed = UNIX_EPOCH.elapsed()?.as_secs();
    let mut properties = command::cargo();
    properties.args(["test", "--release", "--package", "sessile-terminal", "--package", "sessile-jar"]);
    properties.args(["--package", "sessile-session", "--test", "properties"]);
    properties.env("PROPTEST_CASES", CASES).env("PROPTEST_RNG_SEED", seed.to_string());
    command::run(&mut properties)?;
    let mut tests = command::cargo();
    tests.args(["test", "--package", "sessile-cli", "--test", "e2e"]).args(arguments);
    // One after the other: an emulated machine takes what there is.
    tests.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    // No test: the server that others start.
    tests.args(["--skip", "mcp::server::program"]);
    command::run(tests.env("SESSILE_GUEST_KERNEL", guest::kernel()?))
}
