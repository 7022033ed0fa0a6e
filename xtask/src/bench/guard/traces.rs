//! Rows about agents' traces: what users may do without a question, and what attacks may not.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::measure::Table;
use crate::command;

/// Adds a row for each figure.
///
/// # Errors
/// When the example cannot be built or run, or says something else.
pub fn measure(corpora: &Path, table: &mut Table) -> Result<()> {
    let traces = corpora.join("agent-traces");
    if !traces.is_dir() {
        eprintln!("SKIPPED: no traces in {}; SESSILE_CORPORA names the folder of corpora", traces.display());
        return Ok(());
    }
    eprintln!("bench: agents' traces");
    let printed = command::read(command::example("sessile-guardhouse", "traces").arg(traces))?;
    for line in printed.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, figure, target) = (next()?, next()?, next()?);
        table.add(name, figure, target);
    }
    Ok(())
}
