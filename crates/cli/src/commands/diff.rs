//! `diff`: what a copied project changed.

use sessile_model::api::{Change, ChangeKind, Changes};

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{colours, print, print_json, printable, say};
use crate::selector::SessionSelector;

/// Show what a session changed in its copy of the project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile run --project .:copy -- ./refactor.sh
  sessile diff amber
  sessile diff amber --names
  sessile diff amber --json | jq -r '.entries[].path'")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// Only the paths
    #[arg(long)]
    names: bool,
}

impl Args {
    /// Prints the changes in unified format, then what has none.
    pub fn run(self, json: bool) -> Outcome {
        let changes: Changes = Daemon::reach()?.get(&self.session.path("/diff"))?;
        if json {
            print_json(&changes)?;
        } else if changes.entries.is_empty() {
            say("no changes");
        } else {
            let shown =
                if self.names { summary(&changes) } else { visible(&changes.unified) + &not_shown(&changes) };
            print(&if colours(&std::io::stdout()) { coloured(&shown) } else { shown })?;
        }
        if !json {
            changes.notices.iter().for_each(|n| say(&format!("note: {}", printable(n))));
        }
        Ok(Status::OK)
    }
}

/// One line per changed path: `A`, `M` or `D`, as version control prints it, and `!` where the
/// original changed too or `apply` leaves it as it is.
pub fn summary(changes: &Changes) -> String {
    let line = |entry: &Change| {
        let letter = match entry.change {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Removed => 'D',
        };
        let note = match &entry.left {
            Some(why) => format!(" ! not applied: it {}", printable(why)),
            None if changes.conflicts.contains(&entry.path) => " ! changed outside too".to_owned(),
            None => String::new(),
        };
        format!("{letter} {}{note}\n", printable(&entry.path))
    };
    changes.entries.iter().map(line).collect()
}

/// The paths that the unified text does not show (binary files, modes, links), and those that are not
/// simply written back.
fn not_shown(changes: &Changes) -> String {
    let heads: Vec<&str> =
        changes.unified.lines().filter(|l| l.starts_with("--- ") || l.starts_with("+++ ")).collect();
    let is_shown = |path: &str| heads.iter().any(|h| h.trim_end().ends_with(path));
    let is_noted = |e: &Change| e.left.is_some() || changes.conflicts.contains(&e.path);
    let rest = changes.entries.iter().filter(|e| !is_shown(&e.path) || is_noted(e));
    summary(&Changes {
        entries: rest.cloned().collect(),
        conflicts: changes.conflicts.clone(),
        ..Changes::default()
    })
}

/// The text with escape sequences made visible; it comes from inside.
fn visible(unified: &str) -> String {
    unified
        .split_inclusive('\n')
        .map(|line| {
            let (body, end) = line.strip_suffix('\n').map_or((line, ""), |b| (b, "\n"));
            body.split('\t').map(printable).collect::<Vec<_>>().join("\t") + end
        })
        .collect()
}

fn coloured(unified: &str) -> String {
    let colour = |line: &str| {
        if line.starts_with("--- ") || line.starts_with("+++ ") || line.starts_with("diff ") {
            Some("1")
        } else if line.starts_with("@@") {
            Some("36")
        } else if line.starts_with('+') {
            Some("32")
        } else if line.starts_with('-') {
            Some("31")
        } else {
            None
        }
    };
    let line = |line: &str| match colour(line) {
        Some(code) => format!("\x1b[{code}m{line}\x1b[0m\n"),
        None => format!("{line}\n"),
    };
    unified.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Changes {
        let entry = |path: &str, change| Change { path: path.into(), change, left: None };
        let hook = Change { left: Some("is left".into()), ..entry(".envrc", ChangeKind::Added) };
        Changes {
            entries: vec![
                hook,
                entry("a.txt", ChangeKind::Modified),
                entry("logo.png", ChangeKind::Added),
                entry("old", ChangeKind::Removed),
            ],
            unified: "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-x\n+\x1b[2Jy\tz\n".into(),
            conflicts: vec!["old".into()],
            ..Changes::default()
        }
    }

    #[test]
    fn paths_without_text_are_listed() {
        insta::assert_snapshot!(summary(&changes()), @r"
        A .envrc ! not applied: it is left
        M a.txt
        A logo.png
        D old ! changed outside too
        ");
        insta::assert_snapshot!(not_shown(&changes()), @r"
        A .envrc ! not applied: it is left
        A logo.png
        D old ! changed outside too
        ");
    }

    #[test]
    fn text_from_inside_does_not_act_on_the_terminal() {
        let shown = visible(&changes().unified);
        assert!(shown.contains("+\\u{1b}[2Jy\tz\n"));
        assert!(coloured(&shown).contains("\x1b[31m-x\x1b[0m\n"));
    }
}
