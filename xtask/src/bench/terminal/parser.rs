//! How fast a screen takes text in, beside another model.

use anyhow::{Context as _, Result};

use crate::bench::measure::Table;
use crate::command;

/// The row without a floor.
const BEYOND: &str = "characters beyond ASCII";

/// Adds the figures that the terminal's own example prints.
///
/// # Errors
/// When it cannot be built or says something else.
pub fn measure(table: &mut Table) -> Result<()> {
    let printed = command::read(&mut command::example("sessile-terminal", "parser_speed"))?;
    for line in printed.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, ours, theirs) = (next()?, next()?, next()?);
        match (ours.parse::<f64>(), theirs.parse::<f64>()) {
            (Ok(own), Ok(other)) => {
                table.add(name, format!("{own:.0} MB/s"), "");
                table.add("  alacritty_terminal", format!("{other:.0} MB/s"), "");
                // Of other text only what it costs is told: clusters of characters are kept together here.
                let floor = if name == BEYOND { "" } else { "at least 1.3x" };
                table.add("  ratio", format!("{:.2}x", own / other), floor);
            }
            _ => table.add(name, format!("{ours} us"), ""),
        }
    }
    Ok(())
}
