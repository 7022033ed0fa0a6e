//! `cargo xtask bench guard`: what the guard catches, lets pass and costs.

mod detection;
mod traces;

use std::path::PathBuf;

use anyhow::Result;

use super::measure::Table;
use crate::command;

pub use detection::train;

/// Measures and prints the tables: those groups of rows, or all.
///
/// # Errors
/// When something cannot be built or run.
pub fn run(groups: &[String], verbose: bool) -> Result<()> {
    let mut table = Table::default();
    if groups.is_empty() || groups.iter().any(|group| group == "traces") {
        traces::measure(&corpora(), &mut table)?;
    }
    if groups.is_empty() || groups.iter().any(|group| group != "traces") {
        detection::measure(groups, verbose, &mut table)?;
    }
    print!("{}", table.render());
    Ok(())
}

/// The test data of others: beside the repository, or where `SESSILE_CORPORA` says.
fn corpora() -> PathBuf {
    let beside = || command::root().join("../shared/corpora");
    std::env::var_os("SESSILE_CORPORA").map_or_else(beside, PathBuf::from)
}
