//! `cargo xtask bench terminal`: a terminal that is left and returned to, beside others.

mod echo;
mod flood;
mod idle;
mod multiplexers;
mod parser;
mod returning;
mod window;

use anyhow::Result;
use clap::ValueEnum;

use self::multiplexers::{Kind, Multiplexer};
use super::account::Account;
use super::house::House;
use super::measure::Table;
use super::session;
use crate::setup;

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// How fast a screen takes text in.
    Parser,
    /// From a key to its echo.
    Echo,
    /// From a client's start to the complete screen.
    Attach,
    /// 100 MB through a client.
    Flood,
    /// 300 MB beside a client that reads nothing.
    Stalled,
    /// Terminals that nobody looks at.
    Idle,
}

/// A program to measure beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// GNU screen.
    Screen,
    /// tmux.
    Tmux,
    /// dtach.
    Dtach,
    /// shpool.
    Shpool,
}

impl Peer {
    const ALL: [Self; 4] = [Self::Screen, Self::Tmux, Self::Dtach, Self::Shpool];

    fn kind(self) -> Kind {
        match self {
            Self::Screen => Kind::Screen,
            Self::Tmux => Kind::Tmux,
            Self::Dtach => Kind::Dtach,
            Self::Shpool => Kind::Shpool,
        }
    }
}

/// Builds, installs the peers, measures everything (or the groups and peers that are named) and prints
/// the table.
///
/// # Errors
/// When something cannot be built, installed or run.
pub fn run(rounds: usize, only: &[Group], peers: &[Peer]) -> Result<()> {
    let wanted = |group| only.is_empty() || only.contains(&group);
    let peers = if peers.is_empty() { &Peer::ALL } else { peers };
    setup::run(setup::For::Bench)?;
    if peers.contains(&Peer::Shpool) {
        setup::install_shpool();
    }
    let program = session::build()?;
    let mut table = Table::default();
    if wanted(Group::Parser) {
        eprintln!("bench: taking text in");
        parser::measure(&mut table)?;
    }
    // Before anything is started, and until all of it has ended.
    let account = Account::open();
    let house = House::new(&program, "terminal")?;
    let kinds: Vec<Kind> = peers.iter().map(|peer| peer.kind()).collect();
    let multiplexers = Multiplexer::all(&house, &kinds)?;
    if wanted(Group::Echo) {
        // On which processors a round's processes land decides more than what they do: many rounds.
        let rounds = 3 * rounds;
        eprintln!("bench: {} keystrokes each", rounds * echo::KEYS_A_ROUND);
        echo::measure(&multiplexers, rounds, &mut table)?;
    }
    if wanted(Group::Attach) {
        eprintln!("bench: returning ({rounds} times each)");
        returning::measure(&multiplexers, rounds, &mut table)?;
    }
    if wanted(Group::Flood) {
        eprintln!("bench: 100 MB through a client");
        flood::through_a_client(&multiplexers, &mut table)?;
    }
    if wanted(Group::Stalled) {
        eprintln!("bench: 300 MB beside a client that reads nothing");
        flood::beside_a_stalled_client(&multiplexers, &mut table)?;
    }
    if wanted(Group::Idle) {
        eprintln!("bench: holding idle terminals");
        idle::measure(&multiplexers, &account, &mut table)?;
    }
    print!("{}", table.render());
    Ok(())
}
