//! Writing a session's changes back to the project they were copied from.

use std::collections::{BTreeMap, HashMap, HashSet};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::geteuid;
use sessile_model::api;
use thiserror::Error;

use super::baseline::{Baseline, Kind};
use super::beneath::{FOLDER, Meta, Parents, link_stays_within, look, meta, open};
use super::changes::{ChangesError, Delta, Standing, State, at_or_above, changes};
use super::refusals::Refusals;
use super::stage::{Owner, Stage, StageError, same_target};
use super::tree::{LeftOut, Omissions, list, shown};

/// Entries that a folder may hold that is replaced by a file.
const MAX_REPLACED: u64 = 1_000_000;

/// Why changes were not applied. Unless said otherwise, the original is as it was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// The changes are not known.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// A chosen path has no changes.
    #[error("{path} has no changes in the session: `sessile diff` lists the paths that do")]
    NotChanged {
        /// The path.
        path: String,
    },
    /// Of a chosen path everything is protected.
    #[error("{} can make the host run commands, and is not written back", list_of(paths))]
    Protected {
        /// The paths.
        paths: Vec<String>,
    },
    /// The session changed more after its changes were shown.
    #[error("the session changed files after its changes were shown: look again, or pause it first")]
    ChangedSinceShown,
    /// Paths changed in the original too.
    #[error(
        "changed outside too: {}: compare them, choose other paths, or overwrite them with --force",
        list_of(paths)
    )]
    Conflicts {
        /// The paths.
        paths: Vec<String>,
    },
    /// The session changed a file while it was written back.
    #[error("the session changed {path} while it was applied: try again, or pause it first")]
    Raced {
        /// The path.
        path: String,
    },
    /// There is no room.
    #[error("no room left for {path} on the project's file system: nothing was applied")]
    Full {
        /// Where it stopped.
        path: String,
    },
    /// The original cannot be written.
    #[error("cannot write {path} in the project: {source}; nothing was applied")]
    Original {
        /// Where it stopped.
        path: String,
        /// The system's error.
        source: Errno,
    },
    /// It stopped midway and could not be taken back: part of the changes is applied.
    #[error("stopped at {path} midway, and what was replaced lies in {folder} in the project: {source}")]
    Midway {
        /// Where it stopped.
        path: String,
        /// The folder, relative to the project.
        folder: String,
        /// Why it stopped.
        source: Box<ApplyError>,
    },
}

fn list_of(paths: &[String]) -> String {
    match paths {
        [first @ .., _] if paths.len() > 10 => {
            format!("{} and {} more", first[..10].join(", "), paths.len() - 10)
        }
        all => all.join(", "),
    }
}

fn failed(path: &[u8], error: StageError) -> ApplyError {
    let path = shown(path);
    match error {
        StageError::NewChanged => ApplyError::Raced { path },
        StageError::OldChanged => ApplyError::Conflicts { paths: vec![path] },
        StageError::Refused(Errno::NOSPC | Errno::DQUOT) => ApplyError::Full { path },
        StageError::Refused(source) => ApplyError::Original { path, source },
    }
}

/// Writes the chosen changes of `copy` back to `original`, all of them or none. From then on
/// `baseline` has what both sides agree on: it is no change any more, and only what is done to it
/// in the original after this is a change from outside. A caller that dies before it has stored the
/// baseline loses nothing: what was written back is then found to be done.
///
/// New content is written aside first and then exchanged for the old. Replaced files keep their
/// owner and mode but for the executable bit; new ones belong to their folder's owner. Left out,
/// and listed: links that can lead out of the project, names that are not UTF-8, deletions of what
/// changed outside, and, unless `allow_hooks`, what [`is_protected`] names.
///
/// # Errors
/// As [`ApplyError`].
pub fn apply(
    original: BorrowedFd<'_>,
    copy: BorrowedFd<'_>,
    baseline: &mut Baseline,
    request: &api::Apply,
    allow_hooks: bool,
) -> Result<api::Applied, ApplyError> {
    let deltas = changes(original, copy, baseline)?;
    if request.seen.as_ref().is_some_and(|seen| *seen != deltas.seen()) {
        return Err(ApplyError::ChangedSinceShown);
    }
    let refusals = Refusals::of(original, copy, &deltas.list, allow_hooks);
    let chosen = choose(&deltas.list, &request.paths, &refusals)?;
    let conflicts: Vec<String> = chosen
        .iter()
        .filter(|delta| delta.standing.is_conflict() && refusals.why(delta).is_none())
        .map(|delta| shown(&delta.path))
        .collect();
    if !conflicts.is_empty() && !request.force {
        return Err(ApplyError::Conflicts { paths: conflicts });
    }
    let mut plan =
        Plan { original, copies: Parents::new(copy), left: Omissions::default(), acts: Acts::default() };
    plan.decide(&chosen, &refusals)?;
    let done = plan.carry_out()?;
    for delta in &chosen {
        if done.contains(&delta.path) || matches!(delta.standing, Standing::Done(_)) {
            baseline.set(&delta.path, delta.new.map(|new| new.as_agreed()));
        }
    }
    Ok(api::Applied { files: done.len() as u64, skipped: plan.left.sentences() })
}

