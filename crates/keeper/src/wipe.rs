//! The steps of the wipe, carried out, and the receipt.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::process::Pid;
use sessile_model::quantity::{ByteSize, Millis, Timestamp};
use sessile_model::receipt::{Receipt, Residue, SignedReceipt, WipeEvidence, WipeStep};
use sessile_model::wire::{Event as Told, Reply};
use sessile_sandbox::app::Ahead;
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::processes;
use sessile_sandbox::wipe::{FileId, Scrub, ScrubPlan, ScrubReport, overwrite_file, overwrite_tree};
use sessile_session::Event;
use sessile_vault::installation::InstallationKey;
use zeroize::Zeroizing;

use crate::bringup::{STORAGE, causes};
use crate::guard::GuardFacts;
use crate::keeper::Keeper;
use crate::task::Streams;
use crate::{listening, output, saved_screen};

/// How long apps may take to be frozen.
const FREEZE: Duration = Duration::from_secs(5);
/// Holds room on the disk for the receipt while the session lives, in its state folder.
pub const RECEIPT_ROOM: &str = "receipt.room";
/// More than any receipt takes, in bytes.
pub const RECEIPT_BYTES: u64 = 256 << 10;
/// How long killed apps may take to be gone.
const KILL: Duration = Duration::from_secs(10);

/// Apps that were asked to end and have time to do so.
#[derive(Clone, Copy, Debug)]
pub struct Signalled {
    attempt: u8,
    began: Timestamp,
    until: Timestamp,
    count: u32,
}

impl Keeper {
    /// Carries out one step of the wipe.
    pub(crate) fn wipe(&mut self, step: WipeStep, attempt: u8, grace: Millis) {
        let now = self.now;
        if let Some(facts) = &mut self.facts {
            facts.wipe_started_at.get_or_insert(now);
        }
        let proceed = self.proceed("wipe", step.as_str());
        self.look_at_anchor();
        if step == WipeStep::SignalApps && proceed {
            self.signal_apps(attempt, grace);
            return;
        }
        let began = Instant::now();
        let evidence = if proceed { self.wipe_step(step) } else { WipeEvidence::NothingToDo };
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A step takes its time, and the next one begins when this one is done.
        self.now = self.clock.now();
        self.advance(Event::WipeStepDone { step, attempt, evidence, took_us });
    }

    fn wipe_step(&mut self, step: WipeStep) -> WipeEvidence {
        match step {
            WipeStep::RefuseAttaches => {
                self.remember_watched();
                self.account_for_typing();
                let clients = self.clients.values().map(|c| c.attachments.len()).sum::<usize>();
                WipeEvidence::Refused { clients: clients as u32 }
            }
            // Asked for by `wipe` in its own way, since it takes time.
            WipeStep::SignalApps => WipeEvidence::NothingToDo,
            WipeStep::CutRoute => self.close_route(),
            WipeStep::Freeze => match self.freeze() {
                Ok((0, _)) => WipeEvidence::NothingToDo,
                Ok((count, how)) => WipeEvidence::Frozen { count, how: how.to_owned() },
                Err(why) => WipeEvidence::Failed { why },
            },
            WipeStep::ScrubOpenFiles => self.scrub(Scrub::open_files),
            WipeStep::ScrubMemory => self.scrub(Scrub::memory),
            WipeStep::Kill => self.kill_apps(),
            WipeStep::UnmountApps => self.release_apps(),
            WipeStep::OverwriteStorage => self.overwrite_storage(),
            WipeStep::UnmountStorage => self.release_storage(),
            WipeStep::OverwriteRings => self.overwrite_rings(),
            WipeStep::DestroyKeys => self.destroy_keys(),
            WipeStep::RetireRoute => {
                let residue = [
                    self.gateway_residue(),
                    self.guard_residue(),
                    self.relay_residue(),
                    self.tor_residue(),
                    self.guards_residue(),
                ];
                self.add_residue(residue.into_iter().flatten().collect());
                self.retire_route()
            }
            WipeStep::FinaliseAudit => self.finalise_log(),
            WipeStep::RemoveTraces => self.remove_traces(),
            WipeStep::Verify => self.verify_wiped(),
        }
    }

