//! From files and who speaks for whom to the tables that a session is held to.

use std::sync::Arc;

use thiserror::Error;

use crate::check::{Discipline, check};
use crate::diagnostic::Diagnostic;
use crate::limits::Limits;
use crate::modules::Source;
use crate::plan::{CompileError, Plan, Verdict};

/// Why a session is not held to a protocol.
#[derive(Debug, Error)]
pub enum Unplanned {
    /// There is no file.
    #[error("there is no file of the protocol")]
    NoFile,
    /// It is not accepted: every diagnostic.
    #[error("the protocol is refused: {}", lines(.0))]
    Refused(Vec<Diagnostic>),
    /// A limit was reached before it was known whether it is safe.
    #[error("it is not known whether the protocol is safe: {}", lines(.0))]
    Undecided(Vec<Diagnostic>),
    /// Somebody speaks for a role that there is not.
    #[error("the protocol has no role {role}: there are {}", .roles.join(", "))]
    UnknownRole {
        /// The role.
        role: String,
        /// Those that there are.
        roles: Vec<String>,
    },
    /// Nobody speaks for a role.
    #[error("nobody speaks for the role {0}")]
    Unbound(String),
    /// One speaks for two roles.
    #[error("{speaker} speaks for one role, and not for both {} and {}", .roles[0], .roles[1])]
    TwoRoles {
        /// Who.
        speaker: String,
        /// The roles.
        roles: [String; 2],
    },
    /// The machines make no tables.
    #[error("the protocol's machines")]
    Compile(#[from] CompileError),
}

fn lines(all: &[Diagnostic]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Checks a protocol by the discipline `complete`, and that each role of it has one speaker, and no speaker
/// two roles. `files` are names and texts: the protocol's file, then by full names the modules that it
/// imports. `roles` are the roles that somebody speaks for, and who.
///
/// # Errors
/// When it is not proved safe, or its roles are not all spoken for.
pub fn planned<'a>(
    files: &[(&str, &str)],
    name: Option<&str>,
    roles: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Arc<Plan>, Unplanned> {
    let ((file, text), imported) = files.split_first().ok_or(Unplanned::NoFile)?;
    let mut imports =
        |module: &str| imported.iter().find(|(name, _)| *name == module).map(|(_, text)| (*text).to_owned());
    let source = Source { name: file, text };
    let found = check(&source, &mut imports, name, Discipline::Complete, Limits::default());
    let (protocol, _) = found.map_err(|all| match all.iter().all(|problem| problem.code.is_limit()) {
        true => Unplanned::Undecided(all),
        false => Unplanned::Refused(all),
    })?;
    let plan = Plan::compile(&protocol, Verdict::Proved)?;
    let mut bound: Vec<(&str, &str)> = Vec::new();
    for (role, speaker) in roles {
        if plan.role(role).is_none() {
            let roles = plan.roles().iter().map(ToString::to_string).collect();
            return Err(Unplanned::UnknownRole { role: role.to_owned(), roles });
        }
        if let Some((other, _)) = bound.iter().find(|(_, known)| *known == speaker) {
            let roles = [(*other).to_owned(), role.to_owned()];
            return Err(Unplanned::TwoRoles { speaker: speaker.to_owned(), roles });
        }
        bound.push((role, speaker));
    }
    match plan.roles().iter().find(|role| !bound.iter().any(|(known, _)| *known == &***role)) {
        Some(unbound) => Err(Unplanned::Unbound(unbound.to_string())),
        None => Ok(Arc::new(plan)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &str = "module talk; import words.Names as Names;
        global protocol Talk(role A, role B) { m(Names.Text) from A to B; }";
    const WORDS: &str = "module words.Names; type <rust> \"String\" from \"std\" as Text;";

    fn why(files: &[(&str, &str)], roles: &[(&str, &str)]) -> String {
        planned(files, None, roles.iter().copied()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn only_what_is_proved_and_spoken_for_makes_tables() {
        let files = [("talk.scr", TALK), ("words.Names", WORDS)];
        let plan = planned(&files, Some("Talk"), [("A", "operator"), ("B", "app:main")]).unwrap();
        assert_eq!(plan.roles().len(), 2);
        assert_eq!(why(&[], &[]), "there is no file of the protocol");
        assert!(why(&files[..1], &[]).contains("there is no module words.Names"));
        assert_eq!(why(&files, &[("A", "operator")]), "nobody speaks for the role B");
        assert_eq!(why(&files, &[("C", "operator")]), "the protocol has no role C: there are A, B");
        let twice = [("A", "operator"), ("B", "operator")];
        assert_eq!(why(&files, &twice), "operator speaks for one role, and not for both A and B");
        let unsafe_one = "module p; global protocol P(role A, role B, role C) {
            choice at A { 1() from A to B; 1() from C to B; } or { 2() from A to B; 2() from C to B; } }";
        assert!(why(&[("p.scr", unsafe_one)], &[]).starts_with("the protocol is refused: error[P052]"));
    }
}
