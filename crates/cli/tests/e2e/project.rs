//! The project folder: whose its files are, what of it may be changed, and by which way.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

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

    fn a_read_only_project_is_not_written(world) {
        world.write("a", "a\n");
        let finished = world.sessile(&["run", "--project", ".:ro", "--", "sh", "-c", "cat a; echo b > a"]);
        assert_eq!(finished.text(), "a\n");
        assert_ne!(finished.code, 0);
        assert_eq!(fs::read_to_string(world.project().join("a")).unwrap(), "a\n");
    }

    fn what_runs_on_the_host_later_is_protected(world) {
        world.write(".git/config", "[core]\n");
        let script = "mkdir -p .git/hooks; echo x > .git/hooks/post-checkout; echo x > .git/config; echo x > .envrc; true";
        world.sessile(&["run", "--", "sh", "-c", script]);
        assert_eq!(fs::read_to_string(world.project().join(".git/config")).unwrap(), "[core]\n");
        assert!(!world.project().join(".git/hooks/post-checkout").exists());

        world.must(&["run", "--allow-hooks", "--", "sh", "-c", "echo y > .git/config"]);
        assert_eq!(fs::read_to_string(world.project().join(".git/config")).unwrap(), "y\n");
    }

    fn sessions_that_share_a_project_protect_it_to_the_last(world) {
        world.open("one", &["sleep", "infinity"]);
        world.open("two", &["sleep", "infinity"]);
        let protected = &world.show("two")["grants"][0]["protected"];
        assert_eq!(protected, &serde_json::json!([".vscode", ".idea"]), "only what is there is said to be");
        let vscode = world.project().join(".vscode");
        assert!(vscode.is_dir(), "held while a session needs it");
        world.must(&["end", "one", "--grace", "0s"]);
        world.sessile(&["exec", "two", "--", "sh", "-c", "mkdir .vscode; echo x > .vscode/tasks.json"]);
        assert!(!vscode.join("tasks.json").exists(), "the end of one session opened it to the other");
        world.must(&["end", "two", "--grace", "0s"]);
        assert!(!vscode.exists(), "nothing is left of it");
    }

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

    fn an_export_is_explicit_and_follows_no_link_out(world) {
        let script = "mkdir out; echo inside > out/file; ln -s /etc/passwd out/link; sleep infinity";
        world.open("exporter", &["sh", "-c", &format!("cd; {script}")]);
        crate::support::processes::eventually("the files are there", || {
            let finished = world.sessile(&["exec", "exporter", "--", "sh", "-c", "test -L ~/out/link"]);
            (finished.code == 0).then_some(())
        });
        let target = world.home().join("exported");
        world.must(&["export", "exporter", "out", target.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "inside\n");
        let link = fs::symlink_metadata(target.join("link"));
        assert!(link.is_err(), "a link that leads out was exported");
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
}
