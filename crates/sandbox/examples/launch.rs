//! Opens a space, launches a sandboxed app in it and runs a shell script inside.
//!
//! ```text
//! launch [OPTIONS] SCRIPT
//!   --base N          a root session with host ids N…N+65535 (default: rootless)
//!   --drop UID        become this user and group first
//!   --folder DIR      where the storage is mounted inside (an empty folder)
//!   --project DIR     mounted writable at the same path; --read-only, --protect PATH
//!   --target PATH     where the project is mounted
//!   --storage BYTES   --processes N
//!   --second SCRIPT   run by another app of the same space, after the first script
//!   --probe           print what the four properties show
//!   --orphan          kill the stand-in for the anchor and wait for the app to die
//!   --freeze          stop the app's processes by signals while the script runs, then kill them
//!   --terminal        open a terminal of the app's own and print its size
//!   --cgroup          start in a control group of its own, freeze, thaw and kill by it
//!   --captured        capture what the app sends; --explicit does so without nf_tables
//!   --gateway          serve what is captured, as examples/launch/gateway.rs says
//!   --gone             close the listeners of what is captured
//!   --flush            delete the rules of what is captured
//!   --refused          print what was refused after the script
//!   --dial PORT        connect to a port of the script's, after its first output
//!   --rounds N        open and launch N times and print times in microseconds
//! ```
//!
//! The process tree is a session's: a parent in the anchor's place, a keeper, an init per app.

#[path = "launch/gateway.rs"]
mod gateway;

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use sessile_anchor::control::{Command, Control, Started, Stdio};
use sessile_model::spec::Limits;
use sessile_model::{AppName, ByteSize, Property, SessionId, Timestamp};
use sessile_sandbox::app::{Ahead, AppPlan, Identity, LaunchedApp, ProjectMount, launch};
use sessile_sandbox::capture::{self, Capture, Network};
use sessile_sandbox::cgroup::{Cgroup, CgroupError};
use sessile_sandbox::probe::{self, ProbeInputs};
use sessile_sandbox::processes;
use sessile_sandbox::seccomp;
use sessile_sandbox::space::{self, Space, SpaceError, SpacePlan};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";
/// Longest life of the whole tree, in seconds.
const LIFETIME_S: u32 = 60;

#[derive(Default)]
struct Options {
    base: Option<u32>,
    drop: Option<u32>,
    folder: PathBuf,
    project: Option<PathBuf>,
    target: Option<PathBuf>,
    read_only: bool,
    protect: Vec<String>,
    storage: Option<u64>,
    processes: Option<u32>,
    second: Option<String>,
    probe: bool,
    orphan: bool,
    freeze: bool,
    terminal: bool,
    cgroup: bool,
    rounds: u32,
    network: Network,
    gateway: bool,
    gone: bool,
    flush: bool,
    refused: bool,
    dial: Option<u16>,
    script: String,
}

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name.as_bytes() == b"init") {
        sessile_anchor::init::run();
    }
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(error.as_ref());
            while let Some(error) = cause {
                eprintln!("launch: {error}");
                cause = error.source();
            }
            ExitCode::from(99)
        }
    }
}

fn start() -> Outcome<u8> {
    let options = parse()?;
    // Before the user changes: /proc/self closes then.
    let image = sessile_anchor::image::seal("init", &std::fs::read("/proc/self/exe")?)?;
    if let Some(id) = options.drop {
        let (uid, gid) = (rustix::process::Uid::from_raw(id), rustix::process::Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a number; ends the process if something hangs.
            unsafe { libc::alarm(LIFETIME_S) };
            keep(&options, image.as_fd())
        }
        keeper => {
            let mut status = 0;
            loop {
                // SAFETY: the status outlives the call.
                let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
                if pid == keeper || pid < 0 {
                    return Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) as u8 } else { 98 });
                }
            }
        }
    }
}

