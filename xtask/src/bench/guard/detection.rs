//! Rows about what stands in texts: what is found, what is taken for what it is not, what it costs.

use anyhow::{Context as _, Result};

use crate::bench::measure::Table;
use crate::command;

/// Adds a row for each figure.
///
/// # Errors
/// When the example cannot be built or run, or says something else.
pub fn measure(groups: &[String], verbose: bool, table: &mut Table) -> Result<()> {
    eprintln!("bench: secrets, personal data, instructions, leaks, latency");
    let mut measure = command::example("sessile-guard", "measure");
    measure.args(groups).args(verbose.then_some("--verbose"));
    for line in command::read(&mut measure)?.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, figure, target, count) = (next()?, next()?, next()?, next()?);
        table.add(name, format!("{figure} of {count}"), target);
    }
    Ok(())
}

/// Trains the model of injected instructions and writes its weights.
///
/// # Errors
/// When something cannot be built or run.
pub fn train() -> Result<()> {
    command::run(&mut command::example("sessile-guard", "train"))
}
