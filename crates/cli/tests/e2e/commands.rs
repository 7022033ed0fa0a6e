//! A shell's commands: what each wrote, and how it ended, without a marker of the caller's.

use std::process::Stdio;

use crate::support::processes::{self, kill, part};
use crate::support::{World, skip};

const TIMEOUT: [&str; 2] = ["--timeout", "60s"];

/// Whether this machine has the shell.
fn has(shell: &str) -> bool {
    let found = ["/usr/bin", "/bin"].iter().any(|folder| std::path::Path::new(folder).join(shell).exists());
    if !found {
        skip(&format!("there is no {shell}: cargo xtask setup installs it"));
    }
    found
}

/// Types a command and returns what it wrote and its exit status.
#[track_caller]
fn runs(world: &World, session: &str, line: &str) -> (String, i32) {
    let finished = world.sessile(&[&["type", session, line, "--wait"][..], &TIMEOUT].concat());
    (finished.text(), finished.code)
}

/// What every shell does alike.
#[track_caller]
fn each_command_of(world: &World, shell: &str) {
    if !has(shell) {
        return;
    }
    world.open(shell, &[shell]);
    // At once: the shell may not have shown a prompt yet.
    assert_eq!(runs(world, shell, "echo one; echo two; false"), ("one\ntwo\n".to_owned(), 1), "{shell}");
    assert_eq!(runs(world, shell, "printf 'no end'"), ("no end".to_owned(), 0), "{shell}");
    assert_eq!(runs(world, shell, "sh -c 'exit 42'"), (String::new(), 42), "{shell}");
    let written = world.must(&["output", shell, "--last-command"]);
    assert_eq!(written, "", "{shell}");
    let shown = world.json(&["type", shell, "printf 'a\\nb'", "--wait", "--json"]);
    assert_eq!((&shown["exit"], &shown["output"], &shown["lost"]), (&0.into(), &"a\nb".into(), &0.into()));
    let offset = |name: &str| shown[name].as_u64().unwrap();
    assert!(offset("output_from") < offset("output_to"), "{shown}");
    assert_eq!(world.must(&["output", shell, "--last-command"]), "a\nb", "{shell}");
    let raw = world.must(&["output", shell, "--last-command", "--raw"]);
    assert!(raw.contains("a\r\nb"), "{shell}: {raw:?}");
    assert_eq!(world.json(&["output", shell, "--last-command", "--json"])["number"], shown["number"]);
    // An empty line is no command.
    let blank = world.sessile(&[&["type", shell, "--key", "enter", "--wait"][..], &TIMEOUT].concat());
    assert_eq!(blank.code, 73, "{shell}");
    assert!(blank.err.contains("ran no command"), "{shell}: {}", blank.err);
    // Ctrl-C ends a command that would not end.
    let mut arguments = vec!["type", shell, "echo begun; sleep 1000000", "--wait"];
    arguments.extend(TIMEOUT);
    let sleeping = world.start(&arguments, Stdio::null());
    world.must(&["wait", shell, "--pattern", "(?m)^begun$", "--timeout", "60s"]);
    let late = world.sessile(&["wait", shell, "--command", "--timeout", "10ms"]);
    assert_eq!(late.code, 124, "{shell}");
    world.must(&["type", shell, "--key", "ctrl-c"]);
    let sleeping = sleeping.finish();
    assert_eq!(sleeping.code, 130, "{shell}: {}", sleeping.err);
    assert!(sleeping.text().starts_with("begun\n"), "{shell}: {:?}", sleeping.text());
    assert_eq!(runs(world, shell, "echo again"), ("again\n".to_owned(), 0), "{shell}");
    // What is typed while one runs is for that one, which is said.
    world.must(&["type", shell, "echo started; cat", "--key", "enter"]);
    world.must(&["wait", shell, "--pattern", "(?m)^started$", "--timeout", "60s"]);
    world.must(&["type", shell, "here", "--key", "enter"]);
    world.must(&["wait", shell, "--pattern", "here\nhere", "--timeout", "60s"]);
    let told = world.sessile(&[&["type", shell, "--key", "ctrl-d", "--wait"][..], &TIMEOUT].concat());
    assert!(told.code == 0 && told.text().contains("here"), "{shell}: {:?}", told.text());
    assert!(told.err.contains("runs already"), "{shell}: {}", told.err);
    // Several lines are one command.
    let lines = "echo first\nfalse\n\necho last; sh -c 'exit 5'";
    assert_eq!(runs(world, shell, lines), ("first\nlast\n".to_owned(), 5), "{shell}");
    assert_eq!(runs(world, shell, "echo then"), ("then\n".to_owned(), 0), "{shell}");
    // Other keys among them are typed as they are.
    let typed = world.sessile(&[&["type", shell, "echo no\x15true\nfalse", "--wait"][..], &TIMEOUT].concat());
    assert!(typed.err.contains("of the first"), "{shell}: {}", typed.err);
    world.must(&["wait", shell, "--quiet", "300ms", "--timeout", "60s"]);
    // The shell's own end is the command's.
    let (_, code) = runs(world, shell, "exit 7");
    assert_eq!(code, 7, "{shell}");
}

