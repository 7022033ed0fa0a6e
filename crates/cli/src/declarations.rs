//! Files that say what an agent's tools do (`tools.toml`).

use std::ffi::OsString;
use std::path::Path;

use sessile_guard::tools::Tools;
use sessile_model::guarding::MAX_TOOLS_BYTES;
use sessile_model::problem::ProblemKind;

use crate::failure::Failure;
use crate::files;

/// The text of a file that declares tools, once it was checked.
///
/// # Errors
/// When it cannot be read, or all that is wrong with it.
pub fn text(file: &Path) -> Result<String, Failure> {
    let text = files::text(file, MAX_TOOLS_BYTES)?;
    Tools::parse(&text).map_err(|e| {
        Failure::new(ProblemKind::BadRequest, format!("{}: {e}", file.display()))
            .hint("`sessile guard tools` derives one from descriptions of tools")
    })?;
    Ok(text.as_str().to_owned())
}

/// Arguments in which `--tools FILE.toml` of a command that opens a session is one: without a file, what
/// follows `--tools` is the session's command.
pub fn joined(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut is_open = false;
    for argument in arguments {
        is_open |= all.len() == 1 && argument == "run";
        let names_file =
            argument.to_str().is_some_and(|text| text.ends_with(".toml") && !text.starts_with('-'));
        match all.last_mut().filter(|last| is_open && names_file && *last == "--tools") {
            Some(last) => {
                last.push("=");
                last.push(argument);
            }
            None => {
                is_open &= argument != "--";
                all.push(argument);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_behind_tools_is_taken_for_one_and_a_command_is_not() {
        let joined = |line: &str| {
            let all = joined(line.split(' ').map(OsString::from));
            all.iter().map(|a| a.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(joined("sessile run --tools t.toml -- sh"), "sessile run --tools=t.toml -- sh");
        for same in [
            "sessile run --tools make",
            "sessile run --tools -- t.toml",
            "sessile run -- x --tools t.toml",
            "sessile guard trace t --tools t.toml",
        ] {
            assert_eq!(joined(same), same);
        }
    }
}