fn parse() -> Outcome<Options> {
    let mut options = Options { rounds: 1, ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or("a value is missing");
        match arg.as_str() {
            "--base" => options.base = Some(value()?.parse()?),
            "--drop" => options.drop = Some(value()?.parse()?),
            "--folder" => options.folder = value()?.into(),
            "--project" => options.project = Some(value()?.into()),
            "--target" => options.target = Some(value()?.into()),
            "--protect" => options.protect.push(value()?),
            "--storage" => options.storage = Some(value()?.parse()?),
            "--processes" => options.processes = Some(value()?.parse()?),
            "--second" => options.second = Some(value()?),
            "--rounds" => options.rounds = value()?.parse()?,
            "--dial" => options.dial = Some(value()?.parse()?),
            "--gateway" => options.gateway = true,
            "--gone" => options.gone = true,
            "--flush" => options.flush = true,
            "--refused" => options.refused = true,
            "--captured" => options.network = Network::Captured,
            "--explicit" => options.network = Network::Explicit,
            "--read-only" => options.read_only = true,
            "--probe" => options.probe = true,
            "--orphan" => options.orphan = true,
            "--freeze" => options.freeze = true,
            "--cgroup" => options.cgroup = true,
            "--terminal" => options.terminal = true,
            _ => options.script = arg,
        }
    }
    Ok(options)
}

fn keep(options: &Options, image: BorrowedFd<'_>) -> Outcome<u8> {
    let parent = rustix::process::getppid().ok_or("no parent")?;
    let anchor = pidfd_open(parent, PidfdFlags::empty())?;
    if options.rounds > 1 {
        return measure(options, image, &anchor);
    }
    let space = match open(options) {
        Err(SpaceError::NamespacesRefused(why)) => {
            println!("skipped: user namespaces: {why}");
            return Ok(0);
        }
        other => other?,
    };
    if options.cgroup {
        return in_cgroup(options, &space, image, &anchor);
    }
    let (mut app, mut control) = start_app(options, &space, "main", None, image, &anchor)?;
    if options.network == Network::Captured && app.capture != Some(Capture::Transparent) {
        println!("skipped: nf_tables redirects nothing here");
        return Ok(0);
    }
    prepare(options, &space, &mut app)?;
    if options.probe {
        report(options, &space, &app, &mut control)?;
    }
    if options.terminal {
        show_terminal(&app)?;
    }
    let code = if let Some(port) = options.dial {
        dial(options, &space, &app, &mut control, port)?
    } else if options.freeze {
        freeze(options, &app, &mut control)?
    } else {
        run(&mut control, &options.script)?
    };
    if options.refused {
        println!("{:?}", capture::refused(&space, app.netns.as_fd()));
    }
    if let Some(second) = &options.second {
        let (other, mut control) = start_app(options, &space, "second", None, image, &anchor)?;
        run(&mut control, second)?;
        processes::kill(&other.init)?;
    }
    if options.orphan {
        kill_process(parent, Signal::KILL)?;
        println!("{}", if ends(&app.init)? { "died" } else { "alive" });
        std::io::stdout().flush()?;
    }
    processes::kill(&app.init)?;
    ends(&app.init)?;
    Ok(code)
}

/// Does with the listeners and rules what the options ask for.
fn prepare(options: &Options, space: &Space, app: &mut LaunchedApp) -> Outcome<()> {
    if let Some(listeners) = app.listeners.take_if(|_| options.gateway) {
        gateway::serve(listeners);
    }
    if options.gone {
        app.listeners = None;
    }
    if options.flush {
        gateway::delete_rules(space, &app.netns)?;
    }
    Ok(())
}

/// Connects to a port of the script's and prints what it says; then to what it may not.
fn dial(
    options: &Options,
    space: &Space,
    app: &LaunchedApp,
    control: &mut Control,
    port: u16,
) -> Outcome<u8> {
    let mut output = begin(control, &options.script)?;
    if output.read(&mut [0u8; 64])? == 0 {
        return Err("the script printed nothing".into());
    }
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut said = String::new();
        File::from(capture::dial(space, app.netns.as_fd(), address.parse()?)?).read_to_string(&mut said)?;
        println!("{said}");
    }
    let dns = format!("127.0.0.1:{}", capture::DNS_PORT);
    let own = format!("127.0.0.1:{}", capture::TCP_PORT);
    for address in ["127.0.0.1:9", dns.as_str(), own.as_str(), "192.0.2.1:80"] {
        let refused = capture::dial(space, app.netns.as_fd(), address.parse()?);
        println!("{address}: {:?}", refused.err().map(|e| e.kind()));
    }
    Ok(0)
}

