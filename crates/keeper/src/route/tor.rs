//! The session's own tor, for the route of that name.
//!
//! It runs beside the gateway, as a child of the anchor and under the gateway's user id. Its
//! working folder is `route` on session storage: what it writes lies there, is overwritten with
//! the rest and dies with it. Its sockets are in `route/tor`, which nobody else may enter; the
//! gateway owns the one for control, so that tor ends when the gateway does, and the keeper kills
//! it where that takes long.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchown, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use sessile_model::gateway::Order;
use sessile_model::network::Route;
use sessile_model::receipt::{Residue, WipeEvidence};
use sessile_model::tor::TorEntry;
use sessile_model::wire::Reply;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::service::{self, ServicePlan};
use sessile_session::Note;

use super::{FAREWELL, Renewal, TOR, ends, guards};
use crate::bringup::{Begun, failed};
use crate::client::ClientId;
use crate::keeper::Keeper;

/// tor's working folder, on session storage.
const FOLDER: &str = "route";
/// Its configuration, there.
const CONFIG: &str = "torrc";
/// An empty file in place of the host's defaults.
const DEFAULTS: &str = "defaults";
/// What it has to say: warnings, with all targets scrubbed (`SafeLogging`).
const LOG: &str = "log";
/// What it knows, its guards among it.
const STATE: &str = "tor/state";
/// Most bytes of its log that are read.
const MAX_LOG: usize = 64 << 10;
/// Most characters of a line of it that are passed on.
const MAX_WORDS: usize = 300;

impl Keeper {
    /// The step of bring-up: nothing, where a gateway is started when the first packet comes; with
    /// tor, whatever it takes until a circuit is built.
    pub(crate) fn raise_route(&mut self) -> Result<Begun, Problem> {
        match self.facts()?.spec.network.route {
            Route::None | Route::Direct | Route::Socks5 { .. } => Ok(Begun::Done),
            Route::Tor => {
                self.route.raising = true;
                if self.route.link().is_some() {
                    // A predecessor's: it says again whether it is ready.
                    self.greet_gateway();
                } else if let Err(problem) = self.begin_gateway() {
                    self.cut_gateway();
                    return Err(problem);
                }
                Ok(Begun::Underway)
            }
        }
    }

    /// Starts tor for the gateway of this process id. Returns the folder with its sockets.
    pub(super) fn start_tor(&mut self, gateway: u32, user: Option<u32>) -> Result<OwnedFd, Problem> {
        let unsupported =
            || Problem::new(ProblemKind::Unsupported, "there is no tor on this host").hint("apt install tor");
        let facts = self.facts()?;
        let program = facts.tor.as_deref().ok_or_else(unsupported)?;
        let program = openat(CWD, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| failed("the host's tor", &e))?;
        let space =
            self.space.as_ref().ok_or_else(|| Problem::new(ProblemKind::Internal, "tor without storage"))?;
        let network = &facts.spec.network;
        let config = config(gateway, network.tor_entry, network.tor_config.as_deref().unwrap_or_default());
        let guards = match network.tor_entry {
            TorEntry::Fresh => String::new(),
            TorEntry::Pinned => {
                guards::kept(&self.seat.entry_guards).map_err(|e| failed("the entry guards", &e))?
            }
        };
        let folder =
            furnish(&space.storage, user, &config, &guards).map_err(|e| failed("tor's folder", &e))?;
        let plan = ServicePlan {
            name: c"tor",
            arguments: &[
                c"-f",
                c"/proc/self/cwd/torrc",
                c"--defaults-torrc",
                c"/proc/self/cwd/defaults",
                c"--quiet",
            ],
            image: program.as_fd(),
            socket: None,
            folder: Some(folder.as_fd()),
            anchor: self.seat.anchor.as_fd(),
            user,
        };
        let (_, process) = service::start(&plan).map_err(|e| failed("tor", &e))?;
        let kept = self.keep(TOR, &process);
        self.route.tor = Some(process);
        kept.map_err(|e| failed("the anchor", &e))?;
        Ok(folder)
    }

    /// tor's process has ended: the gateway says so too, if it still can.
    pub(crate) fn look_at_tor(&mut self) {
        self.hear_gateway();
        if self.route.tor.is_some() {
            self.route_failed("tor ended".to_owned());
        }
    }

