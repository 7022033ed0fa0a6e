//! An init as a launcher would start it, less the sandbox.

use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sessile_anchor::control::{self, Control, ControlEvent, Started};
use sessile_anchor::fds::seqpacket_pair;
use tempfile::TempDir;

/// For anything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;

/// What differs from what a launcher does.
#[derive(Clone, Copy)]
pub struct Plan {
    pub no_new_privs: bool,
    pub filter: &'static [libc::sock_filter],
    /// Process 1 of namespaces of its own; for root alone.
    pub namespaces: bool,
    /// Size of init's send buffer, in bytes.
    pub send_buffer: Option<libc::c_int>,
    /// A folder in the place of /etc; with namespaces alone.
    pub etc: Option<&'static CStr>,
}

/// Allows everything.
pub const ALLOW: &[libc::sock_filter] = &[libc::sock_filter {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_ALLOW,
}];

pub const PLAIN: Plan =
    Plan { no_new_privs: true, filter: ALLOW, namespaces: false, send_buffer: None, etc: None };

pub fn is_root() -> bool {
    // SAFETY: takes and returns numbers.
    unsafe { libc::geteuid() == 0 }
}

/// A running init. It ends with its control socket, at the latest when this is dropped.
pub struct Init {
    pub child: Child,
    pub control: Option<Control>,
    /// The same socket again, as the anchor keeps it.
    pub socket: Option<OwnedFd>,
}

impl Init {
    pub fn ready() -> Self {
        Self::ready_as(PLAIN)
    }

    pub fn ready_as(plan: Plan) -> Self {
        let mut init = Self::start(plan);
        let pid = init.control().wait_ready(PATIENCE).unwrap();
        assert_eq!(pid, if plan.namespaces { 1 } else { init.child.id() });
        init
    }

    pub fn start(plan: Plan) -> Self {
        let (ours, theirs) = seqpacket_pair().unwrap();
        if let Some(size) = plan.send_buffer {
            let length = size_of_val(&size) as u32;
            // SAFETY: the option is a number that lives through the call.
            let rc = unsafe {
                let size = (&raw const size).cast();
                libc::setsockopt(theirs.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, size, length)
            };
            assert_eq!(rc, 0);
        }
        // A thread of its own: it alone changes the process namespace of its children.
        let child = std::thread::scope(|scope| scope.spawn(|| spawn(plan, &theirs)).join().unwrap());
        drop(theirs);
        let socket = Some(ours.try_clone().unwrap());
        Self { child, control: Some(Control::from_fd(ours)), socket }
    }

    pub fn control(&mut self) -> &mut Control {
        self.control.as_mut().unwrap()
    }

