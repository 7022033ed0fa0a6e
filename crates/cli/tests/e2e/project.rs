//! The project folder: whose its files are, what of it may be changed, and by which way.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::support::World;
use crate::support::processes;

/// Makes everything in the project the caller's.
fn give_all(world: &World) {
    let owner = format!("{0}:{0}", world.uid());
    let done = std::process::Command::new("chown").args(["-R", &owner]).arg(world.project()).status();
    assert!(world.is_root() || done.unwrap().success());
}

for_root_and_user! {
    fn files_stay_their_owners(world) {
        world.write("old.txt", "old\n");
        let script = "cat old.txt; echo new > new.txt; echo more >> old.txt; mkdir sub; stat -c %u old.txt new.txt sub";
        let text = world.must(&["run", "--", "sh", "-c", script]);
        assert_eq!(text, "old\n1000\n1000\n1000\n", "inside, they are the user's");
        for path in ["old.txt", "new.txt", "sub"] {
            let meta = fs::metadata(world.project().join(path)).unwrap();
            assert_eq!(meta.uid(), world.uid(), "{path} has another owner outside");
        }
        assert_eq!(fs::read_to_string(world.project().join("old.txt")).unwrap(), "old\nmore\n");
    }

    fn mounts_show_no_processes_and_have_places_of_their_own(world) {
        let run = |mounts: &[&str]| {
            let options = mounts.iter().flat_map(|mount| ["--mount", mount]);
            let arguments: Vec<&str> = ["run"].into_iter().chain(options).chain(["--", "true"]).collect();
            world.sessile(&arguments)
        };
        run(&["/proc:/x"]).refused_with(77, &["shows this machine's processes"]);
        run(&["/dev:/x:rw"]).refused_with(77, &["processes and devices"]);
        run(&["/etc:/x:rw"]).refused_with(77, &["reads at most"]);
        run(&["/usr/share:/x", "/usr/include:/x"]).refused_with(64, &["cannot both be at /x", "name another place"]);
        let missing = format!("/usr/share:{}/none", world.project().display());
        run(&[&missing]).refused_with(64, &["none does not exist", "make it first"]);
    }

    fn a_read_only_project_is_not_written(world) {
        world.write("a", "a\n");
        let finished = world.sessile(&["run", "--project", ".:ro", "--", "sh", "-c", "cat a; echo b > a"]);
        assert_eq!(finished.text(), "a\n");
        assert_ne!(finished.code, 0);
        assert_eq!(fs::read_to_string(world.project().join("a")).unwrap(), "a\n");
    }

    fn what_runs_on_the_host_later_is_protected(world) {
        world.write(".git/config", "[core]\n");
        let script = "mkdir -p .git/hooks; echo x > .git/hooks/post-checkout; echo x > .git/config; echo x > .envrc; \
            mv .git gone; mv .git/hooks .git/h; mv .git/config .git/c; rm -rf .git/config .git/hooks .envrc; \
            mkdir .git .git/hooks; mv x .envrc; ln -sf x .envrc; echo ../x > .git/commondir; rm -f .git/commondir; \
            mv .git/commondir .git/c; echo x > .git/index; true";
        world.sessile(&["run", "--", "sh", "-c", script]);
        let read = |path: &str| fs::read_to_string(world.project().join(path)).unwrap();
        assert_eq!(read(".git/config"), "[core]\n");
        assert_eq!(read(".git/index"), "x\n", "git can be used inside");
        for path in [".git/hooks", ".git/commondir", ".git/c", ".envrc", ".vscode", "gone"] {
            assert!(!world.project().join(path).exists(), "{path} is there");
        }

        world.must(&["run", "--allow-hooks", "--", "sh", "-c", "echo y > .git/config; echo y > .envrc"]);
        assert_eq!(read(".git/config") + &read(".envrc"), "y\ny\n");
    }

    /// As git on the host does it.
    fn a_protected_path_that_is_replaced_outside_is_noticed(world) {
        world.write(".git/config", "[core]\n");
        give_all(world);
        let terminal = world.terminal(&["run", "--name", "watched", "--", "sh", "-c", "echo ready; exec cat"]);
        terminal.expect("ready");
        assert_eq!(world.show("watched")["notices"], serde_json::Value::Null);
        world.write(".git/config.lock", "[core]\n");
        fs::rename(world.project().join(".git/config.lock"), world.project().join(".git/config")).unwrap();
        terminal.expect(".git/config was replaced or removed");
        let record = world.show("watched");
        assert_eq!(record["notices"].as_array().unwrap().len(), 1, "{record}");
        assert!(world.must(&["show", "watched"]).contains("no longer protected"));
    }

    fn no_repository_is_made_in_the_project(world) {
        let script = "mkdir -p .git/hooks; echo x > .git/config; rmdir .git; mv .git g; ln -s g .git; true";
        world.sessile(&["run", "--", "sh", "-c", script]);
        assert_eq!(fs::read_dir(world.project()).unwrap().count(), 0, "something was made or is left");
    }

    fn repositories_of_submodules_and_work_trees_are_protected(world) {
        for (path, text) in [
            (".git", "gitdir: .bare\n"),
            (".bare/HEAD", "ref: refs/heads/main\n"),
            (".bare/config", "[core]\n"),
            (".bare/modules/sub/HEAD", "ref: refs/heads/main\n"),
            (".bare/worktrees/tree/commondir", "../..\n"),
        ] {
            fs::create_dir_all(world.project().join(path).parent().unwrap()).unwrap();
            world.write(path, text);
        }
        give_all(world);
        let script = "for f in .git .bare/config .bare/hooks/x .bare/modules/sub/config .bare/modules/sub/hooks/x \
            .bare/worktrees/tree/commondir; do echo evil > $f; done; \
            mv .bare b; mv .bare/modules .bare/m; mv .bare/modules/sub .bare/modules/s; mv .bare/worktrees .bare/w; \
            echo fine > .bare/modules/sub/index";
        world.open("tree", &["sleep", "infinity"]);
        world.must(&["exec", "tree", "--", "sh", "-c", script]);
        let protected = &world.show("tree")["grants"][0]["protected"];
        assert_eq!(
            protected,
            &serde_json::json!([
                ".git", ".bare/hooks", ".bare/config", ".bare/commondir", ".bare/worktrees/tree/commondir",
                ".bare/modules/sub/hooks", ".bare/modules/sub/config", ".bare/modules/sub/commondir", ".envrc",
                ".vscode", ".idea"
            ])
        );
        world.must(&["end", "tree", "--grace", "0s"]);
        let found = std::process::Command::new("grep").args(["-r", "evil", "."]).current_dir(world.project()).output();
        assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
        assert!(world.project().join(".bare/modules/sub/index").exists());
        for path in [".bare/hooks", ".bare/modules/sub/hooks", ".bare/modules/sub/config", "b", ".bare/m", ".bare/w", ".bare/modules/s"] {
            assert!(!world.project().join(path).exists(), "{path} is there");
        }
    }

    fn a_link_in_a_protected_place_is_refused(world) {
        std::os::unix::fs::symlink("elsewhere", world.project().join(".envrc")).unwrap();
        world.sessile(&["run", "--", "true"]).refused_with(69, &[".envrc", "link", "--allow-hooks"]);
        world.must(&["run", "--allow-hooks", "--", "true"]);
        assert_eq!(fs::read_dir(world.project()).unwrap().count(), 1, "something is left");
    }

    fn git_on_the_host_does_not_notice(world) {
        // The project lies in a larger repository, whose git must go on as if nothing were there.
        let above = world.folder().to_owned();
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            let git = git.args(["-c", "safe.directory=*"]).args(arguments).current_dir(world.project());
            let output = git.env("HOME", world.home()).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "-q", above.to_str().unwrap()]);
        world.write("file", "text\n");
        world.open("inner", &["sleep", "infinity"]);
        assert!(world.project().join(".git").is_dir(), "nothing stands in for the repository");
        assert_eq!(git(&["rev-parse", "--show-prefix"]), "project/\n");
        assert_eq!(git(&["status", "--short", "--untracked-files=all", "."]), "?? file\n");
        git(&["add", "."]);
        assert_eq!(git(&["status", "--short", "--untracked-files=no"]), "A  file\n");
        // Who makes a repository meanwhile keeps it.
        git(&["init", "-q", "."]);
        world.must(&["end", "inner", "--grace", "0s"]);
        assert!(world.project().join(".git/HEAD").exists());
        assert!(!world.project().join(".envrc").exists());
    }

    fn whoever_closes_a_session_removes_what_was_made(world) {
        let stands = |path: &str| world.project().join(path).exists();
        // The keeper that follows, the daemon alone, a daemon that knows only what it finds.
        for (name, victims) in [("keeper", &["keeper"][..]), ("both", &["anchor", "keeper"]), ("all", &["daemon", "anchor", "keeper"])] {
            let id = world.open(name, &["sleep", "infinity"]);
            assert!(stands(".envrc") && stands(".git"), "{name}: nothing was made");
            let daemon = processes::daemon_of(world).unwrap();
            let cast = processes::casts(world)[&id];
            for victim in victims {
                let process = match *victim {
                    "daemon" => Some(daemon),
                    "anchor" => cast.anchor,
                    _ => cast.keeper,
                };
                let process = process.unwrap();
                // A keeper without its anchor may be done before it is killed.
                if process.runs() {
                    processes::kill_quietly(process.pid);
                }
            }
            world.sessile(&["end", name, "--grace", "0s"]);
            processes::eventually(&format!("what was made for {name} is gone"), || {
                world.must(&["ls", "--json"]);
                (fs::read_dir(world.project()).unwrap().count() == 0).then_some(())
            });
        }
    }

    fn a_keeper_that_dies_between_making_and_telling_leaves_nothing(world) {
        let daemon = world.daemon_with("stop=places.held");
        let opening = world.start(&["run", "--detach", "--name", "half", "--", "sleep", "infinity"], std::process::Stdio::null());
        let keeper = processes::eventually("the keeper has made them", || {
            let keepers = processes::casts(world).into_values().filter_map(|cast| cast.keeper);
            keepers.into_iter().find(|&keeper| processes::is_stopped(keeper))
        });
        assert!(world.project().join(".envrc").exists());
        processes::kill(keeper.pid);
        drop(opening.finish());
        world.sessile(&["end", "--all", "--grace", "0s"]);
        processes::eventually("what was made is gone", || {
            world.must(&["ls", "--json"]);
            (fs::read_dir(world.project()).unwrap().count() == 0).then_some(())
        });
        world.must(&["daemon", "stop"]);
        drop(daemon);
    }

    fn sessions_that_share_a_project_protect_it_to_the_last(world) {
        world.open("one", &["sleep", "infinity"]);
        world.open("two", &["sleep", "infinity"]);
        let protected = &world.show("two")["grants"][0]["protected"];
        assert_eq!(protected, &serde_json::json!([".git", ".envrc", ".vscode", ".idea"]));
        let vscode = world.project().join(".vscode");
        assert!(vscode.is_dir(), "held while a session needs it");
        world.must(&["end", "one", "--grace", "0s"]);
        let script = "mkdir -p .vscode .git/hooks; echo x > .vscode/tasks.json; echo x > .git/config; echo x > .envrc";
        world.sessile(&["exec", "two", "--", "sh", "-c", script]);
        assert!(!vscode.join("tasks.json").exists(), "the end of one session opened it to the other");
        world.must(&["end", "two", "--grace", "0s"]);
        assert_eq!(fs::read_dir(world.project()).unwrap().count(), 0, "nothing is left of it");
    }

    fn folders_that_give_too_much_are_refused(world) {
        let home = world.home().to_string_lossy().into_owned();
        let state = world.state().to_string_lossy().into_owned();
        let above = world.folder().to_string_lossy().into_owned();
        for folder in ["/", &home, &state, &above] {
            let finished = world.sessile(&["run", "--project", folder, "--", "true"]);
            assert!(matches!(finished.code, 64 | 77), "{folder}: {} {}", finished.code, finished.err);
            assert!(!finished.err.is_empty());
        }
        world.sessile(&["run", "--project", "no-such-folder", "--", "true"]).refused_with(66, &["no-such-folder"]);
    }

    fn a_mount_is_read_only_unless_asked(world) {
        let folder = world.folder().join("extra");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("note"), "note\n").unwrap();
        let mount = format!("{}:/mnt/extra", folder.display());
        let script = "cat /mnt/extra/note; echo x > /mnt/extra/note";
        let finished = world.sessile(&["run", "--mount", &mount, "--", "sh", "-c", script]);
        assert_eq!(finished.text(), "note\n");
        assert_ne!(finished.code, 0);
    }

    /// What it is not about does not have to be there.
    fn the_current_folder_is_removed(world) {
        let below = |arguments: &[&str]| {
            let script = ["sh", "-c", "mkdir below && cd below && rmdir ../below && exec \"$@\"", "sh"];
            world.run(world.command_behind(&script, arguments))
        };
        let finished = below(&["run", "--", "pwd"]);
        finished.refused_with(66, &["change to a folder that exists"]);
        let finished = below(&["run", "--no-project", "--", "echo", "opened"]);
        finished.ended_with(0);
        let project = world.project();
        let finished = below(&["run", "--project", project.to_str().unwrap(), "--", "pwd"]);
        finished.ended_with(0);
    }
}
