//! The steps of bring-up and the probes, carried out.

use std::error::Error;
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use sessile_anchor::control::Control;
use sessile_anchor::link::{LinkError, Order};
use sessile_model::ids::AppName;
use sessile_model::property::{Property, PropertyStatus};
use sessile_model::spec::{EnvVar, Limits};
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::app::{AppPlan, LaunchError, launch};
use sessile_sandbox::capture::{Capture, Rules, Watch};
use sessile_sandbox::cgroup::{Cgroup, CgroupError};
use sessile_sandbox::probe::{self, HostFacts, ProbeInputs};
use sessile_sandbox::space::{self, Space, SpacePlan};
use sessile_sandbox::wipe::overwrite_tree;
use sessile_session::BringupStep;
use sessile_vault::keys::RootKey;
use sessile_vault::secret::SecretMemory;
use zeroize::Zeroize;

use crate::app::App;
use crate::facts::AppFacts;
use crate::keeper::Keeper;
use crate::plan;

/// Bytes that the pipe holds which the pumps ring.
pub(crate) const BELL: usize = 4096;
/// How long a new sandbox may take to say that it is confined.
const READY: Duration = Duration::from_secs(10);
/// Where in the session's runtime folder its storage is mounted, for itself alone.
pub(crate) const STORAGE: &str = "storage";

/// What became of a step of bring-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is carried out.
    Done,
    /// It goes on by itself; whoever hears of its end tells the machine.
    Underway,
}

/// A failure with all its causes in one sentence.
pub(crate) fn failed(what: &str, error: &(dyn Error + 'static)) -> Problem {
    let text = format!("{what}: {}", causes(error));
    if sessile_journal::file::is_disk_full(error) {
        Problem::new(ProblemKind::Exhausted, text).hint("a disk or a limit is full: free some space")
    } else {
        Problem::new(ProblemKind::Failed, text)
    }
}

pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn unsupported(what: impl Display, hint: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Unsupported, what.to_string()).hint(hint)
}

impl Keeper {
    /// Carries out one step. A step that was carried out before is left as it is.
    pub(crate) fn bring_up(&mut self, step: BringupStep) -> Result<Begun, Problem> {
        if !self.proceed("bringup", &step.to_string()) {
            return Err(Problem::new(ProblemKind::Failed, "left out for a test"));
        }
        self.look_at_anchor();
        let done = match step {
            BringupStep::Preflight => self.preflight(),
            BringupStep::JournalIntent => {
                self.log_dirty = true;
                self.sync_log();
                Ok(())
            }
            BringupStep::Cgroup => self.make_cgroup(),
            BringupStep::Keys => self.make_keys(),
            BringupStep::Storage => self.make_storage(),
            // Apps are born into a network namespace of their own with nothing but `lo`, as the
            // probe of routing shows; the gateway is started when the first packet comes, or now,
            // where the way out takes time to find.
            BringupStep::Route => return self.raise_route(),
            BringupStep::Sandbox => {
                self.hold_places()?;
                self.proceed("places", "held");
                self.launch_app(&AppName::main())
            }
        };
        done.map(|()| Begun::Done)
    }

    /// Releases what a step left half made. Everything a step makes is in place only when it is
    /// whole, so what is left is what the wipe releases anyway.
    pub(crate) fn undo(&mut self, step: BringupStep) {
        match step {
            BringupStep::Preflight
            | BringupStep::JournalIntent
            | BringupStep::Cgroup
            | BringupStep::Keys
            | BringupStep::Storage
            | BringupStep::Sandbox => {}
            BringupStep::Route => self.cut_gateway(),
        }
    }

    /// Hands a descriptor to the anchor under a name.
    pub(crate) fn keep(&self, name: &str, fd: &impl AsFd) -> Result<(), LinkError> {
        self.seat.link.put(name, fd)
    }

