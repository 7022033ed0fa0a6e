//! The contenders: programs that hold a terminal while nobody looks at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::window::Window;
use crate::bench::house::House;
use crate::bench::processes;
use crate::{command, setup};

/// How long shpool is given to start a terminal, and to notice that its client is gone.
const SETTLING: Duration = Duration::from_millis(500);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing in between: the program itself on the window's terminal.
    Raw,
    /// Ours, with its sandbox.
    Sessile,
    /// GNU screen.
    Screen,
    /// tmux.
    Tmux,
    /// dtach, which keeps no screen.
    Dtach,
    /// shpool.
    Shpool,
}

impl Kind {
    /// Whether it is another's program: the table does without it when it fails.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Raw | Self::Sessile)
    }
}

/// One contender in folders of its own.
pub struct Multiplexer<'a> {
    /// Which program it is.
    pub kind: Kind,
    house: &'a House,
    folder: PathBuf,
    daemon: Option<Child>,
}

impl<'a> Multiplexer<'a> {
    /// Ours, after none, and every one of these peers that is installed.
    ///
    /// # Errors
    /// When a folder cannot be made or a daemon does not start.
    pub fn all(house: &'a House, peers: &[Kind]) -> Result<Vec<Self>> {
        let mut all = vec![Self::of(Kind::Raw, house)?, Self::of(Kind::Sessile, house)?];
        for (kind, program) in [(Kind::Screen, "screen"), (Kind::Tmux, "tmux"), (Kind::Dtach, "dtach")] {
            if peers.contains(&kind) && command::find(program).is_some() {
                all.push(Self::of(kind, house)?);
            }
        }
        if peers.contains(&Kind::Shpool) && setup::shpool().exists() {
            all.push(Self::of(Kind::Shpool, house)?.with_daemon()?);
        }
        Ok(all)
    }

