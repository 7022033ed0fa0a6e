//! Shells take the completions and complete with them.

use std::process::Command;

use crate::support::skip;

/// Has a shell run this, with the path of its completions as `$SCRIPT`. `None` without the shell.
fn in_shell(shell: &str, options: &[&str], commands: &str) -> Option<String> {
    let generated =
        Command::new(env!("CARGO_BIN_EXE_sessile")).args(["completions", shell]).output().unwrap();
    assert!(generated.status.success());
    // Shells make folders in their home.
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("completions");
    std::fs::write(&script, generated.stdout).unwrap();
    let ran = Command::new(shell)
        .args(options)
        .args(["-c", commands])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("SCRIPT", &script)
        .env("HOME", home.path())
        .output();
    let Ok(ran) = ran else {
        skip(&format!("{shell} is not installed"));
        return None;
    };
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && err.is_empty(), "{shell} says: {out}{err}");
    Some(out.into_owned())
}

/// The first words of lines.
fn first_words(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn bash_completes() {
    let complete = "source $SCRIPT
        COMP_WORDS=(sessile \"$@\") COMP_CWORD=$#
        _sessile sessile \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let completed = |words: &str| in_shell("bash", &["--norc"], &format!("set -- {words}\n{complete}"));
    let Some(commands) = completed("r") else { return };
    assert_eq!(first_words(&commands), ["run", "recv", "route", "resume", "receipt", "risk", "record"]);
    assert_eq!(first_words(&completed("run --mem").unwrap()), ["--memory"]);
    assert_eq!(first_words(&completed("daemon s").unwrap()), ["start", "stop", "status"]);
    assert!(!completed("daemon ''").unwrap().contains("run"), "hidden commands are offered");
    assert!(!completed("''").unwrap().contains("guard-"), "hidden commands are offered");
}

#[test]
fn fish_completes() {
    let completed = |line: &str| {
        in_shell("fish", &["--no-config"], &format!("source $SCRIPT; complete --do-complete '{line}'"))
    };
    let Some(commands) = completed("sessile r") else { return };
    assert_eq!(first_words(&commands), ["receipt", "record", "recv", "resume", "risk", "route", "run"]);
    assert_eq!(first_words(&completed("sessile run --mem").unwrap()), ["--memory"]);
    assert_eq!(first_words(&completed("sessile daemon ").unwrap()), ["start", "status", "stop"]);
    assert_eq!(completed("sessile guard-").unwrap(), "", "hidden commands are offered");
}

/// Completing itself needs a terminal there; that it loads and registers does not.
#[test]
fn zsh_takes_them() {
    let load = "autoload -U compinit && compinit -u -D && source $SCRIPT && echo $_comps[sessile]";
    let Some(registered) = in_shell("zsh", &["-f"], load) else { return };
    assert_eq!(registered, "_sessile\n");
}