/// The changes that [`apply`] leaves as they are, with why, as far as can be told now.
pub(super) fn left_out(
    original: BorrowedFd<'_>,
    copy: BorrowedFd<'_>,
    deltas: &[Delta],
    allow_hooks: bool,
) -> HashMap<Vec<u8>, LeftOut> {
    let mut plan =
        Plan { original, copies: Parents::new(copy), left: Omissions::default(), acts: Acts::default() };
    // What moves while it is looked at is found when it is applied.
    let refusals = Refusals::of(original, copy, deltas, allow_hooks);
    let _ = plan.decide(&deltas.iter().collect::<Vec<_>>(), &refusals);
    // What changed outside is a conflict, and listed as one.
    plan.left.0.into_iter().filter(|(_, why)| *why != LeftOut::ChangedOutside).collect()
}

/// The changes at or below the chosen paths, and the folders that they need.
fn choose<'d>(all: &'d [Delta], paths: &[String], refusals: &Refusals) -> Result<Vec<&'d Delta>, ApplyError> {
    if paths.is_empty() {
        return Ok(all.iter().collect());
    }
    // Only text can be asked for, so an escaped name never matches another one.
    let wanted: Vec<&[u8]> = paths.iter().map(|p| p.trim_end_matches('/').as_bytes()).collect();
    // Whether there is anything at or below a path that may be written, once there is anything.
    let mut found: HashMap<&[u8], Option<bool>> = wanted.iter().map(|path| (*path, None)).collect();
    let needed: HashSet<&[u8]> = wanted.iter().flat_map(|path| at_or_above(path).skip(1)).collect();
    let mut chosen = Vec::new();
    for delta in all {
        let allowed = refusals.why(delta) != Some(LeftOut::Protected);
        let mut is_wanted = false;
        for path in at_or_above(&delta.path) {
            if let Some(any) = found.get_mut(path) {
                *any = Some(any.unwrap_or(false) || allowed);
                is_wanted = true;
            }
        }
        let is_folder = delta.new.is_some_and(|new| new.meta.kind == Kind::Folder);
        if is_wanted || is_folder && needed.contains(&delta.path[..]) {
            chosen.push(delta);
        }
    }
    if let Some(path) = wanted.iter().find(|path| found.get(*path) == Some(&None)) {
        return Err(ApplyError::NotChanged { path: shown(path) });
    }
    let refused = wanted.iter().filter(|path| found.get(*path) == Some(&Some(false)));
    let refused: Vec<String> = refused.map(|path| shown(path)).collect();
    if refused.is_empty() { Ok(chosen) } else { Err(ApplyError::Protected { paths: refused }) }
}

/// What is going to be done, in the order in which it is done.
#[derive(Default)]
struct Acts {
    takes: BTreeMap<Vec<u8>, Meta>,
    removes: BTreeMap<Vec<u8>, Meta>,
    makes: BTreeMap<Vec<u8>, (u32, Option<Owner>)>,
    writes: Vec<Write>,
}

struct Write {
    path: Vec<u8>,
    new: State,
    /// What is replaced; `None` where nothing is, or where a folder is removed first.
    was: Option<Meta>,
    owner: Option<Owner>,
}

struct Plan<'a> {
    original: BorrowedFd<'a>,
    copies: Parents<'a>,
    left: Omissions,
    acts: Acts,
}

