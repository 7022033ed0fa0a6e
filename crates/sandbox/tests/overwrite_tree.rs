//! Overwrites trees on a real tmpfs and looks for what is left.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use sessile_sandbox::wipe::scan::{Place, scan_tree};
use sessile_sandbox::wipe::{Canary, Encoding, overwrite_tree};

fn canary() -> Canary {
    let mut entropy = [0; 64];
    rustix::rand::getrandom(&mut entropy[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    Canary::new(&mut entropy)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn contents(root: &OwnedFd, canary: &Canary) -> usize {
    let hits = scan_tree(root.as_fd(), canary).unwrap();
    hits.iter().filter(|h| matches!(h.place, Place::Content { .. })).count()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn every_content_goes_whatever_its_mode_and_shape() {
    let dir = folder();
    let canary = canary();
    let raw = canary.reveal(Encoding::Raw);
    let at = |name: &str| dir.path().join(name);
    fs::write(at("plain"), &raw).unwrap();
    fs::hard_link(at("plain"), at("second name")).unwrap();
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/b/c/deep"), canary.reveal(Encoding::Base64)).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&raw, 5000).unwrap();
    sparse.write_all_at(&canary.reveal(Encoding::Hex), 50 << 30).unwrap();
    // Over the border of the pieces in which files are searched.
    File::create(at("border")).unwrap().write_all_at(&raw, (1 << 20) - 10).unwrap();
    fs::write(at("no access"), &raw).unwrap();
    fs::set_permissions(at("no access"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/inside"), &raw).unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::create_dir(at("unsearchable")).unwrap();
    fs::write(at("unsearchable/inside"), &raw).unwrap();
    fs::set_permissions(at("unsearchable"), fs::Permissions::from_mode(0o400)).unwrap();
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let outside = folder();
    fs::write(outside.path().join("file"), b"outside").unwrap();
    symlink(outside.path().join("file"), at("link to a file")).unwrap();
    symlink(outside.path(), at("link to a folder")).unwrap();

    let root = open(dir.path());
    let hits = contents(&root, &canary);
    // `plain` twice, `deep`, `sparse` twice, `border`, `no access`, two `inside`.
    assert_eq!(hits, 9);
    let done = overwrite_tree(root.as_fd()).unwrap();
    assert_eq!(contents(&root, &canary), 0);
    assert_eq!((done.failed, done.files, done.links_left, done.mounts), (0, 7, 2, 0), "{done:?}");
    // plain, deep, sparse twice, border's 2 pages, no access, inside twice.
    assert_eq!(done.names_left, 17);
    assert!(done.bytes >= 8 * 4096 && done.read_back > 0, "{done:?}");
    assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"outside");
}

#[test]
fn names_links_and_attributes_are_found_and_counted_as_residue() {
    let dir = folder();
    let canary = canary();
    let text = String::from_utf8(canary.reveal(Encoding::Hex)).unwrap();
    fs::write(dir.path().join(&text), b"x").unwrap();
    symlink(&text, dir.path().join("link")).unwrap();
    let with_attribute = dir.path().join("attribute");
    fs::write(&with_attribute, b"x").unwrap();
    let has_attributes =
        rustix::fs::setxattr(&with_attribute, "user.x", text.as_bytes(), rustix::fs::XattrFlags::empty())
            .is_ok();
    if !has_attributes {
        eprintln!("skipped: this kernel's tmpfs has no user attributes");
    }
    let root = open(dir.path());
    let hits = scan_tree(root.as_fd(), &canary).unwrap();
    assert_eq!(hits.len(), 2 + usize::from(has_attributes), "{hits:?}");
    let done = overwrite_tree(root.as_fd()).unwrap();
    assert_eq!((done.names_left, done.links_left), (3, 1));
    assert_eq!(done.attributes_left, u64::from(has_attributes));
    assert!(done.residue().unwrap().why.contains("3 names"));
}

#[test]
fn deep_and_wide_trees_need_neither_stack_nor_descriptors() {
    let dir = folder();
    let canary = canary();
    let raw = canary.reveal(Encoding::Raw);
    let mut at = open(dir.path());
    for depth in 0..5000 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if depth % 1000 == 0 {
            let file = rustix::fs::openat(&at, "f", OFlags::RDWR | OFlags::CREATE, Mode::RWXU).unwrap();
            rustix::io::write(&file, &raw).unwrap();
        }
        at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    let wide = dir.path().join("wide");
    fs::create_dir(&wide).unwrap();
    for i in 0..20_000 {
        fs::write(wide.join(i.to_string()), if i % 5000 == 0 { &raw[..] } else { b"x" }).unwrap();
    }
    let root = open(dir.path());
    assert_eq!(contents(&root, &canary), 9);
    let done = overwrite_tree(root.as_fd()).unwrap();
    assert_eq!((done.files, done.names_left, done.failed), (20_005, 25_006, 0));
    assert_eq!(contents(&root, &canary), 0);
    // Too deep for paths: removed from the root by hand.
    let removed = Command::new("rm").arg("-rf").arg(dir.path().join("d")).status().unwrap();
    assert!(removed.success());
}

#[test]
fn mounts_below_are_grants_and_stay_as_they_are() {
    if !is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let dir = folder();
    // On the same file system: only the mount tells them apart.
    let grant = folder();
    fs::write(grant.path().join("project"), b"precious").unwrap();
    let on_folder = dir.path().join("folder");
    let on_file = dir.path().join("file");
    fs::create_dir(&on_folder).unwrap();
    fs::write(&on_file, b"below").unwrap();
    rustix::mount::mount_bind(grant.path(), &on_folder).unwrap();
    rustix::mount::mount_bind(grant.path().join("project"), &on_file).unwrap();
    let done = overwrite_tree(open(dir.path()).as_fd());
    rustix::mount::unmount(&on_folder, UnmountFlags::DETACH).unwrap();
    rustix::mount::unmount(&on_file, UnmountFlags::DETACH).unwrap();
    assert_eq!(done.unwrap().mounts, 2);
    assert_eq!(fs::read(grant.path().join("project")).unwrap(), b"precious");
}

#[test]
fn a_read_only_mount_is_a_failure_that_is_counted() {
    if !is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let dir = folder();
    fs::write(dir.path().join("file"), b"data").unwrap();
    rustix::mount::mount_bind(dir.path(), dir.path()).unwrap();
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(dir.path(), flags, "").unwrap();
    let done = overwrite_tree(open(dir.path()).as_fd());
    rustix::mount::unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    let done = done.unwrap();
    assert_eq!((done.failed, done.bytes), (1, 0));
    assert!(matches!(done.evidence(), sessile_model::receipt::WipeEvidence::Failed { .. }));
}

#[test]
fn the_same_holds_for_an_ordinary_user() {
    if !is_root() {
        eprintln!("skipped: the other tests run as an ordinary user already");
        return;
    }
    let exe = std::env::current_exe().unwrap();
    if fs::metadata(&exe).unwrap().mode() & 0o001 == 0 {
        eprintln!("skipped: user 65534 cannot execute {}", exe.display());
        return;
    }
    let mut test = Command::new(&exe);
    test.args(["every_content", "names_links", "deep_and_wide"]).current_dir("/").gid(65534).uid(65534);
    let ran = match test.output() {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: user 65534 cannot execute {}", exe.display());
            return;
        }
        ran => ran.unwrap(),
    };
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && text.contains("3 passed"), "{text}");
}
