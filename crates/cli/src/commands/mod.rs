//! The commands, one file each.

mod answer;
mod apply;
mod attach;
mod audit;
mod closing;
mod completions;
mod config_check;
mod cookies;
mod daemon;
mod diff;
mod doctor;
mod end;
mod exec;
mod export;
mod find;
mod finished;
mod following;
mod guard;
pub mod guard_terminal;
mod lines;
mod list;
mod man;
mod mcp;
mod net;
mod operators;
mod parting;
mod pause;
mod play;
mod policy;
mod port;
mod protocol;
mod questions;
mod receipt;
mod record;
mod resume;
mod risk;
mod route;
mod run;
mod screen;
mod show;
mod text;
mod type_keys;
mod wait;
mod write_output;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::failure::{Outcome, exit_codes};

/// Sealed sessions: work in one, leave, come back, end it with a receipt of what is gone.
#[derive(Debug, Parser)]
#[command(
    name = "sessile",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = after_help(),
)]
pub struct Program {
    /// Print JSON; errors are problem details (RFC 9457) on standard error
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    format!(
        "Examples:\n  sessile run                      a sealed shell on the current folder\n  \
         sessile run --detach -- make     in the background; `attach` returns to it\n  \
         sessile ls                       what runs\n  \
         sessile end --all                end everything, wiped\n\n\
         A session is named by its name, its id, or a unique beginning of either.\n\n{}",
        exit_codes()
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Attach(attach::Args),
    Ls(list::Args),
    Show(show::Args),
    Find(find::Args),
    Exec(exec::Args),
    Screen(screen::Args),
    Output(write_output::Args),
    Type(type_keys::Args),
    Wait(wait::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Net(net::Args),
    Policy(policy::Args),
    Protocol(protocol::Args),
    Send(lines::SendArgs),
    Recv(lines::RecvArgs),
    Offered(lines::OfferedArgs),
    Close(closing::CloseArgs),
    Delegate(closing::DelegateArgs),
    Guard(guard::Args),
    Mcp(mcp::Args),
    Questions(questions::Args),
    Answer(answer::Args),
    Operators(operators::Args),
    Port(port::Args),
    Cookies(cookies::Args),
    Route(route::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    End(end::Args),
    Receipt(receipt::Args),
    Risk(risk::Args),
    Audit(audit::Args),
    Export(export::Args),
    Record(record::Args),
    Play(play::Args),
    Doctor(doctor::Args),
    Config(config_check::Args),
    Daemon(daemon::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What one command takes, without the others: making the whole parser takes longer than anything
/// else that a client does before it asks the daemon.
#[derive(Debug, Parser)]
struct Alone<A: clap::Args> {
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    args: A,
}

impl<A: clap::Args> Alone<A> {
    fn read(arguments: &[OsString], command: fn(A) -> Command) -> Option<Program> {
        let Self { json, args } = Self::try_parse_from(arguments).ok()?;
        Some(Program { json, command: command(args) })
    }
}

impl Program {
    /// Reads the command line.
    ///
    /// # Errors
    /// When it is none of this program's, and for help.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.collect();
        // What is wrong is said by the whole parser, as is help.
        Self::read_alone(&arguments).map_or_else(|| Self::try_parse_from(arguments), Ok)
    }

    /// Reads a command that is used often, or by programs, where its name comes first.
    fn read_alone(arguments: &[OsString]) -> Option<Self> {
        let arguments = arguments.get(1..)?;
        match arguments.first()?.to_str()? {
            "run" => Alone::read(arguments, Command::Run),
            "attach" => Alone::read(arguments, Command::Attach),
            "ls" => Alone::read(arguments, Command::Ls),
            "show" => Alone::read(arguments, Command::Show),
            "exec" => Alone::read(arguments, Command::Exec),
            "screen" => Alone::read(arguments, Command::Screen),
            "output" => Alone::read(arguments, Command::Output),
            "type" => Alone::read(arguments, Command::Type),
            "wait" => Alone::read(arguments, Command::Wait),
            "send" => Alone::read(arguments, Command::Send),
            "recv" => Alone::read(arguments, Command::Recv),
            "end" => Alone::read(arguments, Command::End),
            "daemon" => Alone::read(arguments, Command::Daemon),
            _ => None,
        }
    }

    /// Carries the command out.
    ///
    /// # Errors
    /// Why it could not.
    pub fn run(self) -> Outcome {
        let json = self.json;
        match self.command {
            Command::Run(args) => args.run(json),
            Command::Attach(args) => args.run(json),
            Command::Ls(args) => args.run(json),
            Command::Show(args) => args.run(json),
            Command::Find(args) => args.run(json),
            Command::Exec(args) => args.run(json),
            Command::Screen(args) => args.run(json),
            Command::Output(args) => args.run(json),
            Command::Type(args) => args.run(json),
            Command::Wait(args) => args.run(json),
            Command::Diff(args) => args.run(json),
            Command::Apply(args) => args.run(json),
            Command::Net(args) => args.run(json),
            Command::Policy(args) => args.run(json),
            Command::Protocol(args) => args.run(json),
            Command::Send(args) => args.run(json),
            Command::Recv(args) => args.run(json),
            Command::Offered(args) => args.run(json),
            Command::Close(args) => args.run(json),
            Command::Delegate(args) => args.run(json),
            Command::Guard(args) => args.run(json),
            Command::Mcp(args) => args.run(),
            Command::Questions(args) => args.run(json),
            Command::Answer(args) => args.run(json),
            Command::Operators(args) => args.run(json),
            Command::Port(args) => args.run(json),
            Command::Cookies(args) => args.run(json),
            Command::Route(args) => args.run(json),
            Command::Pause(args) => args.run(json),
            Command::Resume(args) => args.run(json),
            Command::End(args) => args.run(json),
            Command::Receipt(args) => args.run(json),
            Command::Risk(args) => args.run(json),
            Command::Audit(args) => args.run(json),
            Command::Export(args) => args.run(json),
            Command::Record(args) => args.run(json),
            Command::Play(args) => args.run(json),
            Command::Doctor(args) => args.run(json),
            Command::Config(args) => args.run(json),
            Command::Daemon(args) => args.run(json),
            Command::Completions(args) => args.run(json),
            Command::Man(args) => args.run(json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn a_command_is_read_alone_as_it_is_among_all() {
        let lines = [
            &["sessile", "attach", "amber"][..],
            &["sessile", "attach", "--json", "amber", "--app", "tests", "--read-only"],
            &["sessile", "attach", "amber", "--exclusive", "--detach-key", "ctrl-a"],
            &["sessile", "--json", "attach", "amber"],
            &["sessile", "attach", "--", "amber"],
            &["sessile", "attach"],
            &["sessile", "attach", "amber", "--help"],
            &["sessile", "attach", "amber", "--version"],
            &["sessile", "attach", "amber", "--exclusive", "--read-only"],
            &["sessile", "attach", "help"],
            &["sessile", "ls", "attach"],
            &["sessile", "ls", "--all", "--json"],
            &["sessile", "run"],
            &["sessile", "run", "--json"],
            &["sessile", "run", "--", "tool", "--json"],
            &["sessile", "run", "tool", "--json", "--help"],
            &[
                "sessile",
                "run",
                "--project",
                ".:copy",
                "--allow",
                "a.example",
                "--allow",
                "b.example:1",
                "tool",
            ],
            &["sessile", "run", "--memry", "1G"],
            &["sessile", "exec", "amber", "--", "tool", "-x"],
            &["sessile", "exec", "--app", "new", "amber", "tool", "--json"],
            &["sessile", "type", "amber", "text", "--key", "enter"],
            &["sessile", "wait", "amber", "--pattern", "x", "--timeout", "3s"],
            &["sessile", "send", "amber", "--as", "A", "B", "label", "-"],
            &["sessile", "end", "--all"],
            &["sessile", "daemon"],
            &["sessile", "daemon", "stop"],
        ];
        for line in lines {
            let alone = Program::read(line.iter().map(OsString::from));
            let among_all = Program::try_parse_from(line);
            let shown = |read: Result<Program, clap::Error>| match read {
                Ok(program) => format!("{program:?}"),
                Err(error) => error.render().to_string(),
            };
            assert_eq!(shown(alone), shown(among_all), "{line:?}");
        }
    }

    #[test]
    fn every_command_has_a_summary_and_examples() {
        for command in Program::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n"), "{}", command.get_name());
        }
    }

    #[test]
    fn commands_inside_keep_their_own_options() {
        let program = Program::try_parse_from(["sessile", "run", "--", "ls", "--json", "--help"]).unwrap();
        assert!(!program.json);
        assert!(matches!(program.command, Command::Run(_)));
        let program = Program::try_parse_from(["sessile", "run", "--json", "ls", "-la"]).unwrap();
        assert!(program.json);
        for bad in [
            &["sessile", "run", "--memory", "lots"][..],
            &["sessile", "show"],
            &["sessile", "run", "--name", "A"],
        ] {
            assert!(Program::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}
