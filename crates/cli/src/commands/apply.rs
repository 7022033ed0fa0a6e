//! `apply`: brings a copied project's changes back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use sessile_model::api;
use sessile_model::problem::ProblemKind;

use super::diff::summary;
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{counted, print_json, printable, say};
use crate::selector::SessionSelector;

/// Write what a session changed in its copy back to the project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile diff amber && sessile apply amber
  sessile apply amber src/main.rs          only this path
  sessile apply amber --yes                without asking, for scripts

Paths that changed outside since the last apply (or the copy) stop it, unless --force. What git,
direnv and editors take commands from is left as it was; exit code 77 when it was named, 66 for a path
that has no changes.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// Only these paths, relative to the project
    paths: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// Overwrite what changed outside meanwhile
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Shows what it will do, asks, does it.
    pub fn run(self, json: bool) -> Outcome {
        let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !self.yes && !can_ask {
            return Err(Failure::new(ProblemKind::BadRequest, "there is no terminal to ask on")
                .hint("look at `sessile diff`, then add --yes"));
        }
        let daemon = Daemon::reach()?;
        let mut changes: api::Changes = daemon.get(&self.session.path("/diff"))?;
        let mut paths: Vec<String> = self.paths.iter().map(|path| plain(path)).collect();
        if paths.iter().any(|path| path == ".") {
            paths.clear();
        }
        for path in &paths {
            if !changes.entries.iter().any(|e| is_under(&e.path, path)) {
                let detail = format!("{} is not among the changes", printable(path));
                let list = format!("`sessile diff {} --names` lists them", self.session);
                return Err(Failure::new(ProblemKind::NotFound, detail).hint(list));
            }
        }
        if !paths.is_empty() {
            let wanted = |path: &str| paths.iter().any(|p| is_under(path, p));
            changes.entries.retain(|e| wanted(&e.path));
            changes.conflicts.retain(|p| wanted(p));
        }
        if changes.entries.is_empty() {
            say("no changes");
            if json {
                print_json(&api::Applied::default())?;
            }
            return Ok(Status::OK);
        }
        if !self.yes && !confirmed(&changes)? {
            say("nothing was changed");
            return Ok(Status(1));
        }
        let apply = api::Apply {
            paths,
            force: self.force,
            seen: Some(changes.seen.clone()).filter(|s| !s.is_empty()),
        };
        let done: api::Applied = daemon.post(&self.session.path("/apply"), &apply)?;
        if json {
            print_json(&done)?;
        } else {
            say(&format!("{} written or removed", counted(done.files, "path", "paths")));
            done.skipped.iter().for_each(|s| say(&format!("left as it was: {}", printable(s))));
        }
        Ok(Status::OK)
    }
}

/// A path as changes name it: `./a//b/` is `a/b`, and `.` is all of them.
fn plain(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.is_empty() { ".".to_owned() } else { names.join("/") }
}

fn is_under(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn confirmed(changes: &api::Changes) -> Result<bool, Failure> {
    let mut err = std::io::stderr().lock();
    let these = match changes.entries.len() {
        1 => "this change".to_owned(),
        count => format!("these {count} changes"),
    };
    let asked = write!(err, "{}Apply {these}? [y/N] ", summary(changes));
    asked.and_then(|()| err.flush()).map_err(|e| Failure::system("ask", &e))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|e| Failure::system("read the answer", &e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_for_what_is_in_them() {
        let under = |path: &str, folder: &str| is_under(path, &plain(folder));
        assert!(under("src/a.rs", "src") && under("src/a.rs", "./src//") && under("src", "src"));
        assert_eq!((plain("./"), plain(""), plain("/src")), (".".into(), "".into(), "/src".into()));
        assert!(!is_under("src2/a.rs", "src") && !is_under("a", "a/b"));
    }
}
