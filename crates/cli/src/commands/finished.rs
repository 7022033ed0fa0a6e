//! What a command of a session's shell wrote, and how it ended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api::{self, ShellCommand};
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;

use super::write_output::plain;
use crate::client::{Daemon, with_query};
use crate::failure::{Failure, Outcome, Status};
use crate::output::{counted, print_bytes, print_json, say};
use crate::selector::SessionSelector;

/// Most bytes asked for at once.
const PIECE: u64 = 1 << 20;

/// A command that has ended, and its output.
pub struct Finished {
    command: ShellCommand,
    bytes: Vec<u8>,
    /// Bytes from its beginning that are no longer kept.
    lost: u64,
}

/// What becomes of output whose beginning is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is an error.
    Refused,
    /// What is left is printed, and what is not is said.
    Said,
}

impl Finished {
    /// Reads the command's output. The session's result is left for others to collect.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn read(
        daemon: &Daemon,
        session: &SessionSelector,
        app: Option<&AppName>,
        command: ShellCommand,
    ) -> Result<Self, Failure> {
        let to = command.output_to.unwrap_or(command.output_from);
        let mut finished = Self { command, bytes: Vec::new(), lost: 0 };
        let mut at = command.output_from;
        while at < to {
            let pairs = [
                ("app", app.map(ToString::to_string)),
                ("since", Some(at.to_string())),
                ("max", Some((to - at).min(PIECE).to_string())),
                ("keep", Some("true".to_owned())),
            ];
            let output: api::Output = daemon.get(&with_query(&session.path("/output"), &pairs))?;
            let mut bytes = STANDARD.decode(&output.data).map_err(|e| {
                Failure::new(ProblemKind::Internal, format!("the daemon's answer is not base64: {e}"))
            })?;
            finished.lost += output.start.min(to).saturating_sub(at);
            bytes.truncate(usize::try_from(to.saturating_sub(output.start)).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                break;
            }
            at = output.start + bytes.len() as u64;
            finished.bytes.append(&mut bytes);
        }
        Ok(finished)
    }

    /// Prints the output, and nothing else: as text, or the bytes as they were written.
    ///
    /// # Errors
    /// When its beginning is lost and that is refused, or nobody reads.
    pub fn print(&self, cut: Cut, raw: bool, json: bool) -> Result<(), Failure> {
        if self.lost > 0 {
            let lost = counted(self.lost, "byte", "bytes");
            let what = format!("the first {lost} of the command's output are no longer kept");
            match cut {
                Cut::Refused => {
                    return Err(Failure::new(ProblemKind::NotFound, what).hint(format!(
                        "`sessile output SESSION --since {}` prints what is left; a recording (`run --record`) \
                         keeps all",
                        self.command.output_from + self.lost
                    )));
                }
                Cut::Said => say(&format!("sessile: {what}")),
            }
        }
        if json {
            let ShellCommand { number, exit, output_from, output_to, start: _ } = self.command;
            let mut shown = serde_json::json!({
                "number": number, "exit": exit, "output_from": output_from, "output_to": output_to, "lost": self.lost,
            });
            match raw {
                true => shown["data"] = STANDARD.encode(&self.bytes).into(),
                false => shown["output"] = plain(&self.bytes).into(),
            }
            return print_json(&shown);
        }
        match raw {
            true => print_bytes(&self.bytes),
            false => print_bytes(plain(&self.bytes).as_bytes()),
        }
    }
}

/// The exit status of a command of a shell.
///
/// # Errors
/// When the shell did not say it.
pub fn status(command: &ShellCommand) -> Outcome {
    match command.exit {
        Some(status) => Ok(Status(u8::try_from(status & 0xff).unwrap_or(u8::MAX))),
        None => Err(Failure::new(ProblemKind::Failed, "the shell did not say how the command ended")),
    }
}

/// The last command that ended.
///
/// # Errors
/// What the daemon refuses, and when there was none.
pub fn last(
    daemon: &Daemon,
    session: &SessionSelector,
    app: Option<&AppName>,
) -> Result<ShellCommand, Failure> {
    let pairs = [("app", app.map(ToString::to_string))];
    let commands: api::Commands = daemon.get(&with_query(&session.path("/commands"), &pairs))?;
    commands.finished.last().copied().ok_or_else(|| {
        Failure::new(ProblemKind::NotFound, "no command of its shell has ended yet")
            .hint("`sessile wait SESSION --command` waits for one")
    })
}
