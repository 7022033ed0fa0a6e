//! `guard`: what the guard finds and decides.

mod inspect;
mod policy;
mod tools;
mod trace;

use clap::Subcommand;

use crate::failure::Outcome;

/// See what the guard finds in a text, and what it decides about an agent's calls
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile guard inspect mail.txt
  git diff | sessile guard inspect --json
  sessile guard tools descriptions.json > tools.toml
  sessile guard trace trace.json --tools tools.toml
  sessile guard policy > work/calls.cedar")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(inspect::Args),
    Trace(trace::Args),
    Tools(tools::Args),
    Policy(policy::Args),
}

impl Args {
    pub fn run(self, json: bool) -> Outcome {
        match self.action {
            Action::Inspect(args) => args.run(json),
            Action::Trace(args) => args.run(json),
            Action::Tools(args) => args.run(json),
            Action::Policy(args) => args.run(json),
        }
    }
}