    /// Asks every app to end. Its evidence follows when all have, or the time is up.
    fn signal_apps(&mut self, attempt: u8, grace: Millis) {
        let count = self.app_processes().len() as u32;
        let now = self.now;
        let began = self.signalled.map_or(now, |s| s.began);
        if grace > Millis(0) && count > 0 && self.signalled.is_none() {
            // A paused app could not save: it is thawed for this.
            let _ = self.thaw();
            for app in self.apps.values().filter(|app| !app.gone) {
                // An app that cannot be asked is killed later all the same.
                let _ = processes::ask_to_end(app.pid);
            }
        }
        let count = self.signalled.map_or(count, |s| s.count);
        self.signalled = Some(Signalled { attempt, began, until: now.plus(grace), count });
        self.check_signalled();
    }

    /// Whether the apps that were asked to end have, or have had their time.
    pub(crate) fn check_signalled(&mut self) {
        let Some(signalled) = self.signalled else { return };
        let left = self.app_processes().len() as u32;
        // How a command ended is known from its init, a moment after the process is gone.
        let untold = self.tasks.values().any(|task| {
            let lives = self.apps.get(&task.app).is_some_and(|app| !app.gone);
            task.exit.is_none() && task.inner_pid.is_some() && lives
        });
        if (left > 0 || untold) && self.now < signalled.until {
            return;
        }
        self.signalled = None;
        let evidence = if signalled.count == 0 {
            WipeEvidence::NothingToDo
        } else {
            WipeEvidence::Signalled {
                signalled: signalled.count,
                ended: signalled.count.saturating_sub(left),
            }
        };
        self.advance(Event::WipeStepDone {
            step: WipeStep::SignalApps,
            attempt: signalled.attempt,
            evidence,
            took_us: self.now.since(signalled.began).0 * 1000,
        });
    }

    /// Host process ids of everything the apps started.
    pub(crate) fn app_processes(&self) -> Vec<u32> {
        let mut all = Vec::new();
        for app in self.apps.values().filter(|app| !app.gone) {
            all.extend(processes::descendants(app.pid).unwrap_or_default());
        }
        all
    }

    /// Freezes every app. Returns how many processes were frozen and how.
    pub(crate) fn freeze(&mut self) -> Result<(u32, &'static str), String> {
        if self.app_processes().is_empty() {
            return Ok((0, "nothing runs"));
        }
        if let Some(cgroup) = &self.cgroup
            && cgroup.freeze().map_err(|e| causes(&e))?
        {
            return Ok((self.app_processes().len() as u32, "cgroup"));
        }
        let mut count = 0;
        for app in self.apps.values().filter(|app| !app.gone) {
            count += processes::freeze(app.pid, FREEZE).map_err(|e| causes(&e))?;
        }
        Ok((count as u32, "sigstop"))
    }

    /// Thaws every app.
    pub(crate) fn thaw(&mut self) -> Result<(), String> {
        if let Some(cgroup) = &self.cgroup
            && cgroup.thaw().map_err(|e| causes(&e))?
        {
            if self.unheard {
                self.hear_of_exits();
            }
            return Ok(());
        }
        for app in self.apps.values().filter(|app| !app.gone) {
            processes::thaw(app.pid).map_err(|e| causes(&e))?;
        }
        Ok(())
    }

    fn scrub(
        &mut self,
        kind: fn(&mut Scrub, Pid) -> Result<ScrubReport, sessile_sandbox::wipe::ScrubError>,
    ) -> WipeEvidence {
        if self.anchor_is_dead && !self.apps.is_empty() {
            let why = "the apps died with the anchor; the kernel freed their memory, nothing overwrote it";
            return WipeEvidence::NotPossible { why: why.to_owned() };
        }
        let pids = self.app_processes();
        if pids.is_empty() {
            return WipeEvidence::NothingToDo;
        }
        let device = self.space.as_ref().and_then(|space| fstat(&space.storage).ok()).map(|s| s.st_dev);
        let mut plan = ScrubPlan::new(device.into_iter().collect());
        plan.spare =
            fstat(&self.seat.image).map(|s| FileId { dev: s.st_dev, ino: s.st_ino }).into_iter().collect();
        // One for both steps: what the first has overwritten, the second leaves alone.
        let mut scrub = match self.scrub.take().map_or_else(|| Scrub::new(plan), Ok) {
            Ok(scrub) => scrub,
            Err(error) => return WipeEvidence::Failed { why: causes(&error) },
        };
        let mut report = ScrubReport::default();
        let mut failures = Vec::new();
        for pid in pids {
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match kind(&mut scrub, pid) {
                Ok(one) => report.add(&one),
                Err(sessile_sandbox::wipe::ScrubError::Gone) => {}
                Err(error) => failures.push(causes(&error)),
            }
        }
        self.scrub = Some(scrub);
        self.add_residue(report.residue());
        match failures.first() {
            Some(why) => WipeEvidence::Failed { why: format!("{} processes: {why}", failures.len()) },
            None => report.evidence(),
        }
    }

