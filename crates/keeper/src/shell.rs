//! Shells that say of their commands where they begin and how they end (OSC 133).
//!
//! Nothing of the user's is changed: bash, zsh and fish read files of the sandbox's own `/etc`. zsh
//! and fish do so wherever they are started. bash is told by a variable, or where it is an app's
//! command by an argument, so that a `~/.bashrc` that sets this variable does not undo it.

use std::path::Path;

/// The folder of `/etc` with what bash reads.
const FOLDER: &str = "sessile";

/// Files of `/etc`: name and content. Where zsh looks depends on who built it.
pub fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    let files: [(&str, &[u8]); 7] = [
        ("sessile/bash", include_bytes!("shell/bash")),
        ("sessile/bashrc", include_bytes!("shell/bashrc")),
        ("zsh/zshenv", include_bytes!("shell/zshenv")),
        ("zshenv", include_bytes!("shell/zshenv")),
        ("zsh/zshrc", include_bytes!("shell/zsh")),
        ("zshrc", include_bytes!("shell/zsh")),
        ("fish/conf.d/sessile.fish", include_bytes!("shell/fish")),
    ];
    files.into_iter().map(|(name, content)| (name.to_owned(), content.to_vec()))
}

/// The variable by which every interactive bash is told, and its value.
pub fn variable() -> (String, String) {
    ("PROMPT_COMMAND".to_owned(), format!(". /etc/{FOLDER}/bash"))
}

/// Whether a command is a shell that will say something of its commands.
pub fn is_told_of(argv: &[String]) -> bool {
    let Some((program, arguments)) = argv.split_first() else { return false };
    matches!(name(program), "bash" | "zsh" | "fish")
        && arguments.iter().all(|argument| is_interactive(argument))
}

/// Whether a shell with this argument may still read its terminal: `-c`, a script and `-` with what
/// follows do not.
fn is_interactive(argument: &str) -> bool {
    match argument.strip_prefix("--") {
        Some(long) => !long.is_empty() && !long.starts_with("command"),
        None => argument.starts_with('-') && argument.len() > 1 && !argument.contains('c'),
    }
}

/// A command as it is started on a terminal.
pub fn started(argv: &[String]) -> Vec<String> {
    let mut argv = argv.to_vec();
    let plain = argv.iter().skip(1).all(|argument| argument == "-i");
    if plain && argv.first().is_some_and(|program| name(program) == "bash") {
        // Long options come first.
        argv.splice(1..1, ["--rcfile".to_owned(), format!("/etc/{FOLDER}/bashrc")]);
    }
    argv
}

fn name(program: &str) -> &str {
    Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn shells_that_read_their_terminal() {
        for line in ["bash", "/bin/bash -i", "/usr/bin/zsh -l", "fish --private", "bash --norc -i"] {
            assert!(is_told_of(&argv(line)), "{line}");
        }
        for line in
            ["", "sh -i", "vim", "bash -c ls", "bash -ic ls", "bash script", "zsh -", "fish --command=ls"]
        {
            assert!(!is_told_of(&argv(line)), "{line}");
        }
    }

    #[test]
    fn only_a_plain_bash_gets_an_argument() {
        assert_eq!(started(&argv("/bin/bash -i")), argv("/bin/bash --rcfile /etc/sessile/bashrc -i"));
        for line in ["bash -l", "bash -c ls", "zsh", "sh", ""] {
            assert_eq!(started(&argv(line)), argv(line));
        }
    }

    #[test]
    fn what_bash_is_told_is_there() {
        let (_, value) = variable();
        let path = value.strip_prefix(". /etc/").unwrap();
        assert!(files().any(|(name, _)| name == path));
        let bashrc =
            String::from_utf8(files().find(|(name, _)| name == "sessile/bashrc").unwrap().1).unwrap();
        assert!(bashrc.contains(&value));
    }
}