    /// Hands several descriptors to the anchor and waits for it once.
    pub(crate) fn keep_all(&self, entries: &[(&str, BorrowedFd<'_>)]) -> Result<(), Problem> {
        let orders: Vec<_> = entries.iter().map(|&(name, fd)| Order::Put { name, fd }).collect();
        self.carry_out_all(&orders)
    }

    /// Has the anchor carry out several operations and waits for it once.
    pub(crate) fn carry_out_all(&self, orders: &[Order<'_>]) -> Result<(), Problem> {
        self.seat.link.carry_out(orders).map_err(|e| failed("the anchor", &e))
    }

    fn preflight(&self) -> Result<(), Problem> {
        let spec = &self.facts()?.spec;
        if let Some(project) = &spec.project {
            match std::fs::metadata(&project.path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    let what = format!("the project {} is not a folder", project.path);
                    return Err(Problem::new(ProblemKind::BadRequest, what));
                }
                Err(error) => {
                    let what = format!("the project {} cannot be opened: {error}", project.path);
                    return Err(Problem::new(ProblemKind::NotFound, what));
                }
            }
        }
        Ok(())
    }

    fn make_cgroup(&mut self) -> Result<(), Problem> {
        // What a predecessor left half made has no limits yet; nothing runs in it.
        if let Some(mut half) = self.cgroup.take() {
            half.remove().map_err(|e| failed("the control group", &e))?;
        }
        let limits = self.facts()?.spec.limits;
        self.cgroup = Cgroup::create(self.seat.id, &limits).map_err(|error| match error {
            CgroupError::CannotEnforce { .. } => unsupported(
                causes(&error),
                "open it without that limit, or see `sessile doctor` for what would allow it",
            ),
            CgroupError::System { .. } | CgroupError::TooSlow { .. } => failed("the control group", &error),
        })?;
        Ok(())
    }

    pub(crate) fn make_keys(&mut self) -> Result<(), Problem> {
        if self.root_key.is_some() {
            return Ok(());
        }
        let key = RootKey::generate().map_err(|e| failed("the session's root key", &e))?;
        self.keep("secret", &key).map_err(|e| failed("the anchor", &e))?;
        self.root_key = Some(key);
        Ok(())
    }

    /// Puts the caller's variables into secret memory, where a successor finds them.
    pub(crate) fn remember_environment(&mut self, variables: &[EnvVar]) -> Result<(), Problem> {
        if variables.is_empty() {
            return Ok(());
        }
        let mut json = serde_json::to_vec(variables).map_err(|e| failed("the environment", &e))?;
        let outcome = SecretMemory::create(json.len()).map(|mut memory| {
            memory.expose_mut().copy_from_slice(&json);
            memory
        });
        json.zeroize();
        let memory = outcome.map_err(|e| failed("secret memory for the environment", &e))?;
        self.keep("environment", &memory).map_err(|e| failed("the anchor", &e))?;
        self.environment = Some(memory);
        Ok(())
    }

    /// The caller's variables.
    pub(crate) fn variables(&self) -> Vec<EnvVar> {
        let parse = |memory: &SecretMemory| serde_json::from_slice(memory.expose()).ok();
        self.environment.as_ref().and_then(parse).unwrap_or_default()
    }

    fn make_storage(&mut self) -> Result<(), Problem> {
        // What a predecessor left may hold half a project's copy.
        if let Some(half) = self.space.take() {
            overwrite_tree(half.storage.as_fd()).map_err(|e| failed("session storage", &e))?;
        }
        let facts = self.facts()?;
        let plan = self.space_plan(&facts.spec.limits, facts.subordinate_base);
        let ahead = self.ahead.take().filter(|ahead| ahead.serves(&plan));
        let (space, notify) = match ahead {
            Some(ahead) => {
                self.app_ahead = ahead.app;
                (ahead.space, ahead.notify)
            }
            None => self.make_space(&plan)?,
        };
        if let Some(facts) = &mut self.facts {
            facts.storage_noswap = space.storage_noswap;
        }
        self.notify = Some(notify);
        self.space = Some(space);
        self.copy_project()
    }

    /// What the session's space is made from.
    pub(crate) fn space_plan(&self, limits: &Limits, subordinate_base: Option<u32>) -> SpacePlan {
        SpacePlan {
            mount_point: self.seat.runtime.join(STORAGE),
            storage_bytes: limits.storage.unwrap_or(Limits::DEFAULT_STORAGE).0,
            storage_inodes: limits.storage_inodes.unwrap_or(Limits::DEFAULT_STORAGE_INODES),
            subordinate_base,
        }
    }

    /// Makes namespaces and storage, and what wakes the session's observers.
    pub(crate) fn make_space(&self, plan: &SpacePlan) -> Result<(Space, OwnedFd), Problem> {
        match std::fs::create_dir(&plan.mount_point) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed("the folder for session storage", &error));
            }
            Ok(()) | Err(_) => {}
        }
        let space = space::create(plan).map_err(|error| match error {
            space::SpaceError::NamespacesRefused(_) => {
                unsupported(causes(&error), "`sessile doctor` shows the setting that allows user namespaces")
            }
            space::SpaceError::Storage(_)
            | space::SpaceError::IdMap(_)
            | space::SpaceError::Mount { .. }
            | space::SpaceError::Assembly(_) => failed("session storage", &error),
        })?;
        let notify = bell().map_err(|e| failed("the notification descriptor", &e))?;
        self.keep_all(&[
            ("userns", space.userns.as_fd()),
            ("mntns", space.mntns.as_fd()),
            ("storage", space.storage.as_fd()),
            ("notify", notify.as_fd()),
        ])?;
        Ok((space, notify))
    }

    /// Makes a sandbox of this name, confined and listening; nothing of the user's runs in it.
    pub(crate) fn launch_app(&mut self, name: &AppName) -> Result<(), Problem> {
        if self.apps.get(name).is_some_and(|app| !app.gone) {
            return Ok(());
        }
        let missing = || Problem::new(ProblemKind::Internal, "a sandbox without storage or keys");
        // For the first app or for none.
        let ahead = std::mem::take(&mut self.app_ahead);
        let space = self.space.as_ref().ok_or_else(missing)?;
        let key = self.root_key.as_ref().ok_or_else(missing)?;
        let spec = &self.facts.as_ref().ok_or_else(missing)?.spec;
        let filter = sessile_sandbox::seccomp::program();
        let launched = launch(
            space,
            &AppPlan {
                name: name.clone(),
                identity: plan::identity(key),
                project: self.project_mount(spec),
                mounts: plan::mounts(spec),
                extra_etc: self.certificates()?.into_iter().chain(crate::shell::files()).collect(),
                network: self.network(),
                ahead: &ahead,
                max_processes: spec.limits.pids.unwrap_or(Limits::DEFAULT_PIDS),
                cgroup: self.cgroup.as_ref(),
                image: self.seat.image.as_fd(),
                anchor: self.seat.anchor.as_fd(),
                seccomp: &filter,
            },
        )
        .map_err(launch_problem)?;
        let parts = [
            ("init", launched.init.as_fd()),
            ("control", launched.control.as_fd()),
            ("ptmx", launched.ptmx.as_fd()),
            ("netns", launched.netns.as_fd()),
        ];
        let listeners = launched.listeners.iter().flat_map(|l| {
            let fds = [&l.tcp[0], &l.tcp[1], &l.dns[0], &l.dns[1]].map(AsFd::as_fd);
            crate::route::LISTENERS.into_iter().zip(fds)
        });
        let parts: Vec<_> =
            parts.into_iter().chain(listeners).map(|(part, fd)| (format!("app/{name}/{part}"), fd)).collect();
        let parts: Vec<_> = parts.iter().map(|(name, fd)| (name.as_str(), *fd)).collect();
        self.keep_all(&parts)?;
        let mut control = Control::from_fd(launched.control);
        control.wait_ready(READY).map_err(|e| failed("the sandbox's first process", &e))?;
        self.apps.insert(
            name.clone(),
            App {
                pid: launched.pid,
                init: launched.init,
                control,
                ptmx: launched.ptmx,
                netns: Some(launched.netns),
                listeners: launched.listeners,
                capture: launched.capture,
                watch: launched.watch,
                next_task: 1,
                gone: false,
                landlock_abi: launched.landlock_abi,
                evidence: String::new(),
                host: None,
                faults: None,
            },
        );
        if let Some(facts) = &mut self.facts {
            facts.apps.retain(|app| app.name != *name);
            facts.apps.push(AppFacts {
                name: name.clone(),
                pid: launched.pid,
                next_task: 1,
                landlock_abi: launched.landlock_abi,
                explicit: launched.capture == Some(Capture::Explicit),
            });
        }
        self.changed = true;
        self.offer_agent(name)?;
        self.open_door(name)?;
        self.order_app(name)
    }

    /// Probes one property: in full the first time, then what can change.
    pub(crate) fn probe(&mut self, property: Property) -> PropertyStatus {
        let known = self.machine.as_ref().map(|m| m.properties().of(property).clone());
        let names: Vec<AppName> =
            self.apps.iter().filter(|(_, app)| !app.gone).map(|(name, _)| name.clone()).collect();
        let mut merged: Option<PropertyStatus> = None;
        for name in names {
            let status = match &known {
                Some(status) if status.holds => self.look_again(&name, property, status),
                Some(_) | None => self.look_into(&name, property),
            };
            if !status.holds {
                return status;
            }
            merged.get_or_insert(status);
        }
        merged.unwrap_or_else(|| broken("there is no sandbox to look into".to_owned()))
    }

    /// Probes an app that joined an active session: it must be as good as the first.
    pub(crate) fn verify_new_app(&mut self, name: &AppName) -> Result<(), Problem> {
        for property in Property::ALL {
            let accepted = self.session()?.properties().of(property).weaker_because.clone();
            let status = self.look_into(name, property);
            if !status.holds || status.weaker_because.iter().any(|why| !accepted.contains(why)) {
                let why = status.evidence.into_iter().chain(status.weaker_because).next();
                let detail = format!("the new app's {property} does not hold: {}", why.unwrap_or_default());
                return Err(Problem::new(ProblemKind::Failed, detail));
            }
        }
        Ok(())
    }

    /// The cheap look: what was found in full stays true unless this says otherwise.
    fn look_again(&mut self, name: &AppName, property: Property, known: &PropertyStatus) -> PropertyStatus {
        let Some(app) = self.apps.get(name) else { return known.clone() };
        let (pid, has_rules) = (app.pid, app.capture == Some(Capture::Transparent));
        let looked = app.faults.as_ref().filter(|(at, _)| *at == self.now);
        let faults = match looked.map_or_else(|| probe::quick(pid), |(_, faults)| Ok(faults.clone())) {
            Ok(faults) => faults,
            Err(error) => return broken(format!("{name} cannot be looked at: {error}")),
        };
        if let Some((_, why)) = faults.iter().find(|(at_fault, _)| *at_fault == property) {
            return broken(format!("{name}: {why}"));
        }
        if let Some(app) = self.apps.get_mut(name) {
            app.faults = Some((self.now, faults));
        }
        if property != Property::Routing || !has_rules {
            return known.clone();
        }
        match self.look_at_rules(name) {
            Some(rules) if rules.are_complete() => known.clone(),
            Some(_) | None => broken(format!("{name}: its network's rules were changed from outside")),
        }
    }

    /// What answers of the rules in an app's network namespace.
    fn look_at_rules(&mut self, name: &AppName) -> Option<Rules> {
        let (app, space) = (self.apps.get_mut(name)?, self.space.as_ref()?);
        if app.watch.is_none() {
            app.watch = Some(Watch::begin(space, app.netns.as_ref()?.as_fd()).ok()?);
        }
        app.watch.as_mut()?.look().ok()
    }

    /// The whole look, from inside and outside.
    fn look_into(&mut self, name: &AppName, property: Property) -> PropertyStatus {
        let incomplete = || broken("the session is incomplete".to_owned());
        let Some(app) = self.apps.get_mut(name) else { return incomplete() };
        if app.host.is_none() {
            let pid = app.pid;
            let (evidence, host) = app.control.probe_while(|| HostFacts::gather(pid));
            match evidence {
                Ok(text) => app.evidence = text,
                Err(error) => return broken(format!("{name} cannot be looked into: {error}")),
            }
            match host {
                Ok(host) => app.host = Some(host),
                Err(error) => return broken(format!("{name} cannot be looked at: {error}")),
            }
        }
        let transparent = app.capture == Some(Capture::Transparent);
        let wanted = property == Property::Routing && transparent;
        let rules = if wanted { self.look_at_rules(name) } else { None };
        let (Some(app), Some(space), Some(key), Some(facts)) =
            (self.apps.get(name), &self.space, &self.root_key, &self.facts)
        else {
            return incomplete();
        };
        let Some(host) = &app.host else { return incomplete() };
        let storage_device = rustix::fs::fstat(&space.storage).map_or(0, |stat| stat.st_dev);
        let inputs = ProbeInputs {
            evidence: &app.evidence,
            host,
            identity: &plan::identity(key),
            capture: app.capture,
            rules,
            landlock_abi: app.landlock_abi,
            storage_device,
            storage_noswap: space.storage_noswap,
            grants: &plan::granted_paths(&facts.spec),
        };
        let mut status = probe::verify(property, &inputs);
        if property == Property::Identity {
            status.evidence.extend(crate::route::sight(&facts.spec.network));
        }
        if property == Property::Routing {
            status.weaker_because.extend(crate::route::weakness(&facts.spec.network));
        }
        status
    }
}

