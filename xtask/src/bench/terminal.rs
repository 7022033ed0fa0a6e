//! `cargo xtask bench terminal`.

use anyhow::{Context as _, Result};

use super::measure::Table;
use crate::command;

/// Measures how fast terminals take text in, and prints the table.
///
/// # Errors
/// When something cannot be built or run.
pub fn run() -> Result<()> {
    let mut table = Table::default();
    eprintln!("bench: taking text in");
    let arguments =
        ["run", "--release", "--locked", "--quiet", "--package", "sessile-terminal", "--example", "speed"];
    let printed = command::read(command::cargo().args(arguments))?;
    for line in printed.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, ours, theirs) = (next()?, next()?, next()?);
        match (ours.parse::<f64>(), theirs.parse::<f64>()) {
            (Ok(own), Ok(other)) => {
                table.add(name, format!("{own:.0} MB/s"), "");
                table.add("  alacritty_terminal", format!("{other:.0} MB/s"), "");
                table.add("  ratio", format!("{:.2}x", own / other), "at least 1.3x");
            }
            _ => table.add(name, format!("{ours} us"), ""),
        }
    }
    print!("{}", table.render());
    Ok(())
}
