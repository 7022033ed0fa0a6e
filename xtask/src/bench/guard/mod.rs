//! `cargo xtask bench guard`: what the guard catches, lets pass and costs.

mod traces;

use std::path::PathBuf;

use anyhow::Result;

use super::measure::Table;
use crate::command;

/// Measures and prints the tables.
///
/// # Errors
/// When something cannot be built or run.
pub fn run() -> Result<()> {
    let mut table = Table::default();
    traces::measure(&corpora(), &mut table)?;
    print!("{}", table.render());
    Ok(())
}

/// The test data of others: beside the repository, or where `SESSILE_CORPORA` says.
fn corpora() -> PathBuf {
    let beside = || command::root().join("../shared/corpora");
    std::env::var_os("SESSILE_CORPORA").map_or_else(beside, PathBuf::from)
}