/// What the pumps ring: a pipe's both ends as one descriptor, as small as there are. Who writes to a pipe is about
/// to sleep, as the kernel takes it, and who waits there is woken at once and beside it; by an eventfd,
/// which does as well, a processor that sleeps is often woken first.
fn bell() -> rustix::io::Result<OwnedFd> {
    let pipe = || {
        let (ear, _) = pipe_with(PipeFlags::CLOEXEC)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let both = open(format!("/proc/self/fd/{}", ear.as_raw_fd()), flags, Mode::empty())?;
        fcntl_setpipe_size(&both, BELL)?;
        Ok(both)
    };
    pipe().or_else(|_: Errno| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))
}

fn broken(why: String) -> PropertyStatus {
    PropertyStatus { holds: false, evidence: vec![why], weaker_because: Vec::new() }
}

fn launch_problem(error: LaunchError) -> Problem {
    let text = causes(&error);
    // What a launch writes, it writes into the session's storage.
    if sessile_journal::file::is_disk_full(&error) {
        return Problem::new(ProblemKind::Exhausted, format!("the session's storage is full: {text}"))
            .hint("remove something inside, or open a session with a larger --storage");
    }
    match error {
        LaunchError::ForbiddenTarget { .. } => {
            Problem::new(ProblemKind::BadRequest, text).hint("choose another path inside: SRC:DST")
        }
        LaunchError::Source { .. } => Problem::new(ProblemKind::NotFound, text),
        LaunchError::ProjectNotMappable { .. } => unsupported(
            text,
            "`--project DIR:copy` works on a copy and brings changes back with `sessile apply`",
        ),
        LaunchError::Begin(_) | LaunchError::Step { .. } | LaunchError::Lost { .. } => {
            Problem::new(ProblemKind::Failed, format!("the sandbox: {text}"))
        }
    }
}
