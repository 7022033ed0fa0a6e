//! What comes out of a session: a copied project's changes, and exports.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::support::{World, processes};

/// Runs a script in a session, to its end.
fn inside(world: &World, session: &str, script: &str) {
    world.must(&["exec", session, "--", "sh", "-c", script]);
}

/// The paths that `diff` lists.
fn listed(world: &World, session: &str) -> Vec<String> {
    let changes = world.json(&["diff", session, "--json"]);
    let entries = changes["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
}

/// Opens an empty session on a copy of the project.
fn open_copy(world: &World, name: &str) {
    world.must(&["run", "--detach", "--name", name, "--project", ".:copy"]);
}

for_root_and_user! {
    fn a_copy_comes_back_by_apply_only(world) {
        world.write("kept", "kept\n");
        world.write("changed", "one\n");
        world.write("removed", "gone\n");
        let script = "echo two > changed; echo new > added; rm removed";
        world.must(&["run", "--keep", "--name", "copy", "--project", ".:copy", "--", "sh", "-c", script]);
        let read = |path: &str| fs::read_to_string(world.project().join(path)).ok();
        assert_eq!(read("changed").as_deref(), Some("one\n"));
        assert_eq!(read("added"), None);

        let changes = world.json(&["diff", "copy", "--json"]);
        let entries: Vec<_> = changes["entries"].as_array().unwrap().iter().map(|c| (&c["path"], &c["change"])).collect();
        assert_eq!(
            serde_json::to_value(entries).unwrap(),
            serde_json::json!([["added", "added"], ["changed", "modified"], ["removed", "removed"]])
        );
        assert!(world.must(&["diff", "copy"]).contains("+two"));

        world.must(&["apply", "copy", "--yes"]);
        assert_eq!(read("changed").as_deref(), Some("two\n"));
        assert_eq!(read("added").as_deref(), Some("new\n"));
        assert_eq!(read("removed"), None);
        assert_eq!(read("kept").as_deref(), Some("kept\n"));
    }

    fn one_apply_follows_another(world) {
        for name in ["edited", "gone", "becomes folder", "becomes file/x", "script"] {
            world.write(name, "1\n");
        }
        symlink("edited", world.project().join("link")).unwrap();
        open_copy(world, "copy");
        let read = |path: &str| fs::read_to_string(world.project().join(path)).ok();
        inside(
            world,
            "copy",
            "echo 2 > edited; rm gone; rm -r 'becomes file'; echo 2 > 'becomes file'; rm 'becomes folder'; \
             mkdir 'becomes folder'; echo 2 > 'becomes folder/x'; ln -sfn 'becomes folder/x' link; \
             chmod +x script; echo 2 > added; echo x > \"$(printf 'caf\\351')\"",
        );
        let first = world.sessile(&["apply", "copy", "--yes"]);
        first.ended_with(0);
        assert!(first.err.contains("left as it was: caf\\xE9 has a name that is not UTF-8"), "{}", first.err);
        assert_eq!((read("edited").as_deref(), read("gone")), (Some("2\n"), None));
        assert_eq!(read("becomes folder/x").as_deref(), Some("2\n"));
        assert_eq!(read("becomes file").as_deref(), Some("2\n"));
        assert_eq!(read("link").as_deref(), Some("2\n"));
        assert_ne!(fs::metadata(world.project().join("script")).unwrap().permissions().mode() & 0o100, 0);
        assert_eq!(listed(world, "copy"), ["caf\\xE9"]);

        // Another keeper compares with the same.
        let id = world.show("copy")["id"].as_str().unwrap().to_owned();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        inside(
            world,
            "copy",
            "echo 3 > edited; echo 3 > gone; rm -r 'becomes folder'; echo 3 > 'becomes folder'; \
             rm 'becomes file'; mkdir 'becomes file'; echo 3 > 'becomes file/x'; rm added",
        );
        world.must(&["apply", "copy", "--yes"]);
        assert_eq!((read("edited").as_deref(), read("gone").as_deref()), (Some("3\n"), Some("3\n")));
        assert_eq!(read("becomes folder").as_deref(), Some("3\n"));
        assert_eq!((read("becomes file/x").as_deref(), read("added")), (Some("3\n"), None));
        assert_eq!(listed(world, "copy"), ["caf\\xE9"]);

        // What somebody else does to it in between is a conflict.
        world.write("edited", "outside\n");
        inside(world, "copy", "echo 4 > edited; echo 4 > gone");
        let refused = world.sessile(&["apply", "copy", "--yes"]);
        refused.refused_with(73, &["changed outside too: edited", "--force"]);
        assert_eq!((read("edited").as_deref(), read("gone").as_deref()), (Some("outside\n"), Some("3\n")));
        world.must(&["apply", "copy", "./gone", "--yes"]);
        assert_eq!((read("edited").as_deref(), read("gone").as_deref()), (Some("outside\n"), Some("4\n")));
        world.must(&["apply", "copy", "--yes", "--force"]);
        assert_eq!(read("edited").as_deref(), Some("4\n"));
        assert_eq!(listed(world, "copy"), ["caf\\xE9"]);
    }

    fn a_project_that_was_moved_is_named(world) {
        world.write("inner/kept", "1\n");
        let inner = world.project().join("inner");
        world.must(&["run", "--detach", "--name", "copy", "--project", "inner:copy"]);
        inside(world, "copy", "echo 2 > kept");
        fs::rename(&inner, world.project().join("away")).unwrap();
        for command in [&["diff", "copy"][..], &["apply", "copy", "--yes"]] {
            world.sessile(command).refused_with(66, &[inner.to_str().unwrap(), "sessile export"]);
        }
        fs::rename(world.project().join("away"), &inner).unwrap();
        assert_eq!(listed(world, "copy"), ["kept"]);
    }

    fn a_path_that_cannot_be_applied_is_said(world) {
        world.write("kept", "1\n");
        open_copy(world, "copy");
        world.sessile(&["apply", "copy", "--yes", "nosuch"]).refused_with(66, &["nosuch is not among the changes", "sessile diff copy --names"]);
        assert_eq!(world.sessile(&["apply", "copy", "--yes"]).succeeded(), "");
        inside(world, "copy", "echo 2 > kept; echo evil > .envrc; mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout");
        world.sessile(&["apply", "copy", "--yes", "kept", "nosuch"]).refused_with(66, &["nosuch"]);
        for path in [".envrc", ".git/hooks", ".git/hooks/post-checkout"] {
            world.sessile(&["apply", "copy", "--yes", "kept", path]).refused_with(77, &[path, "sessile export"]);
        }
        assert_eq!(fs::read_to_string(world.project().join("kept")).unwrap(), "1\n", "half of it was applied");
        // What nobody asked for by name is left, and said, by `diff` before.
        let shown = world.must(&["diff", "copy"]);
        assert!(shown.contains("A .envrc ! not applied: it is protected"), "{shown}");
        let entries = world.json(&["diff", "copy", "--json"])["entries"].clone();
        let left = entries.as_array().unwrap().iter().filter(|e| e["left"].is_string()).count();
        assert_eq!((left, &entries[0]["path"]), (3, &".envrc".into()), "{entries}");
        let said = world.sessile(&["apply", "copy", "--yes"]);
        said.ended_with(0);
        assert!(said.err.contains("left as it was: .envrc is protected"), "{}", said.err);
        assert!(!world.project().join(".envrc").exists() && !world.project().join(".git/hooks").exists());
        assert_eq!(fs::read_to_string(world.project().join("kept")).unwrap(), "2\n");
    }

    fn a_keeper_that_dies_after_applying_overwrites_nothing(world) {
        world.write("file", "1\n");
        let daemon = world.daemon_with("stop=apply.remember");
        open_copy(world, "copy");
        inside(world, "copy", "echo 2 > file");
        let applying = world.start(&["apply", "copy", "--yes"], Stdio::null());
        let keeper = processes::eventually("the keeper has applied it", || {
            let keepers = processes::casts(world).into_values().filter_map(|cast| cast.keeper);
            keepers.into_iter().find(|&keeper| processes::is_stopped(keeper))
        });
        let read = || fs::read_to_string(world.project().join("file")).unwrap();
        assert_eq!(read(), "2\n");
        processes::kill(keeper.pid);
        drop(applying.finish());
        // The one that follows compares with what was copied at first: it refuses what it cannot know.
        inside(world, "copy", "echo 3 > file");
        world.sessile(&["apply", "copy", "--yes"]).refused_with(73, &["changed outside too: file"]);
        assert_eq!(read(), "2\n");
        // What is on both sides is found to be done, and from then on compared with.
        inside(world, "copy", "echo 2 > file");
        world.must(&["apply", "copy", "--yes"]);
        inside(world, "copy", "echo 4 > file");
        world.must(&["apply", "copy", "--yes"]);
        assert_eq!(read(), "4\n");
        world.must(&["end", "copy", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        drop(daemon);
    }

    fn ten_thousand_small_files_are_applied(world) {
        open_copy(world, "copy");
        inside(world, "copy", "for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo $d > $d/$f; done; done");
        let done = world.json(&["apply", "copy", "--yes", "--json"]);
        assert_eq!(done["files"], 10_100);
        assert_eq!(fs::read_to_string(world.project().join("7/99")).unwrap(), "7\n");
        assert_eq!(listed(world, "copy"), [""; 0]);
        inside(world, "copy", "for d in $(seq 100); do for f in $(seq 100); do echo again > $d/$f; done; done");
        assert_eq!(world.json(&["apply", "copy", "--yes", "--json"])["files"], 10_000);
        assert_eq!(fs::read_to_string(world.project().join("7/99")).unwrap(), "again\n");
    }

    fn an_export_is_explicit_and_follows_no_link_out(world) {
        let script = "mkdir out; echo inside > out/file; ln -s /etc/passwd out/link; sleep infinity";
        world.open("exporter", &["sh", "-c", &format!("cd; {script}")]);
        processes::eventually("the files are there", || {
            let finished = world.sessile(&["exec", "exporter", "--", "sh", "-c", "test -L ~/out/link"]);
            (finished.code == 0).then_some(())
        });
        let target = world.home().join("exported");
        world.must(&["export", "exporter", "out", target.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "inside\n");
        let link = fs::symlink_metadata(target.join("link"));
        assert!(link.is_err(), "a link that leads out was exported");
    }

    fn whatever_an_app_sees_can_be_exported(world) {
        world.write("sub/file", "1\n");
        let granted = world.folder().join("granted");
        fs::create_dir(&granted).unwrap();
        fs::write(granted.join("note"), "note\n").unwrap();
        let mount = format!("{}:/mnt/granted", granted.display());
        world.must(&["run", "--detach", "--name", "seen", "--project", ".:copy", "--mount", &mount]);
        inside(world, "seen", "echo 2 > sub/file; ln -s /usr/bin ~/tools");
        world.must(&["exec", "seen", "--app", "other", "--", "sh", "-c", "echo other > /tmp/mine"]);
        let out = world.home().join("out");
        fs::create_dir(&out).unwrap();
        world.give_to_caller(&out);
        let to = |name: &str| out.join(name).to_str().unwrap().to_owned();
        let file = world.project().join("sub/file").to_str().unwrap().to_owned();
        let folder = world.project().to_str().unwrap().to_owned();
        for (path, name, content) in [
            (&*file, "file", Some("2\n")),
            ("/mnt/granted/note", "note", Some("note\n")),
            ("/etc/hostname", "hostname", Some("sessile\n")),
            ("/usr/bin/env", "env", None),
            ("/bin/sh", "sh", None),
        ] {
            let finished = world.sessile(&["export", "seen", path, &to(name)]);
            if path == "/bin/sh" && finished.code != 0 {
                // Where it is a link itself.
                finished.refused_with(64, &["/usr/bin/sh is a link"]);
                continue;
            }
            finished.ended_with(0);
            match content {
                Some(content) => assert_eq!(fs::read_to_string(out.join(name)).unwrap(), content, "{path}"),
                None => assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(path).unwrap(), "{path}"),
            }
        }
        world.must(&["export", "seen", &folder, &to("project")]);
        assert_eq!(fs::read_to_string(out.join("project/sub/file")).unwrap(), "2\n");
        world.must(&["export", "seen", "--app", "other", "/tmp/mine", &to("mine")]);
        assert_eq!(fs::read_to_string(out.join("mine")).unwrap(), "other\n");

        let refused = |arguments: &[&str], code, words: &[&str]| {
            world.sessile(&[&["export", "seen"], arguments, &[&to("no")]].concat()).refused_with(code, words);
        };
        refused(&["/tmp/mine"], 66, &["/tmp/mine does not exist"]);
        refused(&["nothing"], 66, &["/home/user/nothing does not exist"]);
        refused(&["tools/env"], 64, &["/home/user/tools/env is a link or lies behind one"]);
        refused(&["/proc/version"], 64, &["/proc/version is made up by the kernel"]);
        refused(&["--app", "nobody", "x"], 66, &["no app named nobody"]);
        assert!(!out.join("no").exists());
    }

    fn what_an_app_that_ended_wrote_can_be_exported(world) {
        world.write("file", "1\n");
        open_copy(world, "ended");
        let script = "echo 2 > file; echo home > ~/note";
        world.must(&["exec", "ended", "--app", "other", "--", "sh", "-c", script]);
        let id = world.show("ended")["id"].as_str().unwrap().to_owned();
        // The first process of the app that was made last.
        let inits = processes::tree(processes::part(world, "anchor", &id).unwrap());
        let init = inits.into_iter().filter(|process| process.line().starts_with("init")).max_by_key(|p| p.pid);
        processes::kill(init.unwrap().pid);
        let out = world.home().join("out");
        fs::create_dir(&out).unwrap();
        world.give_to_caller(&out);
        let export = |path: &str| world.sessile(&["export", "ended", "--app", "other", path, out.to_str().unwrap()]);
        processes::eventually("it is noticed", || {
            (export("/usr/bin/env").code == 66 || fs::remove_file(out.join("env")).is_err()).then_some(())
        });
        let file = world.project().join("file").to_str().unwrap().to_owned();
        for (path, name, content) in [(&*file, "file", "2\n"), ("note", "note", "home\n")] {
            export(path).ended_with(0);
            assert_eq!(fs::read_to_string(out.join(name)).unwrap(), content);
        }
        export("/usr/bin/env").refused_with(66, &["/usr/bin/env does not exist", "only what it wrote"]);
    }
}