for_root_and_user! {
    fn of_bash(world) {
        each_command_of(world, "bash");
    }

    fn of_zsh(world) {
        each_command_of(world, "zsh");
    }

    fn of_fish(world) {
        each_command_of(world, "fish");
    }

    /// The session ends with its command; who typed what ended it is told how, all the same.
    fn that_end_their_session(world) {
        for shell in ["bash", "zsh", "fish"].into_iter().filter(|shell| has(shell)) {
            let attached = world.terminal(&["run", "--name", shell, "--", shell]);
            let is_open = || (world.sessile(&["show", shell]).code == 0).then_some(());
            processes::eventually("the session is open", is_open);
            assert_eq!(runs(world, shell, "true"), (String::new(), 0), "{shell}");
            let (text, code) = runs(world, shell, "echo last; exit 9");
            assert_eq!(code, 9, "{shell}");
            assert!(text.starts_with("last\n"), "{shell}: {text:?}");
            assert_eq!(attached.finish(), 9, "{shell}");
            world.sessile(&["show", shell]).refused_with(66, &["no such session"]);
        }
    }

    /// What the shell tells its marks by may be replaced while it runs.
    fn of_a_shell_whose_prompt_is_changed(world) {
        let changes = [
            ("bash", &["PROMPT_COMMAND='history -a'", "unset PROMPT_COMMAND", "PS1='> '"][..]),
            ("zsh", &["precmd_functions=()", "precmd() { true; }"][..]),
            ("fish", &["function fish_prompt; echo '> '; end"][..]),
        ];
        for (shell, changes) in changes.into_iter().filter(|(shell, _)| has(shell)) {
            for (number, change) in changes.iter().enumerate() {
                let name = format!("{shell}-{number}");
                world.open(&name, &[shell]);
                assert_eq!(runs(world, &name, "echo before"), ("before\n".to_owned(), 0), "{change}");
                assert_eq!(runs(world, &name, change), (String::new(), 0), "{change}");
                assert_eq!(runs(world, &name, "echo after; sh -c 'exit 4'"), ("after\n".to_owned(), 4), "{change}");
                assert_eq!(runs(world, &name, "printf 'no end'"), ("no end".to_owned(), 0), "{change}");
            }
        }
        // A prompt that is made anew each time takes the mark with it, until that is told again.
        let made = r#"PROMPT_COMMAND='PS1="> "'"#;
        world.sessile(&["type", "bash-0", made, "--wait", "--timeout", "1s"]).refused_with(124, &["/etc/sessile/bash"]);
        world.must(&["type", "bash-0", r#"PROMPT_COMMAND=". /etc/sessile/bash; $PROMPT_COMMAND""#, "--key", "enter"]);
        world.must(&["wait", "bash-0", "--quiet", "500ms", "--timeout", "60s"]);
        assert_eq!(runs(world, "bash-0", "echo told; false"), ("told\n".to_owned(), 1));
        let both = world.sessile(&["type", "bash-1", "unset PROMPT_COMMAND PS0; PS1='> '", "--wait", "--timeout", "1s"]);
        both.refused_with(124, &["did not end", "PROMPT_COMMAND"]);
        let late = world.sessile(&["type", "bash-1", "true", "--wait", "--timeout", "1s"]);
        late.refused_with(124, &["within 1", "did not end", "PROMPT_COMMAND"]);
    }

    fn of_a_shell_within_a_shell(world) {
        world.open("deep", &["bash"]);
        for (shell, prompt) in [("bash -l", r"bash -l\n[^\n]*\$ $"), ("zsh", "sessile% $"), ("fish", "> $")] {
            if !has(shell.split(' ').next().unwrap()) {
                continue;
            }
            let before = runs(world, "deep", "echo outside");
            assert_eq!(before, ("outside\n".to_owned(), 0), "{shell}");
            world.must(&["type", "deep", shell, "--key", "enter"]);
            world.must(&["wait", "deep", "--pattern", prompt, "--timeout", "60s"]);
            assert_eq!(runs(world, "deep", "echo within; sh -c 'exit 9'"), ("within\n".to_owned(), 9), "{shell}");
            let (_, code) = runs(world, "deep", "exit 3");
            assert_eq!(code, 3, "{shell}");
            assert_eq!(runs(world, "deep", "true"), (String::new(), 0), "{shell}");
        }
    }

    fn of_a_shell_that_says_nothing(world) {
        world.open("mute", &["sh", "-i"]);
        for arguments in [
            &["type", "mute", "true", "--wait"][..],
            &["wait", "mute", "--command"],
            &["output", "mute", "--last-command"],
        ] {
            let refused = world.sessile(arguments);
            assert_eq!(refused.code, 73, "{arguments:?}");
            assert!(refused.err.contains("no shell that tells its commands"), "{}", refused.err);
            assert!(refused.err.contains("--pattern"), "{}", refused.err);
        }
        // One that is started there does.
        world.must(&["type", "mute", "exec bash", "--key", "enter"]);
        world.must(&["wait", "mute", "--pattern", "user@sessile", "--timeout", "60s"]);
        assert_eq!(runs(world, "mute", "echo heard"), ("heard\n".to_owned(), 0));
        world.must(&["run", "--detach", "--name", "empty"]);
        let task = world.json(&["exec", "empty", "--detach", "--json", "--", "sleep", "1000"]);
        let refused = world.sessile(&["wait", "empty", "--command", "--app", task["task"].as_str().unwrap()]);
        assert!(refused.err.contains("has no terminal"), "{}", refused.err);
    }

    fn of_a_program_on_the_other_screen(world) {
        if !has("less") {
            return;
        }
        world.write("long.txt", &"line\n".repeat(500));
        world.open("paged", &["bash"]);
        world.must(&["type", "paged", "less long.txt", "--key", "enter"]);
        world.must(&["wait", "paged", "--pattern", "long.txt", "--timeout", "60s"]);
        let waiting = world.start(&["wait", "paged", "--command", "--timeout", "60s"], Stdio::null());
        // What is typed is for the pager, whose end is the command's.
        let left = world.sessile(&["type", "paged", "--key", "q", "--wait", "--timeout", "60s"]);
        assert_eq!(left.code, 0);
        assert_eq!(world.json(&["screen", "paged", "--json"])["alternate"], false);
        runs(world, "paged", "true");
        assert_eq!(waiting.finish().code, 0);
    }

    /// The user's own prompt has marks, and sets what ours are set by.
    fn of_a_prompt_with_marks_of_its_own(world) {
        let bashrc = world.write("own.bashrc", "PROMPT_COMMAND='printf \"\\e]133;D;$?\\a\"'\n\
            PS0='\\e]133;C\\a'\nPS1='\\[\\e]133;A\\a\\]own> \\[\\e]133;B\\a\\]'\n");
        let mount = format!("{}:/home/user/.bashrc", bashrc.display());
        world.must(&["run", "--detach", "--name", "own", "--mount", &mount, "--", "bash"]);
        assert_eq!(runs(world, "own", "echo mine; sh -c 'exit 5'"), ("mine\n".to_owned(), 5));
        assert!(world.must(&["screen", "own"]).starts_with("own> echo mine"));
        let blank = world.sessile(&[&["type", "own", "--key", "enter", "--wait"][..], &TIMEOUT].concat());
        assert_eq!(blank.code, 73);
        // Such a prompt alone says enough.
        world.must(&["run", "--detach", "--name", "alone", "--env", "PROMPT_COMMAND=", "--mount", &mount, "--", "bash", "-l"]);
        world.must(&["type", "alone", ". ~/.bashrc", "--key", "enter"]);
        world.must(&["wait", "alone", "--pattern", "own>", "--timeout", "60s"]);
        assert_eq!(runs(world, "alone", "echo mine; sh -c 'exit 5'"), ("mine\n".to_owned(), 5));
    }

    /// A program may write marks: what it says is taken for the shell's word, and stays bounded.
    fn of_a_program_that_lies(world) {
        world.open("liar", &["bash"]);
        let lie = "for i in $(seq 2000); do printf '\\e]133;P;aid=x%d\\a\\e]133;C;aid=x%d\\a\\e]133;D;1;aid=x%d\\a' $i $i $i; done; printf '\\e]133;C;aid=y\\a'";
        runs(world, "liar", lie);
        assert_eq!(runs(world, "liar", "echo honest"), ("honest\n".to_owned(), 0));
        let forged = runs(world, "liar", "printf '\\e]133;D;0;aid=%d\\a' $$; sleep 1; sh -c 'exit 6'");
        assert_eq!(forged, (String::new(), 0), "a lie is believed, as is said");
        world.must(&["wait", "liar", "--quiet", "1500ms"]);
        assert_eq!(runs(world, "liar", "echo honest"), ("honest\n".to_owned(), 0));
    }

    /// A command goes on while its keeper is replaced, and writes more than the ring holds.
    fn across_a_keepers_death(world) {
        let id = world.open("kept", &["bash"]);
        assert_eq!(runs(world, "kept", "echo before"), ("before\n".to_owned(), 0));
        let line = "echo begun; read x; seq 300000; sh -c 'exit 11'";
        let mut arguments = vec!["type", "kept", line, "--wait"];
        arguments.extend(TIMEOUT);
        let waiting = world.start(&arguments, Stdio::null());
        world.must(&["wait", "kept", "--pattern", "(?m)^begun$", "--timeout", "60s"]);
        for _ in 0..2 {
            let keeper = part(world, "keeper", &id).unwrap();
            kill(keeper);
            processes::eventually("another keeper runs", || {
                part(world, "keeper", &id).filter(|next| *next != keeper)
            });
        }
        // The keeper that takes over still knows the command that ended before.
        assert_eq!(world.must(&["output", "kept", "--last-command"]), "before\n");
        world.must(&["type", "kept", "go", "--key", "enter"]);
        let finished = waiting.finish();
        assert_eq!(finished.code, 11, "{}", finished.err);
        assert!(finished.text().ends_with("\n299999\n300000\n"), "the end of it is there");
        assert!(finished.err.contains("are no longer kept"), "{}", finished.err);
        let refused = world.sessile(&["output", "kept", "--last-command"]);
        assert_eq!(refused.code, 66);
        assert!(refused.err.contains("no longer kept") && refused.text().is_empty(), "{}", refused.err);
        // Where the marks are in the ring no more, a successor knows them all the same.
        let keeper = part(world, "keeper", &id).unwrap();
        kill(keeper);
        let refused = world.sessile(&["output", "kept", "--last-command"]);
        refused.refused_with(66, &["no longer kept"]);
        assert_eq!(runs(world, "kept", "echo after"), ("after\n".to_owned(), 0));
    }
}
