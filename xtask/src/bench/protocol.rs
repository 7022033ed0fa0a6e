//! `cargo xtask bench protocol`.

use anyhow::{Context as _, Result};

use super::measure::Table;
use crate::command;

/// What a row is to be at most, in nanoseconds, and whether it may allocate.
const TARGETS: [(&str, f64, bool); 3] = [
    ("a monitor step", 30.0, false),
    ("send, queue and receive", 100.0, false),
    ("opening from a compiled plan", 1000.0, true),
];

/// Measures what holding sessions to their protocol costs, and prints the table.
///
/// # Errors
/// When something cannot be built or run.
pub fn run() -> Result<()> {
    let mut table = Table::default();
    eprintln!("bench: 10^8 events and more");
    let arguments =
        ["run", "--release", "--locked", "--quiet", "--package", "sessile-protocol", "--example", "speed"];
    let printed = command::read(command::cargo().args(arguments))?;
    for line in printed.lines() {
        let mut words = line.split('\t');
        let mut next = || words.next().context("the example says something else");
        let (name, nanoseconds, allocations) = (next()?, next()?, next()?);
        let target = TARGETS.iter().find(|(row, ..)| *row == name).map_or(String::new(), |(_, most, may)| {
            format!("at most {most} ns{}", if *may { "" } else { ", 0 allocations" })
        });
        table.add(name, format!("{nanoseconds} ns, {allocations} allocations"), &target);
    }
    print!("{}", table.render());
    Ok(())
}