    fn add_residue(&mut self, lines: Vec<Residue>) {
        let Some(facts) = &mut self.facts else { return };
        for line in lines {
            // What was found says more than what was expected of this machine.
            match facts.residue.iter_mut().find(|known| known.what == line.what) {
                Some(known) => *known = line,
                None => facts.residue.push(line),
            }
        }
    }

    fn kill_apps(&mut self) -> WipeEvidence {
        let count = self.apps.values().filter(|app| !app.gone).count() + self.app_processes().len();
        if let Some(cgroup) = &self.cgroup {
            // The inits are killed below in any case, and take the rest along.
            let _ = cgroup.kill();
        }
        let deadline = Instant::now() + KILL;
        for app in self.apps.values_mut() {
            if let Err(error) = processes::kill(&app.init) {
                return WipeEvidence::Failed { why: error.to_string() };
            }
            // A frozen process dies of SIGKILL like any other; a pidfd is readable when it has.
            if !is_dead(&app.init, deadline) {
                return WipeEvidence::Failed { why: "an app did not die".to_owned() };
            }
            app.gone = true;
        }
        // What ended by itself just before says how.
        for name in self.apps.keys().cloned().collect::<Vec<_>>() {
            self.hear_app(&name);
        }
        let now = self.now;
        for task in self.tasks.values_mut().filter(|t| t.exit.is_none()) {
            task.exit = Some(sessile_model::state::Exit::Signal { signal: 9 });
            task.exited_at = Some(now);
            task.pid = None;
        }
        if count == 0 { WipeEvidence::NothingToDo } else { WipeEvidence::Killed { count: count as u32 } }
    }

    /// The apps' mount namespaces died with their processes; what still refers to them is let go.
    fn release_apps(&mut self) -> WipeEvidence {
        self.release_places();
        let count = self.apps.len() as u32;
        for name in std::mem::take(&mut self.apps).keys() {
            for part in crate::app::PARTS.into_iter().chain(crate::route::LISTENERS) {
                let _ = self.seat.link.remove(&format!("app/{name}/{part}"));
            }
        }
        if count == 0 { WipeEvidence::NothingToDo } else { WipeEvidence::Unmounted { count } }
    }

    fn overwrite_storage(&mut self) -> WipeEvidence {
        self.drop_recorders();
        let Some(space) = &self.space else { return WipeEvidence::NothingToDo };
        match overwrite_tree(space.storage.as_fd()) {
            Ok(done) => {
                if done.failed == 0 {
                    self.recordings_wiped();
                }
                self.add_residue(done.residue().into_iter().collect());
                done.evidence()
            }
            Err(error) => WipeEvidence::Failed { why: error.to_string() },
        }
    }

    fn release_storage(&mut self) -> WipeEvidence {
        self.app_ahead = Ahead::default();
        let ahead = self.ahead.take().map(|ahead| ahead.space);
        let Some(space) = self.space.take().or(ahead) else { return WipeEvidence::NothingToDo };
        drop(space);
        for name in ["storage", "mntns", "userns"] {
            if let Err(error) = self.seat.link.remove(name)
                && !self.anchor_is_dead
            {
                return WipeEvidence::Failed { why: causes(&error) };
            }
        }
        WipeEvidence::Unmounted { count: 1 }
    }

