//! Trees made to break out, to hang or to exhaust; as root and as an ordinary user.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::AsFd;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sessile_model::api::Apply;

use super::testing::{Meanwhile, again_as_a_user, copied, folder_fd, mkfifo, pair, snapshot, write};
use super::{CopyCap, apply, copy_in, diff, export};

const SECRET: &str = "the host's secret";
const CAP: CopyCap = CopyCap { bytes: 1 << 30, files: 1 << 20 };

/// A folder outside with a secret file.
fn outside() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "file", SECRET);
    write(outside.path(), "sub/file", SECRET);
    outside
}

/// Exchanges `tree/folder` and a link that leads outside, over and over; the same for a file.
fn swapping(tree: &Path, outside: &Path) -> Meanwhile {
    for i in 0..20 {
        write(tree, &format!("folder/sub/{i}"), "harmless");
    }
    write(tree, "folder/file", "harmless");
    write(tree, "folder/sub/file", "harmless");
    write(tree, "plain", "harmless");
    symlink(outside, tree.join("other")).unwrap();
    symlink(outside.join("file"), tree.join("other plain")).unwrap();
    let pairs = [("folder", "other"), ("plain", "other plain")].map(|(a, b)| (tree.join(a), tree.join(b)));
    Meanwhile::new(move || {
        for (a, b) in &pairs {
            // Neither name is ever missing.
            let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
        }
    })
}

fn assert_nowhere(root: &Path) {
    for (path, content) in snapshot(root) {
        assert!(!content.contains(SECRET), "{path} holds the secret");
    }
}

/// For long enough, but no longer.
fn repeatedly(swaps: &Meanwhile, mut act: impl FnMut(usize)) {
    let end = Instant::now() + Duration::from_millis(800);
    let mut round = 0;
    while Instant::now() < end || round < 20 {
        act(round);
        round += 1;
    }
    assert!(swaps.rounds() > 20, "nothing was swapped");
}

#[test]
fn links_swapped_in_never_lead_copy_in_out() {
    let (from, outside) = (tempfile::tempdir().unwrap(), outside());
    let swaps = swapping(from.path(), outside.path());
    repeatedly(&swaps, |_| {
        let to = tempfile::tempdir().unwrap();
        let result = copy_in(folder_fd(from.path()).as_fd(), folder_fd(to.path()).as_fd(), None, &CAP);
        result.unwrap();
        assert_nowhere_but_links(to.path());
    });
    drop(swaps);
    again_as_a_user("files::hostile_tests::links_swapped_in_never_lead_copy_in_out");
}

/// Links are kept as links; only what files hold counts.
fn assert_nowhere_but_links(root: &Path) {
    let mut ahead: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                assert_ne!(std::fs::read_to_string(entry.path()).unwrap(), SECRET, "{:?}", entry.path());
            }
        }
    }
}

#[test]
fn links_swapped_in_never_lead_export_out() {
    let (root, outside) = (tempfile::tempdir().unwrap(), outside());
    let swaps = swapping(root.path(), outside.path());
    let host = tempfile::tempdir().unwrap();
    repeatedly(&swaps, |round| {
        for (i, path) in ["", "folder", "folder/file", "folder/sub", "plain"].into_iter().enumerate() {
            let to = host.path().join(format!("{round}-{i}"));
            let exported = export(folder_fd(root.path()).as_fd(), Path::new(path), &to, None);
            if exported.is_ok() && to.is_dir() {
                assert_nowhere(&to);
                std::fs::remove_dir_all(to).unwrap();
            } else if exported.is_ok() {
                assert_ne!(std::fs::read_to_string(&to).unwrap(), SECRET);
                std::fs::remove_file(to).unwrap();
            } else {
                assert!(!to.exists());
            }
        }
    });
    drop(swaps);
    again_as_a_user("files::hostile_tests::links_swapped_in_never_lead_export_out");
}

