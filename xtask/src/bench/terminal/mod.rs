//! `cargo xtask bench terminal`: a terminal that is left and returned to, beside others.

mod echo;
mod flood;
mod idle;
mod multiplexers;
mod parser;
mod returning;
mod window;

use anyhow::Result;

use self::multiplexers::Multiplexer;
use super::house::House;
use super::measure::Table;
use super::session;
use crate::setup;

/// Builds, installs the peers, measures everything and prints the table.
///
/// # Errors
/// When something cannot be built, installed or run.
pub fn run(rounds: usize) -> Result<()> {
    setup::run(setup::For::Bench)?;
    setup::install_shpool();
    let program = session::build()?;
    let mut table = Table::default();
    eprintln!("bench: taking text in");
    parser::measure(&mut table)?;
    let house = House::new(&program, "terminal")?;
    let multiplexers = Multiplexer::all(&house)?;
    eprintln!("bench: {} keystrokes each", rounds * echo::KEYS_A_ROUND);
    echo::measure(&multiplexers, rounds, &mut table)?;
    eprintln!("bench: returning ({rounds} times each)");
    returning::measure(&multiplexers, rounds, &mut table)?;
    eprintln!("bench: 100 MB through a client");
    flood::through_a_client(&multiplexers, &mut table)?;
    eprintln!("bench: 300 MB beside a client that reads nothing");
    flood::beside_a_stalled_client(&multiplexers, &mut table)?;
    eprintln!("bench: holding idle terminals");
    idle::measure(&multiplexers, &mut table)?;
    print!("{}", table.render());
    Ok(())
}