    fn overwrite_rings(&mut self) -> WipeEvidence {
        self.forget_streams();
        let (mut bytes, mut objects) = (0, 0);
        for task in self.tasks.values() {
            for output in [Some(task.output()), task.error_output()].into_iter().flatten() {
                let _ = self.seat.link.unpump(output.io);
                bytes += output.ring.overwrite();
                objects += 1;
            }
        }
        for task in self.tasks.values_mut() {
            let Streams::Terminal { saved, .. } = &mut task.streams else { continue };
            match saved.fd().map(overwrite_file) {
                Some(Ok(n)) => {
                    bytes += n;
                    objects += 1;
                }
                Some(Err(error)) => return WipeEvidence::Failed { why: error.to_string() },
                None => {}
            }
            saved.forget();
        }
        let files = [
            self.checkpoint.take().map(|c| overwrite_file(c.fd())),
            self.ledger.take().map(|l| overwrite_file(l.fd())),
            self.baseline_file.take().map(|b| overwrite_file(b.as_fd())),
            self.cookies.take().map(|c| overwrite_file(c.fd())),
            self.erase_guard(),
            self.end_conversation().fd().map(overwrite_file),
        ];
        for outcome in files.into_iter().flatten() {
            match outcome {
                Ok(n) => {
                    bytes += n;
                    objects += 1;
                }
                Err(error) => return WipeEvidence::Failed { why: error.to_string() },
            }
        }
        let lines = [crate::channels::NAME, crate::channels::free::NAME];
        for name in ["checkpoint", "ledger", "baseline", crate::cookies::NAME].into_iter().chain(lines) {
            let _ = self.seat.link.remove(name);
        }
        let ios: Vec<u32> = self
            .tasks
            .values()
            .flat_map(|t| [Some(t.output().io), t.error_output().map(|o| o.io)])
            .flatten()
            .collect();
        for io in ios {
            for part in ["source", "sink", "ring", saved_screen::PART] {
                let _ = self.seat.link.remove(&format!("io/{io}/{part}"));
            }
        }
        if objects == 0 {
            WipeEvidence::NothingToDo
        } else {
            WipeEvidence::Overwritten { bytes: ByteSize(bytes), objects }
        }
    }

    fn destroy_keys(&mut self) -> WipeEvidence {
        if let Some(mut environment) = self.environment.take() {
            environment.overwrite();
            let _ = self.seat.link.remove("environment");
        }
        self.forget_given();
        self.forget_interception();
        let Some(key) = self.root_key.take() else { return WipeEvidence::NothingToDo };
        key.destroy();
        let _ = self.seat.link.remove("secret");
        let _ = self.seat.link.remove("notify");
        self.notify = None;
        WipeEvidence::KeyDestroyed {
            protected: "the session's derived keys and identifiers; no data was encrypted under it"
                .to_owned(),
        }
    }

    fn finalise_log(&mut self) -> WipeEvidence {
        self.retry_log();
        self.sync_log();
        match (&self.log, &self.unlogged) {
            (Some(log), _) => WipeEvidence::Finalised { entries: log.entries() },
            (None, Some(held)) => WipeEvidence::NotPossible {
                why: format!("the log could not be written; it lacks {} entries", held.len()),
            },
            (None, None) => WipeEvidence::NothingToDo,
        }
    }

    fn remove_traces(&mut self) -> WipeEvidence {
        // Once more, should the step that lets the apps go have been left out.
        let mut count = self.release_places();
        if let Some(mut cgroup) = self.cgroup.take() {
            if let Err(error) = cgroup.remove() {
                return WipeEvidence::Failed { why: causes(&error) };
            }
            count += 1;
        }
        // It is there when the first one was removed.
        let _ = self.seat.link.remove(listening::HELD);
        let runtime = &self.seat.runtime;
        for path in [runtime.join(STORAGE)] {
            if std::fs::remove_dir(path).is_ok() {
                count += 1;
            }
        }
        for path in self.sockets() {
            if std::fs::remove_file(path).is_ok() {
                count += 1;
            }
        }
        match std::fs::remove_dir(runtime) {
            Ok(()) => WipeEvidence::Removed { count: count + 1 },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => WipeEvidence::Removed { count },
            Err(error) => WipeEvidence::Failed { why: error.to_string() },
        }
    }

    pub(crate) fn sockets(&self) -> [PathBuf; 2] {
        [self.seat.runtime.join(listening::ANCHOR), self.seat.runtime.join(listening::NAME)]
    }