fn open(options: &Options) -> Result<Space, SpaceError> {
    space::create(&SpacePlan {
        mount_point: options.folder.clone(),
        storage_bytes: options.storage.unwrap_or(256 << 20),
        storage_inodes: 10_000,
        subordinate_base: options.base,
    })
}

fn start_app(
    options: &Options,
    space: &Space,
    name: &str,
    cgroup: Option<&Cgroup>,
    image: BorrowedFd<'_>,
    anchor: &OwnedFd,
) -> Outcome<(LaunchedApp, Control)> {
    let filter = seccomp::program();
    let project = options.project.as_ref().map(|source| ProjectMount {
        source: source.clone(),
        target: options.target.clone().unwrap_or_else(|| source.clone()),
        writable: !options.read_only,
        protected: options.protect.clone(),
        from_storage: false,
    });
    let plan = AppPlan {
        name: name.parse::<AppName>()?,
        identity: Identity::new("sealed", MACHINE_ID),
        project,
        mounts: Vec::new(),
        extra_etc: Vec::new(),
        network: options.network,
        ahead: &Ahead::default(),
        max_processes: options.processes.unwrap_or(256),
        cgroup,
        image,
        anchor: anchor.as_fd(),
        seccomp: &filter,
    };
    let app = launch(space, &plan)?;
    let mut control = Control::from_fd(app.control.try_clone()?);
    control.wait_ready(Duration::from_secs(5))?;
    Ok((app, control))
}

