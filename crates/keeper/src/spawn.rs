//! Starting commands, and hearing of their end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use sessile_anchor::control::{Command, ControlEvent, Scope, Started, Stdio};
use sessile_anchor::link::Order;
use sessile_anchor::ring::Ring;
use sessile_model::api::Exec;
use sessile_model::ids::AppName;
use sessile_model::quantity::{ByteSize, Millis};
use sessile_model::record::RecordingState;
use sessile_model::spec::{EnvVar, WindowSize};
use sessile_model::state::Exit;
use sessile_model::wire::Event as Told;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::wipe::overwrite_file;
use sessile_session::Event;
use sessile_terminal::Commands;

use crate::agent;
use crate::bringup::failed;
use crate::facts::{StreamFacts, TaskFacts};
use crate::keeper::Keeper;
use crate::plan;
use crate::saved_screen::{self, SavedScreen};
use crate::screen::ScreenModel;
use crate::shell;
use crate::task::{Output, Streams, Task};

/// Output kept per terminal or pipe when nothing else is asked for.
const DEFAULT_RING: u64 = 1 << 20;
/// Least and most output kept.
const RING_BOUNDS: (u64, u64) = (4096, 256 << 20);
/// Commands at once, running or with a result; the oldest collected result gives way.
const MAX_TASKS: usize = 64;
/// Sandboxes at once.
const MAX_APPS: usize = 32;
/// How long output is held back for a client that said it would attach.
const HOLD: Millis = Millis(10_000);

/// Said of a command's end when the kernel had to free memory in its session.
pub(crate) const MEMORY_CAP: &str =
    "the session's memory cap was reached: the kernel killed what ran over it";

/// A command about to start.
struct Launch<'a> {
    name: AppName,
    app: AppName,
    argv: &'a [String],
    env: &'a [EnvVar],
    terminal: Option<WindowSize>,
    hold: bool,
    /// Its standard input and output, where others hold their other ends.
    served: Option<[&'a OwnedFd; 2]>,
}

/// Why a program does not run inside.
fn not_inside(argv: &[String], errno: i32) -> Problem {
    let program = argv.first().map_or("", String::as_str);
    let (kind, why) = match errno {
        2 | 20 => (ProblemKind::NotFound, "there is no such program inside".to_owned()),
        13 => (ProblemKind::Denied, "it may not be run inside".to_owned()),
        errno => (ProblemKind::Failed, std::io::Error::from_raw_os_error(errno).to_string()),
    };
    Problem::new(kind, format!("{program}: {why}"))
        .hint("a session shows the host's /usr and your project; `--tools` or `--mount` shows more")
}

/// The ends of a command's streams that it is given.
enum Inner {
    Terminal(OwnedFd),
    Pipes([OwnedFd; 3]),
}

impl Inner {
    fn stdio(&self) -> Stdio<'_> {
        match self {
            Self::Terminal(slave) => Stdio::Terminal(slave.as_fd()),
            Self::Pipes([input, out, err]) => Stdio::Pipes([input.as_fd(), out.as_fd(), err.as_fd()]),
        }
    }
}

impl Keeper {
    /// Starts the main command and reports what came of it.
    pub(crate) fn start_main(&mut self) {
        let main = AppName::main();
        if self.tasks.contains_key(&main) {
            return;
        }
        // Before it: where a server cannot be started, nothing of the command is.
        if !self.start_servers() {
            return;
        }
        let Ok(facts) = self.facts() else { return };
        let (argv, terminal, hold) =
            (facts.spec.command.clone(), facts.spec.terminal, facts.spec.hold_output);
        self.proceed("start", "main");
        let launch = Launch {
            name: main.clone(),
            app: main.clone(),
            argv: &argv,
            env: &[],
            terminal,
            hold,
            served: None,
        };
        if let Err(problem) = self.start(&launch) {
            self.not_opened(problem);
        }
    }

    /// Ends a session of which something did not start.
    pub(crate) fn not_opened(&mut self, problem: Problem) {
        let cause = problem.detail.clone();
        self.open_problem = Some(problem);
        self.advance(Event::ComponentFailed { component: sessile_model::state::Component::Sandbox, cause });
    }

