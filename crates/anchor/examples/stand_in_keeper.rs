//! The least that can stand in for a keeper in tests: hands what the anchor gave it to the test at
//! `RUNTIME_DIR/stand-in.sock`, makes children of the anchor and borrows a pump's turn on request, and waits to
//! be killed.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use sessile_anchor::ring::Ring;
use sessile_anchor::{fds, inherit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let open: Vec<String> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    // SAFETY: takes numbers only. Whatever it does, it dies with its anchor.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut given = Vec::new();
    for number in 3..=6 {
        given.push(inherit::take(number)?);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let signals: Vec<&str> =
        status.lines().filter(|l| l.starts_with("SigBlk") || l.starts_with("SigIgn")).collect();
    let variables: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    let report = [
        std::process::id().to_string(),
        arguments.join(" "),
        variables.join(" "),
        open.join(" "),
        signals.join(" "),
        std::env::current_dir()?.display().to_string(),
    ]
    .join("\n");

    let runtime = arguments.get(2).ok_or("no runtime folder")?;
    let mut test = UnixStream::connect(Path::new(runtime).join("stand-in.sock"))?;
    let handed: Vec<_> = given.iter().map(|fd| fd.as_fd()).collect();
    fds::send_with_fds(test.as_fd(), report.as_bytes(), &handed)?;
    drop(handed);
    drop(given);

    let mut request = [0];
    loop {
        let (1, given) = fds::recv_with_fds(test.as_fd(), &mut request, 0)? else { return Ok(()) };
        match (request, &given[..]) {
            ([b'c'], []) => test.write_all(&sibling().to_le_bytes())?,
            ([b'b'], [ring, source]) => borrow(&Ring::open(ring.as_fd())?, source)?,
            _ => return Err("no such request".into()),
        }
    }
}

/// Reads a source into its ring whenever it can have the turn, for ever.
fn borrow(ring: &Ring, source: &OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        if ring.borrow() {
            ring.read_borrowed(source.as_fd())?;
        }
        std::thread::yield_now();
    }
}

/// Makes a process that is the anchor's child, as launchers are, and sleeps.
fn sibling() -> i32 {
    // SAFETY: without CLONE_VM this is a fork, and this program has one thread. The child only
    // waits.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0);
        if pid == 0 {
            loop {
                libc::pause();
            }
        }
        pid as i32
    }
}
