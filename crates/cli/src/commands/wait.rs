//! `wait`: until something happens.

use sessile_model::api::{AwaitedCommand, Commands, ShellState, Wait, Waited};
use sessile_model::ids::AppName;
use sessile_model::quantity::Millis;

use super::{finished, text};
use crate::client::{Daemon, with_query};
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, printable};
use crate::selector::SessionSelector;

/// Wait for a pattern, for quiet, or for the command's end
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile wait amber --pattern '\\$ $' --timeout 10s
  sessile wait amber --quiet 300ms          no output for that long
  sessile wait amber --exit && echo done    (--exit is what it waits for by itself)
  sessile wait amber --command             the shell's command, the next one if none runs

With several, the first that holds ends the wait. Exit code 124 when the timeout passes first.
--command passes the command's exit status on. bash, zsh and fish that Sessile starts on a terminal
say where their commands begin and how they end; see `sessile type --help`.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app, or task as `exec --json` names it [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// A regular expression on the screen or in new output
    #[arg(long, value_name = "RE")]
    pattern: Option<String>,
    /// No output for this long
    #[arg(long, value_name = "TIME")]
    quiet: Option<Millis>,
    /// The command has ended
    #[arg(long)]
    exit: bool,
    /// The command that the shell runs, or the next one, has ended
    #[arg(long)]
    command: bool,
    /// Give up after this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

impl Args {
    /// Waits, and says what happened.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        // By its number, whatever ends while this asks again because a keeper died.
        let command = if self.command { Some(self.current(&daemon)?) } else { None };
        let exit = self.exit || (self.pattern.is_none() && self.quiet.is_none() && command.is_none());
        let wait = Wait {
            app: self.app,
            pattern: self.pattern,
            quiet: self.quiet,
            exit,
            command,
            timeout: self.timeout,
        };
        let waited: Waited = daemon.post_timed(&self.session.path("/wait"), |waited| wait.after(waited))?;
        if json {
            print_json(&waited)?;
        } else {
            print(&match &waited {
                Waited::Matched { text } => printable(text) + "\n",
                Waited::Quiet => "quiet\n".to_owned(),
                Waited::Exited { exit } => text::exit(exit) + "\n",
                Waited::Command { command } => match command.exit {
                    Some(status) => format!("exit {status}\n"),
                    None => String::new(),
                },
            })?;
        }
        match &waited {
            Waited::Command { command } => finished::status(command),
            // The shell ended, and its command with it.
            Waited::Exited { exit } if self.command => Ok(Status(exit.shell_code())),
            Waited::Matched { .. } | Waited::Quiet | Waited::Exited { .. } => Ok(Status::OK),
        }
    }

    fn current(&self, daemon: &Daemon) -> Result<AwaitedCommand, Failure> {
        let pairs = [("app", self.app.as_ref().map(ToString::to_string))];
        let commands: Commands = daemon.get(&with_query(&self.session.path("/commands"), &pairs))?;
        let running = commands.running.last().filter(|_| commands.shell == ShellState::Running);
        let number = running.map_or(commands.next, |command| command.number);
        Ok(AwaitedCommand { number: Some(number), blanks: None })
    }
}
