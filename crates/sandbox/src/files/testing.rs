//! What the tests of this folder share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use tempfile::TempDir;

use super::{Baseline, CopyCap, copy_in};

pub(super) fn folder_fd(path: &Path) -> OwnedFd {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// An original and an empty folder for its copy.
pub(super) fn pair() -> (TempDir, TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

/// Writes a file and the folders above it.
pub(super) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(super) fn mkfifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Copies with caps that never matter.
pub(super) fn copied(from: &Path, to: &Path) -> Baseline {
    let cap = CopyCap { bytes: 1 << 40, files: 1 << 20 };
    copy_in(folder_fd(from).as_fd(), folder_fd(to).as_fd(), None, &cap).unwrap().1
}

/// Every path below `root` with its content, sorted: for comparing whole trees.
pub(super) fn snapshot(root: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                ahead.push(path.clone());
                "folder".to_owned()
            } else if meta.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else {
                format!(
                    "{:o} {}",
                    std::os::unix::fs::MetadataExt::mode(&meta),
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap())
                )
            };
            all.push((path.strip_prefix(root).unwrap().display().to_string(), content));
        }
    }
    all.sort();
    all
}

/// Does something over and over on another thread until it is dropped.
pub(super) struct Meanwhile {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Meanwhile {
    pub(super) fn new(mut act: impl FnMut() + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                act();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a test on a file system of one mebibyte; says so when it cannot be mounted.
pub(super) fn in_a_small_tmpfs(name: &str, test: impl FnOnce(&Path)) {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let at = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    if let Err(errno) = mount(name, at.path(), "tmpfs", MountFlags::empty(), c"size=1m") {
        eprintln!("skipped: cannot mount a tmpfs ({errno})");
        return;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(at.path())));
    unmount(at.path(), UnmountFlags::DETACH).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Runs one of these tests again as an ordinary user, where this process is root.
pub(super) fn again_as_a_user(test: &str) {
    const MARK: &str = "SESSILE_TEST_AS_USER";
    const NOBODY: u32 = 65_534;
    if std::env::var_os(MARK).is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(MARK, "1").env("TMPDIR", "/tmp").current_dir("/");
    match command.uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "as a user: {said}");
            assert!(said.contains("1 passed"), "{test} was not found: {said}");
        }
        Err(error) => eprintln!("skipped as a user: {error}"),
    }
}
