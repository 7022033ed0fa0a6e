//! A session full of plants whose keeper stops at chosen steps of the wipe, and what can be seen
//! of it then.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use sessile_model::receipt::WipeStep;
use sessile_sandbox::wipe::{Hit, ScrubError, scan};

use super::plants::{Finding, Home, Patterns};
use super::processes::{self, Process};
use super::{Running, World, skip};

/// The session's name.
pub const NAME: &str = "planted";
/// What an anchor's and a keeper's descriptors may still be when the wipe is done.
const HARMLESS: [&str; 8] = [
    "/dev/null",
    "socket:",
    "anon_inode:",
    "pipe:",
    "/memfd:sessile-anchor",
    "/memfd:sessile-keeper",
    "keeper-debug.log",
    "/log",
];

/// Where a keeper stops.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Before a step of the wipe.
    Before(WipeStep),
    /// When it has let go of everything, before its process ends.
    Gone,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(step) => write!(f, "wipe.{}", step.as_str()),
            Self::Gone => f.write_str("finish.gone"),
        }
    }
}

/// The session.
pub struct Rehearsal<'w> {
    world: &'w World,
    /// Its id.
    pub id: String,
    patterns: Patterns,
    daemon: Running,
    anchor: Process,
    keeper: Process,
    /// Everything of its apps, inits among them.
    apps: Vec<Process>,
    inits: Vec<Process>,
    /// Devices of memfds and of its storage.
    devices: Vec<u64>,
    end: Option<Running>,
}

impl<'w> Rehearsal<'w> {
    /// Starts a daemon whose keepers stop before `stops` and leave `skips` out, opens a session
    /// and plants.
    #[track_caller]
    pub fn new(world: &'w World, stops: &[Stop], skips: &[WipeStep]) -> Self {
        let mut orders: Vec<String> = stops.iter().map(|stop| format!("stop={stop}")).collect();
        orders.extend(skips.iter().map(|step| format!("skip=wipe.{}", step.as_str())));
        // Also without orders: what keepers say is then kept in the state folder, and looked at.
        orders.push("rehearsal".to_owned());
        let mut command = world.command(&["daemon", "run"]);
        command.env("SESSILE_DEBUG", orders.join(",")).stdin(Stdio::null());
        let daemon = Running::start(command);
        let socket = world.runtime().join("daemon.sock");
        processes::eventually("the daemon listens", || socket.exists().then_some(()));

        let patterns = Patterns::new();
        world.write("plant.py", include_str!("../canary/plant.py"));
        world.write("plants", &patterns.masked());
        let mut environment = String::from_utf8(patterns.reveal("environment")).unwrap();
        environment.insert_str(0, "PLANT=");
        let file = world.write("environment", &environment);
        let text = |plant: &str| String::from_utf8(patterns.reveal(plant)).unwrap();
        let label = format!("plant={}", text("label"));
        let run = ["run", "--detach", "--name", NAME, "--env-file", "environment", "--label", &label];
        let python = ["--", "python3", "-I", "-S", "plant.py", &text("argument")];
        let roles = ["--protocol", "@conversation", "--role", "User=operator", "--role", "Agent=app:main"];
        world.must(&[&run[..], &roles, &python].concat());
        fs::remove_file(file).unwrap();
        let id = world.show(NAME)["id"].as_str().unwrap().to_owned();
        world.must(&["wait", NAME, "--pattern", "all planted", "--timeout", "30s"]);

        let part = |name: &str| Process::of(processes::part(world, name, &id).unwrap()).unwrap();
        let (anchor, keeper) = (part("anchor"), part("keeper"));
        let of_apps = |process: &Process| *process != anchor && *process != keeper;
        let apps: Vec<Process> = processes::tree(anchor.pid).into_iter().filter(of_apps).collect();
        assert!(apps.len() >= 3, "no init, planter and ticker: {apps:?}");
        let parents = processes::all();
        let is_init = |app: &&Process| parents.get(&app.pid) == Some(&anchor.pid);
        let inits = apps.iter().filter(is_init).copied().collect();
        let mut rehearsal = Self {
            world,
            id,
            patterns,
            daemon,
            anchor,
            keeper,
            apps,
            inits,
            devices: vec![scan::memory_device().unwrap()],
            end: None,
        };
        let storage = rehearsal.storage(keeper).expect("the keeper holds the storage");
        rehearsal.devices.push(storage.metadata().unwrap().dev());
        rehearsal.use_it();
        rehearsal
    }

    /// Types, reads and looks, so that patterns also pass through the clients, the daemon and the
    /// keeper.
    #[track_caller]
    fn use_it(&self) {
        let mut typed = self.patterns.reveal("typed");
        typed.extend(b"\nall typed\n");
        self.world.sessile_with_input(&["type", NAME, "-"], &typed).succeeded();
        self.world.must(&["wait", NAME, "--pattern", "all typed", "--timeout", "30s"]);
        let holds = |text: &str, plant: &str| {
            let pattern = String::from_utf8(self.patterns.reveal(plant)).unwrap();
            text.contains(&pattern)
        };
        let send = ["send", NAME, "--as", "User", "Agent", "prompt", "-"];
        self.world.sessile_with_input(&send, &self.patterns.reveal("line")).succeeded();
        let output = self.world.must(&["output", NAME, "--raw"]);
        assert!(holds(&output, "terminal") && holds(&output, "typed"), "{output}");
        let screen = self.world.must(&["screen", NAME]).replace('\n', "");
        assert!(holds(&screen, "typed"), "{screen}");
        let piped = self.world.must(&["exec", NAME, "--", "cat", "/home/user/piped"]);
        assert!(holds(&piped, "piped"), "{piped}");
    }

