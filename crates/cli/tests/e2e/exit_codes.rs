//! Whoever is at fault, the exit code and the hint say so.

use std::fs;

use crate::support::skip;

const WRONG: i32 = 64;
const EXHAUSTED: i32 = 71;

for_root_and_user! {
    fn a_full_state_folder_is_no_failure_of_ours(world) {
        let Some(disk) = world.small_state_folder("1M") else {
            return skip("a small file system needs root and mount(8)");
        };
        disk.fill();
        // The daemon cannot start.
        world.sessile(&["run", "--", "true"]).refused_with(EXHAUSTED, &["full", "free some space"]);
        disk.empty();
        world.must(&["run", "--", "true"]);
        disk.fill();
        // The daemon runs, and the session cannot be opened: its log or the journal finds no room first.
        world.sessile(&["run", "--", "true"]).refused_with(EXHAUSTED, &["full", "free some space"]);
        disk.empty();
        world.must(&["run", "--", "true"]);
        world.must(&["daemon", "stop"]);
    }

    fn a_configuration_that_cannot_be_read_is_the_callers_to_mend(world) {
        let file = world.folder().join("config/sessile/config.toml");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, b"[run]\nuser = \"\xff\"\n").unwrap();
        for command in [&["run", "--", "true"][..], &["config", "check"]] {
            world.sessile(command).refused_with(WRONG, &["config.toml is not valid UTF-8", "SESSILE_CONFIG"]);
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        world.sessile(&["run", "--", "true"]).refused_with(WRONG, &["cannot read", "config.toml", "directory"]);
    }

    fn what_cannot_be_meant_is_said(world) {
        let folder = world.project().to_str().unwrap().to_owned();
        world.sessile(&["receipt", "--file", &folder]).refused_with(WRONG, &["is a folder, not a receipt", "--json"]);
        for option in ["--allow", "--ask"] {
            let run = ["run", "--route", "none", option, "a.example", "--", "true"];
            world.sessile(&run).refused_with(WRONG, &[&format!("{option} opens nothing with --route none"), "--route direct"]);
        }
        world.must(&["run", "--route", "none", "--deny", "a.example", "--", "true"]);
        let finished = world.sessile(&["output", "x", "--tail", "-5"]);
        finished.refused_with(WRONG, &["invalid value '-5' for '--tail <LINES>'"]);
        assert!(!finished.err.contains("-- -5"), "{}", finished.err);
    }

    fn a_runtime_path_that_is_too_long_names_the_variable(world) {
        // The second is too long even for the daemon's own socket.
        for length in [60, 120] {
            let runtime = world.folder().join("x".repeat(length));
            for command in [&["run", "--", "true"][..], &["ls"], &["daemon", "status"]] {
                world
                    .sessile_where("SESSILE_RUNTIME_DIR", &runtime, command)
                    .refused_with(WRONG, &["bytes", "hint: set SESSILE_RUNTIME_DIR"]);
            }
        }
    }
}