    fn of(kind: Kind, house: &'a House) -> Result<Self> {
        let folder = house.peers().join(format!("{kind:?}").to_lowercase());
        fs::create_dir_all(&folder)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&folder, mode)?;
        Ok(Self { kind, house, folder, daemon: None })
    }

    fn with_daemon(mut self) -> Result<Self> {
        let socket = self.folder.join("socket");
        let mut daemon = self.command("shpool");
        daemon.arg("--socket").arg(&socket).arg("daemon").stdin(Stdio::null());
        self.daemon = Some(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            ensure!(Instant::now() < deadline, "shpool's daemon does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self)
    }

    /// What the table calls it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Raw => "raw pty",
            Kind::Sessile => "sessile",
            Kind::Screen => "screen",
            Kind::Tmux => "tmux",
            Kind::Dtach => "dtach",
            Kind::Shpool => "shpool",
        }
    }

    /// The folder that programs in it may write to.
    pub fn project(&self) -> PathBuf {
        self.house.project()
    }

    /// Starts a shell's script in a terminal that nobody looks at. Nothing for none at all.
    ///
    /// # Errors
    /// When that fails.
    pub fn start(&self, name: &str, script: &str) -> Result<()> {
        let run = match self.kind {
            Kind::Raw => return Ok(()),
            Kind::Sessile => {
                self.house.read(&[
                    "run", "--detach", "--route", "none", "--name", name, "--", "sh", "-c", script,
                ])?;
                return Ok(());
            }
            Kind::Screen => {
                let mut run = self.command("screen");
                run.args(["-c", "/dev/null", "-h", "1000", "-d", "-m", "-S", name, "sh", "-c", script]);
                run
            }
            Kind::Tmux => {
                let mut run = self.tmux();
                run.args(["new-session", "-d", "-x", "80", "-y", "24", "-s", name, "sh", "-c", script]);
                run
            }
            Kind::Dtach => {
                let mut run = self.command("dtach");
                run.arg("-n").arg(self.folder.join(name)).args(["-E", "-z", "sh", "-c", script]);
                run
            }
            Kind::Shpool => {
                let path = self.folder.join(format!("{name}.sh"));
                fs::write(&path, script)?;
                // Only a client can start one.
                let mut attach = self.shpool();
                attach.arg("attach").arg("--cmd").arg(format!("sh {}", path.display())).arg(name);
                return self.start_by_client(&attach, name);
            }
        };
        let mut run = run;
        command::read(run.current_dir(self.project()).stdin(Stdio::null())).map(drop)
    }

    /// The client that returns to it; for none, the script itself.
    pub fn attach(&self, name: &str, script: &str) -> Command {
        match self.kind {
            Kind::Raw => {
                let mut shell = Command::new("sh");
                // By its home its processes are told from others.
                shell.args(["-c", script]).current_dir(self.project()).env("HOME", &self.folder);
                shell
            }
            Kind::Sessile => self.house.sessile(&["attach", name]),
            Kind::Screen => {
                let mut attach = self.command("screen");
                attach.args(["-c", "/dev/null", "-d", "-r", name]);
                attach
            }
            Kind::Tmux => {
                let mut attach = self.tmux();
                attach.args(["attach-session", "-t", name]);
                attach
            }
            Kind::Dtach => {
                let mut attach = self.command("dtach");
                attach.arg("-a").arg(self.folder.join(name)).args(["-E", "-z", "-r", "none"]);
                attach
            }
            Kind::Shpool => {
                let mut attach = self.shpool();
                attach.args(["attach", "--force", name]);
                attach
            }
        }
    }

    /// The client of one of ours that has pipes in place of a terminal.
    pub fn with_pipes(&self, script: &str) -> Command {
        self.house.sessile(&["run", "--route", "none", "--", "sh", "-c", script])
    }

    /// Bytes of memory that all processes of its terminals hold, what runs in them too, and those of
    /// them that are our own processes'.
    ///
    /// # Errors
    /// When a process does not let its memory be read.
    pub fn held(&self) -> Result<(u64, u64)> {
        match self.kind {
            Kind::Sessile => {
                let held = processes::held(&self.house.runtime())?;
                Ok((held.ours_bytes + held.apps_bytes, held.ours_bytes))
            }
            Kind::Raw | Kind::Screen | Kind::Tmux | Kind::Dtach | Kind::Shpool => {
                Ok((processes::held_at(&self.folder)?, 0))
            }
        }
    }

    /// Ends every terminal it holds.
    pub fn end_all(&self) {
        let quiet = |mut command: Command| {
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        match self.kind {
            Kind::Raw => {}
            Kind::Sessile => quiet(self.house.sessile(&["end", "--all", "--grace", "0s"])),
            Kind::Tmux => {
                let mut kill = self.tmux();
                kill.arg("kill-server");
                quiet(kill);
            }
            Kind::Screen | Kind::Dtach => self.servers().into_iter().for_each(signal_end),
            Kind::Shpool => {
                for name in self.listed() {
                    let mut kill = self.shpool();
                    kill.args(["kill", &name]);
                    quiet(kill);
                }
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let lasts = || match self.kind {
            Kind::Screen | Kind::Tmux | Kind::Dtach => !self.servers().is_empty(),
            Kind::Shpool => !self.listed().is_empty(),
            Kind::Raw | Kind::Sessile => false,
        };
        while lasts() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The terminals that shpool lists.
    fn listed(&self) -> Vec<String> {
        let listed = command::read(self.shpool().arg("list")).unwrap_or_default();
        let names = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        names.map(str::to_owned).collect()
    }

    /// The processes that hold its terminals; neither clients nor what runs in them.
    pub fn servers(&self) -> Vec<u32> {
        let place = self.folder.to_string_lossy().into_owned();
        let is_server = |arguments: &[String], environment: &str| match self.kind {
            Kind::Raw => false,
            Kind::Sessile => {
                let runtime = self.house.runtime().to_string_lossy().into_owned();
                arguments.contains(&runtime)
            }
            Kind::Screen => arguments.first().is_some_and(|a| a == "SCREEN") && environment.contains(&place),
            Kind::Tmux => {
                let mut words = arguments.iter();
                words.next().is_some_and(|a| a.contains("tmux"))
                    && words.any(|word| word == "new-session")
                    && environment.contains(&place)
            }
            Kind::Dtach => {
                arguments.first().is_some_and(|a| a.contains("dtach"))
                    && arguments.iter().any(|word| word == "-n")
                    && environment.contains(&place)
            }
            Kind::Shpool => arguments.iter().any(|word| word == "daemon") && environment.contains(&place),
        };
        processes::having(is_server)
    }

    /// Starts one of shpool's and leaves it. One that was killed a moment ago can take its successor
    /// with it, so that has to be looked at.
    fn start_by_client(&self, attach: &Command, name: &str) -> Result<()> {
        for _ in 0..5 {
            let window = Window::open(attach)?;
            std::thread::sleep(SETTLING);
            drop(window);
            std::thread::sleep(SETTLING);
            if self.listed().iter().any(|listed| listed == name) {
                return Ok(());
            }
        }
        bail!("shpool keeps no terminal named {name}")
    }

    fn tmux(&self) -> Command {
        let mut tmux = self.command("tmux");
        tmux.args(["-f", "/dev/null"]).arg("-S").arg(self.folder.join("socket"));
        tmux
    }

    fn shpool(&self) -> Command {
        let mut shpool = self.command("shpool");
        shpool.arg("--socket").arg(self.folder.join("socket"));
        shpool
    }

    /// A peer's program; its environment names the folder of this contender.
    fn command(&self, program: &str) -> Command {
        let path = if program == "shpool" { setup::shpool() } else { Path::new(program).to_owned() };
        let mut command = Command::new(path);
        command.env("SCREENDIR", &self.folder).env("TERM", "xterm-256color").env_remove("TMUX");
        command.env("XDG_RUNTIME_DIR", &self.folder).env("HOME", &self.folder);
        command.current_dir(self.project());
        command
    }
}

impl Drop for Multiplexer<'_> {
    fn drop(&mut self) {
        self.end_all();
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn signal_end(pid: u32) {
    let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
}
