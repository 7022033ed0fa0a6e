use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::testing::{folder_fd, in_a_small_tmpfs, mkfifo, pair, snapshot, write};
use super::*;

fn run(root: &Path, path: &str, destination: &Path) -> Result<api::Exported, ExportError> {
    export(folder_fd(root).as_fd(), Path::new(path), destination, None)
}

#[test]
fn copies_a_file_or_a_folder() {
    let (root, host) = pair();
    write(root.path(), "srv/d/f", "12345");
    write(root.path(), "srv/d/run", "x");
    std::fs::set_permissions(root.path().join("srv/d/run"), PermissionsExt::from_mode(0o6777)).unwrap();
    symlink("f", root.path().join("srv/d/inside")).unwrap();
    symlink("../../etc", root.path().join("srv/d/out")).unwrap();
    symlink("/etc/shadow", root.path().join("srv/d/absolute")).unwrap();
    mkfifo(&root.path().join("srv/d/fifo"));
    let to = host.path().join("d");
    let exported = run(root.path(), "/srv/d", &to).unwrap();
    assert_eq!((exported.files, exported.bytes), (2, ByteSize(6)));
    let mut skipped = exported.skipped;
    skipped.sort();
    let expected =
        ["absolute is a link that leads out", "fifo is a FIFO, not a file", "out is a link that leads out"];
    assert_eq!(skipped, expected);
    let names: Vec<String> = snapshot(&to).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["f", "inside", "run"]);
    assert_eq!(to.join("run").metadata().unwrap().mode() & !0o755 & 0o7777, 0);

    assert_eq!(run(root.path(), "srv/d/f", &host.path().join("f")).unwrap().files, 1);
    assert_eq!(std::fs::read_to_string(host.path().join("f")).unwrap(), "12345");
}

#[test]
fn refuses_with_a_reason() {
    let (root, host) = pair();
    write(root.path(), "f", "x");
    symlink("/etc", root.path().join("link")).unwrap();
    mkfifo(&root.path().join("fifo"));
    write(host.path(), "taken", "precious");
    let to = |name: &str| host.path().join(name);
    use ExportError as E;
    assert!(matches!(run(root.path(), "../f", &to("x")), Err(E::BadPath { .. })));
    assert!(matches!(run(root.path(), "nothing", &to("x")), Err(E::NotFound { .. })));
    assert!(matches!(run(root.path(), "link", &to("x")), Err(E::Link { .. })));
    assert!(matches!(run(root.path(), "link/passwd", &to("x")), Err(E::Link { .. })));
    assert!(matches!(run(root.path(), "fifo", &to("x")), Err(E::NotAFile { .. })));
    assert!(matches!(run(root.path(), "f", &to("taken")), Err(E::Exists { .. })));
    assert!(matches!(run(root.path(), "", &to("taken")), Err(E::Exists { .. })));
    assert!(matches!(run(root.path(), "f", &to("no/where")), Err(E::NoParent { .. })));
    assert!(matches!(run(root.path(), "f", Path::new("relative")), Err(E::BadDestination { .. })));
    symlink("/nonexistent", to("dangling")).unwrap();
    assert!(matches!(run(root.path(), "f", &to("dangling")), Err(E::Exists { .. })));
    assert_eq!(std::fs::read_to_string(to("taken")).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 2);
}

#[test]
fn paths_are_named_as_an_app_knows_them() {
    let (root, host) = pair();
    write(root.path(), "usr/bin/tool", "tool");
    write(root.path(), "srv/f", "x");
    symlink("usr/bin", root.path().join("bin")).unwrap();
    symlink("bin", root.path().join("usr/sbin")).unwrap();
    let to = |name: &str| host.path().join(name);
    assert_eq!(run(root.path(), "/bin/tool", &to("tool")).unwrap().files, 1);
    assert_eq!(std::fs::read_to_string(to("tool")).unwrap(), "tool");
    assert_eq!(run(root.path(), "/bin", &to("bin")).unwrap().files, 1);
    // Only the system's own links at the top are followed, and none of them twice.
    for (path, why) in [("/usr/sbin/tool", "/usr/sbin/tool is a link"), ("srv/no", "/srv/no does not exist")]
    {
        let error = run(root.path(), path, &to("x")).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
    std::fs::remove_file(root.path().join("bin")).unwrap();
    symlink("../../etc", root.path().join("bin")).unwrap();
    let error = run(root.path(), "/bin/passwd", &to("x")).unwrap_err();
    assert!(matches!(error, ExportError::Source { source: Errno::XDEV, .. }), "{error}");
}

#[test]
fn what_is_mounted_can_be_exported_and_what_the_kernel_makes_up_is_refused() {
    let host = tempfile::tempdir().unwrap();
    let error = run(Path::new("/"), "/proc/version", &host.path().join("x")).unwrap_err();
    assert!(matches!(error, ExportError::NotAFile { why: LeftOut::MadeUp, .. }), "{error}");
    // Something is mounted at /dev on every machine.
    let error = run(Path::new("/"), "/dev/null", &host.path().join("x")).unwrap_err();
    assert!(matches!(error, ExportError::NotAFile { why: LeftOut::Special("device"), .. }), "{error}");
}

#[test]
fn a_full_destination_is_said_and_left_empty() {
    in_a_small_tmpfs("export_full", |small| {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "d/a/small", "x");
        write(root.path(), "d/large", &"x".repeat(4 << 20));
        for path in ["d", "d/large"] {
            let error = run(root.path(), path, &small.join("out")).unwrap_err();
            assert!(matches!(error, ExportError::Full { .. }), "{error}");
            assert_eq!(snapshot(small), [], "{path}");
        }
    });
}

#[test]
fn belongs_to_the_caller() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: changing owners needs root");
        return;
    }
    let (root, host) = pair();
    write(root.path(), "d/f", "x");
    symlink("f", root.path().join("d/l")).unwrap();
    let to = host.path().join("d");
    export(folder_fd(root.path()).as_fd(), Path::new("d"), &to, Some((4242, 4343))).unwrap();
    for path in ["", "f", "l"] {
        let meta = to.join(path).symlink_metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4242, 4343), "{path}");
    }
}

#[test]
fn sparse_files_stay_sparse() {
    let (root, host) = pair();
    std::fs::File::create(root.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    let exported = run(root.path(), "huge", &host.path().join("huge")).unwrap();
    let meta = host.path().join("huge").metadata().unwrap();
    assert_eq!((exported.bytes, meta.len(), meta.blocks()), (ByteSize(1 << 40), 1 << 40, 0));
}
