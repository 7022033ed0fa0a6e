//! The `sessile` command.
//!
//! ```text
//!  arguments, config.toml ─► request ─► client ──HTTP──► daemon
//!                                         │
//!                                    attachment ──frames──► keeper
//! ```
//!
//! Arguments become final types once, in `commands`; everything behind works with those.

#![forbid(unsafe_code)]

mod at_once;
mod attachment;
mod client;
mod commands;
mod config;
mod credentials;
mod declarations;
mod environment;
mod failure;
mod files;
mod hosts;
mod keys;
mod options;
mod output;
mod player;
mod policies;
mod presets;
mod project;
mod protocols;
mod proxy;
mod registries;
mod request;
mod selector;
mod servers;
mod standard;
mod startup;
mod talk;
mod tools;
mod tor;

use std::process::ExitCode;

use clap::error::ErrorKind;
use sessile_model::problem::{Problem, ProblemKind};
use signal_hook::consts::SIGPIPE;

use crate::commands::{Program, guard_terminal};
use crate::failure::{Failure, Outcome, render};

/// Overwrites memory as it is freed: what passes through the client or the daemon (typed
/// passwords, output, environment) does not stay in their heaps.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    if let Some(outcome) = guard_terminal::run_if_asked(std::env::args_os()) {
        return ended(outcome, false);
    }
    if let Err(error) = sessile_sandbox::streams::closed_output_fails() {
        return ended(Err(Failure::system("open standard output", &error)), false);
    }
    let program = match Program::read(declarations::joined(std::env::args_os()).into_iter()) {
        Ok(program) => program,
        Err(error) => return misused(&error),
    };
    let json = program.json;
    ended(program.run(), json)
}

fn ended(outcome: Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(status) => status.into(),
        Err(Failure::Problem(problem)) => {
            eprint_quietly(&render(&problem, json));
            ExitCode::from(problem.kind.exit_code())
        }
        Err(Failure::ClosedPipe) => {
            // The end that any tool meets whose reader went away; shells show it as 141.
            let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
            ExitCode::from(141)
        }
    }
}

/// Help and version are answers; everything else is a mistake on the command line.
fn misused(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = match std::env::args_os().find(|argument| argument.to_str().is_none()) {
        Some(argument) => format!("{} is not UTF-8, which an argument must be", argument.display()),
        None => error.render().to_string(),
    };
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint_quietly(&text);
    } else {
        let json = std::env::args_os().take_while(|a| a != "--").any(|a| a == "--json");
        eprint_quietly(&render(&misuse(&text), json));
    }
    ExitCode::from(ProblemKind::BadRequest.exit_code())
}

/// The parser's text as a problem: its first paragraph, and the rest, usage and tips, as the hint.
fn misuse(text: &str) -> Problem {
    let text = &without_credential(&without_userinfo(text.trim().trim_start_matches("error: ")));
    let (detail, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let detail = detail.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let hints = rest.lines().map(|l| l.trim().trim_start_matches("tip: "));
    // Few commands take something that begins with a dash as a value; those have it in their examples.
    let is_noise =
        |l: &str| l.is_empty() || l.starts_with("For more information") || l.starts_with("to pass '");
    let hint = hints.filter(|l| !is_noise(l)).collect::<Vec<_>>().join("; ");
    let problem = Problem::new(ProblemKind::BadRequest, detail);
    if hint.is_empty() { problem } else { problem.hint(hint) }
}

/// A mistyped URL is shown again, but not the user and password in it.
fn without_userinfo(text: &str) -> String {
    let hidden = |part: &str| {
        let end = part.find(|c: char| c == '/' || c == '\'' || c.is_whitespace()).unwrap_or(part.len());
        let at = part[..end].rfind('@').unwrap_or(0);
        part[at..].to_owned()
    };
    let mut parts = text.split("://");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "://" + &hidden(part))
}

/// A mistyped credential is not shown again: it may hold what belongs into a variable or a file.
fn without_credential(text: &str) -> String {
    let hidden = text.split_once("invalid value '").and_then(|(before, rest)| {
        let (_, behind) = rest.split_once("' for '--credential ")?;
        Some(format!("{before}invalid value for '--credential {behind}"))
    });
    hidden.unwrap_or_else(|| text.to_owned())
}

/// Writes to standard error; that nobody listens changes nothing.
fn eprint_quietly(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn misuse_is_one_line_and_a_hint() {
        let error = Program::try_parse_from(["sessile", "run", "--memry", "2G"]).unwrap_err();
        insta::assert_snapshot!(render(&misuse(&error.render().to_string()), false), @r"
        sessile: error: unexpected argument '--memry' found
        hint: a similar argument exists: '--memory'; Usage: sessile run --memory <SIZE> [CMD]...
        ");
        let error = Program::try_parse_from(["sessile", "run", "--memory", "lots"]).unwrap_err();
        insta::assert_snapshot!(render(&misuse(&error.render().to_string()), false), @"sessile: error: invalid value 'lots' for '--memory <SIZE>': not a size (examples: 4096, 512K, 64M, 2G)");
        let error = Program::try_parse_from(["sessile", "run", "--route", "socks5://me:s3cret@127.0.0.1:9"])
            .unwrap_err();
        let shown = render(&misuse(&error.render().to_string()), false);
        assert!(shown.contains("'socks5://@127.0.0.1:9'") && !shown.contains("s3cret"), "{shown}");
        let mistyped = ["sessile", "run", "--credential", "a.example=Authorization:Bearer s3cret"];
        let error = Program::try_parse_from(mistyped).unwrap_err();
        let shown = render(&misuse(&error.render().to_string()), false);
        assert!(
            shown.contains("invalid value for '--credential <HOST") && !shown.contains("s3cret"),
            "{shown}"
        );
        let error = Program::try_parse_from(["sessile", "exec", "amber"]).unwrap_err();
        insta::assert_snapshot!(render(&misuse(&error.render().to_string()), false), @r"
        sessile: error: the following required arguments were not provided: <CMD>...
        hint: Usage: sessile exec <SESSION> <CMD>...
        ");
    }
}
