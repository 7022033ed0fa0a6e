//! `completions`: scripts for shells.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Program;
use crate::failure::{Outcome, Status};
use crate::output::{print_bytes, print_json};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile completions bash > ~/.local/share/bash-completion/completions/sessile
  sessile completions zsh > ~/.zfunc/_sessile
  sessile completions fish > ~/.config/fish/completions/sessile.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub fn run(self, json: bool) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut Program::command(), "sessile", &mut script);
        if json {
            print_json(&serde_json::json!({ "script": String::from_utf8_lossy(&script) }))?;
        } else {
            print_bytes(&script)?;
        }
        Ok(Status::OK)
    }
}