    /// Looks for what should be gone.
    fn verify_wiped(&self) -> WipeEvidence {
        let mut left = Vec::new();
        if self.seat.runtime.exists() {
            left.push("the runtime folder");
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if mounts.contains(&self.seat.id.to_string()) {
            left.push("a mount");
        }
        if !self.apps.is_empty() || self.space.is_some() || self.root_key.is_some() {
            left.push("a descriptor");
        }
        if Cgroup::reopen(self.seat.id).is_some() {
            left.push("a control group");
        }
        match self.seat.link.list() {
            Ok(held) if held.is_empty() => {}
            Ok(_) if !self.anchor_is_dead => left.push("a descriptor in the anchor"),
            // One that does not say what it holds is ended, with what it holds.
            Ok(_) | Err(_) if self.end_anchor() => {}
            Ok(_) | Err(_) => left.push("an anchor that does not end"),
        }
        if left.is_empty() {
            let places = ["runtime folder", "mounts", "control groups", "keeper", "anchor"];
            WipeEvidence::NothingFound { places: places.map(str::to_owned).to_vec() }
        } else {
            WipeEvidence::Failed { why: format!("found {}", left.join(", ")) }
        }
    }

    /// Signs the receipt, hands it to everyone who waits, and leaves nothing to do but go.
    pub(crate) fn finish(&mut self) {
        self.sync_log();
        self.proceed("finish", "sign");
        let signed = self.receipt().and_then(|receipt| self.sign(&receipt));
        if let Ok(signed) = &signed {
            self.publish();
            for (&_, client) in &mut self.clients {
                // Nothing more comes of output: its end may be told.
                output::tell_exits(client, &self.tasks);
                let channels: Vec<u16> = client.attachments.keys().copied().collect();
                for channel in channels.into_iter().chain(client.follows.then_some(0)) {
                    client.let_go(channel);
                    client.tell(channel, &Told::Closed(Box::new(signed.clone())));
                }
            }
        }
        self.answer_opener();
        let reply = match signed {
            Ok(signed) => Reply::Receipt(signed),
            Err(problem) => Reply::Problem(problem),
        };
        for (id, channel) in std::mem::take(&mut self.enders) {
            self.reply(id, channel, &reply);
        }
        for client in self.clients.values_mut() {
            client.closing = true;
        }
        self.finished = true;
    }

    fn receipt(&self) -> Result<Receipt, sessile_model::Problem> {
        let missing =
            || sessile_model::Problem::new(sessile_model::ProblemKind::Internal, "no wipe to tell of");
        let machine = self.session()?;
        let facts = self.facts()?;
        let wipe = machine.wipe_receipt().ok_or_else(missing)?;
        let (recordings, outside) = Receipt::apart(facts.grants.iter().cloned());
        Ok(Receipt {
            session: facts.id,
            outcome: machine.outcome().ok_or_else(missing)?,
            outcome_detail: machine.outcome().and_then(|outcome| self.outcome_detail(&outcome)),
            created_at: facts.created_at,
            wipe_started_at: wipe.started_at(),
            ended_at: wipe.ended_at(),
            claim_level: facts.claim_level,
            steps: wipe.lines().to_vec(),
            residue: facts.residue.clone(),
            outside,
            recordings,
            guard: facts.guard.as_ref().and_then(GuardFacts::receipt),
            weaker: machine.weaker(),
            program: sessile_model::version().to_owned(),
        })
    }

    /// Signs and stores the receipt, lasting before anyone is told.
    fn sign(&self, receipt: &Receipt) -> Result<SignedReceipt, sessile_model::Problem> {
        let failed =
            |what: &str, error: &(dyn std::error::Error + 'static)| crate::bringup::failed(what, error);
        let mut entropy = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *entropy)
            .map_err(|e| failed("no entropy for the signing key", &std::io::Error::other(e.to_string())))?;
        let key = InstallationKey::load_or_create(&self.seat.installation_key, &entropy)
            .map_err(|e| failed("the installation's signing key", &e))?;
        let signed = key.sign(receipt);
        let json = serde_json::to_vec(&signed).map_err(|e| failed("the receipt", &e))?;
        sessile_journal::file::replace_in(&self.seat.state, RECEIPT_ROOM, "receipt.json", &json)
            .map_err(|e| failed("the receipt could not be stored", &e))?;
        Ok(signed)
    }

    /// Lets the anchor go. The last thing a keeper does.
    pub(crate) fn leave(self) {
        if self.facts.is_some() {
            self.proceed("finish", "leave");
        }
        if !self.anchor_is_dead && self.seat.link.quit().is_err() {
            self.end_anchor();
        }
        // What it knew of the session is overwritten as it is freed.
        drop(self);
        crate::rehearsal::proceed(None, "finish", "gone");
    }
}

fn is_dead(pidfd: impl AsFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(1))
}