#[test]
fn links_swapped_in_never_lead_diff_and_apply_out() {
    let (from, to) = pair();
    let outside = outside();
    write(from.path(), "folder/file", "original");
    write(from.path(), "plain", "original");
    let baseline = copied(from.path(), to.path());
    let swaps = swapping(to.path(), outside.path());
    let (original, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    repeatedly(&swaps, |_| {
        let changes = diff(original.as_fd(), copy.as_fd(), &baseline, false).unwrap();
        assert!(!changes.unified.contains(SECRET));
        let everything = Apply { force: true, ..Apply::default() };
        let _ = apply(original.as_fd(), copy.as_fd(), &mut baseline.clone(), &everything, true);
        assert_nowhere(from.path());
    });
    drop(swaps);
    let hidden = snapshot(from.path()).into_iter().any(|(path, _)| path.starts_with(".sessile"));
    assert!(!hidden, "a hidden folder was left");
    again_as_a_user("files::hostile_tests::links_swapped_in_never_lead_diff_and_apply_out");
}

/// The original, too, may be open to another session: nothing outside it is written or removed.
#[test]
fn links_swapped_into_the_original_never_lead_apply_out() {
    let (from, to) = pair();
    let outside = outside();
    write(from.path(), "folder/file", "old");
    write(from.path(), "folder/gone", "old");
    write(outside.path(), "gone", SECRET);
    let before = snapshot(outside.path());
    let baseline = copied(from.path(), to.path());
    let swaps = swapping(from.path(), outside.path());
    let (original, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    std::fs::remove_file(to.path().join("folder/gone")).unwrap();
    write(to.path(), "folder/new/deep", "new");
    repeatedly(&swaps, |round| {
        write(to.path(), "folder/file", &format!("new {round}"));
        let everything = Apply { force: true, ..Apply::default() };
        let _ = apply(original.as_fd(), copy.as_fd(), &mut baseline.clone(), &everything, true);
        assert_eq!(snapshot(outside.path()), before);
    });
    drop(swaps);
    again_as_a_user("files::hostile_tests::links_swapped_into_the_original_never_lead_apply_out");
}

/// A link swapped into what is being exported must not become a place to write through.
#[test]
fn links_swapped_into_the_destination_never_lead_export_out() {
    let (root, host) = pair();
    let outside = outside();
    let before = snapshot(outside.path());
    for i in 0..50 {
        write(root.path(), &format!("a/b/{i}"), "exported");
    }
    let (out, elsewhere) = (host.path().join("out"), outside.path().to_owned());
    let swaps = Meanwhile::new(move || {
        if std::fs::rename(out.join("a"), out.join("moved")).is_ok() {
            let _ = symlink(&elsewhere, out.join("a"));
        }
    });
    repeatedly(&swaps, |_| {
        let _ = export(folder_fd(root.path()).as_fd(), Path::new(""), &host.path().join("out"), None);
        let _ = std::fs::remove_dir_all(host.path().join("out"));
        assert_eq!(snapshot(outside.path()), before);
    });
}

/// Makes a chain of folders that no single path can name.
fn deep(root: &Path, levels: usize, name: &str) {
    let mut fd = folder_fd(root);
    for _ in 0..levels {
        rustix::fs::mkdirat(&fd, name, rustix::fs::Mode::RWXU).unwrap();
        fd = super::beneath::open(fd.as_fd(), name.as_bytes(), super::beneath::PLACE).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&fd, "bottom", flags, rustix::fs::Mode::RUSR).unwrap();
    rustix::io::write(file, b"deep").unwrap();
}

#[test]
fn two_thousand_levels_are_carried_over() {
    let (from, to) = pair();
    deep(from.path(), 2000, "abcde");
    let baseline = copied(from.path(), to.path());
    assert_eq!(baseline.len(), 2001);
    let (original, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    let changes = diff(original.as_fd(), copy.as_fd(), &baseline, false).unwrap();
    assert_eq!((changes.entries.len(), changes.notices.len()), (0, 0));
    std::fs::remove_dir_all(from.path().join("abcde")).unwrap();
    std::fs::create_dir(from.path().join("x")).unwrap();
    let start = Instant::now();
    let empty = copied(&from.path().join("x"), &from.path().join("x"));
    let applied =
        apply(folder_fd(from.path()).as_fd(), copy.as_fd(), &mut empty.clone(), &Apply::default(), false)
            .unwrap();
    assert_eq!(applied.files, 2001);
    // A walk from the root for every level of every level would take half a minute.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let host = tempfile::tempdir().unwrap();
    let exported = export(original.as_fd(), Path::new(""), &host.path().join("out"), None).unwrap();
    assert_eq!((exported.files, exported.skipped.len()), (1, 0));
}

#[test]
fn what_is_deeper_than_any_path_is_left_out_and_said() {
    let (from, to) = pair();
    deep(from.path(), 200, &"x".repeat(200));
    let source = folder_fd(from.path());
    let (report, _) = copy_in(source.as_fd(), folder_fd(to.path()).as_fd(), None, &CAP).unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].ends_with("is nested too deep"));
}

#[test]
fn ten_thousand_files_take_seconds() {
    let (from, to) = pair();
    for i in 0..10_000 {
        write(from.path(), &format!("{}/{i}", i / 100), "some text\n");
    }
    let start = Instant::now();
    let baseline = copied(from.path(), to.path());
    let copying = start.elapsed();
    for i in (0..10_000).step_by(10) {
        write(to.path(), &format!("{}/{i}", i / 100), "other text\n");
    }
    let (original, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    let changes = diff(original.as_fd(), copy.as_fd(), &baseline, false).unwrap();
    let diffing = start.elapsed() - copying;
    let applied =
        apply(original.as_fd(), copy.as_fd(), &mut baseline.clone(), &Apply::default(), false).unwrap();
    eprintln!("copy {copying:?}, diff {diffing:?}, apply {:?}", start.elapsed() - copying - diffing);
    assert_eq!((changes.entries.len(), applied.files), (1000, 1000));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn fifos_and_huge_sparse_files_do_not_hang_anything() {
    let (from, to) = pair();
    write(from.path(), "f", "old");
    let baseline = copied(from.path(), to.path());
    for name in ["fifo", "-", "line\nbreak"] {
        mkfifo(&to.path().join(name));
    }
    std::os::unix::net::UnixListener::bind(to.path().join("socket")).unwrap();
    std::fs::remove_file(to.path().join("f")).unwrap();
    mkfifo(&to.path().join("f"));
    std::fs::File::create(to.path().join("huge")).unwrap().set_len(1 << 42).unwrap();
    let (original, copy) = (folder_fd(from.path()), folder_fd(to.path()));
    let start = Instant::now();
    let changes = diff(original.as_fd(), copy.as_fd(), &baseline, false).unwrap();
    assert_eq!(changes.entries.len(), 1);
    assert_eq!(changes.notices.len(), 5, "{:?}", changes.notices);
    assert!(changes.notices.iter().all(|notice| !notice.contains('\n')));
    assert_eq!(changes.unified, "# huge is larger than 4 MiB: not shown as text\n");
    apply(original.as_fd(), copy.as_fd(), &mut baseline.clone(), &Apply::default(), false).unwrap();
    let host = tempfile::tempdir().unwrap();
    export(copy.as_fd(), Path::new(""), &host.path().join("out"), None).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    again_as_a_user("files::hostile_tests::fifos_and_huge_sparse_files_do_not_hang_anything");
}

/// A FIFO and a file under one name, exchanged all the time: opening must never wait.
#[test]
fn a_fifo_swapped_in_does_not_hang_anything() {
    let (root, host) = pair();
    write(root.path(), "a", "file");
    mkfifo(&root.path().join("b"));
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let swaps = Meanwhile::new(move || {
        let _ = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
    });
    repeatedly(&swaps, |round| {
        let to = host.path().join(round.to_string());
        export(folder_fd(root.path()).as_fd(), Path::new(""), &to, None).unwrap();
    });
}

#[test]
fn a_user_is_told_what_cannot_be_read_or_written() {
    again_as_a_user("files::hostile_tests::a_user_is_told_what_cannot_be_read_or_written");
    if rustix::process::geteuid().is_root() {
        return;
    }
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let (from, to) = pair();
    write(from.path(), "locked/file", "old");
    write(from.path(), "unreadable", "old");
    write(from.path(), "first", "old");
    chmod(&from.path().join("unreadable"), 0);
    let source = folder_fd(from.path());
    let (report, baseline) = copy_in(source.as_fd(), folder_fd(to.path()).as_fd(), None, &CAP).unwrap();
    assert_eq!(report.skipped, ["unreadable cannot be read (Permission denied (os error 13))"]);
    write(to.path(), "first", "new");
    write(to.path(), "locked/file", "new");
    chmod(&from.path().join("locked"), 0o555);
    chmod(&from.path().join("unreadable"), 0o600);
    let before = snapshot(from.path());
    let copy = folder_fd(to.path());
    let error =
        apply(source.as_fd(), copy.as_fd(), &mut baseline.clone(), &Apply::default(), false).unwrap_err();
    assert!(error.to_string().contains("locked/file"), "{error}");
    assert_eq!(snapshot(from.path()), before);
    chmod(&from.path().join("locked"), 0o755);
}
