//! `cargo xtask test`: sets up, then runs every test. The runner's summary is the last thing said.

use anyhow::Result;

use crate::{command, setup};

/// Runs the workspace's tests. As root, the end-to-end tests run twice by themselves: as root
/// and as the test user.
///
/// # Errors
/// When setting up fails or a test does, with the test runner's exit code.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::run(setup::For::Tests)?;
    command::run(command::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments))
}