    /// Starts a further command, in a sandbox of its own if the app is new.
    pub(crate) fn exec(&mut self, exec: Exec) -> Result<AppName, Problem> {
        let bad = |what: &str| Problem::new(ProblemKind::BadRequest, what.to_owned());
        if exec.command.is_empty() {
            return Err(bad("no command was named").hint("put it behind `--`"));
        }
        if exec.terminal.is_some_and(|size| !size.is_valid()) {
            return Err(bad("a terminal cannot have that size"));
        }
        let app = exec.app.clone().unwrap_or_else(AppName::main);
        self.make_app(&app)?;
        if let Some(socket) = &exec.ssh_agent {
            self.forward_agent(&app, socket)?;
        }
        self.guard_variables(&exec.env)?;
        let name = self.free_name(&app)?;
        let launch = Launch {
            name: name.clone(),
            app,
            argv: &exec.command,
            env: &exec.env,
            terminal: exec.terminal,
            hold: exec.hold_output,
            served: None,
        };
        self.start(&launch)?;
        Ok(name)
    }

    /// Starts a command in a sandbox of its own; the ends of its standard input and output.
    pub(crate) fn start_served(&mut self, app: &AppName, argv: &[String]) -> Result<[OwnedFd; 2], Problem> {
        self.make_app(app)?;
        let name = self.free_name(app)?;
        let (input, sink) = pipe()?;
        let (source, output) = pipe()?;
        set_nonblocking(&sink)?;
        set_nonblocking(&source)?;
        let served = Some([&input, &output]);
        let launch = Launch {
            name: name.clone(),
            app: app.clone(),
            argv,
            env: &[],
            terminal: None,
            hold: false,
            served,
        };
        self.start(&launch)?;
        match self.tasks.get(&name).and_then(|task| task.exit.clone()) {
            Some(Exit::NotStarted { errno }) => Err(not_inside(argv, errno)),
            Some(Exit::Code { .. } | Exit::Signal { .. }) | None => Ok([sink, source]),
        }
    }

