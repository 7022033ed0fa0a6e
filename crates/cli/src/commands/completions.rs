//! `completions`: scripts for shells.

use clap::{Command, CommandFactory as _};
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
        generate(self.shell, &mut shown(&Program::command()), "sessile", &mut script);
        if json {
            print_json(&serde_json::json!({ "script": String::from_utf8_lossy(&script) }))?;
        } else {
            print_bytes(&script)?;
        }
        Ok(Status::OK)
    }
}

/// A command without its hidden ones, which the generators would offer.
fn shown(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .args(command.get_arguments())
        .subcommands(command.get_subcommands().filter(|c| !c.is_hide_set()).map(self::shown))
        .disable_help_subcommand(true);
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    shown
}
