//! A copied project's way in and back, and exports.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use sessile_model::api;
use sessile_model::record::Grant;
use sessile_model::spec::{Access, Limits, Spec};
use sessile_model::{AppName, Problem, ProblemKind};
use sessile_sandbox::app::ProjectMount;
use sessile_sandbox::files::places::{self, PlacesError};
use sessile_sandbox::files::{self, ApplyError, Baseline, CopyCap, CopyError, ExportError};
use sessile_sandbox::wipe::overwrite_file;
use sessile_session::Note;

use crate::adopt::has_ended;
use crate::bringup::{causes, failed};
use crate::keeper::Keeper;
use crate::{plan, rehearsal};

/// The copy's folder on session storage.
const COPY: &str = "project";
/// What was made in the project, in the runtime folder.
const PLACES: &str = places::NOTE;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Keeper {
    /// Copies the project onto session storage, where the specification asks for it.
    pub(crate) fn copy_project(&mut self) -> Result<(), Problem> {
        let Some(path) = copied(&self.facts()?.spec) else { return Ok(()) };
        let limits = self.facts()?.spec.limits;
        let Some(space) = &self.space else { return Ok(()) };
        let (uid, gid) = space.host_ids();
        let owner = space.subordinate_base.map(|_| (uid, gid));
        let cap = CopyCap {
            bytes: limits.storage.unwrap_or(Limits::DEFAULT_STORAGE).0,
            files: limits.storage_inodes.unwrap_or(Limits::DEFAULT_STORAGE_INODES),
        };
        let source = openat(CWD, &path, FOLDER, Mode::empty()).map_err(|e| failed("the project", &e))?;
        mkdirat(&space.storage, COPY, Mode::RWXU).map_err(|e| failed("the project's copy", &e))?;
        let destination = openat(&space.storage, COPY, FOLDER | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|e| failed("the project's copy", &e))?;
        let (_, baseline) = files::copy_in(source.as_fd(), destination.as_fd(), owner, &cap)
            .map_err(|e| Problem::new(copy_kind(&e), causes(&e)))?;
        self.remember_baseline(&baseline)
    }

    /// The project as the sandbox mounts it.
    pub(crate) fn project_mount(&self, spec: &Spec) -> Option<ProjectMount> {
        let Some(target) = copied(spec) else {
            let protected = self.facts.iter().flat_map(|facts| &facts.grants).find_map(|grant| match grant {
                Grant::Project { protected, .. } => Some(protected.clone()),
                Grant::Mount { .. }
                | Grant::Tools { .. }
                | Grant::Env { .. }
                | Grant::Export { .. }
                | Grant::Host { .. }
                | Grant::Policy { .. }
                | Grant::Credential { .. }
                | Grant::Port { .. }
                | Grant::Applied { .. }
                | Grant::Recording { .. }
                | Grant::SshAgent { .. } => None,
            });
            return plan::project_mount(spec, protected.unwrap_or_default());
        };
        let space = self.space.as_ref()?;
        Some(ProjectMount {
            source: space.mount_point.join(COPY),
            target,
            writable: true,
            protected: Vec::new(),
            from_storage: true,
        })
    }

    /// Makes the protected paths that a writable project lacks, so that all can be mounted
    /// read-only. What is protected in the end is what the record says. The locks live in the
    /// anchor; what was made is noted in the runtime folder, where the daemon finds it when both
    /// are gone.
    pub(crate) fn hold_places(&mut self) -> Result<(), Problem> {
        let Some(facts) = &self.facts else { return Ok(()) };
        if !plan::is_protected(&facts.spec) {
            return Ok(());
        }
        let Some(project) = &facts.spec.project else { return Ok(()) };
        let note = self.seat.runtime.join(PLACES);
        let places = places::hold(Path::new(&project.path), &note).map_err(|e| places_problem(&e))?;
        let names: Vec<_> = (0..places.held.len()).map(|index| format!("place/{index}")).collect();
        let locks: Vec<_> =
            names.iter().zip(&places.held).map(|(name, lock)| (name.as_str(), lock.as_fd())).collect();
        self.keep_all(&locks)?;
        for grant in self.facts.iter_mut().flat_map(|facts| &mut facts.grants) {
            if let Grant::Project { protected, .. } = grant {
                protected.clone_from(&places.protected);
            }
        }
        Ok(())
    }

    /// Removes what was made only to be protected, unless another session still holds it.
    pub(crate) fn release_places(&mut self) -> u32 {
        // By what the anchor has: a predecessor may have died before it told of them.
        for (name, _) in self.seat.link.list().unwrap_or_default() {
            if name.starts_with("place/") {
                let _ = self.seat.link.remove(&name);
            }
        }
        places::release(&self.seat.runtime.join(PLACES))
    }

    /// What a copied project changed.
    pub(crate) fn diff(&self) -> Result<api::Changes, Problem> {
        let (original, copy, baseline) = self.both_sides()?;
        files::diff(original.as_fd(), copy.as_fd(), &baseline, self.allows_hooks()?)
            .map_err(|e| Problem::new(ProblemKind::Failed, causes(&e)))
    }

    /// Writes a copied project's changes back.
    pub(crate) fn apply(&mut self, apply: &api::Apply) -> Result<api::Applied, Problem> {
        let (original, copy, mut baseline) = self.both_sides()?;
        let allow_hooks = self.allows_hooks()?;
        let mut applied = files::apply(original.as_fd(), copy.as_fd(), &mut baseline, apply, allow_hooks)
            .map_err(|e| apply_problem(&e))?;
        // Who dies here leaves a baseline that is older than the original: what was written is then
        // found to be done, and what the session makes of it later is refused as a conflict.
        let name = self.facts()?.spec.name.clone();
        if rehearsal::proceed(name.as_ref().map(|name| name.as_str()), "apply", "remember") {
            self.replace_baseline(&baseline, &mut applied);
        }
        self.grant(Grant::Applied { files: applied.files });
        Ok(applied)
    }

    fn allows_hooks(&self) -> Result<bool, Problem> {
        Ok(self.facts()?.spec.project.as_ref().is_some_and(|project| project.allow_hooks))
    }

    /// Puts another baseline in the place of the one there is, and overwrites that one.
    fn replace_baseline(&mut self, baseline: &Baseline, applied: &mut api::Applied) {
        let before = self.baseline_file.take();
        match self.remember_baseline(baseline) {
            Ok(()) => {
                if let Some(before) = before {
                    let _ = overwrite_file(before.as_fd());
                }
            }
            Err(problem) => {
                self.baseline_file = before;
                applied.skipped.push(format!(
                    "what was applied is still listed as changed, since it could not be noted ({})",
                    problem.detail
                ));
            }
        }
    }

    /// Copies something of an app's out.
    pub(crate) fn export(&mut self, export: &api::Export) -> Result<api::Exported, Problem> {
        if export.recording {
            return self.export_recording(export);
        }
        let bad = |what: &str| Problem::new(ProblemKind::BadRequest, what.to_owned());
        let destination = PathBuf::from(&export.destination);
        if !destination.is_absolute() {
            return Err(bad("the destination is not an absolute path"));
        }
        let name = export.app.clone().unwrap_or_else(AppName::main);
        if !self.apps.contains_key(&name) {
            let detail = format!("no app named {name}");
            return Err(Problem::new(ProblemKind::NotFound, detail).hint("`sessile show` lists the apps"));
        }
        let path = Path::new(plan::HOME).join(&export.path);
        let seen = self.root_of(&name);
        let (root, path) = match &seen {
            Some(root) => (root.try_clone().map_err(|e| failed("the app's files", &e))?, path),
            None => self.left_of(&name, path)?,
        };
        let exported = files::export(root.as_fd(), &path, &destination, None).map_err(|e| {
            let problem = Problem::new(export_kind(&e), causes(&e));
            match (&e, &seen) {
                (ExportError::NotFound { .. }, None) => {
                    problem.hint("the app has ended: only what it wrote can be taken out")
                }
                _ => problem,
            }
        })?;
        self.grant(Grant::Export { bytes: exported.bytes });
        Ok(exported)
    }

    /// The root folder of an app that runs, with all that it sees. It is held no longer than needed,
    /// since it keeps mounts alive.
    pub(crate) fn root_of(&self, name: &AppName) -> Option<OwnedFd> {
        let app = self.apps.get(name).filter(|app| !app.gone)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, format!("/proc/{}/root", app.pid), flags, Mode::empty()).ok()?;
        // While its process lives, its number is nobody else's.
        (!has_ended(&app.init)).then_some(root)
    }

    /// Where a path of an app that has ended lies on session storage.
    fn left_of(&self, name: &AppName, path: PathBuf) -> Result<(OwnedFd, PathBuf), Problem> {
        let gone = || Problem::new(ProblemKind::Conflict, "the session's storage is gone");
        let storage = &self.space.as_ref().ok_or_else(gone)?.storage;
        let project = copied(&self.facts()?.spec);
        let (folder, path) = match project.as_ref().and_then(|project| path.strip_prefix(project).ok()) {
            Some(rest) => (COPY.to_owned(), rest.to_owned()),
            None => (format!("apps/{name}"), path),
        };
        let root = openat(storage, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        Ok((root.map_err(|e| failed("the app's files", &e))?, path))
    }

    /// Notes that something left the session, in the record and the journal.
    pub(crate) fn grant(&mut self, grant: Grant) {
        if let Some(facts) = &mut self.facts {
            facts.grants.push(grant.clone());
        }
        self.changed = true;
        self.note(Note::Granted { grant });
    }

    fn both_sides(&self) -> Result<(OwnedFd, OwnedFd, Baseline), Problem> {
        let path = copied(&self.facts()?.spec).ok_or_else(|| {
            Problem::new(ProblemKind::Conflict, "this session does not work on a copy of a project")
                .hint("open it with --project DIR:copy")
        })?;
        let missing = || Problem::new(ProblemKind::Conflict, "the project's copy is gone");
        let storage = &self.space.as_ref().ok_or_else(missing)?.storage;
        let original = openat(CWD, &path, FOLDER, Mode::empty()).map_err(|e| match e {
            Errno::NOENT | Errno::NOTDIR => {
                let gone = format!("the project's folder {} is not there any more", path.display());
                Problem::new(ProblemKind::NotFound, gone)
                    .hint("move it back, or take files out of the copy with `sessile export`")
            }
            e => failed("the project", &e),
        })?;
        let copy = openat(storage, COPY, FOLDER | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|e| failed("the project's copy", &e))?;
        Ok((original, copy, self.baseline()?))
    }

    fn remember_baseline(&mut self, baseline: &Baseline) -> Result<(), Problem> {
        let json = serde_json::to_vec(baseline).map_err(|e| failed("the project's baseline", &e))?;
        let file = rustix::fs::memfd_create("sessile-baseline", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(|e| failed("memory for the project's baseline", &e))?;
        let mut file = std::fs::File::from(file);
        std::io::Write::write_all(&mut file, &json).map_err(|e| failed("the project's baseline", &e))?;
        let file = OwnedFd::from(file);
        self.keep("baseline", &file).map_err(|e| failed("the anchor", &e))?;
        self.baseline_file = Some(file);
        Ok(())
    }

    fn baseline(&self) -> Result<Baseline, Problem> {
        let missing = || Problem::new(ProblemKind::Conflict, "the project's baseline is gone");
        let file = self.baseline_file.as_ref().ok_or_else(missing)?;
        let size = rustix::fs::fstat(file).map_err(|_| missing())?.st_size;
        let mut json = vec![0; usize::try_from(size).map_err(|_| missing())?];
        let mut at = 0;
        while at < json.len() {
            match rustix::io::pread(file, &mut json[at..], at as u64) {
                Ok(n) if n > 0 => at += n,
                Ok(_) | Err(_) => return Err(missing()),
            }
        }
        serde_json::from_slice(&json).map_err(|e| failed("the project's baseline", &e))
    }
}

fn places_problem(error: &PlacesError) -> Problem {
    match error {
        PlacesError::Link { .. } | PlacesError::TooMany => {
            Problem::new(ProblemKind::Unsupported, causes(error))
                .hint("`--project DIR:copy` works on a copy; `--allow-hooks` leaves everything writable")
        }
        PlacesError::System { source, .. } if is_refusal(source.kind()) => {
            Problem::new(ProblemKind::Denied, format!("this project cannot be written: {}", causes(error)))
                .hint("`--project DIR:ro` reads it, `--project DIR:copy` works on a copy")
        }
        PlacesError::System { .. } => failed("a protected path", error),
    }
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn copy_kind(error: &CopyError) -> ProblemKind {
    match error {
        CopyError::TooLarge { .. } | CopyError::TooManyFiles { .. } | CopyError::Full { .. } => {
            ProblemKind::Exhausted
        }
        CopyError::Source { .. } => ProblemKind::NotFound,
        CopyError::Destination { .. } => ProblemKind::Failed,
    }
}

pub(crate) fn export_kind(error: &ExportError) -> ProblemKind {
    match error {
        ExportError::BadPath { .. }
        | ExportError::Link { .. }
        | ExportError::NotAFile { .. }
        | ExportError::BadDestination { .. } => ProblemKind::BadRequest,
        ExportError::NotFound { .. } | ExportError::NoParent { .. } => ProblemKind::NotFound,
        ExportError::Exists { .. } => ProblemKind::Conflict,
        ExportError::TooManyFiles { .. } | ExportError::Full { .. } => ProblemKind::Exhausted,
        ExportError::Source { .. } | ExportError::Destination { .. } => ProblemKind::Failed,
    }
}

fn apply_problem(error: &ApplyError) -> Problem {
    let kind = match error {
        ApplyError::NotChanged { .. } => ProblemKind::NotFound,
        ApplyError::ChangedSinceShown | ApplyError::Conflicts { .. } | ApplyError::Raced { .. } => {
            ProblemKind::Conflict
        }
        ApplyError::Full { .. } => ProblemKind::Exhausted,
        ApplyError::Protected { .. } => {
            return Problem::new(ProblemKind::Denied, causes(error)).hint(
                "look at it, then take it out with `sessile export`; sessions opened with --allow-hooks apply it",
            );
        }
        ApplyError::Changes(_) | ApplyError::Original { .. } | ApplyError::Midway { .. } => {
            ProblemKind::Failed
        }
    };
    Problem::new(kind, causes(error))
}

/// The project's path, where the session works on a copy of it.
fn copied(spec: &Spec) -> Option<PathBuf> {
    let project = spec.project.as_ref().filter(|project| project.access == Access::Copy)?;
    Some(PathBuf::from(&project.path))
}