    pub fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().unwrap()
    }

    /// What it told next.
    pub fn event(&mut self) -> ControlEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.control().try_event().unwrap() {
                return event;
            }
            assert!(Instant::now() < deadline, "init told nothing");
            wait_readable(self.control());
        }
    }

    /// The next wait status, which must be this task's.
    pub fn exit_of(&mut self, task: u32) -> i32 {
        match self.event() {
            ControlEvent::Exited { task: ended, status } if ended == task => status,
            other @ (ControlEvent::Exited { .. } | ControlEvent::Gone) => {
                panic!("not the end of task {task}: {other:?}")
            }
        }
    }

    /// Starts a shell script with pipes.
    pub fn script(&mut self, task: u32, script: &str) -> Streams {
        self.run(task, &["/bin/sh", "-c", script], &["PATH=/usr/bin:/bin"], "/").unwrap()
    }

    /// Starts a command with pipes. An error number when it cannot be executed.
    pub fn run(&mut self, task: u32, argv: &[&str], env: &[&str], cwd: &str) -> Result<Streams, i32> {
        let [argv, env]: [Vec<String>; 2] =
            [argv, env].map(|strings| strings.iter().map(|&s| s.to_owned()).collect());
        let (input, stdin) = io::pipe().unwrap();
        let (stdout, output) = io::pipe().unwrap();
        let (stderr, error) = io::pipe().unwrap();
        let pipes = [input.as_fd(), output.as_fd(), error.as_fd()];
        let command = control::Command { argv: &argv, env: &env, cwd };
        match self.control().start(task, &command, control::Stdio::Pipes(pipes)).unwrap() {
            Started::Pid(pid) => Ok(Streams { pid, stdin, stdout, stderr }),
            Started::NotStarted { errno } => Err(errno),
        }
    }

    /// What a command writes on standard output until it ends with success.
    pub fn output(&mut self, task: u32, argv: &[&str], env: &[&str], cwd: &str) -> String {
        let streams = self.run(task, argv, env, cwd).unwrap();
        let (output, errors) = streams.drain();
        assert_eq!((self.exit_of(task), errors.as_str()), (0, ""));
        output
    }

    /// Closes the socket and waits for the end.
    pub fn close(&mut self) -> ExitStatus {
        self.control = None;
        self.socket = None;
        wait_end(&mut self.child)
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.control = None;
        self.socket = None;
        if !std::thread::panicking() {
            wait_end(&mut self.child);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The test's ends of a command's pipes.
pub struct Streams {
    pub pid: u32,
    pub stdin: PipeWriter,
    pub stdout: PipeReader,
    pub stderr: PipeReader,
}

impl Streams {
    /// Everything it writes until all its processes have ended.
    pub fn drain(self) -> (String, String) {
        drop(self.stdin);
        [self.stdout, self.stderr].map(|pipe| read_until(pipe, |_| false)).into()
    }

    /// A line of its output.
    pub fn line(&mut self) -> String {
        read_until(&self.stdout, |said| said.ends_with('\n')).trim_end().to_owned()
    }
}

/// Reads byte by byte until it is enough, or to the end.
pub fn read_until(mut from: impl AsFd + io::Read, enough: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    let mut byte = [0];
    while !enough(&said) {
        while !wait_readable(&from) {
            assert!(Instant::now() < deadline, "neither more nor the end after {said:?}");
        }
        match from.read(&mut byte).unwrap() {
            0 => break,
            _ => said.push(char::from(byte[0])),
        }
    }
    said
}

/// The same again under a number that no descriptor of init's has: what the child puts there
/// replaces nothing that it still needs.
fn raised(fd: impl AsFd) -> OwnedFd {
    // SAFETY: takes numbers; the descriptor is checked and new.
    unsafe {
        let fd = libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 20);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    }
}

fn spawn(plan: Plan, control: &OwnedFd) -> Child {
    let image = raised(File::open(env!("CARGO_BIN_EXE_sessile-anchor")).unwrap());
    let filter = raised(memory_file(&plan.filter.iter().flat_map(instruction).collect::<Vec<u8>>()));
    let control = raised(control);
    let (control, filter) = (control.as_raw_fd(), filter.as_raw_fd());
    if plan.namespaces {
        // SAFETY: takes a number; only the calling thread changes.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
    }
    let mut command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
    command.arg("init").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let is_root = is_root();
    // SAFETY: system calls only, on descriptors that are open and literals.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            check(libc::dup2(control, 3))?;
            check(libc::dup2(filter, 4))?;
            if plan.namespaces {
                let own = libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
                check(libc::unshare(own))?;
                let (none, root, proc) = (std::ptr::null(), c"/".as_ptr(), c"proc".as_ptr());
                check(libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
                check(libc::mount(proc, c"/proc".as_ptr(), proc, 0, none.cast()))?;
                if let Some(etc) = plan.etc {
                    check(libc::mount(etc.as_ptr(), c"/etc".as_ptr(), none, libc::MS_BIND, none.cast()))?;
                }
            }
            if is_root {
                // As an app has it: no rights that make a try succeed.
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
                check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
                check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
            }
            // What a careless parent leaves: commands must not see it.
            libc::signal(libc::SIGUSR2, libc::SIG_IGN);
            // One that the C library keeps for itself and would not set.
            let ignore = [libc::SIG_IGN, 0, 0, 0];
            let none = std::ptr::null::<usize>();
            libc::syscall(libc::SYS_rt_sigaction, 33, ignore.as_ptr(), none, 8);
            let mut blocked = std::mem::zeroed();
            libc::sigemptyset(&mut blocked);
            libc::sigaddset(&mut blocked, libc::SIGUSR1);
            check(libc::sigprocmask(libc::SIG_BLOCK, &blocked, std::ptr::null_mut()))?;
            if plan.no_new_privs {
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

fn check(rc: i32) -> io::Result<()> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn instruction(filter: &libc::sock_filter) -> Vec<u8> {
    let mut bytes = filter.code.to_ne_bytes().to_vec();
    bytes.extend([filter.jt, filter.jf]);
    bytes.extend(filter.k.to_ne_bytes());
    bytes
}

/// A folder that init, which may have another user id, can walk.
pub fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Leases a file: whoever else opens it waits until the lease is given back, for 45 seconds at
/// most. `None` where there are no leases.
pub fn lease(path: &Path) -> Option<File> {
    let file = File::open(path).unwrap();
    // SAFETY: numbers only; the signal that asks for the lease is ignored.
    let rc = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    (rc == 0).then_some(file)
}

/// A memory file that begins with these bytes.
pub fn memory_file(bytes: &[u8]) -> File {
    // SAFETY: the name is a C string; the descriptor is checked and new.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    file.write_all(bytes).unwrap();
    file
}

/// Waits for something to read, a moment at most.
pub fn wait_readable(fd: impl AsFd) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&mut poll, 1, 1_000) > 0 }
}

/// Waits for a process's end.
pub fn wait_end(child: &mut Child) -> ExitStatus {
    if let Some(status) = child.try_wait().unwrap() {
        return status;
    }
    // SAFETY: takes numbers; the descriptor is checked and new.
    let ended = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0) as i32;
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    };
    let deadline = Instant::now() + PATIENCE;
    while !wait_readable(&ended) {
        assert!(Instant::now() < deadline, "init did not end");
    }
    child.wait().unwrap()
}
