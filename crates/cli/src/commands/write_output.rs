//! `output`: what an app has written.

use std::io::IsTerminal as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;
use sessile_model::state::State;
use sessile_model::{SessionRecord, api};

use super::finished::{self, Cut, Finished};
use super::following;
use super::parting::{self, Watch};
use crate::attachment::{self, Mode, Parting, Target, Until};
use crate::client::{Daemon, with_query};
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_bytes, print_json, say};
use crate::selector::SessionSelector;

/// Print what an app has written
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile output amber --tail 20           the last lines
  sessile output amber --since 4096 --json bytes from an offset, and where to go on
  sessile output amber --follow            until the command ends
  sessile output amber --tail 20 --keep    and leave its result to be collected later
  sessile output amber --last-command      what the shell's last command wrote, and nothing else
  sessile output amber --follow --lossless | ./archive   of one that is recorded (`run --record`)
  sessile output amber --raw > typescript  with all escape sequences

Without --raw, escape sequences are left out. The last MiB is kept. Who follows and reads more slowly
than the app writes misses what was overwritten meanwhile; with --lossless nothing, as long as the
recording has room (a quarter of session storage) and the session lives (`run --keep`). A recording
holds text: bytes that are none stand in it as U+FFFD.

When the command of a session without --keep has exited unwatched, its result waits to be collected;
reading its output, with --tail too, collects it, and the session ends, wiped. With --keep here it
goes on waiting.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app, or task as `exec --json` names it [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Only the last lines
    #[arg(long, value_name = "LINES", allow_negative_numbers = true, value_parser = count, conflicts_with_all = ["since", "follow"])]
    tail: Option<usize>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    since: Option<u64>,
    /// What the shell's last command that has ended wrote; see `sessile type --help`
    #[arg(long, conflicts_with_all = ["since", "follow", "tail"])]
    last_command: bool,
    /// Go on until the command ends
    #[arg(long, short = 'f', conflicts_with = "json")]
    follow: bool,
    /// Miss nothing, however slowly this is read: follows the recording, from its beginning
    #[arg(long, requires = "follow", conflicts_with = "since")]
    lossless: bool,
    /// The bytes as they were written
    #[arg(long)]
    raw: bool,
    /// Do not collect the result: a session whose command has exited goes on waiting
    #[arg(long, conflicts_with = "follow")]
    keep: bool,
}

impl Args {
    /// Prints it.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        if self.lossless {
            return following::follow(&daemon, &self.session, self.app.as_ref());
        }
        if self.follow {
            return self.follow(&daemon);
        }
        if self.last_command {
            let command = finished::last(&daemon, &self.session, self.app.as_ref())?;
            let finished = Finished::read(&daemon, &self.session, self.app.as_ref(), command)?;
            return finished.print(Cut::Refused, self.raw, json).map(|()| Status::OK);
        }
        let output = self.fetch(&daemon)?;
        if json {
            print_json(&output)?;
            return Ok(Status::OK);
        }
        let bytes = STANDARD.decode(&output.data).map_err(|e| {
            Failure::new(ProblemKind::Internal, format!("the daemon's answer is not base64: {e}"))
        })?;
        if output.lost > 0 && self.since.is_some() {
            say(&format!(
                "sessile: no longer kept: {} from offset {} on",
                crate::output::counted(output.lost, "byte", "bytes"),
                output.start - output.lost
            ));
        }
        let shown = if self.raw { bytes } else { plain(&bytes).into_bytes() };
        print_bytes(self.tail.map_or(&shown[..], |lines| last_lines(&shown, lines)))?;
        if output.exit.is_some() && !self.keep && std::io::stderr().is_terminal() {
            self.say_collected(&daemon);
        }
        Ok(Status::OK)
    }

    /// Says that what was just read was the last of it, where that is so.
    fn say_collected(&self, daemon: &Daemon) {
        let record: Result<SessionRecord, Failure> = daemon.get(&self.session.path(""));
        // Its name may be free by now: then it is gone too.
        if record.is_ok_and(|record| matches!(record.state, State::Active | State::Paused)) {
            return;
        }
        say("its command had exited: with its result collected, the session ends, wiped (--keep leaves it)");
    }

    fn fetch(&self, daemon: &Daemon) -> Result<api::Output, Failure> {
        let pairs = [
            ("app", self.app.as_ref().map(ToString::to_string)),
            ("since", self.since.map(|s| s.to_string())),
            ("keep", self.keep.then(|| "true".to_owned())),
        ];
        daemon.get(&with_query(&self.session.path("/output"), &pairs))
    }

    fn follow(self, daemon: &Daemon) -> Outcome {
        let target = Target::ask(daemon, &self.session, self.app)?;
        let mode = Mode::Follow { since: self.since.unwrap_or(0) };
        match attachment::attach(&target, &mode, Until::Exited)? {
            // What is followed ended: that is the answer, whatever its status.
            parting @ (Parting::Exited { .. } | Parting::Closed(_)) => {
                if let Parting::Exited { exit, .. } = &parting {
                    parting::say_why(daemon, target.session, exit);
                }
                if std::io::stdout().is_terminal() {
                    print("")?;
                }
                Ok(Status::OK)
            }
            other @ (Parting::Detached
            | Parting::Dismissed(_)
            | Parting::Signalled(_)
            | Parting::Unread
            | Parting::Lost(_)) => {
                let watch =
                    Watch { session: target.session, command: None, mode: &mode, remote: None, json: false };
                parting::conclude(daemon, &watch, other)
            }
        }
    }
}

/// A number of lines.
fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "not a number of lines (examples: 0, 20)".to_owned())
}

/// The text without escape sequences and control characters, other than line ends and tabs.
pub fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                Some('[') => drop(chars.by_ref().find(|c| matches!(c, '@'..='~'))),
                // A string ends with BEL or ESC \.
                Some(']' | 'P' | '_' | '^' | 'X') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                Some(c) if (' '..='/').contains(&c) => drop(chars.next()),
                Some(_) | None => {}
            },
            '\n' | '\t' => out.push(c),
            // A terminal's line end is CR LF.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The end of `bytes` from the start of the last `lines` lines.
fn last_lines(bytes: &[u8], lines: usize) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if lines == 0 {
        return &[];
    }
    let mut ends = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').map(|(at, _)| at);
    ends.nth(lines - 1).map_or(bytes, |at| &bytes[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_left_out() {
        assert_eq!(
            plain(b"a\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07b\x1b]8;;x\x1b\\c\x1b(Bd\te\x08"),
            "ared\nbcd\te"
        );
        assert_eq!(plain(b"cut \x1b[3"), "cut ");
        assert_eq!(plain(b"cut \x1b]0;x"), "cut ");
        assert_eq!(plain(b"\xff\x1b"), "\u{fffd}");
    }

    #[test]
    fn tails() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 1), b"c");
        assert_eq!(last_lines(b"a\nb\n", 9), b"a\nb\n");
        assert_eq!(last_lines(b"a\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
