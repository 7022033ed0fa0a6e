use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::super::testing::{copied, folder_fd, in_a_small_tmpfs, pair, snapshot, write};
use super::*;

fn request(paths: &[&str], force: bool) -> api::Apply {
    api::Apply { paths: paths.iter().map(|p| (*p).to_owned()).collect(), force, seen: None }
}

fn run(
    from: &Path,
    to: &Path,
    baseline: &Baseline,
    request: &api::Apply,
) -> Result<api::Applied, ApplyError> {
    run_on(from, to, &mut baseline.clone(), request)
}

/// The same, and the baseline follows.
fn run_on(
    from: &Path,
    to: &Path,
    baseline: &mut Baseline,
    request: &api::Apply,
) -> Result<api::Applied, ApplyError> {
    apply(folder_fd(from).as_fd(), folder_fd(to).as_fd(), baseline, request, false)
}

/// What is listed as changed.
fn changed(from: &Path, to: &Path, baseline: &Baseline) -> Vec<String> {
    let diff = super::super::diff(folder_fd(from).as_fd(), folder_fd(to).as_fd(), baseline, false).unwrap();
    diff.entries.into_iter().map(|entry| entry.path).collect()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn turns_the_original_into_the_copy() {
    let (from, to) = pair();
    for name in
        ["kept", "edited", "gone", "d/e/gone", "file becomes folder", "folder becomes file/x", "becomes link"]
    {
        write(from.path(), name, "old\n");
    }
    symlink("kept", from.path().join("link")).unwrap();
    symlink("kept", from.path().join("link becomes folder")).unwrap();
    let baseline = copied(from.path(), to.path());
    write(to.path(), "edited", "new\n");
    std::fs::remove_file(to.path().join("gone")).unwrap();
    std::fs::remove_dir_all(to.path().join("d")).unwrap();
    for name in ["file becomes folder", "link becomes folder", "becomes link", "link"] {
        std::fs::remove_file(to.path().join(name)).unwrap();
    }
    write(to.path(), "file becomes folder/deep/er", "x");
    write(to.path(), "link becomes folder/x", "x");
    std::fs::remove_dir_all(to.path().join("folder becomes file")).unwrap();
    write(to.path(), "folder becomes file", "x");
    symlink("edited", to.path().join("becomes link")).unwrap();
    symlink("edited", to.path().join("link")).unwrap();
    write(to.path(), "new/folder/file", "x");
    let applied = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    assert_eq!(snapshot(from.path()), snapshot(to.path()));
    assert_eq!(applied.skipped, [""; 0]);
    assert!(applied.files >= 14, "{applied:?}");
    let again = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    assert_eq!(again.files, 0);
}

#[test]
fn what_was_applied_is_the_next_comparison() {
    let (from, to) = pair();
    for name in ["edited", "gone", "folder becomes file/x", "file becomes folder", "script"] {
        write(from.path(), name, "1");
    }
    symlink("edited", from.path().join("link")).unwrap();
    let mut baseline = copied(from.path(), to.path());
    write(to.path(), "edited", "2");
    write(to.path(), "new/one", "2");
    std::fs::remove_file(to.path().join("gone")).unwrap();
    std::fs::remove_dir_all(to.path().join("folder becomes file")).unwrap();
    write(to.path(), "folder becomes file", "2");
    std::fs::remove_file(to.path().join("file becomes folder")).unwrap();
    write(to.path(), "file becomes folder/x", "2");
    std::fs::remove_file(to.path().join("link")).unwrap();
    symlink("new/one", to.path().join("link")).unwrap();
    chmod(&to.path().join("script"), 0o755);
    run_on(from.path(), to.path(), &mut baseline, &request(&[], false)).unwrap();
    assert_eq!(changed(from.path(), to.path(), &baseline), [""; 0]);
    // What the baseline says is written down and read again between two of them.
    let text = serde_json::to_string(&baseline).unwrap();
    let mut baseline: Baseline = serde_json::from_str(&text).unwrap();

    write(to.path(), "edited", "3");
    std::fs::remove_file(to.path().join("folder becomes file")).unwrap();
    write(to.path(), "folder becomes file/x", "3");
    std::fs::remove_dir_all(to.path().join("file becomes folder")).unwrap();
    write(to.path(), "file becomes folder", "3");
    write(to.path(), "gone", "3");
    std::fs::remove_dir_all(to.path().join("new")).unwrap();
    std::fs::remove_file(to.path().join("link")).unwrap();
    chmod(&to.path().join("script"), 0o644);
    run_on(from.path(), to.path(), &mut baseline, &request(&[], false)).unwrap();
    assert_eq!(snapshot(from.path()), snapshot(to.path()));
    assert_eq!(changed(from.path(), to.path(), &baseline), [""; 0]);

    // Both sides go on: what was changed outside since then is a conflict, and only that.
    for name in ["edited", "gone", "script"] {
        write(to.path(), name, "4");
    }
    write(from.path(), "edited", "outside");
    let error = run_on(from.path(), to.path(), &mut baseline, &request(&[], false)).unwrap_err();
    assert_eq!(error, ApplyError::Conflicts { paths: vec!["edited".into()] });
    run_on(from.path(), to.path(), &mut baseline, &request(&["gone"], false)).unwrap();
    assert_eq!(changed(from.path(), to.path(), &baseline), ["edited", "script"]);
    // A caller that died before it had stored the baseline finds it done, or is refused.
    run(from.path(), to.path(), &baseline, &request(&["script"], false)).unwrap();
    assert_eq!(run(from.path(), to.path(), &baseline, &request(&["script"], false)).unwrap().files, 0);
    write(to.path(), "script", "5");
    let error = run_on(from.path(), to.path(), &mut baseline, &request(&["script"], false)).unwrap_err();
    assert_eq!(error, ApplyError::Conflicts { paths: vec!["script".into()] });
    // Overwriting makes them agree again.
    run_on(from.path(), to.path(), &mut baseline, &request(&[], true)).unwrap();
    assert_eq!(changed(from.path(), to.path(), &baseline), [""; 0]);
    assert_eq!(snapshot(from.path()), snapshot(to.path()));
}

#[test]
fn what_is_left_out_stays_a_change() {
    let (from, to) = pair();
    write(from.path(), "kept/x", "1");
    let mut baseline = copied(from.path(), to.path());
    write(to.path(), ".envrc", "evil");
    symlink("/etc/passwd", to.path().join("leads out")).unwrap();
    std::fs::write(to.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    std::fs::remove_dir_all(to.path().join("kept")).unwrap();
    write(from.path(), "kept/outside", "1");
    let applied = run_on(from.path(), to.path(), &mut baseline, &request(&[], false)).unwrap();
    assert_eq!((applied.files, applied.skipped.len()), (1, 4), "{applied:?}");
    assert_eq!(changed(from.path(), to.path(), &baseline), [".envrc", "caf\\xE9", "kept", "leads out"]);
    let error =
        run_on(from.path(), to.path(), &mut baseline, &request(&["kept/outside"], false)).unwrap_err();
    assert_eq!(error, ApplyError::NotChanged { path: "kept/outside".into() });
}

#[test]
fn ten_thousand_files_can_be_named_one_by_one() {
    let (from, to) = pair();
    let mut baseline = copied(from.path(), to.path());
    let names: Vec<String> = (0..10_000).map(|i| format!("{}/{i}", i % 100)).collect();
    names.iter().for_each(|name| write(to.path(), name, name));
    let all = api::Apply { paths: names, force: false, seen: None };
    let applied = run_on(from.path(), to.path(), &mut baseline, &all).unwrap();
    assert_eq!(applied.files, 10_100);
    assert_eq!(changed(from.path(), to.path(), &baseline), [""; 0]);
}

#[test]
fn one_conflict_stops_everything_unless_forced() {
    let (from, to) = pair();
    for name in ["a", "b", "gone"] {
        write(from.path(), name, "old");
    }
    let baseline = copied(from.path(), to.path());
    write(to.path(), "a", "session");
    write(to.path(), "b", "session");
    std::fs::remove_file(to.path().join("gone")).unwrap();
    write(from.path(), "b", "outside");
    write(from.path(), "gone", "outside");
    let before = snapshot(from.path());
    let error = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap_err();
    assert_eq!(error, ApplyError::Conflicts { paths: vec!["b".into(), "gone".into()] });
    assert_eq!(snapshot(from.path()), before);

    let applied = run(from.path(), to.path(), &baseline, &request(&["a"], false)).unwrap();
    assert_eq!(applied.files, 1);
    let applied = run(from.path(), to.path(), &baseline, &request(&[], true)).unwrap();
    assert_eq!(applied.skipped, ["gone is not removed, since it changed outside"]);
    assert_eq!(std::fs::read_to_string(from.path().join("b")).unwrap(), "session");
    assert_eq!(std::fs::read_to_string(from.path().join("gone")).unwrap(), "outside");
}

#[test]
fn what_could_run_commands_or_lead_out_is_left_out() {
    let (from, to) = pair();
    write(from.path(), ".git/config", "old");
    let baseline = copied(from.path(), to.path());
    for name in [".git/config", ".git/hooks/pre-commit", ".envrc", ".vscode/tasks.json", "sub/.git", "ok"] {
        write(to.path(), name, "evil");
    }
    std::fs::create_dir(to.path().join("in")).unwrap();
    symlink("/etc/passwd", to.path().join("absolute")).unwrap();
    symlink("../..", to.path().join("in/climbs")).unwrap();
    symlink("in/climbs/../x", to.path().join("sly")).unwrap();
    symlink("../ok", to.path().join("in/fine")).unwrap();
    symlink("../evil", to.path().join(".git/modules")).unwrap();
    std::fs::write(to.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    let shown =
        super::super::diff(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), &baseline, false);
    let told: Vec<String> = shown
        .unwrap()
        .entries
        .iter()
        .filter_map(|e| Some(format!("{} {}", e.path, e.left.as_ref()?)))
        .collect();
    let applied = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    assert_eq!(told, applied.skipped);
    let now: Vec<String> = snapshot(from.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(now, [".git", ".git/config", "in", "in/fine", "ok", "sub"], "{applied:?}");
    assert_eq!(std::fs::read_to_string(from.path().join(".git/config")).unwrap(), "old");
    assert_eq!(applied.skipped.len(), 12, "{applied:?}");

    let (all, fd) = (request(&[".envrc"], false), folder_fd(from.path()));
    let mut baseline = baseline;
    let refused = run(from.path(), to.path(), &baseline, &all).unwrap_err();
    assert_eq!(refused, ApplyError::Protected { paths: vec![".envrc".into()] });
    let applied = apply(fd.as_fd(), folder_fd(to.path()).as_fd(), &mut baseline, &all, true).unwrap();
    assert_eq!((applied.files, applied.skipped.len()), (1, 0));
}

/// Git obeys the configuration of a folder that looks like a repository, whatever its name.
#[test]
fn no_bare_repository_is_made_and_none_is_changed() {
    let (from, to) = pair();
    for name in [".git/HEAD", "mirror/HEAD", "mirror/config", "mirror/objects/x", "mirror/refs/x", "config"] {
        write(from.path(), name, "old");
    }
    let baseline = copied(from.path(), to.path());
    std::fs::remove_file(to.path().join(".git/HEAD")).unwrap();
    for name in
        ["HEAD", "config", "objects/x", "refs/x", "sub/HEAD", "sub/config", "sub/objects/x", "sub/refs/x"]
    {
        write(to.path(), name, "evil");
    }
    for name in ["mirror/config", "mirror/hooks/post-update", "mirror/HEAD", "other/HEAD", "other/config"] {
        write(to.path(), name, "new");
    }
    let applied = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    let mut left: Vec<_> = applied.skipped.iter().filter_map(|line| line.split(' ').next()).collect();
    left.sort_unstable();
    let wanted = [
        "HEAD",
        "config",
        "mirror/config",
        "mirror/hooks",
        "mirror/hooks/post-update",
        "sub/HEAD",
        "sub/config",
    ];
    assert_eq!(left, wanted, "{applied:?}");
    let there = |name: &str| from.path().join(name).exists();
    assert!(
        !there("HEAD")
            && !there("sub/HEAD")
            && there("refs/x")
            && there("other/HEAD")
            && there("other/config")
    );
    assert_eq!(std::fs::read_to_string(from.path().join("mirror/config")).unwrap(), "old");
    assert_eq!(std::fs::read_to_string(from.path().join("mirror/HEAD")).unwrap(), "new");
}

#[test]
fn modes_are_kept_and_never_dangerous() {
    let (from, to) = pair();
    write(from.path(), "private", "old");
    chmod(&from.path().join("private"), 0o640);
    write(from.path(), "script", "old");
    chmod(&from.path().join("script"), 0o4755);
    let baseline = copied(from.path(), to.path());
    write(to.path(), "private", "new");
    chmod(&to.path().join("private"), 0o777);
    write(to.path(), "script", "new");
    chmod(&to.path().join("script"), 0o666);
    write(to.path(), "suid", "new");
    chmod(&to.path().join("suid"), 0o6777);
    write(to.path(), "folder/x", "new");
    chmod(&to.path().join("folder"), 0o1777);
    run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    assert_eq!(mode(&from.path().join("private")), 0o750);
    assert_eq!(mode(&from.path().join("script")), 0o644);
    assert_eq!(mode(&from.path().join("suid")), 0o755);
    assert_eq!(mode(&from.path().join("folder")), 0o755);
}

#[test]
fn root_leaves_files_to_their_owners() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: changing owners needs root");
        return;
    }
    let (from, to) = pair();
    write(from.path(), "theirs/edited", "old");
    for path in ["theirs", "theirs/edited"] {
        std::os::unix::fs::chown(from.path().join(path), Some(4242), Some(4343)).unwrap();
    }
    let baseline = copied(from.path(), to.path());
    write(to.path(), "theirs/edited", "new");
    write(to.path(), "theirs/new/deep", "new");
    write(to.path(), "mine", "new");
    run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    let owner = |path: &str| from.path().join(path).metadata().map(|m| (m.uid(), m.gid())).unwrap();
    for path in ["theirs/edited", "theirs/new", "theirs/new/deep"] {
        assert_eq!(owner(path), (4242, 4343), "{path}");
    }
    assert_eq!(owner("mine"), (0, 0));
}

#[test]
fn only_what_was_shown_is_applied() {
    let (from, to) = pair();
    let baseline = copied(from.path(), to.path());
    write(to.path(), "f", "shown");
    let shown =
        super::super::diff(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), &baseline, false)
            .unwrap();
    let seen = api::Apply { seen: Some(shown.seen), ..api::Apply::default() };
    write(to.path(), "f", "evil!");
    let error = run(from.path(), to.path(), &baseline, &seen).unwrap_err();
    assert_eq!(error, ApplyError::ChangedSinceShown);
    write(to.path(), "f", "shown");
    assert_eq!(run(from.path(), to.path(), &baseline, &seen).unwrap().files, 1);
}

