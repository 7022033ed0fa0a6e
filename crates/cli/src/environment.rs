//! Environment variables for a session: inherited, inline, from files, from standard input.

use std::path::Path;
use std::str::FromStr;

use sessile_model::problem::ProblemKind;
use sessile_model::spec::EnvVar;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;

/// Largest environment file that is read.
const MAX_FILE: usize = 1 << 20;

/// The value of `--env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvArgument {
    /// `K`: the caller's own value.
    Inherit(String),
    /// `K=V`: a value that every user of the machine can see in the list of processes.
    Inline(EnvVar),
}

/// Why a text is not an environment variable.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum InvalidEnv {
    /// The name has other characters than letters, digits and `_`, or starts with a digit.
    #[error("`{0}` is not a variable's name (letters, digits and `_`, not starting with a digit)")]
    Name(String),
    /// A line without `=`.
    #[error("expected KEY=VALUE")]
    NoValue,
    /// A value with a NUL byte.
    #[error("a value cannot contain a NUL byte")]
    Nul,
}

fn variable(name: &str, value: &str) -> Result<EnvVar, InvalidEnv> {
    let valid = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if !valid {
        return Err(InvalidEnv::Name(name.to_owned()));
    }
    if value.contains('\0') {
        return Err(InvalidEnv::Nul);
    }
    Ok(EnvVar { name: name.to_owned(), value: value.to_owned() })
}

impl FromStr for EnvArgument {
    type Err = InvalidEnv;

    fn from_str(text: &str) -> Result<Self, InvalidEnv> {
        match text.split_once('=') {
            Some((name, value)) => variable(name, value).map(Self::Inline),
            None => variable(text, "").map(|v| Self::Inherit(v.name.clone())),
        }
    }
}

impl EnvArgument {
    /// The variable with its value.
    ///
    /// # Errors
    /// When it is to be inherited and is not set, or is not UTF-8.
    pub fn resolve(&self) -> Result<EnvVar, Failure> {
        match self {
            Self::Inline(variable) => Ok(variable.clone()),
            Self::Inherit(name) => match std::env::var(name) {
                Ok(value) => Ok(EnvVar { name: name.clone(), value }),
                Err(std::env::VarError::NotPresent) => {
                    Err(Failure::new(ProblemKind::BadRequest, format!("the variable {name} is not set"))
                        .hint(format!("set it, or leave out `--env {name}`")))
                }
                Err(std::env::VarError::NotUnicode(_)) => Err(Failure::new(
                    ProblemKind::BadRequest,
                    format!("the variable {name} is not valid UTF-8"),
                )),
            },
        }
    }
}

/// Reads `KEY=VALUE` lines. Empty lines and lines starting with `#` are skipped, `export ` before
/// a name and one pair of quotes round a value are dropped; nothing is expanded.
///
/// # Errors
/// The number of the first line that is not one, from 1, and why.
pub fn parse(text: &str) -> Result<Vec<EnvVar>, (usize, InvalidEnv)> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or((index + 1, InvalidEnv::NoValue))?;
        variables.push(variable(name, unquoted(value)).map_err(|e| (index + 1, e))?);
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    let pair = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    pair('"').or_else(|| pair('\'')).unwrap_or(value)
}

/// Reads an environment file. `Some` text beside the variables warns that others may read it.
///
/// # Errors
/// When it cannot be read or has a line that is not `KEY=VALUE`.
pub fn read_file(path: &Path) -> Result<(Vec<EnvVar>, Option<String>), Failure> {
    let (text, warning) = read_secret(path)?;
    Ok((variables(&text, &path.display().to_string())?, warning))
}

/// Reads a file that may hold a secret. `Some` text beside it warns that others may read it.
///
/// # Errors
/// When it cannot be read.
pub fn read_secret(path: &Path) -> Result<(Zeroizing<String>, Option<String>), Failure> {
    Ok((files::text(path, MAX_FILE)?, files::exposure(path)))
}

/// Reads environment lines from standard input, to its end.
///
/// # Errors
/// As [`read_file`].
pub fn read_stdin() -> Result<Vec<EnvVar>, Failure> {
    let name = "standard input";
    variables(&files::utf8(files::standard_input(MAX_FILE)?, name)?, name)
}

fn variables(text: &str, name: &str) -> Result<Vec<EnvVar>, Failure> {
    // The line itself is not shown: it may hold a secret.
    parse(text).map_err(|(line, why)| {
        Failure::new(ProblemKind::BadRequest, format!("{name}:{line}: {}", safe(&why)))
    })
}

/// The reason without the text of the line.
fn safe(why: &InvalidEnv) -> String {
    match why {
        InvalidEnv::Name(_) => "the name before `=` is not a variable's name".to_owned(),
        InvalidEnv::NoValue | InvalidEnv::Nul => why.to_string(),
    }
}

/// Puts together what was given in several places: a later variable replaces an earlier one of
/// the same name, in place.
pub fn merged(lists: impl IntoIterator<Item = Vec<EnvVar>>) -> Vec<EnvVar> {
    let mut all: Vec<EnvVar> = Vec::new();
    for variable in lists.into_iter().flatten() {
        match all.iter_mut().find(|v| v.name == variable.name) {
            Some(earlier) => *earlier = variable,
            None => all.push(variable),
        }
    }
    all
}

/// The socket of the caller's SSH agent.
///
/// # Errors
/// When there is none.
pub fn ssh_agent() -> Result<String, Failure> {
    let Some(path) = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) else {
        return Err(Failure::new(
            ProblemKind::BadRequest,
            "there is no SSH agent to forward: SSH_AUTH_SOCK is not set",
        )
        .hint("start one: eval \"$(ssh-agent)\"; ssh-add"));
    };
    let path = std::path::absolute(path).map_err(|e| Failure::system("find the SSH agent's socket", &e))?;
    crate::project::utf8(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().iter().map(|v| (v.name.clone(), v.value.clone())).collect()
    }

    #[test]
    fn files() {
        let text = "# comment\n\nA=1\nexport B = x=y \nC=\"quoted # text\"\nD='\n_E2=\n";
        assert_eq!(parse("export B =1"), Err((1, InvalidEnv::Name("B ".into()))));
        let text = text.replace("B =", "B=");
        let got = pairs(&text);
        let want = [("A", "1"), ("B", " x=y "), ("C", "quoted # text"), ("D", "'"), ("_E2", "")];
        assert_eq!(got, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(parse("A=1\nsecret"), Err((2, InvalidEnv::NoValue)));
        assert_eq!(parse("A=\0"), Err((1, InvalidEnv::Nul)));
    }

    #[test]
    fn errors_do_not_show_the_line() {
        let Err(Failure::Problem(problem)) = variables("A=1\nhunter2 x=1", "f") else { panic!() };
        assert_eq!(problem.detail, "f:2: the name before `=` is not a variable's name");
    }

    #[test]
    fn arguments() {
        assert_eq!("A".parse(), Ok(EnvArgument::Inherit("A".into())));
        assert!(matches!("A=b=c".parse(), Ok(EnvArgument::Inline(v)) if v.value == "b=c"));
        for bad in ["", "=x", "1A", "A-B=1"] {
            assert!(bad.parse::<EnvArgument>().is_err(), "{bad}");
        }
        assert!("SESSILE_TEST_UNSET".parse::<EnvArgument>().unwrap().resolve().is_err());
    }

    #[test]
    fn later_values_win() {
        let merged = merged([parse("A=1\nB=2").unwrap(), parse("A=3").unwrap()]);
        assert_eq!(merged.iter().map(|v| v.value.as_str()).collect::<Vec<_>>(), ["3", "2"]);
    }
}