/// Runs the script in a control group with limits in every version the host has.
fn in_cgroup(options: &Options, space: &Space, image: BorrowedFd<'_>, anchor: &OwnedFd) -> Outcome<u8> {
    let mut entropy = [7; 10];
    entropy[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let id = SessionId::new(Timestamp::from_millis(0), entropy);
    let limits = Limits { memory: Some(ByteSize(96 << 20)), cpu_percent: Some(80), ..Limits::default() };
    let mut cgroup = match Cgroup::create(id, &limits) {
        Ok(Some(cgroup)) => cgroup,
        Ok(None) => return Err("limits were ignored".into()),
        Err(why @ CgroupError::CannotEnforce { .. }) => {
            println!("skipped: {why}");
            return Ok(0);
        }
        Err(other) => return Err(other.into()),
    };
    let (app, mut control) = start_app(options, space, "main", Some(&cgroup), image, anchor)?;
    let code = run(&mut control, &options.script)?;
    println!("counted: {}", cgroup.usage().memory.is_some_and(|bytes| bytes > 0));
    println!("frozen: {}", cgroup.freeze()? && cgroup.thaw()?);
    println!("killed: {}", cgroup.kill()? > 0 && ends(&app.init)?);
    cgroup.remove()?;
    println!("removed: {}", Cgroup::reopen(id).is_none());
    Ok(code)
}

/// Starts a script with its output in a pipe.
fn begin(control: &mut Control, script: &str) -> Outcome<File> {
    let (reader, writer) = std::io::pipe()?;
    let null = File::open("/dev/null")?;
    let argv = ["/bin/bash".to_owned(), "-c".to_owned(), script.to_owned()];
    let env = ["HOME=/home/user", "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"].map(str::to_owned);
    let command = Command { argv: &argv, env: &env, cwd: "/home/user" };
    let stdio = Stdio::Pipes([null.as_fd(), writer.as_fd(), writer.as_fd()]);
    match control.start(1, &command, stdio)? {
        Started::Pid(_) => Ok(File::from(OwnedFd::from(reader))),
        Started::NotStarted { errno } => Err(std::io::Error::from_raw_os_error(errno).into()),
    }
}

fn run(control: &mut Control, script: &str) -> Outcome<u8> {
    if script.is_empty() {
        return Ok(0);
    }
    let mut output = begin(control, script)?;
    std::io::copy(&mut output, &mut std::io::stdout())?;
    let tasks = control.list()?;
    let status = tasks.iter().find(|t| t.task == 1).and_then(|t| t.status).unwrap_or(0);
    Ok(((status >> 8) & 0xff) as u8)
}

/// Stops the script after its first output, shows that it stands still, and kills it.
fn freeze(options: &Options, app: &LaunchedApp, control: &mut Control) -> Outcome<u8> {
    let mut output = begin(control, &options.script)?;
    let mut buffer = [0u8; 4096];
    if output.read(&mut buffer)? == 0 {
        return Err("the script printed nothing".into());
    }
    let stopped = processes::freeze(app.pid, Duration::from_secs(5))?;
    let flags = rustix::fs::fcntl_getfl(&output)?;
    rustix::fs::fcntl_setfl(&output, flags | rustix::fs::OFlags::NONBLOCK)?;
    while output.read(&mut buffer).is_ok_and(|n| n > 0) {}
    std::thread::sleep(Duration::from_millis(50));
    let silent = output.read(&mut buffer).is_err();
    println!("stopped several: {}", stopped > 1);
    println!("silent while stopped: {silent}");
    processes::thaw(app.pid)?;
    rustix::fs::fcntl_setfl(&output, flags)?;
    println!("goes on: {}", output.read(&mut buffer)? > 0);
    let namespace = processes::namespace_of(app.pid)?;
    processes::kill(&app.init)?;
    ends(&app.init)?;
    println!("left after the kill: {}", processes::list(namespace)?.len());
    Ok(0)
}

fn report(options: &Options, space: &Space, app: &LaunchedApp, control: &mut Control) -> Outcome<()> {
    let evidence = control.probe()?;
    let host = probe::look(app.pid)?;
    let grants: Vec<String> =
        options.project.iter().map(|p| options.target.as_ref().unwrap_or(p).display().to_string()).collect();
    for property in Property::ALL {
        let status = probe::verify(
            property,
            &ProbeInputs {
                evidence: &evidence,
                host: &host,
                identity: &Identity::new("sealed", MACHINE_ID),
                capture: app.capture,
                rules: capture::look(space, app.netns.as_fd()).ok(),
                landlock_abi: app.landlock_abi,
                storage_device: rustix::fs::fstat(&space.storage)?.st_dev,
                storage_noswap: space.storage_noswap,
                grants: &grants,
            },
        );
        println!("{property} holds: {}", status.holds);
        for sentence in status.evidence.iter().chain(&status.weaker_because) {
            println!("  {sentence}");
        }
    }
    println!("quick: {:?}", probe::quick(app.pid)?);
    Ok(())
}

/// Opens a master by the multiplexer's descriptor, and its slave's size from a script.
fn show_terminal(app: &LaunchedApp) -> Outcome<()> {
    let path = format!("/proc/self/fd/{}", app.ptmx.as_raw_fd());
    let master = File::options().read(true).write(true).open(path)?;
    rustix::pty::unlockpt(&master)?;
    println!("terminal: {}", rustix::pty::ptsname(&master, Vec::new())?.to_string_lossy());
    Ok(())
}

fn ends(pidfd: &OwnedFd) -> Outcome<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout))? == 1)
}

fn measure(options: &Options, image: BorrowedFd<'_>, anchor: &OwnedFd) -> Outcome<u8> {
    let mut rows = Vec::new();
    for _ in 0..options.rounds {
        let begun = Instant::now();
        let space = open(options)?;
        let opened = begun.elapsed();
        let (app, _control) = start_app(options, &space, "main", None, image, anchor)?;
        let ready = begun.elapsed();
        processes::kill(&app.init)?;
        ends(&app.init)?;
        let pid = Pid::from_raw(app.pid.cast_signed()).ok_or("no process")?;
        debug_assert!(pid.as_raw_nonzero().get() > 0);
        rows.push((ready, opened));
    }
    rows.sort();
    let (ready, opened) = rows.get(rows.len() / 2).copied().unwrap_or_default();
    println!("space {} ready {}", opened.as_micros(), ready.as_micros());
    Ok(0)
}