    /// Makes an app's sandbox, unless there is one.
    fn make_app(&mut self, app: &AppName) -> Result<(), Problem> {
        let fresh = self.apps.get(app).is_none_or(|app| app.gone);
        if fresh && self.apps.values().filter(|app| !app.gone).count() >= MAX_APPS {
            return Err(Problem::new(ProblemKind::Exhausted, "the session has too many apps already"));
        }
        self.make_room()?;
        if fresh {
            // What the host removed meanwhile is made again.
            self.hold_places()?;
            self.launch_app(app)?;
            if let Err(problem) = self.verify_new_app(app) {
                self.discard_app(app);
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Kills an app that must not be used.
    fn discard_app(&mut self, name: &AppName) {
        if let Some(app) = self.apps.get_mut(name) {
            // It is confined whatever else is wrong with it, and dies with the session at last.
            let _ = sessile_sandbox::processes::kill(&app.init);
            app.gone = true;
        }
    }

    /// The app's own name for its first command, `APP.N` for a further one.
    fn free_name(&self, app: &AppName) -> Result<AppName, Problem> {
        if !self.tasks.contains_key(app) {
            return Ok(app.clone());
        }
        let number = self.apps.get(app).map_or(1, |a| a.next_task);
        format!("{app}.{number}").parse().map_err(|_| {
            Problem::new(ProblemKind::BadRequest, "the app's name is too long for a further command")
        })
    }

    /// Forgets the oldest collected result when there are too many.
    fn make_room(&mut self) -> Result<(), Problem> {
        if self.tasks.len() < MAX_TASKS {
            return Ok(());
        }
        let main = AppName::main();
        let oldest = self
            .tasks
            .values()
            .filter(|t| t.exit.is_some() && t.name != main && !self.unreported.contains(&t.name))
            .filter(|t| !self.clients.values().any(|c| c.attachments.values().any(|a| a.task == t.name)))
            .min_by_key(|t| (!t.collected, t.exited_at))
            .map(|t| t.name.clone());
        let Some(oldest) = oldest else {
            return Err(Problem::new(ProblemKind::Exhausted, "too many commands run in this session"));
        };
        self.forget_task(&oldest);
        Ok(())
    }

    /// Overwrites a task's output and lets go of its descriptors.
    pub(crate) fn forget_task(&mut self, name: &AppName) {
        let Some(task) = self.tasks.remove(name) else { return };
        for output in [Some(task.output()), task.error_output()].into_iter().flatten() {
            let _ = self.seat.link.unpump(output.io);
            output.ring.overwrite();
            for part in ["source", "sink", "ring", saved_screen::PART] {
                let _ = self.seat.link.remove(&format!("io/{}/{part}", output.io));
            }
        }
        if let Streams::Terminal { saved, .. } = &task.streams
            && let Some(file) = saved.fd()
        {
            // The session goes on; its end looks at what the anchor still holds.
            let _ = overwrite_file(file);
        }
        if let Some(facts) = &mut self.facts {
            facts.tasks.retain(|t| t.name != *name);
        }
        self.changed = true;
    }

    fn start(&mut self, launch: &Launch<'_>) -> Result<(), Problem> {
        let missing = || Problem::new(ProblemKind::Conflict, format!("the app {} is gone", launch.app));
        let facts = self.facts.as_mut().ok_or_else(missing)?;
        let ring_size = ring_size(facts.spec.output_ring);
        let first_io = facts.next_io;
        facts.next_io += 2;
        let variables = self.variables();
        let facts = self.facts()?;
        let capture = self.apps.get(&launch.app).and_then(|app| app.capture);
        let terminal = launch.terminal.is_some();
        let mut env = plan::environment(&facts.spec, &variables, launch.env, terminal, capture);
        if self.has_agent(&launch.app) {
            env.retain(|variable| !variable.starts_with("SSH_AUTH_SOCK="));
            env.push(agent::VARIABLE.to_owned());
        }
        let cwd = plan::working_folder(&facts.spec);
        let argv = if terminal { shell::started(launch.argv) } else { launch.argv.to_vec() };
        let command = Command { argv: &argv, env: &env, cwd: &cwd };
        let number = self.apps.get(&launch.app).ok_or_else(missing)?.next_task;

        let (streams, inner, stream_facts) = match launch.terminal.map(|size| self.first_size(size)) {
            Some(size) => {
                let (master, slave) = self.open_terminal(&launch.app, size)?;
                let [output] = self.pump([(first_io, &master)], ring_size, &master)?;
                let screen = Box::new(ScreenModel::new(size, 0));
                let streams = Streams::Terminal { master, output, screen, saved: SavedScreen::default() };
                (streams, Inner::Terminal(slave), StreamFacts::Terminal { io: first_io, size })
            }
            None => {
                let (mut input, sink) = pipe()?;
                let (source, mut out) = pipe()?;
                let (error_source, err) = pipe()?;
                set_nonblocking(&sink)?;
                if let Some([served_input, served_out]) = launch.served {
                    // The pipes of before have nobody at their other ends: nothing is typed, nothing is put out.
                    input = cloned(served_input)?;
                    out = cloned(served_out)?;
                }
                let sources = [(first_io, &source), (first_io + 1, &error_source)];
                let [output, error_output] = self.pump(sources, ring_size, &sink)?;
                if launch.hold {
                    output.ring.set_floor(Some(0));
                    error_output.ring.set_floor(Some(0));
                    self.hold_until.insert(launch.name.clone(), self.now.plus(HOLD));
                }
                let stdin = Some(sink).filter(|_| launch.served.is_none());
                if stdin.is_none() {
                    let _ = self.seat.link.remove(&format!("io/{first_io}/sink"));
                }
                let streams = Streams::Pipes { stdin, out: output, err: error_output };
                let facts = StreamFacts::Pipes { out: first_io, err: first_io + 1 };
                (streams, Inner::Pipes([input, out, err]), facts)
            }
        };
        let wanted = self.wanted_recording(&launch.name);
        // Before it starts: not a byte of it goes unrecorded.
        let recorder = wanted.map(|what| self.begin_recording(&launch.name, what, &streams)).transpose()?;
        let mut noted = TaskFacts {
            note: None,
            name: launch.name.clone(),
            app: launch.app.clone(),
            number,
            argv: launch.argv.to_vec(),
            inner_pid: None,
            exit: None,
            exited_at: None,
            collected: false,
            streams: stream_facts,
            commands: Commands::default(),
        };
        self.note_task(noted.clone());
        // Before it starts: a successor asks init whether it did, and never starts it twice.
        self.write_checkpoint();
        let outcome = match self.apps.get_mut(&launch.app) {
            Some(app) => app
                .control
                .start(number, &command, inner.stdio())
                .map_err(|e| failed("the command could not be handed over", &e)),
            None => Err(missing()),
        };
        self.proceed("start", "noted");
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(problem) => {
                if let Some(facts) = &mut self.facts {
                    facts.tasks.retain(|task| task.name != launch.name);
                }
                self.changed = true;
                return Err(problem);
            }
        };
        if let Some(app) = self.apps.get_mut(&launch.app) {
            app.next_task = number + 1;
        }
        (noted.inner_pid, noted.exit) = match outcome {
            Started::Pid(pid) => (Some(pid), None),
            Started::NotStarted { errno } => (None, Some(Exit::NotStarted { errno })),
        };
        noted.exited_at = noted.exit.as_ref().map(|_| self.now);
        let task = Task {
            note: None,
            name: launch.name.clone(),
            app: launch.app.clone(),
            number,
            argv: launch.argv.to_vec(),
            pid: noted.inner_pid.and_then(|inner| self.outer_pid(&launch.app, inner)),
            inner_pid: noted.inner_pid,
            exited_at: noted.exited_at,
            exit: noted.exit.clone(),
            streams,
            pending: Default::default(),
            collected: false,
            recorder,
            queries: Default::default(),
            typist: None,
            takers: Vec::new(),
            fed_at: self.now,
            promised: None,
        };
        self.note_task(noted);
        self.tasks.insert(launch.name.clone(), task);
        self.unreported.insert(launch.name.clone());
        self.changed = true;
        self.advance(Event::AppStarted { app: launch.name.clone() });
        if let Some(what) = wanted {
            self.recording_is(&launch.name, what, RecordingState::Running);
        }
        Ok(())
    }

    /// Notes a task and its number for a successor.
    fn note_task(&mut self, noted: TaskFacts) {
        let Some(facts) = &mut self.facts else { return };
        if let Some(app) = facts.apps.iter_mut().find(|app| app.name == noted.app) {
            app.next_task = noted.number + 1;
        }
        facts.tasks.retain(|task| task.name != noted.name);
        facts.tasks.push(noted);
    }

    /// A new terminal of an app: its master and its slave.
    fn open_terminal(&self, app: &AppName, size: WindowSize) -> Result<(OwnedFd, OwnedFd), Problem> {
        let missing = || Problem::new(ProblemKind::Conflict, format!("the app {app} is gone"));
        let ptmx = &self.apps.get(app).ok_or_else(missing)?.ptmx;
        let path = format!("/proc/self/fd/{}", ptmx.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let error = |e: rustix::io::Errno| failed("a terminal for the command", &e);
        let master = rustix::fs::open(path, flags, Mode::empty()).map_err(error)?;
        unlockpt(&master).map_err(error)?;
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, peer).map_err(error)?;
        let winsize = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, winsize).map_err(error)?;
        Ok((master, slave))
    }

    /// Has the anchor pump each source into a new ring, and keep the sink of the first. The numbers
    /// are those of the sources.
    fn pump<const N: usize>(
        &self,
        sources: [(u32, &OwnedFd); N],
        size: u64,
        sink: &OwnedFd,
    ) -> Result<[Output; N], Problem> {
        let mut outputs = Vec::with_capacity(N);
        let mut files = Vec::with_capacity(N);
        let mut names = Vec::with_capacity(N);
        for (io, _) in sources {
            let (ring, file) = Ring::create(size).map_err(|e| failed("memory for the output", &e))?;
            outputs.push(Output::new(io, ring));
            files.push(file);
            names.push(["source", "ring", "sink"].map(|part| format!("io/{io}/{part}")));
        }
        let mut orders = Vec::with_capacity(3 * N + 1);
        for (((id, fd), file), [source, ring, _]) in sources.into_iter().zip(&files).zip(&names) {
            orders.push(Order::Put { name: source, fd: fd.as_fd() });
            orders.push(Order::Put { name: ring, fd: file.as_fd() });
            orders.push(Order::Pump { id, source, ring, notify: "notify" });
        }
        if let Some([_, _, name]) = names.first() {
            orders.push(Order::Put { name, fd: sink.as_fd() });
        }
        self.carry_out_all(&orders)?;
        // As many as there are sources.
        outputs.try_into().map_err(|_| Problem::new(ProblemKind::Internal, "an output without a ring"))
    }

    /// The host's process id of a process inside.
    pub(crate) fn outer_pid(&self, app: &AppName, inner: u32) -> Option<u32> {
        sessile_sandbox::processes::outer_pid(self.apps.get(app)?.pid, inner)
    }

    /// Sends a running task's process group a signal.
    pub(crate) fn signal(&mut self, app: &AppName, number: u32, signal: i32) -> Result<(), Problem> {
        if self.session()?.state() != sessile_model::State::Active {
            return Err(Problem::new(ProblemKind::Conflict, "the session is not active"));
        }
        let Some(app) = self.apps.get_mut(app) else { return Ok(()) };
        app.control.signal(number, signal, Scope::Group).map_err(|e| failed("the signal", &e))
    }

    /// Takes what an app's init told.
    pub(crate) fn hear_app(&mut self, name: &AppName) {
        loop {
            let Some(app) = self.apps.get_mut(name) else { return };
            match app.control.try_event() {
                Ok(Some(ControlEvent::Exited { task, status })) => self.task_exited(name, task, status),
                Ok(None) => return,
                Ok(Some(ControlEvent::Gone)) | Err(_) => {
                    app.gone = true;
                    self.app_gone(name);
                    return;
                }
            }
        }
    }

    /// Takes the events of inits that arrived while something else was waited for.
    pub(crate) fn hear_queued(&mut self) {
        let names: Vec<AppName> =
            self.apps.iter().filter(|(_, app)| app.control.has_queued()).map(|(n, _)| n.clone()).collect();
        for name in names {
            self.hear_app(&name);
        }
    }

    pub(crate) fn task_exited(&mut self, app: &AppName, number: u32, status: i32) {
        let now = self.now;
        let kills = self.cgroup.as_ref().map_or(0, Cgroup::memory_kills);
        let known = self.facts.as_ref().map_or(0, |facts| facts.memory_kills);
        let task = self.tasks.values_mut().find(|t| t.app == *app && t.number == number);
        let Some(task) = task.filter(|t| t.exit.is_none()) else { return };
        task.note = (kills > known).then(|| MEMORY_CAP.to_owned());
        task.exit = Some(Exit::from_wait_status(status));
        task.exited_at = Some(now);
        task.pid = None;
        let (name, exit, note) = (task.name.clone(), task.exit.clone(), task.note.clone());
        if let Some(facts) = &mut self.facts {
            facts.memory_kills = kills.max(facts.memory_kills);
            if let Some(known) = facts.tasks.iter_mut().find(|t| t.name == name) {
                known.exit = exit;
                known.exited_at = Some(now);
                known.note = note.clone();
            }
        }
        for client in self.clients.values_mut().filter(|_| note.is_some()) {
            let channels: Vec<u16> = client
                .attachments
                .iter()
                .filter(|(_, a)| a.task == name)
                .map(|(&channel, _)| channel)
                .collect();
            for channel in channels {
                client.tell(channel, &Told::Notice { text: MEMORY_CAP.to_owned() });
            }
        }
        self.changed = true;
        self.heed_server_end(app);
    }

    /// An app's init is gone: so are its commands.
    fn app_gone(&mut self, name: &AppName) {
        let running: Vec<u32> =
            self.tasks.values().filter(|t| t.app == *name && t.exit.is_none()).map(|t| t.number).collect();
        for number in running {
            // Killed, as `wait(2)` would have told it.
            self.task_exited(name, number, 9);
        }
        let main_is_up = self.machine.as_ref().is_some_and(|m| m.outcome().is_none());
        if main_is_up && *name == AppName::main() {
            let cause = "the main app's first process died".to_owned();
            self.advance(Event::ComponentFailed {
                component: sessile_model::state::Component::Sandbox,
                cause,
            });
        }
    }

    /// Tells the machine of ends whose last output has reached everyone who watches.
    pub(crate) fn report_exits(&mut self) {
        let names: Vec<AppName> = self.unreported.iter().cloned().collect();
        for name in names {
            let Some(task) = self.tasks.get(&name) else {
                self.unreported.remove(&name);
                continue;
            };
            let Some(exit) = task.exit.clone().filter(|_| task.is_drained(self.now)) else { continue };
            // Who typed what ended it asks next how that went.
            let held = self.hold_until.contains_key(&name)
                || task.promised_until() > Some(self.now)
                || self
                    .clients
                    .values()
                    .flat_map(|c| c.attachments.values())
                    .any(|a| a.task == name && crate::output::holds_end(a, task, self.now));
            if held {
                continue;
            }
            self.unreported.remove(&name);
            self.advance(Event::AppExited { app: name, exit });
        }
    }
}

/// A power of two within bounds that is no smaller than what was asked for.
fn ring_size(asked: Option<ByteSize>) -> u64 {
    let asked = asked.map_or(DEFAULT_RING, |size| size.0);
    asked.clamp(RING_BOUNDS.0, RING_BOUNDS.1).next_power_of_two()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Problem> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("a pipe for the command", &e))
}

fn cloned(fd: &OwnedFd) -> Result<OwnedFd, Problem> {
    fd.try_clone().map_err(|e| failed("a pipe for the command", &e))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Problem> {
    fcntl_getfl(fd)
        .and_then(|flags| fcntl_setfl(fd, flags | OFlags::NONBLOCK))
        .map_err(|e| failed("a pipe for the command", &e))
}