    /// Has the session end, without waiting for it.
    pub fn begin_end(&mut self) {
        self.end = Some(self.world.start(&["end", NAME, "--grace", "0s"], Stdio::null()));
    }

    /// Waits until the keeper has stopped itself.
    #[track_caller]
    pub fn reach(&self, stop: Stop) {
        processes::eventually(&format!("the keeper stops before {stop}"), || {
            assert!(self.keeper.runs(), "the keeper has ended");
            self.has_stopped().then_some(())
        });
    }

    fn has_stopped(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.keeper.pid))
            .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")))
    }

    /// Lets the keeper go on.
    pub fn go_on(&self) {
        processes::signal(self.keeper.pid, Signal::CONT);
    }

    /// Lets the session end, past every stop that is still to come.
    #[track_caller]
    pub fn finish_end(&mut self) {
        let end = self.end.take().unwrap();
        for pid in [end.pid(), self.keeper.pid] {
            processes::eventually("the session ends", || {
                if self.has_stopped() {
                    self.go_on();
                }
                processes::wait_for_end(pid, Duration::from_millis(10)).then_some(())
            });
        }
        drop(end.finish());
        for process in [self.keeper, self.anchor] {
            assert!(processes::wait_for_end(process.pid, super::TIME_LIMIT), "{}", process.line());
        }
    }

    /// Stops the daemon, so that the next rehearsal can have its own.
    pub fn close(self) {
        self.world.must(&["daemon", "stop"]);
        drop(self.daemon.finish());
    }

    /// Checks that the search sees every plant while the session runs.
    #[track_caller]
    pub fn sees_every_plant(&self) {
        let mut found = self.apps();
        found.extend(self.on_storage());
        found.extend(self.patterns.find(Home::Ring, |canary| {
            allowed(scan::scan_open_files(number(self.anchor), &self.devices[..1], canary))
        }));
        found.extend(self.in_programs());
        self.patterns.all_are_in(&found);
    }

    /// First checkpoint: the apps are at rest, and nothing is in their memory and open files.
    pub fn apps(&self) -> Vec<Finding> {
        let before: Vec<_> = self.apps.iter().map(|app| switches(*app)).collect();
        let mut found = Vec::new();
        for &app in &self.apps {
            found.extend(
                self.patterns.find(Home::Memory, |canary| allowed(scan::scan_process(number(app), canary))),
            );
            found.extend(self.patterns.find(Home::OpenFile, |canary| {
                allowed(scan::scan_open_files(number(app), &self.devices, canary))
            }));
        }
        // A search takes much longer than the ticker sleeps. An init runs no code of the app's, and
        // may run where no control group freezes it.
        for (&app, before) in self.apps.iter().zip(before) {
            if !app.runs() {
                found.push(Finding::trace("an app that is gone", app.pid.to_string()));
            } else if !self.inits.contains(&app) && switches(app) != before {
                found.push(Finding::trace("an app that is not frozen", app.line()));
            }
        }
        found
    }

    /// After the kill: no app runs.
    pub fn processes(&self) -> Vec<Finding> {
        let left = self.apps.iter().filter(|app| app.runs());
        left.map(|app| Finding::trace("an app", app.line())).collect()
    }

    /// Second checkpoint: no app runs, nothing of an app is held, nothing is on the storage.
    pub fn storage_at_rest(&self) -> Vec<Finding> {
        let mut found = self.processes();
        found.extend(self.on_storage());
        let held = links(self.anchor).into_iter().filter(|link| link.starts_with("net:["));
        found.extend(held.map(|link| Finding::trace("an app's namespace", link)));
        found
    }

    fn on_storage(&self) -> Vec<Finding> {
        let holders = [self.keeper, self.anchor];
        let Some(root) = holders.into_iter().find_map(|holder| self.storage(holder)) else {
            return Vec::new();
        };
        self.patterns.find(Home::Storage, |canary| searched(scan::scan_tree(root.as_fd(), canary)))
    }

    fn storage(&self, holder: Process) -> Option<File> {
        storage_of(self.world, &self.id, holder)
    }

    /// In the memory and open files of the daemon, the keeper and the anchor.
    fn in_programs(&self) -> Vec<Finding> {
        let daemon = Process::of(self.daemon_pid());
        self.in_memory_of([daemon, Some(self.keeper), Some(self.anchor)].into_iter().flatten())
    }

    fn in_memory_of(&self, holders: impl IntoIterator<Item = Process>) -> Vec<Finding> {
        let mut found = Vec::new();
        for holder in holders {
            found.extend(self.patterns.find(Home::Elsewhere, |canary| {
                let mut hits = allowed(scan::scan_process(number(holder), canary));
                hits.extend(allowed(scan::scan_open_files(number(holder), &self.devices, canary)));
                hits
            }));
        }
        found
    }

    /// In any file of ours and in shared memory.
    fn in_files(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let folders =
            ["state", "run", "home", "project", "config"].map(|part| self.world.folder().join(part));
        for folder in folders.iter().map(|folder| &**folder).chain([Path::new("/dev/shm")]) {
            found.extend(self.patterns.find(Home::Elsewhere, |canary| {
                searched(settled(|| scan::scan_tree(File::open(folder)?.as_fd(), canary)))
            }));
        }
        found
    }

    /// Checks that the search of files sees one that should not be there.
    #[track_caller]
    pub fn sees_a_stray_file(&self) {
        for folder in [self.world.state(), "/dev/shm".into()] {
            let stray = tempfile::NamedTempFile::new_in(folder).unwrap();
            fs::write(stray.path(), self.patterns.reveal("heap")).unwrap();
            assert!(!self.in_files().is_empty(), "{} is not seen", stray.path().display());
        }
    }

    /// Third checkpoint, before the keeper and the anchor go: nothing of the apps is in their
    /// memory, and they hold nothing. The keeper still has the record.
    pub fn keeper_and_anchor(&self) -> Vec<Finding> {
        let mut found = self.on_storage();
        found.extend(self.in_memory_of([self.keeper, self.anchor]));
        found.retain(|finding| !finding.is_of_the_record());
        for link in links(self.anchor) {
            if !HARMLESS.iter().any(|part| link.contains(part)) {
                found.push(Finding::trace("a descriptor of the anchor", link));
            }
        }
        found.extend(self.traces());
        found
    }

    /// The same checkpoint when the keeper's process is all that is left of it.
    pub fn keeper_at_its_end(&self) -> Vec<Finding> {
        self.in_memory_of([self.keeper])
    }

    /// The same checkpoint after they have gone: nothing is in the daemon's memory, in any file of
    /// ours or in shared memory.
    pub fn after_the_end(&self) -> Vec<Finding> {
        let daemon = Process::of(self.daemon_pid()).expect("the daemon runs");
        let mut found = self.in_memory_of([daemon]);
        found.extend(self.in_files());
        found.extend(self.traces());
        for process in self.apps.iter().chain([&self.keeper, &self.anchor]).filter(|p| p.runs()) {
            found.push(Finding::trace("a process", process.line()));
        }
        found
    }

    fn daemon_pid(&self) -> u32 {
        u32::try_from(self.world.json(&["daemon", "status", "--json"])["pid"].as_u64().unwrap()).unwrap()
    }

    /// The session's folder, mounts and control groups.
    fn traces(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.world.runtime().join("sessions").join(&self.id).exists() {
            found.push(Finding::trace("the runtime folder", String::new()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|line| line.contains(&self.id));
        found.extend(ours.map(|line| Finding::trace("a mount", line.to_owned())));
        let groups = super::leftovers::below(Path::new("/sys/fs/cgroup"), 6, &|name| name.contains(&self.id));
        found.extend(groups.iter().map(|path| Finding::trace("a control group", path.display().to_string())));
        found
    }
}

/// The root of a session's storage, which one of its processes holds. Opened anew each time: to hold
/// it would keep it.
pub fn storage_of(world: &World, id: &str, holder: Process) -> Option<File> {
    let folder = format!("/proc/{}/fd", holder.pid);
    let descriptors = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let storage = world.runtime().join("sessions").join(id).join("storage");
    let is_it = |path: &Path| {
        fs::read_link(path).is_ok_and(|target| target == storage || target == Path::new("/"))
            && fs::metadata(path).is_ok_and(|found| found.is_dir())
    };
    descriptors.into_iter().find(|path| is_it(path)).map(|path| File::open(path).unwrap())
}

fn number(process: Process) -> Pid {
    i32::try_from(process.pid).ok().and_then(Pid::from_raw).unwrap()
}

/// How often a process has been given the processor.
fn switches(process: Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
    let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
    counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// What a process's descriptors are.
fn links(process: Process) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
    entries.filter_map(|e| Some(fs::read_link(e.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// The hits of a process that can be looked into; none of one that has ended.
#[track_caller]
fn allowed(result: Result<Vec<Hit>, ScrubError>) -> Vec<Hit> {
    match result {
        Ok(hits) => hits,
        Err(ScrubError::Gone) => Vec::new(),
        Err(error @ ScrubError::Denied { .. }) if !rustix::process::geteuid().is_root() => {
            skip(&format!("a process is not looked into: {error}"));
            Vec::new()
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[track_caller]
fn searched(result: io::Result<Vec<Hit>>) -> Vec<Hit> {
    match result {
        Ok(hits) => hits,
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() =>
        {
            skip("a folder is not looked into");
            Vec::new()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Tries again when others' files come and go under the search.
fn settled<T>(mut search: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..20 {
        match search() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    search()
}