impl Plan<'_> {
    fn decide(&mut self, chosen: &[&Delta], refusals: &Refusals) -> Result<(), ApplyError> {
        let mut replaced_folders = Vec::new();
        for delta in chosen {
            if let Some(why) = refusals.why(delta) {
                self.left.add(&delta.path, why);
                continue;
            }
            if matches!(delta.standing, Standing::Done(_)) {
                continue;
            }
            if delta.standing == Standing::Blocked {
                self.left.add(&delta.path, LeftOut::Blocked);
                continue;
            }
            let now = delta.standing.state().map(|state| state.meta);
            let Some(new) = delta.new else {
                self.decide_removal(delta, now);
                continue;
            };
            if new.meta.kind == Kind::Link && !self.link_is_harmless(&delta.path, &new)? {
                self.left.add(&delta.path, LeftOut::LeadsOut);
                continue;
            }
            match now {
                Some(now) if now.kind == Kind::Folder && new.meta.kind == Kind::Folder => {}
                Some(now) if now.kind == Kind::Folder => {
                    replaced_folders.push((delta.path.clone(), new, now))
                }
                now => self.decide_write(&delta.path, new, now),
            }
        }
        for (path, new, now) in replaced_folders {
            if self.will_be_empty(&path)? {
                self.acts.removes.insert(path.clone(), now);
                self.decide_write(&path, new, None);
            } else {
                self.left.add(&path, LeftOut::NotEmpty);
            }
        }
        self.add_missing_folders()
    }

    fn decide_removal(&mut self, delta: &Delta, now: Option<Meta>) {
        let Some(now) = now else { return };
        let path = delta.path.clone();
        if delta.standing.is_conflict() {
            self.left.add(&path, LeftOut::ChangedOutside);
        } else if now.kind == Kind::Folder {
            self.acts.removes.insert(path, now);
        } else {
            self.acts.takes.insert(path, now);
        }
    }

    fn decide_write(&mut self, path: &[u8], new: State, now: Option<Meta>) {
        if new.meta.kind != Kind::Folder {
            let owner = match now {
                Some(now) => Some(Owner(now.owner.0, now.owner.1)),
                None => self.owner_below(path),
            };
            return self.acts.writes.push(Write { path: path.to_vec(), new, was: now, owner });
        }
        if let Some(now) = now {
            self.acts.takes.insert(path.to_vec(), now);
        }
        let owner = self.owner_below(path);
        self.acts.makes.insert(path.to_vec(), (folder_mode(&new.meta), owner));
    }

    fn link_is_harmless(&mut self, path: &[u8], new: &State) -> Result<bool, ApplyError> {
        let target = self.copies.of(path).map_err(|_| StageError::NewChanged);
        let target = target.and_then(|place| same_target(place, new.digest)).map_err(|e| failed(path, e))?;
        let depth = path.iter().filter(|b| **b == b'/').count();
        Ok(link_stays_within(depth, &target))
    }

    /// Whether everything that the folder holds is going to be removed.
    fn will_be_empty(&self, path: &[u8]) -> Result<bool, ApplyError> {
        let unreadable = |source| ApplyError::Original { path: shown(path), source };
        let fd = open(self.original, path, FOLDER).map_err(unreadable)?;
        let Ok(held) = list(fd.as_fd(), MAX_REPLACED) else { return Ok(false) };
        let goes = |name: &[u8]| {
            let path = [path, name].join(&b'/');
            self.acts.takes.contains_key(&path) || self.acts.removes.contains_key(&path)
        };
        Ok(held.omitted.0.is_empty() && held.nodes.iter().all(|node| goes(&node.path)))
    }

    /// Folders that were removed outside while the session wrote into them.
    fn add_missing_folders(&mut self) -> Result<(), ApplyError> {
        let mut known: HashSet<&[u8]> = HashSet::new();
        let mut missing = Vec::new();
        for path in self.acts.writes.iter().map(|write| &write.path).chain(self.acts.makes.keys()) {
            // What is above a known folder was looked at together with it.
            for path in at_or_above(path).skip(1) {
                if self.acts.makes.contains_key(path) || !known.insert(path) || self.look(path).is_some() {
                    break;
                }
                missing.push(path.to_vec());
            }
        }
        // From the top, so that each finds its owner above.
        missing.sort();
        for path in missing {
            let gone = |_| ApplyError::Raced { path: shown(&path) };
            let (dir, name) = self.copies.of(&path).map_err(gone)?;
            let mode = folder_mode(&look(dir, name).map_err(gone)?);
            let owner = self.owner_below(&path);
            self.acts.makes.insert(path, (mode, owner));
        }
        Ok(())
    }

    fn look(&self, path: &[u8]) -> Option<Meta> {
        let (dir, name) = super::beneath::split(path);
        let dir = open(self.original, dir, super::beneath::PLACE).ok()?;
        look(dir.as_fd(), name).ok()
    }

    /// The owner of something new: that of the nearest folder there is. Users who are not root
    /// own what they make; only a folder's group is passed on, where it asks for that.
    fn owner_below(&self, path: &[u8]) -> Option<Owner> {
        // Folders come before what they hold, so one that is going to be made is known already.
        if let Some((_, owner)) = self.acts.makes.get(super::beneath::split(path).0) {
            return *owner;
        }
        let folder = at_or_above(path).skip(1).find_map(|path| self.look(path));
        let folder = folder.or_else(|| meta(self.original).ok())?;
        let passes_on = geteuid().is_root() || folder.mode & 0o2000 != 0;
        passes_on.then_some(Owner(folder.owner.0, folder.owner.1))
    }

    /// Does it all, or takes it back. Says which paths were changed.
    fn carry_out(&mut self) -> Result<HashSet<Vec<u8>>, ApplyError> {
        let acts = std::mem::take(&mut self.acts);
        if acts.takes.is_empty() && acts.removes.is_empty() && acts.makes.is_empty() && acts.writes.is_empty()
        {
            return Ok(HashSet::new());
        }
        let mut stage = Stage::new(self.original).map_err(|errno| failed(b".", errno.into()))?;
        match self.carry_out_on(&mut stage, &acts) {
            Ok(done) => {
                stage.finish();
                Ok(done)
            }
            Err((path, error)) => {
                let source = failed(&path, error);
                match stage.undo() {
                    Ok(()) => Err(source),
                    Err(folder) => {
                        Err(ApplyError::Midway { path: shown(&path), folder, source: Box::new(source) })
                    }
                }
            }
        }
    }

    fn carry_out_on(
        &mut self,
        stage: &mut Stage<'_>,
        acts: &Acts,
    ) -> Result<HashSet<Vec<u8>>, (Vec<u8>, StageError)> {
        let at = |path: &[u8]| {
            let path = path.to_vec();
            move |error: StageError| (path, error)
        };
        let mut slots = Vec::with_capacity(acts.writes.len());
        for write in &acts.writes {
            slots.push(self.write_aside(stage, write).map_err(at(&write.path))?);
        }
        stage.sync().map_err(|errno| (b".".to_vec(), errno.into()))?;

        let mut done: HashSet<&[u8]> = HashSet::new();
        for (path, was) in &acts.takes {
            stage.take(path, was).map_err(at(path))?;
            done.insert(path);
        }
        let written: HashSet<&[u8]> = acts.writes.iter().map(|write| &write.path[..]).collect();
        for path in acts.removes.keys().rev() {
            match stage.remove_folder(path) {
                Ok(()) => {
                    done.insert(path);
                }
                Err(StageError::Refused(Errno::NOTEMPTY | Errno::EXIST)) if !written.contains(&path[..]) => {
                    self.left.add(path, LeftOut::NotEmpty);
                }
                Err(error) => return Err((path.clone(), error)),
            }
        }
        for (path, (mode, owner)) in &acts.makes {
            stage.make_folder(path, *mode, *owner).map_err(at(path))?;
            done.insert(path);
        }
        for (write, slot) in acts.writes.iter().zip(&slots) {
            stage.install(slot, &write.path, write.was.as_ref()).map_err(at(&write.path))?;
            done.insert(&write.path);
        }
        Ok(done.into_iter().map(<[u8]>::to_vec).collect())
    }

    fn write_aside(&mut self, stage: &mut Stage<'_>, write: &Write) -> Result<String, StageError> {
        let place = self.copies.of(&write.path).map_err(|_| StageError::NewChanged)?;
        if write.new.meta.kind == Kind::Link {
            let target = same_target(place, write.new.digest)?;
            return stage.link(&target, write.owner);
        }
        let was = write.was.filter(|was| was.kind == Kind::File);
        let mode = file_mode(was.map(|was| was.mode), write.new.meta.mode);
        stage.file(place, write.new.digest, mode, write.owner)
    }
}

/// A replaced file keeps its mode, and gets or loses the executable bit where it may be read. A
/// new one has the session's, writable by its owner alone.
fn file_mode(was: Option<u32>, new: u32) -> u32 {
    let mode = was.map_or(new & 0o755 | 0o600, |was| was & 0o777);
    if new & 0o100 == 0 {
        mode & !0o111
    } else if mode & 0o100 != 0 {
        mode
    } else {
        mode | (mode & 0o444) >> 2
    }
}

fn folder_mode(new: &Meta) -> u32 {
    new.mode & 0o755 | 0o700
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