#[test]
fn chosen_paths_bring_the_folders_they_need() {
    let (from, to) = pair();
    write(from.path(), "gone outside/x", "old");
    let baseline = copied(from.path(), to.path());
    write(to.path(), "new/a/one", "1");
    write(to.path(), "new/b", "2");
    write(to.path(), "gone outside/y", "y");
    std::fs::remove_dir_all(from.path().join("gone outside")).unwrap();
    run(from.path(), to.path(), &baseline, &request(&["new/a", "gone outside/y"], false)).unwrap();
    let now: Vec<String> = snapshot(from.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(now, ["gone outside", "gone outside/y", "new", "new/a", "new/a/one"]);
    let error = run(from.path(), to.path(), &baseline, &request(&["nothing"], false)).unwrap_err();
    assert_eq!(error, ApplyError::NotChanged { path: "nothing".into() });
}

#[test]
fn a_folder_with_files_from_outside_is_not_removed() {
    let (from, to) = pair();
    write(from.path(), "removed/x", "old");
    write(from.path(), "replaced/x", "old");
    let baseline = copied(from.path(), to.path());
    std::fs::remove_dir_all(to.path().join("removed")).unwrap();
    std::fs::remove_dir_all(to.path().join("replaced")).unwrap();
    write(to.path(), "replaced", "file");
    write(from.path(), "removed/outside", "y");
    write(from.path(), "replaced/outside", "y");
    let applied = run(from.path(), to.path(), &baseline, &request(&[], false)).unwrap();
    assert_eq!(applied.skipped.len(), 2, "{applied:?}");
    assert_eq!(std::fs::read_to_string(from.path().join("removed/outside")).unwrap(), "y");
    assert_eq!(std::fs::read_to_string(from.path().join("replaced/outside")).unwrap(), "y");
}

#[test]
fn a_failure_midway_takes_everything_back() {
    let (from, to) = pair();
    for name in ["a", "gone", "d/x", "z"] {
        write(from.path(), name, "old");
    }
    let baseline = copied(from.path(), to.path());
    write(to.path(), "a", "new");
    write(to.path(), "new/file", "new");
    std::fs::remove_file(to.path().join("gone")).unwrap();
    std::fs::remove_dir_all(to.path().join("d")).unwrap();
    let before = snapshot(from.path());
    let fd = folder_fd(from.path());
    let old = |path: &str| {
        let (dir, name) = super::super::beneath::split(path.as_bytes());
        look(open(fd.as_fd(), dir, super::super::beneath::PLACE).unwrap().as_fd(), name).unwrap()
    };
    let copy = folder_fd(to.path());
    let mut stage = Stage::new(fd.as_fd()).unwrap();
    let digest = super::super::content::digest_of(b"new");
    let slot = stage.file((copy.as_fd(), b"a"), digest, 0o644, None).unwrap();
    let second = stage.file((copy.as_fd(), b"a"), digest, 0o644, None).unwrap();
    stage.take(b"gone", &old("gone")).unwrap();
    stage.take(b"d/x", &old("d/x")).unwrap();
    stage.remove_folder(b"d").unwrap();
    stage.make_folder(b"new", 0o755, None).unwrap();
    let was = old("z");
    stage.install(&slot, b"a", Some(&old("a"))).unwrap();
    // The last one meets a file that was written after it was looked at.
    write(from.path(), "z", "newer");
    assert_eq!(stage.install(&second, b"z", Some(&was)), Err(StageError::OldChanged));
    assert_eq!(stage.undo(), Ok(()));
    write(from.path(), "z", "old");
    assert_eq!(snapshot(from.path()), before);
    drop(baseline);
}

#[test]
fn a_full_file_system_leaves_the_original_as_it_was() {
    in_a_small_tmpfs("apply_full", |small| {
        let to = tempfile::tempdir().unwrap();
        write(small, "a", "old");
        write(small, "gone", "old");
        let baseline = copied(small, to.path());
        write(to.path(), "a", "new");
        std::fs::remove_file(to.path().join("gone")).unwrap();
        write(to.path(), "large", &"x".repeat(4 << 20));
        let before = snapshot(small);
        let error = run(small, to.path(), &baseline, &request(&[], false)).unwrap_err();
        assert_eq!(error, ApplyError::Full { path: "large".into() });
        assert_eq!(snapshot(small), before);
    });
}

#[test]
fn what_is_written_aside_is_what_was_compared() {
    let (from, to) = pair();
    write(to.path(), "f", "swapped");
    symlink("swapped", to.path().join("l")).unwrap();
    let (fd, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    let mut stage = Stage::new(fd.as_fd()).unwrap();
    let compared = super::super::content::digest_of(b"compared");
    assert_eq!(stage.file((copy.as_fd(), b"f"), compared, 0o644, None), Err(StageError::NewChanged));
    let compared = super::super::content::digest_of_target(b"compared");
    assert_eq!(same_target((copy.as_fd(), b"l"), compared), Err(StageError::NewChanged));
    assert_eq!(stage.undo(), Ok(()));
    assert_eq!(snapshot(from.path()), []);
}