    /// Kills tor at once. False when it does not end.
    pub(super) fn cut_tor(&mut self) -> bool {
        let Some(process) = &self.route.tor else { return true };
        // One that has ended needs no signal.
        let _ = pidfd_send_signal(process, Signal::KILL);
        if !ends(process, FAREWELL) {
            return false;
        }
        self.route.tor = None;
        let _ = self.seat.link.remove(TOR);
        true
    }

    /// A cause with the last that tor said of itself.
    pub(super) fn with_last_words(&self, cause: String) -> String {
        let words = self.route.tor.as_ref().and(self.space.as_ref()).and_then(|space| {
            let log = openat(
                &space.storage,
                format!("{FOLDER}/{LOG}"),
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
            );
            let mut bytes = vec![0; MAX_LOG];
            let length = rustix::io::read(log.ok()?, &mut bytes).ok()?;
            bytes.truncate(length);
            last_words(&String::from_utf8_lossy(&bytes))
        });
        match words {
            Some(words) => format!("{cause} ({words})"),
            None => cause,
        }
    }

    /// Gives a tor whose guards are kept time to write them down; its gateway, for which it runs, is
    /// gone.
    pub(super) fn part_from_tor(&mut self) {
        if self.is_pinned() {
            if let Some(process) = &self.route.tor {
                ends(process, FAREWELL);
            }
            self.keep_guards();
        }
    }

    fn is_pinned(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| !facts.spec.network.tor_entry.is_fresh())
    }

    /// Keeps the guards of the session's tor for further sessions, where that was asked for and tor
    /// wrote anything since.
    pub(crate) fn keep_guards(&mut self) {
        if !self.is_pinned() {
            return;
        }
        let Some(space) = &self.space else { return };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // tor has written none yet, or the storage is wiped.
        let Ok(file) = openat(&space.storage, format!("{FOLDER}/{STATE}"), flags, Mode::empty()) else {
            return;
        };
        let written = rustix::fs::fstat(&file).ok().map(|stat| (stat.st_mtime, stat.st_mtime_nsec));
        if written == self.route.guards_at {
            return;
        }
        let kept = guards::read(file.into())
            .and_then(|guards| guards::keep(&self.seat.entry_guards, &self.seat.id.to_string(), &guards));
        // A disk that is full: tried again with the next change.
        if kept.is_ok() {
            self.route.guards_at = written;
        }
    }

    /// What stays of the route on the host.
    pub(crate) fn guards_residue(&self) -> Option<Residue> {
        self.is_pinned().then(|| Residue {
            what: "which entry guards tor chose".to_owned(),
            why: "--tor-entry pinned keeps them for further sessions".to_owned(),
            mend: Some("remove entry-guards from the state folder, or use --tor-entry fresh".to_owned()),
        })
    }

    /// What tor may have left in memory.
    pub(crate) fn tor_residue(&self) -> Option<Residue> {
        (self.facts.as_ref()?.spec.network.route == Route::Tor).then(|| Residue {
            what: "tor's memory".to_owned(),
            why: "tor does not overwrite what it knew of circuits; the kernel frees it".to_owned(),
            mend: Some("boot with init_on_free=1".to_owned()),
        })
    }

    /// The wipe's step: the identity on the route is dead. Its state was overwritten with the
    /// storage, its process is gone.
    pub(crate) fn retire_route(&self) -> WipeEvidence {
        match self.facts.as_ref().map(|facts| &facts.spec.network.route) {
            Some(Route::Tor) => WipeEvidence::Retired {
                what: match self.is_pinned() {
                    true => "the identity on the route tor: its circuits and credentials".to_owned(),
                    false => "the identity on the route tor: its guards, circuits and credentials".to_owned(),
                },
            },
            None | Some(Route::None | Route::Direct | Route::Socks5 { .. }) => WipeEvidence::NothingToDo,
        }
    }

    /// Asks the gateway for a new identity. The answer follows when it has one.
    pub(crate) fn renew_identity(&mut self, client: ClientId, channel: u16) -> Result<(), Problem> {
        match &self.facts()?.spec.network.route {
            Route::Tor => {}
            route @ (Route::None | Route::Direct | Route::Socks5 { .. }) => {
                let what = format!("the route {route} has no identity of its own: there is nothing to renew");
                return Err(Problem::new(ProblemKind::Conflict, what).hint("open it with --route tor"));
            }
        }
        self.start_gateway();
        self.route.last_sequence += 1;
        let sequence = self.route.last_sequence;
        self.order(&Order::Renew { sequence }, &[])?;
        let at = self.now;
        self.route.renewals.insert(sequence, Renewal { client, channel, at });
        Ok(())
    }

    /// The gateway has an answer: journaled also when nobody waits for it any more, and before
    /// anybody hears of it.
    pub(super) fn renewed(&mut self, sequence: u32, problem: Option<String>) {
        let reply = match problem {
            None => {
                self.note(Note::IdentityRenewed);
                self.settle();
                self.sync_log();
                Reply::Done
            }
            Some(why) => Reply::Problem(Problem::new(
                ProblemKind::Failed,
                format!("the route keeps its identity: {why}"),
            )),
        };
        if let Some(Renewal { client, channel, .. }) = self.route.renewals.remove(&sequence) {
            self.reply(client, channel, &reply);
        }
    }
}

