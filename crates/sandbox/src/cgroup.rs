//! A session's control groups: limits, freezing, killing, and what was used.
//!
//! One group per session, `sessile-<uuid>`, in version 2 for freezing and killing and, where its
//! controllers are there, for limits; controllers that the host still has in version 1 get a
//! group each, only when a limit needs them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use sessile_model::SessionId;
use sessile_model::spec::Limits;
use thiserror::Error;

mod delegation;
mod layout;

pub use delegation::Asker;
pub use layout::{Controller, Layout};

/// Longest time to wait for a group to freeze or to become empty.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a group could not be made or used.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// A limit was asked for that nothing here can enforce.
    #[error("the {limit} limit cannot be enforced: {why}")]
    CannotEnforce {
        /// Which limit.
        limit: &'static str,
        /// Why not.
        why: String,
        /// What a person can do about it.
        mend: String,
    },
    /// The system refused an operation.
    #[error("{} of control group {}", .doing, .path.display())]
    System {
        /// What was being done.
        doing: &'static str,
        /// The group's folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The processes did not stop, or did not end, in time.
    #[error("the processes of control group {} did not {} in time", .path.display(), .what)]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// The group's folder.
        path: PathBuf,
    },
}

/// What a session's processes used so far, where the host counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of memory, its share of storage included.
    pub memory: Option<u64>,
    /// Processor time in milliseconds.
    pub cpu_ms: Option<u64>,
}

/// A session's groups.
#[derive(Debug)]
pub struct Cgroup {
    unified: Option<(PathBuf, OwnedFd)>,
    /// Groups of version 1, by controller.
    single: Vec<(Controller, PathBuf)>,
}

impl Cgroup {
    /// Makes a session's groups and sets its limits. `None` when there is no place for groups and
    /// no limit needs one. A limit on processes needs none: `RLIMIT_NPROC` holds it per app.
    ///
    /// # Errors
    /// When a limit that was asked for cannot be enforced. Nothing is left behind.
    pub fn create(id: SessionId, limits: &Limits) -> Result<Option<Self>, CgroupError> {
        Self::create_in(&Layout::detect(), id, limits)
    }

    fn create_in(layout: &Layout, id: SessionId, limits: &Limits) -> Result<Option<Self>, CgroupError> {
        let name = name_of(id);
        let wanted = settings(limits);
        let mut place = layout.unified.iter().find(|p| is_writable(p));
        let needed: Vec<Controller> = wanted.iter().map(|w| w.controller).collect();
        if let Some(able) = layout.unified.iter().find(|p| is_writable(p) && offers(p, &needed)) {
            place = Some(able);
        }
        let mut group = Self { unified: None, single: Vec::new() };
        if let Some(place) = place {
            group.unified = make_unified(place, &name);
        }
        for setting in &wanted {
            if let Err(error) = group.enforce(layout, &name, setting) {
                let _ = group.remove();
                return Err(error);
            }
        }
        Ok((group.unified.is_some() || !group.single.is_empty()).then_some(group))
    }

    /// Finds a session's groups again. `None` when there are none.
    pub fn reopen(id: SessionId) -> Option<Self> {
        let layout = Layout::detect();
        let name = name_of(id);
        let unified = layout.unified.iter().map(|p| p.join(&name)).find(|p| p.is_dir());
        let unified = unified.and_then(|path| open_folder(&path).ok().map(|fd| (path, fd)));
        let single: Vec<(Controller, PathBuf)> = layout
            .single
            .iter()
            .map(|(controller, place)| (*controller, place.join(&name)))
            .filter(|(_, path)| path.is_dir())
            .collect();
        (unified.is_some() || !single.is_empty()).then_some(Self { unified, single })
    }

