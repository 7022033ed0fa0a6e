//! `exec`: a further command in a session.

use std::io::IsTerminal as _;

use sessile_model::api;
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;

use super::parting::{self, Watch};
use crate::attachment::{self, Mode, Target, Until, terminal_size};
use crate::client::Daemon;
use crate::config;
use crate::environment::{self, EnvArgument};
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json};
use crate::selector::SessionSelector;
use crate::startup;

/// Run a further command in a session
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile exec amber -- git status         joins the main app's sandbox
  sessile exec amber --tty -- htop
  sessile exec amber --app tests -- make test   a sandbox of its own, same session
  sessile exec amber --detach -- make      prints the task's name, for `wait` and `output`

The exit status is the command's. The session goes on.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app whose sandbox it joins; a new name makes one of its own [default: main]
    #[arg(long, value_name = "NAME")]
    app: Option<AppName>,
    /// Give it a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// Start it and return
    #[arg(long, short = 'd')]
    detach: bool,
    /// Pass on a variable of yours, or (visible to every user of this machine) set one
    #[arg(long, short = 'e', value_name = "K[=V]")]
    env: Vec<EnvArgument>,
    /// Give its app your SSH agent; each signature is a question (`sessile run --help`)
    #[arg(long)]
    forward_agent: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    /// Starts the command and passes on its streams and exit status.
    pub fn run(self, json: bool) -> Outcome {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if self.tty && !self.detach && !is_terminal {
            return Err(Failure::new(ProblemKind::BadRequest, "--tty needs a terminal")
                .hint("leave out --tty, or add --detach and use `sessile screen` and `sessile type`"));
        }
        let config = config::load(&startup::config_file()?)?;
        let daemon = Daemon::reach()?;
        let name = self.command.first().cloned();
        let exec = api::Exec {
            command: self.command,
            app: self.app,
            terminal: self.tty.then(terminal_size),
            hold_output: !self.tty && !self.detach,
            ssh_agent: self.forward_agent.then(environment::ssh_agent).transpose()?,
            env: self.env.iter().map(EnvArgument::resolve).collect::<Result<_, _>>()?,
        };
        let started: api::ExecStarted = daemon.post(&self.session.path("/exec"), &exec)?;
        if self.detach {
            if json {
                print_json(&started)?;
            } else {
                print(&format!("{}\n", started.task))?;
            }
            return Ok(Status::OK);
        }
        let task: AppName = started.task.parse().map_err(|e| {
            Failure::new(ProblemKind::Internal, format!("the task's name `{}`: {e}", started.task))
        })?;
        let mode = match self.tty {
            true => Mode::Terminal {
                detach_key: config.detach_key.unwrap_or_default(),
                read_only: false,
                exclusive: false,
                from_start: true,
            },
            false => Mode::Streams { returning: false },
        };
        let target = Target::ask(&daemon, &self.session, Some(task))?;
        let parting = attachment::attach(&target, &mode, Until::Exited)?;
        let watch =
            Watch { session: target.session, command: name.as_deref(), mode: &mode, remote: None, json };
        parting::conclude(&daemon, &watch, parting)
    }
}
