//! Taking over a session from a predecessor that died: everything is with the anchor.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use rustix::termios::tcgetwinsize;
use serde::{Deserialize, Serialize};
use sessile_anchor::control::Control;
use sessile_anchor::ring::Ring;
use sessile_journal::log::{Log, OpenError};
use sessile_model::ids::AppName;
use sessile_model::spec::WindowSize;
use sessile_model::state::{Component, Exit, State};
use sessile_sandbox::capture::{Capture, Listeners};
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::processes;
use sessile_sandbox::space::Space;
use sessile_session::{Effects, Entry, Event, Session};
use sessile_vault::keys::RootKey;
use sessile_vault::secret::SecretMemory;

use crate::app::App;
use crate::bringup::{BELL, STORAGE};
use crate::channels::Conversation;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::cookies;
use crate::facts::{AppFacts, Facts, StreamFacts, TaskFacts};
use crate::guard::{GuardState, Watched};
use crate::keeper::Keeper;
use crate::ledger::InputLedger;
use crate::listening;
use crate::mcp::Servers;
use crate::queries::Queries;
use crate::route::{LISTENERS, RouteState};
use crate::saved_screen::{self, SavedScreen};
use crate::screen::ScreenModel;
use crate::task::{Output, Streams, Task};
use crate::unopened::Unopened;

/// How long an anchor that was killed may take to be gone.
const ANCHOR_END: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The checkpoint's document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    machine: Session,
    facts: Facts,
    /// Absent where a keeper of the version before wrote it.
    #[serde(default)]
    clock: Option<Clock>,
}

#[derive(Serialize)]
struct SnapshotRef<'a> {
    machine: &'a Session,
    facts: &'a Facts,
    clock: Clock,
}

/// The anchor's store by name.
type Store = BTreeMap<String, OwnedFd>;

impl Keeper {
    /// Opens the session's log, keeping what a predecessor wrote.
    pub(crate) fn open_log(&self) -> Result<Log, OpenError> {
        Ok(Log::open::<Entry>(&self.seat.state)?.log)
    }

    /// Writes the machine and the facts where a successor finds them.
    pub(crate) fn write_checkpoint(&mut self) {
        if let Some(machine) = self.machine.take() {
            let written = self.put_checkpoint(&machine);
            self.machine = Some(machine);
            self.heed_checkpoint(written);
        }
    }

    /// The same with the machine as it was when it asked for this.
    pub(crate) fn write_checkpoint_of(&mut self, machine: &Session) {
        let written = self.put_checkpoint(machine);
        self.heed_checkpoint(written);
    }

