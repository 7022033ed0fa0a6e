//! `daemon`: the process that finds and starts sessions.

use std::os::fd::OwnedFd;

use clap::Subcommand;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sessile_daemon::DaemonError;
use sessile_model::api::DaemonStatus;
use sessile_model::problem::ProblemKind;

use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, printable, say, table};
use crate::startup;

/// How long a daemon may take to stop.
const STOP_SECONDS: i64 = 10;

/// The anchor's and the keeper's programs, as `build.rs` built them.
const ANCHOR_IMAGE: &[u8] = include_bytes!(env!("SESSILE_ANCHOR_IMAGE"));
const KEEPER_IMAGE: &[u8] = include_bytes!(env!("SESSILE_KEEPER_IMAGE"));
const GATEWAY_IMAGE: &[u8] = include_bytes!(env!("SESSILE_GATEWAY_IMAGE"));
const GUARD_IMAGE: &[u8] = include_bytes!(env!("SESSILE_GUARD_IMAGE"));

/// Start, stop or look at the daemon; other commands start it by themselves
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile daemon status
  sessile daemon stop                      sessions and attached clients go on

The daemon holds no session's secrets, and its end ends no session.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it, if it does not run
    #[command(after_help = "Examples:\n  sessile daemon start")]
    Start,
    /// Stop it; sessions go on
    #[command(after_help = "Examples:\n  sessile daemon stop")]
    Stop,
    /// Say whether it runs, its version, and this installation's key
    #[command(
        after_help = "Examples:\n  sessile daemon status --json | jq -r .key\n\nWhat was lost, such as a damaged journal that was moved aside, is shown for 30 days.\nExit code 66 when it does not run."
    )]
    Status,
    /// Be the daemon
    #[command(hide = true)]
    Run {
        /// Started by another command: leave its terminal, and say when the socket listens
        #[arg(long)]
        started: bool,
    },
}

impl Args {
    /// Carries it out.
    pub fn run(self, json: bool) -> Outcome {
        match self.action {
            Action::Start => {
                let status: DaemonStatus = Daemon::reach()?.get("/v1/daemon")?;
                show(&status, json)
            }
            Action::Stop => stop(json),
            Action::Status => match Daemon::find()? {
                Some(daemon) => show(&daemon.get("/v1/daemon")?, json),
                None => Err(Failure::new(ProblemKind::NotFound, "the daemon does not run")
                    .hint("any command that needs it starts it")),
            },
            Action::Run { started } => run(started),
        }
    }
}

fn run(started: bool) -> Outcome {
    if started {
        startup::detach().map_err(|e| Failure::system("leave the terminal", &e))?;
    }
    let folders = startup::folders()?;
    let config = sessile_daemon::Config {
        runtime_dir: &folders.runtime,
        state_dir: &folders.state,
        anchor_image: ANCHOR_IMAGE,
        keeper_image: KEEPER_IMAGE,
        gateway_image: GATEWAY_IMAGE,
        guard_image: GUARD_IMAGE,
        version: sessile_model::version(),
        listening: started.then_some(startup::announce as fn() -> std::io::Result<()>),
    };
    sessile_daemon::run(config).map_err(|e| {
        if e.is_disk_full() {
            return Failure::new(ProblemKind::Exhausted, causes(&e)).hint(startup::NO_ROOM);
        }
        let kind = match e {
            DaemonError::AlreadyRunning { .. } | DaemonError::Unresponsive { .. } => ProblemKind::Conflict,
            DaemonError::Path(_)
            | DaemonError::Lock(_)
            | DaemonError::Socket(_)
            | DaemonError::Key(_)
            | DaemonError::Store(_)
            | DaemonError::Ledger(_)
            | DaemonError::Image(_)
            | DaemonError::System(_) => ProblemKind::Failed,
        };
        let failure = Failure::new(kind, causes(&e));
        match hint(&e, &folders.runtime) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    Ok(Status::OK)
}

/// What to do about a daemon that stands in the way.
fn hint(error: &DaemonError, own: &std::path::Path) -> Option<String> {
    match error {
        DaemonError::AlreadyRunning { runtime } if runtime != own => {
            let runtime = runtime.display();
            Some(format!("a state folder has one daemon: SESSILE_RUNTIME_DIR={runtime} reaches it"))
        }
        DaemonError::Unresponsive { pid: 0, .. } => {
            Some("find and end the process `sessile daemon run`; sessions go on".to_owned())
        }
        DaemonError::Unresponsive { pid, .. } => Some(format!("kill -9 {pid}; sessions go on")),
        DaemonError::AlreadyRunning { .. }
        | DaemonError::Path(_)
        | DaemonError::Lock(_)
        | DaemonError::Socket(_)
        | DaemonError::Key(_)
        | DaemonError::Store(_)
        | DaemonError::Ledger(_)
        | DaemonError::Image(_)
        | DaemonError::System(_) => None,
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |e| e.source());
    let mut words: Vec<String> = chain.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

fn stop(json: bool) -> Outcome {
    let stopped = match Daemon::find()? {
        Some(daemon) => {
            let status: DaemonStatus = daemon.get("/v1/daemon")?;
            let process = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
            let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let () = daemon.post("/v1/daemon/stop", &serde_json::json!({}))?;
            // Gone before this returns: the next command meets no daemon that is on its way out.
            if let Some(process) = process {
                await_end(&process)?;
            }
            true
        }
        None => false,
    };
    if json {
        print_json(&serde_json::json!({ "stopped": stopped }))?;
    } else {
        say(if stopped { "stopped; sessions go on" } else { "the daemon does not run" });
    }
    Ok(Status::OK)
}

fn await_end(process: &OwnedFd) -> Result<(), Failure> {
    let limit = Timespec { tv_sec: STOP_SECONDS, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
            Ok(0) => {
                return Err(Failure::new(ProblemKind::Timeout, "the daemon was told to stop but still runs")
                    .hint("`sessile daemon status` shows its process id"));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Failure::system("wait for the daemon's end", &e.into())),
        }
    }
}

fn show(status: &DaemonStatus, json: bool) -> Outcome {
    if json {
        print_json(status)?;
        return Ok(Status::OK);
    }
    let rows = [
        ["version", &printable(&status.version)],
        ["pid", &status.pid.to_string()],
        ["sessions", &format!("{} ({} adopted at its start)", status.sessions, status.adopted)],
        ["key", &printable(&status.key)],
        ["socket", &printable(&status.socket)],
    ];
    print(&table(&rows.map(|r| r.map(str::to_owned).to_vec())))?;
    for notice in &status.notices {
        say(&format!("notice: {}", printable(notice)));
    }
    Ok(Status::OK)
}
