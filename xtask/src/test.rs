//! `cargo xtask test`: sets up, then runs every test. The runner's summary is the last thing said.

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

/// Runs the tests that boot an emulated machine.
///
/// # Errors
/// When setting up fails or a test does, with the test runner's exit code.
pub fn run_slow(arguments: &[String]) -> Result<()> {
    setup::run(setup::For::Slow)?;
    let mut tests = command::cargo();
    tests.args(["test", "--package", "sessile-cli", "--test", "e2e"]).args(arguments);
    // One after the other: an emulated machine takes what there is.
    tests.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    command::run(tests.env("SESSILE_GUEST_KERNEL", guest::kernel()?))
}