    /// The version 2 group's folder, for starting a process right inside it.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|(_, fd)| fd.as_fd())
    }

    /// Whether the host counts and limits this resource for the session.
    pub fn controls(&self, controller: Controller) -> bool {
        self.single.iter().any(|(c, _)| *c == controller)
            || self.unified.as_ref().is_some_and(|(path, _)| path.join(controller.max_file()).exists())
    }

    /// Moves the calling process into the groups of version 1.
    pub(crate) fn join_version_1(&self) -> Result<(), Errno> {
        for (_, path) in &self.single {
            crate::space::write_proc(path.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Stops all processes and waits until they stand still. `false` when these groups cannot.
    ///
    /// # Errors
    /// When the system refuses or they do not stop in time.
    pub fn freeze(&self) -> Result<bool, CgroupError> {
        self.set_frozen(true)
    }

    /// Lets all processes go on. `false` when these groups cannot.
    ///
    /// # Errors
    /// When the system refuses or they do not go on in time.
    pub fn thaw(&self) -> Result<bool, CgroupError> {
        self.set_frozen(false)
    }

    /// Whether all processes stand still, or are about to.
    pub fn is_frozen(&self) -> bool {
        let asked = |(path, _): &(PathBuf, OwnedFd)| fs::read_to_string(path.join("cgroup.freeze"));
        self.unified.as_ref().is_some_and(|group| asked(group).is_ok_and(|text| text.trim() == "1"))
    }

    fn set_frozen(&self, frozen: bool) -> Result<bool, CgroupError> {
        let Some((path, _)) = &self.unified else { return Ok(false) };
        let file = path.join("cgroup.freeze");
        if !file.exists() {
            return Ok(false);
        }
        let text = if frozen { "1" } else { "0" };
        fs::write(file, text).map_err(|e| system("freezing", path, e))?;
        let line = if frozen { "frozen 1" } else { "frozen 0" };
        let what = if frozen { "stop" } else { "go on" };
        wait_for_event(path, line, what)?;
        Ok(true)
    }

    /// Kills all processes and waits until none is left. Returns how many there were.
    ///
    /// # Errors
    /// When the system refuses or they do not end in time.
    pub fn kill(&self) -> Result<usize, CgroupError> {
        let path = match (&self.unified, self.single.first()) {
            (Some((path, _)), _) | (None, Some((_, path))) => path,
            (None, None) => return Ok(0),
        };
        let count = members(path).map_err(|e| system("listing", path, e))?.len();
        let deadline = Instant::now() + PATIENCE;
        if fs::write(path.join("cgroup.kill"), "1").is_ok() {
            wait_for_event(path, "populated 0", "end")?;
            return Ok(count);
        }
        loop {
            let left = members(path).map_err(|e| system("listing", path, e))?;
            if left.is_empty() {
                return Ok(count);
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            if Instant::now() > deadline {
                return Err(CgroupError::TooSlow { what: "end", path: path.clone() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the session used so far.
    pub fn usage(&self) -> Usage {
        let number = |path: PathBuf| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
        let mut usage = Usage::default();
        for (controller, path) in &self.single {
            if *controller == Controller::Memory {
                usage.memory = number(path.join("memory.usage_in_bytes"));
            }
        }
        if let Some((path, _)) = &self.unified {
            usage.memory = usage.memory.or_else(|| number(path.join("memory.current")));
            usage.cpu_ms = fs::read_to_string(path.join("cpu.stat")).ok().and_then(|text| {
                let micros = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
                micros.trim().parse::<u64>().ok().map(|m| m / 1000)
            });
        }
        usage
    }

    /// How many processes the kernel has killed because the memory cap was reached.
    pub fn memory_kills(&self) -> u64 {
        let single = self.single.iter().filter(|(controller, _)| *controller == Controller::Memory);
        let files = single.map(|(_, path)| path.join("memory.oom_control"));
        let unified = self.unified.iter().map(|(path, _)| path.join("memory.events"));
        let kills = |path: PathBuf| -> Option<u64> {
            let text = fs::read_to_string(path).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
        };
        files.chain(unified).filter_map(kills).sum()
    }

    /// Removes the groups. Waits for processes that were killed to be gone.
    ///
    /// # Errors
    /// When a group stays in use.
    pub fn remove(&mut self) -> Result<(), CgroupError> {
        let all = self.unified.iter().map(|(p, _)| p).chain(self.single.iter().map(|(_, p)| p));
        let deadline = Instant::now() + PATIENCE;
        for path in all {
            loop {
                match fs::remove_dir(path) {
                    Ok(()) => break,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                    Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(e) => return Err(system("removal", path, e)),
                }
            }
        }
        self.unified = None;
        self.single.clear();
        Ok(())
    }

    /// Enforces one limit, in version 2 when its group has the controller, else in version 1.
    fn enforce(&mut self, layout: &Layout, name: &str, setting: &Setting) -> Result<(), CgroupError> {
        if let Some((path, _)) = &self.unified {
            let (file, value) = &setting.unified;
            if fs::write(path.join(file), value).is_ok() {
                if setting.controller == Controller::Memory {
                    // Absent when the kernel does not count swap.
                    let _ = fs::write(path.join("memory.swap.max"), "0");
                }
                return Ok(());
            }
        }
        let place = layout.single.iter().find(|(c, _)| *c == setting.controller);
        let made = place.and_then(|(controller, place)| {
            let path = place.join(name);
            make_folder(&path).ok()?;
            self.single.push((*controller, path.clone()));
            fs::write(path.join(setting.single.0), &setting.single.1).ok()?;
            if setting.controller == Controller::Memory {
                let _ = fs::write(path.join("memory.memsw.limit_in_bytes"), &setting.single.1);
            }
            Some(())
        });
        match (made, setting.controller) {
            (Some(()), _) | (None, Controller::Pids) => Ok(()),
            (None, controller @ (Controller::Memory | Controller::Cpu)) => Err(cannot(layout, controller)),
        }
    }
}

/// One limit as both versions write it.
struct Setting {
    controller: Controller,
    unified: (&'static str, String),
    single: (&'static str, String),
}

fn settings(limits: &Limits) -> Vec<Setting> {
    /// The time over which processor time is shared out, in microseconds.
    const PERIOD_US: u64 = 100_000;
    let mut all = Vec::new();
    if let Some(bytes) = limits.memory {
        let text = bytes.0.to_string();
        all.push(Setting {
            controller: Controller::Memory,
            unified: ("memory.max", text.clone()),
            single: ("memory.limit_in_bytes", text),
        });
    }
    if let Some(percent) = limits.cpu_percent {
        // The kernel takes no less than a millisecond.
        let quota = (u64::from(percent) * PERIOD_US / 100).max(1000);
        all.push(Setting {
            controller: Controller::Cpu,
            unified: ("cpu.max", format!("{quota} {PERIOD_US}")),
            single: ("cpu.cfs_quota_us", quota.to_string()),
        });
    }
    if let Some(pids) = limits.pids {
        all.push(Setting {
            controller: Controller::Pids,
            unified: ("pids.max", pids.to_string()),
            single: ("pids.max", pids.to_string()),
        });
    }
    all
}

fn name_of(id: SessionId) -> String {
    format!("sessile-{id}")
}

fn system(doing: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::System { doing, path: path.to_owned(), source }
}

fn cannot(layout: &Layout, controller: Controller) -> CgroupError {
    let limit = controller.name();
    let asker = Asker::here();
    let why = if layout.unified.is_empty() && layout.single.is_empty() {
        "this system has no control groups".to_owned()
    } else if asker.root {
        format!("the {limit} controller is not available here")
    } else {
        format!("the {limit} controller is not delegated to this user")
    };
    let mend = asker.mend(layout, limit);
    CgroupError::CannotEnforce { limit, why, mend }
}

fn is_writable(place: &Path) -> bool {
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may(place) && may(&place.join("cgroup.procs"))
}

/// Whether children of a group get these controllers, enabling them where that is possible.
fn offers(place: &Path, needed: &[Controller]) -> bool {
    let control = place.join("cgroup.subtree_control");
    let has = |controller: &Controller| {
        fs::read_to_string(&control).is_ok_and(|text| text.split_whitespace().any(|c| c == controller.name()))
    };
    needed.iter().all(|controller| {
        has(controller) || {
            let _ = fs::write(&control, format!("+{}", controller.name()));
            has(controller)
        }
    })
}

fn make_unified(place: &Path, name: &str) -> Option<(PathBuf, OwnedFd)> {
    let path = place.join(name);
    make_folder(&path).ok()?;
    match open_folder(&path) {
        Ok(fd) => Some((path, fd)),
        Err(_) => {
            let _ = fs::remove_dir(&path);
            None
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

fn members(path: &Path) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(path.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|l| l.parse().ok().and_then(Pid::from_raw)).collect())
}

/// Waits until `cgroup.events` has a line; the kernel wakes its readers when it changes.
fn wait_for_event(path: &Path, line: &str, what: &'static str) -> Result<(), CgroupError> {
    let read = |e: io::Error| system("watching", path, e);
    let events = path.join("cgroup.events");
    let file = fs::File::open(&events).map_err(read)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = {
            use std::os::unix::fs::FileExt;
            let mut buffer = [0u8; 256];
            let length = file.read_at(&mut buffer, 0).map_err(read)?;
            String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
        };
        if text.lines().any(|l| l == line) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CgroupError::TooSlow { what, path: path.to_owned() });
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(read(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests;
