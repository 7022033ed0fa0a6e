//! Everything repeated: setup, test, ci, bench, fuzz, tidy. Started as `cargo xtask`.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod command;
mod fuzz;
mod guest;
mod setup;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything repeated in this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what the tests need and makes the unprivileged test user (as root).
    Setup {
        /// Also install what the benchmarks need.
        #[arg(long)]
        bench: bool,
    },
    /// Sets up and runs every test; further arguments go to `cargo test`.
    Test {
        /// Run the tests that boot an emulated machine, instead of the others.
        #[arg(long)]
        slow: bool,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks formatting, lints and house rules, then runs every test.
    Ci,
    /// Checks the rules of the house that no lint knows.
    Tidy,
    /// Fuzzes what reads untrusted bytes: the targets named, or all.
    Fuzz {
        targets: Vec<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Run the one target named on this input instead.
        #[arg(long, value_name = "FILE")]
        replay: Option<PathBuf>,
    },
    /// Trains the guard's model of injected instructions and writes its weights.
    Train,
    /// Measures side by side with peers and prints a table.
    Bench {
        #[command(subcommand)]
        name: bench::Name,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup { bench } => setup::run(if bench { setup::For::Bench } else { setup::For::Tests }),
        Task::Test { slow: true, arguments } => test::run_slow(&arguments),
        Task::Test { slow: false, arguments } => test::run(&arguments),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Fuzz { targets, replay: Some(input), .. } => fuzz::replay(&targets, &input),
        Task::Fuzz { targets, seconds, replay: None } => fuzz::run(&targets, seconds),
        Task::Train => bench::train(),
        Task::Bench { name } => bench::run(name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<command::Unsuccessful>() {
            // The program that failed has said why; its words stay the last ones.
            Some(unsuccessful) => ExitCode::from(unsuccessful.code),
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
