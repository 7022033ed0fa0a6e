//! `cargo xtask bench NAME`: measures side by side with peers, in one run, and prints a table.
//!
//! Nothing here asserts a time: figures are for reading, beside those of the peers on the same
//! machine a moment before and after.

mod account;
mod fleet;
mod guard;
mod house;
mod measure;
mod peers;
mod processes;
mod protocol;
mod requests;
mod route;
mod session;
mod terminal;
mod traffic;

use anyhow::Result;
use clap::Subcommand;

pub use guard::train;

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Name {
    /// Opening, holding, finding again and wiping sessions.
    Session {
        /// Timed rounds of each contender.
        #[arg(long, default_value_t = 30)]
        rounds: usize,
        /// Sessions held at once.
        #[arg(long, default_value_t = 100)]
        sessions: usize,
    },
    /// The way of a session's packets, beside a pair of veth devices and slirp4netns.
    Route {
        /// Rounds of each contender.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// What holding a session to its protocol costs.
    Protocol,
    /// What the guard catches, lets pass and costs.
    Guard {
        /// Groups of rows: traces, secrets, personal, injection, leaks, latency [default: all].
        groups: Vec<String>,
        /// Say which texts were missed or taken for what they are not.
        #[arg(long)]
        verbose: bool,
    },
    /// A terminal that is left and returned to, beside screen, tmux, dtach and shpool.
    Terminal {
        /// Rounds of each contender.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
        /// Groups of rows [default: all].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP,...")]
        only: Vec<terminal::Group>,
        /// Programs to measure beside [default: all that are installed].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,...")]
        peers: Vec<terminal::Peer>,
    },
    /// One end of a measured connection.
    #[command(hide = true)]
    Traffic {
        #[command(subcommand)]
        end: traffic::End,
    },
}

/// Measures and prints.
///
/// # Errors
/// When a contender cannot be built, installed or run.
pub fn run(name: Name) -> Result<()> {
    match name {
        Name::Session { rounds, sessions } => session::run(rounds, sessions),
        Name::Route { rounds } => route::run(rounds),
        Name::Protocol => protocol::run(),
        Name::Guard { groups, verbose } => guard::run(&groups, verbose),
        Name::Terminal { rounds, only, peers } => terminal::run(rounds, &only, &peers),
        Name::Traffic { end } => traffic::run(end),
    }
}
