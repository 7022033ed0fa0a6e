//! A real anchor with a stand-in for its keeper.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sessile_anchor::link::Link;
use sessile_anchor::{fds, image, supervisor};

const PATIENCE: Duration = Duration::from_secs(20);

/// An anchor that runs. Dropping it kills it.
pub struct Stage {
    pub anchor: Child,
    /// The anchor's socket.
    pub socket: PathBuf,
    pub keeper_image: OwnedFd,
    rendezvous: UnixListener,
    folder: tempfile::TempDir,
}

/// A keeper's place, as its stand-in handed it over.
pub struct Keeper {
    pub pid: i32,
    pub report: Vec<String>,
    pub link: Link,
    pub listener: OwnedFd,
    pub image: OwnedFd,
    pub anchor: OwnedFd,
    stream: UnixStream,
}

impl Stage {
    pub fn new() -> (Self, Keeper) {
        let folder = tempfile::tempdir().unwrap();
        // As in life: it may make its three innermost folders again.
        let private = folder.path().join("run/sessions/0198-id");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&private).unwrap();
        let socket = private.join("anchor.sock");
        let anchor_listener = listen(&socket);
        let keeper_listener = listen(&folder.path().join("keeper.sock"));
        let program = Path::new(env!("CARGO_BIN_EXE_sessile-anchor"));
        let stand_in = program.with_file_name("examples").join("stand_in_keeper");
        let bytes = std::fs::read(&stand_in).unwrap_or_else(|e| {
            panic!("{}: {e} (`cargo test` builds it; `cargo test --test` does not)", stand_in.display())
        });
        let keeper_image = image::seal("stand-in", &bytes).unwrap();
        let own_image = image::seal("anchor", &std::fs::read(program).unwrap()).unwrap();
        let rendezvous = UnixListener::bind(folder.path().join("stand-in.sock")).unwrap();

        let handed = [&anchor_listener, &keeper_listener, &own_image, &keeper_image].map(|fd| fd.as_raw_fd());
        let mut command = Command::new(program);
        command
            .args(["anchor", "0198-id"])
            .args([folder.path(), Path::new("/state")])
            .env("SESSILE_TEST", "1")
            .env("HOME_OF_TEST", "not for the keeper")
            .stdin(Stdio::null());
        // SAFETY: only system calls that are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let aside = handed.map(|fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 40));
                for (fd, wanted) in aside.into_iter().zip(3..) {
                    libc::dup2(fd, wanted);
                }
                // As a daemon's parent might have it: the anchor must not rely on its caller.
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            });
        }
        let anchor = command.spawn().unwrap();
        let stage = Self { anchor, socket, keeper_image, rendezvous, folder };
        let keeper = stage.keeper();
        (stage, keeper)
    }

    /// The keeper that has just been started.
    pub fn keeper(&self) -> Keeper {
        wait_for(&self.rendezvous, libc::POLLIN);
        let (stream, _) = self.rendezvous.accept().unwrap();
        let mut text = [0; 8192];
        let (len, mut given) = fds::recv_with_fds(stream.as_fd(), &mut text, 0).unwrap();
        let report: Vec<String> =
            std::str::from_utf8(&text[..len]).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(given.len(), 4);
        let anchor = given.pop().unwrap();
        let image = given.pop().unwrap();
        let listener = given.pop().unwrap();
        let link = Link::from_fd(given.pop().unwrap());
        Keeper { pid: report[0].parse().unwrap(), report, link, listener, image, anchor, stream }
    }

    /// Has the anchor start another keeper.
    pub fn next_keeper(&self) -> Keeper {
        let pid = supervisor::spawn_keeper(&self.socket, self.keeper_image.as_fd()).unwrap();
        let keeper = self.keeper();
        assert_eq!(keeper.pid, pid as i32);
        keeper
    }

    /// A raw connection to the anchor's socket.
    pub fn connect(&self) -> OwnedFd {
        // SAFETY: `address` and its length are those of `listen`.
        unsafe {
            let (address, len) = address(&self.socket);
            let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0);
            assert_eq!(libc::connect(fd, (&raw const address).cast(), len), 0);
            OwnedFd::from_raw_fd(fd)
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.anchor.kill();
        let _ = self.anchor.wait();
    }
}

impl Keeper {
    /// kill -9, and all that dies with it. Returns once it has ended.
    pub fn kill(self) {
        let end = pidfd(self.pid);
        // SAFETY: the pid is the anchor's child, which lives.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        wait_for(&end, libc::POLLIN);
    }

    /// Has it read a source into its ring itself, for as long as it lives.
    pub fn borrow(&self, ring: impl AsFd, source: impl AsFd) {
        fds::send_with_fds(self.stream.as_fd(), b"b", &[ring.as_fd(), source.as_fd()]).unwrap();
    }

    /// Makes a sleeping process that is the anchor's child. Returns its pidfd.
    pub fn sibling(&mut self) -> OwnedFd {
        self.stream.write_all(b"c").unwrap();
        let mut pid = [0; 4];
        self.stream.read_exact(&mut pid).unwrap();
        pidfd(i32::from_le_bytes(pid))
    }
}

fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: takes numbers and returns a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd;
        assert!(fd >= 0, "process {pid}");
        OwnedFd::from_raw_fd(fd)
    }
}

/// Waits for an event and panics if it does not come.
pub fn wait_for(fd: impl AsFd, events: i16) {
    assert!(comes(fd, events, PATIENCE), "the event did not come");
}

/// Waits for an event that long. Returns whether it came.
pub fn comes(fd: impl AsFd, events: i16, within: Duration) -> bool {
    let mut one = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry is passed.
    let rc = unsafe { libc::poll(&raw mut one, 1, within.as_millis() as i32) };
    assert!(rc >= 0);
    rc == 1
}

/// An eventfd whose count [`heard`] takes.
pub fn eventfd() -> File {
    // SAFETY: takes numbers and returns a new descriptor.
    unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }
}

/// Takes the count; 0 if nothing was rung.
pub fn heard(mut notify: &File) -> u64 {
    let mut count = [0; 8];
    notify.read_exact(&mut count).map_or(0, |()| u64::from_ne_bytes(count))
}

/// Waits for rings of `notify` until `done`.
pub fn wait_until(notify: &File, what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}: did not come");
        wait_for(notify, libc::POLLIN);
        heard(notify);
    }
}

/// A terminal: master, slave (raw: nothing echoed or translated).
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: openpty fills both numbers; the settings live on the stack.
    unsafe {
        let none = std::ptr::null_mut;
        assert_eq!(
            libc::openpty(&raw mut master, &raw mut slave, none(), std::ptr::null(), std::ptr::null()),
            0
        );
        for fd in [master, slave] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        let mut settings: libc::termios = std::mem::zeroed();
        libc::tcgetattr(slave, &raw mut settings);
        libc::cfmakeraw(&raw mut settings);
        libc::tcsetattr(slave, libc::TCSANOW, &raw const settings);
        (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    }
}

fn address(path: &Path) -> (libc::sockaddr_un, libc::socklen_t) {
    use std::os::unix::ffi::OsStrExt as _;
    // SAFETY: an address of zeros is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    assert!(bytes.len() < address.sun_path.len());
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    (address, size_of::<libc::sockaddr_un>() as libc::socklen_t)
}

fn listen(path: &Path) -> OwnedFd {
    // SAFETY: the address outlives the call and its length is its size.
    unsafe {
        let (address, len) = address(path);
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
        assert_eq!(libc::listen(fd, 16), 0);
        OwnedFd::from_raw_fd(fd)
    }
}