/// tor's configuration, with a user's lines at its end.
fn config(gateway: u32, entry: TorEntry, added: &str) -> String {
    // Guards that are kept are to be written down soon.
    let avoid_writes = u8::from(entry.is_fresh());
    // By its working folder, since the path to session storage is not open to its user.
    let here = "/proc/self/cwd";
    format!(
        "DataDirectory {here}/tor\n\
         ControlPort unix:{here}/tor/control\n\
         SocksPort unix:{here}/tor/socks IsolateSOCKSAuth\n\
         CookieAuthentication 0\n\
         __OwningControllerProcess {gateway}\n\
         ClientOnly 1\n\
         SafeLogging 1\n\
         Log warn file {here}/{LOG}\n\
         AvoidDiskWrites {avoid_writes}\n\
         {added}\n"
    )
}

/// Makes tor's folder on session storage, owned by its user.
fn furnish(storage: &OwnedFd, user: Option<u32>, config: &str, guards: &str) -> Result<OwnedFd, Errno> {
    let private = Mode::RWXU;
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let give = |fd: &OwnedFd| match user {
        Some(id) => fchown(fd, Some(Uid::from_raw(id)), Some(Gid::from_raw(id))),
        None => Ok(()),
    };
    let make = |parent: &OwnedFd, name: &str| {
        match mkdirat(parent, name, private) {
            // A tor before this one has left it: what it learnt goes on.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let made = openat(parent, name, folder, Mode::empty())?;
        give(&made)?;
        Ok(made)
    };
    let route = make(storage, FOLDER)?;
    make(&route, "tor")?;
    let anew = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut files = vec![(CONFIG, config, anew), (DEFAULTS, "", anew), (LOG, "", anew)];
    if !guards.is_empty() {
        // Not over the state of a tor before this one.
        files.push((STATE, guards, anew | OFlags::EXCL));
    }
    for (name, text, flags) in files {
        let file = match openat(&route, name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => continue,
            opened => opened?,
        };
        give(&file)?;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    Ok(route)
}

/// The last line of a log that is an error, or else a warning, without its time.
fn last_words(log: &str) -> Option<String> {
    let last = |kind: &str| log.lines().rev().find_map(|line| line.split_once(kind));
    let (_, words) = last("[err] ").or_else(|| last("[warn] "))?;
    Some(words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told_rather_than_a_warning() {
        let log = "Nov 28 [warn] one\nNov 28 [err] two\nNov 28 [err] three\nNov 28 [warn] four\n";
        assert_eq!(last_words(log).as_deref(), Some("three"));
        assert_eq!(last_words("Nov 28 [warn] one\n").as_deref(), Some("one"));
        assert_eq!(last_words("Nov 28 [notice] one\n"), None);
    }

    #[test]
    fn a_users_lines_come_last() {
        let text = config(7, TorEntry::Fresh, "UseBridges 1");
        assert!(text.ends_with("\nUseBridges 1\n") && text.contains("\n__OwningControllerProcess 7\n"));
        assert!(text.contains("IsolateSOCKSAuth"));
    }
}