    fn put_checkpoint(&mut self, machine: &Session) -> Result<(), CheckpointError> {
        match (&mut self.checkpoint, &self.facts) {
            (Some(checkpoint), Some(facts)) => {
                checkpoint.write(&SnapshotRef { machine, facts, clock: self.clock })
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    fn heed_checkpoint(&mut self, written: Result<(), CheckpointError>) {
        if written.is_err() && self.machine.as_ref().is_some_and(|m| m.outcome().is_none()) {
            let cause = "the checkpoint cannot be written".to_owned();
            self.advance(Event::ComponentFailed { component: Component::Keeper, cause });
        }
    }

    /// Takes over what the anchor holds. Without a checkpoint the session can only be wiped; with
    /// nothing at all this keeper is the first and waits to be told what to open.
    pub fn adopt(&mut self) {
        let Ok(held) = self.seat.link.list() else {
            // The anchor died at once, and everything with it.
            self.look_at_anchor();
            return;
        };
        let mut store: Store = held.into_iter().collect();
        self.route = RouteState::adopt(&mut store);
        self.guard = GuardState::adopt(&mut store);
        self.servers = Servers::adopt(&mut store);
        let log = self.seat.state.join(sessile_journal::log::FILE_NAME);
        let has_log = !matches!(log.symlink_metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound);
        if !has_log && !store.contains_key("checkpoint") {
            self.unopened = Some(Unopened::new(self.now));
            return;
        }
        let mut notices = Vec::new();
        let entries = match Log::open::<Entry>(&self.seat.state) {
            Ok(opened) => {
                notices.extend(opened.notice.filter(|_| opened.damaged));
                self.log = Some(opened.log);
                opened.entries.into_iter().map(|(_, entry)| entry).collect()
            }
            Err(error) => {
                // Without a checkpoint there is no session yet, or nothing that could be held.
                notices.extend(store.contains_key("checkpoint").then(|| self.do_without_log(&error)));
                Vec::new()
            }
        };
        if entries.is_empty() && !store.contains_key("checkpoint") {
            self.log = None;
            return;
        }
        crate::rehearsal::succeeds_another();
        let snapshot = store.remove("checkpoint").and_then(|file| Checkpoint::adopt::<Snapshot>(file).ok());
        self.ledger = store.remove("ledger").and_then(|file| InputLedger::adopt(file).ok());
        self.root_key = store.remove("secret").and_then(|file| RootKey::from_fd(file).ok());
        self.environment = store.remove("environment").and_then(|file| SecretMemory::from_fd(file).ok());
        self.notify = store.remove("notify");
        if let Some(listener) = store.remove(listening::HELD) {
            self.seat.listener = listener;
        }
        self.baseline_file = store.remove("baseline");
        self.talk.conversation = Conversation::adopt(&mut store);
        self.cookies = store.remove(cookies::NAME).and_then(|file| cookies::Kept::adopt(file).ok());
        self.cgroup = Cgroup::reopen(self.seat.id);
        match snapshot {
            Some((checkpoint, snapshot)) => {
                self.checkpoint = Some(checkpoint);
                if let Some(clock) = snapshot.clock {
                    self.clock = clock;
                    self.now = clock.now();
                }
                self.adopt_facts(&mut store, &snapshot.facts);
                self.facts = Some(snapshot.facts);
                self.adopt_ports(&mut store);
                if notices.is_empty() && entries.is_empty() && snapshot.machine.state() != State::Bringup {
                    notices.push("the log was empty or gone; what it said until then is lost".to_owned());
                }
                self.machine = Some(snapshot.machine);
                // Before anything is started here.
                self.kill_strays();
                notices.extend(self.heed_conversation());
                notices.extend(self.heed_audit());
                self.advance(Event::KeeperRestarted);
                self.adopt_recorders();
                self.catch_up();
                self.hear_of_exits();
                self.report_running();
                self.offer_agents_again();
                self.open_doors_again();
                self.heed_interception();
                self.greet_gateway();
                self.greet_relays();
                self.look_at_anchor();
            }
            None => self.recover(&mut store, &entries),
        }
        if let Some(facts) = &mut self.facts {
            notices.retain(|notice| !facts.notices.contains(notice));
            self.changed |= !notices.is_empty();
            facts.notices.append(&mut notices);
        }
    }

    /// Goes on from the log alone: what is left can only be wiped.
    fn recover(&mut self, store: &mut Store, entries: &[Entry]) {
        let mut effects = Effects::new();
        let cause = "the keeper died before its checkpoint was complete";
        let Ok(machine) = Session::recover(entries, Component::Keeper, cause, self.now, &mut effects) else {
            return;
        };
        let (claim_level, residue) = sessile_sandbox::survey::claim_level();
        let facts = Facts {
            id: self.seat.id,
            spec: Default::default(),
            subordinate_base: None,
            tor: None,
            created_at: machine.opened_at(),
            last_activity: machine.last_activity(),
            wipe_started_at: None,
            watched: Some(Watched::unknown()),
            grants: Vec::new(),
            claim_level,
            residue,
            storage_noswap: false,
            next_io: 1,
            apps: app_names(store)
                .into_iter()
                .map(|name| AppFacts { name, pid: 0, next_task: 1, landlock_abi: 0, explicit: false })
                .collect(),
            tasks: Vec::new(),
            notices: Vec::new(),
            memory_kills: 0,
            talk: Default::default(),
            guard: None,
            agents: Vec::new(),
            signature_questions: 0,
            route: Default::default(),
        };
        self.adopt_facts(store, &facts);
        self.facts = Some(facts);
        self.kill_strays();
        self.go_on_as(machine, &mut effects);
    }

    /// Kills what a predecessor was about to make and had not noted: first processes of sandboxes
    /// and what starts them. All are the anchor's children.
    fn kill_strays(&self) {
        let own = rustix::process::getpid();
        let services: Vec<u32> =
            self.route.processes().chain(self.servers.processes()).filter_map(pid_of).collect();
        let Some(anchor) = rustix::process::getppid().filter(|_| !self.anchor_is_dead) else { return };
        for pid in processes::children(anchor.as_raw_pid().unsigned_abs()) {
            let known = self.apps.values().any(|app| app.pid == pid) || services.contains(&pid);
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            if pid != own && !known {
                // One that has ended meanwhile keeps its number until the anchor has let it go.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Tells the machine of the commands that run: it may not have been told before.
    fn report_running(&mut self) {
        let running: Vec<AppName> =
            self.tasks.values().filter(|t| t.exit.is_none()).map(|t| t.name.clone()).collect();
        for app in running {
            self.advance(Event::AppStarted { app });
        }
    }

    fn adopt_facts(&mut self, store: &mut Store, facts: &Facts) {
        let parts = (store.remove("userns"), store.remove("mntns"), store.remove("storage"));
        if let (Some(userns), Some(mntns), Some(storage)) = parts {
            let mount_point = self.seat.runtime.join(STORAGE);
            self.space = Some(Space::from_parts(
                userns,
                mntns,
                storage,
                facts.storage_noswap,
                facts.subordinate_base,
                mount_point,
            ));
        }
        for app in &facts.apps {
            if let Some(adopted) = adopt_app(store, app) {
                self.apps.insert(app.name.clone(), adopted);
            }
        }
        for task in &facts.tasks {
            let Some(adopted) = adopt_task(store, task) else { continue };
            self.unreported.insert(task.name.clone());
            self.tasks.insert(task.name.clone(), adopted);
        }
    }

    /// Asks every init what ended while nobody listened. Frozen ones are asked when they thaw.
    pub(crate) fn hear_of_exits(&mut self) {
        self.unheard = self.cgroup.as_ref().is_some_and(Cgroup::is_frozen);
        let names: Vec<AppName> = self.apps.keys().cloned().collect();
        for name in &names {
            if !self.unheard {
                self.ask_of_exits(name);
            }
            let running: Vec<(AppName, u32)> = self
                .tasks
                .values()
                .filter(|t| t.app == *name && t.exit.is_none())
                .filter_map(|t| Some((t.name.clone(), t.inner_pid?)))
                .collect();
            for (task, inner) in running {
                let pid = self.outer_pid(name, inner);
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.pid = pid;
                }
            }
        }
        // What the machine was told before is told again; it knows.
        let silent: Vec<AppName> = self
            .tasks
            .values()
            .filter(|t| t.exit.is_none() && self.apps.get(&t.app).is_none_or(|app| app.gone))
            .map(|t| t.name.clone())
            .collect();
        for name in silent {
            if let Some(task) = self.tasks.get_mut(&name) {
                task.exit = Some(Exit::Signal { signal: 9 });
                task.exited_at = Some(self.now);
            }
        }
    }

    fn ask_of_exits(&mut self, name: &AppName) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Ok(tasks) = app.control.list() else {
            // One that lives and does not answer is no reason to take its commands for dead.
            app.gone = has_ended(&app.init);
            return;
        };
        for state in tasks {
            let noted = self.tasks.values_mut().find(|t| t.app == *name && t.number == state.task);
            if let Some(task) = noted {
                // A predecessor noted it before it was started.
                task.inner_pid.get_or_insert(state.pid);
            }
            if let Some(status) = state.status {
                self.task_exited(name, state.task, status);
            }
        }
        self.forget_unstarted(name);
    }

    /// Forgets commands that a predecessor noted but had not started. The main one is asked for
    /// again by the machine.
    fn forget_unstarted(&mut self, app: &AppName) {
        let unstarted: Vec<AppName> = self
            .tasks
            .values()
            .filter(|t| t.app == *app && t.inner_pid.is_none() && t.exit.is_none())
            .map(|t| t.name.clone())
            .collect();
        for name in unstarted {
            self.forget_task(&name);
        }
    }

    /// Asks the anchor's pidfd whether it died.
    pub(crate) fn look_at_anchor(&mut self) {
        if has_ended(&self.seat.anchor) {
            self.anchor_died();
        }
    }

    /// The anchor died, and its apps with it. What this keeper holds is overwritten.
    pub(crate) fn anchor_died(&mut self) {
        if std::mem::replace(&mut self.anchor_is_dead, true) {
            return;
        }
        // One that only seemed to be dead is from here on.
        self.end_anchor();
        for app in self.apps.values_mut() {
            app.gone = true;
        }
        if self.machine.is_none() {
            // There is no session here, and nobody can open one on this anchor any more.
            self.finished = true;
        }
        self.advance(Event::AnchorDied);
    }

    /// The link closed, or an answer came that nobody waits for any more: an anchor that was
    /// stopped for a while carries out what it was asked all the same.
    pub(crate) fn hear_anchor(&mut self) {
        match self.seat.link.take_late() {
            Ok(0) => {}
            Ok(_) => self.release_unowned(),
            Err(_) => self.anchor_died(),
        }
    }

    /// Lets go of streams in the anchor's store that belong to no command.
    fn release_unowned(&mut self) {
        let Ok(held) = self.seat.link.list() else { return };
        let facts = self.facts.iter().flat_map(|facts| &facts.tasks);
        let mut owned: BTreeSet<u32> = facts.flat_map(|task| task.streams.numbers()).collect();
        for task in self.tasks.values() {
            owned.extend([Some(task.output()), task.error_output()].into_iter().flatten().map(|o| o.io));
        }
        for (name, _) in held {
            let number = name.strip_prefix("io/").and_then(|rest| rest.split('/').next()?.parse().ok());
            if let Some(number) = number.filter(|number| !owned.contains(number)) {
                let _ = self.seat.link.unpump(number);
                let _ = self.seat.link.remove(&name);
            }
        }
    }

    /// Kills the anchor if it lives, and waits a moment for its end. Returns whether it has ended.
    pub(crate) fn end_anchor(&self) -> bool {
        let _ = processes::kill(&self.seat.anchor);
        ends_within(&self.seat.anchor, ANCHOR_END)
    }

    /// Takes the pumps' knocks; the rings themselves say what is new.
    pub(crate) fn silence_notify(&mut self) {
        if let Some(notify) = &self.notify {
            let mut knocks = [0u8; BELL];
            let _ = rustix::io::read(notify, &mut knocks);
        }
    }
}

fn adopt_app(store: &mut Store, facts: &AppFacts) -> Option<App> {
    let mut part = |part: &str| store.remove(&format!("app/{}/{part}", facts.name));
    let (init, control, ptmx) = (part("init")?, part("control")?, part("ptmx")?);
    let netns = part("netns");
    let listeners = match LISTENERS.map(part) {
        [Some(tcp4), Some(tcp6), Some(dns4), Some(dns6)] => {
            Some(Listeners { tcp: [tcp4, tcp6], dns: [dns4, dns6] })
        }
        _ => None,
    };
    Some(App {
        pid: Some(facts.pid).filter(|&pid| pid != 0).or_else(|| pid_of(&init)).unwrap_or(0),
        init,
        control: Control::from_fd(control),
        ptmx,
        netns,
        capture: listeners.as_ref().map(|_| match facts.explicit {
            true => Capture::Explicit,
            false => Capture::Transparent,
        }),
        watch: None,
        listeners,
        next_task: facts.next_task,
        gone: false,
        landlock_abi: facts.landlock_abi,
        evidence: String::new(),
        host: None,
        faults: None,
    })
}

fn adopt_task(store: &mut Store, facts: &TaskFacts) -> Option<Task> {
    let ring = |store: &mut Store, io: u32| {
        let file = store.remove(&format!("io/{io}/ring"))?;
        Some(Output::new(io, Ring::open(std::os::fd::AsFd::as_fd(&file)).ok()?))
    };
    let mut queries = Queries::default();
    let streams = match facts.streams {
        StreamFacts::Terminal { io, size } => {
            let output = ring(store, io)?;
            let master = store.remove(&format!("io/{io}/sink"))?;
            let (oldest, floor) = (output.ring.oldest(), output.ring.floor().unwrap_or(0));
            let file = store.remove(&format!("io/{io}/{}", saved_screen::PART));
            let (saved, snapshot) = SavedScreen::adopt(file, &output.ring);
            let mut screen = Box::new(match snapshot {
                Some(snapshot) => ScreenModel::restore(&snapshot),
                None => ScreenModel::new(size, oldest),
            });
            screen.remember(facts.commands.clone());
            // A keeper that never noted what was settled has let the ring go only up to there.
            let (settled, turns) = saved.settled().unwrap_or((floor, Vec::new()));
            queries = Queries::adopt(screen.offset(), settled, turns);
            // As large as it is now, whatever was noted.
            if let Ok(now) = tcgetwinsize(&master) {
                let now = WindowSize { cols: now.ws_col, rows: now.ws_row };
                screen.resize(if now.is_valid() { now } else { size }, screen.offset());
            }
            Streams::Terminal { master, output, screen, saved }
        }
        StreamFacts::Pipes { out, err } => Streams::Pipes {
            stdin: store.remove(&format!("io/{out}/sink")),
            out: ring(store, out)?,
            err: ring(store, err)?,
        },
    };
    Some(Task {
        name: facts.name.clone(),
        app: facts.app.clone(),
        number: facts.number,
        argv: facts.argv.clone(),
        pid: None,
        inner_pid: facts.inner_pid,
        exit: facts.exit.clone(),
        exited_at: facts.exited_at,
        note: facts.note.clone(),
        streams,
        pending: Default::default(),
        collected: facts.collected,
        recorder: None,
        queries,
        typist: None,
        takers: Vec::new(),
        fed_at: sessile_model::Timestamp::from_millis(0),
        promised: None,
    })
}

/// Whether the process of a pidfd has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    ends_within(pidfd, Timespec::default())
}

/// Whether the process of a pidfd ends within this time.
fn ends_within(pidfd: &OwnedFd, time: Timespec) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&time)), Ok(1))
}

/// The process that a pidfd refers to, while it lives.
fn pid_of(pidfd: impl AsFd) -> Option<u32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|&pid| pid != 0)
}

/// The apps whose parts are in the store.
fn app_names(store: &Store) -> Vec<AppName> {
    let inits = store.keys().filter_map(|key| key.strip_prefix("app/")?.strip_suffix("/init"));
    inits.filter_map(|name| name.parse().ok()).collect()
}
