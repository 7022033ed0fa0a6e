//! How a command ends: its exit status, or why it could not do its work.

use std::io;
use std::process::ExitCode;

use sessile_model::problem::{Problem, ProblemKind};

use crate::standard::visible;

/// What a command answers.
pub type Outcome = Result<Status, Failure>;

/// The exit status of a command that did its work: 0, or that of a command inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.0)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell the user.
    Problem(Box<Problem>),
    /// Nobody reads our output any more; ends as any Unix tool does.
    ClosedPipe,
}

impl Failure {
    /// A problem of this kind with its sentence.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Problem(problem) => Self::Problem(Box::new(problem.hint(hint))),
            Self::ClosedPipe => Self::ClosedPipe,
        }
    }

    /// The same, with this word in its sentence if it is a problem of this kind and lacks it.
    #[must_use]
    pub fn about(self, kind: ProblemKind, word: &str) -> Self {
        match self {
            Self::Problem(mut problem) => {
                if problem.kind == kind && !problem.detail.contains(word) {
                    problem.detail = format!("{}: {word}", problem.detail);
                }
                Self::Problem(problem)
            }
            Self::ClosedPipe => Self::ClosedPipe,
        }
    }

    /// An error of the system with what was being done (`read FILE`).
    pub fn system(doing: impl AsRef<str>, error: &io::Error) -> Self {
        Self::new(kind_of(error), format!("cannot {}: {}", doing.as_ref(), plain(error)))
    }
}

/// The kind of problem that an error of the system is.
pub fn kind_of(error: &io::Error) -> ProblemKind {
    let kinds = [
        (io::ErrorKind::NotFound, ProblemKind::NotFound),
        (io::ErrorKind::PermissionDenied, ProblemKind::Denied),
        (io::ErrorKind::StorageFull, ProblemKind::Exhausted),
        (io::ErrorKind::QuotaExceeded, ProblemKind::Exhausted),
    ];
    kinds.iter().find(|(k, _)| *k == error.kind()).map_or(ProblemKind::Failed, |(_, k)| *k)
}

/// The system's words without the number that the standard library appends.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// The text of a problem as it stands on standard error.
pub fn render(problem: &Problem, json: bool) -> String {
    if json && let Ok(text) = serde_json::to_string(problem) {
        return text + "\n";
    }
    // What was said, and names from inside a session, may stand in it.
    let shown = |text: &str| visible(text.trim_end().as_bytes());
    let mut text = format!("sessile: error: {}\n", shown(&problem.detail));
    if let Some(hint) = &problem.hint {
        text += &format!("hint: {}\n", shown(hint));
    }
    text
}

/// The table of exit codes, as `--help` shows it.
pub fn exit_codes() -> String {
    let meaning = |kind: ProblemKind| match kind {
        ProblemKind::BadRequest => "the command line, a file or the request is wrong",
        ProblemKind::NotFound => "no such session, app or file",
        ProblemKind::Ambiguous => "a prefix fits several sessions",
        ProblemKind::Conflict => "a name is taken, or the state does not allow it",
        ProblemKind::Denied => "denied",
        ProblemKind::Unsupported => "this machine cannot give what was asked",
        ProblemKind::Exhausted => "a cap or the machine's own space is used up",
        ProblemKind::Timeout => "it did not happen in time",
        ProblemKind::Failed => "a part of the session, or the daemon, failed",
        ProblemKind::Internal => "a mistake of ours",
    };
    let mut kinds = ProblemKind::ALL;
    kinds.sort_by_key(|k| k.exit_code());
    let mut text = String::from("Exit codes:\n    0  done\n");
    for kind in kinds {
        text += &format!("  {:>3}  {}\n", kind.exit_code(), meaning(kind));
    }
    text +=
        "  126, 127, 128+N  as a shell: a command inside could not start, was not found, ended by signal N\n";
    text += "  141  nobody reads the output any more\n";
    text += "run, exec and attach pass on the exit status of the command inside.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_one_line_and_a_hint() {
        let problem = Problem::new(ProblemKind::NotFound, "no session `x`").hint("`sessile ls` shows them");
        assert_eq!(
            render(&problem, false),
            "sessile: error: no session `x`\nhint: `sessile ls` shows them\n"
        );
        let json: Problem = serde_json::from_str(&render(&problem, true)).unwrap();
        assert_eq!(json, problem);
        let hostile = Problem::new(ProblemKind::Conflict, "may not say \x1b[2J\nor so");
        assert_eq!(render(&hostile, false), "sessile: error: may not say \\u{1b}[2J\nor so\n");
    }

    #[test]
    fn exit_codes_are_all_there() {
        insta::assert_snapshot!(exit_codes(), @r"
        Exit codes:
            0  done
           64  the command line, a file or the request is wrong
           65  a prefix fits several sessions
           66  no such session, app or file
           69  this machine cannot give what was asked
           70  a mistake of ours
           71  a cap or the machine's own space is used up
           73  a name is taken, or the state does not allow it
           75  a part of the session, or the daemon, failed
           77  denied
          124  it did not happen in time
          126, 127, 128+N  as a shell: a command inside could not start, was not found, ended by signal N
          141  nobody reads the output any more
        run, exec and attach pass on the exit status of the command inside.
        ");
    }

    #[test]
    fn errors_of_the_system_lose_their_number() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(plain(&error), "no such file or directory");
    }
}
